/*
 * Certificates as files and texts: thumbprints, self-signed certificates,
 * PEM and PKCS#12 files. wire-protocol 2.3
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "net/tls.h"
#include "net/tls_int.h"

enum {
	FILE_MAX = 1024 * 1024, /* a certificate file is a few KiB */
	SERIAL_BYTES = 16,
	DAY = 24 * 60 * 60,
};

void hbt_thumbprint(X509 *cert, char text[HBT_THUMBPRINT_TEXT])
{
	static const char digit[] = "0123456789ABCDEF";
	unsigned char sha1[EVP_MAX_MD_SIZE];
	unsigned int len = 0;
	size_t i;

	memset(text, 0, HBT_THUMBPRINT_TEXT);
	if (X509_digest(cert, EVP_sha1(), sha1, &len) != 1 || len != 20)
		return; /* an empty text matches nothing */
	for (i = 0; i < 20; i++) {
		text[2 * i] = digit[sha1[i] >> 4];
		text[2 * i + 1] = digit[sha1[i] & 15];
	}
}

bool hbt_thumbprint_parse(const char *text, char out[HBT_THUMBPRINT_TEXT])
{
	size_t n = 0;

	memset(out, 0, HBT_THUMBPRINT_TEXT);
	for (; *text != '\0'; text++) {
		if (*text == ' ' || *text == ':' || *text == '\t')
			continue;
		if (n == HBT_THUMBPRINT_TEXT - 1 ||
		    !isxdigit((unsigned char)*text)) {
			memset(out, 0, HBT_THUMBPRINT_TEXT);
			return false;
		}
		out[n++] = (char)toupper((unsigned char)*text);
	}
	if (n == HBT_THUMBPRINT_TEXT - 1)
		return true;
	memset(out, 0, HBT_THUMBPRINT_TEXT);
	return false;
}

int hbt_thumbprints_parse(const char *text, char **out)
{
	char *copy = strdup(text), *save = NULL, *to;
	int rc = HALIBUT_OK;

	*out = to = malloc((strlen(text) / (HBT_THUMBPRINT_TEXT - 1) + 2) *
	                   HBT_THUMBPRINT_TEXT);
	if (copy == NULL || to == NULL)
		rc = HALIBUT_ENOMEM;
	for (char *one = rc == HALIBUT_OK ? strtok_r(copy, ",", &save) : NULL;
	     rc == HALIBUT_OK && one != NULL;
	     one = strtok_r(NULL, ",", &save)) {
		if (to > *out)
			*to++ = ',';
		if (!hbt_thumbprint_parse(one, to))
			rc = HALIBUT_EINVAL;
		to += HBT_THUMBPRINT_TEXT - 1;
	}
	if (rc == HALIBUT_OK && to == *out)
		rc = HALIBUT_EINVAL;
	free(copy);
	if (rc == HALIBUT_OK)
		return rc;
	free(*out);
	*out = NULL;
	return rc;
}

bool hbt_thumbprints_have(const char *list, const char *thumbprint)
{
	size_t len = strlen(thumbprint);

	for (; list != NULL; list = strchr(list, ',')) {
		list += *list == ',';
		if (strncmp(list, thumbprint, len) == 0 &&
		    (list[len] == '\0' || list[len] == ','))
			return true;
	}
	return false;
}

const char *hbt_openssl_reason(void)
{
	unsigned long code = ERR_peek_last_error();
	const char *reason = NULL;

	if (code != 0) {
		reason = ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code))
		                                : ERR_reason_error_string(code);
	}
	ERR_clear_error();
	return reason != NULL ? reason : "unknown error";
}

/* The text of a memory BIO as a malloced string. The BIO is wiped. */
static char *take_text(BIO *bio)
{
	BUF_MEM *mem = NULL;
	char *text;

	BIO_get_mem_ptr(bio, &mem);
	if (mem == NULL || (text = malloc(mem->length + 1)) == NULL)
		return NULL;
	memcpy(text, mem->data, mem->length);
	text[mem->length] = '\0';
	return text;
}

static BIO *secret_bio(void)
{
	return BIO_new(BIO_s_secmem()); /* zeroed when it is freed */
}

static char *key_text(EVP_PKEY *key)
{
	BIO *bio = secret_bio();
	char *text = NULL;

	if (bio != NULL && PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL,
	                                                 0, NULL, NULL) == 1)
		text = take_text(bio);
	BIO_free(bio);
	return text;
}

/* Leaf and what belongs to it, as one text. */
static char *cert_text(X509 *leaf, STACK_OF(X509) * others)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text = NULL;
	int i;

	if (bio == NULL || PEM_write_bio_X509(bio, leaf) != 1)
		goto out;
	for (i = 0; i < sk_X509_num(others); i++) {
		if (PEM_write_bio_X509(bio, sk_X509_value(others, i)) != 1)
			goto out;
	}
	text = take_text(bio);
out:
	BIO_free(bio);
	return text;
}

void hbt_secret_free(char **text)
{
	if (*text != NULL)
		OPENSSL_cleanse(*text, strlen(*text));
	free(*text);
	*text = NULL;
}

static bool set_serial(X509 *cert)
{
	unsigned char serial[SERIAL_BYTES];
	BIGNUM *number = NULL;
	bool ok = false;

	if (RAND_bytes(serial, sizeof(serial)) != 1)
		return false;
	serial[0] = (unsigned char)((serial[0] & 0x7f) | 0x40); /* positive */
	if ((number = BN_bin2bn(serial, sizeof(serial), NULL)) != NULL &&
	    BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert)) != NULL)
		ok = true;
	BN_free(number);
	return ok;
}

static bool set_name(X509 *cert, const char *name)
{
	X509_NAME *subject = X509_get_subject_name(cert);

	return X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
	                                  (const unsigned char *)name, -1, -1,
	                                  0) == 1 &&
	       X509_set_issuer_name(cert, subject) == 1;
}

int hbt_tls_self_signed(const char *name, int bits, int days, char **cert_pem,
                        char **key_pem, struct halibut_error *err)
{
	EVP_PKEY *key = NULL;
	X509 *cert = NULL;
	int rc;

	*cert_pem = *key_pem = NULL;
	ERR_clear_error();
	if (bits < 2048 || bits > 16384)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "A key of %d bits cannot be made: choose "
		                     "2048 to 16384",
		                     bits);
	if (days < 1)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "A certificate cannot be valid for %d "
		                     "days",
		                     days);
	if ((key = EVP_RSA_gen((unsigned int)bits)) == NULL ||
	    (cert = X509_new()) == NULL || X509_set_version(cert, 2) != 1 ||
	    !set_serial(cert) || !set_name(cert, name) ||
	    X509_gmtime_adj(X509_getm_notBefore(cert), -DAY) == NULL ||
	    X509_time_adj_ex(X509_getm_notAfter(cert), days, 0, NULL) == NULL ||
	    X509_set_pubkey(cert, key) != 1 ||
	    X509_sign(cert, key, EVP_sha256()) == 0) {
		rc = hbt_error_set(err, HALIBUT_EINVAL,
		                   "A certificate with the name '%s' cannot be "
		                   "made: %s",
		                   name, hbt_openssl_reason());
		goto out;
	}
	*cert_pem = cert_text(cert, NULL);
	*key_pem = key_text(key);
	rc = HALIBUT_OK;
	if (*cert_pem == NULL || *key_pem == NULL) {
		free(*cert_pem);
		*cert_pem = NULL;
		hbt_secret_free(key_pem);
		rc = hbt_error_set(err, HALIBUT_ENOMEM, "Out of memory");
	}
out:
	X509_free(cert);
	EVP_PKEY_free(key);
	return rc;
}

/* The whole file with a terminator behind it. */
static int read_file(const char *path, char **data, size_t *len,
                     struct halibut_error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	ssize_t n;
	int rc;

	*data = NULL;
	*len = 0;
	if (fd < 0 || fstat(fd, &st) != 0) {
		rc = hbt_error_set(err, HALIBUT_ESYSTEM,
		                   "The certificate file %s cannot be read: %s",
		                   path, strerror(errno));
		goto out;
	}
	if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX) {
		rc = hbt_error_set(err, HALIBUT_EINVAL,
		                   "%s is no certificate file: it is %s", path,
		                   S_ISREG(st.st_mode) ? "larger than 1 MiB"
		                                       : "no regular file");
		goto out;
	}
	if ((*data = malloc((size_t)st.st_size + 1)) == NULL) {
		rc = hbt_error_set(err, HALIBUT_ENOMEM, "Out of memory");
		goto out;
	}
	while (*len < (size_t)st.st_size &&
	       (n = read(fd, *data + *len, (size_t)st.st_size - *len)) > 0)
		*len += (size_t)n;
	(*data)[*len] = '\0';
	rc = HALIBUT_OK;
out:
	if (fd >= 0)
		close(fd);
	return rc;
}

int hbt_pem_password(char *out, int size, int rwflag, void *password)
{
	size_t len;

	(void)rwflag;
	if (password == NULL || size < 0 ||
	    (len = strlen(password)) > (size_t)size)
		return -1; /* without this OpenSSL would ask the terminal */
	memcpy(out, password, len);
	return (int)len;
}

static bool is_key_header(const char *line)
{
	const char *end = strchr(line, '\n');
	const char *found = strstr(line, "PRIVATE KEY-----");

	return found != NULL && (end == NULL || found < end);
}

static bool has_key(const char *text)
{
	const char *line;

	for (line = text; (line = strstr(line, "-----BEGIN ")) != NULL;
	     line++) {
		if (is_key_header(line))
			return true;
	}
	return false;
}

/* Certificates only: keys that stand in the same text are left out. */
static char *pem_certs(const char *text, const char *path,
                       struct halibut_error *err)
{
	BIO *in = BIO_new_mem_buf(text, -1);
	BIO *out = BIO_new(BIO_s_mem());
	char *certs = NULL;
	X509 *cert;
	int count = 0;

	if (in == NULL || out == NULL) {
		hbt_error_set(err, HALIBUT_ENOMEM, "Out of memory");
		goto done;
	}
	while ((cert = PEM_read_bio_X509(in, NULL, hbt_pem_password, NULL)) !=
	       NULL) {
		count += PEM_write_bio_X509(out, cert) == 1;
		X509_free(cert);
	}
	if (count == 0) {
		hbt_error_set(err, HALIBUT_EINVAL,
		              "%s contains no readable certificate: %s", path,
		              hbt_openssl_reason());
		goto done;
	}
	if ((certs = take_text(out)) == NULL)
		hbt_error_set(err, HALIBUT_ENOMEM, "Out of memory");
done:
	ERR_clear_error();
	BIO_free(in);
	BIO_free(out);
	return certs;
}

static char *pem_key(const char *text, const char *path, const char *password,
                     struct halibut_error *err)
{
	BIO *in = BIO_new_mem_buf(text, -1);
	EVP_PKEY *key = NULL;
	char *out = NULL;

	if (in != NULL)
		key = PEM_read_bio_PrivateKey(in, NULL, hbt_pem_password,
		                              (void *)(uintptr_t)password);
	if (key == NULL)
		hbt_error_set(
			err, HALIBUT_EINVAL,
			"The private key in %s cannot be read: %s%s", path,
			hbt_openssl_reason(),
			password == NULL
				? "; if it is encrypted, give its "
				  "password, else it is damaged"
				: "; is the password that of this file? Else "
				  "it is damaged");
	else if ((out = key_text(key)) == NULL)
		hbt_error_set(err, HALIBUT_ENOMEM, "Out of memory");
	EVP_PKEY_free(key);
	BIO_free(in);
	return out;
}

static int load_pem(const char *text, const char *path, const char *password,
                    char **cert_pem, char **key_pem, struct halibut_error *err)
{
	if ((*cert_pem = pem_certs(text, path, err)) == NULL)
		return HALIBUT_EINVAL;
	if (has_key(text) &&
	    (*key_pem = pem_key(text, path, password, err)) == NULL) {
		free(*cert_pem);
		*cert_pem = NULL;
		return HALIBUT_EINVAL;
	}
	return HALIBUT_OK;
}

/*
 * Files from Windows may be encrypted with RC2, which OpenSSL has only in
 * its "legacy" provider. It is loaded into a context of its own, so that
 * nothing else in the process can use it.
 */
static int load_pkcs12(const char *data, size_t len, const char *path,
                       const char *password, char **cert_pem, char **key_pem,
                       struct halibut_error *err)
{
	OSSL_LIB_CTX *ctx = OSSL_LIB_CTX_new();
	OSSL_PROVIDER *normal = NULL, *legacy = NULL;
	BIO *in = BIO_new_mem_buf(data, (int)len);
	PKCS12 *p12 = NULL;
	EVP_PKEY *key = NULL;
	X509 *cert = NULL;
	STACK_OF(X509) *others = NULL;
	int rc;

	if (ctx != NULL) {
		normal = OSSL_PROVIDER_load(ctx, "default");
		legacy = OSSL_PROVIDER_load(ctx, "legacy"); /* may be absent */
		p12 = PKCS12_init_ex(NID_pkcs7_data, ctx, NULL);
	}
	ERR_clear_error();
	if (in == NULL || p12 == NULL || d2i_PKCS12_bio(in, &p12) == NULL) {
		rc = hbt_error_set(err, HALIBUT_EINVAL,
		                   "%s is neither a PEM nor a PKCS#12 file, or "
		                   "it is damaged: %s",
		                   path, hbt_openssl_reason());
		goto out;
	}
	if (PKCS12_parse(p12, password, &key, &cert, &others) != 1) {
		rc = hbt_error_set(err, HALIBUT_EINVAL,
		                   "The PKCS#12 file %s cannot be opened, is "
		                   "the password right? %s",
		                   path, hbt_openssl_reason());
		goto out;
	}
	if (cert == NULL) {
		rc = hbt_error_set(
			err, HALIBUT_EINVAL,
			"The PKCS#12 file %s contains no certificate "
			"that belongs to its key",
			path);
		goto out;
	}
	*cert_pem = cert_text(cert, others);
	if (key != NULL)
		*key_pem = key_text(key);
	rc = HALIBUT_OK;
	if (*cert_pem == NULL || (key != NULL && *key_pem == NULL)) {
		free(*cert_pem);
		*cert_pem = NULL;
		hbt_secret_free(key_pem);
		rc = hbt_error_set(err, HALIBUT_ENOMEM, "Out of memory");
	}
out:
	ERR_clear_error();
	sk_X509_pop_free(others, X509_free);
	X509_free(cert);
	EVP_PKEY_free(key);
	PKCS12_free(p12);
	BIO_free(in);
	if (legacy != NULL)
		OSSL_PROVIDER_unload(legacy);
	if (normal != NULL)
		OSSL_PROVIDER_unload(normal);
	OSSL_LIB_CTX_free(ctx);
	return rc;
}

/* Of a text in which there is a key, or of a PKCS#12 file. */
static int load_key(const char *data, size_t len, const char *path,
                    const char *password, char **key_pem,
                    struct halibut_error *err)
{
	char *cert = NULL;
	int rc = HALIBUT_OK;

	if (strstr(data, "-----BEGIN ") == NULL)
		rc = load_pkcs12(data, len, path, password, &cert, key_pem,
		                 err);
	else if (has_key(data) &&
	         (*key_pem = pem_key(data, path, password, err)) == NULL)
		rc = HALIBUT_EINVAL;
	free(cert);
	if (rc == HALIBUT_OK && *key_pem == NULL)
		rc = hbt_error_set(err, HALIBUT_EINVAL,
		                   "%s contains no private key", path);
	return rc;
}

int hbt_tls_load_key_file(const char *path, const char *password,
                          char **key_pem, struct halibut_error *err)
{
	char *data;
	size_t len;
	int rc;

	*key_pem = NULL;
	ERR_clear_error();
	if ((rc = read_file(path, &data, &len, err)) == 0)
		rc = load_key(data, len, path, password, key_pem, err);
	if (data != NULL)
		OPENSSL_cleanse(data, len);
	free(data);
	return rc;
}

int hbt_tls_load_file(const char *path, const char *password, char **cert_pem,
                      char **key_pem, struct halibut_error *err)
{
	char *data;
	size_t len;
	int rc;

	*cert_pem = *key_pem = NULL;
	ERR_clear_error();
	if ((rc = read_file(path, &data, &len, err)) == 0) {
		if (strstr(data, "-----BEGIN ") != NULL)
			rc = load_pem(data, path, password, cert_pem, key_pem,
			              err);
		else
			rc = load_pkcs12(data, len, path, password, cert_pem,
			                 key_pem, err);
	}
	if (data != NULL)
		OPENSSL_cleanse(data, len);
	free(data);
	return rc;
}
