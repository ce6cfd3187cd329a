#!/usr/bin/env python3
"""What becomes of the calls that a gateway has, or is asked, while it leaves:
each way to stop, with services that take their time, here and at another node
of the same Redis.
"""
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time

import gateway as g
from cluster_nodes import Cluster, Proxy, has_redis
from gateway import Client, Node, Poller, ctl, until


def connection_pids(node):
    return {w["pid"] for w in node.status()["workers"]
            if w["kind"] == "connection"}


# A service program: writes down what it is asked, and answers once the file
# "go" is there.
PATIENT = """
import json, os, sys, threading
os.chdir(sys.argv[1])
for line in sys.stdin:
    call = json.loads(line)
    n = call["params"][0]
    with open("asked", "a") as f:
        f.write(f"{n}\\n")
    while not os.path.exists("go"):
        threading.Event().wait(0.01)
    print(json.dumps({"jsonrpc": "2.0", "id": call["id"], "result": n + 1}),
          flush=True)
"""


class Hosted:
    """A queue endpoint of a gateway, with a service that takes one request at
    a time and answers none before release()."""

    numbers = itertools.count(1)
    uri = "queue://work/"

    def __init__(self):
        self.dir = os.path.join(g._work, f"hosted{next(Hosted.numbers)}")
        os.mkdir(self.dir)
        program = os.path.join(self.dir, "patient.py")
        with open(program, "w") as f:
            f.write(PATIENT)
        self.conf = (f'service "ICount" {{ command = "{sys.executable} '
                     f'{program} {self.dir}" }}\n'
                     f'queue "{self.uri}" {{ concurrency = 1 }}\n')

    def asked(self):
        try:
            with open(os.path.join(self.dir, "asked")) as f:
                return [int(line) for line in f]
        except FileNotFoundError:
            return []

    def release(self):
        with open(os.path.join(self.dir, "go"), "w"):
            pass


def start_calls(hosted, n, node):
    """n clients whose calls have come; one is executed, the others wait."""
    clients = [Client(node) for _ in range(n)]
    for i, c in enumerate(clients):
        c.start(hosted.uri, "ICount", "AddOne", i)
    until(lambda: node.status()["calls"]["waiting"] == n - 1 and
          len(hosted.asked()) == 1, "one is executed, the others wait")
    return clients


def finish_calls(hosted, clients):
    for i, c in enumerate(clients):
        reply, _ = c.finish()
        assert reply["error"] is None and reply["result"] == i + 1, reply
    assert sorted(hosted.asked()) == list(range(len(clients)))


def test_what_waits_for_a_queue_of_this_node_is_served_before_it_stops():
    for sig in (signal.SIGTERM, signal.SIGQUIT):
        hosted = Hosted()
        node = Node("stop_timeout = 1h\n" + hosted.conf)
        clients = start_calls(hosted, 6, node)
        node.process.send_signal(sig)
        until(lambda: node.status()["state"] == "draining", "it stops")
        hosted.release()
        finish_calls(hosted, clients)
        assert node.process.wait(g.PATIENCE) == 0


def test_what_waits_for_a_queue_of_this_node_is_served_though_it_is_drained():
    hosted = Hosted()
    node = Node("drain_spread = 0s\n" + hosted.conf)
    clients = start_calls(hosted, 6, node)
    before = connection_pids(node)
    ctl("drain", "--socket", node.control, check=True)
    until(lambda: before < connection_pids(node), "old workers finish")
    hosted.release()
    finish_calls(hosted, clients)
    until(lambda: not before & connection_pids(node), "they are gone")
    # Who is at the machine itself is served, now and later.
    for order in ("drain", "undrain"):
        ctl(order, "--socket", node.control, check=True)
        done = node.call(hosted.uri, "ICount", "AddOne", "100")
        assert done.returncode == 0 and b"101" in done.stdout, done
    assert node.stop() == 0


def test_what_still_waits_at_the_deadline_ends_as_not_executed():
    hosted = Hosted()
    node = Node("stop_timeout = 1s\n" + hosted.conf)
    p = Poller(node, "poll://slow/")
    node.wait_idle_poller("poll://slow/")
    taken = Client(node)
    taken.start("poll://slow/", "IAny", "Echo", "x")
    p.take()
    waiting = start_calls(hosted, 3, node)
    executed = waiting.pop(hosted.asked()[0])
    waiting.append(Client(node))
    waiting[-1].start("poll://slow/", "IAny", "Echo", "y")
    until(lambda: node.status()["calls"]["waiting"] == 3, "three wait")
    node.process.send_signal(signal.SIGTERM)
    for client in waiting:
        text = client.finish()[0]["error"]["message"]
        assert "is stopping; the request was not sent" in text, text
    assert taken.at_eof() and executed.at_eof()  # cut off: who knows
    assert node.process.wait(g.PATIENCE) == 0
    assert len(hosted.asked()) == 1


def test_who_asks_over_the_control_socket_is_answered_before_it_stops():
    hosted = Hosted()
    node = Node("stop_timeout = 1h\n" + hosted.conf)
    calls = [subprocess.Popen(
        [os.path.join(g.BUILD, "halibutctl"), "call", "--socket",
         node.control, hosted.uri, "ICount", "AddOne", str(n)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE) for n in range(3)]
    until(lambda: node.status()["calls"]["waiting"] == 2 and
          len(hosted.asked()) == 1, "one is executed, the others wait")
    node.process.send_signal(signal.SIGTERM)
    until(lambda: all(w["state"] == "gone" for w in node.status()["workers"]
                      if w["kind"] == "connection"),
          "there are no connections any more")
    hosted.release()
    for n, call in enumerate(calls):
        out, err = call.communicate(timeout=g.PATIENCE)
        assert call.returncode == 0 and str(n + 1).encode() in out, err
    assert node.process.wait(g.PATIENCE) == 0


def test_what_was_taken_out_of_redis_comes_to_a_queue_of_this_node():
    for leave in ("drain", "stop"):
        hosted = Hosted()
        hosted.release()
        with Cluster(n=1, extra="drain_spread = 0s\n") as all_:
            proxy = Proxy(all_.redis)
            a, b = all_.nodes[0], all_.new_node(all_.extra + hosted.conf,
                                                url=proxy.url)
            all_.nodes.append(b)
            for node in (a, b):
                node.wait_redis()
            client = Client(a)
            client.call(hosted.uri, "ICount", "AddOne", 0)  # all is set up
            released = proxy.hold_reply(b"HMGET")
            client.start(hosted.uri, "ICount", "AddOne", 1)
            assert proxy.caught.wait(g.PATIENCE), "nobody takes it"
            if leave == "drain":
                ctl("drain", "--socket", b.control, check=True)
            else:
                b.process.send_signal(signal.SIGTERM)
            b.wait_log("drained|stopping: SIGTERM")
            released.set()
            reply, _ = client.finish()
            assert reply["error"] is None and reply["result"] == 2, reply


@contextlib.contextmanager
def in_flight_through_redis(extra):
    """(cluster: the caller's node and the service's, client, poller,
    request)"""
    with Cluster(extra=extra) as all_:
        a, b = all_.nodes
        for node in (a, b):
            node.wait_redis()
        p = Poller(b, "poll://slow/")
        b.wait_idle_poller("poll://slow/")
        client = Client(a)
        client.start("poll://slow/", "IAny", "Echo", "x")
        request, _ = p.take()
        yield all_, client, p, request


def outlast(node, seconds):
    """Until the node, which leaves, is so much older."""
    before = node.status()["uptime_s"]
    until(lambda: node.status()["uptime_s"] > before + seconds,
          "time passes for the node")


def test_quit_waits_for_calls_through_redis_however_long_they_take():
    for leaving in ("of the caller", "of the service"):
        with in_flight_through_redis("stop_timeout = 1s\n") as (
                all_, client, p, request):
            node = all_.nodes[leaving == "of the service"]
            node.process.send_signal(signal.SIGQUIT)
            until(lambda: node.status()["state"] == "draining", "it stops")
            outlast(node, 1)
            p.answer(request, "late")
            reply, _ = client.finish()
            assert reply["result"] == "late", (leaving, reply)
            assert node.process.wait(g.PATIENCE) == 0


def test_quit_lifts_the_deadline_of_a_stop_under_way():
    node = Node("stop_timeout = 5s\n")
    p = Poller(node, "poll://slow/")
    node.wait_idle_poller("poll://slow/")
    client = Client(node)
    client.start("poll://slow/", "IAny", "Echo", "x")
    request, _ = p.take()
    node.process.send_signal(signal.SIGTERM)
    node.wait_log("stopping: SIGTERM")
    node.process.send_signal(signal.SIGQUIT)
    node.wait_log("the stop has no deadline any more")
    outlast(node, 5)
    p.answer(request, "late")
    reply, _ = client.finish()
    assert reply["result"] == "late", reply
    assert node.process.wait(g.PATIENCE) == 0


def test_who_stops_at_once_tells_other_nodes_through_redis():
    for signals in ((signal.SIGTERM, signal.SIGTERM), (signal.SIGINT,)):
        for leaving in ("of the caller", "of the service"):
            with in_flight_through_redis("stop_timeout = 1h\n") as (
                    all_, client, p, request):
                node = all_.nodes[leaving == "of the service"]
                node.process.send_signal(signals[0])
                for sig in signals[1:]:
                    node.wait_log("stopping: SIGTERM")
                    node.process.send_signal(sig)
                if leaving == "of the service":
                    # Without that it waits for heart beats, a minute.
                    text = client.finish()[0]["error"]["message"]
                    assert text.startswith("The request was abandoned, "
                                           "possibly because"), text
                else:
                    assert client.at_eof(), client.buffer
                assert p.at_eof(), p.buffer
                assert node.process.wait(g.PATIENCE) == 0


def test_who_stops_at_once_waits_no_longer_for_a_redis_that_hangs():
    hurry = "could not tell the other nodes in time"
    for n in (1, 2):
        with in_flight_through_redis("stop_timeout = 1h\n") as (
                all_, client, p, request):
            node = all_.nodes[1]
            all_.redis.freeze()
            began = time.monotonic()
            node.process.send_signal(signal.SIGINT)
            assert p.at_eof(), p.buffer
            if n == 2:
                node.process.send_signal(signal.SIGINT)
            took = time.monotonic() - began
            assert node.process.wait(g.PATIENCE) == 0
            if n == 1:
                assert hurry in node.log(), node.log()[-2000:]
            elif took < 4:  # else its time may have been over anyhow
                assert hurry not in node.log(), node.log()[-2000:]


def test_a_service_that_restarts_meanwhile_does_not_hold_up_a_stop():
    """What it had taken is lost with it; what it had not is not executed, and
    may be tried elsewhere."""
    node = Node("stop_timeout = 1h\n")
    p = Poller(node, "poll://slow/")
    node.wait_idle_poller("poll://slow/")
    taken = Client(node)
    taken.start("poll://slow/", "IAny", "Echo", 0)
    p.take()
    waiting = [Client(node) for _ in range(3)]
    for n, client in enumerate(waiting, 1):
        client.start("poll://slow/", "IAny", "Echo", n)
    until(lambda: node.status()["calls"]["waiting"] == len(waiting), "they wait")
    node.process.send_signal(signal.SIGTERM)
    until(lambda: node.status()["state"] == "draining", "it stops")
    p.close()
    assert taken.finish()[0]["error"] is not None
    for client in waiting:
        text = client.finish()[0]["error"]["message"]
        assert "is stopping; the request was not sent" in text, text
    assert node.process.wait(g.PATIENCE) == 0


def test_a_caller_that_restarts_meanwhile_does_not_hold_up_a_stop():
    node = Node("stop_timeout = 1h\n")
    p = Poller(node, "poll://slow/")
    node.wait_idle_poller("poll://slow/")
    clients = [Client(node) for _ in range(3)]
    for n, client in enumerate(clients):
        client.start("poll://slow/", "IAny", "Echo", n)
    until(lambda: node.status()["calls"]["waiting"] == 2, "two wait")
    p.take()
    node.process.send_signal(signal.SIGTERM)
    until(lambda: node.status()["state"] == "draining", "it stops")
    for client in clients:
        client.close()
    assert p.at_eof(), p.buffer  # nobody wants it any more
    assert node.process.wait(g.PATIENCE) == 0


def test_peers_at_either_node_of_a_redis_that_restart_do_not_hold_up_a_stop():
    for leaving, restarts in itertools.product((0, 1), ("caller", "service")):
        with in_flight_through_redis("stop_timeout = 1h\n") as (
                all_, client, p, request):
            node = all_.nodes[leaving]
            node.process.send_signal(signal.SIGTERM)
            until(lambda: node.status()["state"] == "draining", "it stops")
            if restarts == "caller":
                client.close()
                assert p.at_eof(), p.buffer  # nobody wants it any more
            else:
                p.close()
                assert client.finish()[0]["error"] is not None
            assert node.process.wait(g.PATIENCE) == 0


if __name__ == "__main__":
    g.main([v for k, v in list(globals().items()) if k.startswith("test_")
            and (has_redis() or "redis" not in k)])
