/* What names a Redis server: whatever is accepted can be copied, and shown
 * without its password. */
#include <stdlib.h>
#include <string.h>

#include "redis/options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = calloc(1, size + 1), once[600], twice[600];
	struct hbt_redis_options o, copy;
	struct halibut_error err = {0};

	if (text == NULL)
		return 0;
	if (size > 0)
		memcpy(text, data, size);
	hbt_redis_options_init(&o);
	if (hbt_redis_options_parse(&o, text, &err) == HALIBUT_OK) {
		hbt_redis_options_describe(&o, once, sizeof(once));
		if (hbt_redis_options_copy(&copy, &o) == HALIBUT_OK) {
			hbt_redis_options_describe(&copy, twice, sizeof(twice));
			if (strcmp(once, twice) != 0 || o.n_servers == 0)
				abort();
			hbt_redis_options_fini(&copy);
		}
	} else if (err.message == NULL) {
		abort();
	}
	hbt_redis_options_fini(&o);
	halibut_error_clear(&err);
	free(text);
	return 0;
}
