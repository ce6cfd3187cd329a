/*
 * A request on its way through Redis: what the files share that bring it there
 * and its response back. Each calls only those below it.
 *
 *   redis_send.c           begins it, and is what others call
 *   redis_send_submit.c    prepares it, and puts it into Redis
 *   redis_send_watch.c     while it is there: whether it is collected, its
 *                          receiver lives, and the response has come
 *   redis_send_response.c  reads the response
 *   redis_send_end.c       every way in which it ends
 *
 * A send is on one of its node's lists, fresh or sends, until it is freed, and
 * on its queue's as long as its origin waits: that is, until p has ended. The
 * node outlives it. What is begun for it (batches, listeners, wrapping,
 * saving, ...) is its own, and is taken back by redis_send_stop().
 *
 * What files outside of these call is in redis_private.h.
 */
#ifndef HBT_QUEUE_REDIS_SEND_H
#define HBT_QUEUE_REDIS_SEND_H

#include "queue/redis_private.h"

enum redis_send_stage {
	SEND_UNGUARDED, /* waits until Redis' data is watched over */
	SEND_PREPARES,  /* wraps its document, stores its DataStreams */
	SEND_STORES,    /* its key is written; nobody knows of it yet */
	SEND_SUBMITS,   /* its id is pushed: a receiver may have it */
	SEND_WAITS,     /* in Redis; not known to be collected */
	SEND_COLLECTED,
	SEND_READS, /* its response is in this process */
	SEND_ENDED, /* p has its answer; Redis is told */
};

struct redis_send {
	struct hbt_redis_node *node;
	struct redis_queue *queue; /* these two are NULL when p is answered */
	struct hbt_pending *p;
	struct hbt_taker taker; /* p's, to hear that it is cancelled */
	struct hbt_message *msg;
	char id[HBT_GUID_TEXT];
	char *ref; /* NULL: it did not get that far */
	enum redis_send_stage stage;
	bool withdrawn;   /* our delete came first: nobody had it */
	bool collected;   /* somebody else's did */
	bool here;        /* that was this process */
	bool wants_end;   /* its origin wants no answer any more */
	bool late;        /* the time to collect it is over */
	bool heard;       /* a heart beat of its receiver */
	bool last_chance; /* the receiver is silent; one more look, or two */
	bool is_lost;     /* the receiver is there, and does not carry it */
	bool look_again, push_again;
	bool wrapped, saved;
	bool fresh; /* on that list of its node */

	struct hbt_wrapping *wrapping;
	struct hbt_saving *saving;
	struct hbt_feed *feed;
	struct hbt_message *response;
	struct hbt_ahead *ahead; /* reads its DataStreams */
	uint8_t *body, *metadata;
	size_t body_len, metadata_len;
	unsigned list_round; /* redis_list_pushing()'s */

	/* Submission or farewell; looks for the response; for the request. */
	struct hbt_redis_batch *batch, *look, *check, *withdrawal, *beat;
	struct hbt_redis_listener pulse, beats;
	struct redis_lost lost;
	struct redis_due due;
	int64_t since_ms; /* when it began, then when it was submitted */
	int64_t beat_ms, check_ms, look_ms, look_wait_ms, heard_ms, again_ms;

	UT_hash_handle hh;
	TAILQ_ENTRY(redis_send) of_node, of_queue;
};

/* ---- redis_send_submit.c ---- */

/* Starts its way into Redis. s may be gone afterwards. */
void redis_send_prepare(struct redis_send *s);

/* ---- redis_send_watch.c ---- */

/* It is in Redis. listeners: so many heard the pulse of its endpoint. */
void redis_send_watch(struct redis_send *s, int64_t listeners);
/* Listens to the pulse of its response, if it does not yet. */
void redis_send_listen(struct redis_send *s);
/* Its time has come, once it is in Redis. s may be gone afterwards. */
void redis_send_on_time(struct redis_send *s, int64_t now);
/* Asks Redis for the response, once more if it does so now; s->look stays NULL
 * when memory is short. */
void redis_send_look(struct redis_send *s);
/* Asks Redis whether the request still lies there, once at a time. */
void redis_send_check(struct redis_send *s);
/* Whoever deletes the request decides: us, or a receiver. s may be gone
 * afterwards. */
void redis_send_withdraw(struct redis_send *s);
/* For s->lost.answered. */
void redis_send_on_lost_answer(struct redis_lost *l, bool is_lost);

/* ---- redis_send_response.c ---- */

/* What an HMGET of the response's two fields replied. False if it is not there;
 * else ends s, now or when it was read. */
bool redis_send_read(struct redis_send *s, const redisReply *fields);

/* ---- redis_send_end.c ---- */

/* It does not wait for the watch over Redis' data any more. */
void redis_send_leave_fresh(struct redis_send *s);
/* Somebody has it, or had it. */
void redis_send_note_collected(struct redis_send *s);
/* Deletes its DataStreams: nobody reads them. */
void redis_send_discard_streams(struct redis_send *s);
/* Takes back all that was begun for it, and its timer. */
void redis_send_stop(struct redis_send *s);
/* Stops and frees it; p has ended. */
void redis_send_destroy(struct redis_send *s);
/*
 * p has its answer. Takes the request out of Redis if it may still lie there;
 * abort: tells a receiver that nobody waits for it. s is gone afterwards, or
 * as soon as Redis was told.
 */
void redis_send_farewell(struct redis_send *s, bool abort);

/* Each of these ends p, and then s as redis_send_farewell() does. */

/* By what Redis, the store or the watch over them did. cause: NULL if none. */
void redis_send_fail(struct redis_send *s, enum hbt_redis_failure what,
                     const char *cause, bool abort);
/* The time to collect it is over. */
void redis_send_expire(struct redis_send *s);
/* The same, but Redis could not say whether somebody has it. */
void redis_send_expire_unsure(struct redis_send *s,
                              const struct halibut_error *why);
/* The origin gave it up, and Redis has said what became of it. */
void redis_send_end_cancelled(struct redis_send *s);

#endif
