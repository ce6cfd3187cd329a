/* Where and how to reach a peer. runtime-behaviour 1.6 */
#include <stdlib.h>
#include <string.h>

#include "base/uri.h"
#include "net/tls.h"
#include "runtime/dialler.h"

static int check_thumbprint(struct hbt_endpoint *e, const char *thumbprint,
                            struct halibut_error *err)
{
	int rc;

	if (thumbprint == NULL)
		return 0;
	rc = hbt_thumbprints_parse(thumbprint, &e->thumbprint);
	if (rc == HALIBUT_EINVAL)
		return hbt_error_set(err, rc,
		                     "'%s' is not a thumbprint: 40 hexadecimal "
		                     "digits are expected",
		                     thumbprint);
	return rc == HALIBUT_OK ? rc : hbt_error_set(err, rc, "out of memory");
}

int hbt_endpoint_init(struct hbt_endpoint *e, const char *url,
                      const char *thumbprint, const struct hbt_limits *limits,
                      struct halibut_error *err)
{
	struct hbt_uri uri;
	int rc;

	memset(e, 0, sizeof(*e));
	if (hbt_uri_parse(url, &uri) != 0)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "'%s' is not an absolute URI like "
		                     "https://host:10933/ or poll://name/",
		                     url);
	e->host = strdup(uri.host);
	e->port = uri.port;
	e->url = hbt_uri_format(&uri);
	hbt_uri_fini(&uri);
	e->key = hbt_uri_key(url, false);
	if (e->host == NULL || e->url == NULL || e->key == NULL)
		rc = hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	else
		rc = check_thumbprint(e, thumbprint, err);
	if (rc != 0) {
		hbt_endpoint_fini(e);
		return rc;
	}
	e->queue_timeout_ms = limits->polling_request_queue_timeout_ms;
	e->retry_sleep_ms = limits->retry_listening_sleep_interval_ms;
	e->retry_count = limits->retry_count_limit;
	e->retry_timeout_ms = limits->connection_error_retry_timeout_ms;
	e->connect_timeout_ms = limits->tcp_client_connect_timeout_ms;
	return 0;
}

static int dup_or_null(char **to, const char *from)
{
	*to = NULL;
	return from == NULL || (*to = strdup(from)) != NULL ? 0
	                                                    : HALIBUT_ENOMEM;
}

int hbt_endpoint_copy(struct hbt_endpoint *to, const struct hbt_endpoint *from)
{
	int rc = 0;

	*to = *from; /* the numbers; every pointer is replaced below */
	rc |= dup_or_null(&to->url, from->url);
	rc |= dup_or_null(&to->key, from->key);
	rc |= dup_or_null(&to->host, from->host);
	rc |= dup_or_null(&to->thumbprint, from->thumbprint);
	to->tls = from->tls;
	rc |= dup_or_null(&to->proxy_host, from->proxy_host);
	rc |= dup_or_null(&to->proxy_user, from->proxy_user);
	rc |= dup_or_null(&to->proxy_password, from->proxy_password);
	rc |= dup_or_null(&to->connect_host, from->connect_host);
	if (rc == 0)
		return 0;
	hbt_endpoint_fini(to);
	return HALIBUT_ENOMEM;
}

void hbt_endpoint_fini(struct hbt_endpoint *e)
{
	free(e->url);
	free(e->key);
	free(e->host);
	free(e->thumbprint);
	free(e->proxy_host);
	free(e->proxy_user);
	if (e->proxy_password != NULL)
		explicit_bzero(e->proxy_password, strlen(e->proxy_password));
	free(e->proxy_password);
	free(e->connect_host);
	memset(e, 0, sizeof(*e));
}

struct hbt_dial hbt_endpoint_dial(const struct hbt_endpoint *e)
{
	return (struct hbt_dial){
		.host = e->host,
		.port = e->port,
		.connect_host = e->connect_host,
		.connect_port = e->connect_port,
		.proxy_host = e->proxy_host,
		.proxy_port = e->proxy_port,
		.proxy_user = e->proxy_user,
		.proxy_password = e->proxy_password,
		.thumbprint = e->thumbprint,
		.url = e->url,
		.connect_timeout_ms = e->connect_timeout_ms,
	};
}
