#include "harness.h"

#include "base/timespan.h"

struct harness h;

static struct event *alarm_event;
static bool late, idle_over;

static void hear(void *arg, enum hbt_log_level level, const char *line)
{
	(void)arg;
	if (level == HBT_LOG_WARNING || level == HBT_LOG_ERROR) {
		h.warnings++;
		snprintf(h.warning, sizeof(h.warning), "%s", line);
	} else if (level == HBT_LOG_INFO) {
		h.infos++;
		snprintf(h.info, sizeof(h.info), "%s", line);
	}
	if (getenv("HBT_TEST_VERBOSE") != NULL)
		fprintf(stderr, "# %s\n", line);
}

static void on_alarm(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	*(bool *)arg = true;
}

int harness_start(void **state)
{
	(void)state;
	memset(&h, 0, sizeof(h));
	h.base = event_base_new();
	alarm_event = evtimer_new(h.base, on_alarm, &late);
	hbt_log_set_sink(hear, NULL);
	return h.base != NULL && alarm_event != NULL ? 0 : -1;
}

int harness_stop(void **state)
{
	(void)state;
	hbt_redis_free(&h.redis);
	harness_settle();
	event_free(alarm_event);
	event_base_free(h.base);
	hbt_log_set_sink(NULL, NULL);
	return 0;
}

struct hbt_redis_options harness_options(const char *url)
{
	struct hbt_redis_options o;
	struct halibut_error err = {0};

	hbt_redis_options_init(&o);
	if (hbt_redis_options_parse(&o, url, &err) != HALIBUT_OK)
		fail_msg("%s: %s", url, err.message);
	o.reconnect_min_ms = 20;
	o.reconnect_max_ms = 100;
	return o;
}

void harness_connect_with(struct hbt_redis_options *o)
{
	struct halibut_error err = {0};

	if (hbt_redis_new(&h.redis, h.base, NULL, o, &err) != HALIBUT_OK)
		fail_msg("%s", err.message);
	hbt_redis_options_fini(o);
}

void harness_connect(const char *url)
{
	struct hbt_redis_options o = harness_options(url);

	harness_connect_with(&o);
}

void harness_arm(void)
{
	const struct timeval tv = {DEADLINE_MS / 1000, 0};

	late = false;
	event_add(alarm_event, &tv);
}

void harness_disarm(void)
{
	event_del(alarm_event);
}

void harness_turn(const char *what)
{
	if (late)
		fail_msg("waited too long for: %s (last warning: %s)", what,
		         h.warning);
	event_base_loop(h.base, EVLOOP_ONCE);
}

void harness_settle(void)
{
	for (int i = 0; i < 5; i++)
		event_base_loop(h.base, EVLOOP_NONBLOCK);
}

void harness_idle(int ms)
{
	const struct timeval tv = {ms / 1000, ms % 1000 * 1000};
	struct event *e = evtimer_new(h.base, on_alarm, &idle_over);

	idle_over = false;
	event_add(e, &tv);
	while (!idle_over)
		event_base_loop(h.base, EVLOOP_ONCE);
	event_free(e);
}

bool harness_is_up(void)
{
	struct hbt_redis_state s;

	hbt_redis_state(h.redis, &s);
	return s.commands_up && s.subscriber_up;
}

static void put(struct outcome *o, const char *text)
{
	size_t n = strlen(o->text);

	snprintf(o->text + n, sizeof(o->text) - n, "%s ", text);
}

static void put_reply(struct outcome *o, const redisReply *r)
{
	char number[32];

	switch (r->type) {
	case REDIS_REPLY_INTEGER:
		snprintf(number, sizeof(number), "%lld", r->integer);
		put(o, number);
		break;
	case REDIS_REPLY_ARRAY:
		for (size_t i = 0; i < r->elements; i++)
			put_reply(o, r->element[i]);
		break;
	case REDIS_REPLY_NIL:
		put(o, "nil");
		break;
	default:
		put(o, r->str);
	}
}

void harness_done(void *arg, redisReply **replies, size_t n,
                  const struct halibut_error *err)
{
	struct outcome *o = arg;

	assert_false(o->done);
	o->done = true;
	o->n = n;
	o->at_ms = hbt_now_ms();
	if (err != NULL) {
		assert_null(replies);
		o->status = err->status;
		snprintf(o->text, sizeof(o->text), "%s", err->message);
		return;
	}
	for (size_t i = 0; i < n; i++)
		put_reply(o, replies[i]);
}

void harness_send(struct outcome *out, int64_t window_ms, const char *format,
                  ...)
{
	struct hbt_redis_batch *b = hbt_redis_batch_new(h.redis);
	char *command = NULL;
	va_list ap;

	memset(out, 0, sizeof(*out));
	va_start(ap, format);
	if (vasprintf(&command, format, ap) < 0)
		command = NULL;
	va_end(ap);
	hbt_redis_batch_add(b, command);
	free(command);
	hbt_redis_batch_send(b, window_ms, harness_done, out);
	assert_false(out->done); /* never from inside */
}

static struct ear *ear_of(struct hbt_redis_listener *l)
{
	return (struct ear *)(void *)((char *)l - offsetof(struct ear, l));
}

static void on_message(struct hbt_redis_listener *l, const char *channel,
                       const char *payload, size_t len)
{
	struct ear *e = ear_of(l);

	e->messages++;
	snprintf(e->channel, sizeof(e->channel), "%s", channel);
	snprintf(e->payload, sizeof(e->payload), "%.*s", (int)len, payload);
	if (e->hook != NULL)
		e->hook(e);
}

static void on_established(struct hbt_redis_listener *l)
{
	struct ear *e = ear_of(l);

	e->established++;
	assert_true(hbt_redis_is_established(l));
	if (e->hook != NULL)
		e->hook(e);
}

static void on_refused(struct hbt_redis_listener *l, const char *why)
{
	struct ear *e = ear_of(l);

	e->refused++;
	snprintf(e->why, sizeof(e->why), "%s", why);
}

void ear_open(struct ear *e, const char *channel, bool pattern)
{
	e->l.message = on_message;
	e->l.established = on_established;
	e->l.refused = on_refused;
	assert_int_equal(hbt_redis_listen(h.redis, &e->l, channel, pattern), 0);
}

void harness_works(void)
{
	static struct ear ear;
	struct outcome out = {0};
	struct hbt_redis_batch *b;

	memset(&ear, 0, sizeof(ear));
	ear_open(&ear, "app:HalibutRedis:channel:x", false);
	AWAIT(ear.established > 0);
	b = hbt_redis_batch_new(h.redis);
	hbt_redis_batch_add(b, "SET app:HalibutRedis:string:x %b", "a\0b",
	                    (size_t)3);
	hbt_redis_batch_add(b, "EXPIRE app:HalibutRedis:string:x %d", 60);
	hbt_redis_batch_publish(b, "app:HalibutRedis:channel:x", "{}", 2);
	hbt_redis_batch_send(b, 20000, harness_done, &out);
	AWAIT(out.done);
	if (out.status != 0)
		fail_msg("%s", out.text);
	AWAIT(ear.messages == 1);
	hbt_redis_unlisten(h.redis, &ear.l);
}

void harness_fails_with(const char *one, const char *two)
{
	struct outcome out;

	harness_send(&out, 0, "PING");
	AWAIT(out.done);
	assert_int_not_equal(out.status, 0);
	if (strstr(out.text, one) == NULL || strstr(out.text, two) == NULL)
		fail_msg("'%s' and '%s' are not both in: %s", one, two,
		         out.text);
	assert_int_equal(h.warnings, 1);
}
