/*
 * libhalibut: secure request/response RPC, compatible with the Halibut of
 * Octopus Deploy. Call services, host services; listen or poll, either way.
 *
 * Everything of one runtime happens on one libevent loop, in the thread that
 * runs it; no function may be called from another thread. Callbacks come from
 * the loop, never from inside the function that asked for them. Strings are
 * UTF-8 and copied unless stated. Functions that can fail return 0 or an enum
 * halibut_status; where they take an err, it may be NULL, and on failure it
 * holds a sentence that says what to do (clear it with halibut_error_clear).
 */
#ifndef HALIBUT_HALIBUT_H
#define HALIBUT_HALIBUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <halibut/error.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HALIBUT_THUMBPRINT_SIZE 41 /* 40 hexadecimal digits and the end */

struct event_base;
struct halibut_runtime;
struct halibut_endpoint;
struct halibut_call;
struct halibut_request;
struct halibut_stream;
struct halibut_polling;
struct halibut_queue_serving;

/* ---- Certificates: a peer is known by its thumbprint. wire 2.3 ---- */

/*
 * Makes an RSA-2048 key and a self-signed certificate for it, valid for days.
 * Both PEM texts are malloced; free() them.
 */
int halibut_certificate_create(const char *common_name, int days,
                               char **cert_pem, char **key_pem,
                               struct halibut_error *err);

/*
 * Reads a PEM file, or a PKCS#12 file (password may be NULL), into PEM texts
 * to free(); *key_pem is NULL when the file has no private key.
 */
int halibut_certificate_load(const char *path, const char *password,
                             char **cert_pem, char **key_pem,
                             struct halibut_error *err);

/* The thumbprint of the first certificate in a PEM text, upper case. */
int halibut_certificate_thumbprint(const char *cert_pem,
                                   char thumbprint[HALIBUT_THUMBPRINT_SIZE],
                                   struct halibut_error *err);

/* ---- The runtime: one certificate, one trust list. runtime 1.1 ---- */

/*
 * base: the loop to live on, which stays the caller's and must outlive the
 * runtime; NULL makes one. key_pem may be NULL when cert_pem contains the
 * private key. The key is not needed after this returns.
 */
int halibut_runtime_new(struct halibut_runtime **out, struct event_base *base,
                        const char *cert_pem, const char *key_pem,
                        struct halibut_error *err);

/*
 * Ends everything (runtime 1.5): waiting calls fail, connections close, the
 * callbacks of calls under way come before this returns. Endpoints, calls
 * and requests of the runtime may be freed before or after. Clears *rt; NULL
 * is allowed.
 */
void halibut_runtime_free(struct halibut_runtime **rt);

struct event_base *halibut_runtime_base(struct halibut_runtime *rt);

/* Runs the loop until halibut_runtime_stop(); for programs without one. */
int halibut_runtime_run(struct halibut_runtime *rt);
/* May be called from callbacks and from signal events of the loop. */
void halibut_runtime_stop(struct halibut_runtime *rt);

/* Our own thumbprint: what peers have to trust. Valid while rt lives. */
const char *halibut_runtime_thumbprint(const struct halibut_runtime *rt);

/*
 * Sets a time-out or limit by its name in the specification (runtime 2.1),
 * e.g. "TcpClientConnectTimeout". Durations in milliseconds, sizes in bytes,
 * switches 0 or 1. Effective for what starts afterwards. HALIBUT_EINVAL for
 * an unknown name or a value out of range.
 */
int halibut_runtime_set_limit(struct halibut_runtime *rt, const char *name,
                              int64_t value);

/* ---- Trust: who may connect to us. runtime 5.5 - 5.7 ---- */

/* HALIBUT_EINVAL unless it is 40 hexadecimal digits, in any case. */
int halibut_trust_add(struct halibut_runtime *rt, const char *thumbprint);
/* Its connections are closed at once. Unknown ones are no error. */
int halibut_trust_remove(struct halibut_runtime *rt, const char *thumbprint);
/* Replaces the list; connections of those no longer in it are closed. */
int halibut_trust_only(struct halibut_runtime *rt,
                       const char *const *thumbprints, size_t n);
bool halibut_is_trusted(const struct halibut_runtime *rt,
                        const char *thumbprint);

/*
 * Asked when a client with an untrusted certificate has connected; true
 * trusts it from now on. Without a callback it is refused.
 */
typedef bool (*halibut_unauthorised_fn)(void *arg, const char *peer_address,
                                        const char *thumbprint);
void halibut_set_unauthorised_callback(struct halibut_runtime *rt,
                                       halibut_unauthorised_fn fn, void *arg);

/* ---- Listening: for clients and for polling services. wire 3, 4 ---- */

/*
 * address: "127.0.0.1", "::", … NULL: all of IPv6 and IPv4. port 0 takes a
 * free one. *bound_port (may be NULL) is the port in use. May be called
 * several times; listeners end with the runtime.
 */
int halibut_listen(struct halibut_runtime *rt, const char *address,
                   uint16_t port, uint16_t *bound_port,
                   struct halibut_error *err);

/* What a browser sees; NULL restores the default page. wire 3.2 */
int halibut_set_friendly_page(struct halibut_runtime *rt, const char *html);

/* ---- Endpoints: where a service or a server is. runtime 1.6 ---- */

/*
 * url: https://host:port for a listening service (or for a server to poll),
 * poll://name for a service that polls this runtime, queue://name.
 * thumbprint: what the peer's certificate must have, or several with commas
 * between, of which any will do; required for https, ignored for poll and queue
 * (NULL).
 */
int halibut_endpoint_new(struct halibut_endpoint **out,
                         struct halibut_runtime *rt, const char *url,
                         const char *thumbprint, struct halibut_error *err);
void halibut_endpoint_free(struct halibut_endpoint **e);

/* HTTP CONNECT proxy; user and password may be NULL. wire 13 */
int halibut_endpoint_set_proxy(struct halibut_endpoint *e, const char *host,
                               uint16_t port, const char *user,
                               const char *password);
/* Connects there; TLS still asks for the URL's host. ForceResolveHost. */
int halibut_endpoint_set_connect_host(struct halibut_endpoint *e,
                                      const char *host, uint16_t port);
/*
 * Overrides one limit for this endpoint: PollingRequestQueueTimeout,
 * RetryListeningSleepInterval, RetryCountLimit, ConnectionErrorRetryTimeout,
 * TcpClientConnectTimeout. Milliseconds, or a count.
 */
int halibut_endpoint_set_limit(struct halibut_endpoint *e, const char *name,
                               int64_t value);

/* ---- DataStreams. wire 11, runtime 9 ---- */

/* Outgoing. Each goes into one call or reply, once. Data is copied. */
struct halibut_stream *halibut_stream_from_memory(const void *data,
                                                  size_t len);
/*
 * length bytes of fd from its present offset; -1: up to the end of a regular
 * file. fd is duplicated; reading blocks the loop, so it should be a file.
 */
struct halibut_stream *halibut_stream_from_fd(int fd, int64_t length);
/*
 * length bytes that read() gives: > 0 bytes, 0 for the end, < 0 for failure,
 * which breaks the call's connection: nothing else can tell the peer.
 */
typedef ssize_t (*halibut_stream_read_fn)(void *arg, void *buf, size_t cap);
struct halibut_stream *halibut_stream_from_callback(int64_t length,
                                                    halibut_stream_read_fn fn,
                                                    void *arg);
/* Told each whole per cent sent, ending with 100 whatever happens once it
 * began: runtime 9.4. */
typedef void (*halibut_progress_fn)(void *arg, int percent);
void halibut_stream_set_progress(struct halibut_stream *s,
                                 halibut_progress_fn fn, void *arg);
/* Only for streams that were given to no call and no reply. */
void halibut_stream_free(struct halibut_stream **s);

/* Received ones belong to their call or request and are complete. */
int64_t halibut_stream_length(const struct halibut_stream *s);
/* Reads on from where the last read ended; 0 at the end; < 0: -status. */
ssize_t halibut_stream_read(struct halibut_stream *s, void *buf, size_t cap);
/* Writes all of it to a new file, replacing an old one. */
int halibut_stream_save(struct halibut_stream *s, const char *path,
                        struct halibut_error *err);

/* ---- Calling. wire 9, 10; runtime 1.3 ---- */

/* e may be freed as soon as the call has started. */
int halibut_call_new(struct halibut_call **out, struct halibut_runtime *rt,
                     const struct halibut_endpoint *e, const char *service,
                     const char *method, struct halibut_error *err);

/*
 * Appends one argument as JSON text. Whole numbers become 64-bit integers;
 * {"$guid": "…"}, {"$date": "…"}, {"$bytes": "base64"}, {"$int32": 5},
 * {"$double": "NaN"} and {"$dataStream": N} (the Nth stream added) name what
 * JSON cannot; objects carry their .NET type in a leading "$type".
 */
int halibut_call_add_json(struct halibut_call *call, const char *json,
                          struct halibut_error *err);
/* Appends the value of the first element of a BSON document as it is. */
int halibut_call_add_bson(struct halibut_call *call, const uint8_t *doc,
                          size_t len, struct halibut_error *err);
/*
 * Takes the stream over, also on failure. as_argument: it is the next
 * argument itself; otherwise a later JSON argument names it. Streams must be
 * added in the order in which the arguments contain them.
 */
int halibut_call_add_stream(struct halibut_call *call,
                            struct halibut_stream *s, bool as_argument,
                            struct halibut_error *err);

/*
 * Starts it; done is called exactly once, from the loop, when the response
 * with all its DataStreams is there or the call has failed.
 */
typedef void (*halibut_call_fn)(void *arg, struct halibut_call *call);
int halibut_call_start(struct halibut_call *call, halibut_call_fn done,
                       void *arg);
/*
 * Starts it and runs the loop until it is done; for programs that have
 * nothing else to do (other callbacks of the runtime are served meanwhile).
 * Returns the status of the call. A loop that is stopped meanwhile cancels the
 * call; inside a callback of the loop it is cancelled too: HALIBUT_EINVAL.
 */
int halibut_call_wait(struct halibut_call *call);
/*
 * Gives it up: done follows with a connecting- or transferring-cancelled
 * error. Through Redis it follows when Redis has said whether another node has
 * the request already; a response that was faster is still an answer.
 * runtime 7.5
 */
void halibut_call_cancel(struct halibut_call *call);

/* After done. The error is the call's; status HALIBUT_OK for success. */
const struct halibut_error *halibut_call_error(const struct halibut_call *call);
/* The result as JSON text to free(); "null" for void; NULL: no memory, or the
 * call failed. */
char *halibut_call_result_json(const struct halibut_call *call);
/* The response's BSON document, valid while the call is. NULL on failure. */
const uint8_t *halibut_call_response_bson(const struct halibut_call *call,
                                          size_t *len);
size_t halibut_call_streams(const struct halibut_call *call);
/* In document order: {"$dataStream": index} in the result's JSON. */
struct halibut_stream *halibut_call_stream(const struct halibut_call *call,
                                           size_t index);
/* Cancels it if need be, without a callback. NULL is allowed. */
void halibut_call_free(struct halibut_call **call);

/* ---- Hosting services. runtime 6 ---- */

/*
 * Called for each request, with its DataStreams complete. The handler, or
 * anybody later, answers with exactly one halibut_reply_*(), which ends req.
 */
typedef void (*halibut_handler_fn)(void *arg, struct halibut_request *req);
/* Names match without case. HALIBUT_EINVAL when it exists already. */
int halibut_service_add(struct halibut_runtime *rt, const char *service,
                        const char *method, halibut_handler_fn handler,
                        void *arg);

const char *halibut_request_service(const struct halibut_request *req);
const char *halibut_request_method(const struct halibut_request *req);
/* Thumbprint and address of the peer at the other end of the connection. */
const char *halibut_request_peer(const struct halibut_request *req);
const char *halibut_request_peer_address(const struct halibut_request *req);
size_t halibut_request_arguments(const struct halibut_request *req);
/* One argument as JSON text to free(), NULL when there is none. */
char *halibut_request_argument_json(const struct halibut_request *req,
                                    size_t index);
/* An argument that is text or a number: a copy to free(), or NULL. */
char *halibut_request_argument_text(const struct halibut_request *req,
                                    size_t index);
bool halibut_request_argument_int(const struct halibut_request *req,
                                  size_t index, int64_t *value);
/* All of them: the request's BSON document. Valid while req is. */
const uint8_t *halibut_request_bson(const struct halibut_request *req,
                                    size_t *len);
size_t halibut_request_streams(const struct halibut_request *req);
struct halibut_stream *halibut_request_stream(const struct halibut_request *req,
                                              size_t index);
/* Told when the caller went away: the answer will reach nobody, but the
 * reply is still owed. */
void halibut_request_on_gone(struct halibut_request *req, void (*fn)(void *arg),
                             void *arg);

/*
 * Answers and ends req. json: the result, as in halibut_call_add_json(); NULL
 * for void. streams are taken over, in the order in which the result has
 * them; n may be 0. On failure the caller gets an error instead.
 */
int halibut_reply_json(struct halibut_request *req, const char *json,
                       struct halibut_stream *const *streams, size_t n,
                       struct halibut_error *err);
/* The value of the first element of doc; NULL for void. */
int halibut_reply_bson(struct halibut_request *req, const uint8_t *doc,
                       size_t len, struct halibut_stream *const *streams,
                       size_t n, struct halibut_error *err);
/* The service's own code failed: HALIBUT_EINVOCATION at the caller. details
 * may be NULL. */
void halibut_reply_error(struct halibut_request *req, const char *message,
                         const char *details);

/* ---- Polling: our services are reached without listening. wire 5.3 ---- */

/*
 * Dials server with the given number of parallel connections, subscribes as
 * subscription (poll://name) and serves what comes, for ever. May be called
 * for several servers.
 */
int halibut_poll(struct halibut_polling **out, struct halibut_runtime *rt,
                 const struct halibut_endpoint *server,
                 const char *subscription, unsigned connections,
                 struct halibut_error *err);
/* Stops it. What is still polling ends with the runtime anyway. */
void halibut_poll_stop(struct halibut_polling **p);

/* ---- Redis: several nodes behind one queue. redis-queue ---- */

struct halibut_setting {
	const char *name, *value;
};

/*
 * From here on every poll:// and queue:// endpoint of the runtime has its
 * queue in Redis, shared with all nodes, ours and .NET ones, that use the same
 * Redis and key_prefix; before, it is in memory. To be called before the first
 * call, listener, polling or serving of such an endpoint: HALIBUT_EINVAL else.
 *
 * url: redis://[user:password@]host[:port][/database], rediss://… (TLS),
 * unix:///path, redis+sentinel://host:port,…/name, or a StackExchange.Redis
 * connection string. Redis need not be there: connecting goes on in the
 * background for as long as the runtime lives.
 *
 * settings, any of: "user", "password", "tls_ca", "tls_certificate",
 * "tls_key" (PEM files), "tls_insecure" (1), "channel_prefix", "node" (this
 * node's name in Redis' client list); "streams": where DataStreams wait,
 * "redis" (the default; with "streams_max", bytes of all nodes, 1 GiB), "directory" (with
 * "streams_directory"), "program" (with "streams_command") or "metadata"
 * (beside the message, up to "streams_max" bytes, 16 MiB); "wrapper": "gzip"
 * or "program COMMAND", several times, outermost first; "response_pulses":
 * "auto" or "each". HALIBUT_EINVAL, and err, for what is unknown or wrong.
 */
int halibut_use_redis(struct halibut_runtime *rt, const char *url,
                      const char *key_prefix,
                      const struct halibut_setting *settings, size_t n,
                      struct halibut_error *err);

/* ---- Queue endpoints: no connection at all. redis-queue 14 ---- */

/*
 * Serves requests that callers on other nodes (or in this runtime) send to a
 * queue:// endpoint, without any connection, with the services added to this
 * runtime; at most at_a_time at once. halibut_request_peer() is empty then,
 * halibut_request_peer_address() the endpoint. redis-queue 14. out may be NULL:
 * it ends with the runtime.
 */
int halibut_serve_queue(struct halibut_queue_serving **out,
                        struct halibut_runtime *rt, const char *endpoint,
                        unsigned at_a_time, struct halibut_error *err);
/* Takes no more; what is under way is still answered. NULL is allowed. */
void halibut_serve_queue_stop(struct halibut_queue_serving **s);

/* ---- Discovery and logs ---- */

/*
 * Asks the acceptor at url for its thumbprint; runs the loop until then. Fails
 * as a connection does, with HALIBUT_EINVAL inside a callback of the loop, and
 * with HALIBUT_ECONNECTING_CANCELLED when the loop is stopped meanwhile.
 * wire 14
 */
int halibut_discover(struct halibut_runtime *rt, const char *url,
                     char thumbprint[HALIBUT_THUMBPRINT_SIZE],
                     struct halibut_error *err);

/* level: 0 error, 1 warning, 2 info, 3 debug. NULL: standard error. */
typedef void (*halibut_log_fn)(void *arg, int level, const char *line);
void halibut_set_log(halibut_log_fn fn, void *arg, int level);

#ifdef __cplusplus
}
#endif
#endif
