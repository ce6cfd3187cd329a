/* A real redis-server of a test's own, on a Unix socket in a directory of its
 * own. It ends with the test program, however that ends. */
#ifndef TESTS_REDIS_SERVER_H
#define TESTS_REDIS_SERVER_H

#include <stdbool.h>
#include <sys/types.h>

struct redis_server {
	pid_t pid; /* 0: it does not run */
	char dir[40];
	char socket[64];
	char url[80]; /* unix://… */
	char log[64];
	bool sentinel;
};

/*
 * more: further arguments, e.g. "--requirepass", "x"; NULL at the end; may be
 * NULL. It listens when this returns. 0, or -1 when there is no redis-server
 * here or it does not start; what it said is on standard error then.
 */
int redis_server_start(struct redis_server *s, const char *const *more);
/* The same again, after redis_server_kill(). */
int redis_server_restart(struct redis_server *s, const char *const *more);
void redis_server_kill(struct redis_server *s); /* SIGKILL, and waits */
void redis_server_freeze(struct redis_server *s); /* has stopped, then */
void redis_server_thaw(struct redis_server *s);
void redis_server_stop(struct redis_server *s); /* and its directory goes */

/*
 * A sentinel on 127.0.0.1:port for one primary of the name "halibut". It calls
 * a server down after half a second, and is a quorum by itself.
 */
int redis_server_start_sentinel(struct redis_server *s, int port,
                                int primary_port);

/* A port of 127.0.0.1 that nobody else is given while this process runs. */
int redis_server_free_port(void);

/*
 * Runs one command (hiredis' format) over a connection of its own and waits
 * for the answer: as text, elements of an array separated by spaces. For the
 * caller to free. NULL when it cannot be reached.
 */
char *redis_server_ask(const struct redis_server *s, const char *format, ...);

#endif
