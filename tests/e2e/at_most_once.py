#!/usr/bin/env python3
"""Kills or freezes each party of a call at each of its steps, and counts: a
request is executed at most once, its caller hears one answer, of the right
class, in time, and everything works again afterwards.

--table prints what happened as docs/at-most-once.md has it.
"""
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import halibut_wire as hw  # noqa: E402
from gateway import (  # noqa: E402
    BUILD, Client, Closed, Node, PATIENCE, Poller, until)

URI = "poll://counted/"
BIG = os.urandom(3 << 20)  # more than all buffers on its way take
FROZEN = 0.7  # s
# What a caller waits at most: the queue timeout that its request carries.
WITHIN = PATIENCE

STEPS = {
    "waiting": "nobody has collected the request yet",
    "arriving": "half of the request is at the service",
    "executing": "the service works on it",
    "answering": "half of the response has left the service",
}


GARBLED = (ValueError, KeyError, IndexError, TypeError)  # a cut message


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
            except (Closed, OSError, AssertionError, *GARBLED):
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
            cut(self.peer)
        if self.thread.is_alive():
            self.thread.join(PATIENCE)


def cut(peer):
    """Ends a connection under whoever waits in it."""
    try:
        peer.sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


class Gateway(Node):
    """A node that can be killed and comes back at the same address."""

    def __init__(self, extra=""):
        super().__init__(extra, trust=("peer",), workers=2)
        self.extra = extra
        self.base = self.base.replace("127.0.0.1:0",
                                      "127.0.0.1:%d" % self.port)
        self.write_conf(extra)

    def kill_and_restart(self):
        self.kill()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [os.path.join(BUILD, "halibutd"), "-c", self.conf],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(self.workers_are_ready, "workers are ready")

    def worker_with(self, what):
        """The pid of the connection worker that has one of these."""
        def look():
            for w in self.status()["workers"]:
                if w.get(what, 0) > 0:
                    return w["pid"]
            return None
        return until(look, "a worker with " + what)


class Caller:
    """Makes one call in a thread and keeps what came of it."""

    def __init__(self, node, counter):
        self.client = Client(node)
        self.counter = counter
        self.outcome = None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.began = time.monotonic()
        self.thread.start()

    def run(self):
        try:
            message, streams = self.client.call(
                URI, "ICounter", "Count", self.counter, hw.DataStream(BIG))
        except (Closed, OSError, *GARBLED):
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


def freeze(pids):
    def thaw():
        for pid in pids:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    timer = threading.Timer(FROZEN, thaw)
    timer.daemon = True
    timer.start()
    return timer


# Parties: how to end them, and their processes (to freeze).

def end_caller(w):
    cut(w.caller.client)


def end_service(w):
    if w.service.peer is not None:
        cut(w.service.peer)


PARTIES = {
    "the caller": (end_caller, None),
    "the service": (end_service, None),
    "the caller's connection worker": (
        lambda w: os.kill(w.called.worker_with("clients"), signal.SIGKILL),
        lambda w: [w.called.worker_with("clients")]),
    "the service's connection worker": (
        lambda w: os.kill(w.polled.worker_with("subscribers"),
                          signal.SIGKILL),
        lambda w: [w.polled.worker_with("subscribers")]),
    "the gateway": (
        lambda w: w.node.kill_and_restart(),
        lambda w: [w.node.process.pid]),
}
# Whose death takes the caller's connection with it.
NEAR_THE_CALLER = {"the caller", "the caller's connection worker",
                   "the gateway"}
NEVER_EXECUTED = ("did not collect the request",
                  "was cancelled while Connecting")


def judge(party, action, step, outcome, executed):
    """What is promised whatever happens."""
    assert executed <= 1, f"executed {executed} times; caller: {outcome}"
    if outcome == "answered":
        assert executed == 1, "answered, but never executed"
    elif outcome == "connection lost":
        # A response that flows to the caller already can only break off.
        assert action == "killed" and (
            party in NEAR_THE_CALLER or step == "answering"), \
            "the caller lost its connection through no fault of its own"
    else:
        assert outcome.startswith("error: "), outcome
        if any(text in outcome for text in NEVER_EXECUTED):
            assert executed == 0, f"executed, but: {outcome}"


def next_call(w):
    try:
        return Caller(w.called, 2).wait()
    except (Closed, OSError):  # given to a worker that was just dying
        return None


def carry_out(w, party, action):
    end, pids = PARTIES[party]
    if action == "killed":
        end(w)
        w.step.go_on.set()
        return
    timer = freeze(pids(w))
    w.step.go_on.set()
    timer.join()


def run_case(party, action, step, make_world=World):
    """(what the caller heard, how often it was executed)"""
    w = make_world(step)
    try:
        if step != "waiting":
            w.service.start()
            w.polled.wait_idle_poller(URI)
        w.caller = Caller(w.called, 1)
        if step == "waiting":
            until(lambda: w.waiting() == 1, "the request waits")
        elif not w.step.reached.wait(WITHIN):
            raise AssertionError(f"never came to: {STEPS[step]}; "
                                 f"caller: {w.caller.outcome}")
        carry_out(w, party, action)
        if step == "waiting":
            w.service.start()
        outcome = w.caller.wait()
        # Afterwards everything works; then nothing of the first is left.
        again = until(lambda: next_call(w), "the next call can be made")
        assert again == "answered", "the next call: " + again
        executed = w.service.executed.get(1, 0)
        judge(party, action, step, outcome, executed)
        assert w.service.executed[2] == 1
        w.check_rest()
        return outcome, executed
    finally:
        w.close()


def cases(parties):
    for party, (_, pids) in parties.items():
        for action in ("killed", "frozen"):
            if action == "frozen" and pids is None:
                continue
            for step in STEPS:
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
        print(f"| {party} | {action} | " + " | ".join(cells) + " |")


def main():
    as_table = "--table" in sys.argv
    wanted = [a for a in sys.argv[1:] if not a.startswith("--")]
    todo = [c for c in cases(PARTIES)
            if not wanted or all(x in " ".join(c) for x in wanted)]
    print(f"1..{len(todo)}", flush=True)
    failed, results = 0, {}
    for n, (party, action, step) in enumerate(todo, 1):
        name = f"{party} is {action} while {STEPS[step]}"
        try:
            outcome, executed = run_case(party, action, step)
            results[party, action, step] = outcome, executed
            print(f"ok {n} - {name}")
            print(f"#   {outcome}; executed {executed}", flush=True)
        except Exception:
            failed += 1
            for line in traceback.format_exc().splitlines():
                print("#", line)
            print(f"not ok {n} - {name}", flush=True)
    if as_table:
        print_table(results)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
