/* halibut_poll: some pollers with one subscription. */
#include <stdlib.h>
#include <string.h>

#include "base/uri.h"
#include "runtime/runtime.h"

enum { MOST_CONNECTIONS = 1024 };

int halibut_poll(struct halibut_polling **out, struct halibut_runtime *rt,
                 const struct halibut_endpoint *server,
                 const char *subscription, unsigned connections,
                 struct halibut_error *err)
{
	struct halibut_polling *p;
	char *key = hbt_uri_key(subscription, true);
	int rc = 0;

	if (out != NULL)
		*out = NULL;
	/* Only https has a certificate to insist on. */
	if (strncmp(server->e.key, "https:", 6) != 0) {
		free(key);
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "%s cannot be polled: the server is given "
		                     "as https://host:port/",
		                     server->e.url);
	}
	if (key == NULL || connections == 0 || connections > MOST_CONNECTIONS) {
		free(key);
		return hbt_error_set(err, HALIBUT_EINVAL,
		                     "polling needs a subscription like "
		                     "poll://name/ and 1 to %d connections",
		                     MOST_CONNECTIONS);
	}
	if ((p = calloc(1, sizeof(*p))) != NULL)
		p->pollers = calloc(connections, sizeof(*p->pollers));
	if (p == NULL || p->pollers == NULL) {
		free(p);
		free(key);
		return hbt_error_set(err, HALIBUT_ENOMEM, "out of memory");
	}
	p->rt = rt;
	LIST_INSERT_HEAD(&rt->pollings, p, link);
	for (unsigned i = 0; i < connections && rc == 0; i++) {
		rc = hbt_poller_new(&p->pollers[i], &rt->env, rt->dns, rt->tls,
		                    &server->e, key, &hbt_service_inlet_ops,
		                    rt);
		p->n = i + 1;
	}
	free(key);
	if (rc != 0) {
		halibut_poll_stop(&p);
		return hbt_error_set(err, rc, "out of memory");
	}
	if (out != NULL)
		*out = p;
	return 0;
}

void halibut_poll_stop(struct halibut_polling **pp)
{
	struct halibut_polling *p = *pp;

	if (p == NULL)
		return;
	*pp = NULL;
	for (unsigned i = 0; i < p->n; i++)
		hbt_poller_free(&p->pollers[i]);
	LIST_REMOVE(p, link);
	free(p->pollers);
	free(p);
}
