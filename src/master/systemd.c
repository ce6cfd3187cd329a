#include "master/systemd.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include "base/log.h"

static struct sockaddr_un address;
static socklen_t address_len; /* 0: nobody wants to hear */
static int64_t watchdog_ms;   /* 0: nobody watches */
static int64_t told_ms;
static int n_sockets;

static void read_address(const char *path)
{
	size_t len = path != NULL ? strlen(path) : 0;

	if (len < 2 || len >= sizeof(address.sun_path) ||
	    (path[0] != '/' && path[0] != '@'))
		return;
	address.sun_family = AF_UNIX;
	memcpy(address.sun_path, path, len + 1);
	if (path[0] == '@')
		address.sun_path[0] = '\0'; /* in the abstract name space */
	address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
}

/* A number of the environment, if it is for this process. */
static long long read_number(const char *name, const char *pid_name)
{
	const char *pid = getenv(pid_name);
	const char *text = getenv(name);

	if (text == NULL || (pid != NULL && atoll(pid) != (long long)getpid()))
		return 0;
	return atoll(text);
}

void hbt_systemd_init(void)
{
	long long n = getenv("LISTEN_PID") != NULL
	                      ? read_number("LISTEN_FDS", "LISTEN_PID")
	                      : 0;

	read_address(getenv("NOTIFY_SOCKET"));
	watchdog_ms = read_number("WATCHDOG_USEC", "WATCHDOG_PID") / 1000;
	while (n_sockets < n &&
	       fcntl(HBT_SYSTEMD_FIRST_SOCKET + n_sockets, F_SETFD,
	             FD_CLOEXEC) == 0)
		n_sockets++;
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDNAMES");
}

void hbt_systemd_notify(const char *fields)
{
	int fd;

	if (address_len == 0)
		return;
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || sendto(fd, fields, strlen(fields), MSG_NOSIGNAL,
	                     (struct sockaddr *)&address, address_len) < 0)
		log_warning("systemd cannot be told \"%.60s\": %s", fields,
		            strerror(errno));
	if (fd >= 0)
		close(fd);
}

void hbt_systemd_notify_reloading(void)
{
	struct timespec now;
	char fields[80];

	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(fields, sizeof(fields), "RELOADING=1\nMONOTONIC_USEC=%lld",
	         (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
	hbt_systemd_notify(fields);
}

void hbt_systemd_tick(int64_t now_ms)
{
	if (watchdog_ms == 0 || now_ms - told_ms < watchdog_ms / 3)
		return;
	told_ms = now_ms;
	hbt_systemd_notify("WATCHDOG=1");
}

int hbt_systemd_sockets(void)
{
	return n_sockets;
}
