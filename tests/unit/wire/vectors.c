#include "vectors.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct recording recordings[] = {
	{"listening", {"PIMNMN", "IMRM"}, {"PIM.NM.E", "IM.RM."}},
	{"l-nothing", {"PIMN", "IM"}, {"PIM.E", "IM."}},
	{"l-crash", {"PIMN", "IM"}, {"PIM.E", "IM."}},
	{"l-fail", {"PIMN", "IM"}, {"PIM.E", "IM."}},
	{"l-count-100", {"PIMN", "IM"}, {"PIMs.E", "IM."}},
	{"l-hash-0", {"PIMN", "IM"}, {"PIMs.E", "IM."}},
	{"l-stream-70000", {"PIMN", "IM"}, {"PIM.E", "IMs."}},
	{"polling", {"PIMNMN", "IMRMR"}, {"PIM.NM.N", "IM.RM.R"}},
	{"p-crash", {"PIMN", "IMR"}, {"PIM.N", "IM.R"}},
	{"p-echo-9000", {"PIMN", "IMR"}, {"PIMs.N", "IMs.R"}},
	{"p-idle", {"PIN", "IMR"}, {"PIN", "IM.R"}},
};
const size_t n_recordings = sizeof(recordings) / sizeof(recordings[0]);

static json_t *load(const char *name)
{
	const char *top = getenv("top_srcdir");
	char path[4096];
	json_error_t error;
	json_t *doc;

	snprintf(path, sizeof(path), "%s/tests/vectors/wire/%s.json",
	         top != NULL ? top : ".", name);
	if ((doc = json_load_file(path, 0, &error)) == NULL)
		fail_msg("%s: %s", path, error.text);
	return doc;
}

static int nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c - 'A' + 10;
}

static void append_hex(struct bytes *b, const char *hex)
{
	size_t n = strlen(hex) / 2;

	b->data = realloc(b->data, b->len + n + 1);
	assert_non_null(b->data);
	for (size_t i = 0; i < n; i++)
		b->data[b->len++] = (uint8_t)(nibble(hex[2 * i]) << 4 |
		                              nibble(hex[2 * i + 1]));
}

struct bytes unhex(const char *hex)
{
	struct bytes b = {NULL, 0};

	append_hex(&b, hex);
	return b;
}

struct bytes recorded_side(const char *name, int side)
{
	const char *from = side == DIALLER ? "dialler" : "acceptor";
	struct bytes b = {NULL, 0};
	json_t *doc = load(name);
	json_t *record;
	size_t i;

	json_array_foreach(json_object_get(doc, "records"), i, record)
	{
		json_t *hex = json_object_get(record, "hex");
		json_t *who = json_object_get(record, "from");

		if (hex != NULL && strcmp(json_string_value(who), from) == 0)
			append_hex(&b, json_string_value(hex));
	}
	json_decref(doc);
	assert_int_not_equal(b.len, 0);
	return b;
}

static char *vector_field(int n, const char *field)
{
	json_t *doc = load("documents");
	char *copy = NULL;
	json_t *v;
	size_t i;

	json_array_foreach(doc, i, v)
	{
		if (json_integer_value(json_object_get(v, "vector")) != n)
			continue;
		if (json_object_get(v, field) != NULL)
			copy = strdup(
				json_string_value(json_object_get(v, field)));
	}
	json_decref(doc);
	if (copy == NULL)
		fail_msg("vector %d has no %s", n, field);
	return copy;
}

struct bytes spec_vector(int n, const char *field)
{
	char *hex = vector_field(n, field);
	struct bytes b = unhex(hex);

	free(hex);
	return b;
}

char *spec_vector_json(int n)
{
	return vector_field(n, "json");
}
