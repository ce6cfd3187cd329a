/*
 * Batches on their way: written in order, replayed as a whole, ended when
 * their window has passed. redis-queue 5.2
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/timespan.h"
#include "redis/private.h"
#include "redis/remedy.h"

#define RETRY_MS 1000
/* Longer than the attempt to connect, whose end says why there is none. */
#define ATTEMPT_MS 500
#define MAX_WAITING ((size_t)512 << 20) /* bytes; more are refused */

/* ---- Lists, and the timer that goes with them ---- */

static size_t size_of(const struct hbt_redis_batch *b)
{
	return b->text != NULL ? b->text->len : 0;
}

static struct batch_list *list_of(struct hbt_batches *q,
                                  enum batch_state state)
{
	switch (state) {
	case BATCH_WAITING:
		return &q->waiting;
	case BATCH_SENT:
		return &q->sent;
	case BATCH_PAUSED:
		return &q->paused;
	case BATCH_ENDED:
		return &q->ended;
	case BATCH_BUILDING:
		break;
	}
	return NULL;
}

/* The one place where a batch changes its list. */
static void set_state(struct hbt_redis_batch *b, enum batch_state to)
{
	struct hbt_batches *q = &b->redis->batches;

	if (list_of(q, b->state) != NULL)
		TAILQ_REMOVE(list_of(q, b->state), b, link);
	if (b->state == BATCH_WAITING)
		q->waiting_bytes -= size_of(b);
	if (b->state == BATCH_SENT)
		q->in_flight--;
	b->state = to;
	if (list_of(q, to) != NULL)
		TAILQ_INSERT_TAIL(list_of(q, to), b, link);
	if (to == BATCH_WAITING)
		q->waiting_bytes += size_of(b);
	if (to == BATCH_SENT)
		q->in_flight++;
}

static void arm(struct hbt_redis *r, int64_t due)
{
	struct hbt_batches *q = &r->batches;
	int64_t ms = due - hbt_now_ms();
	struct timeval tv;

	if (q->timer_due != 0 && q->timer_due <= due)
		return;
	if (ms < 1)
		ms = 1;
	tv.tv_sec = ms / 1000;
	tv.tv_usec = (ms % 1000) * 1000;
	q->timer_due = due;
	event_add(q->timer, &tv);
}

static void drop_replies(struct hbt_redis_batch *b)
{
	for (unsigned i = 0; b->replies != NULL && i < b->n; i++)
		if (b->replies[i] != NULL)
			freeReplyObject(b->replies[i]);
	b->n = 0;
}

static void free_batch(struct hbt_redis_batch *b)
{
	if (b->state != BATCH_BUILDING)
		set_state(b, BATCH_BUILDING);
	drop_replies(b);
	free(b->replies);
	hbt_text_unref(&b->text);
	halibut_error_clear(&b->failure);
	free(b);
}

/* ---- Ending ---- */

/* b is gone afterwards, perhaps r as well. */
static void finish(struct hbt_redis_batch *b, bool ok)
{
	hbt_redis_done_fn done = b->done;

	set_state(b, BATCH_BUILDING);
	if (!ok && b->failure.status == HALIBUT_OK)
		hbt_error_set(&b->failure, HALIBUT_ENOMEM, "Out of memory");
	if (done != NULL && !b->cancelled)
		done(b->arg, ok ? b->replies : NULL, ok ? b->n : 0,
		     ok ? NULL : &b->failure);
	free_batch(b);
}

static void end_later(struct hbt_redis_batch *b)
{
	set_state(b, BATCH_ENDED);
	event_active(b->redis->batches.turn, EV_TIMEOUT, 0);
}

/* What ended it becomes done()'s status: silence, or any other failure. */
static void end_failed(struct hbt_redis_batch *b, int64_t now)
{
	struct hbt_redis *r = b->redis;
	int64_t tried = now - b->start_ms;

	if (b->failure.status == HALIBUT_OK &&
	    r->last_error.status != HALIBUT_OK)
		hbt_error_copy(&b->failure, &r->last_error);
	if (b->failure.status == HALIBUT_OK)
		hbt_error_set(&b->failure, HALIBUT_ETIMEOUT,
		              "Redis at %s: not connected yet",
		              hbt_keeper_where(r->commands_keeper));
	if (tried >= RETRY_MS)
		hbt_error_prefix(&b->failure, "Tried for %lld s. ",
		                 (long long)(tried / 1000));
	end_later(b);
}

static bool window_is_open(const struct hbt_redis_batch *b, int64_t now)
{
	return now - b->start_ms < b->window_ms;
}

/* How long it waits for a connection: an attempt is not cut short. */
static int64_t waits_until(const struct hbt_redis_batch *b)
{
	int64_t command = b->redis->options.command_timeout_ms;

	return b->start_ms + (b->window_ms > 0 ? b->window_ms
	                                       : command + ATTEMPT_MS);
}

static void run_ended(struct hbt_redis *r)
{
	struct hbt_redis_batch *b;

	while ((b = TAILQ_FIRST(&r->batches.ended)) != NULL)
		finish(b, b->failure.status == HALIBUT_OK &&
		                  b->status == HALIBUT_OK);
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_redis *r = arg;

	(void)fd;
	(void)what;
	redis_enter(r);
	run_ended(r);
	redis_leave(r);
}

/* ---- Sending ---- */

static void write_batch(struct hbt_redis_batch *b, struct hbt_link *link)
{
	set_state(b, BATCH_SENT);
	b->sent_us = hbt_now_us();
	b->failed = b->loose = false;
	hbt_link_write(link, b->text);
}

static void wait_for_link(struct hbt_redis_batch *b)
{
	set_state(b, BATCH_WAITING);
	arm(b->redis, waits_until(b));
}

void hbt_batches_up(struct hbt_redis *r)
{
	struct hbt_link *link = redis_commands_link(r);
	struct hbt_redis_batch *b;

	while ((b = TAILQ_FIRST(&r->batches.waiting)) != NULL &&
	       link != NULL && hbt_link_is_up(link) &&
	       !hbt_link_is_full(link))
		write_batch(b, link);
}

/* What waits goes first. */
static void go(struct hbt_redis_batch *b)
{
	struct hbt_link *link = redis_commands_link(b->redis);

	if (link != NULL && TAILQ_EMPTY(&b->redis->batches.waiting) &&
	    !hbt_link_is_full(link))
		write_batch(b, link);
	else
		wait_for_link(b);
}

static int check(struct hbt_redis_batch *b)
{
	struct hbt_redis *r = b->redis;

	switch (b->status) {
	case HALIBUT_OK:
		break;
	case HALIBUT_ELIMIT:
		return hbt_error_set(&b->failure, HALIBUT_ELIMIT,
		                     "A value is longer than Redis takes "
		                     "(512 MiB)");
	case HALIBUT_EINVAL:
		return hbt_error_set(&b->failure, HALIBUT_EINVAL,
		                     "A Redis command is malformed");
	default:
		return hbt_error_set(&b->failure, b->status, "Out of memory");
	}
	if (r->freed)
		return hbt_error_set(&b->failure, HALIBUT_ESHUTDOWN,
		                     "Redis at %s: shutting down",
		                     r->commands_keeper != NULL
		                             ? hbt_keeper_where(
		                                       r->commands_keeper)
		                             : "its server");
	if (r->batches.waiting_bytes > MAX_WAITING)
		return hbt_error_set(&b->failure, HALIBUT_ELIMIT,
		                     "Redis at %s: more than %zu MiB wait for "
		                     "it already; is it down, or too slow?",
		                     hbt_keeper_where(r->commands_keeper),
		                     MAX_WAITING >> 20);
	b->replies = calloc(hbt_batch_commands(b) + 1, sizeof(*b->replies));
	if (b->replies == NULL)
		return hbt_error_set(&b->failure, HALIBUT_ENOMEM,
		                     "Out of memory");
	return HALIBUT_OK;
}

void hbt_redis_batch_send(struct hbt_redis_batch *b, int64_t window_ms,
                          hbt_redis_done_fn done, void *arg)
{
	b->window_ms = window_ms;
	b->done = done;
	b->arg = arg;
	b->start_ms = hbt_now_ms();
	if (check(b) != HALIBUT_OK || hbt_batch_commands(b) == 0)
		end_later(b);
	else
		go(b);
}

void hbt_batch_send_raw(struct hbt_redis_batch *b, hbt_redis_done_fn done,
                        void *arg)
{
	b->raw = true;
	hbt_redis_batch_send(b, 0, done, arg);
}

bool hbt_redis_batch_was_repeated(const struct hbt_redis_batch *b)
{
	return b->repeated;
}

void hbt_redis_batch_cancel(struct hbt_redis_batch **batch)
{
	struct hbt_redis_batch *b = *batch;

	*batch = NULL;
	if (b == NULL)
		return;
	/* Its replies still come: it keeps its place. */
	if (b->state == BATCH_SENT)
		b->cancelled = true;
	else
		free_batch(b);
}

/* ---- Replies ---- */

static void smooth(uint32_t *latency, int64_t sample)
{
	int64_t now = *latency;

	*latency = (uint32_t)(now == 0 ? sample : now + (sample - now) / 8);
}

/* "HMSET": the first word of the command that this reply is of. */
static void command_name(const struct hbt_redis_batch *b, char name[32])
{
	const char *word = "command";
	size_t at = 0, len = strlen(word);

	for (unsigned i = 0; i <= b->n; i++)
		if (!hbt_text_command(b->text, &at, &word, &len))
			break;
	snprintf(name, 32, "%.*s", (int)(len < 31 ? len : 31), word);
}

/* What a reply has against its command: NULL, nothing. */
static const char *objection(const redisReply *reply)
{
	if (reply->type == REDIS_REPLY_ERROR)
		return reply->str;
	if (reply->type != REDIS_REPLY_ARRAY)
		return NULL;
	for (size_t i = 0; i < reply->elements; i++) /* EXEC's */
		if (reply->element[i]->type == REDIS_REPLY_ERROR)
			return reply->element[i]->str;
	return NULL;
}

/*
 * MULTI was refused, and so EXEC: the commands in between were executed all
 * the same, or say themselves why not.
 */
static bool is_about_multi(struct hbt_redis_batch *b, const redisReply *reply)
{
	unsigned which = b->n + 1;

	if (reply->type != REDIS_REPLY_ERROR)
		return false;
	if (which == b->multi)
		b->loose = true;
	return which == b->multi || (b->loose && which == b->exec);
}

static void note_no_multi(struct hbt_redis *r)
{
	if (r->batches.no_multi)
		return;
	r->batches.no_multi = true;
	log_event(HBT_LOG_INFO,
	          LOG_ABOUT(.event = "redis_no_multi",
	                    .remedy = "allow +multi +exec"),
	          "redis: MULTI is refused at %s; a message and its expiry are "
	          "two commands: should the connection and this process end in "
	          "between, it would stay for ever. To mend it, allow +multi "
	          "+exec",
	          hbt_keeper_where(r->commands_keeper));
}

static void note_failure(struct hbt_redis_batch *b, const char *error)
{
	struct hbt_redis *r = b->redis;
	char name[32];

	if (b->failed)
		return;
	b->failed = true;
	command_name(b, name);
	hbt_error_set(&b->failure, HALIBUT_ESYSTEM,
	              "%s at Redis %s was refused: %.*s%s", name,
	              hbt_keeper_where(r->commands_keeper),
	              hbt_redis_said(error), error, hbt_redis_remedy(error));
	if (hbt_redis_is_refused_write(error))
		redis_note_refused(r, &b->failure);
}

static void retry_or_end(struct hbt_redis_batch *b)
{
	int64_t now = hbt_now_ms();

	b->redis->batches.failures++;
	drop_replies(b);
	if (!window_is_open(b, now)) {
		end_failed(b, now);
		return;
	}
	b->redis->batches.retries++;
	b->due_ms = now + RETRY_MS;
	set_state(b, BATCH_PAUSED);
	arm(b->redis, b->due_ms);
}

static void complete(struct hbt_redis_batch *b)
{
	struct hbt_batches *q = &b->redis->batches;

	if (b->cancelled) {
		free_batch(b);
		return;
	}
	smooth(&q->latency_us, hbt_now_us() - b->sent_us);
	if (b->failed) {
		retry_or_end(b);
		return;
	}
	if (b->redis->refusing_since_ms != 0 && !b->raw &&
	    hbt_text_stores(b->text))
		redis_note_written(b->redis);
	if (b->loose)
		note_no_multi(b->redis);
	finish(b, true);
}

static void leave_server(struct hbt_redis *r, const char *why)
{
	struct halibut_error err = {0};

	hbt_error_set(&err, HALIBUT_ESYSTEM, "Redis at %s: %s%s",
	              hbt_keeper_where(r->commands_keeper), why,
	              hbt_redis_remedy(why));
	hbt_keeper_leave(r->commands_keeper, &err);
	halibut_error_clear(&err);
}

void hbt_batches_reply(struct hbt_redis *r, redisReply *reply)
{
	struct hbt_redis_batch *b = TAILQ_FIRST(&r->batches.sent);
	const char *error = NULL;

	if (b == NULL) {
		freeReplyObject(reply);
		leave_server(r, "a reply came that nobody asked for");
		return;
	}
	r->batches.commands++;
	if (!b->raw && !is_about_multi(b, reply))
		error = objection(reply);
	if (error != NULL) {
		note_failure(b, error);
		if (hbt_redis_is_wrong_server(error)) {
			leave_server(r, error);
			freeReplyObject(reply);
			return;
		}
	}
	if (b->cancelled || error != NULL) {
		freeReplyObject(reply);
		reply = NULL;
	}
	b->replies[b->n++] = reply;
	if (b->n == hbt_batch_commands(b))
		complete(b);
}

/* ---- The connection comes and goes ---- */

/* In order, in front of what waits already. */
void hbt_batches_lost(struct hbt_redis *r, const struct halibut_error *why)
{
	struct hbt_batches *q = &r->batches;
	struct hbt_redis_batch *b, *next;
	struct batch_list waiting = TAILQ_HEAD_INITIALIZER(waiting);
	int64_t now = hbt_now_ms();

	TAILQ_CONCAT(&waiting, &q->waiting, link);
	for (b = TAILQ_FIRST(&q->sent); b != NULL; b = next) {
		next = TAILQ_NEXT(b, link);
		if (b->cancelled) {
			free_batch(b);
			continue;
		}
		drop_replies(b);
		b->repeated = true;
		if (!b->failed)
			hbt_error_copy(&b->failure, why);
		q->failures++;
		if (window_is_open(b, now)) {
			q->retries++;
			wait_for_link(b);
		} else {
			end_failed(b, now);
		}
	}
	TAILQ_CONCAT(&q->waiting, &waiting, link);
}

void hbt_batches_unreachable(struct hbt_redis *r)
{
	struct hbt_redis_batch *b, *next;
	int64_t now = hbt_now_ms();

	for (b = TAILQ_FIRST(&r->batches.waiting); b != NULL; b = next) {
		next = TAILQ_NEXT(b, link);
		if (window_is_open(b, now))
			continue;
		hbt_error_copy(&b->failure, &r->last_error);
		end_failed(b, now);
	}
}

static void resume_paused(struct hbt_redis *r, int64_t now)
{
	struct hbt_redis_batch *b;

	while ((b = TAILQ_FIRST(&r->batches.paused)) != NULL &&
	       b->due_ms <= now)
		go(b);
	if (b != NULL)
		arm(r, b->due_ms);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_redis *r = arg;
	struct hbt_redis_batch *b, *next;
	bool up = redis_commands_link(r) != NULL;
	int64_t now = hbt_now_ms();

	(void)fd;
	(void)what;
	redis_enter(r);
	r->batches.timer_due = 0;
	for (b = TAILQ_FIRST(&r->batches.waiting); b != NULL; b = next) {
		next = TAILQ_NEXT(b, link);
		if (waits_until(b) > now)
			arm(r, waits_until(b));
		else if (up) /* it waits for room: nothing failed */
			arm(r, now + RETRY_MS);
		else
			end_failed(b, now);
	}
	resume_paused(r, now);
	redis_leave(r);
}

bool hbt_batches_init(struct hbt_redis *r)
{
	struct hbt_batches *q = &r->batches;

	TAILQ_INIT(&q->waiting);
	TAILQ_INIT(&q->sent);
	TAILQ_INIT(&q->paused);
	TAILQ_INIT(&q->ended);
	q->timer = evtimer_new(r->base, on_timer, r);
	q->turn = evtimer_new(r->base, on_turn, r);
	return q->timer != NULL && q->turn != NULL;
}

static void end_all(struct hbt_redis *r, struct batch_list *list)
{
	struct hbt_redis_batch *b;

	while ((b = TAILQ_FIRST(list)) != NULL) {
		if (b->cancelled) {
			free_batch(b);
			continue;
		}
		drop_replies(b);
		hbt_error_set(&b->failure, HALIBUT_ESHUTDOWN,
		              "Redis at %s: shutting down",
		              hbt_keeper_where(r->commands_keeper));
		set_state(b, BATCH_ENDED);
	}
}

void hbt_batches_shutdown(struct hbt_redis *r)
{
	end_all(r, &r->batches.sent);
	end_all(r, &r->batches.waiting);
	end_all(r, &r->batches.paused);
	run_ended(r);
}

void hbt_batches_fini(struct hbt_redis *r)
{
	if (r->batches.timer != NULL)
		event_free(r->batches.timer);
	if (r->batches.turn != NULL)
		event_free(r->batches.turn);
}
