#!/usr/bin/env python3
"""Crowds at the status: who reads slowly, or begins and does not go on, takes
what the limits give him, and others are told so or wait their turn.
"""
import http.client
import os
import socket
import ssl

from gateway import (Certificate, ECHO, Node, PATIENCE, ctl, main,
                     sanitized, until)
from status import Answer, get, status_worker, tcp_port

TRUSTED = 8000  # with their comments some 8 MiB as a document


def resident(pid):
    with open(f"/proc/{pid}/status") as f:
        line, = (l for l in f if l.startswith("VmRSS:"))
    return int(line.split()[1]) // 1024


def node_with_long_comments(extra="", **kw):
    node = Node(extra, **kw)
    comment = "x" * 950
    node.write_trust([f"{n:040X} # {comment}" for n in range(TRUSTED)])
    ctl("reload", "--socket", node.control, check=True)
    return node


def who_does_not_read(node, n):
    readers = []
    for _ in range(n):
        s = socket.socket(socket.AF_UNIX)
        s.connect(node.status_socket)
        s.sendall(b"GET /trustz?limit=10000 HTTP/1.1\r\nHost: x\r\n\r\n")
        s.recv(1)  # the answer has begun: all of its rows are chosen
        readers.append(s)
    return readers


def who_asks_for_much_while_slow_readers_hold_all_is_told_to_try_again():
    node = node_with_long_comments("status_max_connections = 100\n"
                                   "status_timeout = 10min\n")
    pid = status_worker(node)
    before = resident(pid)
    readers = who_does_not_read(node, 14)
    refused = []
    for s in readers:
        s.settimeout(PATIENCE)
        if b" 503 " in b"H" + s.recv(200):
            refused.append(s)
    assert 3 <= len(refused) <= 8, len(refused)
    answer = get(node, "/trustz?limit=10000")
    assert answer.status == 503, answer.status
    assert "Try again" in answer.json()["error"], answer.body
    done = ctl("status", "--socket", node.control)
    assert done.returncode == 0, done.stderr
    # What is small is shown.
    assert get(node, "/statusz").status == 200
    assert get(node, "/connz").status == 200
    assert get(node, "/trustz?limit=20").status == 200
    grown = resident(pid) - before
    assert sanitized() or grown < 300, grown
    for s in readers:
        s.close()
    until(lambda: get(node, "/trustz?limit=10000").status == 200,
          "there is room again")
    assert status_worker(node) == pid
    node.stop()


class Crowd:
    """At the TLS port, with and without a certificate that is let in."""

    def __init__(self, port, own, friend):
        self.port = port
        self.context = ssl.create_default_context(cafile=own.path)
        self.context.check_hostname = False
        self.context.load_cert_chain(friend.path)
        self.sockets = []

    def hello(self):
        """What a client says first."""
        ours, out = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self.context.wrap_bio(ours, out)
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return out.read()

    def connect(self):
        s = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        self.sockets.append(s)
        return s

    def half_handshakes(self, n):
        hello = self.hello()
        for i in range(n):
            self.connect().sendall(hello[:len(hello) * (i % 5) // 4])

    def slow_readers(self, n):
        """Those that get in: the others wait in line."""
        for _ in range(n):
            s = self.connect()
            s.settimeout(0.2)
            try:
                tls = self.context.wrap_socket(s)
                self.sockets.append(tls)
                tls.sendall(b"GET /trustz?limit=10000 HTTP/1.1\r\n\r\n")
            except OSError:
                pass

    def is_served(self):
        try:
            return self.ask("/livez").status == 200
        except (OSError, http.client.HTTPException):
            return False  # hung up on, too, if slower than that

    def ask(self, path):
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=PATIENCE, context=self.context)
        try:
            return Answer(connection, path)
        finally:
            connection.close()

    def go(self):
        for s in self.sockets:
            s.close()


def a_crowd_at_the_tls_port_keeps_nobody_else_from_anything():
    own, friend = (Certificate.get("status-" + n) for n in ("own", "friend"))
    node = node_with_long_comments(
        f'status_certificate = "{own.path}"\n'
        f'status_client_ca = "{friend.path}"\nstatus_timeout = 2s\n'
        f'service "IEchoService" {{\n command = "python3 {ECHO}"\n}}\n',
        status=["127.0.0.1:0"])
    pid = status_worker(node)
    before = resident(pid)
    crowd = Crowd(tcp_port(node), own, friend)
    assert crowd.ask("/livez").status == 200
    for _ in range(3):
        crowd.half_handshakes(40)
        crowd.slow_readers(20)
        crowd.half_handshakes(40)
        # At the other socket, for halibutctl, and for calls nothing changes.
        assert get(node, "/livez").status == 200
        assert ctl("status", "--socket", node.control).returncode == 0
        assert node.call("https://any.test/", "IEchoService", "SayHello",
                         '"W"').returncode == 0
    grown = resident(pid) - before
    assert sanitized() or grown < 300, grown
    # They are hung up on one after the other; who waits gets his turn.
    until(crowd.is_served, "somebody's turn")
    crowd.go()
    until(lambda: len(os.listdir(f"/proc/{pid}/fd")) < 20,
          "nothing is left of them")
    assert status_worker(node) == pid
    node.stop()


if __name__ == "__main__":
    main([who_asks_for_much_while_slow_readers_hold_all_is_told_to_try_again,
          a_crowd_at_the_tls_port_keeps_nobody_else_from_anything])
