#!/usr/bin/env python3
"""halibutctl top in a terminal that this test plays, and without one."""
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import threading
import time

from gateway import BUILD, PATIENCE, Node, Poller, ctl, echo_first, main


class Terminal:
    def __init__(self, *args, columns=100, lines=24):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ,
                    struct.pack("HHHH", lines, columns, 0, 0))
        self.process = subprocess.Popen(
            [os.path.join(BUILD, "halibutctl"), "top", *args], stdin=slave,
            stdout=slave, stderr=slave, start_new_session=True,
            env={**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8"})
        os.close(slave)
        self.seen = ""

    def press(self, key, redraw=True):
        """What is drawn afterwards is drawn whole: Ctrl-L."""
        self.seen = ""
        os.write(self.master, key.encode() + b"\x0c" * redraw)

    def wait(self, *patterns):
        """Until each was drawn since the last key."""
        end = time.monotonic() + PATIENCE
        while not all(re.search(p, self.seen) for p in patterns):
            left = end - time.monotonic()
            assert left > 0 and select.select([self.master], [], [], left)[0], \
                f"no {patterns} in {self.seen!r}"
            self.seen += os.read(self.master, 65536).decode(errors="replace")

    def end(self):
        """The exit code. What is still drawn is read, or it would wait."""
        end = time.monotonic() + PATIENCE
        while select.select([self.master], [], [],
                            max(0, end - time.monotonic()))[0]:
            try:
                if not os.read(self.master, 65536):
                    break
            except OSError:
                break
        os.close(self.master)
        return self.process.wait(PATIENCE)


def node_with_pollers():
    node = Node()
    for name in ("web1", "web2"):
        Poller(node, f"poll://{name}/").serve(echo_first)
        node.wait_idle_poller(f"poll://{name}/")
    return node


def test_lists_are_shown_sorted_and_filtered_by_keys():
    node = node_with_pollers()
    t = Terminal("--socket", node.control, "--interval", "200ms")
    t.wait("running, up", "calls 0.0/s", "subscriptions by waiting",
           "poll://web1/", "poll://web2/", "q quit")
    t.press("2")
    t.wait("connections by bytes_in", "subscriber")
    t.press("s")
    t.wait("connections by bytes_out")
    t.press("4")
    t.wait("workers by kind", "master", "connection", "MEMORY")
    t.press("s")
    t.wait("workers by index")
    t.press("1")
    t.wait("subscriptions by waiting")
    t.press("/", redraw=False)
    t.wait("FIELD=PATTERN")
    t.press("uri=*web2*\r")
    t.wait("where uri=\\*web2\\*", "1 subscriptions")
    t.press("/", redraw=False)
    t.wait("FIELD=PATTERN")
    t.press("nonsense=1\r")
    t.wait("no parameter .nonsense.")
    t.press("q", redraw=False)
    assert t.end() == 0
    node.stop()


def test_it_goes_on_when_the_gateway_comes_and_goes():
    node = node_with_pollers()
    t = Terminal("--socket", node.control, "--interval", "100ms")
    t.wait("subscriptions by waiting")
    t.seen = ""
    node.stop()
    t.wait("no gateway at the control socket|hung up")
    t.press("q", redraw=False)
    assert t.end() == 0


def test_it_ends_with_its_terminal():
    node = node_with_pollers()
    t = Terminal("--socket", node.control, "--interval", "100ms")
    t.wait("subscriptions by waiting")
    os.close(t.master)
    assert t.process.wait(PATIENCE) in (0, -signal.SIGHUP), t.process.returncode
    node.stop()


def test_without_a_terminal_it_says_what_to_do_instead():
    done = ctl("top")
    assert done.returncode == 2 and b"--json" in done.stderr, done
    done = ctl("top", "--json", "--socket", "/nonexistent/control")
    assert done.returncode == 8, done


def test_lines_of_json_have_rates_and_rows():
    node = node_with_pollers()
    over = threading.Event()

    def call():
        while not over.is_set():
            node.call("poll://web1/", "IEcho", "Echo", "1")
    caller = threading.Thread(target=call)
    caller.start()
    done = ctl("top", "--json", "--count", "3", "--interval", "500ms",
               "--socket", node.control, "--sort", "collected")
    over.set()
    caller.join()
    assert done.returncode == 0, done
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 3 and lines[0]["calls_per_s"] == 0
    assert any(line["calls_per_s"] > 0 for line in lines[1:]), lines
    assert any(line["bytes_in_per_s"] > 0 for line in lines[1:]), lines
    assert lines[2]["connections"] == 2 and lines[2]["state"] == "running"
    assert any(line["cpu_percent"] > 0 for line in lines[1:]), lines
    assert lines[2]["rows"][0]["uri"] == "poll://web1/"
    node.stop()


if __name__ == "__main__":
    main([v for k, v in list(globals().items()) if k.startswith("test_")])
