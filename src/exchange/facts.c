/* What others can see of an exchange, and of how it ended. */
#include <stdlib.h>
#include <string.h>

#include "base/timespan.h"
#include "exchange/private.h"

int ex_enter(struct hbt_exchange *ex)
{
	ex->id = ++ex->env->last_id;
	ex->opened_ms = ex->active_ms = hbt_now_ms();
	return hbt_slots_add(&ex->env->all, ex, &ex->slot);
}

static const char *why_it_ended(const struct hbt_exchange *ex)
{
	if (ex->why != NULL)
		return ex->why;
	return ex->by_peer ? "the peer ended it" : "this side ended it";
}

void ex_leave(struct hbt_exchange *ex)
{
	hbt_slots_remove(&ex->env->all, ex->slot);
	if (ex->env->ended != NULL && ex->conn != NULL)
		ex->env->ended(ex->env->ended_arg, ex, why_it_ended(ex));
}

/* No call is under way in it. */
static bool is_idle(const struct hbt_exchange *ex)
{
	return ex_is_between_calls(ex) || ex->state < EX_READY ||
	       ex->out_is_null;
}

void ex_note_end(struct hbt_exchange *ex, const struct halibut_error *err)
{
	if (is_idle(ex))
		ex->has_activity = false;
	if (err == NULL || err->status == HALIBUT_OK)
		ex->by_peer = true;
	else
		hbt_exchange_explain(ex, err->message);
}

void hbt_exchange_explain(struct hbt_exchange *ex, const char *why)
{
	/* Without memory a shorter text will do. */
	if (ex->why == NULL && !ex->by_peer && why != NULL)
		ex->why = strdup(why);
}

void ex_note_call(struct hbt_exchange *ex, const struct hbt_message *m,
                  bool incoming)
{
	ex->active_ms = hbt_now_ms();
	if (incoming == ex_is_asker(ex)) { /* the response */
		ex->calls++;
		return;
	}
	ex->has_activity = m->env.has_activity_id;
	ex->activity = m->env.activity_id;
}

static const char *state_of(const struct hbt_exchange *ex)
{
	if (ex->role->role == HBT_ROLE_ACCEPTED && ex->state == EX_OPENING)
		return "TLS handshake";
	return hbt_exchange_state_text(ex);
}

void hbt_exchange_facts(const struct hbt_exchange *ex,
                        struct hbt_exchange_facts *f)
{
	bool idle = is_idle(ex);

	*f = (struct hbt_exchange_facts){
		.id = ex->id,
		.role = ex->role->role,
		.is_known = ex->is_known,
		.state = state_of(ex),
		.subscription = ex->subscription,
		.url = ex->url,
		.activity = ex->has_activity && !idle ? &ex->activity : NULL,
		.opened_ms = ex->opened_ms,
		.idle_ms = idle || ex->state == EX_CLOSED
		                   ? hbt_now_ms() - ex->active_ms
		                   : 0,
		.calls = ex->calls,
		.messages_in = ex->messages_in,
		.messages_out = ex->messages_out,
	};
}

struct hbt_exchange_env *hbt_exchange_env(const struct hbt_exchange *ex)
{
	return ex->env;
}

uint32_t hbt_exchange_id(const struct hbt_exchange *ex)
{
	return ex->id;
}

enum hbt_exchange_phase hbt_exchange_phase(const struct hbt_exchange *ex)
{
	switch (ex->state) {
	case EX_SENDING:
		return ex->out_is_null ? HBT_EXCHANGE_BEFORE
		                       : HBT_EXCHANGE_SENDING;
	case EX_AWAIT_MESSAGE:
		return HBT_EXCHANGE_AWAITING;
	case EX_RECEIVING:
		return HBT_EXCHANGE_RECEIVING;
	default:
		return HBT_EXCHANGE_BEFORE;
	}
}
