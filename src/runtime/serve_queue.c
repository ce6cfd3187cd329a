/*
 * Services behind a queue:// endpoint: requests come out of the queue itself,
 * without a connection. redis-queue 14
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/uri.h"
#include "queue/pump.h"
#include "runtime/service.h"

enum { MOST_AT_A_TIME = 1024 };

/* One request at a time. */
struct server {
	struct halibut_queue_serving *serving;
	struct hbt_taker taker;
	struct hbt_pending *pending; /* under way; NULL: none, or given up */
	void *request;               /* a halibut_request that owes us one */
};

struct halibut_queue_serving {
	struct halibut_runtime *rt;
	char *key;
	struct server *servers;
	unsigned n;
	bool stopping;
	LIST_ENTRY(halibut_queue_serving) link;
};

static struct server *self(struct hbt_taker *t)
{
	return (struct server *)((char *)t - offsetof(struct server, taker));
}

static void free_if_idle(struct halibut_queue_serving *s)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->servers[i].pending != NULL ||
		    s->servers[i].request != NULL)
			return;
	free(s->servers);
	free(s->key);
	free(s);
}

/* Ready for the next request, or for the end. */
static void next(struct server *sv)
{
	struct halibut_queue_serving *s = sv->serving;
	struct hbt_queue *q;

	if (s->stopping) {
		free_if_idle(s);
		return;
	}
	q = hbt_switchboard_queue(s->rt->switchboard, s->key);
	if (q != NULL)
		hbt_queue_offer(q, &sv->taker);
	else
		log_error("queue %s: out of memory: one server less", s->key);
}

static void answer(void *arg, struct hbt_message *m, struct hbt_source *streams)
{
	struct server *sv = arg;
	struct hbt_pending *p = sv->pending;

	sv->pending = NULL;
	if (p != NULL)
		hbt_pending_answer(p, hbt_message_ref(m), streams, NULL);
	else
		hbt_source_free(&streams);
	next(sv);
}

static void fail(void *arg, const struct halibut_error *err)
{
	struct server *sv = arg;
	struct hbt_pending *p = sv->pending;

	sv->pending = NULL;
	if (p != NULL)
		hbt_pending_fail(p, err);
	next(sv);
}

static void deliver(struct hbt_taker *t, struct hbt_pending *p)
{
	static const struct hbt_way_back back = {
		.answer = answer,
		.fail = fail,
	};
	struct server *sv = self(t);
	struct halibut_runtime *rt = sv->serving->rt;
	struct hbt_source *streams = p->streams;
	struct hbt_sink *sink = NULL;

	sv->pending = p;
	p->streams = NULL;
	hbt_request_take(rt, hbt_message_ref(p->msg), NULL, sv->serving->key,
	                 &back, sv, &sv->request, &sink);
	if (streams != NULL && sink != NULL)
		hbt_feed_new(NULL, rt->base, streams, sink);
	else
		hbt_source_free(&streams);
}

/* A handler is not interrupted; it is told, if it wants to know. */
static bool cancelled(struct hbt_taker *t, struct hbt_pending *p)
{
	struct server *sv = self(t);
	struct halibut_request *req = sv->request;

	(void)p;
	sv->pending = NULL;
	if (req->bson == NULL) { /* no handler has seen it */
		hbt_request_orphan(req);
		next(sv);
		return false;
	}
	if (req->gone != NULL)
		req->gone(req->gone_arg);
	return true;
}

int halibut_serve_queue(struct halibut_queue_serving **out,
                        struct halibut_runtime *rt, const char *endpoint,
                        unsigned at_a_time, struct halibut_error *err)
{
	char *key = hbt_uri_key(endpoint, true);
	struct halibut_queue_serving *s;

	if (out != NULL)
		*out = NULL;
	if (key == NULL || strncmp(key, "queue://", 8) != 0 || at_a_time == 0 ||
	    at_a_time > MOST_AT_A_TIME) {
		free(key);
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "Only 'queue://' endpoints are supported, "
		                     "with 1 to %d requests at a time. Provided: "
		                     "%s",
		                     MOST_AT_A_TIME, endpoint);
	}
	if ((s = calloc(1, sizeof(*s))) != NULL)
		s->servers = calloc(at_a_time, sizeof(*s->servers));
	if (s == NULL || s->servers == NULL ||
	    hbt_switchboard_queue(rt->switchboard, key) == NULL) {
		if (s != NULL)
			free(s->servers);
		free(s);
		free(key);
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	}
	s->rt = rt;
	s->key = key;
	s->n = at_a_time;
	LIST_INSERT_HEAD(&rt->queue_servings, s, link);
	for (unsigned i = 0; i < at_a_time; i++) {
		s->servers[i].serving = s;
		s->servers[i].taker.deliver = deliver;
		s->servers[i].taker.cancelled = cancelled;
		next(&s->servers[i]);
	}
	if (out != NULL)
		*out = s;
	return 0;
}

void halibut_serve_queue_stop(struct halibut_queue_serving **sp)
{
	struct halibut_queue_serving *s = *sp;

	if (s == NULL)
		return;
	*sp = NULL;
	s->stopping = true;
	LIST_REMOVE(s, link);
	for (unsigned i = 0; i < s->n; i++)
		hbt_queue_withdraw(&s->servers[i].taker);
	free_if_idle(s);
}
