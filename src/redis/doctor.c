/*
 * Tries each command of the queue on keys of its own, and a channel. One
 * batch, whose error replies are looked at one by one; then a message that
 * must come back. redis-queue 2.7, 15
 */
#include "redis/doctor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/guid.h"
#include "base/timespan.h"
#include "redis/doctor_int.h"
#include "redis/private.h"
#include "redis/remedy.h"

#define SLOW_US 20000 /* of a round trip: an RPC takes about six */

struct note {
	enum hbt_finding_level level;
	char *what, *remedy;
};

/* Where a step's key is; also who needs it. */
enum place { NO_KEY, STRING, HASH, LIST, STREAM, SORTED, PLACES };

static const char *const namespaces[PLACES] = {
	[STRING] = "HalibutRedis:string",
	[HASH] = "HalibutRedis:hash",
	[LIST] = "HalibutRedis:list",
	[STREAM] = "HalibutStreams:hash",
	[SORTED] = "HalibutStreams:zset",
};

/* What is run, in this order; %s is the key. */
static const struct step {
	const char *command; /* its name, also for the ACL */
	enum place place;
	const char *format;
} steps[] = {
	{"info", NO_KEY, "INFO"},
	{"config|get", NO_KEY, "CONFIG GET save"},
	{"set", STRING, "SET %s {}"},
	{"expire", STRING, "EXPIRE %s 60"},
	{"pexpire", STRING, "PEXPIRE %s 60000"},
	{"get", STRING, "GET %s"},
	{"unlink", STRING, "UNLINK %s"},
	{"hmset", HASH, "HMSET %s a 1 b 2"},
	{"expire", HASH, "EXPIRE %s 60"},
	{"hmget", HASH, "HMGET %s a b"},
	{"hexists", HASH, "HEXISTS %s a"},
	{"unlink", HASH, "UNLINK %s"},
	{"rpush", LIST, "RPUSH %s a"},
	{"expire", LIST, "EXPIRE %s 60"},
	{"lpop", LIST, "LPOP %s"},
	{"ping", NO_KEY, "PING"},
	{"hset", STREAM, "HSET %s 0 x"},
	{"pexpire", STREAM, "PEXPIRE %s 60000"},
	{"hlen", STREAM, "HLEN %s"},
	{"hget", STREAM, "HGET %s 0"},
	{"hdel", STREAM, "HDEL %s 0"},
	{"unlink", STREAM, "UNLINK %s"},
	{"zadd", SORTED, "ZADD %s 1 x"},
	{"expire", SORTED, "EXPIRE %s 60"},
	{"zrange", SORTED, "ZRANGE %s 0 -1"},
	{"zremrangebyscore", SORTED, "ZREMRANGEBYSCORE %s -inf 0"},
	{"zrem", SORTED, "ZREM %s x"},
};
#define N_STEPS (sizeof(steps) / sizeof(steps[0]))
enum { STEP_INFO, STEP_CONFIG };

struct doctor {
	LIST_ENTRY(doctor) link;
	struct hbt_redis *redis;
	struct notes notes;
	char *prefix, *channel;
	char *keys[PLACES];
	struct hbt_redis_batch *batch;
	struct hbt_redis_listener listener;
	struct event *timer;
	bool looked;  /* the commands were tried */
	bool heard;   /* established or refused */
	bool publishing;
	int64_t asked_us;
	void (*found)(void *arg, const struct hbt_finding *f);
	void (*done)(void *arg, bool usable);
	void *arg;
};

/* ---- Findings ---- */

void doctor_note(struct notes *notes, enum hbt_finding_level level,
                 const char *remedy, const char *fmt, ...)
{
	struct note *grown = reallocarray(notes->v, notes->n + 1,
	                                  sizeof(*grown));
	struct note *n;
	va_list ap;

	if (grown == NULL) {
		notes->failed = true;
		return;
	}
	notes->v = grown;
	n = &grown[notes->n];
	*n = (struct note){.level = level};
	va_start(ap, fmt);
	if (vasprintf(&n->what, fmt, ap) < 0)
		n->what = NULL;
	va_end(ap);
	if (remedy != NULL && n->what != NULL)
		n->remedy = strdup(remedy);
	if (n->what != NULL)
		notes->n++;
	else
		notes->failed = true;
}

static void free_notes(struct notes *notes)
{
	for (size_t i = 0; i < notes->n; i++) {
		free(notes->v[i].what);
		free(notes->v[i].remedy);
	}
	free(notes->v);
}

static void free_doctor(struct doctor *d)
{
	LIST_REMOVE(d, link);
	hbt_redis_batch_cancel(&d->batch);
	hbt_redis_unlisten(d->redis, &d->listener);
	if (d->timer != NULL)
		event_free(d->timer);
	for (size_t i = 0; i < PLACES; i++)
		free(d->keys[i]);
	free(d->prefix);
	free(d->channel);
	free_notes(&d->notes);
	free(d);
}

static bool is_usable(const struct notes *notes)
{
	for (size_t i = 0; i < notes->n; i++)
		if (notes->v[i].level == HBT_FINDING_ERROR)
			return false;
	return !notes->failed;
}

/* The callbacks may free the Redis connection. */
static void finish(struct doctor *d)
{
	struct notes notes = d->notes;
	void (*found)(void *arg, const struct hbt_finding *f) = d->found;
	void (*done)(void *arg, bool usable) = d->done;
	void *arg = d->arg;

	d->notes = (struct notes){NULL, 0, false};
	free_doctor(d);
	for (int level = HBT_FINDING_ERROR; level >= HBT_FINDING_OK; level--)
		for (size_t i = 0; i < notes.n; i++) {
			const struct hbt_finding f = {
				.level = notes.v[i].level,
				.what = notes.v[i].what,
				.remedy = notes.v[i].remedy,
			};

			if ((int)f.level == level)
				found(arg, &f);
		}
	done(arg, is_usable(&notes));
	free_notes(&notes);
}

void hbt_doctors_shutdown(struct hbt_redis *r)
{
	struct doctor *d;

	while ((d = LIST_FIRST(&r->doctors)) != NULL) {
		doctor_note(&d->notes, HBT_FINDING_ERROR, NULL,
		            "the examination was broken off");
		finish(d);
	}
}

/* ---- What the replies say ---- */

static const char *user_of(const struct doctor *d)
{
	const char *user = d->redis->options.user;

	return user != NULL ? user : "default";
}

static bool starts(const redisReply *r, const char *with)
{
	return r->type == REDIS_REPLY_ERROR &&
	       strncmp(r->str, with, strlen(with)) == 0;
}

/* The rights that a DataStream store of the kind redis needs. */
#define STORE_RIGHTS                                                           \
	"+hset +hget +hdel +hlen +pexpire +expire +unlink +zadd +zrem "        \
	"+zrange +zremrangebyscore"

/* What to give the user; the reply tells what it lacks. */
static void right_for(const struct doctor *d, const struct step *s,
                      const char *reply, char *buf, size_t cap)
{
	const char *prefix = d->redis->options.channel_prefix;

	if (strstr(reply, "channel") != NULL)
		snprintf(buf, cap,
		         "redis-cli ACL SETUSER %s "
		         "'&%s%s:HalibutRedis:channel:*'",
		         user_of(d), prefix != NULL ? prefix : "", d->prefix);
	else if (strstr(reply, " key") != NULL)
		snprintf(buf, cap,
		         "redis-cli ACL SETUSER %s '~%s:HalibutRedis:*'",
		         user_of(d), d->prefix);
	else
		snprintf(buf, cap, "redis-cli ACL SETUSER %s +%s", user_of(d),
		         s->command);
}

static void forbidden(struct doctor *d, const struct step *s,
                      const char *reply)
{
	const char *key = d->keys[s->place];
	char remedy[1024];

	right_for(d, s, reply, remedy, sizeof(remedy));
	doctor_note(&d->notes, HBT_FINDING_ERROR, remedy,
	            "%s%s%s is forbidden: %s", s->command,
	            key != NULL ? " on " : "", key != NULL ? key : "", reply);
}

static void hidden(struct doctor *d, const struct step *s, const char *what)
{
	char remedy[256];

	snprintf(remedy, sizeof(remedy), "redis-cli ACL SETUSER %s +%s",
	         user_of(d), s->command);
	doctor_note(&d->notes, HBT_FINDING_HINT, remedy,
	            "not looked at, because the server does not let us: %s",
	            what);
}

static void judge(struct doctor *d, const struct step *s, const redisReply *r)
{
	const char *remedy;

	if (starts(r, "NOPERM")) {
		forbidden(d, s, r->str);
		return;
	}
	/* "; do this" */
	remedy = hbt_redis_remedy(r->str);
	doctor_note(&d->notes, HBT_FINDING_ERROR,
	            *remedy != '\0' ? remedy + 2 : NULL, "%s fails: %s",
	            s->command, r->str);
}

/* A hint for all of its commands. */
static void judge_store(struct doctor *d, const struct step *s,
                        const redisReply *r)
{
	char remedy[1024];

	snprintf(remedy, sizeof(remedy),
	         "redis-cli ACL SETUSER %s '~%s:HalibutStreams:*' %s",
	         user_of(d), d->prefix, STORE_RIGHTS);
	doctor_note(&d->notes, HBT_FINDING_HINT,
	            starts(r, "NOPERM") ? remedy : NULL,
	            "a DataStream store of the kind redis would not work here: "
	            "%s: %s",
	            s->command, r->str);
}

static bool same_error(const redisReply *a, const redisReply *b)
{
	return a->type == REDIS_REPLY_ERROR && b->type == REDIS_REPLY_ERROR &&
	       strcmp(a->str, b->str) == 0;
}

static void judge_commands(struct doctor *d, redisReply **replies)
{
	bool store = false;

	for (size_t i = STEP_CONFIG + 1; i < N_STEPS; i++) {
		size_t k = STEP_CONFIG + 1;

		/* Nothing is new when another command said the same. */
		while (k < i && !same_error(replies[k], replies[i]))
			k++;
		if (replies[i]->type != REDIS_REPLY_ERROR ||
		    (steps[i].place >= STREAM && store))
			continue;
		if (steps[i].place >= STREAM) {
			store = true;
			if (k == i)
				judge_store(d, &steps[i], replies[i]);
		} else if (k == i) {
			judge(d, &steps[i], replies[i]);
		}
	}
}

static void judge_settings(struct doctor *d, redisReply **replies)
{
	const redisReply *info = replies[STEP_INFO];
	const redisReply *config = replies[STEP_CONFIG];
	const char *text = info->type == REDIS_REPLY_STRING ? info->str : NULL;
	const char *save = NULL;

	if (config->type == REDIS_REPLY_ARRAY && config->elements == 2 &&
	    config->element[1]->type == REDIS_REPLY_STRING)
		save = config->element[1]->str;
	if (text != NULL)
		doctor_read_info(&d->notes, text);
	else
		hidden(d, &steps[STEP_INFO],
		       "version, role, cluster, memory and eviction (INFO)");
	if (save == NULL)
		hidden(d, &steps[STEP_CONFIG], "persistence (CONFIG GET save)");
	doctor_read_persistence(&d->notes, text != NULL ? text : "", save);
}

static void judge_latency(struct doctor *d)
{
	int64_t us = hbt_now_us() - d->asked_us, least = SLOW_US;

	if (us < SLOW_US) {
		doctor_note(&d->notes, HBT_FINDING_OK, NULL,
		            "a round trip takes %lld.%02lld ms",
		            (long long)us / 1000, (long long)us % 1000 / 10);
		return;
	}
	/* Roughly: what is found again is the same text, and no news. */
	while (least * 2 <= us)
		least *= 2;
	doctor_note(&d->notes, HBT_FINDING_HINT, NULL,
	            "a round trip takes more than %lld ms, and a call needs "
	            "six or more",
	            (long long)least / 1000);
}

/* ---- The channel ---- */

static void on_published(void *arg, redisReply **replies, size_t n,
                         const struct halibut_error *err)
{
	struct doctor *d = arg;
	const struct step publish = {"publish", NO_KEY, NULL};

	d->batch = NULL;
	if (err != NULL) {
		doctor_note(&d->notes, HBT_FINDING_ERROR, NULL, "%s",
		            err->message);
	} else if (n == 1 && replies[0]->type == REDIS_REPLY_ERROR) {
		judge(d, &publish, replies[0]);
	} else {
		judge_latency(d);
		if (d->listener.channel != NULL)
			return; /* the message is on its way */
	}
	finish(d);
}

static void publish(struct doctor *d)
{
	if (!d->looked || !d->heard || d->publishing)
		return;
	d->publishing = true;
	d->asked_us = hbt_now_us();
	d->batch = hbt_redis_batch_new(d->redis);
	hbt_redis_batch_publish(d->batch, d->channel, "{}", 2);
	if (d->batch != NULL)
		hbt_batch_send_raw(d->batch, on_published, d);
}

static struct doctor *of_listener(struct hbt_redis_listener *l)
{
	return (struct doctor *)(void *)((char *)l -
	                                 offsetof(struct doctor, listener));
}

static void on_message(struct hbt_redis_listener *l, const char *channel,
                       const char *payload, size_t len)
{
	struct doctor *d = of_listener(l);

	(void)channel;
	(void)payload;
	(void)len;
	hbt_redis_unlisten(d->redis, l);
	if (d->batch == NULL && d->publishing)
		finish(d);
}

static void on_established(struct hbt_redis_listener *l)
{
	struct doctor *d = of_listener(l);

	d->heard = true;
	publish(d);
}

static void on_refused(struct hbt_redis_listener *l, const char *why)
{
	struct doctor *d = of_listener(l);
	const struct step subscribe = {"subscribe", NO_KEY, NULL};
	char remedy[1024];

	hbt_redis_unlisten(d->redis, l);
	right_for(d, &subscribe, why, remedy, sizeof(remedy));
	doctor_note(&d->notes, HBT_FINDING_ERROR, remedy,
	            "subscribe to %s is forbidden: %s", d->channel, why);
	d->heard = true;
	publish(d);
}

/* ---- One after the other ---- */

static void on_looked(void *arg, redisReply **replies, size_t n,
                      const struct halibut_error *err)
{
	struct doctor *d = arg;

	d->batch = NULL;
	if (err != NULL || n != N_STEPS) {
		doctor_note(&d->notes, HBT_FINDING_ERROR, NULL, "%s",
		            err != NULL ? err->message : "no answer");
		finish(d);
		return;
	}
	judge_settings(d, replies);
	judge_commands(d, replies);
	d->looked = true;
	publish(d);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct doctor *d = arg;
	struct hbt_redis *r = d->redis;
	struct hbt_redis_state state;

	(void)fd;
	(void)what;
	hbt_redis_state(r, &state);
	if (!d->looked)
		doctor_note(&d->notes, HBT_FINDING_ERROR, NULL,
		            "Redis at %s did not answer in time%s%s",
		            state.server,
		            state.last_error[0] != '\0' ? ": " : "",
		            state.last_error);
	else if (!d->heard)
		doctor_note(&d->notes, HBT_FINDING_ERROR, NULL,
		            "the connection for subscriptions to %s does not "
		            "come about%s%s",
		            state.server,
		            state.last_error[0] != '\0' ? ": " : "",
		            state.last_error);
	else
		doctor_note(&d->notes, HBT_FINDING_ERROR, NULL,
		            "a message published at %s does not arrive: are "
		            "both connections to the same server?",
		            state.server);
	redis_enter(r);
	finish(d);
	redis_leave(r);
}

static bool make_names(struct doctor *d, const char *key_prefix)
{
	char guid[HBT_GUID_TEXT];
	struct hbt_guid id;

	id = hbt_guid_new();
	hbt_guid_format(&id, guid);
	if ((d->prefix = strdup(key_prefix)) == NULL)
		return false;
	for (size_t i = NO_KEY + 1; i < PLACES; i++)
		if (asprintf(&d->keys[i], "%s:%s:Doctor::%s", key_prefix,
		             namespaces[i], guid) < 0) {
			d->keys[i] = NULL;
			return false;
		}
	if (asprintf(&d->channel, "%s:HalibutRedis:channel:Doctor::%s",
	             key_prefix, guid) < 0)
		d->channel = NULL;
	return d->channel != NULL;
}

static bool begin(struct doctor *d, int64_t timeout_ms)
{
	const struct timeval tv = {
		.tv_sec = timeout_ms / 1000,
		.tv_usec = timeout_ms % 1000 * 1000,
	};

	d->timer = evtimer_new(d->redis->base, on_timer, d);
	d->batch = hbt_redis_batch_new(d->redis);
	if (d->timer == NULL || d->batch == NULL ||
	    event_add(d->timer, &tv) != 0)
		return false;
	d->listener.message = on_message;
	d->listener.established = on_established;
	d->listener.refused = on_refused;
	if (hbt_redis_listen(d->redis, &d->listener, d->channel, false) !=
	    HALIBUT_OK)
		return false;
	for (size_t i = 0; i < N_STEPS; i++)
		hbt_redis_batch_add(d->batch, steps[i].format,
		                    d->keys[steps[i].place]);
	hbt_batch_send_raw(d->batch, on_looked, d);
	return true;
}

void hbt_redis_examine(struct hbt_redis *r, const char *key_prefix,
                       int64_t timeout_ms,
                       void (*found)(void *arg, const struct hbt_finding *f),
                       void (*done)(void *arg, bool usable), void *arg)
{
	struct doctor *d = calloc(1, sizeof(*d));

	if (d == NULL) {
		done(arg, false);
		return;
	}
	d->redis = r;
	d->found = found;
	d->done = done;
	d->arg = arg;
	LIST_INSERT_HEAD(&r->doctors, d, link);
	if (make_names(d, key_prefix) && begin(d, timeout_ms))
		return;
	free_doctor(d);
	done(arg, false);
}
