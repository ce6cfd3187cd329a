/* The documents that there are. */
#ifndef HBT_STATUS_DOCUMENTS_H
#define HBT_STATUS_DOCUMENTS_H

#include "request.h"

/* NULL: there is none of that path. */
const struct document *documents_find(const char *path);
/* In the order of the index; NULL behind the last one. */
const struct document *documents_at(size_t i);

/* index.c */
extern const struct document document_index;
/* varz.c */
extern const struct document document_varz, document_redisz;
/* lists.c */
extern const struct document document_connz, document_subsz, document_callz,
	document_trustz, document_unauthz, document_workersz, document_statusz;
/* health.c */
extern const struct document document_healthz, document_livez, document_readyz;
/* metrics.c */
extern const struct document document_metrics;

#endif
