/* A real redis-server of a test's own, on a Unix socket in a directory of its
 * own. It ends with the test program, however that ends. */
#ifndef TESTS_REDIS_SERVER_H
#define TESTS_REDIS_SERVER_H

#include <sys/types.h>

struct redis_server {
	pid_t pid; /* 0: it does not run */
	char dir[40];
	char socket[64];
	char url[80]; /* unix://… */
};

/* more: further arguments, e.g. "--requirepass", "x"; NULL at the end; may be
 * NULL. 0, or -1 when there is no redis-server here. */
int redis_server_start(struct redis_server *s, const char *const *more);
/* The same again, after redis_server_kill(). */
int redis_server_restart(struct redis_server *s, const char *const *more);
void redis_server_kill(struct redis_server *s); /* SIGKILL, and waits */
void redis_server_freeze(struct redis_server *s);
void redis_server_thaw(struct redis_server *s);
void redis_server_stop(struct redis_server *s); /* and its directory goes */

#endif
