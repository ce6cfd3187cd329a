/* The log of a node: where it goes, its form, how much is said, who listens. */
#ifndef HBT_MASTER_LOGS_H
#define HBT_MASTER_LOGS_H

#include "master/config.h"
#include "master/link.h"

/*
 * For the start: applies what the configuration says to this process, and to
 * those that it starts from then on. HALIBUT_OK, or err says what cannot be.
 */
int hbt_logs_open(const struct hbt_config *cfg, struct halibut_error *err);
/* What standard error was before log_file took its place. */
int hbt_logs_console(void);
/* Opens log_file and audit_log again, for they were renamed; without them
 * nothing happens. On failure the old ones stay in use. */
int hbt_logs_reopen(const struct hbt_config *cfg, struct halibut_error *err);

/* The levels of the configuration, for this process. */
void hbt_logs_configure(const struct hbt_config *cfg);
/* "LEVEL" or "AREA=LEVEL", for this process. */
int hbt_logs_set_level(const char *text, struct halibut_error *err);
/* Only says whether "AREA=LEVEL" is right. */
int hbt_logs_check_level(const char *text, struct halibut_error *err);
/* "gateway=info connections=debug ..."; malloced, or NULL. */
char *hbt_logs_levels(void);

/* link gets each line as LOG_LINE with the id. HALIBUT_ELIMIT: too many do. */
int hbt_logs_follow(struct hbt_link *link, uint32_t id);
/* Allowed for those that do not follow. */
void hbt_logs_unfollow(const struct hbt_link *link);
bool hbt_logs_are_followed(void);
/* A line that a worker sent, as the body of its message. */
void hbt_logs_pass_on(const uint8_t *body, size_t len);

#endif
