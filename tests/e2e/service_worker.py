#!/usr/bin/env python3
"""The service worker as a whole process: this test is its master."""
import atexit
import os
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
import uuid

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
top_srcdir = os.environ.setdefault(
    "top_srcdir", os.path.join(os.path.dirname(__file__), "../.."))
import halibut_wire as hw  # noqa: E402

BUILD = os.environ.get("top_builddir", top_srcdir)
WORKER = os.path.join(BUILD, "halibut-service-worker")
EXAMPLES = os.path.abspath(os.path.join(top_srcdir, "examples/services"))
# The interpreter itself: a wrapper would be one process more.
PYTHON = os.path.realpath(sys.executable)
PATIENCE = 30  # s for what should come at once

# A program that does whatever a call asks it to.
MISFIT = r'''
import json, os, signal, subprocess, sys, time
out = os.fdopen(1, "w", encoding="utf-8", closefd=False)
def say(text):
    out.write(text + "\n"); out.flush()
def touch(path, text):
    with open(path + ".new", "w") as f: f.write(text)
    os.rename(path + ".new", path)
for line in sys.stdin:
    call = json.loads(line)
    p, m = call["params"], call["method"]
    reply = {"jsonrpc": "2.0", "id": call["id"], "result": None}
    if m == "Echo": reply["result"] = p[0]
    elif m == "Call": reply["result"] = json.dumps(call)
    elif m == "Pid": reply["result"] = os.getpid()
    elif m == "Surroundings":
        reply["result"] = json.dumps({
            "fds": sorted(int(f) for f in os.listdir("/proc/self/fd")),
            "env": dict(os.environ), "cwd": os.getcwd(),
            "pgid": os.getpgid(0), "pid": os.getpid(),
            "no_new_privs": [l for l in open("/proc/self/status")
                             if l.startswith("NoNewPrivs")][0].split()[1],
            "ignored": [l for l in open("/proc/self/status")
                        if l.startswith("SigBlk")][0].split()[1]})
    elif m == "Exit":
        print(p[1], file=sys.stderr, flush=True)
        os._exit(p[0])
    elif m == "KillSelf": os.kill(os.getpid(), signal.SIGKILL)
    elif m == "Print": say(p[0]); continue
    elif m == "Hang":
        if p[1]: signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen(["sleep", "1000"])
        touch(p[0], "%d %d" % (os.getpid(), child.pid))
        time.sleep(1000)
    elif m == "Big": say('{"x":"' + "x" * p[0] + '"}'); continue
    elif m == "BigText": reply["result"] = "x" * p[0]
    elif m == "WaitFor":
        touch(p[0] + ".here", "")
        with open(p[0]) as f: f.read()
    elif m == "Chatter":
        for i in range(p[0]): print("line", i, file=sys.stderr)
        sys.stderr.flush()
    elif m == "Allocate": x = bytearray(p[0]); reply["result"] = len(x)
    elif m == "Stream": reply["result"] = {"$dataStream": json.loads(p[0])}
    elif m == "WriteStream":
        with open(os.path.join(call["directory"], "x"), "w") as f:
            f.write(p[0])
        reply["result"] = [{"$dataStream": {"path": "x"}},
                           {"$dataStream": {"text": "inner \u00e9"}},
                           {"$dataStream": {"base64": "AAEC/w=="}}]
    elif m == "Paths":
        reply["result"] = json.dumps([s["$dataStream"] for s in p])
    elif m == "LastWords": say(json.dumps(reply)); os._exit(0)
    elif m == "AnswerTwice": say(json.dumps(reply))
    elif m == "CloseOutput": os.close(1); time.sleep(1000)
    elif m == "Error":
        del reply["result"]; reply["error"] = json.loads(p[0])
    say(json.dumps(reply))
'''


def wait_for(condition, what):
    deadline = time.monotonic() + PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: did not happen")
        time.sleep(0.002)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def program(service, command, directory=None, processes=1, timeout_ms=30000,
            max_memory=0):
    return (service, command, directory, processes, timeout_ms, max_memory)


class Worker:
    """A worker process, its master, and a directory for both."""

    def __init__(self, *programs, wrapper=(), spool=None, **settings):
        self.dir = tempfile.mkdtemp(prefix="halibut-test-")
        atexit.register(shutil.rmtree, self.dir, True)
        self.spool = spool or os.path.join(self.dir, "spool")
        if spool is None:
            os.mkdir(self.spool)
        with open(self.path("misfit.py"), "w") as f:
            f.write(MISFIT)
        self.misfit = f"{PYTHON} {self.path('misfit.py')}"
        self.channel, theirs = hw.Channel.pair()
        fd = os.dup(theirs.fileno())
        while fd <= 3:
            fd = os.dup(fd)
        log = os.open(self.path("log"), os.O_CREAT | os.O_RDWR | os.O_APPEND)
        argv = [*wrapper, WORKER]
        self.pid = os.posix_spawnp(
            argv[0], argv, os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, 3),
                          (os.POSIX_SPAWN_DUP2, log, 2)])
        self.exit_status = None
        os.close(fd)
        os.close(log)
        theirs.close()
        self.next_id = 0
        self.frames = {}
        self.stats = None
        self.feeders = []
        self.hello = self.channel.receive()
        self.channel.send("SETTINGS", 0,
                          hw.settings(self.spool, **settings))
        try:
            self.set_programs(*programs)
        except BrokenPipeError:
            pass  # it did not like its settings: wait_exit() tells

    def path(self, name):
        return os.path.join(self.dir, name)

    def log(self):
        with open(self.path("log"), errors="replace") as f:
            return f.read()

    def set_programs(self, *programs):
        w = hw.Writer().u32(len(programs))
        for p in programs:
            w.text(p[0])
            w.text(self.misfit if p[1] is None else p[1])
            w.text(p[2]).u32(p[3]).u32(p[4]).u64(p[5])
        self.channel.send("PROGRAMS", 0, w)

    def call(self, service, method, *params, section=None):
        """Sends one; section: a descriptor in place of the DataStreams."""
        self.next_id += 1
        document = hw.request(service, method, params)
        body = hw.put_parcel(hw.Writer().u8(4), document)
        data = hw.encode_section(document)
        if section is None and data:
            section = self.feed(data)
        self.channel.send("CALL", self.next_id, body, section)
        return self.next_id

    def feed(self, data):
        """The reading end of a pipe that another process fills."""
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.close(reading)
            left = memoryview(data)
            while left:
                left = left[os.write(writing, left):]
            os._exit(0)
        os.close(writing)
        self.feeders.append(pid)
        return reading

    def receive(self):
        frame = self.channel.receive(PATIENCE)
        if frame is not None and frame.type == "STATS":
            self.stats = hw.get_stats(frame.reader())
        return frame

    def outcome(self, ident):
        """The frame that ends a call."""
        while ident not in self.frames:
            frame = self.receive()
            if frame is None:
                raise AssertionError("the worker ended:\n" + self.log())
            if frame.type != "STATS":
                self.frames[frame.id] = frame
        return self.frames.pop(ident)

    def answer(self, ident):
        """(message, streams) of a call that must be answered."""
        frame = self.outcome(ident)
        if frame.type != "ANSWER":
            e = hw.Error(frame.reader())
            raise AssertionError(f"{frame.type} {e.status}: {e.message}")
        document, refs = hw.get_parcel(frame.reader())
        streams = {}
        if refs:
            with os.fdopen(frame.fd, "rb") as f:
                streams = hw.decode_section(f.read())
            assert [s for s, _ in refs] == list(streams), "order of streams"
        return document["Message"], streams

    def result(self, *call):
        message, _ = self.answer(self.call(*call))
        assert message["error"] is None, message["error"]
        return message["result"]

    def error(self, *call):
        message, _ = self.answer(self.call(*call))
        assert message["result"] is None
        assert message["error"] is not None, "no error"
        return message["error"]

    def failure(self, ident):
        frame = self.outcome(ident)
        assert frame.type == "FAIL", frame
        return hw.Error(frame.reader())

    def ping(self):
        self.channel.send("PING", 4711)
        assert self.outcome(4711).type == "PONG"

    def wait_exit(self):
        def ended():
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid == 0:
                return False
            self.exit_status = os.waitstatus_to_exitcode(status)
            return True
        if self.exit_status is None:
            wait_for(ended, "the worker ends")
        return self.exit_status

    def stop(self, drain=1):
        self.channel.send("STOP", 0, hw.Writer().u8(drain))

    def finish(self):
        """Every test ends so: nothing is left behind."""
        if self.exit_status is None:
            self.stop()
        status = self.wait_exit()
        assert status == 0, f"exit status {status}:\n{self.log()}"
        assert os.listdir(self.spool) == [], os.listdir(self.spool)
        for pid in self.feeders:
            os.waitpid(pid, 0)
        self.channel.close()

    def files(self):
        """Of all calls."""
        return [f for _, _, files in os.walk(self.spool) for f in files]


def misfit(**more):
    return Worker(program("IMisfit", None, **more))


def echo():
    return Worker(program("IEchoService", f"{PYTHON} {EXAMPLES}/echo.py"))


INVOCATION = ("System.Reflection.TargetInvocationException: Exception has "
              "been thrown by the target of an invocation.")


def check_invocation(error, *texts):
    assert error["details"].startswith(INVOCATION), error
    for text in texts:
        assert text in error["message"], (text, error["message"])


# Talking to the master


def test_it_introduces_itself_and_answers_pings():
    w = misfit()
    r = w.hello.reader()
    assert w.hello.type == "HELLO"
    assert (r.u32(), r.u8(), r.u32()) == (1, 2, w.pid)
    w.ping()
    w.finish()


def test_a_malformed_call_fails_alone():
    w = misfit()
    w.channel.send("CALL", 9, b"\x04garbage")
    assert w.failure(9).status == "EPROTO"
    assert w.result("IMisfit", "Echo", "on we go") == "on we go"
    w.finish()


def test_counters_are_told_when_they_change():
    w = misfit()
    w.result("IMisfit", "Paths", hw.DataStream(b"12345"))
    wait_for(lambda: w.receive().type == "STATS" and
             w.stats["calls_in_flight"] == 0, "STATS")
    assert w.stats["messages_in"] == w.stats["messages_out"] == 1
    assert w.stats["streams_in"] == 1
    assert w.stats["stream_bytes_in"] == 16 + 8 + 5 + 8
    assert w.stats["spool_bytes"] == 0
    w.finish()


# Calls


def test_a_python_service_says_hello():
    w = echo()
    assert w.result("IEchoService", "SayHello", "Ann") == "Hello, Ann!"
    w.finish()


def test_a_shell_service_says_hello():
    if shutil.which("jq") is None:
        return "jq is not installed"
    w = Worker(program("IHello", f"{EXAMPLES}/hello.sh"))
    assert w.result("IHello", "Greet", "Ann") == "Hello, Ann!"
    assert w.error("IHello", "Nix")["HalibutErrorType"] == \
        "Halibut.Exceptions.MethodNotFoundHalibutClientException"
    w.finish()


def test_names_match_without_case():
    w = echo()
    assert w.result("iECHOservice", "sayHELLO", "Ann") == "Hello, Ann!"
    w.finish()


def test_the_response_carries_the_id_of_the_request():
    w = echo()
    activity = uuid.uuid4()
    document = hw.request("IEchoService", "SayHello", ["Ann"], activity)
    w.channel.send("CALL", 5, hw.put_parcel(hw.Writer().u8(4), document))
    message, _ = w.answer(5)
    assert message["id"] == document["Message"]["id"]
    assert list(message) == ["$type", "id", "error", "result"]
    w.finish()


def test_values_of_every_kind_come_back_as_they_went():
    w = misfit()
    for value in ["", "\0 in text, \U0001f41f\n", 0, 2**63 - 1, -2**63, 1.5,
                  True, False, None, uuid.uuid4(), hw.Date(1704164645678),
                  {"$type": "Acme.Point, Acme", "X": 1, "Y": [1, "a", None]},
                  {"$type": "System.Byte[], mscorlib", "$value": b"\0\1\2"}]:
        got = w.result("IMisfit", "Echo", value)
        assert got == value and type(got) in (type(value), int), (value, got)
    w.finish()


def test_a_program_is_told_all_about_its_call():
    import json
    w = misfit()
    activity = uuid.uuid4()
    document = hw.request("IMisfit", "Call", [1], activity)
    w.channel.send("CALL", 5, hw.put_parcel(hw.Writer().u8(4), document))
    call = json.loads(w.answer(5)[0]["result"])
    assert list(call) == ["jsonrpc", "id", "method", "params", "service",
                          "activityId", "requestId", "directory"]
    assert call["jsonrpc"] == "2.0" and call["params"] == [1]
    assert call["activityId"] == str(activity)
    assert call["requestId"] == document["Message"]["id"]
    assert call["directory"].startswith(w.spool + "/")
    w.finish()


def test_large_requests_and_results_pass():
    w = misfit()
    text = os.urandom(4 << 20).hex()
    assert w.result("IMisfit", "Echo", text) == text
    assert len(w.result("IMisfit", "BigText", 15 << 20)) == 15 << 20
    w.finish()


def test_unknown_services_and_methods_are_told_in_dotnets_words():
    w = echo()
    e = w.error("INowhere", "SayHello", "Ann")
    assert e["message"] == "Service not found: INowhere"
    assert e["HalibutErrorType"] == \
        "Halibut.Exceptions.ServiceNotFoundHalibutClientException"
    e = w.error("INowhere", "Count", hw.DataStream(b"x" * 1000000))
    assert e["message"] == "Service not found: INowhere"
    e = w.error("IEchoService", "Nix")
    assert e["message"] == "Method IEchoService::Nix not found"
    assert e["HalibutErrorType"] == \
        "Halibut.Exceptions.MethodNotFoundHalibutClientException"
    w.finish()


def test_an_exception_is_an_invocation_error_with_its_traceback():
    w = echo()
    e = w.error("IEchoService", "Crash")
    check_invocation(e, "Attempted to divide by zero.")
    assert "Traceback" in e["details"]
    assert w.result("IEchoService", "SayHello", "Ann") == "Hello, Ann!"
    w.finish()


def test_an_errors_data_may_be_any_json():
    w = misfit()
    e = w.error("IMisfit", "Error",
                '{"code": 1, "message": "no", "data": {"a": [1]}}')
    check_invocation(e, "no")
    assert '"a"' in e["details"]
    check_invocation(w.error("IMisfit", "Error", '{}'), "no message")
    w.finish()


# DataStreams


def test_streams_arrive_as_files():
    w = echo()
    for n in (0, 1, 65535, 1 << 20):
        got = w.result("IEchoService", "CountBytes",
                       hw.DataStream(os.urandom(n)))
        assert got == n
    wait_for(lambda: w.files() == [], "files are removed")
    w.finish()


def test_streams_are_answered_from_files():
    w = echo()
    for n in (0, 1, 3 << 20):
        data = os.urandom(n)
        message, streams = w.answer(
            w.call("IEchoService", "Reverse", hw.DataStream(data)))
        assert message["result"]["$type"] == hw.STREAM_TYPE
        assert message["result"]["length"] == n
        assert streams[message["result"]["id"]] == data[::-1]
    wait_for(lambda: w.files() == [], "files are removed")
    w.finish()


def test_several_streams_each_get_a_file_of_their_own():
    import json
    w = misfit()
    streams = [hw.DataStream(b"a"), hw.DataStream(b"bb"), hw.DataStream(b"")]
    files = json.loads(w.result("IMisfit", "Paths", *streams))
    assert [f["length"] for f in files] == [1, 2, 0]
    assert len({f["path"] for f in files}) == 3
    w.finish()


def test_streams_may_be_text_or_base64_or_a_name_in_the_directory():
    w = misfit()
    message, streams = w.answer(w.call("IMisfit", "WriteStream", "from file"))
    # An array has no type name, as .NET wants it; here it is looked into.
    refs = hw.find_streams(message["result"])
    assert [streams[i] for i, _ in refs] == \
        [b"from file", "inner \u00e9".encode(), b"\0\1\2\xff"]
    w.finish()


def test_a_file_elsewhere_is_sent_and_stays():
    import json
    w = misfit()
    with open(w.path("mine"), "w") as f:
        f.write("precious")
    spec = json.dumps({"path": w.path("mine")})
    message, streams = w.answer(w.call("IMisfit", "Stream", spec))
    assert list(streams.values()) == [b"precious"]
    assert os.path.exists(w.path("mine"))
    w.finish()


def test_streams_that_cannot_be_sent_are_errors_of_the_call():
    w = misfit()
    os.mkfifo(w.path("fifo"))
    for spec, text in [('{"path": "/nowhere/at/all"}', "/nowhere/at/all"),
                       ('{"path": "."}', "not a regular file"),
                       ('{"path": "%s"}' % w.path("fifo"), "not a regular"),
                       ('{"base64": "A"}', "base64"),
                       ('{"base64": "A*=="}', "base64"),
                       ('{"text": "a", "base64": ""}', "exactly one"),
                       ('{}', "exactly one"), ('{"path": 1}', "file name"),
                       ('{"text": 1}', "no string"), ('0', "no object")]:
        check_invocation(w.error("IMisfit", "Stream", spec), text)
    pid = w.result("IMisfit", "Pid")
    check_invocation(w.error("IMisfit", "Stream", "7"), "no object")
    assert w.result("IMisfit", "Pid") == pid, "no reason to kill it"
    w.finish()


def test_large_streams_need_no_memory():
    w = echo()
    size = 96 << 20
    reading, writing = os.pipe()
    if (feeder := os.fork()) == 0:
        os.close(reading)
        stream = hw.DataStream(b"", uuid.UUID(int=7))
        length = size.to_bytes(8, "little")
        piece = bytes(1 << 20)
        os.write(writing, stream.id.bytes_le + length)
        for _ in range(96):
            left = memoryview(piece)
            while left:
                left = left[os.write(writing, left):]
        os.write(writing, length)
        os._exit(0)
    os.close(writing)
    stream = {"$type": hw.STREAM_TYPE, "id": uuid.UUID(int=7), "length": size}
    ident = w.call("IEchoService", "Reverse", stream, section=reading)
    frame = w.outcome(ident)
    with os.fdopen(frame.fd, "rb") as f:
        n = 0
        while piece := f.read(1 << 20):
            n += len(piece)
    assert n == size + 32
    with open(f"/proc/{w.pid}/status") as f:
        peak = int(re.search(r"VmHWM:\s+(\d+)", f.read()).group(1))
    os.waitpid(feeder, 0)
    if "asan" not in open(f"/proc/{w.pid}/maps").read():
        assert peak < 24 << 10, f"{peak} KiB"
    w.finish()


def test_a_sender_that_breaks_off_fails_the_call():
    w = echo()
    stream = hw.DataStream(b"x" * 1000)
    data = hw.encode_section([stream])
    ident = w.call("IEchoService", "CountBytes", stream,
                   section=w.feed(data[:500]))
    e = w.failure(ident)
    assert e.status == "ECLOSED", e.status
    wait_for(lambda: w.files() == [], "files are removed")
    w.finish()


def test_a_sender_that_stalls_fails_the_call():
    w = Worker(program("IMisfit", None), tcp_client_receive_timeout_ms=50)
    reading, writing = os.pipe()
    ident = w.call("IMisfit", "Paths", hw.DataStream(b"x"), section=reading)
    assert w.failure(ident).status == "ETIMEOUT"
    os.close(writing)
    w.finish()


def test_a_section_with_other_streams_fails_the_call():
    w = echo()
    ident = w.call("IEchoService", "CountBytes", hw.DataStream(b"x"),
                   section=w.feed(hw.encode_section([hw.DataStream(b"x")])))
    assert w.failure(ident).status == "EPROTO"
    w.finish()


def test_a_file_that_is_too_large_is_an_error_response():
    w = echo()
    resource.prlimit(w.pid, resource.RLIMIT_FSIZE, (100000, 100000))
    # All of it is read, or its sender would be stuck.
    stream = hw.DataStream(b"x" * 1000000)
    e = w.error("IEchoService", "CountBytes", stream)
    assert "cannot write a DataStream to its disk" in e["message"], e
    wait_for(lambda: w.files() == [], "files are removed")
    # Its programs inherit the limit, and survive.
    assert w.result("IEchoService", "CountBytes", hw.DataStream(b"x")) == 1
    w.finish()


def test_a_full_disk_is_an_error_response_that_says_so():
    unshare = ["unshare", "-Urm"]
    small = tempfile.mkdtemp(prefix="halibut-test-")
    atexit.register(shutil.rmtree, small, True)
    mount = f"mount -t tmpfs -o size=200k none {small}"
    if subprocess.run([*unshare, "sh", "-c", mount],
                      stderr=subprocess.DEVNULL).returncode != 0:
        return "no file system can be mounted here"
    w = Worker(program("IEchoService", f"{PYTHON} {EXAMPLES}/echo.py"),
               spool=small,
               wrapper=[*unshare, "sh", "-c", mount + ' && exec "$0"'])
    e = w.error("IEchoService", "CountBytes", hw.DataStream(b"x" * 1000000))
    assert "No space left on device" in e["message"], e
    assert "Free space in the spool directory" in e["message"], e
    assert w.result("IEchoService", "CountBytes",
                    hw.DataStream(b"x" * 100000)) == 100000
    w.finish()


def test_the_next_call_finds_its_directory_empty():
    import json
    w = misfit()
    for _ in range(3):
        call = json.loads(w.result("IMisfit", "Call"))
        assert os.listdir(call["directory"]) == []
        w.answer(w.call("IMisfit", "WriteStream", "x"))
        wait_for(lambda: w.files() == [], "files are removed")
        os.rmdir(call["directory"])  # as a program may do
    w.finish()


def test_a_directory_of_a_killed_process_is_not_used_again():
    import json
    # It is waited for once; the start of a program may take a while, too.
    w = misfit(timeout_ms=6000)
    a = json.loads(w.result("IMisfit", "Call"))["directory"]
    w.error("IMisfit", "Hang", w.path("pids"), False)
    b = json.loads(w.result("IMisfit", "Call"))["directory"]
    assert a != b
    wait_for(lambda: not os.path.exists(a), "it is removed")
    w.finish()


# Programs that fail


def test_a_program_that_exits_is_named_with_its_last_words():
    w = misfit()
    pid = w.result("IMisfit", "Pid")
    e = w.error("IMisfit", "Exit", 3, "I cannot\ngo on")
    check_invocation(e, "IMisfit", "misfit.py", f"pid {pid}",
                     "exited with status 3", "I cannot / go on")
    assert w.result("IMisfit", "Pid") != pid
    w.finish()


def test_a_program_that_is_killed_is_named_with_the_signal():
    w = misfit()
    check_invocation(w.error("IMisfit", "KillSelf"), "IMisfit", "signal 9")
    w.finish()


def test_a_program_that_cannot_start_says_why():
    w = Worker(program("INone", "/nowhere/program --x"),
               program("IDir", "true", directory="/nowhere"),
               program("IOpen", "sh -c 'echo"),
               program("IShell", "cat | wc"))
    check_invocation(w.error("INone", "X"), "/nowhere/program",
                     "status 127", "No such file")
    check_invocation(w.error("IDir", "X"), "cannot enter the directory")
    assert "single quotes" in w.error("IOpen", "X")["message"]
    assert "needs a shell" in w.error("IShell", "X")["message"]
    assert "needs a shell" in w.log()
    w.finish()


def test_deaths_in_a_row_double_the_delay_and_an_answer_resets_it():
    w = misfit()
    delay = re.compile(r"not started again within (\d+) ms")
    for _ in range(3):
        w.error("IMisfit", "Exit", 1, "")
    w.result("IMisfit", "Pid")
    w.error("IMisfit", "Exit", 1, "")
    assert delay.findall(w.log()) == ["100", "200", "400", "100"]
    w.finish()


def test_a_call_that_takes_too_long_ends_with_the_whole_group():
    w = misfit(timeout_ms=5000)  # the start of a program may take a while
    for stubborn in (False, True):
        w.result("IMisfit", "Pid")
        path = w.path(f"pids-{stubborn}")
        e = w.error("IMisfit", "Hang", path, stubborn)
        check_invocation(e, "IMisfit", "within 5000 ms", "raise the service's")
        with open(path) as f:
            pids = [int(p) for p in f.read().split()]
        wait_for(lambda: not any(alive(p) for p in pids), "all are killed")
    w.finish()


def test_rubbish_ends_the_call_and_the_process():
    w = misfit()
    for text, told in [("hello world", "not JSON"), ("[1]", "no JSON object"),
                       ('{"id": 1}', "neither a result nor an error"),
                       ('{"id": 0, "result": 1}', "id is not that"),
                       ('{"id": "x", "result": 1}', "id is not that"),
                       ('{"result": 1}', "id is not that")]:
        pid = w.result("IMisfit", "Pid")
        e = w.error("IMisfit", "Print", text)
        check_invocation(e, "IMisfit", told, text[:8])
        assert w.result("IMisfit", "Pid") != pid
        wait_for(lambda: not alive(pid), "it is killed")
    lines = [x for x in w.log().splitlines() if "standard error" in x]
    assert len(lines) == 6, lines
    w.finish()


def test_an_error_without_id_is_an_answer():
    w = misfit()
    e = w.error("IMisfit", "Print",
                '{"id": null, "error": {"code": -32700, "message": "what?"}}')
    check_invocation(e, "what?")
    w.finish()


def test_empty_lines_and_carriage_returns_do_no_harm():
    w = misfit()
    e = w.error("IMisfit", "Print",
                '\n\r\n{"id": null, "error": {"message": "fine"}}\r')
    check_invocation(e, "fine")
    w.finish()


def test_a_line_without_end_is_bounded():
    w = misfit()
    e = w.error("IMisfit", "Big", 17 << 20)
    check_invocation(e, "more than 16 MiB", "DataStream")
    w.finish()


def test_output_between_calls_ends_the_process():
    w = misfit()
    pid = w.result("IMisfit", "Pid")
    assert w.result("IMisfit", "AnswerTwice") is None
    wait_for(lambda: "while it had no call" in w.log(), "the log says so")
    assert w.result("IMisfit", "Pid") != pid
    w.finish()


def test_an_answer_may_be_the_last_thing_a_program_does():
    w = misfit()
    for _ in range(30):
        assert w.result("IMisfit", "LastWords") is None
    assert "not started again" not in w.log()
    w.finish()


def test_a_program_that_closes_its_output_is_ended():
    w = misfit()
    check_invocation(w.error("IMisfit", "CloseOutput"),
                     "closed its standard output", "signal 15")
    w.finish()


def test_a_program_that_does_not_read_stalls_nobody():
    w = Worker(program("IDeaf", "sleep 1000", timeout_ms=1000),
               program("IMisfit", None))
    deaf = w.call("IDeaf", "X", "x" * (8 << 20))
    assert w.result("IMisfit", "Echo", 1) == 1
    w.ping()
    message, _ = w.answer(deaf)
    check_invocation(message["error"], "IDeaf", "within 1000 ms")
    w.finish()


def test_a_program_that_closes_its_input_fails_its_call():
    w = Worker(program("IDeaf", "sh -c 'exec 0<&-; exec sleep 1000'"))
    e = w.error("IDeaf", "X", "x" * (8 << 20))
    check_invocation(e, "closed its standard input")
    w.finish()


def test_memory_is_limited():
    w = misfit(max_memory=512 << 20)
    assert w.result("IMisfit", "Allocate", 10 << 20) == 10 << 20
    check_invocation(w.error("IMisfit", "Allocate", 600 << 20), "MemoryError")
    w.finish()


def test_standard_error_is_logged_at_a_bounded_rate():
    w = misfit()
    pid = w.result("IMisfit", "Pid")
    w.result("IMisfit", "Chatter", 5)
    wait_for(lambda: f"IMisfit (pid {pid}): line 4" in w.log(), "it is logged")
    w.result("IMisfit", "Chatter", 20000)
    w.finish()
    lines = re.findall(r"IMisfit \(pid \d+\): line", w.log())
    assert len(lines) < 1000, len(lines)
    dropped = re.findall(r"(\d+) lines of its standard error were dropped",
                         w.log())
    assert sum(map(int, dropped)) + len(lines) == 20005


# A program's surroundings


def test_a_program_inherits_nothing():
    import json
    os.environ["SECRET"] = "x"
    w = Worker(program("IMisfit", None, directory="/usr"))
    s = json.loads(w.result("IMisfit", "Surroundings"))
    # 3 is the directory that it lists.
    assert s["fds"] == [0, 1, 2, 3], s["fds"]
    s["env"].pop("LC_CTYPE", None)  # python's own doing
    assert s["env"] == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8", "HALIBUT_SERVICE": "IMisfit",
        "HALIBUT_NODE": "node-1"}, s["env"]
    assert s["cwd"] == "/usr" and s["pgid"] == s["pid"]
    assert s["no_new_privs"] == "1" and int(s["ignored"], 16) == 0
    w.finish()


def test_the_directory_of_a_worker_is_private():
    w = misfit()
    w.result("IMisfit", "Pid")
    own, = os.listdir(w.spool)
    mode = stat.S_IMODE(os.stat(os.path.join(w.spool, own)).st_mode)
    assert mode == 0o700, oct(mode)
    w.finish()


# Many calls


def start_waiting(w, name):
    os.mkfifo(w.path(name))
    ident = w.call("IMisfit", "WaitFor", w.path(name))
    wait_for(lambda: os.path.exists(w.path(name + ".here")), "it runs")
    return ident


def let_go(w, name):
    open(w.path(name), "w").close()


def test_calls_run_beside_one_another_up_to_the_number_of_processes():
    w = misfit(processes=2)
    a = start_waiting(w, "a")
    b = start_waiting(w, "b")
    c = w.call("IMisfit", "Pid")
    w.ping()
    assert c not in w.frames
    let_go(w, "b")
    w.answer(b)
    w.answer(c)
    let_go(w, "a")
    w.answer(a)
    w.finish()


def test_idle_processes_are_kept():
    w = misfit(processes=3)
    assert len({w.result("IMisfit", "Pid") for _ in range(5)}) == 1
    w.finish()


def test_waiting_calls_are_answered_in_order():
    w = misfit()
    a = start_waiting(w, "a")
    calls = [w.call("IMisfit", "Echo", i) for i in range(20)]
    let_go(w, "a")
    w.answer(a)
    order = [w.receive() for _ in calls if True]
    order = [f.id for f in order if f.type == "ANSWER"]
    assert order == sorted(order) and set(order) <= set(calls)
    w.finish()


def test_the_queue_is_bounded():
    w = misfit()
    a = start_waiting(w, "a")
    calls = [w.call("IMisfit", "Echo", i) for i in range(256)]
    check_invocation(w.error("IMisfit", "Echo", 1), "busy", "more processes")
    let_go(w, "a")
    w.answer(a)
    for i, ident in enumerate(calls):
        assert w.answer(ident)[0]["result"] == i
    w.finish()


def test_waiting_has_a_deadline():
    w = misfit(timeout_ms=1500)
    a = start_waiting(w, "a")
    b = w.call("IMisfit", "Echo", 1)
    # Both run out; whichever is told first, neither is forgotten.
    errors = [w.answer(i)[0] for i in (a, b)]
    check_invocation(errors[0]["error"], "did not answer within 1500 ms")
    if errors[1]["error"] is not None:
        # It may have been given what the first left at the last moment.
        assert re.search("(was free|did not answer) within 1500 ms",
                         errors[1]["error"]["message"]), errors[1]
    w.finish()


def test_a_running_call_is_cancelled_with_its_process():
    w = misfit()
    path = w.path("pids")
    ident = w.call("IMisfit", "Hang", path, True)
    wait_for(lambda: os.path.exists(path), "it runs")
    w.channel.send("CANCEL", ident)
    assert w.failure(ident).status == "ETRANSFERRING_CANCELLED"
    with open(path) as f:
        pids = [int(p) for p in f.read().split()]
    wait_for(lambda: not any(alive(p) for p in pids), "all are killed")
    assert w.result("IMisfit", "Echo", 1) == 1
    assert "not started again" not in w.log()
    w.finish()


def test_a_waiting_call_is_cancelled_without_harm_to_others():
    w = misfit()
    a = start_waiting(w, "a")
    b = w.call("IMisfit", "Echo", 1)
    w.channel.send("CANCEL", b)
    assert w.failure(b).status == "ECONNECTING_CANCELLED"
    let_go(w, "a")
    assert w.answer(a)[0]["error"] is None
    w.finish()


def test_an_arriving_call_is_cancelled():
    w = misfit()
    reading, writing = os.pipe()
    ident = w.call("IMisfit", "Paths", hw.DataStream(b"x"), section=reading)
    w.channel.send("CANCEL", ident)
    assert w.failure(ident).status == "ECONNECTING_CANCELLED"
    os.close(writing)
    w.channel.send("CANCEL", ident)  # too late: no second answer
    w.ping()
    assert w.frames == {}
    w.finish()


# The list of programs


def test_an_unchanged_program_keeps_its_process():
    w = misfit()
    pid = w.result("IMisfit", "Pid")
    w.set_programs(program("IOther", None), program("IMisfit", None))
    assert w.result("IMisfit", "Pid") == pid
    assert w.result("IOther", "Pid") != pid
    w.finish()


def test_a_changed_program_finishes_its_calls_and_goes():
    w = misfit()
    a = start_waiting(w, "a")
    b = w.call("IMisfit", "Pid")
    w.set_programs(program("IMisfit", None, processes=2))
    new = w.result("IMisfit", "Pid")
    let_go(w, "a")
    w.answer(a)
    old = w.answer(b)[0]["result"]
    assert old != new
    wait_for(lambda: not alive(old), "the old one goes")
    w.set_programs()
    e = w.error("IMisfit", "Pid")
    assert e["message"] == "Service not found: IMisfit"
    w.finish()


# Ending


def test_stopping_waits_for_the_calls():
    w = misfit()
    pid = w.result("IMisfit", "Pid")
    a = start_waiting(w, "a")
    b = w.call("IMisfit", "Echo", 7)
    w.stop()
    c = w.call("IMisfit", "Echo", 8)
    assert w.failure(c).status == "ESHUTDOWN"
    let_go(w, "a")
    assert w.answer(a)[0]["error"] is None
    assert w.answer(b)[0]["result"] == 7
    assert w.wait_exit() == 0
    assert not alive(pid)
    w.finish()


def test_stopping_waits_until_streams_are_taken():
    w = echo()
    data = os.urandom(4 << 20)
    frame = w.outcome(w.call("IEchoService", "Reverse", hw.DataStream(data)))
    w.stop()
    with os.fdopen(frame.fd, "rb") as f:
        streams = hw.decode_section(f.read())
    assert list(streams.values()) == [data[::-1]]
    assert w.wait_exit() == 0
    w.finish()


def test_stopping_at_once_fails_the_calls():
    w = misfit()
    path = w.path("pids")
    ident = w.call("IMisfit", "Hang", path, True)
    wait_for(lambda: os.path.exists(path), "it runs")
    w.stop(drain=0)
    assert w.failure(ident).status == "ESHUTDOWN"
    assert w.wait_exit() == 0
    with open(path) as f:
        assert not any(alive(int(p)) for p in f.read().split())
    w.finish()


def test_a_worker_without_master_kills_its_programs_and_ends():
    w = misfit()
    path = w.path("pids")
    w.call("IMisfit", "Hang", path, False)
    wait_for(lambda: os.path.exists(path), "it runs")
    w.channel.close()
    assert w.wait_exit() == 0
    with open(path) as f:
        assert not any(alive(int(p)) for p in f.read().split())
    w.finish()


def test_programs_die_with_a_worker_that_is_killed_and_its_files_go():
    w = misfit()
    path = w.path("pids")
    w.call("IMisfit", "Hang", path, True)
    wait_for(lambda: os.path.exists(path), "it runs")
    with open(path) as f:
        pid = int(f.read().split()[0])
    os.kill(w.pid, signal.SIGKILL)
    assert w.wait_exit() == -signal.SIGKILL
    wait_for(lambda: not alive(pid), "its programs die")
    assert len(os.listdir(w.spool)) == 1
    new = Worker(program("IMisfit", None), spool=w.spool)
    new.result("IMisfit", "Pid")
    assert len(os.listdir(w.spool)) == 1
    new.finish()
    for p in subprocess.run(["pgrep", "-g", str(pid)], stdout=-1,
                            text=True).stdout.split():
        os.kill(int(p), signal.SIGKILL)


def test_a_spool_directory_that_is_not_there_ends_the_worker():
    w = Worker(spool="/nowhere/at/all")
    assert w.wait_exit() == 1
    assert "cannot make a directory in the spool directory" in w.log()


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
            reason = function()
            print(f"ok {text}" + (f" # SKIP {reason}" if reason else ""))
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
