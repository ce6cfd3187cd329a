/*
 * Where a connection comes from: an address, or the network that it is of
 * when limits count those.
 */
#ifndef HBT_MASTER_SOURCE_H
#define HBT_MASTER_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/error.h"

#define HBT_SOURCE_TEXT 64

/* IPv4 as IPv6: ::ffff:a.b.c.d. */
struct hbt_network {
	uint8_t address[16];
	int bits; /* of 128 */
};

/* "192.0.2.0/24", "2001:db8::/32", or one address. HALIBUT_EINVAL with a
 * message. */
int hbt_network_parse(const char *text, struct hbt_network *out,
                      struct halibut_error *err);

/* Of a peer, "address:port" or "[address]:port". False: that is none. */
bool hbt_source_parse(const char *peer, struct hbt_network *out);
bool hbt_network_has(const struct hbt_network *n, const struct hbt_network *of);

/*
 * Cuts a source to so many bits of its IPv4 or IPv6 address, and writes it:
 * "192.0.2.7", or "192.0.2.0/24" if it is not the whole address.
 */
void hbt_source_format(const struct hbt_network *source, int v4_bits,
                       int v6_bits, char text[HBT_SOURCE_TEXT]);

#endif
