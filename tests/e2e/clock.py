#!/usr/bin/env python3
"""The clock on the wall jumps by hours: what is under way goes on, what waits
waits as long as it should, and the status says what is so.
"""
import datetime
import json
import os
import struct
import threading
import time

from gateway import (BUILD, Client, Node, PATIENCE, Poller, echo_first, main,
                     until)
from cluster_nodes import Cluster, has_redis

HOUR = 3600
LONG = 120  # without a word, on a busy machine
JUMPS = (5 * HOUR, -7 * HOUR, 300 * 24 * HOUR, 0)
LIBRARY = os.path.join(BUILD, "tests/e2e/.libs/clock_shift.so")


class Clock:
    """Of one gateway and all of its processes."""

    count = 0

    def __init__(self):
        Clock.count += 1
        self.path = f"/tmp/halibut-clock-{os.getpid()}-{Clock.count}"
        self.set(0)
        self.env = {"LD_PRELOAD": LIBRARY, "CLOCK_SHIFT": self.path}

    def set(self, seconds):
        """In place: it is mapped."""
        with open(self.path, "r+b" if os.path.exists(self.path) else "wb") as f:
            f.write(struct.pack("<q", seconds))
        self.shift = seconds

    def remove(self):
        os.unlink(self.path)


def shown_time(node):
    """What time it is, as the node says; it is another than ours."""
    line = [l for l in node.log().splitlines() if '"time"' in l][-1]
    return datetime.datetime.fromisoformat(
        json.loads(line)["time"].replace("Z", "+00:00")).timestamp()


def is_shifted(node, clock):
    node.call("https://nobody.test/", "I", "M")  # that is worth a line
    return abs(shown_time(node) - time.time() - clock.shift) < HOUR / 2


def counts(node):
    status = node.status()
    return ([w["restarts"] for w in status["workers"]],
            [w["pid"] for w in status["workers"]])


def calls_go_on_while_the_clock_jumps():
    clock = Clock()
    node = Node(env=clock.env)
    Poller(node, "poll://quick", timeout=LONG).serve(echo_first)
    slow = Poller(node, "poll://slow", timeout=LONG)
    node.wait_idle_poller("poll://quick/")
    node.wait_idle_poller("poll://slow/")
    under_way, client = Client(node), Client(node)
    under_way.start("poll://slow/", "I", "M", 1)
    request, _ = slow.take()
    before = counts(node)
    for jump in JUMPS:
        clock.set(jump)
        until(lambda: is_shifted(node, clock), "it shows in the log")
        for i in range(50):
            reply, _ = client.call("poll://quick/", "I", "Echo", i)
            assert reply["result"] == i, reply
        sub = node.subscription("poll://slow/")
        assert sub["busy"] == 1 and sub["machines"] == 1, sub
        assert all(0 <= w["uptime_s"] < HOUR
                   for w in node.status()["workers"]), node.status()
    slow.answer(request, 2)
    reply, _ = under_way.finish()
    assert reply["result"] == 2, reply
    assert counts(node) == before, "no worker was taken for one that hangs"
    node.stop()
    clock.remove()


def what_waits_for_a_taker_waits_as_long_as_it_may():
    clock = Clock()
    node = Node(env=clock.env)
    clients = [Client(node) for _ in range(2)]
    clients[0].start("poll://nobody/", "I", "M", 1,
                     queue_timeout="00:00:04")
    clients[1].start("poll://late/", "I", "Echo", 7)
    until(lambda: (node.subscription("poll://late/") or {}).get("waiting"),
          "it waits")
    clock.set(24 * HOUR)
    until(lambda: is_shifted(node, clock), "it shows in the log")
    # Not because the clock says that it is over.
    assert node.subscription("poll://late/")["waiting"] == 1
    clock.set(-24 * HOUR)
    reply, _ = clients[0].finish()
    assert reply["error"] is not None, reply
    Poller(node, "poll://late", timeout=LONG).serve(echo_first)
    reply, _ = clients[1].finish()
    assert reply["result"] == 7, reply
    node.stop()
    clock.remove()


def nodes_whose_clocks_differ_are_one_server():
    if not has_redis():
        return
    with Cluster(1) as cluster:
        clock = Clock()
        cluster.options = {"env": clock.env}
        cluster.nodes.append(cluster.new_node())
        near, far = cluster.nodes
        for node in cluster.nodes:
            node.wait_redis()
        Poller(far, "poll://far", timeout=LONG).serve(echo_first)
        slow = Poller(far, "poll://slow", timeout=LONG)
        far.wait_idle_poller("poll://far/")
        far.wait_idle_poller("poll://slow/")
        under_way, client = Client(near), Client(near)
        under_way.start("poll://slow/", "I", "M", 1)
        request, _ = slow.take()
        for jump in JUMPS:
            clock.set(jump)
            until(lambda: is_shifted(far, clock), "it shows in the log")
            for i in range(20):
                reply, _ = client.call("poll://far/", "I", "Echo", i)
                assert reply["result"] == i, reply
        # Its receiver's heart beats were heard all the time.
        slow.answer(request, 2)
        reply, _ = under_way.finish()
        assert reply["result"] == 2, reply
        cluster.stop()
        clock.remove()


def nodes_find_one_another_whatever_time_it_is_there():
    if not has_redis():
        return
    with Cluster(1) as cluster:
        clocks = []
        for n, shift in enumerate((-7 * HOUR, 5 * HOUR), 2):
            clock = Clock()
            clock.set(shift)
            clocks.append(clock)
            cluster.options = {"env": clock.env}
            cluster.nodes.append(cluster.new_node())
            for node in cluster.nodes:
                until(lambda: len(node.redis().get("nodes", ())) == n,
                      f"{node.dir} shows all {n} nodes", 3 * PATIENCE)
        gone = cluster.nodes.pop()
        gone.kill()
        cluster.redis.ask("DEL", *(k for k in cluster.redis.ask("KEYS", "*")
                                   if "string:HalibutNode" in k))
        # Those that are there come again; who is not is taken out.
        index, = (k for k in cluster.redis.ask("KEYS", "*")
                  if "zset:HalibutNode" in k)
        until(lambda: len(cluster.redis.ask("ZRANGE", index, 0, -1)) == 2,
              "two are left", 3 * PATIENCE)
        for node in cluster.nodes:
            until(lambda: len(node.redis().get("nodes", ())) == 2,
                  f"{node.dir} shows two", 3 * PATIENCE)
        cluster.stop()
        for clock in clocks:
            clock.remove()


if __name__ == "__main__":
    main([calls_go_on_while_the_clock_jumps,
          what_waits_for_a_taker_waits_as_long_as_it_may,
          nodes_whose_clocks_differ_are_one_server,
          nodes_find_one_another_whatever_time_it_is_there])
