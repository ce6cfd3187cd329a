#!/usr/bin/env python3
"""What bash and zsh offer when somebody presses Tab behind halibutctl."""
import os
import pty
import re
import select
import shutil
import subprocess
import time

from gateway import BUILD, PATIENCE, SRC, Certificate, Node, ctl, main

COMPLETIONS = os.path.join(SRC, "etc/completions")


def environment(node=None):
    return {**os.environ, "PATH": BUILD + ":" + os.environ["PATH"],
            "HALIBUT_CONTROL": node.control if node else "/nonexistent"}


def bash(line, node=None):
    """The words that bash offers at the end of the line."""
    words = line.split(" ")
    quoted = " ".join(f"'{w}'" for w in words)
    script = f"""
        [ ! -e /usr/share/bash-completion/bash_completion ] ||
            . /usr/share/bash-completion/bash_completion
        . {COMPLETIONS}/halibutctl
        complete -p halibutctl >/dev/null || exit 1
        COMP_WORDS=({quoted}) COMP_CWORD={len(words) - 1}
        COMP_LINE='{line}' COMP_POINT={len(line)}
        _halibutctl
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(["bash", "--norc", "-c", script],
                          capture_output=True, timeout=PATIENCE,
                          env=environment(node))
    assert done.returncode == 0 and not done.stderr, done
    return set(done.stdout.decode().split())


def commands():
    text = ctl("--help", check=True).stdout.decode()
    return set(re.findall(r"^  ([a-z]+)  +\w", text, re.M))


def test_commands_are_offered_and_their_beginnings_completed():
    assert commands() < bash("halibutctl "), bash("halibutctl ")
    assert len(commands()) > 12
    assert bash("halibutctl sub") == {"subscriptions"}
    assert bash("halibutctl help rel") == {"reload"}


def test_every_command_offers_all_of_its_options():
    for command in commands():
        text = ctl(command, "--help", check=True).stdout.decode()
        wanted = set(re.findall(r"--[a-z][a-z-]*",
                                text.split("Examples:")[0]))
        offered = bash(f"halibutctl {command} --")
        assert wanted | {"--help"} == offered, (command, wanted ^ offered)
    assert "--timeout" in bash("halibutctl reload --ti")


def test_words_behind_a_command_are_offered():
    assert bash("halibutctl trust ") == {"add", "list", "remove"}
    assert bash("halibutctl cert ") == {"new", "show"}
    assert bash("halibutctl config ch") == {"check"}


def test_files_are_offered_where_files_belong():
    path = Certificate.get("gateway").path
    assert bash(f"halibutctl ping --cert {path[:-4]}") == {path}
    assert bash(f"halibutctl cert show {path[:-4]}") == {path}


def test_names_come_from_the_gateway_that_runs():
    node = Node()
    newcomer = Certificate.get("newcomer").thumbprint
    ctl("trust", "add", newcomer, "--socket", node.control, check=True)
    assert bash("halibutctl trust remove ", node) == {newcomer}
    assert "thumbprint" in bash("halibutctl trust --sort ", node)
    node.stop()


def test_without_a_gateway_nothing_is_offered_and_nothing_is_said():
    assert bash("halibutctl trust remove ") == set()


class Terminal:
    """An interactive zsh."""

    def __init__(self, node=None):
        pid, self.fd = pty.fork()
        if pid == 0:
            os.environ.update(environment(node), TERM="dumb", PS1="> ")
            os.execvp("zsh", ["zsh", "-f", "-i"])
        self.pid = pid
        self.seen = ""

    def say(self, text):
        os.write(self.fd, text.encode())

    def wait(self, *words):
        """Until the words are there, in any order; forgets what was before."""
        end = time.monotonic() + PATIENCE
        while not all(w in self.seen for w in words):
            left = end - time.monotonic()
            assert left > 0, f"no {words} in {self.seen!r}"
            if select.select([self.fd], [], [], left)[0]:
                self.seen += os.read(self.fd, 65536).decode(errors="replace")
        self.seen = ""

    def close(self):
        os.close(self.fd)
        os.waitpid(self.pid, 0)


def test_zsh_offers_the_same():
    if not shutil.which("zsh"):
        print("# zsh is not installed: not tried")
        return
    terminal = Terminal()
    terminal.say(f"fpath=({COMPLETIONS} $fpath); autoload -U compinit; "
                 "compinit -D -u; echo rea''dy\n")
    terminal.wait("ready")
    terminal.say("halibutctl ru\x15halibutctl subs\t")
    terminal.wait("subscriptions ")
    terminal.say("\x15halibutctl trust \t")
    terminal.wait("add", "list", "remove")
    terminal.say("\x15halibutctl reload --ti\t")
    terminal.wait("--timeout ")
    terminal.close()


if __name__ == "__main__":
    main([v for k, v in list(globals().items()) if k.startswith("test_")])
