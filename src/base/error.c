/* Status codes and errors: texts, building, classifying. */
#include "base/error.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name;
	const char *text;
} statuses[] = {
	[HALIBUT_OK] = {"OK", "success"},
	[HALIBUT_ENOMEM] = {"ENOMEM", "out of memory"},
	[HALIBUT_EINVAL] = {"EINVAL", "invalid argument"},
	[HALIBUT_ESYSTEM] = {"ESYSTEM", "system call failed"},
	[HALIBUT_EAGAIN] = {"EAGAIN", "not ready yet"},
	[HALIBUT_ELIMIT] = {"ELIMIT", "limit reached"},
	[HALIBUT_ESHUTDOWN] = {"ESHUTDOWN", "shutting down"},
	[HALIBUT_ERESOLVE] = {"ERESOLVE", "host name not found"},
	[HALIBUT_EREFUSED] = {"EREFUSED", "connection refused"},
	[HALIBUT_ECONNECT] = {"ECONNECT", "cannot connect"},
	[HALIBUT_ECONNECT_TIMEOUT] = {"ECONNECT_TIMEOUT",
	                              "connecting timed out"},
	[HALIBUT_EPROXY] = {"EPROXY", "proxy failed"},
	[HALIBUT_ETLS] = {"ETLS", "TLS handshake failed"},
	[HALIBUT_ECERTIFICATE] = {"ECERTIFICATE",
	                          "unexpected server certificate"},
	[HALIBUT_EUNTRUSTED] = {"EUNTRUSTED", "client not trusted"},
	[HALIBUT_ETIMEOUT] = {"ETIMEOUT", "timed out"},
	[HALIBUT_ECLOSED] = {"ECLOSED", "connection closed by peer"},
	[HALIBUT_EPROTO] = {"EPROTO", "protocol error"},
	[HALIBUT_ESTREAM] = {"ESTREAM", "data stream length mismatch"},
	[HALIBUT_ECONNECTING_CANCELLED] = {"ECONNECTING_CANCELLED",
	                                   "cancelled before transfer"},
	[HALIBUT_ETRANSFERRING_CANCELLED] = {"ETRANSFERRING_CANCELLED",
	                                     "cancelled during transfer"},
	[HALIBUT_ENOT_COLLECTED] = {"ENOT_COLLECTED",
	                            "not collected by a polling service"},
	[HALIBUT_ENO_RESPONSE] = {"ENO_RESPONSE", "no response"},
	[HALIBUT_ENO_ROUTE] = {"ENO_ROUTE", "no route to endpoint"},
	[HALIBUT_EWORKER] = {"EWORKER", "worker process died"},
	[HALIBUT_EREMOTE] = {"EREMOTE", "error reported by the service"},
	[HALIBUT_ESERVICE_NOT_FOUND] = {"ESERVICE_NOT_FOUND",
	                                "service not found"},
	[HALIBUT_EMETHOD_NOT_FOUND] = {"EMETHOD_NOT_FOUND", "method not found"},
	[HALIBUT_EAMBIGUOUS_METHOD] = {"EAMBIGUOUS_METHOD",
	                               "no or several matching methods"},
	[HALIBUT_ENO_MATCHING] = {"ENO_MATCHING",
	                          "no matching service or method"},
	[HALIBUT_EINVOCATION] = {"EINVOCATION", "service failed"},
};

_Static_assert(sizeof(statuses) / sizeof(statuses[0]) == HALIBUT_STATUS_COUNT,
               "every status has a name and a text");

const char *halibut_strerror(int status)
{
	if (status < 0 || status >= HALIBUT_STATUS_COUNT)
		return "unknown status";
	return statuses[status].text;
}

const char *halibut_status_name(int status)
{
	if (status < 0 || status >= HALIBUT_STATUS_COUNT)
		return "UNKNOWN";
	return statuses[status].name;
}

/* What stands for a message that there was no memory for. Never freed. */
static char no_memory_message[] = "out of memory while describing an error";

static void free_message(char *message)
{
	if (message != no_memory_message)
		free(message);
}

void halibut_error_clear(struct halibut_error *err)
{
	if (err == NULL)
		return;
	free_message(err->message);
	free(err->details);
	free(err->type);
	memset(err, 0, sizeof(*err));
}

/* Never NULL: the static message when there is no memory. */
__attribute__((format(printf, 1, 0))) static char *
format_message(const char *fmt, va_list ap)
{
	char *text;

	return vasprintf(&text, fmt, ap) >= 0 ? text : no_memory_message;
}

int hbt_error_set(struct halibut_error *err, int status, const char *fmt, ...)
{
	char *message;
	va_list ap;

	if (err == NULL)
		return status;
	/* Formatted before clearing: an argument may be err's own text. */
	va_start(ap, fmt);
	message = format_message(fmt, ap);
	va_end(ap);
	halibut_error_clear(err);
	err->status = (enum halibut_status)status;
	err->message = message;
	return status;
}

void hbt_error_prefix(struct halibut_error *err, const char *fmt, ...)
{
	char *prefix, *whole;
	va_list ap;

	if (err == NULL || err->status == HALIBUT_OK)
		return;
	va_start(ap, fmt);
	prefix = format_message(fmt, ap);
	va_end(ap);
	/* Without memory the old message is worth more than the prefix. */
	if (prefix != no_memory_message &&
	    asprintf(&whole, "%s%s", prefix,
	             err->message != NULL ? err->message : "") >= 0) {
		free_message(err->message);
		err->message = whole;
	}
	free_message(prefix);
}

static char *copy_text(const char *text)
{
	return text != NULL ? strdup(text) : NULL;
}

void hbt_error_copy(struct halibut_error *to, const struct halibut_error *from)
{
	struct halibut_error copy = *from;

	if (to == from)
		return;
	copy.message = copy_text(from->message);
	if (copy.message == NULL && from->message != NULL)
		copy.message = no_memory_message;
	copy.details = copy_text(from->details);
	copy.type = copy_text(from->type);
	halibut_error_clear(to);
	*to = copy;
}

void hbt_error_move(struct halibut_error *to, struct halibut_error *from)
{
	if (to == from)
		return;
	halibut_error_clear(to);
	*to = *from;
	memset(from, 0, sizeof(*from));
}

/*
 * Texts inside a remote error that tell of a network failure. They are
 * matched literally: that is how .NET peers tell one another.
 */
static const char *const network_phrases[] = {
	"System.IO.EndOfStreamException",
	"System.Net.Sockets.SocketException (110): Connection timed out",
	"An existing connection was forcibly closed by the remote host.",
	"The I/O operation has been aborted because of either a thread exit "
	"or an application request",
	"A connection attempt failed because the connected party did not "
	"properly respond after a period of time, or established connection "
	"failed because connected host has failed to respond.",
	"The remote party closed the WebSocket connection without completing "
	"the close handshake.",
	"Unable to read data from the transport connection: Operation timed "
	"out.",
	"Unable to write data to the transport connection: Operation timed "
	"out.",
	NULL,
};

/* Texts and types of failures of the queue that another try may not meet. */
static const char *const retryable_phrases[] = {
	"The request was abandoned, possibly because the node processing the "
	"request shutdown or redis lost all of its data.",
	"The node processing the request did not send a heartbeat for long "
	"enough, and so the node is now assumed to be offline.",
	"Error occured when reading data from the queue",
	"error occured when preparing request for queue",
	NULL,
};
static const char *const retryable_types[] = {
	"RedisDataLossHalibutClientException",
	"RedisQueueShutdownClientException",
	"CouldNotGetDataLossTokenInTimeHalibutClientException",
	"ErrorWhilePreparingRequestForQueueHalibutClientException",
	"ErrorOccuredWhenInsertingDataIntoRedisHalibutPendingRequestQueue"
	"HalibutClientException",
	NULL,
};

static bool has_any(const char *text, const char *const *phrases)
{
	for (; text != NULL && *phrases != NULL; phrases++)
		if (strstr(text, *phrases) != NULL)
			return true;
	return false;
}

static bool mentions(const struct halibut_error *err,
                     const char *const *phrases)
{
	return has_any(err->message, phrases) || has_any(err->details, phrases);
}

/* What the text of a client error says when its status does not. */
static enum halibut_answer network_from_text(const struct halibut_error *err)
{
	static const char *const no_file[] = {"System.IO.FileNotFoundException",
	                                      NULL};

	if (mentions(err, no_file))
		return HALIBUT_NO;
	return mentions(err, network_phrases) ? HALIBUT_YES : HALIBUT_UNKNOWN;
}

enum halibut_answer halibut_error_is_network(const struct halibut_error *err)
{
	switch (err->status) {
	case HALIBUT_ESERVICE_NOT_FOUND:
	case HALIBUT_EMETHOD_NOT_FOUND:
	case HALIBUT_EAMBIGUOUS_METHOD:
	case HALIBUT_ENO_MATCHING:
	case HALIBUT_EINVOCATION:
	case HALIBUT_ECERTIFICATE:
		return HALIBUT_NO;
	/* The proxy answered, and refused. One that is not reached is
	 * reported like any other host that is not reached. */
	case HALIBUT_EPROXY:
		return HALIBUT_NO;
	case HALIBUT_ERESOLVE:
	case HALIBUT_EREFUSED:
	case HALIBUT_ECONNECT:
	case HALIBUT_ECONNECT_TIMEOUT: /* the original: unknown */
	case HALIBUT_ETLS:
	case HALIBUT_EUNTRUSTED: /* the original: unknown */
	case HALIBUT_ETIMEOUT:
	case HALIBUT_ECLOSED:
	case HALIBUT_EPROTO:
	case HALIBUT_EWORKER: /* took the connection with it */
		return HALIBUT_YES;
	case HALIBUT_EREMOTE:
	case HALIBUT_ENO_RESPONSE:
	case HALIBUT_ENOT_COLLECTED:
	case HALIBUT_ESTREAM:
		return network_from_text(err);
	default:
		return HALIBUT_UNKNOWN;
	}
}

enum halibut_answer halibut_error_is_retryable(const struct halibut_error *err)
{
	enum halibut_answer network = halibut_error_is_network(err);

	if (network == HALIBUT_YES)
		return HALIBUT_YES;
	if (has_any(err->type, retryable_types) ||
	    mentions(err, retryable_types) || mentions(err, retryable_phrases))
		return HALIBUT_YES;
	return network;
}
