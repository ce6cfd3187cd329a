#include "master/expiry.h"

#include <openssl/pem.h>
#include <time.h>

#include "base/log.h"
#include "net/cert_facts.h"

#define DAY_MS (24 * 3600 * INT64_C(1000))

static const char remedy[] =
	"nothing fails by it in Halibut, which compares thumbprints; for tools "
	"that mind, make another certificate as docs/certificates.md says";

/* out NULL: to the log. */
static void tell(FILE *out, const char *file, const char *thumbprint,
                 const char *what)
{
	if (out != NULL)
		fprintf(out, "warning: certificate %s (%s) %s; %s\n", file,
		        thumbprint, what, remedy);
	else
		log_event(HBT_LOG_WARNING,
		          LOG_ABOUT(.event = "certificate_expires",
		                    .thumbprint = thumbprint, .reason = what,
		                    .remedy = remedy),
		          "certificate %s (%s) %s; %s", file, thumbprint, what,
		          remedy);
}

static void date(int64_t at_ms, char text[32])
{
	time_t at = (time_t)(at_ms / 1000);
	struct tm tm;

	if (gmtime_r(&at, &tm) == NULL ||
	    strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		snprintf(text, 32, "an unreadable date");
}

bool hbt_expiry_text(char text[HBT_EXPIRY_TEXT], int64_t not_before_ms,
                     int64_t not_after_ms, int64_t now_ms)
{
	char at[32];

	if (not_after_ms != 0 && not_after_ms <= now_ms) {
		date(not_after_ms, at);
		snprintf(text, HBT_EXPIRY_TEXT, "ended at %s", at);
	} else if (not_before_ms != 0 && not_before_ms > now_ms) {
		date(not_before_ms, at);
		snprintf(text, HBT_EXPIRY_TEXT,
		         "is not valid before %s, if the clock of this "
		         "machine is right",
		         at);
	} else if (not_after_ms != 0 &&
	           not_after_ms - now_ms <= HBT_EXPIRY_SOON_DAYS * DAY_MS) {
		date(not_after_ms, at);
		snprintf(text, HBT_EXPIRY_TEXT, "will end at %s", at);
	} else {
		return false;
	}
	return true;
}

static void check(FILE *out, const char *file, const char *pem,
                  const char *thumbprint)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert = bio != NULL ? PEM_read_bio_X509(bio, NULL, NULL, NULL)
	                         : NULL;
	int64_t now_ms = (int64_t)time(NULL) * 1000;
	struct hbt_cert_facts facts;
	char what[HBT_EXPIRY_TEXT];

	hbt_cert_facts(cert, &facts);
	if (hbt_expiry_text(what, facts.not_before_ms, facts.not_after_ms,
	                    now_ms))
		tell(out, file, thumbprint, what);
	X509_free(cert);
	BIO_free(bio);
}

static void check_all(FILE *out, const struct hbt_credentials *c,
                      const struct hbt_config *cfg)
{
	check(out, cfg->certificate, c->certificate_pem, c->thumbprint);
	for (size_t i = 0; i < c->n_others && i < cfg->n_identities; i++)
		check(out, cfg->identities[i].certificate,
		      c->others[i].fields.certificate_pem,
		      c->others[i].thumbprint);
}

void hbt_expiry_log(const struct hbt_credentials *c,
                    const struct hbt_config *cfg)
{
	check_all(NULL, c, cfg);
}

void hbt_expiry_print(const struct hbt_credentials *c,
                      const struct hbt_config *cfg, FILE *out)
{
	check_all(out, c, cfg);
}
