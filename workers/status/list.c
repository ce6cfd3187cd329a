#include "list.h"

#include <stdlib.h>
#include <string.h>

#include "view.h"

#define PIECE_ROWS 64

struct state {
	const struct list *list;
	struct selection *selections[LIST_PARTS];
	size_t part;
	bool head_given, part_begun, row_given, incomplete;
};

static size_t count_parts(const struct list *list)
{
	size_t n = 0;

	while (n < LIST_PARTS && list->parts[n].name != NULL)
		n++;
	return n;
}

void list_close(struct request *rq)
{
	struct state *s = rq->state;

	if (s == NULL)
		return;
	for (size_t i = 0; i < LIST_PARTS; i++)
		select_free(&s->selections[i]);
	free(s);
	rq->state = NULL;
}

/* ---- Parameters ---- */

bool list_check(struct request *rq, const struct list *list)
{
	struct state *s = calloc(1, sizeof(*s));

	rq->state = s;
	if (s == NULL)
		return false;
	s->list = list;
	for (size_t i = 0; i < count_parts(list); i++) {
		const struct list_part *p = &list->parts[i];
		char *wrong = select_new(&s->selections[i], p->table,
		                         list->whole ? NULL : &rq->query,
		                         p->aliases, p->ignored);

		if (wrong != NULL)
			request_fail(rq, 400, "%s", wrong);
		free(wrong);
		if (s->selections[i] == NULL)
			return false;
	}
	return true;
}

/* ---- Pieces ---- */

static bool add_snapshot(struct request *rq, struct selection *to,
                         enum hbt_table table)
{
	struct state *s = rq->state;

	s->incomplete |= rq->tables[table]->incomplete;
	return select_add(to, rq->tables[table]);
}

/* The rows are chosen from here on; what is not wanted is not held. */
bool list_open(struct request *rq)
{
	struct state *s = rq->state;
	bool good = true;

	for (size_t i = 0; good && i < count_parts(s->list); i++) {
		const struct list_part *p = &s->list->parts[i];

		good = add_snapshot(rq, s->selections[i], p->table);
		if (good && p->and_table != 0)
			good = add_snapshot(rq, s->selections[i], p->and_table);
	}
	for (size_t i = 0; i < HBT_TABLES; i++)
		if (i != HBT_TABLE_NODE)
			snapshot_unref(&rq->tables[i]);
	return good;
}

/* An object without its end, to which members are added. */
static bool put_open(struct evbuffer *out, json_t *o)
{
	char *text = o != NULL ? json_dumps(o, JSON_COMPACT) : NULL;
	bool good = text != NULL &&
	            evbuffer_add(out, text, strlen(text) - 1) == 0;

	free(text);
	json_decref(o);
	return good;
}

static bool put_head(struct request *rq, struct evbuffer *out)
{
	struct state *s = rq->state;
	json_t *node = request_node(rq), *head;

	if (s->list->whole) {
		json_object_set_new(node, "incomplete",
		                    json_boolean(s->incomplete));
		return put_open(out, node);
	}
	head = json_object();
	json_object_set(head, "node", json_object_get(node, "node"));
	json_object_set(head, "node_id", json_object_get(node, "node_id"));
	json_object_set_new(head, "now", view_now());
	json_object_set_new(head, "incomplete", json_boolean(s->incomplete));
	json_decref(node);
	return put_open(out, head);
}

static void put_part(struct state *s, struct evbuffer *out)
{
	const struct list_part *p = &s->list->parts[s->part];
	const struct selection *sel = s->selections[s->part];

	if (!s->list->whole)
		evbuffer_add_printf(out,
		                    ",\"num_%s\":%llu,\"total_%s\":%llu,"
		                    "\"offset\":%llu,\"limit\":%llu",
		                    p->name,
		                    (unsigned long long)select_count(sel),
		                    p->name,
		                    (unsigned long long)select_total(sel),
		                    (unsigned long long)select_offset(sel),
		                    (unsigned long long)select_limit(sel));
	evbuffer_add_printf(out, ",\"%s\":[", p->name);
	s->part_begun = true;
	s->row_given = false;
}

static bool put_row(struct state *s, struct evbuffer *out,
                    const struct view *v)
{
	const struct list_part *p = &s->list->parts[s->part];
	json_t *o = view_json(v);

	if (o == NULL)
		return false;
	if (p->decorate != NULL && !p->decorate(o, v)) {
		json_decref(o);
		return true;
	}
	evbuffer_add_printf(out, s->row_given ? ",\n" : "\n");
	s->row_given = true;
	return request_put_json(out, o);
}

static enum request_piece put_rows(struct state *s, struct evbuffer *out)
{
	struct view v;

	if (!s->part_begun)
		put_part(s, out);
	for (int i = 0; i < PIECE_ROWS; i++) {
		if (!select_next(s->selections[s->part], &v)) {
			evbuffer_add_printf(out, "]");
			s->part++;
			s->part_begun = false;
			return REQUEST_MORE;
		}
		if (!put_row(s, out, &v))
			return REQUEST_FAILED;
	}
	return REQUEST_MORE;
}

/* All are chosen first: afterwards no snapshot is held. */
static enum select_result choose(struct state *s)
{
	enum select_result result = SELECT_DONE;

	for (size_t i = 0; result == SELECT_DONE && i < count_parts(s->list);
	     i++)
		result = select_slice(s->selections[i]);
	return result;
}

enum request_piece list_more(struct request *rq, struct evbuffer *out)
{
	struct state *s = rq->state;

	if (!s->head_given) {
		switch (choose(s)) {
		case SELECT_MORE:
			return REQUEST_MORE;
		case SELECT_DONE:
			break;
		case SELECT_BUSY:
			request_fail(rq, 503,
			             "Others are being shown as much as fits "
			             "into memory, and read it slowly. Try "
			             "again, or ask for less with limit.");
			return REQUEST_REFUSED;
		default:
			request_fail(rq, 503, "out of memory");
			return REQUEST_REFUSED;
		}
		s->head_given = true;
		request_begin(rq, 200, REQUEST_JSON);
		return put_head(rq, out) ? REQUEST_MORE : REQUEST_FAILED;
	}
	if (s->part < count_parts(s->list))
		return put_rows(s, out);
	evbuffer_add_printf(out, "}\n");
	return REQUEST_LAST;
}
