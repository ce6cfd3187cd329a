/* The public functions on certificates: what they promise is in net/tls.h. */
#include <openssl/pem.h>
#include <string.h>

#include "halibut/halibut.h"
#include "net/tls.h"

int halibut_certificate_create(const char *common_name, int days,
                               char **cert_pem, char **key_pem,
                               struct halibut_error *err)
{
	return hbt_tls_self_signed(common_name, 2048, days, cert_pem, key_pem,
	                           err);
}

int halibut_certificate_load(const char *path, const char *password,
                             char **cert_pem, char **key_pem,
                             struct halibut_error *err)
{
	return hbt_tls_load_file(path, password, cert_pem, key_pem, err);
}

int halibut_certificate_thumbprint(const char *cert_pem,
                                   char thumbprint[HALIBUT_THUMBPRINT_SIZE],
                                   struct halibut_error *err)
{
	BIO *bio = BIO_new_mem_buf(cert_pem, -1);
	X509 *cert = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, NULL,
	                                                    NULL);

	BIO_free(bio);
	if (cert == NULL)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "there is no PEM certificate in the text");
	hbt_thumbprint(cert, thumbprint);
	X509_free(cert);
	return 0;
}
