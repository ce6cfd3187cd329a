/* The sections: route, endpoint, service, poll and queue. */
#include "master/config_private.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include "base/uri.h"
#include "master/config_units.h"
#include "master/route.h"
#include "net/tls.h"

#define DAY_MS ((uint64_t)24 * 3600 * 1000)
#define TEXT(name) CFG_STR(name, NULL, CFGF_NODEFAULT)
#define LIST(name) CFG_STR_LIST(name, NULL, CFGF_NODEFAULT)
#define HOW_TO_DIAL                                                            \
	LIST("thumbprint"), TEXT("proxy"), TEXT("proxy_user"),                 \
		TEXT("proxy_password"), TEXT("connect_host"), TEXT("identity")

static cfg_opt_t route_opts[] = {TEXT("to"), HOW_TO_DIAL, CFG_END()};
static cfg_opt_t endpoint_opts[] = {HOW_TO_DIAL, CFG_END()};
static cfg_opt_t poll_opts[] = {TEXT("subscription"), TEXT("connections"),
                                HOW_TO_DIAL, CFG_END()};
static cfg_opt_t service_opts[] = {
	TEXT("command"), TEXT("directory"),  TEXT("processes"),
	TEXT("timeout"), TEXT("max_memory"), CFG_END()};
static cfg_opt_t queue_opts[] = {TEXT("concurrency"), CFG_END()};
static cfg_opt_t identity_opts[] = {
	TEXT("certificate"), TEXT("key"), TEXT("certificate_password"),
	LIST("listen"), LIST("server_names"), CFG_END()};

static const struct {
	const char *name;
	cfg_opt_t *opts;
} sections[] = {
	{"route", route_opts},
	{"endpoint", endpoint_opts},
	{"service", service_opts},
	{"poll", poll_opts},
	{"queue", queue_opts},
	{"identity", identity_opts},
};
#define N_SECTIONS (sizeof(sections) / sizeof(sections[0]))

cfg_opt_t *hbt_section_opts(const char *name)
{
	for (size_t i = 0; i < N_SECTIONS; i++)
		if (strcmp(sections[i].name, name) == 0)
			return sections[i].opts;
	return NULL;
}

static int check_thumbprint(const char *text, struct halibut_error *err)
{
	char hex[HBT_THUMBPRINT_TEXT];

	if (hbt_thumbprint_parse(text, hex))
		return HALIBUT_OK;
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "\"%s\" is no thumbprint; it is the SHA-1 of the "
	                     "other side's certificate, 40 hexadecimal digits",
	                     text);
}

static int check_proxy(const char *text, struct halibut_error *err)
{
	char *host = NULL;
	uint16_t port;
	int rc = HALIBUT_EINVAL;

	if (strstr(text, "://") != NULL)
		return hbt_error_set(err, rc,
		                     "\"%s\": leave the scheme out; write it "
		                     "as in \"proxy.example.com:3128\"",
		                     text);
	rc = hbt_parse_host_port(text, 0, &host, &port, err);
	if (rc == HALIBUT_OK && port == 0)
		rc = hbt_error_set(err, HALIBUT_EINVAL,
		                   "0 is no port of a proxy; it is 1 to 65535");
	free(host);
	return rc;
}

static int check_connect_host(const char *text, struct halibut_error *err)
{
	char *host = NULL;
	uint16_t port;
	int rc = hbt_parse_host_port(text, 443, &host, &port, err);

	free(host);
	return rc;
}

static int check_command(const char *text, struct halibut_error *err)
{
	if (text[strspn(text, " \t")] != '\0')
		return HALIBUT_OK;
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "is empty; it is a program and its arguments");
}

static int check_directory(const char *text, struct halibut_error *err)
{
	if (text[0] == '/')
		return HALIBUT_OK;
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "\"%s\" must begin with a slash", text);
}

static int check_scheme(const char *text, const char *a, const char *b,
                        const char *remedy, struct halibut_error *err)
{
	struct hbt_uri uri;
	int rc = hbt_uri_parse(text, &uri);

	if (rc == HALIBUT_OK && strcmp(uri.scheme, a) != 0 &&
	    strcmp(uri.scheme, b) != 0)
		rc = HALIBUT_EINVAL;
	if (rc == HALIBUT_OK && uri.host[0] == '\0')
		rc = HALIBUT_EINVAL;
	hbt_uri_fini(&uri);
	if (rc != HALIBUT_OK)
		hbt_error_set(err, rc,
		              "\"%s\" is not possible here; write it %s", text,
		              remedy);
	return rc;
}

static int check_subscription(const char *text, struct halibut_error *err)
{
	return check_scheme(text, "poll", "poll",
	                    "as in \"poll://a-name-of-its-own/\"", err);
}

static int check_https(const char *text, struct halibut_error *err)
{
	return check_scheme(text, "https", "https",
	                    "as in \"https://server:10943\"", err);
}

static int check_target(const char *text, struct halibut_error *err)
{
	static const char remedy[] =
		"as \"hosted\", \"poll://NAME/\", \"queue://NAME/\" or "
		"\"https://HOST:PORT\"";
	char *uri;
	int rc;

	if (strcmp(text, "hosted") == 0)
		return HALIBUT_OK;
	uri = hbt_route_expand(text, "x", 1);
	if (uri == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	rc = check_scheme(uri, "https", "https", remedy, err);
	if (rc != HALIBUT_OK)
		rc = check_scheme(uri, "poll", "queue", remedy, err);
	free(uri);
	return rc;
}

/* Options of all sections; the same name means the same in each. */
static const struct hbt_setting fields[] = {
	{.name = "to", .check = check_target},
	{.name = "thumbprint", .check = check_thumbprint},
	{.name = "proxy", .check = check_proxy},
	{.name = "proxy_user"},
	{.name = "proxy_password"},
	{.name = "connect_host", .check = check_connect_host},
	{.name = "identity"},
	{.name = "certificate"},
	{.name = "key"},
	{.name = "certificate_password"},
	{.name = "listen", .check = hbt_identity_check_listen},
	{.name = "server_names", .check = hbt_identity_check_name},
	{.name = "subscription", .check = check_subscription},
	{.name = "command", .check = check_command},
	{.name = "directory", .check = check_directory},
	{.name = "connections", .kind = HBT_SETTING_COUNT, .min = 1,
	 .max = 256},
	{.name = "processes", .kind = HBT_SETTING_COUNT, .min = 1,
	 .max = 1024},
	{.name = "concurrency", .kind = HBT_SETTING_COUNT, .min = 1,
	 .max = 1024},
	{.name = "timeout", .kind = HBT_SETTING_TIME, .min = 1,
	 .max = 7 * DAY_MS},
	{.name = "max_memory", .kind = HBT_SETTING_SIZE, .min = 0,
	 .max = (uint64_t)1 << 50},
	{.name = NULL},
};

static int validate_field(cfg_t *section, cfg_opt_t *opt)
{
	const struct hbt_setting *s = fields;
	struct halibut_error err = {0};
	int rc;

	while (strcmp(s->name, opt->name) != 0)
		s++;
	rc = hbt_setting_check(s, cfg_opt_getnstr(opt, cfg_opt_size(opt) - 1),
	                       &err);
	if (rc != HALIBUT_OK)
		cfg_error(section, "%s: %s", opt->name, err.message);
	halibut_error_clear(&err);
	return rc == HALIBUT_OK ? 0 : -1;
}

void hbt_sections_validate(cfg_t *parser)
{
	char path[64];

	for (size_t i = 0; i < N_SECTIONS; i++)
		for (cfg_opt_t *o = sections[i].opts; o->name != NULL; o++) {
			snprintf(path, sizeof(path), "%s|%s",
			         sections[i].name, o->name);
			cfg_set_validate_func(parser, path, validate_field);
		}
}

static bool given(cfg_t *sec, const char *name)
{
	return cfg_size(sec, name) > 0;
}

/* Malloced copies; NULL when the setting is not given. */
static int copy_text(cfg_t *sec, const char *name, char **out)
{
	*out = NULL;
	if (!given(sec, name))
		return HALIBUT_OK;
	*out = strdup(cfg_getstr(sec, name));
	return *out != NULL ? HALIBUT_OK : HALIBUT_ENOMEM;
}

static uint64_t count(cfg_t *sec, const char *name, uint64_t preset)
{
	uint64_t n;

	if (given(sec, name) &&
	    hbt_parse_count(cfg_getstr(sec, name), &n, NULL) == HALIBUT_OK)
		return n;
	return preset;
}

/* Any of them will do: commas between. */
static int read_thumbprints(cfg_t *sec, char **out)
{
	unsigned n = cfg_size(sec, "thumbprint");
	char *p;

	if (n == 0)
		return HALIBUT_OK;
	if ((*out = p = calloc(n, HBT_THUMBPRINT_TEXT)) == NULL)
		return HALIBUT_ENOMEM;
	for (unsigned i = 0; i < n; i++) {
		(void)hbt_thumbprint_parse(cfg_getnstr(sec, "thumbprint", i),
		                           p);
		p += HBT_THUMBPRINT_TEXT - 1;
		*p++ = i + 1 < n ? ',' : '\0';
	}
	return HALIBUT_OK;
}

/* How to dial, as far as the section says it. Its texts were checked. */
static int read_endpoint(cfg_t *sec, struct hbt_endpoint_fields *e,
                         struct halibut_error *err)
{
	int rc = read_thumbprints(sec, &e->thumbprint);

	if (rc == HALIBUT_OK && given(sec, "proxy"))
		rc = hbt_parse_host_port(cfg_getstr(sec, "proxy"), 0,
		                         &e->proxy_host, &e->proxy_port, NULL);
	if (rc == HALIBUT_OK && given(sec, "connect_host"))
		rc = hbt_parse_host_port(cfg_getstr(sec, "connect_host"), 443,
		                         &e->connect_host, &e->connect_port,
		                         NULL);
	if (rc == HALIBUT_OK)
		rc = copy_text(sec, "proxy_user", &e->proxy_user);
	if (rc == HALIBUT_OK)
		rc = copy_text(sec, "proxy_password", &e->proxy_password);
	if (rc == HALIBUT_OK)
		rc = copy_text(sec, "identity", &e->identity);
	if (rc != HALIBUT_OK)
		return hbt_error_set(err, rc, "out of memory");
	if (e->proxy_user != NULL && e->proxy_host == NULL)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "%s \"%s\" has a proxy_user but no proxy; "
		                     "add proxy = \"HOST:PORT\"",
		                     cfg_name(sec), cfg_title(sec));
	return HALIBUT_OK;
}

static int missing(cfg_t *sec, const char *name, const char *example,
                   struct halibut_error *err)
{
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "%s \"%s\" needs %s = \"%s\"",
	                     cfg_name(sec), cfg_title(sec), name, example);
}

#define SOME_THUMBPRINT "THUMBPRINT OF ITS CERTIFICATE"

static int store_endpoint(struct hbt_config *cfg, cfg_t *sec,
                          struct halibut_error *err)
{
	struct hbt_route *r = &cfg->routes[cfg->n_routes++];
	int rc = check_https(cfg_title(sec), err);

	if (rc != HALIBUT_OK) {
		hbt_error_prefix(err, "endpoint: ");
		return rc;
	}
	if (!given(sec, "thumbprint"))
		return missing(sec, "thumbprint", SOME_THUMBPRINT, err);
	rc = hbt_route_init(r, cfg_title(sec), cfg_title(sec), err);
	return rc != HALIBUT_OK ? rc : read_endpoint(sec, &r->endpoint, err);
}

static int store_route(struct hbt_config *cfg, cfg_t *sec,
                       struct halibut_error *err)
{
	struct hbt_route *r = &cfg->routes[cfg->n_routes++];
	int rc;

	if (!given(sec, "to"))
		return missing(sec, "to", "poll://NAME/", err);
	rc = hbt_route_init(r, cfg_title(sec), cfg_getstr(sec, "to"), err);
	return rc != HALIBUT_OK ? rc : read_endpoint(sec, &r->endpoint, err);
}

static int store_program(struct hbt_config *cfg, cfg_t *sec,
                         struct halibut_error *err)
{
	struct hbt_program *p = &cfg->programs[cfg->n_programs++];
	int64_t timeout_ms = cfg->limits.tcp_client_receive_response_timeout_ms;

	if (!given(sec, "command"))
		return missing(sec, "command", "/path/of/a/program", err);
	if (given(sec, "timeout"))
		(void)hbt_parse_duration(cfg_getstr(sec, "timeout"),
		                         &timeout_ms, NULL);
	p->timeout_ms = timeout_ms < UINT32_MAX ? (uint32_t)timeout_ms
	                                        : UINT32_MAX;
	p->processes = (uint32_t)count(sec, "processes", 4);
	if (given(sec, "max_memory"))
		(void)hbt_parse_size(cfg_getstr(sec, "max_memory"),
		                     &p->max_memory_bytes, NULL);
	p->service = strdup(cfg_title(sec));
	if (p->service == NULL ||
	    copy_text(sec, "command", &p->command) != HALIBUT_OK ||
	    copy_text(sec, "directory", &p->directory) != HALIBUT_OK)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	for (size_t i = 0; i + 1 < cfg->n_programs; i++)
		if (strcasecmp(cfg->programs[i].service, p->service) == 0)
			return hbt_error_set(err, HALIBUT_EINVAL,
			                     "service \"%s\" is there twice; "
			                     "names differ in more than case",
			                     p->service);
	return HALIBUT_OK;
}

static int store_poll(struct hbt_config *cfg, cfg_t *sec,
                      struct halibut_error *err)
{
	struct hbt_poll *p = &cfg->polls[cfg->n_polls++];
	struct hbt_uri uri;
	int rc = check_https(cfg_title(sec), err);

	if (rc != HALIBUT_OK) {
		hbt_error_prefix(err, "poll: ");
		return rc;
	}
	if (!given(sec, "thumbprint"))
		return missing(sec, "thumbprint", SOME_THUMBPRINT, err);
	if (!given(sec, "subscription"))
		return missing(sec, "subscription", "poll://NAME/", err);
	p->connections = (uint32_t)count(sec, "connections", 1);
	rc = hbt_uri_parse(cfg_title(sec), &uri);
	if (rc == HALIBUT_OK &&
	    (p->server.url = hbt_uri_format(&uri)) == NULL)
		rc = HALIBUT_ENOMEM;
	hbt_uri_fini(&uri);
	if (rc == HALIBUT_OK)
		rc = copy_text(sec, "subscription", &p->subscription);
	if (rc != HALIBUT_OK)
		return hbt_error_set(err, rc, "out of memory");
	return read_endpoint(sec, &p->server, err);
}

static int store_queue(struct hbt_config *cfg, cfg_t *sec,
                       struct halibut_error *err)
{
	struct hbt_queue_endpoint *e = &cfg->queues[cfg->n_queues++];
	struct hbt_uri uri;
	int rc = hbt_uri_parse(cfg_title(sec), &uri);

	/* Callers drop a path before they ask: nobody would find it. */
	if (rc != HALIBUT_ENOMEM &&
	    (rc != HALIBUT_OK || strcmp(uri.scheme, "queue") != 0 ||
	     uri.host[0] == '\0' || strcmp(uri.path, "/") != 0))
		rc = hbt_error_set(err, HALIBUT_EINVAL,
		                   "queue \"%s\": that is no endpoint of a "
		                   "queue; write it as in \"queue://NAME/\"",
		                   cfg_title(sec));
	hbt_uri_fini(&uri);
	if (rc == HALIBUT_EINVAL)
		return rc;
	e->concurrency = (uint32_t)count(sec, "concurrency", 4);
	e->uri = hbt_uri_key(cfg_title(sec), true);
	if (e->uri == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	for (size_t i = 0; i + 1 < cfg->n_queues; i++)
		if (strcmp(cfg->queues[i].uri, e->uri) == 0)
			return hbt_error_set(err, HALIBUT_EINVAL,
			                     "queue \"%s\" is there twice",
			                     e->uri);
	if (cfg->n_programs == 0)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "queue \"%s\": nothing is hosted here "
		                     "that could run what comes; add a section "
		                     "service",
		                     e->uri);
	return HALIBUT_OK;
}

static int store_all(struct hbt_config *cfg, cfg_t *parsed, const char *name,
                     int (*store)(struct hbt_config *cfg, cfg_t *sec,
                                  struct halibut_error *err),
                     int *line, struct halibut_error *err)
{
	int rc = HALIBUT_OK;

	for (unsigned i = 0; rc == HALIBUT_OK && i < cfg_size(parsed, name);
	     i++) {
		cfg_t *sec = cfg_getnsec(parsed, name, i);
		size_t before = cfg->n_routes;

		*line = hbt_section_line(sec);
		rc = store(cfg, sec, err);
		if (cfg->n_routes > before)
			cfg->routes[before].line = *line;
	}
	return rc;
}

int hbt_sections_store(struct hbt_config *cfg, cfg_t *parsed, int *line,
                       struct halibut_error *err)
{
	size_t routes =
		cfg_size(parsed, "route") + cfg_size(parsed, "endpoint");
	int rc;

	/* One more than needed: calloc(0) may be NULL. */
	cfg->routes = calloc(routes + 1, sizeof(*cfg->routes));
	cfg->programs = calloc(cfg_size(parsed, "service") + 1,
	                       sizeof(*cfg->programs));
	cfg->polls = calloc(cfg_size(parsed, "poll") + 1, sizeof(*cfg->polls));
	cfg->queues =
		calloc(cfg_size(parsed, "queue") + 1, sizeof(*cfg->queues));
	cfg->identities = calloc(cfg_size(parsed, "identity") + 1,
	                         sizeof(*cfg->identities));
	if (cfg->routes == NULL || cfg->programs == NULL ||
	    cfg->polls == NULL || cfg->queues == NULL ||
	    cfg->identities == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	rc = store_all(cfg, parsed, "identity", hbt_identity_store, line, err);
	if (rc == HALIBUT_OK)
		rc = store_all(cfg, parsed, "endpoint", store_endpoint, line,
		               err);
	if (rc == HALIBUT_OK)
		rc = store_all(cfg, parsed, "route", store_route, line, err);
	if (rc == HALIBUT_OK)
		rc = store_all(cfg, parsed, "service", store_program, line,
		               err);
	if (rc == HALIBUT_OK)
		rc = store_all(cfg, parsed, "poll", store_poll, line, err);
	if (rc == HALIBUT_OK)
		rc = store_all(cfg, parsed, "queue", store_queue, line, err);
	if (rc == HALIBUT_OK)
		rc = hbt_routes_finish(cfg->routes, cfg->n_routes, line, err);
	return rc != HALIBUT_OK ? rc : hbt_identities_finish(cfg, line, err);
}

void hbt_sections_fini(struct hbt_config *cfg)
{
	for (size_t i = 0; i < cfg->n_routes; i++)
		hbt_route_fini(&cfg->routes[i]);
	for (size_t i = 0; i < cfg->n_programs; i++)
		hbt_program_fini(&cfg->programs[i]);
	for (size_t i = 0; i < cfg->n_polls; i++)
		hbt_poll_fini(&cfg->polls[i]);
	for (size_t i = 0; i < cfg->n_queues; i++)
		free(cfg->queues[i].uri);
	hbt_identities_fini(cfg);
	free(cfg->queues);
	free(cfg->routes);
	free(cfg->programs);
	free(cfg->polls);
}
