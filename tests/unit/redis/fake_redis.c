#include "fake_redis.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void hang_up(struct fake_conn *c)
{
	if (c->fd < 0)
		return;
	event_free(c->in);
	event_free(c->out);
	evbuffer_free(c->text);
	redisReaderFree(c->reader);
	close(c->fd);
	c->fd = -1;
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct fake_conn *c = arg;
	struct fake *f = c->fake;
	size_t have = evbuffer_get_length(c->text);
	size_t n = f->dribble && have > 0 ? 1 : have;

	(void)what;
	if (f->cut >= 0 && (long)n > f->cut)
		n = (size_t)f->cut;
	if (n > 0 && evbuffer_write_atmost(c->text, fd, (ev_ssize_t)n) < 0)
		n = 0;
	if (f->cut >= 0 && (f->cut -= (long)n) == 0) {
		f->cut = -1;
		hang_up(c);
	} else if (evbuffer_get_length(c->text) > 0) {
		event_add(c->out, NULL);
	}
}

void fake_say(struct fake_conn *c, const char *format, ...)
{
	va_list ap;

	if (c->fd < 0 || c->fake->mute)
		return;
	va_start(ap, format);
	evbuffer_add_vprintf(c->text, format, ap);
	va_end(ap);
	event_add(c->out, NULL);
}

static bool starts(const char *line, const char *with)
{
	return strncmp(line, with, strlen(with)) == 0;
}

static bool log_in(struct fake_conn *c, const char *line)
{
	if (strcmp(line, "ROLE") == 0)
		fake_say(c, "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
	else if (starts(line, "AUTH") || starts(line, "SELECT") ||
	         starts(line, "CLIENT"))
		fake_say(c, "+OK\r\n");
	else if (strcmp(line, "PING") != 0)
		return false;
	else if (c->subscriber)
		fake_say(c, "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
	else
		fake_say(c, "+PONG\r\n");
	return true;
}

static bool subscribe(struct fake_conn *c, const char *line)
{
	char *copy = strdup(line), *rest = copy, *verb, *name;

	verb = strsep(&rest, " ");
	if (strstr(verb, "SUBSCRIBE") == NULL) {
		free(copy);
		return false;
	}
	c->subscriber = true;
	for (char *p = verb; *p != '\0'; p++)
		*p = (char)(*p + ('a' - 'A'));
	while ((name = strsep(&rest, " ")) != NULL)
		fake_say(c, "*3\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n:1\r\n",
		         strlen(verb), verb, strlen(name), name);
	free(copy);
	return true;
}

static void run(struct fake_conn *c, const redisReply *r)
{
	struct fake *f = c->fake;
	static char line[1 << 16];
	size_t n = 0, len = strlen(f->log);

	line[0] = '\0';
	for (size_t i = 0; i < r->elements && n < sizeof(line); i++)
		n += (size_t)snprintf(line + n, sizeof(line) - n, "%s%s",
		                      i > 0 ? " " : "", r->element[i]->str);
	f->pings += strcmp(line, "PING") == 0;
	if (!f->raw && log_in(c, line))
		return;
	snprintf(f->log + len, sizeof(f->log) - len, "%s\n", line);
	if (!f->raw && subscribe(c, line))
		return;
	if (f->answer != NULL)
		f->answer(c, line);
	else
		fake_say(c, "+OK\r\n");
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct fake_conn *c = arg;
	static char buf[1 << 18];
	ssize_t n = read(fd, buf, sizeof(buf));
	void *r = NULL;

	(void)what;
	if (n <= 0) {
		hang_up(c);
		return;
	}
	redisReaderFeed(c->reader, buf, (size_t)n);
	while (c->fd == fd &&
	       redisReaderGetReply(c->reader, &r) == REDIS_OK && r != NULL) {
		run(c, r);
		freeReplyObject(r);
	}
}

static void on_accept(struct evconnlistener *l, evutil_socket_t fd,
                      struct sockaddr *a, int len, void *arg)
{
	struct fake *f = arg;
	struct fake_conn *c = f->conns;

	(void)l;
	(void)a;
	(void)len;
	while (c->fd >= 0)
		c++;
	assert_true(c < f->conns + FAKE_CONNS);
	f->accepted++;
	*c = (struct fake_conn){.fake = f, .fd = fd};
	c->in = event_new(h.base, fd, EV_READ | EV_PERSIST, on_readable, c);
	c->out = event_new(h.base, fd, EV_WRITE, on_writable, c);
	c->text = evbuffer_new();
	c->reader = redisReaderCreate();
	event_add(c->in, NULL);
}

void fake_listen(struct fake *f, bool on)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	if (!on) {
		fake_hang_up(f);
		if (f->listener != NULL)
			evconnlistener_free(f->listener);
		f->listener = NULL;
		unlink(f->socket);
		return;
	}
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", f->socket);
	f->listener = evconnlistener_new_bind(
		h.base, on_accept, f, LEV_OPT_CLOSE_ON_FREE, 64,
		(struct sockaddr *)&a, sizeof(a));
	assert_non_null(f->listener);
}

void fake_open(struct fake *f)
{
	memset(f, 0, sizeof(*f));
	f->cut = -1;
	for (int i = 0; i < FAKE_CONNS; i++)
		f->conns[i].fd = -1;
	snprintf(f->dir, sizeof(f->dir), "/tmp/halibut-redis-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->socket, sizeof(f->socket), "%s/socket", f->dir);
	snprintf(f->url, sizeof(f->url), "unix://%s", f->socket);
	fake_listen(f, true);
}

void fake_hang_up(struct fake *f)
{
	for (int i = 0; i < FAKE_CONNS; i++)
		hang_up(&f->conns[i]);
}

void fake_close(struct fake *f)
{
	fake_listen(f, false);
	rmdir(f->dir);
}

struct fake_conn *fake_subscriber(struct fake *f)
{
	for (int i = 0; i < FAKE_CONNS; i++)
		if (f->conns[i].fd >= 0 && f->conns[i].subscriber)
			return &f->conns[i];
	return NULL;
}

int fake_count(const struct fake *f, const char *text)
{
	int n = 0;

	for (const char *p = f->log; (p = strstr(p, text)) != NULL; p++)
		n++;
	return n;
}
