/* Metadata of DataStreams from another node, read as a source. */
#include <stdlib.h>
#include <string.h>

#include "store/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct hbt_message *message(void)
{
	struct hbt_envelope env = {.kind = HBT_MESSAGE_REQUEST};

	env.id = strdup("x");
	env.streams = calloc(2, sizeof(*env.streams));
	env.n_streams = 2;
	env.streams[1].id.wire[0] = 1;
	return hbt_message_new(&env, NULL, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct hbt_store_config config = {.kind = "metadata"};
	static struct hbt_message *m;
	static struct hbt_store *s;
	struct halibut_error err = {0};
	struct hbt_source *src;
	uint8_t buf[1000];

	if (m == NULL)
		m = message();
	if (s == NULL && hbt_store_new(&s, NULL, NULL, &config, NULL) != 0)
		abort();
	if (hbt_store_load(&src, s, m, data, size, NULL, NULL, &err) == 0)
		while (src->ops->read(src, buf, sizeof(buf), &err) > 0)
			;
	hbt_source_free(&src);
	halibut_error_clear(&err);
	return 0;
}
