/* A Redis server that a test plays itself, in the loop of the harness: it may
 * say anything, at any speed, and hang up at any byte. */
#ifndef TESTS_REDIS_FAKE_H
#define TESTS_REDIS_FAKE_H

#include <event2/buffer.h>
#include <event2/listener.h>
#include <hiredis/hiredis.h>
#include "harness.h"

enum { FAKE_CONNS = 64 };

struct fake_conn {
	struct fake *fake;
	int fd; /* -1: free */
	struct event *in, *out;
	struct evbuffer *text;
	redisReader *reader;
	bool subscriber;
};

struct fake {
	char dir[40], socket[64], url[80];
	struct evconnlistener *listener;
	struct fake_conn conns[FAKE_CONNS];
	/*
	 * Answers one command, whose words stand in line with a space between:
	 * fake_say(). Login, PING and (UN)SUBSCRIBE are answered without it
	 * unless raw. NULL: "+OK" to all.
	 */
	void (*answer)(struct fake_conn *c, const char *line);
	bool raw;
	bool dribble;  /* a byte a turn */
	bool mute;     /* nothing is said */
	long cut;      /* hang up after so many bytes, once; -1: never */
	int accepted;
	char log[1 << 18]; /* what answer() was for, and SUBSCRIBE and so on,
	                    * a line each; login not */
	int pings;
};

void fake_open(struct fake *f);
void fake_close(struct fake *f);
void fake_listen(struct fake *f, bool on); /* off: refuses and hangs up */
void fake_hang_up(struct fake *f);         /* all connections */
void fake_say(struct fake_conn *c, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* The connection with subscriptions, or NULL. */
struct fake_conn *fake_subscriber(struct fake *f);
/* How often text stands in the log. */
int fake_count(const struct fake *f, const char *text);

#endif
