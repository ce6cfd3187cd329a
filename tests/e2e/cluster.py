#!/usr/bin/env python3
"""Two gateways that share one Redis are one logical server."""
import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading

import halibut_wire as hw
from cluster_nodes import Cluster, Redis, has_redis
from gateway import (
    BUILD, ECHO, PATIENCE, SRC, Certificate, Client, Poller, ctl, echo_first,
    counted, free_port, main, until)

WORK = tempfile.mkdtemp(prefix="halibut-cluster-")
atexit.register(shutil.rmtree, WORK, True)
HOSTED = f'''
service "IEchoService" {{ command = "{sys.executable} {ECHO}" }}
queue "queue://worker-1/" {{ concurrency = 2 }}
'''


def echo_through(node, endpoint, size):
    data = os.urandom(size)
    reply, streams = Client(node).call(endpoint, "IAny", "Echo",
                                       hw.DataStream(data))
    assert reply["error"] is None, reply
    assert list(streams.values()) == [data], size


def hello(node, endpoint, name="World"):
    done = node.call(endpoint, "IEchoService", "SayHello", f'"{name}"')
    assert done.returncode == 0 and name.encode() in done.stdout, done


def test_a_service_that_polls_one_node_is_called_at_the_other():
    c = Cluster()
    a, b = c.nodes
    Poller(a, "poll://SQ").serve(echo_first)
    a.wait_idle_poller("poll://sq/")
    for size in (0, 1, 70000, 9 << 20):
        echo_through(b, "poll://sq/", size)
        echo_through(a, "poll://SQ/", size)
    reply, _ = Client(b).call("poll://sq/", "IAny", "Echo", {"a": [1, None]})
    assert reply["result"] == {"a": [1, None]}, reply
    until(lambda: c.redis.keys() == [], f"nothing left: {c.redis.keys()}")
    c.stop()


def test_a_subscription_has_only_so_much_in_the_spool_at_its_node():
    c = Cluster(extra="spool_max_per_subscription = 256KiB\n"
                "spool_memory = 64KiB\n", workers=1)
    a, b = c.nodes
    slow = Poller(a, "poll://slow/", timeout=600)
    a.wait_idle_poller("poll://slow/")
    data = os.urandom(16 << 20)  # more than the kernel keeps
    client = Client(b, timeout=600)
    call = threading.Thread(target=client.start, daemon=True, args=(
        "poll://slow/", "IAny", "Echo", hw.DataStream(data)))
    call.start()
    until(lambda: counted(a, "spool_full_per_subscription") > 0, "it waits")
    until(lambda: counted(a, "spool_bytes") == 256 << 10, "it is full")
    assert "to and from poll://slow/ wait" in a.log()
    request, streams = slow.take()
    assert list(streams.values()) == [data]
    call.join(600)
    # The response waits at the node of its caller, who does not read it.
    sender = threading.Thread(target=slow.answer, daemon=True,
                              args=(request, hw.DataStream(data)))
    sender.start()
    until(lambda: counted(b, "spool_full_per_subscription") > 0, "it waits")
    until(lambda: counted(b, "spool_bytes") == 256 << 10, "it is full")
    reply, streams = client.finish()
    assert reply["error"] is None and list(streams.values()) == [data]
    sender.join(600)
    c.stop()


def test_a_queue_endpoint_is_served_by_whichever_node_hosts_it():
    c = Cluster(n=1)
    host = c.new_node(HOSTED)
    c.nodes.append(host)
    hello(c.nodes[0], "queue://worker-1/")
    hello(host, "queue://Worker-1")
    c.stop()


def test_a_request_waits_until_a_node_gets_its_service():
    c = Cluster()
    a, b = c.nodes
    client = Client(b)
    client.start("poll://late/", "IAny", "Echo", "x")
    until(lambda: any("List" in k or ":list:" in k for k in c.redis.keys()),
          "the request is in Redis")
    Poller(a, "poll://late").serve(echo_first)
    reply, _ = client.finish()
    assert reply["result"] == "x", reply
    c.stop()


def test_when_a_node_is_killed_the_others_go_on():
    c = Cluster()
    a, b = c.nodes
    Poller(a, "poll://two").serve(echo_first)
    Poller(b, "poll://two").serve(echo_first)
    a.wait_idle_poller("poll://two/")
    b.wait_idle_poller("poll://two/")
    echo_through(a, "poll://two/", 1000)
    a = c.restart(0)
    for _ in range(4):
        echo_through(b, "poll://two/", 1000)
        echo_through(a, "poll://two/", 1000)  # it has no poller of its own
    c.stop()


def test_redis_that_starts_anew_is_used_again():
    c = Cluster()
    a, b = c.nodes
    Poller(a, "poll://again").serve(echo_first)
    a.wait_idle_poller("poll://again/")
    echo_through(b, "poll://again/", 10)
    c.redis.kill()
    c.redis.start()
    for node in c.nodes:
        node.wait_log("has lost its data")
    echo_through(b, "poll://again/", 10)
    c.stop()


def test_a_queue_worker_that_dies_ends_its_calls_and_comes_back():
    c = Cluster()
    a, b = c.nodes
    p = Poller(a, "poll://kill")
    a.wait_idle_poller("poll://kill/")
    client = Client(b)
    client.start("poll://kill/", "IAny", "Echo", "x")
    p.take()
    os.kill(b.worker_pids("queue")[0], signal.SIGKILL)
    reply, _ = client.finish()
    assert "queue worker" in reply["error"]["message"], reply
    until(b.workers_are_ready, "it is back")
    Poller(a, "poll://other").serve(echo_first)
    a.wait_idle_poller("poll://other/")
    echo_through(b, "poll://other/", 10)
    c.stop()


def with_acl(words, more=""):
    """A cluster whose nodes log in as a user with these rights."""
    redis = Redis()
    assert redis.ask("ACL", "SETUSER", "halibut", "on", ">secret",
                     *words) == "OK"
    path = os.path.join(redis.dir, "password")
    with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w") as f:
        f.write("secret\n")
    c = Cluster(more=f'user = "halibut"\npassword_file = "{path}"\n{more}',
                extra=HOSTED, redis=redis)
    a, b = c.nodes
    Poller(a, "poll://acl").serve(echo_first)
    a.wait_idle_poller("poll://acl/")
    for size in (10, 3 << 20):
        echo_through(b, "poll://acl/", size)
    hello(b, "queue://worker-1/")
    return c


def test_the_acl_of_the_documentation_is_enough():
    with open(os.path.join(SRC, "etc/redis.acl")) as f:
        words = f.read().replace("production:", "cluster:").split()
    assert words[:4] == ["user", "halibut", "on", ">CHANGE-THIS"]
    c = with_acl(words[4:])
    # But for what the examination of the server would like to know.
    denied = {entry[entry.index("object") + 1]
              for entry in c.redis.ask("ACL", "LOG")}
    assert denied <= {"config|get", "info"}, denied
    c.stop()


def test_the_least_acl_carries_calls():
    # redis-queue 2.7, word for word.
    c = with_acl("""resetkeys ~cluster:HalibutRedis:* resetchannels
        &cluster:HalibutRedis:channel:* -@all +@connection +set +get +expire
        +pexpire +del +unlink +hmset +hset +hmget +hexists +rpush +lpop
        +publish +subscribe +unsubscribe +ping""".split(),
                 'streams = "metadata"')
    # The node that asks, at its first request.
    c.nodes[1].wait_log("each request listens to its own")
    c.stop()


def test_a_node_that_stops_finishes_what_it_carries():
    c = Cluster()
    a, b = c.nodes
    p = Poller(a, "poll://drain")
    a.wait_idle_poller("poll://drain/")
    client = Client(b)
    client.start("poll://drain/", "IAny", "Echo", "x")
    request, _ = p.take()
    a.process.send_signal(signal.SIGTERM)
    a.wait_log("stopping behind")
    p.answer(request, "late")
    reply, _ = client.finish()
    assert reply["result"] == "late", reply
    assert a.process.wait(20) == 0
    c.stop()


def test_a_node_that_gives_up_while_it_stops_tells_callers_elsewhere():
    c = Cluster(extra="stop_timeout = 1s\n")
    a, b = c.nodes
    p = Poller(a, "poll://drain")
    a.wait_idle_poller("poll://drain/")
    client = Client(b)
    client.start("poll://drain/", "IAny", "Echo", "x")
    p.take()
    a.process.send_signal(signal.SIGTERM)
    reply, _ = client.finish()
    # Without that the caller waits for heart beats, a minute.
    assert reply["error"]["message"].startswith(
        "The request was abandoned, possibly because the node processing"), \
        reply
    assert "may have executed it" in reply["error"]["details"], reply
    assert a.process.wait(20) == 0
    until(lambda: c.redis.keys() == [], f"nothing left: {c.redis.keys()}")
    c.stop()


def test_a_node_that_stops_waits_for_what_another_one_executes():
    c = Cluster()
    a, b = c.nodes
    p = Poller(a, "poll://drain")
    a.wait_idle_poller("poll://drain/")
    taken, waits = Client(b), Client(b)
    taken.start("poll://drain/", "IAny", "Echo", "x")
    request, _ = p.take()
    waits.start("poll://drain/", "IAny", "Echo", "y")
    until(lambda: c.redis.keys("*:list:*"), "it waits in Redis")
    b.process.send_signal(signal.SIGTERM)
    reply, _ = waits.finish()
    assert reply["error"] is not None, reply
    p.answer(request, "late")
    reply, _ = taken.finish()
    assert reply["result"] == "late", reply
    assert b.process.wait(20) == 0
    c.stop()


def test_the_status_shows_redis_and_the_nodes():
    c = Cluster()
    a, b = c.nodes
    until(lambda: len(a.redis().get("nodes", [])) == 2, "it sees the other")
    nodes = {n["name"]: n for n in a.redis()["nodes"]}
    names = [n.status()["node"] for n in c.nodes]
    assert sorted(nodes) == sorted(names), nodes
    assert nodes[names[0]]["self"] and not nodes[names[1]]["self"], nodes
    assert c.redis.immortal() == [], c.redis.immortal()
    client = Client(b)
    client.start("poll://nobody/", "IAny", "Echo", "x")
    until(lambda: (b.subscription("poll://nobody/") or {}).get("queued") == 1,
          "what waits in Redis is shown")
    waiting = b.subscription("poll://nobody/")
    assert waiting["waiting"] == 1 and waiting["connections"] == 0, waiting
    text = ctl("status", "--socket", b.control, check=True).stdout.decode()
    for words in ("reachable for", "other node     " + names[0],
                  "this node      " + names[1], "IN REDIS"):
        assert words in text, text
    assert a.stop() == 0
    until(lambda: len(b.redis()["nodes"]) == 1, "it sees the other leave")
    b.kill()
    c.stop()


def test_without_redis_the_rest_goes_on():
    c = Cluster(more='memory_endpoints = {"poll://memory*"}\n'
                     'command_timeout = 500ms')
    a, b = c.nodes
    Poller(a, "poll://memory-1").serve(echo_first)
    Poller(a, "poll://shared").serve(echo_first)
    a.wait_idle_poller("poll://memory-1/")
    a.wait_idle_poller("poll://shared/")
    a.wait_redis()
    c.redis.freeze()
    a.wait_redis(False)
    assert a.redis()["outages"] == 1, a.redis()
    assert a.redis()["last_error"], a.redis()
    text = ctl("status", "--socket", a.control, check=True).stdout.decode()
    assert "NOT REACHABLE" in text, text
    echo_through(a, "poll://memory-1/", 70000)
    client = Client(b)
    client.start("poll://shared/", "IAny", "Echo", "x")
    c.redis.thaw()
    reply, _ = client.finish()
    assert reply["result"] == "x", reply
    a.wait_redis()
    c.stop()


def examined(node):
    return subprocess.run(
        [os.path.join(BUILD, "halibutd"), "-t", "--online", "-c", node.conf],
        capture_output=True, text=True, timeout=PATIENCE)


def test_what_is_wrong_with_a_redis_server_is_said_with_its_remedy():
    c = Cluster(n=1, redis=Redis("--maxmemory-policy", "allkeys-lru"))
    node = c.nodes[0]
    remedy = "redis-cli CONFIG SET maxmemory-policy noeviction"
    node.wait_log("allkeys-lru.*to mend it: " + remedy)
    until(lambda: any(f["remedy"] == remedy
                      for f in node.redis().get("findings", [])),
          "the status has it")
    done = examined(node)
    assert done.returncode == 0 and remedy in done.stdout, done
    c.redis.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    done = examined(node)
    assert done.returncode == 0 and remedy not in done.stdout, done
    c.redis.ask("REPLICAOF", "127.0.0.1", "1")
    done = examined(node)
    assert done.returncode == 1 and "replica" in done.stdout, done
    c.stop()


def streams_pass(c, directory=None):
    a, b = c.nodes
    Poller(a, "poll://streams").serve(echo_first)
    a.wait_idle_poller("poll://streams/")
    for size in (0, 70000, 3 << 20):
        echo_through(b, "poll://streams/", size)
    until(lambda: c.redis.keys() == [], f"nothing left: {c.redis.keys()}")
    if directory:  # but for the mark of when it was last swept
        until(lambda: set(os.listdir(directory)) <= {".swept"},
              "no file is left")
    c.stop()


def script(name, text):
    path = os.path.join(tempfile.mkdtemp(dir=WORK), name)
    with open(path, "w") as f:
        f.write("#!/bin/sh\n" + text)
    os.chmod(path, 0o755)
    return path


def test_datastreams_pass_through_each_kind_of_store():
    directory = tempfile.mkdtemp(dir=WORK)
    streams_pass(Cluster(more=f'''streams = directory
streams_directory = "{directory}"
wrappers = {{"gzip"}}'''), directory)
    streams_pass(Cluster(more="streams = metadata"))
    keep = script("keep", f"""case $1 in
store) cat >{directory}/$2 ;;
fetch) cat {directory}/$2 ;;
delete) rm -f {directory}/$2 ;;
esac
""")
    seal = script("seal", "tr a-zA-Z n-za-mN-ZA-M\n")
    streams_pass(Cluster(more=f'''streams = program
streams_command = "{keep}"
wrappers = {{"gzip", "program {seal}"}}'''), directory)


def test_redis_may_ask_for_tls_a_certificate_and_a_password():
    cert = Certificate.get("localhost").path
    port = free_port()
    redis = Redis("--tls-port", str(port), "--bind", "127.0.0.1",
                  "--tls-cert-file", cert, "--tls-key-file", cert,
                  "--tls-ca-cert-file", cert)
    redis.ask("ACL", "SETUSER", "default", "resetpass", ">secret", "~*", "&*")
    password = os.path.join(redis.dir, "password")
    with open(password, "w", opener=lambda p, f: os.open(p, f, 0o600)) as f:
        f.write("secret\n")
    redis.url = f"rediss://localhost:{port}"
    with Cluster(redis=redis, more=f'''password_file = "{password}"
tls_ca = "{cert}"
tls_certificate = "{cert}"
tls_key = "{cert}"''') as c:
        a, b = c.nodes
        Poller(a, "poll://tls").serve(echo_first)
        a.wait_idle_poller("poll://tls/")
        echo_through(b, "poll://tls/", 70000)


if __name__ == "__main__":
    if not has_redis():
        print("1..0 # SKIP no redis-server here")
    else:
        main([v for k, v in list(globals().items()) if k.startswith("test_")])
