/*
 * Streams as files of one directory that all nodes see, perhaps over NFS. A
 * name tells all that others need: GUID.ID.NUMBER.TTL.LENGTH, in front of it
 * ".tmp." while it is written. A name is a reservation as well: the sum of
 * all lengths is what max_total_bytes limits.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "store/private.h"

#define TMP ".tmp."
#define MARKER ".swept"

enum {
	NAME_TEXT = 160,
	TURN_BYTES = 512 * 1024, /* of a stream, written in one turn */
	SWEEP_S = 60,
	SWEEP_FILES = 200, /* in one turn */
	GRACE_S = 60,      /* clocks of file servers are coarse */
};

struct directory {
	char *path;
	int fd;
	int64_t max_total_bytes;
	struct event *timer;
	DIR *sweeping; /* NULL: not now */
	time_t now;    /* the file server's, when sweeping began */
};

struct put {
	int fd; /* of the stream under way; -1 */
	size_t turn; /* bytes left in this turn */
	struct event *next_turn;
	size_t kept; /* streams that have their names */
};

static int failed(const struct directory *d, const char *name,
                  struct halibut_error *err)
{
	int why = errno;

	return hbt_error_set(err, HALIBUT_ESYSTEM,
	                     "The DataStream store %s%s%s: %s.", d->path,
	                     name != NULL ? "/" : "", name != NULL ? name : "",
	                     strerror(why));
}

static void make_name(const struct hbt_stored *what, size_t k, bool tmp,
                      char name[NAME_TEXT])
{
	char guid[HBT_GUID_TEXT];

	hbt_guid_format(&what->v[k].id, guid);
	snprintf(name, NAME_TEXT, "%s%s.%s.%zu.%lld.%lld", tmp ? TMP : "",
	         guid, what->id, k, (long long)((what->ttl_ms + 999) / 1000),
	         (long long)what->v[k].length);
}

/* Is it a file of ours? */
static bool parse_name(const char *name, int64_t *ttl_s, int64_t *length)
{
	const char *p = name;
	int end = 0;

	if (strncmp(p, TMP, sizeof(TMP) - 1) == 0)
		p += sizeof(TMP) - 1;
	if (strspn(p, "0123456789abcdef-") != 36 || p[36] != '.' ||
	    strspn(p + 37, "0123456789abcdef") != 32 || p[69] != '.')
		return false;
	return sscanf(p + 70, "%*u.%" SCNd64 ".%" SCNd64 "%n", ttl_s, length,
	              &end) == 2 &&
	       p[70 + end] == '\0' && *ttl_s > 0 && *length >= 0;
}

/* A listing of its own: dup() would share its place. */
static DIR *list(const struct directory *d)
{
	int fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;

	if (dir == NULL && fd >= 0)
		close(fd);
	return dir;
}

/* ---- Expiry ---- */

/* By the file server's clock, which the marker asks: by whoever sees first
 * that nobody has for a minute. */
static bool sweep_is_due(struct directory *d)
{
	int fd = openat(d->fd, MARKER, O_WRONLY | O_CREAT | O_CLOEXEC, 0660);
	struct stat st;
	bool due = false;

	if (fd < 0)
		return false;
	if (fstat(fd, &st) == 0 &&
	    llabs((long long)(time(NULL) - st.st_mtime)) >= SWEEP_S &&
	    futimens(fd, NULL) == 0 && fstat(fd, &st) == 0) {
		d->now = st.st_mtime;
		due = true;
	}
	close(fd);
	return due;
}

static void sweep_file(struct directory *d, const char *name)
{
	int64_t ttl_s, length;
	struct stat st;

	if (parse_name(name, &ttl_s, &length) &&
	    fstatat(d->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    d->now - st.st_mtime > ttl_s + GRACE_S)
		unlinkat(d->fd, name, 0);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval minute = {.tv_sec = SWEEP_S};
	static const struct timeval soon = {.tv_usec = 1000};
	struct directory *d = arg;
	struct dirent *e;

	(void)fd;
	(void)what;
	if (d->sweeping == NULL && sweep_is_due(d))
		d->sweeping = list(d);
	for (int i = 0; d->sweeping != NULL && i < SWEEP_FILES; i++) {
		if ((e = readdir(d->sweeping)) != NULL) {
			sweep_file(d, e->d_name);
			continue;
		}
		closedir(d->sweeping);
		d->sweeping = NULL;
	}
	event_add(d->timer, d->sweeping != NULL ? &soon : &minute);
}

/* ---- The store ---- */

static void dir_close(struct hbt_store *s)
{
	struct directory *d = s->impl;

	if (d == NULL)
		return;
	if (d->timer != NULL)
		event_free(d->timer);
	if (d->sweeping != NULL)
		closedir(d->sweeping);
	if (d->fd >= 0)
		close(d->fd);
	free(d->path);
	free(d);
	s->impl = NULL;
}

static int dir_open(struct hbt_store *s, struct hbt_redis *redis,
                    const struct hbt_store_config *config,
                    struct halibut_error *err)
{
	static const struct timeval soon = {.tv_sec = 1};
	struct directory *d = calloc(1, sizeof(*d));

	(void)redis;
	if ((s->impl = d) == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "Out of memory.");
	d->fd = -1;
	d->max_total_bytes = config->max_total_bytes;
	if (config->directory == NULL || config->directory[0] == '\0')
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "A DataStream store of kind \"directory\" "
		                     "needs a directory.");
	if ((d->path = strdup(config->directory)) == NULL ||
	    (d->timer = event_new(s->base, -1, 0, on_timer, d)) == NULL ||
	    event_add(d->timer, &soon) != 0)
		return hbt_error_set(err, HALIBUT_ENOMEM, "Out of memory.");
	d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->fd < 0 || faccessat(d->fd, ".", R_OK | W_OK | X_OK,
	                           AT_EACCESS) != 0) {
		failed(d, NULL, err);
		if (err != NULL)
			err->status = HALIBUT_EINVAL;
		return HALIBUT_EINVAL;
	}
	return HALIBUT_OK;
}

/* ---- Saving ---- */

static void on_next_turn(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_saving *g = arg;
	struct put *p = g->put;

	(void)fd;
	(void)what;
	p->turn = TURN_BYTES;
	hbt_saving_go_on(g);
}

static int put_open(struct hbt_saving *g, struct halibut_error *err)
{
	struct put *p = calloc(1, sizeof(*p));

	(void)err;
	if ((g->put = p) == NULL)
		return HALIBUT_ENOMEM;
	p->fd = -1;
	p->turn = TURN_BYTES;
	p->next_turn = event_new(g->store->base, -1, 0, on_next_turn, g);
	return p->next_turn != NULL ? HALIBUT_OK : HALIBUT_ENOMEM;
}

static bool put_ready(struct hbt_saving *g)
{
	return ((struct put *)g->put)->turn > 0;
}

static int check_total(struct directory *d, struct halibut_error *err)
{
	int64_t ttl_s, length, sum = 0;
	struct dirent *e;
	DIR *dir;

	if (d->max_total_bytes <= 0)
		return HALIBUT_OK;
	if ((dir = list(d)) == NULL)
		return failed(d, NULL, err);
	while ((e = readdir(dir)) != NULL)
		if (parse_name(e->d_name, &ttl_s, &length) &&
		    __builtin_add_overflow(sum, length, &sum))
			sum = INT64_MAX;
	closedir(dir);
	if (sum <= d->max_total_bytes)
		return HALIBUT_OK;
	return hbt_error_set(
		err, HALIBUT_ELIMIT,
		"The DataStream store %s is full: with this DataStream it "
		"would hold %lld bytes, and the limit of all nodes together "
		"is %lld bytes.",
		d->path, (long long)sum, (long long)d->max_total_bytes);
}

static int put_begin(struct hbt_saving *g, size_t k, struct halibut_error *err)
{
	struct directory *d = g->store->impl;
	struct put *p = g->put;
	char name[NAME_TEXT];

	make_name(&g->what, k, true, name);
	p->fd = openat(d->fd, name,
	               O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
	               0660);
	if (p->fd < 0)
		return failed(d, name, err);
	return check_total(d, err);
}

static ssize_t put_write(struct hbt_saving *g, const uint8_t *data, size_t len,
                         struct halibut_error *err)
{
	struct directory *d = g->store->impl;
	struct put *p = g->put;
	char name[NAME_TEXT];
	ssize_t n;

	if (len > p->turn)
		len = p->turn;
	while ((n = write(p->fd, data, len)) < 0 && errno == EINTR)
		;
	if (n < 0) {
		make_name(&g->what, g->begun - 1, true, name);
		return -failed(d, name, err);
	}
	if (p->turn == TURN_BYTES)
		hbt_store_next_turn(p->next_turn);
	p->turn -= (size_t)n;
	return n;
}

static int put_end(struct hbt_saving *g, size_t k, struct halibut_error *err)
{
	struct directory *d = g->store->impl;
	struct put *p = g->put;
	char tmp[NAME_TEXT], name[NAME_TEXT];
	int rc;

	make_name(&g->what, k, true, tmp);
	make_name(&g->what, k, false, name);
	/* A network file system tells here that the disk was full. */
	rc = close(p->fd);
	p->fd = -1;
	if (rc != 0 || renameat(d->fd, tmp, d->fd, name) != 0)
		return failed(d, tmp, err);
	p->kept++;
	return HALIBUT_OK;
}

static void dir_remove(struct hbt_store *s, const struct hbt_stored *what,
                       size_t k)
{
	struct directory *d = s->impl;
	char name[NAME_TEXT];

	make_name(what, k, false, name);
	if (unlinkat(d->fd, name, 0) != 0 && errno != ENOENT)
		log_warning("The DataStream store %s/%s: %s; it stays there "
		            "until it expires",
		            d->path, name, strerror(errno));
}

static void put_close(struct hbt_saving *g, bool kept)
{
	struct directory *d = g->store->impl;
	struct put *p = g->put;
	char name[NAME_TEXT];

	if (p->fd >= 0)
		close(p->fd);
	for (size_t k = 0; !kept && k < p->kept; k++)
		dir_remove(g->store, &g->what, k);
	if (!kept && p->kept < g->begun) {
		make_name(&g->what, p->kept, true, name);
		unlinkat(d->fd, name, 0);
	}
	if (p->next_turn != NULL)
		event_free(p->next_turn);
	free(p);
}

/* ---- Loading ---- */

static int get_open(struct hbt_load *l, size_t k, struct halibut_error *err)
{
	struct directory *d = l->store->impl;
	char name[NAME_TEXT];
	int *fd = malloc(sizeof(*fd));

	if (fd == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "Out of memory.");
	make_name(&l->what, k, false, name);
	*fd = openat(d->fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (*fd < 0) {
		failed(d, name, err);
		hbt_error_prefix(err, "A DataStream of a queued message is not "
		                      "there: it expired, or another node has "
		                      "another directory. ");
		free(fd);
		return HALIBUT_ESYSTEM;
	}
	l->get = fd;
	return HALIBUT_OK;
}

static ssize_t get_read(struct hbt_load *l, size_t k, void *buf, size_t cap,
                        struct halibut_error *err)
{
	char name[NAME_TEXT];
	ssize_t n;

	while ((n = read(*(int *)l->get, buf, cap)) < 0 && errno == EINTR)
		;
	if (n < 0) {
		make_name(&l->what, k, false, name);
		return -failed(l->store->impl, name, err);
	}
	return n;
}

static void get_close(struct hbt_load *l)
{
	close(*(int *)l->get);
	free(l->get);
}

static void dir_refresh(struct hbt_store *s, const struct hbt_stored *what,
                        size_t k)
{
	struct directory *d = s->impl;
	char name[NAME_TEXT];

	for (int tmp = 0; tmp < 2; tmp++) {
		make_name(what, k, tmp, name);
		utimensat(d->fd, name, NULL, AT_SYMLINK_NOFOLLOW);
	}
}

/* All streams shall live for their whole time from now on. */
static void put_finish(struct hbt_saving *g)
{
	for (size_t k = 0; k < g->what.n; k++)
		dir_refresh(g->store, &g->what, k);
	hbt_saving_done(g);
}

const struct hbt_store_ops hbt_store_directory = {
	.kind = "directory",
	HBT_STORE_PUT_AND_GET,
	.open = dir_open,
	.close = dir_close,
	.put_finish = put_finish,
	.remove = dir_remove,
	.refresh = dir_refresh,
};
