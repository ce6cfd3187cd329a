#include "master/status_config.h"

#include <errno.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "master/config_secret.h"
#include "net/tls.h"

#define MIN_TOKEN 16
#define MAX_TOKEN 512
#define MAX_PEM ((size_t)1024 * 1024)

static bool is_loopback(const struct hbt_listen_address *a)
{
	const struct sockaddr_in *v4 = (const void *)&a->sa;
	const struct sockaddr_in6 *v6 = (const void *)&a->sa;

	if (a->sa.ss_family == AF_INET)
		return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
	return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr) ||
	       (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr) &&
	        v6->sin6_addr.s6_addr[12] == 127);
}

int hbt_status_place_parse(const char *text, struct hbt_status_place *out,
                           struct halibut_error *err)
{
	int rc = HALIBUT_OK;

	memset(out, 0, sizeof(*out));
	out->none = strcmp(text, "none") == 0;
	out->is_path = strchr(text, '/') != NULL;
	if (!out->none && !out->is_path)
		rc = hbt_listen_parse(text, &out->address, err);
	if (rc == HALIBUT_OK && !out->none && !out->is_path)
		out->loopback = is_loopback(&out->address);
	return rc;
}

int hbt_status_check_listen(const char *text, struct halibut_error *err)
{
	struct hbt_status_place place;

	return hbt_status_place_parse(text, &place, err);
}

/* One place where the status is served. */
static int check_place(const struct hbt_config *cfg, const char *text,
                       struct halibut_error *err)
{
	struct hbt_status_place place;
	int rc = hbt_status_place_parse(text, &place, err);

	if (rc != HALIBUT_OK)
		return rc;
	if (place.none && cfg->status_listen.n > 1)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "status_listen has \"none\" among others; "
		                     "leave it out, or the others");
	if (place.none || place.is_path || place.loopback ||
	    cfg->status_token_file != NULL || cfg->status_client_ca != NULL)
		return HALIBUT_OK;
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "status_listen has %s, where everybody could see "
	                     "the status; set status_token_file, or "
	                     "status_certificate and status_client_ca, or "
	                     "listen on 127.0.0.1",
	                     text);
}

int hbt_status_check_config(const struct hbt_config *cfg,
                            struct halibut_error *err)
{
	int rc = HALIBUT_OK;

	for (size_t i = 0; rc == HALIBUT_OK && i < cfg->status_listen.n; i++)
		rc = check_place(cfg, cfg->status_listen.v[i], err);
	if (rc == HALIBUT_OK && cfg->status_certificate == NULL &&
	    (cfg->status_key != NULL || cfg->status_client_ca != NULL))
		rc = hbt_error_set(err, HALIBUT_EINVAL,
		                   "%s goes with status_certificate, which is "
		                   "not set",
		                   cfg->status_key != NULL ? "status_key"
		                                           : "status_client_ca");
	if (rc != HALIBUT_OK)
		hbt_error_prefix(err, "%s: ", cfg->path);
	return rc;
}

char *hbt_status_default_path(const struct hbt_config *cfg)
{
	static const char end[] = "control";
	const char *control = cfg->control_socket;
	size_t len = strlen(control);
	char *path;

	if (len >= strlen(end) &&
	    strcmp(control + len - strlen(end), end) == 0)
		len -= strlen(end);
	if (asprintf(&path, "%.*s%s", (int)len, control,
	             control[len] == '\0' ? ".status" : "status") < 0)
		return NULL;
	return path;
}

/* A text file, up to max bytes. */
static int read_text(const char *path, size_t max, const char *setting,
                     char **text, struct halibut_error *err)
{
	FILE *f = fopen(path, "re");
	char *data = f != NULL ? malloc(max + 1) : NULL;
	size_t n = data != NULL ? fread(data, 1, max + 1, f) : 0;
	int rc = HALIBUT_OK;

	if (f == NULL || ferror(f))
		rc = hbt_error_set(err, HALIBUT_ESYSTEM,
		                   "%s %s cannot be read: %s", setting, path,
		                   strerror(errno));
	else if (data == NULL)
		rc = hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	else if (n > max || memchr(data, '\0', n) != NULL)
		rc = hbt_error_set(err, HALIBUT_EINVAL,
		                   "%s %s is larger than %zu bytes, or no text",
		                   setting, path, max);
	if (f != NULL)
		fclose(f);
	if (rc != HALIBUT_OK) {
		free(data);
		return rc;
	}
	data[n] = '\0';
	*text = data;
	return HALIBUT_OK;
}

static int load_token(struct hbt_status_settings *s, const char *path,
                      struct halibut_error *err)
{
	int rc = hbt_secret_load(path, &s->token, err);
	size_t len;

	if (rc != HALIBUT_OK) {
		hbt_error_prefix(err, "status_token_file: ");
		return rc;
	}
	len = strlen(s->token);
	for (const char *c = s->token; *c != '\0'; c++)
		if (*c <= ' ' || *c > '~')
			len = 0;
	if (len >= MIN_TOKEN && len <= MAX_TOKEN)
		return HALIBUT_OK;
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "the first line of status_token_file %s is no "
	                     "token: %d to %d printable characters without "
	                     "blanks; openssl rand -hex 32 makes a good one",
	                     path, MIN_TOKEN, MAX_TOKEN);
}

/* The one key of the node is for its peers: whoever breaks into the status
 * shall not find it there. */
static int check_apart(const char *pem, const char *node_pem,
                       const char *path, struct halibut_error *err)
{
	BIO *a = BIO_new_mem_buf(pem, -1), *b = BIO_new_mem_buf(node_pem, -1);
	X509 *ours = a != NULL ? PEM_read_bio_X509(a, NULL, NULL, NULL) : NULL;
	X509 *node = b != NULL ? PEM_read_bio_X509(b, NULL, NULL, NULL) : NULL;
	int rc = HALIBUT_OK;

	if (ours != NULL && node != NULL &&
	    EVP_PKEY_eq(X509_get0_pubkey(ours), X509_get0_pubkey(node)) == 1)
		rc = hbt_error_set(err, HALIBUT_EINVAL,
		                   "status_certificate %s has the key of the "
		                   "node itself; make one of its own with "
		                   "`halibutctl cert new`, or by your CA",
		                   path);
	X509_free(ours);
	X509_free(node);
	BIO_free(a);
	BIO_free(b);
	return rc;
}

/* Out of a file of its own; what else is in there is not used. */
static int load_key(struct hbt_status_settings *s, const char *path,
                    struct halibut_error *err)
{
	if (s->key_pem != NULL)
		explicit_bzero(s->key_pem, strlen(s->key_pem));
	free(s->key_pem);
	s->key_pem = NULL;
	return read_text(path, MAX_PEM, "status_key", &s->key_pem, err);
}

static int load_certificate(struct hbt_status_settings *s,
                            const struct hbt_config *cfg,
                            const char *node_pem, struct halibut_error *err)
{
	struct hbt_tls *tls = NULL;
	int rc = hbt_tls_load_file(cfg->status_certificate, NULL,
	                           &s->certificate_pem, &s->key_pem, err);

	if (rc == HALIBUT_OK && cfg->status_key != NULL)
		rc = load_key(s, cfg->status_key, err);
	if (rc == HALIBUT_OK && s->key_pem == NULL)
		rc = hbt_error_set(err, HALIBUT_EINVAL,
		                   "%s has no private key; add it to the file, "
		                   "or set status_key to the file that has it",
		                   cfg->status_certificate);
	/* Only to see whether the worker will be able to use them. */
	if (rc == HALIBUT_OK)
		rc = hbt_tls_new(&tls, s->certificate_pem, s->key_pem, err);
	hbt_tls_free(&tls);
	return rc != HALIBUT_OK ? rc
	                        : check_apart(s->certificate_pem, node_pem,
	                                      cfg->status_certificate, err);
}

static int load_ca(struct hbt_status_settings *s, const char *path,
                   struct halibut_error *err)
{
	int rc = read_text(path, MAX_PEM, "status_client_ca", &s->client_ca_pem,
	                   err);

	if (rc == HALIBUT_OK &&
	    strstr(s->client_ca_pem, "BEGIN CERTIFICATE") == NULL)
		rc = hbt_error_set(err, HALIBUT_EINVAL,
		                   "status_client_ca %s has no certificate; it "
		                   "is a file of those, in PEM, that sign or are "
		                   "those of the clients",
		                   path);
	return rc;
}

/* A worker that is well was heard of at every ping. */
static uint32_t late_ms(const struct hbt_config *cfg)
{
	int64_t ms = 2 * cfg->worker_ping_interval_ms + 1000;

	if (ms > cfg->worker_hang_timeout_ms)
		ms = cfg->worker_hang_timeout_ms;
	return ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
}

int hbt_status_settings_load(struct hbt_status_settings *s,
                             const struct hbt_config *cfg,
                             const char *certificate_pem,
                             struct halibut_error *err)
{
	int rc = HALIBUT_OK;

	memset(s, 0, sizeof(*s));
	s->max_connections = (uint32_t)cfg->status_max_connections;
	s->timeout_ms = (uint32_t)cfg->status_timeout_ms;
	s->redis_grace_ms = (uint32_t)cfg->status_redis_grace_ms;
	s->late_ms = late_ms(cfg);
	if (cfg->status_token_file != NULL)
		rc = load_token(s, cfg->status_token_file, err);
	if (rc == HALIBUT_OK && cfg->status_certificate != NULL)
		rc = load_certificate(s, cfg, certificate_pem, err);
	if (rc == HALIBUT_OK && cfg->status_client_ca != NULL)
		rc = load_ca(s, cfg->status_client_ca, err);
	return rc;
}
