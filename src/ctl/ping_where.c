/*
 * halibutctl ping https://...: how the gateway would dial it, so that the same
 * is tried, and the certificate is held against what its configuration says.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "ctl/ctl.h"
#include "ctl/options.h"
#include "ctl/ping.h"

static const char *text_of(const json_t *o, const char *name)
{
	return json_string_value(json_object_get(o, name));
}

/* "line 12 of /etc/halibut/halibutd.conf, endpoint \"…\"" */
static void place_of(const json_t *where, const char *line_name, char *text,
                     size_t cap)
{
	const json_t *line = json_object_get(where, line_name);
	const char *file = text_of(where, "file");
	const char *section = text_of(where, "section");
	const char *title = text_of(where, "title");

	if (json_is_integer(line))
		snprintf(text, cap, "line %lld of %s",
		         (long long)json_integer_value(line), file);
	else
		snprintf(text, cap, "section %s \"%s\" of %s", section, title,
		         file);
}

static json_t *ask(const struct hbt_ctl_ping *p)
{
	struct hbt_ctl_question q = {
		.type = HBT_IPC_WHERE,
		.answer = HBT_IPC_CONFIG_DOC,
		.timeout_ms = p->timeout_ms,
	};
	struct halibut_error err = {.status = HALIBUT_OK};
	json_t *doc = NULL;
	uint8_t *body = NULL;
	struct hbt_str text;
	struct hbt_rd r;
	struct hbt_wr w;
	size_t len;

	hbt_wr_init(&w, 65536);
	hbt_wr_str(&w, p->url, strlen(p->url));
	q.body = &w;
	if (hbt_ctl_ask(p->socket, &q, &body, &len, &err) == HALIBUT_OK) {
		r = hbt_rd_from(body, len);
		text = hbt_rd_str(&r);
		if (hbt_rd_finish(&r) == HALIBUT_OK)
			doc = json_loadb(text.s, text.len, 0, NULL);
	}
	free(body);
	hbt_wr_fini(&w);
	halibut_error_clear(&err); /* no gateway: then it is not asked */
	return doc;
}

/* The thumbprints with commas between; malloced, NULL: none. */
static char *join(const json_t *list)
{
	char *joined = NULL, *longer;
	const json_t *one;
	size_t i;

	json_array_foreach(list, i, one) {
		if (asprintf(&longer, "%s%s%s", joined != NULL ? joined : "",
		             joined != NULL ? "," : "",
		             json_string_value(one)) < 0)
			longer = NULL;
		free(joined);
		joined = longer;
	}
	return joined;
}

/* What was given on the command line goes before it. */
static void dial_as(struct hbt_ctl_ping *p, const json_t *where)
{
	char place[1024];

	if (p->thumbprint == NULL) {
		place_of(where, "thumbprint_line", place, sizeof(place));
		p->thumbprint = p->configured =
			join(json_object_get(where, "thumbprints"));
		p->against = strdup(place);
	}
	p->target = text_of(where, "to");
	if (p->proxy == NULL) {
		p->proxy = text_of(where, "proxy");
		if (p->proxy_user == NULL)
			p->proxy_user = text_of(where, "proxy_user");
	}
	if (p->connect == NULL)
		p->connect = text_of(where, "connect");
}

static void tell_dial(struct hbt_ctl_ping *p, const json_t *where,
                      const char *place)
{
	bool secret = json_is_true(json_object_get(where, "proxy_password")) &&
	              p->proxy_password_file == NULL;
	const char *proxy = text_of(where, "proxy");
	const char *section = text_of(where, "section");
	bool polled = strcmp(section, "poll") == 0;

	dial_as(p, where);
	hbt_ctl_ping_step(p, "route", HBT_VERDICT_OK, 0, -1,
	                  secret ? "The password for the proxy is not told by "
				   "the gateway: give it with "
				   "--proxy-password-file"
	                         : NULL,
	                  "the gateway %s %s%s%s: %s",
	                  polled ? "polls" : "dials", text_of(where, "to"),
	                  proxy != NULL ? " through the proxy " : "",
	                  proxy != NULL ? proxy : "", place);
}

static void tell_queue(struct hbt_ctl_ping *p, const json_t *where,
                       const char *place)
{
	char remedy[512];

	snprintf(remedy, sizeof(remedy),
	         "Whether that is connected says `halibutctl ping %.300s`. "
	         "Here the name itself is dialled, as a client does it",
	         text_of(where, "to"));
	hbt_ctl_ping_step(p, "route", HBT_VERDICT_OK, 0, -1, remedy,
	                  "the gateway takes calls for it to %s: %s",
	                  text_of(where, "to"), place);
}

static void tell_nowhere(struct hbt_ctl_ping *p, const json_t *where)
{
	const char *hint = text_of(where, "hint");
	char remedy[1024];

	snprintf(remedy, sizeof(remedy),
	         "If the gateway shall dial it, add endpoint \"%.300s\" "
	         "{ thumbprint = ... }",
	         p->url);
	hbt_ctl_ping_step(p, "route", HBT_VERDICT_NOTE, 0, -1, remedy,
	                  "the gateway knows nobody by that name; %s has no "
	                  "endpoint, route or poll for it%s",
	                  text_of(where, "file"), hint != NULL ? hint : "");
}

static void tell_self(struct hbt_ctl_ping *p, const json_t *where)
{
	p->is_self = true;
	if (p->thumbprint == NULL) {
		p->thumbprint = p->configured =
			join(json_object_get(where, "thumbprints"));
		p->against = strdup("this gateway has it");
	}
	hbt_ctl_ping_step(p, "route", HBT_VERDICT_OK, 0, -1, NULL,
	                  "that is this very gateway");
}

void hbt_ctl_ping_where(struct hbt_ctl_ping *p)
{
	json_t *where = ask(p);
	const char *leads = text_of(where, "leads");
	char place[1024];

	if (leads == NULL) {
		json_decref(where);
		return;
	}
	json_object_set_new(p->facts, "gateway", where); /* has the texts */
	place_of(where, "line", place, sizeof(place));
	if (strcmp(leads, "dial") == 0)
		tell_dial(p, where, place);
	else if (strcmp(leads, "queue") == 0)
		tell_queue(p, where, place);
	else if (strcmp(leads, "hosted") == 0)
		hbt_ctl_ping_step(p, "route", HBT_VERDICT_OK, 0, -1, NULL,
		                  "the gateway's own services answer calls for "
		                  "it: %s",
		                  place);
	else if (strcmp(leads, "self") == 0)
		tell_self(p, where);
	else
		tell_nowhere(p, where);
}
