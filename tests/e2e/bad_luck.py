#!/usr/bin/env python3
"""Bad input and bad luck: the answer is always one log line that names peer
and reason, the caller's error within its deadline, and everybody else
unharmed.
"""
import os
import re
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import gateway as g  # noqa: E402
import halibut_wire as hw  # noqa: E402

node = None
LIMITS = """
handshake_timeout = "2s"
receive_timeout = "2s"
send_timeout = "2s"
max_message_size = "4MiB"
worker_ping_interval = "100ms"
worker_hang_timeout = "5s"
worker_restart_delay = "10ms"
"""


def setup():
    global node
    node = g.Node(LIMITS)
    # A first call, so that what is made once is there.
    g.Poller(node, "poll://good").serve(g.echo_first)
    still_serves()


def good_poller_is_idle():
    """It dials again, as a service does, whenever a test has cost it its
    connection."""
    good = node.subscription("poll://good/") or {}
    if not good.get("connections"):
        g.Poller(node, "poll://good").serve(g.echo_first)
    return good.get("idle")


def still_serves():
    """A well-behaved pair notices nothing of all this."""
    g.until(good_poller_is_idle, "poll://good is served")
    reply, streams = g.Client(node).call("poll://good/", "I", "Echo",
                                         hw.DataStream(b"still here"))
    assert list(streams.values()) == [b"still here"], reply


def refuses(data, pattern, certificate="peer"):
    """Sends data after TLS is up: closed, with a line in the log."""
    mark = len(node.log())
    peer = g.Peer(node, certificate=certificate)
    try:
        peer.send(data)
    except OSError:
        pass
    while not peer.at_eof():
        pass
    node.wait_log(pattern, mark)
    peer.close()
    still_serves()


def a_service_that_expects_another_certificate_is_told_apart():
    mark = len(node.log())
    service = subprocess.Popen(
        [os.path.join(g.BUILD, "examples/service"), "--cert",
         g.Certificate.get("peer").path, "--poll",
         f"https://127.0.0.1:{node.port}", "--name", "poll://mistaken/",
         "--thumbprint", g.Certificate.get("stranger").thumbprint],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    node.wait_log("It may expect another certificate than ours, which has the "
                  "thumbprint " + node.certificate.thumbprint, mark)
    service.terminate()
    service.wait(g.PATIENCE)
    still_serves()


def plain_bytes_instead_of_tls_are_refused():
    for data in (b"GET / HTTP/1.0\r\n\r\n", b"MX\n\nMX-CLIENT 1.0\r\n\r\n",
                 os.urandom(300)):
        mark = len(node.log())
        with socket.create_connection(("127.0.0.1", node.port)) as s:
            s.settimeout(g.PATIENCE)
            port = s.getsockname()[1]
            s.sendall(data)
            try:
                while s.recv(4096):
                    pass
            except ConnectionError:
                pass
        node.wait_log(rf"127\.0\.0\.1:{port}\b.* (TLS|refused|handshake)",
                      mark)
    still_serves()


def a_peer_that_never_speaks_is_let_go():
    with socket.create_connection(("127.0.0.1", node.port)) as s:
        s.settimeout(g.PATIENCE)
        try:
            assert s.recv(1) == b""
        except ConnectionResetError:
            pass
    still_serves()


def a_peer_that_never_opens_is_let_go():
    peer = g.Peer(node)
    assert peer.at_eof()
    still_serves()


def an_opening_that_drips_is_let_go():
    """Each byte comes in time, the whole does not."""
    peer = g.Peer(node)
    stop = threading.Event()
    try:
        for _ in range(1000):
            peer.send(b"M")
            if stop.wait(0.02) or peer_is_gone(peer):
                break
        else:
            raise AssertionError("it could drip for ever")
    except OSError:
        pass
    still_serves()


def peer_is_gone(peer):
    peer.sock.settimeout(0.001)
    try:
        return peer.sock.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def good_bytes_one_at_a_time_are_served():
    client = g.Peer(node)
    document = hw.request("I", "Echo", ["x"],
                          endpoint=hw.endpoint("poll://good/"))
    for byte in hw.PREAMBLE + hw.CLIENT:
        client.send(bytes([byte]))
    client.expect(hw.SERVER)
    for byte in hw.encode_message(document):
        client.send(bytes([byte]))
    reply, _ = client.message()
    assert reply["Message"]["result"] == "x", reply


def a_client_without_a_certificate_is_refused():
    refuses(hw.PREAMBLE + hw.CLIENT, "did not present a client certificate",
            certificate=None)


def an_untrusted_client_is_refused_with_its_thumbprint():
    refuses(hw.PREAMBLE + hw.CLIENT,
            g.Certificate.get("stranger").thumbprint, certificate="stranger")


def identification_that_is_none_is_refused():
    for line in (b"\r\n", b"MX-NOBODY 1.0\r\n\r\n", b"MX-SUBSCRIBER\r\n\r\n",
                 b"MX-SUBSCRIBER 1.0 relative\r\n\r\n",
                 b"MX-CLIENT 1.0\r\nmore\r\n", b"MX-CLIENT\rx"):
        refuses(hw.PREAMBLE + line, r"warning.*127\.0\.0\.1")


def a_control_line_without_an_end_is_refused():
    refuses(hw.PREAMBLE + b"MX-CLIENT " + b"x" * 200000,
            r"warning.*127\.0\.0\.1")


def as_client(data, pattern):
    refuses(hw.PREAMBLE + hw.CLIENT + data, pattern)


def what_is_no_message_is_refused():
    as_client(b"\xff" * 100, r"warning.*127\.0\.0\.1")
    as_client(hw.deflate(b"not bson at all"), r"warning.*127\.0\.0\.1")
    as_client(hw.deflate(struct.pack("<i", 1 << 30) + b"\0" * 50),
              r"warning.*127\.0\.0\.1")


def documents_that_nest_too_deep_are_refused():
    value = 1
    for _ in range(3000):
        value = {"a": value}
    sys.setrecursionlimit(20000)
    as_client(hw.encode_message(hw.request("I", "M", [value])),
              r"warning.*127\.0\.0\.1.*(deep|nest)")


def a_deflate_bomb_is_stopped_at_the_limit():
    before = max(rss(p) for p in node.worker_pids())
    c = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = struct.pack("<i", 200 << 20) + b"\x02a\0" + \
        struct.pack("<i", 190 << 20)
    bomb = c.compress(bomb) + c.compress(b"x" * (190 << 20)) + c.flush()
    as_client(bomb, r"warning.*127\.0\.0\.1.*(limit|large|bytes)")
    after = max(rss(p) for p in node.worker_pids())
    assert g.sanitized() or after - before < 40 << 20, (before, after)


def an_endless_message_of_empty_blocks_is_stopped():
    peer = g.Peer(node)
    peer.send(hw.PREAMBLE + hw.CLIENT)
    peer.expect(hw.SERVER)
    block = b"\0\0\0\xff\xff" * 10000
    try:
        for _ in range(400):
            peer.send(block)
        raise AssertionError("20 MB of nothing were taken")
    except OSError:
        pass
    still_serves()


def rss(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) << 10


def start_with_stream(section, then=None):
    """A request that announces one stream of 10 bytes, and this section."""
    client = g.Client(node)
    stream = hw.DataStream(b"0123456789")
    document = hw.request("I", "Echo", [stream],
                          endpoint=hw.endpoint("poll://good/"))
    client.send(hw.encode_message(document))
    client.send(section(stream))
    if then:
        then(client)
    return client


def head(stream, length=10):
    return stream.id.bytes_le + struct.pack("<q", length)


def a_stream_that_stops_ends_its_connection_only():
    client = start_with_stream(lambda s: head(s) + b"0123")
    assert client.at_eof(), client.buffer
    still_serves()


def a_stream_whose_sender_leaves_ends_its_connection_only():
    start_with_stream(lambda s: head(s) + b"0123", lambda c: c.close())
    still_serves()


def a_stream_that_never_comes_ends_its_connection_only():
    client = start_with_stream(lambda s: b"")
    assert client.at_eof(), client.buffer
    still_serves()


def a_stream_with_two_lengths_ends_its_connection_only():
    client = start_with_stream(
        lambda s: head(s) + b"0123456789" + struct.pack("<q", 11))
    assert client.at_eof(), client.buffer
    still_serves()


def a_stream_nobody_announced_ends_its_connection_only():
    client = start_with_stream(lambda s: head(hw.DataStream(b"")) + b"x" * 10)
    assert client.at_eof(), client.buffer
    still_serves()


def an_answer_that_breaks_off_is_an_error_at_the_caller():
    poller = g.Poller(node, "poll://breaks")
    node.wait_idle_poller("poll://breaks/")
    client = g.Client(node)
    client.start("poll://breaks/", "I", "M")
    request, _ = poller.take()
    poller.send(hw.encode_message(hw.response(request["id"], "x" * 9))[:20])
    poller.close()
    reply, _ = client.finish()
    assert reply["error"] is not None, reply
    assert reply["id"] == request["id"], reply
    still_serves()


def an_answer_to_another_request_is_an_error_at_the_caller():
    poller = g.Poller(node, "poll://mixes")
    node.wait_idle_poller("poll://mixes/")
    client = g.Client(node)
    client.start("poll://mixes/", "I", "M")
    poller.take()
    poller.send_message(hw.response("something else", 1))
    reply, _ = client.finish()
    assert "something else" in reply["error"]["message"], reply
    still_serves()


def a_service_that_stops_reading_holds_up_nobody_else():
    poller = g.Poller(node, "poll://stuck")
    node.wait_idle_poller("poll://stuck/")
    client = g.Client(node)
    document = hw.request("I", "M", [hw.DataStream(b"\0" * (100 << 20))],
                          endpoint=hw.endpoint("poll://stuck/"))
    failed = threading.Event()

    def push():
        try:
            client.send_message(document)
            client.finish()
        except (OSError, g.Closed):
            pass
        failed.set()
    threading.Thread(target=push, daemon=True).start()
    still_serves()
    assert failed.wait(g.PATIENCE), "the caller waits for ever"
    for pid in node.worker_pids():
        assert g.sanitized() or rss(pid) < 60 << 20, rss(pid)
    poller.close()


def a_killed_worker_takes_only_its_own_connections_along():
    pollers = [g.Poller(node, "poll://kill") for _ in range(2)]
    node.wait_idle_poller("poll://kill/", 2)
    clients = []
    for n in range(2):
        client = g.Client(node)
        client.start("poll://kill/", "I", "M", n)
        clients.append(client)
    taken = [p.take()[0] for p in pollers]
    victim = node.worker_pids()[0]
    os.kill(victim, signal.SIGKILL)
    g.until(lambda: victim not in node.worker_pids(), "it was replaced")
    for poller, request in zip(pollers, taken):
        try:
            poller.answer(request, "done")
        except OSError:
            pass
    ends = []
    for client in clients:
        try:
            reply, _ = client.finish()
            ends.append("error" if reply["error"] else "result")
            if reply["error"]:
                assert "worker" in reply["error"]["message"], reply
        except g.Closed:
            ends.append("closed")
    # Two workers: each end of each call was on one of them.
    assert len(ends) == 2, ends
    g.until(node.workers_are_ready, "workers are ready")
    still_serves()


def a_worker_that_hangs_is_replaced():
    victim = node.worker_pids()[0]
    mark = len(node.log())
    os.kill(victim, signal.SIGSTOP)
    node.wait_log(rf"{victim}.*(killed|answer)", mark)
    g.until(lambda: victim not in node.worker_pids(), "it was replaced")
    g.until(node.workers_are_ready, "workers are ready")
    still_serves()


def a_service_that_leaves_does_not_lose_what_it_has_not_seen():
    first = g.Poller(node, "poll://leaves")
    node.wait_idle_poller("poll://leaves/")
    first.close()
    g.until(lambda: (node.subscription("poll://leaves/") or
                     {"connections": 0})["connections"] == 0, "it is gone")
    client = g.Client(node)
    client.start("poll://leaves/", "I", "Echo", 7)
    g.Poller(node, "poll://leaves").serve(g.echo_first)
    reply, _ = client.finish()
    assert reply["result"] == 7, reply


def a_full_disk_slows_the_sender_and_loses_nothing():
    """The spool cannot grow; what waits before its taker is there must wait
    at the sender."""
    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    full = g.Node(before=small_files)
    data = os.urandom(8 << 20)
    client = g.Client(full)
    document = hw.request("I", "Echo", [hw.DataStream(data)],
                          endpoint=hw.endpoint("poll://full/"))
    sender = threading.Thread(target=client.send_message, args=(document,),
                              daemon=True)
    sender.start()
    g.until(lambda: (full.subscription("poll://full/") or {}).get("waiting"),
            "the request waits")
    g.Poller(full, "poll://full").serve(g.echo_first)
    sender.join(g.PATIENCE)
    reply, streams = client.finish()
    assert list(streams.values()) == [data], reply
    full.stop()


def descriptors_that_run_out_come_back():
    """More connections than descriptors: some wait, none breaks others."""
    def few():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    short = g.Node(before=few)
    g.Poller(short, "poll://few").serve(g.echo_first)
    short.wait_idle_poller("poll://few/")
    first = g.Client(short)
    crowd = []
    for _ in range(300):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(("127.0.0.1", short.port))
        crowd.append(s)
    short.wait_log("accepting no connections for now")
    reply, _ = first.call("poll://few/", "I", "Echo", 1)
    assert reply["result"] == 1, reply
    for s in crowd:
        s.close()
    reply, _ = g.Client(short).call("poll://few/", "I", "Echo", 2)
    assert reply["result"] == 2, reply
    short.stop()


def nothing_is_left_of_all_this():
    before = node.descriptors()
    for _ in range(20):
        g.Client(node).close()
        peer = g.Peer(node, certificate=None)
        peer.close()
    g.until(lambda: node.descriptors() <= before, "descriptors come back")
    status = node.status()
    assert status["calls"]["in_flight"] == 0, status["calls"]


setup()
g.main([v for k, v in list(globals().items())
        if callable(v) and getattr(v, "__module__", "") == "__main__" and
        k not in ("setup", "still_serves", "good_poller_is_idle", "refuses",
                  "as_client",
                  "peer_is_gone", "rss", "start_with_stream", "head")])
