#!/usr/bin/env python3
"""What an operator sees of a Redis that is there but full, or that never was
there: in the log, the status and halibutctl, while nobody calls.
"""
import atexit
import os
import re
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from cluster_nodes import Redis, has_redis
from gateway import (BUILD, Certificate, Node, PATIENCE, SRC, ctl, main,
                     until)

SECTION = """
redis {
    url = "%s"
    key_prefix = "production"
    %s
}
"""


def redisz(node):
    return node.status().get("redis") or {}


def reachable(node):
    until(lambda: redisz(node).get("reachable"), "Redis is reachable")


def user(name, password):
    """Settings that log in as this user of Redis."""
    f, path = tempfile.mkstemp(prefix="halibut-redis-")
    os.write(f, password.encode())
    os.close(f)
    atexit.register(os.remove, path)
    return f'user = "{name}"\n password_file = "{path}"'


def lines(node, event):
    return [line for line in node.log().splitlines()
            if f'"event":"{event}"' in line]


def status_says(node, *patterns):
    """halibutctl status, for a person."""
    text = ctl("status", "--socket", node.control, check=True).stdout.decode()
    for pattern in patterns:
        assert re.search(pattern, text), (pattern, text)


def becomes_full_and_has_room_again(redis, node):
    reachable(node)
    assert redisz(node)["writable"] and redisz(node)["refusal"] is None
    redis.ask("CONFIG", "SET", "maxmemory", "1000")
    until(lambda: redisz(node)["writable"] is False, "full is noticed at rest")
    doc = redisz(node)
    assert "OOM" in doc["refusal"] and "maxmemory" in doc["refusal"], doc
    assert doc["reachable"], doc
    if redisz(node)["memory_bytes"] is not None:  # INFO is allowed
        until(lambda: redisz(node)["memory_max_bytes"] == 1000,
              "it is shown how much room there is")
    status_says(node, "STORES NOTHING for .*OOM")
    step = ctl("ping", "--socket", node.control, "poll://nobody").stdout
    assert b"stores nothing new" in step, step
    until(lambda: node.ready() == 503, "not ready")
    redis.ask("CONFIG", "SET", "maxmemory", "0")
    until(lambda: redisz(node)["writable"], "room is noticed at rest")
    assert redisz(node)["refusal"] is None and redisz(node)["refusing_s"] == 0
    until(lambda: node.ready() == 200, "ready again")
    for event in "redis_refuses_writes", "redis_takes_writes":
        assert len(lines(node, event)) == 1, (event, node.log())
    assert "maxmemory" in lines(node, "redis_refuses_writes")[0]
    assert not [x for x in lines(node, "redis_unfit") if "OOM" in x], node.log()


class Watched(Node):
    def __init__(self, url, more=""):
        super().__init__("status_redis_grace = 0\n" + SECTION % (url, more))

    def ready(self):
        done = ctl("health", "--socket", self.control)
        return 200 if done.returncode == 0 else 503


def test_a_redis_that_is_full_is_told_once_though_nobody_calls():
    begun = time.monotonic()
    redis = Redis()
    node = Watched(redis.url)
    becomes_full_and_has_room_again(redis, node)
    # The examination at the start, the first look, one when it is full, one
    # when it is not any more, and one a minute.
    minutes = (time.monotonic() - begun) / 60
    assert redis.commands().get("info", 0) <= 5 + minutes, redis.commands()
    assert node.stop() == 0


def test_with_the_least_rights_it_is_told_as_well():
    redis = Redis()
    with open(os.path.join(SRC, "etc/redis.acl")) as f:
        rule = next(line for line in f if line.startswith("user halibut"))
    redis.ask("ACL", "SETUSER", *rule.split()[1:])
    node = Watched(redis.url, user("halibut", "CHANGE-THIS"))
    becomes_full_and_has_room_again(redis, node)
    assert redisz(node)["memory_bytes"] is None, redisz(node)
    assert node.stop() == 0


def test_who_may_not_show_itself_to_other_nodes_notices_it_too():
    redis = Redis()
    redis.ask("ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all",
              "-zadd")
    node = Watched(redis.url, user("app", "pw"))
    reachable(node)
    until(lambda: "does not show the other nodes" in node.log(), "refused")
    redis.ask("CONFIG", "SET", "maxmemory", "1000")
    until(lambda: redisz(node)["writable"] is False, "full is noticed")
    redis.ask("CONFIG", "SET", "maxmemory", "0")
    until(lambda: redisz(node)["writable"], "room is noticed")
    assert len(re.findall("does not show the other nodes", node.log())) == 1
    assert node.stop() == 0


def test_memory_that_grows_short_is_a_finding_until_there_is_more():
    def short():
        return [f for f in redisz(node)["findings"] if "90 %" in f["what"]]

    redis = Redis()
    node = Watched(redis.url, "data_loss_check = 1s")
    reachable(node)
    until(lambda: redisz(node)["memory_bytes"], "memory is known")
    assert redisz(node)["memory_max_bytes"] is None
    assert not short(), redisz(node)
    used = redisz(node)["memory_bytes"]
    # It may grow by what this node and this test do, but not be full.
    redis.ask("CONFIG", "SET", "maxmemory", used * 100 // 94)
    until(short, "a finding")
    assert redisz(node)["memory_max_bytes"] == used * 100 // 94
    status_says(node, "memory .* of ", "hint .*90 %")
    redis.ask("CONFIG", "SET", "maxmemory", used * 10)
    until(lambda: not short(), "the finding is gone")
    assert node.stop() == 0


def test_a_redis_that_was_never_there_is_not_said_to_have_no_outages():
    here = tempfile.mkdtemp(prefix="halibut-redis-")
    node = Watched(f"unix://{here}/nobody")
    until(lambda: "nobody" in (redisz(node).get("last_error") or ""),
          "an error is told")
    doc = redisz(node)
    assert doc["ever_reachable"] is False and doc["latency_us"] is None, doc
    status_says(node, r"NEVER REACHED, tried for \d",
                r"last error .* ago: .*nobody")
    text = ctl("status", "--socket", node.control).stdout
    assert b"outages" not in text and b"latency" not in text, text
    node.stop()
    os.rmdir(here)


def test_the_examination_says_why_and_nothing_besides():
    redis = Redis()
    redis.ask("CONFIG", "SET", "requirepass", "secret")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        for url, words in (
                (redis.url, "NOAUTH Authentication required; give its "
                            "password"),
                ("redis://127.0.0.1:1", "Connection refused"),
                (f"rediss://127.0.0.1:{port}", "no TLS handshake within")):
            node_conf = os.path.join(redis.dir, "halibutd.conf")
            with open(node_conf, "w") as f:
                f.write(f'certificate = "{Certificate.get("gateway").path}"\n'
                        f'worker_directory = "{BUILD}"\n'
                        'trust_added_file = ""\n'
                        + SECTION % (url, "connect_timeout = 2s\n"
                                          "command_timeout = 2s"))
            done = subprocess.run(
                [os.path.join(BUILD, "halibutd"), "-t", "--online", "-c",
                 node_conf], capture_output=True, text=True,
                timeout=PATIENCE)
            assert done.returncode == 1, done
            errors = [line for line in done.stdout.splitlines()
                      if line.startswith("redis: ")]
            assert len(errors) == 1 and words in errors[0], done
            assert done.stderr.splitlines() == [
                "halibutd: the queue would not work with this Redis server"]
            assert "nobody is trusted" in done.stdout, done


if __name__ == "__main__":
    if not has_redis():
        print("1..0 # SKIP no redis-server")
        sys.exit(0)
    main([t for n, t in list(globals().items()) if n.startswith("test_")])
