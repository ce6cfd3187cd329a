/* Between the files that read the configuration. */
#ifndef HBT_MASTER_CONFIG_PRIVATE_H
#define HBT_MASTER_CONFIG_PRIVATE_H

#include <confuse.h>
#include "master/config.h"

/* What a setting is, and how its text is read. */
enum hbt_setting_kind {
	HBT_SETTING_TEXT,   /* char * */
	HBT_SETTING_PATH,   /* char *; relative to the configuration file */
	HBT_SETTING_LIST,   /* struct hbt_strings */
	HBT_SETTING_TIME,   /* int64_t milliseconds */
	HBT_SETTING_SIZE,   /* size_t bytes */
	HBT_SETTING_SIZE64, /* int64_t bytes */
	HBT_SETTING_COUNT,  /* int */
	HBT_SETTING_COUNTZ, /* size_t */
	HBT_SETTING_FLAG,   /* bool */
	HBT_SETTING_LEVEL,  /* int, enum hbt_log_level */
	HBT_SETTING_MODE,   /* unsigned, octal */
	HBT_SETTING_KIND_COUNT,
};

struct hbt_setting {
	const char *name;
	enum hbt_setting_kind kind;
	size_t offset; /* in struct hbt_config */
	/* TIME, SIZE*, COUNT*. */
	uint64_t min, max;
	const char *preset; /* NULL: none, or hbt_limits_init() sets it */
	bool reloads;       /* SIGHUP applies a change */
	/* A check of a text or list item beyond its form; may be NULL. */
	int (*check)(const char *text, struct halibut_error *err);
};

/* Where a setting lives. */
#define HBT_FIELD(cfg, s, type)                                                \
	((type *)(void *)((char *)(cfg) + (s)->offset))
#define HBT_CONST_FIELD(cfg, s, type)                                          \
	((type const *)(const void *)((const char *)(cfg) + (s)->offset))

/* All settings outside sections; ends with a NULL name. */
extern const struct hbt_setting hbt_config_table[];
/* And those of the section redis. */
extern const struct hbt_setting hbt_redis_table[];

/* Defaults into a zeroed struct. HALIBUT_OK or HALIBUT_ENOMEM. */
int hbt_config_settings_preset(struct hbt_config *cfg);
/* Checks one text without storing it. */
int hbt_setting_check(const struct hbt_setting *s, const char *text,
                      struct halibut_error *err);
/* The same, as libConfuse asks for it: the newest value of an option that is
 * in table. */
int hbt_config_validate(const struct hbt_setting *table, cfg_t *section,
                        cfg_opt_t *opt);
/* Stores the values of a parsed file or section. HALIBUT_OK or
 * HALIBUT_ENOMEM. */
int hbt_config_settings_store(struct hbt_config *cfg,
                              const struct hbt_setting *table, cfg_t *parsed);
/* The presets of lists that nobody gave. HALIBUT_OK or HALIBUT_ENOMEM. */
int hbt_config_settings_complete(struct hbt_config *cfg);
void hbt_config_settings_fini(struct hbt_config *cfg);
/* Stores one text, which is right; of a list it is one more. HALIBUT_OK or
 * HALIBUT_ENOMEM. */
int hbt_setting_store(struct hbt_config *cfg, const struct hbt_setting *s,
                      const char *text);

/*
 * What environment variables say: HALIBUT_NAME for a setting, and
 * HALIBUT_REDIS_NAME for one of the section redis. After the presets, before
 * the file.
 */
int hbt_config_environment(struct hbt_config *cfg, struct halibut_error *err);

/* Where a section begins in the file that is being read. */
int hbt_section_line(const cfg_t *section);

/* The sections: their options, checked while they are read, and stored. */
cfg_opt_t *hbt_section_opts(const char *name);
void hbt_sections_validate(cfg_t *parser);
/* err without file and line; *line is where, or 0. */
int hbt_sections_store(struct hbt_config *cfg, cfg_t *parsed, int *line,
                       struct halibut_error *err);
void hbt_sections_fini(struct hbt_config *cfg);

/* The sections identity: config_identity.c. Checks of their texts, what is
 * stored of one, and that those that are named by others exist. */
int hbt_identity_check_listen(const char *text, struct halibut_error *err);
int hbt_identity_check_name(const char *text, struct halibut_error *err);
int hbt_identity_store(struct hbt_config *cfg, cfg_t *sec,
                       struct halibut_error *err);
int hbt_identities_finish(const struct hbt_config *cfg, int *line,
                          struct halibut_error *err);
void hbt_identities_fini(struct hbt_config *cfg);

/* Appends a copy. HALIBUT_OK or HALIBUT_ENOMEM. */
int hbt_strings_append(struct hbt_strings *list, const char *text);
void hbt_strings_fini(struct hbt_strings *list);

/* The section redis: its options and their checks, and what is stored of it;
 * as for the other sections. */
cfg_opt_t *hbt_redis_opts(void);
void hbt_redis_validate(cfg_t *parser);
int hbt_redis_store(struct hbt_config *cfg, cfg_t *parsed, int *line,
                    struct halibut_error *err);

#endif
