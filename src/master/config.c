/* Reading the file: libConfuse, and its messages made into ours. */
#include "master/config_private.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/alike.h"
#include "base/buf.h"
#include "master/config_secret.h"
#include "master/config_text.h"
#include "master/status_config.h"

#define MAX_FILE ((size_t)1024 * 1024)

/* libConfuse's error function has no argument for its owner. */
static struct {
	const char *path;
	struct halibut_error *err;
	struct hbt_config_open open;
	struct hbt_config_spans spans;
	bool failed;
} loading;

static bool is_begin_of(const char *name, const char *longer)
{
	size_t n = strlen(name);

	return n > 0 && strncmp(longer, name, n) == 0 && longer[n] == '_';
}

/* The setting of this section that is most like name, or NULL. */
static const char *most_alike(const cfg_t *section, const char *name)
{
	const char *best = NULL;
	size_t least = hbt_edits_of_a_slip(name);

	for (const cfg_opt_t *o = section->opts; o->name != NULL; o++) {
		/* "password" for "password_file" */
		size_t d = is_begin_of(name, o->name)
		                   ? 0
		                   : hbt_edits(name, o->name);

		if (d < least) {
			least = d;
			best = o->name;
		}
	}
	return best;
}

static void set_unknown(const cfg_t *section, const char *name)
{
	const char *hint = most_alike(section, name);
	bool top = strcmp(section->name, "root") == 0;

	hbt_error_set(loading.err, HALIBUT_EINVAL,
	              "%s:%d: unknown setting \"%s\"%s%s%s%s%s", loading.path,
	              section->line, name, top ? "" : " in section ",
	              top ? "" : section->name,
	              hint != NULL ? "; did you mean \""
	                           : "; halibutd.conf(5) has the list",
	              hint != NULL ? hint : "", hint != NULL ? "\"?" : "");
}

static bool is_about_the_end(const char *text)
{
	return strcmp(text, "premature end of file") == 0 ||
	       strcmp(text, "unterminated string constant") == 0;
}

static void set_open(void)
{
	loading.failed = true;
	hbt_error_set(loading.err, HALIBUT_EINVAL,
	              "%s:%d: a %s begins in this line that has no end",
	              loading.path, loading.open.line, loading.open.what);
}

static void on_error(cfg_t *section, const char *fmt, va_list ap)
	__attribute__((format(printf, 2, 0)));

static void on_error(cfg_t *section, const char *fmt, va_list ap)
{
	char text[1024];
	char *quote;

	if (loading.failed) /* what follows the first is its consequence */
		return;
	loading.failed = true;
	vsnprintf(text, sizeof(text), fmt, ap);
	if (strncmp(text, "no such option '", 16) == 0) {
		quote = strrchr(text, '\'');
		*quote = '\0';
		set_unknown(section, text + 16);
		return;
	}
	if (loading.open.line > 0 && is_about_the_end(text))
		set_open();
	else
		hbt_error_set(loading.err, HALIBUT_EINVAL, "%s:%d: %s%s",
		              loading.path, section->line, text,
		              strcmp(text, "premature end of file") == 0
		                      ? "; a value is missing"
		                      : "");
}

int hbt_config_validate(const struct hbt_setting *s, cfg_t *section,
                        cfg_opt_t *opt)
{
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

static int validate_setting(cfg_t *section, cfg_opt_t *opt)
{
	return hbt_config_validate(hbt_config_table, section, opt);
}

/* Settings and sections as libConfuse wants them; freed by the caller. */
static cfg_opt_t *make_opts(void)
{
	static const char *const sections[] = {"route", "endpoint", "service",
	                                       "poll", "queue",
	                                       "identity"};
	const size_t n_sections = sizeof(sections) / sizeof(sections[0]);
	const cfg_opt_t redis = CFG_SEC("redis", hbt_redis_opts(), CFGF_MULTI);
	static const cfg_opt_t end = CFG_END();
	size_t n = 0, i = 0;
	cfg_opt_t *opts;

	while (hbt_config_table[n].name != NULL)
		n++;
	opts = calloc(n + n_sections + 2, sizeof(*opts));
	if (opts == NULL)
		return NULL;
	for (; i < n; i++) {
		const struct hbt_setting *s = &hbt_config_table[i];
		cfg_opt_t text = CFG_STR(s->name, NULL, CFGF_NODEFAULT);
		cfg_opt_t list = CFG_STR_LIST(s->name, NULL, CFGF_NODEFAULT);

		opts[i] = s->kind == HBT_SETTING_LIST ? list : text;
	}
	for (size_t k = 0; k < n_sections; k++) {
		cfg_opt_t section =
			CFG_SEC(sections[k], hbt_section_opts(sections[k]),
		                CFGF_MULTI | CFGF_TITLE | CFGF_NO_TITLE_DUPES);

		opts[i++] = section;
	}
	opts[i++] = redis;
	opts[i] = end;
	return opts;
}

static cfg_t *make_parser(void)
{
	cfg_opt_t *opts = make_opts();
	cfg_t *parser = opts != NULL ? cfg_init(opts, CFGF_NONE) : NULL;

	free(opts); /* cfg_init() made a copy */
	if (parser == NULL)
		return NULL;
	cfg_set_error_function(parser, on_error);
	for (const struct hbt_setting *s = hbt_config_table; s->name != NULL;
	     s++)
		cfg_set_validate_func(parser, s->name, validate_setting);
	hbt_sections_validate(parser);
	hbt_redis_validate(parser);
	return parser;
}

/* The whole file with a terminator. Read here, because the scanner of
 * libConfuse ends the process when reading fails. */
static int read_file(const char *path, char **text, struct halibut_error *err)
{
	struct hbt_buf buf;
	FILE *f = fopen(path, "re");
	char piece[4096];
	size_t n;
	int rc = HALIBUT_OK;

	if (f == NULL)
		return hbt_error_set(err, HALIBUT_ESYSTEM,
		                     "%s: cannot be read: %s; halibutd -c FILE "
		                     "names another one",
		                     path, strerror(errno));
	hbt_buf_init(&buf, MAX_FILE);
	while (rc == HALIBUT_OK && (n = fread(piece, 1, 4096, f)) > 0)
		rc = hbt_buf_append(&buf, piece, n);
	if (rc == HALIBUT_ELIMIT)
		hbt_error_set(err, rc, "%s: larger than 1 MiB", path);
	else if (ferror(f))
		rc = hbt_error_set(err, HALIBUT_ESYSTEM, "%s: %s", path,
		                   strerror(errno));
	else if (buf.len > 0 && memchr(buf.data, '\0', buf.len) != NULL)
		rc = hbt_error_set(err, HALIBUT_EINVAL,
		                   "%s: has a NUL byte; it must be a text file",
		                   path);
	/* The scanner wants the last line ended. */
	if (rc == HALIBUT_OK && hbt_buf_append(&buf, "\n", 2) != HALIBUT_OK)
		rc = hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	fclose(f);
	if (rc == HALIBUT_OK)
		*text = (char *)hbt_buf_detach(&buf, &n);
	hbt_buf_fini(&buf);
	return rc;
}

/* As sha256sum has it; text has one line end more than the file. */
static void note_file(struct hbt_config *cfg, const char *text)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	cfg->read_at = time(NULL);
	if (EVP_Digest(text, strlen(text) - 1, digest, &len, EVP_sha256(),
	               NULL) != 1)
		len = 0;
	for (unsigned i = 0; i < len && 2 * i + 2 < sizeof(cfg->sha256); i++)
		snprintf(cfg->sha256 + 2 * i, 3, "%02x", digest[i]);
}

int hbt_section_line(const cfg_t *section)
{
	return hbt_config_begin(&loading.spans, section->line);
}

static int parse_text(cfg_t *parser, const char *path, char *text,
                      struct halibut_error *err)
{
	int rc;

	loading.path = path;
	loading.err = err;
	loading.failed = false;
	hbt_config_spans_fini(&loading.spans);
	hbt_config_blank_comments(text, &loading.open, &loading.spans);
	rc = cfg_parse_buf(parser, text);
	if (!loading.failed && loading.open.line > 0)
		set_open();
	loading.err = NULL;
	if (rc == CFG_SUCCESS && !loading.failed)
		return HALIBUT_OK;
	if (!loading.failed)
		hbt_error_set(err, HALIBUT_EINVAL, "%s: cannot be parsed",
		              path);
	return HALIBUT_EINVAL;
}

static int load_trust(struct hbt_config *cfg, struct halibut_error *err)
{
	int rc = HALIBUT_OK;

	for (size_t i = 0; rc == HALIBUT_OK && i < cfg->trust.n; i++)
		rc = hbt_trust_add(&cfg->trusted, cfg->trust.v[i],
		                   HBT_TRUST_SETTING, err);
	if (rc == HALIBUT_OK && cfg->trust_file != NULL)
		rc = hbt_trust_add_file(&cfg->trusted, cfg->trust_file,
		                        HBT_TRUST_FILE, err);
	if (rc == HALIBUT_OK && cfg->trust_added_file[0] != '\0')
		rc = hbt_trust_add_file(&cfg->trusted, cfg->trust_added_file,
		                        HBT_TRUST_ADDED, err);
	hbt_trust_finish(&cfg->trusted);
	return rc;
}

static int load_password(struct hbt_config *cfg, struct halibut_error *err)
{
	if (cfg->certificate_password != NULL &&
	    cfg->certificate_password_file != NULL)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "%s: there are a certificate_password and "
		                     "a certificate_password_file; remove one "
		                     "of them",
		                     cfg->path);
	return hbt_secret_load(cfg->certificate_password_file,
	                       &cfg->certificate_password, err);
}

/* Everything that is known only when the whole file is. */
static int build(struct hbt_config *cfg, cfg_t *parsed,
                 struct halibut_error *err)
{
	int rc, line = 0;

	if (hbt_config_settings_preset(cfg) != HALIBUT_OK)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	if ((rc = hbt_config_environment(cfg, err)) != HALIBUT_OK)
		return rc;
	if (hbt_config_settings_store(cfg, hbt_config_table, parsed) !=
	    HALIBUT_OK)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	if ((rc = load_password(cfg, err)) != HALIBUT_OK)
		return rc;
	rc = hbt_sections_store(cfg, parsed, &line, err);
	if (rc == HALIBUT_OK)
		rc = hbt_redis_store(cfg, parsed, &line, err);
	if (rc != HALIBUT_OK && line > 0)
		hbt_error_prefix(err, "%s:%d: ", cfg->path, line);
	if (rc == HALIBUT_OK)
		rc = load_trust(cfg, err);
	if (rc == HALIBUT_OK)
		rc = hbt_status_check_config(cfg, err);
	return rc;
}

int hbt_config_load(struct hbt_config **out, const char *path,
                    struct halibut_error *err)
{
	struct hbt_config *cfg;
	cfg_t *parser = NULL;
	char *text = NULL;
	int rc = HALIBUT_ENOMEM;

	*out = NULL;
	cfg = calloc(1, sizeof(*cfg));
	if (cfg == NULL || (cfg->path = strdup(path)) == NULL ||
	    (parser = make_parser()) == NULL) {
		hbt_error_set(err, rc, "out of memory");
		goto out;
	}
	if ((rc = read_file(path, &text, err)) != HALIBUT_OK)
		goto out;
	note_file(cfg, text);
	if ((rc = parse_text(parser, path, text, err)) != HALIBUT_OK)
		goto out;
	if ((rc = build(cfg, parser, err)) != HALIBUT_OK)
		goto out;
	*out = cfg;
	cfg = NULL;
out:
	if (text != NULL) /* it may hold the certificate's password */
		explicit_bzero(text, strlen(text));
	free(text);
	cfg_free(parser);
	hbt_config_spans_fini(&loading.spans);
	hbt_config_free(&cfg);
	return rc;
}

static void wipe(char *secret)
{
	if (secret != NULL)
		explicit_bzero(secret, strlen(secret));
}

void hbt_config_free(struct hbt_config **at)
{
	struct hbt_config *cfg = *at;

	*at = NULL;
	if (cfg == NULL)
		return;
	wipe(cfg->certificate_password);
	wipe(cfg->redis.url);
	wipe(cfg->redis.password);
	wipe(cfg->redis.sentinel_password);
	free(cfg->redis.password);
	free(cfg->redis.sentinel_password);
	hbt_config_settings_fini(cfg);
	hbt_sections_fini(cfg);
	hbt_trust_fini(&cfg->trusted);
	free(cfg->path);
	free(cfg);
}

char *hbt_config_path(const struct hbt_config *cfg, const char *path)
{
	const char *slash = strrchr(cfg->path, '/');
	char *full;

	if (path[0] == '/' || path[0] == '\0' || slash == NULL)
		return strdup(path);
	if (asprintf(&full, "%.*s/%s", (int)(slash - cfg->path), cfg->path,
	             path) < 0)
		return NULL;
	return full;
}
