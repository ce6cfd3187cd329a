#!/usr/bin/env python3
"""The configuration is read again while the gateway runs: what is wrong in it
changes nothing, what is right is in force, and workers that must know more are
replaced by others while they finish what they carry.
"""
import os
import signal
import ssl
import socket
import hashlib
import shutil

import gateway as g
import halibut_wire as hw
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
    assert_refused(node, ["does not belong to the certificate"])
    assert shown_certificate(node.port) == \
        Certificate.get("gateway").thumbprint
    with open(path, "w") as f:
        f.write(good)
    assert reload(node).returncode == 0
    assert node.status()["reload_error"] is None
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


def test_settings_that_need_a_restart_are_named():
    node = Node()
    node.write_conf("log_format = \"text\"\nsandbox = no\n")
    assert reload(node).returncode == 0
    for name in ("log_format", "sandbox"):
        node.wait_log(f"{name} was changed in the configuration; restart")
    node.stop()


g.main([v for k, v in list(globals().items()) if k.startswith("test_")])
