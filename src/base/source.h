/*
 * Where a connection comes from: an address, or the network that it is of
 * when limits count those.
 */
#ifndef HBT_BASE_SOURCE_H
#define HBT_BASE_SOURCE_H

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

/*
 * What limits of sources count as one, and what they do not count: the
 * settings source_prefix_ipv4, source_prefix_ipv6 and unlimited_sources.
 * Zeroed: nothing is a source, until it is set.
 */
struct hbt_source_rule {
	int v4_bits, v6_bits;
	struct hbt_network *unlimited;
	size_t n_unlimited;
};

/* networks are n texts that hbt_network_parse() has checked. HALIBUT_ENOMEM:
 * it is as it was. */
int hbt_source_rule_set(struct hbt_source_rule *rule, int v4_bits, int v6_bits,
                        const char *const *networks, size_t n);
void hbt_source_rule_fini(struct hbt_source_rule *rule);
/* The source that a peer is of, as hbt_source_format() writes it. False: it is
 * not limited, or no address. */
bool hbt_source_of(const struct hbt_source_rule *rule, const char *peer,
                   char text[HBT_SOURCE_TEXT]);

#endif
