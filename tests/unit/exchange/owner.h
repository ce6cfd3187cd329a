/*
 * Whoever owns the exchange under test, with a scripted peer at its other
 * end, and the messages that pass between them. In the names, we are the
 * exchange's side: says() and hears() are what the peer does.
 */
#ifndef HBT_TEST_EXCHANGE_OWNER_H
#define HBT_TEST_EXCHANGE_OWNER_H

#include "peer.h"

/* What an owner does when it is asked, and what it was told. */
struct owner {
	struct hbt_exchange_env env;
	struct hbt_exchange *ex;
	struct peer peer;
	bool refuses, waits; /* authorise() says no; admission comes later */
	bool answers;        /* every request with response */
	unsigned asks;       /* so many requests, as soon as it is ready */
	int identified, ready, messages, ends, sents, closes;
	int sinks, sinks_ended;
	char subscription[64];
	bool began; /* had the last request, when it closed? */
	struct halibut_error err;
};

/* The first two have a DataStream of five bytes; its section. */
extern struct hbt_message *request, *response, *plain_request, *plain_response;
enum { SECTION_LEN = 24 + 5 + 8 };
extern uint8_t request_section[SECTION_LEN], response_section[SECTION_LEN];
/* Sinks of DataStreams fail after so many bytes; -1: never. */
extern int64_t sinks_fail_after;

/* Another request, with so many DataStreams in its only parameter. */
struct hbt_message *make_request(const char *json, size_t n_streams);

/* Of a group of tests: loop, certificates, messages. */
int setup(void **state);
int teardown(void **state);
/* Of a test: the default limits; and an owner as *state. */
int fresh_limits(void **state);
int fresh(void **state);
int done(void **state);

#define T(f) cmocka_unit_test_setup_teardown(f, fresh, done)

void owner_init(struct owner *o);
void owner_fini(struct owner *o);

/* They dial, we accept. */
void start_accepting(struct owner *o);
/* We dial, they accept. */
void start_dialling(struct owner *o, const char *subscription);

/* To where a role waits for the first message. */
void as_client(struct owner *o);
void as_service(struct owner *o);
void as_poller(struct owner *o);
void as_polled(struct owner *o);

#define PREAMBLE "MX\n\n"
#define CLIENT "MX-CLIENT 1.0\r\n\r\n"
#define SUBSCRIBER "MX-SUBSCRIBER 1.0 poll://sq-test/\r\n\r\n"
#define SERVER "MX-SERVER 1.0\r\n\r\n"
#define NEXT "NEXT\r\n"
#define PROCEED "PROCEED\r\n"
#define END "END\r\n"

/* The peer's messages, with their DataStreams. */
void says(struct owner *o, const struct hbt_message *m);
void hears(struct owner *o, const struct hbt_message *m);
void says_null(struct owner *o);
void hears_null(struct owner *o);

/* The owner sends m, a request. */
void ask(struct owner *o, struct hbt_message *m);
/* The same as soon as its turn has come, and until the peer has heard it. */
void ask_once_ready(struct owner *o, struct hbt_message *m);

const char *state_of(const struct owner *o);

#define WAIT_STATE(o, text)                                                    \
	WAIT(&(o)->peer, strcmp(state_of(o), text) == 0)
#define WAIT_CLOSED(o) WAIT(&(o)->peer, (o)->closes == 1)

/* It closes for this reason; HALIBUT_OK: in good order. */
void expect_close(struct owner *o, enum halibut_status status);

#endif
