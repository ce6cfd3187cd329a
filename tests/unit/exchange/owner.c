#include "owner.h"

#include <sys/socket.h>
#include <unistd.h>

#include "runtime/streams.h"
#include "runtime/value.h"
#include "wire/compose.h"
#include "wire/flow.h"
#include "wire/reader.h"
#include "wire/writer.h"
#include "../loopback.h"

struct hbt_message *request, *response, *plain_request, *plain_response;
uint8_t request_section[SECTION_LEN], response_section[SECTION_LEN];
int64_t sinks_fail_after = -1;

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

struct hbt_message *make_request(const char *json, size_t n_streams)
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
	b->left = SECTION_LEN;
	return &b->base;
}

struct sink {
	struct hbt_sink base;
	struct owner *o;
	int64_t fails_after; /* so many bytes; -1: never */
};

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

void ask(struct owner *o, struct hbt_message *m)
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

void owner_init(struct owner *o)
{
	memset(o, 0, sizeof(*o));
	assert_int_equal(hbt_exchange_env_init(&o->env, base, &limits), 0);
}

void start_accepting(struct owner *o)
{
	int dialler, acceptor;

	bare_pair(&dialler, &acceptor);
	peer_init(&o->peer, dialler, false);
	assert_int_equal(hbt_exchange_accept(&o->ex, &o->env, ours, acceptor,
	                                     &ops, o),
	                 0);
}

void start_dialling(struct owner *o, const char *subscription)
{
	struct hbt_dial dial = {.host = "127.0.0.1",
	                        .thumbprint = theirs->thumbprint,
	                        .url = "https://127.0.0.1/",
	                        .connect_timeout_ms = 10000};
	int listener = listen_on_loopback(&dial.port, 1), fd;

	assert_int_equal(hbt_exchange_dial(&o->ex, &o->env, NULL, ours, &dial,
	                                   subscription, &ops, o),
	                 0);
	fd = accept(listener, NULL, NULL);
	close(listener);
	assert_true(fd >= 0);
	peer_init(&o->peer, fd, true);
}

void owner_fini(struct owner *o)
{
	hbt_exchange_free(&o->ex);
	peer_fini(&o->peer);
	event_base_loop(base, EVLOOP_NONBLOCK);
	hbt_exchange_env_fini(&o->env);
	halibut_error_clear(&o->err);
	assert_int_equal(o->sinks, o->sinks_ended);
}

int fresh_limits(void **state)
{
	(void)state;
	hbt_limits_init(&limits);
	sinks_fail_after = -1;
	return 0;
}

int fresh(void **state)
{
	static struct owner o;

	fresh_limits(state);
	owner_init(&o);
	*state = &o;
	return 0;
}

int done(void **state)
{
	owner_fini(*state);
	return 0;
}

void says(struct owner *o, const struct hbt_message *m)
{
	peer_says(&o->peer, m->deflated, m->deflated_len);
	if (m->env.n_streams > 0)
		peer_says(&o->peer,
		          m == request ? request_section : response_section,
		          SECTION_LEN);
}

void hears(struct owner *o, const struct hbt_message *m)
{
	peer_hears(&o->peer, m->deflated, m->deflated_len);
	if (m->env.n_streams > 0)
		peer_hears(&o->peer,
		           m == request ? request_section : response_section,
		           SECTION_LEN);
}

void hears_null(struct owner *o)
{
	struct hbt_message *null = hbt_message_null();

	peer_hears(&o->peer, null->deflated, null->deflated_len);
	hbt_message_unref(&null);
}

void says_null(struct owner *o)
{
	struct hbt_message *null = hbt_message_null();

	peer_says(&o->peer, null->deflated, null->deflated_len);
	hbt_message_unref(&null);
}

const char *state_of(const struct owner *o)
{
	return o->ex == NULL ? "gone" : hbt_exchange_state_text(o->ex);
}

void as_client(struct owner *o)
{
	start_dialling(o, NULL);
	peer_skips(&o->peer, strlen(PREAMBLE CLIENT));
	peer_says_text(&o->peer, SERVER);
	WAIT(&o->peer, o->identified == 1);
}

void as_service(struct owner *o)
{
	start_accepting(o);
	peer_says_text(&o->peer, PREAMBLE);
	peer_says_text(&o->peer, CLIENT);
	peer_hears_text(&o->peer, SERVER);
}

void as_poller(struct owner *o)
{
	start_dialling(o, "poll://sq-test/");
	peer_skips(&o->peer, strlen(PREAMBLE SUBSCRIBER));
	peer_says_text(&o->peer, SERVER);
	WAIT_STATE(o, "waits for a message");
}

void as_polled(struct owner *o)
{
	start_accepting(o);
	peer_says_text(&o->peer, PREAMBLE);
	peer_says_text(&o->peer, SUBSCRIBER);
	peer_hears_text(&o->peer, SERVER);
}

void ask_once_ready(struct owner *o, struct hbt_message *m)
{
	WAIT(&o->peer, o->ready == 1);
	ask(o, m);
	hears(o, m);
}

void expect_close(struct owner *o, enum halibut_status status)
{
	WAIT_CLOSED(o);
	if (o->err.status != status)
		fail_msg("it closed with %s (%s), not %s",
		         halibut_status_name(o->err.status),
		         o->err.message != NULL ? o->err.message : "",
		         halibut_status_name(status));
}

int setup(void **state)
{
	(void)state;
	if (peers_start() != 0)
		return -1;
	request = make_request("{\"$dataStream\":0}", 1);
	response = make_response("{\"$dataStream\":0}");
	plain_request = make_request("\"Hello\"", 0);
	plain_response = make_response("\"World\"");
	make_section(request, request_section);
	make_section(response, response_section);
	return 0;
}

int teardown(void **state)
{
	(void)state;
	hbt_message_unref(&request);
	hbt_message_unref(&response);
	hbt_message_unref(&plain_request);
	hbt_message_unref(&plain_response);
	peers_stop();
	return 0;
}
