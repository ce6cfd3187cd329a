#include "master/logs.h"

#include <stdlib.h>
#include <string.h>
#include "base/log.h"

static void set_levels(const struct hbt_config *cfg)
{
	hbt_log_set_level((enum hbt_log_level)cfg->log_level);
}

int hbt_logs_open(const struct hbt_config *cfg, struct halibut_error *err)
{
	int format = hbt_log_format_parse(cfg->log_format);

	if (format >= 0)
		hbt_log_set_format((enum hbt_log_format)format);
	set_levels(cfg);
	/* Workers find it out of this from their first line on. */
	if (setenv("HALIBUT_LOG_FORMAT", hbt_log_format_name(hbt_log_format()),
	           1) != 0)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	return HALIBUT_OK;
}
