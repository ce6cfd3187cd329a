#!/usr/bin/env python3
"""What a node tells of its connections, calls and peers: from the processes
that know it, through the status worker, as an operator gets it. What it shows
may be a second old, so that each look is repeated.
"""
import hashlib
import json
import os
import signal
import socket
import sys

import gateway as g

other = g.Node(f"""
service "IEchoService" {{ command = "{sys.executable} {g.ECHO}" }}
""", trust=("gateway",))
node = g.Node(f"""
service "IEchoService" {{ command = "{sys.executable} {g.ECHO}" }}
route "behind.example" {{
  to = "https://127.0.0.1:{other.port}"
  thumbprint = "{other.certificate.thumbprint}"
}}
poll "https://127.0.0.1:{other.port}" {{
  subscription = "poll://me/"
  thumbprint = "{other.certificate.thumbprint}"
  connections = 1
}}
slow_call_time = 1500ms
max_connections_per_subscription = 3
""", trust=("peer", "second"))
PEER = g.Certificate.get("peer").thumbprint


def get_text(path):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(g.PATIENCE)
        s.connect(node.status_socket)
        s.sendall(f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
        with s.makefile("rb") as f:
            head, body = f.read().split(b"\r\n\r\n", 1)
    assert b" 200 " in head.split(b"\r\n")[0], head
    return body


def get(path):
    return json.loads(get_text(path))


def connections(**wanted):
    return [c for c in get("/connz")["connections"]
            if all(c[k] == v for k, v in wanted.items())]


def closed(**wanted):
    return [c for c in get("/connz?state=closed")["connections"]
            if all(c[k] == v for k, v in wanted.items())]


def port_of(peer):
    return "127.0.0.1:%d" % peer.sock.getsockname()[1]


def connections_of_every_kind_are_shown():
    poller = g.Poller(node, "poll://kinds")
    node.wait_idle_poller("poll://kinds/")
    client = g.Client(node)
    reply, _ = client.call("https://behind.example/", "IEchoService",
                           "SayHello", "World")
    assert reply["error"] is None, reply
    g.until(lambda: connections(role="server"), "a polled server")
    for role, peer, where in (
            ("subscriber", port_of(poller), {"subscription": "poll://kinds/"}),
            ("client", port_of(client), {}),
            ("service", f"127.0.0.1:{other.port}",
             {"endpoint": f"https://127.0.0.1:{other.port}/"}),
            ("server", f"127.0.0.1:{other.port}",
             {"subscription": "poll://me/"})):
        found = g.until(lambda: connections(role=role, peer=peer, **where),
                        f"one as {role}")
        assert len(found) == 1, found
        c = found[0]
        assert c["thumbprint"] == (PEER if role in ("subscriber", "client")
                                   else other.certificate.thumbprint), c
        assert c["own_thumbprint"] == node.certificate.thumbprint, c
        assert c["tls_version"].startswith("TLSv1."), c
        assert c["cipher"] and c["key_type"] == "RSA", c
        assert c["key_bits"] == 2048 and c["not_after_at"] > "2026", c
        assert c["bytes_in"] > 0 and c["bytes_out"] > 0, c
    assert connections(role="service")[0]["calls"] == 1
    assert connections(role="client")[0]["messages_in"] == 1
    client.close()
    poller.close()


def a_call_is_shown_at_its_connections_and_how_far_it_is():
    poller = g.Poller(node, "poll://far")
    node.wait_idle_poller("poll://far/")
    client = g.Client(node)
    client.start("poll://far/", "IFoo", "Bar", "secret-parameter")
    request, _ = poller.take()
    (call,) = g.until(
        lambda: [c for c in get("/callz")["calls"]
                 if c["phase"] == "executing"], "it is executed")
    assert call["endpoint"] == "poll://far/", call
    assert (call["service"], call["method"]) == ("IFoo", "Bar"), call
    assert call["asker"] == f"{port_of(client)} {PEER}", call
    assert call["carrier"].startswith("worker "), call
    assert call["activity"] is not None, call
    (at,) = g.until(lambda: connections(peer=port_of(poller),
                                        activity=call["activity"]),
                    "its activity at who executes it")
    assert at["id"] == call["carrier_connection"], (at, call)
    g.until(lambda: connections(peer=port_of(client),
                                activity=call["activity"]),
            "its activity at who asked")
    text = get_text("/callz")
    assert b"secret-parameter" not in text, "parameters are nobody's business"
    g.until(lambda: get("/callz")["calls"][0]["age_ms"] > 1500, "it is slow")
    poller.answer(request, result=1)
    client.finish()

    def remembered():
        return [c for c in get("/callz")["past_calls"]
                if c["activity"] == call["activity"]]
    (past,) = g.until(remembered, "the slow call is remembered")
    assert past["slow"] and past["error"] is None, past
    assert past["total_ms"] >= past["executing_ms"] > 1500, past
    client.close()
    poller.close()


def why_a_connection_was_closed_is_shown():
    client = g.Client(node)
    who = port_of(client)
    g.until(lambda: connections(peer=who), "it is open")
    client.close()
    (c,) = g.until(lambda: closed(peer=who), "it is closed")
    assert c["reason"] and c["closed_at"] >= c["opened_at"], c
    g.until(lambda: not connections(peer=who), "it is not open any more")

    thief = g.Poller(node, "poll://thief", certificate="second")
    who = port_of(thief)
    g.until(lambda: connections(peer=who, role="subscriber"), "it polls")
    node.write_trust([PEER])
    node.process.send_signal(signal.SIGHUP)
    (c,) = g.until(lambda: closed(peer=who), "it is thrown out")
    assert "not trusted any more" in c["reason"], c
    assert c["subscription"] == "poll://thief/", c
    node.write_trust([PEER, g.Certificate.get("second").thumbprint])
    node.process.send_signal(signal.SIGHUP)
    thief.close()


def who_is_refused_is_counted_with_the_reason():
    stranger = g.Certificate.get("stranger").thumbprint
    for _ in range(3):
        peer = g.Peer(node, "stranger")
        peer.send(b"MX-CLIENT-1.0\r\n\r\n")
        peer.at_eof()
        peer.close()

    def refused():
        return [r for r in get("/unauthz")["refused"]
                if r["thumbprint"] == stranger and r["count"] == 3]
    (r,) = g.until(refused, "three refusals are one entry")
    assert r["address"] == "127.0.0.1", r
    assert stranger in r["reason"] and r["first_at"] <= r["last_at"], r
    assert not closed(thumbprint=stranger), "others would lose their place"


def a_subscription_that_two_machines_claim_is_warned_of():
    one = g.Poller(node, "poll://shared")
    two = g.Poller(node, "poll://shared", certificate="second")
    node.wait_idle_poller("poll://shared/", 2)

    def row():
        return [s for s in get("/subsz")["subscriptions"]
                if s["uri"] == "poll://shared/"][0]
    g.until(lambda: row()["machines"] == 2, "two certificates")
    assert row()["warning"], row()
    two.close()
    g.until(lambda: row()["machines"] == 1, "the other one is gone")
    assert row()["warning"] is None, row()
    one.close()
    g.until(lambda: row()["connections"] == 0, "both are gone")
    assert row()["last_seen_at"] is not None, "it is remembered"


def the_last_time_that_a_trusted_peer_was_seen_is_known():
    def row(name):
        print_ = g.Certificate.get(name).thumbprint
        return [t for t in get("/trustz")["trusted"]
                if t["thumbprint"] == print_][0]
    poller = g.Poller(node, "poll://seen")
    node.wait_idle_poller("poll://seen/")
    g.until(lambda: row("peer")["connections"] == 1, "it has a connection")
    poller.close()
    g.until(lambda: row("peer")["connections"] == 0, "it has none")
    assert row("peer")["last_seen_at"] is not None
    assert "file" in row("peer")["source"]


def counts_agree_with_the_list():
    pollers = [g.Poller(node, f"poll://many-{i}") for i in range(7)]
    clients = [g.Client(node) for _ in range(5)]

    def agree():
        found = get("/connz")["connections"]
        workers = [w for w in get("/workersz")["workers"]
                   if w["kind"] == "connection"]
        for role, counter in (("subscriber", "subscribers"),
                              ("client", "clients"), ("server", "polls")):
            n = sum(c["role"] == role for c in found)
            if n != sum(w[counter] for w in workers):
                return False
        return sum(c["role"] == "client" for c in found) == 5
    g.until(agree, "as many as the workers count")
    for peer in pollers + clients:
        peer.close()
    g.until(lambda: not connections(role="client") and
            not connections(role="subscriber"), "all are gone")
    g.until(lambda: all(w["clients"] == w["subscribers"] == w["handshakes"]
                        == w["connections"] == 0
                        for w in get("/workersz")["workers"]),
            "nothing is counted any more")


def a_worker_that_dies_leaves_the_rest_of_the_list():
    pollers = [g.Poller(node, f"poll://dead-{i}") for i in range(4)]
    g.until(lambda: len(connections(role="subscriber")) == 4, "all poll")
    victim = node.worker_pids()[0]
    os.kill(victim, signal.SIGKILL)

    def replaced():
        rows = [w for w in get("/workersz")["workers"]
                if w["kind"] == "connection"]
        return [w for w in rows
                if w["restarts"] == 1 and w["state"] == "ready"]
    (w,) = g.until(replaced, "another one runs")
    assert "signal 9" in w["last_exit"] and w["last_exit_at"], w
    g.until(lambda: 0 < len(connections(role="subscriber")) < 4,
            "those of the other worker are left")
    for p in pollers:
        p.close()


def each_process_says_what_it_costs():
    def fed():
        return [w for w in get("/workersz")["workers"]
                if w["kind"] in ("master", "connection", "service")]
    g.until(lambda: all(w["resident_bytes"] > 1000000 and
                        w["cpu_user_us"] + w["cpu_system_us"] > 0
                        for w in fed()), "memory and processor time")
    for w in fed():
        shown = os.listdir(f"/proc/{w['pid']}/fd")
        assert w["descriptors"] == 0 or \
            abs(w["descriptors"] - len(shown)) < 10, (w, shown)


def the_node_tells_its_file_and_its_times():
    doc = get("/varz")
    with open(node.conf, "rb") as f:
        digest = hashlib.sha256(f.read()).hexdigest()
    text = json.dumps(doc)
    assert digest in text, "the digest of the configuration"
    assert node.certificate.thumbprint in text
    times = doc["call_time"]
    assert times["total"]["count"] == sum(times["total"]["buckets"]) > 0
    assert len(times["total"]["buckets"]) == len(times["bounds_us"]) + 1
    assert times["waiting"]["count"] <= times["total"]["count"]


g.main([
    connections_of_every_kind_are_shown,
    a_call_is_shown_at_its_connections_and_how_far_it_is,
    why_a_connection_was_closed_is_shown,
    who_is_refused_is_counted_with_the_reason,
    a_subscription_that_two_machines_claim_is_warned_of,
    the_last_time_that_a_trusted_peer_was_seen_is_known,
    counts_agree_with_the_list,
    a_worker_that_dies_leaves_the_rest_of_the_list,
    each_process_says_what_it_costs,
    the_node_tells_its_file_and_its_times,
])
