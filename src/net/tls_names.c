/* Another certificate for who asks for another name: SNI. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "net/tls.h"
#include "net/tls_int.h"

struct hbt_tls_name {
	char *pattern;
	struct hbt_tls *tls;
	struct hbt_tls_name *next;
};

static bool fits(const char *pattern, const char *name)
{
	const char *dot;

	if (strncmp(pattern, "*.", 2) != 0)
		return strcasecmp(pattern, name) == 0;
	dot = strchr(name, '.');
	return dot != NULL && dot > name && strcasecmp(pattern + 1, dot) == 0;
}

static int on_name(SSL *ssl, int *alert, void *arg)
{
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	const struct hbt_tls *tls = arg;

	(void)alert;
	if (name == NULL)
		return SSL_TLSEXT_ERR_NOACK;
	for (const struct hbt_tls_name *n = tls->names; n != NULL; n = n->next)
		if (fits(n->pattern, name)) {
			SSL_set_SSL_CTX(ssl, n->tls->server);
			return SSL_TLSEXT_ERR_OK;
		}
	return SSL_TLSEXT_ERR_NOACK;
}

int hbt_tls_add_name(struct hbt_tls *tls, const char *pattern,
                     struct hbt_tls *other)
{
	struct hbt_tls_name **last = &tls->names;
	struct hbt_tls_name *n = calloc(1, sizeof(*n));

	if (n == NULL || (n->pattern = strdup(pattern)) == NULL) {
		free(n);
		return HALIBUT_ENOMEM;
	}
	n->tls = other;
	while (*last != NULL)
		last = &(*last)->next;
	*last = n;
	SSL_CTX_set_tlsext_servername_callback(tls->server, on_name);
	SSL_CTX_set_tlsext_servername_arg(tls->server, tls);
	return HALIBUT_OK;
}

static void name_free(struct hbt_tls_name *n)
{
	free(n->pattern);
	free(n);
}

void hbt_tls_remove_names(struct hbt_tls *tls, const struct hbt_tls *other)
{
	struct hbt_tls_name **at = &tls->names, *n;

	while ((n = *at) != NULL) {
		if (n->tls != other) {
			at = &n->next;
			continue;
		}
		*at = n->next;
		name_free(n);
	}
}

void hbt_tls_free_names(struct hbt_tls *tls)
{
	struct hbt_tls_name *n;

	while ((n = tls->names) != NULL) {
		tls->names = n->next;
		name_free(n);
	}
}
