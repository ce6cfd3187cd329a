/* A stored message, and back: the first byte says which kind it is. */
#include <stdlib.h>
#include <string.h>

#include "wire/stored.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What was accepted can be stored, and is the same when it comes back. */
static void there_and_back(const struct hbt_message *m)
{
	struct hbt_message *again = NULL;
	uint8_t *stored, *same;
	size_t len, same_len;

	if (hbt_stored_from_message(m, SIZE_MAX, &stored, &len, NULL) != 0)
		abort();
	if (hbt_stored_to_message(hbt_deflater_shared(), stored, len,
	                          m->env.kind, 16, &again, NULL) != 0 ||
	    hbt_stored_from_message(again, SIZE_MAX, &same, &same_len, NULL))
		abort();
	if (again->env.n_streams != m->env.n_streams || len != same_len ||
	    memcmp(stored, same, len) != 0)
		abort();
	free(stored);
	free(same);
	hbt_message_unref(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct halibut_error err = {0};
	struct hbt_message *m;

	if (size == 0)
		return 0;
	if (hbt_stored_to_message(hbt_deflater_shared(), data + 1, size - 1,
	                          data[0] & 1 ? HBT_MESSAGE_RESPONSE
	                                      : HBT_MESSAGE_REQUEST,
	                          16, &m, &err) == HALIBUT_OK)
		there_and_back(m);
	hbt_message_unref(&m);
	halibut_error_clear(&err);
	return 0;
}
