/* What somebody asks for: a path and its parameters. */
#ifndef HBT_STATUS_QUERY_H
#define HBT_STATUS_QUERY_H

#include <sys/queue.h>

#include <event2/keyvalq_struct.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QUERY_MAX_TEXT 4096
#define QUERY_MAX_PARAMETERS 32

struct query {
	char path[64]; /* without what follows the question mark */
	struct evkeyvalq parameters; /* decoded */
};

/*
 * From a request's target, "/connz?sort=idle". NULL, or a sentence that says
 * what is wrong with it. fini in every case.
 */
const char *query_parse(struct query *q, const char *text);
void query_fini(struct query *q);

/* NULL when it is not there. */
const char *query_get(const struct query *q, const char *name);
/* Of a parameter, preset when it is not there. False: it is none, or larger
 * than max. */
bool query_number(const struct query *q, const char *name, uint64_t preset,
                  uint64_t max, uint64_t *out);

/* Does text match a pattern in which * stands for anything? Without regard to
 * case. Takes no more than their lengths multiplied. */
bool query_matches(const char *pattern, const char *text, size_t len);

#endif
