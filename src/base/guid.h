/* GUIDs in the byte order that .NET puts on the wire. wire-protocol 11.2 */
#ifndef HBT_BASE_GUID_H
#define HBT_BASE_GUID_H

#include <stdint.h>

#define HBT_GUID_TEXT 37 /* D format, lower case, with terminator */

struct hbt_guid {
	uint8_t wire[16];
};

/* A random (version 4) GUID from the kernel's generator. */
struct hbt_guid hbt_guid_new(void);
void hbt_guid_format(const struct hbt_guid *g, char text[HBT_GUID_TEXT]);
/* D or N format, any case. HALIBUT_OK or HALIBUT_EINVAL. */
int hbt_guid_parse(const char *text, struct hbt_guid *g);

#endif
