/* Asks one sentinel where the primary is. */
#include "redis/sentinel.h"

#include <stdlib.h>
#include <string.h>

struct hbt_sentinel {
	struct hbt_link *link;
	const char *primary; /* its name; the options' */
	const struct hbt_sentinel_ops *ops;
	void *arg;
};

void hbt_sentinel_free(struct hbt_sentinel **s)
{
	if (*s == NULL)
		return;
	hbt_link_free(&(*s)->link);
	free(*s);
	*s = NULL;
}

static void fail(struct hbt_sentinel *s, const char *why)
{
	struct halibut_error err = {0};

	hbt_error_set(&err, HALIBUT_ESYSTEM, "Redis sentinel %s: %s",
	              hbt_link_name(s->link), why);
	s->ops->failed(s->arg, &err);
	halibut_error_clear(&err);
}

static void up(void *arg)
{
	struct hbt_sentinel *s = arg;
	struct hbt_text *t = NULL;

	hbt_text_add(&t, "SENTINEL get-master-addr-by-name %s", s->primary);
	hbt_link_write(s->link, t);
	hbt_text_unref(&t);
}

static bool is_text(const redisReply *r)
{
	return r->type == REDIS_REPLY_STRING;
}

static void reply(void *arg, redisReply *r)
{
	struct hbt_sentinel *s = arg;
	struct hbt_redis_server primary = {0};
	char why[512];
	long port;

	if (r->type == REDIS_REPLY_ARRAY && r->elements == 2 &&
	    is_text(r->element[0]) && is_text(r->element[1])) {
		port = strtol(r->element[1]->str, NULL, 10);
		primary.host = r->element[0]->str;
		primary.port = port > 0 && port < 65536 ? (uint16_t)port : 0;
		if (primary.port != 0 && primary.host[0] != '\0')
			s->ops->found(s->arg, &primary);
		else
			fail(s, "the address of the primary makes no sense");
	} else if (r->type == REDIS_REPLY_ERROR) {
		snprintf(why, sizeof(why),
		         "%.300s; is this a sentinel (port 26379)?", r->str);
		fail(s, why);
	} else {
		snprintf(why, sizeof(why),
		         "it knows no primary of the name '%.100s'; "
		         "serviceName must be a name of 'sentinel monitor'",
		         s->primary);
		fail(s, why);
	}
	freeReplyObject(r);
}

static void drained(void *arg)
{
	(void)arg;
}

static void down(void *arg, const struct halibut_error *why)
{
	struct hbt_sentinel *s = arg;

	s->ops->failed(s->arg, why);
}

static const struct hbt_link_ops link_ops = {
	.up = up, .reply = reply, .drained = drained, .down = down,
};

int hbt_sentinel_ask(struct hbt_sentinel **out,
                     const struct hbt_link_config *config,
                     const struct hbt_redis_server *sentinel,
                     const struct hbt_sentinel_ops *ops, void *arg)
{
	struct hbt_sentinel *s = calloc(1, sizeof(*s));
	struct hbt_link_config mine = *config;
	int rc;

	if (s == NULL)
		return HALIBUT_ENOMEM;
	mine.kind = HBT_LINK_SENTINEL;
	s->primary = config->options->sentinel;
	s->ops = ops;
	s->arg = arg;
	rc = hbt_link_new(&s->link, &mine, sentinel, &link_ops, s);
	if (rc != HALIBUT_OK) {
		free(s);
		return rc;
	}
	*out = s;
	return HALIBUT_OK;
}
