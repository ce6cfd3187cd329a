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

/*
 * Formats of plain words, %s and %b, which nearly all are, without hiredis'
 * allocation an argument. False for any other, ap is as it was then.
 */
static bool split(const char *format, va_list ap, size_t *argc,
                  const char *argv[MAX_ARGS], size_t lens[MAX_ARGS])
{
	size_t n = 0;

	for (const char *p = format; *p != '\0';) {
		size_t len = strcspn(p, " ");
		bool percent = memchr(p, '%', len) != NULL;

		if (len == 0) {
			p++;
			continue;
		}
		if (n == MAX_ARGS ||
		    (percent && (len != 2 || strchr("sb", p[1]) == NULL)))
			return false;
		argv[n] = percent ? NULL : p;
		lens[n++] = percent ? (size_t)p[1] : len;
		p += len;
	}
	for (size_t i = 0; i < n; i++) {
		bool bytes;

		if (argv[i] != NULL)
			continue;
		bytes = lens[i] == 'b';
		argv[i] = va_arg(ap, const char *);
		lens[i] = bytes ? va_arg(ap, size_t) : strlen(argv[i]);
	}
	*argc = n;
	return n > 0;
}

int hbt_text_vadd(struct hbt_text **t, const char *format, va_list ap)
{
	const char *argv[MAX_ARGS];
	size_t lens[MAX_ARGS], argc;
	char *command = NULL, *p;
	va_list again;
	bool plain;
	int n, rc = HALIBUT_OK;

	va_copy(again, ap);
	plain = split(format, again, &argc, argv, lens);
	va_end(again);
	if (plain)
		return hbt_text_add_argv(t, argc, argv, lens);
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

void hbt_text_unref(struct hbt_text **t)
{
	if (*t != NULL && --(*t)->refs == 0)
		free(*t);
	*t = NULL;
}
