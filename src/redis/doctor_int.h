/* What the files of the doctor share. */
#ifndef HBT_REDIS_DOCTOR_INT_H
#define HBT_REDIS_DOCTOR_INT_H

#include "redis/doctor.h"

struct note;

/* Findings, until all are known. */
struct notes {
	struct note *v;
	size_t n;
	bool failed; /* memory was short */
};

/* remedy: NULL, or a text that is copied. */
void doctor_note(struct notes *notes, enum hbt_finding_level level,
                 const char *remedy, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* What INFO says, and whether that is right for the queue. */
void doctor_read_info(struct notes *notes, const char *info);
/* The same of CONFIG GET save; value may be NULL: not known. */
void doctor_read_persistence(struct notes *notes, const char *info,
                             const char *save);

#endif
