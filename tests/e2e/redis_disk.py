#!/usr/bin/env python3
"""A Redis that is there and takes nothing: its disk is full, or it is a
replica. One line of the log says what mends it; calls end by themselves, with
an error that says so; and it goes on where it stopped.
"""
import json
import os
import subprocess

from cluster_nodes import Cluster, Redis, has_redis
from gateway import Client, Poller, echo_first, main, until

UNSHARE = ["unshare", "-Urm", "sh", "-c"]
LONGER = 150  # than a call tries to reach Redis


class FullDisk(Redis):
    """Saves its data on a disk of 256 KiB, which is full."""

    def start(self):
        data = os.path.join(self.dir, "data")
        os.makedirs(data, exist_ok=True)
        arguments = ["redis-server", "--port", "0", "--unixsocket", self.path,
                     "--logfile", self.log_path, "--dir", data,
                     "--save", "3600 1", *self.arguments]
        self.process = subprocess.Popen(
            [*UNSHARE, f'mount -t tmpfs -o size=256k none {data} && exec "$@"',
             "sh", *arguments], stdin=subprocess.DEVNULL)
        until(self.is_up, "redis-server answers")

    def save(self):
        self.ask("BGSAVE")
        until(lambda: "rdb_bgsave_in_progress:0" in
              self.ask("INFO", "persistence"), "it has tried")

    def fill(self):
        self.ask("SET", "large", os.urandom(1 << 19).hex())
        self.save()
        refusal = self.ask("SET", "other", 1)
        assert refusal.startswith("MISCONF"), refusal

    def mend(self):
        self.ask("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
        self.ask("DEL", "large")
        self.save()
        self.ask("CONFIG", "SET", "stop-writes-on-bgsave-error", "yes")
        assert self.ask("SET", "other", 1) == "OK"
        self.ask("DEL", "other")


def can_mount():
    return subprocess.run([*UNSHARE, "mount -t tmpfs none /mnt"],
                          stderr=subprocess.DEVNULL).returncode == 0


def call(node, uri, number):
    return Client(node, timeout=LONGER).call(uri, "IEcho", "Echo", number)[0]


def lines(node, event):
    return [l for l in node.log().splitlines() if f'"event":"{event}"' in l]


def serve(node, uri):
    Poller(node, uri, timeout=LONGER).serve(echo_first)
    node.wait_idle_poller(uri)


def refuses_and_takes_again(cluster, words, lost, back):
    """While it does, and then mend(): what is said, what becomes of calls."""
    near, far = cluster.nodes
    reply = call(near, "poll://shared/", 1)
    assert reply["error"] is not None, reply
    text = json.dumps(reply["error"], default=str)
    assert words in text, text
    # What needs no Redis goes on.
    assert call(near, "poll://here/", 2)["result"] == 2
    for node in cluster.nodes:
        until(lambda: lines(node, lost), f"{lost} in {node.dir}")
    yield
    for node in cluster.nodes:
        until(lambda: lines(node, back), f"{back} in {node.dir}", LONGER)
        told = lines(node, lost)
        assert len(told) == 1 and words in told[0], told
        assert len(lines(node, back)) == 1, lines(node, back)
    assert call(near, "poll://shared/", 3)["result"] == 3


def cluster_of(redis):
    cluster = Cluster(2, redis=redis,
                      more='memory_endpoints = {"poll://here/"}')
    near, far = cluster.nodes
    for node in cluster.nodes:
        node.wait_redis()
    serve(far, "poll://shared/")
    serve(near, "poll://here/")
    return cluster


def a_redis_whose_disk_is_full_says_so_once_and_is_used_when_it_is_not():
    if not has_redis() or not can_mount():
        return
    redis = FullDisk()
    with cluster_of(redis) as cluster:
        redis.fill()
        for _ in refuses_and_takes_again(
                cluster, "MISCONF", "redis_refuses_writes",
                "redis_takes_writes"):
            redis.mend()
        cluster.stop()


def a_redis_that_became_a_replica_says_so_once_and_is_used_when_promoted():
    if not has_redis():
        return
    redis = Redis()
    with cluster_of(redis) as cluster:
        assert call(cluster.nodes[0], "poll://shared/", 0)["result"] == 0
        redis.ask("REPLICAOF", "127.0.0.1", "1")
        for _ in refuses_and_takes_again(cluster, "replica", "redis_lost",
                                         "redis_back"):
            redis.ask("REPLICAOF", "NO", "ONE")
        cluster.stop()


if __name__ == "__main__":
    main([a_redis_whose_disk_is_full_says_so_once_and_is_used_when_it_is_not,
          a_redis_that_became_a_replica_says_so_once_and_is_used_when_promoted])
