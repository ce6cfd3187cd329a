#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/timespan.h"
#include "queue/redis_private.h"

enum {
	BEAT_ROUNDING_MS = 100,
	TIDY_MS = 1000,
	TIDY_KEYS = 64,
	/* Bytes. A larger message and its expiry may leave in several packets,
	 * between any two of which everything can end. */
	ONE_PIECE = 1024,
	/* How many pulses are looked at before the pattern is judged, and how
	 * many foreign ones it may bring for one of ours. */
	JUDGED_PULSES = 2000,
	FOREIGN_PULSES = 4,
	/* After so many requests that listen each to their own it is tried
	 * again, the next time after twice as many. */
	FIRST_ALONE = 64,
	MOST_ALONE = 1 << 20,
};
#define LONGEST_WAIT_MS ((int64_t)24 * 3600 * 1000)
#define TIMER_ACTIVE INT64_MIN /* it fires in this turn, or in the next */
#define LONGEST_TTL_MS ((int64_t)365 * 24 * 3600 * 1000)

void hbt_redis_times_init(struct hbt_redis_times *t)
{
	*t = (struct hbt_redis_times){
		.request_ttl_surcharge_ms = 120000,
		.list_ttl_ms = 86400000,
		.response_ttl_ms = 1200000,
		.cancel_marker_ttl_ms = 900000,
		.heartbeat_delay_ms = 7000,
		.heartbeat_interval_ms = 15000,
		.sender_gone_ms = 90000,
		.receiver_gone_ms = 60000,
		.sweep_ms = 15000,
		.idle_look_ms = 30000,
		.data_loss_check_ms = 60000,
		.data_loss_ttl_ms = 28800000,
		.data_loss_wait_ms = 30000,
		.retry_window_ms = HBT_REDIS_WINDOW_MS,
	};
}

/* ---- Time ---- */

/*
 * libevent's clock is behind by up to 4 ms: a timer whose time has come may
 * still wait. So what is due is not left to it.
 */
static void start_timer(struct hbt_redis_node *n)
{
	const struct hbt_deadline *d = n->deadlines.soonest;
	struct timeval tv;
	int64_t wait;

	if (d == NULL || n->timer_at_ms == TIMER_ACTIVE)
		return;
	wait = d->at_ms - hbt_now_ms();
	if (wait <= 0) {
		n->timer_at_ms = TIMER_ACTIVE;
		event_active(n->timer, EV_TIMEOUT, 0);
		return;
	}
	if (d->at_ms >= n->timer_at_ms)
		return;
	if (wait > LONGEST_WAIT_MS)
		wait = LONGEST_WAIT_MS;
	tv.tv_sec = wait / 1000;
	tv.tv_usec = wait % 1000 * 1000;
	n->timer_at_ms = d->at_ms;
	event_add(n->timer, &tv);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval at_once = {0};
	struct hbt_redis_node *n = arg;
	int64_t now = hbt_now_ms();
	struct hbt_deadline *d;

	(void)fd;
	(void)what;
	n->timer_at_ms = TIMER_ACTIVE;
	while ((d = n->deadlines.soonest) != NULL && d->at_ms <= now) {
		struct redis_due *due = (struct redis_due *)d;

		hbt_deadline_clear(&n->deadlines, d);
		due->fn(due);
	}
	if (d != NULL && d->at_ms <= hbt_now_ms()) {
		/* A caller that fails, and begins again at once, does not keep
		 * others from their turn. */
		if (event_add(n->timer, &at_once) != 0)
			event_active(n->timer, EV_TIMEOUT, 0);
		return;
	}
	n->timer_at_ms = INT64_MAX;
	start_timer(n);
}

void redis_due_set(struct hbt_redis_node *n, struct redis_due *due,
                   int64_t at_ms)
{
	hbt_deadline_clear(&n->deadlines, &due->deadline);
	due->deadline.at_ms = at_ms;
	hbt_deadline_set(&n->deadlines, &due->deadline);
	start_timer(n);
}

void redis_due_clear(struct hbt_redis_node *n, struct redis_due *due)
{
	hbt_deadline_clear(&n->deadlines, &due->deadline);
}

int64_t redis_beat_time(int64_t at_ms)
{
	return (at_ms + BEAT_ROUNDING_MS - 1) / BEAT_ROUNDING_MS *
	       BEAT_ROUNDING_MS;
}

/* ---- Commands ---- */

void redis_add_expire(struct hbt_redis_batch *b, const char *key,
                      int64_t ttl_ms)
{
	if (ttl_ms > LONGEST_TTL_MS)
		ttl_ms = LONGEST_TTL_MS;
	if (ttl_ms % 1000 == 0)
		hbt_redis_batch_add(b, "EXPIRE %s %lld", key,
		                    (long long)(ttl_ms / 1000));
	else
		hbt_redis_batch_add(b, "PEXPIRE %s %lld", key,
		                    (long long)ttl_ms);
}

void redis_add_message(struct hbt_redis_batch *b, const char *key,
                       const uint8_t *body, size_t body_len,
                       const uint8_t *metadata, size_t metadata_len,
                       int64_t ttl_ms)
{
	bool large = body_len + metadata_len > ONE_PIECE;

	if (large)
		hbt_redis_batch_begin(b);
	hbt_redis_batch_add(b, "HMSET %s %s %b %s %b", key,
	                    HBT_REDIS_MESSAGE_FIELD, (const void *)body,
	                    body_len, HBT_REDIS_STREAMS_FIELD,
	                    metadata_len > 0 ? (const void *)metadata : "",
	                    metadata_len);
	redis_add_expire(b, key, ttl_ms);
	if (large)
		hbt_redis_batch_commit(b);
}

static bool copy(uint8_t **to, size_t *to_len, const redisReply *field)
{
	*to = NULL;
	*to_len = 0;
	if (field->type != REDIS_REPLY_STRING || field->len == 0)
		return true;
	if ((*to = malloc(field->len)) == NULL)
		return false;
	memcpy(*to, field->str, field->len);
	*to_len = field->len;
	return true;
}

int redis_read_message(const redisReply *fields, uint8_t **body,
                       size_t *body_len, uint8_t **metadata,
                       size_t *metadata_len, struct halibut_error *err)
{
	bool there = fields->type == REDIS_REPLY_ARRAY && fields->elements == 2;

	*body = *metadata = NULL;
	*body_len = *metadata_len = 0;
	if (there &&
	    (!copy(body, body_len, fields->element[0]) ||
	     !copy(metadata, metadata_len, fields->element[1]))) {
		free(*body);
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	}
	if (*body == NULL)
		return hbt_error_set(err, HALIBUT_EPROTO,
		                     "it has no RequestMessageField");
	return HALIBUT_OK;
}

static void on_beaten(void *arg, redisReply **replies, size_t n,
                      const struct halibut_error *err)
{
	struct hbt_redis_batch **batch = arg;

	(void)replies;
	(void)n;
	(void)err; /* the next is due soon */
	*batch = NULL;
}

void redis_beat(struct hbt_redis_node *n, struct hbt_redis_batch **batch,
                enum hbt_redis_kind channel, const char *ref,
                const char *json)
{
	struct hbt_redis_batch *b = hbt_redis_batch_new(n->redis);
	struct hbt_redis_name name;

	if (b == NULL)
		return;
	hbt_redis_batch_cancel(batch); /* this one tells more */
	*batch = b;
	hbt_redis_batch_publish(b,
	                        hbt_redis_name(&name, n->prefix, channel, ref),
	                        json, strlen(json));
	n->beats_out++;
	hbt_redis_batch_send(b, n->times.heartbeat_interval_ms, on_beaten,
	                     batch);
}

/* ---- Tidying up ---- */

static void send_tidy(struct hbt_redis_node *n)
{
	struct hbt_redis_batch *b = hbt_redis_batch_new(n->redis);
	const char *argv[TIDY_KEYS + 1] = {"UNLINK"};
	size_t lens[TIDY_KEYS + 1] = {6};

	for (size_t i = 0; i < n->n_read_keys; i++) {
		argv[i + 1] = n->read_keys[i];
		lens[i + 1] = strlen(n->read_keys[i]);
	}
	if (b != NULL) {
		hbt_redis_batch_add_argv(b, (int)n->n_read_keys + 1, argv,
		                         lens);
		hbt_redis_batch_send(b, n->times.retry_window_ms, NULL, NULL);
	}
	for (size_t i = 0; i < n->n_read_keys; i++)
		free(n->read_keys[i]);
	n->n_read_keys = 0;
	redis_due_clear(n, &n->tidy);
}

static void on_tidy(struct redis_due *due)
{
	send_tidy((struct hbt_redis_node *)((char *)due -
	                                    offsetof(struct hbt_redis_node,
	                                             tidy)));
}

void redis_tidy(struct hbt_redis_node *n, const char *ref)
{
	struct hbt_redis_name name;
	char *key = strdup(
		hbt_redis_name(&name, n->prefix, HBT_REDIS_RESPONSE, ref));

	if (key == NULL)
		return; /* its time-to-live ends it */
	n->read_keys[n->n_read_keys++] = key;
	if (n->n_read_keys == TIDY_KEYS)
		send_tidy(n);
	else if (n->n_read_keys == 1)
		redis_due_set(n, &n->tidy, hbt_now_ms() + TIDY_MS);
}

/* ---- The pulses of responses ---- */

static struct hbt_redis_node *of_pattern(struct hbt_redis_listener *l)
{
	return (struct hbt_redis_node *)((char *)l -
	                                 offsetof(struct hbt_redis_node,
	                                          pattern));
}

/* Each request listens to its own channel from now on. */
static void leave_pattern(struct hbt_redis_node *n)
{
	hbt_redis_unlisten(n->redis, &n->pattern);
	redis_sends_listen(n);
}

/* Many nodes: what the pattern brings is mostly for others. */
static void judge_pattern(struct hbt_redis_node *n)
{
	if (n->pulses_ours + n->pulses_foreign < JUDGED_PULSES)
		return;
	if (n->pulses_foreign > FOREIGN_PULSES * n->pulses_ours) {
		if (n->alone_max == 0)
			log_info("Redis queue: most pulses of responses are "
			         "for other nodes; each request listens to its "
			         "own channel");
		n->alone = 0;
		n->alone_max = n->alone_max == 0 ? FIRST_ALONE
		               : n->alone_max < MOST_ALONE
		                       ? 2 * n->alone_max
		                       : MOST_ALONE;
		leave_pattern(n);
	}
	n->pulses_ours = n->pulses_foreign = 0;
}

static void on_pattern(struct hbt_redis_listener *l, const char *channel,
                       const char *payload, size_t len)
{
	struct hbt_redis_node *n = of_pattern(l);
	const char *ref = hbt_redis_response_ref(channel, n->prefix);
	struct redis_send *s = ref != NULL ? redis_send_find(n, ref) : NULL;

	(void)payload;
	(void)len;
	if (s != NULL) {
		n->pulses_ours++;
		redis_send_pulse(s);
		return;
	}
	n->pulses_foreign++;
	judge_pattern(n);
}

static void on_pattern_established(struct hbt_redis_listener *l)
{
	struct hbt_redis_node *n = of_pattern(l);
	bool again = n->pattern_began;

	n->pattern_began = true;
	redis_guard_look(n);
	redis_sends_look(n, again);
}

static void on_pattern_refused(struct hbt_redis_listener *l, const char *why)
{
	log_info("Redis queue: no subscription with a pattern (%s); each "
	         "request listens to its own channel",
	         why);
	of_pattern(l)->may_use_pattern = false;
	leave_pattern(of_pattern(l));
}

/* A node that asks nothing hears of no responses: not before the first. */
bool redis_hears_responses(struct hbt_redis_node *n)
{
	struct hbt_redis_name name;

	if (n->pattern.channel != NULL)
		return true;
	if (!n->may_use_pattern || n->alone++ < n->alone_max)
		return false;
	n->pattern_began = false;
	return hbt_redis_listen(n->redis, &n->pattern,
	                        hbt_redis_response_pattern(&name, n->prefix),
	                        true) == HALIBUT_OK;
}

/* ---- Pausing ---- */

void redis_settle(struct hbt_redis_node *n)
{
	void (*settled)(void *arg) = n->settled;

	if (settled == NULL || n->n_taking > 0)
		return;
	n->settled = NULL;
	settled(n->settled_arg);
}

void hbt_redis_node_pause(struct hbt_redis_node *n, void (*settled)(void *arg),
                          void *arg)
{
	n->paused = true;
	n->settled = settled;
	n->settled_arg = arg;
	redis_settle(n);
}

void hbt_redis_node_resume(struct hbt_redis_node *n)
{
	struct redis_queue *rq;

	n->paused = false;
	n->settled = NULL;
	LIST_FOREACH (rq, &n->queues, link)
		redis_queue_resume(rq);
}

/* ---- Life ---- */

int hbt_redis_node_new(struct hbt_redis_node **out, struct event_base *base,
                       const struct hbt_redis_node_config *config)
{
	struct hbt_redis_node *n;

	*out = NULL;
	if (strlen(config->key_prefix) > HBT_REDIS_PREFIX_MAX)
		return HALIBUT_EINVAL;
	if ((n = calloc(1, sizeof(*n))) == NULL)
		return HALIBUT_ENOMEM;
	n->base = base;
	n->redis = config->redis;
	n->store = config->store;
	n->wrappers = config->wrappers;
	n->limits = config->limits;
	n->times = config->times;
	n->may_use_pattern = config->pattern_responses;
	n->pattern.message = on_pattern;
	n->pattern.established = on_pattern_established;
	n->pattern.refused = on_pattern_refused;
	n->timer_at_ms = INT64_MAX;
	n->tidy.fn = on_tidy;
	TAILQ_INIT(&n->fresh);
	TAILQ_INIT(&n->sends);
	TAILQ_INIT(&n->receives);
	LIST_INIT(&n->queues);
	n->prefix = strdup(config->key_prefix);
	n->read_keys = calloc(TIDY_KEYS, sizeof(*n->read_keys));
	n->timer = event_new(base, -1, 0, on_timer, n);
	if (n->prefix == NULL || n->read_keys == NULL || n->timer == NULL) {
		hbt_redis_node_free(&n);
		return HALIBUT_ENOMEM;
	}
	redis_guard_start(n);
	*out = n;
	return HALIBUT_OK;
}

void hbt_redis_node_free(struct hbt_redis_node **np)
{
	struct hbt_redis_node *n = *np;

	if (n == NULL)
		return;
	*np = NULL;
	redis_sends_free(n);
	redis_receives_free(n);
	hbt_redis_unlisten(n->redis, &n->pattern);
	redis_guard_stop(n);
	if (n->n_read_keys > 0)
		send_tidy(n);
	assert(n->deadlines.soonest == NULL);
	if (n->timer != NULL)
		event_free(n->timer);
	free(n->read_keys);
	free(n->prefix);
	free(n);
}

void hbt_redis_node_state(const struct hbt_redis_node *n,
                          struct hbt_redis_node_state *out)
{
	*out = (struct hbt_redis_node_state){
		.sending = n->n_sending,
		.receiving = n->n_receiving,
		.taking = n->n_taking,
		.data_loss_watched = n->guard.watched,
		.data_losses = n->guard.losses,
		.heartbeats_out = n->beats_out,
		.heartbeats_in = n->beats_in,
		.pattern_responses = n->may_use_pattern &&
		                     (n->pattern.channel != NULL ||
		                      n->alone_max == 0),
	};
}
