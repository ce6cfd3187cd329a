/* Certificates in files: written so that only their owner reads them. */
#include "ctl/cert_file.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <halibut/halibut.h>
#include "ctl/cert_facts.h"
#include "ctl/ctl.h"

static int write_whole(int fd, const void *data, size_t len)
{
	const char *p = data;

	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		p += n;
		len -= (size_t)n;
	}
	return fsync(fd) == 0 || errno == EINVAL ? 0 : -1;
}

/*
 * A key must not be lost to a full disk, nor an old one be replaced by half a
 * new one: written beside it, then linked or renamed into place.
 */
static int write_private(const char *path, bool force, const void *data,
                         size_t len, struct halibut_error *err)
{
	char *temporary = NULL;
	int fd = -1;
	int rc = HALIBUT_OK;

	if (asprintf(&temporary, "%s.XXXXXX", path) < 0)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	fd = mkostemp(temporary, O_CLOEXEC); /* mode 0600 */
	if (fd < 0 || write_whole(fd, data, len) != 0)
		rc = hbt_error_set(err, HALIBUT_ESYSTEM, "cannot write %s: %s",
		                   path, strerror(errno));
	else if (force ? rename(temporary, path) != 0
	               : link(temporary, path) != 0)
		rc = errno == EEXIST
		             ? hbt_error_set(err, HALIBUT_EINVAL,
		                             "%s exists; --force replaces it, "
		                             "and whoever trusts the old "
		                             "thumbprint has to trust the new",
		                             path)
		             : hbt_error_set(err, HALIBUT_ESYSTEM,
		                             "cannot write %s: %s", path,
		                             strerror(errno));
	if (fd >= 0) {
		close(fd);
		unlink(temporary); /* the second name, or what is half done */
	}
	free(temporary);
	return rc;
}

int hbt_ctl_write_secret(const char *path, bool force, const char *cert_pem,
                         const char *key_pem, struct halibut_error *err)
{
	char *both = NULL;
	int n = asprintf(&both, "%s%s", cert_pem, key_pem);
	int rc;

	if (n < 0)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	rc = write_private(path, force, both, (size_t)n, err);
	explicit_bzero(both, (size_t)n);
	free(both);
	return rc;
}

static X509 *parse_cert(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert = NULL;

	if (bio != NULL)
		cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	BIO_free(bio);
	return cert;
}

static EVP_PKEY *parse_key(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key = NULL;

	if (bio != NULL)
		key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
	BIO_free(bio);
	return key;
}

int hbt_ctl_write_pfx(const char *path, bool force, const char *name,
                      const char *cert_pem, const char *key_pem,
                      const char *password, struct halibut_error *err)
{
	X509 *cert = parse_cert(cert_pem);
	EVP_PKEY *key = parse_key(key_pem);
	PKCS12 *p12 = NULL;
	unsigned char *der = NULL;
	int len = -1;
	int rc;

	if (cert != NULL && key != NULL)
		p12 = PKCS12_create(password, name, key, cert, NULL, 0, 0, 0,
		                    0, 0);
	if (p12 != NULL)
		len = i2d_PKCS12(p12, &der);
	rc = len > 0 ? write_private(path, force, der, (size_t)len, err)
	             : hbt_error_set(err, HALIBUT_ESYSTEM,
	                             "cannot make a PKCS#12 file: %s",
	                             ERR_reason_error_string(ERR_get_error()));
	OPENSSL_free(der);
	PKCS12_free(p12);
	EVP_PKEY_free(key);
	X509_free(cert);
	return rc;
}

void hbt_ctl_wipe(char **secret)
{
	if (*secret != NULL)
		explicit_bzero(*secret, strlen(*secret));
	free(*secret);
	*secret = NULL;
}

int hbt_ctl_load_certificate(const char *path, const char *password_file,
                             char **cert, char **key,
                             struct halibut_error *err)
{
	char *password = NULL;
	int rc = HALIBUT_OK;

	*cert = *key = NULL;
	if (password_file != NULL &&
	    (password = hbt_ctl_read_password(password_file, err)) == NULL)
		return HALIBUT_EINVAL;
	rc = halibut_certificate_load(path, password, cert, key, err);
	hbt_ctl_wipe(&password);
	if (rc == HALIBUT_ESYSTEM) /* who named that file made a mistake */
		rc = err->status = HALIBUT_EINVAL;
	return rc;
}

int hbt_ctl_load_identity(const char *path, const char *password_file,
                          char **cert, char **key, struct halibut_error *err)
{
	int rc = hbt_ctl_load_certificate(path, password_file, cert, key, err);

	if (rc == HALIBUT_OK && *key == NULL)
		rc = hbt_error_set(err, HALIBUT_EINVAL,
		                   "%s has no private key; a caller proves "
		                   "with it who it is",
		                   path);
	return rc;
}

int hbt_ctl_cert_of_file(const char *path, const char *password_file,
                         struct hbt_ctl_cert_facts *facts,
                         struct halibut_error *err)
{
	char *cert_pem, *key_pem;
	X509 *cert = NULL;
	int rc = hbt_ctl_load_certificate(path, password_file, &cert_pem,
	                                  &key_pem, err);

	if (rc == 0 && (cert = parse_cert(cert_pem)) == NULL)
		rc = hbt_error_set(err, HALIBUT_EINVAL,
		                   "%s has no certificate that can be read",
		                   path);
	if (rc == 0)
		rc = hbt_ctl_cert_facts_read(facts, cert, err);
	if (rc == 0)
		facts->private_key = key_pem != NULL;
	X509_free(cert);
	hbt_ctl_wipe(&key_pem);
	free(cert_pem);
	return rc;
}
