#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "master/route.h"
#include "text_file.h"

#define PRINT1 "8A7D5BC0F0F4B4A7A3C1E2D3F4A5B6C7D8E9F0A1"
#define PRINT2 "9A7D5BC0F0F4B4A7A3C1E2D3F4A5B6C7D8E9F0A1"

static const char text[] =
	"route \"*.poll.example.com\" { to = \"poll://{label}/\" }\n"
	"route \"*.example.com\" { to = \"queue://other-{label}\" }\n"
	"route \"exact.poll.example.com\" { to = \"poll://exact/\" }\n"
	"route \"exact.poll.example.com:77\" { to = \"poll://port/\" }\n"
	"route \"dial.example.com\" { to = \"https://inner:10933\" }\n"
	"route \"here.example.com\" { to = \"hosted\" }\n"
	"endpoint \"https://inner:10933\" { thumbprint = " PRINT1 "\n"
	" proxy = \"p:1\" }\n"
	"endpoint \"https://127.0.0.1:8\" { thumbprint = " PRINT1 " }\n"
	"service \"IEcho\" { command = x }\n";

struct fixture {
	struct hbt_config *cfg;
	struct hbt_decision d;
	struct halibut_error err;
};

static int setup(void **state)
{
	static struct fixture f;

	memset(&f, 0, sizeof(f));
	*state = &f;
	return config_from(text, &f.cfg, &f.err);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	hbt_decision_fini(&f->d);
	halibut_error_clear(&f->err);
	hbt_config_free(&f->cfg);
	return 0;
}

static int ask(struct fixture *f, enum hbt_call_origin origin,
               const char *destination, const char *service,
               const char *thumbprint)
{
	const struct hbt_route_query q = {
		.origin = origin,
		.destination = destination,
		.service = service,
		.method = "Say",
		.expected_thumbprint = thumbprint,
		.asker = "192.0.2.9:1",
	};

	hbt_decision_fini(&f->d);
	halibut_error_clear(&f->err);
	return hbt_route_decide(f->cfg, &q, &f->d, &f->err);
}

static void assert_queue(struct fixture *f, const char *destination,
                         const char *uri)
{
	assert_int_equal(ask(f, HBT_ORIGIN_CLIENT, destination, "IEcho", NULL),
	                 HALIBUT_OK);
	assert_int_equal(f->d.kind, HBT_ROUTE_QUEUE);
	assert_string_equal(f->d.uri, uri);
}

static void poll_and_queue_uris_need_no_route(void **state)
{
	assert_queue(*state, "poll://abc/", "poll://abc/");
	assert_queue(*state, "queue://abc", "queue://abc");
	assert_queue(*state, "POLL://abc/", "POLL://abc/");
}

static void a_star_stands_for_one_label(void **state)
{
	struct fixture *f = *state;

	assert_queue(f, "https://abc.poll.example.com/", "poll://abc/");
	assert_queue(f, "https://ABC.Poll.Example.com:99/", "poll://abc/");
	assert_queue(f, "https://abc.example.com/", "queue://other-abc");
	assert_int_equal(ask(f, HBT_ORIGIN_CLIENT,
	                     "https://a.b.poll.example.com/", "INone", NULL),
	                 HALIBUT_ENO_ROUTE);
}

static void the_most_specific_route_is_taken(void **state)
{
	assert_queue(*state, "https://exact.poll.example.com/",
	             "poll://exact/");
	assert_queue(*state, "https://exact.poll.example.com:77/",
	             "poll://port/");
}

static void a_route_to_https_dials_as_the_endpoint_says(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ask(f, HBT_ORIGIN_CLIENT, "https://dial.example.com/",
	                     "IEcho", NULL),
	                 HALIBUT_OK);
	assert_int_equal(f->d.kind, HBT_ROUTE_DIAL);
	assert_string_equal(f->d.endpoint.url, "https://inner:10933/");
	assert_string_equal(f->d.endpoint.thumbprint, PRINT1);
	assert_string_equal(f->d.endpoint.proxy_host, "p");
}

static void an_endpoint_is_a_route_to_itself(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ask(f, HBT_ORIGIN_CLIENT, "https://inner:10933/",
	                     "IEcho", NULL),
	                 HALIBUT_OK);
	assert_int_equal(f->d.kind, HBT_ROUTE_DIAL);
	/* Another port is another host, which is nobody; so IEcho here. */
	assert_int_equal(
		ask(f, HBT_ORIGIN_CLIENT, "https://inner/", "IEcho", NULL),
		HALIBUT_OK);
	assert_int_equal(f->d.kind, HBT_ROUTE_HOSTED);
}

static void what_no_route_names_is_hosted_if_the_service_is(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(
		ask(f, HBT_ORIGIN_CLIENT, "https://me:10943/", "iecho", NULL),
		HALIBUT_OK);
	assert_int_equal(f->d.kind, HBT_ROUTE_HOSTED);
	assert_int_equal(ask(f, HBT_ORIGIN_CLIENT, "https://here.example.com/",
	                     "IEcho", NULL),
	                 HALIBUT_OK);
	assert_int_equal(f->d.kind, HBT_ROUTE_HOSTED);
	assert_int_equal(ask(f, HBT_ORIGIN_CLIENT, NULL, "IEcho", NULL),
	                 HALIBUT_OK);
	assert_int_equal(f->d.kind, HBT_ROUTE_HOSTED);
}

static void the_error_says_who_asked_for_what(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(
		ask(f, HBT_ORIGIN_CLIENT, "https://me:1/", "INone", NULL),
		HALIBUT_ENO_ROUTE);
	assert_non_null(strstr(f->err.message, "192.0.2.9:1 asked for "
	                                       "INone.Say at https://me:1/"));
	assert_non_null(strstr(f->err.message, "add a section route"));
	assert_int_equal(f->err.connection_state,
	                 HALIBUT_CONNECTION_CONNECTING);
}

static void what_a_polled_server_asks_is_hosted_whatever_it_names(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ask(f, HBT_ORIGIN_POLLED, "poll://me/", "IEcho", NULL),
	                 HALIBUT_OK);
	assert_int_equal(f->d.kind, HBT_ROUTE_HOSTED);
	assert_int_equal(ask(f, HBT_ORIGIN_POLLED, "poll://me/", "INone", NULL),
	                 HALIBUT_ENO_ROUTE);
}

static void control_may_dial_what_no_route_names(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(
		ask(f, HBT_ORIGIN_CONTROL, "https://new:1/", "INone", PRINT2),
		HALIBUT_OK);
	assert_int_equal(f->d.kind, HBT_ROUTE_DIAL);
	assert_string_equal(f->d.endpoint.url, "https://new:1/");
	assert_string_equal(f->d.endpoint.thumbprint, PRINT2);
	assert_int_equal(
		ask(f, HBT_ORIGIN_CONTROL, "https://new:1/", "INone", NULL),
		HALIBUT_ENO_ROUTE);
	/* A client's thumbprint is not asked for. */
	assert_int_equal(
		ask(f, HBT_ORIGIN_CLIENT, "https://new:1/", "INone", PRINT2),
		HALIBUT_ENO_ROUTE);
}

static void control_does_not_take_a_slip_for_this_gateway(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ask(f, HBT_ORIGIN_CONTROL, "https://iner:10933/",
	                     "IEcho", NULL),
	                 HALIBUT_ENO_ROUTE);
	assert_non_null(strstr(f->err.message,
	                       "; did you mean https://inner:10933? To"));
	assert_non_null(strstr(f->err.message, "https://localhost/ reaches"));
	assert_int_equal(ask(f, HBT_ORIGIN_CONTROL, "https://nobody.at.all/",
	                     "INone", NULL),
	                 HALIBUT_ENO_ROUTE);
	assert_non_null(strstr(f->err.message, "; named are "));
	assert_non_null(strstr(f->err.message, " and 3 more. To"));
	assert_null(strstr(f->err.message, "localhost"));
	assert_int_equal(ask(f, HBT_ORIGIN_CONTROL, "https://localhost:7/",
	                     "IEcho", NULL),
	                 HALIBUT_OK);
	assert_int_equal(f->d.kind, HBT_ROUTE_HOSTED);
	assert_false(f->d.by_default);
	assert_int_equal(ask(f, HBT_ORIGIN_CONTROL, "https://127.0.0.1:7/",
	                     "IEcho", NULL),
	                 HALIBUT_ENO_ROUTE);
	assert_non_null(
		strstr(f->err.message, "; did you mean https://127.0.0.1:8?"));
	assert_int_equal(ask(f, HBT_ORIGIN_CONTROL, "https://127.0.0.1/",
	                     "IEcho", NULL),
	                 HALIBUT_OK);
	assert_int_equal(ask(f, HBT_ORIGIN_CLIENT, "https://iner:10933/",
	                     "IEcho", NULL),
	                 HALIBUT_OK);
	assert_true(f->d.by_default);
}

/* A name as long as a URI may be, with as many routes as one likes. */
static void a_hint_has_its_bounds(void **state)
{
	struct fixture *f = *state;
	char url[2000] = "https://";

	memset(url + 8, 'a', sizeof(url) - 9);
	assert_int_equal(ask(f, HBT_ORIGIN_CONTROL, url, "IEcho", NULL),
	                 HALIBUT_ENO_ROUTE);
	assert_non_null(strstr(f->err.message, "; named are "));
}

static void the_thumbprint_of_control_goes_before_that_of_a_route(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ask(f, HBT_ORIGIN_CONTROL, "https://inner:10933/",
	                     "INone", PRINT2),
	                 HALIBUT_OK);
	assert_string_equal(f->d.endpoint.thumbprint, PRINT2);
	assert_string_equal(f->d.endpoint.proxy_host, "p");
}

static void nonsense_is_no_destination(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ask(f, HBT_ORIGIN_CLIENT, "nonsense", "IEcho", NULL),
	                 HALIBUT_ENO_ROUTE);
	assert_int_equal(ask(f, HBT_ORIGIN_CLIENT, "", "IEcho", NULL),
	                 HALIBUT_ENO_ROUTE);
}

static void every_label_is_replaced(void **state)
{
	char *t = hbt_route_expand("poll://{label}-{label}/", "ab", 2);

	(void)state;
	assert_string_equal(t, "poll://ab-ab/");
	free(t);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(poll_and_queue_uris_need_no_route),
		TEST(a_star_stands_for_one_label),
		TEST(the_most_specific_route_is_taken),
		TEST(a_route_to_https_dials_as_the_endpoint_says),
		TEST(an_endpoint_is_a_route_to_itself),
		TEST(what_no_route_names_is_hosted_if_the_service_is),
		TEST(the_error_says_who_asked_for_what),
		TEST(what_a_polled_server_asks_is_hosted_whatever_it_names),
		TEST(control_may_dial_what_no_route_names),
		TEST(control_does_not_take_a_slip_for_this_gateway),
		TEST(a_hint_has_its_bounds),
		TEST(the_thumbprint_of_control_goes_before_that_of_a_route),
		TEST(nonsense_is_no_destination),
		cmocka_unit_test(every_label_is_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
