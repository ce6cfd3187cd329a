/* One call: from the master's CALL to the last byte of its response. */
#ifndef HBT_SERVICE_CALL_H
#define HBT_SERVICE_CALL_H

#include "convert.h"
#include "worker.h"

enum hbt_svc_call_state {
	CALL_ARRIVING, /* its DataStreams are */
	CALL_WAITING,  /* on its program's list, for a process */
	CALL_RUNNING,  /* a process has it */
	CALL_SENDING,  /* answered; the response's DataStreams flow */
};

struct hbt_svc_outlet;
struct hbt_svc_slot;

struct hbt_svc_call {
	TAILQ_ENTRY(hbt_svc_call) link;      /* svc->calls */
	TAILQ_ENTRY(hbt_svc_call) wait_link; /* program->waiting */
	enum hbt_svc_call_state state;
	struct hbt_svc *svc;
	uint32_t ipc_id;
	uint64_t number; /* its JSON-RPC id */
	struct hbt_message *message;
	struct hbt_svc_dir *dir; /* NULL once it is given back */
	bool dir_in_use; /* by a process that was killed */
	struct hbt_svc_intake *intake; /* NULL: no DataStreams */
	struct hbt_svc_outlet *outlet;
	struct event *timer; /* the program's */
	struct hbt_svc_program *program; /* NULL until it was found */
	struct hbt_svc_slot *slot;       /* RUNNING: who has it */
};

/*
 * Opens a call and sees it through. Takes message and fd (its DataStreams, or
 * -1) over. What goes wrong is answered to the master.
 */
void hbt_svc_call_open(struct hbt_svc *svc, uint32_t ipc_id,
                       struct hbt_message *message, int fd);
/* The master gives it up. Unknown ids are of calls just answered. */
void hbt_svc_call_cancel(struct hbt_svc *svc, uint32_t ipc_id);

/* Each of these ends the call for the master, and frees it unless
 * DataStreams still flow. */
void hbt_svc_call_answer(struct hbt_svc_call *call,
                         struct hbt_svc_answer *answer);
void hbt_svc_call_answer_error(struct hbt_svc_call *call,
                               const struct halibut_error *err);
void hbt_svc_call_fail(struct hbt_svc_call *call,
                       const struct halibut_error *err);

/* FAIL without a call. */
void hbt_svc_refuse(struct hbt_svc *svc, uint32_t ipc_id,
                    const struct halibut_error *err);
/* Ends them all: with FAIL if the master is still there. */
void hbt_svc_calls_abandon(struct hbt_svc *svc);

#endif
