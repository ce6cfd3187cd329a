/*
 * Bytes that wait for a pipe to take them: in memory while they are few, then
 * in an unlinked file. First in, first out. Internal to src/ipc.
 */
#ifndef HBT_IPC_SPOOL_H
#define HBT_IPC_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "ipc/spool_account.h"

/* A file without a name, of which the front is given back as it drains. */
struct hbt_spool_part {
	int fd;          /* -1: not needed so far */
	int64_t head;    /* drained up to here */
	int64_t tail;    /* written up to here */
	int64_t punched; /* given back to the file system up to here */
};

struct hbt_spool {
	struct hbt_spool_part memory; /* drained before the file */
	struct hbt_spool_part file;
	size_t max_memory;
	int64_t max;
	int64_t max_total; /* of all spools of the process */
	char *directory;
	struct hbt_spool_payer *payer; /* borrowed; NULL: nobody pays */
	int64_t retry_ms; /* hbt_spool_append() */
};

/* HALIBUT_OK or HALIBUT_ENOMEM. */
int hbt_spool_init(struct hbt_spool *s, size_t max_memory, int64_t max,
                   int64_t max_total, const char *directory,
                   struct hbt_spool_payer *payer);
void hbt_spool_fini(struct hbt_spool *s);
/* Nobody will take what waits: it is given back, and the spool is empty. */
void hbt_spool_drop(struct hbt_spool *s);

bool hbt_spool_is_empty(const struct hbt_spool *s);
/* Bytes that wait. */
int64_t hbt_spool_length(const struct hbt_spool *s);

/*
 * Appends 0..len bytes: fewer at a limit, or when the disk is full or
 * otherwise refuses (that is logged, at most once in ten seconds), or is so
 * slow that it would hold up everything else of this process: a write that
 * blocks is followed by a rest in which nothing is written by anybody. Then
 * s->retry_ms is after how long trying again may help, even if nothing was
 * drained; else it is 0.
 */
size_t hbt_spool_append(struct hbt_spool *s, const void *data, size_t len);

/*
 * Moves up to max bytes into the writing end of a pipe. > 0, or a negative
 * errno: -EAGAIN when the pipe is full, -EPIPE when nobody reads it.
 */
ssize_t hbt_spool_drain(struct hbt_spool *s, int pipe, size_t max);

#endif
