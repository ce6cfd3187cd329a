/* What is known of the endpoints that polling connections serve. */
#include "master/subscriptions_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/timespan.h"
#include "base/unix_time.h"

/* How long, and how many, are remembered without a connection. */
#define REMEMBER_MS ((int64_t)24 * 3600 * 1000)
#define REMEMBER_MOST 10000
#define TRIM_AT_ONCE 1000

/* A request that finds all connections busy and waits longer than a turn of
 * one would take; as many of them in as long are a hint. */
#define BUSY_WAIT_US 100000
#define BUSY_WAITS 5
#define BUSY_SPAN_MS ((int64_t)10 * 60 * 1000)

struct hbt_subscription *
hbt_subscription_find(const struct hbt_subscriptions *subs,
                      const struct hbt_queue *q)
{
	struct hbt_subscription *s;

	HASH_FIND_PTR(subs->list, &q, s);
	return s;
}

struct hbt_subscription *
hbt_subscription_find_or_make(struct hbt_subscriptions *subs,
                              struct hbt_queue *q)
{
	struct hbt_subscription *s = hbt_subscription_find(subs, q);

	if (s != NULL || (s = calloc(1, sizeof(*s))) == NULL)
		return s;
	s->queue = q;
	HASH_ADD_PTR(subs->list, queue, s);
	if (s->hh.tbl == NULL) {
		free(s);
		return NULL;
	}
	q->users++;
	TAILQ_INSERT_TAIL(&subs->left, s, link);
	subs->n_left++;
	return s;
}

static void forget(struct hbt_subscriptions *subs, struct hbt_subscription *s)
{
	TAILQ_REMOVE(&subs->left, s, link);
	subs->n_left--;
	HASH_DEL(subs->list, s);
	s->queue->users--;
	free(s->claims);
	free(s);
}

void hbt_subscription_forget_if_new(struct hbt_subscriptions *subs,
                                    struct hbt_subscription *s)
{
	if (s->connections == 0 && s->left_ms == 0)
		forget(subs, s);
}

/* Connections */

static void claim(struct hbt_subscription *s, struct hbt_holder *holder)
{
	struct hbt_claim *more;

	if (holder == NULL)
		return;
	for (unsigned i = 0; i < s->n_claims; i++) {
		if (s->claims[i].holder == holder) {
			s->claims[i].connections++;
			return;
		}
	}
	more = reallocarray(s->claims, s->n_claims + 1, sizeof(*more));
	if (more == NULL)
		return;
	s->claims = more;
	more[s->n_claims++] = (struct hbt_claim){holder, 1};
}

static void unclaim(struct hbt_subscription *s, const struct hbt_holder *holder)
{
	for (unsigned i = 0; i < s->n_claims; i++) {
		if (s->claims[i].holder != holder)
			continue;
		if (--s->claims[i].connections == 0)
			s->claims[i] = s->claims[--s->n_claims];
		return;
	}
}

struct hbt_holder *hbt_subscription_enter(struct hbt_subscriptions *subs,
                                          struct hbt_subscription *s,
                                          const char *thumbprint)
{
	struct hbt_holder *holder;

	if (s->connections++ == 0) {
		TAILQ_REMOVE(&subs->left, s, link);
		subs->n_left--;
	}
	holder = hbt_holders_enter(subs->holders, thumbprint);
	claim(s, holder);
	return holder;
}

void hbt_subscription_leave(struct hbt_subscriptions *subs,
                            struct hbt_subscription *s,
                            struct hbt_holder *holder)
{
	unclaim(s, holder);
	hbt_holders_leave(subs->holders, holder);
	if (--s->connections > 0)
		return;
	s->left_ms = hbt_now_ms();
	s->let_go_ms = 0; /* there is none to be spared */
	TAILQ_INSERT_TAIL(&subs->left, s, link);
	subs->n_left++;
}

bool hbt_subscription_can_spare(const struct hbt_subscription *s)
{
	return s->connections > s->leaving + 1 || s->let_go_ms == 0 ||
	       hbt_now_ms() - s->let_go_ms >= HBT_RETURN_MS;
}

void hbt_subscription_note_wait(struct hbt_subscription *s,
                                const struct hbt_call *call)
{
	int64_t now = hbt_now_ms();

	if (!call->found_busy || hbt_call_waited_us(call) < BUSY_WAIT_US)
		return;
	if (now - s->span_ms > BUSY_SPAN_MS) {
		s->span_ms = now;
		s->in_span = 0;
	}
	s->in_span++;
	s->waited_busy++;
	s->waited_busy_ms = now;
}

/* For the status */

static void list_claims(const struct hbt_subscription *s, char *text,
                        size_t size)
{
	char hex[HBT_SHA1_TEXT];
	size_t len = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < s->n_claims; i++) {
		if (len + HBT_SHA1_TEXT + (len > 0) > size)
			return;
		hbt_sha1_format(s->claims[i].holder->sha1, hex);
		len += (size_t)snprintf(text + len, size - len, "%s%s",
		                        len > 0 ? " " : "", hex);
	}
}

void hbt_subscriptions_facts(const struct hbt_subscriptions *subs,
                             const struct hbt_queue *q,
                             struct hbt_subscription_facts *facts)
{
	const struct hbt_subscription *s = hbt_subscription_find(subs, q);
	int64_t now = hbt_now_ms();

	memset(facts, 0, sizeof(*facts));
	if (s == NULL)
		return;
	facts->connections = s->connections;
	facts->busy = s->busy;
	facts->last_seen_at =
		s->connections > 0 ? hbt_unix_ms() : hbt_unix_ms_of(s->left_ms);
	facts->machines = s->n_claims;
	list_claims(s, facts->thumbprints, sizeof(facts->thumbprints));
	facts->waited_busy = s->waited_busy;
	facts->waited_busy_at = hbt_unix_ms_of(s->waited_busy_ms);
	facts->wants_connections = s->in_span >= BUSY_WAITS &&
	                           now - s->waited_busy_ms < BUSY_SPAN_MS;
}

bool hbt_subscriptions_has(const struct hbt_subscriptions *subs,
                           const struct hbt_queue *q)
{
	const struct hbt_subscription *s = hbt_subscription_find(subs, q);

	return s != NULL && s->connections > 0;
}

void hbt_subscriptions_trim(struct hbt_subscriptions *subs)
{
	int64_t since = hbt_now_ms() - REMEMBER_MS;
	struct hbt_subscription *s;

	for (int i = 0;
	     i < TRIM_AT_ONCE && (s = TAILQ_FIRST(&subs->left)) != NULL &&
	     (s->left_ms < since || subs->n_left > REMEMBER_MOST);
	     i++)
		forget(subs, s);
}

struct hbt_subscriptions *hbt_subscriptions_new(struct hbt_switchboard *sb,
                                                struct hbt_admission *adm,
                                                struct hbt_refused *refused,
                                                struct hbt_holders *holders)
{
	struct hbt_subscriptions *subs = calloc(1, sizeof(*subs));

	if (subs == NULL)
		return NULL;
	subs->switchboard = sb;
	subs->admission = adm;
	subs->refused = refused;
	subs->holders = holders;
	TAILQ_INIT(&subs->left);
	return subs;
}

void hbt_subscriptions_free(struct hbt_subscriptions **at)
{
	struct hbt_subscriptions *subs = *at;

	*at = NULL;
	if (subs == NULL)
		return;
	while (!TAILQ_EMPTY(&subs->left))
		forget(subs, TAILQ_FIRST(&subs->left));
	free(subs);
}

void hbt_subscriptions_configure(struct hbt_subscriptions *subs,
                                 const struct hbt_config *cfg)
{
	subs->cfg = cfg;
}
