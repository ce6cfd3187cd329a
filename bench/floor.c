/*
 * What the machine can do: bare OpenSSL and zlib over loopback, without a
 * protocol, a queue or an event library. Each figure of Halibut's is divided
 * by one of these.
 *
 *   floor call PARALLEL SECONDS TURNS   small calls on kept connections
 *   floor transfer BYTES file|nowhere   one direction, in 16 KiB records
 *   floor handshake SECONDS             both sides show a certificate
 *   floor idle COUNT                    connections that nothing happens on
 *
 * Prints one JSON object. The server is a child process, the client we are.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include "common.h"

enum { RECORD = 16384, PIECE = 65536, MOST_PARALLEL = 256 };

/* The texts of a SayHello and its answer; their numbers differ each time. */
static const char request_text[] =
	"Type RequestMessage Message Id %08x-5d1c-4f1e-9b1e-%012llx "
	"ActivityId %08x-77aa-4c0e-8c1d-0123456789ab "
	"Destination BaseUri https://127.0.0.1:%u/ RemoteThumbprint "
	"0A1B2C3D4E5F60718293A4B5C6D7E8F901234567 Proxy RetryListening"
	"SleepInterval 00:00:01 RetryCountLimit 5 TcpClientConnectTimeout "
	"00:01:00 PollingRequestQueueTimeout 00:02:00 ConnectionErrorRetry"
	"Timeout 00:05:00 ServiceName IEcho MethodName SayHello Params World";
static const char response_text[] =
	"Type ResponseMessage Message Id %08x-5d1c-4f1e-9b1e-%012llx Error "
	"Result World...";

static struct {
	SSL_CTX *server, *client;
	int listener;
	struct sockaddr_in address;
	pid_t child;
	int told; /* the child writes a byte here when it is ready */
} net;

/* ---- certificates, contexts, sockets ---- */

static int accept_any(X509_STORE_CTX *store, void *arg)
{
	(void)arg;
	X509_STORE_CTX_set_error(store, X509_V_OK);
	return 1;
}

static void identify(SSL_CTX *ctx)
{
	EVP_PKEY *key = EVP_RSA_gen(2048);
	X509 *cert = X509_new();
	X509_NAME *name;

	if (key == NULL || cert == NULL)
		die("no certificate can be made");
	X509_set_version(cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), 0);
	X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
	X509_set_pubkey(cert, key);
	name = X509_get_subject_name(cert);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
	                           (const unsigned char *)"floor", -1, -1, 0);
	X509_set_issuer_name(cert, name);
	if (X509_sign(cert, key, EVP_sha256()) == 0 ||
	    SSL_CTX_use_certificate(ctx, cert) != 1 ||
	    SSL_CTX_use_PrivateKey(ctx, key) != 1)
		die("the certificate cannot be used");
	X509_free(cert);
	EVP_PKEY_free(key);
}

static SSL_CTX *context(const SSL_METHOD *method)
{
	SSL_CTX *ctx = SSL_CTX_new(method);

	if (ctx == NULL)
		die("out of memory");
	SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION);
	SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256");
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(ctx, 0);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_AUTO_RETRY);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_verify(ctx,
	                   SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
	                   NULL);
	SSL_CTX_set_cert_verify_callback(ctx, accept_any, NULL);
	identify(ctx);
	return ctx;
}

static void no_delay(int fd)
{
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

static void start_listening(void)
{
	socklen_t len = sizeof(net.address);

	net.server = context(TLS_server_method());
	net.client = context(TLS_client_method());
	net.address.sin_family = AF_INET;
	net.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	net.listener = socket(AF_INET, SOCK_STREAM, 0);
	if (net.listener < 0 ||
	    bind(net.listener, (struct sockaddr *)&net.address, len) != 0 ||
	    listen(net.listener, 1024) != 0 ||
	    getsockname(net.listener, (struct sockaddr *)&net.address, &len))
		die("cannot listen: %s", strerror(errno));
}

/* Runs server() in a child, which dies with us. */
static void start_server(void (*server)(long arg), long arg)
{
	int ends[2];

	if (pipe(ends) != 0 || (net.child = fork()) < 0)
		die("no child: %s", strerror(errno));
	if (net.child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ends[0]);
		net.told = ends[1];
		server(arg);
		_exit(0);
	}
	close(ends[1]);
	net.told = ends[0];
}

static void tell(void)
{
	if (write(net.told, "!", 1) != 1)
		_exit(1);
}

static void await_child(void)
{
	char c;

	if (read(net.told, &c, 1) != 1)
		die("the server ended");
}

static SSL *accept_one(void)
{
	int fd = accept(net.listener, NULL, NULL);
	SSL *ssl = SSL_new(net.server);

	if (fd < 0 || ssl == NULL)
		die("cannot accept: %s", strerror(errno));
	no_delay(fd);
	SSL_set_fd(ssl, fd);
	if (SSL_accept(ssl) != 1)
		die("the handshake failed");
	return ssl;
}

static SSL *connect_one(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	SSL *ssl = SSL_new(net.client);

	if (fd < 0 || ssl == NULL ||
	    connect(fd, (struct sockaddr *)&net.address, sizeof(net.address)))
		die("cannot connect: %s", strerror(errno));
	no_delay(fd);
	SSL_set_fd(ssl, fd);
	if (SSL_connect(ssl) != 1)
		die("the handshake failed");
	return ssl;
}

static void hang_up(SSL **ssl)
{
	close(SSL_get_fd(*ssl));
	SSL_free(*ssl);
	*ssl = NULL;
}

/* ---- messages ---- */

static z_stream inflater; /* kept: making it costs the most */

static void prepare_zlib(void)
{
	if (inflateInit2(&inflater, -MAX_WBITS) != Z_OK)
		die("zlib does not start");
}

/* As one stored block, which is the least that it can cost. */
static void send_message(SSL *ssl, const char *text, size_t len)
{
	uint8_t out[2048] = {1, (uint8_t)len, (uint8_t)(len >> 8),
	                     (uint8_t)~len, (uint8_t)(~len >> 8)};

	memcpy(out + 5, text, len);
	SSL_write(ssl, out, (int)len + 5);
}

static void read_message(uint8_t *data, int len)
{
	uint8_t text[4096];

	inflateReset(&inflater);
	inflater.next_in = data;
	inflater.avail_in = (uInt)len;
	inflater.next_out = text;
	inflater.avail_out = sizeof(text);
	if (inflate(&inflater, Z_FINISH) != Z_STREAM_END)
		die("inflate failed");
}

static void send_request(SSL *ssl, unsigned n)
{
	char text[1024];
	int len = snprintf(text, sizeof(text), request_text, n * 2654435761u,
	                   (unsigned long long)n * 99991, n, 10933u);

	send_message(ssl, text, (size_t)len);
}

static void send_response(SSL *ssl, unsigned n)
{
	char text[512];
	int len = snprintf(text, sizeof(text), response_text, n * 2654435761u,
	                   (unsigned long long)n * 99991);

	send_message(ssl, text, (size_t)len);
}

/* ---- call ---- */

static int poll_set;

static void watch(SSL *ssl, void *tag)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = tag};
	int fd = SSL_get_fd(ssl);

	fcntl(fd, F_SETFL, O_NONBLOCK);
	if (epoll_ctl(poll_set, EPOLL_CTL_ADD, fd, &ev) != 0)
		die("epoll: %s", strerror(errno));
}

/* A turn of "NEXT" and "PROCEED", or a request, tells its first byte. */
static void serve_calls(long parallel)
{
	struct epoll_event ev[64];
	uint8_t data[4096];
	unsigned calls = 0;
	int n, len;

	poll_set = epoll_create1(0);
	for (long i = 0; i < parallel; i++) {
		SSL *ssl = accept_one();

		watch(ssl, ssl);
	}
	tell();
	for (;;) {
		n = epoll_wait(poll_set, ev, 64, -1);
		for (int i = 0; i < n; i++) {
			SSL *ssl = ev[i].data.ptr;

			len = SSL_read(ssl, data, sizeof(data));
			if (len <= 0 && SSL_get_error(ssl, len) !=
			                        SSL_ERROR_WANT_READ)
				return;
			if (len <= 0)
				continue;
			if (data[0] == 'N') {
				SSL_write(ssl, "PROCEED\r\n", 9);
				continue;
			}
			read_message(data, len);
			send_response(ssl, ++calls);
		}
	}
}

struct call {
	SSL *ssl;
	int64_t began;
	bool asked; /* NEXT was sent, PROCEED is due */
};

static void begin(struct call *c, int turns)
{
	static unsigned calls;

	c->began = now_us();
	c->asked = turns == 2;
	if (c->asked)
		SSL_write(c->ssl, "NEXT\r\n", 6);
	else
		send_request(c->ssl, ++calls);
}

static void measure_calls(int parallel, double seconds, int turns)
{
	static struct call calls[MOST_PARALLEL];
	struct samples samples = {0};
	struct epoll_event ev[64];
	uint8_t data[4096];
	int64_t began, until, now, cpu, cpu_child;
	int n, len;

	if (parallel < 1 || parallel > MOST_PARALLEL)
		die("1 to %d calls at once", MOST_PARALLEL);
	start_server(serve_calls, parallel);
	poll_set = epoll_create1(0);
	for (int i = 0; i < parallel; i++) {
		calls[i].ssl = connect_one();
		watch(calls[i].ssl, &calls[i]);
	}
	await_child();
	began = now_us();
	until = began + (int64_t)(seconds * 1e6);
	cpu = cpu_us(0);
	cpu_child = cpu_us(net.child);
	for (int i = 0; i < parallel; i++)
		begin(&calls[i], turns);
	do {
		n = epoll_wait(poll_set, ev, 64, -1);
		now = now_us();
		for (int i = 0; i < n; i++) {
			struct call *c = ev[i].data.ptr;

			len = SSL_read(c->ssl, data, sizeof(data));
			if (len <= 0)
				continue;
			if (c->asked) {
				c->asked = false;
				send_request(c->ssl, (unsigned)samples.n);
				continue;
			}
			read_message(data, len);
			samples_add(&samples, now_us() - c->began);
			begin(c, turns);
		}
	} while (now < until);
	cpu = cpu_us(0) - cpu;
	cpu_child = cpu_us(net.child) - cpu_child;
	printf("{\"calls\": %zu, \"per_second\": %.0f, \"median_us\": %u, "
	       "\"p99_us\": %u, \"client_us\": %.1f, \"server_us\": %.1f}\n",
	       samples.n, (double)samples.n * 1e6 / (double)(now - began),
	       samples_at(&samples, 0.5), samples_at(&samples, 0.99),
	       (double)cpu / (double)samples.n,
	       (double)cpu_child / (double)samples.n);
}

/* ---- transfer ---- */

static bool keep_in_file;

static void take_bytes(long arg)
{
	static uint8_t data[PIECE];
	const char *dir = getenv("TMPDIR");
	SSL *ssl = accept_one();
	int fd = -1, n;
	size_t got;

	(void)arg;
	if (keep_in_file) {
		fd = open(dir != NULL ? dir : "/tmp", O_TMPFILE | O_RDWR, 0600);
		if (fd < 0)
			die("no temporary file: %s", strerror(errno));
	}
	tell();
	for (;;) {
		for (got = 0; got + RECORD <= sizeof(data); got += (size_t)n) {
			n = SSL_read(ssl, data + got,
			             (int)(sizeof(data) - got));
			if (n <= 0)
				die("the client ended");
			if (data[got + (size_t)n - 1] == '$')
				goto done;
		}
		if (fd >= 0 && write(fd, data, got) != (ssize_t)got)
			die("the file cannot be written");
	}
done:
	tell();
	pause();
}

static void measure_transfer(int64_t bytes)
{
	static uint8_t data[RECORD];
	int64_t began, took, cpu, cpu_child;
	SSL *ssl;

	start_server(take_bytes, 0);
	ssl = connect_one();
	await_child();
	began = now_us();
	cpu = cpu_us(0);
	cpu_child = cpu_us(net.child);
	for (int64_t left = bytes; left > 0; left -= RECORD)
		if (SSL_write(ssl, data, sizeof(data)) != RECORD)
			die("sending failed");
	SSL_write(ssl, "$", 1);
	await_child();
	took = now_us() - began;
	printf("{\"mb_per_second\": %.1f, \"client_us_per_mb\": %.1f, "
	       "\"server_us_per_mb\": %.1f}\n",
	       (double)bytes / (double)took,
	       (double)(cpu_us(0) - cpu) * 1e6 / (double)bytes,
	       (double)(cpu_us(net.child) - cpu_child) * 1e6 / (double)bytes);
}

/* ---- handshake ---- */

static void serve_handshakes(long arg)
{
	(void)arg;
	tell();
	for (;;) {
		SSL *ssl = accept_one();

		SSL_write(ssl, "!", 1);
		hang_up(&ssl);
	}
}

static void measure_handshakes(double seconds)
{
	int64_t began, cpu, cpu_child, took;
	unsigned n = 0;
	char c;

	start_server(serve_handshakes, 0);
	await_child();
	began = now_us();
	cpu = cpu_us(0);
	cpu_child = cpu_us(net.child);
	do {
		SSL *ssl = connect_one();

		if (SSL_read(ssl, &c, 1) != 1)
			die("the handshake failed");
		hang_up(&ssl);
		n++;
		took = now_us() - began;
	} while ((double)took < seconds * 1e6);
	printf("{\"handshakes\": %u, \"per_second\": %.0f, \"client_us\": "
	       "%.1f, \"server_us\": %.1f}\n",
	       n, n * 1e6 / (double)took, (double)(cpu_us(0) - cpu) / n,
	       (double)(cpu_us(net.child) - cpu_child) / n);
}

/* ---- idle ---- */

static void hold(long count)
{
	uint8_t data[64];

	tell();
	for (long i = 0; i < count; i++) {
		SSL *ssl = accept_one(); /* kept until the end */

		SSL_read(ssl, data, sizeof(data));
		SSL_write(ssl, "!", 1);
	}
	tell();
	pause();
}

static int64_t resident_kib(int pid)
{
	char path[64], line[256];
	long long kib = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	if ((f = fopen(path, "r")) == NULL)
		die("%s: %s", path, strerror(errno));
	while (fgets(line, sizeof(line), f) != NULL)
		if (sscanf(line, "VmRSS: %lld", &kib) == 1)
			break;
	fclose(f);
	return kib;
}

static void measure_idle(long count)
{
	int64_t before;
	char c;

	raise_descriptors();
	start_server(hold, count);
	await_child();
	before = resident_kib(net.child);
	for (long i = 0; i < count; i++) {
		SSL *ssl = connect_one();

		SSL_write(ssl, "hello", 5);
		if (SSL_read(ssl, &c, 1) != 1)
			die("the server ended");
	}
	await_child();
	printf("{\"connections\": %ld, \"kib\": %.2f}\n", count,
	       (double)(resident_kib(net.child) - before) / (double)count);
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[1] : "";

	start_listening();
	prepare_zlib();
	if (strcmp(what, "call") == 0 && argc == 5) {
		measure_calls(atoi(argv[2]), atof(argv[3]), atoi(argv[4]));
	} else if (strcmp(what, "transfer") == 0 && argc == 4) {
		keep_in_file = strcmp(argv[3], "file") == 0;
		measure_transfer(number("bytes", argv[2]));
	} else if (strcmp(what, "handshake") == 0) {
		measure_handshakes(atof(argv[2]));
	} else if (strcmp(what, "idle") == 0) {
		measure_idle((long)number("idle", argv[2]));
	} else {
		die("call PARALLEL SECONDS TURNS | transfer BYTES "
		    "file|nowhere | handshake SECONDS | idle COUNT");
	}
	fflush(stdout);
	if (net.child > 0) {
		kill(net.child, SIGKILL);
		waitpid(net.child, NULL, 0);
	}
	return 0;
}
