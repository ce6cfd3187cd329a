/*
 * Every number that a node counts, in one table: the structs that hold them,
 * how they travel, the status documents and the metrics come from here.
 *
 *   X(type, name, unit, help)
 *
 * type: COUNTER only grows, as long as its process lives; GAUGE goes up and
 * down. unit: "", "bytes" or "microseconds"; it ends the name, if it has one
 * (_us for microseconds, of which metrics make seconds). help: a sentence.
 */
#ifndef HBT_IPC_COUNTERS_H
#define HBT_IPC_COUNTERS_H

#include "base/buf.h"

/* Of a process; only a connection worker has all of them. */
#define HBT_WORKER_COUNTERS(X)                                                 \
	X(GAUGE, connections, "", "Connections that were accepted and are "    \
	                          "open.")                                     \
	X(GAUGE, handshakes, "", "Of these, not authorised yet.")              \
	X(GAUGE, handshakes_waiting, "", "Of these, in line for the TLS "      \
	                                 "handshake.")                         \
	X(GAUGE, clients, "", "Of these, clients.")                            \
	X(GAUGE, subscribers, "", "Of these, polling services.")               \
	X(GAUGE, dialled, "", "Connections to listening services that carry "  \
	                      "or are made for a call.")                       \
	X(GAUGE, pooled, "", "Idle connections to listening services.")        \
	X(GAUGE, polls, "", "Connections to servers that this node polls.")    \
	X(GAUGE, calls_in_flight, "", "Calls under way in the process.")       \
	X(COUNTER, accepted, "", "Connections that were accepted.")            \
	X(COUNTER, refused, "", "Connections that were refused, or broke "     \
	                        "before they were authorised.")                \
	X(COUNTER, handshakes_begun, "", "TLS handshakes that began.")         \
	X(COUNTER, handshakes_given_up, "", "Peers that hung up while they "   \
	                                    "waited for the TLS handshake.")   \
	X(COUNTER, failed_handshakes, "", "Connections that ended before "     \
	                                  "they were authorised.")             \
	X(COUNTER, messages_in, "", "Messages received.")                      \
	X(COUNTER, messages_out, "", "Messages sent.")                         \
	X(COUNTER, bytes_in, "bytes", "Bytes received inside TLS, of all "     \
	                              "connections.")                          \
	X(COUNTER, bytes_out, "bytes", "Bytes sent inside TLS, of all "        \
	                               "connections.")                         \
	X(COUNTER, streams_in, "", "DataStreams received.")                    \
	X(COUNTER, stream_bytes_in, "bytes", "Bytes of DataStreams received.") \
	X(GAUGE, spool_bytes, "bytes", "DataStreams that wait in memory and "  \
	                               "in files for who takes them.")         \
	X(COUNTER, spool_full, "", "Times that a sender had to wait because "  \
	                           "of spool_max_total.")                      \
	X(COUNTER, spool_full_per_source, "", "Times that a sender had to "    \
	  "wait because of spool_max_per_source.")                             \
	X(COUNTER, spool_full_per_thumbprint, "", "Times that a sender had "   \
	  "to wait because of spool_max_per_thumbprint.")                      \
	X(COUNTER, spool_full_per_subscription, "", "Times that a sender "     \
	  "had to wait because of spool_max_per_subscription.")                \
	X(COUNTER, cpu_user_us, "microseconds", "Processor time in the "       \
	                                        "process itself.")             \
	X(COUNTER, cpu_system_us, "microseconds", "Processor time in the "     \
	                                          "kernel for the process.")   \
	X(GAUGE, resident_bytes, "bytes", "Memory that the process has in "    \
	                                  "RAM.")                              \
	X(GAUGE, descriptors, "", "Open descriptors; 0 where the kernel is "   \
	                          "older than 6.2.")

/* Of the node as a whole, kept by the master. */
#define HBT_NODE_COUNTERS(X)                                                   \
	X(COUNTER, connections_accepted, "", "Connections that the master "    \
	                                     "accepted and gave to a worker.") \
	X(COUNTER, calls, "", "Calls that came in.")                           \
	X(COUNTER, calls_answered, "", "Calls that ended with a response.")    \
	X(COUNTER, calls_failed, "", "Calls that ended with an error.")        \
	X(COUNTER, calls_slow, "", "Calls that took longer than "              \
	                           "slow_call_time.")                          \
	X(GAUGE, calls_open, "", "Calls that have not ended.")                 \
	X(GAUGE, calls_waiting, "", "Calls that wait for somebody to take "    \
	                            "them.")                                   \
	X(GAUGE, calls_waiting_bytes, "bytes", "Requests of calls that wait.") \
	X(COUNTER, refusals, "", "Peers that were refused.")                   \
	X(COUNTER, refused_connections_per_source, "", "Connections that "     \
	  "max_connections_per_source refused.")                               \
	X(COUNTER, refused_handshakes_per_source, "", "Connections that "      \
	  "max_handshakes_per_source refused.")                                \
	X(COUNTER, refused_handshakes_per_second_per_source, "",               \
	  "Connections that max_handshakes_per_second_per_source refused.")    \
	X(COUNTER, refused_connections_per_thumbprint, "", "Connections that " \
	  "max_connections_per_thumbprint refused.")                           \
	X(COUNTER, refused_connections_per_subscription, "", "Connections "    \
	  "that max_connections_per_subscription refused.")                    \
	X(COUNTER, refused_requests, "", "Requests that were refused because " \
	  "too many waited.")                                                  \
	X(GAUGE, trusted, "", "Certificates that are trusted.")                \
	X(COUNTER, reloads, "", "Times that the configuration was read again.") \
	X(COUNTER, reloads_failed, "", "Of these, with mistakes: the old "     \
	                               "configuration stayed.")                \
	X(COUNTER, worker_restarts, "", "Worker processes that ended and were " \
	                                "replaced.")

#define HBT_COUNTER_MEMBER(type, name, unit, help) uint64_t name;

struct hbt_worker_stats {
	HBT_WORKER_COUNTERS(HBT_COUNTER_MEMBER)
};

struct hbt_node_stats {
	HBT_NODE_COUNTERS(HBT_COUNTER_MEMBER)
};

enum hbt_counter_type {
	HBT_COUNTER, /* COUNTER */
	HBT_GAUGE,
};

struct hbt_counter {
	enum hbt_counter_type type;
	const char *name, *unit, *help;
	size_t offset; /* of the uint64_t in its struct */
};

/* Of struct hbt_worker_stats and struct hbt_node_stats. The last one has no
 * name. */
extern const struct hbt_counter hbt_worker_counters[], hbt_node_counters[];

/* The counter's value in the struct that it is of. */
uint64_t hbt_counter_of(const struct hbt_counter *c, const void *stats);

void hbt_worker_stats_put(struct hbt_wr *w, const struct hbt_worker_stats *s);
void hbt_worker_stats_get(struct hbt_rd *r, struct hbt_worker_stats *s);

#endif
