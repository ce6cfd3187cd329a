#include "master/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "master/config_units.h"

static bool digits_only(const char *text)
{
	return *text != '\0' && text[strspn(text, "0123456789")] == '\0';
}

static bool set_v4(struct hbt_listen_address *out, const char *host,
                   uint16_t port)
{
	struct sockaddr_in *sa = (void *)&out->sa;

	sa->sin_family = AF_INET;
	sa->sin_port = htons(port);
	out->len = sizeof(*sa);
	return inet_pton(AF_INET, host, &sa->sin_addr) == 1;
}

static bool set_v6(struct hbt_listen_address *out, const char *host,
                   uint16_t port)
{
	struct sockaddr_in6 *sa = (void *)&out->sa;

	sa->sin6_family = AF_INET6;
	sa->sin6_port = htons(port);
	out->len = sizeof(*sa);
	return inet_pton(AF_INET6, host, &sa->sin6_addr) == 1;
}

int hbt_listen_parse(const char *text, struct hbt_listen_address *out,
                     struct halibut_error *err)
{
	char with_star[32];
	char *host;
	uint16_t port;
	int rc;

	memset(out, 0, sizeof(*out));
	if (digits_only(text) && strlen(text) < 20) {
		snprintf(with_star, sizeof(with_star), "*:%s", text);
		text = with_star;
	}
	rc = hbt_parse_host_port(text, 0, &host, &port, err);
	if (rc != HALIBUT_OK)
		return rc;
	out->any = strcmp(host, "*") == 0;
	if (!set_v6(out, out->any ? "::" : host, port) &&
	    !set_v4(out, host, port))
		rc = hbt_error_set(err, HALIBUT_EINVAL,
		                   "\"%s\" is no numeric address; write it as "
		                   "in \"10943\", \"192.0.2.1:10943\" or "
		                   "\"[::1]:10943\"",
		                   text);
	free(host);
	return rc;
}

bool hbt_listen_any_v4(struct hbt_listen_address *a)
{
	const struct sockaddr_in6 *v6 = (const void *)&a->sa;

	return a->any && set_v4(a, "0.0.0.0", ntohs(v6->sin6_port));
}

int hbt_listen_bind(struct hbt_listen_address *a, int backlog, bool only_v6)
{
	const int on = 1, off = 0;
	int fd = socket(a->sa.ss_family,
	                SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (a->sa.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, only_v6 ? &on : &off,
		           sizeof(on));
	if (bind(fd, (struct sockaddr *)&a->sa, a->len) == 0 &&
	    listen(fd, backlog) == 0)
		return fd;
	close(fd);
	return -1;
}
