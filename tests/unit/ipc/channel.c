#include "channel.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"

struct event_base *base;
struct side a, b;
int raw = -1;
static int descriptors_before;

static void on_message(void *arg, struct hbt_ipc_msg *msg)
{
	struct side *s = arg;

	assert_int_equal(s->closed, 0);
	s->messages++;
	s->lost += msg->lost;
	s->type = msg->type;
	s->id = msg->id;
	free(s->data);
	s->data = malloc(msg->len + 1);
	memcpy(s->data, msg->data, msg->len);
	s->len = msg->len;
	if (s->then != NULL)
		s->then(s, msg);
}

static void on_closed(void *arg, const char *why)
{
	struct side *s = arg;

	s->closed++;
	snprintf(s->why, sizeof(s->why), "%s", why);
}

const struct hbt_ipc_ops side_ops = {.message = on_message,
                                     .closed = on_closed};

static void quiet(void *arg, enum hbt_log_level level, const char *line)
{
	(void)arg;
	(void)level;
	(void)line;
}

static void side_init(struct side *s, int fd)
{
	*s = (struct side){.fd = -1};
	if (fd >= 0)
		assert_int_equal(
			hbt_ipc_new(&s->ipc, base, fd, MAX_BODY, &side_ops, s),
			HALIBUT_OK);
}

static void side_fini(struct side *s)
{
	hbt_ipc_free(&s->ipc);
	free(s->data);
	if (s->fd >= 0)
		close(s->fd);
	*s = (struct side){.fd = -1};
}

/* The loop, and the ends of a channel without sides. */
static void begin(int pair[2])
{
	hbt_log_set_sink(quiet, NULL);
	descriptors_before = open_descriptors();
	base = event_base_new();
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
}

int set_up(void **state)
{
	int pair[2];

	(void)state;
	begin(pair);
	side_init(&a, pair[0]);
	side_init(&b, pair[1]);
	return 0;
}

int set_up_raw(void **state)
{
	int pair[2];

	(void)state;
	begin(pair);
	raw = pair[0];
	side_init(&a, -1);
	side_init(&b, pair[1]);
	return 0;
}

int tear_down(void **state)
{
	(void)state;
	side_fini(&a);
	side_fini(&b);
	event_base_free(base);
	assert_int_equal(open_descriptors(), descriptors_before);
	return 0;
}

int tear_down_raw(void **state)
{
	if (raw >= 0)
		close(raw);
	raw = -1;
	return tear_down(state);
}

void pause_me(struct side *s, struct hbt_ipc_msg *msg)
{
	(void)msg;
	hbt_ipc_pause(s->ipc, true);
}

void take(struct side *s, struct hbt_ipc_msg *msg)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = hbt_ipc_take_fd(msg);
	assert_int_equal(msg->fd, -1);
}

int pipe_with(const char *text)
{
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(write(ends[1], text, strlen(text)), strlen(text));
	close(ends[1]);
	return ends[0];
}

void assert_pipe_has(int fd, const char *text)
{
	char got[64] = "";

	assert_true(fd >= 0);
	assert_true(read(fd, got, sizeof(got) - 1) >= 0);
	assert_string_equal(got, text);
}

void some_turns(void)
{
	for (int i = 0; i < 10; i++)
		event_base_loop(base, EVLOOP_NONBLOCK | EVLOOP_ONCE);
}
