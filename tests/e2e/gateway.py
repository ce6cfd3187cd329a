"""What end-to-end tests of halibutd share: a gateway of real processes, and
peers in Python that speak to it over TLS, well or badly.
"""
import atexit
import json
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import halibut_wire as hw  # noqa: E402

SRC = os.path.abspath(os.environ.get(
    "top_srcdir", os.path.join(os.path.dirname(__file__), "../..")))
BUILD = os.path.abspath(os.environ.get("top_builddir", SRC))
PATIENCE = 30  # s, for what should come at once
ECHO = os.path.join(SRC, "examples/services/echo.py")

_work = tempfile.mkdtemp(prefix="halibut-e2e-")
os.environ.get("HBT_KEEP") or atexit.register(shutil.rmtree, _work, True)


def until(condition, what, patience=PATIENCE):
    """Waits for a condition that no event tells us of."""
    end = time.monotonic() + patience
    pause = threading.Event()
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {patience} s: {what}")
        pause.wait(0.01)


def sanitized():
    """AddressSanitizer keeps freed memory: its figures say nothing."""
    with open(os.path.join(BUILD, "halibut-connection-worker"), "rb") as f:
        return b"__asan_init" in f.read()


def ctl(*args, stdin=None, check=False):
    done = subprocess.run([os.path.join(BUILD, "halibutctl"), *args],
                          input=stdin, capture_output=True,
                          timeout=PATIENCE * 3)
    if check and done.returncode != 0:
        raise AssertionError(f"halibutctl {' '.join(args)}: "
                             f"{done.stderr.decode()}")
    return done


_held = []  # sockets that keep ports


def free_port():
    """A port of 127.0.0.1 for whoever is told: nobody else is given it, not
    even while nobody listens there."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # listeners, too
    s.bind(("127.0.0.1", 0))
    _held.append(s)
    return s.getsockname()[1]


class Certificate:
    _made = {}
    _lock = threading.Lock()

    def __init__(self, name):
        self.path = os.path.join(_work, name + ".pem")
        ctl("cert", "new", "--name", name, "--out", self.path, check=True)
        shown = ctl("cert", "show", self.path, check=True).stdout.decode()
        self.thumbprint = re.search(r"[0-9A-F]{40}", shown).group()

    @classmethod
    def get(cls, name):
        with cls._lock:
            if name not in cls._made:
                cls._made[name] = cls(name)
            return cls._made[name]


class Node:
    """A halibutd with its workers. extra: more lines of configuration;
    port: 0 is any, one of free_port() is for a node that comes back."""

    count = 0
    lock = threading.Lock()

    def __init__(self, extra="", trust=("peer",), workers=2, limits=None,
                 before=None, env=None, status=(), port=0):
        with Node.lock:
            Node.count += 1
            self.number = Node.count
        self.dir = os.path.join(_work, f"node{self.number}")
        os.mkdir(self.dir)
        self.certificate = Certificate.get("gateway")
        self.libexec = os.path.join(self.dir, "libexec")
        os.mkdir(self.libexec)
        for name in ("halibut-connection-worker", "halibut-service-worker",
                     "halibut-queue-worker", "halibut-status-worker"):
            os.symlink(os.path.join(BUILD, name),
                       os.path.join(self.libexec, name))
        self.trust_file = os.path.join(self.dir, "trust")
        self.write_trust([Certificate.get(t).thumbprint for t in trust])
        self.control = os.path.join(self.dir, "control")
        self.status_socket = os.path.join(self.dir, "status")
        places = ", ".join(f'"{a}"' for a in (self.status_socket, *status))
        self.conf = os.path.join(self.dir, "halibutd.conf")
        self.base = f"""
node = "node-{self.number}"
listen = {{ "127.0.0.1:{port}" }}
certificate = "{self.certificate.path}"
trust_file = "{self.trust_file}"
trust_added_file = "{self.dir}/trusted-by-hand"
workers = {workers}
worker_directory = "{self.libexec}"
control_socket = "{self.control}"
status_listen = {{ {places} }}
spool_directory = "{self.dir}"
log_level = "debug"
stop_timeout = 10s
"""
        self.write_conf(extra)
        self.log_path = os.path.join(self.dir, "log")
        with open(self.log_path, "wb") as log:
            self.process = self.start(log, before, env)
        atexit.register(self.kill)
        self.port = int(self.wait_log(
            r"listening on 127\.0\.0\.1:(\d+)").group(1))
        until(self.workers_are_ready, "workers are ready")

    def start(self, log, before, env):
        return subprocess.Popen(
            [os.path.join(BUILD, "halibutd"), "-c", self.conf],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            preexec_fn=before, env={**os.environ, **(env or {})})

    def write_conf(self, extra):
        with open(self.conf, "w") as f:
            f.write(self.base + extra)

    def write_trust(self, thumbprints):
        with open(self.trust_file, "w") as f:
            f.write("".join(t + "\n" for t in thumbprints))

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def wait_log(self, pattern, after=0, patience=PATIENCE):
        def look():
            if self.process.poll() is not None:
                raise AssertionError("halibutd ended:\n" + self.log()[-3000:])
            return re.search(pattern, self.log()[after:])
        return until(look, f"/{pattern}/ in the log of {self.dir}", patience)

    def status(self):
        done = ctl("status", "--json", "--socket", self.control)
        if done.returncode != 0:
            raise AssertionError("status: " + done.stderr.decode())
        return json.loads(done.stdout)

    def workers_are_ready(self):
        try:
            return all(w["state"] in ("ready", "running", "serving")
                       for w in self.status()["workers"])
        except AssertionError:
            if self.process.poll() is not None:
                raise
            return False

    def subscription(self, uri):
        for s in self.status()["subscriptions"]:
            if s["uri"] == uri:
                return s
        return None

    def wait_idle_poller(self, uri, n=1):
        until(lambda: (self.subscription(uri) or {}).get("idle", 0) >= n,
              f"{n} idle connections of {uri}")

    def worker_pids(self, kind="connection"):
        return [w["pid"] for w in self.status()["workers"]
                if w["kind"].startswith(kind)]

    def pids(self):
        return [self.process.pid] + [w["pid"]
                                     for w in self.status()["workers"]]

    def descriptors(self):
        return sum(len(os.listdir(f"/proc/{p}/fd")) for p in self.pids())

    def call(self, endpoint, service, method, *args):
        return ctl("call", "--socket", self.control, endpoint, service,
                   method, *args)

    def stop(self, sig=signal.SIGTERM):
        self.process.send_signal(sig)
        return self.process.wait(PATIENCE)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def counted(node, name):
    """A counter of all workers of the node together."""
    return sum(w.get(name, 0) for w in node.status()["workers"])


class Closed(Exception):
    pass


class Peer:
    """One TLS connection to a gateway, byte by byte in the test's hands."""

    def __init__(self, node, certificate="peer", timeout=PATIENCE,
                 tls_version=None, nagle=False, source=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        if tls_version:
            context.maximum_version = tls_version
        if certificate is not None:
            context.load_cert_chain(Certificate.get(certificate).path)
        raw = socket.create_connection(("127.0.0.1", node.port), timeout,
                                       source and (source, 0))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, not nagle)
        self.sock = context.wrap_socket(raw)
        self.buffer = b""
        self.thread = None  # the one that is at work with it, if not ours

    def send(self, data):
        self.sock.sendall(data)

    def fill(self):
        try:
            data = self.sock.recv(65536)
        except (ConnectionError, ssl.SSLError):
            data = b""
        if not data:
            raise Closed(f"closed with {self.buffer[:80]!r} unread")
        self.buffer += data

    def exactly(self, n):
        pieces, got = [self.buffer], len(self.buffer)
        try:
            while got < n:
                self.buffer = b""
                self.fill()
                pieces.append(self.buffer)
                got += len(self.buffer)
        finally:
            if len(pieces) > 1:
                self.buffer = b"".join(pieces)
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def expect(self, data):
        got = self.exactly(len(data))
        assert got == data, f"expected {data!r}, got {got!r}"

    def message(self):
        """One message: its document and {id: data} of its DataStreams."""
        inflater = zlib.decompressobj(-15)
        document = b""
        while not inflater.eof:
            if not self.buffer:
                self.fill()
            data, self.buffer = self.buffer, b""
            document += inflater.decompress(data)
            self.buffer = inflater.unused_data
        document = hw.bson_decode(document)
        streams = {}
        for _ in hw.find_streams(document):
            head = self.exactly(24)
            length = struct.unpack("<q", head[16:])[0]
            body = self.exactly(length)
            tail = self.exactly(8)
            streams.update(hw.decode_section(head + body + tail))
        return document, streams

    def send_message(self, document):
        self.send(hw.encode_message(document))
        section = hw.encode_section(document)
        if section:
            self.send(section)

    def at_eof(self):
        try:
            self.fill()
        except Closed:
            return True
        return False

    def cut(self):
        """Ends the connection under whatever thread waits in it."""
        try:
            # Not the method of ssl, after which they would read ciphertext.
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
        except OSError:
            pass

    def close(self):
        """A thread that is in it comes to its end before: it would go on
        with whatever gets the number of the descriptor next."""
        if self.thread not in (None, threading.current_thread()):
            self.cut()
            self.thread.join(PATIENCE)
            assert not self.thread.is_alive(), "still at work with it"
        self.sock.close()


class Client(Peer):
    """Identified as MX-CLIENT; call() makes one request after the other."""

    def __init__(self, node, **kw):
        super().__init__(node, **kw)
        self.send(hw.PREAMBLE)
        self.send(hw.CLIENT)
        self.expect(hw.SERVER)
        self.used = False

    def start(self, uri, service, method, *params, **of_endpoint):
        if self.used:
            self.send(hw.NEXT)
            self.expect(hw.PROCEED)
        self.used = True
        self.send_message(hw.request(service, method, params,
                                     endpoint=hw.endpoint(uri,
                                                          **of_endpoint)))

    def finish(self):
        document, streams = self.message()
        return document["Message"], streams

    def call(self, uri, service, method, *params, **of_endpoint):
        self.start(uri, service, method, *params, **of_endpoint)
        return self.finish()


class Poller(Peer):
    """Subscribed; take() gives the next request, answer() ends it."""

    def __init__(self, node, uri, **kw):
        super().__init__(node, **kw)
        self.send(hw.PREAMBLE)
        self.send(hw.subscriber(uri))
        self.expect(hw.SERVER)

    def take(self):
        while True:
            document, streams = self.message()
            if document["Message"] is not None:
                return document["Message"], streams
            self.next()

    def next(self):
        self.send(hw.NEXT)
        self.expect(hw.PROCEED)

    def answer(self, request, result=None, error=None):
        self.send_message(hw.response(request["id"], result, error))
        self.send(hw.NEXT)

    def serve(self, handler):
        """In a thread until the connection ends: handler(request, streams)
        gives the result."""
        def run():
            try:
                while True:
                    request, streams = self.take()
                    self.answer(request, handler(request, streams))
                    self.expect(hw.PROCEED)
            except (Closed, OSError, AssertionError):
                pass
        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        return self.thread


def example_service(certificate, trusted):
    """(URL, process) of examples/service, which listens."""
    p = subprocess.Popen(
        [os.path.join(BUILD, "examples/service"), "--cert",
         Certificate.get(certificate).path, "--listen", "127.0.0.1:0",
         "--trust", Certificate.get(trusted).thumbprint],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL)
    atexit.register(p.kill)
    line = p.stdout.readline().decode()
    return re.fullmatch(r"listening on (\S+)\n", line).group(1), p


def echo_first(request, streams):
    value = request["params"][0]
    if isinstance(value, dict) and "length" in value:
        return hw.DataStream(streams[value["id"]])
    return value


def main(tests):
    """Runs functions and prints TAP; a name is a sentence."""
    wanted = sys.argv[1:]
    tests = [t for t in tests if not wanted or t.__name__ in wanted]
    print(f"1..{len(tests)}", flush=True)
    failed = 0
    for n, test in enumerate(tests, 1):
        name = test.__name__.replace("_", " ")
        try:
            test()
            print(f"ok {n} - {name}", flush=True)
        except Exception:
            failed += 1
            for line in traceback.format_exc().splitlines():
                print("#", line)
            print(f"not ok {n} - {name}", flush=True)
    sys.exit(1 if failed else 0)
