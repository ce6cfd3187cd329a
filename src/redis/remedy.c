/* What an operator can do about an error reply of Redis. */
#include "redis/remedy.h"

#include <stddef.h>
#include <string.h>

static const struct {
	const char *code;
	const char *remedy;
} remedies[] = {
	{"NOAUTH", "; give its password (in the URL, or a file that "
	           "password_file of halibutd.conf names), and user if the "
	           "server has ACL users"},
	{"WRONGPASS", "; check user and password (redis-cli ACL LIST)"},
	{"NOPERM", "; grant it with redis-cli ACL SETUSER; the manual lists "
	           "the commands, keys and channels that the queue needs"},
	{"OOM", "; raise maxmemory (redis-cli CONFIG SET maxmemory …) or free "
	        "memory; keep maxmemory-policy noeviction"},
	{"LOADING", "; it is reading its data set and will soon be ready"},
	{"READONLY", "; it is a replica now: the primary is looked for"},
	{"MASTERDOWN", "; it is a replica that lost its primary"},
	{"MISCONF", "; it cannot save to disk: mend that, or turn persistence "
	            "off (redis-cli CONFIG SET save \"\")"},
	{"NOREPLICAS", "; min-replicas-to-write asks for more replicas than "
	               "are connected"},
	{"BUSY", "; a script keeps it busy (redis-cli SCRIPT KILL)"},
	{"MOVED", "; it is part of a Redis Cluster, which the queue does not "
	          "support: name a single server or sentinels"},
	{"ASK", "; it is part of a Redis Cluster, which the queue does not "
	        "support: name a single server or sentinels"},
	{"CLUSTERDOWN", "; it is part of a Redis Cluster, which the queue does "
	                "not support: name a single server or sentinels"},
	{"CROSSSLOT", "; it is part of a Redis Cluster, which the queue does "
	              "not support: name a single server or sentinels"},
	{"WRONGTYPE", "; something else wrote this key: give Halibut a key "
	              "prefix or database of its own"},
	{"DENIED", "; protected-mode refuses other machines: set a password "
	           "(requirepass) and bind"},
	{"-DENIED", "; protected-mode refuses other machines: set a password "
	            "(requirepass) and bind"},
	{"ERR max number of clients reached", "; raise maxclients"},
	{"ERR DB index is out of range", "; raise databases in redis.conf, or "
	                                 "choose a lower database"},
	{"ERR invalid DB index", "; raise databases in redis.conf, or choose "
	                         "a lower database"},
	{"ERR unknown command", "; Redis 2.8 or later is needed, under the "
	                        "usual command names (rename-command)"},
};

const char *hbt_redis_remedy(const char *reply)
{
	for (size_t i = 0; i < sizeof(remedies) / sizeof(remedies[0]); i++)
		if (strncmp(reply, remedies[i].code,
		            strlen(remedies[i].code)) == 0)
			return remedies[i].remedy;
	return "";
}

int hbt_redis_said(const char *reply)
{
	size_t n = strlen(reply);

	if (n > 0 && reply[n - 1] == '.' && *hbt_redis_remedy(reply) != '\0')
		n--;
	return (int)n;
}

bool hbt_redis_is_refused_write(const char *reply)
{
	return strncmp(reply, "OOM", 3) == 0 ||
	       strncmp(reply, "MISCONF", 7) == 0 ||
	       strncmp(reply, "NOREPLICAS", 10) == 0;
}

bool hbt_redis_is_wrong_server(const char *reply)
{
	return strncmp(reply, "READONLY", 8) == 0 ||
	       strncmp(reply, "MASTERDOWN", 10) == 0;
}
