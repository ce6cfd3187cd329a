/* /varz and /redisz: the node as a whole. */
#include "documents.h"

static bool open_node(struct request *rq)
{
	rq->state = request_node(rq);
	if (rq->state == NULL) {
		request_fail(rq, 503, "The gateway does not tell of itself.");
		return false;
	}
	request_begin(rq, 200, REQUEST_JSON);
	return true;
}

static void close_node(struct request *rq)
{
	json_decref(rq->state);
	rq->state = NULL;
}

static enum request_piece put(struct evbuffer *out, json_t *value)
{
	if (!request_put_json(out, value))
		return REQUEST_FAILED;
	evbuffer_add(out, "\n", 1);
	return REQUEST_LAST;
}

static enum request_piece more_varz(struct request *rq, struct evbuffer *out)
{
	return put(out, json_incref(rq->state));
}

const struct document document_varz = {
	.path = "/varz",
	.summary = "The node: version, uptime, configuration, certificates, "
		   "totals of calls, bytes and errors.",
	.tables = REQUEST_TABLE(HBT_TABLE_NODE),
	.open = open_node,
	.more = more_varz,
	.close = close_node,
};

static enum request_piece more_redisz(struct request *rq, struct evbuffer *out)
{
	json_t *node = rq->state, *o = json_object();

	json_object_set(o, "node", json_object_get(node, "node"));
	json_object_set(o, "node_id", json_object_get(node, "node_id"));
	json_object_set(o, "redis", json_object_get(node, "redis"));
	return put(out, o);
}

const struct document document_redisz = {
	.path = "/redisz",
	.summary = "Redis and the other nodes that share it.",
	.tables = REQUEST_TABLE(HBT_TABLE_NODE),
	.open = open_node,
	.more = more_redisz,
	.close = close_node,
};
