/* Keeps one connection to the primary. */
#include "redis/keeper.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/timespan.h"
#include "redis/backoff.h"
#include "redis/sentinel.h"

#define STEADY_MS 250 /* a connection that lived so long was a good one */

struct hbt_keeper {
	struct hbt_link_config config;
	const struct hbt_keeper_ops *ops;
	void *arg;
	struct hbt_sentinel *sentinel;
	struct hbt_link *link; /* also while it is being made */
	struct event *pause;
	struct hbt_backoff backoff;
	size_t first, tried; /* of this round */
	int64_t up_ms;
	char where[300];
	uint64_t bytes_in, bytes_out; /* of links that are gone */
};

static void attempt(struct hbt_keeper *k);

static const struct hbt_redis_server *current(const struct hbt_keeper *k)
{
	const struct hbt_redis_options *o = k->config.options;

	return &o->servers[(k->first + k->tried) % o->n_servers];
}

static void drop(struct hbt_keeper *k)
{
	if (k->link != NULL)
		hbt_link_take_counts(k->link, &k->bytes_in, &k->bytes_out);
	hbt_link_free(&k->link);
	hbt_sentinel_free(&k->sentinel);
}

static void begin_round_later(struct hbt_keeper *k)
{
	int64_t ms = hbt_backoff_next(&k->backoff);
	struct timeval tv = {
		.tv_sec = ms / 1000,
		.tv_usec = (ms % 1000) * 1000,
	};

	k->tried = 0;
	event_add(k->pause, &tv);
}

/* Tries the next server, or reports the round as failed. */
static void next(struct hbt_keeper *k, const struct halibut_error *why)
{
	size_t n = k->config.options->n_servers;
	struct halibut_error whole = {0};

	drop(k);
	if (++k->tried < n) {
		attempt(k);
		return;
	}
	begin_round_later(k);
	hbt_error_copy(&whole, why);
	if (n > 1)
		hbt_error_prefix(&whole, "None of %zu servers can be used; "
		                         "the last: ",
		                 n);
	k->ops->failed(k->arg, &whole);
	halibut_error_clear(&whole);
}

static void link_up(void *arg)
{
	struct hbt_keeper *k = arg;

	k->first = (k->first + k->tried) % k->config.options->n_servers;
	k->tried = 0;
	k->up_ms = hbt_now_ms();
	k->ops->up(k->arg);
}

static void link_reply(void *arg, redisReply *reply)
{
	struct hbt_keeper *k = arg;

	k->ops->reply(k->arg, reply);
}

static void link_drained(void *arg)
{
	struct hbt_keeper *k = arg;

	k->ops->drained(k->arg);
}

static void lose(struct hbt_keeper *k, const struct halibut_error *why)
{
	drop(k);
	if (hbt_now_ms() - k->up_ms >= STEADY_MS)
		hbt_backoff_reset(&k->backoff);
	k->up_ms = 0;
	begin_round_later(k);
	k->ops->lost(k->arg, why);
}

static void link_down(void *arg, const struct halibut_error *why)
{
	struct hbt_keeper *k = arg;

	if (k->up_ms != 0)
		lose(k, why);
	else
		next(k, why);
}

static const struct hbt_link_ops link_ops = {
	.up = link_up,
	.reply = link_reply,
	.drained = link_drained,
	.down = link_down,
};

static void connect_to(struct hbt_keeper *k, const struct hbt_redis_server *s)
{
	if (hbt_link_new(&k->link, &k->config, s, &link_ops, k) != HALIBUT_OK)
		begin_round_later(k);
	else
		snprintf(k->where, sizeof(k->where), "%s",
		         hbt_link_name(k->link));
}

static void primary_found(void *arg, const struct hbt_redis_server *primary)
{
	struct hbt_keeper *k = arg;
	struct hbt_redis_server copy = {
		.host = strdup(primary->host), .port = primary->port,
	};

	drop(k);
	if (copy.host != NULL)
		connect_to(k, &copy);
	else
		begin_round_later(k);
	free(copy.host);
}

static void sentinel_failed(void *arg, const struct halibut_error *why)
{
	next(arg, why);
}

static const struct hbt_sentinel_ops sentinel_ops = {
	.found = primary_found, .failed = sentinel_failed,
};

static void attempt(struct hbt_keeper *k)
{
	if (k->config.options->sentinel == NULL)
		connect_to(k, current(k));
	else if (hbt_sentinel_ask(&k->sentinel, &k->config, current(k),
	                          &sentinel_ops, k) != HALIBUT_OK)
		begin_round_later(k);
}

static void on_pause(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	attempt(arg);
}

int hbt_keeper_new(struct hbt_keeper **out,
                   const struct hbt_link_config *config,
                   const struct hbt_keeper_ops *ops, void *arg)
{
	const struct hbt_redis_options *o = config->options;
	struct hbt_keeper *k = calloc(1, sizeof(*k));

	if (k == NULL)
		return HALIBUT_ENOMEM;
	k->config = *config;
	k->ops = ops;
	k->arg = arg;
	k->backoff.min_ms = o->reconnect_min_ms;
	k->backoff.max_ms = o->reconnect_max_ms;
	hbt_redis_options_describe(o, k->where, sizeof(k->where));
	k->pause = evtimer_new(config->base, on_pause, k);
	if (k->pause == NULL) {
		free(k);
		return HALIBUT_ENOMEM;
	}
	attempt(k);
	*out = k;
	return HALIBUT_OK;
}

void hbt_keeper_free(struct hbt_keeper **keeper)
{
	struct hbt_keeper *k = *keeper;

	*keeper = NULL;
	if (k == NULL)
		return;
	drop(k);
	event_free(k->pause);
	free(k);
}

struct hbt_link *hbt_keeper_link(const struct hbt_keeper *k)
{
	return k->link != NULL && hbt_link_is_up(k->link) ? k->link : NULL;
}

const char *hbt_keeper_where(const struct hbt_keeper *k)
{
	return k->where;
}

void hbt_keeper_leave(struct hbt_keeper *k, const struct halibut_error *why)
{
	if (k->up_ms == 0)
		return;
	if (k->config.options->sentinel == NULL)
		k->first = (k->first + 1) % k->config.options->n_servers;
	lose(k, why);
}

void hbt_keeper_hurry(struct hbt_keeper *k)
{
	const struct timeval now = {0};

	if (event_pending(k->pause, EV_TIMEOUT, NULL))
		event_add(k->pause, &now);
}

void hbt_keeper_follow(struct hbt_keeper *k, const struct hbt_keeper *other)
{
	k->first = other->first;
}

void hbt_keeper_take_counts(struct hbt_keeper *k, uint64_t *in, uint64_t *out)
{
	if (k->link != NULL)
		hbt_link_take_counts(k->link, &k->bytes_in, &k->bytes_out);
	*in += k->bytes_in;
	*out += k->bytes_out;
	k->bytes_in = k->bytes_out = 0;
}
