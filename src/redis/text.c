/* Commands as bytes. */
#include "redis/text.h"

#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/error.h"

#define FIRST_CAP 480
#define COPY_MAX 8192  /* below, a copy is cheaper than a reference */
#define MAX_ARGS 16    /* of a format that is written without hiredis */
#define MAX_NUMBERS 2  /* of them */

struct words {
	size_t argc;
	const char *argv[MAX_ARGS];
	size_t lens[MAX_ARGS];
	char numbers[MAX_NUMBERS][24];
};

static char *reserve(struct hbt_text **t, size_t n)
{
	struct hbt_text *old = *t, *grown;
	size_t len = old != NULL ? old->len : 0;
	size_t cap = old != NULL ? old->cap : 0;

	if (old != NULL && cap - len >= n)
		return old->bytes + len;
	cap = cap * 2 > len + n ? cap * 2 : len + n;
	if (cap < FIRST_CAP)
		cap = FIRST_CAP;
	grown = realloc(old, sizeof(*grown) + cap);
	if (grown == NULL)
		return NULL;
	if (old == NULL)
		*grown = (struct hbt_text){.refs = 1};
	grown->cap = cap;
	*t = grown;
	return grown->bytes + len;
}

static size_t digits(size_t n)
{
	size_t count = 1;

	for (; n >= 10; n /= 10)
		count++;
	return count;
}

/* "*3\r\n" or "$12\r\n" */
static char *put_header(char *p, char kind, size_t n)
{
	size_t count = digits(n);

	*p++ = kind;
	for (size_t i = count; i-- > 0; n /= 10)
		p[i] = (char)('0' + n % 10);
	p += count;
	*p++ = '\r';
	*p++ = '\n';
	return p;
}

int hbt_text_add_argv(struct hbt_text **t, size_t argc,
                      const char *const *argv, const size_t *lens)
{
	size_t need = 3 + digits(argc);
	char *p;

	for (size_t i = 0; i < argc; i++) {
		if (lens[i] > HBT_REDIS_MAX_VALUE ||
		    need > 2 * (size_t)HBT_REDIS_MAX_VALUE)
			return HALIBUT_ELIMIT;
		need += 5 + digits(lens[i]) + lens[i];
	}
	if ((p = reserve(t, need)) == NULL)
		return HALIBUT_ENOMEM;
	p = put_header(p, '*', argc);
	for (size_t i = 0; i < argc; i++) {
		p = put_header(p, '$', lens[i]);
		if (lens[i] > 0)
			memcpy(p, argv[i], lens[i]);
		p += lens[i];
		*p++ = '\r';
		*p++ = '\n';
	}
	(*t)->len += need;
	(*t)->commands++;
	return HALIBUT_OK;
}

/* 's', 'b' or 'd' for what a word stands for, 0: for itself; -1: for more. */
static int kind_of(const char *word, size_t len)
{
	if (memchr(word, '%', len) == NULL)
		return 0;
	if (len == 2 && (word[1] == 's' || word[1] == 'b'))
		return word[1];
	return len == 4 && memcmp(word, "%lld", 4) == 0 ? 'd' : -1;
}

/* A word's length is its kind until its argument is there. */
static bool split(const char *format, struct words *w)
{
	size_t numbers = 0;

	w->argc = 0;
	for (const char *p = format; *p != '\0';) {
		size_t len = strcspn(p, " ");
		int kind = kind_of(p, len);

		if (len == 0) {
			p++;
			continue;
		}
		if (kind == 'd')
			numbers++;
		if (w->argc == MAX_ARGS || numbers > MAX_NUMBERS || kind < 0)
			return false;
		w->argv[w->argc] = kind != 0 ? NULL : p;
		w->lens[w->argc++] = kind != 0 ? (size_t)kind : len;
		p += len;
	}
	return w->argc > 0;
}

static void fill(struct words *w, va_list ap)
{
	size_t numbers = 0;

	for (size_t i = 0; i < w->argc; i++) {
		size_t kind = w->lens[i];

		if (w->argv[i] != NULL)
			continue;
		if (kind == 'd') {
			char *number = w->numbers[numbers++];

			snprintf(number, sizeof(w->numbers[0]), "%lld",
			         va_arg(ap, long long));
			w->argv[i] = number;
		} else {
			w->argv[i] = va_arg(ap, const char *);
		}
		w->lens[i] = kind == 'b' ? va_arg(ap, size_t)
		                         : strlen(w->argv[i]);
	}
}

/* Formats of plain words, %s, %b and %lld, which nearly all are, without
 * hiredis' allocation an argument. */
int hbt_text_vadd(struct hbt_text **t, const char *format, va_list ap)
{
	char *command = NULL, *p;
	struct words w;
	int n, rc = HALIBUT_OK;

	if (split(format, &w)) {
		fill(&w, ap);
		return hbt_text_add_argv(t, w.argc, w.argv, w.lens);
	}
	if ((n = redisvFormatCommand(&command, format, ap)) <= 0)
		return n == -1 ? HALIBUT_ENOMEM : HALIBUT_EINVAL;
	if ((p = reserve(t, (size_t)n)) != NULL) {
		memcpy(p, command, (size_t)n);
		(*t)->len += (size_t)n;
		(*t)->commands++;
	} else {
		rc = HALIBUT_ENOMEM;
	}
	redisFreeCommand(command);
	return rc;
}

int hbt_text_add(struct hbt_text **t, const char *format, ...)
{
	va_list ap;
	int rc;

	va_start(ap, format);
	rc = hbt_text_vadd(t, format, ap);
	va_end(ap);
	return rc;
}

static void unref_written(const void *data, size_t len, void *arg)
{
	struct hbt_text *t = arg;

	(void)data;
	(void)len;
	hbt_text_unref(&t);
}

bool hbt_text_write(struct hbt_text *t, struct evbuffer *out)
{
	if (t->len <= COPY_MAX)
		return evbuffer_add(out, t->bytes, t->len) == 0;
	t->refs++;
	if (evbuffer_add_reference(out, t->bytes, t->len, unref_written, t) ==
	    0)
		return true;
	t->refs--;
	return false;
}

/* "*3\r\n" or "$12\r\n": the figure; *p is behind it. */
static long header(const char **p)
{
	long n = strtol(*p + 1, NULL, 10);

	*p = strchr(*p, '\n') + 1;
	return n;
}

bool hbt_text_command(const struct hbt_text *t, size_t *at, const char **name,
                      size_t *len)
{
	const char *p = t->bytes + *at;
	long args, n;

	if (*at >= t->len)
		return false;
	args = header(&p);
	for (long i = 0; i < args; i++) {
		n = header(&p);
		if (i == 0) {
			*name = p;
			*len = (size_t)n;
		}
		p += n + 2;
	}
	*at = (size_t)(p - t->bytes);
	return true;
}

bool hbt_text_stores(const struct hbt_text *t)
{
	static const char *const names[] = {"SET", "HMSET", "HSET", "RPUSH",
	                                    "ZADD"};
	const char *name;
	size_t at = 0, len;

	while (hbt_text_command(t, &at, &name, &len))
		for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
			if (len == strlen(names[i]) &&
			    memcmp(name, names[i], len) == 0)
				return true;
	return false;
}

void hbt_text_unref(struct hbt_text **t)
{
	if (*t != NULL && --(*t)->refs == 0)
		free(*t);
	*t = NULL;
}
