#include "master/status_port.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "master/status_config.h"
#include "master/unix_socket.h"

struct place {
	int fd;
	bool is_path;
	char *address;
};

struct hbt_status_port {
	struct hbt_status_settings settings;
	struct place *v;
	size_t n;
};

static int open_path(struct place *place, const struct hbt_config *cfg,
                     const char *text, struct halibut_error *err)
{
	place->is_path = true;
	place->address = hbt_config_path(cfg, text);
	if (place->address == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	return hbt_unix_listen(&place->fd, place->address, SOCK_STREAM,
	                       cfg->status_mode, "status_listen", err);
}

static int open_address(struct place *place, struct hbt_listen_address *a,
                        const char *text, struct halibut_error *err)
{
	char bound[HBT_ADDRESS_TEXT];
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	place->fd = hbt_listen_bind(a, INT_MAX, false);
	if (place->fd < 0)
		return hbt_error_set(err, HALIBUT_ESYSTEM,
		                     "cannot listen on %s: %s; see "
		                     "status_listen in halibutd.conf(5)",
		                     text, strerror(errno));
	getsockname(place->fd, (struct sockaddr *)&sa, &len);
	hbt_sock_format((struct sockaddr *)&sa, bound);
	place->address = strdup(bound);
	return place->address != NULL
	               ? HALIBUT_OK
	               : hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
}

static void close_place(struct place *place)
{
	if (place->fd >= 0) {
		close(place->fd);
		if (place->is_path)
			unlink(place->address);
	}
	free(place->address);
	memset(place, 0, sizeof(*place));
}

static void tell_open(const struct hbt_status_port *port,
                      const struct place *place, bool loopback)
{
	log_event(HBT_LOG_INFO,
	          LOG_ABOUT(.event = "status_listening",
	                    .endpoint = place->address),
	          "serving the status on %s", place->address);
	if (!place->is_path && !loopback && port->settings.token != NULL &&
	    port->settings.certificate_pem == NULL)
		log_event(HBT_LOG_WARNING,
		          LOG_ABOUT(.event = "status_token_readable",
		                    .endpoint = place->address,
		                    .remedy = "set status_certificate"),
		          "the token of the status is sent to %s without TLS, "
		          "where the network can read it; set "
		          "status_certificate",
		          place->address);
}

static int open_place(struct hbt_status_port *port,
                      const struct hbt_config *cfg, const char *text,
                      struct halibut_error *err)
{
	struct place *place = &port->v[port->n];
	struct hbt_status_place where;
	int rc = hbt_status_place_parse(text, &where, err);

	if (rc != HALIBUT_OK || where.none)
		return rc;
	place->fd = -1;
	if (where.is_path)
		rc = open_path(place, cfg, text, err);
	else
		rc = open_address(place, &where.address, text, err);
	if (rc != HALIBUT_OK) {
		close_place(place);
		return rc;
	}
	port->n++;
	tell_open(port, place, where.loopback);
	return HALIBUT_OK;
}

/* What an operator did not ask for may be missing. */
static void open_default(struct hbt_status_port *port,
                         const struct hbt_config *cfg, const char *text)
{
	struct halibut_error err = {0};

	if (open_place(port, cfg, text, &err) != HALIBUT_OK)
		log_event(HBT_LOG_WARNING,
		          LOG_ABOUT(.event = "status_not_listening",
		                    .endpoint = text, .reason = err.message,
		                    .remedy = "set status_listen"),
		          "the status is not served on %s: %s", text,
		          err.message);
	halibut_error_clear(&err);
}

static int open_all(struct hbt_status_port *port, const struct hbt_config *cfg,
                    struct halibut_error *err)
{
	int rc = HALIBUT_OK;
	char *path, address[32];

	for (size_t i = 0; rc == HALIBUT_OK && i < cfg->status_listen.n; i++)
		rc = open_place(port, cfg, cfg->status_listen.v[i], err);
	if (rc != HALIBUT_OK || cfg->status_listen.n > 0)
		return rc;
	path = hbt_status_default_path(cfg);
	if (path == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	open_default(port, cfg, path);
	free(path);
	snprintf(address, sizeof(address), "127.0.0.1:%d", HBT_STATUS_PORT);
	open_default(port, cfg, address);
	return HALIBUT_OK;
}

int hbt_status_port_open(struct hbt_status_port **out,
                         const struct hbt_config *cfg,
                         const char *certificate_pem,
                         struct halibut_error *err)
{
	struct hbt_status_port *port = calloc(1, sizeof(*port));
	int rc;

	*out = NULL;
	if (port == NULL ||
	    (port->v = calloc(cfg->status_listen.n + 2, sizeof(*port->v))) ==
	            NULL) {
		hbt_status_port_free(&port);
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	}
	rc = hbt_status_settings_load(&port->settings, cfg, certificate_pem,
	                              err);
	if (rc == HALIBUT_OK)
		rc = open_all(port, cfg, err);
	if (rc != HALIBUT_OK) {
		hbt_status_port_free(&port);
		return rc;
	}
	*out = port;
	return HALIBUT_OK;
}

void hbt_status_port_free(struct hbt_status_port **at)
{
	struct hbt_status_port *port = *at;

	*at = NULL;
	if (port == NULL)
		return;
	for (size_t i = 0; i < port->n; i++)
		close_place(&port->v[i]);
	hbt_status_settings_fini(&port->settings);
	free(port->v);
	free(port);
}

static bool is_same(const struct hbt_status_settings *a,
                    const struct hbt_status_settings *b)
{
	struct hbt_wr x, y;
	bool same;

	hbt_wr_init(&x, HBT_IPC_MAX_BODY);
	hbt_wr_init(&y, HBT_IPC_MAX_BODY);
	hbt_status_settings_put(&x, a);
	hbt_status_settings_put(&y, b);
	same = x.status == HALIBUT_OK && y.status == HALIBUT_OK &&
	       x.buf.len == y.buf.len &&
	       memcmp(x.buf.data, y.buf.data, x.buf.len) == 0;
	hbt_wr_fini(&x);
	hbt_wr_fini(&y);
	return same;
}

int hbt_status_port_reload(struct hbt_status_port *port,
                           const struct hbt_config *cfg,
                           const char *certificate_pem, bool *changed,
                           struct halibut_error *err)
{
	struct hbt_status_settings fresh;
	int rc = hbt_status_settings_load(&fresh, cfg, certificate_pem, err);

	if (rc != HALIBUT_OK) {
		hbt_status_settings_fini(&fresh);
		return rc;
	}
	*changed = !is_same(&fresh, &port->settings);
	hbt_status_settings_fini(&port->settings);
	port->settings = fresh;
	return HALIBUT_OK;
}

static void send_place(const struct place *place, struct hbt_link *worker)
{
	int fd = fcntl(place->fd, F_DUPFD_CLOEXEC, 3);
	struct hbt_wr w;

	hbt_wr_init(&w, 8192);
	hbt_wr_u8(&w, !place->is_path);
	hbt_wr_str(&w, place->address, strlen(place->address));
	if (fd < 0)
		w.status = HALIBUT_ESYSTEM;
	if (hbt_link_send(worker, HBT_IPC_STATUS_LISTEN, 0, &w, fd) !=
	    HALIBUT_OK)
		log_error("%s: does not get the socket %s: out of descriptors "
		          "or memory",
		          worker->name, place->address);
}

void hbt_status_port_provision(const struct hbt_status_port *port,
                               struct hbt_link *worker)
{
	struct hbt_wr w;

	hbt_wr_init(&w, HBT_IPC_MAX_BODY);
	hbt_status_settings_put(&w, &port->settings);
	if (hbt_link_send(worker, HBT_IPC_STATUS_SETTINGS, 0, &w, -1) !=
	    HALIBUT_OK)
		log_error("%s: does not get its settings: out of memory",
		          worker->name);
	for (size_t i = 0; i < port->n; i++)
		send_place(&port->v[i], worker);
}

size_t hbt_status_port_count(const struct hbt_status_port *port)
{
	return port->n;
}

const char *hbt_status_port_address(const struct hbt_status_port *port,
                                    size_t i)
{
	return port->v[i].address;
}
