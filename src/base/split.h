/*
 * A command line from the configuration, split into words as a POSIX shell
 * does it, without a shell: nothing is expanded, and nothing is started that
 * the line does not name.
 */
#ifndef HBT_BASE_SPLIT_H
#define HBT_BASE_SPLIT_H

#include "base/error.h"

/*
 * *argv is a NULL-terminated array with at least one word, in one block of
 * memory to free(). Blanks part words; '…', "…" and \ quote as in sh.
 * HALIBUT_ENOMEM; HALIBUT_EINVAL, err says where: no word at all, a quote
 * left open, or an unquoted character that only a shell could obey
 * (| & ; < > ( ) $ `).
 */
int hbt_split(const char *command, char ***argv, struct halibut_error *err);

#endif
