/* Services that this program hosts. runtime-behaviour 6 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "runtime/runtime.h"
#include "runtime/streams.h"
#include "runtime/value.h"
#include "runtime/service.h"
#include "wire/compose.h"
#include "wire/json.h"

struct hbt_service_method {
	char *key; /* "service\nmethod", lower case */
	halibut_handler_fn handler;
	void *arg;
	UT_hash_handle hh;
};

static char *method_key(const char *service, const char *method)
{
	char *key;

	if (asprintf(&key, "%s\n%s", service, method) < 0)
		return NULL;
	for (char *p = key; *p != '\0'; p++)
		*p = (char)tolower((unsigned char)*p);
	return key;
}

static struct hbt_service_method *find(struct halibut_runtime *rt,
                                       const char *service, const char *method)
{
	struct hbt_service_method *m = NULL;
	char *key = method_key(service, method);

	if (key != NULL)
		HASH_FIND_STR(rt->methods, key, m);
	free(key);
	return m;
}

int halibut_service_add(struct halibut_runtime *rt, const char *service,
                        const char *method, halibut_handler_fn handler,
                        void *arg)
{
	struct hbt_service_method *m;

	if (find(rt, service, method) != NULL)
		return HALIBUT_EINVAL;
	if ((m = calloc(1, sizeof(*m))) == NULL)
		return HALIBUT_ENOMEM;
	if ((m->key = method_key(service, method)) == NULL) {
		free(m);
		return HALIBUT_ENOMEM;
	}
	m->handler = handler;
	m->arg = arg;
	HASH_ADD_KEYPTR(hh, rt->methods, m->key, strlen(m->key), m);
	if (m->hh.tbl == NULL) {
		free(m->key);
		free(m);
		return HALIBUT_ENOMEM;
	}
	return HALIBUT_OK;
}

static bool has_service(const struct halibut_runtime *rt, const char *service)
{
	const struct hbt_service_method *m;
	size_t n = strlen(service);

	for (m = rt->methods; m != NULL; m = m->hh.next)
		if (strncasecmp(m->key, service, n) == 0 && m->key[n] == '\n')
			return true;
	return false;
}

void hbt_request_free(struct halibut_request *req)
{
	if (req->rt != NULL) /* else the runtime went first */
		LIST_REMOVE(req, link);
	if (req->slot != NULL)
		*req->slot = NULL;
	if (req->receiving != NULL)
		hbt_streams_sink_forget(req->receiving);
	hbt_streams_fini(&req->streams);
	hbt_message_unref(&req->msg);
	free(req->bson);
	free(req->peer);
	free(req->peer_address);
	free(req);
}

void hbt_request_fail(struct halibut_request *req,
                      const struct halibut_error *err)
{
	const struct hbt_way_back *back = req->back;
	void *arg = req->back_arg;

	hbt_request_free(req);
	if (back != NULL)
		back->fail(arg, err);
}

static void refuse(struct halibut_request *req, int status, const char *message)
{
	struct halibut_error err = {0};

	hbt_error_set(&err, status, "%s", message);
	hbt_request_fail(req, &err);
	halibut_error_clear(&err);
}

static void no_such_method(struct halibut_request *req)
{
	const struct hbt_envelope *env = &req->msg->env;
	struct halibut_error err = {0};

	if (!has_service(req->rt, env->service))
		hbt_error_set(&err, HALIBUT_ESERVICE_NOT_FOUND,
		              "Service not found: %s", env->service);
	else
		hbt_error_set(&err, HALIBUT_EMETHOD_NOT_FOUND,
		              "Method %s::%s not found", env->service,
		              env->method);
	hbt_request_fail(req, &err);
	halibut_error_clear(&err);
}

/* The request is complete, its DataStreams included. */
static void invoke(struct halibut_request *req)
{
	const struct hbt_envelope *env = &req->msg->env;
	struct hbt_service_method *m;
	bson_t params;

	if (env->service == NULL || env->method == NULL) {
		refuse(req, HALIBUT_ESERVICE_NOT_FOUND, "Service not found: ");
		return;
	}
	if ((m = find(req->rt, env->service, env->method)) == NULL) {
		no_such_method(req);
		return;
	}
	if (hbt_message_to_bson(req->msg, req->rt->limits.max_message_bytes,
	                        &req->bson, &req->bson_len) != 0 ||
	    hbt_request_params(req->bson, req->bson_len, &params) != 0) {
		refuse(req, HALIBUT_EREMOTE, "the request cannot be read");
		return;
	}
	m->handler(m->arg, req);
}

static void streams_done(void *arg, struct hbt_streams *set,
                         const struct halibut_error *err)
{
	struct halibut_request *req = arg;

	req->receiving = NULL;
	if (err != NULL) {
		hbt_request_fail(req, err);
		return;
	}
	req->streams = *set;
	memset(set, 0, sizeof(*set));
	invoke(req);
}

void hbt_request_take(struct halibut_runtime *rt, struct hbt_message *m,
                      const char *peer, const char *peer_address,
                      const struct hbt_way_back *back, void *back_arg,
                      void **slot, struct hbt_sink **sink)
{
	struct halibut_request *req = calloc(1, sizeof(*req));
	struct halibut_error err = {0};

	if (req != NULL) {
		LIST_INSERT_HEAD(&rt->requests, req, link);
		req->rt = rt;
		req->back = back;
		req->back_arg = back_arg;
		req->slot = slot;
		req->msg = m;
		req->peer = strdup(peer == NULL ? "" : peer);
		req->peer_address = strdup(peer_address);
		*slot = req;
		if (m->env.n_streams == 0) {
			invoke(req);
			return;
		}
		if (hbt_streams_sink_new(&req->receiving, m, streams_done,
		                         req) == 0) {
			*sink = hbt_streams_sink_base(req->receiving);
			return;
		}
	}
	hbt_error_set(&err, HALIBUT_ENOMEM, "the service is out of memory");
	if (m->env.n_streams > 0)
		*sink = hbt_discard_sink();
	if (req != NULL)
		hbt_request_free(req);
	else
		hbt_message_unref(&m);
	back->fail(back_arg, &err);
	halibut_error_clear(&err);
}

void hbt_request_orphan(struct halibut_request *req)
{
	req->back = NULL;
	*req->slot = NULL;
	req->slot = NULL;
	if (req->bson == NULL)
		hbt_request_free(req); /* no handler has seen it */
	else if (req->gone != NULL)
		req->gone(req->gone_arg);
}

/* Requests that come in over a connection */

static void answer_inlet(void *arg, struct hbt_message *m,
                         struct hbt_source *streams)
{
	hbt_inlet_answer(arg, m, streams);
}

static void fail_inlet(void *arg, const struct halibut_error *err)
{
	hbt_inlet_fail(arg, err);
}

static void on_request(void *arg, struct hbt_inlet *in, struct hbt_message *m,
                       struct hbt_sink **sink)
{
	static const struct hbt_way_back back = {
		.answer = answer_inlet,
		.fail = fail_inlet,
	};
	struct hbt_conn *conn = hbt_exchange_conn(in->ex);

	hbt_request_take(arg, m, hbt_conn_peer_thumbprint(conn),
	                 hbt_conn_peer_address(conn), &back, in,
	                 &in->call, sink);
}

static void on_gone(void *arg, struct hbt_inlet *in)
{
	(void)arg;
	if (in->call != NULL)
		hbt_request_orphan(in->call);
}

const struct hbt_inlet_ops hbt_service_inlet_ops = {
	.request = on_request,
	.gone = on_gone,
};

void hbt_services_free(struct halibut_runtime *rt)
{
	struct hbt_service_method *m, *next;
	struct halibut_request *req;

	/* Their handlers still hold them, and will answer into the void. */
	while ((req = LIST_FIRST(&rt->requests)) != NULL) {
		LIST_REMOVE(req, link);
		req->rt = NULL;
	}
	HASH_ITER (hh, rt->methods, m, next) {
		HASH_DEL(rt->methods, m);
		free(m->key);
		free(m);
	}
}

const char *halibut_request_service(const struct halibut_request *req)
{
	return req->msg->env.service;
}

const char *halibut_request_method(const struct halibut_request *req)
{
	return req->msg->env.method;
}

const char *halibut_request_peer(const struct halibut_request *req)
{
	return req->peer != NULL ? req->peer : "";
}

const char *halibut_request_peer_address(const struct halibut_request *req)
{
	return req->peer_address != NULL ? req->peer_address : "";
}

size_t halibut_request_arguments(const struct halibut_request *req)
{
	bson_t params;

	if (hbt_request_params(req->bson, req->bson_len, &params) != 0)
		return 0;
	return bson_count_keys(&params);
}

/* The argument, and how many DataStreams the ones before it contain. */
static bool argument(const struct halibut_request *req, size_t index,
                     bson_iter_t *it, size_t *next_stream)
{
	json_t *skipped;
	bson_t params;

	*next_stream = 0;
	if (hbt_request_params(req->bson, req->bson_len, &params) != 0 ||
	    !bson_iter_init(it, &params))
		return false;
	while (bson_iter_next(it)) {
		if (index-- == 0)
			return true;
		if (req->streams.n > 0 &&
		    hbt_json_from_bson(it, &skipped, next_stream, NULL, NULL,
		                       NULL) == 0)
			json_decref(skipped);
	}
	return false;
}

char *halibut_request_argument_json(const struct halibut_request *req,
                                    size_t index)
{
	bson_iter_t it;
	size_t next_stream;

	return argument(req, index, &it, &next_stream)
	               ? hbt_value_to_json(&it, &next_stream)
	               : NULL;
}

char *halibut_request_argument_text(const struct halibut_request *req,
                                    size_t index)
{
	bson_iter_t it;
	size_t next_stream;

	if (!argument(req, index, &it, &next_stream))
		return NULL;
	if (BSON_ITER_HOLDS_UTF8(&it))
		return bson_iter_dup_utf8(&it, NULL);
	if (!BSON_ITER_HOLDS_NUMBER(&it))
		return NULL;
	return hbt_value_to_json(&it, &next_stream);
}

bool halibut_request_argument_int(const struct halibut_request *req,
                                  size_t index, int64_t *value)
{
	bson_iter_t it;
	size_t next_stream;

	if (!argument(req, index, &it, &next_stream) ||
	    (!BSON_ITER_HOLDS_INT(&it)))
		return false;
	*value = bson_iter_as_int64(&it);
	return true;
}

const uint8_t *halibut_request_bson(const struct halibut_request *req,
                                    size_t *len)
{
	*len = req->bson_len;
	return req->bson;
}

size_t halibut_request_streams(const struct halibut_request *req)
{
	return req->streams.n;
}

struct halibut_stream *halibut_request_stream(const struct halibut_request *req,
                                              size_t index)
{
	return index < req->streams.n ? req->streams.all[index] : NULL;
}

void halibut_request_on_gone(struct halibut_request *req, void (*fn)(void *arg),
                             void *arg)
{
	req->gone = fn;
	req->gone_arg = arg;
}
