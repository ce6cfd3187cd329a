#include "ipc/rows.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "ipc/fields.h"
#include "ipc/proto.h"

#define MAX_TEXT 1024 /* of one in a page */

#define FIELD(row, kind, name)                                                 \
	{HBT_FIELD_##kind, #name, offsetof(struct row, name)},
#define LAST {HBT_FIELD_TEXT, NULL, 0}

#define F(kind, name) FIELD(hbt_node_row, kind, name)
static const struct hbt_field node_fields[] = {HBT_NODE_ROW(F) LAST};
#undef F
#define F(kind, name) FIELD(hbt_worker_row, kind, name)
static const struct hbt_field worker_fields[] = {HBT_WORKER_ROW(F) LAST};
#undef F
#define F(kind, name) FIELD(hbt_connection_row, kind, name)
static const struct hbt_field connection_fields[] = {
	HBT_CONNECTION_ROW(F) LAST};
#undef F
#define F(kind, name) FIELD(hbt_subscription_row, kind, name)
static const struct hbt_field subscription_fields[] = {
	HBT_SUBSCRIPTION_ROW(F) LAST};
#undef F
#define F(kind, name) FIELD(hbt_call_row, kind, name)
static const struct hbt_field call_fields[] = {HBT_CALL_ROW(F) LAST};
#undef F
#define F(kind, name) FIELD(hbt_past_call_row, kind, name)
static const struct hbt_field past_call_fields[] = {HBT_PAST_CALL_ROW(F) LAST};
#undef F
#define F(kind, name) FIELD(hbt_refused_row, kind, name)
static const struct hbt_field refused_fields[] = {HBT_REFUSED_ROW(F) LAST};
#undef F
#define F(kind, name) FIELD(hbt_trust_row, kind, name)
static const struct hbt_field trust_fields[] = {HBT_TRUST_ROW(F) LAST};
#undef F

static const struct {
	const struct hbt_field *fields;
	size_t size;
} tables[HBT_TABLES] = {
	[HBT_TABLE_NODE] = {node_fields, sizeof(struct hbt_node_row)},
	[HBT_TABLE_WORKERS] = {worker_fields, sizeof(struct hbt_worker_row)},
	[HBT_TABLE_CONNECTIONS] = {connection_fields,
                                   sizeof(struct hbt_connection_row)},
	[HBT_TABLE_CLOSED] = {connection_fields,
                              sizeof(struct hbt_connection_row)},
	[HBT_TABLE_SUBSCRIPTIONS] = {subscription_fields,
                                     sizeof(struct hbt_subscription_row)},
	[HBT_TABLE_CALLS] = {call_fields, sizeof(struct hbt_call_row)},
	[HBT_TABLE_PAST_CALLS] = {past_call_fields,
                                  sizeof(struct hbt_past_call_row)},
	[HBT_TABLE_REFUSED] = {refused_fields, sizeof(struct hbt_refused_row)},
	[HBT_TABLE_TRUST] = {trust_fields, sizeof(struct hbt_trust_row)},
};

const struct hbt_field *hbt_table_fields(enum hbt_table table)
{
	return (unsigned)table < HBT_TABLES ? tables[table].fields : NULL;
}

/* The end of text within max bytes, between two characters of UTF-8. */
static size_t cut(const char *text, size_t len, size_t max)
{
	if (len <= max)
		return len;
	while (max > 0 && ((uint8_t)text[max] & 0xc0) == 0x80)
		max--;
	return max;
}

static void put_text(struct hbt_wr *w, const char *text, size_t max)
{
	if (text == NULL)
		hbt_wr_cstr(w, NULL);
	else
		hbt_wr_str(w, text, cut(text, strlen(text), max));
}

static void put_field(struct hbt_wr *w, const struct hbt_field *f,
                      const void *row, size_t max_text)
{
	const void *p = (const uint8_t *)row + f->offset;

	switch (f->kind) {
	case HBT_FIELD_TEXT:
		put_text(w, *(const char *const *)p, max_text);
		break;
	case HBT_FIELD_U32:
		hbt_wr_u32(w, *(const uint32_t *)p);
		break;
	case HBT_FIELD_U64:
		hbt_wr_u64(w, *(const uint64_t *)p);
		break;
	case HBT_FIELD_I64:
		hbt_wr_u64(w, (uint64_t)*(const int64_t *)p);
		break;
	case HBT_FIELD_BOOL:
		hbt_wr_u8(w, *(const bool *)p);
		break;
	}
}

static void put(struct hbt_wr *w, enum hbt_table table, const void *row,
                size_t max_text)
{
	const struct hbt_field *f = hbt_table_fields(table);

	if (f == NULL) {
		if (w->status == HALIBUT_OK)
			w->status = HALIBUT_EINVAL;
		return;
	}
	for (; f->name != NULL; f++)
		put_field(w, f, row, max_text);
	if (table == HBT_TABLE_WORKERS)
		hbt_worker_stats_put(w, &((const struct hbt_worker_row *)row)->stats);
}

void hbt_row_put(struct hbt_wr *w, enum hbt_table table, const void *row)
{
	put(w, table, row, SIZE_MAX);
}

static void get_field(struct hbt_rd *r, const struct hbt_field *f, void *row)
{
	void *p = (uint8_t *)row + f->offset;

	switch (f->kind) {
	case HBT_FIELD_TEXT:
		*(char **)p = hbt_field_cstr(r);
		break;
	case HBT_FIELD_U32:
		*(uint32_t *)p = hbt_rd_u32(r);
		break;
	case HBT_FIELD_U64:
		*(uint64_t *)p = hbt_rd_u64(r);
		break;
	case HBT_FIELD_I64:
		*(int64_t *)p = (int64_t)hbt_rd_u64(r);
		break;
	case HBT_FIELD_BOOL:
		*(bool *)p = hbt_rd_u8(r) != 0;
		break;
	}
}

void hbt_row_get(struct hbt_rd *r, enum hbt_table table, void *row)
{
	const struct hbt_field *f = hbt_table_fields(table);

	if (f == NULL) {
		hbt_field_fail(r);
		return;
	}
	memset(row, 0, tables[table].size);
	for (; f->name != NULL; f++)
		get_field(r, f, row);
	if (table == HBT_TABLE_WORKERS)
		hbt_worker_stats_get(r, &((struct hbt_worker_row *)row)->stats);
}

void hbt_row_fini(enum hbt_table table, void *row)
{
	const struct hbt_field *f = hbt_table_fields(table);

	if (f == NULL)
		return;
	for (; f->name != NULL; f++)
		if (f->kind == HBT_FIELD_TEXT)
			free(*(char **)(void *)((uint8_t *)row + f->offset));
	memset(row, 0, tables[table].size);
}

void hbt_rows_ask_put(struct hbt_wr *w, const struct hbt_rows_ask *a)
{
	hbt_wr_u8(w, a->table);
	hbt_wr_u32(w, a->worker);
	hbt_wr_u64(w, a->after);
}

void hbt_rows_ask_get(struct hbt_rd *r, struct hbt_rows_ask *a)
{
	a->table = hbt_rd_u8(r);
	a->worker = hbt_rd_u32(r);
	a->after = hbt_rd_u64(r);
}

/* Pages */

void hbt_page_init(struct hbt_page *p, enum hbt_table table)
{
	p->table = table;
	p->n = 0;
	hbt_wr_init(&p->rows, HBT_IPC_MAX_BODY);
}

bool hbt_page_has_room(const struct hbt_page *p)
{
	return p->n < HBT_PAGE_ROWS && p->rows.buf.len < HBT_PAGE_BYTES;
}

void hbt_page_add(struct hbt_page *p, const void *row)
{
	put(&p->rows, p->table, row,
	    p->table == HBT_TABLE_NODE ? SIZE_MAX : MAX_TEXT);
	p->n++;
}

static int send_rows(struct hbt_ipc *ipc, uint32_t id, bool ok, uint64_t next,
                     uint32_t n, const struct hbt_buf *rows)
{
	struct hbt_wr w;

	hbt_wr_init(&w, HBT_IPC_MAX_BODY);
	hbt_wr_u8(&w, ok);
	hbt_wr_u64(&w, next);
	hbt_wr_u32(&w, n);
	if (rows != NULL && rows->len > 0)
		hbt_wr_bytes(&w, rows->data, rows->len);
	return hbt_ipc_send_wr(ipc, HBT_IPC_ROWS, id, &w, -1);
}

int hbt_page_send(struct hbt_page *p, struct hbt_ipc *ipc, uint32_t id,
                  uint64_t next)
{
	int rc;

	if (p->rows.status == HALIBUT_OK)
		rc = send_rows(ipc, id, true, next, p->n, &p->rows.buf);
	else
		rc = hbt_page_refuse(ipc, id);
	hbt_wr_fini(&p->rows);
	return rc;
}

int hbt_page_refuse(struct hbt_ipc *ipc, uint32_t id)
{
	return send_rows(ipc, id, false, 0, 0, NULL);
}

bool hbt_rows_begin(struct hbt_rd *r, uint64_t *next, uint32_t *n)
{
	bool ok = hbt_rd_u8(r) != 0;

	*next = hbt_rd_u64(r);
	*n = hbt_rd_u32(r);
	return ok && r->status == HALIBUT_OK;
}
