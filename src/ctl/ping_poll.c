/*
 * halibutctl ping poll://...: what the gateway knows of a service that should
 * poll it, and what a person can do when it does not.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/uri.h"
#include "ctl/ctl.h"
#include "ctl/document.h"
#include "ctl/ping.h"

/* So recent a refusal may be of this machine. */
#define LATELY_MS (60 * 60 * 1000)

static const char *text_of(const json_t *o, const char *name)
{
	const char *text = json_string_value(json_object_get(o, name));

	return text != NULL ? text : "?";
}

static json_int_t int_of(const json_t *o, const char *name)
{
	return json_integer_value(json_object_get(o, name));
}

static json_t *ask(const struct hbt_ctl_gateway *g, const char *path,
                   const char *name, const char *value, const char *sort,
                   struct halibut_error *err)
{
	struct hbt_ctl_target target;
	const char *text;
	json_t *doc = NULL;

	hbt_ctl_target_init(&target, path);
	if (name != NULL)
		hbt_ctl_target_add(&target, name, value);
	if (sort != NULL)
		hbt_ctl_target_add(&target, "sort", sort);
	text = hbt_ctl_target_text(&target);
	if (text != NULL)
		doc = hbt_ctl_document(g, text, err);
	else
		hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	hbt_ctl_target_fini(&target);
	return doc;
}

static void ago_text(const json_t *doc, const json_t *moment, char text[64])
{
	int64_t at = hbt_ctl_moment(moment);
	char span[32];

	if (at == 0) {
		snprintf(text, 64, "never since the gateway started");
		return;
	}
	hbt_ctl_format_ms(hbt_ctl_moment(json_object_get(doc, "now")) - at,
	                  span);
	snprintf(text, 64, "%s ago", span);
}

/* ---- The steps ---- */

static void judge_gateway(struct hbt_ctl_ping *p, const json_t *node)
{
	const char *state = text_of(node, "state");
	const json_t *listen = json_object_get(node, "listen");
	const char *where = json_string_value(json_array_get(listen, 0));

	if (strcmp(state, "running") != 0)
		hbt_ctl_ping_step(p, "gateway", HBT_VERDICT_FAILED,
		                  HBT_EXIT_CONNECT, -1,
		                  "It takes no new connections now; halibutctl "
		                  "undrain makes a drained one serve again",
		                  "node %s is %s", text_of(node, "node"), state);
	else if (where == NULL)
		hbt_ctl_ping_step(p, "gateway", HBT_VERDICT_FAILED,
		                  HBT_EXIT_CONNECT, -1,
		                  "Its log says why; see listen in "
		                  "halibutd.conf(5)",
		                  "node %s listens nowhere",
		                  text_of(node, "node"));
	else
		hbt_ctl_ping_step(p, "gateway", HBT_VERDICT_OK, 0, -1, NULL,
		                  "node %s serves at %s%s, with the thumbprint "
		                  "%s",
		                  text_of(node, "node"), where,
		                  json_array_size(listen) > 1 ? " and others"
		                                              : "",
		                  text_of(node, "thumbprint"));
}

/* A call waits for it, even if the service is connected. */
static void judge_redis(struct hbt_ctl_ping *p, const json_t *redis)
{
	if (!json_is_object(redis))
		return;
	if (json_is_string(json_object_get(redis, "refusal")))
		hbt_ctl_ping_step(p, "redis", HBT_VERDICT_NOTE, 0, -1,
		                  "Until that is mended calls fail, but those of "
		                  "memory_endpoints",
		                  "%s stores nothing new: %s",
		                  text_of(redis, "server"),
		                  text_of(redis, "refusal"));
	else if (json_is_true(json_object_get(redis, "reachable")))
		hbt_ctl_ping_step(p, "redis", HBT_VERDICT_OK, 0, -1, NULL,
		                  "%s is reachable", text_of(redis, "server"));
	else
		hbt_ctl_ping_step(p, "redis", HBT_VERDICT_NOTE, 0, -1,
		                  "On the gateway's machine `halibutd -t "
		                  "--online` says what is wrong. Until it is "
		                  "back calls wait, but those of "
		                  "memory_endpoints",
		                  "%s is not reachable: %s",
		                  text_of(redis, "server"),
		                  text_of(redis, "last_error"));
}

static void judge_connected(struct hbt_ctl_ping *p, const json_t *doc,
                            const json_t *sub)
{
	const json_t *list = json_object_get(doc, "connections");
	const json_t *one = json_array_get(list, 0);
	char age[64];

	ago_text(doc, json_object_get(one, "opened_at"), age);
	hbt_ctl_ping_step(p, "connection", HBT_VERDICT_OK, 0, -1, NULL,
	                  "%zu of them: the first from %s, %s, opened %s; %s",
	                  json_array_size(list), text_of(one, "peer"),
	                  text_of(one, "thumbprint"), age,
	                  int_of(sub, "idle") > 0 ? "it waits for requests"
	                                          : "all are busy");
	if (json_is_string(json_object_get(sub, "warning")))
		hbt_ctl_ping_step(p, "machines", HBT_VERDICT_NOTE, 0, -1, NULL,
		                  "%s", text_of(sub, "warning"));
	if (json_is_string(json_object_get(sub, "hint")))
		hbt_ctl_ping_step(p, "load", HBT_VERDICT_NOTE, 0, -1, NULL,
		                  "%s", text_of(sub, "hint"));
}

static void judge_absent(struct hbt_ctl_ping *p, const json_t *node,
                         const json_t *doc, const json_t *sub)
{
	char remedy[512], seen[64];

	ago_text(doc, json_object_get(sub, "last_seen_at"), seen);
	snprintf(remedy, sizeof(remedy),
	         "On that machine: does the service run, does it poll (Tentacle "
	         "show-configuration) under exactly this name, at an address "
	         "that leads here, and does it trust %s? From there, "
	         "`halibutctl ping https://GATEWAY:PORT --thumbprint` shows how "
	         "far it comes. Its last connections, and why they ended: "
	         "halibutctl connections --closed",
	         text_of(node, "thumbprint"));
	hbt_ctl_ping_step(p, "connection", HBT_VERDICT_FAILED, HBT_EXIT_CONNECT,
	                  -1, remedy, "none; last seen: %s", seen);
}

/* Who was refused is known by address and certificate only. */
static void judge_refused(struct hbt_ctl_ping *p, const json_t *doc)
{
	int64_t now = hbt_ctl_moment(json_object_get(doc, "now"));
	const json_t *one;
	char ago[64];
	size_t i, n = 0;

	json_array_foreach(json_object_get(doc, "refused"), i, one) {
		int64_t at = hbt_ctl_moment(json_object_get(one, "last_at"));

		if (now - at > LATELY_MS || ++n > 3)
			break;
		ago_text(doc, json_object_get(one, "last_at"), ago);
		hbt_ctl_ping_step(
			p, "refused", HBT_VERDICT_NOTE, 0, -1,
			json_is_string(json_object_get(one, "trust_command"))
				? text_of(one, "trust_command")
				: NULL,
			"%s, %s: %s. If that is the machine:",
			text_of(one, "address"), ago, text_of(one, "reason"));
	}
	if (n == 0)
		hbt_ctl_ping_step(p, "refused", HBT_VERDICT_OK, 0, -1, NULL,
		                  "nobody within the last hour: so it does not "
		                  "come as far as here");
}

static void judge_queue(struct hbt_ctl_ping *p, const json_t *sub)
{
	char oldest[32];

	if (sub == NULL)
		return;
	hbt_ctl_format_ms(int_of(sub, "oldest_waiting_ms"), oldest);
	if (int_of(sub, "waiting") > 0)
		hbt_ctl_ping_step(p, "queue", HBT_VERDICT_NOTE, 0, -1, NULL,
		                  "%" JSON_INTEGER_FORMAT
		                  " requests wait, the oldest for %s",
		                  int_of(sub, "waiting"), oldest);
	else
		hbt_ctl_ping_step(p, "queue", HBT_VERDICT_OK, 0, -1, NULL,
		                  "nothing waits; %" JSON_INTEGER_FORMAT
		                  " requests were collected, %" JSON_INTEGER_FORMAT
		                  " were not in time",
		                  int_of(sub, "collected"),
		                  int_of(sub, "not_collected"));
}

static void judge(struct hbt_ctl_ping *p, const json_t *node,
                  const json_t *subs, const json_t *connections,
                  const json_t *refused)
{
	const json_t *sub = json_array_get(
		json_object_get(subs, "subscriptions"), 0);
	bool connected =
		json_array_size(json_object_get(connections, "connections")) >
		0;

	judge_gateway(p, node);
	judge_redis(p, json_object_get(node, "redis"));
	if (connected)
		judge_connected(p, connections, sub);
	else if (int_of(sub, "hosted") > 0)
		hbt_ctl_ping_step(p, "connection", HBT_VERDICT_OK, 0, -1, NULL,
		                  "none is needed: services of this node take "
		                  "its requests");
	else
		judge_absent(p, node, subs, sub);
	if (!connected && p->exit_code != HBT_EXIT_OK)
		judge_refused(p, refused);
	judge_queue(p, sub);
	if (sub != NULL)
		json_object_set(p->facts, "subscription", (json_t *)sub);
	json_object_set(p->facts, "connections",
	                json_object_get(connections, "connections"));
}

int hbt_ctl_ping_poll(struct hbt_ctl_ping *p, struct halibut_error *err)
{
	const struct hbt_ctl_gateway g = {.socket = p->socket,
	                                  .timeout_ms = p->timeout_ms};
	char *key = hbt_uri_key(p->url, true);
	json_t *node = NULL, *subs = NULL, *connections = NULL, *refused = NULL;

	if (key == NULL)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "\"%s\" is no subscription; write it as "
		                     "in poll://NAME",
		                     p->url);
	if ((node = ask(&g, "/varz", NULL, NULL, NULL, err)) != NULL &&
	    (subs = ask(&g, "/subsz", "uri", key, NULL, err)) != NULL &&
	    (connections = ask(&g, "/connz", "subscription", key, NULL, err)) !=
	            NULL &&
	    (refused = ask(&g, "/unauthz", NULL, NULL, "last_at", err)) != NULL)
		judge(p, node, subs, connections, refused);
	p->no_gateway = err->status == HALIBUT_ECONNECT;
	json_decref(node);
	json_decref(subs);
	json_decref(connections);
	json_decref(refused);
	free(key);
	return (int)err->status;
}
