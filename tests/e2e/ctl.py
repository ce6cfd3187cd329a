#!/usr/bin/env python3
"""halibutctl as a whole process: certificates, direct calls to the example
service, and calls through a gateway that this test plays.
"""
import atexit
import json
import os
import re
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
SRC = os.path.abspath(os.environ.setdefault(
    "top_srcdir", os.path.join(os.path.dirname(__file__), "../..")))
BUILD = os.path.abspath(os.environ.get("top_builddir", SRC))
import halibut_wire as hw  # noqa: E402

CTL = os.path.join(BUILD, "halibutctl")
PATIENCE = 60  # s, for what should come at once

work = tempfile.mkdtemp(prefix="halibut-ctl-")
atexit.register(shutil.rmtree, work, True)
os.chdir(work)
os.environ["HALIBUT_CONTROL"] = os.path.join(work, "control")
processes = []


@atexit.register
def end_processes():
    for p in processes:
        if p.poll() is None:
            p.kill()
            p.wait()


def ctl(*args, code=0, stdin=b""):
    """Runs halibutctl to its end: (stdout, stderr)."""
    done = subprocess.run([CTL, *args], input=stdin, capture_output=True,
                          timeout=PATIENCE)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done.stdout, done.stderr.decode()


def start(*args):
    p = subprocess.Popen(args, stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    processes.append(p)
    return p


def write(name, data):
    with open(name, "wb") as f:
        f.write(data)
    return name


def read(name):
    with open(name, "rb") as f:
        return f.read()


def finish(p, code):
    out, err = p.communicate(timeout=PATIENCE)
    assert p.returncode == code, (p.returncode, out, err)
    return out, err.decode()


# Certificates


def thumbprint(name):
    """Of a certificate that is made at its first use."""
    if not os.path.exists(name + ".pem"):
        ctl("cert", "new", "--name", name, "--out", name + ".pem")
    out, _ = ctl("cert", "show", "--thumbprint", name + ".pem")
    return out.decode().strip()


def test_a_new_certificate_is_for_its_owner_only_and_tells_its_thumbprint():
    out, _ = ctl("cert", "new", "--name", "new one", "--days", "30",
                 "--out", "new.pem")
    assert stat.S_IMODE(os.stat("new.pem").st_mode) == 0o600
    shown = json.loads(ctl("cert", "show", "--json", "new.pem")[0])
    assert shown["thumbprint"] == out.decode().strip()
    assert shown["subject"] == "CN=new one"
    assert shown["key"] == "RSA 2048 bits" and shown["privateKey"] is True
    assert os.listdir(".").count("new.pem") == 1
    assert not [n for n in os.listdir(".") if n.startswith("new.pem.")]


def test_an_existing_certificate_is_replaced_only_by_force():
    before = thumbprint("kept")
    _, err = ctl("cert", "new", "--out", "kept.pem", code=2)
    assert "--force" in err
    assert thumbprint("kept") == before
    ctl("cert", "new", "--out", "kept.pem", "--force")
    assert thumbprint("kept") != before


def test_pkcs12_is_the_same_certificate_behind_a_password():
    write("password", b"secret\n")
    out, _ = ctl("cert", "new", "--out", "both.pem", "--pfx", "both.pfx",
                 "--password-file", "password")
    again, _ = ctl("cert", "show", "--thumbprint", "--password-file",
                   "password", "both.pfx")
    assert again == out
    _, err = ctl("cert", "show", "both.pfx", code=2)
    assert "password" in err


def certificate_of(name, start, end):
    """Self-signed, valid from and until so many seconds from now: its file,
    and these two times as they are shown."""
    at = [time.gmtime(time.time() + s) for s in (start, end)]
    ca = [time.strftime("%Y%m%d%H%M%SZ", t) for t in at]
    write("index." + name, b"")
    write("conf." + name, f"""[ca]
default_ca = here
[here]
database = index.{name}
new_certs_dir = .
default_md = sha256
policy = any
rand_serial = yes
[any]
commonName = supplied
""".encode())
    for command in (
            ["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj",
             "/CN=" + name, "-keyout", name + ".key", "-out", name + ".csr"],
            ["ca", "-batch", "-selfsign", "-config", "conf." + name,
             "-keyfile", name + ".key", "-in", name + ".csr", "-notext",
             "-startdate", ca[0], "-enddate", ca[1], "-out", name + ".crt"]):
        done = subprocess.run(["openssl", *command], capture_output=True,
                              timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
    return (name + ".crt",
            *(time.strftime("%Y-%m-%dT%H:%M:%SZ", t) for t in at))


def test_show_says_whether_a_certificate_is_valid_now():
    day = 86400
    cases = (
        ("later", 40 * day, 50 * day, "not valid yet: from {start}"),
        ("ended", -40 * day, -day, "expired"),
        ("now", -day, 10 * day + 3600, "10 days left"))
    for name, start_s, end_s, says in cases:
        crt, start_at, end_at = certificate_of(name, start_s, end_s)
        out = ctl("cert", "show", crt)[0].decode()
        valid = [line for line in out.splitlines() if line[:5] == "valid"]
        assert valid == [f"valid       {start_at} to {end_at}  "
                         f"({says.format(start=start_at)})"], out


def test_a_file_without_a_certificate_is_refused_by_name():
    write("text", b"nothing\n")
    _, err = ctl("cert", "show", "text", code=2)
    assert "text" in err


# Direct calls

_service = None


def service():
    """The URL of an example service that trusts the certificate client."""
    global _service
    if _service is None:
        trust = thumbprint("client")
        thumbprint("service")
        p = start(os.path.join(BUILD, "examples/service"), "--cert",
                  "service.pem", "--listen", "127.0.0.1:0", "--trust", trust)
        line = p.stdout.readline().decode()
        _service = re.fullmatch(r"listening on (https://\S+)\n", line).group(1)
    return _service


def direct(*args, **kw):
    url = service()
    return ctl("call", "--cert", "client.pem", "--thumbprint",
               thumbprint("service"), url, "IEchoService", *args, **kw)


def test_a_url_shows_its_certificate():
    url = service()
    out, _ = ctl("cert", "show", url)
    assert thumbprint("service") in out.decode()
    assert b"private" not in out


def test_a_direct_call_prints_its_result_as_json():
    out, err = direct("SayHello", '"W\\u00f6rld"')
    assert json.loads(out) == "Hello, W\u00f6rld!" and err == ""


def test_raw_prints_a_text_without_quotes():
    out, _ = direct("SayHello", '"World"', "--raw")
    assert out == b"Hello, World!\n"


def test_a_stream_of_standard_input_goes_and_one_comes_to_standard_output():
    data = os.urandom(300000)
    out, err = direct("Reverse", "@-", stdin=data)
    assert out == data[::-1] and err == ""


def test_out_keeps_a_stream_and_json_says_where():
    data = write("in", os.urandom(100000)) and read("in")
    out, _ = direct("Reverse", "@in", "--out", "out.bin", "--json")
    answer = json.loads(out)
    assert read("out.bin") == data[::-1]
    assert answer["status"] == "OK" and answer["error"] is None
    assert answer["result"]["file"] == "out.bin"
    assert answer["streams"] == [{"length": len(data), "file": "out.bin"}]


def test_an_error_of_the_service_is_exit_code_1():
    out, err = direct("Nothing", code=1)
    assert out == b"" and "Nothing" in err
    answer = json.loads(direct("Nothing", "--json", code=1)[0])
    assert answer["status"] == "EMETHOD_NOT_FOUND"
    assert answer["result"] is None and answer["error"]["reachedService"]


def test_another_certificate_than_expected_is_exit_code_5():
    url = service()
    _, err = ctl("call", "--cert", "client.pem", "--thumbprint", "0" * 40,
                 url, "IEchoService", "SayHello", '"x"', code=5)
    assert thumbprint("service") in err and "0" * 40 in err


def test_no_trust_in_us_is_an_error_that_tells_our_thumbprint():
    url = service()
    who = thumbprint("stranger")
    _, err = ctl("call", "--cert", "stranger.pem", "--thumbprint",
                 thumbprint("service"), url, "IEchoService", "SayHello",
                 '"x"', code=9)
    assert "may not trust" in err and who in err


def test_no_listener_is_exit_code_3_after_the_time_that_is_given():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))  # bound, so nobody else gets it
        url = "https://127.0.0.1:%d" % s.getsockname()[1]
        thumbprint("client")
        p = start(CTL, "call", "--cert", "client.pem", "--thumbprint",
                  "0" * 40, "--timeout", "300ms", url, "A", "B")
        _, err = finish(p, 4)
        assert "--timeout" in err
        ctl("cert", "show", url, code=3)


def test_a_polling_service_is_waited_for():
    who = thumbprint("client")
    p = start(CTL, "call", "--cert", "client.pem", "--listen", "127.0.0.1:0",
              "--trust", thumbprint("service"), "poll://here", "IEchoService",
              "CountBytes", "@" + write("four", b"1234"))
    line = p.stderr.readline().decode()
    port = re.search(r" port (\d+) ", line).group(1)
    assert who in line
    s = start(os.path.join(BUILD, "examples/service"), "--cert", "service.pem",
              "--poll", "https://127.0.0.1:" + port, "--thumbprint", who,
              "--name", "poll://here")
    assert finish(p, 0)[0] == b"4\n"
    s.terminate()
    assert s.wait(PATIENCE) == 0


def test_the_example_client_reaches_the_example_service():
    url = service()
    done = subprocess.run(
        [os.path.join(BUILD, "examples/client"), "--cert", "client.pem",
         "--thumbprint", thumbprint("service"), url],
        capture_output=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (b'SayHello: "Hello, World!"\nReverse: god yzal eht '
                           b"revo spmuj xof nworb kciuq ehT\n")


# The command line


def test_mistakes_on_the_command_line_are_exit_code_2_with_a_remedy():
    for args, remedy in (
            ((), "Commands"),
            (("call", "poll://x", "A"), "METHOD"),
            (("call", "web1", "A", "B"), "https://HOST:PORT"),
            (("call", "poll:/web1", "A", "B"), "poll://NAME"),
            (("call", "poll://x", "A", "B", "World"), "'\"World\"'"),
            (("call", "poll://x", "A", "B", "@none"), "none"),
            (("call", "--cert", "c", "https://x", "A", "B"), "cert show"),
            (("call", "--cert", "c", "poll://x", "A", "B"), "--listen"),
            (("call", "--proxy", "p:1", "poll://x", "A", "B"), "--cert"),
            (("call", "--timeout", "soon", "poll://x", "A", "B"), "30s"),
            (("call", "--nonsense"), "--nonsense"),
            (("status", "--socket"), "value"),
            (("kick",), "an ID"),
            (("kick", "17"), "such as 0-17"),
            (("kick", "0-0"), "such as 0-17"),
            (("kick", "--", "-1-2"), "such as 0-17"),
            (("kick", "4294967296-1"), "such as 0-17"),
            (("kick", "0-17x"), "such as 0-17"),
            (("kick", "0-17", "0-18"), "0-18"),
            (("kick", "--thumbprint", "12"), "40 hexadecimal digits"),
            (("kick", "0-17", "--subscription", "poll://x"), "one at a time"),
            (("dance",), "dance")):
        _, err = ctl(*args, code=2)
        assert remedy in err, (args, err)
        assert "help" in err or args[-1] in ("World", "@none"), err


def commands():
    out, _ = ctl("--help")
    return re.findall(r"^  ([a-z]+)  +\w", out.decode(), re.M)


def test_every_command_has_help_with_an_example():
    assert {"call", "cert", "status", "reload"} <= set(commands())
    for command in commands():
        text = ctl(command, "--help")[0].decode()
        assert "Example" in text and "halibutctl " + command in text
        # The path of the control socket is as long as ./configure was told.
        text = re.sub(r"/\S+/halibut/control\)", "/run/control)", text)
        assert max(map(len, text.splitlines())) <= 80, text
    assert ctl("--version")[0].startswith(b"halibutctl ")


def test_every_command_and_option_is_in_the_manual():
    manual = read(os.path.join(SRC, "docs/halibutctl.1")).decode()
    manual = manual.replace("\\", "")
    for command in commands():
        assert "halibutctl " + command in manual, command
        text = ctl(command, "--help")[0].decode()
        for option in set(re.findall(r"--[a-z-]*[a-z]", text)):
            assert option in manual, (command, option)


def test_every_command_about_a_gateway_has_json_and_says_who_is_missing():
    about_no_gateway = ("call", "cert", "ping")
    words = {"top": ["--json"], "trust": ["list"], "kick": ["0-1"], "config": ["show"]}
    for command in commands():
        text = ctl(command, "--help")[0].decode()
        assert "--json" in text, command
        if command not in about_no_gateway:
            _, err = ctl(command, *words.get(command, []), "--socket",
                         "/nonexistent/control", code=8)
            assert "is halibutd running?" in err, (command, err)


# Through a gateway


class Gateway:
    """The control socket, and what one client of it says."""

    def __init__(self):
        self.path = os.environ["HALIBUT_CONTROL"]
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(self.path)
        self.listener.listen()
        self.listener.settimeout(PATIENCE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()
        os.unlink(self.path)

    def accept(self):
        channel = hw.Channel(self.listener.accept()[0])
        hello = channel.receive()
        r = hello.reader()
        assert hello.type == "HELLO" and r.u32() == 1
        assert r.u8() == 3  # a control client
        return channel


class Call:
    def __init__(self, channel):
        self.channel = channel
        self.frame = channel.receive(PATIENCE)
        assert self.frame.type == "CALL", self.frame
        r = self.frame.reader()
        assert r.u8() == 1  # to be routed
        self.destination, self.asker = r.text(), r.text()
        self.address, self.expected = r.text(), r.text()
        assert r.u8() == 3  # origin: control
        document, self.streams = hw.get_parcel(r)
        self.message = document["Message"]

    def section(self):
        os.set_blocking(self.frame.fd, True)
        with os.fdopen(self.frame.fd, "rb") as f:
            return hw.decode_section(f.read())

    def answer(self, result, section=None):
        document = hw.response(self.message["id"], result)
        fd = None
        if section is not None:
            fd, out = os.pipe()
            if os.fork() == 0:
                try:
                    os.close(fd)
                    with os.fdopen(out, "wb") as f:
                        f.write(section)
                finally:
                    os._exit(0)
            os.close(out)
        self.channel.send("ANSWER", self.frame.id,
                          hw.put_parcel(hw.Writer(), document), fd)

    def fail(self, status, message, state=0):
        w = hw.Writer().u32(hw.STATUS[status]).u8(state)
        w.text(message).text(None).text(None)
        self.channel.send("FAIL", self.frame.id, w)


def call(*args):
    return start(CTL, "call", *args)


def test_a_call_through_a_gateway_is_routed_by_its_endpoint():
    with Gateway() as g:
        p = call("--thumbprint", "ab" * 20, "https://web1:10933", "IEcho",
                 "Add", "-5", "[1,2.5]", '"x"')
        c = Call(g.accept())
        assert c.destination == "https://web1:10933"
        assert c.expected == "AB" * 20
        assert c.message["service"] == "IEcho"
        assert c.message["method"] == "Add"
        assert list(c.message["params"])[0] == -5
        assert c.message["params"][2] == "x"
        assert c.frame.fd is None
        c.answer({"Sum": 7})
        assert json.loads(finish(p, 0)[0]) == {"Sum": 7}


def test_streams_flow_through_a_gateway_in_both_directions():
    data = os.urandom(3 << 20)
    back = hw.DataStream(os.urandom(2 << 20))
    with Gateway() as g:
        p = call("poll://x", "IEcho", "Swap", "@" + write("big", data),
                 "--out", "swapped")
        c = Call(g.accept())
        (stream_id, length), = c.streams
        assert length == len(data)
        assert c.section() == {stream_id: data}
        c.answer(back, hw.encode_section(hw.response("x", back)))
        finish(p, 0)
        assert read("swapped") == back.data


def test_a_section_that_ends_early_is_an_error_and_leaves_no_file():
    back = hw.DataStream(b"x" * 100000)
    with Gateway() as g:
        p = call("poll://x", "IEcho", "Get", "--out", "early")
        c = Call(g.accept())
        c.answer(back, hw.encode_section(hw.response("x", back))[:50000])
        _, err = finish(p, 6)
        assert "early" in err
        assert not [n for n in os.listdir(".") if n.startswith("early")]


def test_failures_of_the_gateway_have_the_exit_code_of_their_class():
    for status, code in (("EINVOCATION", 1), ("EREFUSED", 3),
                         ("ENO_ROUTE", 3), ("ENOT_COLLECTED", 4),
                         ("ECERTIFICATE", 5), ("EPROTO", 6),
                         ("EWORKER", 9), ("ELIMIT", 10)):
        with Gateway() as g:
            p = call("poll://x", "IEcho", "Fail")
            c = Call(g.accept())
            c.fail(status, "the reason of it")
            _, err = finish(p, code)
            assert "the reason of it" in err


def test_a_timeout_cancels_the_call_and_tells_whether_it_was_seen():
    with Gateway() as g:
        p = call("poll://x", "IEcho", "Wait", "--timeout", "200ms", "--json")
        c = Call(g.accept())
        frame = c.channel.receive(PATIENCE)
        assert frame.type == "CANCEL" and frame.id == c.frame.id
        c.fail("ECONNECTING_CANCELLED", "nobody has seen it", state=1)
        answer = json.loads(finish(p, 4)[0])
        assert answer["status"] == "ETIMEOUT"
        assert answer["error"]["reachedService"] is False
        assert "--timeout" in answer["error"]["message"]


def test_an_interrupt_cancels_the_call():
    with Gateway() as g:
        p = call("poll://x", "IEcho", "Wait")
        c = Call(g.accept())
        p.send_signal(signal.SIGINT)
        assert c.channel.receive(PATIENCE).type == "CANCEL"
        c.fail("ETRANSFERRING_CANCELLED", "it may have been seen")
        _, err = finish(p, 7)
        assert "interrupted" in err


def test_a_gateway_that_dies_during_a_call_is_exit_code_9():
    with Gateway() as g:
        p = call("poll://x", "IEcho", "Wait")
        Call(g.accept()).channel.close()
        _, err = finish(p, 9)
        assert "hung up" in err


def test_no_gateway_is_exit_code_8_for_every_command():
    for args in (("call", "poll://x", "A", "B"), ("status",), ("reload",),
                 ("shutdown",)):
        _, err = ctl(*args, code=8)
        assert os.environ["HALIBUT_CONTROL"] in err and "--socket" in err


STATUS = {
    "node": "node-1", "version": "1", "pid": 5, "state": "running",
    "uptime_s": 61, "listen": ["127.0.0.1:10943"], "thumbprint": "AB" * 20,
    "workers": [{"index": 0, "kind": "connection", "pid": 6,
                 "state": "ready"}],
    "subscriptions": [{"uri": "poll://x/", "connections": 2, "waiting": 3,
                       "oldest_waiting_ms": 1500, "queued": 7},
                      {"uri": "poll://y/", "queued": None}],
    "redis": {"key_prefix": "p", "server": "redis-1:6379", "reachable": False,
              "down_s": 61, "last_error": "refused", "latency_us": 250,
              "findings": [{"level": "hint", "what": "a", "remedy": "b"}],
              "nodes": [{"name": "node-1", "self": True, "version": "1",
                         "host": "h", "started": "then"},
                        {"name": "node-2", "self": False, "version": "1",
                         "host": "i", "started": "now"}]},
    "calls": {"total": 9, "failed": {"ENOT_COLLECTED": 2}},
}


def tell_document(gateway, path, status, document):
    channel = gateway.accept()
    ask = channel.receive()
    assert ask.type == "DOCUMENT_ASK", ask
    assert ask.reader().text() == path
    channel.send("DOCUMENT", ask.id, hw.Writer().u16(status).text(
        json.dumps(document)))


def test_status_is_a_table_or_the_document():
    with Gateway() as g:
        for args in ((), ("--json",)):
            p = start(CTL, "status", *args)
            tell_document(g, "/statusz", 200, STATUS)
            out = finish(p, 0)[0].decode()
            if args:
                assert json.loads(out) == STATUS
            else:
                assert re.search(r"^poll://x/ +2 +0 +3 +7 +1\.5 s", out, re.M)
                assert re.search(r"^poll://y/ +0 +0 +0 +- +-", out, re.M)
                assert re.search(r"server +redis-1:6379, NOT REACHABLE for "
                                 r"1 min", out), out
                assert "last error     refused" in out
                assert "other node     node-2, version 1, on i" in out
                assert "connection 0  ready" in out
                assert "2 ENOT_COLLECTED" in out
                assert "incomplete" not in out


def test_the_table_of_the_status_says_when_rows_are_missing():
    with Gateway() as g:
        p = start(CTL, "status")
        tell_document(g, "/statusz", 200, {**STATUS, "incomplete": True})
        out = finish(p, 0)[0].decode()
        assert re.search(r"incomplete .*rows are missing$", out, re.M), out


def test_a_gateway_that_cannot_tell_its_status_says_why():
    with Gateway() as g:
        for status, code in ((503, 9), (504, 4), (404, 1)):
            for args in ((), ("--json",)):
                p = start(CTL, "status", *args)
                tell_document(g, "/statusz", status, {"error": "a reason"})
                out, err = finish(p, code)
                assert out == b"" and "a reason" in err, (out, err)


def test_kick_tells_the_gateway_whom():
    with Gateway() as g:
        for args, whom in (
                (("0-17",), (1, 0, 17, None)),
                (("4294967295-1",), (1, 4294967295, 1, None)),
                (("--thumbprint", "ab" * 20), (2, 0, 0, "ab" * 20)),
                (("--subscription", "poll://x"), (3, 0, 0, "poll://x"))):
            p = start(CTL, "kick", *args)
            channel = g.accept()
            ask = channel.receive()
            assert ask.type == "KICK"
            r = ask.reader()
            assert (r.u8(), r.u32(), r.u32(), r.text()) == whom, args
            channel.send("DONE", ask.id, hw.Writer().u8(1).text("one closed"))
            assert finish(p, 0)[0] == b"one closed\n"


def test_orders_tell_what_the_gateway_says():
    with Gateway() as g:
        for ok, text, code in ((1, None, 0), (0, "conf:3: no", 1)):
            p = start(CTL, "reload")
            channel = g.accept()
            ask = channel.receive()
            assert ask.type == "RELOAD"
            channel.send("DONE", ask.id, hw.Writer().u8(ok).text(text))
            out, err = finish(p, code)
            assert text is None or text in err


def test_shutdown_waits_until_the_gateway_is_gone():
    with Gateway() as g:
        p = start(CTL, "shutdown")
        channel = g.accept()
        ask = channel.receive()
        assert ask.type == "SHUTDOWN"
        channel.send("DONE", ask.id, hw.Writer().u8(1).text(None))
        # Still there: halibutctl has to be waiting for the channel's end.
        assert not select.select([channel.sock], [], [], 0.3)[0]
        assert p.poll() is None
        channel.close()
        finish(p, 0)


def main():
    tests = [(n, f) for n, f in globals().items() if n.startswith("test_")]
    if len(sys.argv) > 1:
        tests = [t for t in tests if any(a in t[0] for a in sys.argv[1:])]
    print(f"1..{len(tests)}")
    failed = 0
    for number, (name, function) in enumerate(tests, 1):
        text = f"{number} - {name[len('test_'):].replace('_', ' ')}"
        began = time.monotonic()
        try:
            function()
            print(f"ok {text}")
        except Exception:
            import traceback
            failed += 1
            print(f"not ok {text}")
            for line in traceback.format_exc().splitlines():
                print("#", line)
        print(f"# {time.monotonic() - began:.2f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
