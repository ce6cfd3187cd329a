/* /: for a person who looks around. */
#include "documents.h"

#include <string.h>

static const char head[] =
	"<!DOCTYPE html>\n"
	"<html lang=\"en\"><head><meta charset=\"utf-8\">"
	"<title>halibutd</title>\n"
	"<style>body{font:15px/1.5 sans-serif;margin:2em auto;max-width:50em;"
	"padding:0 1em}td{padding:.2em 1.5em .2em 0;vertical-align:top}"
	"</style></head>\n"
	"<body><h1>halibutd " HBT_VERSION "</h1>\n";

static void put_escaped(struct evbuffer *out, const char *text)
{
	for (; *text != '\0'; text++)
		if (strchr("&<>\"", *text) != NULL)
			evbuffer_add_printf(out, "&#%d;", *text);
		else
			evbuffer_add(out, text, 1);
}

static bool open_index(struct request *rq)
{
	request_begin(rq, 200, "text/html; charset=utf-8");
	return true;
}

static enum request_piece more(struct request *rq, struct evbuffer *out)
{
	const struct document *doc;

	evbuffer_add(out, head, strlen(head));
	evbuffer_add_printf(out, "<p>Node <b>");
	put_escaped(out, rq->w->settings.node);
	evbuffer_add_printf(out, "</b>. What is shown here changes nothing; "
	                         "<code>halibutctl</code> does.</p>\n<table>\n");
	for (size_t i = 1; (doc = documents_at(i)) != NULL; i++)
		evbuffer_add_printf(out,
		                    "<tr><td><a href=\"%s\">%s</a></td>"
		                    "<td>%s</td></tr>\n",
		                    doc->path, doc->path, doc->summary);
	evbuffer_add_printf(
		out, "</table>\n<p>Lists take <code>?offset=</code>, "
		     "<code>?limit=</code>, <code>?sort=COLUMN</code> "
		     "(<code>-COLUMN</code>: the other way round) and "
		     "<code>?COLUMN=VALUE</code>, in which * stands for "
		     "anything.</p>\n</body></html>\n");
	return REQUEST_LAST;
}

const struct document document_index = {
	.path = "/",
	.summary = "This page.",
	.open = open_index,
	.more = more,
};
