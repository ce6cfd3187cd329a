/* Two configurations: what differs, and what a reload must leave as it is. */
#include "master/config_private.h"

#include <string.h>

static bool same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool same_list(const struct hbt_strings *a, const struct hbt_strings *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (strcmp(a->v[i], b->v[i]) != 0)
			return false;
	return true;
}

static bool same(const struct hbt_config *a, const struct hbt_config *b,
                 const struct hbt_setting *s)
{
	switch (s->kind) {
	case HBT_SETTING_TEXT:
	case HBT_SETTING_PATH:
		return same_text(*HBT_CONST_FIELD(a, s, char *),
		                 *HBT_CONST_FIELD(b, s, char *));
	case HBT_SETTING_LIST:
		return same_list(HBT_CONST_FIELD(a, s, struct hbt_strings),
		                 HBT_CONST_FIELD(b, s, struct hbt_strings));
	case HBT_SETTING_TIME:
	case HBT_SETTING_SIZE64:
		return *HBT_CONST_FIELD(a, s, int64_t) ==
		       *HBT_CONST_FIELD(b, s, int64_t);
	case HBT_SETTING_SIZE:
	case HBT_SETTING_COUNTZ:
		return *HBT_CONST_FIELD(a, s, size_t) ==
		       *HBT_CONST_FIELD(b, s, size_t);
	case HBT_SETTING_FLAG:
		return *HBT_CONST_FIELD(a, s, bool) == *HBT_CONST_FIELD(b, s, bool);
	default: /* int and unsigned */
		return *HBT_CONST_FIELD(a, s, int) == *HBT_CONST_FIELD(b, s, int);
	}
}

/* How large a setting of that kind is. */
static size_t size_of(enum hbt_setting_kind kind)
{
	switch (kind) {
	case HBT_SETTING_TEXT:
	case HBT_SETTING_PATH:
		return sizeof(char *);
	case HBT_SETTING_LIST:
		return sizeof(struct hbt_strings);
	case HBT_SETTING_TIME:
	case HBT_SETTING_SIZE64:
		return sizeof(int64_t);
	case HBT_SETTING_SIZE:
	case HBT_SETTING_COUNTZ:
		return sizeof(size_t);
	case HBT_SETTING_FLAG:
		return sizeof(bool);
	default: /* int and unsigned */
		return sizeof(int);
	}
}

static void swap(void *a, void *b, size_t size)
{
	char was[sizeof(struct hbt_queue_settings)];

	memcpy(was, a, size);
	memcpy(a, b, size);
	memcpy(b, was, size);
}

#define SWAP(a, b, field) swap(&(a)->field, &(b)->field, sizeof((a)->field))

void hbt_config_swap_fixed(struct hbt_config *a, struct hbt_config *b)
{
	for (const struct hbt_setting *s = hbt_config_table; s->name != NULL;
	     s++)
		if (!s->reloads)
			swap(HBT_FIELD(a, s, char), HBT_FIELD(b, s, char),
			     size_of(s->kind));
	SWAP(a, b, memory_endpoints); /* which kind of queue there is */
	if (a->shares == b->shares)
		return;
	SWAP(a, b, shares);
	SWAP(a, b, redis);
	SWAP(a, b, password_file);
	SWAP(a, b, sentinel_password_file);
	SWAP(a, b, wrappers);
	SWAP(a, b, response_pulses);
}

void hbt_config_compare(const struct hbt_config *a, const struct hbt_config *b,
                        void (*changed)(void *arg, const char *setting),
                        void *arg)
{
	for (const struct hbt_setting *s = hbt_config_table; s->name != NULL;
	     s++)
		if (!s->reloads && !same(a, b, s))
			changed(arg, s->name);
	if (a->shares != b->shares)
		changed(arg, "the section redis");
	else if (!same_list(&a->memory_endpoints, &b->memory_endpoints))
		changed(arg, "memory_endpoints");
}
