/* The queues of a runtime move to Redis. redis-queue 13 */
#include "runtime/runtime.h"

static void found_one(void *arg, struct hbt_queue *q)
{
	(void)q;
	*(bool *)arg = true;
}

static int read_settings(struct hbt_redis_settings *s, const char *url,
                         const char *key_prefix,
                         const struct halibut_setting *settings, size_t n,
                         struct halibut_error *err)
{
	int rc = hbt_redis_settings_set(s, "url", url, err);

	if (rc == 0)
		rc = hbt_redis_settings_set(s, "key_prefix", key_prefix, err);
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = hbt_redis_settings_set(s, settings[i].name,
		                            settings[i].value, err);
	return rc;
}

int halibut_use_redis(struct halibut_runtime *rt, const char *url,
                      const char *key_prefix,
                      const struct halibut_setting *settings, size_t n,
                      struct halibut_error *err)
{
	struct hbt_redis_setup *setup = NULL;
	struct hbt_switchboard *board;
	struct hbt_redis_settings s;
	bool used = rt->redis != NULL;
	int rc;

	hbt_switchboard_each(rt->switchboard, found_one, &used);
	if (used)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "halibut_use_redis() comes before the "
		                     "first use of a poll:// or queue:// "
		                     "endpoint, and once");
	hbt_redis_settings_init(&s);
	rc = read_settings(&s, url, key_prefix, settings, n, err);
	if (rc == 0)
		rc = hbt_redis_setup_new(&setup, rt->base, rt->dns, &s,
		                         &rt->limits, err);
	hbt_redis_settings_fini(&s);
	if (rc != 0)
		return rc;
	board = hbt_switchboard_new(rt->base, hbt_redis_queue_factory,
	                            setup->node);
	if (board == NULL) {
		hbt_redis_setup_free(&setup);
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	}
	hbt_switchboard_free(&rt->switchboard);
	rt->switchboard = board;
	rt->redis = setup;
	return 0;
}
