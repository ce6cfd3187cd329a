/* Which certificate does the acceptor at a URL have? wire-protocol 14 */
#include <event2/dns.h>
#include <string.h>
#include "base/uri.h"
#include "ctl/cert_facts.h"
#include "net/conn.h"
#include "wire/writer.h"

struct look {
	struct event_base *base;
	struct hbt_conn *conn;
	X509 *cert;
	struct halibut_error *err;
	int status;
	bool done;
};

static void opened(void *arg)
{
	struct look *look = arg;

	look->cert = hbt_conn_peer_certificate(look->conn);
	if (look->cert != NULL)
		X509_up_ref(look->cert);
	hbt_conn_write(look->conn, hbt_line_hello.bytes, hbt_line_hello.len);
	look->done = true;
	event_base_loopbreak(look->base);
}

static size_t input(void *arg, const uint8_t *data, size_t len)
{
	(void)arg;
	(void)data;
	return len;
}

static void ignore(void *arg)
{
	(void)arg;
}

static void failed(void *arg, const struct halibut_error *err)
{
	struct look *look = arg;

	hbt_error_copy(look->err, err);
	look->status = err->status;
	look->done = true;
	event_base_loopbreak(look->base);
}

static const struct hbt_conn_ops ops = {
	.opened = opened,
	.input = input,
	.drained = ignore,
	.eof = ignore,
	.failed = failed,
};

/* A TLS context needs a certificate, although none is shown here. */
static int make_tls(struct hbt_tls **tls, struct halibut_error *err)
{
	char *cert = NULL, *key = NULL;
	int rc = hbt_tls_self_signed("halibutctl", 2048, 1, &cert, &key, err);

	if (rc == 0)
		rc = hbt_tls_new(tls, cert, key, err);
	free(cert);
	free(key);
	return rc;
}

int hbt_ctl_cert_of_url(const char *url, struct hbt_ctl_cert_facts *facts,
                        struct halibut_error *err)
{
	struct look look = {.err = err};
	struct evdns_base *dns = NULL;
	struct hbt_tls *tls = NULL;
	struct hbt_limits limits;
	struct hbt_dial dial = {.url = url, .without_certificate = true};
	struct hbt_uri uri;
	int rc;

	if (hbt_uri_parse(url, &uri) != 0)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "%s is no URL; write it as in "
		                     "https://host:10943",
		                     url);
	hbt_limits_init(&limits);
	dial.host = uri.host;
	dial.port = uri.port;
	dial.connect_timeout_ms = limits.tcp_client_connect_timeout_ms;
	look.base = event_base_new();
	if (look.base != NULL)
		dns = evdns_base_new(look.base,
		                     EVDNS_BASE_INITIALIZE_NAMESERVERS |
		                             EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	if (dns == NULL) {
		rc = hbt_error_set(err, HALIBUT_ENOMEM,
		                   "cannot make an event loop");
		goto out;
	}
	if ((rc = make_tls(&tls, err)) != 0)
		goto out;
	rc = hbt_conn_dial(&look.conn, look.base, dns, tls, &limits, &dial,
	                   &ops, &look);
	if (rc != 0) {
		hbt_error_set(err, rc, "%s", halibut_strerror(rc));
		goto out;
	}
	while (!look.done)
		event_base_loop(look.base, EVLOOP_ONCE);
	rc = look.status;
	if (rc == 0 && look.cert == NULL)
		rc = hbt_error_set(err, HALIBUT_ETLS,
		                   "%s showed no certificate", url);
	if (rc == 0)
		rc = hbt_ctl_cert_facts_read(facts, look.cert, err);
out:
	hbt_conn_close(&look.conn, false);
	X509_free(look.cert);
	if (dns != NULL)
		evdns_base_free(dns, 0);
	hbt_tls_free(&tls);
	if (look.base != NULL)
		event_base_free(look.base);
	hbt_uri_fini(&uri);
	return rc;
}
