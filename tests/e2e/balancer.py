#!/usr/bin/env python3
"""Two gateways behind HAProxy, as etc/haproxy.cfg has it: whichever node a
client and a service reach, they meet.
"""
import os
import re
import shutil
import signal
import socket
import subprocess

from cluster_nodes import Cluster, has_redis
from gateway import (PATIENCE, SRC, Client, Closed, Poller, echo_first, main,
                     until)

URI = "poll://balanced/"


class Balancer:
    """HAProxy with the sample's settings and our addresses."""

    def __init__(self, directory, nodes):
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        with open(os.path.join(SRC, "etc/haproxy.cfg")) as f:
            text = f.read()
        text, n = re.subn(r"bind :10943", f"bind fd@{listener.fileno()}",
                          text)
        assert n == 1
        # As many descriptors as that are not everywhere to be had.
        text, n = re.subn(r"maxconn \d+", "maxconn 100", text)
        assert n == 1
        # The check by itself; of these nodes the status is at Unix sockets.
        text, n = re.subn("check port 10949 inter 2s", "check inter 200ms",
                          text)
        assert n == 1
        for i, node in enumerate(nodes, 1):
            text, n = re.subn(r"(server gateway-%d) \S+" % i,
                              r"\1 127.0.0.1:%d addr unix@%s" %
                              (node.port, node.status_socket), text)
            assert n == 1
        path = os.path.join(directory, "haproxy.cfg")
        with open(path, "w") as f:
            f.write(text)
        self.process = subprocess.Popen(
            ["haproxy", "-q", "-db", "-f", path], stdin=subprocess.DEVNULL,
            pass_fds=[listener.fileno()])
        listener.close()

    def stop(self):
        self.process.terminate()
        self.process.wait(PATIENCE)


def balanced():
    cluster = Cluster()
    return cluster, Balancer(cluster.redis.dir, cluster.nodes)


def test_calls_reach_the_service_from_whichever_node():
    cluster, balancer = balanced()
    pollers = [Poller(balancer, URI) for _ in range(2)]
    for p in pollers:
        p.serve(echo_first)
    for node in cluster.nodes:  # leastconn has given one to each
        node.wait_idle_poller(URI)
    for i in range(6):
        client = Client(balancer)
        message, _ = client.call(URI, "IEcho", "Echo", i)
        assert message["error"] is None, message
        assert message["result"] == i
        client.close()
    for p in pollers:
        p.close()
    balancer.stop()
    cluster.stop()


def attempt(what):
    try:
        return what()
    except (Closed, OSError):
        return None


def test_a_node_that_dies_is_avoided():
    cluster, balancer = balanced()
    dead, alive = cluster.nodes
    dead.kill()
    poller = until(lambda: attempt(lambda: Poller(balancer, URI)),
                   "a service reaches the other node")
    poller.serve(echo_first)
    alive.wait_idle_poller(URI)
    message, _ = until(
        lambda: attempt(lambda: Client(balancer).call(URI, "IEcho", "Echo",
                                                      "x")),
        "a client reaches the other node")
    assert message["result"] == "x", message
    poller.close()
    balancer.stop()
    cluster.stop()


def test_a_node_that_is_not_ready_gets_nothing_new():
    cluster, balancer = balanced()
    silent, other = cluster.nodes

    def reached(node):
        return node.log().count(" authenticated as ")

    def six_go_elsewhere():
        before = reached(silent)
        for _ in range(6):
            Client(balancer).close()
        return reached(silent) == before
    assert not six_go_elsewhere(), "as long as it says that it is ready"
    # It serves as before, but does not say so.
    pid, = silent.worker_pids("status")
    os.kill(pid, signal.SIGSTOP)
    until(six_go_elsewhere, "it is avoided")
    Client(silent).close()
    os.kill(pid, signal.SIGCONT)
    until(lambda: not six_go_elsewhere(), "it gets connections again")
    assert reached(other) > 0
    balancer.stop()
    cluster.stop()


if __name__ == "__main__":
    if shutil.which("haproxy") is None or not has_redis():
        print("1..0 # SKIP haproxy or redis-server is not installed")
    else:
        main([v for k, v in list(globals().items()) if k.startswith("test_")])
