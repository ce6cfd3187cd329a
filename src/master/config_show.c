#include "master/config_show.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/log.h"
#include "master/config_private.h"
#include "master/config_units.h"
#include "redis/options.h"

static json_t *text_or_null(const char *text)
{
	return text != NULL ? json_string(text) : json_null();
}

static json_t *list_of(const struct hbt_strings *list)
{
	json_t *a = json_array();

	for (size_t i = 0; i < list->n; i++)
		json_array_append_new(a, json_string(list->v[i]));
	return a;
}

static json_t *number(unsigned long long n)
{
	return json_sprintf("%llu", n);
}

static json_t *duration(int64_t ms)
{
	char text[32];

	hbt_format_duration(ms, text);
	return json_string(text);
}

static json_t *size(uint64_t bytes)
{
	char text[32];

	hbt_format_size(bytes, text);
	return json_string(text);
}

/* As the file would have it. */
static json_t *value_of(const struct hbt_config *cfg,
                        const struct hbt_setting *s)
{
	int n;

	switch (s->kind) {
	case HBT_SETTING_TEXT:
	case HBT_SETTING_PATH:
		return text_or_null(*HBT_CONST_FIELD(cfg, s, char *));
	case HBT_SETTING_LIST:
		return list_of(HBT_CONST_FIELD(cfg, s, struct hbt_strings));
	case HBT_SETTING_TIME:
		return duration(*HBT_CONST_FIELD(cfg, s, int64_t));
	case HBT_SETTING_SIZE:
		return size(*HBT_CONST_FIELD(cfg, s, size_t));
	case HBT_SETTING_SIZE64:
		return size((uint64_t)*HBT_CONST_FIELD(cfg, s, int64_t));
	case HBT_SETTING_COUNT:
		/* A database of Redis that is not set is -1. */
		n = *HBT_CONST_FIELD(cfg, s, int);
		return n < 0 ? json_null()
		             : number((unsigned long long)n);
	case HBT_SETTING_COUNTZ:
		return number(*HBT_CONST_FIELD(cfg, s, size_t));
	case HBT_SETTING_FLAG:
		return json_string(*HBT_CONST_FIELD(cfg, s, bool) ? "yes"
		                                                  : "no");
	case HBT_SETTING_LEVEL:
		return json_string(hbt_log_level_name(
			(enum hbt_log_level)*HBT_CONST_FIELD(cfg, s, int)));
	case HBT_SETTING_MODE:
		return json_sprintf("%04o", *HBT_CONST_FIELD(cfg, s, unsigned));
	case HBT_SETTING_KIND_COUNT:
		break;
	}
	return json_null();
}

/* A file that has a secret is none itself. */
static bool is_secret(const char *name)
{
	size_t len = strlen(name);

	if (len > 5 && strcmp(name + len - 5, "_file") == 0)
		return false;
	return strstr(name, "password") != NULL ||
	       strstr(name, "secret") != NULL || strstr(name, "token") != NULL;
}

/* Takes value over. */
static void add_shown(json_t *list, const char *name, json_t *value,
                      bool is_default, bool secret)
{
	json_array_append_new(list,
	                      json_pack("{s:s, s:o, s:b, s:b}", "name", name,
	                                "value", value, "default", is_default,
	                                "secret", secret));
}

/* Takes the values over. preset NULL: there is none. */
static void add(json_t *list, const char *name, json_t *value, json_t *preset)
{
	bool secret = is_secret(name) && json_is_string(value);
	bool is_default = preset != NULL ? json_equal(value, preset)
	                                 : json_is_null(value);

	json_decref(preset);
	if (secret) {
		json_decref(value);
		value = json_string(HBT_CONFIG_HIDDEN);
	}
	add_shown(list, name, value, is_default, secret);
}

/* A setting of a section, if it is set. */
static void add_text(json_t *list, const char *name, const char *text)
{
	if (text != NULL)
		add(list, name, json_string(text), NULL);
}

static void add_host(json_t *list, const char *name, const char *host,
                     uint16_t port)
{
	bool v6 = host != NULL && strchr(host, ':') != NULL;

	if (host != NULL)
		add(list, name,
		    json_sprintf("%s%s%s:%u", v6 ? "[" : "", host,
		                 v6 ? "]" : "", port),
		    NULL);
}

static json_t *add_section(json_t *sections, const char *name,
                           const char *title)
{
	json_t *settings = json_array();

	json_array_append_new(sections,
	                      json_pack("{s:s, s:s?, s:O}", "section", name,
	                                "title", title, "settings", settings));
	json_decref(settings); /* sections has it */
	return settings;
}

static void add_dialling(json_t *list, const struct hbt_endpoint_fields *e)
{
	add_text(list, "thumbprint", e->thumbprint);
	add_host(list, "proxy", e->proxy_host, e->proxy_port);
	add_text(list, "proxy_user", e->proxy_user);
	add_text(list, "proxy_password", e->proxy_password);
	add_host(list, "connect_host", e->connect_host, e->connect_port);
}

static void add_routes(json_t *sections, const struct hbt_config *cfg)
{
	for (size_t i = 0; i < cfg->n_routes; i++) {
		const struct hbt_route *r = &cfg->routes[i];
		bool endpoint = strcmp(r->pattern, r->target) == 0;
		json_t *list = add_section(sections,
		                           endpoint ? "endpoint" : "route",
		                           r->pattern);

		if (!endpoint)
			add_text(list, "to", r->target);
		add_dialling(list, &r->endpoint);
	}
}

static void add_services(json_t *sections, const struct hbt_config *cfg)
{
	for (size_t i = 0; i < cfg->n_programs; i++) {
		const struct hbt_program *p = &cfg->programs[i];
		json_t *list = add_section(sections, "service", p->service);

		add_text(list, "command", p->command);
		add_text(list, "directory", p->directory);
		add(list, "processes", number(p->processes), NULL);
		add(list, "timeout", duration(p->timeout_ms), NULL);
		add(list, "max_memory", size(p->max_memory_bytes), NULL);
	}
	for (size_t i = 0; i < cfg->n_queues; i++)
		add(add_section(sections, "queue", cfg->queues[i].uri),
		    "concurrency", number(cfg->queues[i].concurrency),
		    NULL);
}

static void add_polls(json_t *sections, const struct hbt_config *cfg)
{
	for (size_t i = 0; i < cfg->n_polls; i++) {
		const struct hbt_poll *p = &cfg->polls[i];
		json_t *list = add_section(sections, "poll", p->server.url);

		add_text(list, "subscription", p->subscription);
		add(list, "connections", number(p->connections), NULL);
		add_dialling(list, &p->server);
	}
}

/* A URL may have passwords in it: then only where it leads. */
static void add_redis_url(json_t *list, const char *url)
{
	struct hbt_redis_options o;
	char server[512] = "";
	bool secret;

	hbt_redis_options_init(&o);
	secret = hbt_redis_options_parse(&o, url, NULL) != HALIBUT_OK ||
	         o.password != NULL || o.sentinel_password != NULL;
	if (secret)
		hbt_redis_options_describe(&o, server, sizeof(server));
	hbt_redis_options_fini(&o);
	add_shown(list, "url",
	          secret ? json_sprintf(HBT_CONFIG_HIDDEN ": %s", server)
	                 : json_string(url),
	          false, secret);
}

static void add_table(json_t *list, const struct hbt_setting *table,
                      const struct hbt_config *cfg,
                      const struct hbt_config *defaults)
{
	for (const struct hbt_setting *s = table; s->name != NULL; s++)
		add(list, s->name, value_of(cfg, s), value_of(defaults, s));
}

static void add_redis(json_t *sections, const struct hbt_config *cfg,
                      const struct hbt_config *defaults)
{
	json_t *list;

	if (!cfg->shares)
		return;
	list = add_section(sections, "redis", NULL);
	add_redis_url(list, cfg->redis.url);
	/* The url is the first one. */
	add_table(list, hbt_redis_table + 1, cfg, defaults);
}

/* As a file that says nothing has it. */
static struct hbt_config *make_defaults(const struct hbt_config *cfg)
{
	struct hbt_config *defaults = calloc(1, sizeof(*defaults));

	if (defaults != NULL &&
	    (defaults->path = strdup(cfg->path)) != NULL &&
	    hbt_config_settings_preset(defaults) == HALIBUT_OK &&
	    hbt_config_settings_complete(defaults) == HALIBUT_OK)
		return defaults;
	hbt_config_free(&defaults);
	return NULL;
}

json_t *hbt_config_show(const struct hbt_config *cfg)
{
	struct hbt_config *defaults = make_defaults(cfg);
	json_t *settings = json_array(), *sections = json_array();
	json_t *doc = NULL;

	if (defaults != NULL && settings != NULL && sections != NULL) {
		add_table(settings, hbt_config_table, cfg, defaults);
		add_routes(sections, cfg);
		add_services(sections, cfg);
		add_polls(sections, cfg);
		add_redis(sections, cfg, defaults);
		doc = json_pack("{s:s, s:O, s:O}", "file", cfg->path,
		                "settings", settings, "sections", sections);
	}
	json_decref(settings);
	json_decref(sections);
	hbt_config_free(&defaults);
	return doc;
}
