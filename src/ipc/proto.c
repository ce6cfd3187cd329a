/* Bodies of messages: fields in the order that the structs have them. */
#include "ipc/proto.h"

#include <stdlib.h>
#include <string.h>

#include "ipc/fields.h"

void hbt_field_fail(struct hbt_rd *r)
{
	if (r->status == HALIBUT_OK)
		r->status = HALIBUT_EPROTO;
}

char *hbt_field_cstr(struct hbt_rd *r)
{
	struct hbt_rd ahead = *r;
	bool absent = hbt_rd_u32(&ahead) == UINT32_MAX;
	char *s = hbt_rd_strdup(r);

	if (s == NULL && !absent)
		hbt_field_fail(r);
	return s;
}

char *hbt_field_needed(struct hbt_rd *r)
{
	char *s = hbt_field_cstr(r);

	if (s == NULL)
		hbt_field_fail(r);
	return s;
}

static void free_secret(char **s)
{
	if (*s != NULL)
		explicit_bzero(*s, strlen(*s));
	free(*s);
	*s = NULL;
}

/* Numbers: one table a struct serves both directions. */

enum number_kind {
	NUMBER_BOOL,
	NUMBER_INT,
	NUMBER_SIZE,
	NUMBER_U32,
	NUMBER_U64, /* and int64_t */
};

struct number {
	size_t offset;
	enum number_kind kind;
};

static void put_numbers(struct hbt_wr *w, const void *from,
                        const struct number *n, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const void *p = (const uint8_t *)from + n[i].offset;

		switch (n[i].kind) {
		case NUMBER_BOOL:
			hbt_wr_u8(w, *(const bool *)p);
			break;
		case NUMBER_INT:
			hbt_wr_u32(w, (uint32_t)*(const int *)p);
			break;
		case NUMBER_SIZE:
			hbt_wr_u64(w, *(const size_t *)p);
			break;
		case NUMBER_U32:
			hbt_wr_u32(w, *(const uint32_t *)p);
			break;
		case NUMBER_U64:
			hbt_wr_u64(w, *(const uint64_t *)p);
			break;
		}
	}
}

static void get_numbers(struct hbt_rd *r, void *to, const struct number *n,
                        size_t count)
{
	for (size_t i = 0; i < count; i++) {
		void *p = (uint8_t *)to + n[i].offset;

		switch (n[i].kind) {
		case NUMBER_BOOL:
			*(bool *)p = hbt_rd_u8(r) != 0;
			break;
		case NUMBER_INT:
			*(int *)p = (int)hbt_rd_u32(r);
			break;
		case NUMBER_SIZE:
			*(size_t *)p = (size_t)hbt_rd_u64(r);
			break;
		case NUMBER_U32:
			*(uint32_t *)p = hbt_rd_u32(r);
			break;
		case NUMBER_U64:
			*(uint64_t *)p = hbt_rd_u64(r);
			break;
		}
	}
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define LIMIT(kind, field) {offsetof(struct hbt_limits, field), NUMBER_##kind}

static const struct number limit_numbers[] = {
	LIMIT(U64, polling_request_queue_timeout_ms),
	LIMIT(U64, polling_queue_wait_timeout_ms),
	LIMIT(U64, retry_listening_sleep_interval_ms),
	LIMIT(INT, retry_count_limit),
	LIMIT(U64, connection_error_retry_timeout_ms),
	LIMIT(U64, tcp_client_connect_timeout_ms),
	LIMIT(U64, tcp_client_send_timeout_ms),
	LIMIT(U64, tcp_client_receive_timeout_ms),
	LIMIT(U64, tcp_client_receive_response_timeout_ms),
	LIMIT(U64, tcp_client_receive_request_timeout_for_polling_ms),
	LIMIT(U64, tcp_listening_next_request_idle_timeout_ms),
	LIMIT(U64, tcp_client_pooled_connection_timeout_ms),
	LIMIT(U64, tcp_client_heartbeat_send_timeout_ms),
	LIMIT(U64, tcp_client_heartbeat_receive_timeout_ms),
	LIMIT(BOOL, tcp_client_heartbeat_timeout_should_actually_be_used),
	LIMIT(BOOL, tcp_keep_alive_enabled),
	LIMIT(U64, tcp_keep_alive_time_ms),
	LIMIT(U64, tcp_keep_alive_interval_ms),
	LIMIT(INT, tcp_keep_alive_retry_count),
	LIMIT(INT, maximum_active_tcp_connections_per_polling_subscription),
	LIMIT(U64, polling_reconnect_min_ms),
	LIMIT(U64, polling_reconnect_max_ms),
	LIMIT(U64, handshake_total_timeout_ms),
	LIMIT(INT, max_handshakes),
	LIMIT(INT, max_handshakes_per_second),
	LIMIT(SIZE, max_message_bytes),
	LIMIT(SIZE, max_streams_per_message),
	LIMIT(U64, spool_max_bytes_a_stream_section),
	LIMIT(U64, spool_max_bytes_total),
	LIMIT(U64, spool_max_bytes_a_source),
	LIMIT(U64, spool_max_bytes_a_thumbprint),
	LIMIT(U64, spool_max_bytes_a_subscription),
	LIMIT(SIZE, spool_memory_bytes),
};
#if __SIZEOF_POINTER__ == 8
_Static_assert(sizeof(struct hbt_limits) == 30 * 8,
               "limits changed: change limit_numbers, too");
#endif

void hbt_endpoint_fields_put(struct hbt_wr *w,
                             const struct hbt_endpoint_fields *e)
{
	hbt_wr_cstr(w, e->url);
	hbt_wr_cstr(w, e->thumbprint);
	hbt_wr_cstr(w, e->proxy_host);
	hbt_wr_u16(w, e->proxy_port);
	hbt_wr_cstr(w, e->proxy_user);
	hbt_wr_cstr(w, e->proxy_password);
	hbt_wr_cstr(w, e->connect_host);
	hbt_wr_u16(w, e->connect_port);
	hbt_wr_cstr(w, e->identity);
}

void hbt_endpoint_fields_get(struct hbt_rd *r, struct hbt_endpoint_fields *e)
{
	memset(e, 0, sizeof(*e));
	e->url = hbt_field_needed(r);
	e->thumbprint = hbt_field_cstr(r);
	e->proxy_host = hbt_field_cstr(r);
	e->proxy_port = hbt_rd_u16(r);
	e->proxy_user = hbt_field_cstr(r);
	e->proxy_password = hbt_field_cstr(r);
	e->connect_host = hbt_field_cstr(r);
	e->connect_port = hbt_rd_u16(r);
	e->identity = hbt_field_cstr(r);
}

void hbt_endpoint_fields_fini(struct hbt_endpoint_fields *e)
{
	free(e->url);
	free(e->thumbprint);
	free(e->proxy_host);
	free(e->proxy_user);
	free_secret(&e->proxy_password);
	free(e->connect_host);
	free(e->identity);
	memset(e, 0, sizeof(*e));
}

void hbt_poll_put(struct hbt_wr *w, const struct hbt_poll *p)
{
	hbt_wr_cstr(w, p->subscription);
	hbt_endpoint_fields_put(w, &p->server);
	hbt_wr_u32(w, p->connections);
}

void hbt_poll_get(struct hbt_rd *r, struct hbt_poll *p)
{
	memset(p, 0, sizeof(*p));
	p->subscription = hbt_field_needed(r);
	hbt_endpoint_fields_get(r, &p->server);
	p->connections = hbt_rd_u32(r);
}

void hbt_poll_fini(struct hbt_poll *p)
{
	free(p->subscription);
	hbt_endpoint_fields_fini(&p->server);
	memset(p, 0, sizeof(*p));
}

void hbt_identity_fields_put(struct hbt_wr *w,
                             const struct hbt_identity_fields *f)
{
	hbt_wr_cstr(w, f->name);
	hbt_wr_cstr(w, f->certificate_pem);
	hbt_wr_cstr(w, f->key_pem);
	hbt_wr_cstr(w, f->server_names);
}

void hbt_identity_fields_get(struct hbt_rd *r, struct hbt_identity_fields *f)
{
	memset(f, 0, sizeof(*f));
	f->name = hbt_field_needed(r);
	f->certificate_pem = hbt_field_needed(r);
	f->key_pem = hbt_field_needed(r);
	f->server_names = hbt_field_cstr(r);
}

void hbt_identity_fields_fini(struct hbt_identity_fields *f)
{
	free(f->name);
	free(f->certificate_pem);
	free_secret(&f->key_pem);
	free(f->server_names);
	memset(f, 0, sizeof(*f));
}

void hbt_settings_put(struct hbt_wr *w, const struct hbt_settings *s)
{
	hbt_wr_u32(w, s->index);
	hbt_wr_cstr(w, s->node);
	hbt_wr_u8(w, s->log_level);
	put_numbers(w, &s->limits, limit_numbers, COUNT(limit_numbers));
	hbt_wr_cstr(w, s->certificate_pem);
	hbt_wr_cstr(w, s->key_pem);
	hbt_wr_cstr(w, s->friendly_page);
	hbt_wr_cstr(w, s->friendly_headers);
	hbt_wr_cstr(w, s->spool_directory);
	hbt_wr_u8(w, s->serves_clients);
	hbt_wr_u32(w, s->source_prefix_ipv4);
	hbt_wr_u32(w, s->source_prefix_ipv6);
	hbt_wr_cstr(w, s->unlimited_sources);
	hbt_wr_u32(w, (uint32_t)s->n_identities);
	for (size_t i = 0; i < s->n_identities; i++)
		hbt_identity_fields_put(w, &s->identities[i]);
}

static void get_identities(struct hbt_rd *r, struct hbt_settings *s)
{
	uint32_t n = hbt_rd_u32(r);

	if (n > HBT_MAX_IDENTITIES)
		hbt_field_fail(r);
	if (n == 0 || r->status != HALIBUT_OK)
		return;
	s->identities = calloc(n, sizeof(*s->identities));
	if (s->identities == NULL) {
		hbt_field_fail(r);
		return;
	}
	for (; s->n_identities < n; s->n_identities++)
		hbt_identity_fields_get(r, &s->identities[s->n_identities]);
}

void hbt_settings_get(struct hbt_rd *r, struct hbt_settings *s)
{
	memset(s, 0, sizeof(*s));
	s->index = hbt_rd_u32(r);
	s->node = hbt_field_cstr(r);
	s->log_level = hbt_rd_u8(r);
	get_numbers(r, &s->limits, limit_numbers, COUNT(limit_numbers));
	s->certificate_pem = hbt_field_cstr(r);
	s->key_pem = hbt_field_cstr(r);
	s->friendly_page = hbt_field_cstr(r);
	s->friendly_headers = hbt_field_cstr(r);
	s->spool_directory = hbt_field_cstr(r);
	s->serves_clients = hbt_rd_u8(r);
	s->source_prefix_ipv4 = hbt_rd_u32(r);
	s->source_prefix_ipv6 = hbt_rd_u32(r);
	s->unlimited_sources = hbt_field_cstr(r);
	get_identities(r, s);
}

void hbt_settings_fini(struct hbt_settings *s)
{
	free(s->node);
	free(s->certificate_pem);
	free_secret(&s->key_pem);
	free(s->friendly_page);
	free(s->friendly_headers);
	free(s->spool_directory);
	free(s->unlimited_sources);
	for (size_t i = 0; i < s->n_identities; i++)
		hbt_identity_fields_fini(&s->identities[i]);
	free(s->identities);
	memset(s, 0, sizeof(*s));
}

void hbt_program_put(struct hbt_wr *w, const struct hbt_program *p)
{
	hbt_wr_cstr(w, p->service);
	hbt_wr_cstr(w, p->command);
	hbt_wr_cstr(w, p->directory);
	hbt_wr_u32(w, p->processes);
	hbt_wr_u32(w, p->timeout_ms);
	hbt_wr_u64(w, p->max_memory_bytes);
}

void hbt_program_get(struct hbt_rd *r, struct hbt_program *p)
{
	memset(p, 0, sizeof(*p));
	p->service = hbt_field_needed(r);
	p->command = hbt_field_needed(r);
	p->directory = hbt_field_cstr(r);
	p->processes = hbt_rd_u32(r);
	p->timeout_ms = hbt_rd_u32(r);
	p->max_memory_bytes = hbt_rd_u64(r);
}

void hbt_program_fini(struct hbt_program *p)
{
	free(p->service);
	free(p->command);
	free(p->directory);
	memset(p, 0, sizeof(*p));
}

void hbt_ipc_error_put(struct hbt_wr *w, const struct halibut_error *err)
{
	hbt_wr_u32(w, (uint32_t)err->status);
	hbt_wr_u8(w, (uint8_t)err->connection_state);
	hbt_wr_cstr(w, err->message);
	hbt_wr_cstr(w, err->details);
	hbt_wr_cstr(w, err->type);
}

void hbt_ipc_error_get(struct hbt_rd *r, struct halibut_error *err)
{
	uint32_t status = hbt_rd_u32(r);
	uint8_t state = hbt_rd_u8(r);
	char *message = hbt_field_cstr(r);
	char *details = hbt_field_cstr(r);
	char *type = hbt_field_cstr(r);

	halibut_error_clear(err);
	if (status >= HALIBUT_STATUS_COUNT ||
	    state > HALIBUT_CONNECTION_CONNECTING)
		hbt_field_fail(r);
	if (r->status != HALIBUT_OK) {
		free(message);
		free(details);
		free(type);
		return;
	}
	if (message == NULL && status != HALIBUT_OK)
		hbt_error_set(err, (int)status, "%s",
		              halibut_strerror((int)status));
	else
		err->message = message;
	err->status = (enum halibut_status)status;
	err->connection_state = (enum halibut_connection_state)state;
	err->details = details;
	err->type = type;
}
