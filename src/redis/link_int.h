/* What the files of the link share. */
#ifndef HBT_REDIS_LINK_INT_H
#define HBT_REDIS_LINK_INT_H

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/util.h>
#include "redis/link.h"

enum link_state {
	LINK_DIALLING, /* name, addresses, TCP, TLS */
	LINK_LOGIN,    /* login commands are written */
	LINK_UP,
	LINK_DOWN,     /* failed; down() was called or is about to be */
};

enum link_step { /* of the login, in the order of their replies */
	STEP_AUTH,
	STEP_SELECT,
	STEP_NAME,
	STEP_ROLE,
	STEP_PING,
	STEP_COUNT,
};

struct link_lookup;

struct hbt_link {
	struct hbt_link_config config;
	const struct hbt_link_ops *ops;
	void *arg;
	enum link_state state;
	char name[300];
	char *host; /* or NULL: unix_path */
	char *unix_path;
	uint16_t port;

	/* Dialling. */
	struct link_lookup *lookup;
	struct evutil_addrinfo *addresses, *next;
	int fd; /* until bev has it */
	struct event *connecting;
	int last_errno;
	int64_t connect_due;

	/* Connected. */
	struct bufferevent *bev;
	struct event *readable; /* without TLS; bev then only writes */
	struct evbuffer *out; /* of this turn */
	redisReader *reader;
	redisReplyObjectFunctions functions;
	enum link_step step;
	bool steps[STEP_COUNT]; /* were sent */

	/* Time. */
	struct event *timer;
	int64_t timer_due;
	int64_t progress_ms; /* last byte in or out */
	uint64_t written;    /* of bytes_out, when the timer looked last */
	bool backlog;        /* the socket has not taken all since then */
	size_t awaiting;     /* replies */
	bool pinging, full;

	struct event *turn;
	uint64_t bytes_in, bytes_out;
	uint64_t told_in, told_out; /* by hbt_link_take_counts() */
	struct halibut_error why;
	int depth; /* of our own callbacks */
	bool freed;
};

/* Callbacks of libevent and calls of the owner happen between these; false:
 * the link is gone. */
void link_enter(struct hbt_link *l);
bool link_leave(struct hbt_link *l);

/* Ends it, once; down() follows at the end of the turn. The text begins
 * after "Redis at NAME: ". */
void link_fail(struct hbt_link *l, int status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void link_arm(struct hbt_link *l, int64_t due);

void link_dial(struct hbt_link *l);
void link_dial_timeout(struct hbt_link *l);
void link_dial_fini(struct hbt_link *l);
/* l->fd is connected. */
void link_connected(struct hbt_link *l);

struct bufferevent *link_tls_start(struct hbt_link *l, int fd);
void link_tls_failed(struct hbt_link *l);

/* Login: what is written first, and each reply until it is up. */
void link_login(struct hbt_link *l);
void link_login_reply(struct hbt_link *l, const redisReply *reply);
void link_login_done(struct hbt_link *l);

#endif
