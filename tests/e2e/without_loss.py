#!/usr/bin/env python3
"""Calls go on while the gateway is reloaded, drained, stopped and started
again: none is lost, none is executed twice, no caller sees an error.

Clients and polling services behave as those of .NET do: a client tries again
as long as it is still connecting (nothing of its request was sent), NEXT that
is not answered included, and never afterwards; a poller dials again when its
connection has ended. Only their pauses are shorter.
"""
import collections
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time

import gateway as g
import handed_over
from cluster_nodes import Cluster, Proxy, has_redis
from gateway import Certificate, Client, Closed, Node, Poller, ctl, until

BROKEN = (Closed, OSError, AssertionError)
CLIENTS = 6
MACHINES = 3  # polling services
CONNECTIONS = 2  # of each, to each node
PAUSE = 0.2
LEAST = 150  # calls; the machine may be slow, but not dead


class Load:
    """Calls to polling services, through any of nodes, until finish()."""

    def __init__(self, nodes):
        self.nodes = nodes
        self.lock = threading.Lock()
        self.counts = collections.Counter()
        self.executed = collections.Counter()
        self.wrong = []
        self.last = 0
        self.ends = threading.Event()
        self.gone = threading.Event()  # the callers are
        self.pollers = [
            threading.Thread(target=self.poll, args=(node, m), daemon=True)
            for node in nodes for m in range(MACHINES)
            for _ in range(CONNECTIONS)]
        self.callers = [threading.Thread(target=self.keep_calling, args=(i,),
                                         daemon=True) for i in range(CLIENTS)]
        for t in self.pollers:
            t.start()
        for node in nodes:
            for m in range(MACHINES):
                node.wait_idle_poller(f"poll://machine-{m}/", CONNECTIONS)
        for t in self.callers:
            t.start()
        self.wait_calls(20)

    def count(self, what, text=None):
        with self.lock:
            self.counts[what] += 1
            if text:
                self.wrong.append(text)

    def number(self):
        with self.lock:
            self.last += 1
            return self.last

    # The services

    def poll(self, node, machine):
        while not self.gone.is_set():
            try:
                p = Poller(node, f"poll://machine-{machine}/")
            except ConnectionRefusedError:
                self.count("refused")
                self.gone.wait(PAUSE)
                continue
            except BROKEN:
                self.gone.wait(PAUSE)
                continue
            try:
                while True:
                    self.serve_one(p)
            except BROKEN:
                p.close()
                self.gone.wait(PAUSE)

    def serve_one(self, p):
        request, _ = p.take()
        n = request["params"][0]
        with self.lock:
            self.executed[n] += 1
        if n % 7 == 0:  # some take their time
            self.gone.wait(0.05)
        p.answer(request, n + 1)
        p.expect(b"PROCEED\r\n")

    # The clients

    def connection(self, pool, node):
        if pool.get(node):
            c = pool[node].pop()
            c.send(b"NEXT\r\n")
            c.expect(b"PROCEED\r\n")
            c.used = False  # NEXT was said
            return c
        return Client(node)

    def keep_calling(self, i):
        pool = {}
        while not self.ends.is_set():
            self.call(pool, i)
            if random.random() < 0.1:  # others connect anew
                for connections in pool.values():
                    for c in connections:
                        c.close()
                pool = {}

    def call(self, pool, i):
        n = self.number()
        for attempt in range(30):
            # As a balancer does, the next one if one refuses.
            node = self.nodes[(i + attempt) % len(self.nodes)]
            try:
                c = self.connection(pool, node)
            except ConnectionRefusedError:
                self.count("refused")
                self.ends.wait(PAUSE)
                continue
            except BROKEN:
                self.count("connected anew")
                self.ends.wait(PAUSE)
                continue
            self.carry_out(pool, node, c, n)
            return
        if self.ends.is_set():  # nobody waits for it any more
            self.executed[n] += 1
            self.count("not begun")
        else:
            self.count("failed", f"call {n} could not connect")

    def carry_out(self, pool, node, c, n):
        try:
            reply, _ = c.call(f"poll://machine-{n % MACHINES}/", "ICount",
                              "AddOne", n)
        except BROKEN as e:
            self.count("lost", f"call {n} was lost: {e!r}")
            return
        if reply["error"] is not None or reply["result"] != n + 1:
            self.count("failed", f"call {n}: {reply}")
        else:
            self.count("answered")
        pool.setdefault(node, []).append(c)

    # The test

    def wait_calls(self, more):
        before = self.counts["answered"]
        until(lambda: self.counts["answered"] >= before + more or
              self.wrong, f"{more} more calls: {self.counts} {self.wrong}",
              patience=90)

    def finish(self, refused=0):
        self.ends.set()
        for t in self.callers:
            t.join(g.PATIENCE * 2)
            assert not t.is_alive(), "a call does not end"
        self.gone.set()
        print(f"# {dict(self.counts)}, executed {len(self.executed)}")
        twice = [n for n, times in self.executed.items() if times != 1]
        never = [n for n in range(1, self.last + 1) if not self.executed[n]]
        assert not self.wrong, self.wrong[:5]
        assert not twice, f"executed more than once: {twice[:5]}"
        assert not never, f"never executed: {never[:5]}"
        assert self.counts["refused"] <= refused, self.counts
        assert self.counts["answered"] >= LEAST, self.counts


def connection_pids(node):
    return {w["pid"] for w in node.status()["workers"]
            if w["kind"] == "connection"}


def test_reload_with_another_certificate():
    node = Node('drain_spread = 500ms\nlog_level = "info"\n')
    path = os.path.join(node.dir, "node.pem")
    shutil.copy(node.certificate.path, path)
    node.base = node.base.replace(node.certificate.path, path)
    node.write_conf('drain_spread = 500ms\nlog_level = "info"\n')
    load = Load([node])
    for name in ("other", "gateway", "other"):
        before = connection_pids(node)
        shutil.copy(Certificate.get(name).path, path)
        ctl("reload", "--socket", node.control, check=True)
        until(lambda: not before & connection_pids(node), "others serve",
              patience=90)
        load.wait_calls(60)
    load.finish()
    assert node.stop() == 0


def test_reload_of_limits_again_and_again():
    node = Node('drain_spread = 200ms\nlog_level = "info"\n')
    load = Load([node])
    for i in range(6):
        node.write_conf(f'drain_spread = 200ms\nlog_level = "info"\n'
                        f'next_request_idle_timeout = {i + 60}s\n')
        ctl("reload", "--socket", node.control, check=True)
        load.wait_calls(40)
    load.finish()
    assert node.stop() == 0


def test_a_poller_that_always_has_work_is_let_go():
    node = Node("drain_spread = 0s\n")
    p = Poller(node, "poll://busy/")
    node.wait_idle_poller("poll://busy/")
    clients = [Client(node) for _ in range(20)]
    for n, c in enumerate(clients):
        c.start("poll://busy/", "ICount", "AddOne", n)
    until(lambda: node.status()["calls"]["in_flight"] == len(clients),
          "all ask")
    served = []

    def serve_one():
        request, _ = p.take()
        served.append(request["params"][0])
        p.answer(request, request["params"][0] + 1)
        p.expect(b"PROCEED\r\n")

    serve_one()
    before = connection_pids(node)
    node.write_conf("drain_spread = 0s\nnext_request_idle_timeout = 59s\n")
    ctl("reload", "--socket", node.control, check=True)
    until(lambda: before < connection_pids(node) and
          "finishes what it carries" in node.log(), "old workers retire")
    with contextlib.suppress(*BROKEN):
        while True:
            serve_one()
    assert len(served) < len(clients), "it was never let go"
    p = Poller(node, "poll://busy/")
    while len(served) < len(clients):
        serve_one()
    assert sorted(served) == list(range(len(clients)))
    for n, c in enumerate(clients):
        reply, _ = c.finish()
        assert reply["result"] == n + 1, reply
    until(lambda: not before & connection_pids(node), "the old ones are gone")
    assert node.stop() == 0


def test_what_waits_at_a_drained_node_is_served():
    node = Node("drain_spread = 0s\n")
    p = Poller(node, "poll://busy/")
    idle = Poller(node, "poll://idle/")
    for uri in ("poll://busy/", "poll://idle/"):
        node.wait_idle_poller(uri)
    clients = [Client(node) for _ in range(20)]
    for n, c in enumerate(clients):
        c.start("poll://busy/", "ICount", "AddOne", n)
    until(lambda: node.status()["calls"]["in_flight"] == len(clients),
          "all ask")
    ctl("drain", "--socket", node.control, check=True)
    assert idle.at_eof(), idle.buffer
    for n in range(len(clients)):
        request, _ = p.take()
        p.answer(request, request["params"][0] + 1)
        with contextlib.suppress(Closed):
            p.expect(b"PROCEED\r\n")
    for n, c in enumerate(clients):
        reply, _ = c.finish()
        assert reply["error"] is None and reply["result"] == n + 1, reply
    assert node.stop() == 0


def test_of_a_machine_with_several_connections_some_stay_for_a_while():
    conf = "drain_spread = 1h\n"
    node = Node(conf, workers=1)
    others = [Poller(node, f"poll://other-{i}/") for i in range(10)]
    # The last ones come first in the worker's list.
    many = [Poller(node, "poll://many/") for _ in range(5)]
    node.wait_idle_poller("poll://many/", len(many))
    for p in many:
        p.serve(lambda request, streams: "here")
    node.write_conf(conf + "next_request_idle_timeout = 59s\n")
    ctl("reload", "--socket", node.control, check=True)
    for p in others:  # they have no other connection: no need to wait
        assert p.at_eof()
    until(lambda: node.subscription("poll://many/")["connections"] == 4,
          "one of them was let go")
    reply, _ = Client(node).call("poll://many/", "IAny", "Echo", "x")
    assert reply["result"] == "here", reply
    assert node.subscription("poll://many/")["connections"] == 4
    assert node.stop() == 0


def worker_of_each(node, uri):
    """The connection workers that have its polling connections."""
    shown = json.loads(ctl("connections", "--json", "--socket", node.control,
                           check=True).stdout)
    return [c["worker"] for c in shown["connections"]
            if c["subscription"] == uri]


def keeps_one_connection(workers, spread):
    """A machine has two connections, and none comes back before a call was
    answered."""
    conf = f"drain_spread = {spread}\n"
    node = Node(conf, workers=workers)
    uri = "poll://two/"
    served = [Poller(node, uri).serve(lambda request, streams: "here")
              for _ in range(2)]
    node.wait_idle_poller(uri, 2)
    assert len(set(worker_of_each(node, uri))) == workers
    before = connection_pids(node)
    node.write_conf(conf + "next_request_idle_timeout = 59s\n")
    ctl("reload", "--socket", node.control, check=True)
    until(lambda: not all(t.is_alive() for t in served), "one is let go")
    client = Client(node)
    for _ in range(3):
        reply, _ = client.call(uri, "IAny", "Echo", "x")
        assert reply["result"] == "here", reply
    assert any(t.is_alive() for t in served), "both were let go"
    # One comes back: then the other one goes, too.
    Poller(node, uri).serve(lambda request, streams: "there")
    until(lambda: not any(t.is_alive() for t in served), "the other follows")
    until(lambda: not before & connection_pids(node), "the old ones are gone")
    reply, _ = client.call(uri, "IAny", "Echo", "x")
    assert reply["result"] == "there", reply
    assert node.stop() == 0


def test_a_machine_with_a_connection_at_each_worker_keeps_one_meanwhile():
    keeps_one_connection(2, "10s")


def test_a_machine_whose_connections_are_to_go_at_once_keeps_one_meanwhile():
    keeps_one_connection(1, "0s")


def test_one_node_of_two_is_drained_and_comes_back():
    nodes = [Node('drain_spread = 500ms\nlog_level = "info"\n')
             for _ in range(2)]
    load = Load(nodes)
    for node in nodes * 2:
        drain_and_undrain(node, load)
        assert node.status()["state"] == "running"
        for m in range(MACHINES):
            node.wait_idle_poller(f"poll://machine-{m}/")
        load.wait_calls(40)
    # A drained node refuses: that is how a balancer notices.
    load.finish(refused=10**6)
    for node in nodes:
        assert node.stop() == 0


def drain_and_undrain(node, load):
    ctl("drain", "--socket", node.control, check=True)
    assert node.status()["state"] == "drained"
    until(lambda: all(w["connections"] == 0 and w["state"] == "ready"
                      for w in node.status()["workers"]
                      if w["kind"] == "connection"), "it is empty",
          patience=90)
    load.wait_calls(40)
    ctl("undrain", "--socket", node.control, check=True)


def stop_and_return(node, load):
    assert node.stop() == 0
    load.wait_calls(40)
    node.come_back()
    node.wait_redis()


def nodes_of_one_redis(leave):
    """Whatever one takes out of Redis reaches a poller of its own."""
    with Cluster(extra='drain_spread = 300ms\nlog_level = "info"\n') as all_:
        for node in all_.nodes:
            node.wait_redis()
        load = Load(all_.nodes)
        for node in all_.nodes * 2:
            leave(node, load)
            for m in range(MACHINES):
                node.wait_idle_poller(f"poll://machine-{m}/")
            load.wait_calls(40)
        load.finish(refused=10**6)
        for node in all_.nodes:
            assert node.stop() == 0


def test_one_node_of_two_on_redis_is_drained_and_comes_back():
    nodes_of_one_redis(drain_and_undrain)


def test_one_node_of_two_on_redis_is_stopped_and_comes_back():
    nodes_of_one_redis(stop_and_return)


def test_what_was_taken_out_of_redis_comes_before_its_poller_goes():
    extra = 'drain_spread = 0s\nlog_level = "info"\n'
    for leave in ("drain", "stop"):
        with Cluster(n=1, extra=extra) as all_:
            proxy = Proxy(all_.redis)
            a, b = all_.nodes[0], all_.new_node(url=proxy.url)
            all_.nodes.append(b)
            for node in (a, b):
                node.wait_redis()
            asked = all_.redis.commands()["lpop"]
            p = Poller(b, "poll://slow/")
            b.wait_idle_poller("poll://slow/")
            until(lambda: all_.redis.commands()["lpop"] > asked,
                  "Redis has nothing for it yet")
            client = Client(a)
            released = proxy.hold_reply(b"LPOP")
            client.start("poll://slow/", "ICount", "AddOne", 1)
            assert proxy.caught.wait(g.PATIENCE), "nobody takes it"
            proxy.delay = 1  # for each answer of Redis, one after the other
            if leave == "drain":
                ctl("drain", "--socket", b.control, check=True)
            else:
                b.process.send_signal(signal.SIGTERM)
            b.wait_log('"event":"(drained|stopping)"')
            released.set()
            request, _ = p.take()
            proxy.delay = 0
            p.answer(request, 2)
            reply, _ = client.finish()
            assert reply["error"] is None and reply["result"] == 2, reply
            with contextlib.suppress(Closed):
                p.expect(b"PROCEED\r\n")
            assert p.at_eof(), p.buffer


class Inherited(Node):
    """Its listening socket belongs to us, as it does to systemd."""

    def start(self, log, before, env):
        if not hasattr(self, "listener"):
            self.listener = socket.create_server(("127.0.0.1", 0),
                                                 backlog=4096)
        return handed_over.popen(
            [os.path.join(g.BUILD, "halibutd"), "-c", self.conf],
            [self.listener], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def restart(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(g.PATIENCE * 3) == 0
        with open(self.log_path, "ab") as log:
            self.process = self.start(log, None, None)


def test_restart_with_a_socket_that_outlives_it():
    node = Inherited('drain_spread = 300ms\nstop_delay = 200ms\n'
                     'stop_timeout = 1min\nlog_level = "info"\n')
    load = Load([node])
    for _ in range(3):
        node.restart()
        load.wait_calls(60)
    load.finish()
    assert "did not stop within" not in node.log()
    assert node.stop() == 0


def test_stop_without_anything_in_its_place():
    """Callers then cannot connect; but what was begun is finished."""
    node = Node('drain_spread = 300ms\nlog_level = "info"\n')
    load = Load([node])
    load.wait_calls(LEAST)
    load.ends.set()  # the last calls are under way
    assert node.stop(signal.SIGQUIT) == 0
    load.finish(refused=10**6)


def test_term_twice_or_int_is_now():
    for signals in ((signal.SIGTERM, signal.SIGTERM), (signal.SIGINT,)):
        node = Node("stop_timeout = 1h\n")
        p = Poller(node, "poll://busy/")
        node.wait_idle_poller("poll://busy/")
        client = Client(node)
        client.start("poll://busy/", "IAny", "Echo", "x")
        p.take()
        for n, sig in enumerate(signals):
            began = time.monotonic()
            node.process.send_signal(sig)
            if n + 1 < len(signals):
                node.wait_log("stopping: SIGTERM")
        assert node.process.wait(g.PATIENCE) == 0
        assert time.monotonic() - began < g.PATIENCE


def test_what_waits_and_nobody_can_take_is_answered_as_not_executed():
    node = Node()
    client = Client(node)
    client.start("poll://absent/", "IAny", "Echo", "x")
    until(lambda: node.status()["calls"]["waiting"] == 1, "it waits")
    node.process.send_signal(signal.SIGTERM)
    reply, _ = client.finish()
    text = reply["error"]["message"]
    assert "stopping" in text and "not sent" in text, text
    # What .NET takes for a reason to try again.
    assert "possibly because the node processing the request shutdown" in text
    assert client.at_eof()
    assert node.process.wait(g.PATIENCE) == 0


def test_it_serves_for_a_while_though_it_is_not_ready():
    node = Node("stop_delay = 3s\n")
    Poller(node, "poll://a/").serve(lambda r, s: "hello")
    node.wait_idle_poller("poll://a/")
    node.process.send_signal(signal.SIGTERM)
    until(lambda: node.status()["state"] == "leaving", "it is leaving")
    reply, _ = Client(node).call("poll://a/", "IAny", "Echo", "x")
    assert reply["result"] == "hello", reply
    assert node.process.wait(g.PATIENCE) == 0


def test_drained_it_serves_for_a_while_though_it_is_not_ready():
    """A drain takes effect when balancers have had time to notice."""
    node = Node("stop_delay = 3s\ndrain_spread = 0s\n")
    Poller(node, "poll://a/").serve(lambda r, s: "hello")
    node.wait_idle_poller("poll://a/")
    ctl("drain", "--socket", node.control, check=True)
    assert node.status()["state"] == "leaving"
    reply, _ = Client(node).call("poll://a/", "IAny", "Echo", "x")
    assert reply["result"] == "hello", reply
    until(lambda: node.status()["state"] == "drained", "it is drained")
    try:
        Client(node)
        raise AssertionError("a drained node takes connections")
    except BROKEN as e:
        assert not isinstance(e, AssertionError), e
    ctl("undrain", "--socket", node.control, check=True)
    Client(node).close()
    assert node.stop() == 0


def test_a_drain_that_is_taken_back_in_time_changes_nothing():
    node = Node("stop_delay = 1h\n")
    p = Poller(node, "poll://a/")
    p.serve(lambda r, s: "hello")
    node.wait_idle_poller("poll://a/")
    before = connection_pids(node)
    ctl("drain", "--socket", node.control, check=True)
    ctl("undrain", "--socket", node.control, check=True)
    assert node.status()["state"] == "running"
    reply, _ = Client(node).call("poll://a/", "IAny", "Echo", "x")
    assert reply["result"] == "hello", reply
    assert connection_pids(node) == before
    ctl("drain", "--socket", node.control, check=True)
    assert node.stop(signal.SIGINT) == 0


if __name__ == "__main__":
    g.main([v for k, v in list(globals().items()) if k.startswith("test_")
            and (has_redis() or "redis" not in k)])
