/*
 * The file of trust that was given by hand (trust_added_file): one thumbprint
 * a line, what follows a # is a comment. People and configuration management
 * may write it as well: what they wrote stays as it is.
 */
#ifndef HBT_MASTER_TRUST_ADDED_H
#define HBT_MASTER_TRUST_ADDED_H

#include "base/error.h"

/*
 * Both replace the file in one step, and have it on the disk when they return:
 * it has the old text or the new one, whatever happens. Its mode stays, and
 * its owner where that can be. HALIBUT_ESYSTEM with what to do,
 * HALIBUT_ENOMEM; then the file is as it was, unless the message says that it
 * may not outlive a power failure.
 */

/* Appends a line; makes the file, and its directory if only that is missing.
 * hex has 40 digits; comment may be NULL, of its line ends spaces are made. */
int hbt_trust_added_put(const char *path, const char *hex, const char *comment,
                        struct halibut_error *err);
/* Drops the lines that have hex. */
int hbt_trust_added_drop(const char *path, const char *hex,
                         struct halibut_error *err);

#endif
