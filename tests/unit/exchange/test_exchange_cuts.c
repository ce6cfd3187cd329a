/*
 * The peer leaves behind every byte of a conversation: whoever owns the
 * exchange hears of it exactly once, in each role.
 */
#include "owner.h"

struct step {
	size_t hears; /* waits for so many bytes of ours, then ... */
	const void *says;
	size_t len;
};

enum { STEPS = 12 };

static size_t spoken(const struct step *steps)
{
	size_t n = 0;

	for (int i = 0; i < STEPS; i++)
		n += steps[i].len;
	return n;
}

/* Inside of messages every 29th byte will do: each costs a handshake. */
static bool is_worth_a_try(const struct step *steps, size_t cut)
{
	for (int i = 0; i < STEPS; cut -= steps[i++].len)
		if (cut <= steps[i].len)
			return steps[i].len < 64 || cut < 3 ||
			       cut + 3 > steps[i].len || cut % 29 == 0;
	return true;
}

/* The peer leaves after `cut` bytes; the owner hears it exactly once. */
static void converse(struct owner *o, const struct step *steps, size_t cut,
                     bool reset)
{
	for (int i = 0; i < STEPS; i++) {
		size_t n = steps[i].len < cut ? steps[i].len : cut;

		peer_skips(&o->peer, steps[i].hears);
		peer_says(&o->peer, steps[i].says, n);
		cut -= n;
		if (n < steps[i].len || cut == 0)
			break;
	}
	peer_turn(&o->peer);
	peer_leaves(&o->peer, reset);
	WAIT_CLOSED(o);
	assert_null(o->ex);
	assert_int_not_equal(o->err.status, HALIBUT_ETIMEOUT);
	assert_int_equal(o->sinks, o->sinks_ended);
}

static void cut_everywhere(const struct step *steps, const char *subscription,
                           bool accepting)
{
	for (size_t cut = 0; cut <= spoken(steps); cut++) {
		struct owner o;

		if (!is_worth_a_try(steps, cut))
			continue;
		owner_init(&o);
		if (accepting)
			start_accepting(&o);
		else
			start_dialling(&o, subscription);
		o.answers = accepting ? subscription == NULL
		                      : subscription != NULL;
		o.asks = o.answers ? 0 : 2;
		converse(&o, steps, cut, cut % 2 == 1);
		owner_fini(&o);
	}
}

#define SAY(text) text, strlen(text)
#define MSG(m) (m)->deflated, (m)->deflated_len

static void a_client_survives_a_cut_anywhere(void **state)
{
	const size_t r = request->deflated_len + SECTION_LEN;
	const struct step steps[STEPS] = {
		{strlen(PREAMBLE CLIENT), SAY(SERVER)},
		{r, MSG(response)},
		{0, response_section, SECTION_LEN},
		{strlen(NEXT), SAY(PROCEED)},
		{r, MSG(response)},
		{0, response_section, SECTION_LEN},
	};

	(void)state;
	cut_everywhere(steps, NULL, false);
}

static void a_service_survives_a_cut_anywhere(void **state)
{
	const struct step steps[STEPS] = {
		{0, SAY(PREAMBLE)},
		{0, SAY(CLIENT)},
		{strlen(SERVER), MSG(request)},
		{0, request_section, SECTION_LEN},
		{response->deflated_len + SECTION_LEN, SAY(NEXT)},
		{strlen(PROCEED), MSG(request)},
		{0, request_section, SECTION_LEN},
		{response->deflated_len + SECTION_LEN, SAY(END)},
	};

	(void)state;
	cut_everywhere(steps, NULL, true);
}

static void a_poller_survives_a_cut_anywhere(void **state)
{
	struct hbt_message *null = hbt_message_null();
	const struct step steps[STEPS] = {
		{strlen(PREAMBLE SUBSCRIBER), SAY(SERVER)},
		{0, MSG(null)},
		{strlen(NEXT), SAY(PROCEED)},
		{0, MSG(request)},
		{0, request_section, SECTION_LEN},
		{response->deflated_len + SECTION_LEN + strlen(NEXT),
	         SAY(PROCEED)},
	};

	(void)state;
	cut_everywhere(steps, "poll://sq-test/", false);
	hbt_message_unref(&null);
}

static void a_polled_server_survives_a_cut_anywhere(void **state)
{
	const size_t r = request->deflated_len + SECTION_LEN;
	const struct step steps[STEPS] = {
		{0, SAY(PREAMBLE)},
		{0, SAY(SUBSCRIBER)},
		{strlen(SERVER) + r, MSG(response)},
		{0, response_section, SECTION_LEN},
		{0, SAY(NEXT)},
		{strlen(PROCEED) + r, MSG(response)},
		{0, response_section, SECTION_LEN},
		{0, SAY(END)},
	};

	(void)state;
	cut_everywhere(steps, "polled", true);
}

#define CUT(f) cmocka_unit_test_setup(f, fresh_limits)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CUT(a_client_survives_a_cut_anywhere),
		CUT(a_service_survives_a_cut_anywhere),
		CUT(a_poller_survives_a_cut_anywhere),
		CUT(a_polled_server_survives_a_cut_anywhere),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
