#!/usr/bin/env python3
"""The status over HTTP: what it says is what its schemas promise, nobody sees
it who may not, and nothing else suffers from whoever looks.
"""
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading

import halibut_wire as hw
from gateway import (Certificate, Client, ECHO, Node, PATIENCE, Peer,
                     Poller, SRC, ctl, echo_first, main, until)
from cluster_nodes import Redis, has_redis

try:
    import jsonschema
except ImportError:  # another Python than Debian's
    sys.path.append("/usr/lib/python3/dist-packages")
    import jsonschema

DOCUMENTS = ("varz", "connz", "subsz", "callz", "redisz", "trustz", "unauthz",
             "workersz", "healthz", "livez", "readyz", "statusz")
SERVICE = f'service "IEchoService" {{\n command = "{sys.executable} {ECHO}"\n}}\n'
INFO = 'log_level = "info"\n'  # at debug nothing is left out
TOKEN = "0123456789abcdef0123456789abcdef"


class OverUnix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=PATIENCE)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self.path)


class Answer:
    def __init__(self, connection, path, method="GET", **headers):
        connection.request(method, path, headers={
            k.replace("_", "-"): v for k, v in headers.items()})
        response = connection.getresponse()
        self.status = response.status
        self.headers = response.headers
        self.body = response.read().decode()

    def json(self):
        return json.loads(self.body)


def get(node, path, method="GET", **headers):
    connection = OverUnix(node.status_socket)
    try:
        return Answer(connection, path, method, **headers)
    finally:
        connection.close()


def document(node, path, status=200):
    answer = get(node, path)
    assert answer.status == status, (path, answer.status, answer.body)
    return answer.json()


def validate(doc, name):
    with open(os.path.join(SRC, "docs/schema", name + ".json")) as f:
        schema = json.load(f)
    jsonschema.Draft7Validator.check_schema(schema)
    errors = [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:300]}"
              for e in jsonschema.Draft7Validator(schema).iter_errors(doc)]
    assert not errors, (name, errors[:5])


def status_worker(node):
    return document(node, "/workersz?kind=status")["workers"][0]["pid"]


def busy_node(extra=""):
    """One of which there is something to tell."""
    node = Node(SERVICE + 'slow_call_time = 1ms\n' + extra)
    node.poller = Poller(node, "poll://busy/")
    node.wait_idle_poller("poll://busy/")
    assert node.call("https://any.test/", "IEchoService", "SayHello",
                     '"World"').returncode == 0
    node.call("https://any.test/", "INoService", "Nothing")
    stranger = Peer(node, certificate="stranger")
    stranger.send(hw.PREAMBLE + hw.CLIENT)
    assert stranger.at_eof()
    node.client = Client(node)
    node.client.start("poll://busy/", "IEchoService", "Wait")
    node.poller.take()
    until(lambda: document(node, "/unauthz")["refused"], "who was refused")
    until(lambda: document(node, "/callz")["calls"], "a call in flight")
    until(lambda: document(node, "/varz")["calls"]["total"] == 3,
          "all three are counted")
    return node


def end(node):
    """Nothing is under way any more: it need not wait."""
    node.poller.close()
    node.client.close()
    node.stop()


def every_document_is_as_its_schema_says():
    node = busy_node()
    for name in DOCUMENTS:
        answer = get(node, "/" + name)
        assert answer.status == 200, (name, answer.status, answer.body)
        assert answer.headers["Content-Type"] == "application/json"
        validate(answer.json(), name)
    assert document(node, "/statusz")["incomplete"] is False
    assert document(node, "/subsz")["subscriptions"][0]["uri"] == "poll://busy/"
    call, = document(node, "/callz?state=open")["calls"]
    assert (call["service"], call["method"]) == ("IEchoService", "Wait"), call
    past = document(node, "/callz?state=past")["past_calls"]
    assert [p["method"] for p in past][:1] == ["Nothing"], past
    assert past[0]["error"] and past[0]["message"], past
    refused, = document(node, "/unauthz")["refused"]
    thumbprint = Certificate.get("stranger").thumbprint
    assert refused["thumbprint"] == thumbprint, refused
    assert refused["trust_command"] == "halibutctl trust add " + thumbprint
    for path in ("/nothing", "/connz?colour=red", "/varz?x=1"):
        answer = get(node, path)
        assert answer.status in (400, 404), (path, answer.status)
        validate(answer.json(), "error")
    end(node)


def connections_are_listed_with_what_they_do():
    node = busy_node()
    names = ["busy", *(f"idle-{i}" for i in range(5))]
    pollers = [Poller(node, f"poll://{n}/") for n in names[1:]]
    for n in names[1:]:
        node.wait_idle_poller(f"poll://{n}/")
    doc = document(node, "/connz?role=subscriber&sort=subscription")
    assert [c["subscription"] for c in doc["connections"]] == [
        f"poll://{n}/" for n in names], doc
    assert doc["total_connections"] == 6 and not doc["incomplete"]
    one = doc["connections"][0]
    assert one["thumbprint"] == Certificate.get("peer").thumbprint, one
    assert one["tls_version"] and one["cipher"] and one["key_bits"] == 2048
    assert one["peer"].startswith("127.0.0.1:"), one
    got = []
    for offset in range(0, 6, 2):
        page = document(node, "/connz?role=subscriber&sort=-subscription"
                        f"&limit=2&offset={offset}")
        assert page["num_connections"] == 2, page
        got += [c["subscription"] for c in page["connections"]]
    assert got == [f"poll://{n}/" for n in reversed(names)], got
    assert document(node, "/connz?subscription=poll://idle-*")[
        "total_connections"] == 5
    assert document(node, "/connz?address=127.0.0.1&thumbprint="
                    + one["thumbprint"])["total_connections"] == 7
    assert document(node, "/connz?role=client")["total_connections"] == 1
    pollers[0].close()
    until(lambda: document(node, "/connz?state=closed&subscription="
                           "poll://idle-0/")["connections"], "who has closed")
    closed, = document(node, "/connz?state=closed&subscription="
                       "poll://idle-0/")["connections"]
    assert closed["closed_at"] and closed["reason"], closed
    validate(document(node, "/connz?state=any"), "connz")
    end(node)


def with_redis_the_documents_are_right_too():
    if not has_redis():
        return
    redis = Redis()
    node = Node(f'status_redis_grace = 0\n'
                f'redis {{\n url = "{redis.url}"\n key_prefix = "t"\n}}\n')
    until(lambda: (document(node, "/redisz")["redis"] or {}).get("reachable"),
          "Redis is reachable")
    until(lambda: document(node, "/redisz")["redis"]["nodes"], "nodes")
    for name in DOCUMENTS:
        validate(get(node, "/" + name).json(), name)
    assert get(node, "/readyz").status == 200
    assert "halibut_redis_up 1\n" in get(node, "/metrics").body
    redis.process.kill()
    redis.process.wait()
    until(lambda: get(node, "/readyz").status == 503, "not ready without Redis")
    doc = document(node, "/readyz", 503)
    assert doc["status"] == "unavailable", doc
    assert [c["name"] for c in doc["checks"] if not c["ok"]] == ["redis"], doc
    assert get(node, "/livez").status == 200
    node.stop()


# ---- Metrics ----

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABELS = r'\{(?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)+\}'
SAMPLE = re.compile(rf"({NAME})({LABELS})? (-?[0-9.e+-]+|\+Inf|NaN)\Z")


def families(text, open_metrics):
    """{family: (type, {sample: value})}, of a text that breaks no rule."""
    lines = text.split("\n")
    assert lines.pop() == "", "the last line is ended"
    if open_metrics:
        assert lines.pop() == "# EOF", lines[-1]
    found, family = {}, None
    for line in lines:
        if line.startswith("# "):
            _, what, name, rest = line.split(" ", 3)
            if what == "HELP":
                assert name not in found, f"{name} is there twice"
                assert rest.endswith("."), line
                family = name
                found[name] = [None, {}, None]
            elif what == "TYPE":
                assert name == family and found[name][0] is None, line
                found[name][0] = rest
            else:
                assert what == "UNIT" and open_metrics, line
                assert name == family and name.endswith("_" + rest), line
            continue
        m = SAMPLE.match(line)
        assert m, f"no sample: {line!r}"
        name, labels, value = m.groups()
        kind = found[family][0]
        ends = {"counter": ["_total"] if open_metrics else [""],
                "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
        assert name[len(family):] in ends[kind] and name.startswith(family), \
            (line, family, kind)
        if kind == "counter":
            assert name.endswith("_total") and float(value) >= 0, line
        key = name + (labels or "")
        assert key not in found[family][1], f"{key} is there twice"
        found[family][1][key] = float(value)
    return found


def check_histogram(samples):
    phases = {re.search('phase="([^"]*)"', k).group(1) for k in samples}
    for phase in phases:
        buckets = [(k, v) for k, v in samples.items()
                   if "_bucket" in k and f'phase="{phase}"' in k]
        bounds = [float(re.search('le="([^"]*)"', k).group(1))
                  for k, _ in buckets]
        values = [v for _, v in buckets]
        assert bounds == sorted(bounds) and bounds[-1] == float("inf"), bounds
        assert values == sorted(values), values
        count, = [v for k, v in samples.items()
                  if "_count" in k and f'phase="{phase}"' in k]
        assert count == values[-1], (phase, count, values)
    return phases


def metrics_break_no_rule_of_either_form():
    node = busy_node()
    text = get(node, "/metrics", Accept="text/plain")
    assert text.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    found = families(text.body, False)
    assert found["halibut_calls_total"][1]["halibut_calls_total"] == 3
    failed = found["halibut_call_errors_total"][1]
    assert sum(failed.values()) == 1, failed
    phases = check_histogram(found["halibut_call_duration_seconds"][1])
    assert phases == {"waiting", "executing", "total"}, phases
    accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
    text = get(node, "/metrics", Accept=accept)
    assert text.headers["Content-Type"].startswith(
        "application/openmetrics-text; version=1.0.0")
    opened = families(text.body, True)
    assert {re.sub("_total$", "", f) for f in found} == set(opened)
    end(node)


def promtool_finds_nothing_to_say():
    if not shutil.which("promtool"):
        print("# skipped: there is no promtool (Debian: prometheus)")
        return
    node = busy_node()
    done = subprocess.run(["promtool", "check", "metrics"],
                          input=get(node, "/metrics").body.encode(),
                          capture_output=True)
    assert done.returncode == 0 and not done.stderr, done
    end(node)


def every_metric_and_document_is_in_the_guide():
    node = busy_node()
    with open(os.path.join(SRC, "docs/status.md")) as f:
        guide = f.read()
    found = families(get(node, "/metrics").body, False)
    named = set(re.findall(r"^\| `(halibut_[a-z_]+)", guide, re.M))
    optional = {n for n in named if n.startswith("halibut_redis_")}
    assert optional, "metrics of Redis are in the guide"
    assert set(found) == named - optional, set(found) ^ (named - optional)
    index = get(node, "/").body
    for path in re.findall(r'href="(/[a-z]+)"', index):
        assert f"## `{path}`" in guide, path
        assert get(node, path).status == 200, path
    for path in re.findall(r"^## `(/[a-z]*)`", guide, re.M):
        assert path == "/" or f'href="{path}"' in index, path
    end(node)


# ---- Who may ask, and how ----

def nothing_can_be_changed():
    node = Node()
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        answer = get(node, "/varz", method)
        assert answer.status == 405, (method, answer.status)
        assert answer.headers["Allow"] == "GET, HEAD"
    head = get(node, "/varz", "HEAD")
    assert head.status == 200 and head.body == "", head.body
    assert get(node, "/readyz", "HEAD").status == 200
    assert get(node, "/nothing", "HEAD").status == 404
    connection = OverUnix(node.status_socket)  # and they can be mixed
    for path in ("/varz", "/nothing", "/metrics", "/connz"):
        Answer(connection, path, "HEAD")
        Answer(connection, path)
    connection.close()
    node.stop()


def tcp_port(node):
    found = re.findall(r"serving the status on 127\.0\.0\.1:(\d+)", node.log())
    return int(found[-1])


def token_file(node_extra=""):
    path = os.path.join(os.path.dirname(Certificate.get("peer").path), "token")
    with open(path, "w") as f:
        f.write(TOKEN + "\n")
    os.chmod(path, 0o600)
    return path


def tcp_wants_the_token_and_a_unix_socket_does_not():
    node = Node(f'status_token_file = "{token_file()}"\n',
                status=["127.0.0.1:0"])
    def ask(**headers):
        connection = http.client.HTTPConnection("127.0.0.1", tcp_port(node),
                                                timeout=PATIENCE)
        answer = Answer(connection, "/varz", **headers)
        connection.close()
        return answer
    assert ask(Authorization="Bearer " + TOKEN).status == 200
    for wrong in (None, "Bearer", "Bearer " + TOKEN[:-1], "Basic " + TOKEN,
                  "Bearer " + TOKEN + "0", TOKEN):
        answer = ask(**({"Authorization": wrong} if wrong else {}))
        assert answer.status == 401, (wrong, answer.status)
        assert "Bearer" in answer.headers["WWW-Authenticate"]
        assert "node" not in answer.json(), answer.body
    assert get(node, "/varz").status == 200
    node.stop()


def tls_wants_a_certificate_of_its_clients():
    own, friend, stranger = (Certificate.get("status-" + n)
                             for n in ("own", "friend", "stranger"))
    node = Node(f'status_certificate = "{own.path}"\n'
                f'status_client_ca = "{friend.path}"\n',
                status=["127.0.0.1:0"])
    def ask(certificate):
        context = ssl.create_default_context(cafile=own.path)
        context.check_hostname = False
        if certificate:
            context.load_cert_chain(certificate.path)
        connection = http.client.HTTPSConnection(
            "127.0.0.1", tcp_port(node), timeout=PATIENCE, context=context)
        try:
            return Answer(connection, "/varz").status
        finally:
            connection.close()
    assert ask(friend) == 200
    for other in (None, stranger, Certificate.get("peer")):
        try:
            status = ask(other)
        except (ssl.SSLError, ConnectionError, http.client.BadStatusLine):
            continue
        raise AssertionError(f"{other and other.path}: {status}")
    with socket.create_connection(("127.0.0.1", tcp_port(node))) as plain:
        plain.settimeout(PATIENCE)
        plain.sendall(b"GET /varz HTTP/1.1\r\n\r\n")
        try:
            assert b"HTTP" not in plain.recv(4096)
        except ConnectionError:
            pass
    assert ask(friend) == 200
    node.stop()


def logged(node, event):
    lines = (json.loads(line) for line in node.log().splitlines())
    return [o for o in lines if o.get("event") == event]


def who_does_not_get_it_is_logged_once_a_reason():
    own, friend, stranger = (Certificate.get("status-" + n)
                             for n in ("own", "friend", "stranger"))
    node = Node(f'status_certificate = "{own.path}"\n'
                f'status_client_ca = "{friend.path}"\n'
                f'status_token_file = "{token_file()}"\n' + INFO,
                status=["127.0.0.1:0"])
    port = tcp_port(node)
    ports = []
    def ask(certificate=friend, trusted=own, **headers):
        context = ssl.create_default_context(cafile=trusted.path)
        context.check_hostname = False
        if certificate:
            context.load_cert_chain(certificate.path)
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as raw:
            ports.append(raw.getsockname()[1])
            try:
                tls = context.wrap_socket(raw)
                tls.sendall(b"GET /varz HTTP/1.1\r\n" + b"".join(
                    f"{k}: {v}\r\n".encode() for k, v in headers.items()) +
                    b"\r\n")
                return tls.recv(100).split(b" ")[1]
            except (OSError, IndexError):
                return None
    def plain(data, source="127.0.0.1"):
        with socket.create_connection(("127.0.0.1", port), PATIENCE,
                                      (source, 0)) as raw:
            ports.append(raw.getsockname()[1])
            raw.sendall(data)
            raw.shutdown(socket.SHUT_WR)
            try:
                raw.recv(100)
            except ConnectionError:
                pass
    cases = (
        (lambda: ask(), "no token", "Bearer"),
        (lambda: ask(Authorization="Bearer x"), "wrong token", "Bearer"),
        (lambda: ask(stranger), "certificate verify failed",
         "status_client_ca"),
        (lambda: ask(None), "did not return a certificate",
         "status_client_ca"),
        (lambda: ask(trusted=stranger), "alert unknown ca",
         "status_certificate"),
        (lambda: plain(b"GET /varz HTTP/1.1\r\n\r\n"), "http request",
         "https://"))
    for n, (attempt, reason, remedy) in enumerate(cases, 1):
        assert attempt() in (None, b"401")
        until(lambda: len(logged(node, "status_refused")) == n,
              f"there is a line of: {reason}")
        line = logged(node, "status_refused")[-1]
        assert reason in line["reason"] and remedy in line["remedy"], line
        assert line["peer"] == f"127.0.0.1:{ports[-1]}", (line, ports)
        assert line["endpoint"] == f"127.0.0.1:{port}", line
        assert line["area"] == "status" and line["level"] == "warning", line
    # Again, and as a balancer comes and goes: no more lines.
    for attempt, _, _ in cases:
        attempt()
    plain(b"")
    assert ask(Authorization="Bearer " + TOKEN) == b"200"
    assert ask(stranger, Authorization="Bearer " + TOKEN) is None
    plain(b"GET / HTTP/1.1\r\n\r\n", "127.0.0.2")
    until(lambda: any(o["peer"].startswith("127.0.0.2:")
                      for o in logged(node, "status_refused")),
          "another source has a line of its own")
    lines = logged(node, "status_refused")
    assert len(lines) == len(cases) + 1, lines
    node.stop()


def when_nobody_else_fits_it_says_so_once():
    node = Node("status_max_connections = 2\n" + INFO)
    for _ in range(3):
        held = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        for s in held:
            s.connect(node.status_socket)
        until(lambda: logged(node, "status_full"), "it is full")
        for s in held:
            s.close()
        assert get(node, "/livez").status == 200
    lines = logged(node, "status_full")
    assert len(lines) == 1, lines
    assert lines[0]["reason"] == "status_max_connections = 2", lines
    assert lines[0]["endpoint"] == node.status_socket, lines
    node.stop()


def a_new_token_counts_after_a_reload():
    path = token_file()
    node = Node(f'status_token_file = "{path}"\n', status=["127.0.0.1:0"])
    def ask(token):
        connection = http.client.HTTPConnection("127.0.0.1", tcp_port(node),
                                                timeout=PATIENCE)
        answer = Answer(connection, "/livez", Authorization="Bearer " + token)
        connection.close()
        return answer.status
    assert ask(TOKEN) == 200
    with open(path, "w") as f:
        f.write("short\n")
    done = ctl("reload", "--socket", node.control)
    assert done.returncode != 0 and b"token" in done.stderr, done
    assert ask(TOKEN) == 200
    with open(path, "w") as f:
        f.write(TOKEN[::-1] + "\n")
    ctl("reload", "--socket", node.control, check=True)
    until(lambda: ask(TOKEN[::-1]) == 200, "the new token counts")
    assert ask(TOKEN) == 401
    node.stop()


def who_reads_notices_no_reload_that_does_not_concern_him():
    node = Node()
    connection = OverUnix(node.status_socket)
    assert Answer(connection, "/livez").status == 200
    began = connection.sock
    node.write_conf("next_request_idle_timeout = 59s\n")
    ctl("reload", "--socket", node.control, check=True)
    ctl("trust", "add", "--socket", node.control, "A" * 40, check=True)
    ctl("drain", "--socket", node.control, check=True)
    ctl("undrain", "--socket", node.control, check=True)
    assert Answer(connection, "/livez").status == 200
    assert connection.sock is began, "it was connected anew"
    connection.close()
    node.stop()


# ---- Bad guests ----

HOSTILE = [
    b"", b"\r\n", b"\0" * 1000, b"GET", b"GET / HTTP/9.9\r\n\r\n",
    b"GET  HTTP/1.1\r\n\r\n", b"FOO / HTTP/1.1\r\n\r\n",
    b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20000 + b"\r\n",
    b"GET /connz?" + b"a=b&" * 1000 + b" HTTP/1.1\r\n\r\n",
    b"GET /connz?%00=%zz HTTP/1.1\r\n\r\n", b"GET /../../etc/passwd HTTP/1.1\r\n\r\n",
    b"GET http://[::/varz HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100000,
    b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    b"GET / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    b"CONNECT x:1 HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 200,
]


def whatever_is_sent_harms_nobody():
    node = Node()
    pid = status_worker(node)
    for data in HOSTILE:
        for n in {len(data), len(data) // 2, max(len(data) - 1, 0)}:
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(PATIENCE)
                s.connect(node.status_socket)
                try:
                    s.sendall(data[:n])
                    s.shutdown(socket.SHUT_WR)
                    while s.recv(65536):
                        pass
                except ConnectionError:
                    pass
    whole = b"GET /connz?limit=2&sort=idle HTTP/1.1\r\nHost: x\r\n\r\n"
    for n in range(len(whole)):  # and cut off at every byte
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(node.status_socket)
            s.sendall(whole[:n])
    assert status_worker(node) == pid, "it is still the same one"
    node.stop()


def those_that_are_silent_or_slow_are_hung_up_on():
    node = Node("status_timeout = 1s\nstatus_max_connections = 4\n")
    silent = [socket.socket(socket.AF_UNIX) for _ in range(4)]
    for i, s in enumerate(silent):
        s.settimeout(PATIENCE)
        s.connect(node.status_socket)
        s.sendall(b"GET /varz HTTP/1.1\r\nX: y"[:5 * i])
    # They have all the room that there is; one that waits gets its turn.
    assert get(node, "/livez").status == 200
    for s in silent:
        try:
            while s.recv(4096):
                pass
        except ConnectionError:
            pass
        s.close()
    # A byte now and then does not help.
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(0.1)
        s.connect(node.status_socket)
        sent = 0
        try:
            while sent < 200:
                s.sendall(b"G")
                sent += 1
                try:
                    if s.recv(4096) == b"":
                        break
                except socket.timeout:
                    pass
        except ConnectionError:
            pass
        assert sent < 100, sent
    node.stop()


def one_who_does_not_read_holds_nothing_up():
    node = Node("status_timeout = 1s\n")
    pid = status_worker(node)
    lazy = []
    for _ in range(20):
        s = socket.socket(socket.AF_UNIX)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        s.connect(node.status_socket)
        s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
        lazy.append(s)
    for _ in range(20):
        assert get(node, "/varz").status == 200
    until(lambda: len(os.listdir(f"/proc/{pid}/fd")) < 20,
          "those who do not read are gone")
    assert status_worker(node) == pid
    node.stop()


# ---- When it is ill itself ----

def calls_go_on_whatever_becomes_of_the_status_worker():
    node = Node(SERVICE)
    poller = Poller(node, "poll://p/")
    poller.serve(echo_first)
    node.wait_idle_poller("poll://p/")
    client = Client(node)
    def call():
        return client.call("poll://p/", "IEcho", "Echo", "x")[0]["result"]
    assert call() == "x"
    pid = status_worker(node)
    os.kill(pid, signal.SIGSTOP)
    for _ in range(50):
        assert call() == "x"
    assert node.call("https://any.test/", "IEchoService", "SayHello",
                     '"W"').returncode == 0
    os.kill(pid, signal.SIGKILL)
    assert call() == "x"
    until(lambda: status_worker(node) != pid, "another one has started")
    assert call() == "x"
    node.stop()


def without_a_status_worker_the_control_socket_says_so():
    node = Node("worker_restart_delay = 1h\nworker_restart_delay_max = 1h\n")
    os.kill(status_worker(node), signal.SIGKILL)
    done = until(lambda: (lambda d: d if d.returncode else None)(
        ctl("health", "--socket", node.control)), "health fails")
    said = (done.stdout + done.stderr).decode()
    assert "status worker" in said, said
    for command in ("status", "connections"):
        for args in ((), ("--json",)):
            done = ctl(command, "--socket", node.control, *args)
            assert done.returncode == 9, done
            assert b"The status worker is not ready" in done.stderr, done
    node.stop()


def halibutctl_is_told_what_is_so_at_this_moment():
    node = Node()
    for i in range(20):
        # Whoever asks over HTTP leaves something that is good for a second.
        assert document(node, "/statusz")["trusted"] <= i + 1
        ctl("trust", "add", "--socket", node.control, f"{i:040X}", check=True)
        assert node.status()["trusted"] == i + 2
        done = ctl("trust", "list", "--json", "--socket", node.control,
                   check=True)
        assert len(json.loads(done.stdout)["trusted"]) == i + 2
    node.stop()


def a_loop_that_does_not_turn_is_told():
    node = Node("worker_ping_interval = 2s\nworker_hang_timeout = 1h\n" +
                SERVICE)
    assert get(node, "/livez").status == 200
    pid = node.worker_pids()[0]
    os.kill(pid, signal.SIGSTOP)
    until(lambda: get(node, "/livez").status == 503, "not alive")
    doc = document(node, "/livez", 503)
    assert "connection 0" in doc["checks"][0]["error"], doc
    assert document(node, "/healthz", 503)["status"] == "unavailable"
    until(lambda: "connection 0  silent" in
          ctl("status", "--socket", node.control).stdout.decode(),
          "halibutctl status shows that it is silent")
    said = node.wait_log(r"worker 0 \(pid (\d+)\): no answer to a ping "
                         r"for .*killed after worker_hang_timeout")
    assert int(said.group(1)) == pid
    for _ in range(10): # all go to the other one
        assert Client(node).call("https://any.test/", "IEchoService",
                                 "SayHello", "W")[0]["result"]
    assert node.log().count(said.group(0)) == 1, node.log()
    os.kill(pid, signal.SIGCONT)
    node.wait_log(r"worker 0 \(pid \d+\): answers again, after ")
    until(lambda: get(node, "/livez").status == 200, "alive again")
    node.stop()


def while_it_drains_it_says_so():
    node = busy_node()
    assert document(node, "/readyz")["status"] == "ok"
    node.process.send_signal(signal.SIGTERM)
    until(lambda: get(node, "/readyz").status == 503, "not ready")
    for path in ("/readyz", "/healthz"):
        doc = document(node, path, 503)
        assert doc["status"] == "draining", doc
    assert get(node, "/livez").status == 200
    assert document(node, "/varz")["draining"] is True
    assert document(node, "/callz?state=open")["calls"]
    node.poller.close()
    node.process.send_signal(signal.SIGINT)
    assert node.process.wait(PATIENCE) == 0


def those_who_ask_at_once_are_served_from_one_snapshot():
    node = Node()
    answers = []
    def ask():
        for _ in range(20):
            answers.append(document(node, "/trustz")["total_trusted"])
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert answers == [1] * 160, answers[:10]
    node.stop()


if __name__ == "__main__":
    main([
        every_document_is_as_its_schema_says,
        connections_are_listed_with_what_they_do,
        with_redis_the_documents_are_right_too,
        metrics_break_no_rule_of_either_form,
        promtool_finds_nothing_to_say,
        every_metric_and_document_is_in_the_guide,
        nothing_can_be_changed,
        tcp_wants_the_token_and_a_unix_socket_does_not,
        tls_wants_a_certificate_of_its_clients,
        who_does_not_get_it_is_logged_once_a_reason,
        when_nobody_else_fits_it_says_so_once,
        a_new_token_counts_after_a_reload,
        who_reads_notices_no_reload_that_does_not_concern_him,
        whatever_is_sent_harms_nobody,
        those_that_are_silent_or_slow_are_hung_up_on,
        one_who_does_not_read_holds_nothing_up,
        calls_go_on_whatever_becomes_of_the_status_worker,
        without_a_status_worker_the_control_socket_says_so,
        halibutctl_is_told_what_is_so_at_this_moment,
        a_loop_that_does_not_turn_is_told,
        while_it_drains_it_says_so,
        those_who_ask_at_once_are_served_from_one_snapshot,
    ])
