#!/usr/bin/env python3
"""What becomes of calls while Redis is gone, slow, full, or loses what it was
told: executed at most once, one answer, nothing left behind."""
import os
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster_nodes import Cluster, Proxy, has_redis  # noqa: E402
from gateway import Client, Poller, main, until  # noqa: E402

SLOW = 'command_timeout = 500ms\nconnect_timeout = 500ms'


class Counter:
    """A service that counts how often each request is executed."""

    def __init__(self, node, uri, n=1):
        self.executed = {}
        for _ in range(n):
            Poller(node, uri).serve(self.execute)
        node.wait_idle_poller(uri, n)

    def execute(self, request, _):
        number = request["params"][0]
        self.executed[number] = self.executed.get(number, 0) + 1
        return number


def count(node, uri, number):
    reply, _ = Client(node).call(uri, "ICounter", "Count", number)
    assert reply["error"] is None and reply["result"] == number, reply


def proxied(**options):
    """A cluster whose second node reaches Redis by a proxy."""
    c = Cluster(n=1, **options)
    proxy = Proxy(c.redis)
    c.nodes.append(c.new_node(url=proxy.url))
    c.nodes[1].wait_redis()
    return c, proxy


def sender_loses(match, keep=0):
    """The sender's connection breaks with the answer to this request."""
    c, proxy = proxied()
    with c:
        a, b = c.nodes
        service = Counter(a, "poll://cut/")
        count(b, "poll://cut/", 0)
        proxy.lose_reply(match, keep)
        client = Client(b)
        client.start("poll://cut/", "ICounter", "Count", 1)
        assert proxy.caught.wait(30)
        if match != b"HMSET":
            until(lambda: service.executed.get(1), "it was executed")
        proxy.cut()
        reply, _ = client.finish()
        assert reply["result"] == 1, reply
        count(b, "poll://cut/", 2)
        until(lambda: c.redis.keys() == [], f"left: {c.redis.keys()}")
        assert service.executed == {0: 1, 1: 1, 2: 1}, service.executed


def test_a_request_whose_storing_was_not_confirmed_is_executed_once():
    sender_loses(b"HMSET")


def test_a_request_whose_announcement_was_not_confirmed_is_executed_once():
    sender_loses(b"RPUSH")


def test_an_answer_that_breaks_off_in_the_middle_is_asked_for_again():
    for match in (b"HMSET", b"RPUSH", b"HMGET"):
        sender_loses(match, keep=3)


def receiver_loses(match, keep=0):
    """That of the receiver does."""
    c, proxy = proxied()
    with c:
        b, a = c.nodes
        service = Counter(a, "poll://cut/")
        count(b, "poll://cut/", 0)
        proxy.lose_reply(match, keep)
        client = Client(b)
        client.start("poll://cut/", "ICounter", "Count", 1)
        assert proxy.caught.wait(30)
        proxy.cut()
        reply, _ = client.finish()
        assert reply["result"] == 1, reply
        count(b, "poll://cut/", 2)
        assert service.executed == {0: 1, 1: 1, 2: 1}, service.executed


def test_a_request_whose_id_was_lost_on_its_way_is_announced_again():
    receiver_loses(b"LPOP")


def test_a_response_whose_storing_was_not_confirmed_reaches_its_caller():
    receiver_loses(b"Response::")


LARGE = "x" * 100_000


def never_without_its_expiry(words, begin):
    """The node of begin(a, b) ends, and all its connections, when it has
    told Redis of a message and not yet when that expires."""
    c, proxy = proxied()
    with c:
        a, b = c.nodes
        until(lambda: c.redis.immortal() == [], "what begins has an expiry")
        proxy.end_at = words, b"EXPIRE"
        client = begin(a, b)
        assert proxy.caught.wait(30), "it is not written"
        b.kill()
        # Redis has read all that it was told before it answers this.
        assert c.redis.immortal() == [], c.redis.immortal()
        client.close()


def test_a_large_request_is_never_in_redis_without_its_expiry():
    def begin(_, b):
        client = Client(b)
        client.start("poll://nobody/", "IAny", "Echo", LARGE)
        return client
    never_without_its_expiry(b"RequestMessage::", begin)


def test_a_large_response_is_never_in_redis_without_its_expiry():
    def begin(a, b):
        def answer(*_):
            a.kill()  # or it may read the response, and remove it
            return LARGE
        Poller(b, "poll://large/").serve(answer)
        b.wait_idle_poller("poll://large/")
        client = Client(a)
        client.start("poll://large/", "IAny", "Echo", "x")
        return client
    never_without_its_expiry(b"Response::", begin)


def test_who_is_told_of_requests_does_not_ask_for_them():
    with Cluster(extra="polling_queue_wait_timeout = 1s\n") as c:
        a, b = c.nodes
        service = Counter(a, "poll://idle/", 4)
        count(b, "poll://idle/", 0)
        before = c.redis.commands()["lpop"]
        threading.Event().wait(4)  # the original asks 16 times
        asked = c.redis.commands()["lpop"] - before
        assert asked <= 3, f"asked {asked} times"
        count(b, "poll://idle/", 1)
        assert service.executed == {0: 1, 1: 1}, service.executed


if __name__ == "__main__":
    if not has_redis():
        print("1..0 # SKIP no redis-server here")
    else:
        main([v for k, v in list(globals().items()) if k.startswith("test_")])
