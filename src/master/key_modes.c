#include "master/key_modes.h"

#include <string.h>
#include <sys/stat.h>
#include "base/log.h"

/* The files that were told already: one may have several keys. */
struct told {
	const char *files[HBT_MAX_IDENTITIES + 3];
	size_t n;
};

static bool is_told(struct told *t, const char *file)
{
	for (size_t i = 0; i < t->n; i++)
		if (strcmp(t->files[i], file) == 0)
			return true;
	if (t->n < sizeof(t->files) / sizeof(t->files[0]))
		t->files[t->n++] = file;
	return false;
}

static void look(struct told *t, const char *file, FILE *out)
{
	struct stat st;
	unsigned mode;

	if (file == NULL || strncmp(file, "/run/secrets/", 13) == 0 ||
	    stat(file, &st) != 0 || !S_ISREG(st.st_mode) ||
	    (st.st_mode & 0007) == 0 || is_told(t, file))
		return;
	mode = (unsigned)st.st_mode & 07777;
	if (out != NULL)
		fprintf(out,
		        "warning: %s has a private key in it and mode %04o: "
		        "everybody here can %s it; chmod o= %s\n",
		        file, mode, mode & 04 ? "read" : "change", file);
	else
		log_event(HBT_LOG_WARNING,
		          LOG_ABOUT(.event = "key_readable", .reason = file,
		                    .remedy = "chmod o="),
		          "%s has a private key in it and mode %04o: "
		          "everybody here can %s it; chmod o= %s",
		          file, mode, mode & 04 ? "read" : "change", file);
}

/* Where the key of a pair is. */
static const char *key_of(const char *certificate, const char *key)
{
	return key != NULL ? key : certificate;
}

void hbt_key_modes_tell(const struct hbt_config *cfg, FILE *out)
{
	struct told t = {.n = 0};

	look(&t, key_of(cfg->certificate, cfg->key), out);
	for (size_t i = 0; i < cfg->n_identities; i++)
		look(&t,
		     key_of(cfg->identities[i].certificate,
		            cfg->identities[i].key),
		     out);
	look(&t, key_of(cfg->status_certificate, cfg->status_key), out);
	if (cfg->shares)
		look(&t, cfg->redis.tls_key, out);
}
