#!/usr/bin/env python3
"""halibutd as a service of systemd, whose part this test plays: what it is
told, and the sockets that it hands over.
"""
import os
import re
import signal
import socket
import subprocess
import tempfile

import handed_over
from gateway import BUILD, PATIENCE, Client, Node, ctl, main, until


class Service(Node):
    """A node under a service manager: self.told are the fields it got."""

    def __init__(self, watchdog_usec=None, listeners=(), abstract=False):
        self.told = []
        self.listeners = listeners
        self.watchdog_usec = watchdog_usec
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.settimeout(PATIENCE)
        name = tempfile.mktemp(prefix="halibut-notify-")
        self.name = ("@" if abstract else "/tmp/") + os.path.basename(name)
        self.notify.bind(self.name.replace("@", "\0"))
        super().__init__()

    def start(self, log, before=None, more=None):
        env = {**os.environ, "NOTIFY_SOCKET": self.name}
        if self.watchdog_usec:
            env["WATCHDOG_USEC"] = str(self.watchdog_usec)
        halibutd = [os.path.join(BUILD, "halibutd"), "-c", self.conf]
        if not self.listeners:
            return subprocess.Popen(halibutd, stdin=subprocess.DEVNULL,
                                    stdout=log, stderr=log, env=env)
        return handed_over.popen(halibutd, self.listeners, env,
                                 stdin=subprocess.DEVNULL, stdout=log,
                                 stderr=log)

    def hear(self, field):
        """Waits for a message with that field and returns it."""
        while True:
            message = self.notify.recv(4096).decode()
            self.told.append(message)
            if field in message.splitlines():
                return message

    def end(self):
        self.notify.close()
        if self.name[0] == "/":
            os.unlink(self.name)


def test_it_is_ready_once_connections_are_served():
    node = Service()
    node.hear("READY=1")
    Client(node).close()
    node.process.send_signal(signal.SIGHUP)
    assert re.search(r"^MONOTONIC_USEC=\d+$", node.hear("RELOADING=1"), re.M)
    node.hear("READY=1")
    node.write_conf("nonsense = 1\n")
    ctl("reload", "--socket", node.control)
    node.hear("RELOADING=1")
    assert "failed" in node.hear("READY=1")
    node.process.terminate()
    assert "EXTEND_TIMEOUT_USEC=20000000" in node.hear("STOPPING=1")
    assert node.process.wait(PATIENCE) == 0
    node.end()


def test_it_feeds_the_watchdog_while_its_loop_turns():
    node = Service(watchdog_usec=2_000_000, abstract=True)
    node.hear("READY=1")
    node.hear("WATCHDOG=1")
    node.hear("WATCHDOG=1")
    node.stop()
    node.end()


def test_programs_that_it_starts_know_nothing_of_the_notify_socket():
    node = Service(watchdog_usec=30_000_000)
    for pid in node.worker_pids():
        with open(f"/proc/{pid}/environ", "rb") as f:
            names = [x.split(b"=")[0] for x in f.read().split(b"\0")]
        assert not {b"NOTIFY_SOCKET", b"WATCHDOG_USEC"} & set(names), names
    node.stop()
    node.end()


def test_it_serves_sockets_that_are_handed_over_across_a_restart():
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [s.getsockname()[1] for s in listeners]
    node = Service(listeners=listeners)
    assert node.port == ports[0]
    for node.port in ports:
        Client(node).close()
    assert len(re.findall("listening on", node.log())) == 2
    for pid in node.worker_pids():
        links = [os.readlink(f"/proc/{pid}/fd/{fd}")
                 for fd in os.listdir(f"/proc/{pid}/fd")]
        inodes = {f"socket:[{os.fstat(s.fileno()).st_ino}]"
                  for s in listeners}
        assert not inodes & set(links), links
    node.stop()
    waiting = socket.create_connection(("127.0.0.1", ports[1]), PATIENCE)
    with open(node.log_path, "ab") as log:
        node.process = node.start(log)
    until(node.workers_are_ready, "workers are ready")
    Client(node).close()
    waiting.close()
    node.stop()
    node.end()


def test_a_descriptor_that_is_no_listening_socket_ends_the_start():
    node = Node()
    node.stop()
    done = subprocess.run(
        ["bash", "-c", 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$@" 3</dev/null',
         "sh", os.path.join(BUILD, "halibutd"), "-c", node.conf],
        capture_output=True, timeout=PATIENCE)
    assert done.returncode == 1, done
    assert b"halibutd.socket" in done.stderr, done


if __name__ == "__main__":
    main([v for k, v in list(globals().items()) if k.startswith("test_")])
