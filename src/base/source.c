#include "base/source.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t v4_in_v6[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255};

static bool is_v4(const struct hbt_network *n)
{
	return memcmp(n->address, v4_in_v6, sizeof(v4_in_v6)) == 0;
}

static bool parse_address(const char *text, struct hbt_network *out)
{
	memcpy(out->address, v4_in_v6, sizeof(v4_in_v6));
	out->bits = 128;
	return inet_pton(AF_INET, text, out->address + 12) == 1 ||
	       inet_pton(AF_INET6, text, out->address) == 1;
}

/* All behind the first bits becomes zero. */
static void cut(uint8_t address[16], int bits)
{
	for (int i = 0; i < 16; i++, bits -= 8) {
		if (bits <= 0)
			address[i] = 0;
		else if (bits < 8)
			address[i] &= (uint8_t)(0xff << (8 - bits));
	}
}

static int no_network(const char *text, struct halibut_error *err)
{
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "\"%s\" is no network; write it as in "
	                     "\"192.0.2.0/24\", \"2001:db8::/32\" or "
	                     "\"192.0.2.7\"",
	                     text);
}

int hbt_network_parse(const char *text, struct hbt_network *out,
                      struct halibut_error *err)
{
	const char *slash = strchr(text, '/');
	char host[HBT_SOURCE_TEXT];
	int most, bits;
	char *end;

	if (slash == NULL)
		return parse_address(text, out) ? HALIBUT_OK
		                                : no_network(text, err);
	snprintf(host, sizeof(host), "%.*s", (int)(slash - text), text);
	if (!parse_address(host, out) || slash[1] < '0' || slash[1] > '9')
		return no_network(text, err);
	most = strchr(host, ':') == NULL ? 32 : 128;
	bits = (int)strtol(slash + 1, &end, 10);
	if (*end != '\0' || end - slash > 4 || bits > most)
		return no_network(text, err);
	out->bits = 128 - most + bits;
	cut(out->address, out->bits);
	return HALIBUT_OK;
}

bool hbt_source_parse(const char *peer, struct hbt_network *out)
{
	const char *colon = strrchr(peer, ':');
	size_t len = colon != NULL ? (size_t)(colon - peer) : 0;
	char host[HBT_SOURCE_TEXT];

	if (len == 0 || len >= sizeof(host))
		return false;
	if (peer[0] == '[' && peer[len - 1] == ']') {
		peer++;
		len -= 2;
	}
	memcpy(host, peer, len);
	host[len] = '\0';
	return parse_address(host, out);
}

bool hbt_network_has(const struct hbt_network *n, const struct hbt_network *of)
{
	uint8_t address[16];

	memcpy(address, of->address, sizeof(address));
	cut(address, n->bits);
	return memcmp(address, n->address, sizeof(address)) == 0;
}

void hbt_source_format(const struct hbt_network *source, int v4_bits,
                       int v6_bits, char text[HBT_SOURCE_TEXT])
{
	bool v4 = is_v4(source);
	int bits = v4 ? v4_bits : v6_bits, all = v4 ? 32 : 128;
	uint8_t address[16];
	size_t len;

	memcpy(address, source->address, sizeof(address));
	cut(address, 128 - all + bits);
	inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? address + 12 : address, text,
	          HBT_SOURCE_TEXT);
	len = strlen(text);
	if (bits < all)
		snprintf(text + len, HBT_SOURCE_TEXT - len, "/%d", bits);
}

int hbt_source_rule_set(struct hbt_source_rule *rule, int v4_bits, int v6_bits,
                        const char *const *networks, size_t n)
{
	struct hbt_network *fresh = calloc(n + 1, sizeof(*fresh));

	if (fresh == NULL)
		return HALIBUT_ENOMEM;
	for (size_t i = 0; i < n; i++)
		(void)hbt_network_parse(networks[i], &fresh[i], NULL);
	free(rule->unlimited);
	*rule = (struct hbt_source_rule){v4_bits, v6_bits, fresh, n};
	return HALIBUT_OK;
}

void hbt_source_rule_fini(struct hbt_source_rule *rule)
{
	free(rule->unlimited);
	memset(rule, 0, sizeof(*rule));
}

bool hbt_source_of(const struct hbt_source_rule *rule, const char *peer,
                   char text[HBT_SOURCE_TEXT])
{
	struct hbt_network source;

	if (rule->unlimited == NULL || !hbt_source_parse(peer, &source))
		return false;
	for (size_t i = 0; i < rule->n_unlimited; i++)
		if (hbt_network_has(&rule->unlimited[i], &source))
			return false;
	hbt_source_format(&source, rule->v4_bits, rule->v6_bits, text);
	return true;
}
