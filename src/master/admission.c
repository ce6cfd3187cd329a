#include "master/admission.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "base/log_limit.h"
#include "base/timespan.h"
#include "base/source.h"

/* Sources that are remembered only because they came lately. */
#define MAX_RESTING 65536

struct hbt_admission {
	struct hbt_refused *refusals;
	const struct hbt_config *cfg;
	struct hbt_source_rule source_rule;
	struct hbt_quotas *sources, *thumbprints;
	size_t total;
	uint64_t refused[HBT_LIMITS];
};

struct hbt_connection { /* in link->connections */
	uint32_t ticket;
	bool identified;
	struct hbt_quota *source;     /* NULL: it is not limited */
	struct hbt_quota *thumbprint; /* NULL: not known yet */
	UT_hash_handle hh;
};

static const char *const limit_names[HBT_LIMITS] = {
	[HBT_LIMIT_NONE] = "",
	[HBT_LIMIT_SOURCE_CONNECTIONS] = "max_connections_per_source",
	[HBT_LIMIT_SOURCE_HANDSHAKES] = "max_handshakes_per_source",
	[HBT_LIMIT_SOURCE_RATE] = "max_handshakes_per_second_per_source",
	[HBT_LIMIT_THUMBPRINT_CONNECTIONS] = "max_connections_per_thumbprint",
	[HBT_LIMIT_SUBSCRIPTION_CONNECTIONS] =
		"max_connections_per_subscription",
	[HBT_LIMIT_REQUESTS] = "max_waiting_requests",
	[HBT_LIMIT_BYTES] = "max_waiting_bytes",
	[HBT_LIMIT_ENDPOINT_REQUESTS] = "max_waiting_requests_per_endpoint",
	[HBT_LIMIT_ENDPOINT_BYTES] = "max_waiting_bytes_per_endpoint",
	[HBT_LIMIT_SOURCE_REQUESTS] = "max_waiting_requests_per_source",
	[HBT_LIMIT_SOURCE_BYTES] = "max_waiting_bytes_per_source",
	[HBT_LIMIT_THUMBPRINT_REQUESTS] = "max_waiting_requests_per_thumbprint",
	[HBT_LIMIT_THUMBPRINT_BYTES] = "max_waiting_bytes_per_thumbprint",
};

const char *hbt_limit_name(enum hbt_limit limit)
{
	return limit_names[limit];
}

void hbt_admission_refused(struct hbt_admission *adm, enum hbt_limit limit)
{
	if (adm != NULL)
		adm->refused[limit]++;
}

uint64_t hbt_admission_count(const struct hbt_admission *adm,
                             enum hbt_limit limit)
{
	return adm->refused[limit];
}

void hbt_admission_collect(const struct hbt_admission *adm,
                           struct hbt_node_stats *s)
{
	const uint64_t *n = adm->refused;

	s->refused_connections_per_source = n[HBT_LIMIT_SOURCE_CONNECTIONS];
	s->refused_handshakes_per_source = n[HBT_LIMIT_SOURCE_HANDSHAKES];
	s->refused_handshakes_per_second_per_source = n[HBT_LIMIT_SOURCE_RATE];
	s->refused_connections_per_thumbprint =
		n[HBT_LIMIT_THUMBPRINT_CONNECTIONS];
	s->refused_connections_per_subscription =
		n[HBT_LIMIT_SUBSCRIPTION_CONNECTIONS];
	s->refused_requests = 0;
	for (int i = HBT_LIMIT_REQUESTS; i < HBT_LIMITS; i++)
		s->refused_requests += n[i];
}

struct hbt_admission *hbt_admission_new(struct hbt_refused *refused)
{
	struct hbt_admission *adm = calloc(1, sizeof(*adm));

	if (adm == NULL ||
	    (adm->sources = hbt_quotas_new(MAX_RESTING)) == NULL ||
	    (adm->thumbprints = hbt_quotas_new(MAX_RESTING)) == NULL)
		hbt_admission_free(&adm);
	if (adm != NULL)
		adm->refusals = refused;
	return adm;
}

void hbt_admission_free(struct hbt_admission **at)
{
	struct hbt_admission *adm = *at;

	*at = NULL;
	if (adm == NULL)
		return;
	assert(adm->total == 0);
	hbt_quotas_free(&adm->sources);
	hbt_quotas_free(&adm->thumbprints);
	hbt_source_rule_fini(&adm->source_rule);
	free(adm);
}

int hbt_admission_configure(struct hbt_admission *adm,
                            const struct hbt_config *cfg)
{
	int rc = hbt_source_rule_set(
		&adm->source_rule, cfg->source_prefix_ipv4,
		cfg->source_prefix_ipv6,
		(const char *const *)cfg->unlimited_sources.v,
		cfg->unlimited_sources.n);

	if (rc == HALIBUT_OK)
		adm->cfg = cfg;
	return rc;
}

/* NULL: it is not limited, or no address. */
static struct hbt_quota *take_source(struct hbt_admission *adm,
                                     const char *peer)
{
	char key[HBT_SOURCE_TEXT];

	if (!hbt_source_of(&adm->source_rule, peer, key))
		return NULL;
	return hbt_quota_take(adm->sources, key);
}

static bool exceeds(size_t has, int limit)
{
	return limit > 0 && has >= (size_t)limit;
}

/* Counts what it lets pass. */
static enum hbt_limit source_limit(const struct hbt_config *cfg,
                                   struct hbt_quota *q, int64_t now_ms)
{
	int rate = cfg->max_handshakes_per_second_per_source;

	if (exceeds(q->connections, cfg->max_connections_per_source))
		return HBT_LIMIT_SOURCE_CONNECTIONS;
	if (exceeds(q->handshakes, cfg->max_handshakes_per_source))
		return HBT_LIMIT_SOURCE_HANDSHAKES;
	if (rate > 0 && !hbt_rate_take(&q->rate, rate, rate, now_ms))
		return HBT_LIMIT_SOURCE_RATE;
	return HBT_LIMIT_NONE;
}

/* The network in place of the address when the limit is one of networks, so
 * that who has many addresses of one is one line a minute. */
static void log_source(struct hbt_admission *adm, const struct hbt_quota *q,
                       const char *peer, enum hbt_limit limit)
{
	const struct hbt_config *cfg = adm->cfg;
	const char *port = strrchr(peer, ':');
	char who[HBT_SOURCE_TEXT + 16], reason[256];

	if (strchr(q->key, '/') == NULL)
		snprintf(who, sizeof(who), "%s", peer);
	else
		snprintf(who, sizeof(who),
		         strchr(q->key, ':') != NULL ? "[%s]%.8s" : "%s%.8s",
		         q->key, port != NULL ? port : "");
	if (limit == HBT_LIMIT_SOURCE_CONNECTIONS)
		snprintf(reason, sizeof(reason),
		         "its address has %d connections, as many as "
		         "max_connections_per_source allows",
		         cfg->max_connections_per_source);
	else if (limit == HBT_LIMIT_SOURCE_HANDSHAKES)
		snprintf(reason, sizeof(reason),
		         "its address has %d connections that have not said "
		         "who they are, as many as max_handshakes_per_source "
		         "allows",
		         cfg->max_handshakes_per_source);
	else
		snprintf(reason, sizeof(reason),
		         "its address connects more often than %d times a "
		         "second, as max_handshakes_per_second_per_source "
		         "allows",
		         cfg->max_handshakes_per_second_per_source);
	hbt_refused_add(adm->refusals, who, NULL, reason);
	hbt_log_refusal(who, NULL, reason);
}

static void connection_free(struct hbt_admission *adm, struct hbt_link *link,
                            struct hbt_connection *c)
{
	int64_t now_ms = hbt_now_ms();

	if (c->source != NULL) {
		c->source->connections--;
		c->source->handshakes -= !c->identified;
	}
	if (c->thumbprint != NULL)
		c->thumbprint->connections--;
	hbt_quota_drop(&c->source, now_ms);
	hbt_quota_drop(&c->thumbprint, now_ms);
	HASH_DEL(link->connections, c);
	adm->total--;
	free(c);
}

static struct hbt_connection *find(const struct hbt_link *link, uint32_t ticket)
{
	struct hbt_connection *c;

	HASH_FIND(hh, link->connections, &ticket, sizeof(ticket), c);
	return c;
}

/* Takes source over if it succeeds. */
static struct hbt_connection *connection_new(struct hbt_link *link,
                                             struct hbt_quota *source)
{
	struct hbt_connection *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	do { /* one that a long connection still has is passed over; 0 is none */
		c->ticket = ++link->last_ticket;
	} while (c->ticket == 0 || find(link, c->ticket) != NULL);
	HASH_ADD(hh, link->connections, ticket, sizeof(c->ticket), c);
	if (c->hh.tbl == NULL) {
		free(c);
		return NULL;
	}
	c->source = source;
	if (source != NULL) {
		source->connections++;
		source->handshakes++;
	}
	return c;
}

uint32_t hbt_admission_enter(struct hbt_admission *adm, struct hbt_link *link,
                             const char *peer, int64_t now_ms)
{
	struct hbt_quota *source = take_source(adm, peer);
	enum hbt_limit limit = HBT_LIMIT_NONE;
	struct hbt_connection *c = NULL;

	if (source != NULL)
		limit = source_limit(adm->cfg, source, now_ms);
	if (limit != HBT_LIMIT_NONE) {
		hbt_admission_refused(adm, limit);
		log_source(adm, source, peer, limit);
	} else if ((c = connection_new(link, source)) == NULL) {
		log_error("the connection of %s was dropped: out of memory",
		          peer);
	}
	if (c == NULL) {
		hbt_quota_drop(&source, now_ms);
		return 0;
	}
	adm->total++;
	return c->ticket;
}

bool hbt_admission_identify(struct hbt_admission *adm, struct hbt_link *link,
                            uint32_t ticket, const char *thumbprint,
                            const char *peer)
{
	struct hbt_connection *c = adm != NULL ? find(link, ticket) : NULL;
	struct hbt_quota *q;
	char reason[128];

	if (c == NULL || c->identified) /* only tests get here without one */
		return true;
	c->identified = true;
	if (c->source != NULL)
		c->source->handshakes--;
	if ((q = hbt_quota_take(adm->thumbprints, thumbprint)) == NULL)
		return true;
	if (exceeds(q->connections, adm->cfg->max_connections_per_thumbprint)) {
		snprintf(reason, sizeof(reason),
		         "its certificate has %d connections, as many as "
		         "max_connections_per_thumbprint allows",
		         adm->cfg->max_connections_per_thumbprint);
		hbt_admission_refused(adm, HBT_LIMIT_THUMBPRINT_CONNECTIONS);
		hbt_refused_add(adm->refusals, peer, thumbprint, reason);
		hbt_log_refusal(peer, thumbprint, reason);
		hbt_quota_drop(&q, hbt_now_ms());
		return false;
	}
	q->connections++;
	c->thumbprint = q;
	return true;
}

void hbt_admission_leave(struct hbt_admission *adm, struct hbt_link *link,
                         uint32_t ticket)
{
	struct hbt_connection *c = find(link, ticket);

	if (c != NULL)
		connection_free(adm, link, c);
}

void hbt_admission_link_gone(struct hbt_admission *adm, struct hbt_link *link)
{
	while (link->connections != NULL)
		connection_free(adm, link, link->connections);
}

size_t hbt_admission_total(const struct hbt_admission *adm)
{
	return adm->total;
}

size_t hbt_admission_of(const struct hbt_link *link)
{
	return HASH_COUNT(link->connections);
}

bool hbt_admission_has_room(const struct hbt_admission *adm, bool was_full)
{
	size_t limit = (size_t)adm->cfg->max_connections;

	return limit == 0 || adm->total < limit - (was_full ? limit / 16 : 0);
}

/* Requests */

static bool limits_requests(const struct hbt_config *cfg)
{
	return cfg->max_waiting_requests_per_source > 0 ||
	       cfg->max_waiting_bytes_per_source > 0 ||
	       cfg->max_waiting_requests_per_thumbprint > 0 ||
	       cfg->max_waiting_bytes_per_thumbprint > 0;
}

void hbt_asker_init(struct hbt_asker *a, struct hbt_admission *adm,
                    const char *address, const char *thumbprint)
{
	if (adm == NULL || !limits_requests(adm->cfg))
		return;
	if (address != NULL)
		a->source = take_source(adm, address);
	if (thumbprint != NULL)
		a->thumbprint = hbt_quota_take(adm->thumbprints, thumbprint);
}

void hbt_asker_fini(struct hbt_asker *a)
{
	int64_t now_ms;

	if (a->source == NULL && a->thumbprint == NULL)
		return;
	now_ms = hbt_now_ms();
	hbt_quota_drop(&a->source, now_ms);
	hbt_quota_drop(&a->thumbprint, now_ms);
}

static bool bytes_exceed(size_t has, size_t more, size_t limit)
{
	return limit > 0 && has + more > limit;
}

enum hbt_limit hbt_asker_limit(const struct hbt_admission *adm,
                               const struct hbt_asker *a, size_t bytes)
{
	const struct hbt_quota *s = a->source, *t = a->thumbprint;
	const struct hbt_config *cfg;

	if (s == NULL && t == NULL)
		return HBT_LIMIT_NONE;
	cfg = adm->cfg;
	if (s != NULL &&
	    exceeds(s->waiting, cfg->max_waiting_requests_per_source))
		return HBT_LIMIT_SOURCE_REQUESTS;
	if (s != NULL && bytes_exceed(s->waiting_bytes, bytes,
	                              cfg->max_waiting_bytes_per_source))
		return HBT_LIMIT_SOURCE_BYTES;
	if (t != NULL &&
	    exceeds(t->waiting, cfg->max_waiting_requests_per_thumbprint))
		return HBT_LIMIT_THUMBPRINT_REQUESTS;
	if (t != NULL && bytes_exceed(t->waiting_bytes, bytes,
	                              cfg->max_waiting_bytes_per_thumbprint))
		return HBT_LIMIT_THUMBPRINT_BYTES;
	return HBT_LIMIT_NONE;
}

static void count(struct hbt_quota *q, size_t bytes, bool more)
{
	if (q == NULL)
		return;
	q->waiting += more ? 1 : (size_t)-1;
	q->waiting_bytes += more ? bytes : -bytes;
}

void hbt_asker_waits(const struct hbt_asker *a, size_t bytes, bool more)
{
	count(a->source, bytes, more);
	count(a->thumbprint, bytes, more);
}
