#include "queue/redis_names.h"

#include <assert.h>
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define NS "octopus::server::halibut"

const char *hbt_redis_name(struct hbt_redis_name *n, const char *prefix,
                           enum hbt_redis_kind kind, const char *of)
{
	/* Mind the single and double colons, and where NS is not. */
	static const struct {
		const char *before, *after;
	} names[] = {
		[HBT_REDIS_LIST] = {":list:" NS "::PendingRequestGuidsQueue::",
	                            ""},
		[HBT_REDIS_PULSE] = {":channel:" NS
	                             "::RequestMessagesPulseChannel::",
	                             ""},
		[HBT_REDIS_REQUEST] = {":hash:" NS "::RequestMessage::", ""},
		[HBT_REDIS_RESPONSE] = {":hash:" NS "::Response::", ""},
		[HBT_REDIS_RESPONSE_PULSE] = {":channel:" NS
	                                      "::ResponseAvailableChannel::",
	                                      ""},
		[HBT_REDIS_CANCELLED] = {":string:" NS
	                                 "::RequestCancelledMarker::",
	                                 ""},
		[HBT_REDIS_CANCELLED_PULSE] = {":channel:" NS
	                                       "::RequestCancelledChannel::",
	                                       ""},
		[HBT_REDIS_SENDER_BEAT] = {":channel:" NS
	                                   "::NodeHeartBeatChannel::",
	                                   "::RequestSenderNode"},
		[HBT_REDIS_RECEIVER_BEAT] = {":channel:" NS
	                                     "::NodeHeartBeatChannel::",
	                                     "::RequestProcessorNode"},
		[HBT_REDIS_LOSS] = {":string:WatchForDataLoss::", ""},
	};
	const char *const parts[] = {prefix, ":HalibutRedis",
	                             names[kind].before, of,
	                             names[kind].after};
	size_t len = 0;

	/* Without printf(): a small call makes sixteen of them. */
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		size_t n_part = strlen(parts[i]);

		assert(n_part < sizeof(n->text) - len);
		if (n_part > sizeof(n->text) - 1 - len)
			n_part = sizeof(n->text) - 1 - len;
		memcpy(n->text + len, parts[i], n_part);
		len += n_part;
	}
	n->text[len] = '\0';
	return n->text;
}

char *hbt_redis_ref(const char *endpoint, const char *guid)
{
	char *ref = NULL;

	return asprintf(&ref, "%s::%s", endpoint, guid) >= 0 ? ref : NULL;
}

const char *hbt_redis_response_pattern(struct hbt_redis_name *n,
                                       const char *prefix)
{
	struct hbt_redis_name plain;
	const char *from =
		hbt_redis_name(&plain, prefix, HBT_REDIS_RESPONSE_PULSE, "");
	size_t len = 0;

	/* A prefix at its limit doubles at most. */
	for (; *from != '\0' && len + 4 < sizeof(n->text); from++) {
		if (strchr("*?[]\\", *from) != NULL)
			n->text[len++] = '\\';
		n->text[len++] = *from;
	}
	memcpy(n->text + len, "*", 2);
	return n->text;
}

const char *hbt_redis_response_ref(const char *channel, const char *prefix)
{
	struct hbt_redis_name start;
	const char *at = strstr(
		channel,
		hbt_redis_name(&start, prefix, HBT_REDIS_RESPONSE_PULSE, ""));

	return at != NULL ? at + strlen(start.text) : NULL;
}

/* Up to width digits, of which zeros in front may be left out. */
static const char *read_number(const char *text, int width, char *digits)
{
	int n;

	if (text[0] != '0' || (text[1] != 'x' && text[1] != 'X'))
		return NULL;
	text += 2;
	for (n = 0; isxdigit((unsigned char)text[n]); n++)
		;
	if (n == 0 || n > width)
		return NULL;
	memset(digits, '0', (size_t)(width - n));
	memcpy(digits + width - n, text, (size_t)n);
	return text + n;
}

/* {0x8f14e45f,0xceea,0x467f,{0x95,0x75,0x3b,0x5f,0x0d,0x0c,0x1a,0x2b}} */
static int read_x(const char *text, struct hbt_guid *g)
{
	static const struct {
		const char *before;
		int width;
	} parts[] = {{"{", 8},  {",", 4}, {",", 4}, {",{", 2}, {",", 2}, {",", 2},
	             {",", 2}, {",", 2}, {",", 2}, {",", 2},  {",", 2}};
	char digits[33];
	size_t at = 0;

	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		size_t n = strlen(parts[i].before);

		if (strncmp(text, parts[i].before, n) != 0)
			return HALIBUT_EINVAL;
		text = read_number(text + n, parts[i].width, digits + at);
		if (text == NULL)
			return HALIBUT_EINVAL;
		at += (size_t)parts[i].width;
	}
	digits[at] = '\0';
	return strcmp(text, "}}") == 0 ? hbt_guid_parse(digits, g)
	                               : HALIBUT_EINVAL;
}

/* Without the spaces around it, or, in format X, all of them. */
static int copy_trimmed(const char *text, size_t len, char *buf, size_t size)
{
	bool is_x = memchr(text, 'x', len) != NULL ||
	            memchr(text, 'X', len) != NULL;
	size_t n = 0;

	while (len > 0 && isspace((unsigned char)text[len - 1]))
		len--;
	for (; len > 0; text++, len--) {
		if (isspace((unsigned char)*text) && (n == 0 || is_x))
			continue;
		if (*text == '\0' || n + 1 == size)
			return HALIBUT_EINVAL;
		buf[n++] = *text;
	}
	buf[n] = '\0';
	return HALIBUT_OK;
}

int hbt_redis_guid_read(const char *text, size_t len, struct hbt_guid *g)
{
	char buf[80];
	size_t last;

	if (copy_trimmed(text, len, buf, sizeof(buf)) != HALIBUT_OK)
		return HALIBUT_EINVAL;
	if (buf[0] == '{' && buf[1] == '0' && (buf[2] == 'x' || buf[2] == 'X'))
		return read_x(buf, g);
	last = strlen(buf) - 1; /* wraps when it is empty */
	if (last == HBT_GUID_TEXT && ((buf[0] == '{' && buf[last] == '}') ||
	                              (buf[0] == '(' && buf[last] == ')'))) {
		buf[last] = '\0';
		return hbt_guid_parse(buf + 1, g);
	}
	return hbt_guid_parse(buf, g);
}
