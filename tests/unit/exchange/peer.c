#include "peer.h"

#include <openssl/err.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct event_base *base;
struct hbt_tls *ours, *theirs;
struct hbt_limits limits;

void peer_init(struct peer *p, int fd, bool accepts)
{
	memset(p, 0, sizeof(*p));
	p->fd = fd;
	assert_int_equal(evutil_make_socket_nonblocking(fd), 0);
	p->ssl = SSL_new(accepts ? theirs->server : theirs->client);
	assert_non_null(p->ssl);
	SSL_set_fd(p->ssl, fd);
	if (accepts)
		SSL_set_accept_state(p->ssl);
	else
		SSL_set_connect_state(p->ssl);
}

void peer_turn(struct peer *p)
{
	uint8_t record[16384];
	int n;

	ERR_clear_error();
	if (p->fd < 0 || p->at_end)
		return;
	if (!p->open && SSL_do_handshake(p->ssl) != 1)
		return;
	p->open = true;
	while ((n = SSL_read(p->ssl, record, sizeof(record))) > 0) {
		if (p->forgets)
			continue;
		if (p->n_records < 256)
			p->records[p->n_records] = (size_t)n;
		p->n_records++;
		p->heard = realloc(p->heard, p->len + (size_t)n);
		memcpy(p->heard + p->len, record, (size_t)n);
		p->len += (size_t)n;
	}
	p->at_end = SSL_get_error(p->ssl, n) != SSL_ERROR_WANT_READ;
}

void turn(struct peer *p)
{
	peer_turn(p);
	event_base_loop(base, EVLOOP_NONBLOCK);
	peer_turn(p);
}

void some_turns(struct peer *p)
{
	for (int i = 0; i < 10; i++)
		turn(p);
}

void peer_says(struct peer *p, const void *data, size_t len)
{
	WAIT(p, p->open);
	if (len > 0)
		assert_int_equal(SSL_write(p->ssl, data, (int)len), len);
}

void peer_says_text(struct peer *p, const char *text)
{
	peer_says(p, text, strlen(text));
}

void peer_skips(struct peer *p, size_t len)
{
	WAIT(p, p->len >= len || p->at_end);
	assert_true(p->len >= len);
	if (len == 0)
		return;
	p->len -= len;
	memmove(p->heard, p->heard + len, p->len);
}

void peer_hears(struct peer *p, const void *data, size_t len)
{
	WAIT(p, p->len >= len || p->at_end);
	assert_true(p->len >= len);
	assert_memory_equal(p->heard, data, len);
	peer_skips(p, len);
}

void peer_hears_text(struct peer *p, const char *text)
{
	peer_hears(p, text, strlen(text));
}

void peer_leaves(struct peer *p, bool reset)
{
	static const struct linger at_once = {.l_onoff = 1};

	if (p->fd < 0)
		return;
	if (reset)
		setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &at_once,
		           sizeof(at_once));
	close(p->fd);
	p->fd = -1;
}

void peer_fini(struct peer *p)
{
	peer_leaves(p, true);
	SSL_free(p->ssl);
	free(p->heard);
	memset(p, 0, sizeof(*p));
	p->fd = -1;
}

int peers_start(void)
{
	struct hbt_tls **tls[] = {&ours, &theirs};

	base = event_base_new();
	for (int i = 0; i < 2; i++) {
		char *cert = NULL, *key = NULL;

		if (hbt_tls_self_signed("test", 2048, 7, &cert, &key, NULL) ||
		    hbt_tls_new(tls[i], cert, key, NULL))
			return -1;
		free(cert);
		free(key);
	}
	return base == NULL ? -1 : 0;
}

void peers_stop(void)
{
	hbt_tls_free(&ours);
	hbt_tls_free(&theirs);
	hbt_conn_end_flushing(base);
	event_base_free(base);
}
