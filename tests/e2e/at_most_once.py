#!/usr/bin/env python3
"""Kills or freezes each party of a call at each of its steps, and counts: a
request is executed at most once, its caller hears one answer, of the right
class, in time, everything works again afterwards, and nothing is left in
Redis for ever. First with one gateway and its memory queue, then with two
that share a Redis.

Usage: at_most_once.py [--all] [--table] [WORD...]
--all: each step with Redis, too, not only some. --table prints what happened
as docs/at-most-once.md has it. WORDs: only cases whose name has them all.
"""
import concurrent.futures
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import halibut_wire as hw  # noqa: E402
from gateway import (  # noqa: E402
    BUILD, Client, Closed, Node, PATIENCE, Poller, free_port, until)
from cluster_nodes import Cluster, Proxy, has_redis  # noqa: E402

URI = "poll://counted/"
BIG = os.urandom(3 << 20)  # more than all buffers on its way take
FROZEN = 0.7  # s
# What a caller waits at most: the queue timeout that its request carries.
WITHIN = PATIENCE
PICKUP = "00:00:20"
# Of the nodes with Redis, in proportion to those of the specification.
TIMES = """
command_timeout = 500ms
connect_timeout = 500ms
heartbeat_delay = 700ms
heartbeat_interval = 1500ms
sender_gone = 9s
receiver_gone = 5s
sweep = 1500ms
retry_window = 3s
request_ttl_surcharge = 10s
response_ttl = 8s
cancel_marker_ttl = 8s
data_loss_check = 5s
data_loss_wait = 3s
"""
LONGEST_TTL = 20 + 10  # s: PICKUP and request_ttl_surcharge

STEPS = {
    "waiting": "nobody has collected the request yet",
    "arriving": "half of the request is at the service",
    "executing": "the service works on it",
    "answering": "half of the response has left the service",
    "delivering": "half of the response is at the caller",
}


class Step:
    """Where the service stops, until the test lets it go on."""

    def __init__(self, name):
        self.name = name
        self.reached = threading.Event()
        self.go_on = threading.Event()

    def stop_at(self, name):
        if self.name == name and not self.reached.is_set():
            self.reached.set()
            self.go_on.wait(WITHIN)


class Service:
    """Polls, counts what it executes, and dials again whenever it lost its
    connection. Its death is that of its connection: what it knows stays."""

    def __init__(self, node, step):
        self.node, self.step = node, step
        self.executed = {}  # counter -> times
        self.peer = None
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def start(self):
        self.thread.start()

    def run(self):
        while not self.ended.is_set():
            try:
                self.peer = Poller(self.node(), URI)
                while not self.ended.is_set():
                    self.serve_one()
            except (Closed, OSError, AssertionError):
                pass
            if self.peer is not None:
                self.peer.close()
            self.ended.wait(0.05)

    def serve_one(self):
        # The section stops coming when nobody reads it: half of it is here.
        if self.step.name == "arriving" and not self.step.reached.is_set():
            while len(self.peer.buffer) < len(BIG) // 2:
                self.peer.fill()
            self.step.stop_at("arriving")
        request, streams = self.peer.take()
        counter = request["params"][0]
        self.executed[counter] = self.executed.get(counter, 0) + 1
        self.step.stop_at("executing")
        response = hw.response(request["id"], {
            "counter": counter, "bytes": hw.DataStream(BIG)})
        data = hw.encode_message(response) + hw.encode_section(response)
        half = len(data) // 2
        self.peer.send(data[:half])
        self.step.stop_at("answering")
        self.peer.send(data[half:] + hw.NEXT)
        self.peer.expect(hw.PROCEED)

    def stop(self):
        self.ended.set()
        self.step.go_on.set()
        if self.peer is not None:
            self.peer.cut()
        if self.thread.is_alive():
            self.thread.join(PATIENCE)


class Gateway(Node):
    """A node that can be killed and comes back at the same address."""

    def __init__(self, extra=""):
        super().__init__(extra, trust=("peer",), workers=2, port=free_port())

    def kill_and_restart(self):
        self.kill()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [os.path.join(BUILD, "halibutd"), "-c", self.conf],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(self.workers_are_ready, "workers are ready")


def worker_with(node, what):
    """The pid of the connection worker that has one of these."""
    def look():
        for w in node.status()["workers"]:
            if w.get(what, 0) > 0:
                return w["pid"]
        return None
    return until(look, "a worker with " + what)


class Caller:
    """Makes one call in a thread and keeps what came of it."""

    def __init__(self, node, counter, step=Step("")):
        self.client = Client(node)
        self.counter, self.step = counter, step
        self.outcome = None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.began = time.monotonic()
        self.thread.start()

    def run(self):
        try:
            self.client.start(URI, "ICounter", "Count", self.counter,
                              hw.DataStream(BIG), queue_timeout=PICKUP)
            if self.step.name == "delivering":
                while len(self.client.buffer) < len(BIG) // 2:
                    self.client.fill()
                self.step.stop_at("delivering")
            message, streams = self.client.finish()
        except (Closed, OSError):
            self.outcome = "connection lost"
            return
        if message["error"] is not None:
            self.outcome = "error: " + message["error"]["message"]
            return
        result = message["result"]
        right = (result["counter"] == self.counter and
                 list(streams.values()) == [BIG])
        self.outcome = "answered" if right else "WRONG ANSWER"

    def wait(self):
        self.thread.join(WITHIN)
        if self.thread.is_alive():
            raise AssertionError("the caller hears nothing for %d s"
                                 % WITHIN)
        return self.outcome


class World:
    """What a call needs, with the memory queue."""

    def __init__(self, step):
        self.step = Step(step)
        self.node = self.called = self.polled = Gateway()
        self.service = Service(lambda: self.polled, self.step)
        self.caller = None

    def waiting(self):
        return (self.polled.subscription(URI) or {}).get("waiting", 0)

    def check_rest(self):
        pass

    def close(self):
        self.service.stop()
        self.node.stop()


class SharedWorld:
    """Two gateways with a Redis between them, each behind a proxy."""

    def __init__(self, step):
        self.step = Step(step)
        self.cluster = Cluster(n=0, more=TIMES)
        self.redis = self.cluster.redis
        self.proxies = [Proxy(self.redis), Proxy(self.redis)]
        for proxy in self.proxies:
            self.cluster.nodes.append(
                self.cluster.new_node(url=proxy.url))
        self.called, self.polled = self.cluster.nodes
        for node in self.cluster.nodes:
            node.wait_redis()
        self.service = Service(lambda: self.polled, self.step)
        self.caller = None

    def waiting(self):
        return any(":list:" in k for k in self.redis.keys())

    def check_rest(self):
        """All that calls have left ends by itself, and soon."""
        for key in self.redis.keys():
            ttl = int(self.redis.ask("TTL", key))
            if "HalibutStreams" in key or ":list:" in key:
                assert ttl > 0 or ttl == -2, f"{key} stays for ever"
            else:
                assert -2 <= ttl <= LONGEST_TTL and ttl != -1, (key, ttl)
        immortal = self.redis.immortal()
        assert immortal == [], immortal

    def close(self):
        self.service.stop()
        self.cluster.__exit__()


def freeze(pids, seconds):
    def thaw():
        for pid in pids:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    timer = threading.Timer(seconds, thaw)
    timer.daemon = True
    timer.start()
    return timer


# Parties: how to end them, and their processes (to freeze).

def end_caller(w):
    w.caller.client.cut()


def end_service(w):
    if w.service.peer is not None:
        w.service.peer.cut()


PARTIES = {
    "the caller": (end_caller, None),
    "the service": (end_service, None),
    "the caller's connection worker": (
        lambda w: os.kill(worker_with(w.called, "clients"), signal.SIGKILL),
        lambda w: [worker_with(w.called, "clients")]),
    "the service's connection worker": (
        lambda w: os.kill(worker_with(w.polled, "subscribers"), signal.SIGKILL),
        lambda w: [worker_with(w.polled, "subscribers")]),
    "the gateway": (
        lambda w: w.node.kill_and_restart(),
        lambda w: [w.node.process.pid]),
}


def kill_and_return(node):
    node.kill()
    node.come_back()


def restart_redis(w):
    w.redis.kill()
    w.redis.start()


def queue_worker(node):
    return node.worker_pids("queue")[0]


SHARED = {
    "the caller": PARTIES["the caller"],
    "the service": PARTIES["the service"],
    "the caller's connection worker":
        PARTIES["the caller's connection worker"],
    "the service's connection worker":
        PARTIES["the service's connection worker"],
    "the sender's queue worker": (
        lambda w: os.kill(queue_worker(w.called), signal.SIGKILL),
        lambda w: [queue_worker(w.called)]),
    "the receiver's queue worker": (
        lambda w: os.kill(queue_worker(w.polled), signal.SIGKILL),
        lambda w: [queue_worker(w.polled)]),
    "the sender's node": (
        lambda w: kill_and_return(w.called),
        lambda w: [w.called.process.pid]),
    "the receiver's node": (
        lambda w: kill_and_return(w.polled),
        lambda w: [w.polled.process.pid]),
    "Redis": (restart_redis, lambda w: [w.redis.process.pid]),
    "the sender's connection to Redis": (
        lambda w: w.proxies[0].cut(), None),
    "the receiver's connection to Redis": (
        lambda w: w.proxies[1].cut(), None),
}
# Longer than anybody waits for it.
FROZEN_LONG = 7  # s
SOME_STEPS = ("waiting", "executing", "delivering")
# Whose death takes the caller's connection with it.
NEAR_THE_CALLER = {"the caller", "the caller's connection worker",
                   "the gateway", "the sender's node"}
# Through which a response flows that is on its way already.
FLOWS = {"answering", "delivering"}
NEVER_EXECUTED = ("did not collect the request",
                  "was cancelled while Connecting")
DATA_LOST = "redis lost all of its data"


def judge(party, action, step, outcome, executed):
    """What is promised whatever happens."""
    assert executed <= 1, f"executed {executed} times; caller: {outcome}"
    if outcome == "answered":
        assert executed == 1, "answered, but never executed"
    elif outcome == "connection lost":
        # A response that flows to the caller already can only break off.
        assert party in NEAR_THE_CALLER or step in FLOWS, \
            "the caller lost its connection through no fault of its own"
    else:
        assert outcome.startswith("error: "), outcome
        if any(text in outcome for text in NEVER_EXECUTED):
            assert executed == 0, f"executed, but: {outcome}"


def next_call(w, counter):
    """None: it may well fail, and is to be made again."""
    try:
        outcome = Caller(w.called, counter).wait()
    except (Closed, OSError):  # given to a worker that was just dying
        return None
    # A new Redis is empty: what was asked before a node noticed is given up.
    return None if DATA_LOST in outcome else outcome


def carry_out(w, party, action):
    end, pids = {**PARTIES, **SHARED}[party]
    if action == "killed":
        end(w)
        w.step.go_on.set()
        return
    timer = freeze(pids(w), FROZEN if action == "frozen" else FROZEN_LONG)
    w.step.go_on.set()
    timer.join()


def begins_to_wait(w):
    """3 MiB that did not come into Redis within retry_window, on a machine
    with much else to do, are sent again: no queue has known of them."""
    outcome = w.caller.outcome
    if outcome is not None:
        assert "when preparing request for queue" in outcome, outcome
        w.caller = Caller(w.called, 1, w.step)
    return w.waiting()


def run_case(party, action, step, make_world=World):
    """(what the caller heard, how often it was executed)"""
    w = make_world(step)
    try:
        if step != "waiting":
            w.service.start()
            w.polled.wait_idle_poller(URI)
        w.caller = Caller(w.called, 1, w.step)
        if step == "waiting":
            until(lambda: begins_to_wait(w), "the request waits", 3 * PATIENCE)
        elif not w.step.reached.wait(WITHIN):
            raise AssertionError(f"never came to: {STEPS[step]}; "
                                 f"caller: {w.caller.outcome}")
        carry_out(w, party, action)
        if step == "waiting":
            w.service.start()
        outcome = w.caller.wait()
        # Afterwards everything works; then nothing of the first is left.
        later = itertools.count(2)
        again = until(lambda: next_call(w, next(later)),
                      "the next call can be made")
        assert again == "answered", "the next call: " + again
        executed = w.service.executed.get(1, 0)
        judge(party, action, step, outcome, executed)
        last = next(later) - 1
        assert w.service.executed[last] == 1
        assert all(n <= 1 for n in w.service.executed.values())
        w.check_rest()
        return outcome, executed
    finally:
        w.close()


def cases(parties, actions, steps):
    for party, (_, pids) in parties.items():
        for action in actions:
            if action != "killed" and pids is None:
                continue
            for step in steps:
                if step == "waiting" and party.startswith("the service"):
                    continue  # nobody is there yet
                yield party, action, step


def print_table(results):
    print("| who | what | " + " | ".join(STEPS.values()) + " |")
    print("| --- " * (len(STEPS) + 2) + "|")
    rows = dict.fromkeys((p, a) for p, a, _ in results)
    for party, action in rows:
        cells = []
        for step in STEPS:
            outcome, executed = results.get((party, action, step), ("", ""))
            outcome = "error" if outcome.startswith("error") else outcome
            cells.append(f"{outcome}, {executed}" if outcome else "-")
        if "connection to" in party:
            action = "cut"
        print(f"| {party} | {action} | " + " | ".join(cells) + " |")


def every_case(as_all):
    """(world, its name, party, action, step)"""
    for case in cases(PARTIES, ("killed", "frozen"), STEPS):
        yield World, "memory queue", *case
    if has_redis():
        for case in cases(SHARED, ("killed", "frozen", "frozen for long"),
                          STEPS if as_all else SOME_STEPS):
            if as_all or case[1] != "frozen for long" or \
                    case[2] == "executing":
                yield SharedWorld, "Redis queue", *case


def main():
    options = {a for a in sys.argv[1:] if a.startswith("--")}
    wanted = [a for a in sys.argv[1:] if not a.startswith("--")]
    todo = [c for c in every_case("--all" in options)
            if not wanted or all(x in " ".join(c[1:]) for x in wanted)]
    print(f"1..{len(todo)}", flush=True)
    failed, results = 0, {}
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        running = [pool.submit(run_case, party, action, step, make_world)
                   for make_world, _, party, action, step in todo]
        for n, (case, run) in enumerate(zip(todo, running), 1):
            _, world, party, action, step = case
            name = f"{world}: {party} is {action} while {STEPS[step]}"
            try:
                outcome, executed = run.result()
                results.setdefault(world, {})[party, action, step] = \
                    outcome, executed
                print(f"ok {n} - {name}")
                print(f"#   {outcome}; executed {executed}", flush=True)
            except Exception:
                failed += 1
                for line in traceback.format_exc().splitlines():
                    print("#", line)
                print(f"not ok {n} - {name}", flush=True)
    if "--table" in options:
        for world in results.values():
            print_table(world)
            print()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
