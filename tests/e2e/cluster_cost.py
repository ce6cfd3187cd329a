#!/usr/bin/env python3
"""What a call costs Redis, and what that saves at other times: time-to-live of
the list of ids, and the pulses of responses."""
import os
import re
import socket
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster_nodes import Cluster, has_redis  # noqa: E402
from gateway import (  # noqa: E402
    Client, PATIENCE, Poller, echo_first, main, until)

URI = "poll://cost/"


class Monitor:
    """The commands that Redis executes from now on."""

    def __init__(self, redis):
        self.redis = redis
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(redis.path)
        self.socket.sendall(b"MONITOR\r\n")
        self.lines = self.socket.makefile("r", errors="replace")
        assert self.lines.readline() == "+OK\n"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lines.close()
        self.socket.close()

    def about(self, words):
        """Name and key of each so far that has these words."""
        self.redis.ask("ECHO", "that is all")
        seen = []
        for line in self.lines:
            command = re.findall(r'"((?:[^"\\]|\\.)*)"', line)
            if command == ["ECHO", "that is all"]:
                return seen
            if words in line:
                seen.append(command)


def called(c):
    """Somebody polls the first node; the second one is called once."""
    a, b = c.nodes
    Poller(a, URI).serve(echo_first)
    a.wait_idle_poller(URI)
    client = Client(b)
    call(client)
    until(lambda: c.redis.keys() == [], f"nothing left: {c.redis.keys()}")
    return client


def call(client):
    reply, _ = client.call(URI, "IAny", "Echo", "x")
    assert reply["result"] == "x", reply


def who_hears_all(c):
    """How many connections have a subscription with a pattern."""
    return len(re.findall(r" psub=[1-9]", c.redis.ask("CLIENT", "LIST")))


def list_of_ids(c):
    lists = c.redis.keys("*:PendingRequestGuidsQueue::*")
    assert len(lists) <= 1, lists
    return lists[0] if lists else None


def list_expires(c):
    key = list_of_ids(c)
    return key is not None and int(c.redis.ask("TTL", key)) > 86000


def cost(c, client):
    """What is about the endpoint in one call, and whether its list got a
    time-to-live."""
    with Monitor(c.redis) as monitor:
        call(client)
        until(lambda: c.redis.keys() == [], f"nothing left: {c.redis.keys()}")
        seen = [words for words in monitor.about(f"::{URI}")
                if words[0] != "LLEN"]  # for the status, now and then
    expires = [words for words in seen if is_list_expiry(words)]
    return [words[0] for words in seen if words not in expires], expires != []


def is_list_expiry(words):
    return words[0] == "EXPIRE" and "PendingRequestGuidsQueue" in words[1]


def test_a_small_call_costs_twelve_commands():
    with Cluster() as c:
        client = called(c)

        def is_cheap():
            seen, expires = cost(c, client)
            assert seen == ["HMSET", "EXPIRE", "RPUSH", "PUBLISH", "LPOP",
                            "HMGET", "UNLINK", "HMSET", "EXPIRE", "PUBLISH",
                            "HMGET", "UNLINK"], seen
            return not expires

        # One that took long has one more, and so has the next.
        until(is_cheap, "a call does without an expiry of the list")


def test_a_list_of_which_nobody_hears_is_never_without_its_expiry():
    with Cluster() as c:
        monitor = Monitor(c.redis)
        for n in (1, 2):
            client = Client(c.nodes[1])
            client.start(URI, "IAny", "Echo", "x")
            until(lambda: c.redis.ask("LLEN", list_of_ids(c)) == str(n),
                  "it is pushed")
            assert list_expires(c)
        # Together: nothing can come in between.
        seen = " ".join(words[0] for words in monitor.about(f"::{URI}"))
        assert seen.count("RPUSH EXPIRE PUBLISH") == 2, seen


def test_a_list_expires_of_which_nobody_hears_any_more():
    with Cluster() as c:
        client = called(c)
        c.nodes[0].kill()
        client.start(URI, "IAny", "Echo", "x")
        until(lambda: list_expires(c), "it has its expiry")
        client.close()


def test_a_list_that_whoever_hears_leaves_as_it_is_expires():
    with Cluster() as c:
        client = called(c)
        until(lambda: not cost(c, client)[1], "it is known to be served")
        c.nodes[0].kill()
        with socket.socket(socket.AF_UNIX) as idle:
            idle.connect(c.redis.path)
            idle.sendall(b"PSUBSCRIBE *\r\n")
            until(lambda: who_hears_all(c) == 2, "it is subscribed")
            client.start(URI, "IAny", "Echo", "x")
            until(lambda: list_expires(c), "it has its expiry")
            client.close()


def test_a_list_expires_though_its_sender_is_away_from_redis_for_a_while():
    with Cluster() as c:
        client = Client(c.nodes[1])
        c.redis.freeze()
        client.start(URI, "IAny", "Echo", "x")
        c.nodes[1].wait_redis(False)
        c.redis.thaw()
        until(lambda: list_expires(c), "it has its expiry")
        client.close()


def test_a_request_that_was_withdrawn_leaves_an_id_that_expires():
    with Cluster() as c:
        client = Client(c.nodes[1])
        client.start(URI, "IAny", "Echo", "x")
        until(lambda: list_of_ids(c), "it is pushed")
        client.close()
        until(lambda: c.redis.keys("*:RequestMessage::*") == [],
              "it is withdrawn")
        until(lambda: list_expires(c), "its id expires")


def test_who_only_serves_hears_of_no_responses():
    with Cluster() as c:
        Poller(c.nodes[0], URI).serve(echo_first)
        c.nodes[0].wait_idle_poller(URI)
        assert who_hears_all(c) == 0, c.redis.ask("CLIENT", "LIST")
        call(Client(c.nodes[1]))
        assert who_hears_all(c) == 1, c.redis.ask("CLIENT", "LIST")


def test_responses_of_many_other_nodes_are_not_listened_to_for_ever():
    with Cluster() as c:
        client = called(c)
        assert who_hears_all(c) == 1
        # As many as are judged at a time, of a call that is not ours.
        channel = ("cluster:HalibutRedis:channel:octopus::server::halibut::"
                   "ResponseAvailableChannel::poll://other/::x")
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(c.redis.path)
            other.sendall(f"PUBLISH {channel} {{}}\r\n".encode() * 2000)
            until(lambda: who_hears_all(c) == 0, "it has left")
        pulses = lambda: c.nodes[1].redis()["response_pulses"]  # noqa: E731
        until(lambda: pulses() == "each", "the status says so")
        # It asks often itself: that is tried again.
        for _ in range(64):
            call(client)
            assert who_hears_all(c) == 0
        call(client)
        until(lambda: who_hears_all(c) == 1, "it listens to all again")
        until(lambda: pulses() == "all", "the status says so")


if __name__ == "__main__":
    if not has_redis():
        print("1..0 # SKIP no redis-server here")
    else:
        main([v for k, v in list(globals().items()) if k.startswith("test_")])
