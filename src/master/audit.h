/*
 * Who changed what, and by configuration who called what: JSON lines, in the
 * file audit_log or else among the others. No log level leaves them out.
 */
#ifndef HBT_MASTER_AUDIT_H
#define HBT_MASTER_AUDIT_H

#include "base/log.h"
#include "master/config.h"
#include "master/trust.h"

/* For the start, and to open the file again after it was renamed. On failure
 * the old one stays in use. */
int hbt_audit_open(const struct hbt_config *cfg, struct halibut_error *err);

/*
 * event is a word such as "reload"; about.peer says who did it, e.g. the name
 * of a control client, or of a signal. The text is for a person.
 */
void hbt_audit(const struct hbt_log_about *about, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* The difference of two lists, a line a thumbprint. */
void hbt_audit_trust(const char *who, const struct hbt_trust *before,
                     const struct hbt_trust *after);

/* What can change without opening anything. */
void hbt_audit_configure(const struct hbt_config *cfg);

/* Does anybody want to know of calls? */
bool hbt_audit_wants_calls(void);

#endif
