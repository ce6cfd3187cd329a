#!/usr/bin/env python3
"""Sixteen callers call through two gateways, with DataStreams both ways,
while their Redis is stopped, frozen, flushed, failed over, slow, full or cut
off: each call ends in its time, none is executed twice, what can be saved is
answered, and nothing is left in Redis.

Usage: chaos.py [--all] [--long] [--seconds N] [SCENARIO...]
--all: also those that "make check" has no time for. --long takes the times of the specification and outages of 5, 20 and 60 s;
without it, all times are shortened by the same factor. --seconds: how long
the scenarios that repeat themselves go on.
"""
import argparse
import os
import random
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import halibut_wire as hw  # noqa: E402
from cluster_nodes import Cluster, Proxy, Redis, has_redis  # noqa: E402
from gateway import Client, Closed, Poller, free_port, until  # noqa: E402

PICKUP = "00:00:30"
URI, MEMORY = "poll://chaos/", "poll://memory/"
CALLERS = 16
DATA = os.urandom(100_000)
# With less for commands a machine with much else to do would be an outage.
SHORT = """
command_timeout = 1500ms
connect_timeout = 1500ms
heartbeat_delay = 700ms
heartbeat_interval = 1500ms
sender_gone = 9s
receiver_gone = 6s
sweep = 1500ms
retry_window = 3s
request_ttl_surcharge = 12s
response_ttl = 8s
cancel_marker_ttl = 8s
data_loss_check = 6s
data_loss_wait = 3s
"""
# What the specification has for a caller whose call could not be saved: 11.
RIGHT = (
    "Unable to reconnect to redis to get data loss detection CT",
    "failed since an error occured when preparing request for queue",
    "failed since an error occured inserting the data into the queue",
    "was cancelled because we detected that redis lost all of its data.",
    "did not send a heartbeat for long enough",
    "The request was abandoned, possibly because the node",
    "Error occured when reading data from the queue",
    "did not collect the request within the allowed time",
    "The response could not be put into the queue",
)
# In the details, when it ends at a moment at which Redis is gone.
UNSURE = "Redis could not be asked"
# Its response was on the way to the caller already.
BROKE_OFF = ("connection lost",)
KILLED = ("of the gateway ended while it carried the request",
          "The queue worker of the gateway is not ready",
          "was cancelled because the queue is shutting down",
          "connection lost")


class Service:
    """Counts what it executes; polls with connections that come back."""

    def __init__(self):
        self.executed = {}
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.peers = {}  # of the threads
        self.threads = []

    def poll(self, node, uri, n):
        for _ in range(n):
            self.threads.append(threading.Thread(
                target=self.run, args=(node, uri), daemon=True))
            self.threads[-1].start()

    def run(self, node, uri):
        while not self.ended.is_set():
            try:
                peer = Poller(node(), uri)
                self.peers[threading.current_thread()] = peer
                while not self.ended.is_set():
                    request, streams = peer.take()
                    number, stream = request["params"]
                    with self.lock:
                        self.executed[number] = \
                            self.executed.get(number, 0) + 1
                    self.ended.wait(random.random() / 50)
                    peer.answer(request, {
                        "number": number,
                        "bytes": hw.DataStream(streams[stream["id"]])})
                    peer.expect(hw.PROCEED)
            except (Closed, OSError, AssertionError, ValueError, KeyError,
                    IndexError, TypeError):
                self.ended.wait(0.05)

    def stop(self):
        """Each thread has come to its end before its connection is closed:
        it would go on with whatever gets the number of the descriptor."""
        self.ended.set()
        for thread in self.threads:
            while thread.is_alive():
                if thread in self.peers:
                    self.peers[thread].cut()
                thread.join(0.1)  # the next one may be made just now
        for peer in self.peers.values():
            peer.close()


class Caller(threading.Thread):
    """One call after the other, until it is told to end."""
    numbers = iter(range(1 << 60))

    def __init__(self, node, uri, patience):
        super().__init__(daemon=True)
        self.node, self.uri, self.patience = node, uri, patience
        self.ended = threading.Event()
        self.calls = []  # (number, outcome, began, ended)
        self.began = None
        self.start()

    def run(self):
        client = None
        while not self.ended.is_set():
            number = next(Caller.numbers)
            self.began = time.monotonic()
            try:
                if client is None:
                    client = Client(self.node(), timeout=self.patience)
                outcome = self.one(client, number)
            except (Closed, ConnectionError, ssl.SSLError) as e:
                outcome, client = "connection lost: " + str(e), None
                self.ended.wait(0.1)
            except (OSError, ValueError, KeyError, IndexError,
                    TypeError) as e:
                outcome, client = f"BROKEN: {e!r}", None
                self.ended.wait(0.1)
            self.calls.append((number, outcome, self.began,
                               time.monotonic()))
        if client is not None:
            client.close()

    def one(self, client, number):
        message, streams = client.call(self.uri, "ICounter", "Count", number,
                                       hw.DataStream(DATA),
                                       queue_timeout=PICKUP)
        if message["error"] is not None:
            unsure = UNSURE in (message["error"]["details"] or "")
            return "error: %s%s" % (message["error"]["message"],
                                    " " + UNSURE if unsure else "")
        if (message["result"]["number"] != number or
                list(streams.values()) != [DATA]):
            return "WRONG ANSWER"
        return "answered"


def resident_kib(pid):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return int(re.search(r"Pss:\s+(\d+)", f.read()).group(1))


class Chaos:
    """The nodes, the service, the callers; and what came of it."""

    def __init__(self, options, redis=None, proxied=False, more=""):
        self.options = options
        self.kills = False  # processes of the nodes
        self.local_since = 0  # calls of the memory queue count from then on
        self.scale = 10 if options.long else 1  # of times, to the short ones
        section = 'memory_endpoints = {"%s"}\n%s%s' % (
            MEMORY, "" if options.long else SHORT, more)
        self.cluster = Cluster(n=0, redis=redis, more=section)
        self.redis = self.cluster.redis
        self.proxies = []
        for _ in range(2):
            url = None
            if proxied:
                self.proxies.append(Proxy(self.redis))
                url = self.proxies[-1].url
            self.cluster.nodes.append(self.cluster.new_node(url=url))
        self.nodes = self.cluster.nodes
        for node in self.nodes:
            node.wait_redis()
        # What a caller waits at most: the pick-up time, then the silence of
        # its receiver, with Redis tried again after each.
        self.limit = 30 + (9 * self.scale if options.long else 9) + \
            2 * 3 * self.scale + 20
        self.service = Service()
        for i in range(2):
            self.service.poll(lambda i=i: self.nodes[i], URI, CALLERS // 2)
        self.service.poll(lambda: self.nodes[0], MEMORY, 1)
        for node in self.nodes:
            node.wait_idle_poller(URI, CALLERS // 2)
        self.callers = [Caller(lambda i=i: self.nodes[i % 2], URI,
                               self.limit + 60) for i in range(CALLERS)]
        self.local = Caller(lambda: self.nodes[0], MEMORY, 30)
        self.warm_up()
        self.logs = [len(n.log()) for n in self.nodes]

    def answered(self):
        return sum(c[1] == "answered" for x in self.callers for c in x.calls)

    def warm_up(self):
        until(lambda: self.answered() >= 4 * CALLERS, "calls are answered")

    def lines(self):
        """What the nodes have logged of warnings and errors, and of Redis."""
        return [[line for line in n.log()[at:].splitlines()
                 if re.search(r'"level":"(warning|error)"', line) or
                 "redis: connected to" in line]
                for n, at in zip(self.nodes, self.logs)]

    def finish(self, allowed=RIGHT):
        """Calls go on for a while; then all end, and are judged."""
        before = self.answered()
        until(lambda: self.answered() >= before + 4 * CALLERS,
              "calls are answered again", self.limit)
        for c in [*self.callers, self.local]:
            c.ended.set()
        for c in [*self.callers, self.local]:
            c.join(self.limit)
            assert not c.is_alive(), "a call never ends: it began %.1f s " \
                "ago" % (time.monotonic() - c.began)
        calls = [call for c in self.callers for call in c.calls]
        self.judge(calls, allowed)
        return calls

    def judge(self, calls, allowed):
        executed = self.service.executed
        twice = [n for n, times in executed.items() if times > 1]
        assert not twice, f"executed twice: {twice}"
        for number, outcome, began, ended in calls:
            took = ended - began
            assert took < self.limit, (outcome, took)
            if outcome == "answered":
                assert executed[number] == 1, number
                continue
            assert any(text in outcome for text in allowed), outcome
            if "did not collect" in outcome and UNSURE not in outcome:
                assert number not in executed, outcome
        wrong = [c for c in self.local.calls
                 if c[1] != "answered" and c[2] >= self.local_since]
        assert not wrong, wrong
        for node in self.nodes:
            assert "AddressSanitizer" not in node.log(), node.log()[-9000:]
            assert self.kills or "worker_ended" not in node.log(), \
                [x for x in node.log().splitlines() if "worker_ended" in x]
        # Redis or not: the service of the memory queue works on it 10 ms.
        slow = max(c[3] - c[2] for c in self.local.calls)
        assert self.kills or slow < 5, \
            f"a call of the memory queue took {slow:.1f} s"

    def summary(self, calls):
        kinds = {}
        for _, outcome, began, ended in calls:
            kind = re.sub(r"[0-9a-f]{8}-\S+", "ID", outcome)[:60]
            n, longest = kinds.get(kind, (0, 0))
            kinds[kind] = n + 1, max(longest, ended - began)
        for kind, (n, longest) in sorted(kinds.items()):
            print(f"#   {n:6} {kind}, at most {longest:.1f} s")
        print(f"#   {len(self.local.calls):6} of the memory queue", flush=True)

    def nothing_left(self):
        assert self.redis.immortal() == [], self.redis.immortal()
        # A response's, or a request's that nobody collected.
        patience = 1300 if self.options.long else 60
        try:
            until(lambda: [k for k in self.redis.keys()
                           if ":HalibutStreams:" not in k] == [],
                  "nothing is left", patience)
        except AssertionError:
            raise AssertionError(f"left: {self.redis.keys()}") from None

    def one_line_each(self):
        """An outage is told once, and once that it is over."""
        for lines in self.lines():
            begun = [x for x in lines if "it is tried again until" in x]
            over = [x for x in lines if "redis: connected to" in x]
            assert len(begun) == 1 and len(over) == 1, "\n".join(lines)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            for lines in self.lines():
                odd = [x for x in lines[40:] if "TLS" in x]
                for line in lines[:40] + odd[:40]:
                    print("#", line)
        self.service.stop()
        for c in [*self.callers, self.local]:
            c.ended.set()
        self.cluster.__exit__()


def rest(seconds):
    """While something is as it is, for a time that is part of the test."""
    threading.Event().wait(seconds)


def outage(options, begin, end, seconds, told, allowed=RIGHT):
    """told: it goes on until each node has noticed it."""
    with Chaos(options) as w:
        before = [n.redis()["outages"] for n in w.nodes]
        begin(w)
        rest(seconds)
        for n, b in zip(w.nodes, before):
            if told:
                n.wait_redis(False)
                assert n.redis()["outages"] == b + 1, n.redis()
        end(w)
        calls = w.finish(allowed)
        w.summary(calls)
        for n in w.nodes:
            until(lambda n=n: n.redis()["reachable"] and
                  n.redis()["down_s"] == 0, "the status has it")
        if told:
            w.one_line_each()
        w.nothing_left()
        return calls


def stopped(seconds):
    def test(o):
        # The status is told once a second.
        outage(o, lambda w: w.redis.kill(), lambda w: w.redis.start(),
               seconds * (10 if o.long else 1), seconds >= 2,
               RIGHT + BROKE_OFF)
    return test


def frozen(seconds):
    def test(o):
        # Nobody notices less than command_timeout, 5 s or 1.5. A response is
        # kept as long as anybody may wait for it.
        outage(o, lambda w: w.redis.freeze(), lambda w: w.redis.thaw(),
               seconds * (10 if o.long else 1), seconds >= 2,
               [x for x in RIGHT if "be put into" not in x])
    return test


def flushed(o):
    with Chaos(o) as w:
        for _ in range(3):
            before = [n.redis()["data_losses"] for n in w.nodes]
            w.redis.ask("FLUSHALL")
            until(lambda: all(n.redis()["data_losses"] > b
                              for n, b in zip(w.nodes, before)),
                  "each node notices it", 70)
        w.summary(w.finish())
        w.nothing_left()


def slow(o):
    with Chaos(o, proxied=True) as w:
        for p in w.proxies:
            p.delay = 0.05
        for i in range(4):
            w.redis.ask("DEBUG", "SLEEP", "0.3")
            rest(0.2)
        calls = w.finish()
        w.summary(calls)
        assert all(c[1] == "answered" for c in calls), "slow is not gone"
        for lines in w.lines():
            lost = [x for x in lines if "redis_unfit" not in x]
            assert lost == [], "\n".join(lost)
        w.nothing_left()


def full(o):
    with Chaos(o) as w:
        w.redis.ask("CONFIG", "SET", "maxmemory", "1")
        rest(6 * w.scale)
        w.redis.ask("CONFIG", "SET", "maxmemory", "0")
        w.summary(w.finish())
        w.nothing_left()


def cut(o):
    """Connections end in the middle of replies, again and again."""
    with Chaos(o, proxied=True) as w:
        end = time.monotonic() + o.seconds
        words = (b"HMSET", b"RPUSH", b"LPOP", b"HMGET", b"UNLINK", b"HSET",
                 b"HGET", b"PUBLISH", b"Response::")
        cuts = 0
        while time.monotonic() < end:
            p = random.choice(w.proxies)
            p.lose_reply(random.choice(words), random.choice((0, 3, 20)))
            if p.caught.wait(1):
                cuts += 1
            p.cut()
            rest(random.random() * 0.8)
        print(f"#   {cuts} cuts")
        w.summary(w.finish())
        w.nothing_left()


class Sentinel:
    """A primary, a replica and a sentinel on ports of 127.0.0.1."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="halibut-sentinel-")
        self.ports = [free_port() for _ in range(3)]
        self.servers = [self.server(0), self.server(1)]
        self.servers[1].ask("REPLICAOF", "127.0.0.1", self.ports[0])
        until(lambda: "master_link_status:up" in
              self.servers[1].ask("INFO", "replication"), "it replicates")
        conf = os.path.join(self.dir, "conf")
        with open(conf, "w") as f:
            f.write(f"port {self.ports[2]}\nbind 127.0.0.1\n"
                    f"dir {self.dir}\nlogfile {self.dir}/log\n"
                    f"sentinel monitor halibut 127.0.0.1 {self.ports[0]} 1\n"
                    "sentinel down-after-milliseconds halibut 500\n"
                    "sentinel failover-timeout halibut 3000\n")
        self.process = subprocess.Popen(
            ["redis-server", conf, "--sentinel"], stdin=subprocess.DEVNULL)
        self.url = f"redis+sentinel://127.0.0.1:{self.ports[2]}/halibut"

    def server(self, i):
        return Redis("--port", str(self.ports[i]), "--bind", "127.0.0.1",
                     "--repl-diskless-sync-delay", "0")

    def remove(self):
        self.process.kill()
        self.process.wait()


def is_primary(redis):
    try:
        return "role:master" in redis.ask("INFO", "replication")
    except OSError:
        return False  # whoever is connected when it is promoted is cut off


def failed_over(o):
    s = Sentinel()
    try:
        redis = s.servers[0]
        redis.url = s.url
        with Chaos(o, redis=redis) as w:
            redis.kill()
            w.redis = s.servers[1]
            until(lambda: is_primary(w.redis), "it is promoted", 30)
            w.summary(w.finish(RIGHT + BROKE_OFF))
            w.one_line_each()
            w.nothing_left()
    finally:
        s.remove()
        for redis in s.servers:
            redis.remove()


def nodes_killed(o):
    """Nodes and their processes, at random."""
    with Chaos(o) as w:
        end = time.monotonic() + o.seconds
        w.kills, kills = True, 0
        while time.monotonic() < end:
            node = random.choice(w.nodes)
            if random.random() < 0.3:
                node.kill()
                node.come_back()
            else:
                kind = random.choice(("queue", "connection"))
                os.kill(random.choice(node.worker_pids(kind)),
                        signal.SIGKILL)
                until(node.workers_are_ready, "its workers are back")
            kills += 1
            rest(random.random() / 2)
        print(f"#   {kills} killed")
        w.local_since = time.monotonic()  # its own node died, too
        w.summary(w.finish(RIGHT + KILLED))
        w.nothing_left()


class Sizes:
    """What the processes of all nodes have, by kind: (descriptors, KiB)."""

    def __init__(self, nodes):
        self.nodes, self.seen = nodes, []

    def look(self):
        now = {}
        for n in self.nodes:
            kinds = {n.process.pid: "master"}
            kinds.update((w["pid"], w["kind"]) for w in n.status()["workers"])
            for pid, kind in kinds.items():
                fds, kib = now.get(kind, (0, 0))
                now[kind] = (fds + len(os.listdir(f"/proc/{pid}/fd")),
                             kib + resident_kib(pid))
        self.seen.append(now)

    def show(self):
        step = max(1, len(self.seen) // 8)
        shown = [*self.seen[1::step], self.seen[-1]]
        for kind in shown[0]:
            print(f"#   {kind}: descriptors, KiB: " +
                  " ".join("%d,%d" % x[kind] for x in shown))

    def check(self):
        """Since the second look: all that is made once was made then."""
        for kind, (fds, kib) in self.seen[-1].items():
            before = self.seen[1][kind]
            assert fds <= before[0] + 40, (kind, before, fds, kib)
            assert kib <= 1.5 * before[1] + 8192, (kind, before, fds, kib)


def kinds_of_keys(redis):
    """How many keys of each kind."""
    kinds = {}
    for key in redis.ask("KEYS", "*"):
        kind = re.sub(r"(::|(?<=Streams:)[0-9a-f]{32}).*", "", key)
        kinds[kind] = kinds.get(kind, 0) + 1
    return kinds


def nothing_leaks(o):
    """Short outages of every kind, one after the other."""
    with Chaos(o, proxied=True) as w:
        sizes, outages = Sizes(w.nodes), 0
        end = time.monotonic() + o.seconds
        while time.monotonic() < end or outages < 6:
            p = random.choice(w.proxies)
            p.cut()
            w.redis.freeze()
            rest(0.7)
            w.redis.thaw()
            w.redis.ask("FLUSHALL")
            before = w.answered()
            until(lambda: w.answered() >= before + CALLERS, "calls go on",
                  w.limit)
            sizes.look()
            outages += 1
        w.summary(w.finish())
        w.nothing_left()
        print(f"#   {outages} outages")
        sizes.show()
        sizes.check()
        until(lambda: all(n == len(w.nodes)
                          for kind, n in kinds_of_keys(w.redis).items()
                          if kind.endswith((":WatchForDataLoss",
                                            ":HalibutNodes"))
                          and ":string:" in kind),
              "each node has its two keys, and no more: %s"
              % kinds_of_keys(w.redis), 120)
        print("#   keys:", kinds_of_keys(w.redis))


# 5, 20 and 60 s with --long.
SCENARIOS = {
    "stopped for a moment": stopped(0.5),
    "stopped for a while": stopped(2),
    "stopped for long": stopped(6),
    "frozen for a moment": frozen(0.5),
    "frozen for a while": frozen(2),
    "frozen for long": frozen(6),
    "flushed": flushed,
    "slow": slow,
    "full": full,
    "cut off in the middle of replies": cut,
    "failed over": failed_over,
    "nodes killed": nodes_killed,
    "nothing leaks": nothing_leaks,
}


LONGER = ("moment", "stopped for long", "frozen for a while", "leaks")


def chosen(name, o):
    if o.scenario:
        return any(s in name for s in o.scenario)
    return o.all or o.long or not any(s in name for s in LONGER)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--all", action="store_true")
    p.add_argument("--long", action="store_true")
    p.add_argument("--seconds", type=float, default=6)
    p.add_argument("scenario", nargs="*")
    o = p.parse_args()
    todo = [(name, test) for name, test in SCENARIOS.items()
            if chosen(name, o)]
    print(f"1..{len(todo)}", flush=True)
    failed = 0
    for n, (name, test) in enumerate(todo, 1):
        try:
            began = time.monotonic()
            test(o)
            print(f"ok {n} - Redis: {name}")
            print("#   %.1f s" % (time.monotonic() - began), flush=True)
        except Exception:
            failed += 1
            for line in traceback.format_exc().splitlines():
                print("#", line)
            print(f"not ok {n} - Redis: {name}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    if not has_redis():
        print("1..0 # SKIP no redis-server here")
    else:
        main()
