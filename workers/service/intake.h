/*
 * The DataStreams of a request on their way into files: reads the section
 * from the message's descriptor as it comes, one piece in memory at a time.
 */
#ifndef HBT_SERVICE_INTAKE_H
#define HBT_SERVICE_INTAKE_H

#include <event2/event.h>

#include "wire/message.h"

struct hbt_svc_intake;

struct hbt_svc_file {
	char *path;
	struct hbt_guid id;
	int64_t length;
};

struct hbt_svc_intake_ops {
	/*
	 * All streams are in their files, or it failed (err is not NULL).
	 * HALIBUT_ESYSTEM: no room on the disk; the sender is fine, and what
	 * it still sends will be read and dropped. Others: the sender broke
	 * off. The owner frees the intake, here or later.
	 */
	void (*done)(void *arg, const struct halibut_error *err);
	void (*progress)(void *arg, size_t bytes); /* came */
	void (*spooled)(void *arg, size_t bytes);  /* are on the disk */
};

/*
 * Takes fd over in every case. m is referenced. Files are made in directory.
 * A sender that is silent for idle_ms has failed (HALIBUT_ETIMEOUT).
 */
int hbt_svc_intake_new(struct hbt_svc_intake **out, struct event_base *base,
                       int fd, struct hbt_message *m, const char *directory,
                       int64_t idle_ms, const struct hbt_svc_intake_ops *ops,
                       void *arg);

/*
 * Closes the files, which stay where they are. A section that is not read to
 * its end goes on in the background, into nothing: the peer's connection is
 * of use again only behind it. NULL allowed.
 */
void hbt_svc_intake_free(struct hbt_svc_intake **in);

/* The files, in document order, n_streams of the message. */
const struct hbt_svc_file *
hbt_svc_intake_files(const struct hbt_svc_intake *in);

/* Reads fd to its end into nothing, and closes it; at most idle_ms silent. */
void hbt_svc_drain(struct event_base *base, int fd, int64_t idle_ms);
/* Ends all of that, for a process about to exit. */
void hbt_svc_drain_stop(void);

#endif
