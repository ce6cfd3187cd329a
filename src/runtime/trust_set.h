/* The set of thumbprints that may connect. runtime-behaviour 5.5 */
#ifndef HBT_RUNTIME_TRUST_SET_H
#define HBT_RUNTIME_TRUST_SET_H

#include <stdbool.h>
#include <stddef.h>

struct hbt_trust_set;

struct hbt_trust_set *hbt_trust_set_new(void);
void hbt_trust_set_free(struct hbt_trust_set **t);
/* Any case. HALIBUT_EINVAL unless it is a thumbprint, HALIBUT_ENOMEM. */
int hbt_trust_set_add(struct hbt_trust_set *t, const char *thumbprint);
void hbt_trust_set_remove(struct hbt_trust_set *t, const char *thumbprint);
bool hbt_trust_set_has(const struct hbt_trust_set *t, const char *thumbprint);
size_t hbt_trust_set_count(const struct hbt_trust_set *t);

#endif
