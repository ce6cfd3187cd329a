#include "ipc/spool_account.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/log_limit.h"

TAILQ_HEAD(line, hbt_spool_payer);

struct account {
	enum hbt_spool_whose whose;
	struct hbt_spool_accounts *all;
	int64_t bytes, limit;
	size_t users;     /* payers, and serve() while it looks at it */
	struct line line; /* who waits for room, the longest first */
	bool due;         /* it has room and a line */
	TAILQ_ENTRY(account) link; /* of those that are due */
	UT_hash_handle hh;
	char key[];
};

struct hbt_spool_accounts {
	size_t users;        /* payers, and the owner */
	struct event *timer; /* serve() follows; NULL: the owner is gone */
	const struct hbt_source_rule *sources;
	int64_t limits[HBT_SPOOL_KINDS]; /* 0: none */
	struct account *by_key[HBT_SPOOL_KINDS];
	TAILQ_HEAD(, account) due;
	size_t n_due;
	struct line decided; /* they waited for nothing else */
	uint64_t last_place;
	uint64_t full[HBT_SPOOL_KINDS];
};

struct hbt_spool_payer {
	size_t users;
	struct hbt_spool_accounts *all;
	struct account *of[HBT_SPOOL_KINDS]; /* NULL: not limited */
	int64_t bytes;
	bool deferred;
	bool waits;        /* wake() is owed */
	struct line *line; /* that it stands in; NULL: in none */
	uint64_t place;    /* smaller ones come first; 0: none so far */
	void (*wake)(void *arg);
	void *wake_arg;
	char *peer, *thumbprint;
	TAILQ_ENTRY(hbt_spool_payer) link;
};

static const char *const limit_names[HBT_SPOOL_KINDS] = {
	[HBT_SPOOL_OF_ALL] = "spool_max_total",
	[HBT_SPOOL_OF_SOURCE] = "spool_max_per_source",
	[HBT_SPOOL_OF_THUMBPRINT] = "spool_max_per_thumbprint",
	[HBT_SPOOL_OF_SUBSCRIPTION] = "spool_max_per_subscription",
};

static void all_drop(struct hbt_spool_accounts *all)
{
	if (--all->users == 0)
		free(all);
}

/* Accounts */

static int64_t room_in(const struct account *a)
{
	return a->limit > a->bytes ? a->limit - a->bytes : 0;
}

static void serve_later(struct hbt_spool_accounts *all)
{
	const struct timeval now = {0, 0};

	if (all->timer != NULL && !evtimer_pending(all->timer, NULL))
		evtimer_add(all->timer, &now);
}

/* Has it room for the one who is first in its line? */
static void look_at(struct account *a)
{
	if (a->due || TAILQ_EMPTY(&a->line) || room_in(a) == 0)
		return;
	a->due = true;
	TAILQ_INSERT_TAIL(&a->all->due, a, link);
	a->all->n_due++;
	serve_later(a->all);
}

static void not_due(struct account *a)
{
	if (!a->due)
		return;
	a->due = false;
	TAILQ_REMOVE(&a->all->due, a, link);
	a->all->n_due--;
}

/* For one user more. NULL: no memory. */
static struct account *account_take(struct hbt_spool_accounts *all,
                                    enum hbt_spool_whose whose, const char *key)
{
	struct account *a;

	HASH_FIND_STR(all->by_key[whose], key, a);
	if (a == NULL) {
		a = calloc(1, sizeof(*a) + strlen(key) + 1);
		if (a == NULL)
			return NULL;
		a->whose = whose;
		a->all = all;
		a->limit = all->limits[whose];
		TAILQ_INIT(&a->line);
		strcpy(a->key, key);
		HASH_ADD_STR(all->by_key[whose], key, a);
		if (a->hh.tbl == NULL) {
			free(a);
			return NULL;
		}
	}
	a->users++;
	return a;
}

static void account_drop(struct account *a)
{
	if (--a->users > 0)
		return;
	assert(a->bytes == 0 && TAILQ_EMPTY(&a->line));
	not_due(a);
	HASH_DEL(a->all->by_key[a->whose], a);
	free(a);
}

/* Payers */

static void step_out(struct hbt_spool_payer *p)
{
	if (p->line != NULL)
		TAILQ_REMOVE(p->line, p, link);
	p->line = NULL;
	p->waits = false;
}

/* At its place: those who come last are the most. */
static void step_into(struct hbt_spool_payer *p, struct line *line)
{
	struct hbt_spool_payer *before = TAILQ_LAST(line, line);

	if (p->place == 0)
		p->place = ++p->all->last_place;
	while (before != NULL && before->place > p->place)
		before = TAILQ_PREV(before, line, link);
	if (before != NULL)
		TAILQ_INSERT_AFTER(line, before, p, link);
	else
		TAILQ_INSERT_HEAD(line, p, link);
	p->line = line;
	p->waits = true;
}

/* p may be gone afterwards. */
static void wake_first(struct line *line)
{
	struct hbt_spool_payer *p = TAILQ_FIRST(line);

	step_out(p);
	p->wake(p->wake_arg);
}

/* One of each line a turn: what he takes is not there for the next one. */
static void serve(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_spool_accounts *all = arg;

	(void)fd;
	(void)what;
	while (!TAILQ_EMPTY(&all->decided))
		wake_first(&all->decided);
	for (size_t n = all->n_due; n > 0 && !TAILQ_EMPTY(&all->due); n--) {
		struct account *a = TAILQ_FIRST(&all->due);

		not_due(a);
		a->users++; /* whoever is woken may end */
		if (room_in(a) > 0 && !TAILQ_EMPTY(&a->line))
			wake_first(&a->line);
		look_at(a);
		account_drop(a);
	}
}

/* The first of its accounts that has no room. */
static struct account *full_one(const struct hbt_spool_payer *p)
{
	for (int i = 0; i < HBT_SPOOL_KINDS; i++)
		if (p->of[i] != NULL && room_in(p->of[i]) == 0)
			return p->of[i];
	return NULL;
}

static const char *whose_text(const struct account *a)
{
	switch (a->whose) {
	case HBT_SPOOL_OF_SOURCE:
		return "of ";
	case HBT_SPOOL_OF_THUMBPRINT:
		return "of certificate ";
	case HBT_SPOOL_OF_SUBSCRIPTION:
		return "to and from ";
	default:
		return "of all senders";
	}
}

/* One line a minute for each limit and source. */
static void log_full(const struct hbt_spool_payer *p, const struct account *a)
{
	const char *name = limit_names[a->whose];
	char key[HBT_LOG_KEY];

	if (a->whose == HBT_SPOOL_OF_SOURCE) /* perhaps a network */
		snprintf(key, sizeof(key), "%s %s", name, a->key);
	else
		hbt_log_key(key, name, p->peer);
	log_limited(key, HBT_LOG_WARNING,
	            LOG_ABOUT(.event = "spool_full", .peer = p->peer,
	                      .thumbprint = p->thumbprint,
	                      .endpoint = a->whose == HBT_SPOOL_OF_SUBSCRIPTION
	                                          ? a->key
	                                          : NULL,
	                      .reason = name, .remedy = name),
	            "%s has to wait with its DataStreams: %lld bytes %s%s wait "
	            "for who takes them, as many as %s allows",
	            p->peer, (long long)a->bytes, whose_text(a), a->key, name);
}

void hbt_spool_payer_wait(struct hbt_spool_payer *p, void (*wake)(void *arg),
                          void *arg)
{
	struct account *a;

	if (p == NULL)
		return;
	p->wake = wake;
	p->wake_arg = arg;
	if (p->deferred) { /* decide() puts it in a line */
		p->waits = true;
		return;
	}
	a = full_one(p);
	if (a != NULL && p->line == &a->line)
		return;
	step_out(p);
	if (a == NULL)
		return;
	if (p->place == 0) {
		a->all->full[a->whose]++;
		log_full(p, a);
	}
	step_into(p, &a->line);
}

void hbt_spool_payer_leave(struct hbt_spool_payer *p)
{
	if (p == NULL)
		return;
	step_out(p);
	p->place = 0;
	/* The one behind it may have been waiting for it alone. */
	for (int i = 0; i < HBT_SPOOL_KINDS; i++)
		if (p->of[i] != NULL)
			look_at(p->of[i]);
}

int64_t hbt_spool_payer_room(const struct hbt_spool_payer *p)
{
	int64_t room = INT64_MAX;

	if (p == NULL)
		return room;
	if (p->deferred)
		return 0;
	for (int i = 0; i < HBT_SPOOL_KINDS; i++)
		if (p->of[i] != NULL && room_in(p->of[i]) < room)
			room = room_in(p->of[i]);
	return room;
}

void hbt_spool_payer_charge(struct hbt_spool_payer *p, int64_t bytes)
{
	if (p == NULL || bytes == 0)
		return;
	p->bytes += bytes;
	assert(p->bytes >= 0);
	for (int i = 0; i < HBT_SPOOL_KINDS; i++) {
		if (p->of[i] == NULL)
			continue;
		p->of[i]->bytes += bytes;
		assert(p->of[i]->bytes <= p->of[i]->limit);
		look_at(p->of[i]);
	}
}

static bool charges(const struct hbt_spool_accounts *all,
                    enum hbt_spool_whose whose)
{
	return all->limits[whose] > 0;
}

/* True also when there is nothing to open. */
static bool open_account(struct hbt_spool_payer *p, enum hbt_spool_whose whose,
                         const char *key)
{
	if (key == NULL || !charges(p->all, whose))
		return true;
	p->of[whose] = account_take(p->all, whose, key);
	return p->of[whose] != NULL;
}

struct hbt_spool_payer *hbt_spool_payer_new(struct hbt_spool_accounts *all,
                                            const char *peer,
                                            const char *thumbprint,
                                            const char *subscription)
{
	struct hbt_spool_payer *p = calloc(1, sizeof(*p));
	char source[HBT_SOURCE_TEXT];
	bool is_source = hbt_source_of(all->sources, peer, source);

	if (p == NULL)
		return NULL;
	p->users = 1;
	p->all = all;
	all->users++;
	p->peer = strdup(peer);
	p->thumbprint = thumbprint != NULL ? strdup(thumbprint) : NULL;
	if (p->peer == NULL || (thumbprint != NULL && p->thumbprint == NULL) ||
	    !open_account(p, HBT_SPOOL_OF_ALL, "") ||
	    !open_account(p, HBT_SPOOL_OF_SOURCE, is_source ? source : NULL) ||
	    !open_account(p, HBT_SPOOL_OF_THUMBPRINT, thumbprint) ||
	    !open_account(p, HBT_SPOOL_OF_SUBSCRIPTION, subscription))
		hbt_spool_payer_unref(&p);
	return p;
}

struct hbt_spool_payer *hbt_spool_payer_ref(struct hbt_spool_payer *p)
{
	if (p != NULL)
		p->users++;
	return p;
}

void hbt_spool_payer_unref(struct hbt_spool_payer **at)
{
	struct hbt_spool_payer *p = *at;

	*at = NULL;
	if (p == NULL || --p->users > 0)
		return;
	assert(p->bytes == 0);
	step_out(p);
	for (int i = 0; i < HBT_SPOOL_KINDS; i++)
		if (p->of[i] != NULL)
			account_drop(p->of[i]);
	all_drop(p->all);
	free(p->peer);
	free(p->thumbprint);
	free(p);
}

bool hbt_spool_payer_defer(struct hbt_spool_payer *p)
{
	p->deferred = charges(p->all, HBT_SPOOL_OF_SUBSCRIPTION);
	return p->deferred;
}

void hbt_spool_payer_decide(struct hbt_spool_payer *p, const char *subscription)
{
	if (p == NULL || !p->deferred)
		return;
	if (!open_account(p, HBT_SPOOL_OF_SUBSCRIPTION, subscription)) {
		log_error("DataStreams of %s are not spooled: out of memory",
		          p->peer);
		return; /* what its pipe takes has to do */
	}
	p->deferred = false;
	if (!p->waits)
		return;
	step_into(p, &p->all->decided);
	p->place = 0; /* it has not been in line for room */
	serve_later(p->all);
}

/* All of them */

struct hbt_spool_accounts *
hbt_spool_accounts_new(struct event_base *base, const struct hbt_limits *limits,
                       const struct hbt_source_rule *sources)
{
	struct hbt_spool_accounts *all = calloc(1, sizeof(*all));

	if (all == NULL)
		return NULL;
	all->users = 1;
	all->sources = sources;
	all->limits[HBT_SPOOL_OF_ALL] = limits->spool_max_bytes_total;
	all->limits[HBT_SPOOL_OF_SOURCE] = limits->spool_max_bytes_a_source;
	all->limits[HBT_SPOOL_OF_THUMBPRINT] =
		limits->spool_max_bytes_a_thumbprint;
	all->limits[HBT_SPOOL_OF_SUBSCRIPTION] =
		limits->spool_max_bytes_a_subscription;
	TAILQ_INIT(&all->due);
	TAILQ_INIT(&all->decided);
	if ((all->timer = evtimer_new(base, serve, all)) == NULL)
		hbt_spool_accounts_free(&all);
	return all;
}

void hbt_spool_accounts_free(struct hbt_spool_accounts **at)
{
	struct hbt_spool_accounts *all = *at;

	*at = NULL;
	if (all == NULL)
		return;
	if (all->timer != NULL)
		event_free(all->timer);
	all->timer = NULL;
	all_drop(all);
}

uint64_t hbt_spool_accounts_full(const struct hbt_spool_accounts *all,
                                 enum hbt_spool_whose whose)
{
	return all->full[whose];
}

size_t hbt_spool_accounts_count(const struct hbt_spool_accounts *all)
{
	size_t n = 0;

	for (int i = 0; i < HBT_SPOOL_KINDS; i++)
		n += HASH_COUNT(all->by_key[i]);
	return n;
}
