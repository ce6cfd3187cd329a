#include "master/expiry.h"

#include <time.h>

#include "base/log.h"

#define DAY_MS (24 * 3600 * INT64_C(1000))

/* Who minds, and what to do. */
static const char *remedy_for(enum hbt_cert_use use)
{
	switch (use) {
	case HBT_CERT_STATUS:
		return "clients of the status refuse one that has ended; put "
		       "another one in its place and reload";
	case HBT_CERT_REDIS:
		return "Redis refuses one that has ended; put another one in "
		       "its place and reload";
	default:
		return "nothing fails by it in Halibut, which compares "
		       "thumbprints; for tools that mind, make another "
		       "certificate as docs/certificates.md says";
	}
}

static void date(int64_t at_ms, char text[32])
{
	time_t at = (time_t)(at_ms / 1000);
	struct tm tm;

	if (gmtime_r(&at, &tm) == NULL ||
	    strftime(text, 32, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		snprintf(text, 32, "an unreadable date");
}

enum hbt_expiry hbt_expiry_text(char text[HBT_EXPIRY_TEXT],
                                const struct hbt_cert_facts *facts,
                                int64_t now_ms, int64_t soon_ms)
{
	int64_t end_ms = facts->not_after_ms, days;
	char at[32];

	if (end_ms != 0 && end_ms <= now_ms) {
		date(end_ms, at);
		snprintf(text, HBT_EXPIRY_TEXT, "ended at %s", at);
		return HBT_EXPIRY_ENDED;
	}
	if (facts->not_before_ms != 0 && facts->not_before_ms > now_ms) {
		date(facts->not_before_ms, at);
		snprintf(text, HBT_EXPIRY_TEXT,
		         "is not valid before %s, if the clock of this "
		         "machine is right",
		         at);
		return HBT_EXPIRY_LATER;
	}
	if (end_ms != 0 && end_ms - now_ms <= soon_ms) {
		date(end_ms, at);
		days = (end_ms - now_ms) / DAY_MS;
		if (days > 1)
			snprintf(text, HBT_EXPIRY_TEXT,
			         "will end at %s, in %lld days", at,
			         (long long)days);
		else
			snprintf(text, HBT_EXPIRY_TEXT,
			         "will end at %s, in less than two days", at);
		return HBT_EXPIRY_SOON;
	}
	return HBT_EXPIRY_NONE;
}

static void tell(const struct hbt_own_cert *one, const char *what)
{
	const char *remedy = remedy_for(one->use);

	log_event(HBT_LOG_WARNING,
	          LOG_ABOUT(.event = "certificate_expires",
	                    .thumbprint = one->thumbprint, .reason = what,
	                    .remedy = remedy),
	          "certificate %s (%s) %s; %s", one->file, one->thumbprint,
	          what, remedy);
}

void hbt_expiry_tick(struct hbt_own_certs *certs, int64_t now_ms,
                     int64_t unix_ms)
{
	for (size_t i = 0; i < certs->n; i++) {
		struct hbt_own_cert *one = &certs->v[i];
		char what[HBT_EXPIRY_TEXT];
		enum hbt_expiry now = hbt_expiry_text(
			what, &one->facts, unix_ms, certs->warning_ms);

		if (now != HBT_EXPIRY_NONE &&
		    ((int)now != one->told ||
		     now_ms - one->told_ms >= DAY_MS)) {
			tell(one, what);
			one->told_ms = now_ms;
		}
		one->told = now;
	}
}

void hbt_expiry_print(const struct hbt_own_certs *certs, FILE *out)
{
	int64_t now_ms = (int64_t)time(NULL) * 1000;

	for (size_t i = 0; i < certs->n; i++) {
		const struct hbt_own_cert *one = &certs->v[i];
		char what[HBT_EXPIRY_TEXT];

		if (hbt_expiry_text(what, &one->facts, now_ms,
		                    certs->warning_ms) != HBT_EXPIRY_NONE)
			fprintf(out, "warning: certificate %s (%s) %s; %s\n",
			        one->file, one->thumbprint, what,
			        remedy_for(one->use));
	}
}
