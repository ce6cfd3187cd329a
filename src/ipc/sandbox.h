/*
 * What a worker may still ask of the kernel: a seccomp filter. From then on
 * what is not allowed fails with EPERM, and what nobody asks for by mistake,
 * such as to execute a program, ends the process with SIGSYS.
 */
#ifndef HBT_IPC_SANDBOX_H
#define HBT_IPC_SANDBOX_H

#include <stdbool.h>
#include "base/error.h"

enum hbt_sandbox {
	/*
	 * The peers' bytes are parsed here: sockets of the Internet, what it
	 * has open, and new files without a name. It can open no file that
	 * exists, so neither the key nor the configuration.
	 */
	HBT_SANDBOX_CONNECTIONS,
	/*
	 * Programs of others run under it: all but what administers the
	 * machine, looks into other processes, or escapes from this.
	 */
	HBT_SANDBOX_PROGRAMS,
	/*
	 * It answers those who come to the sockets that it was given: it
	 * opens no socket and no file, and connects to nobody.
	 */
	HBT_SANDBOX_STATUS,
};

/*
 * For good, and for all that this process starts. Does nothing where it was
 * built without libseccomp or with a sanitizer, or where the environment
 * variable HALIBUT_SANDBOX is "no". When that is "strict", whatever is not
 * allowed ends the process: for tests. HALIBUT_ESYSTEM with a message when
 * the kernel refuses.
 */
int hbt_sandbox_enter(enum hbt_sandbox kind, struct halibut_error *err);
bool hbt_sandbox_is_built_in(void);

#endif
