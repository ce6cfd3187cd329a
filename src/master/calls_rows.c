/* What the calls tell of themselves: rows, past calls, histograms, audit. */
#include "master/calls_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/guid.h"
#include "base/timespan.h"
#include "base/unix_time.h"
#include "master/audit.h"

static const char *const phase_names[HBT_PHASES] = {
	[HBT_PHASE_WAITING] = "waiting",
	[HBT_PHASE_TAKEN] = "taken",
	[HBT_PHASE_SENDING] = "sending",
	[HBT_PHASE_EXECUTING] = "executing",
	[HBT_PHASE_RECEIVING] = "receiving",
	[HBT_PHASE_SHARED] = "shared",
	[HBT_PHASE_CANCELLING] = "cancelling",
};

int64_t hbt_call_waited_us(const struct hbt_call *call)
{
	int64_t until = call->taken_us != 0 ? call->taken_us : hbt_now_us();

	return until - call->since_us;
}

int hbt_call_on_phase(struct hbt_call *call, struct hbt_ipc_msg *msg)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	uint8_t phase = hbt_rd_u8(&r);

	if (hbt_rd_finish(&r) != HALIBUT_OK || phase < HBT_PHASE_TAKEN ||
	    phase > HBT_PHASE_RECEIVING)
		return HALIBUT_EPROTO;
	if (call->phase != HBT_PHASE_CANCELLING && call->phase != phase) {
		call->phase = phase;
		call->phase_us = hbt_now_us();
	}
	return HALIBUT_OK;
}

/* What rows have in common, as texts that live while it does. */
struct texts {
	char activity[HBT_GUID_TEXT];
	char asker[160];
};

static void make_texts(const struct hbt_call *call, struct texts *t)
{
	const struct hbt_envelope *env = &call->pending.msg->env;
	const char *print = call->from_thumbprint;

	t->activity[0] = '\0';
	if (env->has_activity_id)
		hbt_guid_format(&env->activity_id, t->activity);
	snprintf(t->asker, sizeof(t->asker), "%s%s%s",
	         call->from != NULL ? call->from : "",
	         print != NULL ? " " : "", print != NULL ? print : "");
}

static const char *text_or_null(const char *text)
{
	return text[0] != '\0' ? text : NULL;
}

static const char *endpoint_of(const struct hbt_call *call)
{
	return call->destination != NULL ? call->destination
	                                 : call->pending.msg->env.destination;
}

static uint64_t ms_since(int64_t then_us, int64_t now_us)
{
	return now_us > then_us ? (uint64_t)(now_us - then_us) / 1000 : 0;
}

static void add_row(const struct hbt_call *call, struct hbt_page *page)
{
	const struct hbt_envelope *env = &call->pending.msg->env;
	int64_t now = hbt_now_us();
	struct texts t;
	struct hbt_call_row row = {
		.number = call->number,
		.phase = phase_names[call->phase],
		.endpoint = endpoint_of(call),
		.service = env->service,
		.method = env->method,
		.carrier_connection = call->carried_on,
		.started_at = hbt_unix_ms_of(call->since_us / 1000),
		.age_ms = ms_since(call->since_us, now),
		.waiting_ms = (uint64_t)hbt_call_waited_us(call) / 1000,
		.phase_ms = ms_since(call->phase_us, now),
		.request_bytes = call->bytes,
		.streams = (uint32_t)env->n_streams,
	};

	make_texts(call, &t);
	row.activity = text_or_null(t.activity);
	row.asker = t.asker;
	if (call->state == CALL_CARRIED)
		row.carrier = call->carried_by;
	if (call->taken_us != 0)
		row.executing_ms = ms_since(call->taken_us, now);
	hbt_page_add(page, &row);
}

void hbt_calls_fill(const struct hbt_calls *calls, uint64_t after,
                    struct hbt_page *page, uint64_t *next)
{
	const struct hbt_call *call;

	while (hbt_page_has_room(page) &&
	       (call = hbt_slots_next(&calls->slots, &after)) != NULL)
		if (call->pending.msg != NULL)
			add_row(call, page);
	*next = after;
}

void hbt_calls_fill_past(const struct hbt_calls *calls, uint64_t after,
                         struct hbt_page *page, uint64_t *next)
{
	hbt_past_calls_fill(calls->past, after, page, next);
}

/* The end */

static void observe(const struct hbt_call *call, int64_t now)
{
	struct hbt_calls_counts *n = &call->calls->counts;

	if (call->by_queue)
		hbt_histogram_add(&n->time_waiting, hbt_call_waited_us(call));
	if (call->taken_us != 0)
		hbt_histogram_add(&n->time_executing, now - call->taken_us);
	hbt_histogram_add(&n->time_total, now - call->since_us);
}

static void remember(const struct hbt_call *call, const struct texts *t,
                     bool slow, int64_t now, const struct halibut_error *err)
{
	const struct hbt_envelope *env = &call->pending.msg->env;
	struct hbt_past_call_row row = {
		.number = call->number,
		.endpoint = endpoint_of(call),
		.service = env->service,
		.method = env->method,
		.activity = text_or_null(t->activity),
		.asker = t->asker,
		.carrier = text_or_null(call->carried_by),
		.started_at = hbt_unix_ms_of(call->since_us / 1000),
		.ended_at = hbt_unix_ms(),
		.total_ms = ms_since(call->since_us, now),
		.waiting_ms = (uint64_t)hbt_call_waited_us(call) / 1000,
		.slow = slow,
	};

	if (call->taken_us != 0)
		row.executing_ms = ms_since(call->taken_us, now);
	if (err != NULL) {
		row.error = halibut_status_name(err->status);
		row.message = err->message;
	}
	hbt_past_calls_add(call->calls->past, &row);
}

/* Who called what, and how it ended; never with what parameters. */
static void audit(const struct hbt_call *call, const struct texts *t,
                  int64_t now, const struct halibut_error *err)
{
	const struct hbt_envelope *env = &call->pending.msg->env;

	hbt_audit(LOG_ABOUT(.event = "call", .peer = t->asker,
	                    .endpoint = endpoint_of(call),
	                    .activity = text_or_null(t->activity),
	                    .reason = err != NULL ? err->message : NULL),
	          "%s called %s of %s at %s: %s after %llu ms", t->asker,
	          env->method, env->service,
	          endpoint_of(call) != NULL ? endpoint_of(call) : "",
	          err != NULL ? "failed" : "answered",
	          (unsigned long long)ms_since(call->since_us, now));
}

void hbt_call_note_end(struct hbt_call *call, const struct halibut_error *err)
{
	int64_t now = hbt_now_us(), limit_us;
	struct texts t;
	bool slow;

	observe(call, now);
	limit_us = call->calls->cfg->slow_call_time_ms * 1000;
	slow = limit_us > 0 && now - call->since_us >= limit_us;
	if (slow)
		call->calls->counts.slow++;
	if (call->pending.msg == NULL ||
	    (err == NULL && !slow && !hbt_audit_wants_calls()))
		return;
	make_texts(call, &t);
	if (err != NULL || slow)
		remember(call, &t, slow, now, err);
	if (hbt_audit_wants_calls())
		audit(call, &t, now, err);
}
