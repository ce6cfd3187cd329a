#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "runtime/inlet.h"
#include "wire/compose.h"

void hbt_inlet_init(struct hbt_inlet *in, const struct hbt_inlet_ops *ops,
                    void *arg, struct hbt_exchange *ex)
{
	memset(in, 0, sizeof(*in));
	in->ops = ops;
	in->arg = arg;
	in->ex = ex;
}

/* The one place where an inlet changes state, and the count of answers that
 * are being sent with it. */
static void set_state(struct hbt_inlet *in, enum hbt_inlet_state to)
{
	uint32_t *sending = &hbt_exchange_env(in->ex)->counts.answers_leaving;

	*sending -= in->state == INLET_SENDING;
	*sending += to == INLET_SENDING;
	in->state = to;
}

static void settle(struct hbt_inlet *in)
{
	free(in->request_id);
	in->request_id = NULL;
	hbt_message_unref(&in->answer);
	hbt_source_free(&in->answer_streams);
}

void hbt_inlet_fini(struct hbt_inlet *in)
{
	bool owed = (in->state == INLET_ARRIVING || in->state == INLET_OWED) &&
	            in->answer == NULL;

	set_state(in, INLET_IDLE);
	settle(in);
	if (owed)
		in->ops->gone(in->arg, in);
}

static void send_answer(struct hbt_inlet *in)
{
	struct hbt_message *m = in->answer;
	struct hbt_source *streams = in->answer_streams;

	in->answer = NULL;
	in->answer_streams = NULL;
	set_state(in, INLET_SENDING);
	settle(in);
	hbt_exchange_send(in->ex, m, streams);
	hbt_message_unref(&m);
}

void hbt_inlet_answer(struct hbt_inlet *in, struct hbt_message *m,
                      struct hbt_source *streams)
{
	if (in->answer != NULL ||
	    (in->state != INLET_ARRIVING && in->state != INLET_OWED)) {
		hbt_source_free(&streams);
		return;
	}
	in->answer = hbt_message_ref(m);
	in->answer_streams = streams;
	if (in->state == INLET_OWED)
		send_answer(in);
}

void hbt_inlet_fail(struct hbt_inlet *in, const struct halibut_error *err)
{
	struct hbt_deflater *deflater;
	struct hbt_message *m = NULL;
	bson_t doc = BSON_INITIALIZER;

	if (in->state != INLET_ARRIVING && in->state != INLET_OWED)
		return;
	deflater = hbt_deflater_shared();
	if (deflater != NULL && in->request_id != NULL &&
	    hbt_compose_error(in->request_id, err, &doc) == 0)
		hbt_message_from_bson(deflater, bson_get_data(&doc), doc.len,
		                      &m, NULL);
	bson_destroy(&doc);
	if (m != NULL) {
		hbt_inlet_answer(in, m, NULL);
		hbt_message_unref(&m);
		return;
	}
	log_error("%s gets no answer: out of memory; closing its connection",
	          hbt_conn_peer_address(hbt_exchange_conn(in->ex)));
	hbt_exchange_abort(in->ex);
}

void hbt_inlet_message(struct hbt_inlet *in, struct hbt_message *m,
                       struct hbt_sink **sink)
{
	set_state(in, INLET_ARRIVING);
	in->request_id = strdup(m->env.id); /* NULL: fail() closes instead */
	in->ops->request(in->arg, in, m, sink);
}

void hbt_inlet_message_end(struct hbt_inlet *in)
{
	set_state(in, INLET_OWED);
	if (in->answer != NULL)
		send_answer(in);
}

void hbt_inlet_sent(struct hbt_inlet *in)
{
	set_state(in, INLET_IDLE);
	if (in->ops->sent != NULL)
		in->ops->sent(in->arg, in);
}
