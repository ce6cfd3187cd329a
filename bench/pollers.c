/*
 * Polling services that have nothing to do, by the thousand: bare OpenSSL, so
 * that they cost the machine little. Prints one JSON object when all are
 * connected, keeps them alive until its standard input ends, and then prints
 * a second one, about the time in between.
 *
 * With --again one that is turned away comes again after so many
 * milliseconds, and one that has waited for a minute gives up and does the
 * same, as real ones do.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common.h"

struct poller {
	int fd;
	SSL *ssl;
	enum { CONNECTING, SHAKING, GREETING, IDLE, ENDED } state;
	uint32_t events; /* what epoll is to tell */
	int64_t since; /* it began to connect, or heard of the server last */
};

#define PATIENCE_US (60 * 1000000)

static struct {
	struct poller *all;
	unsigned n, first, started, underway, idle, ended, at_once;
	unsigned again_ms, came_again, gave_up;
	int64_t half_at, silence; /* the longest that one did not hear us */
	int64_t looked;
	SSL_CTX *ctx;
	struct sockaddr_in to;
	int epoll;
} fleet;

static void watch(struct poller *p, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = p};
	int op = p->events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;

	if (p->events == events)
		return;
	p->events = events;
	if (epoll_ctl(fleet.epoll, op, p->fd, &ev) != 0)
		die("epoll: %s", strerror(errno));
}

static void end(struct poller *p, const char *why)
{
	if (fleet.ended++ == 0)
		fprintf(stderr, "pollers: one ended: %s\n", why);
	if (p->state == IDLE)
		fleet.idle--;
	else
		fleet.underway--;
	p->state = ENDED;
	SSL_free(p->ssl);
	p->ssl = NULL;
	close(p->fd);
	p->events = 0;
	p->since = now_us();
}

static void start(struct poller *p)
{
	int one = 1;

	p->state = CONNECTING;
	p->since = now_us();
	p->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (p->fd < 0)
		die("socket: %s (ulimit -n?)", strerror(errno));
	setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	fleet.underway++;
	if (connect(p->fd, (struct sockaddr *)&fleet.to, sizeof(fleet.to)) != 0 &&
	    errno != EINPROGRESS)
		die("connect: %s", strerror(errno));
	watch(p, EPOLLOUT);
}

/* Those that ended come again, those that waited too long end. */
static void look_at_all(void)
{
	int64_t now = now_us();

	if (fleet.again_ms == 0 || now - fleet.looked < 100000)
		return;
	fleet.looked = now;
	for (unsigned i = 0; i < fleet.started; i++) {
		struct poller *p = &fleet.all[i];

		if (p->state == ENDED &&
		    now - p->since >= fleet.again_ms * 1000) {
			fleet.ended--;
			fleet.came_again++;
			start(p);
		} else if (p->state != ENDED && p->state != IDLE &&
		           now - p->since > PATIENCE_US) {
			fleet.gave_up++;
			end(p, "nothing happened for a minute");
		}
	}
}

static void greet(struct poller *p)
{
	char text[128];
	int n = snprintf(text, sizeof(text),
	                 "MX\n\nMX-SUBSCRIBER 1.0 poll://idle-%u/\r\n\r\n",
	                 fleet.first + (unsigned)(p - fleet.all));

	p->state = GREETING;
	SSL_write(p->ssl, text, n);
}

static void shake(struct poller *p)
{
	int rc = SSL_do_handshake(p->ssl);

	if (rc == 1) {
		greet(p);
		return;
	}
	rc = SSL_get_error(p->ssl, rc);
	if (rc != SSL_ERROR_WANT_READ && rc != SSL_ERROR_WANT_WRITE)
		end(p, "the handshake failed");
}

static void connected(struct poller *p)
{
	int err = 0;
	socklen_t len = sizeof(err);

	getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &err, &len);
	if (err != 0) {
		end(p, strerror(err));
		return;
	}
	if ((p->ssl = SSL_new(fleet.ctx)) == NULL)
		die("out of memory");
	SSL_set_fd(p->ssl, p->fd);
	SSL_set_connect_state(p->ssl);
	p->state = SHAKING;
	watch(p, EPOLLIN);
	shake(p);
}

/* MX-SERVER, or between calls a null message or PROCEED. */
static void heard(struct poller *p)
{
	uint8_t data[1024];
	int n = SSL_read(p->ssl, data, sizeof(data));

	if (n <= 0) {
		if (SSL_get_error(p->ssl, n) != SSL_ERROR_WANT_READ)
			end(p, "the server closed the connection");
		return;
	}
	if (p->state == GREETING) {
		p->state = IDLE;
		fleet.underway--;
		if (++fleet.idle == fleet.n / 2)
			fleet.half_at = now_us();
	} else {
		if (now_us() - p->since > fleet.silence)
			fleet.silence = now_us() - p->since;
		if (data[0] != 'P')
			SSL_write(p->ssl, "NEXT\r\n", 6);
	}
	p->since = now_us();
}

/*
 * A handshake costs a hundred times as much as the rest. Each machine has a
 * processor of its own for it; here the others must not wait for them all.
 */
static void turn(void)
{
	static struct epoll_event ev[16384];
	int n = epoll_wait(fleet.epoll, ev, 16384,
	                   fleet.again_ms > 0 ? 100 : -1);
	int shakes = 0;

	for (int i = 0; i < n; i++) {
		struct poller *p = ev[i].data.ptr;

		if (p == NULL) { /* standard input: it is over */
			printf("{\"silence_ms\": %.0f, \"ended\": %u}\n",
			       (double)fleet.silence / 1e3, fleet.ended);
			exit(0);
		}
		ERR_clear_error();
		if (p->state == CONNECTING)
			connected(p);
		else if (p->state == SHAKING && ++shakes <= 16)
			shake(p);
		else if (p->state == GREETING || p->state == IDLE)
			heard(p);
	}
	look_at_all();
	while (fleet.underway < fleet.at_once && fleet.started < fleet.n)
		start(&fleet.all[fleet.started++]);
}

static void prepare(const char *cert)
{
	struct epoll_event input = {.events = EPOLLIN | EPOLLHUP};

	fleet.ctx = SSL_CTX_new(TLS_client_method());
	if (fleet.ctx == NULL ||
	    SSL_CTX_use_certificate_chain_file(fleet.ctx, cert) != 1 ||
	    SSL_CTX_use_PrivateKey_file(fleet.ctx, cert, SSL_FILETYPE_PEM) != 1)
		die("%s cannot be used", cert);
	SSL_CTX_set_mode(fleet.ctx, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_verify(fleet.ctx, SSL_VERIFY_NONE, NULL);
	fleet.epoll = epoll_create1(EPOLL_CLOEXEC);
	fleet.all = calloc(fleet.n, sizeof(*fleet.all));
	if (fleet.epoll < 0 || fleet.all == NULL)
		die("out of memory");
	if (epoll_ctl(fleet.epoll, EPOLL_CTL_ADD, STDIN_FILENO, &input) != 0)
		die("standard input must be a pipe");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"cert", required_argument, NULL, 'c'},
		{"port", required_argument, NULL, 'p'},
		{"count", required_argument, NULL, 'n'},
		{"first", required_argument, NULL, 'f'},
		{"at-once", required_argument, NULL, 'a'},
		{"again", required_argument, NULL, 'g'},
		{NULL, 0, NULL, 0},
	};
	const char *cert = NULL;
	int64_t began;
	int opt;

	fleet.to.sin_family = AF_INET;
	fleet.to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	fleet.at_once = 32;
	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 'c': cert = optarg; break;
		case 'p':
			fleet.to.sin_port =
				htons((uint16_t)number("port", optarg));
			break;
		case 'n': fleet.n = (unsigned)number("count", optarg); break;
		case 'f': fleet.first = (unsigned)number("first", optarg); break;
		case 'a':
			fleet.at_once = (unsigned)number("at-once", optarg);
			break;
		case 'g':
			fleet.again_ms = (unsigned)number("again", optarg);
			break;
		default: return 2;
		}
	}
	if (cert == NULL || fleet.to.sin_port == 0 || fleet.n == 0)
		die("needs --cert, --port and --count");
	raise_descriptors();
	prepare(cert);
	began = now_us();
	start(&fleet.all[fleet.started++]);
	while (fleet.idle + (fleet.again_ms > 0 ? 0 : fleet.ended) < fleet.n)
		turn();
	printf("{\"idle\": %u, \"ended\": %u, \"came_again\": %u, "
	       "\"gave_up\": %u, \"half_seconds\": %.3f, "
	       "\"seconds\": %.3f}\n",
	       fleet.idle, fleet.ended, fleet.came_again, fleet.gave_up,
	       (double)(fleet.half_at - began) / 1e6,
	       (double)(now_us() - began) / 1e6);
	fflush(stdout);
	for (;;)
		turn();
}
