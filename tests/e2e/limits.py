#!/usr/bin/env python3
"""The limits of a gateway, each reached for real."""
import os
import select
import socket
import ssl
import threading
import time
import zlib

import halibut_wire as hw
from gateway import (Certificate, Client, Closed, Node, Peer, Poller, counted,
                     ctl, echo_first, main, until)


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
    # Two are at work at a time; which of them we hear first is nobody's.
    assert all(abs(i - at) <= 2 for at, i in enumerate(crowd.order)
               if at >= 70), crowd.order
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


def is_refused_before_tls(node, source="127.0.0.1"):
    """Closed without a byte. False: it is accepted, and closed by us."""
    s = socket.create_connection(("127.0.0.1", node.port), 30,
                                 source_address=(source, 0))
    try:
        s.settimeout(0.3)
        return s.recv(1) == b""
    except socket.timeout:
        return False
    except ConnectionError:
        return True
    finally:
        s.close()


def refused_lines(node, setting):
    return [line for line in node.log().splitlines()
            if "connection_refused" in line and setting in line and
            "more like this" not in line]


LINES = 'log_level = "info"\n'  # at debug nothing is left out


def test_a_source_has_only_so_many_connections():
    node = Node(LINES + "max_connections_per_source = 3\n")
    held = [Poller(node, f"poll://held-{i}/") for i in range(3)]
    for _ in range(5):
        assert is_refused_before_tls(node)
    assert not is_refused_before_tls(node, "127.0.0.2")
    held.pop().close()
    until(lambda: not is_refused_before_tls(node), "there is room again")
    lines = refused_lines(node, "max_connections_per_source")
    assert len(lines) == 1, lines
    for p in held:
        p.close()
    node.stop()


def test_sources_without_limits_are_not_counted():
    node = Node("max_connections_per_source = 1\n"
                'unlimited_sources = {"127.0.0.2", "127.0.1.0/24"}\n')
    kept = [socket.create_connection(("127.0.0.1", node.port),
                                     source_address=(a, 0))
            for a in ("127.0.0.1", "127.0.0.2", "127.0.1.7")]
    until(lambda: is_refused_before_tls(node), "one is the limit")
    assert not is_refused_before_tls(node, "127.0.0.2")
    assert not is_refused_before_tls(node, "127.0.1.7")
    for s in kept:
        s.close()
    node.stop()


def test_a_network_can_be_a_source():
    node = Node(LINES + "max_connections_per_source = 1\n"
                "source_prefix_ipv4 = 24\n")
    kept = Client(node)
    assert is_refused_before_tls(node, "127.0.0.9")
    assert not is_refused_before_tls(node, "127.0.1.9")
    assert "127.0.0.0/24:" in node.log()
    kept.close()
    node.stop()


def test_only_so_many_of_a_source_have_not_said_who_they_are():
    node = Node(LINES + "max_handshakes_per_source = 2\n")
    known = [Client(node) for _ in range(5)]  # one after the other
    silent = [socket.create_connection(("127.0.0.1", node.port))
              for _ in range(2)]
    assert is_refused_before_tls(node)
    assert not is_refused_before_tls(node, "127.0.0.2")
    silent.pop().close()
    until(lambda: not is_refused_before_tls(node), "there is room again")
    assert len(refused_lines(node, "max_handshakes_per_source")) == 1
    for s in [*silent, *known]:
        s.close()
    node.stop()


def test_a_source_connects_only_so_often():
    node = Node(LINES + "max_handshakes_per_second_per_source = 4\n")
    refused = 0
    for _ in range(30):
        s = socket.create_connection(("127.0.0.1", node.port))
        refused += bool(select.select([s], [], [], 0.02)[0])
        s.close()
    assert 5 <= refused <= 26, refused  # 30 in 0.6 s or somewhat more
    assert not is_refused_before_tls(node, "127.0.0.2")
    until(lambda: not is_refused_before_tls(node), "some time later it may")
    name = "max_handshakes_per_second_per_source"
    assert len(refused_lines(node, name)) == 1
    node.stop()


def admitted(node, certificate="peer", uri=None, source=None):
    """A connection that identified itself, or None."""
    peer = Peer(node, certificate=certificate, source=source)
    try:
        peer.send(hw.PREAMBLE + (hw.subscriber(uri) if uri else hw.CLIENT))
        peer.expect(hw.SERVER)
        return peer
    except Closed:
        return None


def test_a_certificate_has_only_so_many_connections():
    node = Node(LINES + "max_connections_per_thumbprint = 3\n",
                trust=("peer", "other"))
    held = [Client(node), Poller(node, "poll://a/"), Poller(node, "poll://b/")]
    for _ in range(3):
        assert admitted(node) is None
        assert admitted(node, uri="poll://c/") is None
    other = admitted(node, "other")
    assert other is not None
    held.pop().close()
    until(lambda: admitted(node), "there is room again")
    lines = refused_lines(node, "max_connections_per_thumbprint")
    assert len(lines) == 1, lines
    assert Certificate.get("peer").thumbprint in lines[0]
    assert "connection_lost" not in node.log()
    for p in [*held, other]:
        p.close()
    node.stop()


def test_refused_subscriptions_are_a_line_a_reason_and_source():
    node = Node(LINES + "max_connections_per_subscription = 1\n")
    held = [Poller(node, f"poll://held-{i}/") for i in range(3)]
    for i in range(3):
        assert admitted(node, uri=f"poll://held-{i}/") is None
    assert admitted(node, uri="poll://held-0/", source="127.0.0.2") is None
    for uri in ("https://a/", "https://b/"):
        assert admitted(node, uri=uri) is None
    text = "maximum number of active connections"
    lines = [line for line in node.log().splitlines()
             if '"subscription_refused"' in line]
    assert len([l for l in lines if text in l and "127.0.0.1" in l]) == 1
    assert len([l for l in lines if text in l and "127.0.0.2" in l]) == 1
    assert len([l for l in lines if "is no poll:// URI" in l]) == 1
    assert len(lines) == 3, lines
    assert Certificate.get("peer").thumbprint in lines[0]
    for p in held:
        p.close()
    node.stop()


def test_the_node_has_exactly_as_many_connections_as_it_may():
    node = Node("max_connections = 5\n", workers=3)
    held = [Client(node) for _ in range(5)]
    late = socket.create_connection(("127.0.0.1", node.port))
    context = Crowd(node, 0).context
    node.wait_log("accepting no connections for now")
    held.pop().close()
    late.settimeout(30)
    late = context.wrap_socket(late)  # it waited, and is served now
    late.close()
    for c in held:
        c.close()
    node.stop()


def waiting(node, n):
    until(lambda: node.status()["calls"]["waiting"] == n, f"{n} wait")


def is_told_the_limit(client, setting):
    reply, _ = client.call("poll://nobody/", "I", "Echo", os.urandom(600).hex())
    assert reply["error"] is not None, reply
    return setting in reply["error"]["message"]


def test_only_so_many_requests_of_a_certificate_or_source_wait():
    for setting in ("max_waiting_requests_per_thumbprint = 2",
                    "max_waiting_requests_per_source = 2",
                    "max_waiting_bytes_per_thumbprint = 900B",
                    "max_waiting_bytes_per_source = 900B"):
        name = setting.split()[0]
        node = Node(LINES + setting + "\n", trust=("peer", "other"))
        askers = [Client(node) for _ in range(2)]
        for a in askers:
            a.start("poll://nobody/", "I", "Echo", "x")
        waiting(node, 2)
        late = Client(node)
        assert is_told_the_limit(late, name), name
        if name.endswith("thumbprint"):
            other = Client(node, certificate="other")
            other.start("poll://nobody/", "I", "Echo", "x")
            waiting(node, 3)
        Poller(node, "poll://nobody/").serve(echo_first)
        for a in askers:
            assert a.finish()[0]["result"] == "x"
        waiting(node, 0)
        reply, _ = late.call("poll://nobody/", "I", "Echo", "again")
        assert reply["result"] == "again", reply
        assert node.log().count("request_refused") == 1
        node.stop()


MIB = 1 << 20
LIMIT = MIB // 4
PATIENT = 600  # of who waits in the spool until the test goes on
SPOOL = LINES + "spool_memory = 64KiB\n"


class Upload:
    """A call with a DataStream, as fast as it is read."""

    def __init__(self, node, uri, **kw):
        self.client = Client(node, timeout=PATIENT, **kw)
        self.data = os.urandom(2 * MIB)
        self.result = None
        self.thread = threading.Thread(target=self.run, args=(uri,),
                                       daemon=True)
        self.thread.start()

    def run(self, uri):
        try:
            self.result = self.client.call(uri, "I", "Sum",
                                           hw.DataStream(self.data))[0]
        except (OSError, Closed) as e:
            self.result = {"error": e}

    def is_over(self):
        self.thread.join(0.01)
        return not self.thread.is_alive()


def checksum(request, streams):
    return sum(zlib.crc32(data) for data in streams.values())


def all_get_through(uploads):
    until(lambda: all([u.is_over() for u in uploads]), "all get through",
          PATIENT)
    for u in uploads:
        assert u.result.get("result") == zlib.crc32(u.data), u.result
        u.client.close()


def spooled(node, size):
    until(lambda: counted(node, "spool_bytes") == size,
          f"{size} bytes are in the spool")


def spool_lines(node, setting):
    return [line for line in node.log().splitlines()
            if '"spool_full"' in line and setting in line and
            "more like this" not in line]


def test_a_source_has_only_so_much_in_the_spool():
    node = Node(SPOOL + "spool_max_per_source = 256KiB\n", workers=1)
    first = Upload(node, "poll://late/")
    spooled(node, LIMIT)
    second = Upload(node, "poll://late/")
    until(lambda: counted(node, "spool_full_per_source") >= 2, "both wait")
    assert counted(node, "spool_bytes") == LIMIT
    other = Upload(node, "poll://late/", source="127.0.0.2")
    spooled(node, 2 * LIMIT)
    # Its address has no room, and needs none while the service reads.
    Poller(node, "poll://there/").serve(checksum)
    all_get_through([Upload(node, "poll://there/") for _ in range(3)])
    assert counted(node, "spool_bytes") == 2 * LIMIT
    Poller(node, "poll://late/").serve(checksum)
    all_get_through([first, second, other])
    spooled(node, 0)
    for source in ("127.0.0.1", "127.0.0.2"):
        lines = [l for l in spool_lines(node, "spool_max_per_source")
                 if f"bytes of {source} wait" in l]
        assert len(lines) == 1, lines
    node.stop()


def test_the_spool_knows_networks_and_sources_without_limits():
    node = Node(SPOOL + "spool_max_per_source = 256KiB\n"
                "source_prefix_ipv4 = 24\n"
                'unlimited_sources = {"127.0.1.7", "127.0.2.0/24"}\n',
                workers=1)
    uploads = [Upload(node, "poll://late/")]
    spooled(node, LIMIT)
    uploads.append(Upload(node, "poll://late/", source="127.0.0.9"))
    until(lambda: counted(node, "spool_full_per_source") >= 2, "both wait")
    assert counted(node, "spool_bytes") == LIMIT
    assert "bytes of 127.0.0.0/24 wait" in node.log()
    uploads += [Upload(node, "poll://late/", source=s)
                for s in ("127.0.1.7", "127.0.2.9")]
    until(lambda: counted(node, "spool_bytes") > 3 * MIB, "two have no limit")
    Poller(node, "poll://late/").serve(checksum)
    all_get_through(uploads)
    node.stop()


def test_a_certificate_has_only_so_much_in_the_spool():
    node = Node(SPOOL + "spool_max_per_thumbprint = 256KiB\n",
                trust=("peer", "other"), workers=1)
    uploads = [Upload(node, "poll://late/")]
    spooled(node, LIMIT)
    uploads.append(Upload(node, "poll://late/", source="127.0.0.2"))
    until(lambda: counted(node, "spool_full_per_thumbprint") >= 2, "both wait")
    assert counted(node, "spool_bytes") == LIMIT
    uploads.append(Upload(node, "poll://late/", certificate="other"))
    spooled(node, 2 * LIMIT)
    Poller(node, "poll://late/").serve(checksum)
    all_get_through(uploads)
    line, = [l for l in spool_lines(node, "spool_max_per_thumbprint")
             if "127.0.0.1" in l and
             Certificate.get("peer").thumbprint in l]
    assert "as many as spool_max_per_thumbprint allows" in line, line
    spooled(node, 0)
    node.stop()


def test_a_subscription_has_only_so_much_in_the_spool_under_each_name():
    node = Node(SPOOL + "spool_max_per_subscription = 256KiB\n"
                'route "*.poll.example.com" { to = "poll://{label}/" }\n',
                workers=1)
    uploads = [Upload(node, "https://late.poll.example.com")]
    spooled(node, LIMIT)
    uploads.append(Upload(node, "poll://LATE", source="127.0.0.2"))
    until(lambda: counted(node, "spool_full_per_subscription") >= 2,
          "both wait")
    assert counted(node, "spool_bytes") == LIMIT
    uploads.append(Upload(node, "poll://other/"))
    spooled(node, 2 * LIMIT)
    assert "to and from poll://late/ wait" in node.log()
    for uri in ("poll://late/", "poll://other/"):
        Poller(node, uri).serve(checksum)
    all_get_through(uploads)
    spooled(node, 0)
    node.stop()


def test_a_response_that_nobody_reads_counts_for_its_service():
    for setting in ("spool_max_per_subscription", "spool_max_per_source",
                    "spool_max_per_thumbprint"):
        node = Node(SPOOL + setting + " = 256KiB\n", trust=("peer", "other"),
                    workers=1)
        data = os.urandom(16 * MIB)  # more than the kernel keeps
        Poller(node, "poll://big/", certificate="other",
               source="127.0.0.2", timeout=PATIENT).serve(lambda *_: hw.DataStream(data))
        node.wait_idle_poller("poll://big/")
        client = Client(node, timeout=PATIENT)
        client.start("poll://big/", "I", "Get")
        until(lambda: counted(node, f"spool_full_{setting[10:]}") > 0,
              "it waits")
        spooled(node, LIMIT)
        line, = spool_lines(node, setting)
        assert "127.0.0.2:" in line, line
        _, streams = client.finish()
        assert list(streams.values()) == [data]
        client.close()
        spooled(node, 0)
        node.stop()


def test_who_is_gone_makes_room_for_who_waits():
    node = Node(SPOOL + "spool_max_per_source = 256KiB\n",
                trust=("peer", "other"), workers=1)
    first = Upload(node, "poll://late/", certificate="other")
    spooled(node, LIMIT)
    second = Upload(node, "poll://later/")
    until(lambda: counted(node, "spool_full_per_source") >= 2, "both wait")
    ctl("kick", "--thumbprint", Certificate.get("other").thumbprint,
        "--socket", node.control, check=True)
    until(first.is_over, "the first is gone")
    assert isinstance(first.result["error"], (OSError, Closed)), first.result
    # The second has its place without anybody having read of it.
    until(lambda: counted(node, "spool_full_per_source") >= 3, "it went on")
    spooled(node, LIMIT)
    Poller(node, "poll://later/").serve(checksum)
    all_get_through([second])
    spooled(node, 0)
    node.stop()


def test_limits_of_the_spool_are_reloaded():
    node = Node(SPOOL, workers=1)
    old = node.worker_pids()
    before = Upload(node, "poll://late/")
    until(lambda: counted(node, "spool_bytes") > MIB, "all of it waits")
    node.write_conf(SPOOL + "spool_max_per_source = 256KiB\n"
                    "spool_max_per_subscription = 1MiB\n")
    ctl("reload", "--socket", node.control, check=True)
    until(lambda: any(w["state"] == "ready" and w["pid"] not in old
                      for w in node.status()["workers"]
                      if w["kind"].startswith("connection")),
          "there is a new worker")
    after = Upload(node, "poll://late/", source="127.0.0.2")
    until(lambda: counted(node, "spool_full_per_source") > 0, "it waits")
    Poller(node, "poll://late/").serve(checksum)
    all_get_through([before, after])
    node.stop()


def test_limits_are_reloaded():
    node = Node()
    held = [Client(node) for _ in range(2)]
    node.write_conf("max_connections_per_source = 2\n")
    ctl("reload", "--socket", node.control, check=True)
    until(lambda: is_refused_before_tls(node), "the new limit is in force")
    node.write_conf("")
    ctl("reload", "--socket", node.control, check=True)
    until(lambda: not is_refused_before_tls(node), "it is no more")
    for c in held:
        c.close()
    node.stop()


if __name__ == "__main__":
    main([v for k, v in list(globals().items()) if k.startswith("test_")])
