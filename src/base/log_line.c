#include "base/log_line.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* A field says what it has to within this; the message gets what is left. */
#define FIELD_MAX 480
#define MARK "\xe2\x80\xa6" /* an ellipsis: something was cut here */
#define MARK_LEN 3

struct out {
	char *at;
	size_t n, cap; /* always n <= cap */
};

static void add_raw(struct out *o, const char *text)
{
	size_t len = strlen(text);

	if (len > o->cap - o->n)
		len = o->cap - o->n;
	memcpy(o->at + o->n, text, len);
	o->n += len;
}

static bool in(uint8_t c, uint8_t from, uint8_t to)
{
	return c >= from && c <= to;
}

/*
 * The length of the character at s, 0 when it is none of well-formed UTF-8
 * (Unicode, table 3-7). The string ends in a NUL, so nothing behind is read.
 */
static size_t utf8_len(const uint8_t *s)
{
	size_t len;

	if (s[0] < 0x80)
		return 1;
	if (in(s[0], 0xc2, 0xdf))
		return in(s[1], 0x80, 0xbf) ? 2 : 0;
	if (!in(s[1], s[0] == 0xe0 ? 0xa0 : s[0] == 0xf0 ? 0x90 : 0x80,
	        s[0] == 0xed ? 0x9f : s[0] == 0xf4 ? 0x8f : 0xbf))
		return 0;
	len = in(s[0], 0xe0, 0xef) ? 3 : in(s[0], 0xf0, 0xf4) ? 4 : 0;
	for (size_t i = 2; i < len; i++)
		if (!in(s[i], 0x80, 0xbf))
			return 0;
	return len;
}

/* Does it move a terminal's cursor, or the text around it? */
static bool is_unsafe(const uint8_t *s, size_t len)
{
	if (len == 1)
		return s[0] < 0x20 || s[0] == 0x7f;
	if (len == 2)
		return s[0] == 0xc2 && s[1] < 0xa0;
	return len == 3 && s[0] == 0xe2 &&
	       ((s[1] == 0x80 && in(s[2], 0xa8, 0xae)) ||
	        (s[1] == 0x81 && in(s[2], 0xa6, 0xa9)));
}

/* One character, or its escape, to piece; returns how many bytes of s it was. */
static size_t escape(const uint8_t *s, bool json, char piece[24])
{
	size_t len = utf8_len(s);
	size_t n = 0;

	if (len > 0 && !is_unsafe(s, len)) {
		if (json && (*s == '"' || *s == '\\'))
			piece[n++] = '\\';
		memcpy(piece + n, s, len);
		piece[n + len] = '\0';
		return len;
	}
	if (len == 0)
		len = 1;
	for (size_t i = 0; i < len; i++)
		n += (size_t)sprintf(piece + n, json ? "\\\\x%02x" : "\\x%02x",
		                     s[i]);
	return len;
}

/* At most max bytes of it; the mark is among them. */
static void add_escaped(struct out *o, const char *text, size_t max, bool json)
{
	const uint8_t *s = (const uint8_t *)text;
	size_t end = o->n + (max < o->cap - o->n ? max : o->cap - o->n);
	size_t cut = o->n; /* where the mark would still fit */
	char piece[24];

	while (*s != '\0') {
		size_t used = escape(s, json, piece);
		size_t len = strlen(piece);

		if (o->n + MARK_LEN <= end)
			cut = o->n;
		if (o->n + len > end) {
			o->n = cut;
			add_raw(o, MARK);
			return;
		}
		memcpy(o->at + o->n, piece, len);
		o->n += len;
		s += used;
	}
}

static void add_time(struct out *o, const struct timespec *t)
{
	char text[40];
	struct tm utc;
	size_t n;

	gmtime_r(&t->tv_sec, &utc);
	n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(text + n, sizeof(text) - n, ".%03dZ",
	         (int)(t->tv_nsec / 1000000));
	add_raw(o, text);
}

static void add_text(struct out *o, const struct hbt_log_record *rec)
{
	if (rec->process[0] != '\0') {
		add_escaped(o, rec->process, o->cap, false);
		add_raw(o, ": ");
	}
	add_escaped(o, rec->message, o->cap, false);
}

void hbt_log_line_text(const struct hbt_log_record *rec, char *line)
{
	struct out o = {line, 0, HBT_LOG_LINE_MAX - 1};

	add_text(&o, rec);
	line[o.n] = '\0';
}

static void add_field(struct out *o, const char *name, const char *value)
{
	if (value == NULL)
		return;
	add_raw(o, ",\"");
	add_raw(o, name);
	add_raw(o, "\":\"");
	add_escaped(o, value, FIELD_MAX, true);
	add_raw(o, "\"");
}

static void add_json(struct out *o, const struct hbt_log_record *rec)
{
	const struct hbt_log_about *a = rec->about;
	char pid[40];

	add_raw(o, "{\"time\":\"");
	add_time(o, &rec->time);
	add_raw(o, "\"");
	add_field(o, "level", hbt_log_level_name(rec->level));
	add_field(o, "area", hbt_log_area_name(rec->area));
	add_field(o, "process", rec->process[0] ? rec->process : NULL);
	snprintf(pid, sizeof(pid), ",\"pid\":%ld", rec->pid);
	add_raw(o, pid);
	add_field(o, "event", a->event);
	add_field(o, "peer", a->peer);
	add_field(o, "thumbprint", a->thumbprint);
	add_field(o, "endpoint", a->endpoint);
	add_field(o, "activity", a->activity);
	add_field(o, "reason", a->reason);
	add_field(o, "remedy", a->remedy);
	/* Last, since it takes the rest of the line. */
	add_raw(o, ",\"message\":\"");
	add_escaped(o, rec->message, o->cap - o->n - 2, true);
	add_raw(o, "\"}");
}

static void add_level(struct out *o, enum hbt_log_level level)
{
	char text[16];

	snprintf(text, sizeof(text), " %-7s ", hbt_log_level_name(level));
	add_raw(o, text);
}

size_t hbt_log_line(const struct hbt_log_record *rec,
                    enum hbt_log_format format, char *line)
{
	static const char *const priority[] = {"<3>", "<4>", "<6>", "<7>"};
	struct out o = {line, 0, HBT_LOG_LINE_MAX - 1};

	if (format == HBT_LOG_JSON) {
		add_json(&o, rec);
	} else if (format == HBT_LOG_JOURNAL) {
		add_raw(&o, priority[rec->level]);
		add_text(&o, rec);
	} else {
		add_time(&o, &rec->time);
		add_level(&o, rec->level);
		add_text(&o, rec);
	}
	line[o.n++] = '\n';
	return o.n;
}
