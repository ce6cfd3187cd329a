/*
 * Channels and who listens to them. Each has one subscription, however many
 * listeners: SUBSCRIBE for all that are new in a turn, UNSUBSCRIBE for all
 * that were left in a second. redis-queue 5.1, 5.3, 18.3
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include "base/hash.h"
#include "redis/private.h"

#define COLLECT_MS 1000 /* channels that were left, until UNSUBSCRIBE */
#define CHUNK 500       /* channels in one command */

enum channel_state {
	CHANNEL_WANTED,      /* on the list of that name: to be subscribed */
	CHANNEL_ASKED,       /* SUBSCRIBE was written, or is waited for */
	CHANNEL_ESTABLISHED,
	CHANNEL_REFUSED,     /* until the next connection or listener */
	CHANNEL_LEFT,        /* UNSUBSCRIBE was written */
};

struct hbt_redis_channel {
	UT_hash_handle hh;
	struct hbt_redis_listener *listeners;
	TAILQ_ENTRY(hbt_redis_channel) wanted_link, leaving_link, news_link;
	enum channel_state state;
	bool leaving, news;
	bool alone;       /* goes into a command of its own */
	unsigned pending; /* answers that are due */
	size_t len;
	char name[];      /* 'c' or 'p', then the name, terminated */
};

static bool is_pattern(const struct hbt_redis_channel *c)
{
	return c->name[0] == 'p';
}

static void set_wanted(struct hbt_redis *r, struct hbt_redis_channel *c,
                       bool wanted)
{
	if (wanted == (c->state == CHANNEL_WANTED))
		return;
	if (wanted) {
		c->state = CHANNEL_WANTED;
		TAILQ_INSERT_TAIL(&r->subscriber.wanted, c, wanted_link);
		event_active(r->subscriber.turn, EV_TIMEOUT, 0);
	} else {
		c->state = CHANNEL_LEFT;
		TAILQ_REMOVE(&r->subscriber.wanted, c, wanted_link);
	}
}

static void set_leaving(struct hbt_redis *r, struct hbt_redis_channel *c,
                        bool leaving)
{
	const struct timeval tv = {COLLECT_MS / 1000, 0};

	if (leaving == c->leaving)
		return;
	c->leaving = leaving;
	if (!leaving) {
		TAILQ_REMOVE(&r->subscriber.leaving, c, leaving_link);
		return;
	}
	TAILQ_INSERT_TAIL(&r->subscriber.leaving, c, leaving_link);
	if (!event_pending(r->subscriber.timer, EV_TIMEOUT, NULL))
		event_add(r->subscriber.timer, &tv);
}

static void set_news(struct hbt_redis *r, struct hbt_redis_channel *c,
                     bool news)
{
	if (news == c->news)
		return;
	c->news = news;
	if (!news) {
		TAILQ_REMOVE(&r->subscriber.news, c, news_link);
		return;
	}
	TAILQ_INSERT_TAIL(&r->subscriber.news, c, news_link);
	event_active(r->subscriber.turn, EV_TIMEOUT, 0);
}

static void free_channel(struct hbt_redis *r, struct hbt_redis_channel *c)
{
	set_wanted(r, c, false);
	set_leaving(r, c, false);
	set_news(r, c, false);
	HASH_DEL(r->subscriber.channels, c);
	free(c);
}

/* Nobody listens, and the server does not know it either. */
static void free_if_unused(struct hbt_redis *r, struct hbt_redis_channel *c)
{
	if (c->listeners == NULL && c->pending == 0 &&
	    (c->state == CHANNEL_WANTED || c->state == CHANNEL_LEFT ||
	     c->state == CHANNEL_REFUSED))
		free_channel(r, c);
}

static struct hbt_redis_channel *find(const struct hbt_redis *r,
                                      const char *name, size_t len)
{
	struct hbt_redis_channel *c;

	HASH_FIND(hh, r->subscriber.channels, name, len, c);
	return c;
}

static struct hbt_redis_channel *
find_or_make(struct hbt_redis *r, const char *name, bool pattern)
{
	const char *prefix = r->options.channel_prefix;
	size_t n = prefix != NULL ? strlen(prefix) : 0, len = strlen(name);
	struct hbt_redis_channel *c, *known;

	if ((c = calloc(1, sizeof(*c) + 1 + n + len + 1)) == NULL)
		return NULL;
	c->name[0] = pattern ? 'p' : 'c';
	if (n > 0)
		memcpy(c->name + 1, prefix, n);
	memcpy(c->name + 1 + n, name, len + 1);
	c->len = 1 + n + len;
	c->state = CHANNEL_LEFT;
	if ((known = find(r, c->name, c->len)) != NULL) {
		free(c);
		return known;
	}
	HASH_ADD(hh, r->subscriber.channels, name[0], c->len, c);
	if (c->hh.tbl == NULL) {
		free(c);
		return NULL;
	}
	return c;
}

int hbt_redis_listen(struct hbt_redis *r, struct hbt_redis_listener *l,
                     const char *channel, bool pattern)
{
	struct hbt_redis_channel *c = find_or_make(r, channel, pattern);

	if (c == NULL)
		return HALIBUT_ENOMEM;
	if (c->listeners == NULL)
		r->subscriber.listened++;
	l->channel = c;
	l->told = false;
	/* In front: one that joins during a call is not called by it. */
	l->prev = NULL;
	l->next = c->listeners;
	if (c->listeners != NULL)
		c->listeners->prev = l;
	c->listeners = l;
	set_leaving(r, c, false);
	if (c->state == CHANNEL_ESTABLISHED)
		set_news(r, c, true);
	else if (c->state != CHANNEL_ASKED)
		set_wanted(r, c, true);
	return HALIBUT_OK;
}

void hbt_redis_unlisten(struct hbt_redis *r, struct hbt_redis_listener *l)
{
	struct hbt_redis_channel *c = l->channel;

	if (c == NULL)
		return;
	if (r->subscriber.cursor == l)
		r->subscriber.cursor = l->next;
	if (l->prev != NULL)
		l->prev->next = l->next;
	else
		c->listeners = l->next;
	if (l->next != NULL)
		l->next->prev = l->prev;
	l->channel = NULL;
	l->next = l->prev = NULL;
	if (c->listeners != NULL)
		return;
	r->subscriber.listened--;
	if (c->state == CHANNEL_ASKED || c->state == CHANNEL_ESTABLISHED)
		set_leaving(r, c, true);
	else
		free_if_unused(r, c);
}

bool hbt_redis_is_established(const struct hbt_redis_listener *l)
{
	return l->channel != NULL && l->channel->state == CHANNEL_ESTABLISHED;
}

/* ---- Calling listeners, any of which may leave, or end it all ---- */

static void tell_established(struct hbt_redis *r, struct hbt_redis_channel *c)
{
	struct hbt_redis_listener *l;

	r->subscriber.cursor = c->listeners;
	while (!r->freed && (l = r->subscriber.cursor) != NULL) {
		r->subscriber.cursor = l->next;
		if (l->told)
			continue;
		l->told = true;
		if (l->established != NULL)
			l->established(l);
	}
}

static void tell_refused(struct hbt_redis *r, struct hbt_redis_channel *c,
                         const char *why)
{
	struct hbt_redis_listener *l;

	r->subscriber.cursor = c->listeners;
	while (!r->freed && (l = r->subscriber.cursor) != NULL) {
		r->subscriber.cursor = l->next;
		if (l->refused != NULL)
			l->refused(l, why);
	}
}

static void tell_message(struct hbt_redis *r, struct hbt_redis_channel *c,
                         const char *channel, const redisReply *payload)
{
	const char *prefix = r->options.channel_prefix;
	size_t n = prefix != NULL ? strlen(prefix) : 0;
	struct hbt_redis_listener *l;

	if (n > 0 && strncmp(channel, prefix, n) == 0)
		channel += n;
	r->subscriber.cursor = c->listeners;
	while (!r->freed && (l = r->subscriber.cursor) != NULL) {
		r->subscriber.cursor = l->next;
		l->message(l, channel, payload->str, (size_t)payload->len);
	}
}

/* ---- Commands ---- */

static bool push_op(struct hbt_subscriber *s, struct subscriber_op op)
{
	struct subscriber_op *grown;
	size_t cap;

	if (s->first_op > 0 && s->first_op + s->n_ops == s->cap_ops) {
		memmove(s->ops, s->ops + s->first_op,
		        s->n_ops * sizeof(*s->ops));
		s->first_op = 0;
	}
	if (s->n_ops == s->cap_ops) {
		cap = s->cap_ops > 0 ? s->cap_ops * 2 : 64;
		grown = reallocarray(s->ops, cap, sizeof(*grown));
		if (grown == NULL)
			return false;
		s->ops = grown;
		s->cap_ops = cap;
	}
	s->ops[s->first_op + s->n_ops++] = op;
	return true;
}

static struct subscriber_op pop_op(struct hbt_subscriber *s)
{
	struct subscriber_op op = s->ops[s->first_op++];

	if (--s->n_ops == 0)
		s->first_op = 0;
	op.channel->pending--;
	return op;
}

static void leave_server(struct hbt_redis *r, const char *why)
{
	struct halibut_error err = {0};

	hbt_error_set(&err, HALIBUT_ESYSTEM, "Redis at %s: %s",
	              hbt_keeper_where(r->subscriber_keeper), why);
	hbt_keeper_leave(r->subscriber_keeper, &err);
	halibut_error_clear(&err);
}

/* Channels of one kind for one command. */
struct command {
	bool subscribe, pattern;
	size_t n;
	const char *argv[CHUNK + 1];
	size_t lens[CHUNK + 1];
	struct hbt_redis_channel *channels[CHUNK];
};

static void begin(struct command *m, bool subscribe, bool pattern)
{
	m->subscribe = subscribe;
	m->pattern = pattern;
	m->n = 0;
	if (pattern)
		m->argv[0] = subscribe ? "PSUBSCRIBE" : "PUNSUBSCRIBE";
	else
		m->argv[0] = subscribe ? "SUBSCRIBE" : "UNSUBSCRIBE";
	m->lens[0] = strlen(m->argv[0]);
}

/* False: memory is short, and the connection was given up. */
static bool write_command(struct hbt_redis *r, struct command *m)
{
	struct hbt_link *link = hbt_keeper_link(r->subscriber_keeper);
	struct hbt_text *t = NULL;
	bool ok;

	if (m->n == 0)
		return true;
	ok = link != NULL && hbt_text_add_argv(&t, m->n + 1, m->argv,
	                                       m->lens) == HALIBUT_OK;
	for (size_t i = 0; ok && i < m->n; i++) {
		struct subscriber_op op = {
			.channel = m->channels[i],
			.subscribe = m->subscribe,
			.last = i + 1 == m->n,
		};

		ok = push_op(&r->subscriber, op);
		if (ok)
			op.channel->pending++;
	}
	if (ok) {
		hbt_link_write(link, t);
		hbt_link_expect(link, m->n - 1);
	}
	hbt_text_unref(&t);
	if (!ok)
		leave_server(r, "out of memory");
	m->n = 0;
	return ok;
}

/* Adds c, and writes the command when it is long enough. */
static bool collect(struct hbt_redis *r, struct command *m,
                    struct hbt_redis_channel *c, bool now)
{
	m->channels[m->n] = c;
	m->argv[m->n + 1] = c->name + 1;
	m->lens[m->n + 1] = c->len - 1;
	m->n++;
	return (m->n < CHUNK && !now) || write_command(r, m);
}

static void subscribe_wanted(struct hbt_redis *r)
{
	struct hbt_link *link = hbt_keeper_link(r->subscriber_keeper);
	struct hbt_redis_channel *c, *next;
	struct command m;

	for (int pattern = 0; pattern < 2 && link != NULL; pattern++) {
		begin(&m, true, pattern);
		for (c = TAILQ_FIRST(&r->subscriber.wanted); c != NULL;
		     c = next) {
			next = TAILQ_NEXT(c, wanted_link);
			if (is_pattern(c) != pattern)
				continue;
			if (hbt_link_is_full(link))
				break;
			if (c->alone && !write_command(r, &m))
				return;
			set_wanted(r, c, false);
			c->state = CHANNEL_ASKED;
			if (!collect(r, &m, c, c->alone))
				return;
		}
		if (!write_command(r, &m))
			return;
	}
}

static void unsubscribe_leaving(struct hbt_redis *r)
{
	struct hbt_redis_channel *c, *next;
	struct command m;

	for (int pattern = 0; pattern < 2; pattern++) {
		begin(&m, false, pattern);
		for (c = TAILQ_FIRST(&r->subscriber.leaving); c != NULL;
		     c = next) {
			next = TAILQ_NEXT(c, leaving_link);
			if (is_pattern(c) != pattern)
				continue;
			set_leaving(r, c, false);
			c->state = CHANNEL_LEFT;
			if (!collect(r, &m, c, false))
				return;
		}
		if (!write_command(r, &m))
			return;
	}
}

/* ---- What the server says ---- */

static void answered(struct hbt_redis *r, const char *name, size_t len,
                     bool subscribe, bool pattern)
{
	struct hbt_subscriber *s = &r->subscriber;
	struct hbt_redis_channel *c;
	struct subscriber_op op;

	if (s->n_ops == 0) {
		leave_server(r, "a confirmation came that nobody asked for");
		return;
	}
	op = s->ops[s->first_op];
	c = op.channel;
	if (op.subscribe != subscribe || is_pattern(c) != pattern ||
	    c->len - 1 != len || memcmp(c->name + 1, name, len) != 0) {
		leave_server(r, "confirmations came in the wrong order");
		return;
	}
	pop_op(s);
	hbt_link_unexpect(hbt_keeper_link(r->subscriber_keeper), 1);
	if (subscribe && c->state == CHANNEL_ASKED && c->pending == 0) {
		c->state = CHANNEL_ESTABLISHED;
		c->alone = false;
		tell_established(r, c);
	} else {
		free_if_unused(r, c);
	}
}

/*
 * One channel that an ACL forbids makes the whole command fail: each of them
 * is then tried in a command of its own.
 */
static void refused(struct hbt_redis *r, const char *why)
{
	struct hbt_subscriber *s = &r->subscriber;
	struct subscriber_op op;
	bool single;

	if (s->n_ops == 0) {
		leave_server(r, why);
		return;
	}
	single = s->ops[s->first_op].last;
	do {
		struct hbt_redis_channel *c;

		op = pop_op(s);
		c = op.channel;
		hbt_link_unexpect(hbt_keeper_link(r->subscriber_keeper), 1);
		if (c->pending > 0 || c->state != CHANNEL_ASKED) {
			free_if_unused(r, c);
		} else if (c->listeners == NULL) {
			c->state = CHANNEL_LEFT;
			free_if_unused(r, c);
		} else if (single) {
			c->state = CHANNEL_REFUSED;
			tell_refused(r, c, why);
		} else {
			c->alone = true;
			set_wanted(r, c, true);
		}
	} while (!op.last && !r->freed);
}

static bool is_text(const redisReply *r)
{
	return r->type == REDIS_REPLY_STRING;
}

static void message(struct hbt_redis *r, char kind, const redisReply *name,
                    const redisReply *channel, const redisReply *payload)
{
	struct hbt_redis_channel *c = NULL;
	size_t len = (size_t)name->len;
	char buf[512], *key = buf;

	if (len + 1 > sizeof(buf) && (key = malloc(len + 1)) == NULL)
		return;
	key[0] = kind;
	memcpy(key + 1, name->str, len);
	c = find(r, key, len + 1);
	if (key != buf)
		free(key);
	if (c != NULL)
		tell_message(r, c, channel->str, payload);
}

static void array(struct hbt_redis *r, redisReply *a)
{
	redisReply **e = a->element;
	const char *kind;
	bool pattern;

	if (a->elements < 3 || !is_text(e[0]) || !is_text(e[1])) {
		leave_server(r, "a push message is not understood");
		return;
	}
	kind = e[0]->str;
	if (strcmp(kind, "message") == 0 && is_text(e[2])) {
		message(r, 'c', e[1], e[1], e[2]);
		return;
	}
	if (strcmp(kind, "pmessage") == 0 && a->elements == 4 &&
	    is_text(e[2]) && is_text(e[3])) {
		message(r, 'p', e[1], e[2], e[3]);
		return;
	}
	pattern = kind[0] == 'p';
	kind += pattern;
	if (strcmp(kind, "subscribe") == 0)
		answered(r, e[1]->str, (size_t)e[1]->len, true, pattern);
	else if (strcmp(kind, "unsubscribe") == 0)
		answered(r, e[1]->str, (size_t)e[1]->len, false, pattern);
}

void hbt_subscriber_reply(struct hbt_redis *r, redisReply *reply)
{
	if (reply->type == REDIS_REPLY_ARRAY)
		array(r, reply);
	else if (reply->type == REDIS_REPLY_ERROR)
		refused(r, reply->str);
	freeReplyObject(reply);
}

/* ---- The connection comes and goes ---- */

void hbt_subscriber_up(struct hbt_redis *r)
{
	subscribe_wanted(r);
}

void hbt_subscriber_lost(struct hbt_redis *r)
{
	struct hbt_subscriber *s = &r->subscriber;
	struct hbt_redis_channel *c, *next;
	struct hbt_redis_listener *l;

	s->first_op = s->n_ops = 0;
	event_del(s->timer);
	HASH_ITER(hh, s->channels, c, next) {
		c->pending = 0;
		set_leaving(r, c, false);
		set_news(r, c, false);
		for (l = c->listeners; l != NULL; l = l->next)
			l->told = false;
		if (c->listeners == NULL)
			free_channel(r, c);
		else
			set_wanted(r, c, true);
	}
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_redis *r = arg;
	struct hbt_subscriber *s = &r->subscriber;
	struct hbt_redis_channel *c;

	(void)fd;
	(void)what;
	redis_enter(r);
	subscribe_wanted(r);
	while (!r->freed && (c = TAILQ_FIRST(&s->news)) != NULL) {
		set_news(r, c, false);
		if (c->state == CHANNEL_ESTABLISHED)
			tell_established(r, c);
	}
	redis_leave(r);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_redis *r = arg;

	(void)fd;
	(void)what;
	redis_enter(r);
	unsubscribe_leaving(r);
	redis_leave(r);
}

bool hbt_subscriber_init(struct hbt_redis *r)
{
	struct hbt_subscriber *s = &r->subscriber;

	TAILQ_INIT(&s->wanted);
	TAILQ_INIT(&s->leaving);
	TAILQ_INIT(&s->news);
	s->turn = evtimer_new(r->base, on_turn, r);
	s->timer = evtimer_new(r->base, on_timer, r);
	return s->turn != NULL && s->timer != NULL;
}

void hbt_subscriber_fini(struct hbt_redis *r)
{
	struct hbt_subscriber *s = &r->subscriber;
	struct hbt_redis_channel *c, *next;

	HASH_ITER(hh, s->channels, c, next) {
		for (struct hbt_redis_listener *l = c->listeners, *after;
		     l != NULL; l = after) {
			after = l->next;
			l->channel = NULL;
			l->next = l->prev = NULL;
		}
		HASH_DEL(s->channels, c);
		free(c);
	}
	free(s->ops);
	s->ops = NULL;
	s->cursor = NULL;
	if (s->turn != NULL)
		event_free(s->turn);
	if (s->timer != NULL)
		event_free(s->timer);
	s->turn = s->timer = NULL;
}
