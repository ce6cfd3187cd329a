/* Messages on their way between processes: the envelope, then the bytes. */
#include <stdlib.h>
#include <string.h>

#include "ipc/fields.h"
#include "ipc/proto.h"

#define STREAM_REF_BYTES 24 /* id and length */

void hbt_parcel_put(struct hbt_wr *w, const struct hbt_message *m)
{
	const struct hbt_envelope *env = &m->env;

	hbt_wr_u8(w, (uint8_t)env->kind);
	hbt_wr_cstr(w, env->id);
	hbt_wr_u8(w, env->has_activity_id);
	hbt_wr_bytes(w, env->activity_id.wire, sizeof(env->activity_id.wire));
	hbt_wr_cstr(w, env->destination);
	hbt_wr_cstr(w, env->destination_thumbprint);
	hbt_wr_u64(w, (uint64_t)env->queue_timeout_ms);
	hbt_wr_cstr(w, env->service);
	hbt_wr_cstr(w, env->method);
	hbt_wr_u8(w, env->is_error);
	hbt_wr_u32(w, (uint32_t)env->n_streams);
	for (size_t i = 0; i < env->n_streams; i++) {
		hbt_wr_bytes(w, env->streams[i].id.wire,
		             sizeof(env->streams[i].id.wire));
		hbt_wr_u64(w, (uint64_t)env->streams[i].length);
	}
	hbt_wr_str(w, (const char *)m->deflated, m->deflated_len);
}

static void get_guid(struct hbt_rd *r, struct hbt_guid *g)
{
	const uint8_t *p = hbt_rd_bytes(r, sizeof(g->wire));

	if (p != NULL)
		memcpy(g->wire, p, sizeof(g->wire));
}

static void get_streams(struct hbt_rd *r, struct hbt_envelope *env)
{
	uint32_t n = hbt_rd_u32(r);

	/* What is claimed must be there before memory is spent on it. */
	if (n > r->left / STREAM_REF_BYTES)
		hbt_field_fail(r);
	if (r->status != HALIBUT_OK || n == 0)
		return;
	if ((env->streams = calloc(n, sizeof(*env->streams))) == NULL) {
		hbt_field_fail(r);
		return;
	}
	env->n_streams = n;
	for (uint32_t i = 0; i < n; i++) {
		get_guid(r, &env->streams[i].id);
		env->streams[i].length = (int64_t)hbt_rd_u64(r);
	}
}

static void get_envelope(struct hbt_rd *r, struct hbt_envelope *env)
{
	uint8_t kind = hbt_rd_u8(r);

	if (kind > HBT_MESSAGE_RESPONSE)
		hbt_field_fail(r);
	env->kind = (enum hbt_message_kind)kind;
	env->id = kind == HBT_MESSAGE_NULL ? hbt_field_cstr(r)
	                                   : hbt_field_needed(r);
	env->has_activity_id = hbt_rd_u8(r) != 0;
	get_guid(r, &env->activity_id);
	env->destination = hbt_field_cstr(r);
	env->destination_thumbprint = hbt_field_cstr(r);
	env->queue_timeout_ms = (int64_t)hbt_rd_u64(r);
	env->service = hbt_field_cstr(r);
	env->method = hbt_field_cstr(r);
	env->is_error = hbt_rd_u8(r) != 0;
	get_streams(r, env);
}

struct hbt_message *hbt_parcel_get(struct hbt_rd *r)
{
	struct hbt_envelope env = {.kind = HBT_MESSAGE_NULL};
	struct hbt_message *m;
	struct hbt_str bytes;
	uint8_t *deflated;

	get_envelope(r, &env);
	bytes = hbt_rd_str(r);
	if (r->status != HALIBUT_OK) {
		hbt_envelope_fini(&env);
		return NULL;
	}
	if ((deflated = malloc(bytes.len > 0 ? bytes.len : 1)) == NULL) {
		hbt_envelope_fini(&env);
		hbt_field_fail(r);
		return NULL;
	}
	memcpy(deflated, bytes.s, bytes.len);
	if ((m = hbt_message_new(&env, deflated, bytes.len)) == NULL)
		hbt_field_fail(r);
	return m;
}
