#!/usr/bin/env python3
"""Old and new certificates side by side: by the address, by the name that is
asked for, by endpoint and polled server; and peers with several thumbprints.
"""
import hashlib
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys

import gateway as g
from gateway import Certificate, Client, Node, Poller, ctl, until


def reload(node):
    done = ctl("reload", "--socket", node.control)
    assert done.returncode == 0, done.stderr


def shown(port, name=None, host="127.0.0.1"):
    """The thumbprint of what a gateway shows to who dials it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection((host, port), g.PATIENCE) as raw:
        with context.wrap_socket(raw, server_hostname=name) as tls:
            return hashlib.sha1(tls.getpeercert(True)).hexdigest().upper()


def old(more=""):
    return (f'identity "old" {{\n certificate = '
            f'"{Certificate.get("old").path}"\n{more}\n}}\n')


def thumbprint(name):
    return Certificate.get(name).thumbprint


def ports(node):
    return [int(a.rsplit(":", 1)[1]) for a in node.status()["listen"]]


def test_an_address_of_its_own_shows_the_old_one():
    node = Node(old('listen = {"127.0.0.1:0"}').replace("127.0.0.1:0",
                                                         "[::1]:0"))
    new_port, old_port = ports(node)
    assert shown(new_port) == thumbprint("gateway")
    assert shown(old_port, host="::1") == thumbprint("old")
    node.stop()


def test_a_name_shows_the_old_one():
    node = Node(old('server_names = {"old.example.com", "*.old.example.com"}'))
    for name, expected in ((None, "gateway"), ("new.example.com", "gateway"),
                           ("old.example.com", "old"),
                           ("OLD.example.com", "old"),
                           ("a.old.example.com", "old"),
                           ("b.a.old.example.com", "gateway")):
        assert shown(node.port, name) == thumbprint(expected), name
    own = {c["thumbprint"]: c["identity"]
           for c in node.status()["certificates"]}
    assert own == {thumbprint("gateway"): None, thumbprint("old"): "old"}, own
    node.stop()


def service(trust):
    return Node('service "IEchoService" { command = '
                f'"{sys.executable} {g.ECHO}" }}\n', trust=trust)


def hello(node, url):
    done = node.call(url, "IEchoService", "SayHello", '"World"')
    assert done.returncode == 0 and b"World" in done.stdout, done


def test_a_service_that_trusts_the_old_one_alone_is_dialled_with_that():
    behind = service(("old",))
    url = f"https://127.0.0.1:{behind.port}"
    node = Node(old() + f'endpoint "{url}" {{\n identity = "old"\n'
                f' thumbprint = "{behind.certificate.thumbprint}"\n}}\n')
    hello(node, url)
    hello(node, url)
    node.stop()
    behind.stop()


def test_a_server_is_polled_with_the_old_one():
    server = Node("polling_queue_wait_timeout = 300ms\n", trust=("old",))
    node = Node(old() + f'''
service "IEchoService" {{ command = "{sys.executable} {g.ECHO}" }}
poll "https://127.0.0.1:{server.port}" {{
  identity = "old"
  thumbprint = "{server.certificate.thumbprint}"
  subscription = "poll://hosted/"
}}
''')
    server.wait_idle_poller("poll://hosted/")
    hello(server, "poll://hosted/")
    node.stop()
    server.stop()


def test_of_several_thumbprints_any_will_do():
    behind = service(("gateway",))
    path = os.path.join(behind.dir, "node.pem")
    shutil.copy(behind.certificate.path, path)
    behind.base = behind.base.replace(behind.certificate.path, path)
    extra = ('service "IEchoService" { command = '
             f'"{sys.executable} {g.ECHO}" }}\n')
    behind.write_conf(extra)
    reload(behind)
    url = f"https://127.0.0.1:{behind.port}"
    node = Node(f'endpoint "{url}" {{\n thumbprint = '
                f'{{"{thumbprint("other")}", '
                f'"{behind.certificate.thumbprint}"}}\n}}\n')
    hello(node, url)
    shutil.copy(Certificate.get("other").path, path)
    reload(behind)
    until(lambda: shown(behind.port) == thumbprint("other"), "it has changed")
    hello(node, url)
    node.write_conf(f'endpoint "{url}" {{\n thumbprint = '
                    f'"{thumbprint("peer")}"\n}}\n')
    reload(node)
    done = node.call(url, "IEchoService", "SayHello", '"World"')
    assert done.returncode != 0 and b"unexpected" in done.stderr, done
    node.stop()
    behind.stop()


def test_a_rotation_from_the_first_step_to_the_last():
    """As docs/certificates.md has it: nobody is left out on the way."""
    node = Node()
    path = os.path.join(node.dir, "node.pem")
    shutil.copy(node.certificate.path, path)
    base = node.base.replace(node.certificate.path, path)
    node.base = base
    node.write_conf("")
    reload(node)
    # The new one is there, for those who ask for it by name.
    node.write_conf('identity "next" {\n certificate = '
                    f'"{Certificate.get("next").path}"\n'
                    ' server_names = {"next.example.com"}\n}\n')
    reload(node)
    until(lambda: shown(node.port, "next.example.com") == thumbprint("next"),
          "the new one by name")
    assert shown(node.port) == thumbprint("gateway")
    # It is the usual one, and the old one by name.
    shutil.copy(Certificate.get("next").path, path)
    node.write_conf('identity "old" {\n certificate = '
                    f'"{node.certificate.path}"\n'
                    ' server_names = {"old.example.com"}\n}\n')
    reload(node)
    until(lambda: shown(node.port) == thumbprint("next"), "the new one")
    assert shown(node.port, "old.example.com") == thumbprint("gateway")
    # The old one is gone.
    node.write_conf("")
    reload(node)
    until(lambda: shown(node.port, "old.example.com") == thumbprint("next"),
          "the new one alone")
    node.stop()


def hold_new_workers(node):
    """Connection workers that start from now on wait for the file that this
    returns."""
    program = os.path.join(node.libexec, "halibut-connection-worker")
    go = os.path.join(node.dir, "go")
    real = os.readlink(program)
    os.remove(program)
    with open(program, "w") as f:
        f.write("#!/bin/sh\n"
                f"while [ ! -e {go} ]; do sleep 0.05; done\nexec {real}\n")
    os.chmod(program, 0o755)
    return go


def test_a_new_one_serves_before_the_workers_that_it_came_with_do():
    behind = service(("next",))
    url = f"https://127.0.0.1:{behind.port}"
    node = Node()
    before = node.worker_pids()
    go = hold_new_workers(node)
    node.write_conf(f'endpoint "{url}" {{\n identity = "next"\n'
                    f' thumbprint = "{behind.certificate.thumbprint}"\n}}\n'
                    'identity "next" {\n certificate = '
                    f'"{Certificate.get("next").path}"\n'
                    ' server_names = {"next.example.com"}\n'
                    ' listen = {"[::1]:0"}\n}\n')
    reload(node)
    states = {w["pid"]: w["state"] for w in node.status()["workers"]
              if w["kind"] == "connection"}
    assert len(states) == 2 * len(before), states
    assert all((s == "ready") == (pid in before)
               for pid, s in states.items()), states
    hello(node, url)
    assert shown(node.port, "next.example.com") == thumbprint("next")
    assert shown(node.port) == thumbprint("gateway")
    assert shown(ports(node)[1], host="::1") == thumbprint("next")
    open(go, "w").close()
    until(lambda: not set(before) & set(node.worker_pids()),
          "new workers serve")
    hello(node, url)
    node.stop()
    behind.stop()


def warnings(node):
    return [o for o in map(json.loads, node.log().splitlines())
            if o.get("event") == "certificate_expires"]


def test_one_that_ends_soon_is_worth_a_warning_and_goes_on():
    short = os.path.join(os.path.dirname(Certificate.get("peer").path),
                         "short.pem")
    made = ctl("cert", "new", "--days", "10", "--out", short, check=True)
    own = made.stdout.decode().strip()
    node = Node(f'identity "short" {{\n certificate = "{short}"\n'
                'server_names = {"short.example.com"}\n}\n')
    until(lambda: len(warnings(node)) == 1, "the start has told it")
    told = warnings(node)[0]
    assert told["level"] == "warning" and told["thumbprint"] == own, told
    assert re.match(r"will end at 20.*, in \d+ days$", told["reason"]), told
    assert "compares thumbprints" in told["remedy"], told
    assert short in told["message"], told
    shown_there = {c["thumbprint"]: c for c in node.status()["certificates"]}
    assert shown_there[own]["warning"].split(",")[0] == \
        told["reason"].split(",")[0], shown_there
    assert shown_there[thumbprint("gateway")]["warning"] is None, shown_there
    text = ctl("status", "--socket", node.control, check=True).stdout.decode()
    assert re.search(rf"identity +{own} \(short\): will end at", text), text
    assert re.search(rf"certificate +{thumbprint('gateway')}, until \d", text)
    reload(node)
    until(lambda: len(warnings(node)) == 2, "the reload has told it")
    assert shown(node.port, "short.example.com") == own
    tested = subprocess.run([os.path.join(g.BUILD, "halibutd"), "-t", "-c",
                             node.conf], capture_output=True, text=True,
                            timeout=g.PATIENCE)
    assert tested.returncode == 0, tested
    told = [line for line in tested.stdout.splitlines()
            if line.startswith("warning: ")]
    assert len(told) == 1 and short in told[0] and own in told[0], tested
    node.stop()


def test_those_that_are_not_for_peers_are_watched_too():
    status, redis = (os.path.join(
        os.path.dirname(Certificate.get("peer").path), name + ".pem")
        for name in ("status", "redis"))
    for path in status, redis:
        ctl("cert", "new", "--days", "20", "--out", path, check=True)
    node = Node(f"""
status_certificate = "{status}"
status_client_ca = "{status}"
redis {{
    url = "rediss://127.0.0.1:1"
    key_prefix = "x"
    tls_certificate = "{redis}"
    tls_key = "{redis}"
}}
""")
    assert [c["use"] for c in node.status()["certificates"]] == [
        "node", "status", "redis"]
    told = {o["message"].split()[1]: o["remedy"] for o in warnings(node)}
    assert set(told) == {status, redis}, told
    assert "clients of the status refuse" in told[status], told
    assert "Redis refuses" in told[redis], told
    with open(node.conf, "a") as f:
        f.write("certificate_warning = 19d\n")
    reload(node)
    until(lambda: not any(c["warning"] for c in node.status()["certificates"]),
          "the warning is for what ends sooner")
    assert len(warnings(node)) == 2, warnings(node)
    node.stop()


def test_a_key_that_everybody_can_read_is_told_with_what_mends_it():
    here = os.path.dirname(Certificate.get("peer").path)
    own, other = (os.path.join(here, f"open-{n}.pem") for n in (1, 2))
    for path in own, other:
        ctl("cert", "new", "--out", path, check=True)
        os.chmod(path, 0o644)
    node = Node(f'identity "a" {{ certificate = "{own}"\n'
                f'server_names = {{"a.example.com"}} }}\n'
                f'identity "b" {{ certificate = "{own}"\nkey = "{own}"\n'
                f'server_names = {{"b.example.com"}} }}\n'
                f'identity "c" {{ certificate = "{other}"\n'
                f'server_names = {{"c.example.com"}} }}\n')

    def told():
        return [o["message"] for o in map(json.loads, node.log().splitlines())
                if o.get("event") == "key_readable"]

    until(lambda: len(told()) >= 2, "the start has told it")
    assert sorted(told()) == [
        f"{path} has a private key in it and mode 0644: everybody here can "
        f"read it; chmod o= {path}" for path in (own, other)], told()
    tested = subprocess.run([os.path.join(g.BUILD, "halibutd"), "-t", "-c",
                             node.conf], capture_output=True, text=True,
                            timeout=g.PATIENCE)
    assert tested.returncode == 0, tested
    assert tested.stdout.count("warning: ") == 2, tested
    assert f"chmod o= {other}\n" in tested.stdout, tested
    os.chmod(own, 0o640)  # its group may
    os.chmod(other, 0o600)
    reload(node)
    assert len(told()) == 2, told()
    node.stop()


def test_mistakes_are_told():
    node = Node()
    for text, words in (
            ('identity "a" { }', "needs certificate"),
            ('identity "a" { certificate = "/nowhere" }',
             'identity "a": there is no certificate'),
            ('identity "a" { certificate = "x" '
             'server_names = {"a b"} }', "is no host name"),
            ('identity "a" { certificate = "x" listen = {"x"} }', "listen"),
            ('endpoint "https://x:1" { identity = "b" thumbprint = '
             f'"{thumbprint("peer")}" }}', 'no section identity "b"')):
        node.write_conf(text.replace(" server_names", "\nserver_names")
                        .replace(" listen =", "\nlisten =")
                        .replace(" thumbprint =", "\nthumbprint =") + "\n")
        done = ctl("reload", "--socket", node.control)
        assert done.returncode != 0 and words in done.stderr.decode(), done
    Client(node).close()
    node.stop()


if __name__ == "__main__":
    g.main([v for k, v in list(globals().items()) if k.startswith("test_")])
