/* What the master says. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "ipc/log_order.h"
#include "ipc/worker.h"
#include "worker.h"

/* "a\nb\n" becomes {"a", "b", NULL}; the text is cut up in place. */
static const char **split_lines(char *text)
{
	size_t n = 0, i = 0;
	const char **lines;
	char *save = NULL;

	for (const char *p = text; *p != '\0'; p++)
		n += *p == '\n';
	if ((lines = calloc(n + 2, sizeof(*lines))) == NULL)
		return NULL;
	for (char *line = strtok_r(text, "\n", &save); line != NULL;
	     line = strtok_r(NULL, "\n", &save))
		lines[i++] = line;
	return lines;
}

static void forget_key(char **key)
{
	if (*key == NULL)
		return;
	explicit_bzero(*key, strlen(*key));
	free(*key);
	*key = NULL;
}

static void forget_keys(struct hbt_settings *s)
{
	forget_key(&s->key_pem);
	for (size_t i = 0; i < s->n_identities; i++)
		forget_key(&s->identities[i].key_pem);
}

static int add_names(struct hbt_tls *tls, char *patterns, struct hbt_tls *other)
{
	char *save = NULL;
	int rc = 0;

	if (patterns == NULL)
		return 0;
	for (char *one = strtok_r(patterns, "\n", &save);
	     rc == 0 && one != NULL; one = strtok_r(NULL, "\n", &save))
		rc = hbt_tls_add_name(tls, one, other);
	return rc;
}

/* Sets *tls, or NULL. */
static int make_identity(struct worker *w, struct hbt_tls **tls,
                         struct hbt_identity_fields *one,
                         struct halibut_error *err)
{
	int rc = hbt_tls_new(tls, one->certificate_pem, one->key_pem, err);

	if (rc == 0 &&
	    (rc = add_names(w->tls, one->server_names, *tls)) != 0) {
		hbt_tls_remove_names(w->tls, *tls);
		hbt_tls_free(tls);
	}
	return rc;
}

/* All of ours. Who is shown which: by the address it came in at, else by the
 * name that it asks for. */
static int make_certificates(struct worker *w, struct halibut_error *err)
{
	struct hbt_settings *s = &w->settings;
	int rc = hbt_tls_new(&w->tls, s->certificate_pem, s->key_pem, err);

	w->identities = calloc(s->n_identities + 1, sizeof(*w->identities));
	if (w->identities == NULL)
		rc = HALIBUT_ENOMEM;
	for (size_t i = 0; rc == 0 && i < s->n_identities; i++)
		rc = make_identity(w, &w->identities[i], &s->identities[i],
		                   err);
	forget_keys(s);
	return rc;
}

struct hbt_tls *worker_identity(struct worker *w, const char *name)
{
	for (size_t i = 0; i < w->settings.n_identities; i++)
		if (strcmp(w->settings.identities[i].name, name) == 0)
			return w->identities[i];
	return NULL;
}

/* Who pays for what waits in spools. The text is cut up in place. */
static int open_accounts(struct worker *w)
{
	struct hbt_settings *s = &w->settings;
	const char **networks = NULL;
	size_t n = 0;
	int rc = HALIBUT_OK;

	if (s->limits.spool_max_bytes_a_source > 0) {
		if (s->unlimited_sources != NULL &&
		    (networks = split_lines(s->unlimited_sources)) == NULL)
			return HALIBUT_ENOMEM;
		while (networks != NULL && networks[n] != NULL)
			n++;
		rc = hbt_source_rule_set(&w->sources,
		                         (int)s->source_prefix_ipv4,
		                         (int)s->source_prefix_ipv6, networks,
		                         n);
		free(networks);
	}
	if (rc == HALIBUT_OK &&
	    (w->spools = hbt_spool_accounts_new(w->base, &s->limits,
	                                        &w->sources)) == NULL)
		rc = HALIBUT_ENOMEM;
	return rc;
}

/* Room for one more; what there is stays where its owner finds it. */
static int make_room(struct worker *w)
{
	struct hbt_settings *s = &w->settings;
	size_t n = s->n_identities + 1;
	struct hbt_identity_fields *fields;
	struct hbt_tls **tls;

	tls = reallocarray(w->identities, n + 1, sizeof(*tls));
	if (tls == NULL)
		return HALIBUT_ENOMEM;
	w->identities = tls;
	tls[n - 1] = NULL;
	fields = reallocarray(s->identities, n, sizeof(*fields));
	if (fields == NULL)
		return HALIBUT_ENOMEM;
	s->identities = fields;
	return 0;
}

/* One that came with a reload: calls and connections may want it at once. */
static void on_identity(struct worker *w, struct hbt_rd *r)
{
	struct hbt_settings *s = &w->settings;
	struct hbt_identity_fields one;
	struct halibut_error err = {0};
	size_t i = s->n_identities;
	int rc;

	hbt_identity_fields_get(r, &one);
	rc = hbt_rd_finish(r);
	if (rc == 0 && worker_identity(w, one.name) == NULL &&
	    (rc = make_room(w)) == 0 &&
	    (rc = make_identity(w, &w->identities[i], &one, &err)) == 0) {
		forget_key(&one.key_pem);
		s->identities[s->n_identities++] = one;
		memset(&one, 0, sizeof(one));
	}
	if (rc != 0)
		log_error("identity \"%s\" is not known here: %s",
		          one.name ? one.name : "?",
		          err.message ? err.message : halibut_strerror(rc));
	hbt_identity_fields_fini(&one);
	halibut_error_clear(&err);
}

static int apply_settings(struct worker *w, struct halibut_error *err)
{
	struct hbt_settings *s = &w->settings;
	int rc;

	rc = make_certificates(w, err);
	if (rc == 0)
		rc = open_accounts(w);
	if (rc == 0 && (rc = hbt_exchange_env_init(&w->env, w->base,
	                                           &s->limits)) == 0) {
		w->env.friendly_page = s->friendly_page;
		if (s->friendly_headers != NULL)
			w->headers = split_lines(s->friendly_headers);
		w->env.friendly_headers = w->headers;
		w->dialler = hbt_dialler_new(&w->env, w->dns, w->tls);
		rc = w->dialler == NULL ? HALIBUT_ENOMEM : rows_start(w);
		if (rc == 0)
			rc = stats_start(w);
	}
	return rc;
}

static void on_settings(struct worker *w, struct hbt_rd *r)
{
	struct halibut_error err = {0};
	int rc;

	if (w->ready)
		return;
	rc = hbt_worker_settings(r, &w->settings, "worker", false);
	if (rc == HALIBUT_OK)
		rc = apply_settings(w, &err);
	if (rc != 0) {
		log_error("the settings cannot be applied: %s",
		          err.message ? err.message : halibut_strerror(rc));
		w->exit_code = 1;
		event_base_loopbreak(w->base);
	}
	w->ready = rc == 0;
	halibut_error_clear(&err);
}

static void on_trust(struct worker *w, struct hbt_rd *r)
{
	static const char hex[] = "0123456789ABCDEF";
	struct hbt_trust_set *fresh = hbt_trust_set_new();
	uint32_t n = hbt_rd_u32(r);
	const uint8_t *sha1;
	int rc = fresh == NULL ? HALIBUT_ENOMEM : 0;

	while (rc == 0 && n-- > 0 && (sha1 = hbt_rd_bytes(r, 20)) != NULL) {
		char text[HBT_THUMBPRINT_TEXT] = {0};

		for (int i = 0; i < 20; i++) {
			text[2 * i] = hex[sha1[i] >> 4];
			text[2 * i + 1] = hex[sha1[i] & 15];
		}
		rc = hbt_trust_set_add(fresh, text);
	}
	if (rc != 0 || hbt_rd_finish(r) != 0) {
		log_error("a new trust list was not applied: %s",
		          halibut_strerror(rc != 0 ? rc : HALIBUT_EPROTO));
		hbt_trust_set_free(&fresh);
		return;
	}
	hbt_trust_set_free(&w->trust);
	w->trust = fresh;
	incoming_drop_untrusted(w);
}

static void on_stop(struct worker *w, struct hbt_rd *r)
{
	uint8_t how = hbt_rd_u8(r);
	uint32_t spread_ms = hbt_rd_u32(r);

	if (how == HBT_STOP_NOW)
		event_base_loopbreak(w->base);
	else
		drain_begin(w, (enum hbt_stop)how, spread_ms);
}

/* Half of our settings would be worse than a worker that starts anew. */
static void on_lost(struct worker *w, uint16_t type)
{
	log_error("message %u of the master was lost: out of descriptors; "
	          "leaving. Raise the limit (ulimit -n, LimitNOFILE=)",
	          type);
	w->exit_code = 1;
	event_base_loopbreak(w->base);
}

void worker_tell(struct worker *w, enum hbt_ipc_type type, uint32_t id,
                 struct hbt_wr *body, int fd)
{
	if (hbt_worker_tell(w->ipc, type, id, body, fd) == HALIBUT_OK)
		return;
	w->exit_code = 1;
	event_base_loopbreak(w->base);
}

static void on_message(void *arg, struct hbt_ipc_msg *msg)
{
	struct worker *w = arg;
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);

	if (hbt_worker_obey(w->ipc, msg))
		return;
	if (!w->ready && msg->type != HBT_IPC_SETTINGS &&
	    msg->type != HBT_IPC_STOP && msg->type != HBT_IPC_TRUST)
		return;
	if (msg->lost && (msg->type == HBT_IPC_SETTINGS ||
	                  msg->type == HBT_IPC_TRUST ||
	                  msg->type == HBT_IPC_POLLS)) {
		on_lost(w, msg->type);
		return;
	}
	switch (msg->type) {
	case HBT_IPC_SETTINGS:
		on_settings(w, &r);
		break;
	case HBT_IPC_TRUST:
		on_trust(w, &r);
		break;
	case HBT_IPC_CONN:
		incoming_connection(w, msg->id, hbt_ipc_take_fd(msg), &r);
		break;
	case HBT_IPC_POLLS:
		if (!w->draining)
			incoming_polls(w, &r);
		break;
	case HBT_IPC_SUBSCRIBED:
		incoming_subscribed(w, msg->id, &r);
		break;
	case HBT_IPC_ROUTED:
		incoming_routed(w, msg->id, &r);
		break;
	case HBT_IPC_CALL:
		drain_interrupted(w);
		outgoing_call(w, msg);
		break;
	case HBT_IPC_CANCEL:
		outgoing_cancel(w, msg->id);
		break;
	case HBT_IPC_ANSWER:
		incoming_answer(w, msg);
		break;
	case HBT_IPC_FAIL:
		incoming_fail(w, msg);
		break;
	case HBT_IPC_ROWS_ASK:
		rows_ask(w, msg);
		break;
	case HBT_IPC_IDENTITY:
		on_identity(w, &r);
		break;
	case HBT_IPC_CLOSE:
		close_by_order(w, msg);
		break;
	case HBT_IPC_MAY_LEAVE:
		drain_may_leave(w, msg->id);
		break;
	case HBT_IPC_STOP:
		on_stop(w, &r);
		break;
	default:
		log_warning("the master sent a message of unknown type %u",
		            msg->type);
		break;
	}
}

/* Without a master there is nothing that we could do for anybody. */
static void on_closed(void *arg, const char *why)
{
	struct worker *w = arg;

	if (!w->draining)
		log_error("the master is gone (%s); leaving", why);
	event_base_loopbreak(w->base);
}

const struct hbt_ipc_ops worker_channel_ops = {
	.message = on_message,
	.closed = on_closed,
};

void worker_fini(struct worker *w)
{
	if (w->stats_timer != NULL)
		event_free(w->stats_timer);
	drain_fini(w);
	incoming_free_all(w);
	hbt_dialler_free(&w->dialler);
	if (w->env.base != NULL)
		hbt_exchange_env_fini(&w->env);
	rows_fini(w);
	hbt_spool_accounts_free(&w->spools);
	hbt_source_rule_fini(&w->sources);
	hbt_log_order_forget();
	hbt_ipc_free(&w->ipc);
	hbt_trust_set_free(&w->trust);
	for (size_t i = 0; w->identities != NULL && i < w->settings.n_identities;
	     i++)
		hbt_tls_free(&w->identities[i]);
	free(w->identities);
	hbt_tls_free(&w->tls);
	free(w->headers);
	forget_keys(&w->settings);
	hbt_settings_fini(&w->settings);
	hbt_worker_end(&w->base, &w->dns);
}
