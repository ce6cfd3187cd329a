/* A progress bar on standard error, when that is a terminal. */
#ifndef HBT_CTL_PROGRESS_H
#define HBT_CTL_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hbt_ctl_progress {
	bool enabled; /* false: nothing is shown */
	bool drawn;   /* the line has something on it */
	const char *what; /* "sending" or "receiving" */
	int64_t total, done;
	int64_t start_ms, drawn_ms;
};

/* Off unless standard error is a terminal. */
void hbt_ctl_progress_init(struct hbt_ctl_progress *p);
/* Begins a bar of total bytes. what is kept by reference. */
void hbt_ctl_progress_begin(struct hbt_ctl_progress *p, const char *what,
                            int64_t total);
/* done of the total so far; drawn at most ten times a second. */
void hbt_ctl_progress_set(struct hbt_ctl_progress *p, int64_t done);
/* Takes the bar off the screen; to be called before anything is printed. */
void hbt_ctl_progress_clear(struct hbt_ctl_progress *p);

/* The line that is drawn, for elapsed_ms since it began. Truncates. */
void hbt_ctl_progress_format(const struct hbt_ctl_progress *p,
                             int64_t elapsed_ms, char *text, size_t cap);

#endif
