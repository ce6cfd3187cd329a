/* What a batch is made of, before it is sent. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "redis/private.h"

struct hbt_redis_batch *hbt_redis_batch_new(struct hbt_redis *r)
{
	struct hbt_redis_batch *b = calloc(1, sizeof(*b));

	if (b != NULL)
		b->redis = r;
	return b;
}

void hbt_redis_batch_add(struct hbt_redis_batch *b, const char *format, ...)
{
	va_list ap;

	if (b == NULL || b->status != HALIBUT_OK)
		return;
	va_start(ap, format);
	b->status = hbt_text_vadd(&b->text, format, ap);
	va_end(ap);
}

void hbt_redis_batch_add_argv(struct hbt_redis_batch *b, int argc,
                              const char **argv, const size_t *lens)
{
	if (b != NULL && b->status == HALIBUT_OK)
		b->status = hbt_text_add_argv(&b->text, (size_t)argc, argv,
		                              lens);
}

void hbt_redis_batch_publish(struct hbt_redis_batch *b, const char *channel,
                             const char *payload, size_t len)
{
	const char *prefix, *argv[3] = {"PUBLISH", channel, payload};
	size_t lens[3] = {7, strlen(channel), len}, n;
	char *whole;

	if (b == NULL || b->status != HALIBUT_OK)
		return;
	prefix = b->redis->options.channel_prefix;
	if (prefix == NULL) {
		b->status = hbt_text_add_argv(&b->text, 3, argv, lens);
		return;
	}
	n = strlen(prefix);
	if ((whole = malloc(n + lens[1] + 1)) == NULL) {
		b->status = HALIBUT_ENOMEM;
		return;
	}
	memcpy(whole, prefix, n);
	memcpy(whole + n, channel, lens[1] + 1);
	argv[1] = whole;
	lens[1] += n;
	b->status = hbt_text_add_argv(&b->text, 3, argv, lens);
	free(whole);
}

unsigned hbt_batch_commands(const struct hbt_redis_batch *b)
{
	return b->text != NULL ? b->text->commands : 0;
}

void hbt_redis_batch_begin(struct hbt_redis_batch *b)
{
	if (b == NULL || b->redis->batches.no_multi)
		return;
	hbt_redis_batch_add(b, "MULTI");
	b->multi = hbt_batch_commands(b);
}

void hbt_redis_batch_commit(struct hbt_redis_batch *b)
{
	if (b == NULL || b->multi == 0)
		return;
	hbt_redis_batch_add(b, "EXEC");
	b->exec = hbt_batch_commands(b);
}
