/*
 * halibut-service-worker: runs service programs for halibutd, which starts
 * it. Its whole world is descriptor 3.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "ipc/sandbox.h"
#include "ipc/vitals.h"
#include "worker.h"

static int check_channel(void)
{
	if (fcntl(HBT_CHANNEL_FD, F_GETFD) >= 0)
		return 0;
	fprintf(stderr, "halibut-service-worker is started by halibutd, with "
	                "a channel as descriptor 3\n");
	return -1;
}

/* A missing one of 0 to 2 would be taken by something that must not be
 * printed into. */
static void fill_standard_descriptors(void)
{
	int fd;

	while ((fd = open("/dev/null", O_RDWR)) >= 0 && fd <= 2)
		;
	if (fd > 2)
		close(fd);
}

int main(void)
{
	struct halibut_error err = {0};
	struct hbt_svc *svc;
	int rc;

	if (check_channel() != 0)
		return 2;
	fill_standard_descriptors();
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* EFBIG tells as much */
	/* For the whole foreground group; the master decides what it means. */
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	hbt_log_begin("service worker");
	hbt_vitals_begin();

	if (hbt_sandbox_enter(HBT_SANDBOX_PROGRAMS, &err) != 0) {
		log_error("cannot start: %s", err.message);
		halibut_error_clear(&err);
		return 1;
	}
	if ((rc = hbt_svc_new(&svc, HBT_CHANNEL_FD)) != 0) {
		log_error("cannot start: %s", halibut_strerror(rc));
		return 1;
	}
	rc = hbt_svc_run(svc);
	hbt_svc_free(&svc);
	return rc == 0 ? 0 : 1;
}
