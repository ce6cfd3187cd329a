/*
 * What systemd tells a service and wants to hear from it: sd_notify(3) and
 * sd_listen_fds(3), by their documented protocol. Without systemd nothing of
 * it does anything.
 */
#ifndef HBT_MASTER_SYSTEMD_H
#define HBT_MASTER_SYSTEMD_H

#include <stdint.h>

/* Reads the environment, once, and removes from it what is for this process
 * alone. */
void hbt_systemd_init(void);

/* "READY=1" and the like; fields with newlines between. */
void hbt_systemd_notify(const char *fields);
/* A reload begins; READY=1 ends it. */
void hbt_systemd_notify_reloading(void);
/* Once a second or so: still alive. Sends what is due. */
void hbt_systemd_tick(int64_t now_ms);

/* Sockets that systemd listens on for us are descriptors 3 and up: how many
 * of those there are. Close-on-exec is set. */
int hbt_systemd_sockets(void);
#define HBT_SYSTEMD_FIRST_SOCKET 3

#endif
