/*
 * Between the common part of the stores and the kinds of store. A kind writes
 * and reads one stream after another; sections, their order, metadata and the
 * contract of store.h are the common part's.
 */
#ifndef HBT_STORE_PRIVATE_H
#define HBT_STORE_PRIVATE_H

#include <jansson.h>
#include "base/guid.h"
#include "store/store.h"
#include "wire/reader.h"

#define HBT_STORE_ID_TEXT 33 /* 32 hex digits: of all streams of a message */

/* What metadata says about one stream, in the order of the saving. */
struct hbt_stored_stream {
	struct hbt_guid id;
	int64_t length;
	const char *base64; /* inside json; only kind metadata */
	bool taken;         /* by a reference of the document */
};

/* Metadata, parsed. */
struct hbt_stored {
	char id[HBT_STORE_ID_TEXT];
	int64_t ttl_ms;
	struct hbt_stored_stream *v;
	size_t n;
	json_t *json;
};

struct hbt_store {
	struct event_base *base;
	const struct hbt_store_ops *ops;
	void *impl; /* the kind's */
	int64_t max_metadata_bytes;
};

struct hbt_saving {
	int64_t window_ms; /* 0: the store's */
	struct hbt_store *store;
	struct hbt_sink sink;
	struct hbt_message *m;
	struct hbt_section section;
	struct hbt_stored what; /* grows with the streams that came */
	size_t begun;           /* streams; the last one may be under way */
	void *put;              /* the kind's */
	struct event *later, *refresh;
	struct halibut_error err; /* sticky */
	bool sink_open, cancelled, done, short_write;
	hbt_store_saved_fn saved;
	void *arg;
};

struct hbt_load {
	struct hbt_source src;
	struct hbt_store *store;
	const struct hbt_store_ops *ops;
	struct hbt_message *m;
	struct hbt_stored what;
	size_t *index; /* of each stream of m in what */
	size_t at;     /* the stream that is read */
	enum { LOAD_HEAD, LOAD_DATA, LOAD_TAIL } phase;
	size_t framed; /* bytes of head or tail that were read */
	int64_t read;  /* bytes of its data that were read */
	void *get;     /* the kind's; NULL: not open */
	struct event *refresh;
	hbt_store_progress_fn sent;
	void *arg;
};

/* All may be NULL where there is nothing to do. */
struct hbt_store_ops {
	const char *kind;
	int (*open)(struct hbt_store *s, struct hbt_redis *redis,
	            const struct hbt_store_config *config,
	            struct halibut_error *err);
	void (*close)(struct hbt_store *s);

	/* Saving: g->put is made, NULL until then. */
	int (*put_open)(struct hbt_saving *g, struct halibut_error *err);
	/* Can it take a beginning, data, an end? Else hbt_saving_go_on(). */
	bool (*put_ready)(struct hbt_saving *g);
	int (*put_begin)(struct hbt_saving *g, size_t k,
	                 struct halibut_error *err);
	ssize_t (*put_write)(struct hbt_saving *g, const uint8_t *data,
	                     size_t len, struct halibut_error *err);
	int (*put_end)(struct hbt_saving *g, size_t k,
	               struct halibut_error *err);
	/* All streams ended: leads to hbt_saving_done() or _failed(). */
	void (*put_finish)(struct hbt_saving *g);
	/* Frees g->put; not kept: removes what was stored. */
	void (*put_close)(struct hbt_saving *g, bool kept);
	/* Metadata of its own: malloced JSON text. */
	char *(*put_metadata)(struct hbt_saving *g, size_t *len);

	/* Loading stream k of what; l->get is made. */
	int (*get_open)(struct hbt_load *l, size_t k,
	                struct halibut_error *err);
	ssize_t (*get_read)(struct hbt_load *l, size_t k, void *buf,
	                    size_t cap, struct halibut_error *err);
	void (*get_close)(struct hbt_load *l);

	/* Begins to remove stream k, or makes it live for its ttl again. */
	void (*remove)(struct hbt_store *s, const struct hbt_stored *what,
	               size_t k);
	void (*refresh)(struct hbt_store *s, const struct hbt_stored *what,
	                size_t k);
};

extern const struct hbt_store_ops hbt_store_metadata;
extern const struct hbt_store_ops hbt_store_directory;
extern const struct hbt_store_ops hbt_store_redis;
extern const struct hbt_store_ops hbt_store_program;

/* What every kind has, under these names. */
#define HBT_STORE_PUT_AND_GET                                                  \
	.put_open = put_open, .put_ready = put_ready, .put_begin = put_begin,  \
	.put_write = put_write, .put_end = put_end, .put_close = put_close,    \
	.get_open = get_open, .get_read = get_read, .get_close = get_close

/* Runs ev in the loop's next turn, after others had theirs; event_active()
 * would be in this one. */
void hbt_store_next_turn(struct event *ev);

/* From the kinds; all take effect in the loop's next turn. */
void hbt_saving_go_on(struct hbt_saving *g);
void hbt_saving_done(struct hbt_saving *g);
void hbt_saving_failed(struct hbt_saving *g, const struct halibut_error *err);
/* Only from the loop. */
void hbt_load_go_on(struct hbt_load *l);

/* Metadata: parse.c. n 0 for that of a message without streams. */
int hbt_stored_parse(struct hbt_stored *what, const struct hbt_store *s,
                     const uint8_t *metadata, size_t len,
                     const struct hbt_store_ops **ops,
                     struct halibut_error *err);
void hbt_stored_fini(struct hbt_stored *what);
/* NULL when memory is short. */
char *hbt_stored_write(const struct hbt_stored *what, const char *kind,
                       size_t *len);

#endif
