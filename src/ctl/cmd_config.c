/* halibutctl config: the configuration in force, and whether a file is right. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/buf.h"
#include "ctl/ctl.h"
#include "ctl/options.h"

static const char help[] =
	"Usage: halibutctl config show [OPTION...]\n"
	"       halibutctl config check [--online] [OPTION...] [FILE]\n"
	"\n"
	"show prints the configuration that the gateway runs with, in the form\n"
	"of its file: what is as by default stands behind a #, and secrets are\n"
	"hidden. check has halibutd examine a file as at its start (halibutd\n"
	"-t) without touching the running gateway: before a reload. Without\n"
	"FILE it is the file of the running gateway.\n"
	"  --online        check: examine the Redis server as well\n"
	"  --timeout TIME  how long to wait for the gateway (10s)\n"
	"  --json          print an object\n"
	HBT_CTL_GATEWAY_HELP
	"\n"
	"Examples:\n"
	"  halibutctl config show | grep -v '^#'\n"
	"  halibutctl config check && halibutctl reload\n"
	"  halibutctl config check /etc/halibut/halibutd.conf.new\n";

#define DEFAULT_CONFIG HBT_SYSCONFDIR "/halibutd.conf"
#define MOST_OUTPUT ((size_t)1024 * 1024)

enum {
	OPT_ONLINE = 256,
};

static const struct option options[] = {
	HBT_CTL_GATEWAY_OPTIONS,
	{"online", no_argument, NULL, OPT_ONLINE},
	{NULL, 0, NULL, 0},
};

static const char *text_of(const json_t *o, const char *name)
{
	const char *text = json_string_value(json_object_get(o, name));

	return text != NULL ? text : "";
}

/* ---- show ---- */

static bool is_plain(const char *text)
{
	return text[0] != '\0' &&
	       text[strspn(text, "abcdefghijklmnopqrstuvwxyz"
	                         "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")] ==
	               '\0';
}

/* In single quotes libConfuse expands nothing. */
static void print_text(const char *text)
{
	char quote = strpbrk(text, "\"\\$") != NULL ? '\'' : '"';

	putchar(quote);
	for (; *text != '\0'; text++) {
		if (quote == '\'' && (*text == '\'' || *text == '\\'))
			putchar('\\');
		putchar(*text);
	}
	putchar(quote);
}

static void print_value(const json_t *value)
{
	const json_t *item;
	size_t i;

	if (json_is_string(value)) {
		if (is_plain(json_string_value(value)))
			fputs(json_string_value(value), stdout);
		else
			print_text(json_string_value(value));
		return;
	}
	putchar('{');
	json_array_foreach(value, i, item) {
		fputs(i > 0 ? ", " : "", stdout);
		print_text(json_string_value(item));
	}
	putchar('}');
}

static void print_settings(const json_t *list, const char *indent)
{
	const json_t *setting;
	size_t i;

	json_array_foreach(list, i, setting) {
		const json_t *value = json_object_get(setting, "value");
		bool hidden = json_is_true(json_object_get(setting, "secret"));
		bool is_default =
			json_is_true(json_object_get(setting, "default"));

		printf("%s%s%s", indent, hidden || is_default ? "#" : "",
		       text_of(setting, "name"));
		if (json_is_null(value)) {
			puts(" is not set");
			continue;
		}
		fputs(" = ", stdout);
		if (hidden)
			fputs(json_string_value(value), stdout);
		else
			print_value(value);
		putchar('\n');
	}
}

static void print_config(const json_t *doc)
{
	const json_t *section;
	size_t i;

	printf("# In force; the file is %s\n", text_of(doc, "file"));
	print_settings(json_object_get(doc, "settings"), "");
	json_array_foreach(json_object_get(doc, "sections"), i, section) {
		const char *title = json_string_value(
			json_object_get(section, "title"));

		printf("\n%s ", text_of(section, "section"));
		if (title != NULL) {
			print_text(title);
			putchar(' ');
		}
		puts("{");
		print_settings(json_object_get(section, "settings"), "    ");
		puts("}");
	}
}

static int show(const struct hbt_ctl_gateway *g)
{
	struct halibut_error err = {.status = HALIBUT_OK};
	json_t *doc = hbt_ctl_fetch(g, HBT_IPC_CONFIG, HBT_IPC_CONFIG_DOC,
	                            &err);

	if (doc == NULL)
		return hbt_ctl_gateway_failed(&err);
	if (g->json)
		return hbt_ctl_print_json(doc);
	print_config(doc);
	json_decref(doc);
	if (fflush(stdout) == 0)
		return HBT_EXIT_OK;
	fputs("halibutctl: standard output cannot be written\n", stderr);
	return HBT_EXIT_MACHINE;
}

/* ---- check ---- */

/* Beside us, where it was installed, or anywhere in PATH. */
static char *find_halibutd(void)
{
	char self[4096], *path = NULL;
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	self[len > 0 ? len : 0] = '\0';
	slash = strrchr(self, '/');
	if (slash != NULL &&
	    asprintf(&path, "%.*s/halibutd", (int)(slash - self), self) >= 0) {
		if (access(path, X_OK) == 0)
			return path;
		free(path);
	}
	if (access(HBT_SBINDIR "/halibutd", X_OK) == 0)
		return strdup(HBT_SBINDIR "/halibutd");
	return strdup("halibutd");
}

/* The file that the gateway runs with; malloced. */
static char *running_file(const struct hbt_ctl_gateway *g)
{
	struct halibut_error err = {.status = HALIBUT_OK};
	json_t *doc = hbt_ctl_fetch(g, HBT_IPC_CONFIG, HBT_IPC_CONFIG_DOC,
	                            &err);
	char *file = strdup(doc != NULL ? text_of(doc, "file")
	                                : DEFAULT_CONFIG);

	json_decref(doc);
	halibut_error_clear(&err);
	return file;
}

static int read_all(int fd, struct hbt_buf *out)
{
	uint8_t piece[4096];
	ssize_t n;

	while ((n = read(fd, piece, sizeof(piece))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || hbt_buf_append(out, piece, (size_t)n) != 0)
			return -1;
	}
	return hbt_buf_append(out, "", 1);
}

/* Runs it; what it says goes into said. Its wait status, or -1 with errno. */
static int run_halibutd(char *const argv[], struct hbt_buf *said)
{
	posix_spawn_file_actions_t actions;
	int fds[2], status = -1, error;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) != 0)
		return -1;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, fds[1], STDERR_FILENO);
	error = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(fds[1]);
	if (error == 0) {
		if (read_all(fds[0], said) != 0)
			error = ENOMEM;
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
	}
	close(fds[0]);
	errno = error;
	return error == 0 ? status : -1;
}

static int report(const struct hbt_ctl_gateway *g, const char *file, bool right,
                  char *said)
{
	size_t len = strlen(said);

	while (len > 0 && said[len - 1] == '\n')
		said[--len] = '\0';
	if (g->json) {
		json_t *doc = json_pack("{s:s, s:b, s:s}", "file", file,
		                        "right", right, "message", said);

		if (hbt_ctl_print_json(doc) != HBT_EXIT_OK)
			return HBT_EXIT_MACHINE;
	} else {
		fprintf(right ? stdout : stderr, "%s\n", said);
	}
	return right ? HBT_EXIT_OK : HBT_EXIT_USAGE;
}

static int check(const struct hbt_ctl_gateway *g, const char *file, bool online)
{
	char *halibutd = find_halibutd();
	char *own = file == NULL ? running_file(g) : NULL;
	char *argv[] = {halibutd,
	                (char *)"-t",
	                (char *)"-c",
	                file != NULL ? (char *)file : own,
	                (char *)(online ? "--online" : NULL),
	                NULL};
	struct hbt_buf said;
	int status = -1, code = HBT_EXIT_MACHINE;

	hbt_buf_init(&said, MOST_OUTPUT);
	if (halibutd != NULL && argv[3] != NULL)
		status = run_halibutd(argv, &said);
	else
		errno = ENOMEM;
	if (status == -1)
		fprintf(stderr,
		        "halibutctl: %s cannot be started: %s; it examines "
		        "files, and has to be installed here\n",
		        halibutd != NULL ? halibutd : "halibutd",
		        strerror(errno));
	else if (!WIFEXITED(status) || WEXITSTATUS(status) > 2)
		fprintf(stderr, "halibutctl: %s broke down: %s\n", halibutd,
		        (char *)said.data);
	else
		code = report(g, argv[3], WEXITSTATUS(status) == 0,
		              (char *)said.data);
	hbt_buf_fini(&said);
	free(own);
	free(halibutd);
	return code;
}

static int run(int argc, char **argv)
{
	struct hbt_ctl_gateway g = {.timeout_ms = 10000};
	bool online = false;
	const char *what;
	int opt, rc;

	while ((opt = getopt_long(argc, argv, ":", options, NULL)) != -1) {
		if (opt == OPT_ONLINE)
			online = true;
		else if ((rc = hbt_ctl_gateway_option(&g, "config", opt,
		                                      argv)) != 0)
			return rc;
	}
	what = optind < argc ? argv[optind++] : "";
	if (strcmp(what, "show") != 0 && strcmp(what, "check") != 0)
		return hbt_ctl_misuse("config",
		                      "say what to do: show or check");
	if (!hbt_ctl_gateway_ready(&g, "config", argc, argv,
	                           strcmp(what, "check") == 0))
		return HBT_EXIT_USAGE;
	if (strcmp(what, "check") == 0)
		return check(&g, optind < argc ? argv[optind] : NULL, online);
	if (online)
		return hbt_ctl_misuse("config", "--online goes with check");
	return show(&g);
}

const struct hbt_ctl_command hbt_ctl_config = {
	.name = "config",
	.run = run,
	.summary = "show the configuration in force, or check a file",
	.help = help,
};
