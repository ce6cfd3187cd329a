/* Settings in environment variables, as containers have them: they take the
 * place of defaults, and the file comes after them. */
#include "master/config_private.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NAME 80

/* Names of older versions, and of halibutctl(1). */
static const struct {
	const char *setting, *variable;
} also[] = {
	{"worker_directory", "HALIBUT_LIBEXEC"},
	{"control_socket", "HALIBUT_CONTROL"},
};

/* What the variable says; one that is empty says nothing. */
static const char *value_of(const char *variable)
{
	const char *value = getenv(variable);

	return value != NULL && *value != '\0' ? value : NULL;
}

static const char *find(const char *prefix, const struct hbt_setting *s,
                        char variable[MAX_NAME])
{
	const char *value;

	snprintf(variable, MAX_NAME, "%s%s", prefix, s->name);
	for (char *p = variable; *p != '\0'; p++)
		*p = (char)toupper((unsigned char)*p);
	value = value_of(variable);
	for (size_t i = 0; value == NULL && i < sizeof(also) / sizeof(*also);
	     i++)
		if (strcmp(also[i].setting, s->name) == 0 &&
		    (value = value_of(also[i].variable)) != NULL)
			snprintf(variable, MAX_NAME, "%s", also[i].variable);
	return value;
}

/* By base/log.h, and by ipc/sandbox.h. */
static bool is_read_elsewhere(const char *variable, const char *value)
{
	return strcmp(variable, "HALIBUT_LOG_FORMAT") == 0 ||
	       (strcmp(variable, "HALIBUT_SANDBOX") == 0 &&
	        strcmp(value, "strict") == 0);
}

static int take(struct hbt_config *cfg, const struct hbt_setting *s,
                const char *variable, const char *text,
                struct halibut_error *err)
{
	int rc = hbt_setting_check(s, text, err);

	if (rc != HALIBUT_OK)
		hbt_error_prefix(err, "%s: ", variable);
	else if (hbt_setting_store(cfg, s, text) != HALIBUT_OK)
		rc = hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	return rc;
}

/* One a line, or else with commas between. */
static int take_list(struct hbt_config *cfg, const struct hbt_setting *s,
                     const char *variable, const char *value,
                     struct halibut_error *err)
{
	const char *separator = strchr(value, '\n') != NULL ? "\n" : ",";
	char *copy = strdup(value), *rest = NULL;
	int rc = HALIBUT_OK;

	if (copy == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	for (char *item = strtok_r(copy, separator, &rest);
	     rc == HALIBUT_OK && item != NULL;
	     item = strtok_r(NULL, separator, &rest)) {
		size_t len;

		item += strspn(item, " \t\r");
		for (len = strlen(item);
		     len > 0 && isspace((unsigned char)item[len - 1]);)
			item[--len] = '\0';
		if (len > 0)
			rc = take(cfg, s, variable, item, err);
	}
	free(copy);
	return rc;
}

static int take_table(struct hbt_config *cfg, const struct hbt_setting *table,
                      const char *prefix, struct halibut_error *err)
{
	char variable[MAX_NAME];
	int rc = HALIBUT_OK;

	for (const struct hbt_setting *s = table;
	     rc == HALIBUT_OK && s->name != NULL; s++) {
		const char *value = find(prefix, s, variable);

		if (value == NULL || is_read_elsewhere(variable, value))
			continue;
		rc = s->kind == HBT_SETTING_LIST
		             ? take_list(cfg, s, variable, value, err)
		             : take(cfg, s, variable, value, err);
	}
	return rc;
}

int hbt_config_environment(struct hbt_config *cfg, struct halibut_error *err)
{
	int rc = take_table(cfg, hbt_config_table, "HALIBUT_", err);

	return rc != HALIBUT_OK ? rc
	                        : take_table(cfg, hbt_redis_table,
	                                     "HALIBUT_REDIS_", err);
}
