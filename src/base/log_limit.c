#include "base/log_limit.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/hash.h"
#include "base/timespan.h"

#define WINDOW_MS 60000
#define MAX_KEYS 1024 /* of each; attackers choose some of them */
/* When a fleet goes, or comes, that is no line for each of its machines. */
#define MAX_KEYS_OF_EVENT 50
#define TEXT_MAX 1024

/* A kind of line, for the minute that began with its first. */
struct kind {
	int64_t since_ms;
	unsigned left_out;
	const char *file;
	enum hbt_log_level level;
	char *text, *peer, *thumbprint, *endpoint, *reason, *remedy;
	const char *event;
	UT_hash_handle hh;
	char key[];
};

static struct kind *kinds;

static char *copy(const char *text)
{
	return text != NULL ? strndup(text, TEXT_MAX) : NULL;
}

static void kind_free(struct kind *k)
{
	if (k->hh.tbl != NULL)
		HASH_DEL(kinds, k);
	free(k->text);
	free(k->peer);
	free(k->thumbprint);
	free(k->endpoint);
	free(k->reason);
	free(k->remedy);
	free(k);
}

static void kind_add(const char *file, const char *key,
                     enum hbt_log_level level,
                     const struct hbt_log_about *about, const char *text,
                     int64_t now_ms)
{
	struct kind *k = calloc(1, sizeof(*k) + strlen(key) + 1);

	if (k == NULL)
		return;
	strcpy(k->key, key);
	k->since_ms = now_ms;
	k->file = file;
	k->level = level;
	k->text = copy(text);
	if (about != NULL) {
		k->event = about->event;
		k->peer = copy(about->peer);
		k->thumbprint = copy(about->thumbprint);
		k->endpoint = copy(about->endpoint);
		k->reason = copy(about->reason);
		k->remedy = copy(about->remedy);
	}
	HASH_ADD_STR(kinds, key, k);
	if (k->hh.tbl == NULL)
		kind_free(k);
}

static void say_left_out(const struct kind *k)
{
	if (k->left_out == 0 || !hbt_log_wants_from(k->file, k->level))
		return;
	hbt_log_from(k->file, k->level,
	             LOG_ABOUT(.event = k->event, .peer = k->peer,
	                       .thumbprint = k->thumbprint,
	                       .endpoint = k->endpoint, .reason = k->reason,
	                       .remedy = k->remedy),
	             "%u more like this within a minute: %s", k->left_out,
	             k->text != NULL ? k->text : k->key);
}

void hbt_log_limit_tick(int64_t now_ms)
{
	struct kind *k, *next;

	/* The oldest come first. */
	HASH_ITER (hh, kinds, k, next) {
		if (now_ms - k->since_ms < WINDOW_MS)
			break;
		say_left_out(k);
		kind_free(k);
	}
}

/* Only asked for keys that are new: there are not many of them. */
static bool is_crowded(const char *event)
{
	unsigned of_event = 0;

	if (HASH_COUNT(kinds) >= MAX_KEYS)
		return true;
	for (const struct kind *k = kinds; k != NULL; k = k->hh.next)
		of_event += event != NULL && k->event != NULL &&
		            strcmp(k->event, event) == 0;
	return of_event >= MAX_KEYS_OF_EVENT;
}

void hbt_log_limited_from(const char *file, const char *key,
                          enum hbt_log_level level,
                          const struct hbt_log_about *about, const char *fmt,
                          ...)
{
	const char *event = about != NULL ? about->event : NULL;
	bool all = hbt_log_wants_from(file, HBT_LOG_DEBUG);
	int64_t now_ms = hbt_now_ms();
	char text[TEXT_MAX * 4];
	struct kind *k;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	hbt_log_limit_tick(now_ms);
	HASH_FIND_STR(kinds, key, k);
	if (k == NULL && !all && is_crowded(event)) {
		/* Whoever invents keys shares one with its likes. */
		key = event != NULL ? event : "";
		HASH_FIND_STR(kinds, key, k);
	}
	if (k != NULL && !all) {
		k->left_out++;
		return;
	}
	if (k == NULL && !all)
		kind_add(file, key, level, about, text, now_ms);
	hbt_log_from(file, level, about, "%s", text);
}

void hbt_log_key(char key[HBT_LOG_KEY], const char *what, const char *peer)
{
	const char *colon = strrchr(peer, ':');

	snprintf(key, HBT_LOG_KEY, "%s %.*s", what,
	         colon != NULL ? (int)(colon - peer) : (int)strlen(peer), peer);
}

/* The same reason at another port is the same. */
static void add_without(char *key, size_t size, const char *text,
                        const char *left_out)
{
	size_t n = strlen(key), skip = strlen(left_out);

	while (*text != '\0' && n + 1 < size) {
		if (skip > 0 && strncmp(text, left_out, skip) == 0)
			text += skip;
		else
			key[n++] = *text++;
	}
	key[n] = '\0';
}

void hbt_log_refusal(const char *peer, const char *thumbprint,
                     const char *reason)
{
	const char *colon = strrchr(peer, ':');
	/* As src/exchange/accept.c, and the original, say it. */
	bool is_unknown = thumbprint != NULL &&
	                  strstr(reason, "thumbprints that we trust") != NULL;
	char key[512], remedy[80];

	snprintf(remedy, sizeof(remedy), "halibutctl trust add %s",
	         is_unknown ? thumbprint : "");
	snprintf(key, sizeof(key), "refused %.*s ",
	         colon != NULL ? (int)(colon - peer) : (int)strlen(peer), peer);
	add_without(key, sizeof(key), reason, peer);
	log_limited(key, HBT_LOG_WARNING,
	            LOG_ABOUT(.event = "connection_refused", .peer = peer,
	                      .thumbprint = thumbprint, .reason = reason,
	                      .remedy = is_unknown ? remedy : NULL),
	            "%s refused: %s", peer, reason);
}

/* Outages */

struct outage {
	struct hbt_outage is;
	UT_hash_handle hh;
	char key[];
};

static struct outage *outages;

bool hbt_outage_began(const char *key, int64_t now_ms)
{
	struct outage *o;

	HASH_FIND_STR(outages, key, o);
	if (o != NULL) {
		o->is.failures++;
		return false;
	}
	/* Of the oldest nobody has heard for long; it may begin again. */
	if (HASH_COUNT(outages) >= MAX_KEYS) {
		o = outages;
		HASH_DEL(outages, o);
		free(o);
	}
	o = calloc(1, sizeof(*o) + strlen(key) + 1);
	if (o == NULL)
		return true;
	strcpy(o->key, key);
	o->is.since_ms = now_ms;
	o->is.failures = 1;
	HASH_ADD_STR(outages, key, o);
	if (o->hh.tbl == NULL)
		free(o);
	return true;
}

bool hbt_outage_over(const char *key, struct hbt_outage *was)
{
	struct outage *o;

	if (outages == NULL) /* as nearly always */
		return false;
	HASH_FIND_STR(outages, key, o);
	if (o == NULL)
		return false;
	*was = o->is;
	HASH_DEL(outages, o);
	free(o);
	return true;
}
