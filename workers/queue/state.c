/* What the status shows: once a second, if new. */
#include <stdlib.h>
#include <string.h>

#include "base/timespan.h"
#include "ipc/worker.h"
#include "worker.h"

#define TRIM_IDLE_MS (10 * 60 * 1000)

static void set_int(json_t *o, const char *name, uint64_t value)
{
	json_object_set_new(o, name, json_integer((json_int_t)value));
}

static void set_text(json_t *o, const char *name, const char *value)
{
	json_object_set_new(o, name, json_string(value));
}

static void set_text_or_null(json_t *o, const char *name, const char *value)
{
	json_object_set_new(o, name,
	                    value[0] != '\0' ? json_string(value)
	                                     : json_null());
}

static uint64_t seconds_since(int64_t ms)
{
	return ms > 0 ? (uint64_t)(hbt_now_ms() - ms) / 1000 : 0;
}

static void add_redis(const struct worker *w, json_t *o)
{
	struct hbt_redis_state s;

	hbt_redis_state(w->setup->redis, &s);
	set_text(o, "server", s.server);
	set_text(o, "key_prefix", w->queue.key_prefix);
	set_text(o, "streams", w->queue.streams);
	json_object_set_new(o, "reachable",
	                    json_boolean(s.commands_up && s.subscriber_up));
	json_object_set_new(o, "ever_reachable", json_boolean(s.was_up));
	set_int(o, "up_s", seconds_since(s.up_since_ms));
	set_int(o, "down_s", seconds_since(s.down_since_ms));
	json_object_set_new(o, "writable",
	                    json_boolean(s.refusing_since_ms == 0));
	set_int(o, "refusing_s", seconds_since(s.refusing_since_ms));
	set_text_or_null(o, "refusal", s.refusal);
	json_object_set_new(o, "latency_us",
	                    s.latency_us > 0 ? json_integer(s.latency_us)
	                                     : json_null());
	set_int(o, "outages", s.outages);
	set_int(o, "reconnects", s.reconnects);
	set_int(o, "commands", s.commands);
	set_int(o, "failures", s.failures);
	set_int(o, "retries", s.retries);
	set_int(o, "bytes_in", s.bytes_in);
	set_int(o, "bytes_out", s.bytes_out);
	set_int(o, "channels", s.channels);
	set_text_or_null(o, "last_error", s.last_error);
	set_int(o, "last_error_s", seconds_since(s.last_error_ms));
	room_describe(w, o);
}

static void add_node(const struct worker *w, json_t *o)
{
	struct hbt_redis_node_state s;

	hbt_redis_node_state(w->setup->node, &s);
	set_int(o, "sending", s.sending);
	set_int(o, "receiving", s.receiving);
	set_int(o, "data_losses", s.data_losses);
	json_object_set_new(o, "data_loss_watched",
	                    json_boolean(s.data_loss_watched));
	set_int(o, "heartbeats_in", s.heartbeats_in);
	set_int(o, "heartbeats_out", s.heartbeats_out);
	set_text(o, "response_pulses", s.pattern_responses ? "all" : "each");
}

static char *describe(const struct worker *w)
{
	json_t *o = json_object();
	char *text;

	add_redis(w, o);
	add_node(w, o);
	json_object_set_new(o, "findings", examine_findings(w));
	json_object_set_new(o, "nodes", nodes_list(w));
	json_object_set_new(o, "queues", lengths_list(w));
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return text;
}

static void tell_state(struct worker *w)
{
	char *text = describe(w);
	struct hbt_wr wr;

	if (text == NULL || (w->state_told != NULL &&
	                     strcmp(text, w->state_told) == 0)) {
		free(text);
		return;
	}
	hbt_wr_init(&wr, HBT_IPC_MAX_BODY);
	hbt_wr_str(&wr, text, strlen(text));
	worker_tell(w, HBT_IPC_QUEUE_STATE, 0, &wr, -1);
	free(w->state_told);
	w->state_told = text;
}

static void tell_stats(struct worker *w)
{
	w->stats.calls_in_flight = enqueue_busy(w) + collect_busy(w);
	w->stats.spool_bytes = hbt_spool_bytes();
	w->stats.spool_full =
		hbt_spool_accounts_full(w->spools, HBT_SPOOL_OF_ALL);
	w->stats.spool_full_per_subscription =
		hbt_spool_accounts_full(w->spools, HBT_SPOOL_OF_SUBSCRIPTION);
	hbt_worker_second(w->ipc, &w->stats, &w->stats_told);
}

static void add_waiting(void *arg, struct hbt_queue *q)
{
	struct worker *w = arg;
	struct hbt_queue_counts n;

	q->ops->counts(q, &n);
	w->waiting += n.waiting;
	w->waiting_bytes += n.waiting_bytes;
}

static void tick(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;

	(void)fd;
	(void)what;
	worker_maybe_leave(w); /* what nobody told of, such as a drained spool */
	if (w->draining && !w->replaced)
		enqueue_drain(w);
	w->waiting = w->waiting_bytes = 0;
	hbt_switchboard_each(w->switchboard, add_waiting, w);
	hbt_switchboard_trim(w->switchboard, TRIM_IDLE_MS);
	tell_stats(w);
	tell_state(w);
}

int state_start(struct worker *w)
{
	const struct timeval second = {.tv_sec = 1};

	w->tick = event_new(w->base, -1, EV_PERSIST, tick, w);
	if (w->tick == NULL || event_add(w->tick, &second) != 0)
		return HALIBUT_ENOMEM;
	return HALIBUT_OK;
}
