/* Discovery: which certificate does an acceptor have? wire-protocol 14 */
#include "runtime/discover.h"
#include "runtime/loop.h"
#include "runtime/runtime.h"
#include "wire/writer.h"

struct discovery {
	struct hbt_conn *conn;
	bool done;
	X509 *cert;
	struct halibut_error *err;
	int status;
};

static void opened(void *arg)
{
	struct discovery *d = arg;

	d->cert = hbt_conn_peer_certificate(d->conn);
	if (d->cert != NULL)
		X509_up_ref(d->cert);
	hbt_conn_write(d->conn, hbt_line_hello.bytes, hbt_line_hello.len);
	d->done = true;
}

static size_t input(void *arg, const uint8_t *data, size_t len)
{
	(void)arg;
	(void)data;
	return len; /* a friendly page: read by nobody */
}

static void ignore(void *arg)
{
	(void)arg;
}

static void failed(void *arg, const struct halibut_error *err)
{
	struct discovery *d = arg;

	d->done = true;
	d->status = err->status;
	if (d->err != NULL)
		hbt_error_copy(d->err, err);
}

static const struct hbt_conn_ops ops = {
	.opened = opened,
	.input = input,
	.drained = ignore,
	.eof = ignore,
	.failed = failed,
};

int hbt_discover(struct event_base *base, struct evdns_base *dns,
                 struct hbt_tls *tls, const struct hbt_limits *limits,
                 const char *url, X509 **cert, struct halibut_error *err)
{
	struct discovery d = {.err = err};
	struct hbt_endpoint e;
	struct hbt_dial dial;
	int rc = hbt_endpoint_init(&e, url, NULL, limits, err);

	*cert = NULL;
	if (rc != 0)
		return rc;
	dial = hbt_endpoint_dial(&e);
	dial.without_certificate = true;
	if (hbt_conn_dial(&d.conn, base, dns, tls, limits, &dial, &ops, &d) !=
	    0) {
		hbt_endpoint_fini(&e);
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	}
	rc = hbt_loop_until(base, &d.done);
	if (rc == HALIBUT_EINVAL)
		d.status = hbt_error_set(err, rc,
		                         "discovery runs the loop, and so "
		                         "cannot be used from its callbacks");
	else if (rc != HALIBUT_OK)
		d.status = hbt_error_set(err, rc,
		                         "the loop was ended before %s had "
		                         "shown its certificate",
		                         url);
	/* Nothing that the acceptor still says is of interest: no flush. */
	if (d.status == 0)
		hbt_conn_flush(d.conn);
	hbt_conn_close(&d.conn, false);
	hbt_endpoint_fini(&e);
	if (d.status == 0 && d.cert == NULL)
		return hbt_error_set(err, HALIBUT_ETLS,
		                     "%s showed no certificate", url);
	*cert = d.cert;
	return d.status;
}

int halibut_discover(struct halibut_runtime *rt, const char *url,
                     char thumbprint[HALIBUT_THUMBPRINT_SIZE],
                     struct halibut_error *err)
{
	X509 *cert;
	int rc = hbt_discover(rt->base, rt->dns, rt->tls, &rt->limits, url,
	                      &cert, err);

	if (rc != 0)
		return rc;
	hbt_thumbprint(cert, thumbprint);
	X509_free(cert);
	return 0;
}
