/* Certificates, keys, thumbprints, files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "net/tls.h"
#include "net/tls_int.h"

static char *cert_pem, *key_pem;

static int make_certificate(void **state)
{
	(void)state;
	return hbt_tls_self_signed("Halibut Test", 2048, 30, &cert_pem,
	                           &key_pem, NULL);
}

static int free_certificate(void **state)
{
	(void)state;
	free(cert_pem);
	free(key_pem);
	return 0;
}

static X509 *read_cert(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);

	BIO_free(bio);
	return cert;
}

static EVP_PKEY *read_key(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);

	BIO_free(bio);
	return key;
}

static char *write_file(const void *data, size_t len)
{
	static char path[64];
	int fd;

	strcpy(path, "/tmp/hbt-test-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	close(fd);
	return path;
}

static void a_self_signed_certificate_can_be_used(void **state)
{
	struct halibut_error err = {0};
	struct hbt_tls *tls = NULL;
	X509 *cert = read_cert(cert_pem);
	char thumbprint[HBT_THUMBPRINT_TEXT], name[64];

	(void)state;
	assert_int_equal(hbt_tls_new(&tls, cert_pem, key_pem, &err), 0);
	hbt_thumbprint(cert, thumbprint);
	assert_string_equal(tls->thumbprint, thumbprint);
	assert_int_equal(strlen(thumbprint), 40);
	X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName,
	                          name, sizeof(name));
	assert_string_equal(name, "Halibut Test");
	assert_int_equal(X509_cmp_current_time(X509_get0_notBefore(cert)), -1);
	assert_int_equal(X509_cmp_current_time(X509_get0_notAfter(cert)), 1);
	X509_free(cert);
	hbt_tls_free(&tls);
	assert_null(tls);
	hbt_tls_free(&tls);
}

static void certificate_and_key_may_be_one_text(void **state)
{
	struct hbt_tls *tls = NULL;
	char *both = NULL;

	(void)state;
	assert_true(asprintf(&both, "%s%s", key_pem, cert_pem) > 0);
	assert_int_equal(hbt_tls_new(&tls, both, NULL, NULL), 0);
	hbt_tls_free(&tls);
	free(both);
}

static void a_foreign_key_is_refused(void **state)
{
	struct halibut_error err = {0};
	struct hbt_tls *tls = NULL;
	char *cert2, *key2;

	(void)state;
	assert_int_equal(hbt_tls_self_signed("x", 2048, 1, &cert2, &key2, NULL),
	                 0);
	assert_int_equal(hbt_tls_new(&tls, cert_pem, key2, &err),
	                 HALIBUT_EINVAL);
	assert_non_null(strstr(err.message, "does not belong"));
	assert_null(tls);
	halibut_error_clear(&err);
	free(cert2);
	free(key2);
}

static void a_text_that_is_no_certificate_is_refused(void **state)
{
	static const char *const bad[] = {
		"", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n",
		"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"};
	struct halibut_error err = {0};
	struct hbt_tls *tls = NULL;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(hbt_tls_new(&tls, bad[i], key_pem, &err),
		                 HALIBUT_EINVAL);
		assert_non_null(strstr(err.message, "certificate"));
	}
	assert_int_equal(hbt_tls_new(&tls, cert_pem, NULL, &err),
	                 HALIBUT_EINVAL);
	assert_non_null(strstr(err.message, "private key"));
	halibut_error_clear(&err);
}

/* As old Tentacles have them: SHA-1, expired, a short key, an odd subject. */
static void an_old_certificate_can_be_used(void **state)
{
	EVP_PKEY *key = EVP_RSA_gen(1024);
	X509 *cert = X509_new(), *issuer = read_cert(cert_pem);
	EVP_PKEY *issuer_key = read_key(key_pem);
	BIO *bio = BIO_new(BIO_s_mem());
	struct hbt_tls *tls = NULL;
	char *text;

	(void)state;
	X509_set_version(cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_NAME_add_entry_by_txt(
		X509_get_subject_name(cert), "O", MBSTRING_UTF8,
		(const unsigned char *)"\xc3\xa4 *", -1, -1, 0);
	X509_set_issuer_name(cert, X509_get_subject_name(issuer));
	X509_gmtime_adj(X509_getm_notBefore(cert), -2000000);
	X509_gmtime_adj(X509_getm_notAfter(cert), -1000000);
	X509_set_pubkey(cert, key);
	assert_true(X509_sign(cert, issuer_key, EVP_sha1()) > 0);
	PEM_write_bio_X509(bio, cert);
	PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
	BIO_write(bio, "", 1);
	BIO_get_mem_data(bio, &text);
	assert_int_equal(hbt_tls_new(&tls, text, NULL, NULL), 0);
	hbt_tls_free(&tls);
	BIO_free(bio);
	X509_free(cert);
	X509_free(issuer);
	EVP_PKEY_free(key);
	EVP_PKEY_free(issuer_key);
}

static void thumbprints_are_normalised(void **state)
{
	static const char want[] = "36F35047CE8B000CF4C671819A2DD1AFCDE3403D";
	char out[HBT_THUMBPRINT_TEXT];

	(void)state;
	assert_true(hbt_thumbprint_parse(want, out));
	assert_string_equal(out, want);
	assert_true(hbt_thumbprint_parse(
		"36:f3:50:47:ce:8b:00:0c:f4:c6 71819a2dd1afcde3403d ", out));
	assert_string_equal(out, want);
	assert_false(hbt_thumbprint_parse("", out));
	assert_string_equal(out, "");
	assert_false(hbt_thumbprint_parse(
		"36F35047CE8B000CF4C671819A2DD1AFCDE3403", out));
	assert_false(hbt_thumbprint_parse(
		"36F35047CE8B000CF4C671819A2DD1AFCDE3403DA", out));
	assert_false(hbt_thumbprint_parse(
		"G6F35047CE8B000CF4C671819A2DD1AFCDE3403D", out));
}

static void a_list_of_thumbprints_has_its_members(void **state)
{
	static const char a[] = "0123456789ABCDEF0123456789ABCDEF01234567";
	static const char b[] = "76543210FEDCBA9876543210FEDCBA9876543210";
	char text[200], *list;

	(void)state;
	snprintf(text, sizeof(text), " 01:23:45:67:89:ab:cd:ef:01:23:45:67:89:"
	         "ab:cd:ef:01:23:45:67, %s", b);
	assert_int_equal(hbt_thumbprints_parse(text, &list), HALIBUT_OK);
	assert_int_equal(strlen(list), 81);
	assert_true(hbt_thumbprints_have(list, a));
	assert_true(hbt_thumbprints_have(list, b));
	assert_false(hbt_thumbprints_have(
		list, "3456789ABCDEF0123456789ABCDEF01234567,76"));
	assert_false(hbt_thumbprints_have(list, "0123"));
	free(list);
	assert_int_equal(hbt_thumbprints_parse(a, &list), HALIBUT_OK);
	assert_string_equal(list, a);
	free(list);
	assert_int_equal(hbt_thumbprints_parse("", &list), HALIBUT_EINVAL);
	assert_null(list);
	snprintf(text, sizeof(text), "%s,x", a);
	assert_int_equal(hbt_thumbprints_parse(text, &list), HALIBUT_EINVAL);
	assert_null(list);
	memset(text, ',', 199);
	text[199] = '\0';
	assert_int_equal(hbt_thumbprints_parse(text, &list), HALIBUT_EINVAL);
}

static void a_pem_file_is_taken_apart(void **state)
{
	char *both = NULL, *cert = NULL, *key = NULL;
	const char *path;

	(void)state;
	assert_true(asprintf(&both, "%s%s", key_pem, cert_pem) > 0);
	path = write_file(both, strlen(both));
	assert_int_equal(hbt_tls_load_file(path, NULL, &cert, &key, NULL), 0);
	assert_string_equal(cert, cert_pem);
	assert_string_equal(key, key_pem);
	unlink(path);
	free(cert);
	free(key);
	path = write_file(cert_pem, strlen(cert_pem));
	assert_int_equal(hbt_tls_load_file(path, NULL, &cert, &key, NULL), 0);
	assert_string_equal(cert, cert_pem);
	assert_null(key);
	unlink(path);
	free(cert);
	free(both);
}

static void a_key_may_have_a_file_of_its_own(void **state)
{
	struct halibut_error err = {0};
	char *key = NULL;
	const char *path = write_file(key_pem, strlen(key_pem));

	(void)state;
	assert_int_equal(hbt_tls_load_key_file(path, NULL, &key, &err), 0);
	assert_string_equal(key, key_pem);
	free(key);
	unlink(path);
	path = write_file(cert_pem, strlen(cert_pem));
	assert_int_equal(hbt_tls_load_key_file(path, NULL, &key, &err),
	                 HALIBUT_EINVAL);
	assert_non_null(strstr(err.message, "contains no private key"));
	assert_null(key);
	halibut_error_clear(&err);
	unlink(path);
}

static void an_encrypted_pem_key_needs_its_password(void **state)
{
	struct halibut_error err = {0};
	BIO *bio = BIO_new(BIO_s_mem());
	EVP_PKEY *pkey = read_key(key_pem);
	char *cert = NULL, *key = NULL, *text;
	const char *path;
	long len;

	(void)state;
	BIO_puts(bio, cert_pem);
	PEM_write_bio_PKCS8PrivateKey(bio, pkey, EVP_aes_128_cbc(), "secret", 6,
	                              NULL, NULL);
	len = BIO_get_mem_data(bio, &text);
	path = write_file(text, (size_t)len);
	assert_int_equal(hbt_tls_load_file(path, NULL, &cert, &key, &err),
	                 HALIBUT_EINVAL);
	assert_non_null(strstr(err.message, "password"));
	assert_null(cert);
	assert_int_equal(hbt_tls_load_file(path, "wrong", &cert, &key, &err),
	                 HALIBUT_EINVAL);
	assert_non_null(strstr(err.message, "is the password that of this"));
	assert_int_equal(hbt_tls_load_file(path, "secret", &cert, &key, NULL),
	                 0);
	assert_string_equal(key, key_pem);
	halibut_error_clear(&err);
	unlink(path);
	free(cert);
	free(key);
	EVP_PKEY_free(pkey);
	BIO_free(bio);
}

static void check_pkcs12(const char *password, int key_nid, int cert_nid)
{
	struct halibut_error err = {0};
	EVP_PKEY *pkey = read_key(key_pem);
	X509 *leaf = read_cert(cert_pem);
	PKCS12 *p12 = PKCS12_create(password, "name", pkey, leaf, NULL, key_nid,
	                            cert_nid, 0, 0, 0);
	unsigned char *der = NULL;
	int len;
	char *cert = NULL, *key = NULL;
	const char *path;

	assert_non_null(p12);
	len = i2d_PKCS12(p12, &der);
	path = write_file(der, (size_t)len);
	assert_int_equal(hbt_tls_load_file(path, password, &cert, &key, &err),
	                 0);
	assert_string_equal(cert, cert_pem);
	assert_string_equal(key, key_pem);
	free(cert);
	free(key);
	assert_int_equal(hbt_tls_load_file(path, "wrong", &cert, &key, &err),
	                 HALIBUT_EINVAL);
	assert_non_null(strstr(err.message, "password"));
	assert_null(cert);
	assert_null(key);
	unlink(path);
	halibut_error_clear(&err);
	OPENSSL_free(der);
	PKCS12_free(p12);
	X509_free(leaf);
	EVP_PKEY_free(pkey);
}

static void a_pkcs12_file_is_read(void **state)
{
	(void)state;
	check_pkcs12("secret", 0, 0);
	check_pkcs12("", 0, 0);
}

static void a_pkcs12_file_of_an_old_windows_is_read(void **state)
{
	(void)state;
	check_pkcs12("secret", NID_pbe_WithSHA1And3_Key_TripleDES_CBC,
	             NID_pbe_WithSHA1And3_Key_TripleDES_CBC);
}

static void a_file_that_is_something_else_is_refused(void **state)
{
	struct halibut_error err = {0};
	char *cert = NULL, *key = NULL;
	const char *path = write_file("\x30\x82\x01\x00hello", 9);

	(void)state;
	assert_int_equal(hbt_tls_load_file(path, NULL, &cert, &key, &err),
	                 HALIBUT_EINVAL);
	assert_non_null(strstr(err.message, path));
	unlink(path);
	assert_int_equal(hbt_tls_load_file(path, NULL, &cert, &key, &err),
	                 HALIBUT_ESYSTEM);
	assert_int_equal(hbt_tls_load_file("/", NULL, &cert, &key, &err),
	                 HALIBUT_EINVAL);
	assert_int_equal(
		hbt_tls_load_file("/dev/zero", NULL, &cert, &key, &err),
		HALIBUT_EINVAL);
	halibut_error_clear(&err);
}

static void a_key_size_out_of_range_is_refused(void **state)
{
	struct halibut_error err = {0};
	char *cert = NULL, *key = NULL;

	(void)state;
	assert_int_equal(hbt_tls_self_signed("x", 512, 1, &cert, &key, &err),
	                 HALIBUT_EINVAL);
	assert_int_equal(hbt_tls_self_signed("x", 2048, 0, &cert, &key, &err),
	                 HALIBUT_EINVAL);
	assert_null(cert);
	halibut_error_clear(&err);
}

/* Is who asks for that name shown another certificate than ours? */
static bool is_shown_another(struct hbt_tls *ours, const char *name)
{
	SSL *server = SSL_new(ours->server), *client = SSL_new(ours->client);
	X509 *own = read_cert(cert_pem), *shown;
	BIO *a, *b;
	bool another;

	assert_int_equal(BIO_new_bio_pair(&a, 65536, &b, 65536), 1);
	SSL_set_bio(server, a, a);
	SSL_set_bio(client, b, b);
	SSL_set_accept_state(server);
	SSL_set_connect_state(client);
	SSL_set_verify(client, SSL_VERIFY_NONE, NULL);
	SSL_set_verify(server, SSL_VERIFY_NONE, NULL);
	assert_int_equal(SSL_set_tlsext_host_name(client, name), 1);
	for (int i = 0; i < 10 && !SSL_is_init_finished(client); i++) {
		SSL_do_handshake(client);
		SSL_do_handshake(server);
	}
	shown = SSL_get1_peer_certificate(client);
	assert_non_null(shown);
	another = X509_cmp(shown, own) != 0;
	X509_free(shown);
	X509_free(own);
	SSL_free(client);
	SSL_free(server);
	return another;
}

static void names_are_forgotten_with_the_certificate_they_are_for(void **state)
{
	struct hbt_tls *ours, *other, *third;
	char *cert, *key;

	(void)state;
	assert_int_equal(
		hbt_tls_self_signed("another", 2048, 30, &cert, &key, NULL), 0);
	assert_int_equal(hbt_tls_new(&ours, cert_pem, key_pem, NULL), 0);
	assert_int_equal(hbt_tls_new(&other, cert, key, NULL), 0);
	assert_int_equal(hbt_tls_new(&third, cert, key, NULL), 0);
	assert_int_equal(hbt_tls_add_name(ours, "a.test", other), 0);
	assert_int_equal(hbt_tls_add_name(ours, "b.test", third), 0);
	assert_int_equal(hbt_tls_add_name(ours, "*.c.test", other), 0);
	assert_true(is_shown_another(ours, "a.test"));
	assert_true(is_shown_another(ours, "x.c.test"));
	hbt_tls_remove_names(ours, other);
	hbt_tls_free(&other);
	assert_false(is_shown_another(ours, "a.test"));
	assert_false(is_shown_another(ours, "x.c.test"));
	assert_true(is_shown_another(ours, "b.test"));
	hbt_tls_free(&ours);
	hbt_tls_free(&third);
	free(cert);
	free(key);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_self_signed_certificate_can_be_used),
		cmocka_unit_test(certificate_and_key_may_be_one_text),
		cmocka_unit_test(a_foreign_key_is_refused),
		cmocka_unit_test(a_text_that_is_no_certificate_is_refused),
		cmocka_unit_test(an_old_certificate_can_be_used),
		cmocka_unit_test(thumbprints_are_normalised),
		cmocka_unit_test(a_list_of_thumbprints_has_its_members),
		cmocka_unit_test(a_pem_file_is_taken_apart),
		cmocka_unit_test(a_key_may_have_a_file_of_its_own),
		cmocka_unit_test(an_encrypted_pem_key_needs_its_password),
		cmocka_unit_test(a_pkcs12_file_is_read),
		cmocka_unit_test(a_pkcs12_file_of_an_old_windows_is_read),
		cmocka_unit_test(a_file_that_is_something_else_is_refused),
		cmocka_unit_test(a_key_size_out_of_range_is_refused),
		cmocka_unit_test(
			names_are_forgotten_with_the_certificate_they_are_for),
	};

	return cmocka_run_group_tests(tests, make_certificate,
	                              free_certificate);
}
