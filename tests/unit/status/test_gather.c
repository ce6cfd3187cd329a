/* Snapshots, of a master that answers, or does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <sys/socket.h>
#include <unistd.h>

#include "gather.h"
#include "ipc/proto.h"

/* Linked with --wrap=calloc. */
static size_t no_memory_for; /* so many bytes */

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
	return n * size == no_memory_for ? NULL : __real_calloc(n, size);
}

struct fixture {
	struct event_base *base;
	struct hbt_ipc *ours, *masters;
	struct gather *gather;
	unsigned asked, workers;
	uint32_t silent_worker; /* does not answer */
	unsigned done;
	struct snapshot *got; /* the last one */
};

static void send_rows(struct fixture *f, uint32_t id,
                      const struct hbt_rows_ask *ask)
{
	struct hbt_page page;

	hbt_page_init(&page, (enum hbt_table)ask->table);
	if (ask->table == HBT_TABLE_WORKERS)
		for (uint32_t i = 0; i < f->workers; i++) {
			struct hbt_worker_row row = {.kind = "connection",
			                             .index = i,
			                             .pid = 100 + i,
			                             .state = "ready"};

			hbt_page_add(&page, &row);
		}
	if (ask->table == HBT_TABLE_CONNECTIONS)
		for (uint32_t i = 0; i < 100; i++) {
			struct hbt_connection_row row = {
				.worker = ask->worker,
				.id = (uint32_t)ask->after + i,
			};

			hbt_page_add(&page, &row);
		}
	/* Connections in three pages. */
	hbt_page_send(&page, f->masters, id,
	              ask->table == HBT_TABLE_CONNECTIONS && ask->after < 200
	                      ? ask->after + 100
	                      : 0);
}

static void on_ask(void *arg, struct hbt_ipc_msg *msg)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	struct fixture *f = arg;
	struct hbt_rows_ask ask;

	assert_int_equal(msg->type, HBT_IPC_ROWS_ASK);
	hbt_rows_ask_get(&r, &ask);
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_OK);
	f->asked++;
	if (ask.table == HBT_TABLE_CONNECTIONS &&
	    ask.worker == f->silent_worker)
		return;
	if (ask.table == HBT_TABLE_TRUST)
		hbt_page_refuse(f->masters, msg->id);
	else
		send_rows(f, msg->id, &ask);
}

static void on_rows(void *arg, struct hbt_ipc_msg *msg)
{
	struct fixture *f = arg;

	gather_rows(f->gather, msg);
}

static void on_closed(void *arg, const char *why)
{
	(void)arg;
	(void)why;
}

static void set_up(struct fixture *f)
{
	static const struct hbt_ipc_ops master = {on_ask, on_closed};
	static const struct hbt_ipc_ops worker = {on_rows, on_closed};
	int fds[2];

	memset(f, 0, sizeof(*f));
	f->silent_worker = UINT32_MAX;
	f->workers = 3;
	f->base = event_base_new();
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds), 0);
	assert_int_equal(hbt_ipc_new(&f->ours, f->base, fds[0],
	                             HBT_IPC_MAX_BODY, &worker, f),
	                 0);
	assert_int_equal(hbt_ipc_new(&f->masters, f->base, fds[1],
	                             HBT_IPC_MAX_BODY, &master, f),
	                 0);
	f->gather = gather_new(f->base, f->ours);
	assert_non_null(f->gather);
}

static void tear_down(struct fixture *f)
{
	snapshot_unref(&f->got);
	gather_free(&f->gather);
	hbt_ipc_free(&f->ours);
	hbt_ipc_free(&f->masters);
	event_base_free(f->base);
}

static void on_done(void *arg, struct snapshot *s)
{
	struct fixture *f = arg;

	snapshot_unref(&f->got);
	f->got = s;
	f->done++;
}

static void run_until_done(struct fixture *f, unsigned n)
{
	while (f->done < n)
		event_base_loop(f->base, EVLOOP_ONCE);
}

static void ask(struct fixture *f, enum hbt_table table)
{
	assert_non_null(gather_ask(f->gather, table, false, on_done, f));
}

static void pages_of_all_workers_make_one(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	ask(&f, HBT_TABLE_CONNECTIONS);
	assert_int_equal(f.done, 0); /* never from within */
	run_until_done(&f, 1);
	assert_int_equal(f.got->n_rows, 3 * 300);
	assert_false(f.got->incomplete);
	assert_false(f.got->failed);
	assert_int_equal(f.asked, 1 + 3 * 3);
	tear_down(&f);
}

static void many_who_ask_at_once_are_no_more_work_than_one(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	for (int i = 0; i < 100; i++)
		ask(&f, HBT_TABLE_CONNECTIONS);
	run_until_done(&f, 100);
	assert_int_equal(f.asked, 1 + 3 * 3);
	ask(&f, HBT_TABLE_CONNECTIONS);
	run_until_done(&f, 101);
	assert_int_equal(f.asked, 1 + 3 * 3);
	tear_down(&f);
}

static void it_is_asked_for_again_after_a_second(void **state)
{
	struct timeval while_it_ages = {.tv_sec = 1, .tv_usec = 50000};
	struct fixture f;

	(void)state;
	set_up(&f);
	ask(&f, HBT_TABLE_CALLS);
	run_until_done(&f, 1);
	event_base_loopexit(f.base, &while_it_ages);
	event_base_loop(f.base, EVLOOP_NO_EXIT_ON_EMPTY);
	ask(&f, HBT_TABLE_CALLS);
	run_until_done(&f, 2);
	assert_int_equal(f.asked, 2);
	tear_down(&f);
}

/* The loop was busy while the latest became too old. */
static void the_end_of_the_latest_is_not_that_of_the_next(void **state)
{
	const struct timespec while_it_ages = {.tv_sec = 1,
	                                       .tv_nsec = 50000000};
	struct fixture f;

	(void)state;
	set_up(&f);
	ask(&f, HBT_TABLE_CONNECTIONS);
	run_until_done(&f, 1);
	nanosleep(&while_it_ages, NULL);
	ask(&f, HBT_TABLE_CONNECTIONS);
	run_until_done(&f, 2);
	assert_int_equal(f.got->n_rows, 3 * 300);
	assert_false(f.got->incomplete);
	assert_int_equal(f.asked, 2 * (1 + 3 * 3));
	tear_down(&f);
}

static void ask_new(struct fixture *f, enum hbt_table table)
{
	assert_non_null(gather_ask(f->gather, table, true, on_done, f));
}

static void who_wants_a_new_one_does_not_get_the_one_of_a_moment_ago(
	void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	ask(&f, HBT_TABLE_CALLS);
	run_until_done(&f, 1);
	ask_new(&f, HBT_TABLE_CALLS);
	run_until_done(&f, 2);
	assert_int_equal(f.got->number, 2);
	assert_int_equal(f.asked, 2);
	ask(&f, HBT_TABLE_CALLS); /* that is good for who is content */
	run_until_done(&f, 3);
	assert_int_equal(f.asked, 2);
	tear_down(&f);
}

static void many_who_want_a_new_one_wait_for_the_next_together(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	ask(&f, HBT_TABLE_CONNECTIONS);
	while (f.asked < 3)
		event_base_loop(f.base, EVLOOP_ONCE);
	for (int i = 0; i < 100; i++)
		ask_new(&f, HBT_TABLE_CONNECTIONS);
	run_until_done(&f, 1);
	assert_int_equal(f.done, 1);
	assert_int_equal(f.got->number, 1);
	run_until_done(&f, 101);
	assert_int_equal(f.got->number, 2);
	/* Whose rows belong here was asked anew, too. */
	assert_int_equal(f.asked, 2 * (1 + 3 * 3));
	tear_down(&f);
}

static void who_waits_is_told_when_memory_is_short(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	ask(&f, HBT_TABLE_CALLS);
	for (int i = 0; i < 3; i++)
		ask_new(&f, HBT_TABLE_CALLS);
	no_memory_for = sizeof(struct snapshot);
	run_until_done(&f, 4);
	no_memory_for = 0;
	assert_true(f.got->failed);
	assert_int_equal(f.got->table, HBT_TABLE_CALLS);
	ask_new(&f, HBT_TABLE_CALLS);
	run_until_done(&f, 5);
	assert_false(f.got->failed);
	tear_down(&f);
}

static void who_wants_a_new_one_may_go_before_it_is_begun(void **state)
{
	struct gather_waiter *w;
	struct fixture f;

	(void)state;
	set_up(&f);
	ask(&f, HBT_TABLE_CALLS);
	w = gather_ask(f.gather, HBT_TABLE_CALLS, true, on_done, &f);
	gather_cancel(&w);
	run_until_done(&f, 1);
	event_base_loop(f.base, EVLOOP_NONBLOCK);
	assert_int_equal(f.asked, 1);
	tear_down(&f);
}

static void a_worker_that_is_silent_costs_its_own_rows_only(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	f.silent_worker = 1;
	ask(&f, HBT_TABLE_CONNECTIONS);
	run_until_done(&f, 1);
	assert_true(f.got->incomplete);
	assert_false(f.got->failed);
	assert_int_equal(f.got->n_rows, 2 * 300);
	tear_down(&f);
}

static void a_table_that_is_refused_has_failed(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	ask(&f, HBT_TABLE_TRUST);
	run_until_done(&f, 1);
	assert_true(f.got->failed);
	ask(&f, HBT_TABLE_TRUST); /* and is tried again */
	run_until_done(&f, 2);
	assert_int_equal(f.asked, 2);
	tear_down(&f);
}

static void who_cancels_hears_nothing(void **state)
{
	struct gather_waiter *w;
	struct fixture f;

	(void)state;
	set_up(&f);
	w = gather_ask(f.gather, HBT_TABLE_CONNECTIONS, false, on_done, &f);
	gather_cancel(&w);
	assert_null(w);
	ask(&f, HBT_TABLE_CALLS);
	run_until_done(&f, 1);
	assert_int_equal(f.got->table, HBT_TABLE_CALLS);
	tear_down(&f);
}

static void half_of_it_may_be_given_up(void **state)
{
	struct fixture f;

	(void)state;
	set_up(&f);
	ask(&f, HBT_TABLE_CONNECTIONS);
	while (f.asked < 3)
		event_base_loop(f.base, EVLOOP_ONCE);
	tear_down(&f); /* LeakSanitizer says the rest */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_of_all_workers_make_one),
		cmocka_unit_test(
			many_who_ask_at_once_are_no_more_work_than_one),
		cmocka_unit_test(it_is_asked_for_again_after_a_second),
		cmocka_unit_test(the_end_of_the_latest_is_not_that_of_the_next),
		cmocka_unit_test(
			who_wants_a_new_one_does_not_get_the_one_of_a_moment_ago),
		cmocka_unit_test(
			many_who_want_a_new_one_wait_for_the_next_together),
		cmocka_unit_test(who_wants_a_new_one_may_go_before_it_is_begun),
		cmocka_unit_test(
			a_worker_that_is_silent_costs_its_own_rows_only),
		cmocka_unit_test(a_table_that_is_refused_has_failed),
		cmocka_unit_test(who_waits_is_told_when_memory_is_short),
		cmocka_unit_test(who_cancels_hears_nothing),
		cmocka_unit_test(half_of_it_may_be_given_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
