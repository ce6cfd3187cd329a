"""Several gateways on one Redis of their own, for end-to-end tests: each of
them and Redis can be stopped, killed, frozen and started again.
"""
import atexit
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading

from gateway import BUILD, Node, PATIENCE, free_port, until


def has_redis():
    return shutil.which("redis-server") is not None


class Redis:
    """A redis-server on a Unix socket; arguments: more of its own."""

    def __init__(self, *arguments):
        self.dir = tempfile.mkdtemp(prefix="halibut-redis-")
        self.path = os.path.join(self.dir, "socket")
        self.log_path = os.path.join(self.dir, "log")
        self.url = "unix://" + self.path
        self.arguments = arguments
        self.process = None
        atexit.register(self.remove)
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", self.path,
             "--save", "", "--dir", self.dir, "--logfile", self.log_path,
             *self.arguments], stdin=subprocess.DEVNULL)
        until(self.is_up, "redis-server answers")

    def is_up(self):
        if self.process.poll() is not None:
            with open(self.log_path, errors="replace") as f:
                raise AssertionError("redis-server ended: " + f.read()[-2000:])
        try:
            return self.ask("PING") == "PONG"
        except OSError:
            return False

    def ask(self, *words):
        """One command; its reply as text, a list of texts, or None."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(PATIENCE)
            s.connect(self.path)
            s.sendall(b"*%d\r\n" % len(words) + b"".join(
                b"$%d\r\n%s\r\n" % (len(w), w)
                for w in (str(x).encode() for x in words)))
            with s.makefile("rb") as f:
                return self._reply(f)

    def _reply(self, f):
        line = f.readline().decode(errors="replace").rstrip("\r\n")
        if not line:
            raise ConnectionError("redis-server is gone")
        kind, rest = line[0], line[1:]
        if kind == "$":
            if rest == "-1":
                return None
            data = f.read(int(rest) + 2)
            return data[:-2].decode(errors="replace")
        if kind == "*":
            return [self._reply(f) for _ in range(int(rest))]
        return rest

    def keys(self, pattern="*"):
        """What calls have left: neither a node's own keys nor guards."""
        return [k for k in self.ask("KEYS", pattern)
                if "WatchForDataLoss" not in k and "HalibutNode" not in k]

    def immortal(self):
        """Keys that would stay for ever."""
        return [k for k in self.ask("KEYS", "*") if self.ask("TTL", k) == "-1"]

    def commands(self):
        """How often each command was executed."""
        return {name: int(n) for name, n in re.findall(
            r"cmdstat_(\S+?):calls=(\d+)", self.ask("INFO", "commandstats"))}

    def kill(self):
        self.process.kill()
        self.process.wait()

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def remove(self):
        if self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)


class Proxy:
    """Between a node and its Redis: passes everything on, until it is told
    to delay or to lose something."""

    numbers = itertools.count(1)

    def __init__(self, redis):
        self.redis = redis
        self.path = os.path.join(redis.dir, f"proxy{next(Proxy.numbers)}")
        self.url = "unix://" + self.path
        self.delay = 0  # s, for what Redis says
        self.pairs = []
        self.match = None  # a request that has it gets no whole answer
        self.keep = 0  # bytes of that answer which are passed on
        self.end_at = None  # (words, word): a request that has the words is
        #                     passed on up to that word, and nothing after it
        self.gone = False  # new connections are refused
        self.held = None  # (words, event): who asks with the words gets no
        #                   answer, nor any later one, before the event
        self.caught = threading.Event()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(self.path)
        self.socket.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            near, _ = self.socket.accept()
            far = socket.socket(socket.AF_UNIX)
            try:
                if self.gone:
                    raise ConnectionRefusedError
                far.connect(self.redis.path)
            except OSError:
                near.close()
                far.close()
                continue
            pair = {"near": near, "far": far, "caught": False}
            self.pairs.append(pair)
            for what in (self._requests, self._replies):
                threading.Thread(target=what, args=(pair,),
                                 daemon=True).start()

    def _ends_in(self, pair, data):
        """True: that was the last of it."""
        words, word = self.end_at
        while words in data:
            end = data.find(word, data.find(words))
            if end >= 0:
                self.gone = True
                pair["far"].sendall(data[:end])
                return True
            more = pair["near"].recv(1 << 20)
            if not more:
                return True
            data += more
        pair["far"].sendall(data)
        return False

    def _requests(self, pair):
        data = b"-"
        while data:
            try:
                data = pair["near"].recv(1 << 20)
                if self.end_at is not None:
                    if self._ends_in(pair, data):
                        break
                    continue
                if self.held is not None and self.held[0] in data:
                    pair["held"], self.held = self.held[1], None
                    self.caught.set()
                if self.match is not None and self.match in data:
                    self.match, pair["caught"] = None, True
                    self.caught.set()
                pair["far"].sendall(data)
            except OSError:
                break
        self._close(pair)
        if self.gone:
            self.caught.set()

    def _replies(self, pair):
        data = b"-"
        while data:
            try:
                data = pair["far"].recv(1 << 20)
                if "held" in pair:
                    pair["held"].wait()
                if self.delay:
                    threading.Event().wait(self.delay)
                if pair["caught"]:
                    data = data[:self.keep]
                    if not data:
                        continue_reading(pair["far"])
                        break
                pair["near"].sendall(data)
                if pair["caught"]:
                    break
            except OSError:
                break
        self._close(pair)

    @staticmethod
    def _close(pair):
        for end in (pair["near"], pair["far"]):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        """Ends all connections; new ones are made as ever."""
        pairs, self.pairs = self.pairs, []
        for pair in pairs:
            self._close(pair)

    def hold_reply(self, words):
        """The answer to the next such request waits for the event that is
        returned; the request itself is executed."""
        self.caught.clear()
        event = threading.Event()
        self.held = words, event
        return event

    def lose_reply(self, match, keep=0):
        """Redis executes the next request with these bytes in it, but all
        that comes of its answer is keep bytes; then the connection ends, with
        keep = 0 by cut()."""
        self.caught.clear()
        self.keep, self.match = keep, match


def continue_reading(sock):
    try:
        while sock.recv(1 << 20):
            pass
    except OSError:
        pass


class ClusterNode(Node):
    """A node that can come back, at the same address."""

    def __init__(self, *args, **kw):
        super().__init__(*args, port=free_port(), **kw)

    def write_conf(self, extra):
        self.extra = extra
        super().write_conf(extra)

    def come_back(self, wait=True):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [os.path.join(BUILD, "halibutd"), "-c", self.conf],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if wait:
            until(self.workers_are_ready, "workers are ready")

    def redis(self):
        """What the status says of Redis; {} until it says something."""
        return self.status().get("redis") or {}

    def wait_redis(self, reachable=True):
        until(lambda: self.redis().get("reachable") is reachable,
              f"Redis is {'' if reachable else 'not '}reachable from "
              f"{self.dir}")


class Cluster:
    """n gateways on one Redis. more: lines of their section redis; extra:
    lines of their configuration."""

    def __init__(self, n=2, more="", extra="", prefix="cluster", redis=None,
                 **node):
        self.redis = redis or Redis()
        self.prefix = prefix
        self.section = ('redis {\n url = "%s"\n key_prefix = "%s"\n%s\n}\n'
                        % (self.redis.url, prefix, more))
        self.extra = extra
        self.options = node
        self.directory = self.redis.dir  # for whatever a test puts there
        self.nodes = [self.new_node() for _ in range(n)]

    def new_node(self, extra=None, url=None):
        section = self.section
        if url is not None:
            section = section.replace(self.redis.url, url)
        return ClusterNode(
            section + (self.extra if extra is None else extra),
            **self.options)

    def restart(self, i, sig=signal.SIGKILL):
        """Ends node i and puts another in its place."""
        self.nodes[i].process.send_signal(sig)
        self.nodes[i].process.wait(PATIENCE)
        self.nodes[i] = self.new_node()
        return self.nodes[i]

    def stop(self):
        for node in self.nodes:
            if node.process.poll() is None:
                assert node.stop() == 0
        self.redis.remove()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for node in self.nodes:
            node.kill()
        self.redis.remove()
