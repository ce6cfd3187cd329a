/*
 * DataStreams as a program has them, and their way to and from the wire: a
 * source that frames the outgoing ones, a sink that takes a section apart.
 * wire-protocol 11, runtime-behaviour 9
 */
#ifndef HBT_RUNTIME_STREAMS_H
#define HBT_RUNTIME_STREAMS_H

#include "halibut/halibut.h"
#include <event2/event.h>
#include "wire/flow.h"
#include "wire/message.h"

/* A set of DataStreams, owned by a call or a request. */
struct hbt_streams {
	struct halibut_stream **all;
	size_t n;
};

/* Takes s over, also on failure. HALIBUT_ENOMEM, HALIBUT_EINVAL if used. */
int hbt_streams_add(struct hbt_streams *set, struct halibut_stream *s);
void hbt_streams_fini(struct hbt_streams *set);

/* Are these the DataStreams of the envelope, in its order? */
bool hbt_streams_match(const struct hbt_streams *set,
                       const struct hbt_envelope *env);

/* How the document refers to stream s. */
struct hbt_stream_ref hbt_stream_ref_of(const struct halibut_stream *s);

/*
 * A source for the section with these streams in that order. It takes the
 * set over in every case and leaves it empty.
 */
int hbt_streams_source(struct hbt_source **out, struct hbt_streams *set);

/*
 * A sink that receives m's section into set, which is filled when it ended
 * well. done is called once: err NULL for success.
 */
struct hbt_streams_sink;
typedef void (*hbt_streams_done)(void *arg, struct hbt_streams *set,
                                 const struct halibut_error *err);
int hbt_streams_sink_new(struct hbt_streams_sink **out,
                         const struct hbt_message *m, hbt_streams_done done,
                         void *arg);
struct hbt_sink *hbt_streams_sink_base(struct hbt_streams_sink *s);
/* done will not be called any more; whoever still writes gets an error. */
void hbt_streams_sink_forget(struct hbt_streams_sink *s);

#endif
