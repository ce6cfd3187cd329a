/* The arguments of a call, as they are written on the command line. */
#ifndef HBT_CTL_ARGS_H
#define HBT_CTL_ARGS_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

struct hbt_ctl_stream {
	int fd; /* at its start; a regular file */
	int64_t length;
	char *name; /* as the user wrote it */
};

struct hbt_ctl_args {
	json_t *values; /* an array; {"$dataStream": n} names streams[n] */
	struct hbt_ctl_stream *streams; /* in the order of the arguments */
	size_t n_streams;
};

/*
 * Reads n arguments. Each is JSON, or @FILE (@-: standard input) for a
 * DataStream; inside JSON an object {"$file": "FILE"} stands for one. What is
 * no regular file is copied into a temporary one first, since a DataStream's
 * length goes before it. HALIBUT_EINVAL, HALIBUT_ESYSTEM, HALIBUT_ENOMEM;
 * fini in every case.
 */
int hbt_ctl_args_read(struct hbt_ctl_args *a, char *const *texts, size_t n,
                      struct halibut_error *err);
void hbt_ctl_args_fini(struct hbt_ctl_args *a);

#endif
