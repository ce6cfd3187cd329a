/*
 * Questions for rows: who answers, and that each gets exactly one answer,
 * whoever dies. The test is the status worker and the connection workers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/socket.h>

#include "master/rows.h"

#define MAX_HEARD 8

struct fixture;

struct peer { /* a process, and the master's end of its channel */
	struct fixture *f;
	struct hbt_link link;
	struct hbt_ipc *ipc;
	struct {
		uint16_t type;
		uint32_t id;
		uint8_t body[256];
		size_t len;
	} heard[MAX_HEARD];
	size_t n_heard, n_read;
	int status; /* of the last message that the master got from it */
};

struct fixture {
	struct event_base *base;
	struct hbt_rows *rows;
	struct peer status, worker;
	bool worker_runs;
};

static void master_hears(void *arg, struct hbt_ipc_msg *msg)
{
	struct peer *p = arg;

	p->status = hbt_rows_message(p->f->rows, &p->link, msg);
}

static void lose(struct peer *p)
{
	if (p->link.ipc == NULL)
		return;
	hbt_rows_link_gone(p->f->rows, &p->link);
	hbt_ipc_free(&p->link.ipc);
}

static void master_closed(void *arg, const char *why)
{
	(void)why;
	lose(arg);
}

static void peer_hears(void *arg, struct hbt_ipc_msg *msg)
{
	struct peer *p = arg;
	size_t n = p->n_heard++;

	assert_true(n < MAX_HEARD && msg->len <= sizeof(p->heard[n].body));
	p->heard[n].type = msg->type;
	p->heard[n].id = msg->id;
	p->heard[n].len = msg->len;
	if (msg->len > 0)
		memcpy(p->heard[n].body, msg->data, msg->len);
}

static void peer_closed(void *arg, const char *why)
{
	(void)arg;
	(void)why;
}

/* Until nothing happens any more; all of it is in this process. */
static void settle(struct fixture *f)
{
	for (int i = 0; i < 20; i++)
		event_base_loop(f->base, EVLOOP_NONBLOCK);
}

static void connect_peer(struct fixture *f, struct peer *p,
                         enum hbt_peer_kind kind)
{
	static const struct hbt_ipc_ops near = {master_hears, master_closed};
	static const struct hbt_ipc_ops far = {peer_hears, peer_closed};
	int pair[2];

	p->f = f;
	p->link.kind = kind;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	assert_int_equal(hbt_ipc_new(&p->link.ipc, f->base, pair[0],
	                             HBT_IPC_MAX_BODY, &near, p),
	                 HALIBUT_OK);
	assert_int_equal(hbt_ipc_new(&p->ipc, f->base, pair[1],
	                             HBT_IPC_MAX_BODY, &far, p),
	                 HALIBUT_OK);
}

static struct hbt_link *worker(void *arg, uint32_t index)
{
	struct fixture *f = arg;

	return index == 3 && f->worker_runs ? &f->worker.link : NULL;
}

/* The master's table TRUST has two rows; others there are none. */
static bool fill(void *arg, const struct hbt_rows_ask *ask,
                 struct hbt_page *page, uint64_t *next)
{
	const struct hbt_trust_row row = {.thumbprint = "AB"};

	(void)arg;
	if (ask->table != HBT_TABLE_TRUST)
		return false;
	hbt_page_add(page, &row);
	*next = ask->after == 0 ? 1 : 0;
	return true;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	const struct hbt_rows_env env = {
		.worker = worker, .fill = fill, .arg = f};

	f->base = event_base_new();
	f->rows = hbt_rows_new(&env);
	connect_peer(f, &f->status, HBT_PEER_STATUS_WORKER);
	connect_peer(f, &f->worker, HBT_PEER_CONNECTION_WORKER);
	f->worker_runs = true;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	lose(&f->status);
	lose(&f->worker);
	hbt_ipc_free(&f->status.ipc);
	hbt_ipc_free(&f->worker.ipc);
	hbt_rows_free(&f->rows);
	event_base_free(f->base);
	free(f);
	return 0;
}

static void ask(struct peer *p, uint32_t id, enum hbt_table table,
                uint32_t index, uint64_t after)
{
	const struct hbt_rows_ask ask = {(uint8_t)table, index, after};
	struct hbt_wr w;

	hbt_wr_init(&w, 64);
	hbt_rows_ask_put(&w, &ask);
	assert_int_equal(hbt_ipc_send_wr(p->ipc, HBT_IPC_ROWS_ASK, id, &w, -1),
	                 0);
	settle(p->f);
}

/* The next message that p heard, which must be of that type; its id. */
static uint32_t next(struct peer *p, uint16_t type, struct hbt_rd *r)
{
	size_t n = p->n_read++;

	settle(p->f);
	if (n == p->n_heard)
		fail_msg("message %u did not come", type);
	assert_int_equal(p->heard[n].type, type);
	*r = hbt_rd_from(p->heard[n].body, p->heard[n].len);
	return p->heard[n].id;
}

static void assert_refused(struct peer *p, uint32_t id)
{
	struct hbt_rd r;
	uint64_t after;
	uint32_t n;

	assert_int_equal(next(p, HBT_IPC_ROWS, &r), id);
	assert_false(hbt_rows_begin(&r, &after, &n));
	assert_int_equal(r.status, HALIBUT_OK);
}

static void assert_quiet(struct peer *p)
{
	settle(p->f);
	assert_int_equal(p->n_read, p->n_heard);
}

static void the_master_answers_for_its_own_tables(void **state)
{
	struct fixture *f = *state;
	struct hbt_trust_row row;
	struct hbt_rd r;
	uint64_t after;
	uint32_t n;

	ask(&f->status, 7, HBT_TABLE_TRUST, 0, 0);
	assert_int_equal(next(&f->status, HBT_IPC_ROWS, &r), 7);
	assert_true(hbt_rows_begin(&r, &after, &n));
	assert_int_equal(n, 1);
	assert_int_equal(after, 1);
	hbt_row_get(&r, HBT_TABLE_TRUST, &row);
	assert_string_equal(row.thumbprint, "AB");
	hbt_row_fini(HBT_TABLE_TRUST, &row);
	ask(&f->status, 8, HBT_TABLE_TRUST, 0, after);
	assert_int_equal(next(&f->status, HBT_IPC_ROWS, &r), 8);
	assert_true(hbt_rows_begin(&r, &after, &n));
	assert_int_equal(after, 0);
	assert_quiet(&f->worker);
}

static void a_table_that_is_none_is_refused(void **state)
{
	struct fixture *f = *state;

	ask(&f->status, 7, (enum hbt_table)0, 0, 0);
	assert_refused(&f->status, 7);
	ask(&f->status, 8, (enum hbt_table)255, 0, 0);
	assert_refused(&f->status, 8);
}

static void the_question_goes_to_its_worker_and_the_answer_back(void **state)
{
	struct fixture *f = *state;
	struct hbt_rows_ask got;
	struct hbt_rd r;
	uint32_t id;

	ask(&f->status, 7, HBT_TABLE_CONNECTIONS, 3, 99);
	id = next(&f->worker, HBT_IPC_ROWS_ASK, &r);
	hbt_rows_ask_get(&r, &got);
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_OK);
	assert_int_equal(got.table, HBT_TABLE_CONNECTIONS);
	assert_int_equal(got.after, 99);
	hbt_ipc_send(f->worker.ipc, HBT_IPC_ROWS, id, "opaque", 6, -1);
	assert_int_equal(next(&f->status, HBT_IPC_ROWS, &r), 7);
	assert_int_equal(r.left, 6);
	assert_memory_equal(r.p, "opaque", 6);
	/* A second one to the same question is one to none. */
	hbt_ipc_send(f->worker.ipc, HBT_IPC_ROWS, id, "opaque", 6, -1);
	assert_quiet(&f->status);
	assert_int_equal(f->worker.status, HALIBUT_OK);
}

static void a_worker_that_is_not_there_is_refused(void **state)
{
	struct fixture *f = *state;

	ask(&f->status, 7, HBT_TABLE_CONNECTIONS, 4, 0);
	assert_refused(&f->status, 7);
	f->worker_runs = false;
	ask(&f->status, 8, HBT_TABLE_CLOSED, 3, 0);
	assert_refused(&f->status, 8);
	assert_quiet(&f->worker);
}

static void a_worker_that_dies_is_answered_for(void **state)
{
	struct fixture *f = *state;

	ask(&f->status, 7, HBT_TABLE_CONNECTIONS, 3, 0);
	ask(&f->status, 8, HBT_TABLE_CLOSED, 3, 0);
	hbt_ipc_free(&f->worker.ipc);
	assert_refused(&f->status, 7);
	assert_refused(&f->status, 8);
	assert_quiet(&f->status);
}

static void an_answer_for_an_asker_that_died_is_dropped(void **state)
{
	struct fixture *f = *state;
	struct hbt_rd r;
	uint32_t id;

	ask(&f->status, 7, HBT_TABLE_CONNECTIONS, 3, 0);
	id = next(&f->worker, HBT_IPC_ROWS_ASK, &r);
	hbt_ipc_free(&f->status.ipc);
	settle(f);
	assert_null(f->status.link.ipc);
	hbt_ipc_send(f->worker.ipc, HBT_IPC_ROWS, id, "opaque", 6, -1);
	settle(f);
	assert_int_equal(f->worker.status, HALIBUT_OK);
}

static void only_the_status_worker_may_ask(void **state)
{
	struct fixture *f = *state;

	ask(&f->worker, 7, HBT_TABLE_TRUST, 0, 0);
	assert_int_equal(f->worker.status, HALIBUT_EPROTO);
	hbt_ipc_send(f->status.ipc, HBT_IPC_ROWS, 1, "x", 1, -1);
	settle(f);
	assert_int_equal(f->status.status, HALIBUT_EPROTO);
}

static void half_a_question_breaks_the_protocol(void **state)
{
	struct fixture *f = *state;

	hbt_ipc_send(f->status.ipc, HBT_IPC_ROWS_ASK, 1, "\1\0\0", 3, -1);
	settle(f);
	assert_int_equal(f->status.status, HALIBUT_EPROTO);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_master_answers_for_its_own_tables),
		TEST(a_table_that_is_none_is_refused),
		TEST(the_question_goes_to_its_worker_and_the_answer_back),
		TEST(a_worker_that_is_not_there_is_refused),
		TEST(a_worker_that_dies_is_answered_for),
		TEST(an_answer_for_an_asker_that_died_is_dropped),
		TEST(only_the_status_worker_may_ask),
		TEST(half_a_question_breaks_the_protocol),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
