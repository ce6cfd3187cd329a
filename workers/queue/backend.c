/* Redis, and what stands on it. */
#include <stdlib.h>

#include "base/log.h"
#include "worker.h"

#define PROGRAM_TIMEOUT_MS 60000

static void describe(const struct worker *w)
{
	char text[512];

	hbt_redis_options_describe(&w->options, text, sizeof(text));
	log_info("the queue is in Redis at %s, key prefix %s, DataStreams in "
	         "%s",
	         text, w->queue.key_prefix, w->queue.streams);
}

static int start_node(struct worker *w)
{
	struct hbt_redis_node_config config = {
		.key_prefix = w->queue.key_prefix,
		.node_id = w->queue.node_id,
		.redis = w->redis,
		.store = w->store,
		.wrappers = w->wrappers,
		.limits = &w->settings.limits,
		.pattern_responses = !w->queue.own_response_pulses,
	};

	hbt_redis_times_init(&config.times);
	config.times.idle_look_ms =
		w->settings.limits.polling_queue_wait_timeout_ms;
	return hbt_redis_node_new(&w->node, w->base, &config);
}

int backend_start(struct worker *w, struct halibut_error *err)
{
	struct hbt_store_config store;
	int rc;

	rc = hbt_queue_settings_redis(&w->queue, &w->options, err);
	if (rc != HALIBUT_OK)
		return rc;
	describe(w);
	if ((rc = hbt_redis_new(&w->redis, w->base, w->dns, &w->options,
	                        err)) != HALIBUT_OK)
		return rc;
	hbt_queue_settings_store(&w->queue, &store);
	if ((rc = hbt_store_new(&w->store, w->base, w->redis, &store, err)) !=
	    HALIBUT_OK)
		return rc;
	rc = hbt_wrappers_new(&w->wrappers, w->base,
	                      (const char *const *)w->queue.wrappers,
	                      w->queue.n_wrappers,
	                      w->settings.limits.max_message_bytes,
	                      PROGRAM_TIMEOUT_MS, err);
	if (rc != HALIBUT_OK || (rc = start_node(w)) != HALIBUT_OK)
		return rc;
	w->switchboard =
		hbt_switchboard_new(w->base, hbt_redis_queue_factory, w->node);
	if (w->switchboard == NULL)
		return HALIBUT_ENOMEM;
	return HALIBUT_OK;
}

void backend_free(struct worker *w)
{
	hbt_switchboard_free(&w->switchboard);
	hbt_redis_node_free(&w->node);
	hbt_wrappers_free(&w->wrappers);
	hbt_store_free(&w->store);
	hbt_redis_free(&w->redis);
}
