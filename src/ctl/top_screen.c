/* halibutctl top in a terminal. */
#include <curses.h>
#include <locale.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "ctl/ctl.h"
#include "ctl/top.h"

#define HEAD_LINES 4
#define FOOT_LINES 1

static const char keys[] =
	"1-5 table  s S sort  r reverse  / filter  arrows page  space now  q quit";

/* How many rows fit between the head and the keys, below the column heads. */
static size_t page_rows(void)
{
	int n = LINES - HEAD_LINES - FOOT_LINES - 1;

	return n > 1 ? (size_t)n : 1;
}

static const char *text_of(const json_t *o, const char *name)
{
	const char *text = json_string_value(json_object_get(o, name));

	return text != NULL ? text : "?";
}

static void put_line(int y, const char *text)
{
	mvaddnstr(y, 0, text, -1);
	clrtoeol();
}

static void draw_head(const struct hbt_ctl_top *t)
{
	const struct hbt_ctl_top_counts *n = &t->counts, *b = &t->before;
	char up[32], in[32], out[32], memory[32], line[512];
	json_int_t total;

	hbt_ctl_format_ms(json_integer_value(json_object_get(t->node,
	                                                     "uptime_s")) *
	                          1000,
	                  up);
	hbt_ctl_format_bytes((int64_t)hbt_ctl_top_rate(t, n->bytes_in,
	                                               b->bytes_in),
	                     in);
	hbt_ctl_format_bytes((int64_t)hbt_ctl_top_rate(t, n->bytes_out,
	                                               b->bytes_out),
	                     out);
	hbt_ctl_format_bytes(n->resident_bytes, memory);
	snprintf(line, sizeof(line),
	         "halibutd %s on %s: %s, up %s, CPU %.1f %%, memory %s",
	         text_of(t->node, "version"), text_of(t->node, "node"),
	         text_of(t->node, "state"), up,
	         hbt_ctl_top_rate(t, n->cpu_us, b->cpu_us) / 10000, memory);
	put_line(0, line);
	snprintf(line, sizeof(line),
	         "calls %.1f/s, failed %.1f/s, %lld in flight, %lld waiting; "
	         "%lld connections, refused %.1f/s; in %s/s, out %s/s",
	         hbt_ctl_top_rate(t, n->calls, b->calls),
	         hbt_ctl_top_rate(t, n->failed, b->failed),
	         (long long)n->in_flight, (long long)n->waiting,
	         (long long)n->connections,
	         hbt_ctl_top_rate(t, n->refused, b->refused), in, out);
	put_line(1, line);
	snprintf(line, sizeof(line), "total_%s", t->view->part);
	total = json_integer_value(json_object_get(t->doc, line));
	snprintf(line, sizeof(line), "%lld %s by %s%s%s%s",
	         (long long)total, t->view->name, t->sort,
	         t->reversed ? ", reversed" : "",
	         t->where != NULL ? ", where " : "",
	         t->where != NULL ? t->where : "");
	put_line(2, line);
}

/* Lines of the table go to the screen, one below the other. */
struct pen {
	int y;
};

static void draw_line(void *arg, const char *line)
{
	struct pen *pen = arg;

	if (pen->y >= LINES - FOOT_LINES)
		return;
	if (pen->y == HEAD_LINES)
		attron(A_REVERSE);
	put_line(pen->y, line);
	attroff(A_REVERSE);
	pen->y++;
}

static void draw(const struct hbt_ctl_top *t)
{
	struct pen pen = {.y = HEAD_LINES};
	struct hbt_ctl_table table;

	erase();
	draw_head(t);
	if (t->error != NULL) {
		attron(A_BOLD);
		put_line(3, t->error);
		attroff(A_BOLD);
	}
	hbt_ctl_list_fill(&table, t->view->columns,
	                  json_object_get(t->doc, t->view->part),
	                  hbt_ctl_moment(json_object_get(t->doc, "now")));
	hbt_ctl_table_lines(&table, (size_t)COLS, draw_line, &pen);
	hbt_ctl_table_fini(&table);
	put_line(LINES - 1, keys);
	refresh();
}

static void show(struct hbt_ctl_top *t, const struct hbt_ctl_top_view *view)
{
	t->view = view;
	t->sort = view->sort;
	t->reversed = false;
	t->offset = 0;
	free(t->where); /* its field is one of the other table */
	t->where = NULL;
}

static const char *sort_at(const struct hbt_ctl_top_view *view, int i)
{
	return view->sorts != NULL ? view->sorts[i] : view->columns[i].field;
}

/* Another column to sort by. */
static void turn_sort(struct hbt_ctl_top *t, int step)
{
	int n = 0, at = 0;

	for (; sort_at(t->view, n) != NULL; n++)
		if (strcmp(sort_at(t->view, n), t->sort) == 0)
			at = n;
	t->sort = sort_at(t->view, (at + step + n) % n);
	t->offset = 0;
}

static void ask_filter(struct hbt_ctl_top *t)
{
	char text[200] = "";

	put_line(LINES - 1, "FIELD=PATTERN, or nothing: ");
	timeout(-1);
	echo();
	curs_set(1);
	getnstr(text, sizeof(text) - 1);
	noecho();
	curs_set(0);
	free(t->where);
	t->where = strchr(text, '=') != NULL ? strdup(text) : NULL;
	t->offset = 0;
}

static void scroll_by(struct hbt_ctl_top *t, long rows)
{
	size_t shown = json_array_size(json_object_get(t->doc, t->view->part));

	if (rows < 0 && t->offset < (size_t)-rows)
		t->offset = 0;
	else if (rows < 0 || shown == page_rows())
		t->offset += (size_t)rows;
}

/* False: that was the last key. */
static bool obey(struct hbt_ctl_top *t, int key)
{
	if (key >= '1' && key < '1' + (int)hbt_ctl_top_n_views)
		show(t, &hbt_ctl_top_views[key - '1']);
	switch (key) {
	case 'q':
		return false;
	case 's':
		turn_sort(t, 1);
		break;
	case 'S':
		turn_sort(t, -1);
		break;
	case 'r':
		t->reversed = !t->reversed;
		break;
	case '/':
		ask_filter(t);
		break;
	case '\f': /* Ctrl-L: somebody else wrote here */
		clearok(stdscr, TRUE);
		break;
	case '\t':
		show(t, &hbt_ctl_top_views[(size_t)(t->view -
		                                    hbt_ctl_top_views + 1) %
		                           hbt_ctl_top_n_views]);
		break;
	case KEY_DOWN:
		scroll_by(t, 1);
		break;
	case KEY_UP:
		scroll_by(t, -1);
		break;
	case KEY_NPAGE:
		scroll_by(t, (long)page_rows());
		break;
	case KEY_PPAGE:
		scroll_by(t, -(long)page_rows());
		break;
	case KEY_HOME:
		t->offset = 0;
		break;
	default:
		break;
	}
	return true;
}

/* A key; ERR when there was none for so long; 0 when the terminal is gone,
 * which getch() tells at once, and again and again. */
static int await_key(int64_t ms)
{
	struct pollfd terminal = {.fd = STDIN_FILENO, .events = POLLIN};
	int key;

	timeout((int)ms);
	key = getch();
	if (key != ERR || poll(&terminal, 1, 0) <= 0)
		return key;
	if (terminal.revents & (POLLHUP | POLLERR | POLLNVAL))
		return 0;
	timeout(0); /* one came in this moment, or this is the end */
	key = getch();
	return key != ERR ? key : 0;
}

int hbt_ctl_top_screen(struct hbt_ctl_top *t, int64_t interval_ms)
{
	int key;

	setlocale(LC_ALL, "");
	if (initscr() == NULL) {
		fputs("halibutctl: this terminal is unknown; TERM says which "
		      "one it is\n",
		      stderr);
		return HBT_EXIT_MACHINE;
	}
	cbreak();
	noecho();
	keypad(stdscr, TRUE);
	curs_set(0);
	do {
		hbt_ctl_top_sample(t, page_rows());
		draw(t);
		key = await_key(interval_ms);
	} while (key == ERR || (key != 0 && obey(t, key)));
	endwin();
	return HBT_EXIT_OK;
}
