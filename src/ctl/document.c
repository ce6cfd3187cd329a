#include "ctl/document.h"

#include <event2/http.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "ctl/ctl.h"

json_t *hbt_ctl_document_of(const struct hbt_ctl_gateway *g, const char *target,
                            unsigned *status, struct halibut_error *err)
{
	struct hbt_ctl_question q = {
		.type = HBT_IPC_DOCUMENT_ASK,
		.answer = HBT_IPC_DOCUMENT,
		.timeout_ms = g->timeout_ms,
	};
	uint8_t *body = NULL;
	struct hbt_str text;
	json_t *doc = NULL;
	struct hbt_rd r;
	struct hbt_wr w;
	size_t len;
	int rc;

	hbt_wr_init(&w, 65536);
	hbt_wr_str(&w, target, strlen(target));
	q.body = &w;
	rc = hbt_ctl_ask(g->socket, &q, &body, &len, err);
	hbt_wr_fini(&w);
	if (rc != HALIBUT_OK)
		return NULL;
	r = hbt_rd_from(body, len);
	*status = hbt_rd_u16(&r);
	text = hbt_rd_str(&r);
	if (hbt_rd_finish(&r) == HALIBUT_OK)
		doc = json_loadb(text.s, text.len, 0, NULL);
	free(body);
	if (doc == NULL)
		hbt_ctl_unreadable(g, err);
	return doc;
}

/* By a status of HTTP. */
static int error_of(unsigned status)
{
	switch (status) {
	case 503: /* the status worker does not run, or cannot */
		return HALIBUT_EWORKER;
	case 504:
		return HALIBUT_ETIMEOUT;
	default:
		return HALIBUT_EREMOTE;
	}
}

json_t *hbt_ctl_document(const struct hbt_ctl_gateway *g, const char *target,
                         struct halibut_error *err)
{
	unsigned status = 0;
	json_t *doc = hbt_ctl_document_of(g, target, &status, err);
	const char *why;

	if (doc == NULL || status == 200)
		return doc;
	why = json_string_value(json_object_get(doc, "error"));
	hbt_error_set(err, error_of(status), "the gateway %s: %s",
	              status == 503 || status == 504 ? "cannot tell now"
	                                             : "refused",
	              why != NULL ? why : "no reason");
	json_decref(doc);
	return NULL;
}

void hbt_ctl_target_init(struct hbt_ctl_target *t, const char *path)
{
	*t = (struct hbt_ctl_target){.text = evbuffer_new()};
	t->failed = t->text == NULL ||
	            evbuffer_add(t->text, path, strlen(path)) != 0;
}

static void add_encoded(struct hbt_ctl_target *t, const char *text)
{
	char *encoded = evhttp_uriencode(text, -1, 0);

	t->failed |= encoded == NULL ||
	             evbuffer_add(t->text, encoded, strlen(encoded)) != 0;
	free(encoded);
}

void hbt_ctl_target_add(struct hbt_ctl_target *t, const char *name,
                        const char *value)
{
	if (t->failed)
		return;
	evbuffer_add(t->text, t->has_parameters ? "&" : "?", 1);
	t->has_parameters = true;
	add_encoded(t, name);
	evbuffer_add(t->text, "=", 1);
	add_encoded(t, value);
}

bool hbt_ctl_target_filter(struct hbt_ctl_target *t, const char *text)
{
	const char *equals = strchr(text, '=');
	char *name;

	if (equals == NULL || equals == text)
		return false;
	name = strndup(text, (size_t)(equals - text));
	if (name == NULL)
		t->failed = true;
	else
		hbt_ctl_target_add(t, name, equals + 1);
	free(name);
	return true;
}

const char *hbt_ctl_target_text(struct hbt_ctl_target *t)
{
	if (t->failed || evbuffer_add(t->text, "", 1) != 0)
		return NULL;
	return (const char *)evbuffer_pullup(t->text, -1);
}

void hbt_ctl_target_fini(struct hbt_ctl_target *t)
{
	if (t->text != NULL)
		evbuffer_free(t->text);
	t->text = NULL;
}

int64_t hbt_ctl_moment(const json_t *value)
{
	const char *text = json_string_value(value), *rest;
	struct tm tm = {.tm_year = 0};
	int64_t ms = 0;

	if (text == NULL ||
	    (rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm)) == NULL)
		return 0;
	if (*rest == '.')
		ms = strtol(rest + 1, NULL, 10);
	return (int64_t)timegm(&tm) * 1000 + ms;
}
