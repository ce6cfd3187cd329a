/*
 * What a process costs. It says so itself: the master need not be allowed to
 * look at the processes of another user (ProtectProc= of systemd).
 */
#ifndef HBT_IPC_VITALS_H
#define HBT_IPC_VITALS_H

#include "ipc/counters.h"

/* Before a sandbox is entered, after which no file can be opened. What cannot
 * be opened is not counted. */
void hbt_vitals_begin(void);
/* Sets processor time, memory and descriptors. */
void hbt_vitals_note(struct hbt_worker_stats *s);

#endif
