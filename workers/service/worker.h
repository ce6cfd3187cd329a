/* The service worker: what its parts share. */
#ifndef HBT_SERVICE_WORKER_H
#define HBT_SERVICE_WORKER_H

#include <event2/event.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "ipc/ipc.h"
#include "ipc/proto.h"
#include "dirs.h"

struct hbt_svc_call;
struct hbt_svc_program;

enum hbt_svc_phase {
	SVC_SERVING,
	SVC_DRAINING, /* no new calls; exits behind the last one */
	SVC_ENDING,   /* no calls; exits behind the last process */
};

struct hbt_svc {
	enum hbt_svc_phase phase;
	struct event_base *base;
	struct hbt_ipc *ipc; /* NULL once the master is gone */
	struct hbt_settings settings;
	bool failed; /* cannot do its work: the exit status says so */
	struct hbt_svc_dirs *dirs; /* NULL until settings came */
	struct hbt_deflater *deflater;
	TAILQ_HEAD(, hbt_svc_program) programs;
	TAILQ_HEAD(, hbt_svc_call) calls; /* every one that is open */
	uint64_t next_call;
	size_t waiting_bytes; /* of calls without a process */
	struct hbt_worker_stats stats;
	struct hbt_worker_stats told; /* what the master knows */
	struct event *second, *reaper, *terminate, *turn;
};

/* Takes fd, the channel to the master, over in every case. */
int hbt_svc_new(struct hbt_svc **out, int fd);
/* Returns when the worker has nothing more to do; not HALIBUT_OK when it
 * could not do it. */
int hbt_svc_run(struct hbt_svc *svc);
void hbt_svc_free(struct hbt_svc **svc);

/* Sends to the master. Takes w and fd over. HALIBUT_ENOMEM, HALIBUT_ELIMIT. */
int hbt_svc_send(struct hbt_svc *svc, enum hbt_ipc_type type, uint32_t id,
                  struct hbt_wr *w, int fd);
/* Not even an error can be sent: ends the worker, and so all its calls. */
void hbt_svc_doom(struct hbt_svc *svc, const char *why);
/* Something ended: see in a moment whether the worker may, too. */
void hbt_svc_look_around(struct hbt_svc *svc);

#endif
