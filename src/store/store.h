/*
 * Where the DataStreams of queued messages wait, since their bytes never lie
 * in the queue's own keys. All nodes of a queue use the same kind of store.
 * redis-queue 3.4
 *
 * Memory does not depend on the size of a stream: data flows in and out, and
 * waits where it came from when a store is slow.
 */
#ifndef HBT_STORE_STORE_H
#define HBT_STORE_STORE_H

#include <event2/event.h>
#include "wire/flow.h"
#include "wire/message.h"

struct hbt_redis;
struct hbt_store;

struct hbt_store_config {
	/*
	 * "redis": keys of their own, expiring, under max_total_bytes for all
	 * nodes together. "directory": files below directory. "program": the
	 * command is run, without a shell, as `command store ID`, data on its
	 * standard input; `command fetch ID`, data on its standard output;
	 * `command delete ID`. "metadata": JSON with base64 beside the message
	 * itself, as the original's sample does, up to max_metadata_bytes.
	 */
	const char *kind;
	const char *key_prefix;  /* redis: the operator's */
	const char *directory;
	const char *command;
	int64_t max_total_bytes;    /* redis, directory; 0: none */
	int64_t max_metadata_bytes; /* metadata: of a message */
	int64_t program_timeout_ms; /* without progress: it is killed */
	int64_t retry_window_ms;    /* redis; 0: HBT_REDIS_WINDOW_MS */
};

/* redis: for kind "redis", else unused; outlives the store. HALIBUT_EINVAL
 * with the reason when config is no good (also: directory not writable). */
int hbt_store_new(struct hbt_store **out, struct event_base *base,
                  struct hbt_redis *redis,
                  const struct hbt_store_config *config,
                  struct halibut_error *err);
/* After everything that was begun with it is ended and freed. */
void hbt_store_free(struct hbt_store **s);

/* metadata: valid during the call; err NULL when all is stored. From the
 * loop. */
typedef void (*hbt_store_saved_fn)(void *arg, const uint8_t *metadata,
                                   size_t len,
                                   const struct halibut_error *err);

/*
 * Stores the streams of m, none or many, for ttl_ms. *sink takes the raw
 * section (flow.h); its end, complete or not, ends the saving: saved is called
 * once afterwards, with an error when the section was cut, and whatever was
 * stored of it is removed. Without streams *sink is NULL. HALIBUT_OK or
 * HALIBUT_ENOMEM. *out is gone once saved returns; before, after
 * hbt_saving_cancel(), saved is not called, and a sink that is still open takes
 * and forgets what comes.
 */
struct hbt_saving;
int hbt_store_save(struct hbt_saving **out, struct hbt_store *s,
                   const struct hbt_message *m, int64_t ttl_ms,
                   struct hbt_sink **sink, hbt_store_saved_fn saved, void *arg);
void hbt_saving_cancel(struct hbt_saving **saving); /* NULL allowed */
/* How long a Redis that is gone is tried again, instead of retry_window_ms; for
 * all that is not on its way yet. */
void hbt_saving_set_window(struct hbt_saving *saving, int64_t ms);

/*
 * A source of the raw section of m's streams, which were stored with this
 * metadata, in document order. Fetches when it is read. Each stream is
 * deleted from the store once it was read to its end; freeing the source
 * deletes the rest. sent, if given, is told how much of a stream's data was
 * read so far. *out is NULL for a message without streams. HALIBUT_EPROTO when
 * the metadata does not fit, HALIBUT_ESTREAM when a stream beside the message
 * is not as long as the document says.
 */
typedef void (*hbt_store_progress_fn)(void *arg, size_t stream, int64_t sent);
int hbt_store_load(struct hbt_source **out, struct hbt_store *s,
                   const struct hbt_message *m, const uint8_t *metadata,
                   size_t len, hbt_store_progress_fn sent, void *arg,
                   struct halibut_error *err);

/* Removes the streams of a message that nobody will read. */
void hbt_store_discard(struct hbt_store *s, const struct hbt_message *m,
                       const uint8_t *metadata, size_t len);

#endif
