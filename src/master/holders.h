/*
 * Who is there, by certificate: how many polling connections it has, and when
 * it was seen last. Only peers that are trusted get in here.
 */
#ifndef HBT_MASTER_HOLDERS_H
#define HBT_MASTER_HOLDERS_H

#include <stddef.h>
#include <stdint.h>

struct hbt_holders;

struct hbt_holder {
	uint8_t sha1[20];
	uint32_t connections; /* of polling services, now */
	int64_t seen_ms;      /* hbt_now_ms(), of one without connections */
};

struct hbt_holders *hbt_holders_new(void); /* NULL: no memory */
void hbt_holders_free(struct hbt_holders **hs);

/* One more connection. NULL without memory, or if it is no thumbprint. */
struct hbt_holder *hbt_holders_enter(struct hbt_holders *hs,
                                     const char *thumbprint);
/* One less. The holder may be forgotten some day. */
void hbt_holders_leave(struct hbt_holders *hs, struct hbt_holder *holder);
/* It called just now. */
void hbt_holders_seen(struct hbt_holders *hs, const char *thumbprint);

/* NULL: not seen since the start. */
const struct hbt_holder *hbt_holders_find(const struct hbt_holders *hs,
                                          const uint8_t sha1[20]);

#endif
