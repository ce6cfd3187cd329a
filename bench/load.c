/*
 * A client to measure with. Prints "PORT" when it is polled (--listen),
 * "ready" when its connections are warm, starts at the first line of its
 * standard input, prints one JSON object, and ends when its input does. With
 * --seconds 0 it calls until a second line comes.
 *
 * With --numbered each call has a number, and those that fail do not end the
 * run: they are listed by number and counted by text, and so is why
 * connections could not be made.
 */
#include <event2/event.h>
#include <getopt.h>
#include <halibut/halibut.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common.h"
#include "tally.h"

struct load {
	struct halibut_runtime *rt;
	struct halibut_endpoint *e;
	struct event_base *base;
	unsigned running;
	int64_t until; /* no call starts after it */
	int64_t pause_us; /* of each caller between two calls */
	struct samples samples;
	uint64_t calls, failed;
	bool numbered;
	int64_t last; /* number of a call */
	json_t *failures; /* numbers */
	struct texts errors, retries;
};

struct caller {
	struct load *load;
	struct event *timer; /* ends a pause */
	int64_t started;
	int64_t number;
	unsigned left; /* calls of the warm-up */
};

static void start(struct caller *c);

static void pause_is_over(evutil_socket_t fd, short what, void *arg)
{
	struct caller *c = arg;

	(void)fd;
	(void)what;
	if (now_us() < c->load->until)
		start(c);
	else
		c->load->running--;
}

static void next(struct caller *c)
{
	const struct timeval tv = {c->load->pause_us / 1000000,
	                           c->load->pause_us % 1000000};

	if (c->load->pause_us == 0 || c->left > 0) {
		start(c);
		return;
	}
	if (c->timer == NULL)
		c->timer = evtimer_new(c->load->base, pause_is_over, c);
	if (c->timer == NULL || evtimer_add(c->timer, &tv) != 0)
		die("out of memory");
}

/*
 * A call that took long kept its caller from starting others: they would have
 * waited for what was left of it, and count as if they had been made.
 */
static void took(struct load *l, int64_t us)
{
	samples_add(&l->samples, us);
	while (l->pause_us > 0 && (us -= l->pause_us) > 0)
		samples_add(&l->samples, us);
}

static void count_failure(struct caller *c, const char *text)
{
	struct load *l = c->load;

	if (l->failed++ == 0)
		fprintf(stderr, "load: %s\n", text);
	if (!l->numbered)
		return;
	texts_add(&l->errors, text);
	if (json_array_size(l->failures) < TALLY_LISTED)
		json_array_append_new(l->failures, json_integer(c->number));
}

/* A numbered call gives the next number. */
static bool is_right(const struct caller *c, const struct halibut_call *call)
{
	char want[32], *got;
	bool same;

	if (!c->load->numbered)
		return true;
	snprintf(want, sizeof(want), "%" PRId64, c->number + 1);
	got = halibut_call_result_json(call);
	same = got != NULL && strcmp(got, want) == 0;
	free(got);
	return same;
}

static void done(void *arg, struct halibut_call *call)
{
	struct caller *c = arg;
	struct load *l = c->load;
	const struct halibut_error *err = halibut_call_error(call);
	int64_t now = now_us();

	if (err->status != HALIBUT_OK) {
		count_failure(c, err->message);
	} else if (!is_right(c, call)) {
		count_failure(c, "the result is another call's");
	} else {
		l->calls++;
		took(l, now - c->started);
	}
	halibut_call_free(&call);
	if (now < l->until || c->left > 0)
		next(c);
	else
		l->running--;
}

static void start(struct caller *c)
{
	struct load *l = c->load;
	struct halibut_error err = {0};
	const char *method = l->numbered ? "Count" : "SayHello";
	struct halibut_call *call;
	char argument[32] = "\"World\"";

	if (c->left > 0)
		c->left--;
	c->started = now_us();
	c->number = ++l->last;
	if (l->numbered)
		snprintf(argument, sizeof(argument), "%" PRId64, c->number);
	if (halibut_call_new(&call, l->rt, l->e, "IEcho", method, &err) != 0 ||
	    halibut_call_add_json(call, argument, &err) != 0 ||
	    halibut_call_start(call, done, c) != 0)
		die("a call cannot start: %s", err.message);
}

static void run(struct load *l, struct caller *callers, unsigned parallel,
                int64_t us, unsigned each)
{
	l->until = now_us() + us;
	l->running = parallel;
	for (unsigned i = 0; i < parallel; i++) {
		callers[i].load = l;
		callers[i].left = each;
		start(&callers[i]);
	}
	while (l->running > 0)
		event_base_loop(l->base, EVLOOP_ONCE);
}

static void ready(void)
{
	puts("ready");
	fflush(stdout);
	wait_for_go();
}

/* The next line on standard input ends it. */
static void on_input(evutil_socket_t fd, short what, void *arg)
{
	struct load *l = arg;

	(void)fd;
	(void)what;
	wait_for_go();
	l->until = 0;
}

/* seconds 0: until it is told to end. */
static void run_measured(struct load *l, struct caller *callers,
                         unsigned parallel, double seconds)
{
	struct event *input;

	if (seconds > 0) {
		run(l, callers, parallel, (int64_t)(seconds * 1e6), 0);
		return;
	}
	input = event_new(l->base, STDIN_FILENO, EV_READ, on_input, l);
	if (input == NULL || event_add(input, NULL) != 0)
		die("standard input must be a pipe");
	run(l, callers, parallel, INT64_C(3600) * 1000000, 0);
	event_free(input);
}

static void report(struct load *l, double seconds, int64_t cpu)
{
	json_t *j = json_pack(
		"{sI sI sf sI sI sI sI}", "calls", (json_int_t)l->calls,
		"failed", (json_int_t)l->failed, "per_second",
		(double)l->calls / seconds, "median_us",
		(json_int_t)samples_at(&l->samples, 0.5), "p99_us",
		(json_int_t)samples_at(&l->samples, 0.99), "max_us",
		(json_int_t)samples_at(&l->samples, 1), "cpu_us",
		(json_int_t)cpu);

	if (l->numbered) {
		json_object_set_new(j, "last", json_integer(l->last));
		json_object_set(j, "failures", l->failures);
		json_object_set_new(j, "errors", texts_json(&l->errors));
		json_object_set_new(j, "retries", texts_json(&l->retries));
	}
	print_json(j);
}

static void calls(struct load *l, unsigned parallel, double seconds)
{
	struct caller *callers = calloc(parallel, sizeof(*callers));
	int64_t began, cpu;
	double s;

	if (callers == NULL)
		die("out of memory");
	run(l, callers, parallel, 0, 20);
	if (l->failed > 0)
		die("the warm-up failed");
	l->samples.n = 0;
	l->calls = 0;
	l->failures = json_array();
	ready();
	began = now_us();
	cpu = cpu_us(0);
	run_measured(l, callers, parallel, seconds);
	s = (double)(now_us() - began) / 1e6;
	cpu = cpu_us(0) - cpu;
	report(l, s, cpu);
	free(callers);
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

static void transfer(struct load *l, int64_t bytes, bool up)
{
	const char *method = up ? "CountBytes" : "GiveBytes";
	struct halibut_error err = {0};
	struct halibut_call *call;
	struct halibut_stream *s;
	int64_t left = bytes, began, took;
	char json[32];

	if (halibut_call_new(&call, l->rt, l->e, "IEcho", method, &err) != 0)
		die("%s", err.message);
	snprintf(json, sizeof(json), "%lld", (long long)bytes);
	if (up) {
		s = halibut_stream_from_callback(bytes, give, &left);
		halibut_call_add_stream(call, s, true, &err);
	} else {
		halibut_call_add_json(call, json, &err);
	}
	ready();
	began = now_us();
	if (halibut_call_wait(call) != 0)
		die("%s", halibut_call_error(call)->message);
	took = now_us() - began;
	if (!up) {
		s = halibut_call_stream(call, 0);
		if (s == NULL || halibut_stream_length(s) != bytes)
			die("the DataStream that came is not the one asked "
			    "for");
	}
	printf("{\"mb_per_second\": %.1f}\n", (double)bytes / (double)took);
	halibut_call_free(&call);
}

/* Each attempt to connect that failed is a line. */
static void on_log(void *arg, int level, const char *line)
{
	struct load *l = arg;
	const char *why = strstr(line, "cannot be called: ");

	(void)level;
	if (why != NULL)
		texts_add(&l->retries, why + strlen("cannot be called: "));
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"cert", required_argument, NULL, 'c'},
		{"peer", required_argument, NULL, 't'},
		{"url", required_argument, NULL, 'u'},
		{"connect-port", required_argument, NULL, 'o'},
		{"listen", no_argument, NULL, 'l'},
		{"parallel", required_argument, NULL, 'p'},
		{"seconds", required_argument, NULL, 's'},
		{"pause-ms", required_argument, NULL, 'P'},
		{"numbered", no_argument, NULL, 'n'},
		{"up", required_argument, NULL, 'U'},
		{"down", required_argument, NULL, 'D'},
		{NULL, 0, NULL, 0},
	};
	const char *cert = NULL, *peer = NULL, *url = "poll://sq-bench/";
	struct halibut_error err = {0};
	struct load l = {0};
	unsigned parallel = 1, connect_port = 0;
	int64_t up = 0, down = 0;
	double seconds = 1;
	bool listens = false;
	uint16_t port;
	char *pem;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case 'c': cert = optarg; break;
		case 't': peer = optarg; break;
		case 'u': url = optarg; break;
		case 'l': listens = true; break;
		case 's': seconds = atof(optarg); break;
		case 'P': l.pause_us = 1000 * number("pause-ms", optarg); break;
		case 'o':
			connect_port = (unsigned)number("connect-port", optarg);
			break;
		case 'p':
			parallel = (unsigned)number("parallel", optarg);
			break;
		case 'n': l.numbered = true; break;
		case 'U': up = number("up", optarg); break;
		case 'D': down = number("down", optarg); break;
		default: return 2;
		}
	}
	if (cert == NULL || peer == NULL)
		die("needs --cert and --peer");
	halibut_set_log(l.numbered ? on_log : NULL, &l, l.numbered ? 3 : 1);
	pem = read_text(cert);
	if (halibut_runtime_new(&l.rt, NULL, pem, NULL, &err) != 0)
		die("%s", err.message);
	free(pem);
	l.base = halibut_runtime_base(l.rt);
	halibut_trust_add(l.rt, peer);
	if (listens) {
		if (halibut_listen(l.rt, "127.0.0.1", 0, &port, &err) != 0)
			die("%s", err.message);
		printf("%u\n", port);
		fflush(stdout);
	}
	if (halibut_endpoint_new(&l.e, l.rt, url, listens ? NULL : peer,
	                         &err) != 0)
		die("%s", err.message);
	if (connect_port != 0)
		halibut_endpoint_set_connect_host(l.e, "127.0.0.1",
		                                  (uint16_t)connect_port);
	if (up > 0 || down > 0) {
		struct caller c = {0};

		run(&l, &c, 1, 0, 5); /* connects */
		transfer(&l, up > 0 ? up : down, up > 0);
	} else {
		calls(&l, parallel, seconds);
	}
	fflush(stdout);
	wait_for_go();
	return 0;
}
