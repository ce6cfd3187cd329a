/* Messages as they lie in a Redis queue: real ones, altered and cut. */
#include "vectors.h"

#include <bson/bson.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/stored.h"

#define REQUEST "Halibut.Transport.Protocol.RequestMessage, Halibut"
#define RESPONSE "Halibut.Transport.Protocol.ResponseMessage, Halibut"
#define ACTIVITY "8f14e45f-ceea-467f-9575-3b5f0d0c1a2b"

struct vector {
	const char *name;
	enum hbt_message_kind kind;
	size_t n_streams;
	struct bytes stored, wire;
};

static struct vector vectors[32];
static size_t n_vectors;
static json_t *file;

static int load_vectors(void **state)
{
	const char *top = getenv("top_srcdir");
	char path[4096];
	json_t *v;
	size_t i;

	(void)state;
	snprintf(path, sizeof(path), "%s/tests/vectors/redis/stored.json",
	         top != NULL ? top : ".");
	if ((file = json_load_file(path, 0, NULL)) == NULL)
		return -1;
	json_array_foreach(file, i, v)
	{
		const char *kind = json_string_value(json_object_get(v, "kind"));

		vectors[n_vectors++] = (struct vector){
			.name = json_string_value(json_object_get(v, "name")),
			.kind = strcmp(kind, "request") == 0
		                        ? HBT_MESSAGE_REQUEST
		                        : HBT_MESSAGE_RESPONSE,
			.n_streams = (size_t)json_integer_value(
				json_object_get(v, "streams")),
			.stored = unhex(json_string_value(
				json_object_get(v, "stored"))),
			.wire = unhex(json_string_value(
				json_object_get(v, "wire"))),
		};
	}
	return n_vectors > 8 ? 0 : -1;
}

static int free_vectors(void **state)
{
	(void)state;
	for (size_t i = 0; i < n_vectors; i++) {
		free(vectors[i].stored.data);
		free(vectors[i].wire.data);
	}
	json_decref(file);
	return 0;
}

static int take_up_to(const uint8_t *bson, size_t len,
                      enum hbt_message_kind kind, size_t max_streams,
                      struct hbt_message **m)
{
	struct halibut_error err = {0};
	int rc = hbt_stored_to_message(hbt_deflater_shared(), bson, len, kind,
	                               max_streams, m, &err);

	assert_int_equal(err.status, rc);
	if (rc == HALIBUT_OK)
		assert_non_null(*m);
	else
		assert_null(*m);
	halibut_error_clear(&err);
	return rc;
}

static int take(const uint8_t *bson, size_t len, enum hbt_message_kind kind,
                struct hbt_message **m)
{
	return take_up_to(bson, len, kind, 8, m);
}

static struct bytes wire_document(const struct hbt_message *m)
{
	struct bytes b;

	assert_int_equal(hbt_message_to_bson(m, 1 << 20, &b.data, &b.len), 0);
	return b;
}

static struct bytes store(const struct hbt_message *m)
{
	struct bytes b;

	assert_int_equal(
		hbt_stored_from_message(m, 1 << 20, &b.data, &b.len, NULL), 0);
	return b;
}

static void what_is_stored_becomes_what_the_wire_has(void **state)
{
	struct hbt_message *m;
	struct bytes b;

	(void)state;
	for (size_t i = 0; i < n_vectors; i++) {
		const struct vector *v = &vectors[i];

		assert_int_equal(take(v->stored.data, v->stored.len, v->kind,
		                      &m),
		                 HALIBUT_OK);
		assert_int_equal(m->env.kind, v->kind);
		assert_int_equal(m->env.n_streams, v->n_streams);
		assert_int_equal(m->env.has_activity_id,
		                 v->kind == HBT_MESSAGE_REQUEST);
		b = wire_document(m);
		assert_bytes_equal(b.data, b.len, v->wire.data, v->wire.len);
		free(b.data);
		hbt_message_unref(&m);
	}
}

static void what_the_wire_has_becomes_what_is_stored(void **state)
{
	struct hbt_message *m;
	struct bytes b;

	(void)state;
	for (size_t i = 0; i < n_vectors; i++) {
		const struct vector *v = &vectors[i];

		assert_int_equal(hbt_message_from_bson(hbt_deflater_shared(),
		                                       v->wire.data,
		                                       v->wire.len, &m, NULL),
		                 HALIBUT_OK);
		b = store(m);
		assert_bytes_equal(b.data, b.len, v->stored.data,
		                   v->stored.len);
		free(b.data);
		hbt_message_unref(&m);
	}
}

static void a_message_without_type_is_stored_as_it_is(void **state)
{
	const struct vector *v = &vectors[0];
	struct hbt_message *m;
	struct bytes b;

	(void)state;
	assert_int_equal(hbt_message_from_bson(hbt_deflater_shared(),
	                                       v->stored.data, v->stored.len,
	                                       &m, NULL),
	                 HALIBUT_OK);
	b = store(m);
	assert_bytes_equal(b.data, b.len, v->stored.data, v->stored.len);
	free(b.data);
	hbt_message_unref(&m);
}

static void a_right_type_in_front_is_kept(void **state)
{
	const struct vector *v = &vectors[0];
	struct hbt_message *m;
	struct bytes b;

	(void)state;
	assert_int_equal(take(v->wire.data, v->wire.len, v->kind, &m),
	                 HALIBUT_OK);
	b = wire_document(m);
	assert_bytes_equal(b.data, b.len, v->wire.data, v->wire.len);
	free(b.data);
	hbt_message_unref(&m);
}

static void a_wrong_type_in_front_is_refused(void **state)
{
	struct hbt_message *m;

	(void)state;
	for (size_t i = 0; i < n_vectors; i++)
		assert_int_equal(
			take(vectors[i].wire.data, vectors[i].wire.len,
		             vectors[i].kind == HBT_MESSAGE_REQUEST
		                     ? HBT_MESSAGE_RESPONSE
		                     : HBT_MESSAGE_REQUEST,
		             &m),
			HALIBUT_EPROTO);
}

/* Takes {name: message} as a request; both are destroyed. */
static int take_built(const char *name, bson_t *message,
                      struct hbt_message **m)
{
	bson_t root = BSON_INITIALIZER;
	int rc;

	bson_append_document(&root, name, -1, message);
	rc = take(bson_get_data(&root), root.len, HBT_MESSAGE_REQUEST, m);
	bson_destroy(&root);
	bson_destroy(message);
	return rc;
}

static void a_type_that_is_no_text_is_refused(void **state)
{
	bson_t message = BSON_INITIALIZER;
	struct hbt_message *m;

	(void)state;
	BSON_APPEND_INT32(&message, "$type", 1);
	BSON_APPEND_UTF8(&message, "id", "x");
	BSON_APPEND_UTF8(&message, "service", "I");
	assert_int_equal(take_built("Message", &message, &m), HALIBUT_EPROTO);
}

static void order_case_and_form_of_ids_do_not_matter(void **state)
{
	static const uint8_t wire[16] = {0x5f, 0xe4, 0x14, 0x8f, 0xea, 0xce,
	                                 0x7f, 0x46, 0x95, 0x75, 0x3b, 0x5f,
	                                 0x0d, 0x0c, 0x1a, 0x2b};
	bson_t message = BSON_INITIALIZER, endpoint;
	struct hbt_message *m;
	struct bytes b;

	(void)state;
	BSON_APPEND_UTF8(&message, "METHOD", "M");
	BSON_APPEND_DOCUMENT_BEGIN(&message, "endpoint", &endpoint);
	BSON_APPEND_UTF8(&endpoint, "baseuri", "poll://a/");
	bson_append_document_end(&message, &endpoint);
	BSON_APPEND_INT64(&message, "newInVersion9", 7);
	BSON_APPEND_UTF8(&message, "ActivityId", ACTIVITY);
	BSON_APPEND_UTF8(&message, "service", "I");
	BSON_APPEND_UTF8(&message, "Id", "x");
	assert_int_equal(take_built("message", &message, &m), HALIBUT_OK);
	assert_string_equal(m->env.id, "x");
	assert_string_equal(m->env.method, "M");
	assert_string_equal(m->env.destination, "poll://a/");
	assert_true(m->env.has_activity_id);
	assert_memory_equal(m->env.activity_id.wire, wire, sizeof(wire));
	b = wire_document(m);
	assert_memory_equal(b.data + 4 + 1 + 8 + 4, "\x02$type", 7);
	free(b.data);
	b = store(m);
	assert_non_null(memmem(b.data, b.len, "newInVersion9", 14));
	assert_null(memmem(b.data, b.len, "$type", 5));
	free(b.data);
	hbt_message_unref(&m);
}

static void a_type_that_is_not_in_front_is_left_alone(void **state)
{
	bson_t message = BSON_INITIALIZER;
	struct hbt_message *m;
	struct bytes b;

	(void)state;
	BSON_APPEND_UTF8(&message, "id", "x");
	BSON_APPEND_UTF8(&message, "$type", "Acme.Whatever");
	BSON_APPEND_UTF8(&message, "service", "I");
	assert_int_equal(take_built("Message", &message, &m), HALIBUT_OK);
	b = store(m);
	assert_non_null(memmem(b.data, b.len, "Acme.Whatever", 13));
	assert_null(memmem(b.data, b.len, "RequestMessage", 14));
	free(b.data);
	hbt_message_unref(&m);
}

static void bytes_behind_the_document_are_ignored(void **state)
{
	const struct vector *v = &vectors[0];
	uint8_t *more = malloc(v->stored.len + 3);
	struct hbt_message *m;
	struct bytes b;

	(void)state;
	memcpy(more, v->stored.data, v->stored.len);
	memcpy(more + v->stored.len, "abc", 3);
	assert_int_equal(take(more, v->stored.len + 3, v->kind, &m),
	                 HALIBUT_OK);
	b = wire_document(m);
	assert_bytes_equal(b.data, b.len, v->wire.data, v->wire.len);
	free(b.data);
	free(more);
	hbt_message_unref(&m);
}

static void a_document_cut_anywhere_is_refused(void **state)
{
	struct hbt_message *m;

	(void)state;
	for (size_t i = 0; i < n_vectors; i++)
		for (size_t n = 0; n < vectors[i].stored.len; n++) {
			/* Of its own, so that a read behind it is seen. */
			uint8_t *cut = malloc(n > 0 ? n : 1);

			memcpy(cut, vectors[i].stored.data, n);
			assert_int_equal(take(cut, n, vectors[i].kind, &m),
			                 HALIBUT_EPROTO);
			free(cut);
		}
}

static void a_document_without_a_message_is_refused(void **state)
{
	static const uint8_t null[] = {0x0e, 0, 0, 0, 0x0a, 'M', 'e', 's',
	                               's',  'a', 'g', 'e', 0,   0};
	static const uint8_t empty[] = {5, 0, 0, 0, 0};
	struct hbt_message *m;

	(void)state;
	assert_int_equal(take(null, sizeof(null), HBT_MESSAGE_REQUEST, &m),
	                 HALIBUT_EPROTO);
	assert_int_equal(take(empty, sizeof(empty), HBT_MESSAGE_REQUEST, &m),
	                 HALIBUT_EPROTO);
}

static void the_null_message_is_never_stored(void **state)
{
	struct hbt_message *m = hbt_message_null();
	uint8_t *bson;
	size_t len;

	(void)state;
	assert_int_equal(hbt_stored_from_message(m, 1000, &bson, &len, NULL),
	                 HALIBUT_EPROTO);
	assert_null(bson);
	hbt_message_unref(&m);
}

static void the_largest_size_is_that_of_the_stored_document(void **state)
{
	const struct vector *v = &vectors[0];
	struct halibut_error err = {0};
	struct hbt_message *m;
	uint8_t *bson;
	size_t len;

	(void)state;
	assert_int_equal(take(v->stored.data, v->stored.len, v->kind, &m), 0);
	assert_int_equal(hbt_stored_from_message(m, v->stored.len, &bson, &len,
	                                         &err),
	                 HALIBUT_OK);
	free(bson);
	assert_int_equal(hbt_stored_from_message(m, v->stored.len - 1, &bson,
	                                         &len, &err),
	                 HALIBUT_ELIMIT);
	assert_non_null(err.message);
	halibut_error_clear(&err);
	assert_int_equal(hbt_stored_from_message(m, 10, &bson, &len, NULL),
	                 HALIBUT_ELIMIT);
	hbt_message_unref(&m);
}

static void more_streams_than_the_limit_are_refused(void **state)
{
	struct hbt_message *m;

	(void)state;
	for (size_t i = 0; i < n_vectors; i++)
		if (vectors[i].n_streams > 0)
			assert_int_equal(take_up_to(vectors[i].stored.data,
			                            vectors[i].stored.len,
			                            vectors[i].kind, 0, &m),
			                 HALIBUT_ELIMIT);
}

static void only_the_id_changes_when_it_is_set(void **state)
{
	static const char *const ids[] = {"", "x",
	                                  "IService::MethodAsync[1] / " ACTIVITY
	                                  " and a long tail behind it"};
	struct halibut_error err = {.status = HALIBUT_OK};

	(void)state;
	for (size_t i = 0; i < n_vectors; i++) {
		const struct vector *v = &vectors[i];
		uint8_t *doc = v->stored.data;
		size_t len = v->stored.len;
		char *old = NULL;

		for (size_t k = 0; k <= 3; k++) {
			struct hbt_message *m;
			uint8_t *next;
			size_t n;

			/* And back again: then it is what it was. */
			assert_int_equal(hbt_stored_set_id(doc, len,
			                                   k < 3 ? ids[k] : old,
			                                   &next, &n, &err),
			                 HALIBUT_OK);
			if (k == 0) {
				assert_int_equal(
					hbt_stored_to_message(
						hbt_deflater_shared(), doc, len,
						v->kind, 100, &m, &err),
					HALIBUT_OK);
				old = strdup(m->env.id);
				hbt_message_unref(&m);
			} else {
				free(doc);
			}
			doc = next;
			len = n;
			assert_int_equal(
				hbt_stored_to_message(hbt_deflater_shared(),
			                              doc, len, v->kind, 100,
			                              &m, &err),
				HALIBUT_OK);
			assert_string_equal(m->env.id, k < 3 ? ids[k] : old);
			hbt_message_unref(&m);
		}
		assert_int_equal(len, v->stored.len);
		assert_memory_equal(doc, v->stored.data, len);
		free(doc);
		free(old);
	}
}

static void the_id_of_a_cut_document_is_not_set(void **state)
{
	const struct vector *v = &vectors[0];

	(void)state;
	for (size_t len = 0; len < v->stored.len; len++) {
		struct halibut_error err = {.status = HALIBUT_OK};
		uint8_t *doc = malloc(len + 1), *out = NULL;
		size_t n;

		memcpy(doc, v->stored.data, len);
		assert_int_equal(
			hbt_stored_set_id(doc, len, "x", &out, &n, &err),
			HALIBUT_EPROTO);
		assert_non_null(err.message);
		halibut_error_clear(&err);
		free(doc);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_stored_becomes_what_the_wire_has),
		cmocka_unit_test(what_the_wire_has_becomes_what_is_stored),
		cmocka_unit_test(a_message_without_type_is_stored_as_it_is),
		cmocka_unit_test(a_right_type_in_front_is_kept),
		cmocka_unit_test(a_wrong_type_in_front_is_refused),
		cmocka_unit_test(a_type_that_is_no_text_is_refused),
		cmocka_unit_test(order_case_and_form_of_ids_do_not_matter),
		cmocka_unit_test(a_type_that_is_not_in_front_is_left_alone),
		cmocka_unit_test(bytes_behind_the_document_are_ignored),
		cmocka_unit_test(a_document_cut_anywhere_is_refused),
		cmocka_unit_test(only_the_id_changes_when_it_is_set),
		cmocka_unit_test(the_id_of_a_cut_document_is_not_set),
		cmocka_unit_test(a_document_without_a_message_is_refused),
		cmocka_unit_test(the_null_message_is_never_stored),
		cmocka_unit_test(
			the_largest_size_is_that_of_the_stored_document),
		cmocka_unit_test(more_streams_than_the_limit_are_refused),
	};

	return cmocka_run_group_tests(tests, load_vectors, free_vectors);
}
