#include "common.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

void die(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s: ", program_invocation_short_name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

static int64_t read_clock(clockid_t clock)
{
	struct timespec ts = {0};

	clock_gettime(clock, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t now_us(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

int64_t cpu_us(int pid)
{
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) != 0)
		die("process %d has no clock", pid);
	return read_clock(clock);
}

void raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

char *read_text(const char *path)
{
	FILE *f = fopen(path, "r");
	char *text = NULL;
	size_t cap = 0;

	if (f == NULL || getdelim(&text, &cap, '\0', f) < 0)
		die("%s: %s", path, strerror(errno));
	fclose(f);
	return text;
}

int64_t number(const char *name, const char *text)
{
	char *end;
	long long n = strtoll(text, &end, 10);

	if (*end != '\0' || end == text || n < 0)
		die("--%s takes a whole number, not \"%s\"", name, text);
	return n;
}

void wait_for_go(void)
{
	char c = '\0';

	while (c != '\n')
		if (read(STDIN_FILENO, &c, 1) <= 0)
			exit(0);
}

void samples_add(struct samples *s, int64_t us)
{
	if (s->n == s->cap) {
		s->cap = s->cap > 0 ? s->cap * 2 : 65536;
		s->us = reallocarray(s->us, s->cap, sizeof(*s->us));
		if (s->us == NULL)
			die("out of memory");
	}
	s->us[s->n++] = us < UINT32_MAX ? (uint32_t)us : UINT32_MAX;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

uint32_t samples_at(struct samples *s, double share)
{
	size_t i = (size_t)(share * (double)s->n);

	if (s->n == 0)
		return 0;
	qsort(s->us, s->n, sizeof(*s->us), compare);
	return s->us[i < s->n ? i : s->n - 1];
}
