/*
 * One process of a service program: lines go in, lines come out, and it is
 * ended for certain. It has three descriptors, a group of its own, a clean
 * environment, and dies with the worker.
 */
#ifndef HBT_SERVICE_PROCESS_H
#define HBT_SERVICE_PROCESS_H

#include <event2/event.h>
#include <stdbool.h>
#include <sys/types.h>

#include "base/error.h"

struct hbt_svc_process;

struct hbt_svc_process_spec {
	char *const *argv;
	const char *service;   /* HALIBUT_SERVICE, and in front of log lines */
	const char *node;      /* HALIBUT_NODE; may be NULL */
	const char *directory; /* NULL: / */
	uint64_t max_memory_bytes;
};

struct hbt_svc_process_ops {
	/* One line from its standard output, without its end, not empty. */
	void (*line)(void *arg, const char *line, size_t len);
	/*
	 * It can no longer be talked to, and is being ended: why completes
	 * "The program ..."; NULL: gone() will explain.
	 */
	void (*broken)(void *arg, const char *why);
	/*
	 * It ended and left nothing unread. how completes "The program ...",
	 * with its last words if there were any; ok: it left by itself with
	 * status 0. The owner frees the process, here or later.
	 */
	void (*gone)(void *arg, const char *how, bool ok);
};

/* HALIBUT_ENOMEM, HALIBUT_ESYSTEM with a message. */
int hbt_svc_process_start(struct hbt_svc_process **out, struct event_base *base,
                          const struct hbt_svc_process_spec *spec,
                          const struct hbt_svc_process_ops *ops, void *arg);
/* Kills it if it still lives. Not from line() and broken(). */
void hbt_svc_process_free(struct hbt_svc_process **p);

pid_t hbt_svc_process_pid(const struct hbt_svc_process *p);

/* Queues one line; takes it over. The one before must have been answered. */
int hbt_svc_process_send(struct hbt_svc_process *p, char *line, size_t len);
/* Is it certain that it has not read a byte of the last line? */
bool hbt_svc_process_unread(const struct hbt_svc_process *p);

/* Ends its standard input; SIGTERM and SIGKILL follow if that is no hint. */
void hbt_svc_process_close(struct hbt_svc_process *p);
/* SIGTERM to its group now, SIGKILL later. */
void hbt_svc_process_kill(struct hbt_svc_process *p);

/* After SIGCHLD: did it end? Calls gone() then. */
void hbt_svc_process_reap(struct hbt_svc_process *p);

#endif
