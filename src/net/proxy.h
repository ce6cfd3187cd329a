/* The HTTP CONNECT conversation as bytes, without I/O. wire-protocol 13 */
#ifndef HBT_NET_PROXY_H
#define HBT_NET_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

enum {
	HBT_PROXY_LINE_MAX = 256, /* of the status line, for error texts */
	HBT_PROXY_HEADER_MAX = 16384,
};

struct hbt_proxy_reply {
	size_t len;      /* of the header so far */
	size_t line_len; /* kept of the first line */
	uint8_t matched; /* how much of CR LF CR LF stands at the end */
	bool line_complete;
	char line[HBT_PROXY_LINE_MAX];
};

/*
 * The request, malloced; NULL when memory is short. An IPv6 host gets its
 * brackets here. user may be NULL or blank: no credentials then.
 */
char *hbt_proxy_request(const char *host, uint16_t port, const char *user,
                        const char *password);

/*
 * Is this a proxy that can be dialled? HALIBUT_OK or HALIBUT_EPROXY.
 */
int hbt_proxy_check(const char *host, uint16_t port, struct halibut_error *err);

void hbt_proxy_reply_init(struct hbt_proxy_reply *r);

/*
 * Takes what came; *used says how many bytes belong to the header: what
 * follows is the tunnel. HALIBUT_EAGAIN: the header goes on. HALIBUT_OK: it
 * is complete and the tunnel is open. HALIBUT_EPROXY: err says why not.
 * Not to be called again after either of the last two.
 */
int hbt_proxy_reply_feed(struct hbt_proxy_reply *r, const void *data,
                         size_t len, size_t *used, struct halibut_error *err);

#endif
