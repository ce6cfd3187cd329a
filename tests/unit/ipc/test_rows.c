/* Rows: what was put is what is got, nothing less; and pages are bounded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "ipc/proto.h"
#include "ipc/rows.h"

static struct hbt_wr w;

static int set_up(void **state)
{
	(void)state;
	hbt_wr_init(&w, 1000000);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	hbt_wr_fini(&w);
	return 0;
}

/* Each field another value, so that none can stand for another. */
static void fill(enum hbt_table table, union hbt_row *row)
{
	uint64_t i = 1;

	memset(row, 0, sizeof(*row));
	for (const struct hbt_field *f = hbt_table_fields(table);
	     f->name != NULL; f++, i++) {
		void *p = (uint8_t *)row + f->offset;

		switch (f->kind) {
		case HBT_FIELD_TEXT:
			*(const char **)p = f->name;
			break;
		case HBT_FIELD_U32:
			*(uint32_t *)p = (uint32_t)(i << 24 | i);
			break;
		case HBT_FIELD_U64:
			*(uint64_t *)p = i << 56 | i;
			break;
		case HBT_FIELD_I64:
			*(int64_t *)p = -(int64_t)i;
			break;
		case HBT_FIELD_BOOL:
			*(bool *)p = true;
			break;
		}
	}
	if (table != HBT_TABLE_WORKERS)
		return;
	for (const struct hbt_counter *c = hbt_worker_counters; c->name != NULL;
	     c++, i++)
		memcpy((uint8_t *)&row->worker.stats + c->offset, &i,
		       sizeof(i));
}

static bool is_same(const struct hbt_field *f, const void *a, const void *b)
{
	const uint8_t *x = (const uint8_t *)a + f->offset;
	const uint8_t *y = (const uint8_t *)b + f->offset;

	switch (f->kind) {
	case HBT_FIELD_TEXT:
		return strcmp(*(char *const *)(const void *)x,
		              *(char *const *)(const void *)y) == 0;
	case HBT_FIELD_U32:
		return memcmp(x, y, sizeof(uint32_t)) == 0;
	case HBT_FIELD_BOOL:
		return *(const bool *)x == *(const bool *)y;
	default:
		return memcmp(x, y, sizeof(uint64_t)) == 0;
	}
}

static void a_row_of_each_table_comes_back(void **state)
{
	(void)state;
	for (int t = HBT_TABLE_NODE; t < HBT_TABLES; t++) {
		enum hbt_table table = (enum hbt_table)t;
		union hbt_row in, out;
		struct hbt_rd r;

		fill(table, &in);
		hbt_row_put(&w, table, &in);
		assert_int_equal(w.status, HALIBUT_OK);
		r = hbt_rd_from(w.buf.data, w.buf.len);
		hbt_row_get(&r, table, &out);
		assert_int_equal(hbt_rd_finish(&r), HALIBUT_OK);
		for (const struct hbt_field *f = hbt_table_fields(table);
		     f->name != NULL; f++)
			if (!is_same(f, &in, &out))
				fail_msg("%s of table %d differs", f->name, t);
		if (table == HBT_TABLE_WORKERS)
			assert_memory_equal(&in.worker.stats, &out.worker.stats,
			                    sizeof(in.worker.stats));
		hbt_row_fini(table, &out);
		hbt_wr_fini(&w);
	}
}

static void half_a_row_is_none(void **state)
{
	(void)state;
	for (int t = HBT_TABLE_NODE; t < HBT_TABLES; t++) {
		enum hbt_table table = (enum hbt_table)t;
		union hbt_row row;

		fill(table, &row);
		hbt_row_put(&w, table, &row);
		for (size_t len = 0; len < w.buf.len; len++) {
			uint8_t *cut = malloc(len + 1);
			struct hbt_rd r = hbt_rd_from(cut, len);

			memcpy(cut, w.buf.data, len);
			hbt_row_get(&r, table, &row);
			assert_int_equal(hbt_rd_finish(&r), HALIBUT_EPROTO);
			hbt_row_fini(table, &row);
			free(cut);
		}
		hbt_wr_fini(&w);
	}
}

static void a_table_that_is_none_has_no_rows(void **state)
{
	struct hbt_rd r = hbt_rd_from("", 0);
	union hbt_row row = {.node = {NULL}};

	(void)state;
	assert_null(hbt_table_fields((enum hbt_table)0));
	assert_null(hbt_table_fields(HBT_TABLES));
	hbt_row_put(&w, HBT_TABLES, &row);
	assert_int_equal(w.status, HALIBUT_EINVAL);
	hbt_row_get(&r, HBT_TABLES, &row);
	assert_int_equal(r.status, HALIBUT_EPROTO);
	hbt_row_fini(HBT_TABLES, &row);
}

static void a_question_comes_back(void **state)
{
	struct hbt_rows_ask in = {HBT_TABLE_CALLS, 7, UINT64_MAX}, out;
	struct hbt_rd r;

	(void)state;
	hbt_rows_ask_put(&w, &in);
	r = hbt_rd_from(w.buf.data, w.buf.len);
	hbt_rows_ask_get(&r, &out);
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_OK);
	assert_int_equal(out.table, HBT_TABLE_CALLS);
	assert_int_equal(out.worker, 7);
	assert_int_equal(out.after, UINT64_MAX);
}

/* A channel to read pages from. */

struct other {
	struct hbt_wr page;
	uint32_t id;
	unsigned pages;
	struct event_base *base;
	struct hbt_ipc *mine, *theirs;
};

static void keep(void *arg, struct hbt_ipc_msg *msg)
{
	struct other *o = arg;

	assert_int_equal(msg->type, HBT_IPC_ROWS);
	hbt_wr_fini(&o->page);
	hbt_wr_bytes(&o->page, msg->data, msg->len);
	o->id = msg->id;
	o->pages++;
}

static void not_closed(void *arg, const char *why)
{
	(void)arg;
	fail_msg("the channel was closed: %s", why);
}

static void open_channel(struct other *o)
{
	static const struct hbt_ipc_ops ops = {keep, not_closed};
	int fds[2];

	memset(o, 0, sizeof(*o));
	hbt_wr_init(&o->page, HBT_IPC_MAX_BODY);
	o->base = event_base_new();
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
	assert_int_equal(hbt_ipc_new(&o->mine, o->base, fds[0],
	                             HBT_IPC_MAX_BODY, &ops, o),
	                 0);
	assert_int_equal(hbt_ipc_new(&o->theirs, o->base, fds[1],
	                             HBT_IPC_MAX_BODY, &ops, o),
	                 0);
}

static struct hbt_rd next_page(struct other *o)
{
	unsigned before = o->pages;

	while (o->pages == before)
		event_base_loop(o->base, EVLOOP_ONCE);
	return hbt_rd_from(o->page.buf.data, o->page.buf.len);
}

static void close_channel(struct other *o)
{
	hbt_ipc_free(&o->mine);
	hbt_ipc_free(&o->theirs);
	event_base_free(o->base);
	hbt_wr_fini(&o->page);
}

static void a_page_says_where_the_next_one_begins(void **state)
{
	struct hbt_trust_row row = {.thumbprint = "AB"}, got;
	struct hbt_page page;
	struct other o;
	struct hbt_rd r;
	uint64_t next;
	uint32_t n;

	(void)state;
	open_channel(&o);
	hbt_page_init(&page, HBT_TABLE_TRUST);
	hbt_page_add(&page, &row);
	hbt_page_add(&page, &row);
	assert_int_equal(hbt_page_send(&page, o.mine, 5, 77), 0);
	r = next_page(&o);
	assert_int_equal(o.id, 5);
	assert_true(hbt_rows_begin(&r, &next, &n));
	assert_int_equal(next, 77);
	assert_int_equal(n, 2);
	for (; n > 0; n--) {
		hbt_row_get(&r, HBT_TABLE_TRUST, &got);
		assert_string_equal(got.thumbprint, "AB");
		hbt_row_fini(HBT_TABLE_TRUST, &got);
	}
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_OK);
	close_channel(&o);
}

static void a_refused_page_is_not_an_empty_one(void **state)
{
	struct hbt_page page;
	struct other o;
	struct hbt_rd r;
	uint64_t next;
	uint32_t n;

	(void)state;
	open_channel(&o);
	hbt_page_init(&page, HBT_TABLE_TRUST);
	hbt_page_send(&page, o.mine, 1, 0);
	r = next_page(&o);
	assert_true(hbt_rows_begin(&r, &next, &n));
	assert_int_equal(n, 0);
	hbt_page_refuse(o.mine, 2);
	r = next_page(&o);
	assert_int_equal(o.id, 2);
	assert_false(hbt_rows_begin(&r, &next, &n));
	assert_int_equal(r.status, HALIBUT_OK);
	close_channel(&o);
}

/* The longest texts that there can be make it little more than full. */
static void a_page_is_bounded_whatever_is_in_it(void **state)
{
	static char endless[100000];
	struct hbt_refused_row row = {.address = endless,
	                              .thumbprint = endless,
	                              .reason = endless};
	struct hbt_page page;

	(void)state;
	memset(endless, 'x', sizeof(endless) - 1);
	hbt_page_init(&page, HBT_TABLE_REFUSED);
	while (hbt_page_has_room(&page))
		hbt_page_add(&page, &row);
	assert_true(page.rows.buf.len < HBT_PAGE_BYTES + 4096);
	hbt_wr_fini(&page.rows);
	row.address = row.thumbprint = row.reason = NULL;
	hbt_page_init(&page, HBT_TABLE_REFUSED);
	while (hbt_page_has_room(&page))
		hbt_page_add(&page, &row);
	assert_int_equal(page.n, HBT_PAGE_ROWS);
	hbt_wr_fini(&page.rows);
}

static void a_text_is_cut_between_two_characters(void **state)
{
	struct hbt_refused_row row = {.address = "1.2.3.4"}, got;
	char reason[2048] = "x";
	struct hbt_page page;
	struct hbt_rd r;

	(void)state;
	for (size_t i = 1; i + 2 < sizeof(reason); i += 2)
		memcpy(reason + i, "\xc3\xa4", 2);
	row.reason = reason;
	hbt_page_init(&page, HBT_TABLE_REFUSED);
	hbt_page_add(&page, &row);
	r = hbt_rd_from(page.rows.buf.data, page.rows.buf.len);
	hbt_row_get(&r, HBT_TABLE_REFUSED, &got);
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_OK);
	assert_int_equal(strlen(got.reason), 1023);
	hbt_row_fini(HBT_TABLE_REFUSED, &got);
	hbt_wr_fini(&page.rows);
}

static void counters_have_a_name_and_a_sentence_each(void **state)
{
	(void)state;
	for (const struct hbt_counter *c = hbt_worker_counters; c->name != NULL;
	     c++) {
		size_t len = strlen(c->help);

		if (len == 0 || c->help[len - 1] != '.')
			fail_msg("%s: \"%s\" is no sentence", c->name, c->help);
		for (const struct hbt_counter *d = hbt_worker_counters; d != c;
		     d++)
			assert_string_not_equal(c->name, d->name);
	}
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		T(a_row_of_each_table_comes_back),
		T(half_a_row_is_none),
		T(a_table_that_is_none_has_no_rows),
		T(a_question_comes_back),
		T(a_page_says_where_the_next_one_begins),
		T(a_refused_page_is_not_an_empty_one),
		T(a_page_is_bounded_whatever_is_in_it),
		T(a_text_is_cut_between_two_characters),
		T(counters_have_a_name_and_a_sentence_each),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
