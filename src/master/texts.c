/* The texts that the configuration names: the friendly page, its headers. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/buf.h"
#include "master/master.h"

#define MAX_PAGE ((size_t)1024 * 1024)

static int load_page(const char *path, char **text, struct halibut_error *err)
{
	FILE *f = fopen(path, "re");
	struct hbt_buf buf;
	char piece[4096];
	size_t n;
	int rc = HALIBUT_OK;

	if (f == NULL)
		return hbt_error_set(err, HALIBUT_ESYSTEM,
		                     "friendly_page %s cannot be read: %s",
		                     path, strerror(errno));
	hbt_buf_init(&buf, MAX_PAGE);
	while (rc == HALIBUT_OK && (n = fread(piece, 1, sizeof(piece), f)) > 0)
		rc = hbt_buf_append(&buf, piece, n);
	if (rc == HALIBUT_OK)
		rc = hbt_buf_append(&buf, "", 1);
	if (rc == HALIBUT_OK && ferror(f))
		rc = HALIBUT_ESYSTEM;
	if (rc == HALIBUT_OK)
		*text = (char *)hbt_buf_detach(&buf, &n);
	else
		hbt_error_set(err, rc, "friendly_page %s: %s", path,
		              rc == HALIBUT_ELIMIT ? "larger than 1 MiB"
		                                   : halibut_strerror(rc));
	hbt_buf_fini(&buf);
	fclose(f);
	return rc;
}

static char *join_lines(const struct hbt_strings *list)
{
	size_t len = 1;
	char *text, *p;

	for (size_t i = 0; i < list->n; i++)
		len += strlen(list->v[i]) + 1;
	text = p = malloc(len);
	if (text == NULL)
		return NULL;
	*p = '\0';
	for (size_t i = 0; i < list->n; i++) {
		p = stpcpy(p, list->v[i]);
		if (i + 1 < list->n)
			p = stpcpy(p, "\n");
	}
	return text;
}

int hbt_master_load_texts(const struct hbt_config *cfg, char **page,
                          char **headers, struct halibut_error *err)
{
	int rc = HALIBUT_OK;

	*page = *headers = NULL;
	if (cfg->friendly_page != NULL)
		rc = load_page(cfg->friendly_page, page, err);
	if (rc == HALIBUT_OK && cfg->friendly_headers.n > 0 &&
	    (*headers = join_lines(&cfg->friendly_headers)) == NULL)
		rc = hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	return rc;
}
