/* What the commands of halibutctl share: halibutctl(1). */
#ifndef HBT_CTL_CTL_H
#define HBT_CTL_CTL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "base/error.h"

/* How halibutctl ends: by class of what went wrong. */
enum hbt_ctl_exit {
	HBT_EXIT_OK = 0,
	HBT_EXIT_REMOTE = 1,    /* the service answered with an error */
	HBT_EXIT_USAGE = 2,     /* the command line is wrong */
	HBT_EXIT_CONNECT = 3,   /* the endpoint cannot be reached */
	HBT_EXIT_TIMEOUT = 4,   /* too late: --timeout, or not collected */
	HBT_EXIT_TRUST = 5,     /* TLS, certificate or trust */
	HBT_EXIT_PROTOCOL = 6,  /* the peer broke the protocol */
	HBT_EXIT_CANCELLED = 7, /* by a signal, or by the gateway */
	HBT_EXIT_GATEWAY = 8,   /* no gateway at the control socket */
	HBT_EXIT_BROKEN = 9,    /* a connection or process ended on the way */
	HBT_EXIT_MACHINE = 10,  /* memory, disk, descriptors, a limit */
};

struct hbt_ctl_command {
	const char *name;
	int (*run)(int argc, char **argv); /* argv[0] is the command's name */
	const char *summary; /* for the list of commands */
	const char *help;    /* the whole of --help */
};

extern const struct hbt_ctl_command hbt_ctl_cert;
extern const struct hbt_ctl_command hbt_ctl_call;
extern const struct hbt_ctl_command hbt_ctl_status;
extern const struct hbt_ctl_command hbt_ctl_reload;
extern const struct hbt_ctl_command hbt_ctl_drain;
extern const struct hbt_ctl_command hbt_ctl_undrain;
extern const struct hbt_ctl_command hbt_ctl_shutdown;
extern const struct hbt_ctl_command hbt_ctl_log;
extern const struct hbt_ctl_command hbt_ctl_trust;
extern const struct hbt_ctl_command hbt_ctl_top;
extern const struct hbt_ctl_command hbt_ctl_kick;
extern const struct hbt_ctl_command hbt_ctl_connections;
extern const struct hbt_ctl_command hbt_ctl_subscriptions;
extern const struct hbt_ctl_command hbt_ctl_calls;
extern const struct hbt_ctl_command hbt_ctl_refused;
extern const struct hbt_ctl_command hbt_ctl_config;
extern const struct hbt_ctl_command hbt_ctl_ping;
extern const struct hbt_ctl_command hbt_ctl_health;

/* The exit code of an enum halibut_status. */
int hbt_ctl_exit_code(int status);

/* Says what is wrong with the command line and where help is; returns
 * HBT_EXIT_USAGE. */
int hbt_ctl_misuse(const char *command, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* The same for what getopt_long() with ":" did not like. */
int hbt_ctl_bad_option(const char *command, int opt, char **argv);

/*
 * Prints the error for a person, and its details when there are any; clears
 * it and returns its exit code.
 */
int hbt_ctl_failed(struct halibut_error *err);

/*
 * "500ms", "30s", "2min", "1h", "1d"; digits alone are seconds. False unless
 * it is one of those and more than 0.
 */
bool hbt_ctl_parse_duration(const char *text, int64_t *ms);

/* "host:port" or "[v6]:port". *host is malloced; false when it is neither. */
bool hbt_ctl_parse_host_port(const char *text, char **host, uint16_t *port);

/* How wide the terminal at f is; 0: it is none. */
size_t hbt_ctl_terminal_columns(FILE *f);

/* "12.3 MiB" */
void hbt_ctl_format_bytes(int64_t n, char text[32]);
/* "2 min 3 s"; the two largest units. */
void hbt_ctl_format_ms(int64_t ms, char text[32]);

/* The first line of a file, malloced: a password. NULL, and err says why. */
char *hbt_ctl_read_password(const char *path, struct halibut_error *err);

#endif
