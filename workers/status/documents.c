#include "documents.h"

#include <string.h>

static const struct document *const all[] = {
	&document_index,    &document_varz,    &document_connz,
	&document_subsz,    &document_callz,   &document_redisz,
	&document_trustz,   &document_unauthz, &document_workersz,
	&document_healthz,  &document_livez,   &document_readyz,
	&document_statusz,  &document_metrics,
};

const struct document *documents_at(size_t i)
{
	return i < sizeof(all) / sizeof(*all) ? all[i] : NULL;
}

const struct document *documents_find(const char *path)
{
	const struct document *doc;

	for (size_t i = 0; (doc = documents_at(i)) != NULL; i++)
		if (strcmp(doc->path, path) == 0)
			return doc;
	return NULL;
}
