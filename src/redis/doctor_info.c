/* INFO, line by line: what of it matters to the queue. redis-queue 15 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "redis/doctor_int.h"

/* UNLINK; each of the other commands is older. */
#define OLDEST_MAJOR 4

/* The value of "name:value\r\n". False when there is none. */
static bool line(const char *info, const char *name, char *value, size_t cap)
{
	size_t n = strlen(name), len;

	for (const char *p = info; p != NULL; p = strchr(p, '\n')) {
		p += *p == '\n';
		if (strncmp(p, name, n) != 0 || p[n] != ':')
			continue;
		p += n + 1;
		len = strcspn(p, "\r\n");
		snprintf(value, cap, "%.*s", (int)(len < cap ? len : cap - 1),
		         p);
		return true;
	}
	return false;
}

static long long figure(const char *info, const char *name)
{
	char value[32];

	return line(info, name, value, sizeof(value)) ? atoll(value) : 0;
}

static void version(struct notes *notes, const char *info)
{
	char value[32];

	if (!line(info, "redis_version", value, sizeof(value)))
		return;
	if (atoi(value) < OLDEST_MAJOR)
		doctor_note(notes, HBT_FINDING_ERROR,
		            "install a supported version of Redis",
		            "Redis %s is too old: the queue needs %d.0 or "
		            "later (UNLINK)",
		            value, OLDEST_MAJOR);
	else
		doctor_note(notes, HBT_FINDING_OK, NULL, "Redis %s", value);
}

static void role(struct notes *notes, const char *info)
{
	char value[32], host[128] = "its primary";

	if (!line(info, "role", value, sizeof(value)) ||
	    strcmp(value, "master") == 0)
		return;
	line(info, "master_host", host, sizeof(host));
	doctor_note(notes, HBT_FINDING_ERROR, "redis-cli REPLICAOF NO ONE",
	            "it is a replica of %s:%lld and cannot be written to: name "
	            "that server, or promote this one",
	            host, figure(info, "master_port"));
}

static void cluster(struct notes *notes, const char *info)
{
	char value[32];

	if (!line(info, "redis_mode", value, sizeof(value)) ||
	    strcmp(value, "cluster") != 0)
		return;
	doctor_note(notes, HBT_FINDING_HINT, NULL,
	            "it is a node of a Redis Cluster: that works only while "
	            "this node has all slots, for moved keys are not followed; "
	            "use a single server, or sentinels");
}

static void memory(struct notes *notes, const char *info)
{
	long long max = figure(info, "maxmemory");
	long long used = figure(info, "used_memory");
	char policy[32] = "noeviction";

	line(info, "maxmemory_policy", policy, sizeof(policy));
	if (strcmp(policy, "noeviction") != 0)
		doctor_note(notes, HBT_FINDING_HINT,
		            "redis-cli CONFIG SET maxmemory-policy noeviction",
		            "maxmemory-policy is %s%s: Redis may drop requests "
		            "and responses without a word when memory is short",
		            policy, max == 0 ? " (and maxmemory is not set)"
		                             : "");
	if (max > 0 && used >= max / 10 * 9)
		doctor_note(notes, HBT_FINDING_HINT,
		            "redis-cli CONFIG SET maxmemory …",
		            "90 %% of its memory or more are used (maxmemory "
		            "is %lld MiB): when it is full, requests are "
		            "refused",
		            max >> 20);
}

/* By design what is in it is lost as a whole, or not at all. */
void doctor_read_persistence(struct notes *notes, const char *info,
                             const char *save)
{
	bool log = figure(info, "aof_enabled") != 0;
	bool known = log || save != NULL;

	if (!known)
		return;
	if (log || (save != NULL && save[0] != '\0'))
		doctor_note(notes, HBT_FINDING_HINT,
		            log ? "redis-cli CONFIG SET appendonly no"
		                : "redis-cli CONFIG SET save \"\"",
		            "it saves to disk (%s): after a restart it may "
		            "deliver requests whose callers are long gone; the "
		            "queue needs no persistence",
		            log ? "appendonly" : "save");
	else
		doctor_note(notes, HBT_FINDING_OK, NULL,
		            "it does not save to disk: its restart ends the "
		            "calls under way, which may be tried again");
}

void doctor_read_info(struct notes *notes, const char *info)
{
	version(notes, info);
	role(notes, info);
	cluster(notes, info);
	memory(notes, info);
}
