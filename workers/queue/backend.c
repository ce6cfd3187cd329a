/* Redis, and what stands on it. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "worker.h"

static void describe(const struct hbt_redis_settings *s)
{
	char text[512];

	hbt_redis_options_describe(&s->options, text, sizeof(text));
	log_info("the queue is in Redis at %s, key prefix %s, DataStreams in "
	         "%s",
	         text, s->key_prefix, s->streams);
}

/* What Redis shows of us: CLIENT LIST. It takes no spaces. */
static int name_connections(struct worker *w, struct hbt_redis_options *o)
{
	char *name;

	if (o->client_name != NULL)
		return HALIBUT_OK;
	if (asprintf(&name, "halibutd-%s", w->settings.node) < 0)
		return HALIBUT_ENOMEM;
	for (char *p = name; *p != '\0'; p++)
		if (!isgraph((unsigned char)*p))
			*p = '-';
	o->client_name = name;
	return HALIBUT_OK;
}

static int start_queue(struct worker *w, struct hbt_redis_settings *s,
                       struct halibut_error *err)
{
	int rc = hbt_queue_settings_resolve(&w->queue, s, err);

	if (rc != HALIBUT_OK ||
	    (rc = name_connections(w, &s->options)) != HALIBUT_OK)
		return rc;
	s->times.idle_look_ms =
		w->settings.limits.polling_queue_wait_timeout_ms;
	describe(s);
	return hbt_redis_setup_new(&w->setup, w->base, w->dns, s,
	                           &w->settings.limits, err);
}

int backend_start(struct worker *w, struct halibut_error *err)
{
	struct hbt_redis_settings s;
	int rc;

	rc = start_queue(w, &s, err);
	hbt_redis_settings_fini(&s);
	if (rc != HALIBUT_OK)
		return rc;
	w->switchboard = hbt_switchboard_new(w->base, hbt_redis_queue_factory,
	                                     w->setup->node);
	if (w->switchboard == NULL)
		return HALIBUT_ENOMEM;
	return HALIBUT_OK;
}

void backend_free(struct worker *w)
{
	hbt_switchboard_free(&w->switchboard);
	hbt_redis_setup_free(&w->setup);
}
