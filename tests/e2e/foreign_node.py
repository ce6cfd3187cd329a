#!/usr/bin/env python3
"""Beside a node of another kind on the same Redis: what it does well and what
it does badly. It is played here with the commands that a .NET node sends."""
import base64
import json
import socket
import threading
import time
import uuid

import halibut_wire as hw
from cluster_nodes import Cluster, Redis, has_redis
from gateway import PATIENCE, Client, Poller, main, until

NS = "octopus::server::halibut"
QUICK = """heartbeat_delay = 500ms
heartbeat_interval = 900ms
"""


class Foreign:
    """A node of another kind; its subscriptions live as long as it."""

    def __init__(self, cluster, uri):
        self.redis, self.uri = cluster.redis, uri
        self.root = cluster.prefix + ":HalibutRedis"
        self.sockets = []
        self.subscribe(self.channel("RequestMessagesPulseChannel"))

    def channel(self, kind, more=""):
        return f"{self.root}:channel:{NS}::{kind}::{self.uri}{more}"

    def key(self, kind, guid):
        return f"{self.root}:hash:{NS}::{kind}::{self.uri}::{guid}"

    def subscribe(self, channel):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(PATIENCE)
        s.connect(self.redis.path)
        s.sendall(b"SUBSCRIBE " + channel.encode() + b"\r\n")
        assert b"subscribe" in s.recv(65536)
        self.sockets.append(s)

    def take(self):
        """Takes a request as a .NET node does; its id."""
        guid = until(lambda: self.redis.ask(
            "LPOP", f"{self.root}:list:{NS}::PendingRequestGuidsQueue::"
            f"{self.uri}"), "a request is in the list")
        assert self.redis.ask("UNLINK", self.key("RequestMessage",
                                                 guid)) == "1"
        return guid

    def watch(self, guid):
        self.subscribe(self.channel("NodeHeartBeatChannel",
                                    f"::{guid}::RequestSenderNode"))

    def answer(self, guid, result):
        document = hw.response("x", result)
        del document["Message"]["$type"]
        body = hw.bson_encode(document)
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.redis.path)
            words = (b"HMSET", self.key("Response", guid).encode(),
                     b"RequestMessageField", body,
                     b"DataStreamMetaDataField", b"{}")
            s.sendall(b"*%d\r\n" % len(words) + b"".join(
                b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
            assert s.recv(100) == b"+OK\r\n"
        self.redis.ask("EXPIRE", self.key("Response", guid), 1200)
        self.redis.ask("PUBLISH", self.channel("ResponseAvailableChannel",
                                               "::" + guid), "{}")

    def ask(self, method, streams):
        """Puts a request with these streams (declared length, data) where a
        .NET node puts it, and waits for its response."""
        guid = str(uuid.uuid4())
        refs = [(uuid.uuid4(), length, data) for length, data in streams]
        document = hw.request(
            "IAny", method, [{"$type": hw.STREAM_TYPE, "id": i, "length": n}
                             for i, n, _ in refs], uuid.UUID(guid),
            hw.endpoint(self.uri))
        del document["Message"]["$type"]
        metadata = json.dumps({str(i): base64.b64encode(data).decode()
                               for i, _, data in refs},
                              separators=(",", ":")).encode()
        self.store(self.key("RequestMessage", guid),
                   hw.bson_encode(document), metadata)
        self.redis.ask("EXPIRE", self.key("RequestMessage", guid), 240)
        self.redis.ask(
            "RPUSH", f"{self.root}:list:{NS}::PendingRequestGuidsQueue::"
            f"{self.uri}", guid)
        self.redis.ask("PUBLISH",
                       self.channel("RequestMessagesPulseChannel"), "{}")
        until(lambda: self.redis.ask("EXISTS", self.key("Response", guid)) ==
              "1", "there is a response")
        return hw.bson_decode(self.load(self.key("Response", guid)))["Message"]

    def raw(self, *words):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(PATIENCE)
        s.connect(self.redis.path)
        s.sendall(b"*%d\r\n" % len(words) + b"".join(
            b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
        return s

    def store(self, key, body, metadata):
        with self.raw(b"HMSET", key.encode(), b"RequestMessageField", body,
                      b"DataStreamMetaDataField", metadata) as s:
            assert s.recv(100) == b"+OK\r\n"

    def load(self, key):
        with self.raw(b"HGET", key.encode(), b"RequestMessageField") as s, \
                s.makefile("rb") as f:
            return f.read(int(f.readline()[1:]))

    def die(self):
        for s in self.sockets:
            s.close()


class Call:
    """One that somebody makes at a node, in a thread."""

    def __init__(self, node, uri):
        self.began = time.monotonic()
        self.reply = None
        self.thread = threading.Thread(target=self.run, args=(node, uri),
                                       daemon=True)
        self.thread.start()

    def run(self, node, uri):
        self.reply, _ = Client(node, timeout=120).call(uri, "IAny", "Echo", 1)

    def wait(self):
        self.thread.join(90)
        assert self.reply is not None, "the call never ended"
        return self.reply, time.monotonic() - self.began


def test_a_request_that_its_taker_cannot_read_ends_early():
    with Cluster(n=1, more=QUICK) as c:
        foreign = Foreign(c, "poll://net/")
        call = Call(c.nodes[0], "poll://net/")
        foreign.take()
        reply, took = call.wait()
        error = reply["error"]
        assert error["message"].startswith(
            "The node processing the request did not send a heartbeat"), error
        for text in ("could not read it", "types", "DataStreams", "log"):
            assert text in error["details"], error
        # Without this it is receiver_gone, 60 s.
        assert took < 30, took


def test_a_taker_that_listens_is_waited_for():
    with Cluster(n=1, more=QUICK) as c:
        foreign = Foreign(c, "poll://net/")
        call = Call(c.nodes[0], "poll://net/")
        guid = foreign.take()
        foreign.watch(guid)
        # Its sender's heart beats go on, so the sender still waits.
        for _ in range(8):
            foreign.sockets[-1].recv(65536)
        foreign.answer(guid, "late")
        reply, _ = call.wait()
        assert reply["result"] == "late", reply


def test_a_taker_that_is_away_has_the_time_of_the_contract():
    with Cluster(n=1, more=QUICK + "receiver_gone = 6s\n") as c:
        foreign = Foreign(c, "poll://net/")
        call = Call(c.nodes[0], "poll://net/")
        foreign.take()
        foreign.die()
        reply, took = call.wait()
        assert took >= 6, took
        assert "Not one heart beat" in reply["error"]["details"], reply


def test_junk_in_a_list_of_ids_is_skipped_and_told_of_once():
    # At debug every line is logged.
    with Cluster(extra='log_level = "info"\n') as c:
        a, b = c.nodes
        Poller(a, "poll://junk/").serve(lambda request, _: "fine")
        a.wait_idle_poller("poll://junk/")
        junk = Foreign(c, "poll://junk/")
        ids = f"{junk.root}:list:{NS}::PendingRequestGuidsQueue::{junk.uri}"
        c.redis.ask("RPUSH", ids, *(f"junk {n}" for n in range(300)))
        for _ in range(300):
            c.redis.ask("PUBLISH",
                        junk.channel("RequestMessagesPulseChannel"), "{}")
        reply, _ = Client(b).call("poll://junk/", "IAny", "Echo", "x")
        assert reply["result"] == "fine", reply
        until(lambda: c.redis.keys() == [], f"nothing left: {c.redis.keys()}")
        told = a.log().count("is no activity id")
        assert told == 1, told


def test_a_stream_shorter_than_its_message_says_is_no_stream():
    with Cluster(n=1, more="streams = metadata") as c:
        Poller(c.nodes[0], "poll://net").serve(
            lambda request, streams: sum(map(len, streams.values())))
        c.nodes[0].wait_idle_poller("poll://net/")
        foreign = Foreign(c, "poll://net/")
        good = foreign.ask("Count", [(7, b"seven b"), (0, b""), (3, b"abc")])
        assert good["error"] is None and good["result"] == 10, good
        bad = foreign.ask("Count", [(3, b"abc"), (100, b"x" * 50)])
        assert bad["result"] is None, bad
        for text in ("Data stream size mismatch detected during send.",
                     "Declared length: 100, Actual bytes written: 50. Total "
                     "length of all DataStreams to be sent is 103."):
            assert text in bad["error"]["message"], bad


if __name__ == "__main__":
    if not has_redis():
        print("1..0 # SKIP no redis-server here")
    else:
        main([v for k, v in list(globals().items()) if k.startswith("test_")])
