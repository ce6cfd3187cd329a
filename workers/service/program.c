/* Service programs: see program.h. */
#include "program.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/log_limit.h"
#include "base/split.h"
#include "base/timespan.h"
#include "intake.h"
#include "bounds.h"
#include "process.h"

/* A process and its call. */
struct hbt_svc_slot {
	TAILQ_ENTRY(hbt_svc_slot) link;
	struct hbt_svc_program *program;
	struct hbt_svc_process *process;
	struct hbt_svc_call *call; /* NULL: idle */
	bool usable; /* gets calls; else it is on its way out */
	bool proven; /* has answered a call */
	bool blamed; /* its end is accounted for, or our own doing */
};

struct hbt_svc_program {
	TAILQ_ENTRY(hbt_svc_program) link;
	struct hbt_svc *svc;
	struct hbt_program cfg;
	char **argv; /* NULL: refused says why */
	struct halibut_error refused;
	bool retired;
	TAILQ_HEAD(, hbt_svc_slot) slots;
	unsigned n_slots;
	TAILQ_HEAD(, hbt_svc_call) waiting;
	unsigned n_calls; /* admitted and not forgotten */
	unsigned deaths;  /* in a row */
	int64_t not_before_ms; /* the next start */
	struct event *turn;
};

static void start_timer(struct event *timer, int64_t ms)
{
	struct timeval tv = {.tv_sec = (time_t)(ms / 1000),
	                     .tv_usec = (suseconds_t)(ms % 1000 * 1000)};

	event_add(timer, &tv);
}

/* Looks later at what can run: callers are inside their own business. */
static void turn_soon(struct hbt_svc_program *p)
{
	event_del(p->turn);
	event_active(p->turn, EV_TIMEOUT, 0);
}

/* Errors, each in the same words for the caller and for the log. */

/* "Service program "x" of S (pid 1)" */
static char *describe(const struct hbt_svc_slot *slot)
{
	char *text;

	if (asprintf(&text, "Service program \"%s\" of %s (pid %ld)",
	             slot->program->cfg.command, slot->program->cfg.service,
	             (long)hbt_svc_process_pid(slot->process)) < 0)
		return NULL;
	return text;
}

static const char *or_empty(const char *text)
{
	return text != NULL ? text : "";
}

/* Takes the call away from its process. */
static struct hbt_svc_call *take_call(struct hbt_svc_slot *slot)
{
	struct hbt_svc_call *call = slot->call;

	if (call != NULL) {
		event_del(call->timer);
		call->slot = NULL;
		slot->call = NULL;
	}
	return call;
}

static void count_death(struct hbt_svc_slot *slot)
{
	struct hbt_svc_program *p = slot->program;
	int64_t delay = SVC_RESTART_MIN_MS;

	slot->blamed = true;
	for (unsigned i = 0; i < p->deaths && delay < SVC_RESTART_MAX_MS; i++)
		delay *= 2;
	if (delay > SVC_RESTART_MAX_MS)
		delay = SVC_RESTART_MAX_MS;
	p->deaths++;
	p->not_before_ms = hbt_now_ms() + delay;
	log_debug("%s: not started again within %lld ms", p->cfg.service,
	          (long long)delay);
}

/*
 * The process is at fault: its call, if any, ends with "who what", the log
 * has that and the remedy.
 */
static void blame(struct hbt_svc_slot *slot, const char *what,
                  const char *remedy)
{
	struct hbt_svc_call *call = take_call(slot);
	char *who = describe(slot);
	char key[256];
	struct halibut_error err = {0};

	slot->usable = false;
	if (call != NULL)
		call->dir_in_use = true;
	/* What a program does at each call, it does often. */
	snprintf(key, sizeof(key), "%s %s", slot->program->cfg.service, what);
	log_limited(key, HBT_LOG_WARNING,
	            LOG_ABOUT(.event = "program_ended",
	                      .endpoint = slot->program->cfg.service,
	                      .reason = what, .remedy = remedy),
	            "%s %s%s%s", or_empty(who), what,
	            remedy != NULL ? ". " : "", or_empty(remedy));
	count_death(slot);
	if (call != NULL) {
		hbt_svc_invocation_error(&err, NULL, "%s %s",
		                         or_empty(who), what);
		hbt_svc_call_answer_error(call, &err);
	}
	halibut_error_clear(&err);
	free(who);
	turn_soon(slot->program);
}

/* Processes */

static void on_broken(void *arg, const char *why)
{
	struct hbt_svc_slot *slot = arg;

	slot->usable = false;
	if (why != NULL)
		blame(slot, why, NULL);
}

static void on_stray_line(struct hbt_svc_slot *slot, const char *line,
                          size_t len)
{
	char *what;

	if (asprintf(&what,
	             "printed on its standard output while it had no call: "
	             "%.*s",
	             len < 200 ? (int)len : 200, line) < 0)
		what = NULL;
	blame(slot, or_empty(what),
	      "Only answers belong there: print everything else on the "
	      "standard error");
	free(what);
	hbt_svc_process_kill(slot->process);
}

static void on_rubbish(struct hbt_svc_slot *slot, const char *line, size_t len,
                       const struct halibut_error *err)
{
	char *what;

	if (asprintf(&what, "printed %s on its standard output: %.*s",
	             err->message, len < 200 ? (int)len : 200, line) < 0)
		what = NULL;
	blame(slot, or_empty(what),
	      "Only answers belong there, one JSON object a line with the id "
	      "of the call, see halibut-service(7): print everything else on "
	      "the standard error");
	free(what);
	hbt_svc_process_kill(slot->process);
}

static void on_line(void *arg, const char *line, size_t len)
{
	struct hbt_svc_slot *slot = arg;
	struct hbt_svc_call *call = slot->call;
	struct hbt_svc_answer answer;
	struct halibut_error err = {0};
	int rc;

	if (call == NULL && !slot->usable)
		return; /* it was told to go */
	if (call == NULL) {
		on_stray_line(slot, line, len);
		return;
	}
	rc = hbt_svc_answer_read(line, len, call->number,
	                         call->message->env.id,
	                         hbt_svc_dir_path(call->dir), &answer, &err);
	if (rc == HALIBUT_EPROTO) {
		on_rubbish(slot, line, len, &err);
		halibut_error_clear(&err);
		return;
	}
	take_call(slot);
	slot->proven = true;
	slot->program->deaths = 0;
	turn_soon(slot->program);
	if (rc == HALIBUT_OK)
		hbt_svc_call_answer(call, &answer);
	else
		hbt_svc_call_answer_error(call, &err);
	hbt_svc_answer_fini(&answer);
	halibut_error_clear(&err);
}

/* First in the queue again: it was not seen by the process it was given. */
static void put_back(struct hbt_svc_slot *slot)
{
	struct hbt_svc_call *call = take_call(slot);
	struct hbt_svc_program *p = slot->program;

	call->state = CALL_WAITING;
	TAILQ_INSERT_HEAD(&p->waiting, call, wait_link);
	p->svc->waiting_bytes += call->message->deflated_len;
	start_timer(call->timer, p->cfg.timeout_ms);
}

static void slot_free(struct hbt_svc_slot *slot)
{
	TAILQ_REMOVE(&slot->program->slots, slot, link);
	slot->program->n_slots--;
	hbt_svc_process_free(&slot->process);
	free(slot);
}

static void blame_silent(struct hbt_svc_slot *slot, const char *how)
{
	char *what;

	if (asprintf(&what, "ended before it answered the call: it %s", how) <
	    0)
		what = NULL;
	blame(slot, or_empty(what), NULL);
	free(what);
}

static void on_gone(void *arg, const char *how, bool ok)
{
	struct hbt_svc_slot *slot = arg;
	struct hbt_svc_program *p = slot->program;

	/* A program may leave between two calls. One that never answered
	 * would have the call go round for ever. */
	if (slot->call != NULL && slot->proven &&
	    hbt_svc_process_unread(slot->process))
		put_back(slot);
	if (slot->call != NULL)
		blame_silent(slot, how);
	else if (!ok && !slot->blamed)
		blame(slot, how, NULL);
	else if (!slot->blamed)
		log_debug("service program \"%s\" of %s (pid %ld) %s",
		          p->cfg.command, p->cfg.service,
		          (long)hbt_svc_process_pid(slot->process), how);
	slot_free(slot);
	turn_soon(p);
}

static const struct hbt_svc_process_ops process_ops = {
	.line = on_line,
	.broken = on_broken,
	.gone = on_gone,
};

static struct hbt_svc_slot *start_process(struct hbt_svc_program *p)
{
	struct hbt_svc_process_spec spec = {
		.argv = p->argv,
		.service = p->cfg.service,
		.node = p->svc->settings.node,
		.directory = p->cfg.directory,
		.max_memory_bytes = p->cfg.max_memory_bytes,
	};
	struct hbt_svc_slot *slot = calloc(1, sizeof(*slot));

	if (slot == NULL)
		return NULL;
	slot->program = p;
	slot->usable = true;
	if (hbt_svc_process_start(&slot->process, p->svc->base, &spec,
	                          &process_ops, slot) != HALIBUT_OK) {
		free(slot);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&p->slots, slot, link);
	p->n_slots++;
	log_debug("started service program \"%s\" of %s (pid %ld)",
	          p->cfg.command, p->cfg.service,
	          (long)hbt_svc_process_pid(slot->process));
	return slot;
}

/* Calls */

static void unqueue(struct hbt_svc_call *call)
{
	TAILQ_REMOVE(&call->program->waiting, call, wait_link);
	call->svc->waiting_bytes -= call->message->deflated_len;
	event_del(call->timer);
}

static void run_call(struct hbt_svc_slot *slot, struct hbt_svc_call *call)
{
	struct hbt_svc_program *p = slot->program;
	struct hbt_svc_request request = {
		.message = call->message,
		.files = call->intake != NULL
		                 ? hbt_svc_intake_files(call->intake)
		                 : NULL,
		.directory = hbt_svc_dir_path(call->dir),
		.id = call->number,
		.max_message_bytes = p->svc->settings.limits.max_message_bytes,
	};
	struct halibut_error err = {0};
	char *line = NULL;
	size_t len = 0;
	int rc;

	unqueue(call);
	call->state = CALL_RUNNING;
	rc = hbt_svc_request_line(&request, &line, &len, &err);
	if (rc == HALIBUT_OK) {
		rc = hbt_svc_process_send(slot->process, line, len);
		if (rc != HALIBUT_OK)
			hbt_error_set(&err, rc, "The node that hosts the "
			                        "service has no memory left "
			                        "for the call.");
	}
	if (rc != HALIBUT_OK) {
		hbt_svc_call_answer_error(call, &err);
		halibut_error_clear(&err);
		return;
	}
	call->slot = slot;
	slot->call = call;
	start_timer(call->timer, p->cfg.timeout_ms);
}

static struct hbt_svc_slot *idle_slot(struct hbt_svc_program *p)
{
	struct hbt_svc_slot *slot;

	TAILQ_FOREACH(slot, &p->slots, link)
	{
		if (slot->usable && slot->call == NULL)
			return slot;
	}
	return NULL;
}

/* The machine is short of something. One caller learns of it, the others
 * wait for the next attempt. */
static void start_failed(struct hbt_svc_program *p, struct hbt_svc_call *call)
{
	struct halibut_error err = {0};

	log_error("cannot start service program \"%s\" of %s: out of memory, "
	          "processes or descriptors",
	          p->cfg.command, p->cfg.service);
	hbt_svc_invocation_error(&err, NULL,
	                         "The node that hosts the service cannot "
	                         "start its program \"%s\": it is out of "
	                         "memory, processes or descriptors.",
	                         p->cfg.command);
	p->not_before_ms = hbt_now_ms() + SVC_RESTART_MIN_MS;
	hbt_svc_call_answer_error(call, &err);
	halibut_error_clear(&err);
}

static void program_free(struct hbt_svc_program *p)
{
	struct hbt_svc_slot *slot;

	while ((slot = TAILQ_FIRST(&p->slots)) != NULL) {
		take_call(slot);
		slot_free(slot);
	}
	TAILQ_REMOVE(&p->svc->programs, p, link);
	if (p->turn != NULL)
		event_free(p->turn);
	halibut_error_clear(&p->refused);
	hbt_program_fini(&p->cfg);
	free(p->argv);
	free(p);
}

/* A retired program without calls: its processes may go, then itself. */
static void leave(struct hbt_svc_program *p)
{
	struct hbt_svc_slot *slot;

	TAILQ_FOREACH(slot, &p->slots, link)
	{
		if (!slot->usable)
			continue;
		slot->usable = false;
		slot->blamed = true;
		hbt_svc_process_close(slot->process);
	}
	if (p->n_slots == 0) {
		struct hbt_svc *svc = p->svc;

		program_free(p);
		hbt_svc_look_around(svc);
	}
}

/* The one place where calls meet processes. */
static void on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_svc_program *p = arg;
	struct hbt_svc_call *call;

	(void)fd;
	(void)what;
	while ((call = TAILQ_FIRST(&p->waiting)) != NULL) {
		struct hbt_svc_slot *slot = idle_slot(p);
		int64_t now = hbt_now_ms();

		if (slot == NULL && p->n_slots >= p->cfg.processes)
			break;
		if (slot == NULL && now < p->not_before_ms) {
			start_timer(p->turn, p->not_before_ms - now);
			break;
		}
		if (slot == NULL && (slot = start_process(p)) == NULL) {
			start_failed(p, call);
			continue;
		}
		run_call(slot, call);
	}
	if (p->retired && p->n_calls == 0)
		leave(p);
}

static void on_call_timer(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_svc_call *call = arg;
	struct hbt_svc_program *p = call->program;
	struct halibut_error err = {0};

	(void)fd;
	(void)what;
	if (call->state == CALL_WAITING) {
		hbt_svc_invocation_error(
			&err, NULL,
			"No process of the service program \"%s\" of %s was "
			"free within %u ms. Allow it more processes.",
			p->cfg.command, p->cfg.service, p->cfg.timeout_ms);
	} else {
		char *who = describe(call->slot);

		hbt_svc_invocation_error(
			&err, NULL,
			"%s did not answer within %u ms and was stopped. If "
			"its calls may take longer, raise the service's "
			"timeout.",
			or_empty(who), p->cfg.timeout_ms);
		free(who);
		hbt_svc_program_stop(call);
	}
	log_warning("%s", err.message);
	hbt_svc_call_answer_error(call, &err);
	halibut_error_clear(&err);
}

static struct hbt_svc_program *find_program(struct hbt_svc *svc,
                                            const char *service)
{
	struct hbt_svc_program *p;

	TAILQ_FOREACH(p, &svc->programs, link)
	{
		if (!p->retired && strcasecmp(p->cfg.service, service) == 0)
			return p;
	}
	return NULL;
}

int hbt_svc_program_admit(struct hbt_svc_call *call, struct halibut_error *err)
{
	struct hbt_svc *svc = call->svc;
	const char *service = or_empty(call->message->env.service);
	struct hbt_svc_program *p = find_program(svc, service);

	if (p == NULL)
		return hbt_error_set(err, HALIBUT_ESERVICE_NOT_FOUND,
		                     "Service not found: %s", service);
	if (p->argv == NULL) {
		hbt_error_copy(err, &p->refused);
		return err->status;
	}
	if (p->n_calls >= p->cfg.processes + SVC_MAX_WAITING ||
	    svc->waiting_bytes > SVC_MAX_WAITING_BYTES)
		return hbt_svc_invocation_error(
			err, NULL,
			"The service program \"%s\" of %s is busy: %u calls "
			"wait for it already. Allow it more processes.",
			p->cfg.command, p->cfg.service, p->n_calls);
	call->timer = event_new(svc->base, -1, 0, on_call_timer, call);
	if (call->timer == NULL)
		return hbt_error_set(err, HALIBUT_ENOMEM,
		                     "The node that hosts the service has no "
		                     "memory left for the call.");
	call->program = p;
	p->n_calls++;
	return HALIBUT_OK;
}

void hbt_svc_program_submit(struct hbt_svc_call *call)
{
	struct hbt_svc_program *p = call->program;

	call->state = CALL_WAITING;
	TAILQ_INSERT_TAIL(&p->waiting, call, wait_link);
	p->svc->waiting_bytes += call->message->deflated_len;
	start_timer(call->timer, p->cfg.timeout_ms);
	turn_soon(p);
}

void hbt_svc_program_forget(struct hbt_svc_call *call)
{
	struct hbt_svc_program *p = call->program;

	if (p == NULL)
		return;
	if (call->state == CALL_WAITING)
		unqueue(call);
	if (call->slot != NULL)
		take_call(call->slot);
	call->program = NULL;
	p->n_calls--;
	if (p->retired)
		turn_soon(p);
}

void hbt_svc_program_stop(struct hbt_svc_call *call)
{
	if (call->slot == NULL)
		return;
	/* Its end is our doing: neither news nor a reason to wait. */
	call->slot->usable = false;
	call->slot->blamed = true;
	call->dir_in_use = true;
	hbt_svc_process_kill(call->slot->process);
}

/* The list */

static bool same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool same_program(const struct hbt_program *a,
                         const struct hbt_program *b)
{
	return same_text(a->service, b->service) &&
	       same_text(a->command, b->command) &&
	       same_text(a->directory, b->directory) &&
	       a->processes == b->processes &&
	       a->timeout_ms == b->timeout_ms &&
	       a->max_memory_bytes == b->max_memory_bytes;
}

static void add_program(struct hbt_svc *svc, struct hbt_program *cfg)
{
	struct hbt_svc_program *p = calloc(1, sizeof(*p));

	if (p == NULL ||
	    (p->turn = event_new(svc->base, -1, 0, on_turn, p)) == NULL) {
		log_error("no memory for service %s: its calls will fail",
		          cfg->service);
		free(p);
		return;
	}
	p->svc = svc;
	p->cfg = *cfg;
	memset(cfg, 0, sizeof(*cfg));
	TAILQ_INIT(&p->slots);
	TAILQ_INIT(&p->waiting);
	TAILQ_INSERT_TAIL(&svc->programs, p, link);
	if (hbt_split(p->cfg.command, &p->argv, &p->refused) ==
	    HALIBUT_OK)
		return;
	log_error("service %s: %s", p->cfg.service, p->refused.message);
	hbt_error_prefix(&p->refused, "The service %s is not set up: ",
	                 p->cfg.service);
	p->refused.status = HALIBUT_EREMOTE;
}

/* The program of the old list that goes on as *cfg, or NULL. */
static struct hbt_svc_program *kept_program(struct hbt_svc *svc,
                                            const struct hbt_program *cfg)
{
	struct hbt_svc_program *p;

	TAILQ_FOREACH(p, &svc->programs, link)
	{
		if (same_program(&p->cfg, cfg))
			return p;
	}
	return NULL;
}

static void set_defaults(struct hbt_program *cfg)
{
	if (cfg->processes == 0)
		cfg->processes = 1;
	if (cfg->timeout_ms == 0)
		cfg->timeout_ms = SVC_DEFAULT_TIMEOUT_MS;
}

void hbt_svc_programs_set(struct hbt_svc *svc, struct hbt_program *list,
                          size_t n)
{
	hbt_svc_programs_retire(svc);
	for (size_t i = 0; i < n; i++) {
		struct hbt_svc_program *p;

		set_defaults(&list[i]);
		if (find_program(svc, list[i].service) != NULL) {
			log_error("service %s is there twice: the second "
			          "program \"%s\" is not used",
			          list[i].service, list[i].command);
		} else if ((p = kept_program(svc, &list[i])) != NULL) {
			p->retired = false;
			event_del(p->turn);
			turn_soon(p);
		} else {
			add_program(svc, &list[i]);
		}
		hbt_program_fini(&list[i]);
	}
}

void hbt_svc_programs_retire(struct hbt_svc *svc)
{
	struct hbt_svc_program *p;

	TAILQ_FOREACH(p, &svc->programs, link)
	{
		p->retired = true;
		turn_soon(p);
	}
}

void hbt_svc_programs_kill(struct hbt_svc *svc)
{
	struct hbt_svc_program *p;
	struct hbt_svc_slot *slot;

	hbt_svc_programs_retire(svc);
	TAILQ_FOREACH(p, &svc->programs, link)
	{
		TAILQ_FOREACH(slot, &p->slots, link)
		{
			slot->usable = false;
			slot->blamed = true;
			hbt_svc_process_kill(slot->process);
		}
	}
}

void hbt_svc_programs_reap(struct hbt_svc *svc)
{
	struct hbt_svc_program *p;
	struct hbt_svc_slot *slot, *next;

	/* Programs are only freed in a turn of their own. */
	TAILQ_FOREACH(p, &svc->programs, link)
	{
		for (slot = TAILQ_FIRST(&p->slots); slot != NULL; slot = next) {
			next = TAILQ_NEXT(slot, link);
			hbt_svc_process_reap(slot->process);
		}
	}
}

void hbt_svc_programs_free(struct hbt_svc *svc)
{
	struct hbt_svc_program *p;

	while ((p = TAILQ_FIRST(&svc->programs)) != NULL)
		program_free(p);
}
