/*
 * Status codes and errors of libhalibut.
 *
 * Every function that can fail returns an enum halibut_status as int, 0 for
 * success. What a remote call ends with is told in more detail by a struct
 * halibut_error. runtime-behaviour section 3.
 */
#ifndef HALIBUT_ERROR_H
#define HALIBUT_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

enum halibut_status {
	HALIBUT_OK = 0,

	/* Misuse and the machine. */
	HALIBUT_ENOMEM,   /* out of memory */
	HALIBUT_EINVAL,   /* an argument is wrong; the message says which */
	HALIBUT_ESYSTEM,  /* a system call failed; the message has errno's text */
	HALIBUT_EAGAIN,   /* not now: a callback follows when it can go on */
	HALIBUT_ELIMIT,   /* a configured limit was reached */
	HALIBUT_ESHUTDOWN, /* the runtime is being freed */

	/* The connection to a peer. */
	HALIBUT_ERESOLVE,  /* host name not found; not retried */
	HALIBUT_EREFUSED,  /* nobody listens there; retried */
	HALIBUT_ECONNECT,  /* any other failure to connect or to identify */
	HALIBUT_ECONNECT_TIMEOUT, /* TcpClientConnectTimeout passed */
	HALIBUT_EPROXY,    /* the HTTP proxy failed or refused */
	HALIBUT_ETLS,      /* TLS handshake failed */
	HALIBUT_ECERTIFICATE, /* server has another certificate; not retried */
	HALIBUT_EUNTRUSTED, /* the client's certificate is not trusted */
	HALIBUT_ETIMEOUT,  /* a read or write made no progress in time */
	HALIBUT_ECLOSED,   /* the peer closed the connection */
	HALIBUT_EPROTO,    /* the peer sent something the protocol forbids */
	HALIBUT_ESTREAM,   /* a DataStream has another length than declared */

	/* The call. */
	HALIBUT_ECONNECTING_CANCELLED,   /* service never saw the request */
	HALIBUT_ETRANSFERRING_CANCELLED, /* service may have executed it */
	HALIBUT_ENOT_COLLECTED, /* no poller took it in time; never executed */
	HALIBUT_ENO_RESPONSE,   /* ended without any response */
	HALIBUT_ENO_ROUTE,      /* the gateway knows no way to the endpoint */
	HALIBUT_EWORKER,        /* a process of the gateway died on the way */

	/* The service answered with an error: the classes of section 3.1. */
	HALIBUT_EREMOTE,            /* HalibutClientException, no finer class */
	HALIBUT_ESERVICE_NOT_FOUND,
	HALIBUT_EMETHOD_NOT_FOUND,
	HALIBUT_EAMBIGUOUS_METHOD,
	HALIBUT_ENO_MATCHING,       /* parent class of the three above */
	HALIBUT_EINVOCATION,        /* the service's own code failed */

	HALIBUT_STATUS_COUNT
};

enum halibut_connection_state {
	HALIBUT_CONNECTION_UNKNOWN = 0, /* the service may have seen it */
	HALIBUT_CONNECTION_CONNECTING,  /* it certainly has not */
};

enum halibut_answer {
	HALIBUT_UNKNOWN = 0,
	HALIBUT_YES,
	HALIBUT_NO,
};

/* How a call, or a part of it, failed. Zero-initialise before first use. */
struct halibut_error {
	enum halibut_status status;
	enum halibut_connection_state connection_state;
	char *message; /* a sentence for a person; NULL only if status is OK */
	char *details; /* remote stack or cause; may be NULL */
	char *type;    /* .NET type name the peer gave; may be NULL */
};

/* A short English name of a status, e.g. "connection refused". Static. */
const char *halibut_strerror(int status);

/* The status's symbolic name without prefix, e.g. "EREFUSED". Static. */
const char *halibut_status_name(int status);

/* Frees what the error holds and zeroes it. NULL is allowed. */
void halibut_error_clear(struct halibut_error *err);

/*
 * Was this failure one of the network between caller and service?
 * runtime-behaviour 3.9, with the two "may treat" cases as network errors.
 */
enum halibut_answer
halibut_error_is_network(const struct halibut_error *err);

/* May the call be repeated by its caller with hope? 3.9. */
enum halibut_answer
halibut_error_is_retryable(const struct halibut_error *err);

#ifdef __cplusplus
}
#endif
#endif
