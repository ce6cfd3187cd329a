#include "master/config_units.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct unit {
	const char *name;
	uint64_t factor;
};

/* Largest first: formatting takes the first that divides. */
static const struct unit time_units[] = {
	{"d", 86400000}, {"h", 3600000}, {"min", 60000},
	{"s", 1000},     {"ms", 1},      {NULL, 0},
};

static const struct unit size_units[] = {
	{"TiB", 1ull << 40}, {"GiB", 1ull << 30},
	{"MiB", 1ull << 20}, {"KiB", 1ull << 10},
	{"GB", 1000000000},  {"MB", 1000000},
	{"kB", 1000},        {"B", 1},
	{NULL, 0},
};

/* Largest value that any setting may have; sums of two do not overflow. */
#define LARGEST ((uint64_t)INT64_MAX / 2)

/* Digits at *p; false when there are none or they are too many. */
static bool read_digits(const char **p, uint64_t *value)
{
	const char *start = *p;

	*value = 0;
	for (; isdigit((unsigned char)**p); (*p)++) {
		if (*value > (LARGEST - 9) / 10)
			return false;
		*value = *value * 10 + (uint64_t)(**p - '0');
	}
	return *p != start;
}

static const struct unit *find_unit(const struct unit *units, const char *name,
                                    size_t len, bool any_case)
{
	for (; units->name != NULL; units++) {
		if (strlen(units->name) != len)
			continue;
		if ((any_case ? strncasecmp : strncmp)(units->name, name,
		                                       len) == 0)
			return units;
	}
	return NULL;
}

/* A sum of numbers with units, e.g. 1h30min. */
static int parse_sum(const char *text, const struct unit *units, bool any_case,
                     const char *remedy, uint64_t *sum,
                     struct halibut_error *err)
{
	const char *p = text;

	*sum = 0;
	if (strcmp(text, "0") == 0)
		return HALIBUT_OK;
	do {
		const struct unit *unit;
		uint64_t value;
		size_t len;

		while (*p == ' ')
			p++;
		if (!read_digits(&p, &value))
			return hbt_error_set(err, HALIBUT_EINVAL,
			                     "\"%s\" is no number with a "
			                     "unit; %s",
			                     text, remedy);
		while (*p == ' ')
			p++;
		for (len = 0; isalpha((unsigned char)p[len]); len++)
			;
		if (len == 0)
			return hbt_error_set(err, HALIBUT_EINVAL,
			                     "\"%s\" needs a unit; %s", text,
			                     remedy);
		unit = find_unit(units, p, len, any_case);
		if (unit == NULL)
			return hbt_error_set(err, HALIBUT_EINVAL,
			                     "\"%.*s\" in \"%s\" is no unit "
			                     "here; %s",
			                     (int)len, p, text, remedy);
		if (value > (LARGEST - *sum) / unit->factor)
			return hbt_error_set(err, HALIBUT_EINVAL,
			                     "\"%s\" is too large", text);
		*sum += value * unit->factor;
		p += len;
	} while (*p != '\0');
	return HALIBUT_OK;
}

int hbt_parse_duration(const char *text, int64_t *ms, struct halibut_error *err)
{
	uint64_t sum;
	int rc;

	rc = parse_sum(text, time_units, false,
	               "use ms, s, min, h or d, as in \"30s\" or \"2min\"",
	               &sum, err);
	*ms = (int64_t)sum;
	return rc;
}

int hbt_parse_size(const char *text, uint64_t *bytes, struct halibut_error *err)
{
	return parse_sum(text, size_units, true,
	                 "use B, KiB, MiB, GiB or TiB, as in \"64MiB\"", bytes,
	                 err);
}

int hbt_parse_count(const char *text, uint64_t *n, struct halibut_error *err)
{
	const char *p = text;

	if (!read_digits(&p, n) || *p != '\0')
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "\"%s\" is no whole number; write digits "
		                     "only, as in 4",
		                     text);
	return HALIBUT_OK;
}

int hbt_parse_flag(const char *text, bool *flag, struct halibut_error *err)
{
	static const char *const yes[] = {"yes", "true", "on"};
	static const char *const no[] = {"no", "false", "off"};

	for (size_t i = 0; i < 3; i++) {
		*flag = strcasecmp(text, yes[i]) == 0;
		if (*flag || strcasecmp(text, no[i]) == 0)
			return HALIBUT_OK;
	}
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "\"%s\" is neither yes nor no; write one of them",
	                     text);
}

int hbt_parse_host_port(const char *text, uint16_t default_port, char **host,
                        uint16_t *port, struct halibut_error *err)
{
	const char *end, *colon = NULL;
	uint64_t n = default_port;
	bool bracket = text[0] == '[';

	*host = NULL;
	if (bracket) {
		end = strchr(text, ']');
		if (end != NULL && end[1] == ':')
			colon = end + 1;
		else if (end != NULL && end[1] != '\0')
			end = NULL;
		text++;
	} else {
		colon = strrchr(text, ':');
		end = colon != NULL ? colon : text + strlen(text);
		if (memchr(text, ':', (size_t)(end - text)) != NULL)
			return hbt_error_set(err, HALIBUT_EINVAL,
			                     "\"%s\": an IPv6 address is "
			                     "written in brackets, as in "
			                     "\"[::1]:10943\"",
			                     text);
	}
	if (end == NULL || end == text || (colon == NULL && default_port == 0))
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "\"%s\" is no host with a port; write it "
		                     "as in \"server:10943\"",
		                     bracket ? text - 1 : text);
	if (colon != NULL) {
		const char *p = colon + 1;

		if (!read_digits(&p, &n) || *p != '\0' || n > 65535)
			return hbt_error_set(err, HALIBUT_EINVAL,
			                     "\"%s\" is no port; a port is a "
			                     "number up to 65535",
			                     colon + 1);
	}
	*host = strndup(text, (size_t)(end - text));
	if (*host == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	*port = (uint16_t)n;
	return HALIBUT_OK;
}

static void format(uint64_t value, const struct unit *unit, char text[32])
{
	if (value == 0) {
		snprintf(text, 32, "0");
		return;
	}
	while (value % unit->factor != 0)
		unit++;
	snprintf(text, 32, "%" PRIu64 "%s", value / unit->factor, unit->name);
}

void hbt_format_duration(int64_t ms, char text[32])
{
	format((uint64_t)ms, time_units, text);
}

void hbt_format_size(uint64_t bytes, char text[32])
{
	format(bytes, size_units, text);
}
