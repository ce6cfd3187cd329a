/* Building request and response documents. wire-protocol 9, 10 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/timespan.h"
#include "base/uri.h"
#include "wire/compose.h"

static const char request_type[] =
	"Halibut.Transport.Protocol.RequestMessage, Halibut";
static const char response_type[] =
	"Halibut.Transport.Protocol.ResponseMessage, Halibut";

/* text may be NULL: nulls are written, never left out. */
static bool put_text(bson_t *doc, const char *key, const char *text)
{
	if (text == NULL)
		return bson_append_null(doc, key, -1);
	return bson_append_utf8(doc, key, -1, text, -1);
}

static bool put_timespan(bson_t *doc, const char *key, int64_t ms)
{
	char text[HBT_TIMESPAN_TEXT];

	hbt_timespan_format_ms(ms, text);
	return put_text(doc, key, text);
}

static bool put_guid(bson_t *doc, const char *key, const struct hbt_guid *g)
{
	return bson_append_binary(doc, key, -1, BSON_SUBTYPE_UUID, g->wire,
	                          sizeof(g->wire));
}

/* The list of the current release, in its order: 9.2. */
static bool put_endpoint(bson_t *doc, const struct hbt_request_parts *parts,
                         const char *base_uri)
{
	bool web_socket = strncmp(base_uri, "wss:", 4) == 0;
	struct hbt_limits defaults;
	const struct hbt_limits *l = parts->limits;
	bson_t e;

	if (l == NULL) {
		hbt_limits_init(&defaults);
		l = &defaults;
	}
	return bson_append_document_begin(doc, "endpoint", -1, &e) &&
	       put_timespan(&e, "PollingRequestQueueTimeout",
	                    l->polling_request_queue_timeout_ms) &&
	       put_timespan(&e, "RetryListeningSleepInterval",
	                    l->retry_listening_sleep_interval_ms) &&
	       bson_append_int32(&e, "RetryCountLimit", -1,
	                         l->retry_count_limit) &&
	       put_timespan(&e, "ConnectionErrorRetryTimeout",
	                    l->connection_error_retry_timeout_ms) &&
	       put_timespan(&e, "TcpClientConnectTimeout",
	                    l->tcp_client_connect_timeout_ms) &&
	       put_text(&e, "BaseUri", base_uri) &&
	       put_text(&e, "RemoteThumbprint", parts->thumbprint) &&
	       put_text(&e, "Proxy", NULL) &&
	       put_text(&e, "ForceResolveHost", NULL) &&
	       bson_append_bool(&e, "IsWebSocketEndpoint", -1, web_socket) &&
	       bson_append_document_end(doc, &e);
}

static bool put_params(bson_t *doc, const bson_t *params)
{
	bson_t none = BSON_INITIALIZER;
	bool ok;

	ok = bson_append_array(doc, "params", -1,
	                       params != NULL ? params : &none);
	bson_destroy(&none);
	return ok;
}

int hbt_compose_request(const struct hbt_request_parts *parts, bson_t *doc)
{
	char *base_uri = NULL;
	bool ok;
	bson_t m;

	bson_init(doc);
	if (parts->id == NULL || parts->service == NULL ||
	    parts->method == NULL)
		return HALIBUT_EINVAL;
	if (parts->destination != NULL) {
		/* A reader refuses a request whose BaseUri is not absolute. */
		base_uri = hbt_uri_key(parts->destination, false);
		if (base_uri == NULL)
			return HALIBUT_EINVAL;
	}
	ok = bson_append_document_begin(doc, "Message", -1, &m) &&
	     put_text(&m, "$type", request_type) &&
	     put_text(&m, "id", parts->id) &&
	     put_guid(&m, "activityId", &parts->activity_id) &&
	     (base_uri != NULL ? put_endpoint(&m, parts, base_uri)
	                       : put_text(&m, "endpoint", NULL)) &&
	     put_text(&m, "service", parts->service) &&
	     put_text(&m, "method", parts->method) &&
	     put_params(&m, parts->params) && bson_append_document_end(doc, &m);
	free(base_uri);
	return ok ? HALIBUT_OK : HALIBUT_ELIMIT;
}

char *hbt_request_id(const char *service, const char *method, unsigned n,
                     const struct hbt_guid *activity_id)
{
	char guid[HBT_GUID_TEXT];
	char *id;

	hbt_guid_format(activity_id, guid);
	if (asprintf(&id, "%s::%sAsync[%u] / %s", service, method, n, guid) < 0)
		return NULL;
	return id;
}

int hbt_compose_response(const char *id, const bson_t *result, bson_t *doc)
{
	bson_iter_t it;
	bool ok;
	bson_t m;

	bson_init(doc);
	if (id == NULL)
		return HALIBUT_EINVAL;
	if (result != NULL &&
	    (!bson_iter_init(&it, result) || !bson_iter_next(&it)))
		return HALIBUT_EINVAL;
	ok = bson_append_document_begin(doc, "Message", -1, &m) &&
	     put_text(&m, "$type", response_type) && put_text(&m, "id", id) &&
	     put_text(&m, "error", NULL) &&
	     (result != NULL ? bson_append_iter(&m, "result", -1, &it)
	                     : put_text(&m, "result", NULL)) &&
	     bson_append_document_end(doc, &m);
	return ok ? HALIBUT_OK : HALIBUT_ELIMIT;
}

static const char invocation_text[] =
	"System.Reflection.TargetInvocationException: Exception has been "
	"thrown by the target of an invocation.";

/* The .NET type that stands for a status: 10.2, 10.3. */
static const char *type_of(enum halibut_status status)
{
	switch (status) {
	case HALIBUT_ESERVICE_NOT_FOUND:
		return "Halibut.Exceptions."
		       "ServiceNotFoundHalibutClientException";
	case HALIBUT_EMETHOD_NOT_FOUND:
		return "Halibut.Exceptions."
		       "MethodNotFoundHalibutClientException";
	case HALIBUT_EAMBIGUOUS_METHOD:
		return "Halibut.Exceptions."
		       "AmbiguousMethodMatchHalibutClientException";
	case HALIBUT_ENO_MATCHING:
		return "Halibut.Exceptions."
		       "NoMatchingServiceOrMethodHalibutClientException";
	case HALIBUT_ECONNECTING_CANCELLED:
		return "Halibut.Exceptions.ConnectingRequestCancelledException";
	case HALIBUT_ETRANSFERRING_CANCELLED:
		return "Halibut.Exceptions."
		       "TransferringRequestCancelledException";
	case HALIBUT_EINVOCATION:
		/* Recognised by its details, by every release. */
		return NULL;
	default:
		return "Halibut.HalibutClientException";
	}
}

/*
 * A phrase that the callers' classifiers look for in the details of network
 * failures: runtime-behaviour 3.9. NULL for the failures of other kinds.
 */
static const char *network_phrase(const struct halibut_error *err)
{
	if (halibut_error_is_network(err) != HALIBUT_YES)
		return NULL;
	switch (err->status) {
	case HALIBUT_ETIMEOUT:
		return "System.IO.IOException: Unable to read data from the "
		       "transport connection: Operation timed out.";
	case HALIBUT_ECONNECT_TIMEOUT:
		return "System.Net.Sockets.SocketException (110): Connection "
		       "timed out";
	case HALIBUT_EREFUSED:
	case HALIBUT_ERESOLVE:
	case HALIBUT_ECONNECT:
	case HALIBUT_EPROXY:
		return "System.Net.Sockets.SocketException: A connection "
		       "attempt failed because the connected party did not "
		       "properly respond after a period of time, or "
		       "established connection failed because connected host "
		       "has failed to respond.";
	case HALIBUT_ECLOSED:
		return "System.IO.EndOfStreamException: Attempted to read past "
		       "the end of the stream.";
	default:
		return "System.IO.IOException: An existing connection was "
		       "forcibly closed by the remote host.";
	}
}

/* The full text of the exception that .NET would have had. Malloced. */
static char *make_details(const struct halibut_error *err, const char *message)
{
	const char *type = err->type != NULL ? err->type : type_of(err->status);
	const char *phrase = network_phrase(err);
	char *text = NULL;
	int n;

	if (err->status == HALIBUT_EINVOCATION)
		n = asprintf(&text, "%s\n ---> %s", invocation_text,
		             err->details != NULL ? err->details : message);
	else if (phrase != NULL)
		n = asprintf(&text, "%s: %s\n ---> %s", type, message, phrase);
	else
		n = asprintf(&text, "%s: %s", type, message);
	return n < 0 ? NULL : text;
}

/*
 * Would a caller see that the service's own code failed? Such details are
 * passed on as they are; others get the text in front that says so.
 */
static bool details_will_do(const struct halibut_error *err)
{
	if (err->details == NULL)
		return false;
	return err->status != HALIBUT_EINVOCATION || err->type != NULL ||
	       strncmp(err->details, invocation_text,
	               sizeof(invocation_text) - 1) == 0;
}

/*
 * An error that came from another peer has its details in its message as
 * well, in the two-text form of 10.3: they would grow at every hop.
 */
static char *plain_message(const struct halibut_error *err)
{
	const char *message = err->message != NULL
	                              ? err->message
	                              : halibut_strerror(err->status);
	const char *end = strstr(message, "\n\nServer exception: \n");

	if (end != NULL && err->details != NULL)
		return strndup(message, (size_t)(end - message));
	return strdup(message);
}

int hbt_compose_error(const char *id, const struct halibut_error *err,
                      bson_t *doc)
{
	char *message = plain_message(err);
	char *details = NULL;
	bool ok = false;
	bson_t m, e;

	bson_init(doc);
	if (message == NULL)
		return HALIBUT_ENOMEM;
	if (!details_will_do(err) &&
	    (details = make_details(err, message)) == NULL) {
		free(message);
		return HALIBUT_ENOMEM;
	}
	if (id != NULL)
		ok = bson_append_document_begin(doc, "Message", -1, &m) &&
		     put_text(&m, "$type", response_type) &&
		     put_text(&m, "id", id) &&
		     bson_append_document_begin(&m, "error", -1, &e) &&
		     put_text(&e, "message", message) &&
		     put_text(&e, "details",
		              details != NULL ? details : err->details) &&
		     put_text(&e, "HalibutErrorType",
		              err->type != NULL ? err->type
		                                : type_of(err->status)) &&
		     bson_append_document_end(&m, &e) &&
		     put_text(&m, "result", NULL) &&
		     bson_append_document_end(doc, &m);
	free(message);
	free(details);
	if (id == NULL)
		return HALIBUT_EINVAL;
	return ok ? HALIBUT_OK : HALIBUT_ELIMIT;
}
