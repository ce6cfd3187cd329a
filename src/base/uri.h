/* The URIs of Halibut: endpoints and subscriptions. wire-protocol 4.3 */
#ifndef HBT_BASE_URI_H
#define HBT_BASE_URI_H

#include <stdbool.h>
#include <stdint.h>

struct hbt_uri {
	char *scheme; /* lower case: "https", "poll", "wss", "queue" */
	char *host;   /* lower case, IPv6 without brackets; never NULL */
	uint16_t port; /* 0: none given and the scheme has no default */
	char *path;   /* with leading slash, with query; "/" when empty */
};

/*
 * Parses an absolute URI of at most 2048 bytes. User info and fragment are
 * dropped. Port defaults: https and wss 443, http 80.
 * HALIBUT_EINVAL, HALIBUT_ENOMEM; *uri is zeroed then.
 */
int hbt_uri_parse(const char *text, struct hbt_uri *uri);
void hbt_uri_fini(struct hbt_uri *uri);

/*
 * The text that .NET's Uri.ToString() gives: default port left out, empty
 * path as "/", IPv6 host in brackets. Malloced; NULL when memory is short.
 */
char *hbt_uri_format(const struct hbt_uri *uri);

/*
 * The key under which an endpoint or subscription is looked up: parsed and
 * formatted, without path unless the scheme is wss. For a subscription pass
 * keep_path. NULL when text is no absolute URI or memory is short.
 */
char *hbt_uri_key(const char *text, bool keep_path);

/* Number of the scheme's usual port; 0 if it has none. */
uint16_t hbt_uri_default_port(const char *scheme);

#endif
