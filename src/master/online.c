#include "master/online.h"

#include <event2/dns.h>
#include <event2/event.h>
#include "base/log.h"
#include "redis/doctor.h"

#define EXAMINATION_MS 15000

struct visit {
	struct event_base *base;
	FILE *out;
	bool usable;
};

static void on_finding(void *arg, const struct hbt_finding *f)
{
	static const char *const levels[] = {
		[HBT_FINDING_OK] = "ok",
		[HBT_FINDING_HINT] = "hint",
		[HBT_FINDING_ERROR] = "error",
	};
	struct visit *v = arg;

	fprintf(v->out, "redis: %s: %s\n", levels[f->level], f->what);
	if (f->remedy != NULL)
		fprintf(v->out, "redis:   to mend it: %s\n", f->remedy);
}

static void on_done(void *arg, bool usable)
{
	struct visit *v = arg;

	v->usable = usable;
	event_base_loopbreak(v->base);
}

static void drop(void *arg, enum hbt_log_level level, const char *line)
{
	(void)arg;
	(void)level;
	(void)line;
}

static int examine(struct visit *v, const struct hbt_redis_settings *s,
                   struct evdns_base *dns, struct halibut_error *err)
{
	struct hbt_redis *redis;
	int rc = hbt_redis_new(&redis, v->base, dns, &s->options, err);

	if (rc != HALIBUT_OK)
		return rc;
	hbt_redis_examine(redis, s->key_prefix, EXAMINATION_MS, on_finding,
	                  on_done, v);
	event_base_dispatch(v->base);
	hbt_redis_free(&redis);
	if (v->usable)
		return HALIBUT_OK;
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "the queue would not work with this Redis server");
}

int hbt_online(const struct hbt_config *cfg, FILE *out,
               struct halibut_error *err)
{
	struct hbt_queue_settings settings = hbt_config_queue(cfg);
	struct visit v = {.out = out};
	struct hbt_redis_settings s;
	struct evdns_base *dns;
	int rc;

	if (!cfg->shares) {
		fputs("there is no section redis, so no server to examine\n",
		      out);
		return HALIBUT_OK;
	}
	if ((v.base = event_base_new()) == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	dns = evdns_base_new(v.base, EVDNS_BASE_INITIALIZE_NAMESERVERS |
	                                     EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	rc = hbt_queue_settings_resolve(&settings, &s, err);
	hbt_log_set_sink(drop, NULL); /* the findings say the same */
	if (rc == HALIBUT_OK)
		rc = examine(&v, &s, dns, err);
	hbt_log_set_sink(NULL, NULL);
	hbt_redis_settings_fini(&s);
	if (dns != NULL)
		evdns_base_free(dns, 0);
	event_base_free(v.base);
	return rc;
}
