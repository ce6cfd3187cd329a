/* A BSON document, as a gateway and as both ends of a call read it. */
#include <stdlib.h>

#include "wire/compose.h"
#include "wire/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void show(const bson_iter_t *it)
{
	size_t streams = 0;
	json_t *json;

	if (hbt_json_from_bson(it, &json, &streams, NULL, NULL, NULL) == 0)
		json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct halibut_error err = {0};
	struct hbt_envelope env;
	bson_iter_t it;
	bson_t params;
	bool found;

	if (hbt_envelope_read(data, size, 16, &env, &err) == HALIBUT_OK)
		hbt_envelope_fini(&env);
	halibut_error_clear(&err);
	if (hbt_request_params(data, size, &params) == HALIBUT_OK &&
	    bson_iter_init(&it, &params))
		while (bson_iter_next(&it))
			show(&it);
	if (hbt_response_outcome(data, size, &it, &found, &err) == 0 && found)
		show(&it);
	halibut_error_clear(&err);
	return 0;
}
