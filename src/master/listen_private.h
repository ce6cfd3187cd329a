/*
 * What the files of the listening sockets share.
 *
 *   listen.c         making, replacing and closing them
 *   listen_accept.c  what comes to them, and pauses
 */
#ifndef HBT_MASTER_LISTEN_PRIVATE_H
#define HBT_MASTER_LISTEN_PRIVATE_H

#include "master/address.h"
#include "master/listen.h"

struct hbt_listener {
	struct hbt_listeners *all;
	int fd;
	struct event *readable; /* NULL: closed for now, as is fd */
	bool inherited;         /* systemd listens, too */
	struct hbt_listen_address bound; /* of one that is our own */
	bool only_v6;
	char *text; /* as the setting has it; NULL: inherited */
	char address[HBT_ADDRESS_TEXT];
};

struct hbt_listeners {
	struct hbt_listen_ops ops;
	struct hbt_listener **v;
	size_t n;
	struct event_base *base;
	bool paused;
	bool refusing;
	bool reason_logged; /* the pause has a reason and was reported */
	unsigned failures;  /* of accept, in a row */
	uint64_t accepted;
	struct event *retry;
	int backlog;
	int tries; /* more than one to bind an address; 0 once it serves */
	int highest_fd;
};

/* ---- listen_accept.c ---- */

/* Watches all of them, or none. Not while they refuse. */
void hbt_listeners_read(struct hbt_listeners *ls, bool on);
/* For the event ls->retry. */
void hbt_listeners_on_retry(evutil_socket_t fd, short what, void *arg);
/* For the event l->readable; arg: l. */
void hbt_listener_on_readable(evutil_socket_t fd, short what, void *arg);
/* As many as can wait there, so that this ends. */
void hbt_listener_accept_waiting(struct hbt_listener *l);

#endif
