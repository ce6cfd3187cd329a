/* Standard error of programs: see stderr_log.h. */
#include "stderr_log.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"

void hbt_svc_stderr_init(struct hbt_svc_stderr *s, int64_t now_ms)
{
	memset(s, 0, sizeof(*s));
	s->tokens = SVC_STDERR_BURST;
	s->filled_ms = now_ms;
}

static void tell_dropped(struct hbt_svc_stderr *s, const char *name)
{
	if (s->dropped == 0)
		return;
	log_warning("%s: %lu lines of its standard error were dropped, only "
	            "%d a second are logged: let it say less",
	            name, s->dropped, SVC_STDERR_RATE);
	s->dropped = 0;
}

static void finish_line(struct hbt_svc_stderr *s, const char *name,
                        int64_t now_ms)
{
	size_t len = s->len;

	s->len = 0;
	while (len > 0 && (s->line[len - 1] == '\r' || s->line[len - 1] == ' '))
		len--;
	if (len == 0)
		return;
	s->line[len] = '\0';
	memcpy(s->last[s->n_lines++ % SVC_STDERR_LAST], s->line, len + 1);

	s->tokens += (double)(now_ms - s->filled_ms) * SVC_STDERR_RATE / 1000;
	s->filled_ms = now_ms;
	if (s->tokens > SVC_STDERR_BURST)
		s->tokens = SVC_STDERR_BURST;
	if (s->tokens < 1) {
		s->dropped++;
		return;
	}
	s->tokens -= 1;
	tell_dropped(s, name);
	log_event(HBT_LOG_INFO, LOG_ABOUT(.event = "program_output"), "%s: %s",
	          name, s->line);
}

void hbt_svc_stderr_add(struct hbt_svc_stderr *s, const char *name,
                        const char *data, size_t len, int64_t now_ms)
{
	for (size_t i = 0; i < len; i++) {
		if (data[i] == '\n') {
			finish_line(s, name, now_ms);
			continue;
		}
		if (s->len == SVC_STDERR_LINE)
			finish_line(s, name, now_ms);
		/* The line is a C string from here on. */
		s->line[s->len++] = data[i] != '\0' ? data[i] : ' ';
	}
}

void hbt_svc_stderr_end(struct hbt_svc_stderr *s, const char *name,
                        int64_t now_ms)
{
	finish_line(s, name, now_ms);
	tell_dropped(s, name);
}

char *hbt_svc_stderr_last(const struct hbt_svc_stderr *s)
{
	unsigned n = s->n_lines < SVC_STDERR_LAST ? s->n_lines
	                                          : SVC_STDERR_LAST;
	char *text = calloc(1, SVC_STDERR_LAST * (SVC_STDERR_LINE + 4));

	if (text == NULL)
		return NULL;
	for (unsigned i = s->n_lines - n; i < s->n_lines; i++) {
		if (*text != '\0')
			strcat(text, " / ");
		strcat(text, s->last[i % SVC_STDERR_LAST]);
	}
	return text;
}
