/* Socket options, endings and addresses. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "net/sock.h"

/* The kernel counts in whole seconds, and takes 0 for an error. */
static int seconds(int64_t ms)
{
	int64_t s = (ms + 999) / 1000;

	return s < 1 ? 1 : s > 32767 ? 32767 : (int)s;
}

struct hbt_keep_alive hbt_keep_alive_of(const struct hbt_limits *limits)
{
	int count = limits->tcp_keep_alive_retry_count;

	return (struct hbt_keep_alive){
		.enabled = limits->tcp_keep_alive_enabled,
		.idle_s = seconds(limits->tcp_keep_alive_time_ms),
		.interval_s = seconds(limits->tcp_keep_alive_interval_ms),
		.count = count < 1     ? 1
	                 : count > 127 ? 127
	                               : count,
	};
}

static int set(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value));
}

int hbt_sock_prepare(int fd, const struct hbt_keep_alive *keep)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
		return errno;
	if (set(fd, IPPROTO_TCP, TCP_NODELAY, 1) != 0)
		return errno;
	if (!keep->enabled)
		return 0;
	/* Without these the connection works all the same. */
	if (set(fd, SOL_SOCKET, SO_KEEPALIVE, 1) == 0) {
		set(fd, IPPROTO_TCP, TCP_KEEPIDLE, keep->idle_s);
		set(fd, IPPROTO_TCP, TCP_KEEPINTVL, keep->interval_s);
		set(fd, IPPROTO_TCP, TCP_KEEPCNT, keep->count);
	}
	return 0;
}

void hbt_sock_quick_ack(int fd)
{
	set(fd, IPPROTO_TCP, TCP_QUICKACK, 1);
}

void hbt_sock_abort(int fd)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 0};

	if (fd < 0)
		return;
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(fd);
}

void hbt_sock_format(const struct sockaddr *sa, char text[HBT_ADDRESS_TEXT])
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)sa;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)sa;
	char ip[INET6_ADDRSTRLEN];

	if (sa->sa_family == AF_INET) {
		inet_ntop(AF_INET, &v4->sin_addr, ip, sizeof(ip));
		snprintf(text, HBT_ADDRESS_TEXT, "%s:%u", ip,
		         ntohs(v4->sin_port));
	} else if (sa->sa_family == AF_INET6 &&
	           IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
		inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], ip, sizeof(ip));
		snprintf(text, HBT_ADDRESS_TEXT, "%s:%u", ip,
		         ntohs(v6->sin6_port));
	} else if (sa->sa_family == AF_INET6) {
		inet_ntop(AF_INET6, &v6->sin6_addr, ip, sizeof(ip));
		snprintf(text, HBT_ADDRESS_TEXT, "[%s]:%u", ip,
		         ntohs(v6->sin6_port));
	} else {
		strcpy(text, "<none>");
	}
}
