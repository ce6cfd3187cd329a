/*
 * Credits: what the queue worker is told it may collect is what finds a taker
 * here. The test is the queue worker, at the other end of a socket pair.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/socket.h>

#include "master/share.h"
#include "text_file.h"

#define MAX_TAKERS 4

struct fixture {
	struct event_base *base;
	struct hbt_config *cfg;
	struct hbt_share *share;
	struct hbt_queue *queue;
	struct hbt_link link;  /* the master's end */
	struct hbt_ipc *worker; /* the queue worker's */
	char heard[512]; /* "E1=poll://a/ O1 W1 G1 " since it was last read */
	struct hbt_taker takers[MAX_TAKERS];
	struct hbt_pending *delivered;
	bool ended;
};

static void worker_hears(void *arg, struct hbt_ipc_msg *msg)
{
	struct fixture *f = arg;
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	char *uri = NULL, *text;
	char letter = '?';

	switch (msg->type) {
	case HBT_IPC_ENDPOINT:
		letter = 'E';
		uri = hbt_rd_strdup(&r);
		break;
	case HBT_IPC_OFFER:
		letter = 'O';
		break;
	case HBT_IPC_WITHDRAW:
		letter = 'W';
		break;
	case HBT_IPC_ENDPOINT_GONE:
		letter = 'G';
		break;
	case HBT_IPC_COLLECT:
		letter = hbt_rd_u8(&r) != 0 ? 'C' : 'P';
		break;
	}
	assert_int_equal(hbt_rd_finish(&r), HALIBUT_OK);
	assert_true(asprintf(&text, "%c%u%s%s ", letter, msg->id,
	                     uri != NULL ? "=" : "",
	                     uri != NULL ? uri : "") > 0);
	assert_true(strlen(f->heard) + strlen(text) < sizeof(f->heard));
	strcat(f->heard, text);
	free(text);
	free(uri);
}

static void master_hears(void *arg, struct hbt_ipc_msg *msg)
{
	(void)arg;
	(void)msg;
}

static void closed(void *arg, const char *why)
{
	(void)arg;
	(void)why;
}

static void connect_worker(struct fixture *f)
{
	static const struct hbt_ipc_ops near = {master_hears, closed};
	static const struct hbt_ipc_ops far = {worker_hears, closed};
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	memset(&f->link, 0, sizeof(f->link));
	f->link.kind = HBT_PEER_QUEUE_WORKER;
	assert_int_equal(hbt_ipc_new(&f->link.ipc, f->base, pair[0],
	                             HBT_IPC_MAX_BODY, &near, f),
	                 HALIBUT_OK);
	assert_int_equal(hbt_ipc_new(&f->worker, f->base, pair[1],
	                             HBT_IPC_MAX_BODY, &far, f),
	                 HALIBUT_OK);
	hbt_share_attach(f->share, &f->link);
}

static void lose_worker(struct fixture *f)
{
	hbt_share_detach(f->share, &f->link);
	hbt_ipc_free(&f->link.ipc);
	hbt_ipc_free(&f->worker);
}

static void deliver(struct hbt_taker *t, struct hbt_pending *p)
{
	struct fixture *f = *(struct fixture **)(p + 1);

	(void)t;
	f->delivered = p;
}

static bool cancelled(struct hbt_taker *t, struct hbt_pending *p)
{
	(void)t;
	(void)p;
	return false;
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->base = event_base_new();
	if (config_from("redis {\n url = \"redis://x\"\n key_prefix = \"p\"\n"
	                " memory_endpoints = {\"POLL://Test-*\"}\n}\n",
	                &f->cfg, NULL) != HALIBUT_OK)
		return -1;
	f->share = hbt_share_new(f->base, f->cfg);
	f->queue = hbt_share_queue(f->share, "poll://a/");
	for (size_t i = 0; i < MAX_TAKERS; i++) {
		f->takers[i].deliver = deliver;
		f->takers[i].cancelled = cancelled;
	}
	*state = f;
	return f->share == NULL || f->queue == NULL;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	hbt_queue_free(&f->queue);
	lose_worker(f);
	hbt_share_free(&f->share);
	hbt_config_free(&f->cfg);
	event_base_loop(f->base, EVLOOP_NONBLOCK);
	event_base_free(f->base);
	free(f);
	return 0;
}

#define assert_hears(f, text)                                                  \
	do {                                                                   \
		for (int turn = 0; turn < 20; turn++)                          \
			event_base_loop((f)->base, EVLOOP_NONBLOCK);           \
		assert_string_equal((f)->heard, text);                         \
		(f)->heard[0] = '\0';                                          \
	} while (0)

/* A request that came out of Redis for one credit; its origin is the test. */
struct collected {
	struct hbt_pending pending;
	struct fixture *f; /* behind it: deliver() */
};

static void failed(struct hbt_pending *p, const struct halibut_error *err)
{
	(void)err;
	(*(struct fixture **)(p + 1))->ended = true;
}

static void collect(struct fixture *f, struct collected *c)
{
	struct hbt_envelope env = {
		.kind = HBT_MESSAGE_REQUEST,
		.id = strdup("IEcho::Say[1] / x"),
		.service = strdup("IEcho"),
		.method = strdup("Say"),
	};
	struct hbt_queue *q = hbt_share_used(f->share, 1, &f->link);

	assert_ptr_equal(q, f->queue);
	memset(c, 0, sizeof(*c));
	c->f = f;
	c->pending.msg = hbt_message_new(&env, (uint8_t *)strdup("x"), 1);
	c->pending.queue_timeout_ms = 60000;
	c->pending.failed = failed;
	hbt_queue_push(q, &c->pending);
}

static void end(struct fixture *f, struct collected *c)
{
	f->ended = false;
	hbt_pending_cancel(&c->pending);
	assert_true(f->ended);
	hbt_pending_fini(&c->pending);
}

/* ---- ---- */

static void a_taker_that_waits_is_a_credit(void **state)
{
	struct fixture *f = *state;

	connect_worker(f);
	assert_hears(f, "");
	hbt_queue_offer(f->queue, &f->takers[0]);
	assert_hears(f, "E1=poll://a/ O1 ");
	hbt_queue_offer(f->queue, &f->takers[1]);
	assert_hears(f, "O1 ");
	hbt_queue_withdraw(&f->takers[0]);
	hbt_queue_withdraw(&f->takers[1]);
	assert_hears(f, "W1 W1 ");
}

static void a_worker_that_comes_later_hears_of_all_takers(void **state)
{
	struct fixture *f = *state;

	hbt_queue_offer(f->queue, &f->takers[0]);
	hbt_queue_offer(f->queue, &f->takers[1]);
	connect_worker(f);
	assert_hears(f, "E1=poll://a/ O1 O1 ");
	lose_worker(f);
	hbt_queue_withdraw(&f->takers[0]);
	connect_worker(f);
	assert_hears(f, "E1=poll://a/ O1 ");
	hbt_queue_withdraw(&f->takers[1]);
}

static void a_credit_that_was_used_is_not_withdrawn(void **state)
{
	struct fixture *f = *state;
	struct collected c;

	connect_worker(f);
	hbt_queue_offer(f->queue, &f->takers[0]);
	assert_hears(f, "E1=poll://a/ O1 ");
	collect(f, &c);
	assert_ptr_equal(f->delivered, &c.pending);
	assert_hears(f, "");
	hbt_queue_offer(f->queue, &f->takers[0]); /* done; ready again */
	assert_hears(f, "O1 ");
	end(f, &c);
	hbt_queue_withdraw(&f->takers[0]);
	assert_hears(f, "W1 ");
}

static void a_withdrawal_that_crosses_a_request_is_made_up_for(void **state)
{
	struct fixture *f = *state;
	struct collected c;

	connect_worker(f);
	hbt_queue_offer(f->queue, &f->takers[0]);
	hbt_queue_withdraw(&f->takers[0]);
	assert_hears(f, "E1=poll://a/ O1 W1 ");
	collect(f, &c); /* was on its way: nobody is here to take it */
	assert_null(f->delivered);
	assert_hears(f, "O1 "); /* which the worker's debt swallows */
	hbt_queue_offer(f->queue, &f->takers[0]);
	assert_ptr_equal(f->delivered, &c.pending);
	assert_hears(f, "");
	end(f, &c);
	hbt_queue_offer(f->queue, &f->takers[0]);
	assert_hears(f, "O1 ");
	hbt_queue_withdraw(&f->takers[0]);
}

static void when_nobody_knows_what_was_used_all_begins_anew(void **state)
{
	struct fixture *f = *state;

	connect_worker(f);
	hbt_queue_offer(f->queue, &f->takers[0]);
	assert_hears(f, "E1=poll://a/ O1 ");
	hbt_share_renew(f->share, &f->link);
	assert_hears(f, "G1 E2=poll://a/ O2 ");
	assert_null(hbt_share_used(f->share, 1, &f->link));
	hbt_queue_withdraw(&f->takers[0]);
	assert_hears(f, "W2 ");
}

static void what_an_old_worker_brings_is_no_credit_of_the_new_one(void **state)
{
	static const struct hbt_ipc_ops near = {master_hears, closed};
	static const struct hbt_ipc_ops far = {worker_hears, closed};
	struct hbt_link link = {.kind = HBT_PEER_QUEUE_WORKER};
	struct hbt_ipc *worker = NULL;
	struct fixture *f = *state;
	struct collected c;
	int pair[2];

	connect_worker(f);
	hbt_queue_offer(f->queue, &f->takers[0]);
	hbt_queue_offer(f->queue, &f->takers[1]);
	assert_hears(f, "E1=poll://a/ O1 O1 ");
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	assert_int_equal(hbt_ipc_new(&link.ipc, f->base, pair[0],
	                             HBT_IPC_MAX_BODY, &near, f),
	                 HALIBUT_OK);
	assert_int_equal(hbt_ipc_new(&worker, f->base, pair[1],
	                             HBT_IPC_MAX_BODY, &far, f),
	                 HALIBUT_OK);
	hbt_share_attach(f->share, &link);
	assert_hears(f, "E1=poll://a/ O1 O1 ");
	assert_ptr_equal(hbt_share_link(f->share), &link);
	collect(f, &c); /* of the old one */
	assert_ptr_equal(f->delivered, &c.pending);
	assert_hears(f, "W1 "); /* at the new one, whose taker is busy */
	end(f, &c);
	hbt_share_detach(f->share, &f->link);
	assert_ptr_equal(hbt_share_link(f->share), &link);
	hbt_queue_withdraw(&f->takers[1]);
	assert_hears(f, "W1 ");
	hbt_share_detach(f->share, &link);
	assert_null(hbt_share_link(f->share));
	hbt_ipc_free(&link.ipc);
	hbt_ipc_free(&worker);
}

static void a_node_that_stops_has_no_credits(void **state)
{
	struct fixture *f = *state;

	connect_worker(f);
	assert_ptr_equal(hbt_share_link(f->share), &f->link);
	hbt_queue_offer(f->queue, &f->takers[0]);
	assert_hears(f, "E1=poll://a/ O1 ");
	hbt_share_stop(f->share);
	assert_hears(f, "W1 ");
	assert_null(hbt_share_link(f->share));
	hbt_queue_offer(f->queue, &f->takers[1]);
	assert_hears(f, "");
	hbt_queue_withdraw(&f->takers[0]);
	hbt_queue_withdraw(&f->takers[1]);
}

static void takers_wait_for_what_is_on_its_way(void **state)
{
	struct fixture *f = *state;

	assert_true(hbt_share_settle(f->share, false)); /* there is no worker */
	hbt_share_resume(f->share);
	connect_worker(f);
	hbt_queue_offer(f->queue, &f->takers[0]);
	assert_hears(f, "E1=poll://a/ O1 ");
	assert_false(hbt_share_settle(f->share, false));
	assert_false(hbt_share_settle(f->share, false));
	assert_hears(f, "P1 "); /* the credit is good for what comes */
	hbt_share_settled(f->share, 4711);
	assert_false(hbt_share_settle(f->share, false));
	hbt_share_settled(f->share, 1);
	assert_true(hbt_share_settle(f->share, false));
	/* One that was attached before may bring some, too. */
	assert_false(hbt_share_settle(f->share, true));
	/* Another worker does not begin to collect. */
	lose_worker(f);
	connect_worker(f);
	assert_hears(f, "P2 E1=poll://a/ O1 ");
	assert_true(hbt_share_settle(f->share, false));
	hbt_share_resume(f->share);
	hbt_share_resume(f->share);
	assert_hears(f, "C3 ");
	/* What is settled once is not for the next time. */
	assert_false(hbt_share_settle(f->share, false));
	assert_hears(f, "P4 ");
	lose_worker(f);
	assert_true(hbt_share_settle(f->share, false));
	connect_worker(f);
	hbt_queue_withdraw(&f->takers[0]);
}

static void a_queue_that_ends_takes_its_endpoint_with_it(void **state)
{
	struct fixture *f = *state;

	connect_worker(f);
	hbt_queue_offer(f->queue, &f->takers[0]);
	hbt_queue_withdraw(&f->takers[0]);
	hbt_queue_free(&f->queue);
	assert_hears(f, "E1=poll://a/ O1 W1 G1 ");
	assert_null(hbt_share_used(f->share, 1, &f->link));
}

static void endpoints_that_stay_in_memory_are_not_shared(void **state)
{
	struct fixture *f = *state;
	struct hbt_queue *q = hbt_share_queue(f->share, "poll://test-7/");

	connect_worker(f);
	assert_true(hbt_share_has(f->share, "poll://a"));
	assert_true(hbt_share_has(f->share, "queue://Test-7/"));
	assert_false(hbt_share_has(f->share, "poll://TEST-7"));
	assert_false(hbt_share_has(NULL, "poll://a/"));
	hbt_queue_offer(q, &f->takers[0]);
	assert_hears(f, "");
	hbt_queue_withdraw(&f->takers[0]);
	hbt_queue_free(&q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_taker_that_waits_is_a_credit,
		                                set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			a_worker_that_comes_later_hears_of_all_takers, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			a_credit_that_was_used_is_not_withdrawn, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			a_withdrawal_that_crosses_a_request_is_made_up_for,
			set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			what_an_old_worker_brings_is_no_credit_of_the_new_one,
			set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			when_nobody_knows_what_was_used_all_begins_anew, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			a_node_that_stops_has_no_credits, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			takers_wait_for_what_is_on_its_way, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			a_queue_that_ends_takes_its_endpoint_with_it, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(
			endpoints_that_stay_in_memory_are_not_shared, set_up,
			tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
