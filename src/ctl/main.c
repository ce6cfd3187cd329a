/* halibutctl: the operator's hand on Halibut. Finds the command, runs it. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include "ctl/ctl.h"

static const struct hbt_ctl_command *const commands[] = {
	&hbt_ctl_call,
	&hbt_ctl_cert,
	&hbt_ctl_ping,
	/* What is, … */
	&hbt_ctl_status,
	&hbt_ctl_top,
	&hbt_ctl_health,
	&hbt_ctl_connections,
	&hbt_ctl_subscriptions,
	&hbt_ctl_calls,
	&hbt_ctl_refused,
	&hbt_ctl_log,
	/* … and what shall be. */
	&hbt_ctl_trust,
	&hbt_ctl_kick,
	&hbt_ctl_config,
	&hbt_ctl_reload,
	&hbt_ctl_drain,
	&hbt_ctl_undrain,
	&hbt_ctl_shutdown,
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void print_help(FILE *f)
{
	fprintf(f, "Usage: halibutctl COMMAND [OPTION...]\n\n"
	           "Commands:\n");
	for (size_t i = 0; i < N_COMMANDS; i++)
		fprintf(f, "  %-14s %s\n", commands[i]->name,
		        commands[i]->summary);
	fputs("\n`halibutctl COMMAND --help` teaches each by example;\n"
	      "`halibutctl --version` prints the version.\n\n"
	      "Exit codes:\n"
	      "  0  success\n"
	      "  1  the service answered with an error\n"
	      "  2  the command line is wrong\n"
	      "  3  the endpoint cannot be reached, or no route leads there\n"
	      "  4  too late: --timeout passed, or nobody collected it\n"
	      "  5  TLS, certificate or trust\n"
	      "  6  the peer broke the protocol\n"
	      "  7  cancelled\n"
	      "  8  no gateway at the control socket\n"
	      "  9  the connection or a process of the gateway ended on the way\n"
	      "  10 this machine: memory, disk, descriptors, a limit\n",
	      f);
}

static const struct hbt_ctl_command *find(const char *name)
{
	for (size_t i = 0; i < N_COMMANDS; i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

/* --help means the same wherever it stands before a "--". */
static bool wants_help(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--help") == 0 ||
		    strcmp(argv[i], "-h") == 0)
			return true;
	return false;
}

int main(int argc, char **argv)
{
	const struct hbt_ctl_command *command;

	/* A reader that goes away shows as an error of write(). */
	signal(SIGPIPE, SIG_IGN);
	if (argc < 2) {
		print_help(stderr);
		return HBT_EXIT_USAGE;
	}
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		puts("halibutctl " HBT_VERSION);
		return HBT_EXIT_OK;
	}
	if (strcmp(argv[1], "help") == 0 && argc > 2 &&
	    (command = find(argv[2])) != NULL) {
		fputs(command->help, stdout);
		return HBT_EXIT_OK;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    strcmp(argv[1], "help") == 0) {
		print_help(stdout);
		return HBT_EXIT_OK;
	}
	if ((command = find(argv[1])) == NULL)
		return hbt_ctl_misuse(NULL, "there is no command \"%s\"",
		                      argv[1]);
	if (wants_help(argc - 1, argv + 1)) {
		fputs(command->help, stdout);
		return HBT_EXIT_OK;
	}
	return command->run(argc - 1, argv + 1);
}
