/*
 * A client in C: calls IEchoService with an argument, with a DataStream in
 * each direction, and looks at what came back.
 *
 * A listening service is dialled:
 *
 *   client --cert client.pem --thumbprint SERVICE https://127.0.0.1:10933
 *
 * A polling service comes to us, so we listen and wait for it:
 *
 *   client --cert client.pem --listen 127.0.0.1:10943 --trust SERVICE \
 *          poll://service-1
 *
 * or, for a queue that several nodes share, asks through Redis: whichever of
 * them the service polls, or serves queue://NAME, has the answer:
 *
 *   client --cert client.pem --redis redis://127.0.0.1 --prefix prod \
 *          queue://service-1
 *
 * SERVICE is a thumbprint; `halibutctl cert show FILE` prints it. Outside this
 * tree: cc client.c $(pkg-config --cflags --libs halibut)
 */
#include <getopt.h>
#include <halibut/halibut.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERVICE "IEchoService"

static const char text[] = "The quick brown fox jumps over the lazy dog";

static int usage(void)
{
	fputs("Usage: client --cert FILE --thumbprint SERVICE"
	      " https://HOST:PORT\n"
	      "       client --cert FILE --listen ADDR:PORT --trust SERVICE"
	      " poll://NAME\n"
	      "       client --cert FILE --redis URL --prefix PREFIX"
	      " [--streams KIND]\n"
	      "              poll://NAME|queue://NAME\n", stderr);
	return 2;
}

/* Starts a call and waits; a program with a loop of its own would use
 * halibut_call_start() and go on. */
static int wait_for(struct halibut_call *call)
{
	int rc = halibut_call_wait(call);
	const struct halibut_error *err = halibut_call_error(call);

	if (rc != 0)
		fprintf(stderr, "client: %s%s\n", err->message,
		        halibut_error_is_network(err) == HALIBUT_YES
		                ? " (the network; trying again may help)"
		                : "");
	return rc;
}

/* A value in, a value out: both are JSON texts. */
static int say_hello(struct halibut_runtime *rt, struct halibut_endpoint *to)
{
	struct halibut_call *call = NULL;
	int rc = halibut_call_new(&call, rt, to, SERVICE, "SayHello", NULL);

	if (rc == 0)
		rc = halibut_call_add_json(call, "\"World\"", NULL);
	if (rc == 0 && (rc = wait_for(call)) == 0) {
		char *json = halibut_call_result_json(call);

		printf("SayHello: %s\n", json);
		free(json);
	}
	halibut_call_free(&call);
	return rc;
}

/* A DataStream in, a DataStream out. */
static int reverse(struct halibut_runtime *rt, struct halibut_endpoint *to)
{
	struct halibut_call *call = NULL;
	struct halibut_stream *in, *out;
	char buf[sizeof(text)];
	ssize_t n;
	int rc = halibut_call_new(&call, rt, to, SERVICE, "Reverse", NULL);

	/* halibut_stream_from_fd() sends a file of any size. The stream is
	 * the call's from here on; true: it is the argument itself. */
	in = halibut_stream_from_memory(text, sizeof(text) - 1);
	if (rc == 0)
		rc = halibut_call_add_stream(call, in, true, NULL);
	if (rc == 0 && (rc = wait_for(call)) == 0) {
		out = halibut_call_stream(call, 0);
		n = out != NULL ? halibut_stream_read(out, buf, sizeof(buf))
		                : 0;
		printf("Reverse: %.*s\n", n > 0 ? (int)n : 0, buf);
	}
	halibut_call_free(&call);
	return rc;
}

/* Where a polling service can find us. */
static int start_listening(struct halibut_runtime *rt, char *listen,
                           const char *trust, struct halibut_error *err)
{
	char *colon = strrchr(listen, ':');
	uint16_t port;
	int rc;

	if (colon == NULL || halibut_trust_add(rt, trust) != 0)
		return usage();
	*colon = '\0';
	rc = halibut_listen(rt, listen, (uint16_t)atoi(colon + 1), &port, err);
	if (rc == 0)
		fprintf(stderr, "listening on https://%s:%u\n", listen,
		        (unsigned)port);
	return rc;
}

/* From here on the queues are in Redis. Nodes that share them keep their
 * DataStreams in the same place. */
static int use_redis(struct halibut_runtime *rt, const char *url,
                     const char *prefix, const char *streams,
                     struct halibut_error *err)
{
	struct halibut_setting settings[] = {
		{"streams", streams != NULL ? streams : "redis"},
	};

	return halibut_use_redis(rt, url, prefix, settings, 1, err);
}

int main(int argc, char **argv)
{
	enum { CERT, THUMBPRINT, LISTEN, TRUST, REDIS, PREFIX, STREAMS, N };
	static const struct option options[] = {
		{"cert", required_argument, NULL, CERT},
		{"thumbprint", required_argument, NULL, THUMBPRINT},
		{"listen", required_argument, NULL, LISTEN},
		{"trust", required_argument, NULL, TRUST},
		{"redis", required_argument, NULL, REDIS},
		{"prefix", required_argument, NULL, PREFIX},
		{"streams", required_argument, NULL, STREAMS},
		{NULL, 0, NULL, 0},
	};
	char *value[N] = {NULL}, *cert = NULL, *key = NULL;
	struct halibut_error err = {0};
	struct halibut_endpoint *to = NULL;
	struct halibut_runtime *rt = NULL;
	int opt, rc;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt >= N)
			return usage();
		value[opt] = optarg;
	}
	if (optind != argc - 1 || value[CERT] == NULL ||
	    (value[LISTEN] == NULL) != (value[TRUST] == NULL) ||
	    (value[REDIS] == NULL) != (value[PREFIX] == NULL))
		return usage();

	/* One runtime: one certificate, one trust list. */
	rc = halibut_certificate_load(value[CERT], NULL, &cert, &key, &err);
	if (rc == 0)
		rc = halibut_runtime_new(&rt, NULL, cert, key, &err);
	free(cert);
	free(key);
	if (rc == 0)
		rc = halibut_endpoint_new(&to, rt, argv[optind],
		                          value[THUMBPRINT], &err);
	if (rc == 0 && value[REDIS] != NULL)
		rc = use_redis(rt, value[REDIS], value[PREFIX], value[STREAMS],
		               &err);
	if (rc == 0 && value[LISTEN] != NULL)
		rc = start_listening(rt, value[LISTEN], value[TRUST], &err);
	if (rc != 0)
		fprintf(stderr, "client: %s\n",
		        err.message != NULL ? err.message
		                            : halibut_strerror(rc));
	if (rc == 0)
		rc = say_hello(rt, to);
	if (rc == 0)
		rc = reverse(rt, to);
	halibut_error_clear(&err);
	halibut_endpoint_free(&to);
	halibut_runtime_free(&rt);
	return rc == 0 ? 0 : 1;
}
