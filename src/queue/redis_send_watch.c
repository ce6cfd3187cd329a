/*
 * The watch over a request that is in Redis: whether it was collected, whether
 * its receiver lives, whether its response is there, and what is due when.
 * redis-queue 6
 */
#include <string.h>

#include "base/log.h"
#include "base/timespan.h"
#include "queue/redis_beat.h"
#include "queue/redis_send.h"

#define LONGEST_POLL_MS 120000
/* What was not answered by then is perhaps with a node that lost it: the sooner
 * it is known to be collected, the sooner that is known. */
#define FIRST_CHECK_MS 2000
/* How much later than we another node may be back at Redis. */
#define COMES_BACK_MS 2000

static const struct halibut_error no_memory = {
	.status = HALIBUT_ENOMEM, .message = (char *)"out of memory"};

static void set_due(struct redis_send *s);

/* ---- Looks for the response ---- */

static const char *why_silent(const struct redis_send *s)
{
	if (s->is_lost)
		return "The node that took the request is connected to Redis "
		       "and does not carry it: it could not read it. Look into "
		       "its log. A .NET node loses a request with types that "
		       "it does not know, which a client made for that "
		       "contract in its process registers, and one whose "
		       "DataStreams are in another kind of store than its own.";
	return s->heard
	               ? "Its heart beats came until then, so it stopped or "
	                 "lost its connection to Redis. The service may have "
	                 "executed the request."
	               : "Not one heart beat came from the node that took the "
	                 "request: it died at once, or could not read it. Look "
	                 "into its log; a .NET node loses a request with types "
	                 "that it does not know, which a client made for that "
	                 "contract in its process registers.";
}

/* When a silent receiver is given up, whatever Redis does. */
static int64_t last_chance_end(const struct redis_send *s)
{
	const struct hbt_redis_times *t = &s->node->times;

	return s->heard_ms + t->receiver_gone_ms + t->retry_window_ms;
}

/*
 * Redis was away while the receiver was silent: it may not be back there yet,
 * with its beats and the response that it kept. When to look once more.
 */
static bool may_come_late(struct redis_send *s)
{
	int64_t back, end = last_chance_end(s);
	struct hbt_redis_state redis;

	hbt_redis_state(s->node->redis, &redis);
	back = redis.up_since_ms != 0 ? redis.up_since_ms : hbt_now_ms();
	if (s->is_lost || back <= s->heard_ms)
		return false;
	/* A beat may have been published before we listened again. */
	s->again_ms =
		back + s->node->times.heartbeat_interval_ms + COMES_BACK_MS;
	if (s->again_ms > end)
		s->again_ms = end;
	return hbt_now_ms() < s->again_ms;
}

static void on_look(void *arg, redisReply **replies, size_t n,
                    const struct halibut_error *err)
{
	struct redis_send *s = arg;

	(void)n;
	s->look = NULL;
	if (err == NULL && redis_send_read(s, replies[0]))
		return;
	if (s->look_again && (err == NULL || !s->last_chance ||
	                      hbt_now_ms() < last_chance_end(s))) {
		s->look_again = false;
		redis_send_look(s);
		return;
	}
	if (s->last_chance && (err != NULL || !may_come_late(s))) {
		redis_send_fail(s, HBT_REDIS_OFFLINE,
		                err != NULL ? err->message : why_silent(s),
		                false);
		return;
	}
	set_due(s);
}

void redis_send_look(struct redis_send *s)
{
	struct hbt_redis_node *n = s->node;
	int64_t window = n->times.retry_window_ms;
	struct hbt_redis_name name;

	if (s->look != NULL) {
		s->look_again = true;
		return;
	}
	if (s->last_chance && last_chance_end(s) - hbt_now_ms() < window)
		window = last_chance_end(s) - hbt_now_ms();
	if ((s->look = hbt_redis_batch_new(n->redis)) == NULL)
		return;
	hbt_redis_batch_add(
		s->look, "HMGET %s %s %s",
		hbt_redis_name(&name, n->prefix, HBT_REDIS_RESPONSE, s->ref),
		HBT_REDIS_MESSAGE_FIELD, HBT_REDIS_STREAMS_FIELD);
	hbt_redis_batch_send(s->look, window > 0 ? window : 0, on_look, s);
}

void redis_send_pulse(struct redis_send *s)
{
	if (s->stage >= SEND_SUBMITS && s->stage <= SEND_COLLECTED)
		redis_send_look(s);
}

static void on_pulse(struct hbt_redis_listener *l, const char *channel,
                     const char *payload, size_t len)
{
	struct redis_send *s =
		(struct redis_send *)((char *)l -
	                              offsetof(struct redis_send, pulse));

	(void)channel;
	(void)payload;
	(void)len;
	redis_send_pulse(s);
}

/* A response cannot be there before its request was: only a subscription that
 * comes later, or again, may have missed the pulse. */
static void on_pulse_established(struct hbt_redis_listener *l)
{
	struct redis_send *s =
		(struct redis_send *)((char *)l -
	                              offsetof(struct redis_send, pulse));

	if (s->stage >= SEND_WAITS)
		redis_send_pulse(s);
}

void redis_send_listen(struct redis_send *s)
{
	struct hbt_redis_name name;

	if (s->pulse.channel != NULL)
		return;
	s->pulse.message = on_pulse;
	s->pulse.established = on_pulse_established;
	/* Without memory for it, the looks by time remain. */
	(void)hbt_redis_listen(s->node->redis, &s->pulse,
	                       hbt_redis_name(&name, s->node->prefix,
	                                      HBT_REDIS_RESPONSE_PULSE, s->ref),
	                       false);
}

/* ---- The receiver ---- */

static void on_beat(struct hbt_redis_listener *l, const char *channel,
                    const char *payload, size_t len)
{
	struct redis_send *s =
		(struct redis_send *)((char *)l -
	                              offsetof(struct redis_send, beats));

	(void)channel;
	s->heard_ms = hbt_now_ms();
	s->heard = true;
	s->last_chance = s->is_lost = false;
	redis_lost_stop(&s->lost);
	s->node->beats_in++;
	if (s->p->progress != NULL &&
	    hbt_beat_read(payload, len, s->p->progress, s->p) != HALIBUT_OK)
		log_debug("queue request %s: a heart beat makes no sense",
		          s->id);
}

static void watch_receiver(struct redis_send *s)
{
	struct hbt_redis_name name;

	if (s->beats.channel != NULL)
		return;
	s->heard_ms = hbt_now_ms();
	s->beats.message = on_beat;
	(void)hbt_redis_listen(s->node->redis, &s->beats,
	                       hbt_redis_name(&name, s->node->prefix,
	                                      HBT_REDIS_RECEIVER_BEAT, s->ref),
	                       false);
}

/* The receiver is silent. Ends s, or leads to on_look(). */
static void last_look(struct redis_send *s)
{
	redis_lost_stop(&s->lost);
	s->last_chance = true;
	s->again_ms = INT64_MAX; /* until this look is back */
	s->look_again = false;
	redis_send_look(s);
	if (s->look == NULL)
		redis_send_fail(s, HBT_REDIS_OFFLINE, no_memory.message, false);
	else
		set_due(s);
}

void redis_send_on_lost_answer(struct redis_lost *l, bool is_lost)
{
	struct redis_send *s =
		(struct redis_send *)((char *)l -
	                              offsetof(struct redis_send, lost));

	if (is_lost && !s->last_chance && hbt_redis_is_established(&s->beats)) {
		s->is_lost = true;
		last_look(s);
	} else {
		set_due(s);
	}
}

void redis_send_taken_here(struct redis_send *s)
{
	if (s->stage < SEND_SUBMITS)
		return; /* its id's double */
	s->here = true;
	redis_send_note_collected(s);
	redis_list_popped(s->queue, &s->list_round, s->since_ms);
	if (s->stage == SEND_COLLECTED)
		set_due(s);
}

/* ---- Collected, or not? ---- */

static void push_again(struct redis_send *s)
{
	struct hbt_redis_node *n = s->node;
	struct hbt_redis_batch *b = hbt_redis_batch_new(n->redis);
	struct hbt_redis_name name;

	s->push_again = false;
	if (b == NULL)
		return;
	hbt_redis_name(&name, n->prefix, HBT_REDIS_LIST, s->queue->q.key);
	hbt_redis_batch_add(b, "RPUSH %s %s", name.text, s->id);
	redis_add_expire(b, name.text, n->times.list_ttl_ms);
	hbt_redis_batch_publish(b,
	                        hbt_redis_name(&name, n->prefix,
	                                       HBT_REDIS_PULSE,
	                                       s->queue->q.key),
	                        "{}", 2);
	hbt_redis_batch_send(b, 0, NULL, NULL);
}

/*
 * A request that is there while the list is empty: whoever popped its id died,
 * or lost Redis' reply, before it took the request. If not, and it is about
 * to, the second id finds nothing.
 */
static void on_check(void *arg, redisReply **replies, size_t n,
                     const struct halibut_error *err)
{
	struct redis_send *s = arg;

	s->check = NULL;
	if (s->stage != SEND_WAITS)
		return;
	if (err == NULL && replies[0]->integer == 0)
		redis_guard_suspect(s->node);
	if (err == NULL && replies[0]->integer == 0 && s->withdrawal == NULL)
		redis_send_note_collected(s);
	else if (err == NULL && s->withdrawal == NULL &&
	         (s->push_again || (n > 1 && replies[1]->integer == 0)))
		push_again(s);
	if (err != NULL && !s->node->no_llen &&
	    strstr(err->message, "NOPERM") != NULL) {
		s->node->no_llen = true;
		redis_send_check(s);
	}
	set_due(s);
}

void redis_send_check(struct redis_send *s)
{
	struct hbt_redis_node *n = s->node;
	struct hbt_redis_name name;

	if (s->check != NULL ||
	    (s->check = hbt_redis_batch_new(n->redis)) == NULL)
		return;
	hbt_redis_batch_add(
		s->check, "HEXISTS %s %s",
		hbt_redis_name(&name, n->prefix, HBT_REDIS_REQUEST, s->ref),
		HBT_REDIS_MESSAGE_FIELD);
	if (!n->no_llen)
		hbt_redis_batch_add(s->check, "LLEN %s",
		                    hbt_redis_name(&name, n->prefix,
		                                   HBT_REDIS_LIST,
		                                   s->queue->q.key));
	hbt_redis_batch_send(s->check, 0, on_check, s);
}

static void on_withdrawn(void *arg, redisReply **replies, size_t n,
                         const struct halibut_error *err)
{
	struct redis_send *s = arg;

	(void)n;
	s->withdrawal = NULL;
	if (err == NULL && replies[0]->integer == 1) {
		s->withdrawn = true;
		redis_send_discard_streams(s);
	} else if (err == NULL) {
		redis_send_note_collected(s);
	}
	if (s->wants_end)
		redis_send_end_cancelled(s);
	else if (s->withdrawn)
		redis_send_expire(s);
	else if (err != NULL)
		redis_send_expire_unsure(s, err);
	else {
		redis_send_look(s);
		set_due(s);
	}
}

void redis_send_withdraw(struct redis_send *s)
{
	struct hbt_redis_node *n = s->node;
	struct hbt_redis_name name;

	if (s->withdrawal != NULL)
		return;
	if ((s->withdrawal = hbt_redis_batch_new(n->redis)) == NULL) {
		on_withdrawn(s, NULL, 0, &no_memory);
		return;
	}
	hbt_redis_batch_add(
		s->withdrawal, "UNLINK %s",
		hbt_redis_name(&name, n->prefix, HBT_REDIS_REQUEST, s->ref));
	hbt_redis_batch_send(s->withdrawal, n->times.retry_window_ms,
	                     on_withdrawn, s);
}

/* ---- Time ---- */

static int64_t pickup_end(const struct redis_send *s)
{
	if (s->p->queue_timeout_ms > INT64_MAX / 2)
		return INT64_MAX;
	return s->since_ms + s->p->queue_timeout_ms;
}

/* When the receiver was silent for too long. */
static int64_t patience_end(const struct redis_send *s)
{
	return s->last_chance
	               ? s->again_ms
	               : s->heard_ms + s->node->times.receiver_gone_ms + 1;
}

static void set_due(struct redis_send *s)
{
	int64_t at = s->beat_ms;

	if (s->stage != SEND_WAITS && s->stage != SEND_COLLECTED)
		return;
	if (s->look == NULL)
		redis_due_lower(&at, s->look_ms);
	if (s->stage == SEND_WAITS) {
		if (s->check == NULL)
			redis_due_lower(&at, s->check_ms);
		if (!s->late)
			redis_due_lower(&at, pickup_end(s));
	} else {
		watch_receiver(s);
		if (s->lost.batch == NULL)
			redis_due_lower(&at, s->lost.at_ms);
		redis_due_lower(&at, patience_end(s));
	}
	redis_due_set(s->node, &s->due, at);
}

void redis_send_watch(struct redis_send *s, int64_t listeners)
{
	const struct hbt_redis_times *t = &s->node->times;
	int64_t now = hbt_now_ms();

	s->stage = s->collected ? SEND_COLLECTED : SEND_WAITS;
	s->lost.listeners = listeners;
	s->since_ms = now;
	s->check_ms = now + t->sweep_ms;
	redis_due_lower(&s->check_ms, now + FIRST_CHECK_MS);
	s->look_wait_ms = t->sweep_ms;
	s->look_ms = now + s->look_wait_ms;
	set_due(s);
}

void redis_send_on_time(struct redis_send *s, int64_t now)
{
	const struct hbt_redis_times *t = &s->node->times;

	if (now >= s->beat_ms) {
		redis_beat(s->node, &s->beat, HBT_REDIS_SENDER_BEAT, s->ref,
		           "{\"DataStreamProgress\":{}}");
		s->beat_ms = redis_beat_time(now + t->heartbeat_interval_ms);
	}
	if (now >= s->look_ms) {
		s->look_wait_ms += t->sweep_ms;
		if (s->look_wait_ms > LONGEST_POLL_MS)
			s->look_wait_ms = LONGEST_POLL_MS;
		s->look_ms = now + s->look_wait_ms;
		redis_send_look(s);
	}
	if (s->stage == SEND_WAITS && !s->late && now >= pickup_end(s)) {
		s->late = true;
		set_due(s);
		redis_send_withdraw(s);
		return;
	}
	if (s->stage == SEND_WAITS && now >= s->check_ms) {
		s->check_ms = now + t->sweep_ms;
		redis_send_check(s);
	}
	if (s->stage == SEND_COLLECTED && now >= s->lost.at_ms)
		redis_lost_ask(&s->lost, s->node, s->queue->q.key, s->ref);
	if (s->stage == SEND_COLLECTED && now >= patience_end(s))
		last_look(s);
	else
		set_due(s);
}
