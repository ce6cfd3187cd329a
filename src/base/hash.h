/*
 * uthash with failures instead of exit(): after HASH_ADD the element's
 * handle has tbl NULL when memory was short, and the element is in no table.
 * Nobody includes uthash.h but through here.
 */
#ifndef HBT_BASE_HASH_H
#define HBT_BASE_HASH_H

#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(entry) ((void)(entry))
#include <uthash.h>

#endif
