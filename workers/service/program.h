/*
 * Service programs: which there are, their processes, and the calls that wait
 * for one. A process has one call at a time.
 */
#ifndef HBT_SERVICE_PROGRAM_H
#define HBT_SERVICE_PROGRAM_H

#include "call.h"
#include "worker.h"

/*
 * Replaces the list. Programs that are the same as before keep their
 * processes; the others finish the calls they have. Takes the content of
 * list over, not the array.
 */
void hbt_svc_programs_set(struct hbt_svc *svc, struct hbt_program *list,
                          size_t n);
/* No new calls; a program goes when its last call is done. */
void hbt_svc_programs_retire(struct hbt_svc *svc);
/* Ends all processes, at once with SIGTERM. */
void hbt_svc_programs_kill(struct hbt_svc *svc);
/* After SIGCHLD. */
void hbt_svc_programs_reap(struct hbt_svc *svc);
/* Frees them, and kills what still runs. */
void hbt_svc_programs_free(struct hbt_svc *svc);

/*
 * Finds the call's program and reserves a place in its queue. Fails with
 * what to answer: no such service, a command that cannot be run, too many
 * calls.
 */
int hbt_svc_program_admit(struct hbt_svc_call *call, struct halibut_error *err);
/* The call is complete: it runs, or waits for a process. */
void hbt_svc_program_submit(struct hbt_svc_call *call);
/* The call is over or gone: its program forgets it. */
void hbt_svc_program_forget(struct hbt_svc_call *call);
/* If a process works on the call, it is killed. */
void hbt_svc_program_stop(struct hbt_svc_call *call);

#endif
