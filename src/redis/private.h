/* What the files behind redis.h share. */
#ifndef HBT_REDIS_PRIVATE_H
#define HBT_REDIS_PRIVATE_H

#include <sys/queue.h>
#include "redis/keeper.h"
#include "redis/redis.h"
#include "redis/text.h"

enum batch_state {
	BATCH_BUILDING, /* the caller's */
	BATCH_WAITING,  /* for the connection, or for room on it */
	BATCH_SENT,
	BATCH_PAUSED,   /* was refused; sent again a second later */
	BATCH_ENDED,    /* done() is due */
};

struct hbt_redis_batch {
	struct hbt_redis *redis;
	TAILQ_ENTRY(hbt_redis_batch) link;
	enum batch_state state;
	struct hbt_text *text;
	int status; /* sticks, while building */
	bool raw;   /* error replies are handed over as well */
	unsigned multi, exec; /* which of its commands these are; 0: none */
	bool loose; /* this attempt is no transaction: MULTI was refused */
	bool cancelled;
	int64_t window_ms, start_ms;
	int64_t due_ms;  /* paused: when it goes out again */
	int64_t sent_us;
	redisReply **replies;
	unsigned n; /* replies so far, of this attempt */
	struct halibut_error failure; /* the last */
	bool failed; /* this attempt did */
	bool repeated;
	hbt_redis_done_fn done;
	void *arg;
};
TAILQ_HEAD(batch_list, hbt_redis_batch);

/* Batches on their way; batches.c. */
struct hbt_batches {
	struct batch_list waiting, sent, paused, ended;
	struct event *timer; /* the next of waiting and paused to look at */
	int64_t timer_due;   /* 0: not armed */
	struct event *turn;  /* ended ones */
	size_t in_flight;
	size_t waiting_bytes;
	uint64_t commands, failures, retries;
	uint32_t latency_us;
	bool no_multi; /* the server refuses it */
};

struct hbt_redis_channel;
TAILQ_HEAD(channel_list, hbt_redis_channel);

/* One channel of one SUBSCRIBE or UNSUBSCRIBE that waits for its answer. */
struct subscriber_op {
	struct hbt_redis_channel *channel;
	bool subscribe;
	bool last; /* of its command */
};

/* Channels; subscriber.c. */
struct hbt_subscriber {
	struct hbt_redis_channel *channels; /* uthash */
	struct channel_list wanted, leaving, news;
	struct subscriber_op *ops; /* n_ops of them from first_op */
	size_t first_op, n_ops, cap_ops;
	struct event *turn;  /* wanted, news */
	struct event *timer; /* leaving */
	struct hbt_redis_listener *cursor; /* the next to be called */
	size_t listened; /* channels with listeners */
};

struct doctor;

struct hbt_redis {
	struct event_base *base;
	struct hbt_redis_options options;
	SSL_CTX *tls;
	struct hbt_keeper *commands_keeper, *subscriber_keeper;
	struct hbt_batches batches;
	struct hbt_subscriber subscriber;
	void (*changed)(void *arg, bool up);
	void *changed_arg;
	bool up;       /* both */
	bool outage_logged, was_up;
	int64_t up_since_ms, down_since_ms;
	uint64_t outages, reconnects;
	uint64_t bytes_in, bytes_out;
	struct halibut_error last_error;
	int64_t last_error_ms;
	int64_t refusing_since_ms; /* 0: it takes what is written */
	struct halibut_error refusal;
	LIST_HEAD(, doctor) doctors; /* at work */
	int depth;     /* of our own callbacks */
	bool freed;
};

/* Around whatever may call back; redis_leave() is false when it was freed. */
void redis_enter(struct hbt_redis *r);
bool redis_leave(struct hbt_redis *r);

/* NULL while not up. */
struct hbt_link *redis_commands_link(const struct hbt_redis *r);

/* A command that writes was refused for want of room, or executed. */
void redis_note_refused(struct hbt_redis *r, const struct halibut_error *why);
void redis_note_written(struct hbt_redis *r);

/* How many commands it has; batch.c. */
unsigned hbt_batch_commands(const struct hbt_redis_batch *b);

bool hbt_batches_init(struct hbt_redis *r);
/* Ends all of them with HALIBUT_ESHUTDOWN. */
void hbt_batches_shutdown(struct hbt_redis *r);
void hbt_batches_fini(struct hbt_redis *r);
void hbt_batches_up(struct hbt_redis *r); /* also when drained */
void hbt_batches_reply(struct hbt_redis *r, redisReply *reply);
void hbt_batches_lost(struct hbt_redis *r, const struct halibut_error *why);
/* A round of attempts to connect failed. */
void hbt_batches_unreachable(struct hbt_redis *r);

/*
 * One attempt, whose replies may be errors; err is NULL unless there was no
 * connection. For the doctor.
 */
void hbt_batch_send_raw(struct hbt_redis_batch *b, hbt_redis_done_fn done,
                        void *arg);

/* Ends all examinations. */
void hbt_doctors_shutdown(struct hbt_redis *r);

bool hbt_subscriber_init(struct hbt_redis *r);
void hbt_subscriber_fini(struct hbt_redis *r);
void hbt_subscriber_up(struct hbt_redis *r); /* also when drained */
void hbt_subscriber_reply(struct hbt_redis *r, redisReply *reply);
void hbt_subscriber_lost(struct hbt_redis *r);

#endif
