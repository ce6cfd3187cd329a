/* What calls tell of themselves: rows, phases, times, the audit log. */
#include "calls_fixture.h"

#include <string.h>

#include "base/log.h"
#include "master/audit.h"

/* The only row of a table. */
static void only_row(struct fixture *f, enum hbt_table table, void *row)
{
	struct hbt_page page;
	uint64_t next = 0;

	hbt_page_init(&page, table);
	if (table == HBT_TABLE_CALLS)
		hbt_calls_fill(f->calls, 0, &page, &next);
	else
		hbt_calls_fill_past(f->calls, 0, &page, &next);
	read_only_row(&page, row);
}

static void assert_phase(struct fixture *f, const char *phase,
                         const char *carrier)
{
	struct hbt_call_row row;

	only_row(f, HBT_TABLE_CALLS, &row);
	assert_string_equal(row.phase, phase);
	if (carrier == NULL)
		assert_null(row.carrier);
	else
		assert_string_equal(row.carrier, carrier);
	hbt_row_fini(HBT_TABLE_CALLS, &row);
}

static void say_phase(struct peer *p, uint32_t id, enum hbt_call_phase phase)
{
	struct hbt_wr w;

	hbt_wr_init(&w, 16);
	hbt_wr_u8(&w, (uint8_t)phase);
	tell(p, HBT_IPC_CALL_PHASE, id, &w, -1);
}

static void a_call_tells_who_has_it_and_how_far_it_is(void **state)
{
	struct fixture *f = *state;
	struct hbt_call_row row;
	uint32_t id;

	ask(&f->caller, 5, "poll://abc/");
	only_row(f, HBT_TABLE_CALLS, &row);
	assert_string_equal(row.asker, "192.0.2.1:5 " PRINT1);
	assert_string_equal(row.service, "IEcho");
	assert_string_equal(row.method, "Say");
	assert_int_equal(row.request_bytes, 8);
	assert_int_equal(row.number, 1);
	hbt_row_fini(HBT_TABLE_CALLS, &row);
	assert_phase(f, "waiting", NULL);
	offer(&f->poller, 70, "poll://abc/");
	id = delivered(&f->poller, 70);
	assert_phase(f, "taken", "worker 1 (pid 11)");
	only_row(f, HBT_TABLE_CALLS, &row);
	assert_int_equal(row.carrier_connection, 70);
	hbt_row_fini(HBT_TABLE_CALLS, &row);
	say_phase(&f->poller, id, HBT_PHASE_EXECUTING);
	assert_phase(f, "executing", "worker 1 (pid 11)");
	say(&f->poller, HBT_IPC_RETURN, id);
	assert_phase(f, "waiting", NULL);
}

static void a_phase_that_is_none_breaks_the_protocol(void **state)
{
	struct fixture *f = *state;
	uint32_t id;

	offer(&f->poller, 70, "poll://abc/");
	ask(&f->caller, 5, "poll://abc/");
	id = delivered(&f->poller, 70);
	say_phase(&f->poller, id, HBT_PHASES);
	assert_int_equal(f->poller.status, HALIBUT_EPROTO);
	say_phase(&f->poller, id, HBT_PHASE_WAITING);
	assert_int_equal(f->poller.status, HALIBUT_EPROTO);
	say(&f->poller, HBT_IPC_CALL_PHASE, id);
	assert_int_equal(f->poller.status, HALIBUT_EPROTO);
	say_phase(&f->poller, 4711, HBT_PHASE_SENDING);
	assert_int_equal(f->poller.status, HALIBUT_OK);
}

static void a_dialled_call_that_failed_is_remembered(void **state)
{
	struct fixture *f = *state;
	struct hbt_past_call_row row;
	uint32_t id;

	ask(&f->caller, 7, "https://inner:10933/");
	id = next(&f->carrier, HBT_IPC_CALL)->id;
	fail_call(&f->carrier, id, HALIBUT_EREFUSED,
	          HALIBUT_CONNECTION_UNKNOWN, "nobody listens there");
	only_row(f, HBT_TABLE_PAST_CALLS, &row);
	assert_string_equal(row.endpoint, "https://inner:10933/");
	assert_string_equal(row.service, "IEcho");
	assert_string_equal(row.asker, "192.0.2.1:5 " PRINT1);
	assert_string_equal(row.carrier, "worker 2 (pid 12)");
	assert_string_equal(row.error, "EREFUSED");
	assert_string_equal(row.message, "nobody listens there");
	assert_false(row.slow);
	assert_true(row.ended_at >= row.started_at);
	hbt_row_fini(HBT_TABLE_PAST_CALLS, &row);
}

static void a_slow_call_is_remembered_though_it_was_answered(void **state)
{
	struct fixture *f = *state;
	const struct hbt_calls_counts *n = hbt_calls_counts(f->calls);
	struct hbt_past_call_row row;

	f->cfg->slow_call_time_ms = 20;
	ask(&f->caller, 5, "poll://abc/");
	let_pass_ms(20);
	offer(&f->poller, 70, "poll://abc/");
	answer(&f->poller, delivered(&f->poller, 70));
	only_row(f, HBT_TABLE_PAST_CALLS, &row);
	assert_true(row.slow);
	assert_null(row.error);
	assert_true(row.waiting_ms >= 20);
	assert_true(row.total_ms >= row.waiting_ms);
	hbt_row_fini(HBT_TABLE_PAST_CALLS, &row);
	assert_int_equal(n->slow, 1);
	assert_int_equal(n->time_waiting.count, 1);
	assert_true(n->time_waiting.sum_us >= 20000);
	assert_int_equal(n->time_executing.count, 1);
	assert_int_equal(n->time_total.count, 1);
}

static char audited[4096];

static void keep_line(void *arg, enum hbt_log_level level, const char *line)
{
	(void)arg;
	(void)level;
	if (strstr(line, " called ") != NULL)
		snprintf(audited, sizeof(audited), "%s", line);
}

/* Its message is gone from the master long before it ends. */
static void a_dialled_call_is_audited(void **state)
{
	struct fixture *f = *state;
	uint32_t id;

	f->cfg->audit_calls = true;
	assert_int_equal(hbt_audit_open(f->cfg, NULL), HALIBUT_OK);
	hbt_log_set_sink(keep_line, NULL);
	ask(&f->caller, 7, "https://inner:10933/");
	id = next(&f->carrier, HBT_IPC_CALL)->id;
	answer(&f->carrier, id);
	next(&f->caller, HBT_IPC_ANSWER);
	f->cfg->audit_calls = false;
	assert_int_equal(hbt_audit_open(f->cfg, NULL), HALIBUT_OK);
	if (strstr(audited, "192.0.2.1:5 " PRINT1 " called Say of IEcho at "
	                    "https://inner:10933/: answered") == NULL)
		fail_msg("the audit log says \"%s\"", audited);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_call_tells_who_has_it_and_how_far_it_is),
		TEST(a_phase_that_is_none_breaks_the_protocol),
		TEST(a_dialled_call_that_failed_is_remembered),
		TEST(a_slow_call_is_remembered_though_it_was_answered),
		TEST(a_dialled_call_is_audited),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
