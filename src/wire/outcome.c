/* What only the two ends of a call read of a document. wire-protocol 10.3 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "wire/compose.h"

/* The exact name first, then without case: wire-protocol 7. */
static bool find(const bson_iter_t *start, const char *name, bson_iter_t *found)
{
	bson_iter_t it = *start;
	bool any = false, exact = false;

	while (bson_iter_next(&it)) {
		const char *key = bson_iter_key(&it);

		if (strcasecmp(key, name) != 0)
			continue;
		if (strcmp(key, name) == 0)
			exact = true;
		else if (exact)
			continue;
		*found = it;
		any = true;
	}
	return any;
}

static bool has_value(const bson_iter_t *it)
{
	return bson_iter_type(it) != BSON_TYPE_NULL;
}

/*
 * Iterates the Message document. HALIBUT_OK, HALIBUT_ENO_RESPONSE for the
 * null message, or HALIBUT_EPROTO.
 */
static int open_message(const uint8_t *bson, size_t len, bson_iter_t *message)
{
	bson_iter_t root, m;

	if (!bson_iter_init_from_data(&root, bson, len))
		return HALIBUT_EPROTO;
	if (!find(&root, "Message", &m) || !has_value(&m))
		return HALIBUT_ENO_RESPONSE;
	if (!BSON_ITER_HOLDS_DOCUMENT(&m) || !bson_iter_recurse(&m, message))
		return HALIBUT_EPROTO;
	return HALIBUT_OK;
}

int hbt_request_params(const uint8_t *bson, size_t len, bson_t *params)
{
	static const uint8_t none[] = {5, 0, 0, 0, 0};
	bson_iter_t message, p;
	const uint8_t *data = none;
	uint32_t data_len = sizeof(none);

	bson_init_static(params, none, sizeof(none));
	if (open_message(bson, len, &message) != HALIBUT_OK)
		return HALIBUT_EPROTO;
	if (find(&message, "params", &p) && has_value(&p)) {
		if (!BSON_ITER_HOLDS_ARRAY(&p))
			return HALIBUT_EPROTO;
		bson_iter_array(&p, &data_len, &data);
	}
	if (!bson_init_static(params, data, data_len)) {
		bson_init_static(params, none, sizeof(none));
		return HALIBUT_EPROTO;
	}
	return HALIBUT_OK;
}

/*
 * A terminated copy of a text member, NULL when it is null, absent or no
 * text. A NUL byte inside must not hide what follows it.
 */
static char *copy_text(const bson_iter_t *doc, const char *name)
{
	bson_iter_t it;
	const char *text;
	uint32_t len;
	char *copy;

	if (!find(doc, name, &it) || !BSON_ITER_HOLDS_UTF8(&it))
		return NULL;
	text = bson_iter_utf8(&it, &len);
	if ((copy = malloc((size_t)len + 1)) == NULL)
		return NULL;
	for (uint32_t i = 0; i < len; i++)
		copy[i] = text[i] != '\0' ? text[i] : '?';
	copy[len] = '\0';
	return copy;
}

static bool starts_with(const char *text, const char *start)
{
	return text != NULL && strncmp(text, start, strlen(start)) == 0;
}

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n >= m && strcmp(text + n - m, end) == 0;
}

/* Rule 1; HALIBUT_OK when it does not apply. */
static int status_of_type(const char *type)
{
	static const struct {
		const char *name;
		int status;
	} known[] = {
		{"ServiceNotFoundHalibutClientException",
	         HALIBUT_ESERVICE_NOT_FOUND},
		{"MethodNotFoundHalibutClientException",
	         HALIBUT_EMETHOD_NOT_FOUND},
		{"AmbiguousMethodMatchHalibutClientException",
	         HALIBUT_EAMBIGUOUS_METHOD},
		{"NoMatchingServiceOrMethodHalibutClientException",
	         HALIBUT_ENO_MATCHING},
		{"ServiceInvocationHalibutClientException",
	         HALIBUT_EINVOCATION},
		{"ConnectingRequestCancelledException",
	         HALIBUT_ECONNECTING_CANCELLED},
		{"TransferringRequestCancelledException",
	         HALIBUT_ETRANSFERRING_CANCELLED},
	};
	static const char space[] = "Halibut.Exceptions.";

	if (!starts_with(type, space))
		return HALIBUT_OK;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(type + sizeof(space) - 1, known[i].name) == 0)
			return known[i].status;
	return HALIBUT_OK;
}

/* The six rules of 10.3. */
static int classify(const char *type, const char *message, const char *details)
{
	int status = status_of_type(type);

	if (status != HALIBUT_OK)
		return status;
	if (starts_with(message, "Service not found: "))
		return HALIBUT_ESERVICE_NOT_FOUND;
	if (starts_with(message, "Service ") &&
	    ends_with(message, " not found"))
		return HALIBUT_EMETHOD_NOT_FOUND;
	if (starts_with(details, "System.Reflection.AmbiguousMatchException: "))
		return HALIBUT_EAMBIGUOUS_METHOD;
	if (starts_with(details,
	                "System.Reflection.TargetInvocationException: "
	                "Exception has been thrown by the target of an "
	                "invocation."))
		return HALIBUT_EINVOCATION;
	return HALIBUT_EREMOTE;
}

static int read_error(const bson_iter_t *error, struct halibut_error *err)
{
	char *message, *details, *type;
	bson_iter_t e;
	int status;

	if (!BSON_ITER_HOLDS_DOCUMENT(error) || !bson_iter_recurse(error, &e))
		return hbt_error_set(err, HALIBUT_EPROTO,
		                     "The peer sent a response whose error "
		                     "cannot be read.");
	message = copy_text(&e, "message");
	details = copy_text(&e, "details");
	type = copy_text(&e, "HalibutErrorType");
	status = classify(type, message, details);
	hbt_error_set(err, status, "%s\n\nServer exception: \n%s",
	              message != NULL ? message : "",
	              details != NULL ? details : "");
	free(message);
	if (err == NULL) {
		free(details);
		free(type);
		return status;
	}
	err->details = details;
	err->type = type;
	if (status == HALIBUT_ECONNECTING_CANCELLED)
		err->connection_state = HALIBUT_CONNECTION_CONNECTING;
	return status;
}

int hbt_response_outcome(const uint8_t *bson, size_t len, bson_iter_t *result,
                         bool *found, struct halibut_error *err)
{
	bson_iter_t message, error;
	int rc;

	*found = false;
	rc = open_message(bson, len, &message);
	if (rc == HALIBUT_ENO_RESPONSE)
		return hbt_error_set(err, rc,
		                     "No response was received from the "
		                     "endpoint within the allowed time.");
	if (rc != HALIBUT_OK)
		return hbt_error_set(err, rc,
		                     "The peer sent a response that "
		                     "cannot be read.");
	if (find(&message, "error", &error) && has_value(&error))
		return read_error(&error, err);
	*found = find(&message, "result", result);
	return HALIBUT_OK;
}
