/* Which certificate does the acceptor at a URL have? wire-protocol 14 */
#include <event2/dns.h>
#include "ctl/cert_facts.h"
#include "runtime/discover.h"

int hbt_ctl_tls_of_nobody(struct hbt_tls **tls, struct halibut_error *err)
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
	struct event_base *base = event_base_new();
	struct evdns_base *dns = NULL;
	struct hbt_tls *tls = NULL;
	struct hbt_limits limits;
	X509 *cert = NULL;
	int rc;

	hbt_limits_init(&limits);
	if (base != NULL)
		dns = evdns_base_new(base,
		                     EVDNS_BASE_INITIALIZE_NAMESERVERS |
		                             EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	if (dns == NULL)
		rc = hbt_error_set(err, HALIBUT_ENOMEM,
		                   "cannot make an event loop");
	else if ((rc = hbt_ctl_tls_of_nobody(&tls, err)) == 0)
		rc = hbt_discover(base, dns, tls, &limits, url, &cert, err);
	if (rc == 0)
		rc = hbt_ctl_cert_facts_read(facts, cert, err);
	X509_free(cert);
	if (dns != NULL)
		evdns_base_free(dns, 0);
	hbt_tls_free(&tls);
	if (base != NULL)
		event_base_free(base);
	return rc;
}
