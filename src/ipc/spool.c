/* Spools: see spool.h. */
#include "ipc/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/error.h"
#include "base/log_limit.h"
#include "base/timespan.h"
#include "ipc/proto.h"

/* Giving space back costs a system call that is worth it only for a lot. */
#define PUNCH_BYTES ((int64_t)1024 * 1024)
#define RETRY_MS 1000 /* a disk that refuses */
/* A disk that blocks for longer rests for so many times as long, so that most
 * of the time is for other things, but not for ever. */
#define SLOW_US 5000
#define RESTS 4
#define MAX_REST_US 2000000
#define NEWS_US 50000 /* this is worth a line */

static int64_t total; /* bytes on disk and in memfds, of all spools */
static int64_t rest_until_us; /* no file is written to before that */

uint64_t hbt_spool_bytes(void)
{
	return (uint64_t)total;
}

static int64_t length(const struct hbt_spool_part *part)
{
	return part->tail - part->head;
}

/* What it takes away from others, drained or not. */
static int64_t footprint(const struct hbt_spool_part *part)
{
	return part->tail - part->punched;
}

/* The one place where what a spool takes away changes. */
static void charge(struct hbt_spool *s, int64_t bytes)
{
	total += bytes;
	hbt_spool_payer_charge(s->payer, bytes);
}

int hbt_spool_init(struct hbt_spool *s, size_t max_memory, int64_t max,
                   int64_t max_total, const char *directory,
                   struct hbt_spool_payer *payer)
{
	*s = (struct hbt_spool){
		.memory = {.fd = -1},
		.file = {.fd = -1},
		.max_memory = max_memory,
		.max = max,
		.max_total = max_total,
		.payer = payer,
	};
	s->directory = strdup(directory != NULL ? directory : "/tmp");
	return s->directory != NULL ? HALIBUT_OK : HALIBUT_ENOMEM;
}

static void part_fini(struct hbt_spool *s, struct hbt_spool_part *part)
{
	charge(s, -footprint(part));
	if (part->fd >= 0)
		close(part->fd);
	*part = (struct hbt_spool_part){.fd = -1};
}

void hbt_spool_drop(struct hbt_spool *s)
{
	part_fini(s, &s->memory);
	part_fini(s, &s->file);
}

void hbt_spool_fini(struct hbt_spool *s)
{
	hbt_spool_drop(s);
	free(s->directory);
	s->directory = NULL;
}

int64_t hbt_spool_length(const struct hbt_spool *s)
{
	return length(&s->memory) + length(&s->file);
}

bool hbt_spool_is_empty(const struct hbt_spool *s)
{
	return hbt_spool_length(s) == 0;
}

static void complain(const struct hbt_spool *s, int err)
{
	log_limited("spool_failed", HBT_LOG_WARNING,
	            LOG_ABOUT(.event = "spool_failed", .reason = strerror(err)),
	            "cannot spool DataStreams in %s: %s; senders wait for "
	            "their readers meanwhile",
	            s->directory, strerror(err));
}

static void say_slow(const struct hbt_spool *s, int64_t took_us)
{
	log_limited("spool_slow", HBT_LOG_WARNING,
	            LOG_ABOUT(.event = "spool_slow",
	                      .remedy = "spool_directory should be on a fast "
	                                "local disk"),
	            "a write to %s took %lld ms, in which nothing else was "
	            "done: senders of DataStreams are slowed down; "
	            "spool_directory should be on a fast local disk",
	            s->directory, (long long)(took_us / 1000));
}

/* How often we gave the processor away: who waits for a disk does. */
static long count_waits(void)
{
	struct rusage used;

	return getrusage(RUSAGE_SELF, &used) == 0 ? used.ru_nvcsw : 0;
}

static ssize_t write_file(const struct hbt_spool *s, const void *data,
                          size_t len)
{
	long waits = count_waits();
	int64_t began = hbt_now_us();
	ssize_t n = pwrite(s->file.fd, data, len, s->file.tail);
	int err = errno;
	int64_t ended = hbt_now_us(), took = ended - began;

	if (took >= SLOW_US && count_waits() > waits) {
		int64_t rest = took * RESTS;

		rest_until_us = ended + (rest < MAX_REST_US ? rest
		                                            : MAX_REST_US);
		if (took >= NEWS_US)
			say_slow(s, took);
	}
	errno = err;
	return n;
}

/* Until the file may be written to again; 0: it may. */
static int64_t rest_ms(void)
{
	int64_t left = rest_until_us - hbt_now_us();

	return left > 0 ? left / 1000 + 1 : 0;
}

/* -1 and errno. Some file systems have no O_TMPFILE: overlayfs of old. */
static int open_unlinked(const char *directory)
{
	char path[PATH_MAX];
	int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR))
		return fd;
	if (snprintf(path, sizeof(path), "%s/halibut-XXXXXX", directory) >=
	    (int)sizeof(path)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	if ((fd = mkostemp(path, O_CLOEXEC)) >= 0)
		unlink(path);
	return fd;
}

/* The part that takes the next byte, with *room in it; NULL when there is
 * none. What waits in the file must leave before what is newer. */
static struct hbt_spool_part *choose(struct hbt_spool *s, int64_t *room)
{
	struct hbt_spool_part *part = &s->memory;

	*room = (int64_t)s->max_memory - part->tail;
	if (length(&s->file) > 0 || *room <= 0) {
		part = &s->file;
		*room = INT64_MAX;
	}
	if (part->fd < 0) {
		part->fd = part == &s->memory
		                   ? memfd_create("halibut spool", MFD_CLOEXEC)
		                   : open_unlinked(s->directory);
		if (part->fd < 0 && part == &s->memory) {
			part = &s->file; /* no memory: try the disk */
			*room = INT64_MAX;
			if (part->fd < 0)
				part->fd = open_unlinked(s->directory);
		}
		if (part->fd < 0) {
			complain(s, errno);
			return NULL;
		}
	}
	return part;
}

static int64_t room_in(const struct hbt_spool *s)
{
	int64_t room = s->max - footprint(&s->memory) - footprint(&s->file);
	int64_t paid = hbt_spool_payer_room(s->payer);

	if (room > s->max_total - total)
		room = s->max_total - total;
	return room < paid ? room : paid;
}

size_t hbt_spool_append(struct hbt_spool *s, const void *data, size_t len)
{
	size_t done = 0;

	s->retry_ms = 0;
	while (done < len) {
		int64_t room = room_in(s);
		struct hbt_spool_part *part;
		int64_t part_room;
		ssize_t n;

		if (room <= 0)
			break;
		if ((part = choose(s, &part_room)) == NULL) {
			s->retry_ms = RETRY_MS;
			break;
		}
		if (part == &s->file && (s->retry_ms = rest_ms()) > 0)
			break;
		if (room > part_room)
			room = part_room;
		if ((uint64_t)room > len - done)
			room = (int64_t)(len - done);
		n = part == &s->file
		            ? write_file(s, (const uint8_t *)data + done,
		                         (size_t)room)
		            : pwrite(part->fd, (const uint8_t *)data + done,
		                     (size_t)room, part->tail);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			complain(s, n < 0 ? errno : ENOSPC);
			s->retry_ms = RETRY_MS;
			break;
		}
		part->tail += n;
		charge(s, n);
		done += (size_t)n;
	}
	return done;
}

/*
 * Gives the drained front back. The pages that splice() put into the pipe are
 * the file's own: dropping whole pages leaves those alone, but punching a hole
 * may zero the rest of a large page in place. So a hole ends before what the
 * pipe still holds.
 */
static void give_back(struct hbt_spool *s, struct hbt_spool_part *part,
                      int pipe)
{
	int64_t to = part->head;
	int in_pipe = 0;

	if (part->head == part->tail) {
		if (ftruncate(part->fd, 0) == 0) {
			charge(s, -footprint(part));
			part->head = part->tail = part->punched = 0;
		}
		return;
	}
	if (to - part->punched < PUNCH_BYTES ||
	    ioctl(pipe, FIONREAD, &in_pipe) != 0)
		return;
	to = (to - in_pipe) & ~(PUNCH_BYTES - 1);
	if (to <= part->punched ||
	    fallocate(part->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
	              part->punched, to - part->punched) != 0)
		return; /* it can wait until all is drained */
	charge(s, part->punched - to);
	part->punched = to;
}

ssize_t hbt_spool_drain(struct hbt_spool *s, int pipe, size_t max)
{
	struct hbt_spool_part *part =
		length(&s->memory) > 0 ? &s->memory : &s->file;
	off_t offset = part->head;
	ssize_t n;

	if ((int64_t)max > length(part))
		max = (size_t)length(part);
	do {
		n = splice(part->fd, &offset, pipe, NULL, max,
		           SPLICE_F_NONBLOCK);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n == 0)
		return -EIO; /* somebody cut the file */
	part->head += n;
	give_back(s, part, pipe);
	return n;
}
