/* The common part of all stores: configuration, and saving. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/private.h"

enum {
	DEFAULT_MAX_METADATA = 16 << 20,
	/* The sink takes so much in a turn of the loop. */
	TURN_BYTES = 1 << 20,
};

static const struct hbt_store_ops *const kinds[] = {
	&hbt_store_redis,
	&hbt_store_directory,
	&hbt_store_program,
	&hbt_store_metadata,
};

static int no_memory(struct halibut_error *err)
{
	return hbt_error_set(err, HALIBUT_ENOMEM, "Out of memory.");
}

int hbt_store_new(struct hbt_store **out, struct event_base *base,
                  struct hbt_redis *redis,
                  const struct hbt_store_config *config,
                  struct halibut_error *err)
{
	struct hbt_store *s = calloc(1, sizeof(*s));
	int rc;

	*out = NULL;
	if (s == NULL)
		return no_memory(err);
	s->base = base;
	s->max_metadata_bytes = config->max_metadata_bytes > 0
	                                ? config->max_metadata_bytes
	                                : DEFAULT_MAX_METADATA;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (config->kind != NULL &&
		    strcmp(kinds[i]->kind, config->kind) == 0)
			s->ops = kinds[i];
	if (s->ops == NULL) {
		free(s);
		return hbt_error_set(
			err, HALIBUT_EINVAL,
			"\"%s\" is no kind of DataStream store: write redis, "
			"directory, program or metadata.",
			config->kind != NULL ? config->kind : "");
	}
	if (s->ops->open != NULL &&
	    (rc = s->ops->open(s, redis, config, err)) != HALIBUT_OK) {
		hbt_store_free(&s);
		return rc;
	}
	*out = s;
	return HALIBUT_OK;
}

void hbt_store_free(struct hbt_store **s_p)
{
	struct hbt_store *s = *s_p;

	*s_p = NULL;
	if (s == NULL)
		return;
	if (s->ops->close != NULL)
		s->ops->close(s);
	free(s);
}

/* ---- Saving ---- */

static void saving_destroy(struct hbt_saving *g)
{
	if (g->later != NULL)
		event_free(g->later);
	if (g->refresh != NULL)
		event_free(g->refresh);
	hbt_section_fini(&g->section);
	hbt_stored_fini(&g->what);
	halibut_error_clear(&g->err);
	hbt_message_unref(&g->m);
	free(g);
}

static void put_close(struct hbt_saving *g, bool kept)
{
	if (g->put != NULL)
		g->store->ops->put_close(g, kept);
	g->put = NULL;
}

static char *metadata_of(struct hbt_saving *g, size_t *len)
{
	*len = 2;
	if (g->what.n == 0)
		return strdup("{}");
	if (g->store->ops->put_metadata != NULL)
		return g->store->ops->put_metadata(g, len);
	return hbt_stored_write(&g->what, g->store->ops->kind, len);
}

/* Tells how it ended, and is over. */
static void tell(struct hbt_saving *g)
{
	char *metadata = NULL;
	size_t len = 0;

	if (g->err.status == HALIBUT_OK &&
	    (metadata = metadata_of(g, &len)) == NULL)
		no_memory(&g->err);
	put_close(g, g->err.status == HALIBUT_OK);
	if (g->err.status == HALIBUT_OK)
		g->saved(g->arg, (const uint8_t *)metadata, len, NULL);
	else
		g->saved(g->arg, NULL, 0, &g->err);
	free(metadata);
	saving_destroy(g);
}

static void on_later(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_saving *g = arg;

	(void)fd;
	(void)what;
	if (g->sink_open) {
		if (g->short_write && g->sink.wake != NULL) {
			g->short_write = false;
			g->sink.wake(g->sink.wake_arg);
		}
		return;
	}
	if (g->done || g->err.status != HALIBUT_OK)
		tell(g);
}

void hbt_store_next_turn(struct event *ev)
{
	static const struct timeval at_once = {0, 0};

	if (event_add(ev, &at_once) != 0)
		event_active(ev, EV_TIMEOUT, 0);
}

static void soon(struct hbt_saving *g)
{
	hbt_store_next_turn(g->later);
}

void hbt_saving_go_on(struct hbt_saving *g)
{
	if (g->sink_open && g->short_write)
		soon(g);
}

/*
 * Behind what ended before: messages go on in the order in which they came.
 * Timers of one moment would not keep it.
 */
static void end_in_order(struct hbt_saving *g)
{
	event_active(g->later, EV_TIMEOUT, 0);
}

void hbt_saving_done(struct hbt_saving *g)
{
	g->done = true;
	end_in_order(g);
}

void hbt_saving_failed(struct hbt_saving *g, const struct halibut_error *err)
{
	if (g->err.status == HALIBUT_OK)
		hbt_error_copy(&g->err, err);
	end_in_order(g);
}

/* What is stored while the rest still comes must not expire meanwhile. */
static void on_refresh(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_saving *g = arg;

	(void)fd;
	(void)what;
	for (size_t k = 0; g->put != NULL && k < g->begun; k++)
		g->store->ops->refresh(g->store, &g->what, k);
}

static int begin_stream(struct hbt_saving *g, struct halibut_error *err)
{
	struct hbt_stored_stream *v = &g->what.v[g->begun];
	int rc;

	if (g->section.length < 0)
		return hbt_error_set(err, HALIBUT_EPROTO,
		                     "The peer sent a DataStream with a "
		                     "negative length.");
	v->id = g->section.id;
	v->length = g->section.length;
	g->what.n = ++g->begun;
	rc = g->store->ops->put_begin(g, g->begun - 1, err);
	return rc;
}

/* One element of the section. *used may be 0: not now. */
static int take_some(struct hbt_saving *g, const uint8_t *data, size_t len,
                     size_t *used, struct halibut_error *err)
{
	const struct hbt_store_ops *ops = g->store->ops;
	const uint8_t *piece;
	bool begin, end;
	size_t n;
	ssize_t taken;
	int rc;

	*used = 0;
	if (!ops->put_ready(g))
		return HALIBUT_OK;
	if (g->section.state == HBT_SECTION_DATA) {
		n = (uint64_t)g->section.left < len ? (size_t)g->section.left
		                                    : len;
		if ((taken = ops->put_write(g, data, n, err)) < 0)
			return (int)-taken;
		if (taken == 0)
			return HALIBUT_OK;
		len = (size_t)taken;
	}
	rc = hbt_section_next(&g->section, data, len, used, &piece, &n, &begin,
	                      &end, err);
	if (rc == HALIBUT_OK && begin)
		rc = begin_stream(g, err);
	if (rc == HALIBUT_OK && end)
		rc = ops->put_end(g, g->begun - 1, err);
	return rc;
}

static ssize_t on_write(struct hbt_sink *sink, const void *data, size_t len,
                        struct halibut_error *err)
{
	struct hbt_saving *g =
		(void *)((char *)sink - offsetof(struct hbt_saving, sink));
	size_t most = len < TURN_BYTES ? len : TURN_BYTES;
	size_t done = 0, used = 1;
	int rc = HALIBUT_OK;

	if (g->cancelled)
		return (ssize_t)len;
	if (g->err.status != HALIBUT_OK)
		goto failed;
	while (done < most && used > 0 && rc == HALIBUT_OK &&
	       !hbt_section_finished(&g->section)) {
		rc = take_some(g, (const uint8_t *)data + done, most - done,
		               &used, &g->err);
		done += used;
	}
	if (rc != HALIBUT_OK)
		goto failed;
	if (done < len && hbt_section_finished(&g->section)) {
		hbt_error_set(&g->err, HALIBUT_EPROTO,
		              "More than its DataStreams follows a message.");
		goto failed;
	}
	g->short_write = done < len;
	if (g->short_write && used > 0)
		soon(g); /* only this turn is over */
	return (ssize_t)done;
failed:
	put_close(g, false);
	if (err != NULL)
		hbt_error_copy(err, &g->err);
	return -(ssize_t)g->err.status;
}

static void on_sink_end(struct hbt_sink *sink, const struct halibut_error *why)
{
	struct hbt_saving *g =
		(void *)((char *)sink - offsetof(struct hbt_saving, sink));

	g->sink_open = false;
	if (g->cancelled) {
		saving_destroy(g);
		return;
	}
	if (g->err.status == HALIBUT_OK && why != NULL) {
		hbt_error_copy(&g->err, why);
		hbt_error_prefix(&g->err, "The DataStreams of the message did "
		                          "not arrive: ");
		if (g->err.status == HALIBUT_OK)
			g->err.status = HALIBUT_ECLOSED;
	} else if (g->err.status == HALIBUT_OK &&
	           !hbt_section_finished(&g->section)) {
		hbt_error_set(&g->err, HALIBUT_ECLOSED,
		              "The DataStreams of the message ended early.");
	}
	if (g->err.status != HALIBUT_OK) {
		put_close(g, false);
		end_in_order(g);
		return;
	}
	g->store->ops->put_finish(g);
}

static const struct hbt_sink_ops sink_ops = {
	.write = on_write,
	.end = on_sink_end,
};

static void make_id(char text[HBT_STORE_ID_TEXT])
{
	struct hbt_guid id = hbt_guid_new();

	for (size_t i = 0; i < sizeof(id.wire); i++)
		snprintf(text + 2 * i, 3, "%02x", id.wire[i]);
}

/* How often to renew what has ttl_ms to live. */
static struct timeval refresh_interval(int64_t ttl_ms)
{
	int64_t ms = ttl_ms / 3 > 10 ? ttl_ms / 3 : 10;

	return (struct timeval){.tv_sec = ms / 1000,
	                        .tv_usec = ms % 1000 * 1000};
}

static int saving_start(struct hbt_saving *g, struct hbt_sink **sink)
{
	const struct hbt_envelope *env = &g->m->env;
	struct timeval tv = refresh_interval(g->what.ttl_ms);

	g->later = event_new(g->store->base, -1, 0, on_later, g);
	if (g->later == NULL)
		return HALIBUT_ENOMEM;
	if (env->n_streams == 0) {
		hbt_saving_done(g);
		return HALIBUT_OK;
	}
	g->what.v = calloc(env->n_streams, sizeof(*g->what.v));
	if (g->what.v == NULL ||
	    hbt_section_init(&g->section, env->streams, env->n_streams) != 0)
		return HALIBUT_ENOMEM;
	if (g->store->ops->refresh != NULL) {
		g->refresh = event_new(g->store->base, -1, EV_PERSIST,
		                       on_refresh, g);
		if (g->refresh == NULL || event_add(g->refresh, &tv) != 0)
			return HALIBUT_ENOMEM;
	}
	make_id(g->what.id);
	if (g->store->ops->put_open(g, &g->err) == HALIBUT_ENOMEM)
		return HALIBUT_ENOMEM;
	g->sink.ops = &sink_ops;
	g->sink_open = true;
	*sink = &g->sink;
	return HALIBUT_OK;
}

int hbt_store_save(struct hbt_saving **out, struct hbt_store *s,
                   const struct hbt_message *m, int64_t ttl_ms,
                   struct hbt_sink **sink, hbt_store_saved_fn saved, void *arg)
{
	struct hbt_saving *g = calloc(1, sizeof(*g));

	*out = NULL;
	*sink = NULL;
	if (g == NULL)
		return HALIBUT_ENOMEM;
	g->store = s;
	g->m = hbt_message_ref((struct hbt_message *)m);
	g->what.ttl_ms = ttl_ms > 1000 ? ttl_ms : 1000;
	g->saved = saved;
	g->arg = arg;
	if (saving_start(g, sink) != HALIBUT_OK) {
		put_close(g, false);
		saving_destroy(g);
		return HALIBUT_ENOMEM;
	}
	*out = g;
	return HALIBUT_OK;
}

void hbt_saving_set_window(struct hbt_saving *g, int64_t ms)
{
	g->window_ms = ms;
}

void hbt_saving_cancel(struct hbt_saving **g_p)
{
	struct hbt_saving *g = *g_p;

	*g_p = NULL;
	if (g == NULL)
		return;
	put_close(g, false);
	g->cancelled = true;
	if (!g->sink_open) {
		saving_destroy(g);
		return;
	}
	/* It takes and forgets: whoever waits for room has it. */
	if (g->short_write)
		soon(g);
}
