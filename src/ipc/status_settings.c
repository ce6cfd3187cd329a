#include "ipc/status_settings.h"

#include <stdlib.h>
#include <string.h>
#include "ipc/fields.h"

void hbt_status_settings_put(struct hbt_wr *w,
                             const struct hbt_status_settings *s)
{
	hbt_wr_u32(w, s->max_connections);
	hbt_wr_u32(w, s->timeout_ms);
	hbt_wr_u32(w, s->late_ms);
	hbt_wr_u32(w, s->redis_grace_ms);
	hbt_wr_cstr(w, s->token);
	hbt_wr_cstr(w, s->certificate_pem);
	hbt_wr_cstr(w, s->key_pem);
	hbt_wr_cstr(w, s->client_ca_pem);
}

void hbt_status_settings_get(struct hbt_rd *r, struct hbt_status_settings *s)
{
	s->max_connections = hbt_rd_u32(r);
	s->timeout_ms = hbt_rd_u32(r);
	s->late_ms = hbt_rd_u32(r);
	s->redis_grace_ms = hbt_rd_u32(r);
	s->token = hbt_field_cstr(r);
	s->certificate_pem = hbt_field_cstr(r);
	s->key_pem = hbt_field_cstr(r);
	s->client_ca_pem = hbt_field_cstr(r);
}

static void forget(char **secret)
{
	if (*secret != NULL)
		explicit_bzero(*secret, strlen(*secret));
	free(*secret);
	*secret = NULL;
}

void hbt_status_settings_fini(struct hbt_status_settings *s)
{
	forget(&s->token);
	forget(&s->key_pem);
	free(s->certificate_pem);
	free(s->client_ca_pem);
	memset(s, 0, sizeof(*s));
}
