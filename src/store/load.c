/* Streams of a stored message as the raw section that follows it. */
#include <stdlib.h>
#include <string.h>

#include "store/private.h"
#include "wire/writer.h"

void hbt_load_go_on(struct hbt_load *l)
{
	if (l->src.wake != NULL)
		l->src.wake(l->src.wake_arg);
}

static void close_get(struct hbt_load *l)
{
	if (l->get != NULL)
		l->ops->get_close(l);
	l->get = NULL;
}

static void remove_stream(struct hbt_load *l, size_t k)
{
	if (l->ops->remove != NULL)
		l->ops->remove(l->store, &l->what, k);
}

/* Bytes of a frame that is made anew for each read of a part of it. */
static size_t read_frame(struct hbt_load *l, uint8_t *buf, size_t cap)
{
	const struct hbt_stored_stream *v = &l->what.v[l->index[l->at]];
	size_t whole = l->phase == LOAD_HEAD ? 24 : 8;
	uint8_t frame[24];
	size_t n = whole - l->framed;

	if (l->phase == LOAD_HEAD)
		hbt_section_head(&l->m->env.streams[l->at].id, v->length,
		                 frame);
	else
		hbt_section_tail(v->length, frame);
	if (n > cap)
		n = cap;
	memcpy(buf, frame + l->framed, n);
	l->framed += n;
	if (l->framed < whole)
		return n;
	l->framed = 0;
	if (l->phase == LOAD_HEAD) {
		l->phase = LOAD_DATA;
		l->read = 0;
	} else {
		l->phase = LOAD_HEAD;
		l->at++;
	}
	return n;
}

static ssize_t read_data(struct hbt_load *l, uint8_t *buf, size_t cap,
                         struct halibut_error *err)
{
	size_t k = l->index[l->at];
	int64_t left = l->what.v[k].length - l->read;
	ssize_t n = 0;
	int rc;

	if (left > 0) {
		if (l->get == NULL &&
		    (rc = l->ops->get_open(l, k, err)) != HALIBUT_OK)
			return -rc;
		if ((uint64_t)left < cap)
			cap = (size_t)left;
		n = l->ops->get_read(l, k, buf, cap, err);
		if (n == 0)
			return -hbt_error_set(
				err, HALIBUT_ESTREAM,
				"A DataStream of a queued message is shorter "
				"in the store than its metadata says: %lld "
				"of %lld bytes.",
				(long long)l->read,
				(long long)l->what.v[k].length);
		if (n < 0)
			return n;
		l->read += n;
		if (l->sent != NULL)
			l->sent(l->arg, l->at, l->read);
	}
	if (l->read == l->what.v[k].length) {
		l->phase = LOAD_TAIL;
		close_get(l);
		remove_stream(l, k);
	}
	return n;
}

static ssize_t on_read(struct hbt_source *src, void *buf, size_t cap,
                       struct halibut_error *err)
{
	struct hbt_load *l =
		(void *)((char *)src - offsetof(struct hbt_load, src));
	uint8_t *p = buf;
	size_t done = 0;
	ssize_t n;

	while (done < cap && l->at < l->m->env.n_streams) {
		if (l->phase != LOAD_DATA) {
			done += read_frame(l, p + done, cap - done);
			continue;
		}
		n = read_data(l, p + done, cap - done, err);
		/* An error comes again when there is nothing before it. */
		if (n < 0 && done > 0) {
			halibut_error_clear(err);
			break;
		}
		if (n < 0)
			return n;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* Is stream number at of the document in the store still? */
static bool is_left(const struct hbt_load *l, size_t at)
{
	return at > l->at || (at == l->at && l->phase != LOAD_TAIL);
}

static void on_free(struct hbt_source *src)
{
	struct hbt_load *l =
		(void *)((char *)src - offsetof(struct hbt_load, src));

	close_get(l);
	for (size_t i = l->at; i < l->m->env.n_streams; i++)
		if (is_left(l, i))
			remove_stream(l, l->index[i]);
	if (l->refresh != NULL)
		event_free(l->refresh);
	hbt_stored_fini(&l->what);
	hbt_message_unref(&l->m);
	free(l->index);
	free(l);
}

static const struct hbt_source_ops source_ops = {
	.read = on_read,
	.free = on_free,
};

/* A slow reader must not find the last stream expired. */
static void on_refresh(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_load *l = arg;

	(void)fd;
	(void)what;
	for (size_t i = l->at; i < l->m->env.n_streams; i++)
		if (is_left(l, i))
			l->ops->refresh(l->store, &l->what, l->index[i]);
}

/* Beside the message lie the bytes alone: how many there have to be stands in
 * the document. The original's text, which its nodes send in this case. */
static int wrong_length(const struct hbt_load *l, size_t i, int64_t actual,
                        struct halibut_error *err)
{
	const struct hbt_envelope *env = &l->m->env;
	char text[HBT_GUID_TEXT];
	long long total = 0;

	for (size_t j = 0; j < env->n_streams; j++)
		total += env->streams[j].length;
	hbt_guid_format(&env->streams[i].id, text);
	return hbt_error_set(err, HALIBUT_ESTREAM,
	                     "Data stream size mismatch detected during send. "
	                     "Message Id: %s, Stream ID: %s, Declared length: "
	                     "%lld, Actual bytes written: %lld. Total length of "
	                     "all DataStreams to be sent is %lld.",
	                     env->id, text, (long long)env->streams[i].length,
	                     (long long)actual, total);
}

/* Which stream of the metadata is which of the document? One that it names
 * twice was stored twice, or, in the sample's form, once for both. */
static int match(struct hbt_load *l, struct halibut_error *err)
{
	const struct hbt_envelope *env = &l->m->env;
	char text[HBT_GUID_TEXT];

	for (size_t i = 0; i < env->n_streams; i++) {
		struct hbt_stored_stream *v = NULL;

		for (size_t j = 0; j < l->what.n; j++) {
			/* They nearly always are in the same order. */
			size_t k = (i + j) % l->what.n;

			if (memcmp(&l->what.v[k].id, &env->streams[i].id,
			           sizeof(env->streams[i].id)) == 0 &&
			    (!l->what.v[k].taken ||
			     l->what.v[k].base64 != NULL)) {
				v = &l->what.v[k];
				l->index[i] = k;
				break;
			}
		}
		if (v == NULL) {
			hbt_guid_format(&env->streams[i].id, text);
			return hbt_error_set(
				err, HALIBUT_EPROTO,
				"The metadata of a queued message says "
				"nothing about its DataStream %s: the node "
				"that sent it uses another kind of DataStream "
				"store; all nodes of a queue need the same.",
				text);
		}
		v->taken = true;
		if (v->base64 != NULL && v->length != env->streams[i].length)
			return wrong_length(l, i, v->length, err);
	}
	return HALIBUT_OK;
}

static int start_refresh(struct hbt_load *l)
{
	int64_t ms = l->what.ttl_ms / 3;
	struct timeval tv = {.tv_sec = ms / 1000,
	                     .tv_usec = ms % 1000 * 1000};

	if (l->ops->refresh == NULL)
		return HALIBUT_OK;
	l->refresh = event_new(l->store->base, -1, EV_PERSIST, on_refresh, l);
	return l->refresh != NULL && event_add(l->refresh, &tv) == 0
	               ? HALIBUT_OK
	               : HALIBUT_ENOMEM;
}

int hbt_store_load(struct hbt_source **out, struct hbt_store *s,
                   const struct hbt_message *m, const uint8_t *metadata,
                   size_t len, hbt_store_progress_fn sent, void *arg,
                   struct halibut_error *err)
{
	struct hbt_load *l;
	int rc = HALIBUT_ENOMEM;

	*out = NULL;
	if (m->env.n_streams == 0)
		return HALIBUT_OK;
	if ((l = calloc(1, sizeof(*l))) == NULL)
		return hbt_error_set(err, rc, "Out of memory.");
	l->src.ops = &source_ops;
	l->store = s;
	l->m = hbt_message_ref((struct hbt_message *)m);
	l->sent = sent;
	l->arg = arg;
	l->index = calloc(m->env.n_streams, sizeof(*l->index));
	if (l->index == NULL) {
		hbt_error_set(err, rc, "Out of memory.");
		goto fail;
	}
	if ((rc = hbt_stored_parse(&l->what, s, metadata, len, &l->ops, err)) !=
	            HALIBUT_OK ||
	    (rc = match(l, err)) != HALIBUT_OK)
		goto fail;
	if ((rc = start_refresh(l)) != HALIBUT_OK) {
		hbt_error_set(err, rc, "Out of memory.");
		goto fail;
	}
	*out = &l->src;
	return HALIBUT_OK;
fail:
	if (l->refresh != NULL)
		event_free(l->refresh);
	hbt_stored_fini(&l->what);
	hbt_message_unref(&l->m);
	free(l->index);
	free(l);
	return rc;
}

void hbt_store_discard(struct hbt_store *s, const struct hbt_message *m,
                       const uint8_t *metadata, size_t len)
{
	const struct hbt_store_ops *ops;
	struct hbt_stored what;

	if (m->env.n_streams == 0 ||
	    hbt_stored_parse(&what, s, metadata, len, &ops, NULL) != HALIBUT_OK)
		return;
	for (size_t k = 0; ops->remove != NULL && k < what.n; k++)
		ops->remove(s, &what, k);
	hbt_stored_fini(&what);
}
