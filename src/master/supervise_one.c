/* The life of one worker process. */
#include "master/supervise_private.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include "base/log.h"
#include "base/timespan.h"
#include "base/unix_time.h"
#include "master/config_units.h"

/* A worker that lived as long is healthy: its delay starts anew. */
#define HEALTHY_MS 60000
/* Between the end of a channel and that of its process. */
#define LAST_MOMENT_MS 1000

static const char *const state_names[WORKER_STATE_COUNT] = {
	[WORKER_RESTING] = "resting", [WORKER_STARTING] = "starting",
	[WORKER_READY] = "ready",     [WORKER_STOPPING] = "stopping",
	[WORKER_LOST] = "lost",       [WORKER_GONE] = "gone",
};

static const bool may[WORKER_STATE_COUNT][WORKER_STATE_COUNT] = {
	[WORKER_RESTING] = {[WORKER_STARTING] = true, [WORKER_GONE] = true},
	[WORKER_STARTING] = {[WORKER_READY] = true,
                             [WORKER_STOPPING] = true,
                             [WORKER_LOST] = true},
	[WORKER_READY] = {[WORKER_STOPPING] = true, [WORKER_LOST] = true},
	[WORKER_STOPPING] = {[WORKER_LOST] = true},
	[WORKER_LOST] = {[WORKER_RESTING] = true, [WORKER_GONE] = true},
};

static void start(struct hbt_worker *w);

static void start_timer(struct hbt_worker *w, int64_t ms)
{
	struct timeval tv = {.tv_sec = ms / 1000,
	                     .tv_usec = (ms % 1000) * 1000};

	event_add(w->timer, &tv);
}

void hbt_worker_set_state(struct hbt_worker *w, enum hbt_worker_state to)
{
	const struct hbt_config *cfg = w->all->cfg;

	assert(may[w->state][to]);
	log_debug("%s: %s -> %s", w->link.name, state_names[w->state],
	          state_names[to]);
	w->state = to;
	event_del(w->timer);
	if (to == WORKER_RESTING)
		start_timer(w, w->delay_ms);
	else if (to == WORKER_STARTING)
		start_timer(w, cfg->worker_start_timeout_ms);
	else if (to == WORKER_READY || to == WORKER_STOPPING)
		start_timer(w, cfg->worker_ping_interval_ms);
	else if (to == WORKER_LOST)
		start_timer(w, LAST_MOMENT_MS);
}

const char *hbt_worker_state_name(enum hbt_worker_state state)
{
	return state_names[state];
}

static bool is_stopping(const struct hbt_worker *w)
{
	return w->retiring || w->all->stopping[w->link.kind];
}

static const char *program_of(enum hbt_peer_kind kind)
{
	switch (kind) {
	case HBT_PEER_CONNECTION_WORKER:
		return "halibut-connection-worker";
	case HBT_PEER_SERVICE_WORKER:
		return "halibut-service-worker";
	case HBT_PEER_STATUS_WORKER:
		return "halibut-status-worker";
	default:
		return "halibut-queue-worker";
	}
}

static const char *title_of(enum hbt_peer_kind kind)
{
	switch (kind) {
	case HBT_PEER_CONNECTION_WORKER:
		return "worker";
	case HBT_PEER_SERVICE_WORKER:
		return "service worker";
	case HBT_PEER_STATUS_WORKER:
		return "status worker";
	default:
		return "queue worker";
	}
}

static void set_name(struct hbt_worker *w)
{
	const char *what = title_of(w->link.kind);

	if (w->pid > 0)
		snprintf(w->link.name, sizeof(w->link.name), "%s %u (pid %d)",
		         what, w->index, (int)w->pid);
	else
		snprintf(w->link.name, sizeof(w->link.name), "%s %u", what,
		         w->index);
}

/* Ends */

static void describe_exit(const struct hbt_worker *w, char *text, size_t size)
{
	int s = w->exit_status;

	if (WIFSIGNALED(s))
		snprintf(text, size, "signal %d (%s)", WTERMSIG(s),
		         strsignal(WTERMSIG(s)));
	else if (WEXITSTATUS(s) == 127)
		snprintf(text, size, "status 127 (it could not be executed)");
	else
		snprintf(text, size, "status %d", WEXITSTATUS(s));
}

/* Two lines, however long it goes on. */
static void tell_end(struct hbt_worker *w, const char *how)
{
	enum hbt_log_level level = HBT_LOG_ERROR;
	const char *more = "";
	char delay[32];

	hbt_format_duration(w->delay_ms, delay);
	if (++w->ends_in_a_row == 2)
		more = ", and so on until one stays; that is not logged, "
		       "`halibutctl status` counts them";
	else if (w->ends_in_a_row > 2)
		level = HBT_LOG_DEBUG;
	log_event(level, LOG_ABOUT(.event = "worker_ended", .reason = how),
	          "%s: ended with %s; another one starts in %s%s",
	          w->link.name, how, delay, more);
}

static void tell_recovery(struct hbt_worker *w)
{
	if (w->ends_in_a_row >= 2)
		log_event(HBT_LOG_INFO, LOG_ABOUT(.event = "worker_stays"),
		          "%s: stays, after %u that ended at once",
		          w->link.name, w->ends_in_a_row);
	w->ends_in_a_row = 0;
}

void hbt_worker_set_gone(struct hbt_worker *w)
{
	hbt_worker_set_state(w, WORKER_GONE);
	if (w->retiring)
		event_active(w->all->sweeper, EV_TIMEOUT, 0);
	w->all->ops.gone(w->all->ops.arg, w);
}

/* Neither process nor channel is left: what now? */
static void rest_or_go(struct hbt_worker *w)
{
	const struct hbt_config *cfg = w->all->cfg;
	bool expected = is_stopping(w);
	char how[96];

	describe_exit(w, how, sizeof(how));
	memcpy(w->last_exit, how, sizeof(w->last_exit));
	w->last_exit_at = hbt_unix_ms();
	if (expected) {
		log_event(HBT_LOG_INFO,
		          LOG_ABOUT(.event = "worker_stopped", .reason = how),
		          "%s: ended with %s", w->link.name, how);
		hbt_worker_set_gone(w);
		return;
	}
	if (w->delay_ms == 0 || hbt_now_ms() - w->started_ms > HEALTHY_MS) {
		w->delay_ms = cfg->worker_restart_delay_ms;
		w->ends_in_a_row = 0;
	} else {
		w->delay_ms *= 2;
	}
	if (w->delay_ms > cfg->worker_restart_delay_max_ms)
		w->delay_ms = cfg->worker_restart_delay_max_ms;
	tell_end(w, how);
	set_name(w);
	w->restarts++;
	hbt_worker_set_state(w, WORKER_RESTING);
}

void hbt_worker_close_channel(struct hbt_worker *w)
{
	if (w->link.ipc == NULL)
		return;
	w->all->ops.lost(w->all->ops.arg, w);
	hbt_ipc_free(&w->link.ipc);
	memset(&w->stats, 0, sizeof(w->stats));
}

void hbt_worker_lose(struct hbt_worker *w, const char *why)
{
	if (w->state == WORKER_LOST)
		return;
	if (why != NULL)
		log_event(w->ends_in_a_row < 2 ? HBT_LOG_ERROR : HBT_LOG_DEBUG,
		          LOG_ABOUT(.event = "worker_killed", .reason = why),
		          "%s: %s, killed", w->link.name, why);
	hbt_worker_set_state(w, WORKER_LOST);
	if (why != NULL && w->pid > 0)
		hbt_spawn_kill(w->pid, &w->all->identity);
	hbt_worker_close_channel(w);
	if (w->pid == 0)
		rest_or_go(w);
	/* Else it ends by itself, or the timer sees to it. */
}

void hbt_worker_reaped(struct hbt_worker *w, int status)
{
	w->pid = 0;
	w->exit_status = status;
	if (w->state == WORKER_LOST)
		rest_or_go(w);
	else if (w->link.ipc == NULL)
		hbt_worker_lose(w, NULL);
	else /* its last words are read first; then its channel ends */
		start_timer(w, LAST_MOMENT_MS);
}

/* Messages */

static void on_hello(struct hbt_worker *w, struct hbt_ipc_msg *msg)
{
	struct hbt_rd r = hbt_rd_from(msg->data, msg->len);
	uint32_t protocol = hbt_rd_u32(&r);
	uint8_t kind = hbt_rd_u8(&r);
	uint32_t pid = hbt_rd_u32(&r);
	char *version = hbt_rd_strdup(&r);

	if (hbt_rd_finish(&r) != HALIBUT_OK || kind != w->link.kind ||
	    pid != (uint32_t)w->pid ||
	    (w->state != WORKER_STARTING && w->state != WORKER_STOPPING))
		hbt_worker_lose(w, "its hello is wrong");
	else if (protocol != HBT_IPC_PROTOCOL)
		hbt_worker_lose(w, "it is of another version than halibutd; install "
		        "programs of the same version");
	else if (w->state == WORKER_STOPPING) /* was told before it spoke */
		w->answered = true;
	else {
		log_event(w->ends_in_a_row < 2 ? HBT_LOG_INFO : HBT_LOG_DEBUG,
		          LOG_ABOUT(.event = "worker_ready"),
		          "%s: ready%s%s", w->link.name,
		          version != NULL ? ", version " : "",
		          version != NULL ? version : "");
		w->answered = true;
		w->heard_ms = hbt_now_ms();
		hbt_worker_set_state(w, WORKER_READY);
		w->all->ops.ready(w->all->ops.arg, w);
	}
	free(version);
}

static void format_silence(const struct hbt_worker *w, char text[32])
{
	int64_t ms = hbt_now_ms() - w->heard_ms;

	hbt_format_duration(ms < 1000 ? ms : ms - ms % 1000, text);
}

static void tell_silence(struct hbt_worker *w)
{
	char silence[32], limit[32];

	format_silence(w, silence);
	hbt_format_duration(w->all->cfg->worker_hang_timeout_ms, limit);
	log_event(HBT_LOG_WARNING, LOG_ABOUT(.event = "worker_silent"),
	          "%s: no answer to a ping for %s: it hangs, or waits for the "
	          "processor; what it carries stands still. It is killed "
	          "after worker_hang_timeout (%s)",
	          w->link.name, silence, limit);
	w->silent = true;
}

static void tell_answer(struct hbt_worker *w)
{
	char silence[32];

	format_silence(w, silence);
	log_event(HBT_LOG_INFO, LOG_ABOUT(.event = "worker_answers"),
	          "%s: answers again, after %s", w->link.name, silence);
	w->silent = false;
}

static void on_message(void *arg, struct hbt_ipc_msg *msg)
{
	struct hbt_worker *w = arg;
	struct hbt_rd r;

	if (w->silent)
		tell_answer(w);
	w->heard_ms = hbt_now_ms();
	if (msg->type == HBT_IPC_HELLO) {
		on_hello(w, msg);
		return;
	}
	if (w->state == WORKER_STARTING) {
		hbt_worker_lose(w, "it spoke before its hello");
		return;
	}
	if (msg->type == HBT_IPC_PONG) {
		w->answered = true;
		return;
	}
	if (msg->type == HBT_IPC_DRAINED && msg->len == 1 &&
	    msg->data[0] <= HBT_DRAINED_ALL)
		w->drained = (enum hbt_drained)msg->data[0];
	if (msg->type == HBT_IPC_STATS) {
		r = hbt_rd_from(msg->data, msg->len);
		hbt_worker_stats_get(&r, &w->stats);
	}
	if (w->all->ops.message(w->all->ops.arg, w, msg) == HALIBUT_OK)
		return;
	log_error("%s: message of type %u, id %u is none that it may send",
	          w->link.name, msg->type, msg->id);
	hbt_worker_lose(w, "it broke the protocol");
}

static void on_closed(void *arg, const char *why)
{
	struct hbt_worker *w = arg;

	if (w->pid > 0 && !is_stopping(w))
		log_debug("%s: channel closed: %s", w->link.name, why);
	hbt_worker_lose(w, NULL);
}

static void ping(struct hbt_worker *w)
{
	const struct hbt_config *cfg = w->all->cfg;
	char why[96], limit[32];

	if (!w->answered &&
	    hbt_now_ms() - w->heard_ms > cfg->worker_hang_timeout_ms) {
		hbt_format_duration(cfg->worker_hang_timeout_ms, limit);
		snprintf(why, sizeof(why), "no answer to a ping within %s",
		         limit);
		hbt_worker_lose(w, why);
		return;
	}
	if (hbt_now_ms() - w->started_ms > HEALTHY_MS)
		tell_recovery(w);
	/* Less than two intervals could be a busy machine. */
	if (!w->answered && !w->silent &&
	    hbt_now_ms() - w->heard_ms >= 2 * cfg->worker_ping_interval_ms)
		tell_silence(w);
	if (w->answered) {
		w->answered = false;
		w->heard_ms = hbt_now_ms();
		hbt_ipc_send(w->link.ipc, HBT_IPC_PING, 0, NULL, 0, -1);
	}
	start_timer(w, cfg->worker_ping_interval_ms);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_worker *w = arg;
	char why[64], limit[32];

	(void)fd;
	(void)what;
	if (w->state == WORKER_RESTING) {
		start(w);
	} else if (w->state == WORKER_LOST) {
		hbt_spawn_kill(w->pid, &w->all->identity);
	} else if (w->pid == 0) {
		hbt_worker_lose(w, NULL);
	} else if (w->state == WORKER_STARTING) {
		hbt_format_duration(w->all->cfg->worker_start_timeout_ms,
		                    limit);
		snprintf(why, sizeof(why), "no hello within %s", limit);
		hbt_worker_lose(w, why);
	} else if (w->state == WORKER_READY || w->state == WORKER_STOPPING) {
		ping(w);
	}
}

/* Beginnings */

static int launch(struct hbt_worker *w, struct halibut_error *err)
{
	static const struct hbt_ipc_ops ops = {on_message, on_closed};
	struct hbt_workers *ws = w->all;
	char path[4096];
	int fd, rc;

	snprintf(path, sizeof(path), "%s/%s", ws->cfg->worker_directory,
	         program_of(w->link.kind));
	rc = hbt_spawn(path, &ws->identity, &w->pid, &fd, err);
	if (rc != HALIBUT_OK) {
		w->pid = 0;
		return rc;
	}
	rc = hbt_ipc_new(&w->link.ipc, ws->base, fd, HBT_IPC_MAX_BODY, &ops, w);
	if (rc != HALIBUT_OK)
		hbt_error_set(err, rc, "%s: no channel: %s", path,
		              halibut_strerror(rc));
	return rc;
}

static void start(struct hbt_worker *w)
{
	struct halibut_error err = {0};

	w->exit_status = 127 << 8;
	w->started_ms = hbt_now_ms();
	w->silent = false;
	hbt_worker_set_state(w, WORKER_STARTING);
	if (launch(w, &err) != HALIBUT_OK) {
		log_error("%s: %s", w->link.name, err.message);
		hbt_worker_lose(w, NULL);
	} else {
		set_name(w);
	}
	halibut_error_clear(&err);
}

struct hbt_worker *hbt_worker_new(struct hbt_workers *ws,
                                     enum hbt_peer_kind kind)
{
	struct hbt_worker *w = calloc(1, sizeof(*w));

	if (w == NULL ||
	    (w->timer = evtimer_new(ws->base, on_timer, w)) == NULL) {
		free(w);
		return NULL;
	}
	w->all = ws;
	w->link.kind = kind;
	w->state = WORKER_RESTING;
	return w;
}

void hbt_worker_free(struct hbt_worker *w)
{
	event_free(w->timer);
	free(w);
}

void hbt_worker_enlist(struct hbt_worker *w)
{
	struct hbt_workers *ws = w->all;

	w->index = ws->last_index[w->link.kind]++;
	w->generation = ws->generation[w->link.kind];
	set_name(w);
	ws->v[ws->n++] = w;
	start(w);
}
