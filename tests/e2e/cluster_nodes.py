"""Several gateways on one Redis of their own, for end-to-end tests."""
import atexit
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile

from gateway import Node, PATIENCE, until


def has_redis():
    return shutil.which("redis-server") is not None


class Redis:
    """A redis-server on a Unix socket; arguments: more of its own."""

    def __init__(self, *arguments):
        self.dir = tempfile.mkdtemp(prefix="halibut-redis-")
        self.path = os.path.join(self.dir, "socket")
        self.url = "unix://" + self.path
        self.arguments = arguments
        self.process = None
        atexit.register(self.remove)
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", self.path,
             "--save", "", "--dir", self.dir, *self.arguments],
            stdout=subprocess.DEVNULL)
        until(self.is_up, "redis-server answers")

    def is_up(self):
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
        self.nodes = [self.new_node() for _ in range(n)]

    def new_node(self, extra=None):
        return Node(self.section + (self.extra if extra is None else extra),
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
