/* The HTTP CONNECT conversation as bytes, without I/O. */
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "net/proxy.h"

static bool is_blank(const char *s)
{
	return s == NULL || s[strspn(s, " \t\r\n")] == '\0';
}

/*
 * "user:password" in base64. What is not ASCII becomes one '?' a character,
 * as the original does.
 */
static char *credentials(const char *user, const char *password)
{
	size_t max = strlen(user) + 1 + strlen(password);
	unsigned char *plain = malloc(max + 1);
	char *text = malloc(4 * ((max + 2) / 3) + 1);
	size_t i, n;

	if (plain == NULL || text == NULL) {
		free(plain);
		free(text);
		return NULL;
	}
	sprintf((char *)plain, "%s:%s", user, password);
	for (i = n = 0; i < max; i++) {
		if (plain[i] < 0x80)
			plain[n++] = plain[i];
		else if ((plain[i] & 0xc0) == 0xc0)
			plain[n++] = '?';
	}
	EVP_EncodeBlock((unsigned char *)text, plain, (int)n);
	OPENSSL_cleanse(plain, max);
	free(plain);
	return text;
}

char *hbt_proxy_request(const char *host, uint16_t port, const char *user,
                        const char *password)
{
	bool v6 = strchr(host, ':') != NULL && host[0] != '[';
	char *target = NULL, *text = NULL, *basic = NULL;

	if (!is_blank(user) &&
	    (basic = credentials(user, password == NULL ? "" : password)) ==
	            NULL)
		goto out;
	if (asprintf(&target, v6 ? "[%s]:%u" : "%s:%u", host, port) < 0) {
		target = NULL;
		goto out;
	}
	if (asprintf(&text, "CONNECT %s HTTP/1.0\r\nHost: %s\r\n%s%s%s\r\n",
	             target, target,
	             basic != NULL ? "Proxy-Authorization: Basic " : "",
	             basic != NULL ? basic : "",
	             basic != NULL ? "\r\n" : "") < 0)
		text = NULL;
out:
	if (basic != NULL)
		OPENSSL_cleanse(basic, strlen(basic));
	free(basic);
	free(target);
	return text;
}

int hbt_proxy_check(const char *host, uint16_t port, struct halibut_error *err)
{
	if (is_blank(host))
		return hbt_error_set(err, HALIBUT_EPROXY,
		                     "The proxy has no host name");
	if (strstr(host, "://") != NULL)
		return hbt_error_set(err, HALIBUT_EPROXY,
		                     "The proxy's host name '%s' must not "
		                     "contain a protocol such as http://",
		                     host);
	if (port == 0)
		return hbt_error_set(err, HALIBUT_EPROXY,
		                     "The port of proxy '%s' must be 1 to "
		                     "65535",
		                     host);
	return HALIBUT_OK;
}

void hbt_proxy_reply_init(struct hbt_proxy_reply *r)
{
	*r = (struct hbt_proxy_reply){0};
}

/* The code between first and second space, or up to the end; -1 if none. */
static int status_code(const char *line)
{
	const char *p = strchr(line, ' ');
	int code = 0, digits = 0;

	if (strstr(line, "HTTP") == NULL || p == NULL)
		return -1;
	for (p++; *p >= '0' && *p <= '9' && digits < 4; p++, digits++)
		code = code * 10 + (*p - '0');
	return digits == 3 && (*p == ' ' || *p == '\0') ? code : -1;
}

static int judge(const struct hbt_proxy_reply *r, struct halibut_error *err)
{
	int code = status_code(r->line);

	if (code == 200)
		return HALIBUT_OK;
	if (code < 0)
		return hbt_error_set(err, HALIBUT_EPROXY,
		                     "no recognisable HTTP reply came; it "
		                     "began with: %s",
		                     r->line);
	return hbt_error_set(err, HALIBUT_EPROXY,
	                     "it responded with a %d code%s: %s", code,
	                     code == 407   ? " (it wants a user name and "
	                                     "password)"
	                     : code == 403 ? " (it does not allow this "
	                                     "destination)"
	                     : code == 502 ? " (it cannot reach the "
	                                     "destination)"
	                                   : "",
	                     r->line);
}

static void keep_first_line(struct hbt_proxy_reply *r, char ch)
{
	if (r->line_complete || ch == '\r')
		return;
	if (ch == '\n')
		r->line_complete = true;
	else if (r->line_len < sizeof(r->line) - 1)
		r->line[r->line_len++] = ch >= 0x20 && ch < 0x7f ? ch : '?';
}

int hbt_proxy_reply_feed(struct hbt_proxy_reply *r, const void *data,
                         size_t len, size_t *used, struct halibut_error *err)
{
	static const char end[] = "\r\n\r\n";
	const char *p = data;
	size_t i;

	for (i = 0; i < len; i++) {
		keep_first_line(r, p[i]);
		if (p[i] == end[r->matched])
			r->matched++;
		else
			r->matched = p[i] == '\r';
		if (r->matched == sizeof(end) - 1) {
			*used = i + 1;
			return judge(r, err);
		}
		if (++r->len > HBT_PROXY_HEADER_MAX) {
			*used = i + 1;
			return hbt_error_set(err, HALIBUT_EPROXY,
			                     "its reply has no end within %d "
			                     "bytes; it began with: %s",
			                     HBT_PROXY_HEADER_MAX, r->line);
		}
	}
	*used = len;
	return HALIBUT_EAGAIN;
}
