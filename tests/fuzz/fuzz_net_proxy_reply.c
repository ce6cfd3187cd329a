/* A proxy's reply: the same verdict whole and byte by byte. */
#include <stdlib.h>
#include "net/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hbt_proxy_reply whole, pieces;
	struct halibut_error err = {0};
	size_t used, n, total = 0, i;
	int rc, rc2 = HALIBUT_EAGAIN;

	hbt_proxy_reply_init(&whole);
	hbt_proxy_reply_init(&pieces);
	rc = hbt_proxy_reply_feed(&whole, data, size, &used, &err);
	for (i = 0; i < size && rc2 == HALIBUT_EAGAIN; i++) {
		rc2 = hbt_proxy_reply_feed(&pieces, data + i, 1, &n, &err);
		total += n;
	}
	if (rc != rc2 || used != total || used > size)
		abort();
	halibut_error_clear(&err);
	return 0;
}
