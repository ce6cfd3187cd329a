#include "conn_sides.h"

#include <netinet/tcp.h>

struct side c, s;
struct raw raw = {.fd = -1};

void sides_fini(void)
{
	side_fini(&c);
	side_fini(&s);
}

int fresh(void **state)
{
	side_init(&c);
	side_init(&s);
	return fresh_limits(state);
}

int done(void **state)
{
	(void)state;
	sides_fini();
	SSL_free(raw.ssl);
	raw.ssl = NULL;
	raw_close();
	return 0;
}

void text(struct side *side, const char *words)
{
	hbt_conn_write(side->conn, words, strlen(words));
}

void raw_connect(void)
{
	int acceptor;

	bare_pair(&raw.fd, &acceptor);
	start_server(&s, acceptor);
}

void raw_handshake(void)
{
	int on = 1;

	raw_connect();
	/* What it writes shall be there, not held back for an ACK. */
	setsockopt(raw.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	fcntl(raw.fd, F_SETFL, O_NONBLOCK);
	raw.ssl = SSL_new(client_tls->client);
	SSL_set_read_ahead(raw.ssl, 0);
	SSL_set_fd(raw.ssl, raw.fd);
	WAIT(SSL_connect(raw.ssl) == 1);
	WAIT(s.opened);
}

void raw_close(void)
{
	if (raw.fd >= 0)
		close(raw.fd);
	raw.fd = -1;
}

void raw_reset(void)
{
	struct linger linger = {.l_onoff = 1};

	setsockopt(raw.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	raw_close();
}
