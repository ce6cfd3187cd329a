/* What came of a call, for a person or a program. */
#include <stdio.h>
#include <string.h>
#include "ctl/call.h"
#include "ctl/ctl.h"

/* Adds to each {"$dataStream": n} in value where stream n is now. */
static void name_files(json_t *value, const struct hbt_ctl_landing *l)
{
	const json_t *index = json_object_get(value, "$dataStream");
	const char *key;
	json_t *inner;
	size_t i;

	json_array_foreach(value, i, inner)
		name_files(inner, l);
	json_object_foreach(value, key, inner)
		name_files(inner, l);
	i = (size_t)json_integer_value(index);
	if (json_is_integer(index) && i < l->n && l->landed[i].path != NULL)
		json_object_set_new(value, "file",
		                    json_string(l->landed[i].path));
}

static json_t *or_null(const char *text)
{
	return text != NULL ? json_string(text) : json_null();
}

static json_t *error_object(const struct halibut_error *err)
{
	return json_pack("{s:o, s:o, s:o, s:b}", "message",
	                 or_null(err->message), "details",
	                 or_null(err->details), "type", or_null(err->type),
	                 "reachedService",
	                 err->connection_state !=
	                         HALIBUT_CONNECTION_CONNECTING);
}

static json_t *stream_list(const struct hbt_ctl_landing *l)
{
	json_t *list = json_array();

	for (size_t i = 0; i < l->n; i++)
		json_array_append_new(
			list, json_pack("{s:I, s:o}", "length",
		                        (json_int_t)l->landed[i].length, "file",
		                        or_null(l->landed[i].path)));
	return list;
}

static void print_json(const struct hbt_ctl_call *c, FILE *f)
{
	json_t *doc = json_object();

	json_object_set_new(doc, "status",
	                    json_string(halibut_status_name(c->err.status)));
	json_object_set_new(doc, "result",
	                    c->result != NULL ? json_incref(c->result)
	                                      : json_null());
	json_object_set_new(doc, "error",
	                    c->err.status != HALIBUT_OK
	                            ? error_object(&c->err)
	                            : json_null());
	json_object_set_new(doc, "streams", stream_list(&c->landing));
	json_object_set_new(doc, "elapsedMs", json_integer(c->elapsed_ms));
	json_dumpf(doc, f, JSON_INDENT(2));
	fputc('\n', f);
	json_decref(doc);
}

/* The result is the stream and nothing else. */
static bool is_stream(const json_t *value)
{
	return json_object_get(value, "$dataStream") != NULL;
}

static void print_streams(const struct hbt_ctl_landing *l)
{
	for (size_t i = 0; i < l->n; i++) {
		const struct hbt_ctl_landed *s = &l->landed[i];
		char size[32];

		hbt_ctl_format_bytes(s->length, size);
		if (s->path != NULL)
			fprintf(stderr, "DataStream %zu: %s in %s\n", i, size,
			        s->path);
		else if (!s->printed)
			fprintf(stderr,
			        "DataStream %zu: %s, not kept; %s\n", i, size,
			        i == 0 ? "--out FILE keeps it"
			               : "--out-dir DIR keeps all");
	}
}

static void print_result(const struct hbt_ctl_call *c, bool raw)
{
	bool taken = c->landing.n > 0 && c->landing.landed[0].printed;
	FILE *f = taken ? stderr : stdout;

	/* Standard output belongs to the DataStream that went there. */
	if (!taken || !is_stream(c->result)) {
		if (raw && json_is_string(c->result))
			fwrite(json_string_value(c->result), 1,
			       json_string_length(c->result), f);
		else
			json_dumpf(c->result, f,
			           JSON_ENCODE_ANY | JSON_INDENT(2));
		fputc('\n', f);
	}
	print_streams(&c->landing);
}

int hbt_ctl_call_print(const struct hbt_ctl_call *c, bool json, bool raw)
{
	struct halibut_error copy = {.status = HALIBUT_OK};
	int code = hbt_ctl_exit_code(c->err.status);

	if (c->result != NULL)
		name_files(c->result, &c->landing);
	if (json)
		print_json(c, stdout);
	else if (c->err.status == HALIBUT_OK)
		print_result(c, raw);
	if (c->err.status != HALIBUT_OK && !json) {
		hbt_error_copy(&copy, &c->err);
		hbt_ctl_failed(&copy);
	}
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "halibutctl: cannot write the result\n");
		return code == HBT_EXIT_OK ? HBT_EXIT_MACHINE : code;
	}
	return c->no_gateway ? HBT_EXIT_GATEWAY : code;
}
