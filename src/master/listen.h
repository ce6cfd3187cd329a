/* The listening sockets: accepting, and not accepting, connections. */
#ifndef HBT_MASTER_LISTEN_H
#define HBT_MASTER_LISTEN_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/error.h"
#include "master/config.h"

struct hbt_listeners;

struct hbt_listen_ops {
	/*
	 * A connection; the callee owns fd. peer is "address:port"; listen is
	 * the setting that it came in by, NULL at a socket of systemd's, and
	 * address what that is bound to. False: nobody can take another one,
	 * and the callee has paused.
	 */
	bool (*accepted)(void *arg, int fd, const char *peer,
	                 const char *listen, const char *address);
	void *arg;
};

/*
 * Binds all, or takes the sockets that systemd hands over instead if there
 * are any, and logs "listening on ADDR:PORT" for each. backlog: how many
 * connections the kernel keeps that nobody has accepted; 0: as many as the
 * system allows. Accepting starts paused. The message of a failure names the
 * address; one that is in use is tried for 2 s: whoever held it may be on its
 * way out.
 */
int hbt_listeners_new(struct hbt_listeners **out, struct event_base *base,
                      const struct hbt_strings *addresses, int backlog,
                      const struct hbt_listen_ops *ops,
                      struct halibut_error *err);
void hbt_listeners_free(struct hbt_listeners **ls);

/*
 * Another list of addresses: first those that are new to it are bound, then
 * adopt() replaces the list. Sockets of addresses that stay are not touched;
 * what waits at others is accepted before they are closed. Not for those that
 * systemd holds. HALIBUT_OK, or err says what cannot be.
 */
struct hbt_listen_plan;
int hbt_listeners_plan(struct hbt_listeners *ls,
                       const struct hbt_strings *addresses,
                       struct hbt_listen_plan **out, struct halibut_error *err);
void hbt_listeners_adopt(struct hbt_listeners *ls,
                         struct hbt_listen_plan **plan);
void hbt_listen_plan_free(struct hbt_listen_plan **plan);
bool hbt_listeners_are_inherited(const struct hbt_listeners *ls);

/*
 * Stops and restarts accepting; the kernel keeps what comes meanwhile. why is
 * logged when it pauses for a reason that an operator should know; NULL: not.
 */
void hbt_listeners_pause(struct hbt_listeners *ls, const char *why);
void hbt_listeners_resume(struct hbt_listeners *ls);

/*
 * Connections are refused from now on, until they are welcome again: our own
 * sockets are closed, after what waits at them was accepted; a connection to
 * one that systemd holds is closed at once. Pausing is of no consequence
 * meanwhile. welcome() fails with HALIBUT_ESYSTEM when an address cannot be
 * bound again; then all are still refused.
 */
void hbt_listeners_refuse(struct hbt_listeners *ls);
int hbt_listeners_welcome(struct hbt_listeners *ls, struct halibut_error *err);

/* Before the end: accepts what waits at our own sockets, since it would be
 * reset. What waits at those of systemd is for the next process. */
void hbt_listeners_finish(struct hbt_listeners *ls);

size_t hbt_listeners_count(const struct hbt_listeners *ls);
/* "address:port" as it was bound. */
const char *hbt_listeners_address(const struct hbt_listeners *ls, size_t i);

#endif
