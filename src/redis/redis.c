/* Both connections, what an operator is told of them, beginning and end. */
#include "redis/redis.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/timespan.h"
#include "redis/private.h"

struct hbt_link *redis_commands_link(const struct hbt_redis *r)
{
	return r->commands_keeper != NULL ? hbt_keeper_link(r->commands_keeper)
	                                  : NULL;
}

static bool subscriber_is_up(const struct hbt_redis *r)
{
	return r->subscriber_keeper != NULL &&
	       hbt_keeper_link(r->subscriber_keeper) != NULL;
}

static void dispose(struct hbt_redis *r)
{
	hbt_keeper_free(&r->commands_keeper);
	hbt_keeper_free(&r->subscriber_keeper);
	hbt_batches_fini(r);
	hbt_subscriber_fini(r);
	if (r->tls != NULL)
		SSL_CTX_free(r->tls);
	hbt_redis_options_fini(&r->options);
	halibut_error_clear(&r->last_error);
	halibut_error_clear(&r->refusal);
	free(r);
}

void redis_enter(struct hbt_redis *r)
{
	r->depth++;
}

bool redis_leave(struct hbt_redis *r)
{
	if (--r->depth > 0 || !r->freed)
		return !r->freed;
	dispose(r);
	return false;
}

/* ---- Outages ---- */

static void log_outage(struct hbt_redis *r, const struct halibut_error *why)
{
	if (r->outage_logged)
		return;
	r->outage_logged = true;
	log_event(HBT_LOG_WARNING,
	          LOG_ABOUT(.event = "redis_lost", .reason = why->message,
	                    .remedy = "`halibutd -t --online` says what is "
	                              "wrong"),
	          "redis: %s; requests wait, and it is tried again until "
	          "it works",
	          why->message);
}

static void log_back(struct hbt_redis *r, int64_t now)
{
	char where[512];

	hbt_redis_options_describe(&r->options, where, sizeof(where));
	if (!r->was_up)
		log_event(HBT_LOG_INFO,
		          LOG_ABOUT(.event = "redis_connected",
		                    .endpoint = where),
		          "redis: connected to %s", where);
	else if (r->outage_logged)
		log_event(HBT_LOG_INFO,
		          LOG_ABOUT(.event = "redis_back", .endpoint = where),
		          "redis: connected to %s again after %lld.%lld s",
		          hbt_keeper_where(r->commands_keeper),
		          (long long)(now - r->down_since_ms) / 1000,
		          (long long)(now - r->down_since_ms) % 1000 / 100);
	else
		log_debug("redis: connected to %s again", where);
	r->outage_logged = false;
}

static void note_up(struct hbt_redis *r)
{
	int64_t now = hbt_now_ms();

	if (r->up || redis_commands_link(r) == NULL || !subscriber_is_up(r))
		return;
	log_back(r, now);
	if (r->was_up)
		r->reconnects++;
	r->up = r->was_up = true;
	r->up_since_ms = now;
	r->down_since_ms = 0;
	if (r->changed != NULL)
		r->changed(r->changed_arg, true);
}

static void note_error(struct hbt_redis *r, const struct halibut_error *why)
{
	hbt_error_copy(&r->last_error, why);
	r->last_error_ms = hbt_now_ms();
}

static void note_lost(struct hbt_redis *r, const struct halibut_error *why)
{
	note_error(r, why);
	if (r->up) {
		r->up = false;
		r->outages++;
		r->up_since_ms = 0;
		r->down_since_ms = hbt_now_ms();
		log_debug("redis: %s", why->message);
		/* One that was closed may be back before anybody notices. */
		if (why->status == HALIBUT_ETIMEOUT)
			log_outage(r, why);
		if (r->changed != NULL)
			r->changed(r->changed_arg, false);
	}
}

static void note_failed(struct hbt_redis *r, const struct halibut_error *why)
{
	note_error(r, why);
	log_outage(r, why);
}

/* ---- It is there, and takes nothing new ---- */

void redis_note_refused(struct hbt_redis *r, const struct halibut_error *why)
{
	hbt_error_copy(&r->refusal, why);
	if (r->refusing_since_ms != 0)
		return;
	r->refusing_since_ms = hbt_now_ms();
	log_event(HBT_LOG_WARNING,
	          LOG_ABOUT(.event = "redis_refuses_writes",
	                    .reason = why->message),
	          "redis: it stores nothing new, and requests that need it "
	          "fail: %s",
	          why->message);
}

void redis_note_written(struct hbt_redis *r)
{
	int64_t ms;

	if (r->refusing_since_ms == 0)
		return;
	ms = hbt_now_ms() - r->refusing_since_ms;
	r->refusing_since_ms = 0;
	halibut_error_clear(&r->refusal);
	log_event(HBT_LOG_INFO, LOG_ABOUT(.event = "redis_takes_writes"),
	          "redis: it stores what comes again, after %lld.%lld s",
	          (long long)ms / 1000, (long long)ms % 1000 / 100);
}

/* ---- The connection for commands ---- */

/* After a fail-over the other one may still listen to the old primary. */
static void check_same_server(struct hbt_redis *r)
{
	struct hbt_keeper *c = r->commands_keeper, *s = r->subscriber_keeper;
	struct halibut_error err = {0};

	if ((r->options.n_servers < 2 && r->options.sentinel == NULL) ||
	    !subscriber_is_up(r) || redis_commands_link(r) == NULL ||
	    strcmp(hbt_keeper_where(c), hbt_keeper_where(s)) == 0)
		return;
	hbt_error_set(&err, HALIBUT_ESYSTEM,
	              "Redis at %s: left, because the primary is %s now",
	              hbt_keeper_where(s), hbt_keeper_where(c));
	hbt_keeper_leave(s, &err);
	/* The observer was told, and may have ended it all. */
	if (!r->freed)
		hbt_keeper_follow(s, c);
	halibut_error_clear(&err);
}

static void commands_up(void *arg)
{
	struct hbt_redis *r = arg;

	redis_enter(r);
	hbt_batches_up(r);
	check_same_server(r);
	if (!r->freed) {
		hbt_keeper_hurry(r->subscriber_keeper);
		note_up(r);
	}
	redis_leave(r);
}

static void commands_reply(void *arg, redisReply *reply)
{
	struct hbt_redis *r = arg;

	redis_enter(r);
	hbt_batches_reply(r, reply);
	redis_leave(r);
}

static void commands_drained(void *arg)
{
	struct hbt_redis *r = arg;

	redis_enter(r);
	hbt_batches_up(r);
	redis_leave(r);
}

static void commands_lost(void *arg, const struct halibut_error *why)
{
	struct hbt_redis *r = arg;

	redis_enter(r);
	hbt_batches_lost(r, why);
	note_lost(r, why);
	redis_leave(r);
}

static void commands_failed(void *arg, const struct halibut_error *why)
{
	struct hbt_redis *r = arg;

	redis_enter(r);
	note_failed(r, why);
	hbt_batches_unreachable(r);
	redis_leave(r);
}

static const struct hbt_keeper_ops commands_ops = {
	.up = commands_up,
	.reply = commands_reply,
	.drained = commands_drained,
	.lost = commands_lost,
	.failed = commands_failed,
};

/* ---- The connection for subscriptions ---- */

static void subscriber_up(void *arg)
{
	struct hbt_redis *r = arg;

	redis_enter(r);
	hbt_subscriber_up(r);
	check_same_server(r);
	if (!r->freed) {
		hbt_keeper_hurry(r->commands_keeper);
		note_up(r);
	}
	redis_leave(r);
}

static void subscriber_reply(void *arg, redisReply *reply)
{
	struct hbt_redis *r = arg;

	redis_enter(r);
	hbt_subscriber_reply(r, reply);
	redis_leave(r);
}

static void subscriber_drained(void *arg)
{
	struct hbt_redis *r = arg;

	redis_enter(r);
	hbt_subscriber_up(r);
	redis_leave(r);
}

static void subscriber_lost(void *arg, const struct halibut_error *why)
{
	struct hbt_redis *r = arg;

	redis_enter(r);
	hbt_subscriber_lost(r);
	note_lost(r, why);
	redis_leave(r);
}

static void subscriber_failed(void *arg, const struct halibut_error *why)
{
	struct hbt_redis *r = arg;

	redis_enter(r);
	note_failed(r, why);
	redis_leave(r);
}

static const struct hbt_keeper_ops subscriber_ops = {
	.up = subscriber_up,
	.reply = subscriber_reply,
	.drained = subscriber_drained,
	.lost = subscriber_lost,
	.failed = subscriber_failed,
};

/* ---- Beginning and end ---- */

/* A server that is gone is an error of one connection, not the end of us. */
static void ignore_sigpipe(void)
{
	struct sigaction now;

	if (sigaction(SIGPIPE, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
		signal(SIGPIPE, SIG_IGN);
}

static int connect_both(struct hbt_redis *r, struct evdns_base *dns)
{
	struct hbt_link_config config = {
		.base = r->base,
		.dns = dns,
		.options = &r->options,
		.tls = r->tls,
		.kind = HBT_LINK_COMMANDS,
	};
	int rc;

	rc = hbt_keeper_new(&r->commands_keeper, &config, &commands_ops, r);
	if (rc != HALIBUT_OK)
		return rc;
	config.kind = HBT_LINK_SUBSCRIBER;
	return hbt_keeper_new(&r->subscriber_keeper, &config, &subscriber_ops,
	                      r);
}

int hbt_redis_new(struct hbt_redis **out, struct event_base *base,
                  struct evdns_base *dns,
                  const struct hbt_redis_options *options,
                  struct halibut_error *err)
{
	struct hbt_redis *r;
	int rc;

	if (options->n_servers == 0)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "No Redis server is named; for instance "
		                     "redis://localhost:6379");
	if ((r = calloc(1, sizeof(*r))) == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "Out of memory");
	r->base = base;
	LIST_INIT(&r->doctors);
	r->down_since_ms = hbt_now_ms();
	ignore_sigpipe();
	rc = hbt_redis_options_copy(&r->options, options);
	if (rc == HALIBUT_OK &&
	    (!hbt_batches_init(r) || !hbt_subscriber_init(r)))
		rc = HALIBUT_ENOMEM;
	if (rc == HALIBUT_OK) {
		rc = hbt_link_tls_new(&r->tls, &r->options, err);
		if (rc != HALIBUT_OK) {
			dispose(r);
			return rc;
		}
		rc = connect_both(r, dns);
	}
	if (rc != HALIBUT_OK) {
		dispose(r);
		return hbt_error_set(err, rc, "Out of memory");
	}
	*out = r;
	return HALIBUT_OK;
}

void hbt_redis_free(struct hbt_redis **redis)
{
	struct hbt_redis *r = *redis;

	*redis = NULL;
	if (r == NULL || r->freed)
		return;
	redis_enter(r);
	r->freed = true;
	r->changed = NULL;
	hbt_doctors_shutdown(r);
	hbt_batches_shutdown(r);
	hbt_keeper_free(&r->commands_keeper);
	hbt_keeper_free(&r->subscriber_keeper);
	hbt_subscriber_fini(r);
	redis_leave(r);
}

/* ---- State ---- */

void hbt_redis_observe(struct hbt_redis *r,
                       void (*changed)(void *arg, bool up), void *arg)
{
	r->changed = changed;
	r->changed_arg = arg;
}

void hbt_redis_state(const struct hbt_redis *r, struct hbt_redis_state *out)
{
	struct hbt_redis *w = (struct hbt_redis *)r; /* counts are collected */
	const struct hbt_batches *q = &r->batches;

	hbt_keeper_take_counts(w->commands_keeper, &w->bytes_in,
	                       &w->bytes_out);
	hbt_keeper_take_counts(w->subscriber_keeper, &w->bytes_in,
	                       &w->bytes_out);
	*out = (struct hbt_redis_state){
		.commands_up = redis_commands_link(r) != NULL,
		.subscriber_up = subscriber_is_up(r),
		.up_since_ms = r->up_since_ms,
		.down_since_ms = r->down_since_ms,
		.was_up = r->was_up,
		.last_error_ms = r->last_error_ms,
		.refusing_since_ms = r->refusing_since_ms,
		.outages = r->outages,
		.reconnects = r->reconnects,
		.commands = q->commands,
		.failures = q->failures,
		.retries = q->retries,
		.bytes_out = r->bytes_out,
		.bytes_in = r->bytes_in,
		.latency_us = q->latency_us,
		.in_flight = q->in_flight,
		.channels = r->subscriber.listened,
	};
	snprintf(out->server, sizeof(out->server), "%s",
	         hbt_keeper_where(r->commands_keeper));
	if (r->last_error.message != NULL)
		snprintf(out->last_error, sizeof(out->last_error), "%s",
		         r->last_error.message);
	if (r->refusal.message != NULL)
		snprintf(out->refusal, sizeof(out->refusal), "%s",
		         r->refusal.message);
}
