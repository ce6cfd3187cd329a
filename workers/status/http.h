/*
 * HTTP, by libevent: listening, connections and their limits, requests, and
 * answers that leave piece by piece. GET and HEAD alone.
 */
#ifndef HBT_STATUS_HTTP_H
#define HBT_STATUS_HTTP_H

#include <stdbool.h>

#include "worker.h"

struct http;

struct http *http_new(struct worker *w); /* NULL: out of memory */
void http_free(struct http **h);

/* For connections from now on. Ends listening, which begins anew. s stays the
 * caller's and must stay; tls is referenced, NULL: none. */
void http_configure(struct http *h, const struct hbt_status_settings *s,
                    SSL_CTX *tls);

/* Takes fd over in every case. HALIBUT_OK, HALIBUT_ENOMEM. */
int http_listen(struct http *h, int fd, bool is_tcp, const char *address);

#endif
