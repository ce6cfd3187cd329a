/* The verdicts of halibutctl ping: collected, and printed. */
#include "ctl/ping.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "ctl/ctl.h"

static const char *const verdicts[] = {
	[HBT_VERDICT_OK] = "ok",
	[HBT_VERDICT_NOTE] = "note",
	[HBT_VERDICT_FAILED] = "failed",
	[HBT_VERDICT_SKIPPED] = "skipped",
};

void hbt_ctl_ping_step(struct hbt_ctl_ping *p, const char *name,
                       enum hbt_ctl_verdict verdict, int code, int64_t ms,
                       const char *remedy, const char *fmt, ...)
{
	struct hbt_ctl_step *s;
	va_list ap;

	if (p->n == HBT_CTL_STEPS)
		return;
	s = &p->steps[p->n++];
	s->name = name;
	s->verdict = verdict;
	s->ms = ms;
	s->remedy = remedy != NULL ? strdup(remedy) : NULL;
	va_start(ap, fmt);
	if (vasprintf(&s->text, fmt, ap) < 0)
		s->text = NULL;
	va_end(ap);
	if (verdict == HBT_VERDICT_FAILED && p->exit_code == HBT_EXIT_OK)
		p->exit_code = code;
}

void hbt_ctl_ping_fini(struct hbt_ctl_ping *p)
{
	for (size_t i = 0; i < p->n; i++) {
		free(p->steps[i].text);
		free(p->steps[i].remedy);
	}
	p->n = 0;
	free(p->configured);
	free(p->against);
	json_decref(p->facts);
	p->facts = NULL;
}

#define INDENT 25

/* Breaks between words, and indents what follows the first line. */
static void print_wrapped(const char *text)
{
	size_t columns = hbt_ctl_terminal_columns(stdout), used = 0;
	/* Whole lines into files. */
	size_t width = columns > INDENT + 20 ? columns - INDENT
	               : columns > 0         ? 20
	                                     : SIZE_MAX;

	while (*text != '\0') {
		size_t len = strcspn(text, " \n");

		if (used > 0 && used + 1 + len > width) {
			printf("\n%*s", INDENT, "");
			used = 0;
		}
		printf("%s%.*s", used > 0 ? " " : "", (int)len, text);
		used += len + (used > 0);
		text += len;
		text += strspn(text, " \n");
	}
	putchar('\n');
}

void hbt_ctl_ping_print(const struct hbt_ctl_ping *p)
{
	printf("%s\n", p->url);
	for (size_t i = 0; i < p->n; i++) {
		const struct hbt_ctl_step *s = &p->steps[i];
		char *text = NULL;

		printf("  %-14s %-7s ", s->name, verdicts[s->verdict]);
		if (s->ms > 0 && s->text != NULL &&
		    asprintf(&text, "%s (%lld ms)", s->text,
		             (long long)s->ms) < 0)
			text = NULL;
		print_wrapped(text != NULL      ? text
		              : s->text != NULL ? s->text
		                                : "");
		free(text);
		if (s->remedy == NULL)
			continue;
		printf("%*s\xe2\x86\x92 ", INDENT - 2, "");
		print_wrapped(s->remedy);
	}
}

json_t *hbt_ctl_ping_json(const struct hbt_ctl_ping *p)
{
	json_t *doc = json_object(), *steps = json_array();

	for (size_t i = 0; i < p->n; i++) {
		const struct hbt_ctl_step *s = &p->steps[i];
		json_t *step = json_pack(
			"{s:s, s:s, s:s?, s:s?}", "step", s->name, "verdict",
			verdicts[s->verdict], "text", s->text, "remedy",
			s->remedy);

		if (s->ms >= 0)
			json_object_set_new(step, "ms", json_integer(s->ms));
		json_array_append_new(steps, step);
	}
	json_object_set_new(doc, "url", json_string(p->url));
	json_object_set_new(doc, "ok", json_boolean(p->exit_code == 0));
	json_object_set_new(doc, "steps", steps);
	json_object_update(doc, p->facts);
	return doc;
}
