#!/usr/bin/env python3
"""Calls through a real halibutd, in every arrangement it knows."""
import os
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import gateway as g  # noqa: E402
import halibut_wire as hw  # noqa: E402

node = None


def setup():
    global node
    node = g.Node(f"""
route "*.poll.example.com" {{ to = "poll://{{label}}/" }}
service "IEchoService" {{ command = "{sys.executable} {g.ECHO}" }}
queue "queue://worker-1/" {{ concurrency = 2 }}
""")


def a_client_reaches_a_polling_service():
    g.Poller(node, "poll://sq-one").serve(g.echo_first)
    node.wait_idle_poller("poll://sq-one/")
    client = g.Client(node)
    for text in ("a", "b", "c"):
        reply, _ = client.call("poll://SQ-One/", "IAny", "Echo", text)
        assert reply["result"] == text, reply


def a_route_with_a_label_leads_to_a_subscription():
    g.Poller(node, "poll://labelled").serve(g.echo_first)
    node.wait_idle_poller("poll://labelled/")
    reply, _ = g.Client(node).call("https://labelled.poll.example.com/",
                                   "IAny", "Echo", "x")
    assert reply["result"] == "x", reply


def data_streams_pass_both_ways():
    g.Poller(node, "poll://streams").serve(g.echo_first)
    node.wait_idle_poller("poll://streams/")
    client = g.Client(node)
    for size in (0, 1, 100, 70000, 9 << 20):
        data = os.urandom(size)
        reply, streams = client.call("poll://streams/", "IAny", "Echo",
                                     hw.DataStream(data))
        assert reply["error"] is None, reply
        assert list(streams.values()) == [data], size


def unknown_types_pass_unharmed():
    value = {"$type": "Acme.Strange`1[[System.Int32, mscorlib]], Acme",
             "a.b": {"$type": "x", "": [1, hw.Int32(2), None, b"\0\1"]}}
    seen = []

    def handler(request, streams):
        seen.append(request["params"][0])
        return request["params"][0]
    g.Poller(node, "poll://types").serve(handler)
    reply, _ = g.Client(node).call("poll://types/", "IAny", "Echo", value)
    assert seen[0] == value, seen
    assert reply["result"] == value, reply


def sixteen_callers_share_three_connections():
    for _ in range(3):
        g.Poller(node, "poll://busy").serve(g.echo_first)
    node.wait_idle_poller("poll://busy/", 3)
    wrong = []

    def run(n):
        client = g.Client(node)
        for i in range(10):
            text = f"{n}-{i}"
            reply, _ = client.call("poll://busy/", "IAny", "Echo", text)
            if reply["result"] != text:
                wrong.append(reply)
    threads = [threading.Thread(target=run, args=(n,)) for n in range(16)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong, wrong


def nagles_algorithm_makes_no_peer_wait_for_us():
    def in_pieces(peer):
        whole = peer.send

        def send(data):
            whole(data[:len(data) // 2])
            whole(data[len(data) // 2:])
        peer.send = send
        return peer
    in_pieces(g.Poller(node, "poll://nagle", nagle=True)).serve(g.echo_first)
    node.wait_idle_poller("poll://nagle/")
    client = in_pieces(g.Client(node, nagle=True))
    times = []
    for _ in range(20):
        began = time.monotonic()
        client.call("poll://nagle/", "IAny", "Echo", "x")
        times.append(time.monotonic() - began)
    # Who waits for a delayed acknowledgement waits 40 ms, each time.
    assert min(times[1:]) < 0.03, times


def a_hosted_service_program_answers():
    reply, _ = g.Client(node).call("https://anything.example/",
                                   "IEchoService", "SayHello", "World")
    assert reply["error"] is None, reply
    assert "World" in reply["result"], reply


def a_queue_endpoint_is_served_by_hosted_programs():
    client = g.Client(node)
    data = os.urandom(300000)
    for _ in range(3):
        reply, _ = client.call("queue://Worker-1", "IEchoService",
                               "SayHello", "World")
        assert "World" in reply["result"], reply
        reply, _ = client.call("queue://worker-1/", "IEchoService",
                               "CountBytes", hw.DataStream(data))
        assert reply["result"] == len(data), reply
    reply, _ = client.call("queue://worker-1/", "INope", "M")
    assert "INope" in reply["error"]["message"], reply
    at = node.subscription("queue://worker-1/")
    assert at["hosted"] == 2 and at["idle"] == 2 and at["busy"] == 0, at


def a_queue_endpoint_outlives_its_service_worker():
    pid = node.worker_pids("service")[0]
    os.kill(pid, signal.SIGKILL)
    g.until(lambda: node.worker_pids("service") not in ([pid], [0]),
            "another service worker")
    reply, _ = g.Client(node).call("queue://worker-1/", "IEchoService",
                                   "SayHello", "World")
    assert "World" in reply["result"], reply


def a_destination_without_a_route_tells_what_to_do():
    reply, _ = g.Client(node).call("https://nowhere.example:10933/", "INope",
                                   "M")
    assert "nowhere.example" in reply["error"]["message"], reply
    assert "route" in reply["error"]["message"], reply


def a_host_that_is_mistyped_is_not_taken_for_the_gateway():
    node = g.Node(f"""
service "IEchoService" {{ command = "{sys.executable} {g.ECHO}" }}
endpoint "https://web1.internal:10933" {{ thumbprint = "{"A" * 40}" }}
route "*.poll.example.com" {{ to = "poll://{{label}}/" }}
""")

    def hello(url):
        return node.call(url, "IEchoService", "SayHello", '"World"')

    for url, hint in (
            ("https://wbe1.internal:10933",
             "did you mean https://web1.internal:10933?"),
            ("https://web1.internal",  # another port
             "did you mean https://web1.internal:10933?"),
            ("https://web7.pol.example.com", "did you mean *.poll.example"),
            ("https://quite-another.example",
             "named are https://web1.internal:10933, *.poll.example.com")):
        done = hello(url)
        assert done.returncode != 0 and b"Hello" not in done.stdout, done
        said = done.stderr.decode()
        assert hint in said and "https://localhost/ reaches that" in said, said
    for url in "https://localhost", "https://127.0.0.1:10943":
        done = hello(url)
        assert b"Hello" in done.stdout, (url, done)
    # A client may know the gateway by any name: it is told in the log, once.
    client = g.Client(node)
    for url in ("https://gateway.example/",) * 2 + ("https://localhost/",):
        reply, _ = client.call(url, "IEchoService", "SayHello", "World")
        assert "World" in reply["result"], reply
    lines = [line for line in node.log().splitlines()
             if '"event":"hosted_by_default"' in line]
    assert lines and all("gateway.example" in line for line in lines), lines
    node.stop()


def a_request_waits_for_its_service_to_poll():
    client = g.Client(node)
    client.start("poll://late/", "IAny", "Echo", "here")
    g.until(lambda: (node.subscription("poll://late/") or {})
            .get("waiting") == 1, "one request waits")
    g.Poller(node, "poll://late").serve(g.echo_first)
    reply, _ = client.finish()
    assert reply["result"] == "here", reply


def the_control_socket_calls_too():
    g.Poller(node, "poll://ctl").serve(g.echo_first)
    done = node.call("poll://ctl/", "IAny", "Echo", '"hi"')
    assert done.returncode == 0 and b'"hi"' in done.stdout, done


def a_listening_service_is_dialled_and_its_connection_kept():
    other = g.Node(f"""
service "IEchoService" {{ command = "{sys.executable} {g.ECHO}" }}
""", trust=("gateway",))
    via = g.Node(f"""
route "behind.example" {{
  to = "https://127.0.0.1:{other.port}"
  thumbprint = "{other.certificate.thumbprint}"
}}
""")
    client = g.Client(via)
    for _ in range(5):
        reply, _ = client.call("https://behind.example/", "IEchoService",
                               "SayHello", "World")
        assert reply["error"] is None, reply
    data = os.urandom(300000)
    reply, _ = client.call("https://behind.example/", "IEchoService",
                           "CountBytes", hw.DataStream(data))
    assert reply["result"] == len(data), reply
    assert other.log().count(", a client") == 1, "connections are pooled"
    other.stop()
    via.stop()


def a_server_elsewhere_is_polled_for_hosted_services():
    # A poller ends where it is told that there is nothing to do.
    server = g.Node('polling_queue_wait_timeout = 500ms\n',
                    trust=("gateway",))
    service = g.Node(f"""
service "IEchoService" {{ command = "{sys.executable} {g.ECHO}" }}
poll "https://127.0.0.1:{server.port}" {{
  thumbprint = "{server.certificate.thumbprint}"
  subscription = "poll://hosted/"
  connections = 2
}}
""", trust=())
    server.wait_idle_poller("poll://hosted/", 2)
    done = server.call("poll://hosted/", "IEchoService", "SayHello",
                       '"World"')
    assert done.returncode == 0 and b"World" in done.stdout, done
    service.stop()
    server.stop()


def a_browser_gets_the_friendly_page():
    peer = g.Peer(node, certificate=None)
    peer.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    peer.expect(b"HTTP/1.0 200 OK\r\n")
    while not peer.at_eof():
        pass
    assert b"Hello!" in peer.buffer, peer.buffer


def reload_takes_trust_in_and_drops_it_again():
    try:
        g.Client(node, certificate="stranger")
        raise AssertionError("a stranger was let in")
    except g.Closed:
        pass
    known = [g.Certificate.get("peer").thumbprint]
    node.write_trust(known + [g.Certificate.get("stranger").thumbprint])
    mark = len(node.log())
    node.process.send_signal(signal.SIGHUP)
    node.wait_log("configuration read again", mark)
    stranger = g.until(lambda: _client_or_none("stranger"), "let in")
    node.write_trust(known)
    node.process.send_signal(signal.SIGHUP)
    assert stranger.at_eof(), "its connection stays open"


def _client_or_none(certificate):
    try:
        return g.Client(node, certificate=certificate)
    except g.Closed:
        return None


def a_wrong_file_on_reload_changes_nothing():
    mark = len(node.log())
    with open(node.conf, "a") as f:
        f.write("\nnonsense = 1\n")
    node.process.send_signal(signal.SIGHUP)
    node.wait_log("nonsense", mark)
    node.write_conf("")
    g.Poller(node, "poll://still").serve(g.echo_first)
    reply, _ = g.Client(node).call("poll://still/", "IAny", "Echo", "x")
    assert reply["result"] == "x", reply


def term_ends_all_processes():
    pids = node.pids()
    assert node.stop() == 0
    for pid in pids[1:]:
        g.until(lambda: not os.path.exists(f"/proc/{pid}"),
                f"worker {pid} is gone")


setup()
g.main([
    a_client_reaches_a_polling_service,
    a_route_with_a_label_leads_to_a_subscription,
    data_streams_pass_both_ways,
    unknown_types_pass_unharmed,
    sixteen_callers_share_three_connections,
    nagles_algorithm_makes_no_peer_wait_for_us,
    a_hosted_service_program_answers,
    a_queue_endpoint_is_served_by_hosted_programs,
    a_queue_endpoint_outlives_its_service_worker,
    a_destination_without_a_route_tells_what_to_do,
    a_host_that_is_mistyped_is_not_taken_for_the_gateway,
    a_request_waits_for_its_service_to_poll,
    the_control_socket_calls_too,
    a_listening_service_is_dialled_and_its_connection_kept,
    a_server_elsewhere_is_polled_for_hosted_services,
    a_browser_gets_the_friendly_page,
    reload_takes_trust_in_and_drops_it_again,
    a_wrong_file_on_reload_changes_nothing,
    term_ends_all_processes,
])
