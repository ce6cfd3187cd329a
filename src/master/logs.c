#include "master/logs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/buf.h"
#include "base/log.h"
#include "master/audit.h"

#define MAX_FOLLOWERS 16
/* Who reads slower than we log misses lines. */
#define MAX_UNSENT ((size_t)1024 * 1024)

struct follower {
	struct hbt_link *link;
	uint32_t id;
};

static struct follower followers[MAX_FOLLOWERS];
static size_t n_followers;
static int console = STDERR_FILENO;

/* Where it goes */

static int open_file(const char *path, struct halibut_error *err)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);

	if (fd >= 0 && dup2(fd, STDERR_FILENO) >= 0) {
		close(fd);
		return HALIBUT_OK;
	}
	hbt_error_set(err, HALIBUT_ESYSTEM,
	              "log_file %s cannot be opened: %s; make its directory "
	              "writable to halibutd, or name another file",
	              path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return HALIBUT_ESYSTEM;
}

int hbt_logs_open(const struct hbt_config *cfg, struct halibut_error *err)
{
	int format = hbt_log_format_parse(cfg->log_format);
	int rc;

	if (cfg->log_file != NULL) {
		console = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
		if ((rc = open_file(cfg->log_file, err)) != HALIBUT_OK)
			return rc;
	}
	hbt_log_set_format(format >= 0 ? (enum hbt_log_format)format
	                               : hbt_log_detect_format());
	hbt_logs_configure(cfg);
	if ((rc = hbt_audit_open(cfg, err)) != HALIBUT_OK)
		return rc;
	/* Workers find it out of this from their first line on. */
	if (setenv("HALIBUT_LOG_FORMAT", hbt_log_format_name(hbt_log_format()),
	           1) != 0)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	return HALIBUT_OK;
}

int hbt_logs_console(void)
{
	return console;
}

int hbt_logs_reopen(const struct hbt_config *cfg, struct halibut_error *err)
{
	int rc = cfg->log_file != NULL ? open_file(cfg->log_file, err)
	                               : HALIBUT_OK;

	return rc != HALIBUT_OK ? rc : hbt_audit_open(cfg, err);
}

/* How much is said */

static int parse_level(const char *text, int *area, int *level,
                       struct halibut_error *err)
{
	const char *equals = strchr(text, '=');
	char name[32];

	*area = -1;
	*level = hbt_log_level_parse(equals != NULL ? equals + 1 : text);
	if (equals != NULL && (size_t)(equals - text) < sizeof(name)) {
		snprintf(name, sizeof(name), "%.*s", (int)(equals - text),
		         text);
		*area = hbt_log_area_parse(name);
	}
	if (*level >= 0 && (equals == NULL || *area >= 0))
		return HALIBUT_OK;
	return hbt_error_set(err, HALIBUT_EINVAL,
	                     "\"%.80s\" is no level of a log; write it as in "
	                     "debug or redis=debug, with error, warning, info "
	                     "or debug of gateway, connections, queues, "
	                     "redis, services or status",
	                     text);
}

int hbt_logs_check_level(const char *text, struct halibut_error *err)
{
	int area, level;
	int rc = parse_level(text, &area, &level, err);

	if (rc == HALIBUT_OK && area < 0)
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "\"%s\" names no area; write it as in "
		                     "redis=%s, or set log_level",
		                     text, text);
	return rc;
}

int hbt_logs_set_level(const char *text, struct halibut_error *err)
{
	int area, level;
	int rc = parse_level(text, &area, &level, err);

	if (rc == HALIBUT_OK && area < 0)
		hbt_log_set_level((enum hbt_log_level)level);
	else if (rc == HALIBUT_OK)
		hbt_log_set_area_level((enum hbt_log_area)area,
		                       (enum hbt_log_level)level);
	return rc;
}

void hbt_logs_configure(const struct hbt_config *cfg)
{
	hbt_log_set_level((enum hbt_log_level)cfg->log_level);
	for (size_t i = 0; i < cfg->log_levels.n; i++)
		(void)hbt_logs_set_level(cfg->log_levels.v[i], NULL);
}

char *hbt_logs_levels(void)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (f == NULL)
		return NULL;
	for (int i = 0; i < HBT_LOG_AREAS; i++) {
		enum hbt_log_area area = (enum hbt_log_area)i;

		fprintf(f, "%s%s=%s", i > 0 ? " " : "",
		        hbt_log_area_name(area),
		        hbt_log_level_name(hbt_log_area_level(area)));
	}
	if (fclose(f) == 0)
		return text;
	free(text);
	return NULL;
}

/* Who listens */

void hbt_logs_pass_on(const uint8_t *body, size_t len)
{
	for (size_t i = 0; i < n_followers; i++) {
		const struct follower *f = &followers[i];

		if (f->link->ipc != NULL &&
		    hbt_ipc_unsent(f->link->ipc) < MAX_UNSENT)
			hbt_ipc_send(f->link->ipc, HBT_IPC_LOG_LINE, f->id,
			             body, len, -1);
	}
}

static void hear(void *arg, const char *object, size_t len)
{
	struct hbt_wr w;

	(void)arg;
	hbt_wr_init(&w, len + 4);
	hbt_wr_str(&w, object, len);
	if (w.status == HALIBUT_OK)
		hbt_logs_pass_on(w.buf.data, w.buf.len);
	hbt_wr_fini(&w);
}

int hbt_logs_follow(struct hbt_link *link, uint32_t id)
{
	for (size_t i = 0; i < n_followers; i++)
		if (followers[i].link == link) { /* each has one place */
			followers[i].id = id;
			return HALIBUT_OK;
		}
	if (n_followers == MAX_FOLLOWERS)
		return HALIBUT_ELIMIT;
	followers[n_followers++] = (struct follower){link, id};
	hbt_log_set_tee(hear, NULL);
	return HALIBUT_OK;
}

void hbt_logs_unfollow(const struct hbt_link *link)
{
	size_t kept = 0;

	for (size_t i = 0; i < n_followers; i++)
		if (followers[i].link != link)
			followers[kept++] = followers[i];
	n_followers = kept;
	if (n_followers == 0)
		hbt_log_set_tee(NULL, NULL);
}

bool hbt_logs_are_followed(void)
{
	return n_followers > 0;
}
