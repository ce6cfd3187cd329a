#include "harness.h"

#include <signal.h>

struct event_base *base;
struct hbt_tls *server_tls, *client_tls;
struct hbt_limits limits;
static struct event *tick;

static void side_opened(void *arg)
{
	struct side *s = arg;

	s->opened++;
	if (s->on_opened != NULL)
		s->on_opened(s);
}

static size_t side_input(void *arg, const uint8_t *data, size_t len)
{
	struct side *s = arg;
	size_t n = len < s->take ? len : s->take;

	assert_int_equal(s->failures, 0);
	if (!s->keep_none) {
		s->data = realloc(s->data, s->len + n + 1);
		memcpy(s->data + s->len, data, n);
		s->data[s->len + n] = '\0';
	}
	s->len += n;
	s->calls++;
	if (s->on_input != NULL)
		s->on_input(s);
	return n;
}

static void side_drained(void *arg)
{
	struct side *s = arg;

	s->drains++;
	if (s->on_drained != NULL)
		s->on_drained(s);
}

static void side_eof(void *arg)
{
	struct side *s = arg;

	s->eofs++;
	if (s->on_eof != NULL)
		s->on_eof(s);
}

static void side_failed(void *arg, const struct halibut_error *err)
{
	struct side *s = arg;

	s->failures++;
	hbt_error_copy(&s->err, err);
	if (s->on_failed != NULL)
		s->on_failed(s);
}

static void side_step(void *arg, enum hbt_conn_step step, const char *address,
                      int error)
{
	struct side *s = arg;
	size_t n = strlen(s->steps);

	assert_true(address[0] != '\0');
	assert_true((error != 0) == (step == HBT_STEP_UNREACHED));
	if (n + 1 < sizeof(s->steps))
		s->steps[n] = "cupt"[step];
}

const struct hbt_conn_ops side_ops = {
	.opened = side_opened,
	.input = side_input,
	.drained = side_drained,
	.eof = side_eof,
	.failed = side_failed,
	.step = side_step,
};

void side_init(struct side *s)
{
	*s = (struct side){.take = SIZE_MAX};
}

void side_fini(struct side *s)
{
	hbt_conn_close(&s->conn, false);
	halibut_error_clear(&s->err);
	free(s->data);
	side_init(s);
}

void some_turns(void)
{
	int i;

	for (i = 0; i < 5; i++)
		event_base_loop(base, EVLOOP_NONBLOCK);
}

static void do_tick(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

void start_server(struct side *s, int fd)
{
	assert_int_equal(hbt_conn_accept(&s->conn, base, server_tls, &limits,
	                                 fd, &side_ops, s),
	                 0);
}

void start_client(struct side *c, const struct hbt_dial *dial)
{
	assert_int_equal(hbt_conn_dial(&c->conn, base, NULL, client_tls,
	                               &limits, dial, &side_ops, c),
	                 0);
}

struct hbt_dial dial_to(uint16_t port)
{
	return (struct hbt_dial){.host = "127.0.0.1",
	                         .port = port,
	                         .url = "https://127.0.0.1/",
	                         .connect_timeout_ms = 10000};
}

void start_pair(struct side *c, struct side *s)
{
	uint16_t port;
	int listener = listen_on_loopback(&port, 1), fd, small = 65536;
	struct hbt_dial dial = dial_to(port);

	/* Inherited by what is accepted: what a stopped reader leaves in the
	 * kernel stays below what the tests send. */
	setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	start_client(c, &dial);
	fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);
	start_server(s, fd);
	close(listener);
}

void open_pair(struct side *c, struct side *s)
{
	start_pair(c, s);
	WAIT(c->opened && s->opened);
}

int setup(void **state)
{
	static const struct timeval often = {.tv_usec = 20000};
	char *cert, *key;
	int i;

	(void)state;
	signal(SIGPIPE, SIG_DFL); /* nothing may raise it */
	base = event_base_new();
	tick = event_new(base, -1, EV_PERSIST, do_tick, NULL);
	event_add(tick, &often);
	for (i = 0; i < 2; i++) {
		hbt_tls_self_signed(i == 0 ? "server" : "client", 2048, 10,
		                    &cert, &key, NULL);
		hbt_tls_new(i == 0 ? &server_tls : &client_tls, cert, key,
		            NULL);
		free(cert);
		free(key);
	}
	return server_tls == NULL || client_tls == NULL;
}

int teardown(void **state)
{
	(void)state;
	hbt_tls_free(&server_tls);
	hbt_tls_free(&client_tls);
	event_free(tick);
	event_base_free(base);
	return 0;
}

int fresh_limits(void **state)
{
	(void)state;
	hbt_limits_init(&limits);
	return 0;
}
