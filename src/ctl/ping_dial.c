/*
 * halibutctl ping https://...: the steps of a dial, as the gateway makes it,
 * and what a person can do about the one that fails.
 */
#include <event2/dns.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/timespan.h"
#include "base/uri.h"
#include "ctl/cert_facts.h"
#include "ctl/cert_file.h"
#include "ctl/ctl.h"
#include "ctl/ping.h"
#include "net/conn.h"
#include "runtime/dialler.h"
#include "wire/reader.h"
#include "wire/writer.h"

/* What is being waited for. */
enum stage { NAME, TCP, PROXY, TLS, IDENTITY, OVER };

struct dialling {
	struct hbt_ctl_ping *p;
	struct event_base *base;
	struct evdns_base *dns;
	struct hbt_tls *tls;
	struct hbt_limits limits;
	struct hbt_endpoint endpoint;
	struct hbt_conn *conn;
	struct hbt_reader *reader;
	enum stage stage;
	int64_t began_ms; /* the stage */
	char tried[1024]; /* addresses that failed, with their reasons */
	char said[64];    /* by a server that speaks no Halibut */
	size_t n_said;
};

static int64_t lap(struct dialling *d)
{
	int64_t now = hbt_now_ms(), ms = now - d->began_ms;

	d->began_ms = now;
	return ms;
}

static const char *dialled_host(const struct dialling *d)
{
	const struct hbt_endpoint *e = &d->endpoint;

	return e->proxy_host != NULL     ? e->proxy_host
	       : e->connect_host != NULL ? e->connect_host
	                                 : e->host;
}

static bool starts_with_host(const char *address, const char *host)
{
	size_t bracket = address[0] == '[';

	return strncmp(address + bracket, host, strlen(host)) == 0;
}

/* ---- Steps that went well ---- */

static void resolved(struct dialling *d, const char *address)
{
	const char *host = dialled_host(d);
	const char *proxy = d->endpoint.proxy_host != NULL ? "the proxy " : "";

	if (starts_with_host(address, host[0] == '[' ? host + 1 : host))
		hbt_ctl_ping_step(d->p, "name", HBT_VERDICT_OK, 0, lap(d), NULL,
		                  "%s%s is an address: nothing to look up",
		                  proxy, host);
	else
		hbt_ctl_ping_step(d->p, "name", HBT_VERDICT_OK, 0, lap(d), NULL,
		                  "%s%s has the address %.*s", proxy, host,
		                  (int)(strrchr(address, ':') - address),
		                  address);
	d->stage = TCP;
}

static void unreached(struct dialling *d, const char *address, int error)
{
	size_t at = strlen(d->tried);

	snprintf(d->tried + at, sizeof(d->tried) - at, "%s%s: %s",
	         at > 0 ? "; " : "", address, strerror(error));
}

static void connected(struct dialling *d, const char *address, bool to_proxy)
{
	hbt_ctl_ping_step(d->p, "tcp", HBT_VERDICT_OK, 0, lap(d), NULL,
	                  "%s%s accepted the connection%s%s%s",
	                  to_proxy ? "the proxy at " : "", address,
	                  d->tried[0] != '\0' ? " (before: " : "", d->tried,
	                  d->tried[0] != '\0' ? ")" : "");
}

static void on_step(void *arg, enum hbt_conn_step step, const char *address,
                    int error)
{
	struct dialling *d = arg;

	switch (step) {
	case HBT_STEP_CONNECT:
		if (d->stage == NAME)
			resolved(d, address);
		break;
	case HBT_STEP_UNREACHED:
		unreached(d, address, error);
		break;
	case HBT_STEP_PROXY:
		connected(d, address, true);
		d->stage = PROXY;
		break;
	case HBT_STEP_TLS:
		if (d->stage == PROXY)
			hbt_ctl_ping_step(d->p, "proxy", HBT_VERDICT_OK, 0,
			                  lap(d), NULL,
			                  "it connects us to %s port %u",
			                  d->endpoint.host, d->endpoint.port);
		else
			connected(d, address, false);
		d->stage = TLS;
		break;
	}
}

/* ---- The certificate ---- */

static void fail_certificate(struct hbt_ctl_ping *p, const char *text,
                             bool foreign)
{
	const char *against = p->against;
	char remedy[1536];

	if (foreign)
		snprintf(remedy, sizeof(remedy),
		         "It was issued by somebody, while those of Halibut "
		         "are self-signed: a proxy that inspects TLS may stand "
		         "between. Exempt this host there");
	else
		snprintf(remedy, sizeof(remedy),
		         "Compare it with what the machine itself says "
		         "(Tentacle show-thumbprint). If it was made anew, "
		         "change it %s%s; if it is not the machine's, somebody "
		         "stands between",
		         against != NULL ? "in " : "where it is configured",
		         against != NULL ? against : "");
	hbt_ctl_ping_step(p, "certificate", HBT_VERDICT_FAILED, HBT_EXIT_TRUST,
	                  -1, remedy, "%s, but %s is expected%s%s", text,
	                  p->thumbprint, against != NULL ? " by " : "",
	                  against != NULL ? against : "");
}

static void judge_certificate(struct dialling *d,
                              const struct hbt_ctl_cert_facts *f)
{
	const char *expected = d->p->thumbprint;
	const char *name = "certificate";
	const char *against = d->p->against;
	char text[512];

	snprintf(text, sizeof(text), "%s, %.100s, %s, valid until %s",
	         f->thumbprint, f->subject, f->key, f->not_after);
	if (expected != NULL &&
	    !hbt_thumbprints_have(expected, f->thumbprint))
		fail_certificate(d->p, text, strcmp(f->subject, f->issuer) != 0);
	else if (f->days_left < 0)
		hbt_ctl_ping_step(d->p, name, HBT_VERDICT_NOTE, 0, -1,
		                  "Halibut compares thumbprints and does not "
		                  "mind; other tools may. Is the clock of this "
		                  "machine right?",
		                  "%s: it has expired", text);
	else if (f->not_yet_valid)
		hbt_ctl_ping_step(d->p, name, HBT_VERDICT_NOTE, 0, -1,
		                  "One of the two clocks is wrong. Halibut "
		                  "compares thumbprints and does not mind",
		                  "%s: it is not valid before %s", text,
		                  f->not_before);
	else if (expected == NULL)
		hbt_ctl_ping_step(d->p, name, HBT_VERDICT_OK, 0, -1,
		                  "Compare the thumbprint with what the machine "
		                  "itself says (Tentacle show-thumbprint), or "
		                  "give it here with --thumbprint",
		                  "%s", text);
	else
		hbt_ctl_ping_step(d->p, name, HBT_VERDICT_OK, 0, -1, NULL,
		                  "%s, as %s", text,
		                  against != NULL ? against : "expected");
}

static bool look_at_certificate(struct dialling *d)
{
	X509 *cert = hbt_conn_peer_certificate(d->conn);
	struct hbt_ctl_cert_facts facts;
	struct halibut_error err = {0};

	if (cert == NULL ||
	    hbt_ctl_cert_facts_read(&facts, cert, &err) != HALIBUT_OK) {
		hbt_ctl_ping_step(d->p, "certificate", HBT_VERDICT_FAILED,
		                  HBT_EXIT_TRUST, -1, NULL, "%s",
		                  err.message != NULL ? err.message
		                                      : "it showed none");
		halibut_error_clear(&err);
		return false;
	}
	judge_certificate(d, &facts);
	json_object_set_new(d->p->facts, "certificate",
	                    hbt_ctl_cert_facts_json(&facts));
	hbt_ctl_cert_facts_fini(&facts);
	return d->p->exit_code == HBT_EXIT_OK;
}

/* ---- Identification ---- */

static void over(struct dialling *d)
{
	d->stage = OVER;
	event_base_loopbreak(d->base);
}

static void skip_identity(struct dialling *d)
{
	hbt_ctl_ping_step(d->p, "identification", HBT_VERDICT_SKIPPED, 0, -1,
	                  "--cert FILE identifies us with a certificate and "
	                  "key that it trusts, e.g. the gateway's own",
	                  "not tried: we showed no certificate");
	hbt_conn_write(d->conn, hbt_line_hello.bytes, hbt_line_hello.len);
	hbt_conn_flush(d->conn);
	over(d);
}

static void opened(void *arg)
{
	struct dialling *d = arg;

	hbt_ctl_ping_step(d->p, "tls", HBT_VERDICT_OK, 0, lap(d), NULL, "%s",
	                  hbt_conn_tls_version(d->conn));
	if (!look_at_certificate(d)) {
		over(d);
		return;
	}
	if (d->p->certificate == NULL) {
		skip_identity(d);
		return;
	}
	d->stage = IDENTITY;
	hbt_reader_expect(d->reader, HBT_EXPECT_IDENTITY);
	hbt_conn_read_timeout(d->conn, d->p->timeout_ms, "its identification");
	hbt_conn_write(d->conn, hbt_line_preamble.bytes, hbt_line_preamble.len);
	hbt_conn_write(d->conn, hbt_line_client.bytes, hbt_line_client.len);
}

/* What a server said that is none of ours, cut to what can be printed. */
static void remember(struct dialling *d, const uint8_t *data, size_t len)
{
	while (len-- > 0 && d->n_said + 1 < sizeof(d->said)) {
		if (*data == '\r' || *data == '\n')
			break;
		d->said[d->n_said++] =
			(char)(*data >= ' ' && *data < 127 ? *data : '.');
		data++;
	}
}

static void no_halibut(struct dialling *d, const char *why)
{
	hbt_ctl_ping_step(d->p, "identification", HBT_VERDICT_FAILED,
	                  HBT_EXIT_PROTOCOL, lap(d),
	                  "Something else than Halibut listens there: is the "
	                  "port right? A Tentacle that listens has 10933, a "
	                  "server that is polled 10943",
	                  "it answered \"%s\": %s", d->said, why);
	over(d);
}

static size_t input(void *arg, const uint8_t *data, size_t len)
{
	struct dialling *d = arg;
	size_t all = len;
	struct hbt_event ev;

	if (d->stage != IDENTITY)
		return len;
	remember(d, data, len);
	hbt_reader_next(d->reader, &data, &len, &ev);
	if (ev.type == HBT_EVENT_MORE)
		return all;
	if (ev.type != HBT_EVENT_IDENTITY ||
	    ev.identity != HBT_IDENTITY_SERVER) {
		no_halibut(d, ev.type == HBT_EVENT_ERROR
		                      ? ev.error->message
		                      : "it is no service and no server");
		return all;
	}
	hbt_ctl_ping_step(d->p, "identification", HBT_VERDICT_OK, 0, lap(d),
	                  NULL,
	                  "it speaks Halibut, and trusts our certificate %s",
	                  d->tls->thumbprint);
	over(d);
	return all;
}

/* ---- Steps that failed ---- */

static void fail_name(struct dialling *d, const struct halibut_error *err)
{
	hbt_ctl_ping_step(d->p, "name", HBT_VERDICT_FAILED, HBT_EXIT_CONNECT,
	                  lap(d),
	                  "Is it spelt right, and does the DNS of this machine "
	                  "know it (getent hosts)? --connect HOST:PORT dials "
	                  "an address instead",
	                  "%s", err->message);
}

static void fail_tcp(struct dialling *d, const struct halibut_error *err)
{
	const char *remedy;

	if (err->status == HALIBUT_EREFUSED)
		remedy = "The machine is there, but nothing listens on that "
			 "port, or a firewall refuses us: is the service "
			 "started, and does it listen (not poll) on this port "
			 "(Tentacle show-configuration)?";
	else if (err->status == HALIBUT_ECONNECT_TIMEOUT)
		remedy = "No answer at all: a firewall drops us, or the "
			 "machine is off. Try it from a machine beside it";
	else
		remedy = "Look at the network and its routes";
	if (d->endpoint.proxy_host != NULL)
		remedy = "That is the way to the proxy: is --proxy right, and "
			 "may this machine use it?";
	hbt_ctl_ping_step(d->p, "tcp", HBT_VERDICT_FAILED, HBT_EXIT_CONNECT,
	                  lap(d), remedy, "%s",
	                  d->tried[0] != '\0' ? d->tried : err->message);
}

static void fail_proxy(struct dialling *d, const struct halibut_error *err)
{
	hbt_ctl_ping_step(d->p, "proxy", HBT_VERDICT_FAILED, HBT_EXIT_CONNECT,
	                  lap(d),
	                  "The proxy has to allow CONNECT to this host and "
	                  "port; --proxy-user and --proxy-password-file are "
	                  "what it may ask for. Its own log says why",
	                  "%s", err->message);
}

static void fail_tls(struct dialling *d, const struct halibut_error *err)
{
	const char *remedy =
		"TLS has to reach the service itself: no balancer or proxy "
		"may end it on the way, and the port has to be that of "
		"Halibut. Halibut needs TLS 1.2 or later";

	if (err->status == HALIBUT_ECONNECT_TIMEOUT)
		remedy = "It took the connection and said nothing: something "
			 "else listens there, or it is overloaded";
	hbt_ctl_ping_step(d->p, "tls", HBT_VERDICT_FAILED, HBT_EXIT_TRUST,
	                  lap(d), remedy, "%s", err->message);
}

static void fail_identity(struct dialling *d, const struct halibut_error *err)
{
	char remedy[256];

	if (d->p->is_self)
		snprintf(remedy, sizeof(remedy),
		         "It does not trust the certificate that was given "
		         "here: halibutctl trust add %s",
		         d->tls->thumbprint);
	else
		snprintf(remedy, sizeof(remedy),
		         "Most likely it does not trust our certificate. On "
		         "that machine: Tentacle configure --trust %s, then "
		         "restart it. Its log names the thumbprint that it "
		         "refused",
		         d->tls->thumbprint);
	hbt_ctl_ping_step(d->p, "identification", HBT_VERDICT_FAILED,
	                  err->status == HALIBUT_ETIMEOUT ? HBT_EXIT_TIMEOUT
	                                                  : HBT_EXIT_TRUST,
	                  lap(d),
	                  err->status == HALIBUT_ETIMEOUT
	                          ? "It took our identification and does not "
	                            "answer: something else listens there, or "
	                            "it is overloaded"
	                          : remedy,
	                  "%s", err->message);
}

static void failed(void *arg, const struct halibut_error *err)
{
	struct dialling *d = arg;

	switch (d->stage) {
	case NAME:
		fail_name(d, err);
		break;
	case TCP:
		fail_tcp(d, err);
		break;
	case PROXY:
		fail_proxy(d, err);
		break;
	case TLS:
		fail_tls(d, err);
		break;
	case IDENTITY:
		fail_identity(d, err);
		break;
	case OVER:
		return;
	}
	over(d);
}

static void eof(void *arg)
{
	struct halibut_error err = {0};
	struct dialling *d = arg;

	if (d->stage != IDENTITY)
		return;
	if (d->n_said > 0) {
		no_halibut(d, "and closed the connection");
		return;
	}
	hbt_error_set(&err, HALIBUT_ECLOSED,
	              "it closed the connection when we had said who we are");
	failed(d, &err);
	halibut_error_clear(&err);
}

static void drained(void *arg)
{
	(void)arg;
}

static const struct hbt_conn_ops ops = {
	.opened = opened,
	.input = input,
	.drained = drained,
	.eof = eof,
	.failed = failed,
	.step = on_step,
};

/* ---- The whole ---- */

static int parse_pair(const char *option, const char *text, char **host,
                      uint16_t *port, struct halibut_error *err)
{
	if (text == NULL || hbt_ctl_parse_host_port(text, host, port))
		return HALIBUT_OK;
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "%s is written HOST:PORT, not \"%s\"", option,
	                     text);
}

static int make_endpoint(struct dialling *d, struct halibut_error *err)
{
	struct hbt_endpoint *e = &d->endpoint;
	struct hbt_ctl_ping *p = d->p;
	int rc = hbt_endpoint_init(e, p->target != NULL ? p->target : p->url,
	                           NULL, &d->limits, err);

	if (rc == 0)
		rc = parse_pair("--proxy", p->proxy, &e->proxy_host,
		                &e->proxy_port, err);
	if (rc == 0)
		rc = parse_pair("--connect", p->connect, &e->connect_host,
		                &e->connect_port, err);
	if (rc == 0 && p->proxy_user != NULL &&
	    (e->proxy_user = strdup(p->proxy_user)) == NULL)
		rc = hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	if (rc == 0 && p->proxy_password_file != NULL &&
	    (e->proxy_password = hbt_ctl_read_password(p->proxy_password_file,
	                                               err)) == NULL)
		rc = HALIBUT_EINVAL;
	return rc;
}

static int make_tls(struct dialling *d, struct halibut_error *err)
{
	char *cert, *key;
	int rc;

	if (d->p->certificate == NULL)
		return hbt_ctl_tls_of_nobody(&d->tls, err);
	rc = hbt_ctl_load_identity(d->p->certificate, d->p->password_file,
	                           &cert, &key, err);
	if (rc == 0)
		rc = hbt_tls_new(&d->tls, cert, key, err);
	hbt_ctl_wipe(&key);
	free(cert);
	return rc;
}

static int prepare(struct dialling *d, struct halibut_error *err)
{
	int rc = make_endpoint(d, err);

	if (rc == 0)
		rc = make_tls(d, err);
	if (rc != 0)
		return rc;
	d->base = event_base_new();
	if (d->base != NULL)
		d->dns = evdns_base_new(
			d->base, EVDNS_BASE_INITIALIZE_NAMESERVERS |
					 EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	d->reader = hbt_reader_new(&d->limits);
	return d->dns != NULL && d->reader != NULL
	               ? HALIBUT_OK
	               : hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
}

static void skip_rest(struct hbt_ctl_ping *p)
{
	static const char *const names[] = {"name", "tcp", "proxy", "tls",
	                                    "certificate", "identification"};
	const size_t n_names = sizeof(names) / sizeof(names[0]);
	const char *last = p->n > 0 ? p->steps[p->n - 1].name : "";
	size_t i = 0;

	while (i < n_names && strcmp(names[i], last) != 0)
		i++;
	for (i++; i < n_names; i++)
		if (strcmp(names[i], "proxy") != 0 || p->proxy != NULL)
			hbt_ctl_ping_step(p, names[i], HBT_VERDICT_SKIPPED, 0,
			                  -1, NULL, "not tried");
}

int hbt_ctl_ping_dial(struct hbt_ctl_ping *p, struct halibut_error *err)
{
	struct dialling d = {.p = p};
	struct hbt_dial dial;
	int rc;

	hbt_limits_init(&d.limits);
	d.limits.tcp_client_connect_timeout_ms = p->timeout_ms;
	d.limits.tcp_client_receive_timeout_ms = p->timeout_ms;
	rc = prepare(&d, err);
	if (rc == 0) {
		dial = hbt_endpoint_dial(&d.endpoint);
		dial.without_certificate = p->certificate == NULL;
		d.began_ms = hbt_now_ms();
		rc = hbt_conn_dial(&d.conn, d.base, d.dns, d.tls, &d.limits,
		                   &dial, &ops, &d);
		if (rc != 0)
			hbt_error_set(err, rc, "out of memory");
	}
	while (rc == 0 && d.stage != OVER)
		event_base_loop(d.base, EVLOOP_ONCE);
	if (rc == 0)
		skip_rest(p);
	hbt_conn_close(&d.conn, true); /* FIN: its log has no reset to tell */
	if (d.base != NULL)
		hbt_conn_end_flushing(d.base);
	hbt_reader_free(&d.reader);
	if (d.dns != NULL)
		evdns_base_free(d.dns, 0);
	hbt_tls_free(&d.tls);
	hbt_endpoint_fini(&d.endpoint);
	if (d.base != NULL) {
		event_base_loop(d.base, EVLOOP_NONBLOCK);
		event_base_free(d.base);
	}
	return rc;
}
