/*
 * Each role of an exchange against a scripted peer. wire-protocol 5, 6, 18
 */
#include "peer.h"

#include "exchange/private.h"
#include "runtime/streams.h"
#include "runtime/value.h"
#include "wire/compose.h"
#include "wire/flow.h"
#include "wire/reader.h"
#include "wire/writer.h"

/* Whoever owns the exchange, and what it was told. */
struct owner {
	struct hbt_exchange_env env;
	struct hbt_exchange *ex;
	struct peer peer;
	bool refuses, waits; /* authorise() says no; admission comes later */
	bool answers;        /* every request with response */
	unsigned asks;       /* so many requests, as soon as it is ready */
	int identified, ready, messages, ends, sents, closes;
	int sinks, sinks_ended;
	char subscription[64];
	bool began; /* had the last request, when it closed? */
	struct halibut_error err;
};

static struct hbt_message *request, *response, *plain_request, *plain_response;
static uint8_t request_section[64], response_section[64];
static size_t section_len;

/* ---- Messages, and DataStreams of five bytes ---- */

static struct hbt_message *message_of(bson_t *doc)
{
	struct hbt_message *m;

	assert_int_equal(hbt_message_from_bson(hbt_deflater_shared(),
	                                       bson_get_data(doc), doc->len,
	                                       &m, NULL),
	                 0);
	bson_destroy(doc);
	return m;
}

static struct hbt_message *make_request(const char *json, size_t n_streams)
{
	struct halibut_stream *s = halibut_stream_from_memory("hello", 5);
	struct hbt_streams set = {0};
	bson_t params = BSON_INITIALIZER, doc;
	struct hbt_request_parts parts = {.id = "a request",
	                                  .activity_id = hbt_guid_new(),
	                                  .service = "IEcho",
	                                  .method = "Say",
	                                  .params = &params};

	assert_int_equal(hbt_streams_add(&set, s), 0);
	assert_int_equal(hbt_value_append_json(&params, "0", json, &set, NULL),
	                 0);
	assert_int_equal(hbt_compose_request(&parts, &doc), 0);
	hbt_streams_fini(&set);
	bson_destroy(&params);
	struct hbt_message *m = message_of(&doc);

	assert_int_equal(m->env.n_streams, n_streams);
	return m;
}

static struct hbt_message *make_response(const char *json)
{
	struct halibut_stream *s = halibut_stream_from_memory("hello", 5);
	struct hbt_streams set = {0};
	bson_t result = BSON_INITIALIZER, doc;

	assert_int_equal(hbt_streams_add(&set, s), 0);
	assert_int_equal(hbt_value_append_json(&result, "r", json, &set, NULL),
	                 0);
	assert_int_equal(hbt_compose_response("a request", &result, &doc), 0);
	hbt_streams_fini(&set);
	bson_destroy(&result);
	return message_of(&doc);
}

static void make_section(const struct hbt_message *m, uint8_t *out)
{
	hbt_section_head(&m->env.streams[0].id, 5, out);
	memcpy(out + 24, "hello", 5);
	hbt_section_tail(5, out + 29);
	section_len = 37;
}

struct bytes {
	struct hbt_source base;
	const uint8_t *data;
	size_t left;
};

static ssize_t bytes_read(struct hbt_source *src, void *buf, size_t cap,
                          struct halibut_error *err)
{
	struct bytes *b = (struct bytes *)src;
	size_t n = cap < b->left ? cap : b->left;

	(void)err;
	memcpy(buf, b->data, n);
	b->data += n;
	b->left -= n;
	return (ssize_t)n;
}

static void bytes_free(struct hbt_source *src)
{
	free(src);
}

static struct hbt_source *section_of(const struct hbt_message *m)
{
	static const struct hbt_source_ops ops = {bytes_read, bytes_free};
	struct bytes *b;

	if (m->env.n_streams == 0)
		return NULL;
	b = calloc(1, sizeof(*b));
	b->base.ops = &ops;
	b->data = m == request ? request_section : response_section;
	b->left = section_len;
	return &b->base;
}

struct sink {
	struct hbt_sink base;
	struct owner *o;
	int64_t fails_after; /* so many bytes; -1: never */
};

static int64_t sinks_fail_after = -1;

static ssize_t sink_write(struct hbt_sink *sink, const void *data, size_t len,
                          struct halibut_error *err)
{
	struct sink *s = (struct sink *)sink;

	(void)data;
	if (s->fails_after >= 0 && (int64_t)len > s->fails_after)
		return -hbt_error_set(err, HALIBUT_ESYSTEM, "disk full");
	return (ssize_t)len;
}

static void sink_end(struct hbt_sink *sink, const struct halibut_error *why)
{
	struct sink *s = (struct sink *)sink;

	(void)why;
	s->o->sinks_ended++;
	free(s);
}

static struct hbt_sink *sink_new(struct owner *o)
{
	static const struct hbt_sink_ops ops = {sink_write, sink_end};
	struct sink *s = calloc(1, sizeof(*s));

	s->base.ops = &ops;
	s->o = o;
	s->fails_after = sinks_fail_after;
	o->sinks++;
	return &s->base;
}

/* ---- The owner ---- */

static bool authorise(void *arg, const char *thumbprint)
{
	struct owner *o = arg;

	assert_string_equal(thumbprint, theirs->thumbprint);
	return !o->refuses;
}

static void identified(void *arg, const char *subscription)
{
	struct owner *o = arg;

	o->identified++;
	snprintf(o->subscription, sizeof(o->subscription), "%s",
	         subscription == NULL ? "" : subscription);
	if (!o->waits)
		hbt_exchange_admit(o->ex, NULL);
}

static void ask(struct owner *o, struct hbt_message *m)
{
	hbt_exchange_send(o->ex, m, section_of(m));
}

static void ready(void *arg)
{
	struct owner *o = arg;

	o->ready++;
	if (o->asks > 0) {
		o->asks--;
		ask(o, request);
	}
}

static void message(void *arg, struct hbt_message *m, struct hbt_sink **sink)
{
	struct owner *o = arg;

	o->messages++;
	assert_null(*sink);
	if (m->env.n_streams > 0)
		*sink = sink_new(o);
	hbt_message_unref(&m);
}

static void message_end(void *arg)
{
	struct owner *o = arg;

	o->ends++;
	assert_int_equal(o->sinks, o->sinks_ended);
	if (o->answers)
		hbt_exchange_send(o->ex, response, section_of(response));
	else if (hbt_exchange_role(o->ex) == HBT_ROLE_ASK_SERVICE)
		ready(o); /* as the pool does: it may be used again */
}

static void sent(void *arg)
{
	((struct owner *)arg)->sents++;
}

static void closed(void *arg, const struct halibut_error *err)
{
	struct owner *o = arg;

	assert_int_equal(o->closes++, 0);
	hbt_error_copy(&o->err, err);
	o->began = hbt_exchange_request_began(o->ex);
	hbt_exchange_finish(&o->ex);
}

static const struct hbt_exchange_ops ops = {
	.authorise = authorise,
	.identified = identified,
	.ready = ready,
	.message = message,
	.message_end = message_end,
	.sent = sent,
	.closed = closed,
};

static void owner_init(struct owner *o)
{
	memset(o, 0, sizeof(*o));
	assert_int_equal(hbt_exchange_env_init(&o->env, base, &limits), 0);
}

/* They dial, we accept. */
static void start_accepting(struct owner *o)
{
	uint16_t port;
	int listener = listen_on_loopback(&port), fd;

	peer_init(&o->peer, connect_to(port), false);
	fd = accept(listener, NULL, NULL);
	close(listener);
	assert_true(fd >= 0);
	assert_int_equal(hbt_exchange_accept(&o->ex, &o->env, ours, fd, &ops,
	                                     o),
	                 0);
}

/* We dial, they accept. */
static void start_dialling(struct owner *o, const char *subscription)
{
	struct hbt_dial dial = {.host = "127.0.0.1",
	                        .thumbprint = theirs->thumbprint,
	                        .url = "https://127.0.0.1/",
	                        .connect_timeout_ms = 10000};
	int listener = listen_on_loopback(&dial.port), fd;

	assert_int_equal(hbt_exchange_dial(&o->ex, &o->env, NULL, ours, &dial,
	                                   subscription, &ops, o),
	                 0);
	fd = accept(listener, NULL, NULL);
	close(listener);
	assert_true(fd >= 0);
	peer_init(&o->peer, fd, true);
}

static void owner_fini(struct owner *o)
{
	hbt_exchange_free(&o->ex);
	peer_fini(&o->peer);
	event_base_loop(base, EVLOOP_NONBLOCK);
	hbt_exchange_env_fini(&o->env);
	halibut_error_clear(&o->err);
	assert_int_equal(o->sinks, o->sinks_ended);
}

static int fresh_limits(void **state)
{
	(void)state;
	hbt_limits_init(&limits);
	sinks_fail_after = -1;
	return 0;
}

static int fresh(void **state)
{
	static struct owner o;

	fresh_limits(state);
	owner_init(&o);
	*state = &o;
	return 0;
}

static int done(void **state)
{
	owner_fini(*state);
	return 0;
}

static void says(struct owner *o, const struct hbt_message *m)
{
	peer_says(&o->peer, m->deflated, m->deflated_len);
	if (m->env.n_streams > 0)
		peer_says(&o->peer,
		          m == request ? request_section : response_section,
		          section_len);
}

static void hears(struct owner *o, const struct hbt_message *m)
{
	peer_hears(&o->peer, m->deflated, m->deflated_len);
	if (m->env.n_streams > 0)
		peer_hears(&o->peer,
		           m == request ? request_section : response_section,
		           section_len);
}

#define PREAMBLE "MX\n\n"
#define CLIENT "MX-CLIENT 1.0\r\n\r\n"
#define SUBSCRIBER "MX-SUBSCRIBER 1.0 poll://sq-test/\r\n\r\n"
#define SERVER "MX-SERVER 1.0\r\n\r\n"
#define NEXT "NEXT\r\n"
#define PROCEED "PROCEED\r\n"
#define END "END\r\n"

static void hears_null(struct owner *o)
{
	struct hbt_message *null = hbt_message_null();

	peer_hears(&o->peer, null->deflated, null->deflated_len);
	hbt_message_unref(&null);
}

static void says_null(struct owner *o)
{
	struct hbt_message *null = hbt_message_null();

	peer_says(&o->peer, null->deflated, null->deflated_len);
	hbt_message_unref(&null);
}

static const char *state_of(const struct owner *o)
{
	return o->ex == NULL ? "gone" : hbt_exchange_state_text(o->ex);
}

#define WAIT_STATE(o, text)                                                    \
	WAIT(&(o)->peer, strcmp(state_of(o), text) == 0)
#define WAIT_CLOSED(o) WAIT(&(o)->peer, (o)->closes == 1)

/* To where a role waits for the first message. */
static void as_client(struct owner *o)
{
	start_dialling(o, NULL);
	peer_skips(&o->peer, strlen(PREAMBLE CLIENT));
	peer_says_text(&o->peer, SERVER);
	WAIT(&o->peer, o->identified == 1);
}

static void as_service(struct owner *o)
{
	start_accepting(o);
	peer_says_text(&o->peer, PREAMBLE);
	peer_says_text(&o->peer, CLIENT);
	peer_hears_text(&o->peer, SERVER);
}

static void as_poller(struct owner *o)
{
	start_dialling(o, "poll://sq-test/");
	peer_skips(&o->peer, strlen(PREAMBLE SUBSCRIBER));
	peer_says_text(&o->peer, SERVER);
	WAIT_STATE(o, "waits for a message");
}

static void as_polled(struct owner *o)
{
	start_accepting(o);
	peer_says_text(&o->peer, PREAMBLE);
	peer_says_text(&o->peer, SUBSCRIBER);
	peer_hears_text(&o->peer, SERVER);
}

/* ---- Transcripts: 5.6 ---- */

static void two_calls_of_a_client_read_like_the_transcript(void **state)
{
	struct owner *o = *state;
	const size_t records[] = {4,
	                          17,
	                          plain_request->deflated_len,
	                          6,
	                          plain_request->deflated_len,
	                          5};

	start_dialling(o, NULL);
	peer_hears_text(&o->peer, PREAMBLE CLIENT);
	peer_says_text(&o->peer, SERVER);
	WAIT(&o->peer, o->ready == 1);
	ask(o, plain_request);
	hears(o, plain_request);
	assert_int_equal(o->sents, 1);
	says(o, plain_response);
	WAIT(&o->peer, o->ends == 1);
	ask(o, plain_request);
	peer_hears_text(&o->peer, NEXT);
	some_turns(&o->peer);
	assert_int_equal(o->peer.len, 0); /* not before PROCEED */
	peer_says_text(&o->peer, PROCEED);
	hears(o, plain_request);
	says(o, plain_response);
	WAIT(&o->peer, o->ends == 2);
	hbt_exchange_finish(&o->ex);
	peer_hears_text(&o->peer, END);
	WAIT(&o->peer, o->peer.at_end);
	assert_int_equal(o->peer.n_records, 6);
	assert_memory_equal(o->peer.records, records, sizeof(records));
	assert_int_equal(o->closes, 0);
}

static void two_calls_of_a_service_read_like_the_transcript(void **state)
{
	struct owner *o = *state;

	o->answers = true;
	as_service(o);
	says(o, request);
	hears(o, response);
	peer_says_text(&o->peer, NEXT);
	peer_hears_text(&o->peer, PROCEED);
	says(o, plain_request);
	hears(o, response);
	peer_says_text(&o->peer, END);
	WAIT_CLOSED(o);
	assert_int_equal(o->err.status, HALIBUT_OK);
	assert_int_equal(o->peer.records[0], 17);
	assert_int_equal(o->peer.records[1], response->deflated_len);
	assert_int_equal(o->messages, 2);
	assert_int_equal(o->sents, 2);
}

static void a_polling_service_answers_a_null_message_with_next(void **state)
{
	struct owner *o = *state;

	o->answers = true;
	start_dialling(o, "poll://sq-test/");
	peer_hears_text(&o->peer, PREAMBLE SUBSCRIBER);
	peer_says_text(&o->peer, SERVER);
	says_null(o);
	peer_hears_text(&o->peer, NEXT);
	peer_says_text(&o->peer, PROCEED);
	says(o, request);
	hears(o, response);
	peer_hears_text(&o->peer, NEXT);
	assert_int_equal(o->messages, 1);
	hbt_exchange_finish(&o->ex);
	peer_hears_text(&o->peer, END);
}

static void a_subscriber_is_fed_request_after_request(void **state)
{
	struct owner *o = *state;

	as_polled(o);
	assert_string_equal(o->subscription, "poll://sq-test/");
	for (int i = 1; i <= 3; i++) {
		WAIT(&o->peer, o->ready == i);
		ask(o, i == 2 ? request : plain_request);
		hears(o, i == 2 ? request : plain_request);
		says(o, i == 2 ? response : plain_response);
		WAIT(&o->peer, o->ends == i);
		peer_says_text(&o->peer, NEXT);
		peer_hears_text(&o->peer, PROCEED);
	}
	peer_says_text(&o->peer, END);
	WAIT_CLOSED(o);
	assert_int_equal(o->err.status, HALIBUT_OK);
}

static void empty_lines_before_control_lines_are_skipped(void **state)
{
	struct owner *o = *state;

	o->answers = true;
	as_service(o);
	says(o, plain_request);
	hears(o, response);
	peer_says_text(&o->peer, "\r\n\r\n" NEXT);
	peer_hears_text(&o->peer, PROCEED);
}

/* What follows in the same record is kept for the next step: 18, row 37. */
static void a_whole_conversation_may_come_at_once(void **state)
{
	struct owner *o = *state;
	uint8_t all[4096];
	size_t n = 0;

	o->answers = true;
	start_accepting(o);
	memcpy(all, PREAMBLE CLIENT, n = strlen(PREAMBLE CLIENT));
	for (int i = 0; i < 2; i++) {
		memcpy(all + n, request->deflated, request->deflated_len);
		n += request->deflated_len;
		memcpy(all + n, request_section, section_len);
		n += section_len;
		memcpy(all + n, NEXT, 6);
		n += 6;
	}
	peer_says(&o->peer, all, n);
	peer_hears_text(&o->peer, SERVER);
	hears(o, response);
	peer_hears_text(&o->peer, PROCEED);
	hears(o, response);
	peer_hears_text(&o->peer, PROCEED);
}

/* ---- Records of long messages: 6 ---- */

/* Text that does not compress, so that the message has about len bytes. */
static struct hbt_message *long_request(size_t len)
{
	static const char digits[] = "0123456789abcdefghijklmnopqrstuv"
				     "wxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-";
	size_t n = len * 8 / 6;
	char *json = malloc(n + 3);
	struct hbt_message *m;
	uint32_t x = 12345;

	json[0] = json[n + 1] = '"';
	json[n + 2] = '\0';
	for (size_t i = 1; i <= n; i++) {
		x = x * 1664525 + 1013904223;
		json[i] = digits[x >> 26];
	}
	m = make_request(json, 0);
	free(json);
	return m;
}

static void the_last_record_of_a_long_message_is_not_tiny(void **state)
{
	struct owner *o = *state;
	struct hbt_message *m = NULL;
	size_t total = 0, i;

	/* One that would leave less than 16 bytes for its last record. */
	for (size_t len = 31000;; len += 4) {
		assert_true(len < 33500);
		m = long_request(len);
		if (m->deflated_len > 32768 && m->deflated_len < 32768 + 16)
			break;
		hbt_message_unref(&m);
	}
	as_client(o);
	WAIT(&o->peer, o->ready == 1);
	ask(o, m);
	hears(o, m);
	for (i = 2; i < o->peer.n_records; i++)
		total += o->peer.records[i];
	assert_int_equal(total, m->deflated_len);
	assert_true(o->peer.records[i - 1] >= 16);
	hbt_message_unref(&m);
}

static void a_long_message_is_sent_when_it_has_left(void **state)
{
	struct owner *o = *state;
	struct hbt_message *m = long_request(12 << 20);

	as_client(o);
	WAIT(&o->peer, o->ready == 1);
	ask(o, m);
	for (int i = 0; i < 50; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
	assert_int_equal(o->sents, 0); /* the peer has read nothing yet */
	assert_true(hbt_exchange_is_busy(o->ex));
	o->peer.forgets = true;
	WAIT(&o->peer, o->sents == 1);
	assert_string_equal(state_of(o), "waits for a message");
	hbt_message_unref(&m);
}

/* ---- Keep-alive: 5.4 ---- */

static void an_idle_subscriber_gets_null_messages(void **state)
{
	struct owner *o = *state;

	limits.polling_queue_wait_timeout_ms = 20;
	as_polled(o);
	for (int i = 0; i < 3; i++) {
		hears_null(o);
		peer_says_text(&o->peer, NEXT);
		peer_hears_text(&o->peer, PROCEED);
	}
	assert_int_equal(o->ready, 1); /* it stayed so all the time */
	assert_false(hbt_exchange_is_busy(o->ex));
}

static void a_request_during_a_keep_alive_waits_for_its_next(void **state)
{
	struct owner *o = *state;

	limits.polling_queue_wait_timeout_ms = 20;
	as_polled(o);
	hears_null(o);
	ask(o, request);
	assert_true(hbt_exchange_is_busy(o->ex));
	some_turns(&o->peer);
	assert_int_equal(o->peer.len, 0);
	assert_false(hbt_exchange_request_began(o->ex));
	peer_says_text(&o->peer, NEXT);
	peer_hears_text(&o->peer, PROCEED);
	hears(o, request);
	assert_true(hbt_exchange_request_began(o->ex));
	says(o, plain_response);
	WAIT(&o->peer, o->ends == 1);
}

static void a_request_that_waits_for_next_can_be_taken_back(void **state)
{
	struct owner *o = *state;
	struct hbt_source *streams = NULL;

	limits.polling_queue_wait_timeout_ms = 20;
	as_polled(o);
	hears_null(o);
	ask(o, request);
	assert_true(hbt_exchange_unsend(o->ex, &streams));
	assert_non_null(streams);
	hbt_source_free(&streams);
	assert_false(hbt_exchange_unsend(o->ex, &streams));
	peer_says_text(&o->peer, NEXT);
	peer_hears_text(&o->peer, PROCEED);
	hears_null(o); /* and life goes on */
}

static void a_request_that_waits_for_proceed_can_be_taken_back(void **state)
{
	struct owner *o = *state;
	struct hbt_source *streams = NULL;

	as_client(o);
	WAIT(&o->peer, o->ready == 1);
	ask(o, plain_request);
	hears(o, plain_request);
	says(o, plain_response);
	WAIT(&o->peer, o->ends == 1);
	ask(o, request);
	peer_hears_text(&o->peer, NEXT);
	assert_false(hbt_exchange_request_began(o->ex));
	assert_true(hbt_exchange_unsend(o->ex, &streams));
	hbt_source_free(&streams);
}

/* ---- Deadlines: 5 ---- */

static void expect_timeout(struct owner *o, const char *what)
{
	WAIT_CLOSED(o);
	assert_int_equal(o->err.status, HALIBUT_ETIMEOUT);
	assert_non_null(strstr(o->err.message, what));
}

static void a_client_waits_for_a_response_only_so_long(void **state)
{
	struct owner *o = *state;

	as_client(o);
	WAIT(&o->peer, o->ready == 1);
	limits.tcp_client_receive_response_timeout_ms = 50;
	ask(o, plain_request);
	expect_timeout(o, "the response");
}

static void the_rest_of_a_response_has_a_limit_of_its_own(void **state)
{
	struct owner *o = *state;

	as_client(o);
	WAIT(&o->peer, o->ready == 1);
	ask(o, plain_request);
	hears(o, plain_request);
	limits.tcp_client_receive_timeout_ms = 50;
	peer_says(&o->peer, response->deflated, 1);
	expect_timeout(o, "the rest of a message");
}

static void a_used_connection_has_to_prove_soon_that_it_lives(void **state)
{
	struct owner *o = *state;

	limits.tcp_client_heartbeat_receive_timeout_ms = 50;
	as_client(o);
	WAIT(&o->peer, o->ready == 1);
	ask(o, plain_request);
	hears(o, plain_request);
	says(o, plain_response);
	WAIT(&o->peer, o->ends == 1);
	ask(o, plain_request);
	expect_timeout(o, "PROCEED");
	assert_false(o->began);
}

static void a_service_waits_for_the_next_request_only_so_long(void **state)
{
	struct owner *o = *state;

	limits.tcp_listening_next_request_idle_timeout_ms = 50;
	as_service(o);
	expect_timeout(o, "the next request");
}

static void a_client_that_never_says_next_is_let_go_quietly(void **state)
{
	struct owner *o = *state;

	o->answers = true;
	as_service(o);
	WAIT_STATE(o, "waits for a message");
	limits.tcp_listening_next_request_idle_timeout_ms = 50;
	says(o, plain_request);
	WAIT_CLOSED(o);
	assert_int_equal(o->ends, 1);
	assert_int_equal(o->err.status, HALIBUT_OK);
}

static void a_poller_gives_up_a_server_that_says_nothing(void **state)
{
	struct owner *o = *state;

	limits.tcp_client_receive_request_timeout_for_polling_ms = 50;
	as_poller(o);
	expect_timeout(o, "the next request");
}

static void a_poller_that_does_not_say_next_is_let_go_quietly(void **state)
{
	struct owner *o = *state;

	limits.tcp_client_heartbeat_receive_timeout_ms = 50;
	as_polled(o);
	WAIT(&o->peer, o->ready == 1);
	ask(o, plain_request);
	hears(o, plain_request);
	says(o, plain_response);
	WAIT_CLOSED(o);
	assert_int_equal(o->ends, 1);
	assert_int_equal(o->err.status, HALIBUT_OK);
}

static void the_opening_has_a_limit_for_all_of_it(void **state)
{
	struct owner *o = *state;

	limits.handshake_total_timeout_ms = 200;
	start_accepting(o);
	WAIT(&o->peer, o->peer.open || o->closes == 1);
	if (o->closes == 0) /* else a busy machine took all the time */
		peer_says_text(&o->peer, PREAMBLE "MX-CLI");
	expect_timeout(o, "the opening");
}

static void so_has_the_wait_for_admission(void **state)
{
	struct owner *o = *state;

	/* A busy machine may need longer to get as far as that. */
	limits.handshake_total_timeout_ms = 100;
	for (;;) {
		o->waits = true;
		start_accepting(o);
		WAIT(&o->peer, o->peer.open || o->closes == 1);
		if (o->closes == 0)
			peer_says_text(&o->peer, PREAMBLE CLIENT);
		WAIT(&o->peer, o->identified == 1 || o->closes == 1);
		if (o->identified == 1)
			break;
		owner_fini(o);
		owner_init(o);
		limits.handshake_total_timeout_ms *= 2;
	}
	expect_timeout(o, "the opening");
}

/* ---- What a peer must not say ---- */

static void expect_protocol_error(struct owner *o)
{
	WAIT_CLOSED(o);
	assert_int_equal(o->err.status, HALIBUT_EPROTO);
}

static void a_client_gets_no_requests(void **state)
{
	struct owner *o = *state;

	as_client(o);
	WAIT(&o->peer, o->ready == 1);
	ask(o, plain_request);
	hears(o, plain_request);
	says(o, plain_request);
	expect_protocol_error(o);
	assert_int_equal(o->messages, 0);
}

static void a_service_gets_no_responses(void **state)
{
	struct owner *o = *state;

	as_service(o);
	says(o, plain_response);
	expect_protocol_error(o);
	assert_int_equal(o->messages, 0);
}

static void a_service_closes_on_a_null_request(void **state)
{
	struct owner *o = *state;

	as_service(o);
	says_null(o);
	WAIT_CLOSED(o);
	assert_int_equal(o->err.status, HALIBUT_OK);
	assert_int_equal(o->messages, 0);
}

static void a_null_response_is_no_response(void **state)
{
	struct owner *o = *state;

	as_client(o);
	WAIT(&o->peer, o->ready == 1);
	ask(o, plain_request);
	hears(o, plain_request);
	says_null(o);
	WAIT_CLOSED(o);
	assert_int_equal(o->err.status, HALIBUT_ENO_RESPONSE);
}

static void a_null_response_of_a_poller_fails_the_call(void **state)
{
	struct owner *o = *state;

	as_polled(o);
	WAIT(&o->peer, o->ready == 1);
	ask(o, plain_request);
	hears(o, plain_request);
	says_null(o);
	expect_protocol_error(o);
}

static void an_idle_peer_that_speaks_is_let_go(void **state)
{
	struct owner *o = *state;

	as_polled(o);
	WAIT(&o->peer, o->ready == 1);
	peer_says_text(&o->peer, NEXT);
	expect_protocol_error(o);
}

static void anything_but_proceed_ends_a_poller(void **state)
{
	struct owner *o = *state;

	as_poller(o);
	says_null(o);
	peer_hears_text(&o->peer, NEXT);
	peer_says_text(&o->peer, END);
	expect_protocol_error(o);
}

static void a_dialler_that_claims_to_be_a_server_gets_one_line(void **state)
{
	struct owner *o = *state;

	start_accepting(o);
	peer_says_text(&o->peer, PREAMBLE SERVER);
	peer_hears_text(&o->peer, SERVER);
	expect_protocol_error(o);
}

static void a_server_that_is_none_is_refused(void **state)
{
	struct owner *o = *state;

	start_dialling(o, NULL);
	peer_says_text(&o->peer, CLIENT);
	expect_protocol_error(o);
	assert_int_equal(o->identified, 0);
}

static void damaged_compression_ends_the_exchange(void **state)
{
	struct owner *o = *state;

	as_service(o);
	peer_says(&o->peer, "\x07\xff\xff", 3);
	expect_protocol_error(o);
}

static void a_stream_of_another_length_ends_the_exchange(void **state)
{
	struct owner *o = *state;
	uint8_t section[64];

	as_service(o);
	memcpy(section, request_section, section_len);
	section[section_len - 8] = 6; /* the length behind the data */
	peer_says(&o->peer, request->deflated, request->deflated_len);
	peer_says(&o->peer, section, section_len);
	expect_protocol_error(o);
	assert_int_equal(o->sinks_ended, 1);
	assert_int_equal(o->ends, 0);
}

static void an_untrusted_peer_hears_nothing(void **state)
{
	struct owner *o = *state;

	o->refuses = true;
	start_accepting(o);
	peer_says_text(&o->peer, PREAMBLE CLIENT);
	WAIT_CLOSED(o);
	WAIT(&o->peer, o->peer.at_end);
	assert_int_equal(o->err.status, HALIBUT_EUNTRUSTED);
	assert_non_null(strstr(o->err.message, theirs->thumbprint));
	assert_int_equal(o->peer.n_records, 0);
}

static void who_is_not_admitted_hears_nothing(void **state)
{
	struct owner *o = *state;

	o->waits = true;
	start_accepting(o);
	peer_says_text(&o->peer, PREAMBLE SUBSCRIBER);
	WAIT(&o->peer, o->identified == 1);
	hbt_exchange_admit(o->ex, "it is one too many");
	assert_int_equal(o->closes, 1);
	assert_int_equal(o->err.status, HALIBUT_ELIMIT);
	WAIT(&o->peer, o->peer.at_end);
	assert_int_equal(o->peer.n_records, 0);
}

static void a_browser_gets_the_friendly_page(void **state)
{
	struct owner *o = *state;

	start_accepting(o);
	peer_says_text(&o->peer, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	WAIT(&o->peer, o->peer.at_end);
	assert_int_equal(o->closes, 1);
	assert_int_equal(o->err.status, HALIBUT_OK);
	assert_memory_equal(o->peer.heard, "HTTP/1.0 200 OK\r\n", 17);
}

/* ---- The end ---- */

static void end_is_heard_while_we_execute(void **state)
{
	struct owner *o = *state;

	as_service(o);
	says(o, plain_request);
	WAIT_STATE(o, "executes");
	peer_says_text(&o->peer, END);
	WAIT_CLOSED(o);
	assert_int_equal(o->err.status, HALIBUT_ECLOSED);
}

static void end_is_heard_while_a_subscriber_is_idle(void **state)
{
	struct owner *o = *state;

	as_polled(o);
	WAIT(&o->peer, o->ready == 1);
	peer_says_text(&o->peer, END);
	WAIT_CLOSED(o);
	assert_int_equal(o->err.status, HALIBUT_OK);
}

static void end_is_heard_instead_of_next_after_a_null_message(void **state)
{
	struct owner *o = *state;

	limits.polling_queue_wait_timeout_ms = 20;
	as_polled(o);
	hears_null(o);
	ask(o, plain_request);
	peer_says_text(&o->peer, END);
	WAIT_CLOSED(o);
	assert_int_equal(o->err.status, HALIBUT_OK);
	assert_false(o->began); /* it can go to somebody else */
}

static void end_instead_of_a_response_breaks_the_call(void **state)
{
	struct owner *o = *state;

	as_polled(o);
	WAIT(&o->peer, o->ready == 1);
	ask(o, plain_request);
	hears(o, plain_request);
	peer_says_text(&o->peer, END);
	peer_leaves(&o->peer, false);
	WAIT_CLOSED(o);
	assert_int_not_equal(o->err.status, HALIBUT_OK);
}

static void a_peer_that_leaves_while_we_execute_is_noticed(void **state)
{
	struct owner *o = *state;

	as_service(o);
	says(o, plain_request);
	WAIT_STATE(o, "executes");
	peer_leaves(&o->peer, false);
	WAIT_CLOSED(o);
	assert_int_equal(o->err.status, HALIBUT_ECLOSED);
}

static void a_peer_that_leaves_behind_its_mx_is_noticed(void **state)
{
	struct owner *o = *state;

	start_accepting(o);
	peer_says_text(&o->peer, "MX");
	peer_leaves(&o->peer, false);
	WAIT_CLOSED(o);
	assert_int_equal(o->err.status, HALIBUT_ECLOSED);
}

/* All that a peer does who does not trust us: runtime-behaviour 3.11. */
static void a_server_that_leaves_without_a_word_may_not_trust_us(void **state)
{
	struct owner *o = *state;

	start_dialling(o, NULL);
	peer_skips(&o->peer, strlen(PREAMBLE CLIENT));
	peer_leaves(&o->peer, false);
	WAIT_CLOSED(o);
	assert_int_equal(o->err.status, HALIBUT_ECLOSED);
	assert_non_null(strstr(o->err.message, "may not trust"));
	assert_non_null(strstr(o->err.message, ours->thumbprint));
}

static void one_that_resets_the_connection_neither(void **state)
{
	struct owner *o = *state;

	start_dialling(o, "poll://sq-test/");
	WAIT_STATE(o, "waits for the peer's identification");
	peer_leaves(&o->peer, true);
	WAIT_CLOSED(o);
	assert_int_equal(o->err.status, HALIBUT_ECLOSED);
	assert_non_null(strstr(o->err.message, "may not trust"));
	assert_non_null(strstr(o->err.message, ours->thumbprint));
}

static void one_that_has_spoken_does_trust_us(void **state)
{
	struct owner *o = *state;

	as_client(o);
	WAIT(&o->peer, o->ready == 1);
	ask(o, plain_request);
	hears(o, plain_request);
	peer_leaves(&o->peer, false);
	WAIT_CLOSED(o);
	assert_int_equal(o->err.status, HALIBUT_ECLOSED);
	assert_null(strstr(o->err.message, "trust"));
}

static void an_aborted_exchange_tells_so_from_the_loop(void **state)
{
	struct owner *o = *state;

	as_service(o);
	hbt_exchange_abort(o->ex);
	hbt_exchange_abort(o->ex);
	assert_int_equal(o->closes, 0);
	WAIT_CLOSED(o);
}

static void idle_connections_end_in_good_order_others_at_once(void **state)
{
	struct owner *o = *state;

	o->answers = true;
	as_service(o);
	says(o, plain_request);
	WAIT(&o->peer, o->sents == 1);
	hbt_exchange_finish(&o->ex);
	hears(o, response); /* was still on its way */
	WAIT(&o->peer, o->peer.at_end);
}

/* ---- What others can see of it ---- */

static void an_exchange_shows_the_call_that_it_carries(void **state)
{
	struct owner *o = *state;
	struct hbt_exchange_facts f;
	uint64_t at = 0;

	as_polled(o);
	WAIT(&o->peer, o->ready == 1);
	hbt_exchange_facts(o->ex, &f);
	assert_int_equal(f.role, HBT_ROLE_FEED_SUBSCRIBER);
	assert_int_equal(f.id, hbt_exchange_id(o->ex));
	assert_true(f.is_known);
	assert_string_equal(f.subscription, "poll://sq-test/");
	assert_string_equal(f.state, "idle");
	assert_null(f.activity);
	assert_null(f.url);
	assert_int_equal(hbt_exchange_phase(o->ex), HBT_EXCHANGE_BEFORE);
	ask(o, plain_request);
	hears(o, plain_request);
	WAIT_STATE(o, "waits for a message");
	hbt_exchange_facts(o->ex, &f);
	assert_non_null(f.activity);
	assert_memory_equal(f.activity, &plain_request->env.activity_id,
	                    sizeof(*f.activity));
	assert_int_equal(f.idle_ms, 0);
	assert_int_equal(f.calls, 0);
	assert_int_equal(hbt_exchange_phase(o->ex), HBT_EXCHANGE_AWAITING);
	says(o, plain_response);
	WAIT(&o->peer, o->ends == 1);
	hbt_exchange_facts(o->ex, &f);
	assert_null(f.activity);
	assert_int_equal(f.calls, 1);
	assert_int_equal(f.messages_in, 1);
	assert_int_equal(f.messages_out, 1);
	assert_ptr_equal(hbt_slots_next(&o->env.all, &at), o->ex);
	assert_null(hbt_slots_next(&o->env.all, &at));
}

static void a_stranger_is_not_known(void **state)
{
	struct owner *o = *state;
	struct hbt_exchange_facts f;

	start_accepting(o);
	WAIT_STATE(o, "waits for the peer to open");
	hbt_exchange_facts(o->ex, &f);
	assert_int_equal(f.role, HBT_ROLE_ACCEPTED);
	assert_false(f.is_known);
}

static char ended_why[256];
static int n_ended;

static void keep_end(void *arg, const struct hbt_exchange *ex, const char *why)
{
	(void)arg;
	assert_non_null(hbt_exchange_conn(ex));
	snprintf(ended_why, sizeof(ended_why), "%s", why);
	n_ended++;
}

/* Ends what is there, and begins anew. */
static void expect_end(struct owner *o, const char *why)
{
	hbt_exchange_free(&o->ex);
	assert_int_equal(n_ended, 1);
	if (strstr(ended_why, why) == NULL)
		fail_msg("it ended because \"%s\", not \"%s\"", ended_why,
		         why);
	assert_int_equal(o->env.all.used, 0);
	owner_fini(o);
	owner_init(o);
	o->env.ended = keep_end;
	n_ended = 0;
}

static void whoever_wants_to_know_hears_why_an_exchange_ended(void **state)
{
	struct owner *o = *state;

	o->env.ended = keep_end;
	n_ended = 0;
	as_polled(o);
	WAIT(&o->peer, o->ready == 1);
	peer_says_text(&o->peer, END);
	WAIT_CLOSED(o);
	expect_end(o, "the peer ended it");
	as_client(o);
	peer_says_text(&o->peer, "nonsense");
	WAIT_CLOSED(o);
	expect_end(o, "spoke out of turn");
}

static void an_end_of_ours_can_be_explained_once(void **state)
{
	struct owner *o = *state;

	o->env.ended = keep_end;
	n_ended = 0;
	as_service(o);
	hbt_exchange_explain(o->ex, "its certificate is not trusted any more");
	hbt_exchange_explain(o->ex, "something else");
	expect_end(o, "not trusted any more");
	as_service(o);
	expect_end(o, "this side ended it");
	as_service(o);
	hbt_exchange_abort(o->ex);
	WAIT_CLOSED(o);
	expect_end(o, "gave the connection up");
}

/* ---- Retiring: no request may be lost, and no peer wait in vain ---- */

static void a_retiring_service_answers_the_request_that_may_be_on_its_way(
	void **state)
{
	struct owner *o = *state;

	o->answers = true;
	as_service(o);
	hbt_exchange_retire(o->ex);
	event_base_loop(base, EVLOOP_NONBLOCK);
	assert_int_equal(o->closes, 0);
	says(o, plain_request);
	hears(o, response);
	WAIT_CLOSED(o);
	assert_int_equal(o->err.status, HALIBUT_OK);
	WAIT(&o->peer, o->peer.at_end);
}

static void one_that_retires_before_it_knows_its_peer_serves_one_request(
	void **state)
{
	struct owner *o = *state;

	o->answers = true;
	start_accepting(o);
	hbt_exchange_retire(o->ex);
	peer_says_text(&o->peer, PREAMBLE);
	peer_says_text(&o->peer, CLIENT);
	peer_hears_text(&o->peer, SERVER);
	says(o, plain_request);
	hears(o, response);
	WAIT_CLOSED(o);
}

static void next_at_a_retiring_service_gets_no_proceed(void **state)
{
	struct owner *o = *state;

	o->answers = true;
	as_service(o);
	says(o, plain_request);
	hears(o, response);
	o->ex->retiring = true; /* NEXT and retire() cross */
	peer_says_text(&o->peer, NEXT);
	WAIT_CLOSED(o);
	assert_int_equal(o->err.status, HALIBUT_OK);
	WAIT(&o->peer, o->peer.at_end);
	assert_int_equal(o->peer.len, 0);
}

static void a_retiring_service_ends_what_a_client_keeps_idle(void **state)
{
	struct owner *o = *state;

	o->answers = true;
	as_service(o);
	says(o, plain_request);
	hears(o, response);
	WAIT_STATE(o, "waits for NEXT");
	hbt_exchange_retire(o->ex);
	WAIT_CLOSED(o);
	WAIT(&o->peer, o->peer.at_end);
}

static void a_retiring_poller_ends_with_its_turn(void **state)
{
	struct owner *o = *state;

	o->answers = true;
	as_poller(o);
	hbt_exchange_retire(o->ex);
	event_base_loop(base, EVLOOP_NONBLOCK);
	assert_int_equal(o->closes, 0); /* a request may be on its way */
	says(o, plain_request);
	hears(o, response);
	peer_hears_text(&o->peer, END);
	WAIT_CLOSED(o);
	assert_int_equal(o->err.status, HALIBUT_OK);
}

static void a_null_message_is_such_a_turn(void **state)
{
	struct owner *o = *state;

	as_poller(o);
	hbt_exchange_retire(o->ex);
	says_null(o);
	peer_hears_text(&o->peer, END);
	WAIT_CLOSED(o);
}

static void a_poller_that_retires_while_it_dials_ends_at_once(void **state)
{
	struct owner *o = *state;

	start_dialling(o, "poll://sq-test/");
	hbt_exchange_retire(o->ex);
	WAIT_CLOSED(o);
	assert_int_equal(o->identified, 0);
}

/* The sender of a request is not cut off: it is to hear what went wrong. */
static void a_request_is_read_to_its_end_though_nobody_takes_it(void **state)
{
	struct owner *o = *state;

	sinks_fail_after = 3;
	o->answers = true;
	as_service(o);
	says(o, request);
	hears(o, response);
	assert_int_equal(o->sinks_ended, 1);
}

static void a_response_that_nobody_takes_ends_the_connection(void **state)
{
	struct owner *o = *state;

	sinks_fail_after = 3;
	as_client(o);
	WAIT(&o->peer, o->ready == 1);
	ask(o, plain_request);
	hears(o, plain_request);
	says(o, response);
	WAIT_CLOSED(o);
	assert_int_equal(o->err.status, HALIBUT_ESYSTEM);
	assert_int_equal(o->sinks_ended, 1);
}

/* ---- Cut anywhere ---- */

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
	const size_t r = request->deflated_len + section_len;
	const struct step steps[STEPS] = {
		{strlen(PREAMBLE CLIENT), SAY(SERVER)},
		{r, MSG(response)},
		{0, response_section, section_len},
		{strlen(NEXT), SAY(PROCEED)},
		{r, MSG(response)},
		{0, response_section, section_len},
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
		{0, request_section, section_len},
		{response->deflated_len + section_len, SAY(NEXT)},
		{strlen(PROCEED), MSG(request)},
		{0, request_section, section_len},
		{response->deflated_len + section_len, SAY(END)},
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
		{0, request_section, section_len},
		{response->deflated_len + section_len + strlen(NEXT),
	         SAY(PROCEED)},
	};

	(void)state;
	cut_everywhere(steps, "poll://sq-test/", false);
	hbt_message_unref(&null);
}

static void a_polled_server_survives_a_cut_anywhere(void **state)
{
	const size_t r = request->deflated_len + section_len;
	const struct step steps[STEPS] = {
		{0, SAY(PREAMBLE)},
		{0, SAY(SUBSCRIBER)},
		{strlen(SERVER) + r, MSG(response)},
		{0, response_section, section_len},
		{0, SAY(NEXT)},
		{strlen(PROCEED) + r, MSG(response)},
		{0, response_section, section_len},
		{0, SAY(END)},
	};

	(void)state;
	cut_everywhere(steps, "polled", true);
}

static int make_messages(void **state)
{
	if (setup(state) != 0)
		return -1;
	request = make_request("{\"$dataStream\":0}", 1);
	response = make_response("{\"$dataStream\":0}");
	plain_request = make_request("\"Hello\"", 0);
	plain_response = make_response("\"World\"");
	make_section(request, request_section);
	make_section(response, response_section);
	return 0;
}

static int drop_messages(void **state)
{
	hbt_message_unref(&request);
	hbt_message_unref(&response);
	hbt_message_unref(&plain_request);
	hbt_message_unref(&plain_response);
	return teardown(state);
}

#define T(f) cmocka_unit_test_setup_teardown(f, fresh, done)
#define CUT(f) cmocka_unit_test_setup(f, fresh_limits)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(two_calls_of_a_client_read_like_the_transcript),
		T(two_calls_of_a_service_read_like_the_transcript),
		T(a_polling_service_answers_a_null_message_with_next),
		T(a_subscriber_is_fed_request_after_request),
		T(empty_lines_before_control_lines_are_skipped),
		T(a_whole_conversation_may_come_at_once),
		T(the_last_record_of_a_long_message_is_not_tiny),
		T(a_long_message_is_sent_when_it_has_left),
		T(an_idle_subscriber_gets_null_messages),
		T(a_request_during_a_keep_alive_waits_for_its_next),
		T(a_request_that_waits_for_next_can_be_taken_back),
		T(a_request_that_waits_for_proceed_can_be_taken_back),
		T(a_client_waits_for_a_response_only_so_long),
		T(the_rest_of_a_response_has_a_limit_of_its_own),
		T(a_used_connection_has_to_prove_soon_that_it_lives),
		T(a_service_waits_for_the_next_request_only_so_long),
		T(a_client_that_never_says_next_is_let_go_quietly),
		T(a_poller_gives_up_a_server_that_says_nothing),
		T(a_poller_that_does_not_say_next_is_let_go_quietly),
		T(the_opening_has_a_limit_for_all_of_it),
		T(so_has_the_wait_for_admission),
		T(a_client_gets_no_requests),
		T(a_service_gets_no_responses),
		T(a_service_closes_on_a_null_request),
		T(a_null_response_is_no_response),
		T(a_null_response_of_a_poller_fails_the_call),
		T(an_idle_peer_that_speaks_is_let_go),
		T(anything_but_proceed_ends_a_poller),
		T(a_dialler_that_claims_to_be_a_server_gets_one_line),
		T(a_server_that_is_none_is_refused),
		T(damaged_compression_ends_the_exchange),
		T(a_stream_of_another_length_ends_the_exchange),
		T(an_untrusted_peer_hears_nothing),
		T(who_is_not_admitted_hears_nothing),
		T(a_browser_gets_the_friendly_page),
		T(end_is_heard_while_we_execute),
		T(end_is_heard_while_a_subscriber_is_idle),
		T(end_is_heard_instead_of_next_after_a_null_message),
		T(end_instead_of_a_response_breaks_the_call),
		T(a_peer_that_leaves_while_we_execute_is_noticed),
		T(a_peer_that_leaves_behind_its_mx_is_noticed),
		T(a_server_that_leaves_without_a_word_may_not_trust_us),
		T(one_that_resets_the_connection_neither),
		T(one_that_has_spoken_does_trust_us),
		T(an_aborted_exchange_tells_so_from_the_loop),
		T(idle_connections_end_in_good_order_others_at_once),
		T(an_exchange_shows_the_call_that_it_carries),
		T(a_stranger_is_not_known),
		T(whoever_wants_to_know_hears_why_an_exchange_ended),
		T(an_end_of_ours_can_be_explained_once),
		T(a_retiring_service_answers_the_request_that_may_be_on_its_way),
		T(one_that_retires_before_it_knows_its_peer_serves_one_request),
		T(next_at_a_retiring_service_gets_no_proceed),
		T(a_retiring_service_ends_what_a_client_keeps_idle),
		T(a_retiring_poller_ends_with_its_turn),
		T(a_null_message_is_such_a_turn),
		T(a_poller_that_retires_while_it_dials_ends_at_once),
		T(a_request_is_read_to_its_end_though_nobody_takes_it),
		T(a_response_that_nobody_takes_ends_the_connection),
		CUT(a_client_survives_a_cut_anywhere),
		CUT(a_service_survives_a_cut_anywhere),
		CUT(a_poller_survives_a_cut_anywhere),
		CUT(a_polled_server_survives_a_cut_anywhere),
	};

	return cmocka_run_group_tests(tests, make_messages, drop_messages);
}
