/* A progress bar on standard error. */
#include "ctl/progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/timespan.h"
#include "ctl/ctl.h"

#define BAR_CELLS 24
#define REDRAW_MS 100
#define FASTEST ((int64_t)1 << 50) /* bytes a second that fit the line */

void hbt_ctl_progress_init(struct hbt_ctl_progress *p)
{
	memset(p, 0, sizeof(*p));
	p->enabled = isatty(STDERR_FILENO);
}

void hbt_ctl_progress_begin(struct hbt_ctl_progress *p, const char *what,
                            int64_t total)
{
	p->what = what;
	p->total = total;
	p->done = 0;
	p->start_ms = p->drawn_ms = hbt_now_ms();
}

void hbt_ctl_progress_format(const struct hbt_ctl_progress *p,
                             int64_t elapsed_ms, char *text, size_t cap)
{
	double part = p->total > 0 ? (double)p->done / (double)p->total : 1;
	double per_second =
		(double)p->done * 1000 /
		(double)(elapsed_ms > 0 ? elapsed_ms : 1);
	int full = (int)(part * BAR_CELLS);
	char bar[BAR_CELLS + 1], done[32], total[32], rate[32];

	if (full > BAR_CELLS)
		full = BAR_CELLS;
	memset(bar, '-', BAR_CELLS);
	memset(bar, '#', (size_t)full);
	bar[BAR_CELLS] = '\0';
	hbt_ctl_format_bytes(p->done, done);
	hbt_ctl_format_bytes(p->total, total);
	hbt_ctl_format_bytes(per_second < FASTEST ? (int64_t)per_second
	                                          : FASTEST,
	                     rate);
	snprintf(text, cap, "%-9s [%s] %3d %%  %s of %s  %s/s", p->what, bar,
	         (int)(part * 100), done, total, rate);
}

void hbt_ctl_progress_set(struct hbt_ctl_progress *p, int64_t done)
{
	int64_t now;
	char text[128];

	p->done = done;
	if (!p->enabled)
		return;
	now = hbt_now_ms();
	/* What is over before the first redraw shows no bar at all. */
	if (now - p->drawn_ms < REDRAW_MS)
		return;
	p->drawn_ms = now;
	p->drawn = true;
	hbt_ctl_progress_format(p, now - p->start_ms, text, sizeof(text));
	fprintf(stderr, "\r%s\033[K", text);
	fflush(stderr);
}

void hbt_ctl_progress_clear(struct hbt_ctl_progress *p)
{
	if (!p->drawn)
		return;
	fputs("\r\033[K", stderr);
	fflush(stderr);
	p->drawn = false;
}
