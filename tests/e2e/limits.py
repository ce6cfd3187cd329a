#!/usr/bin/env python3
"""The limits of a gateway, each reached for real."""
import select
import socket
import ssl
import threading
import time

import halibut_wire as hw
from gateway import (Certificate, Client, Node, Poller, echo_first, main,
                     until)


class Crowd:
    """Many polling services that connect at the same time."""

    def __init__(self, node, count, name="crowd"):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE
        self.context.load_cert_chain(Certificate.get("peer").path)
        self.shaking, self.greeting, self.idle = {}, {}, {}
        self.turned_away = 0
        self.order = []  # of those that were admitted
        for i in range(count):
            s = socket.create_connection(("127.0.0.1", node.port))
            s.setblocking(False)
            s = self.context.wrap_socket(s, do_handshake_on_connect=False)
            self.shaking[s.fileno()] = (s, f"poll://{name}-{i}/", i)

    def begin(self):
        """Says ClientHello on all of them, in their order."""
        for fd in list(self.shaking):
            self.shake(fd)

    def shake(self, fd):
        s, uri, i = self.shaking[fd]
        try:
            s.do_handshake()
            s.send(hw.PREAMBLE + hw.subscriber(uri))
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return
        except (OSError, ssl.SSLError):
            self.turned_away += 1
            s.close()
            del self.shaking[fd]
            return
        self.greeting[fd] = self.shaking.pop(fd)

    def greet(self, fd):
        s, _, i = self.greeting[fd]
        try:
            data = s.recv(100)
        except ssl.SSLWantReadError:
            return
        except (OSError, ssl.SSLError):
            data = b""
        if data == hw.SERVER:
            self.order.append(i)
            self.idle[fd] = self.greeting.pop(fd)
        else:
            assert data == b"", data
            self.turned_away += 1
            s.close()
            del self.greeting[fd]

    def go_on(self):
        """A turn. True when none is under way any more."""
        poll = select.poll()
        for fd in [*self.shaking, *self.greeting]:
            poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll(10):
            if fd in self.greeting:
                self.greet(fd)
            else:
                self.shake(fd)
        return not self.shaking and not self.greeting

    def close(self):
        for some in (self.shaking, self.greeting, self.idle):
            for s, _, _ in some.values():
                s.close()


def counted(node, name):
    """A counter of all workers of the node together."""
    return sum(w.get(name, 0) for w in node.status()["workers"])


def test_a_crowd_waits_in_line_and_is_served_in_order():
    node = Node("max_handshakes = 2\n", workers=1)
    crowd = Crowd(node, 100)
    crowd.begin()
    until(lambda: counted(node, "handshakes_waiting") >= 50,
          "the crowd waits in line")
    until(crowd.go_on, "the crowd is served")
    assert crowd.turned_away == 0
    # Some were at work at the same time while we looked on.
    assert all(abs(i - at) < 40 for at, i in enumerate(crowd.order)), \
        crowd.order
    assert crowd.order[-30:] == list(range(70, 100)), crowd.order
    until(lambda: counted(node, "handshakes_begun") >= 100, "all are counted")
    assert counted(node, "handshakes_waiting") == 0
    crowd.close()
    node.stop()


def test_who_hangs_up_in_line_costs_no_handshake():
    node = Node("max_handshakes = 2\n", workers=1)
    crowd = Crowd(node, 100)
    crowd.begin()
    until(lambda: counted(node, "handshakes_waiting") >= 50, "they wait")
    for fd, (s, _, i) in list(crowd.shaking.items()):
        if 50 <= i < 99:
            s.close()
            del crowd.shaking[fd]
    until(crowd.go_on, "the others are served")
    assert sorted(crowd.order) == [*range(50), 99], crowd.order
    until(lambda: counted(node, "handshakes_given_up") == 49,
          "those who left are counted")
    assert counted(node, "handshakes_begun") == 51
    crowd.close()
    node.stop()


def test_only_so_many_handshakes_begin_a_second():
    node = Node("max_handshakes_per_second = 4\n", workers=1)
    crowd = Crowd(node, 9)
    since = time.monotonic()
    crowd.begin()
    until(crowd.go_on, "all are served")
    took = time.monotonic() - since
    assert took >= 1.9, took  # the first at once, eight in two seconds
    assert crowd.turned_away == 0
    crowd.close()
    node.stop()


def test_connected_machines_notice_little_of_a_crowd():
    node = Node("polling_queue_wait_timeout = 200ms\n")
    Poller(node, "poll://busy/").serve(echo_first)
    quiet = Poller(node, "poll://quiet/")
    node.wait_idle_poller("poll://busy/")
    client = Client(node)
    crowd = Crowd(node, 400)
    crowd.begin()
    calls, silences, over = [], [], threading.Event()

    def call():
        while not over.is_set():
            reply, _ = client.call("poll://busy/", "I", "Echo", len(calls))
            assert reply["result"] == len(calls), reply
            calls.append(time.monotonic())

    def listen():
        while not over.is_set():
            since = time.monotonic()
            document, _ = quiet.message()
            assert document["Message"] is None, document
            silences.append(time.monotonic() - since)
            quiet.next()

    threads = [threading.Thread(target=t) for t in (call, listen)]
    for t in threads:
        t.start()
    until(crowd.go_on, "the crowd is served", patience=120)
    over.set()
    for t in threads:
        t.join(60)
        assert not t.is_alive()
    assert crowd.turned_away == 0
    assert len(calls) >= 5, len(calls)
    print(f"# {len(calls)} calls meanwhile, longest silence of an idle "
          f"machine {max(silences):.3f} s")
    # Without order, all ClientHellos are answered first.
    first = sorted(crowd.order[:200])
    assert sum(i < 300 for i in first) > 150, first
    client.close()
    crowd.close()
    node.stop()


if __name__ == "__main__":
    main([v for k, v in list(globals().items()) if k.startswith("test_")])
