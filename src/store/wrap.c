#include "store/wrap.h"

#include <assert.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/buf.h"
#include "base/split.h"
#include "store/child.h"

enum {
	GZIP_BITS = 15 + 16, /* 16: zlib's way to say gzip: 3.3 */
	/* What is between two wrappers may be larger than what is inside, as
	 * after base64; this and twice the size is enough for anybody. */
	SLACK = 64 * 1024,
};

struct wrapper {
	char **argv; /* NULL: gzip */
};

struct hbt_wrappers {
	struct event_base *base;
	struct hbt_children *children;
	struct wrapper *v;
	size_t n;
	bool immediate;
	size_t max_bytes;
	/* Kept: making one takes longer than a small message. */
	z_stream deflate, inflate;
	bool deflate_ready, inflate_ready;
};

/* One way through all wrappers. data is what the next one gets. */
struct hbt_wrapping {
	struct hbt_wrappers *w;
	bool unwrap;
	size_t done; /* wrappers that are through */
	uint8_t *data;
	size_t len;
	size_t taken; /* by the program that runs */
	struct hbt_buf out;
	struct hbt_child *child;
	struct event *later;
	struct halibut_error err;
	hbt_wrapped_fn fn;
	void *arg;
};

/* ---- The list ---- */

static int add_wrapper(struct hbt_wrappers *w, const char *text,
                       struct halibut_error *err)
{
	static const char program[] = "program ";
	int rc;

	if (strcmp(text, "gzip") == 0) {
		w->n++;
		return HALIBUT_OK;
	}
	if (strncmp(text, program, sizeof(program) - 1) != 0)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "\"%s\" is no wrapper of queued messages: "
		                     "write gzip, or program and a command.",
		                     text);
	rc = hbt_split(text + sizeof(program) - 1, &w->v[w->n].argv, err);
	if (rc != HALIBUT_OK) {
		hbt_error_prefix(err, "A wrapper of queued messages: ");
		return rc;
	}
	w->n++;
	w->immediate = false;
	return HALIBUT_OK;
}

int hbt_wrappers_new(struct hbt_wrappers **out, struct event_base *base,
                     const char *const *list, size_t n, size_t max_bytes,
                     int64_t program_timeout_ms, struct halibut_error *err)
{
	struct hbt_wrappers *w = calloc(1, sizeof(*w));
	int rc = HALIBUT_OK;

	*out = NULL;
	if (w == NULL)
		goto no_memory;
	w->base = base;
	w->immediate = true;
	w->max_bytes = max_bytes;
	if ((n > 0 && (w->v = calloc(n, sizeof(*w->v))) == NULL) ||
	    hbt_children_new(&w->children, base, program_timeout_ms) != 0)
		goto no_memory;
	for (size_t i = 0; i < n && rc == HALIBUT_OK; i++)
		rc = add_wrapper(w, list[i], err);
	if (rc == HALIBUT_OK)
		*out = w;
	else
		hbt_wrappers_free(&w);
	return rc;
no_memory:
	hbt_wrappers_free(&w);
	return hbt_error_set(err, HALIBUT_ENOMEM, "Out of memory.");
}

void hbt_wrappers_free(struct hbt_wrappers **w_p)
{
	struct hbt_wrappers *w = *w_p;

	*w_p = NULL;
	if (w == NULL)
		return;
	hbt_children_free(&w->children);
	for (size_t i = 0; i < w->n; i++)
		free(w->v[i].argv);
	if (w->deflate_ready)
		deflateEnd(&w->deflate);
	if (w->inflate_ready)
		inflateEnd(&w->inflate);
	free(w->v);
	free(w);
}

int hbt_wrappers_are_immediate(const struct hbt_wrappers *w)
{
	return w->immediate;
}

/* ---- What they share ---- */

static int no_memory(struct halibut_error *err)
{
	return hbt_error_set(err, HALIBUT_ENOMEM, "Out of memory.");
}

static bool is_last(const struct hbt_wrapping *g)
{
	return g->done + 1 == g->w->n;
}

/* What the next wrapper may give at most. */
static size_t most(const struct hbt_wrapping *g)
{
	size_t max = g->w->max_bytes;

	if (g->unwrap && is_last(g))
		return max;
	return max < (SIZE_MAX - SLACK) / 2 ? 2 * max + SLACK : SIZE_MAX;
}

static int too_much(const struct hbt_wrapping *g, struct halibut_error *err)
{
	return hbt_error_set(err, HALIBUT_ELIMIT,
	                     "A message from the queue is larger than %zu "
	                     "bytes without its wrapper; the limit's setting "
	                     "is the largest message size.",
	                     g->w->max_bytes);
}

/* What the last wrapper gave is the next one's input. */
static void step_done(struct hbt_wrapping *g)
{
	free(g->data);
	g->data = hbt_buf_detach(&g->out, &g->len);
	g->done++;
}

/* ---- gzip ---- */

static bool get_deflate(struct hbt_wrappers *w)
{
	if (w->deflate_ready)
		return deflateReset(&w->deflate) == Z_OK;
	w->deflate_ready = deflateInit2(&w->deflate, Z_DEFAULT_COMPRESSION,
	                                Z_DEFLATED, GZIP_BITS, 8,
	                                Z_DEFAULT_STRATEGY) == Z_OK;
	return w->deflate_ready;
}

static bool get_inflate(struct hbt_wrappers *w)
{
	if (w->inflate_ready)
		return inflateReset(&w->inflate) == Z_OK;
	w->inflate_ready = inflateInit2(&w->inflate, GZIP_BITS) == Z_OK;
	return w->inflate_ready;
}

static int gzip(struct hbt_wrapping *g, struct halibut_error *err)
{
	z_stream *z = &g->w->deflate;
	uint8_t *p;
	size_t bound;

	if (!get_deflate(g->w))
		return no_memory(err);
	bound = deflateBound(z, g->len);
	if (g->len > UINT_MAX || bound > UINT_MAX)
		return too_much(g, err);
	if ((p = hbt_buf_reserve(&g->out, bound)) == NULL)
		return no_memory(err);
	z->next_in = g->data;
	z->avail_in = (uInt)g->len;
	z->next_out = p;
	z->avail_out = (uInt)bound;
	if (deflate(z, Z_FINISH) != Z_STREAM_END)
		return no_memory(err);
	g->out.len = bound - z->avail_out;
	return HALIBUT_OK;
}

/* Room for some more, but one byte beyond the largest size is too much. */
static int gunzip_room(struct hbt_wrapping *g, z_stream *z,
                       struct halibut_error *err)
{
	struct hbt_buf *out = &g->out;
	size_t n = out->len > 4096 ? out->len : 4096;
	uint8_t *p;

	if (n > out->max - out->len)
		n = out->max - out->len;
	if (n == 0)
		return too_much(g, err);
	if (n > UINT_MAX)
		n = UINT_MAX;
	if ((p = hbt_buf_reserve(out, n)) == NULL)
		return no_memory(err);
	z->next_out = p;
	z->avail_out = (uInt)n;
	return HALIBUT_OK;
}

/* Another member may follow; anything else behind one is ignored, as the
 * reference does. */
static bool next_member(z_stream *z)
{
	return z->avail_in >= 2 && z->next_in[0] == 0x1f &&
	       z->next_in[1] == 0x8b && inflateReset(z) == Z_OK;
}

static int gunzip(struct hbt_wrapping *g, struct halibut_error *err)
{
	size_t max = most(g);
	z_stream *z = &g->w->inflate;
	int rc, zrc;
	uInt room;

	if (!get_inflate(g->w))
		return no_memory(err);
	if (g->len > UINT_MAX)
		return too_much(g, err);
	hbt_buf_init(&g->out, max < SIZE_MAX ? max + 1 : max);
	z->next_in = g->data;
	z->avail_in = (uInt)g->len;
	do {
		if ((rc = gunzip_room(g, z, err)) != HALIBUT_OK)
			return rc;
		room = z->avail_out;
		zrc = inflate(z, Z_NO_FLUSH);
		g->out.len += room - z->avail_out;
		if (g->out.len > max)
			return too_much(g, err);
		if (zrc == Z_MEM_ERROR)
			return no_memory(err);
	} while ((zrc == Z_OK && (z->avail_in > 0 || z->avail_out == 0)) ||
	         (zrc == Z_STREAM_END && next_member(z)));
	if (zrc != Z_STREAM_END)
		return hbt_error_set(
			err, HALIBUT_EPROTO,
			"A message from the queue is no whole gzip stream "
			"(%s): all nodes of a queue need the same wrappers.",
			z->msg != NULL ? z->msg : "it ends early");
	return HALIBUT_OK;
}

/* ---- Programs ---- */

static void run(struct hbt_wrapping *g);
static void finish(struct hbt_wrapping *g);

/* A piece at a time: other work is waiting, too. */
static int collect(struct hbt_wrapping *g, bool *end, struct halibut_error *err)
{
	enum { PIECE = 64 * 1024, PIECES = 16 };
	uint8_t *p;
	ssize_t n;

	*end = false;
	for (int i = 0; i < PIECES; i++) {
		size_t room = g->out.max - g->out.len;

		if (room > PIECE)
			room = PIECE;
		if (room == 0)
			return too_much(g, err);
		if ((p = hbt_buf_reserve(&g->out, room)) == NULL)
			return no_memory(err);
		n = hbt_child_read(g->child, p, room);
		if (n <= 0) {
			*end = n == 0;
			return HALIBUT_OK;
		}
		g->out.len += (size_t)n;
	}
	event_active(g->later, EV_TIMEOUT, 0);
	return HALIBUT_OK;
}

static void give(struct hbt_wrapping *g)
{
	size_t n;

	if (g->taken > g->len)
		return;
	while (g->taken < g->len) {
		n = hbt_child_write(g->child, g->data + g->taken,
		                    g->len - g->taken);
		if (n == 0)
			return;
		g->taken += n;
	}
	hbt_child_close_input(g->child);
	g->taken++; /* so that this is done once */
}

static void on_go_on(void *arg)
{
	struct hbt_wrapping *g = arg;
	bool end;

	give(g);
	if (collect(g, &end, &g->err) != HALIBUT_OK)
		finish(g);
	/* Its exit status is awaited in any case. */
}

static void on_ended(void *arg, const struct halibut_error *err)
{
	struct hbt_wrapping *g = arg;
	bool end = false;

	if (err != NULL)
		hbt_error_copy(&g->err, err);
	while (g->err.status == HALIBUT_OK && !end)
		collect(g, &end, &g->err);
	hbt_child_free(&g->child);
	event_del(g->later);
	if (g->err.status == HALIBUT_OK) {
		step_done(g);
		run(g);
		return;
	}
	finish(g);
}

static int start_program(struct hbt_wrapping *g, const struct wrapper *wr,
                         struct halibut_error *err)
{
	static const struct hbt_child_ops ops = {
		.go_on = on_go_on,
		.ended = on_ended,
	};
	const char *what = g->unwrap ? "unwrap" : "wrap";
	size_t max = most(g);
	int rc;

	hbt_buf_init(&g->out, max < SIZE_MAX ? max + 1 : max);
	g->taken = 0;
	rc = hbt_child_start(&g->child, g->w->children, wr->argv, &what, 1,
	                     NULL, &ops, g, err);
	if (rc == HALIBUT_OK)
		event_active(g->later, EV_TIMEOUT, 0);
	return rc;
}

/* ---- One after another ---- */

static void destroy(struct hbt_wrapping *g)
{
	hbt_child_free(&g->child);
	if (g->later != NULL)
		event_free(g->later);
	hbt_buf_fini(&g->out);
	free(g->data);
	halibut_error_clear(&g->err);
	free(g);
}

/* Tells the end, and is over. */
static void finish(struct hbt_wrapping *g)
{
	struct halibut_error err = {0};
	hbt_wrapped_fn fn = g->fn;
	void *arg = g->arg;
	uint8_t *data = g->data;
	size_t len = g->len;

	g->data = NULL;
	hbt_error_move(&err, &g->err);
	destroy(g);
	/* NULL is for errors, and a program may have given nothing. */
	if (err.status == HALIBUT_OK && data == NULL &&
	    (data = malloc(1)) == NULL)
		no_memory(&err);
	if (err.status == HALIBUT_OK) {
		fn(arg, data, len, NULL);
		return;
	}
	free(data);
	fn(arg, NULL, 0, &err);
	halibut_error_clear(&err);
}

/* The wrapper whose turn it is: Wn is the innermost one. */
static const struct wrapper *next_wrapper(const struct hbt_wrapping *g)
{
	return &g->w->v[g->unwrap ? g->done : g->w->n - 1 - g->done];
}

/* Up to the next program, or to the end. */
static void run(struct hbt_wrapping *g)
{
	const struct wrapper *wr;
	int rc = HALIBUT_OK;

	while (g->done < g->w->n && rc == HALIBUT_OK) {
		wr = next_wrapper(g);
		if (wr->argv != NULL) {
			rc = start_program(g, wr, &g->err);
			if (rc == HALIBUT_OK)
				return;
			break;
		}
		hbt_buf_init(&g->out, SIZE_MAX);
		rc = g->unwrap ? gunzip(g, &g->err) : gzip(g, &g->err);
		if (rc == HALIBUT_OK)
			step_done(g);
	}
	if (g->unwrap && rc == HALIBUT_OK && g->len > g->w->max_bytes)
		too_much(g, &g->err);
	finish(g);
}

/* The loop's turn: begins, or goes on with a program. */
static void on_later(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_wrapping *g = arg;

	(void)fd;
	(void)what;
	if (g->child != NULL)
		on_go_on(g);
	else
		run(g);
}

static void begin(struct hbt_wrapping **out, struct hbt_wrappers *w,
                  bool unwrap, uint8_t *data, size_t len, hbt_wrapped_fn done,
                  void *arg)
{
	struct hbt_wrapping *g = calloc(1, sizeof(*g));
	struct halibut_error err = {0};

	*out = NULL;
	if (g == NULL) {
		free(data);
		goto out_of_memory;
	}
	g->w = w;
	g->unwrap = unwrap;
	g->data = data;
	g->len = len;
	g->fn = done;
	g->arg = arg;
	if (w->immediate) {
		run(g);
		return;
	}
	if ((g->later = event_new(w->base, -1, 0, on_later, g)) == NULL) {
		destroy(g);
		goto out_of_memory;
	}
	event_active(g->later, EV_TIMEOUT, 0);
	*out = g;
	return;
out_of_memory:
	no_memory(&err);
	done(arg, NULL, 0, &err);
	halibut_error_clear(&err);
}

void hbt_wrap(struct hbt_wrapping **out, struct hbt_wrappers *w, uint8_t *data,
              size_t len, hbt_wrapped_fn done, void *arg)
{
	begin(out, w, false, data, len, done, arg);
}

void hbt_unwrap(struct hbt_wrapping **out, struct hbt_wrappers *w,
                uint8_t *data, size_t len, hbt_wrapped_fn done, void *arg)
{
	begin(out, w, true, data, len, done, arg);
}

void hbt_wrapping_cancel(struct hbt_wrapping **g_p)
{
	struct hbt_wrapping *g = *g_p;

	*g_p = NULL;
	if (g != NULL)
		destroy(g);
}
