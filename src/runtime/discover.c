/* Discovery: which certificate does an acceptor have? wire-protocol 14 */
#include <string.h>

#include "runtime/runtime.h"
#include "wire/writer.h"

struct discovery {
	struct hbt_conn *conn;
	bool done;
	char thumbprint[HBT_THUMBPRINT_TEXT];
	struct halibut_error *err;
	int status;
};

static void opened(void *arg)
{
	struct discovery *d = arg;
	const char *thumbprint = hbt_conn_peer_thumbprint(d->conn);

	if (thumbprint != NULL)
		memcpy(d->thumbprint, thumbprint, sizeof(d->thumbprint));
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

int halibut_discover(struct halibut_runtime *rt, const char *url,
                     char thumbprint[HALIBUT_THUMBPRINT_SIZE],
                     struct halibut_error *err)
{
	struct discovery d = {.err = err};
	struct hbt_endpoint e;
	struct hbt_dial dial;
	int rc = hbt_endpoint_init(&e, url, NULL, &rt->limits, err);

	if (rc != 0)
		return rc;
	dial = hbt_endpoint_dial(&e);
	dial.without_certificate = true;
	if (hbt_conn_dial(&d.conn, rt->base, rt->dns, rt->tls, &rt->limits,
	                  &dial, &ops, &d) != 0) {
		hbt_endpoint_fini(&e);
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	}
	while (!d.done)
		event_base_loop(rt->base,
		                EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY);
	hbt_conn_close(&d.conn, true);
	hbt_endpoint_fini(&e);
	memcpy(thumbprint, d.thumbprint, HALIBUT_THUMBPRINT_SIZE);
	return d.status;
}
