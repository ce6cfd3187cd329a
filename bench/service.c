/*
 * A service to measure: greets, counts, takes DataStreams, gives DataStreams.
 * Listens or polls, prints where it can be reached, and runs until its standard
 * input ends. At each line there it prints one JSON object: the numbers that it
 * was called with, and, with --numbered, why it could not poll.
 */
#include <event2/event.h>
#include <getopt.h>
#include <halibut/halibut.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"
#include "tally.h"

static struct halibut_runtime *runtime;
static struct numbers called;
static struct texts poll_failures;

static void say_hello(void *arg, struct halibut_request *req)
{
	char *name = halibut_request_argument_text(req, 0);
	char json[128];

	(void)arg;
	snprintf(json, sizeof(json), "\"%s...\"", name);
	halibut_reply_json(req, json, NULL, 0, NULL);
	free(name);
}

/* Each number is to come once. */
static void count(void *arg, struct halibut_request *req)
{
	char json[32];
	int64_t n;

	(void)arg;
	if (!halibut_request_argument_int(req, 0, &n) ||
	    !numbers_add(&called, n)) {
		halibut_reply_error(req, "which number?", NULL);
		return;
	}
	snprintf(json, sizeof(json), "%lld", (long long)n + 1);
	halibut_reply_json(req, json, NULL, 0, NULL);
}

static void count_bytes(void *arg, struct halibut_request *req)
{
	struct halibut_stream *s = halibut_request_stream(req, 0);
	char json[32];

	(void)arg;
	snprintf(json, sizeof(json), "%lld",
	         s == NULL ? -1LL : (long long)halibut_stream_length(s));
	halibut_reply_json(req, json, NULL, 0, NULL);
}

static ssize_t give(void *arg, void *buf, size_t cap)
{
	static const uint8_t block[65536] = {1, 2, 3};
	int64_t *left = arg;
	size_t n = cap < sizeof(block) ? cap : sizeof(block);

	if ((int64_t)n > *left)
		n = (size_t)*left;
	memcpy(buf, block, n);
	*left -= (int64_t)n;
	return (ssize_t)n;
}

static void give_bytes(void *arg, struct halibut_request *req)
{
	static int64_t left; /* one call at a time */
	struct halibut_stream *s;

	(void)arg;
	if (!halibut_request_argument_int(req, 0, &left)) {
		halibut_reply_error(req, "how many bytes?", NULL);
		return;
	}
	s = halibut_stream_from_callback(left, give, &left);
	halibut_reply_json(req, "{\"$dataStream\": 0}", &s, 1, NULL);
}

static void on_input(evutil_socket_t fd, short what, void *arg)
{
	char c[64];
	ssize_t n = read((int)fd, c, sizeof(c));
	json_t *j;

	(void)what;
	(void)arg;
	if (n <= 0)
		halibut_runtime_stop(runtime);
	if (n <= 0 || memchr(c, '\n', (size_t)n) == NULL)
		return;
	j = numbers_json(&called);
	json_object_set_new(j, "poll_failures", texts_json(&poll_failures));
	print_json(j);
}

static void start_polling(const char *url, const char *thumbprint,
                          const char *subscription, unsigned connections)
{
	struct halibut_error err = {0};
	struct halibut_endpoint *server;

	if (halibut_endpoint_new(&server, runtime, url, thumbprint, &err) != 0 ||
	    halibut_poll(NULL, runtime, server, subscription, connections,
	                 &err) != 0)
		die("%s", err.message);
	halibut_endpoint_free(&server);
}

static void on_log(void *arg, int level, const char *line)
{
	const char *end = strstr(line, ". Retrying in ");
	char text[512];

	(void)arg;
	if (end != NULL) {
		snprintf(text, sizeof(text), "%.*s", (int)(end - line), line);
		texts_add(&poll_failures, text);
	} else if (level <= 1) {
		fprintf(stderr, "%s\n", line);
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"cert", required_argument, NULL, 'c'},
		{"trust", required_argument, NULL, 't'},
		{"listen", no_argument, NULL, 'l'},
		{"poll", required_argument, NULL, 'p'},
		{"subscription", required_argument, NULL, 's'},
		{"connections", required_argument, NULL, 'n'},
		{"numbered", no_argument, NULL, 'N'},
		{NULL, 0, NULL, 0},
	};
	const char *cert = NULL, *trusted = NULL, *polled[8];
	const char *subscription = "poll://sq-bench/";
	struct halibut_error err = {0};
	struct event *input;
	unsigned connections = 1, n_polled = 0;
	bool listens = false, numbered = false;
	uint16_t port = 0;
	char *pem;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 'c': cert = optarg; break;
		case 't': trusted = optarg; break;
		case 'l': listens = true; break;
		case 'p':
			if (n_polled == sizeof(polled) / sizeof(polled[0]))
				die("polls no more servers than that");
			polled[n_polled++] = optarg;
			break;
		case 's': subscription = optarg; break;
		case 'n':
			connections = (unsigned)number("connections", optarg);
			break;
		case 'N': numbered = true; break;
		default: return 2;
		}
	}
	if (cert == NULL || trusted == NULL || listens == (n_polled > 0))
		die("needs --cert, --trust, and --listen or --poll");
	halibut_set_log(numbered ? on_log : NULL, NULL, numbered ? 3 : 1);
	pem = read_text(cert);
	if (halibut_runtime_new(&runtime, NULL, pem, NULL, &err) != 0)
		die("%s", err.message);
	free(pem);
	halibut_trust_add(runtime, trusted);
	halibut_service_add(runtime, "IEcho", "SayHello", say_hello, NULL);
	halibut_service_add(runtime, "IEcho", "Count", count, NULL);
	halibut_service_add(runtime, "IEcho", "CountBytes", count_bytes, NULL);
	halibut_service_add(runtime, "IEcho", "GiveBytes", give_bytes, NULL);
	if (listens &&
	    halibut_listen(runtime, "127.0.0.1", 0, &port, &err) != 0)
		die("%s", err.message);
	for (unsigned i = 0; i < n_polled; i++)
		start_polling(polled[i], trusted, subscription, connections);
	input = event_new(halibut_runtime_base(runtime), STDIN_FILENO,
	                  EV_READ | EV_PERSIST, on_input, NULL);
	event_add(input, NULL);
	printf("%u\n", port);
	fflush(stdout);
	halibut_runtime_run(runtime);
	event_free(input);
	halibut_runtime_free(&runtime);
	return 0;
}
