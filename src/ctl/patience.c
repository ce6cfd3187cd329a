/* What ends a call early. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "ctl/call.h"
#include "ctl/ctl.h"

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_ctl_patience *p = arg;

	(void)fd;
	(void)what;
	p->timed_out = true;
	p->give_up(p->arg);
}

static void on_signal(evutil_socket_t fd, short what, void *arg)
{
	struct hbt_ctl_patience *p = arg;

	(void)fd;
	(void)what;
	p->interrupted = true;
	event_del(p->interrupt); /* the next one kills */
	event_del(p->terminate);
	p->give_up(p->arg);
}

int hbt_ctl_patience_init(struct hbt_ctl_patience *p, struct event_base *base,
                          int64_t timeout_ms, void (*give_up)(void *arg),
                          void *arg)
{
	struct timeval tv = {.tv_sec = timeout_ms / 1000,
	                     .tv_usec = timeout_ms % 1000 * 1000};

	*p = (struct hbt_ctl_patience){.give_up = give_up, .arg = arg};
	p->timer = evtimer_new(base, on_timer, p);
	p->interrupt = evsignal_new(base, SIGINT, on_signal, p);
	p->terminate = evsignal_new(base, SIGTERM, on_signal, p);
	if (p->timer == NULL || p->interrupt == NULL || p->terminate == NULL ||
	    event_add(p->interrupt, NULL) != 0 ||
	    event_add(p->terminate, NULL) != 0 ||
	    (timeout_ms > 0 && event_add(p->timer, &tv) != 0))
		return HALIBUT_ENOMEM;
	return HALIBUT_OK;
}

void hbt_ctl_patience_fini(struct hbt_ctl_patience *p)
{
	if (p->timer != NULL)
		event_free(p->timer);
	if (p->interrupt != NULL)
		event_free(p->interrupt);
	if (p->terminate != NULL)
		event_free(p->terminate);
	memset(p, 0, sizeof(*p));
}

/* It did not get as far as the service: what finds out why? */
static void add_hint(struct hbt_ctl_call *c)
{
	char *text = c->err.message;
	const char *dot;

	if (text == NULL)
		return;
	dot = text[0] != '\0' && text[strlen(text) - 1] == '.' ? "" : ".";
	c->err.message = NULL;
	if (asprintf(&c->err.message, "%s%s `halibutctl ping %s` may say why",
	             text, dot, c->endpoint) < 0)
		c->err.message = text;
	else
		free(text);
}

void hbt_ctl_patience_explain(const struct hbt_ctl_patience *p,
                              struct hbt_ctl_call *c)
{
	char text[32];

	if (c->err.status == HALIBUT_ENOT_COLLECTED ||
	    (c->err.status == HALIBUT_ECONNECTING_CANCELLED && p->timed_out))
		add_hint(c);
	if (hbt_ctl_exit_code(c->err.status) != HBT_EXIT_CANCELLED)
		return;
	if (p->interrupted) {
		hbt_error_prefix(&c->err, "interrupted: ");
	} else if (p->timed_out) {
		hbt_ctl_format_ms(c->timeout_ms, text);
		hbt_error_prefix(&c->err, "gave up after %s (--timeout): ",
		                 text);
		c->err.status = HALIBUT_ETIMEOUT;
	}
}
