/*
 * Handshake, reading and writing: OpenSSL on the socket through a BIO of our
 * own, which counts system calls for us.
 *
 * Reading: read-ahead takes what the socket has in one recv(); a short one
 * says that it is dry, so that no second one has to ask. One buffer serves
 * all connections, as input() never nests.
 *
 * Writing: records are gathered in c->out and leave at the end of the turn,
 * or as soon as there are CONN_GATHER bytes of them. The last record is then
 * sent from where OpenSSL made it.
 */
#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include "base/timespan.h"
#include "net/conn_int.h"

enum {
	QUEUE_MIN = 512,
	RECORD_OVERHEAD = 256, /* of five records: headers, tags, IVs */
};

static uint8_t scratch[CONN_SCRATCH];
static BIO_METHOD *method;
static struct hbt_conn_totals totals;

void conn_queue_clear(struct conn_queue *q)
{
	free(q->data);
	*q = (struct conn_queue){0};
}

static void queue_consume(struct conn_queue *q, size_t n)
{
	assert(n <= q->len);
	q->off += n;
	q->len -= n;
	if (q->len == 0)
		conn_queue_clear(q);
}

static bool queue_reserve(struct conn_queue *q, size_t n)
{
	uint8_t *data;
	size_t cap;

	if (n <= q->cap - q->off - q->len)
		return true;
	if (n > CONN_UNSENT_MAX - q->len)
		return false;
	/* Moving pays once at least half of the block is free at its front. */
	if (q->off >= q->len && n <= q->cap - q->len) {
		memmove(q->data, q->data + q->off, q->len);
		q->off = 0;
		return true;
	}
	cap = q->off + q->len + n;
	if (cap < q->cap + q->cap / 2)
		cap = q->cap + q->cap / 2;
	if (cap < QUEUE_MIN)
		cap = QUEUE_MIN;
	if ((data = realloc(q->data, cap)) == NULL)
		return false;
	q->data = data;
	q->cap = cap;
	return true;
}

bool conn_queue_put(struct conn_queue *q, const void *data, size_t len)
{
	if (!queue_reserve(q, len))
		return false;
	memcpy(q->data + q->off + q->len, data, len);
	q->len += len;
	return true;
}

/*
 * Sends the queue, and tail behind it; what the socket does not take of tail
 * is queued. False: out of memory. A broken socket sets io_errno.
 */
static bool send_all(struct hbt_conn *c, const void *tail, size_t tail_len)
{
	while (!c->blocked && c->io_errno == 0 && c->out.len + tail_len > 0) {
		struct iovec iov[2];
		struct msghdr msg = {.msg_iov = iov};
		size_t queued;
		ssize_t n;

		if (c->out.len > 0)
			iov[msg.msg_iovlen++] = (struct iovec){
				c->out.data + c->out.off, c->out.len};
		if (tail_len > 0)
			iov[msg.msg_iovlen++] = (struct iovec){
				(void *)(uintptr_t)tail, tail_len};
		n = sendmsg(c->fd, &msg, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == ENOBUFS)) {
			c->blocked = true;
			c->write_at = hbt_now_ms();
			break;
		}
		if (n < 0) {
			c->io_errno = errno;
			break;
		}
		c->was_sent = true;
		c->write_at = 0;
		queued = (size_t)n < c->out.len ? (size_t)n : c->out.len;
		queue_consume(&c->out, queued);
		if (tail_len > 0) {
			tail = (const uint8_t *)tail + ((size_t)n - queued);
			tail_len -= (size_t)n - queued;
		}
	}
	if (c->io_errno != 0)
		return true; /* nobody will get it */
	return tail_len == 0 || conn_queue_put(&c->out, tail, tail_len);
}

static int bio_write(BIO *bio, const char *data, int len)
{
	struct hbt_conn *c = BIO_get_data(bio);
	size_t n = (size_t)len;

	BIO_clear_retry_flags(bio);
	if (len <= 0)
		return 0;
	if (!c->blocked && c->out.len + n >= CONN_GATHER)
		return send_all(c, data, n) ? len : -1;
	return conn_queue_put(&c->out, data, n) ? len : -1;
}

static int bio_read(BIO *bio, char *data, int len)
{
	struct hbt_conn *c = BIO_get_data(bio);
	ssize_t n;

	BIO_clear_retry_flags(bio);
	if (c->at_eof)
		return 0;
	if (c->io_errno != 0)
		return -1;
	if (c->dry) {
		BIO_set_retry_read(bio);
		return -1;
	}
	do
		n = recv(c->fd, data, (size_t)len, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0 && errno != EAGAIN) {
		c->io_errno = errno;
		return -1;
	}
	c->dry = n < len;
	if (n < 0) {
		BIO_set_retry_read(bio);
		return -1;
	}
	if (n == 0)
		c->at_eof = true;
	else
		c->was_sent = false;
	return (int)n;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
	struct hbt_conn *c = BIO_get_data(bio);

	(void)number;
	(void)pointer;
	switch (command) {
	case BIO_CTRL_FLUSH: /* the turn's end does it */
		return 1;
	case BIO_CTRL_EOF:
		return c->at_eof;
	default:
		return 0;
	}
}

int conn_io_init(void)
{
	if (method != NULL)
		return HALIBUT_OK;
	method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK,
	                      "halibut");
	if (method == NULL || BIO_meth_set_write(method, bio_write) != 1 ||
	    BIO_meth_set_read(method, bio_read) != 1 ||
	    BIO_meth_set_ctrl(method, bio_ctrl) != 1) {
		BIO_meth_free(method);
		method = NULL;
		return HALIBUT_ENOMEM;
	}
	return HALIBUT_OK;
}

int conn_start_tls(struct hbt_conn *c, SSL_CTX *ctx, bool server)
{
	BIO *bio;

	if ((c->ssl = SSL_new(ctx)) == NULL ||
	    (bio = BIO_new(method)) == NULL) {
		ERR_clear_error();
		return HALIBUT_ENOMEM;
	}
	BIO_set_data(bio, c);
	BIO_set_init(bio, 1);
	SSL_set_bio(c->ssl, bio, bio);
	if (server)
		SSL_set_accept_state(c->ssl);
	else
		SSL_set_connect_state(c->ssl);
	c->state = CONN_HANDSHAKE;
	c->step_due = hbt_now_ms() + c->handshake_ms;
	return HALIBUT_OK;
}

static void opened(struct hbt_conn *c)
{
	X509 *cert = SSL_get0_peer_certificate(c->ssl);

	if (cert != NULL)
		hbt_thumbprint(cert, c->thumbprint);
	SSL_set_app_data(c->ssl, NULL);
	conn_dial_free(&c->dial);
	conn_shake_leave(c);
	c->state = CONN_OPEN;
	c->step_due = 0;
	c->read_at = hbt_now_ms();
	c->ops->opened(c->arg);
	/* The peer's first words may have come with the end of its
	 * handshake. */
	if (conn_is_reading(c))
		conn_read(c);
}

void conn_handshake(struct hbt_conn *c)
{
	int rc;

	ERR_clear_error();
	rc = SSL_do_handshake(c->ssl);
	if (rc == 1) {
		if (c->out.len > 0)
			conn_turn_ending(c); /* with what opened() writes */
		opened(c);
		return;
	}
	if (c->io_errno == 0 && !c->at_eof &&
	    SSL_get_error(c->ssl, rc) == SSL_ERROR_WANT_READ) {
		conn_send(c);
		return;
	}
	c->tls_error = ERR_peek_error(); /* the oldest is the cause */
	send_all(c, NULL, 0);            /* the alert that tells the peer why */
	conn_fail_handshake(c);
}

enum filled {
	FILL_MORE,   /* there may be more at once */
	FILL_DRY,    /* nothing more until the socket is readable */
	FILL_END,    /* nothing more ever */
	FILL_BROKEN, /* io_errno or tls_error says why */
};

/* As many records as fit into scratch. */
static enum filled fill(struct hbt_conn *c, size_t *len)
{
	size_t got;
	int rc;

	*len = 0;
	if (c->tls_error != 0)
		return FILL_BROKEN;
	ERR_clear_error();
	while (sizeof(scratch) - *len >= CONN_RECORD) {
		rc = SSL_read_ex(c->ssl, scratch + *len, sizeof(scratch) - *len,
		                 &got);
		if (rc == 1) {
			*len += got;
			continue;
		}
		if (SSL_get_shutdown(c->ssl) & SSL_RECEIVED_SHUTDOWN ||
		    c->at_eof)
			return FILL_END;
		if (c->io_errno != 0)
			return FILL_BROKEN;
		if (SSL_get_error(c->ssl, rc) == SSL_ERROR_WANT_READ)
			return FILL_DRY;
		c->tls_error = ERR_peek_error();
		if (c->tls_error == 0)
			c->tls_error =
				ERR_PACK(ERR_LIB_SSL, 0, ERR_R_INTERNAL_ERROR);
		ERR_clear_error();
		return FILL_BROKEN;
	}
	return FILL_MORE;
}

/* Returns what input() took; 0 also when the connection ended in it. */
static size_t give(struct hbt_conn *c, const uint8_t *data, size_t len)
{
	size_t used;

	c->resumed = false;
	c->in_input = true;
	used = c->ops->input(c->arg, data, len);
	c->in_input = false;
	if (c->state != CONN_OPEN)
		return 0;
	assert(used <= len);
	if (used < len && c->resumed) {
		c->read_later = true;
		conn_turn_later(c);
	} else {
		c->held = used < len;
	}
	return used;
}

static void count_in(struct hbt_conn *c, size_t len)
{
	c->bytes_in += len;
	totals.bytes_in += len;
}

const struct hbt_conn_totals *hbt_conn_totals(void)
{
	return &totals;
}

static void give_rest(struct hbt_conn *c)
{
	size_t used = give(c, c->rest.data + c->rest.off, c->rest.len);

	if (c->state == CONN_OPEN)
		queue_consume(&c->rest, used);
}

static void give_scratch(struct hbt_conn *c, size_t len)
{
	size_t used;

	count_in(c, len);
	used = give(c, scratch, len);
	if (c->state == CONN_OPEN && used < len &&
	    !conn_queue_put(&c->rest, scratch + used, len - used))
		conn_fail(c, HALIBUT_ENOMEM,
		          "There was no memory for what %s sent", c->address);
}

static void tell_eof(struct hbt_conn *c)
{
	c->eof_told = true;
	c->parked = true; /* the socket stays readable from here on */
	c->ops->eof(c->arg);
}

/* An end that stands behind data is found again once the data is taken. */
static void act_on_end(struct hbt_conn *c, enum filled how)
{
	if (how == FILL_END)
		tell_eof(c);
	else if (c->io_errno != 0)
		conn_fail_broken(c);
	else
		conn_fail_tls(c);
}

void conn_read(struct hbt_conn *c)
{
	size_t len, budget = CONN_TURN_IN;
	enum filled how = FILL_MORE;

	c->read_later = false;
	while (how != FILL_DRY && conn_is_reading(c) && !c->read_later) {
		if (budget == 0) {
			c->read_later = true;
			conn_turn_later(c);
			break;
		}
		if (c->rest.len > 0) {
			give_rest(c);
			continue;
		}
		how = fill(c, &len);
		if (len > 0)
			give_scratch(c, len);
		else if (how == FILL_END || how == FILL_BROKEN)
			act_on_end(c, how);
		budget -= len < budget ? len : budget;
	}
	if (c->state != CONN_OPEN)
		return;
	if (c->read_ms > 0)
		c->read_at = hbt_now_ms();
	/* A reply that waits for the end of the turn carries our ACK. */
	if (c->peer_awaited && !c->was_sent && c->out.len == 0)
		hbt_sock_quick_ack(c->fd);
}

/*
 * FIN is told only when all that came before it was taken: a taker that is
 * slow shall not lose what its peer has sent. RST is told at once.
 */
void conn_look_for_end(struct hbt_conn *c)
{
	struct pollfd p = {.fd = c->fd, .events = POLLRDHUP};
	enum filled how;
	size_t len;

	if (poll(&p, 1, 0) > 0) {
		if (p.revents & (POLLERR | POLLHUP)) {
			socklen_t size = sizeof(c->io_errno);

			getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &c->io_errno,
			           &size);
			if (c->io_errno == 0)
				c->io_errno = ECONNRESET;
			conn_fail_broken(c);
			return;
		}
		if (c->rest.len == 0 && !c->eof_told) {
			c->dry = false;
			how = fill(c, &len);
			count_in(c, len);
			if (len > 0 && !conn_queue_put(&c->rest, scratch, len))
				conn_fail(c, HALIBUT_ENOMEM,
				          "There was no memory for what %s "
				          "sent",
				          c->address);
			else if (len == 0 &&
			         (how == FILL_END || how == FILL_BROKEN))
				act_on_end(c, how);
		}
	}
	c->parked = true;
}

/* As much of the queue as the socket takes. */
void conn_send(struct hbt_conn *c)
{
	send_all(c, NULL, 0);
	if (c->io_errno != 0)
		conn_fail_broken(c);
}

/* Encrypts; the BIO above never asks to be called again. */
static void write_records(struct hbt_conn *c, const uint8_t *data, size_t len)
{
	size_t written;

	ERR_clear_error();
	if (SSL_write_ex(c->ssl, data, len, &written) != 1) {
		c->tls_error = ERR_peek_error();
		if (c->io_errno != 0)
			conn_fail_broken(c);
		else
			conn_fail(c, HALIBUT_ENOMEM,
			          "What is to be sent to %s cannot be "
			          "encrypted: %s",
			          c->address, hbt_openssl_reason());
		return;
	}
	c->bytes_out += written;
	totals.bytes_out += written;
	if (c->io_errno != 0)
		conn_fail_broken(c);
}

int hbt_conn_write(struct hbt_conn *c, const void *data, size_t len)
{
	if (c->state != CONN_OPEN)
		return HALIBUT_EAGAIN; /* failed() comes, or has come */
	if (len > 0) {
		/* One allocation, not one a record. */
		queue_reserve(&c->out, (len < CONN_GATHER ? len : CONN_GATHER) +
		                               RECORD_OVERHEAD);
		write_records(c, data, len);
		c->burst += len;
	}
	if (c->state != CONN_OPEN)
		return HALIBUT_EAGAIN;
	conn_turn_ending(c);
	if (c->out.len <= CONN_HIGH && c->burst <= CONN_TURN_OUT)
		return HALIBUT_OK;
	c->wants_drain = true;
	return HALIBUT_EAGAIN;
}
