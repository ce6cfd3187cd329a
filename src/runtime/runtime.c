/* A runtime's life, and the setters that are one line each. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "runtime/runtime.h"

static struct event_base *base_new(void)
{
	struct event_config *cfg = event_config_new();
	struct event_base *base = NULL;

	if (cfg != NULL) {
		event_config_set_flag(cfg, EVENT_BASE_FLAG_NOLOCK);
		base = event_base_new_with_config(cfg);
		event_config_free(cfg);
	}
	/* What is done for those who are not connected yet comes last. */
	if (base != NULL)
		event_base_priority_init(base, 3);
	return base;
}

static int out_of_memory(struct halibut_error *err)
{
	return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
}

int halibut_runtime_new(struct halibut_runtime **out, struct event_base *base,
                        const char *cert_pem, const char *key_pem,
                        struct halibut_error *err)
{
	struct halibut_runtime *rt;
	int rc;

	*out = NULL;
	if ((rt = calloc(1, sizeof(*rt))) == NULL)
		return out_of_memory(err);
	LIST_INIT(&rt->listeners);
	LIST_INIT(&rt->accepted);
	LIST_INIT(&rt->pollings);
	LIST_INIT(&rt->queue_servings);
	LIST_INIT(&rt->calls);
	LIST_INIT(&rt->requests);
	hbt_limits_init(&rt->limits);
	rt->owns_base = base == NULL;
	rt->base = base != NULL ? base : base_new();
	if ((rc = hbt_tls_new(&rt->tls, cert_pem, key_pem, err)) != 0)
		goto fail;
	rc = HALIBUT_ENOMEM;
	if (rt->base == NULL ||
	    hbt_exchange_env_init(&rt->env, rt->base, &rt->limits) != 0)
		goto memory;
	rt->dns = evdns_base_new(rt->base,
	                         EVDNS_BASE_INITIALIZE_NAMESERVERS |
	                                 EVDNS_BASE_DISABLE_WHEN_INACTIVE);
	if (rt->dns == NULL) /* no resolv.conf: names of /etc/hosts only */
		rt->dns = evdns_base_new(rt->base, 0);
	rt->trust = hbt_trust_set_new();
	rt->switchboard = hbt_switchboard_new(rt->base, NULL, NULL);
	rt->dialler = hbt_dialler_new(&rt->env, rt->dns, rt->tls);
	if (rt->trust == NULL || rt->switchboard == NULL ||
	    rt->dialler == NULL)
		goto memory;
	*out = rt;
	return 0;
memory:
	rc = out_of_memory(err);
fail:
	halibut_runtime_free(&rt);
	return rc;
}

/* In the order of runtime-behaviour 1.5. */
void halibut_runtime_free(struct halibut_runtime **rtp)
{
	struct halibut_runtime *rt = *rtp;
	struct halibut_polling *polling;
	struct halibut_queue_serving *serving;

	if (rt == NULL)
		return;
	*rtp = NULL;
	rt->ending = true;
	hbt_calls_end(rt);
	while ((polling = LIST_FIRST(&rt->pollings)) != NULL)
		halibut_poll_stop(&polling);
	while ((serving = LIST_FIRST(&rt->queue_servings)) != NULL)
		halibut_serve_queue_stop(&serving);
	hbt_dialler_free(&rt->dialler);
	hbt_listeners_free(rt);
	hbt_switchboard_free(&rt->switchboard);
	hbt_redis_setup_free(&rt->redis);
	hbt_services_free(rt);
	hbt_exchange_env_fini(&rt->env);
	if (rt->dns != NULL)
		evdns_base_free(rt->dns, 0);
	hbt_trust_set_free(&rt->trust);
	hbt_tls_free(&rt->tls);
	if (rt->owns_base && rt->base != NULL) {
		/* What the kernel has taken, such as END, still arrives. */
		event_base_loop(rt->base, EVLOOP_NONBLOCK);
		hbt_conn_end_flushing(rt->base);
		event_base_free(rt->base);
	}
	free(rt->friendly_page);
	free(rt);
}

struct event_base *halibut_runtime_base(struct halibut_runtime *rt)
{
	return rt->base;
}

int halibut_runtime_run(struct halibut_runtime *rt)
{
	return event_base_loop(rt->base, EVLOOP_NO_EXIT_ON_EMPTY) < 0
	               ? HALIBUT_ESYSTEM
	               : HALIBUT_OK;
}

void halibut_runtime_stop(struct halibut_runtime *rt)
{
	event_base_loopbreak(rt->base);
}

const char *halibut_runtime_thumbprint(const struct halibut_runtime *rt)
{
	return rt->tls->thumbprint;
}

int halibut_runtime_set_limit(struct halibut_runtime *rt, const char *name,
                              int64_t value)
{
	return hbt_limits_set(&rt->limits, name, value);
}

int halibut_trust_add(struct halibut_runtime *rt, const char *thumbprint)
{
	return hbt_trust_set_add(rt->trust, thumbprint);
}

int halibut_trust_remove(struct halibut_runtime *rt, const char *thumbprint)
{
	char text[HBT_THUMBPRINT_TEXT];

	if (!hbt_thumbprint_parse(thumbprint, text))
		return HALIBUT_EINVAL;
	hbt_trust_set_remove(rt->trust, text);
	hbt_drop_untrusted(rt);
	return HALIBUT_OK;
}

int halibut_trust_only(struct halibut_runtime *rt,
                       const char *const *thumbprints, size_t n)
{
	struct hbt_trust_set *fresh = hbt_trust_set_new();
	int rc = fresh == NULL ? HALIBUT_ENOMEM : HALIBUT_OK;

	for (size_t i = 0; i < n && rc == 0; i++)
		rc = hbt_trust_set_add(fresh, thumbprints[i]);
	if (rc != 0) {
		hbt_trust_set_free(&fresh);
		return rc;
	}
	hbt_trust_set_free(&rt->trust);
	rt->trust = fresh;
	hbt_drop_untrusted(rt);
	return HALIBUT_OK;
}

bool halibut_is_trusted(const struct halibut_runtime *rt,
                        const char *thumbprint)
{
	return hbt_trust_set_has(rt->trust, thumbprint);
}

void halibut_set_unauthorised_callback(struct halibut_runtime *rt,
                                       halibut_unauthorised_fn fn, void *arg)
{
	rt->unauthorised = fn;
	rt->unauthorised_arg = arg;
}

int halibut_set_friendly_page(struct halibut_runtime *rt, const char *html)
{
	char *copy = html == NULL ? NULL : strdup(html);

	if (html != NULL && copy == NULL)
		return HALIBUT_ENOMEM;
	free(rt->friendly_page);
	rt->friendly_page = copy;
	rt->env.friendly_page = copy;
	return HALIBUT_OK;
}

int halibut_endpoint_new(struct halibut_endpoint **out,
                         struct halibut_runtime *rt, const char *url,
                         const char *thumbprint, struct halibut_error *err)
{
	struct halibut_endpoint *e = calloc(1, sizeof(*e));
	int rc;

	*out = NULL;
	if (e == NULL)
		return out_of_memory(err);
	rc = hbt_endpoint_init(&e->e, url, thumbprint, &rt->limits, err);
	if (rc == 0 && strncmp(e->e.key, "https:", 6) != 0 &&
	    strncmp(e->e.key, "poll:", 5) != 0 &&
	    strncmp(e->e.key, "queue:", 6) != 0)
		rc = hbt_error_set(err, HALIBUT_EINVAL,
		                   "%s: the scheme of an endpoint is one of "
		                   "https, poll and queue",
		                   url);
	if (rc == 0 && strncmp(e->e.key, "https:", 6) == 0 &&
	    thumbprint == NULL)
		rc = hbt_error_set(err, HALIBUT_EINVAL,
		                   "%s needs the thumbprint of the "
		                   "certificate that is expected there",
		                   url);
	if (rc != 0) {
		halibut_endpoint_free(&e);
		return rc;
	}
	*out = e;
	return 0;
}

void halibut_endpoint_free(struct halibut_endpoint **e)
{
	if (*e == NULL)
		return;
	hbt_endpoint_fini(&(*e)->e);
	free(*e);
	*e = NULL;
}

static int replace(char **to, const char *from)
{
	char *copy = from == NULL ? NULL : strdup(from);

	if (from != NULL && copy == NULL)
		return HALIBUT_ENOMEM;
	free(*to);
	*to = copy;
	return 0;
}

int halibut_endpoint_set_proxy(struct halibut_endpoint *e, const char *host,
                               uint16_t port, const char *user,
                               const char *password)
{
	if (host == NULL || host[0] == '\0' || strstr(host, "://") != NULL ||
	    port == 0)
		return HALIBUT_EINVAL;
	e->e.proxy_port = port;
	return replace(&e->e.proxy_host, host) != 0 ||
	                       replace(&e->e.proxy_user, user) != 0 ||
	                       replace(&e->e.proxy_password, password) != 0
	               ? HALIBUT_ENOMEM
	               : HALIBUT_OK;
}

int halibut_endpoint_set_connect_host(struct halibut_endpoint *e,
                                      const char *host, uint16_t port)
{
	e->e.connect_port = port;
	return replace(&e->e.connect_host, host);
}

int halibut_endpoint_set_limit(struct halibut_endpoint *e, const char *name,
                               int64_t value)
{
	struct hbt_limits l = {
		.polling_request_queue_timeout_ms = e->e.queue_timeout_ms,
		.retry_listening_sleep_interval_ms = e->e.retry_sleep_ms,
		.retry_count_limit = e->e.retry_count,
		.connection_error_retry_timeout_ms = e->e.retry_timeout_ms,
		.tcp_client_connect_timeout_ms = e->e.connect_timeout_ms,
	};
	int rc = hbt_limits_set(&l, name, value);

	if (rc != 0)
		return rc;
	e->e.queue_timeout_ms = l.polling_request_queue_timeout_ms;
	e->e.retry_sleep_ms = l.retry_listening_sleep_interval_ms;
	e->e.retry_count = l.retry_count_limit;
	e->e.retry_timeout_ms = l.connection_error_retry_timeout_ms;
	e->e.connect_timeout_ms = l.tcp_client_connect_timeout_ms;
	return HALIBUT_OK;
}

static halibut_log_fn user_log;

static void to_user(void *arg, enum hbt_log_level level, const char *line)
{
	user_log(arg, (int)level, line);
}

void halibut_set_log(halibut_log_fn fn, void *arg, int level)
{
	user_log = fn;
	hbt_log_set_level((enum hbt_log_level)level);
	hbt_log_set_sink(fn == NULL ? NULL : to_user, arg);
}
