/*
 * halibut-service-worker: runs service programs for halibutd, which starts
 * it. Its whole world is descriptor 3.
 */
#include "base/log.h"
#include "ipc/sandbox.h"
#include "ipc/worker.h"
#include "worker.h"

int main(int argc, char **argv)
{
	struct halibut_error err = {0};
	struct hbt_svc *svc;
	int rc;

	(void)argv;
	if (!hbt_worker_begin(argc, "halibut-service-worker", "service worker"))
		return 2;
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
