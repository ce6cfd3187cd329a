/* Bytes out, replies in, and what time does to a connection. */
#include "redis/link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/timespan.h"
#include "redis/link_int.h"
#include "redis/remedy.h"

#define FULL_AT (16u << 20)    /* bytes that wait to be written */
#define DRAINED_AT (4u << 20)
#define MAX_REPLY (520u << 20) /* a value of the largest size, and some */
#define MAX_ELEMENTS 1000000
#define READ_AT_ONCE (256u << 10)
#define FEED_AT_ONCE (64u << 10)

void link_enter(struct hbt_link *l)
{
	l->depth++;
}

static void dispose(struct hbt_link *l)
{
	if (l->timer != NULL)
		event_free(l->timer);
	if (l->turn != NULL)
		event_free(l->turn);
	if (l->out != NULL)
		evbuffer_free(l->out);
	if (l->reader != NULL)
		redisReaderFree(l->reader);
	free(l->host);
	free(l->unix_path);
	halibut_error_clear(&l->why);
	free(l);
}

bool link_leave(struct hbt_link *l)
{
	if (--l->depth > 0 || !l->freed)
		return !l->freed;
	dispose(l);
	return false;
}

static void hang_up(struct hbt_link *l)
{
	link_dial_fini(l);
	if (l->readable != NULL)
		event_free(l->readable);
	l->readable = NULL;
	if (l->bev != NULL)
		bufferevent_free(l->bev);
	l->bev = NULL;
	if (l->timer != NULL)
		event_del(l->timer);
}

static void flush(struct hbt_link *l);

void hbt_link_free(struct hbt_link **link)
{
	struct hbt_link *l = *link;

	*link = NULL;
	if (l == NULL)
		return;
	l->freed = true;
	/* What was asked for in this turn still goes out, if it can. */
	if (l->state != LINK_DOWN && l->bev != NULL)
		flush(l);
	hang_up(l);
	if (l->turn != NULL)
		event_del(l->turn);
	if (l->depth == 0)
		dispose(l);
}

static void end_of_turn(struct hbt_link *l)
{
	event_active(l->turn, EV_TIMEOUT, 0);
}

void link_fail(struct hbt_link *l, int status, const char *fmt, ...)
{
	char text[768];
	va_list ap;

	if (l->state == LINK_DOWN)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	hbt_error_set(&l->why, status, "%s %s: %s",
	              l->config.kind == HBT_LINK_SENTINEL ? "Redis sentinel"
	                                                  : "Redis at",
	              l->name, text);
	l->state = LINK_DOWN;
	hang_up(l);
	end_of_turn(l);
}

/* ---- Time ---- */

void link_arm(struct hbt_link *l, int64_t due)
{
	int64_t ms = due - hbt_now_ms();
	struct timeval tv;

	if (ms < 1)
		ms = 1;
	tv.tv_sec = ms / 1000;
	tv.tv_usec = (ms % 1000) * 1000;
	l->timer_due = due;
	if (event_add(l->timer, &tv) != 0)
		link_fail(l, HALIBUT_ESYSTEM, "out of memory");
}

static size_t left_to_write(const struct hbt_link *l)
{
	size_t n = evbuffer_get_length(l->out);

	if (l->bev != NULL)
		n += evbuffer_get_length(bufferevent_get_output(l->bev));
	return n;
}

static void send_ping(struct hbt_link *l)
{
	struct hbt_text *t = NULL;

	hbt_text_add(&t, "PING");
	l->pinging = true;
	hbt_link_write(l, t);
	hbt_text_unref(&t);
}

/*
 * A long value on its way is progress; that the kernel took some commands for
 * a server that hangs is none.
 */
static void note_written(struct hbt_link *l, size_t left, int64_t now)
{
	uint64_t written = l->bytes_out - left;

	if (written != l->written && (l->backlog || left > 0))
		l->progress_ms = now;
	l->written = written;
	l->backlog = left > 0;
}

/* Nothing is re-armed a command: the timer looks how things are. */
static void watch(struct hbt_link *l)
{
	const struct hbt_redis_options *o = l->config.options;
	int64_t now = hbt_now_ms(), due;
	size_t left = left_to_write(l);

	note_written(l, left, now);
	if (l->awaiting > 0 || left > 0) {
		due = l->progress_ms + o->command_timeout_ms;
		if (now >= due) {
			link_fail(l, HALIBUT_ETIMEOUT,
			          "no answer within %lld ms; is the server "
			          "overloaded or stopped, or the network cut? "
			          "(syncTimeout)",
			          (long long)o->command_timeout_ms);
			return;
		}
	} else {
		due = l->progress_ms + o->keep_alive_ms;
		if (now >= due) {
			send_ping(l);
			due = now + o->command_timeout_ms;
		}
	}
	if (l->state != LINK_DOWN)
		link_arm(l, due);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_link *l = arg;

	(void)fd;
	(void)what;
	link_enter(l);
	if (l->state == LINK_DIALLING)
		link_dial_timeout(l);
	else if (l->state == LINK_LOGIN)
		link_fail(l, HALIBUT_ETIMEOUT,
		          "connected, but no answer within %lld ms; is it a "
		          "Redis server, and does it expect TLS (rediss://, "
		          "ssl=true)?",
		          (long long)l->config.options->connect_timeout_ms);
	else if (l->state == LINK_UP)
		watch(l);
	link_leave(l);
}

/* ---- Out ---- */

void hbt_link_expect(struct hbt_link *l, size_t more)
{
	int64_t due;

	if (l->awaiting == 0 && l->state == LINK_UP) {
		l->progress_ms = hbt_now_ms();
		due = l->progress_ms + l->config.options->command_timeout_ms;
		if (l->timer_due > due)
			link_arm(l, due);
	}
	l->awaiting += more;
}

void hbt_link_unexpect(struct hbt_link *l, size_t less)
{
	l->awaiting -= less < l->awaiting ? less : l->awaiting;
}

void hbt_link_write(struct hbt_link *l, struct hbt_text *text)
{
	if (l->state == LINK_DOWN)
		return;
	if (text == NULL || !hbt_text_write(text, l->out)) {
		link_fail(l, HALIBUT_ESYSTEM, "out of memory");
		return;
	}
	l->bytes_out += text->len;
	hbt_link_expect(l, text->commands);
	if (evbuffer_get_length(l->out) == text->len)
		end_of_turn(l);
}

bool hbt_link_is_full(const struct hbt_link *l)
{
	bool full = left_to_write(l) >= FULL_AT;

	if (full)
		((struct hbt_link *)l)->full = true;
	return full;
}

/*
 * A server that turns us away says why and hangs up, perhaps before we wrote
 * anything: that is worth more than our broken pipe.
 */
static void fail_write(struct hbt_link *l, int error)
{
	char said[256];
	ssize_t n = recv(bufferevent_getfd(l->bev), said, sizeof(said) - 1,
	                 MSG_DONTWAIT);

	if (n <= 1 || said[0] != '-') {
		link_fail(l, HALIBUT_ESYSTEM, "the connection was lost: %s",
		          strerror(error));
		return;
	}
	said[n] = '\0';
	said[strcspn(said, "\r\n")] = '\0';
	link_fail(l, HALIBUT_ESYSTEM, "%.*s%s", hbt_redis_said(said + 1),
	          said + 1, hbt_redis_remedy(said + 1));
}

/* One writev() now; what the socket does not take waits for it. TLS has its
 * own ways. */
static void flush(struct hbt_link *l)
{
	struct evbuffer *waiting = bufferevent_get_output(l->bev);
	bool plain = l->config.tls == NULL;

	if (evbuffer_get_length(l->out) == 0)
		return;
	if (plain && evbuffer_get_length(waiting) == 0 &&
	    evbuffer_write(l->out, bufferevent_getfd(l->bev)) < 0 &&
	    errno != EAGAIN && errno != EINTR) {
		fail_write(l, errno);
		return;
	}
	if (evbuffer_get_length(l->out) > 0 &&
	    evbuffer_add_buffer(waiting, l->out) != 0)
		link_fail(l, HALIBUT_ESYSTEM, "out of memory");
	if (evbuffer_get_length(waiting) >= (plain ? 1 : READ_AT_ONCE))
		l->backlog = true;
}

static void tell_drained(struct hbt_link *l)
{
	if (!l->full || l->state != LINK_UP || left_to_write(l) >= FULL_AT)
		return;
	l->full = false;
	l->ops->drained(l->arg);
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_link *l = arg;

	(void)fd;
	(void)what;
	link_enter(l);
	if (l->state != LINK_DOWN && l->bev != NULL) {
		flush(l);
		/* All of it may be gone: on_written() is not called then. */
		tell_drained(l);
	}
	if (l->state == LINK_DOWN && l->ops != NULL) {
		const struct hbt_link_ops *ops = l->ops;

		l->ops = NULL;
		ops->down(l->arg, &l->why);
	}
	link_leave(l);
}

static void on_written(struct bufferevent *bev, void *arg)
{
	struct hbt_link *l = arg;

	(void)bev;
	if (l->state == LINK_DOWN)
		return;
	link_enter(l);
	tell_drained(l);
	link_leave(l);
}

/* ---- In ---- */

static bool is_pong(const struct hbt_link *l, const redisReply *r)
{
	if (l->config.kind != HBT_LINK_SUBSCRIBER ||
	    r->type != REDIS_REPLY_ARRAY)
		return true; /* replies come in order */
	return r->elements == 2 && r->element[0]->type == REDIS_REPLY_STRING &&
	       strcmp(r->element[0]->str, "pong") == 0;
}

static void take_reply(struct hbt_link *l, redisReply *r)
{
	if (l->state == LINK_LOGIN) {
		hbt_link_unexpect(l, 1);
		link_login_reply(l, r);
		freeReplyObject(r);
	} else if (l->pinging && is_pong(l, r)) {
		l->pinging = false;
		hbt_link_unexpect(l, 1);
		if (r->type == REDIS_REPLY_ERROR &&
		    hbt_redis_is_wrong_server(r->str))
			link_fail(l, HALIBUT_ESYSTEM, "%.*s%s",
			          hbt_redis_said(r->str), r->str,
			          hbt_redis_remedy(r->str));
		freeReplyObject(r);
	} else {
		if (l->config.kind != HBT_LINK_SUBSCRIBER)
			hbt_link_unexpect(l, 1);
		l->ops->reply(l->arg, r);
	}
}

static bool take_replies(struct hbt_link *l)
{
	void *reply = NULL;

	while (!l->freed && l->state != LINK_DOWN) {
		if (redisReaderGetReply(l->reader, &reply) != REDIS_OK) {
			link_fail(l, HALIBUT_ESYSTEM,
			          "it does not speak the Redis protocol: %s",
			          l->reader->errstr);
			break;
		}
		if (reply == NULL)
			return true;
		take_reply(l, reply);
	}
	return false;
}

/* Some of the server's bytes. False: the link is down, or freed. */
static bool feed(struct hbt_link *l, const void *data, size_t n)
{
	if (redisReaderFeed(l->reader, data, n) != REDIS_OK) {
		link_fail(l, HALIBUT_ESYSTEM, "out of memory");
		return false;
	}
	l->bytes_in += n;
	if (!take_replies(l))
		return false;
	if (l->reader->len - l->reader->pos > MAX_REPLY) {
		link_fail(l, HALIBUT_ESYSTEM,
		          "a reply is longer than Redis allows");
		return false;
	}
	return true;
}

/* TLS: libevent has read and decrypted. */
static void on_input(struct bufferevent *bev, void *arg)
{
	struct hbt_link *l = arg;
	struct evbuffer *in = bufferevent_get_input(bev);
	struct evbuffer_iovec part;

	if (l->state == LINK_DOWN)
		return;
	link_enter(l);
	l->progress_ms = hbt_now_ms();
	while (evbuffer_peek(in, -1, NULL, &part, 1) > 0) {
		size_t n = part.iov_len < FEED_AT_ONCE ? part.iov_len
		                                       : FEED_AT_ONCE;
		bool goes_on = feed(l, part.iov_base, n);

		evbuffer_drain(in, n);
		if (!goes_on)
			break;
	}
	link_leave(l);
}

/* error: errno, or 0 when the server said that it ends the connection. */
static void ended(struct hbt_link *l, bool by_server, int error)
{
	if (l->config.tls != NULL && l->bytes_in == 0)
		/* With TLS 1.3 ours may be refused after the handshake. */
		link_tls_failed(l);
	else if (l->bytes_in == 0)
		link_fail(l, HALIBUT_ESYSTEM,
		          "the server ended the connection before it "
		          "answered%s%s; does it expect TLS (rediss://, "
		          "ssl=true)?",
		          error != 0 ? ": " : "",
		          error != 0 ? strerror(error) : "");
	else if (by_server)
		link_fail(l, HALIBUT_ESYSTEM,
		          "the server closed the connection");
	else
		link_fail(l, HALIBUT_ESYSTEM, "the connection was lost: %s",
		          error != 0 ? strerror(error) : "TLS failed");
}

/* No TLS: one recv(), from where hiredis takes it. */
static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	static uint8_t scratch[FEED_AT_ONCE];
	struct hbt_link *l = arg;
	ssize_t n = recv(fd, scratch, sizeof(scratch), MSG_DONTWAIT);

	(void)what;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	link_enter(l);
	if (n > 0) {
		l->progress_ms = hbt_now_ms();
		(void)feed(l, scratch, (size_t)n);
	} else {
		ended(l, n == 0, n < 0 ? errno : 0);
	}
	link_leave(l);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
	struct hbt_link *l = arg;
	/* At an end without an error it is that of something else. */
	int error = what & BEV_EVENT_ERROR ? EVUTIL_SOCKET_ERROR() : 0;

	(void)bev;
	if (l->state == LINK_DOWN)
		return;
	link_enter(l);
	if ((what & BEV_EVENT_CONNECTED) != 0)
		link_login(l);
	else
		ended(l, (what & BEV_EVENT_EOF) != 0, error);
	link_leave(l);
}

/* ---- Beginning ---- */

/* A lying length must not make us allocate. */
#if HIREDIS_MAJOR >= 1
typedef size_t reply_count;
#else
typedef int reply_count;
#endif
static void *(*original_create_array)(const redisReadTask *, reply_count);

static void *create_array(const redisReadTask *task, reply_count n)
{
	return n <= MAX_ELEMENTS ? original_create_array(task, n) : NULL;
}

static bool make_reader(struct hbt_link *l)
{
	if ((l->reader = redisReaderCreate()) == NULL)
		return false;
	l->functions = *l->reader->fn;
	original_create_array = l->functions.createArray;
	l->functions.createArray = create_array;
	l->reader->fn = &l->functions;
	return true;
}

void link_connected(struct hbt_link *l)
{
	bool tls = l->config.tls != NULL;
	int fd = l->fd;

	link_arm(l, l->connect_due);
	if (tls)
		l->bev = link_tls_start(l, fd);
	else
		l->bev = bufferevent_socket_new(l->config.base, fd,
		                                BEV_OPT_CLOSE_ON_FREE);
	if (l->bev == NULL) {
		link_fail(l, HALIBUT_ESYSTEM,
		          "the connection cannot be set up; memory is short, "
		          "or sslHost is no host name");
		return;
	}
	l->fd = -1;
	bufferevent_setcb(l->bev, on_input, on_written, on_event, l);
	bufferevent_setwatermark(l->bev, EV_WRITE, DRAINED_AT, 0);
	bufferevent_set_max_single_read(l->bev, READ_AT_ONCE);
	bufferevent_set_max_single_write(l->bev, READ_AT_ONCE);
	if (!tls)
		l->readable = event_new(l->config.base, fd,
		                        EV_READ | EV_PERSIST, on_readable, l);
	if (bufferevent_enable(l->bev, tls ? EV_READ | EV_WRITE : EV_WRITE) !=
	            0 ||
	    (!tls && (bufferevent_disable(l->bev, EV_READ) != 0 ||
	              l->readable == NULL ||
	              event_add(l->readable, NULL) != 0)))
		link_fail(l, HALIBUT_ESYSTEM, "out of memory");
	else if (!tls)
		link_login(l);
}

void link_login_done(struct hbt_link *l)
{
	l->state = LINK_UP;
	l->progress_ms = hbt_now_ms();
	link_arm(l, l->progress_ms + l->config.options->keep_alive_ms);
	if (l->state == LINK_UP)
		l->ops->up(l->arg);
}

static bool set_server(struct hbt_link *l, const struct hbt_redis_server *s)
{
	if (s->unix_path != NULL) {
		snprintf(l->name, sizeof(l->name), "%s", s->unix_path);
		return (l->unix_path = strdup(s->unix_path)) != NULL;
	}
	snprintf(l->name, sizeof(l->name),
	         strchr(s->host, ':') != NULL ? "[%s]:%u" : "%s:%u", s->host,
	         s->port);
	l->port = s->port;
	return (l->host = strdup(s->host)) != NULL;
}

int hbt_link_new(struct hbt_link **out, const struct hbt_link_config *config,
                 const struct hbt_redis_server *server,
                 const struct hbt_link_ops *ops, void *arg)
{
	struct hbt_link *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return HALIBUT_ENOMEM;
	l->config = *config;
	l->ops = ops;
	l->arg = arg;
	l->fd = -1;
	l->timer = event_new(config->base, -1, 0, on_timer, l);
	l->turn = event_new(config->base, -1, 0, on_turn, l);
	l->out = evbuffer_new();
	if (l->timer == NULL || l->turn == NULL || l->out == NULL ||
	    !make_reader(l) || !set_server(l, server)) {
		dispose(l);
		return HALIBUT_ENOMEM;
	}
	link_enter(l);
	link_dial(l);
	link_leave(l);
	*out = l;
	return HALIBUT_OK;
}

const char *hbt_link_name(const struct hbt_link *l)
{
	return l->name;
}

bool hbt_link_is_up(const struct hbt_link *l)
{
	return l->state == LINK_UP;
}

void hbt_link_take_counts(struct hbt_link *l, uint64_t *in, uint64_t *out)
{
	*in += l->bytes_in - l->told_in;
	*out += l->bytes_out - l->told_out;
	l->told_in = l->bytes_in;
	l->told_out = l->bytes_out;
}
