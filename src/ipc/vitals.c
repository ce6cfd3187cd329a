#include "ipc/vitals.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static int statm = -1; /* memory, in pages */
static int fds = -1;   /* its size is the number of open ones */

void hbt_vitals_begin(void)
{
	if (statm < 0)
		statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	if (fds < 0)
		fds = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static uint64_t us_of(const struct timeval *tv)
{
	return (uint64_t)tv->tv_sec * 1000000 + (uint64_t)tv->tv_usec;
}

/* The second number of "12345 678 ...". */
static uint64_t resident(void)
{
	char text[128];
	char *end;
	ssize_t n;

	if (statm < 0 || (n = pread(statm, text, sizeof(text) - 1, 0)) <= 0)
		return 0;
	text[n] = '\0';
	(void)strtoull(text, &end, 10);
	return strtoull(end, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

void hbt_vitals_note(struct hbt_worker_stats *s)
{
	struct rusage used;
	struct stat st;

	if (getrusage(RUSAGE_SELF, &used) == 0) {
		s->cpu_user_us = us_of(&used.ru_utime);
		s->cpu_system_us = us_of(&used.ru_stime);
	}
	s->resident_bytes = resident();
	s->descriptors = fds >= 0 && fstat(fds, &st) == 0 && st.st_size > 0
	                         ? (uint64_t)st.st_size
	                         : 0;
}
