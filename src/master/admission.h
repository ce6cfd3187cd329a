/*
 * Who may have how many connections, and requests that wait: limits of the
 * node, of a source address and of a certificate. Every connection is known
 * here from the moment it was accepted until its worker says it is gone.
 */
#ifndef HBT_MASTER_ADMISSION_H
#define HBT_MASTER_ADMISSION_H

#include "master/config.h"
#include "master/link.h"
#include "master/quota.h"
#include "master/refused.h"

struct hbt_admission;

enum hbt_limit {
	HBT_LIMIT_NONE,
	HBT_LIMIT_SOURCE_CONNECTIONS,
	HBT_LIMIT_SOURCE_HANDSHAKES,
	HBT_LIMIT_SOURCE_RATE,
	HBT_LIMIT_THUMBPRINT_CONNECTIONS,
	HBT_LIMIT_SUBSCRIPTION_CONNECTIONS,
	HBT_LIMIT_REQUESTS,
	HBT_LIMIT_BYTES,
	HBT_LIMIT_ENDPOINT_REQUESTS,
	HBT_LIMIT_ENDPOINT_BYTES,
	HBT_LIMIT_SOURCE_REQUESTS,
	HBT_LIMIT_SOURCE_BYTES,
	HBT_LIMIT_THUMBPRINT_REQUESTS,
	HBT_LIMIT_THUMBPRINT_BYTES,
	HBT_LIMITS, /* none: how many there are */
};

/* The setting that is the limit, as in halibutd.conf. */
const char *hbt_limit_name(enum hbt_limit limit);

/* Configure it before the first connection. refused outlives it. NULL: no
 * memory. */
struct hbt_admission *hbt_admission_new(struct hbt_refused *refused);
/* After all links and calls are gone. */
void hbt_admission_free(struct hbt_admission **adm);
/* From now on cfg, which lives as long. HALIBUT_ENOMEM: as it was. */
int hbt_admission_configure(struct hbt_admission *adm,
                            const struct hbt_config *cfg);

/*
 * A connection of peer, "address:port", is to go to that worker: its ticket,
 * by which the worker says what became of it. 0: it is refused, which was
 * logged and counted, or memory is short.
 */
uint32_t hbt_admission_enter(struct hbt_admission *adm, struct hbt_link *link,
                             const char *peer, int64_t now_ms);
/* The peer is known now. False: its certificate has too many, which was
 * logged; the worker closes it. */
bool hbt_admission_identify(struct hbt_admission *adm, struct hbt_link *link,
                            uint32_t ticket, const char *thumbprint,
                            const char *peer);
void hbt_admission_leave(struct hbt_admission *adm, struct hbt_link *link,
                         uint32_t ticket);
void hbt_admission_link_gone(struct hbt_admission *adm, struct hbt_link *link);

/* Connections of the node, and of a link. */
size_t hbt_admission_total(const struct hbt_admission *adm);
size_t hbt_admission_of(const struct hbt_link *link);
/* May the node have one more? */
bool hbt_admission_has_room(const struct hbt_admission *adm, bool was_full);

/* Who asked, of a request. Zeroed: nobody who is limited. */
struct hbt_asker {
	struct hbt_quota *source, *thumbprint;
};
/* Either may be NULL. fini it. */
void hbt_asker_init(struct hbt_asker *a, struct hbt_admission *adm,
                    const char *address, const char *thumbprint);
void hbt_asker_fini(struct hbt_asker *a);
/* Is there a limit that one more request of its would break? */
enum hbt_limit hbt_asker_limit(const struct hbt_admission *adm,
                               const struct hbt_asker *a, size_t bytes);
/* One more, or one less, waits. */
void hbt_asker_waits(const struct hbt_asker *a, size_t bytes, bool more);

/* Counts a refusal. */
void hbt_admission_refused(struct hbt_admission *adm, enum hbt_limit limit);
uint64_t hbt_admission_count(const struct hbt_admission *adm,
                             enum hbt_limit limit);
/* Those counts of the node that are of refusals by limits. */
void hbt_admission_collect(const struct hbt_admission *adm,
                           struct hbt_node_stats *s);

#endif
