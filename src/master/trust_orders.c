/* Trust that is given and withdrawn by hand, in the file trust_added_file. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "master/audit.h"
#include "master/master.h"
#include "master/trust_added.h"
#include "net/tls.h"

/* "the setting trust of FILE", "line 3 of FILE". */
static void name_place(const struct hbt_config *cfg,
                       const struct hbt_trusted *one, char *text, size_t size)
{
	if (one->sources & HBT_TRUST_FILE)
		snprintf(text, size, "line %d of %s (trust_file)", one->line,
		         cfg->trust_file);
	else if (one->sources & HBT_TRUST_SETTING)
		snprintf(text, size, "the setting trust of %s", cfg->path);
	else
		snprintf(text, size, "%s (trust_added_file)",
		         cfg->trust_added_file);
}

/* HALIBUT_EINVAL says how trust is given then. */
static int check_file(const struct hbt_config *cfg, struct halibut_error *err)
{
	if (cfg->trust_added_file[0] != '\0')
		return HALIBUT_OK;
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "trust is not given by hand here: "
	                     "trust_added_file in %s is empty. Change %s%s "
	                     "instead, then `halibutctl reload`",
	                     cfg->path,
	                     cfg->trust_file != NULL ? "trust_file, "
	                                             : "the setting trust",
	                     cfg->trust_file != NULL ? cfg->trust_file : "");
}

/* The file has changed: reads it, and applies it at once. */
static int apply(struct hbt_master *m, const char *who,
                 struct halibut_error *err)
{
	struct hbt_trust fresh = {.n = 0};
	int rc = hbt_trust_copy_others(&fresh, &m->cfg->trusted,
	                               HBT_TRUST_ADDED);

	if (rc != HALIBUT_OK)
		hbt_error_set(err, rc, "out of memory");
	else
		rc = hbt_trust_add_file(&fresh, m->cfg->trust_added_file,
		                        HBT_TRUST_ADDED, err);
	hbt_trust_finish(&fresh);
	if (rc != HALIBUT_OK) {
		hbt_trust_fini(&fresh);
		return rc;
	}
	hbt_audit_trust(who, &m->cfg->trusted, &fresh);
	hbt_trust_fini(&m->cfg->trusted);
	m->cfg->trusted = fresh;
	hbt_provision_trust(m);
	return HALIBUT_OK;
}

/* What stands in the file must be right, or a changed one would be, too. */
static int check_content(const struct hbt_config *cfg,
                         struct halibut_error *err)
{
	struct hbt_trust found = {.n = 0};
	int rc = hbt_trust_add_file(&found, cfg->trust_added_file,
	                            HBT_TRUST_ADDED, err);

	hbt_trust_fini(&found);
	return rc;
}

/* A comment says at least when and by whom. */
static char *default_comment(const struct hbt_client *c)
{
	time_t now = time(NULL);
	char *text, day[16];
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(day, sizeof(day), "%Y-%m-%d", &tm);
	return asprintf(&text, "added %s by uid %u", day, c->uid) < 0 ? NULL
	                                                              : text;
}

static int add(struct hbt_master *m, struct hbt_client *c, const char *hex,
               const char *comment, char *said, size_t size,
               struct halibut_error *err)
{
	const struct hbt_trusted *one = hbt_trust_find(&m->cfg->trusted, hex);
	char *by_default = NULL;
	char place[4200];
	int rc;

	if (one != NULL) {
		name_place(m->cfg, one, place, sizeof(place));
		snprintf(said, size, "%s is trusted already, by %s", hex,
		         place);
		return HALIBUT_OK;
	}
	if ((rc = check_file(m->cfg, err)) != HALIBUT_OK ||
	    (rc = check_content(m->cfg, err)) != HALIBUT_OK)
		return rc;
	if (comment == NULL)
		comment = by_default = default_comment(c);
	rc = hbt_trust_added_put(m->cfg->trust_added_file, hex, comment, err);
	free(by_default);
	if (rc != HALIBUT_OK)
		return rc;
	snprintf(said, size, "%s is trusted from now on; it is in %s", hex,
	         m->cfg->trust_added_file);
	return apply(m, c->link.name, err);
}

static int drop(struct hbt_master *m, struct hbt_client *c, const char *hex,
                char *said, size_t size, struct halibut_error *err)
{
	const struct hbt_trusted *one = hbt_trust_find(&m->cfg->trusted, hex);
	char place[4200];
	bool by_hand;
	int rc;

	if (one == NULL)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "%s is not trusted; `halibutctl trust "
		                     "list` shows who is",
		                     hex);
	name_place(m->cfg, one, place, sizeof(place));
	by_hand = (one->sources & HBT_TRUST_ADDED) != 0;
	if (by_hand &&
	    ((rc = check_content(m->cfg, err)) != HALIBUT_OK ||
	     (rc = hbt_trust_added_drop(m->cfg->trust_added_file, hex, err)) !=
	             HALIBUT_OK ||
	     (rc = apply(m, c->link.name, err)) != HALIBUT_OK))
		return rc;
	/* apply() may have freed one. */
	if (hbt_trust_find(&m->cfg->trusted, hex) != NULL)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "%s is trusted by %s, which only a person "
		                     "or configuration management changes: "
		                     "remove it there, then `halibutctl "
		                     "reload`%s",
		                     hex, place,
		                     by_hand ? ". That it was added by hand, "
		                               "too, is over"
		                             : "");
	snprintf(said, size,
	         "%s is not trusted any more; its connections are closed",
	         hex);
	return HALIBUT_OK;
}

static int order(struct hbt_master *m, struct hbt_client *c,
                 struct hbt_ipc_msg *msg, bool adds)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	char *text = hbt_rd_strdup(&r);
	char *comment = adds ? hbt_rd_strdup(&r) : NULL;
	struct halibut_error err = {0};
	char hex[HBT_THUMBPRINT_TEXT];
	char said[4400] = "";
	int rc = hbt_rd_finish(&r);

	if (rc != HALIBUT_OK || text == NULL) {
		rc = HALIBUT_EPROTO;
		goto out;
	}
	if (!hbt_thumbprint_parse(text, hex))
		rc = hbt_error_set(&err, HALIBUT_EINVAL,
		                   "\"%.80s\" is no thumbprint: it has 40 "
		                   "hexadecimal digits",
		                   text);
	else if (adds)
		rc = add(m, c, hex, comment, said, sizeof(said), &err);
	else
		rc = drop(m, c, hex, said, sizeof(said), &err);
	hbt_client_done(c, msg->id, rc == HALIBUT_OK,
	                rc == HALIBUT_OK ? said : err.message);
	rc = HALIBUT_OK;
out:
	halibut_error_clear(&err);
	free(comment);
	free(text);
	return rc;
}

int hbt_orders_trust_add(struct hbt_master *m, struct hbt_client *c,
                         struct hbt_ipc_msg *msg)
{
	return order(m, c, msg, true);
}

int hbt_orders_trust_remove(struct hbt_master *m, struct hbt_client *c,
                            struct hbt_ipc_msg *msg)
{
	return order(m, c, msg, false);
}
