/* JSON text to BSON and back: what was accepted has a JSON form again. */
#include <stdlib.h>

#include "wire/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hbt_stream_ref streams[2] = {{.length = 5}, {.length = -1}};
	json_t *in = json_loadb((const char *)data, size,
	                        JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
	struct halibut_error err = {0};
	bson_t doc = BSON_INITIALIZER;
	json_t *out;
	bson_iter_t it;
	size_t next = 0;

	streams[1].id.wire[0] = 1;
	if (in != NULL && hbt_json_append_bson(&doc, "0", in, size % 2, streams,
	                                       2, &err) == HALIBUT_OK) {
		if (!bson_iter_init(&it, &doc) || !bson_iter_next(&it) ||
		    hbt_json_from_bson(&it, &out, &next, NULL, NULL, &err) !=
		            HALIBUT_OK)
			abort();
		json_decref(out);
	}
	halibut_error_clear(&err);
	json_decref(in);
	bson_destroy(&doc);
	return 0;
}
