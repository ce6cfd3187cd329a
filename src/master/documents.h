/*
 * Documents for control clients: the status worker makes them, as it does
 * over HTTP; the master passes question and answer on and reads neither.
 */
#ifndef HBT_MASTER_DOCUMENTS_H
#define HBT_MASTER_DOCUMENTS_H

#include "master/control.h"

struct hbt_documents;

struct hbt_documents *hbt_documents_new(void); /* NULL: out of memory */
void hbt_documents_free(struct hbt_documents **docs);

/*
 * DOCUMENT_ASK of a client. worker is the status worker, or NULL: none is
 * ready, and the client is told so. Not OK closes the client.
 */
int hbt_documents_ask(struct hbt_documents *docs, struct hbt_link *worker,
                      struct hbt_client *client, struct hbt_ipc_msg *msg);
/* Questions of the client that are not answered yet. */
size_t hbt_documents_of(const struct hbt_documents *docs,
                        const struct hbt_client *client);
/* DOCUMENT of the status worker. Not OK ends the worker. */
int hbt_documents_answer(struct hbt_documents *docs, struct hbt_ipc_msg *msg);

void hbt_documents_client_gone(struct hbt_documents *docs,
                               struct hbt_client *client);
/* Whoever waits is told so. */
void hbt_documents_worker_gone(struct hbt_documents *docs);

#endif
