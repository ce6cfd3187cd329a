/*
 * Building request and response documents, and reading the parts of them
 * that only the two ends of a call look at. wire-protocol 9, 10
 */
#ifndef HBT_WIRE_COMPOSE_H
#define HBT_WIRE_COMPOSE_H

#include <bson/bson.h>
#include "wire/message.h"
#include "base/limits.h"

struct hbt_request_parts {
	const char *id;       /* e.g. from hbt_request_id() */
	struct hbt_guid activity_id;
	/* endpoint: NULL writes null, else the full current list of 9.2 */
	const char *destination;
	const char *thumbprint; /* may be NULL */
	const struct hbt_limits *limits; /* for the endpoint's five overrides */
	const char *service;
	const char *method;
	const bson_t *params; /* an array document with keys "0", "1", …; NULL: none */
};

/* Initialises *doc; the caller bson_destroy()s it in every case. */
int hbt_compose_request(const struct hbt_request_parts *parts, bson_t *doc);

/* `IContract::MethodAsync[n] / activity`, malloced. 9.1 */
char *hbt_request_id(const char *service, const char *method, unsigned n,
                     const struct hbt_guid *activity_id);

/*
 * result: a document whose first element (any name) is the result, or NULL
 * for a null result.
 */
int hbt_compose_response(const char *id, const bson_t *result, bson_t *doc);

/*
 * An error response: message, details and HalibutErrorType follow err's
 * status by the table of 10.2, so that every .NET client recognises it.
 * err->type and err->details win where they are set.
 */
int hbt_compose_error(const char *id, const struct halibut_error *err,
                      bson_t *doc);

/* Points *params (static init) into bson; empty when null or absent. */
int hbt_request_params(const uint8_t *bson, size_t len, bson_t *params);

/*
 * The outcome of a response document. An error is mapped by 10.3 into *err
 * (message in the two-text form) and its status is returned. Otherwise
 * HALIBUT_OK and *result is an iterator on the result element; *found tells
 * whether there is one.
 */
int hbt_response_outcome(const uint8_t *bson, size_t len, bson_iter_t *result,
                         bool *found, struct halibut_error *err);

#endif
