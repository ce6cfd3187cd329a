/*
 * The URIs of Halibut: endpoints and subscriptions. wire-protocol 4.3
 *
 * What .NET's System.Uri does, for the part of its grammar that peers use:
 * an authority is required, and all of it is printable ASCII, because other
 * characters do not survive an identification line.
 */
#include "base/uri.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "halibut/error.h"

#define URI_MAX 2048

/* A part of the text that is being parsed. */
struct span {
	const char *s;
	size_t len;
};

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static char to_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static char *copy_lower(struct span part)
{
	char *copy = strndup(part.s, part.len);

	for (char *p = copy; p != NULL && *p != '\0'; p++)
		*p = to_lower(*p);
	return copy;
}

uint16_t hbt_uri_default_port(const char *scheme)
{
	if (strcmp(scheme, "https") == 0 || strcmp(scheme, "wss") == 0)
		return 443;
	if (strcmp(scheme, "http") == 0)
		return 80;
	return 0;
}

static bool split_scheme(const char *text, struct span *scheme)
{
	const char *p = text;

	if (!is_letter(*p))
		return false;
	while (is_letter(*p) || is_digit(*p) || *p == '+' || *p == '-' ||
	       *p == '.')
		p++;
	*scheme = (struct span){text, (size_t)(p - text)};
	return strncmp(p, "://", 3) == 0;
}

/* 1 to 65535. Empty, as in "https://host:/", stands for the default. */
static bool parse_port(struct span text, uint16_t *port)
{
	unsigned long v = 0;

	if (text.len == 0)
		return true;
	for (size_t i = 0; i < text.len; i++) {
		if (!is_digit(text.s[i]))
			return false;
		v = v * 10 + (unsigned long)(text.s[i] - '0');
		if (v > UINT16_MAX)
			return false;
	}
	*port = (uint16_t)v;
	return v > 0;
}

/* The shortest form of an IPv6 address; NULL with *rc set. */
static char *canonical_ipv6(struct span part, int *rc)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_addr addr;
	char *copy;

	*rc = HALIBUT_EINVAL;
	if (part.len >= sizeof(text))
		return NULL;
	memcpy(text, part.s, part.len);
	text[part.len] = '\0';
	if (inet_pton(AF_INET6, text, &addr) != 1 ||
	    inet_ntop(AF_INET6, &addr, text, sizeof(text)) == NULL)
		return NULL;
	if ((copy = strdup(text)) == NULL)
		*rc = HALIBUT_ENOMEM;
	return copy;
}

/* A lower-case host name; NULL with *rc set. */
static char *canonical_name(struct span part, bool numbers_are_ipv4, int *rc)
{
	char text[INET_ADDRSTRLEN];
	struct in_addr addr;
	char *host;

	*rc = HALIBUT_EINVAL;
	if (part.len == 0)
		return NULL;
	for (size_t i = 0; i < part.len; i++) {
		char c = part.s[i];

		if (!is_letter(c) && !is_digit(c) && c != '-' && c != '.' &&
		    c != '_' && c != '~')
			return NULL;
	}
	*rc = HALIBUT_ENOMEM;
	if ((host = copy_lower(part)) == NULL)
		return NULL;
	/* .NET reads https://127.1/ as 127.0.0.1, but poll://123/ as a name. */
	if (numbers_are_ipv4 && inet_aton(host, &addr) &&
	    inet_ntop(AF_INET, &addr, text, sizeof(text)) != NULL) {
		free(host);
		host = strdup(text);
	}
	return host;
}

static int parse_authority(struct span part, struct hbt_uri *uri)
{
	const char *at = memrchr(part.s, '@', part.len);
	struct span host, port = {"", 0};
	const char *end;
	int rc;

	if (at != NULL) {
		part.len -= (size_t)(at + 1 - part.s);
		part.s = at + 1;
	}
	if (part.len > 0 && part.s[0] == '[') {
		if ((end = memchr(part.s, ']', part.len)) == NULL)
			return HALIBUT_EINVAL;
		host = (struct span){part.s + 1, (size_t)(end - part.s - 1)};
		end++;
		uri->host = canonical_ipv6(host, &rc);
	} else {
		if ((end = memchr(part.s, ':', part.len)) == NULL)
			end = part.s + part.len;
		host = (struct span){part.s, (size_t)(end - part.s)};
		uri->host = canonical_name(
			host, hbt_uri_default_port(uri->scheme) != 0, &rc);
	}
	if (uri->host == NULL)
		return rc;
	if (end < part.s + part.len) {
		if (*end != ':')
			return HALIBUT_EINVAL;
		port.s = end + 1;
		port.len = part.len - (size_t)(port.s - part.s);
	}
	uri->port = hbt_uri_default_port(uri->scheme);
	return parse_port(port, &uri->port) ? HALIBUT_OK : HALIBUT_EINVAL;
}

/*
 * Resolves "." and ".." in place. path starts with a slash; a query, if any,
 * is not part of it.
 */
static void remove_dot_segments(char *path)
{
	char *out = path;
	const char *in = path;

	while (*in == '/') {
		size_t len = strcspn(in + 1, "/");
		const char *segment = in + 1;
		bool last = segment[len] == '\0';
		bool dot = len == 1 && segment[0] == '.';
		bool dots = len == 2 && memcmp(segment, "..", 2) == 0;

		in = segment + len;
		if (!dot && !dots) {
			*out++ = '/';
			memmove(out, segment, len);
			out += len;
			continue;
		}
		while (dots && out > path && *--out != '/')
			continue;
		if (last)
			*out++ = '/';
	}
	if (out == path)
		*out++ = '/';
	*out = '\0';
}

/* Backslashes become slashes, escaped dots become dots, as .NET has it. */
static void normalise_separators(char *path)
{
	const char *in = path;
	char *out = path;

	while (*in != '\0') {
		if (strncasecmp(in, "%2e", 3) == 0) {
			*out++ = '.';
			in += 3;
		} else {
			*out++ = *in == '\\' ? '/' : *in;
			in++;
		}
	}
	*out = '\0';
}

static int parse_path(struct span part, struct hbt_uri *uri)
{
	size_t path_len;
	char *query = NULL;
	char *path;

	for (size_t i = 0; i < part.len; i++)
		if (part.s[i] < 0x20 || part.s[i] > 0x7e)
			return HALIBUT_EINVAL;
	for (path_len = 0; path_len < part.len; path_len++)
		if (part.s[path_len] == '?')
			break;
	if ((path = malloc(path_len + 2)) == NULL)
		return HALIBUT_ENOMEM;
	snprintf(path, path_len + 2, "%s%.*s", path_len == 0 ? "/" : "",
	         (int)path_len, part.s);
	normalise_separators(path);
	remove_dot_segments(path);
	if (path_len == part.len) {
		uri->path = path;
		return HALIBUT_OK;
	}
	if (asprintf(&query, "%s%.*s", path, (int)(part.len - path_len),
	             part.s + path_len) < 0)
		query = NULL;
	free(path);
	uri->path = query;
	return query != NULL ? HALIBUT_OK : HALIBUT_ENOMEM;
}

int hbt_uri_parse(const char *text, struct hbt_uri *uri)
{
	struct span scheme, authority, path;
	int rc = HALIBUT_EINVAL;

	*uri = (struct hbt_uri){0};
	if (strnlen(text, URI_MAX + 1) > URI_MAX ||
	    !split_scheme(text, &scheme))
		return HALIBUT_EINVAL;
	authority.s = scheme.s + scheme.len + strlen("://");
	authority.len = strcspn(authority.s, "/?#");
	path.s = authority.s + authority.len;
	path.len = strcspn(path.s, "#");
	if ((uri->scheme = copy_lower(scheme)) == NULL)
		rc = HALIBUT_ENOMEM;
	else if ((rc = parse_authority(authority, uri)) == HALIBUT_OK)
		rc = parse_path(path, uri);
	if (rc != HALIBUT_OK)
		hbt_uri_fini(uri);
	return rc;
}

void hbt_uri_fini(struct hbt_uri *uri)
{
	free(uri->scheme);
	free(uri->host);
	free(uri->path);
	*uri = (struct hbt_uri){0};
}

static int hex_value(char c)
{
	if (is_digit(c))
		return c - '0';
	c = to_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Would the character mean something else if it stood there unescaped? */
static bool stays_escaped(int c)
{
	return c < 0x20 || c > 0x7e ||
	       strchr(":/?#[]@!$&'()*+,;=%\\", c) != NULL;
}

/*
 * A copy of text with those percent-escapes undone that Uri.ToString()
 * undoes. A percent sign that begins no escape is written as one, or a digit
 * unescaped behind it would make it begin one. NULL when memory is short.
 */
static char *unescape_printable(const char *text)
{
	char *copy = malloc(strlen(text) * 3 + 1);
	char *out = copy;

	if (copy == NULL)
		return NULL;
	while (*text != '\0') {
		int high = text[0] == '%' ? hex_value(text[1]) : -1;
		int low = high >= 0 ? hex_value(text[2]) : -1;

		if (low >= 0 && !stays_escaped(high << 4 | low)) {
			*out++ = (char)(high << 4 | low);
			text += 3;
		} else if (*text == '%' && low < 0) {
			out = stpcpy(out, "%25");
			text++;
		} else {
			*out++ = *text++;
		}
	}
	*out = '\0';
	return copy;
}

char *hbt_uri_format(const struct hbt_uri *uri)
{
	bool v6 = strchr(uri->host, ':') != NULL;
	char *path = unescape_printable(uri->path);
	char port[8] = "";
	char *text = NULL;

	if (path == NULL)
		return NULL;
	if (uri->port != hbt_uri_default_port(uri->scheme))
		snprintf(port, sizeof(port), ":%u", uri->port);
	if (asprintf(&text, "%s://%s%s%s%s%s", uri->scheme, v6 ? "[" : "",
	             uri->host, v6 ? "]" : "", port, path) < 0)
		text = NULL;
	free(path);
	return text;
}

char *hbt_uri_key(const char *text, bool keep_path)
{
	struct hbt_uri uri;
	char *key;

	if (hbt_uri_parse(text, &uri) != HALIBUT_OK)
		return NULL;
	if (!keep_path && strcmp(uri.scheme, "wss") != 0)
		uri.path[1] = '\0'; /* leaves the slash */
	key = hbt_uri_format(&uri);
	hbt_uri_fini(&uri);
	return key;
}
