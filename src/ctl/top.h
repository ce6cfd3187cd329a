/* What halibutctl top shows, without the terminal: samples of a gateway. */
#ifndef HBT_CTL_TOP_H
#define HBT_CTL_TOP_H

#include "ctl/list.h"

/* A table that top can show. */
struct hbt_ctl_top_view {
	const char *name;
	const char *path; /* of the document */
	const char *state; /* its parameter; NULL: none */
	const char *part; /* the array's name */
	const struct hbt_ctl_column *columns;
	const char *const *sorts; /* NULL: all columns */
	const char *sort; /* the field, at first */
};
extern const struct hbt_ctl_top_view hbt_ctl_top_views[];
extern const size_t hbt_ctl_top_n_views;

/* What a gateway had done by a moment, and what it was like then. */
struct hbt_ctl_top_counts {
	int64_t now; /* 0: nothing is known */
	int64_t calls, failed, refused, bytes_in, bytes_out, cpu_us;
	int64_t in_flight, waiting, connections, resident_bytes;
};

struct hbt_ctl_top {
	struct hbt_ctl_gateway g;
	const struct hbt_ctl_top_view *view;
	const char *sort; /* a field */
	bool reversed;
	char *where; /* FIELD=PATTERN; NULL: all rows */
	size_t offset;

	struct hbt_ctl_top_counts counts, before;
	json_t *node; /* /varz */
	json_t *doc;  /* of the view; NULL: error says why */
	char *error;  /* of the last sample; malloced */
	int exit_code; /* what the error means */
};

/* Another one; of the view as many rows as limit says. */
void hbt_ctl_top_sample(struct hbt_ctl_top *t, size_t limit);
/* A second, of what grew between the last two samples. */
double hbt_ctl_top_rate(const struct hbt_ctl_top *t, int64_t now,
                        int64_t before);
/* The last sample as an object. */
json_t *hbt_ctl_top_json(const struct hbt_ctl_top *t);
void hbt_ctl_top_fini(struct hbt_ctl_top *t);

/* The terminal, each interval_ms anew, until q. Returns the exit code. */
int hbt_ctl_top_screen(struct hbt_ctl_top *t, int64_t interval_ms);

#endif
