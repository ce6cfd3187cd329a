#include "view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ABSENT 0xffffffffu

static void read_text(struct hbt_rd *r, struct view *out, int i)
{
	struct hbt_rd before = *r;

	out->v[i].absent = hbt_rd_u32(r) == ABSENT && r->status == HALIBUT_OK;
	out->v[i].text = (struct hbt_str){"", 0};
	if (out->v[i].absent || r->status != HALIBUT_OK)
		return;
	*r = before;
	out->v[i].text = hbt_rd_str(r);
}

bool view_next(struct hbt_rd *r, enum hbt_table table, struct view *out)
{
	const struct hbt_field *f = hbt_table_fields(table);

	out->table = table;
	out->fields = f;
	for (int i = 0; f != NULL && f[i].name != NULL; i++) {
		switch (f[i].kind) {
		case HBT_FIELD_TEXT:
			read_text(r, out, i);
			break;
		case HBT_FIELD_U32:
			out->v[i].number = hbt_rd_u32(r);
			break;
		case HBT_FIELD_BOOL:
			out->v[i].number = hbt_rd_u8(r) != 0;
			break;
		default:
			out->v[i].number = hbt_rd_u64(r);
			break;
		}
	}
	if (table == HBT_TABLE_WORKERS)
		hbt_worker_stats_get(r, &out->stats);
	return f != NULL && r->status == HALIBUT_OK;
}

int view_field(enum hbt_table table, const char *name)
{
	const struct hbt_field *f = hbt_table_fields(table);

	for (int i = 0; f != NULL && f[i].name != NULL; i++)
		if (strcmp(f[i].name, name) == 0)
			return i;
	return -1;
}

json_t *view_text(const char *text, size_t len)
{
	json_t *value = json_stringn(text, len);
	char *plain;

	if (value != NULL || (plain = malloc(len + 1)) == NULL)
		return value;
	for (size_t i = 0; i < len; i++)
		plain[i] = (unsigned char)text[i] < 0x80 ? text[i] : '?';
	value = json_stringn(plain, len);
	free(plain);
	return value;
}

json_t *view_moment(int64_t ms)
{
	time_t seconds = (time_t)(ms / 1000);
	char text[64];
	struct tm tm;
	size_t n;

	if (ms <= 0 || gmtime_r(&seconds, &tm) == NULL)
		return json_null();
	n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text + n, sizeof(text) - n, ".%03dZ", (int)(ms % 1000));
	return json_string(text);
}

json_t *view_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return view_moment((int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000);
}

uint64_t view_number(const struct view *v, const char *field)
{
	return v->v[view_field(v->table, field)].number;
}

bool view_is(const struct view *v, const char *field, const char *value)
{
	const struct hbt_str *text = &v->v[view_field(v->table, field)].text;

	return text->len == strlen(value) &&
	       memcmp(text->s, value, text->len) == 0;
}

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n >= m && strcmp(text + n - m, end) == 0;
}

static json_t *field_json(const struct view *v, int i)
{
	const struct hbt_field *f = &v->fields[i];
	int64_t number = (int64_t)v->v[i].number;

	if (f->kind == HBT_FIELD_TEXT)
		return v->v[i].absent ? json_null()
		                      : view_text(v->v[i].text.s,
		                                  v->v[i].text.len);
	if (f->kind == HBT_FIELD_BOOL)
		return json_boolean(number != 0);
	if (f->kind == HBT_FIELD_I64 && ends_with(f->name, "_at"))
		return view_moment(number);
	if (f->kind == HBT_FIELD_I64 && number < 0)
		return json_null();
	return json_integer(number);
}

json_t *view_json(const struct view *v)
{
	json_t *o = json_object();
	int rc = o == NULL ? -1 : 0;

	for (int i = 0; rc == 0 && v->fields[i].name != NULL; i++)
		rc = json_object_set_new(o, v->fields[i].name,
		                         field_json(v, i));
	for (const struct hbt_counter *c = hbt_worker_counters;
	     rc == 0 && v->table == HBT_TABLE_WORKERS && c->name != NULL; c++)
		rc = json_object_set_new(
			o, c->name,
			json_integer((json_int_t)hbt_counter_of(c, &v->stats)));
	if (rc == 0)
		return o;
	json_decref(o);
	return NULL;
}
