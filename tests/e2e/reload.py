#!/usr/bin/env python3
"""The configuration is read again while the gateway runs: what is wrong in it
changes nothing, what is right is in force, and workers that must know more are
replaced by others while they finish what they carry.
"""
import os
import re
import signal
import ssl
import socket
import sys
import hashlib
import shutil

import threading

import gateway as g
import halibut_wire as hw
from cluster_nodes import Cluster, Proxy, has_redis
from gateway import Certificate, Client, Closed, Node, Poller, ctl, until


def reload(node):
    return ctl("reload", "--socket", node.control)


def shown_certificate(port, name=None):
    """The thumbprint of what a gateway shows to who dials it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), g.PATIENCE) as raw:
        with context.wrap_socket(raw, server_hostname=name) as tls:
            der = tls.getpeercert(binary_form=True)
    return hashlib.sha1(der).hexdigest().upper()


def own_certificate(node, name):
    """Its certificate in a file that a test can change."""
    path = os.path.join(node.dir, "node.pem")
    shutil.copy(Certificate.get(name).path, path)
    return path


def with_own_file(**kw):
    node = Node(**kw)
    path = own_certificate(node, "gateway")
    node.base = node.base.replace(Certificate.get("gateway").path, path)
    node.write_conf("")
    assert reload(node).returncode == 0
    return node, path


def connection_pids(node):
    return {w["pid"] for w in node.status()["workers"]
            if w["kind"] == "connection"}


def assert_refused(node, words):
    pids = connection_pids(node)
    done = reload(node)
    assert done.returncode != 0, done
    for word in words:
        assert word in done.stderr.decode(), (word, done.stderr)
        assert word in node.status()["reload_error"], word
        assert word in node.log()
    assert "the configuration stays as it was" in node.log()
    assert connection_pids(node) == pids


def test_a_key_that_does_not_fit_changes_nothing():
    node, path = with_own_file()
    with open(path) as f:
        good = f.read()
    with open(Certificate.get("other").path) as f:
        other = f.read()
    key = other[other.index("-----BEGIN PRIVATE"):]
    cert = good[good.index("-----BEGIN CERT"):good.index("-----END CERT")]
    with open(path, "w") as f:
        f.write(cert + "-----END CERTIFICATE-----\n" + key)
    assert_refused(node, ["does not belong to the certificate", path])
    assert shown_certificate(node.port) == \
        Certificate.get("gateway").thumbprint
    with open(path, "w") as f:
        f.write(good)
    assert reload(node).returncode == 0
    assert node.status()["reload_error"] is None
    node.stop()


def test_who_reloads_hears_what_needs_a_restart():
    node = Node()
    node.write_conf("max_handshakes = 7\n")
    assert reload(node).stdout == b"configuration reloaded\n"
    node.write_conf("max_handshakes = 7\n"
                    f'log_file = "{node.dir}/other.log"\n')
    done = reload(node)
    assert done.returncode == 0, done
    assert b"need a restart of halibutd: log_file\n" in done.stdout, done
    node.stop()


def test_certificate_and_key_may_be_two_files():
    node = Node()
    with open(Certificate.get("other").path) as f:
        pem = f.read()
    at = pem.index("-----BEGIN PRIVATE")
    names = {"certificate": pem[:at], "key": pem[at:]}
    for name, text in names.items():
        with open(os.path.join(node.dir, name + ".pem"), "w") as f:
            f.write(text)
    node.write_conf("".join(f'{name} = "{node.dir}/{name}.pem"\n'
                            for name in names))
    done = reload(node)
    assert done.returncode == 0, done
    until(lambda: shown_certificate(node.port) ==
          Certificate.get("other").thumbprint,
          "the certificate of the file")
    node.stop()


def test_what_the_configuration_names_must_be_there():
    node = Node()
    for text, words in (
            ("service \"X\" { command = \"/nowhere/x\" }", ["/nowhere/x"]),
            ("friendly_page = \"/nowhere/page\"", ["/nowhere/page"]),
            ("certificate = \"/nowhere/x.pem\"", ["/nowhere/x.pem"]),
            ("worker_directory = \"/nowhere\"", ["/nowhere"]),
            ("user = \"nobody-of-that-name\"", ["nobody-of-that-name"]),
            ("spool_directory = \"/nowhere\"", ["/nowhere"])):
        node.write_conf(text + "\n")
        assert_refused(node, words)
    node.write_conf("")
    assert reload(node).returncode == 0
    node.stop()


def test_a_new_certificate_is_shown_by_new_workers():
    node, path = with_own_file()
    before = connection_pids(node)
    client = Client(node)
    client.start("poll://late/", "IAny", "Echo", "x")
    shutil.copy(Certificate.get("other").path, path)
    assert reload(node).returncode == 0
    assert node.status()["thumbprint"] == Certificate.get("other").thumbprint
    until(lambda: shown_certificate(node.port) ==
          Certificate.get("other").thumbprint, "the new certificate")
    # The old ones carry the call, and are gone after it.
    p = Poller(node, "poll://late/")
    request, _ = p.take()
    p.answer(request, "done")
    assert client.finish()[0]["result"] == "done"
    until(lambda: not before & connection_pids(node), "old workers are gone")
    assert client.at_eof()
    node.stop()


def test_what_workers_need_not_know_leaves_them_alone():
    node = Node()
    before = connection_pids(node)
    node.write_conf("stop_timeout = 7s\nmax_waiting_requests = 5\n"
                    "route \"x\" { to = \"poll://x/\" }\n")
    assert reload(node).returncode == 0
    assert connection_pids(node) == before
    node.stop()


def test_only_who_counts_bytes_of_sources_is_replaced_for_them():
    spool = (f'service "IEcho" {{\n command = "{sys.executable} {g.ECHO}"\n}}\n'
             "spool_max_per_source = 1MiB\n")
    node = Node(spool)
    before, services = connection_pids(node), node.worker_pids("service")
    assert services
    node.write_conf(spool + 'unlimited_sources = {"127.0.0.9"}\n')
    assert reload(node).returncode == 0
    until(lambda: not before & connection_pids(node), "others are there")
    assert node.worker_pids("service") == services
    node.stop()


def test_limits_and_the_number_of_workers_are_applied():
    node = Node(workers=1)
    before = connection_pids(node)
    node.base = node.base.replace("workers = 1", "workers = 3")
    node.write_conf("serve_clients = no\n")
    assert reload(node).returncode == 0
    until(lambda: len(connection_pids(node)) == 3 and
          not before & connection_pids(node), "three others")
    try:
        Client(node)
        raise AssertionError("a client was let in")
    except Closed:
        pass
    node.stop()


def test_an_idle_poller_is_let_go_and_serves_at_the_new_workers():
    node = Node(workers=1)
    p = Poller(node, "poll://idle/")
    node.wait_idle_poller("poll://idle/")
    node.write_conf("friendly_headers = {\"X-A: b\"}\n")
    assert reload(node).returncode == 0
    assert p.at_eof()
    Poller(node, "poll://idle/").serve(lambda r, s: "hello")
    reply, _ = Client(node).call("poll://idle/", "IAny", "Echo", "x")
    assert reply["result"] == "hello"
    node.stop()


def test_workers_that_do_not_start_leave_the_old_ones_in_place():
    node = Node(workers=1)
    before = connection_pids(node)
    libexec = os.path.join(node.dir, "broken")
    shutil.copytree(node.libexec, libexec, symlinks=True)
    broken = os.path.join(libexec, "halibut-connection-worker")
    os.unlink(broken)
    with open(broken, "w") as f:
        f.write("#!/bin/sh\nexit 1\n")
    os.chmod(broken, 0o755)
    good = node.base
    node.base = good.replace(node.libexec, libexec)
    node.write_conf("")
    assert reload(node).returncode == 0
    node.wait_log("ended with status 1")
    Client(node).close()
    assert before <= connection_pids(node)
    node.base = good
    node.write_conf("")
    assert reload(node).returncode == 0
    Client(node).close()
    node.stop()


def test_the_addresses_that_it_listens_on_can_change():
    node = Node()
    old = node.port
    node.base = node.base.replace('"127.0.0.1:0"',
                                  '"127.0.0.1:0", "[::1]:0"')
    node.write_conf("")
    assert reload(node).returncode == 0
    assert len(node.status()["listen"]) == 2
    assert node.status()["listen"][0].endswith(f":{old}")
    node.base = node.base.replace('"127.0.0.1:0", ', "")
    node.write_conf("")
    assert reload(node).returncode == 0
    assert len(node.status()["listen"]) == 1
    try:
        socket.create_connection(("127.0.0.1", old), 5).close()
        raise AssertionError("still listening")
    except ConnectionRefusedError:
        pass
    node.stop()


def test_an_address_that_cannot_be_bound_changes_nothing():
    node, other = Node(), Node()
    node.base = node.base.replace('"127.0.0.1:0"',
                                  f'"127.0.0.1:{other.port}"')
    node.write_conf("")
    assert_refused(node, [f"127.0.0.1:{other.port}"])
    Client(node).close()
    node.stop()
    other.stop()


def test_removing_trust_closes_connections_of_old_workers_too():
    node = Node(trust=("peer", "other"), workers=1)
    client = Client(node, certificate="other")
    client.start("poll://never/", "IAny", "Echo", "x")
    until(lambda: node.status()["calls"]["in_flight"] == 1, "the call")
    node.write_conf("friendly_headers = {\"X-A: b\"}\n")
    assert reload(node).returncode == 0
    node.wait_log("newer ones serve")
    node.write_trust([Certificate.get("peer").thumbprint])
    assert reload(node).returncode == 0
    assert client.at_eof()
    Client(node).close()
    node.stop()


def test_a_section_redis_takes_a_restart():
    node = Node()
    node.write_conf('redis {\n url = "redis://127.0.0.1:1"\n'
                    ' key_prefix = "p"\n}\n')
    assert reload(node).returncode == 0
    node.wait_log("the section redis was changed in the configuration; "
                  "restart")
    assert not [w for w in node.status()["workers"] if w["kind"] == "queue"]
    node.stop()


def renew_queue_worker(node):
    """Changes a setting that the queue worker is told: the pid of the old
    one, when another has its place."""
    old = node.worker_pids("queue")[-1]
    renew_queue_worker.ms = 50000 + (renew_queue_worker.ms + 1) % 1000
    extra = re.sub("command_timeout = .*\n", "", node.extra)
    node.write_conf(extra.replace("redis {\n", "redis {\n command_timeout = "
                                  f"{renew_queue_worker.ms}ms\n"))
    at = len(node.log())
    done = reload(node)
    assert done.returncode == 0, done
    assert "restart_needed" not in node.log()[at:]
    node.wait_log(rf"\"pid\":{old}[^\n]*another one serves; finishing", at)
    return old


renew_queue_worker.ms = 0


def wait_gone(node, old, patience=g.PATIENCE):
    until(lambda: old not in node.worker_pids("queue"),
          f"queue worker {old} is gone: "
          f"{[x for x in node.log().splitlines() if f'{old}' in x][-5:]}",
          patience)


def proxied_cluster():
    """(cluster, proxy of its second node, which may hold answers for long)"""
    c = Cluster(n=1, more=" command_timeout = 60s")
    proxy = Proxy(c.redis)
    c.nodes.append(c.new_node(url=proxy.url))
    c.nodes[1].wait_redis()
    return c, proxy


def test_a_queue_worker_finishes_what_it_carries_while_another_one_serves():
    with Cluster() as c:
        a, b = c.nodes
        p = Poller(b, "poll://busy/")
        b.wait_idle_poller("poll://busy/")
        taken, waiting = Client(a), Client(a)
        taken.start("poll://busy/", "IAny", "Echo", "x")
        request, _ = p.take()
        waiting.start("poll://later/", "IAny", "Echo", "x")
        until(lambda: a.redis().get("sending") == 2, "both are in Redis")
        olds = [renew_queue_worker(n) for n in c.nodes]
        # The new ones serve.
        Poller(b, "poll://other/").serve(lambda *_: "other")
        reply, _ = Client(a).call("poll://other/", "IAny", "Echo", "x")
        assert reply["result"] == "other", reply
        p.answer(request, "done")
        assert taken.finish()[0]["result"] == "done"
        Poller(b, "poll://later/").serve(lambda *_: "late")
        assert waiting.finish()[0]["result"] == "late"
        for node, old in zip(c.nodes, olds):
            wait_gone(node, old)
        assert c.redis.immortal() == []


def taken_meanwhile(words, comes_back):
    """The queue worker is replaced while it takes a request out of Redis;
    comes_back: the service that was ready for it is gone then, and back."""
    c, proxy = proxied_cluster()
    with c:
        a, b = c.nodes
        executed = []

        def serve():
            p = Poller(b, "poll://taken/")
            p.serve(lambda request, _: executed.append(1) or "done")
            return p

        p = serve()
        b.wait_idle_poller("poll://taken/")
        client = Client(a)
        client.call("poll://taken/", "IAny", "Echo", "x")  # all is set up
        b.wait_idle_poller("poll://taken/")
        released = proxy.hold_reply(words)
        client.start("poll://taken/", "IAny", "Echo", "x")
        assert proxy.caught.wait(g.PATIENCE), "nobody takes it"
        if comes_back:
            p.cut()
            until(lambda: b.subscription("poll://taken/")["idle"] == 0,
                  "the service is gone")
        old = renew_queue_worker(b)
        if comes_back:
            serve()
        released.set()
        reply = client.finish()[0]
        assert reply["result"] == "done", reply
        assert executed == [1, 1], executed
        wait_gone(b, old)


def test_what_a_queue_worker_takes_when_it_is_replaced_is_not_lost():
    for words in (b"LPOP", b"HMGET"):
        for comes_back in (False, True):
            taken_meanwhile(words, comes_back)


def leaves_meanwhile(words, leave):
    """The node leaves while a queue worker that was replaced still takes a
    request out of Redis."""
    c, proxy = proxied_cluster()
    with c:
        a, b = c.nodes
        p = Poller(b, "poll://taken/")
        executed = []
        p.serve(lambda request, _: executed.append(1) or "done")
        b.wait_idle_poller("poll://taken/")
        client = Client(a)
        client.call("poll://taken/", "IAny", "Echo", "x")  # all is set up
        b.wait_idle_poller("poll://taken/")
        released = proxy.hold_reply(words)
        client.start("poll://taken/", "IAny", "Echo", "x")
        assert proxy.caught.wait(g.PATIENCE), "nobody takes it"
        old = renew_queue_worker(b)
        until(lambda: b.redis().get("reachable"), "the new one serves")
        at = len(b.log())
        if leave == "drain":
            ctl("drain", "--socket", b.control, check=True)
            b.wait_log(r"finishes what it carries", at)
        else:
            b.process.send_signal(signal.SIGTERM)
            b.wait_log("stopping: SIGTERM", at)
        for _ in range(3):  # time for its poller to be let go too soon
            b.status()
        released.set()
        reply = client.finish()[0]
        assert reply["result"] == "done", reply
        assert executed == [1, 1], executed
        if leave == "drain":
            wait_gone(b, old)
            assert b.stop() == 0
        else:
            assert b.process.wait(g.PATIENCE) == 0


def test_what_a_replaced_queue_worker_takes_is_served_before_the_node_goes():
    for words in (b"LPOP", b"HMGET"):
        for leave in ("drain", "stop"):
            leaves_meanwhile(words, leave)


def test_what_came_out_of_redis_is_not_put_into_it_again():
    c, proxy = proxied_cluster()
    with c:
        a, b = c.nodes
        p = Poller(b, "poll://taken/")
        b.wait_idle_poller("poll://taken/")
        client = Client(a)
        released = proxy.hold_reply(b"HMGET")
        client.start("poll://taken/", "IAny", "Echo", "x")
        assert proxy.caught.wait(g.PATIENCE), "nobody takes it"
        p.close()
        until(lambda: (b.subscription("poll://taken/") or
                       {"idle": 0})["idle"] == 0, "the service is gone")
        olds = [renew_queue_worker(b)]
        released.set()
        until(lambda: b.status()["calls"]["waiting"] == 1, "it waits here")
        olds.append(renew_queue_worker(b))
        assert not c.redis.keys("*RequestMessage::*")
        assert b.status()["calls"]["waiting"] == 1
        p = Poller(b, "poll://taken/")
        request, _ = p.take()
        p.answer(request, "done")
        assert client.finish()[0]["result"] == "done"
        for old in olds:
            wait_gone(b, old)


def test_a_response_whose_streams_come_slowly_outlives_its_queue_worker():
    """Nothing of it is in the spool while Redis is asked for the next piece."""
    c, proxy = proxied_cluster()
    with c:
        a, b = c.nodes
        data = os.urandom(4 << 20)
        Poller(a, "poll://large/").serve(lambda *_: hw.DataStream(data))
        a.wait_idle_poller("poll://large/")
        client = Client(b)
        client.start("poll://large/", "IAny", "Make")
        proxy.delay = 0.2
        client.fill()  # the response is on its way
        old = renew_queue_worker(b)
        reply, streams = client.finish()
        assert list(streams.values()) == [data], reply
        proxy.delay = 0
        wait_gone(b, old)


def test_a_queue_worker_that_cannot_begin_leaves_the_old_one_in_place():
    with Cluster() as c:
        a, b = c.nodes
        for node in c.nodes:
            node.wait_redis()
        Poller(b, "poll://stays/").serve(lambda *_: "here")
        b.wait_idle_poller("poll://stays/")
        (old,) = b.worker_pids("queue")
        nonsense = os.path.join(c.directory, "ca.pem")
        with open(nonsense, "w") as f:
            f.write("nonsense\n")
        good = b.extra
        b.write_conf('redis {\n url = "rediss://127.0.0.1:1"\n'
                     f' key_prefix = "cluster"\n tls_ca = "{nonsense}"\n}}\n')
        assert reload(b).returncode == 0
        b.wait_log("the section redis cannot be applied")
        for _ in range(3):
            reply, _ = Client(a).call("poll://stays/", "IAny", "Echo", "x")
            assert reply["result"] == "here", reply
        assert old in b.worker_pids("queue")
        assert b.redis()["reachable"], b.redis()
        b.write_conf(good.replace("redis {\n",
                                  "redis {\n command_timeout = 5999ms\n"))
        assert reload(b).returncode == 0
        wait_gone(b, old)
        reply, _ = Client(a).call("poll://stays/", "IAny", "Echo", "x")
        assert reply["result"] == "here", reply


class Callers:
    """Calls through either node to services that poll both."""

    def __init__(self, nodes, n=8):
        self.nodes, self.executed, self.wrong = nodes, {}, []
        self.lock, self.over = threading.Lock(), threading.Event()
        self.last = self.answered = 0
        for node in nodes:
            for _ in range(n):
                Poller(node, "poll://load/").serve(self.execute)
            node.wait_idle_poller("poll://load/", n)
        self.threads = [threading.Thread(target=self.run, args=(i,))
                        for i in range(n)]
        for t in self.threads:
            t.start()

    def execute(self, request, streams):
        n = request["params"][0]
        with self.lock:
            self.executed[n] = self.executed.get(n, 0) + 1
        if len(request["params"]) == 1:
            return n
        return hw.DataStream(streams[request["params"][1]["id"]])

    def run(self, i):
        client = Client(self.nodes[i % 2], timeout=120)
        while not self.over.is_set():
            with self.lock:
                self.last += 1
                n = self.last
            data = [os.urandom(300_000)] if n % 4 == 0 else []
            reply, streams = client.call("poll://load/", "ICount", "Count", n,
                                         *map(hw.DataStream, data))
            with self.lock:
                self.answered += 1
                if list(streams.values()) != data or \
                        (not data and reply["result"] != n):
                    self.wrong.append(reply)

    def wait(self, more):
        before = self.answered
        until(lambda: self.answered >= before + more or self.wrong,
              f"{more} more calls", 90)

    def finish(self):
        self.over.set()
        for t in self.threads:
            t.join(130)
            assert not t.is_alive(), "a call does not end"
        assert not self.wrong, self.wrong[:5]
        wrong = [n for n in range(1, self.last + 1)
                 if self.executed.get(n) != 1]
        assert not wrong, [(n, self.executed.get(n)) for n in wrong]


def test_queue_workers_are_replaced_under_load_without_a_loss():
    with Cluster() as c:
        load = Callers(c.nodes)
        for i in range(int(os.environ.get("HBT_RELOADS", 12))):
            node = c.nodes[i % 2]
            load.wait(20)
            wait_gone(node, renew_queue_worker(node), 60)
        load.wait(20)
        load.finish()
        print(f"# {load.answered} calls")
        for node in c.nodes:
            assert "worker_ended" not in node.log()
            assert len(node.worker_pids("queue")) == 1


def test_a_node_stops_while_an_old_queue_worker_still_waits():
    with Cluster() as c:
        a, b = c.nodes
        client = Client(a)
        client.start("poll://nobody/", "IAny", "Echo", "x")
        until(lambda: a.redis().get("sending") == 1, "it is in Redis")
        renew_queue_worker(a)
        assert a.stop() == 0
        text = client.finish()[0]["error"]["message"]
        assert "stopping" in text or "shutting down" in text or \
            "cancelled" in text, text
        assert "did not stop within" not in a.log()


def test_settings_that_need_a_restart_are_named():
    node = Node()
    node.write_conf("log_format = \"text\"\nsandbox = no\n")
    assert reload(node).returncode == 0
    for name in ("log_format", "sandbox"):
        node.wait_log(f"{name} was changed in the configuration; restart")
    node.stop()


NEED_REDIS = ("queue_worker", "out_of_redis")
g.main([v for k, v in list(globals().items()) if k.startswith("test_") and
        (has_redis() or not any(x in k for x in NEED_REDIS))])
