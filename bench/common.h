/* What the measuring programs share. Each ends with a sentence on failure. */
#ifndef HBT_BENCH_COMMON_H
#define HBT_BENCH_COMMON_H

#include <stddef.h>
#include <stdint.h>

#define MIB (1024 * 1024)

void die(const char *fmt, ...)
	__attribute__((format(printf, 1, 2), noreturn));

int64_t now_us(void);
/* Processor time of a process, ours with pid 0. Children do not count. */
int64_t cpu_us(int pid);
/* As many descriptors as the hard limit allows. */
void raise_descriptors(void);
/* Malloced text of a whole file. */
char *read_text(const char *path);
/* A whole number that is not negative; name is for the sentence. */
int64_t number(const char *name, const char *text);
/*
 * Returns once a line has come on standard input: whoever measures us has
 * looked at the clocks. Ends the program when there is no such line.
 */
void wait_for_go(void);

/* Durations, kept each: percentiles are exact. */
struct samples {
	uint32_t *us;
	size_t n, cap;
};
void samples_add(struct samples *s, int64_t us);
/* Sorts. 0 when there are none. */
uint32_t samples_at(struct samples *s, double share);

#endif
