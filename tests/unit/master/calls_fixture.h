/*
 * Calls through the master, with the test as every other process: a worker
 * that brings requests, one that holds polling connections, one that dials or
 * hosts, each over a socket pair.
 */
#ifndef HBT_TEST_MASTER_CALLS_FIXTURE_H
#define HBT_TEST_MASTER_CALLS_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "master/calls.h"
#include "master/subscriptions.h"

#define PRINT1 "8A7D5BC0F0F4B4A7A3C1E2D3F4A5B6C7D8E9F0A1"
#define PRINT2 "0000000000F4B4A7A3C1E2D3F4A5B6C7D8E9F0A1"
#define MAX_HEARD 32

struct heard {
	uint16_t type;
	uint32_t id;
	uint8_t body[1024];
	size_t len;
	int fd; /* the fixture's to close */
};

struct fixture;

/* A process beside the master, and the master's end of its channel. */
struct peer {
	struct fixture *f;
	struct hbt_link link; /* the master's */
	struct hbt_ipc *ipc;  /* the process's */
	struct heard heard[MAX_HEARD];
	size_t n_heard, n_read;
	int status; /* of the last message that the master got from it */
	bool gone;
};

struct fixture {
	struct event_base *base;
	struct hbt_config *cfg;
	struct hbt_switchboard *switchboard;
	struct hbt_refused *refused;
	struct hbt_holders *holders;
	struct hbt_subscriptions *subscriptions;
	struct hbt_calls *calls;
	struct peer caller, poller, carrier; /* carrier: dials and hosts */
	bool carrier_runs;
	char *dialled;
};

/* *state is a struct fixture. No test may leave a call behind. */
int setup(void **state);
int teardown(void **state);

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* Lets time pass, for all that reads the clock. */
void let_pass_ms(int64_t ms);
/* Until nothing happens any more; all of it is in this process. */
void settle(struct fixture *f);

/* One more process. */
void connect_peer(struct fixture *f, struct peer *p, const char *name,
                  enum hbt_peer_kind kind);
/* The process ends. */
void die(struct peer *p);

/* The next message that the process got, which is of this type. */
struct heard *next(struct peer *p, uint16_t type);
/* There is none. */
void assert_quiet(struct peer *p);

/* The process says something, and the master hears it. tell() ends w, and
 * fd, if it is not -1; say() has no body. */
void tell(struct peer *p, uint16_t type, uint32_t id, struct hbt_wr *w, int fd);
void say(struct peer *p, uint16_t type, uint32_t id);

/* A message with so many DataStreams, as a parcel. */
void put_message(struct hbt_wr *w, enum hbt_message_kind kind, size_t streams);

/* CALL, from a client as by its route, or otherwise. */
void ask(struct peer *p, uint32_t id, const char *destination);
void ask_as(struct peer *p, uint32_t id, const char *destination,
            uint8_t origin, size_t streams, int fd);
void ask_how(struct peer *p, uint32_t id, uint8_t how, const char *destination,
             uint8_t origin, size_t streams, int fd);

/* The ends of a call, by whoever carries it. */
void answer(struct peer *p, uint32_t id);
void fail_call(struct peer *p, uint32_t id, enum halibut_status status,
               enum halibut_connection_state state, const char *words);
/* The caller hears of such an end, in words that contain these. */
void assert_failed(struct peer *p, uint32_t id, enum halibut_status status,
                   enum halibut_connection_state state, const char *words);

/* A polling connection comes, of the holder of PRINT1 or another. */
void subscribe(struct peer *p, uint32_t id, const char *uri);
void subscribe_as(struct peer *p, uint32_t id, const char *uri,
                  const char *thumbprint, const char *address);
/* What the master says to that. */
bool admitted(struct peer *p, uint32_t id);
/* It comes, is admitted, and takes a request. */
void offer(struct peer *p, uint32_t id, const char *uri);
/* The call that came to it; its id. */
uint32_t delivered(struct peer *p, uint32_t connection);

/* Reads the only row of a page, and ends the page. */
void read_only_row(struct hbt_page *page, void *row);

#endif
