#!/usr/bin/env python3
"""halibutctl ping: the verdict of each step, for every way in which a peer
cannot be reached.
"""
import json
import re
import socket
import threading

from gateway import (Certificate, Closed, Node, Poller, ctl, echo_first,
                     example_service, main, until)

STEPS = ("name", "tcp", "proxy", "tls", "certificate", "identification")


def service():
    """The URL of an example service that trusts the certificate "client"."""
    if not hasattr(service, "url"):
        service.url, _ = example_service("service", "client")
        service.port = int(service.url.rsplit(":", 1)[1].rstrip("/"))
    return service.url


def ping(*args, code=0):
    """{step: what was found}, and the whole document."""
    done = ctl("ping", "--json", *args)
    assert done.returncode == code, (done.returncode, done.stdout,
                                     done.stderr)
    doc = json.loads(done.stdout)
    assert doc["ok"] is (code == 0), doc
    return {s["step"]: s for s in doc["steps"]}, doc


def verdicts(steps):
    return [steps[s]["verdict"] for s in STEPS if s in steps]


class Listener:
    """Accepts connections, one after the other, and gives them to serve."""

    def __init__(self, serve):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.serve = serve
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,),
                             daemon=True).start()

    def address(self):
        return f"127.0.0.1:{self.port}"


def copy(a, b):
    try:
        while data := a.recv(65536):
            b.sendall(data)
        b.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def proxy_that_agrees(connection):
    request = b""
    while b"\r\n\r\n" not in request:
        request += connection.recv(4096)
    host, port = request.split()[1].decode().rsplit(":", 1)
    inside = socket.create_connection((host, int(port)))
    connection.sendall(b"HTTP/1.0 200 Connection established\r\n\r\n")
    threading.Thread(target=copy, args=(inside, connection),
                     daemon=True).start()
    copy(connection, inside)


def proxy_that_refuses(connection):
    connection.recv(4096)
    connection.sendall(b"HTTP/1.0 403 Not today\r\n\r\n")
    connection.close()


def web_server(connection):
    connection.recv(4096)
    connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
    connection.close()


def test_a_service_that_trusts_us_is_ok_in_every_step():
    who = Certificate.get("service").thumbprint
    steps, doc = ping("--cert", Certificate.get("client").path,
                      "--thumbprint", who.lower(), service())
    assert verdicts(steps) == ["ok"] * 5, steps
    assert "127.0.0.1" in steps["tcp"]["text"]
    assert steps["tls"]["text"].startswith("TLSv1.")
    assert Certificate.get("client").thumbprint in \
        steps["identification"]["text"]
    assert not any(s["remedy"] for s in steps.values()), steps
    assert doc["certificate"]["thumbprint"] == who
    assert doc["certificate"]["key"] == "RSA 2048 bits"


def test_without_a_certificate_we_are_not_identified_but_told_how():
    steps, _ = ping(service())
    assert verdicts(steps) == ["ok"] * 4 + ["skipped"], steps
    assert "--cert" in steps["identification"]["remedy"]
    assert "show-thumbprint" in steps["certificate"]["remedy"]


def test_a_service_that_does_not_trust_us_gets_the_command_that_mends_it():
    steps, _ = ping("--cert", Certificate.get("stranger").path, service(),
                    code=5)
    assert verdicts(steps) == ["ok"] * 4 + ["failed"], steps
    assert ("configure --trust " + Certificate.get("stranger").thumbprint
            in steps["identification"]["remedy"])


def test_another_certificate_than_expected_ends_it_there():
    expected = Certificate.get("stranger").thumbprint
    steps, doc = ping("--thumbprint", expected, "--cert",
                      Certificate.get("client").path, service(), code=5)
    assert verdicts(steps) == ["ok"] * 3 + ["failed", "skipped"], steps
    assert expected in steps["certificate"]["text"]
    assert (Certificate.get("service").thumbprint
            in steps["certificate"]["text"])


def test_the_gateway_itself_can_be_pinged():
    node = Node()
    steps, _ = ping("--cert", Certificate.get("peer").path, "--thumbprint",
                    node.certificate.thumbprint,
                    f"https://localhost:{node.port}")
    assert verdicts(steps) == ["ok"] * 5, steps
    assert "localhost has the address" in steps["name"]["text"], steps
    steps, _ = ping("--socket", node.control, "--cert",
                    Certificate.get("stranger").path,
                    f"https://127.0.0.1:{node.port}", code=5)
    assert "this very gateway" in steps["route"]["text"], steps
    assert steps["certificate"]["text"].endswith("as this gateway has it")
    assert (steps["identification"]["remedy"].endswith(
        "halibutctl trust add " + Certificate.get("stranger").thumbprint))
    node.stop()


def test_pinging_the_gateway_leaves_nothing_in_its_log():
    node = Node()
    ping("--cert", Certificate.get("peer").path, "--thumbprint",
         node.certificate.thumbprint, f"https://localhost:{node.port}")
    # And its log has nothing to complain of.
    assert not re.search(r" (warning|error) ", node.log()), node.log()
    node.stop()


def line_of(node, text):
    """In the configuration, counted from 1."""
    with open(node.conf) as f:
        for n, line in enumerate(f, 1):
            if text in line:
                return f"line {n} of {node.conf}"
    raise AssertionError(text)


def test_the_gateway_says_what_certificate_a_service_must_have():
    who = Certificate.get("service").thumbprint
    other = Certificate.get("stranger").thumbprint
    url = service().rstrip("/")
    node = Node(f"""
endpoint "{url}" {{
    thumbprint = {{ "{other}", "{who}" }}
}}
""")
    steps, doc = ping("--socket", node.control, url)
    assert verdicts(steps) == ["ok"] * 4 + ["skipped"], steps
    assert line_of(node, "endpoint") in steps["certificate"]["text"], steps
    assert line_of(node, "endpoint") in steps["route"]["text"], steps
    assert doc["gateway"]["thumbprints"] == [other, who], doc
    # What is said here counts more.
    steps, _ = ping("--socket", node.control, "--thumbprint", who, url)
    assert steps["certificate"]["text"].endswith("as expected"), steps
    with open(node.conf) as f:
        text = f.read()
    with open(node.conf, "w") as f:
        f.write(text.replace(who, Certificate.get("peer").thumbprint))
    ctl("reload", "--socket", node.control, check=True)
    steps, _ = ping("--socket", node.control, url, code=5)
    assert steps["certificate"]["verdict"] == "failed", steps
    assert line_of(node, "endpoint") in steps["certificate"]["text"], steps
    assert line_of(node, "endpoint") in steps["certificate"]["remedy"], steps
    node.stop()


def test_a_route_is_followed_as_the_gateway_follows_it():
    who = Certificate.get("service").thumbprint
    proxy = Listener(proxy_that_agrees)
    url = service().rstrip("/")
    node = Node(f"""
endpoint "{url}" {{
    thumbprint = "{who}"
    proxy = "{proxy.address()}"
}}
route "web1.example.test" {{ to = "{url}" }}
route "*.poll.example.test" {{ to = "poll://{{label}}/" }}
route "own.example.test" {{ to = "hosted" }}
poll "https://server.example.test:10943" {{
    thumbprint = "{who}"
    subscription = "poll://me/"
}}
service "IEchoService" {{ command = "cat" }}
""")

    def ask(url, code=3):
        return ping("--socket", node.control, "--timeout", "2s", url,
                    code=code)

    steps, doc = ask("https://web1.example.test:7", code=0)
    assert verdicts(steps) == ["ok"] * 5 + ["skipped"], steps
    assert line_of(node, "route \"web1") in steps["route"]["text"], steps
    assert proxy.address() in steps["route"]["text"], steps
    assert line_of(node, "endpoint") in steps["certificate"]["text"], steps
    assert doc["gateway"]["to"] == url, doc
    steps, _ = ask("https://web9.poll.example.test")
    assert "poll://web9/" in steps["route"]["text"], steps
    assert "ping poll://web9/" in steps["route"]["remedy"], steps
    steps, _ = ask("https://own.example.test")
    assert "own services" in steps["route"]["text"], steps
    steps, doc = ask("https://server.example.test:10943")
    assert "the gateway polls" in steps["route"]["text"], steps
    assert doc["gateway"]["thumbprints"] == [who], doc
    steps, _ = ask("https://wbe1.example.test")
    assert steps["route"]["verdict"] == "note", steps
    assert "did you mean web1.example.test?" in steps["route"]["text"], steps
    node.stop()


def test_nobody_listening_is_a_failure_of_tcp():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))  # bound, so that nobody else gets it
        steps, _ = ping("https://127.0.0.1:%d" % s.getsockname()[1], code=3)
    assert verdicts(steps) == ["ok", "failed"] + ["skipped"] * 3, steps
    assert "refused" in steps["tcp"]["text"]
    assert "nothing listens" in steps["tcp"]["remedy"]


def test_a_name_that_does_not_exist_is_a_failure_of_the_name():
    steps, _ = ping("--timeout", "5s", "https://web1.invalid:10933", code=3)
    assert verdicts(steps) == ["failed"] + ["skipped"] * 4, steps
    assert "web1.invalid" in steps["name"]["text"]
    assert "getent" in steps["name"]["remedy"]


def test_a_web_server_without_tls_is_a_failure_of_tls():
    steps, _ = ping("https://" + Listener(web_server).address(), code=5)
    assert verdicts(steps) == ["ok", "ok", "failed"] + ["skipped"] * 2, steps
    assert "not TLS" in steps["tls"]["text"]


def test_a_server_that_says_nothing_is_given_up_after_the_time_given():
    held = []
    silent = Listener(held.append)
    steps, _ = ping("--timeout", "300ms", "https://" + silent.address(),
                    code=5)
    assert verdicts(steps) == ["ok", "ok", "failed"] + ["skipped"] * 2, steps
    assert "within 00:00:00.3" in steps["tls"]["text"], steps
    assert "said nothing" in steps["tls"]["remedy"]


def test_a_proxy_is_a_step_of_its_own():
    service()
    through = Listener(proxy_that_agrees).address()
    steps, _ = ping("--proxy", through, "--cert",
                    Certificate.get("client").path, service())
    assert verdicts(steps) == ["ok"] * 6, steps
    assert "the proxy at " + through in steps["tcp"]["text"]
    through = Listener(proxy_that_refuses).address()
    steps, _ = ping("--proxy", through, service(), code=3)
    assert (verdicts(steps) == ["ok", "ok", "failed"] + ["skipped"] * 3), steps
    assert "403" in steps["proxy"]["text"]
    assert "CONNECT" in steps["proxy"]["remedy"]


def test_connect_dials_another_address_than_the_name_says():
    service()
    steps, _ = ping("--connect", f"127.0.0.1:{service.port}",
                    "https://web1.invalid:10933")
    assert verdicts(steps) == ["ok"] * 4 + ["skipped"], steps


def test_for_a_person_each_verdict_is_a_line_with_what_to_do_below():
    done = ctl("ping", "--cert", Certificate.get("stranger").path, service())
    assert done.returncode == 5
    lines = done.stdout.decode().splitlines()
    assert lines[0] == service()
    assert [line.split()[:2] for line in lines[1:] if line[2] != " "] == [
        ["name", "ok"], ["tcp", "ok"], ["tls", "ok"], ["certificate", "ok"],
        ["identification", "failed"]], lines
    assert lines[-1].strip().startswith("\u2192 Most likely"), lines


def test_what_cannot_be_pinged_is_a_mistake_on_the_command_line():
    for args, word in ((("web1:10933",), "https://HOST:PORT"), ((), "whom"),
                       (("--thumbprint", "12", service()), "thumbprint"),
                       (("--cert", "/nonexistent", service()), "/nonexistent"),
                       (("--proxy", "web", service()), "HOST:PORT")):
        done = ctl("ping", *args)
        assert done.returncode == 2, (args, done)
        assert word in done.stderr.decode(), (args, done)


def test_a_polling_service_that_is_connected_is_ok():
    node = Node()
    Poller(node, "poll://web1/").serve(echo_first)
    node.wait_idle_poller("poll://web1/")
    steps, doc = ping("--socket", node.control, "poll://web1")
    assert {s["step"]: s["verdict"] for s in doc["steps"]} == {
        "gateway": "ok", "connection": "ok", "queue": "ok"}, doc
    assert Certificate.get("peer").thumbprint in steps["connection"]["text"]
    assert node.certificate.thumbprint in steps["gateway"]["text"]
    node.stop()


def test_one_that_is_refused_is_found_with_the_command_that_lets_it_in():
    node = Node()
    steps, _ = ping("--socket", node.control, "poll://web1", code=3)
    assert steps["connection"]["verdict"] == "failed"
    assert "never" in steps["connection"]["text"]
    assert "show-configuration" in steps["connection"]["remedy"]
    assert steps["refused"]["verdict"] == "ok"
    try:
        Poller(node, "poll://web1/", certificate="stranger")
        raise AssertionError("a stranger was let in")
    except (Closed, OSError):
        pass

    def refused():
        steps, _ = ping("--socket", node.control, "poll://web1", code=3)
        return steps["refused"]["verdict"] == "note" and steps
    steps = until(refused, "the refusal is shown")
    command = "trust add " + Certificate.get("stranger").thumbprint
    assert steps["refused"]["remedy"] == "halibutctl " + command
    ctl(*command.split(), "--socket", node.control, check=True)
    poller = Poller(node, "poll://web1/", certificate="stranger")
    node.wait_idle_poller("poll://web1/")
    # Documents are of the second before.
    until(lambda: ctl("ping", "poll://web1", "--socket",
                      node.control).returncode == 0, "it is connected")
    # It leaves again: known, but gone.
    poller.close()
    until(lambda: ctl("ping", "poll://web1", "--socket",
                      node.control).returncode == 3, "it is gone")
    steps, _ = ping("--socket", node.control, "poll://web1", code=3)
    assert " ago" in steps["connection"]["text"], steps
    node.stop()


def test_without_a_gateway_a_polling_service_cannot_be_asked_for():
    done = ctl("ping", "poll://web1", "--socket", "/nonexistent")
    assert done.returncode == 8 and b"is halibutd running" in done.stderr


def test_a_call_that_did_not_get_there_names_what_finds_out_why():
    node = Node("""redis {
    url = "redis://127.0.0.1:1"
    key_prefix = "ping"
    memory_endpoints = {"poll://local/"}
}
""")
    for uri in ("poll://absent/", "poll://local/"):
        done = ctl("call", "--socket", node.control, "--timeout", "200ms",
                   uri, "IEchoService", "SayHello", '"x"')
        assert done.returncode == 4, done
        assert f"`halibutctl ping {uri}`".encode() in done.stderr, done
    said = until(lambda: (lambda out: out if "is not reachable" in out
                          and "cannot connect" in out else None)(
        ctl("ping", "--socket", node.control,
            "poll://absent/").stdout.decode()), "ping names Redis")
    assert re.search(r"redis +note +127\.0\.0\.1:1 is not reachable: .*"
                     r"Connection refused", said), said
    assert "halibutd -t --online" in said, said
    node.stop()


if __name__ == "__main__":
    main([v for k, v in list(globals().items()) if k.startswith("test_")])
