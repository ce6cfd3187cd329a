/*
 * A call without a gateway, through libhalibut: we dial the listening
 * service, or listen ourselves until the polling service has come.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <event2/event.h>
#include <halibut/halibut.h>
#include "base/log.h"
#include "ctl/call.h"
#include "ctl/cert_file.h"
#include "ctl/ctl.h"

#define SAVE_CHUNK 65536
#define FAREWELL_MS 1000

struct direct {
	struct hbt_ctl_call *c;
	struct event_base *base;
	struct halibut_runtime *rt;
	struct halibut_endpoint *endpoint;
	struct halibut_call *call;
	struct hbt_ctl_patience patience;
	/* Of all DataStreams that are sent, what is complete. */
	int64_t sent;
	size_t sending;
};

/* The library's own lines would disturb the result: only what is wrong. */
static void on_log(void *arg, int level, const char *line)
{
	struct direct *d = arg;

	(void)level;
	hbt_ctl_progress_clear(&d->c->progress);
	fprintf(stderr, "halibutctl: %s\n", line);
}

static int start_runtime(struct direct *d)
{
	struct hbt_ctl_call *c = d->c;
	char *cert, *key;
	int rc = hbt_ctl_load_identity(c->certificate, c->password_file, &cert,
	                               &key, &c->err);

	if (rc == 0 && (d->base = event_base_new()) == NULL)
		rc = hbt_error_set(&c->err, HALIBUT_ESYSTEM,
		                   "cannot make an event loop");
	if (rc == 0)
		rc = halibut_runtime_new(&d->rt, d->base, cert, key, &c->err);
	hbt_ctl_wipe(&key);
	free(cert);
	return rc;
}

static int set_proxy(struct direct *d)
{
	struct hbt_ctl_call *c = d->c;
	char *host, *password = NULL;
	uint16_t port;
	int rc;

	if (c->proxy == NULL)
		return HALIBUT_OK;
	if (!hbt_ctl_parse_host_port(c->proxy, &host, &port))
		return hbt_error_set(&c->err, HALIBUT_EINVAL,
		                     "--proxy is written HOST:PORT, not \"%s\"",
		                     c->proxy);
	if (c->proxy_password_file != NULL) {
		password = hbt_ctl_read_password(c->proxy_password_file,
		                                 &c->err);
		if (password == NULL) {
			free(host);
			return c->err.status;
		}
	}
	rc = halibut_endpoint_set_proxy(d->endpoint, host, port, c->proxy_user,
	                                password);
	free(host);
	free(password);
	return rc;
}

static int set_connect(struct direct *d)
{
	struct hbt_ctl_call *c = d->c;
	char *host;
	uint16_t port;
	int rc;

	if (c->connect == NULL)
		return HALIBUT_OK;
	if (!hbt_ctl_parse_host_port(c->connect, &host, &port))
		return hbt_error_set(&c->err, HALIBUT_EINVAL,
		                     "--connect is written HOST:PORT, not "
		                     "\"%s\"",
		                     c->connect);
	rc = halibut_endpoint_set_connect_host(d->endpoint, host, port);
	free(host);
	return rc;
}

/* Both kinds of waiting last as long as the user is willing to. */
static int set_limits(struct direct *d)
{
	struct hbt_ctl_call *c = d->c;
	int rc;

	if (c->timeout_ms == 0)
		return HALIBUT_OK;
	rc = halibut_endpoint_set_limit(d->endpoint,
	                                "PollingRequestQueueTimeout",
	                                c->timeout_ms);
	if (rc == 0)
		rc = halibut_runtime_set_limit(
			d->rt, "TcpClientReceiveResponseTimeout",
			c->timeout_ms);
	return rc;
}

static int make_endpoint(struct direct *d)
{
	struct hbt_ctl_call *c = d->c;
	int rc;

	rc = halibut_endpoint_new(&d->endpoint, d->rt, c->endpoint,
	                          c->thumbprint, &c->err);
	if (rc == 0)
		rc = set_proxy(d);
	if (rc == 0)
		rc = set_connect(d);
	if (rc == 0)
		rc = set_limits(d);
	return rc;
}

/* A polling service comes to us. */
static int listen_for_it(struct direct *d)
{
	struct hbt_ctl_call *c = d->c;
	char *address;
	uint16_t port, bound;
	int rc = HALIBUT_OK;

	if (c->listen == NULL)
		return HALIBUT_OK;
	if (!hbt_ctl_parse_host_port(c->listen, &address, &port))
		return hbt_error_set(&c->err, HALIBUT_EINVAL,
		                     "--listen is written ADDRESS:PORT, not "
		                     "\"%s\"",
		                     c->listen);
	for (size_t i = 0; rc == 0 && i < c->n_trust; i++)
		if (halibut_trust_add(d->rt, c->trust[i]) != 0)
			rc = hbt_error_set(&c->err, HALIBUT_EINVAL,
			                   "\"%s\" is no thumbprint; it has "
			                   "40 hexadecimal digits",
			                   c->trust[i]);
	if (rc == 0)
		rc = halibut_listen(d->rt, address, port, &bound, &c->err);
	if (rc == 0)
		fprintf(stderr,
		        "listening on %s port %u with certificate %s until "
		        "%s has come\n",
		        address, (unsigned)bound,
		        halibut_runtime_thumbprint(d->rt), c->endpoint);
	free(address);
	return rc;
}

static void on_progress(void *arg, int percent)
{
	struct direct *d = arg;
	const struct hbt_ctl_args *args = &d->c->args;
	int64_t length;

	if (d->sending >= args->n_streams)
		return;
	length = args->streams[d->sending].length;
	hbt_ctl_progress_set(&d->c->progress,
	                     d->sent + length / 100 * percent);
	if (percent < 100)
		return;
	d->sent += length;
	d->sending++;
}

static int add_streams(struct direct *d)
{
	const struct hbt_ctl_args *args = &d->c->args;
	int64_t total = 0;

	for (size_t i = 0; i < args->n_streams; i++) {
		struct halibut_stream *s;
		int rc;

		s = halibut_stream_from_fd(args->streams[i].fd,
		                           args->streams[i].length);
		if (s == NULL)
			return hbt_error_set(&d->c->err, HALIBUT_ENOMEM,
			                     "out of memory");
		halibut_stream_set_progress(s, on_progress, d);
		rc = halibut_call_add_stream(d->call, s, false, &d->c->err);
		if (rc != 0)
			return rc;
		total += args->streams[i].length;
	}
	if (args->n_streams > 0)
		hbt_ctl_progress_begin(&d->c->progress, "sending", total);
	return HALIBUT_OK;
}

static int make_call(struct direct *d)
{
	struct hbt_ctl_call *c = d->c;
	json_t *value;
	size_t i;
	int rc;

	rc = halibut_call_new(&d->call, d->rt, d->endpoint, c->service,
	                      c->method, &c->err);
	if (rc == 0)
		rc = add_streams(d);
	json_array_foreach(c->args.values, i, value) {
		char *text;

		if (rc != 0)
			break;
		text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
		rc = text == NULL ? hbt_error_set(&c->err, HALIBUT_ENOMEM,
		                                  "out of memory")
		                  : halibut_call_add_json(d->call, text,
		                                          &c->err);
		free(text);
		if (rc != 0)
			hbt_error_prefix(&c->err, "argument %zu: ", i + 1);
	}
	return rc;
}

static void give_up(void *arg)
{
	struct direct *d = arg;

	halibut_call_cancel(d->call);
}

static int take_stream(struct direct *d, struct halibut_stream *s)
{
	struct hbt_ctl_landing *l = &d->c->landing;
	struct halibut_error *err = &d->c->err;
	static char buf[SAVE_CHUNK];
	ssize_t n;
	int rc;

	rc = hbt_ctl_landing_begin(l, halibut_stream_length(s), err);
	while (rc == 0 && (n = halibut_stream_read(s, buf, sizeof(buf))) != 0) {
		if (n < 0)
			rc = hbt_error_set(err, (int)-n,
			                   "cannot read the DataStream: %s",
			                   halibut_strerror((int)-n));
		else
			rc = hbt_ctl_landing_data(l, buf, (size_t)n, err);
	}
	return rc == 0 ? hbt_ctl_landing_end(l, err) : rc;
}

static int take_result(struct direct *d)
{
	struct hbt_ctl_call *c = d->c;
	char *text;
	int rc = HALIBUT_OK;

	for (size_t i = 0; rc == 0 && i < halibut_call_streams(d->call); i++)
		rc = take_stream(d, halibut_call_stream(d->call, i));
	if (rc != 0)
		return rc;
	text = halibut_call_result_json(d->call);
	if (text != NULL)
		c->result = json_loads(text, JSON_DECODE_ANY, NULL);
	free(text);
	if (c->result == NULL)
		return hbt_error_set(&c->err, HALIBUT_EPROTO,
		                     "the result has no form in JSON");
	return HALIBUT_OK;
}

static void on_farewell(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
}

/* Lets closing connections say their last words to their peers. */
static void close_runtime(struct direct *d)
{
	struct timeval tv = {.tv_sec = FAREWELL_MS / 1000,
	                     .tv_usec = FAREWELL_MS % 1000 * 1000};
	struct event *limit = NULL;

	halibut_runtime_free(&d->rt);
	if (d->base == NULL)
		return;
	limit = evtimer_new(d->base, on_farewell, NULL);
	if (limit != NULL && event_add(limit, &tv) == 0)
		while (evtimer_pending(limit, NULL) &&
		       event_base_get_num_events(d->base,
		                                 EVENT_BASE_COUNT_ADDED) > 1)
			event_base_loop(d->base, EVLOOP_ONCE);
	if (limit != NULL)
		event_free(limit);
	event_base_free(d->base);
}

void hbt_ctl_call_direct(struct hbt_ctl_call *c)
{
	struct direct d = {.c = c};
	int rc;

	halibut_set_log(on_log, &d, HBT_LOG_WARNING);
	rc = start_runtime(&d);
	if (rc == 0)
		rc = make_endpoint(&d);
	if (rc == 0)
		rc = make_call(&d);
	if (rc == 0)
		rc = listen_for_it(&d);
	if (rc == 0 && hbt_ctl_patience_init(&d.patience, d.base,
	                                     c->timeout_ms, give_up, &d) != 0)
		rc = hbt_error_set(&c->err, HALIBUT_ENOMEM, "out of memory");
	if (rc == 0) {
		rc = halibut_call_wait(d.call);
		hbt_ctl_progress_clear(&c->progress);
		if (rc != 0)
			hbt_error_copy(&c->err, halibut_call_error(d.call));
		hbt_ctl_patience_explain(&d.patience, c);
	}
	if (rc == 0)
		rc = take_result(&d);
	if (rc != 0 && c->err.status == HALIBUT_OK)
		hbt_error_set(&c->err, rc, "%s", halibut_strerror(rc));
	hbt_ctl_patience_fini(&d.patience);
	halibut_call_free(&d.call);
	halibut_endpoint_free(&d.endpoint);
	close_runtime(&d);
	halibut_set_log(NULL, NULL, HBT_LOG_INFO);
}
