/*
 * Login: AUTH, SELECT, CLIENT SETNAME, ROLE and PING in one write. Every
 * server since 2.8 knows these; HELLO is not needed. redis-queue 15
 */
#include <string.h>
#include "redis/link_int.h"
#include "redis/remedy.h"

static void send_auth(struct hbt_link *l)
{
	const struct hbt_redis_options *o = l->config.options;
	bool sentinel = l->config.kind == HBT_LINK_SENTINEL;
	const char *user = sentinel ? o->sentinel_user : o->user;
	const char *password = sentinel ? o->sentinel_password : o->password;
	struct hbt_text *t = NULL;

	if (password == NULL)
		return;
	if (user != NULL)
		hbt_text_add(&t, "AUTH %s %s", user, password);
	else
		hbt_text_add(&t, "AUTH %s", password);
	hbt_link_write(l, t);
	if (t != NULL)
		explicit_bzero(t->bytes, t->len);
	hbt_text_unref(&t);
	l->steps[STEP_AUTH] = true;
}

static void send_step(struct hbt_link *l, enum link_step step,
                      struct hbt_text *t)
{
	hbt_link_write(l, t);
	hbt_text_unref(&t);
	l->steps[step] = true;
}

static void skip_steps(struct hbt_link *l)
{
	while (l->step < STEP_COUNT && !l->steps[l->step])
		l->step++;
}

void link_login(struct hbt_link *l)
{
	const struct hbt_redis_options *o = l->config.options;
	struct hbt_text *t = NULL;

	l->state = LINK_LOGIN;
	send_auth(l);
	if (o->database != 0 && l->config.kind == HBT_LINK_COMMANDS) {
		hbt_text_add(&t, "SELECT %u", o->database);
		send_step(l, STEP_SELECT, t);
		t = NULL;
	}
	if (o->client_name != NULL && l->config.kind != HBT_LINK_SENTINEL) {
		hbt_text_add(&t, "CLIENT SETNAME %s", o->client_name);
		send_step(l, STEP_NAME, t);
		t = NULL;
	}
	if (l->config.kind != HBT_LINK_SENTINEL) {
		hbt_text_add(&t, "ROLE");
		send_step(l, STEP_ROLE, t);
		t = NULL;
	}
	hbt_text_add(&t, "PING");
	send_step(l, STEP_PING, t);
	skip_steps(l);
}

static bool starts(const redisReply *r, const char *with)
{
	return r->type == REDIS_REPLY_ERROR &&
	       strncmp(r->str, with, strlen(with)) == 0;
}

/* A server without a password does not mind that we offer one. */
static bool no_password_there(const redisReply *r)
{
	return strstr(r->str, "without any password configured") != NULL ||
	       strstr(r->str, "no password is set") != NULL;
}

static void auth_reply(struct hbt_link *l, const redisReply *r)
{
	const char *key = l->config.kind == HBT_LINK_SENTINEL
	                          ? "sentinelUser and sentinelPassword"
	                          : "user and password";

	if (r->type != REDIS_REPLY_ERROR || no_password_there(r))
		return;
	if (starts(r, "ERR wrong number of arguments"))
		link_fail(l, HALIBUT_ESYSTEM,
		          "login failed: %s; users exist since Redis 6: give "
		          "the password alone",
		          r->str);
	else
		link_fail(l, HALIBUT_ESYSTEM,
		          "login failed: %.*s; check %s (redis-cli ACL LIST)",
		          hbt_redis_said(r->str), r->str, key);
}

static void role_reply(struct hbt_link *l, const redisReply *r)
{
	const redisReply *host, *port;

	/* An ACL that hides ROLE is no reason: READONLY will tell. */
	if (r->type != REDIS_REPLY_ARRAY || r->elements < 1 ||
	    r->element[0]->type != REDIS_REPLY_STRING ||
	    strcmp(r->element[0]->str, "master") == 0)
		return;
	if (strcmp(r->element[0]->str, "slave") != 0 || r->elements < 3 ||
	    r->element[1]->type != REDIS_REPLY_STRING ||
	    r->element[2]->type != REDIS_REPLY_INTEGER) {
		link_fail(l, HALIBUT_ESYSTEM,
		          "this is a %.32s, not a primary; to reach a primary "
		          "through sentinels set serviceName",
		          r->element[0]->str);
		return;
	}
	host = r->element[1];
	port = r->element[2];
	link_fail(l, HALIBUT_ESYSTEM,
	          "this is a replica of %.255s:%lld, and the queue needs the "
	          "primary; name that server, or promote this one "
	          "(redis-cli REPLICAOF NO ONE)",
	          host->str, port->integer);
}

static void ping_reply(struct hbt_link *l, const redisReply *r)
{
	/* A sentinel or an ACL may not know PING; it answered all the same. */
	if (r->type != REDIS_REPLY_ERROR || starts(r, "NOPERM") ||
	    starts(r, "ERR unknown command"))
		return;
	link_fail(l, HALIBUT_ESYSTEM, "%.*s%s", hbt_redis_said(r->str), r->str,
	          hbt_redis_remedy(r->str));
}

/* Said to whoever connects, whatever was asked, before it hangs up. */
static bool is_turned_away(const redisReply *r)
{
	return starts(r, "DENIED") || starts(r, "-DENIED") ||
	       starts(r, "ERR max number of clients");
}

void link_login_reply(struct hbt_link *l, const redisReply *r)
{
	if (is_turned_away(r)) {
		link_fail(l, HALIBUT_ESYSTEM, "%.*s%s", hbt_redis_said(r->str),
		          r->str, hbt_redis_remedy(r->str));
		return;
	}
	switch (l->step) {
	case STEP_AUTH:
		auth_reply(l, r);
		break;
	case STEP_SELECT:
		if (r->type == REDIS_REPLY_ERROR && !starts(r, "LOADING"))
			link_fail(l, HALIBUT_ESYSTEM,
			          "database %u cannot be selected: %.*s%s",
			          l->config.options->database,
			          hbt_redis_said(r->str), r->str,
			          hbt_redis_remedy(r->str));
		break;
	case STEP_ROLE:
		role_reply(l, r);
		break;
	case STEP_PING:
		ping_reply(l, r);
		break;
	case STEP_NAME:
	case STEP_COUNT:
		break;
	}
	l->step++;
	skip_steps(l);
	if (l->step == STEP_COUNT && l->state == LINK_LOGIN)
		link_login_done(l);
}
