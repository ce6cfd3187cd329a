/*
 * Memory that runs short at one chosen allocation: for tests that are linked
 * with --wrap for each name that they WRAP. For one file of a program.
 */
#ifndef HBT_TESTS_UNIT_SHORT_MEMORY_H
#define HBT_TESTS_UNIT_SHORT_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* Allocations until the one that fails; negative: none does. */
static int countdown = -1;
static bool failed;

static bool fails(void)
{
	if (countdown < 0 || countdown-- > 0)
		return false;
	failed = true;
	return true;
}

#define WRAP(type, name, params, args)                                         \
	type __real_##name params;                                             \
	type __wrap_##name params;                                             \
	type __wrap_##name params                                              \
	{                                                                      \
		return fails() ? NULL : __real_##name args;                    \
	}

#endif
