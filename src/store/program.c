/*
 * Streams in the keeping of an operator's program: COMMAND store ID, fetch
 * ID, delete ID. How long they may be needed is told in the environment.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/split.h"
#include "store/child.h"
#include "store/private.h"

struct program {
	char **argv;
	struct hbt_children *children;
};

struct put {
	struct hbt_child *child;
	bool full; /* its pipe; or the stream's data is all there */
	bool finishing;
};

struct get {
	struct hbt_child *child;
	bool ended;
	int64_t read;
	struct halibut_error err;
};

static int start(struct hbt_store *s, const struct hbt_stored *what, size_t k,
                 const char *order, const struct hbt_child_ops *ops, void *arg,
                 struct hbt_child **child, struct halibut_error *err)
{
	struct program *prog = s->impl;
	char id[HBT_STORE_ID_TEXT + 24], ttl[64], length[64];
	const char *more[2] = {order, id};
	const char *env[3] = {ttl, length, NULL};

	snprintf(id, sizeof(id), "%s-%zu", what->id, k);
	snprintf(ttl, sizeof(ttl), "HALIBUT_STREAM_TTL=%lld",
	         (long long)((what->ttl_ms + 999) / 1000));
	snprintf(length, sizeof(length), "HALIBUT_STREAM_LENGTH=%lld",
	         (long long)what->v[k].length);
	return hbt_child_start(child, prog->children, prog->argv, more, 2, env,
	                       ops, arg, err);
}

static void nothing(void *arg)
{
	(void)arg;
}

static void nobody(void *arg, const struct halibut_error *err)
{
	(void)arg;
	(void)err;
}

static void prog_remove(struct hbt_store *s, const struct hbt_stored *what,
                        size_t k)
{
	static const struct hbt_child_ops ops = {nothing, nobody};
	struct hbt_child *child;

	if (start(s, what, k, "delete", &ops, NULL, &child, NULL) == HALIBUT_OK)
		hbt_child_let_go(&child);
}

static void prog_close(struct hbt_store *s)
{
	struct program *prog = s->impl;

	if (prog == NULL)
		return;
	hbt_children_free(&prog->children);
	free(prog->argv);
	free(prog);
	s->impl = NULL;
}

static int prog_open(struct hbt_store *s, struct hbt_redis *redis,
                     const struct hbt_store_config *config,
                     struct halibut_error *err)
{
	struct program *prog = calloc(1, sizeof(*prog));
	int rc;

	(void)redis;
	if ((s->impl = prog) == NULL ||
	    hbt_children_new(&prog->children, s->base,
	                     config->program_timeout_ms) != HALIBUT_OK)
		return hbt_error_set(err, HALIBUT_ENOMEM, "Out of memory.");
	if (config->command == NULL)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "A DataStream store of kind \"program\" "
		                     "needs a command.");
	rc = hbt_split(config->command, &prog->argv, err);
	if (rc != HALIBUT_OK)
		hbt_error_prefix(err, "The DataStream store: ");
	return rc;
}

/* ---- Saving ---- */

static int put_open(struct hbt_saving *g, struct halibut_error *err)
{
	(void)err;
	g->put = calloc(1, sizeof(struct put));
	return g->put != NULL ? HALIBUT_OK : HALIBUT_ENOMEM;
}

static bool put_ready(struct hbt_saving *g)
{
	return !((struct put *)g->put)->full;
}

static void on_room(void *arg)
{
	struct hbt_saving *g = arg;
	struct put *p = g->put;

	p->full = false;
	hbt_saving_go_on(g);
}

static void on_stored(void *arg, const struct halibut_error *err)
{
	struct hbt_saving *g = arg;
	struct put *p = g->put;

	hbt_child_free(&p->child);
	p->full = false;
	if (err != NULL)
		hbt_saving_failed(g, err);
	else if (p->finishing)
		hbt_saving_done(g);
	else
		hbt_saving_go_on(g);
}

static int put_begin(struct hbt_saving *g, size_t k, struct halibut_error *err)
{
	static const struct hbt_child_ops ops = {on_room, on_stored};
	struct put *p = g->put;

	return start(g->store, &g->what, k, "store", &ops, g, &p->child, err);
}

static ssize_t put_write(struct hbt_saving *g, const uint8_t *data, size_t len,
                         struct halibut_error *err)
{
	struct put *p = g->put;
	size_t n;

	if (p->child == NULL)
		return -hbt_error_set(err, HALIBUT_ESYSTEM,
		                      "The program of the DataStream store "
		                      "ended before it had read all.");
	n = hbt_child_write(p->child, data, len);
	p->full = n < len;
	return (ssize_t)n;
}

static int put_end(struct hbt_saving *g, size_t k, struct halibut_error *err)
{
	struct put *p = g->put;

	(void)k;
	(void)err;
	if (p->child != NULL) {
		p->full = true; /* until it has ended */
		hbt_child_close_input(p->child);
	}
	return HALIBUT_OK;
}

static void put_finish(struct hbt_saving *g)
{
	struct put *p = g->put;

	p->finishing = true;
	if (p->child == NULL)
		hbt_saving_done(g);
}

static void put_close(struct hbt_saving *g, bool kept)
{
	struct put *p = g->put;

	hbt_child_free(&p->child);
	for (size_t k = 0; !kept && k < g->begun; k++)
		prog_remove(g->store, &g->what, k);
	free(p);
}

/* ---- Loading ---- */

static void on_output(void *arg)
{
	hbt_load_go_on(arg);
}

static void on_fetched(void *arg, const struct halibut_error *err)
{
	struct hbt_load *l = arg;
	struct get *g = l->get;

	g->ended = true;
	if (err != NULL)
		hbt_error_copy(&g->err, err);
	hbt_load_go_on(l);
}

static int get_open(struct hbt_load *l, size_t k, struct halibut_error *err)
{
	static const struct hbt_child_ops ops = {on_output, on_fetched};
	struct get *g = calloc(1, sizeof(*g));
	int rc;

	if (g == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "Out of memory.");
	rc = start(l->store, &l->what, k, "fetch", &ops, l, &g->child, err);
	if (rc != HALIBUT_OK) {
		free(g);
		return rc;
	}
	hbt_child_close_input(g->child);
	l->get = g;
	return HALIBUT_OK;
}

static ssize_t get_read(struct hbt_load *l, size_t k, void *buf, size_t cap,
                        struct halibut_error *err)
{
	struct get *g = l->get;
	ssize_t n;

	/* With its length known, all data is there before its end is: what
	 * it gave counts, and a failure after that does not. */
	(void)k;
	n = hbt_child_read(g->child, buf, cap);
	if (n != 0)
		return n;
	if (!g->ended)
		return -HALIBUT_EAGAIN;
	if (g->err.status == HALIBUT_OK)
		return 0;
	if (err != NULL)
		hbt_error_copy(err, &g->err);
	return -(ssize_t)g->err.status;
}

static void get_close(struct hbt_load *l)
{
	struct get *g = l->get;

	hbt_child_free(&g->child);
	halibut_error_clear(&g->err);
	free(g);
}

const struct hbt_store_ops hbt_store_program = {
	.kind = "program",
	HBT_STORE_PUT_AND_GET,
	.open = prog_open,
	.close = prog_close,
	.put_finish = put_finish,
	.remove = prog_remove,
};
