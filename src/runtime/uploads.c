#include "runtime/uploads.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/stream_private.h"

struct hbt_upload {
	struct hbt_guid id;
	int64_t length;
	int percent; /* reported last; -1: nothing yet */
	halibut_progress_fn progress;
	void *progress_arg;
};

int hbt_uploads_take(struct hbt_uploads *u, struct hbt_streams *set)
{
	u->n = 0;
	if ((u->all = calloc(set->n, sizeof(*u->all))) == NULL)
		return HALIBUT_ENOMEM;
	for (size_t i = 0; i < set->n; i++) {
		struct halibut_stream *s = set->all[i];

		if (s->progress == NULL)
			continue;
		u->all[u->n++] = (struct hbt_upload){
			.id = s->id,
			.length = s->length,
			.percent = -1,
			.progress = s->progress,
			.progress_arg = s->progress_arg,
		};
		s->progress = NULL;
	}
	return HALIBUT_OK;
}

static void report(struct hbt_upload *one, int percent)
{
	if (percent <= one->percent)
		return;
	one->percent = percent;
	one->progress(one->progress_arg, percent);
}

void hbt_uploads_progress(struct hbt_uploads *u, const struct hbt_guid *stream,
                          int64_t sent)
{
	for (size_t i = 0; i < u->n; i++) {
		struct hbt_upload *one = &u->all[i];

		if (memcmp(&one->id, stream, sizeof(*stream)) != 0 ||
		    one->length <= 0)
			continue;
		if (sent > one->length)
			sent = one->length; /* the peer's word only */
		if (sent >= 0)
			report(one, (int)((__int128)sent * 100 / one->length));
	}
}

void hbt_uploads_end(struct hbt_uploads *u)
{
	for (size_t i = 0; i < u->n; i++)
		if (u->all[i].percent >= 0)
			report(&u->all[i], 100);
	free(u->all);
	memset(u, 0, sizeof(*u));
}
