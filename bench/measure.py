"""What the benchmarks of this directory have in common: building, processes,
gateways, processor time, tables.
"""
import contextlib
import functools
import json
import os
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(TOP, "build", "bench")
sys.path.append(os.path.join(TOP, "tests", "e2e"))
os.environ.setdefault("top_srcdir", TOP)
import handed_over  # noqa: E402
POLL, HOST = "poll://sq-bench/", "sq-bench.poll.bench"
LISTENING_HOST = "listening.bench"


class Failed(Exception):
    pass


# ---- building ----

def run_quietly(command, cwd, log):
    with open(log, "w") as out:
        rc = subprocess.call(command, cwd=cwd, stdout=out, stderr=out,
                             stdin=subprocess.DEVNULL)
    if rc != 0:
        with open(log) as text:
            tail = text.readlines()[-20:]
        raise Failed("failed: %s\n%s" % (" ".join(command), "".join(tail)))


def build():
    if not os.path.exists(os.path.join(TOP, "configure")):
        run_quietly(["./autogen.sh"], TOP, os.path.join(TOP, "autogen.out"))
    os.makedirs(BUILD, exist_ok=True)
    log = os.path.join(BUILD, "build.out")
    if not os.path.exists(os.path.join(BUILD, "Makefile")):
        run_quietly([os.path.join(TOP, "configure"), "--disable-shared",
                     "CFLAGS=-O2 -g"], BUILD, log)
    run_quietly(["make", "-j%d" % (os.cpu_count() or 1), "all",
                 "bench-programs"], BUILD, log)


def program(name):
    return os.path.join(BUILD, name)


# ---- processes ----

def cpu_us(pid):
    """The processor time a process has used; its children do not count."""
    try:
        return time.clock_gettime_ns((~pid << 3) | 2) / 1000
    except OSError:
        raise Failed("process %d is gone" % pid) from None


def status_kib(pid, field):
    with open("/proc/%d/status" % pid) as f:
        for line in f:
            if line.startswith(field + ":"):
                return int(line.split()[1])
    return 0


def pss_kib(pid):
    """Resident memory; what processes share is divided among them."""
    with open("/proc/%d/smaps_rollup" % pid) as f:
        for line in f:
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


def children_of(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
        return [int(p) for p in f.read().split()]


def raise_descriptors():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Process:
    """One that talks in lines and ends when its input does."""

    def __init__(self, command, log=None, env=None, sockets=()):
        """sockets: that listen, and are handed over as systemd does."""
        self.name = os.path.basename(command[0])
        self.out = b""
        start = subprocess.Popen
        if sockets:
            start = functools.partial(handed_over.popen, sockets=sockets)
        self.p = start(command, stdin=subprocess.PIPE,
                       stdout=subprocess.PIPE, stderr=log,
                       preexec_fn=raise_descriptors,
                       env={**os.environ, **(env or {})})
        self.pid = self.p.pid

    def line(self, timeout):
        until = time.monotonic() + timeout
        while b"\n" not in self.out:
            left = until - time.monotonic()
            ready, _, _ = select.select([self.p.stdout], [], [],
                                        max(left, 0))
            if not ready:
                raise Failed("%s said nothing for %d s"
                             % (self.name, timeout))
            data = os.read(self.p.stdout.fileno(), 65536)
            if not data:
                raise Failed("%s ended" % self.name)
            self.out += data
        text, self.out = self.out.split(b"\n", 1)
        return text.decode()

    def go(self):
        self.p.stdin.write(b"\n")
        self.p.stdin.flush()

    def stop(self):
        with contextlib.suppress(OSError):
            self.p.stdin.close()
        for sign in (None, signal.SIGTERM, signal.SIGKILL):
            if sign is not None:
                self.p.send_signal(sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.p.wait(5)
                break
        self.p.stdout.close()


@contextlib.contextmanager
def running(command, log=None):
    process = Process(command, log)
    try:
        yield process
    finally:
        process.stop()


# ---- the parts ----

class Bench:
    def __init__(self, options, directory):
        self.options = options
        self.dir = directory
        self.certs, self.thumbprints = {}, {}
        for who in ("client", "service", "gateway"):
            self.make_certificate(who)

    def make_certificate(self, who):
        self.certs[who] = os.path.join(self.dir, who + ".pem")
        subprocess.run([program("halibutctl"), "cert", "new", "--name", who,
                        "--out", self.certs[who]], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        shown = subprocess.run(
            [program("halibutctl"), "cert", "show", "--thumbprint",
             self.certs[who]], check=True, stdout=subprocess.PIPE)
        self.thumbprints[who] = shown.stdout.decode().strip()

    def load(self, peer, *more):
        return running([program("bench/load"), "--cert",
                        self.certs["client"], "--peer",
                        self.thumbprints[peer], *more])

    def service(self, peer, *more, log=None):
        return running([program("bench/service"), "--cert",
                        self.certs["service"], "--trust",
                        self.thumbprints[peer], *more], log)

    def floor(self, *arguments):
        with running([program("bench/floor"), *map(str, arguments)]) as p:
            return json.loads(p.line(600))


def free_ports(n):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


class Gateway:
    """halibutd and its workers. more: lines of configuration; ports: how many
    it listens on; env: of its processes."""

    def __init__(self, bench, listening_port, name="halibutd", more="",
                 ports=1, env=None):
        self.bench, self.name, self.process = bench, name, None
        self.ports, self.env = free_ports(ports), env
        self.port = self.ports[0]
        self.conf = os.path.join(bench.dir, name + ".conf")
        self.control = os.path.join(bench.dir, name + ".control")
        t = bench.thumbprints
        self.base = (
            'listen = {%s}\n'
            'certificate = "%s"\n'
            'trust = {"%s", "%s"}\n'
            'worker_directory = "%s"\n'
            'control_socket = "%s"\n'
            'spool_directory = "%s"\n'
            'log_level = "warning"\n'
            'route "*.poll.bench" { to = "poll://{label}/" }\n'
            'route "%s" {\n'
            '\tto = "https://127.0.0.1:%d"\n'
            '\tthumbprint = "%s"\n'
            '}\n'
            % (", ".join('"127.0.0.1:%d"' % p for p in self.ports),
               bench.certs["gateway"], t["client"], t["service"], BUILD,
               self.control, bench.dir, LISTENING_HOST, listening_port,
               t["service"]))
        self.configure(more)

    def configure(self, more):
        """more: lines of configuration beside those that all have."""
        with open(self.conf, "w") as f:
            f.write(self.base + more)

    def ctl(self, *arguments):
        """A command that has to succeed; its output."""
        done = subprocess.run(
            [program("halibutctl"), *arguments, "--socket",
             self.control], stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=60)
        if done.returncode != 0:
            raise Failed("halibutctl %s: %s"
                         % (" ".join(arguments), done.stdout.decode()))
        return done.stdout.decode()

    def start(self):
        return Process([program("halibutd"), "-c", self.conf], self.log,
                       self.env)

    def __enter__(self):
        self.log = open(os.path.join(self.bench.dir, self.name + ".log"),
                        "w")
        self.process = self.start()
        until = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            if time.monotonic() > until or self.process.p.poll() is not None:
                self.__exit__()
                raise Failed("halibutd does not listen:\n" + self.said())
            time.sleep(0.05)
        time.sleep(0.5)
        return self

    def __exit__(self, *_):
        self.process.p.send_signal(signal.SIGTERM)
        self.process.stop()
        self.log.close()

    def said(self):
        with open(self.log.name) as f:
            return "".join(f.readlines()[-20:])

    def pids(self):
        return [self.process.pid, *children_of(self.process.pid)]

    def named(self):
        """pid -> a short name."""
        names = {self.process.pid: "master"}
        for pid in children_of(self.process.pid):
            with open("/proc/%d/cmdline" % pid) as f:
                path = f.read().split("\0")[0]
            name = os.path.basename(path).replace("halibut-", "")
            names[pid] = name.replace("-worker", "")
        return names


class Redis:
    def __init__(self, bench):
        self.path = os.path.join(bench.dir, "redis.sock")
        self.log = os.path.join(bench.dir, "redis.log")
        self.dir = bench.dir

    def __enter__(self):
        try:
            self.p = subprocess.Popen(
                ["redis-server", "--port", "0", "--unixsocket", self.path,
                 "--save", "", "--appendonly", "no", "--dir", self.dir,
                 "--logfile", self.log], stdin=subprocess.DEVNULL)
        except FileNotFoundError:
            raise Failed("redis-server is missing: "
                         "apt-get install redis-server") from None
        until = time.monotonic() + 10
        while True:
            try:
                self.ask("PING")
                return self
            except OSError:
                if time.monotonic() > until:
                    self.__exit__()
                    raise Failed("redis-server does not start") from None
                time.sleep(0.05)

    def __exit__(self, *_):
        self.p.terminate()
        self.p.wait()

    def ask(self, *words):
        """One command whose reply is a line or one string."""
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.path)
            s.sendall(" ".join(words).encode() + b"\r\n")
            f = s.makefile("rb")
            head = f.readline().decode().strip()
            if head.startswith("$"):
                return f.read(int(head[1:])).decode()
            return head

    def counts(self):
        """(commands by name, bytes in and out)"""
        commands, moved = {}, 0
        for line in self.ask("INFO", "commandstats").split():
            if line.startswith("cmdstat_"):
                name, values = line[8:].split(":")
                commands[name] = int(values.split(",")[0].split("=")[1])
        for line in self.ask("INFO", "stats").split():
            if line.startswith(("total_net_input_bytes:",
                                "total_net_output_bytes:")):
                moved += int(line.split(":")[1])
        return commands, moved


class Watch:
    """Processor time of some processes between two moments."""

    def __init__(self, groups):
        self.groups = groups
        self.before = {p: cpu_us(p) for g in groups.values() for p in g}

    def spent(self):
        return {name: sum(cpu_us(p) - self.before[p] for p in pids)
                for name, pids in self.groups.items()}


def measure_calls(load, groups, seconds, at_start=lambda: None):
    if load.line(150) != "ready":
        raise Failed("the client is not ready")
    at_start()
    watch = Watch({"client": [load.pid], **groups})
    load.go()
    r = json.loads(load.line(seconds + 60))
    spent = watch.spent()
    if r["failed"] or not r["calls"]:
        raise Failed("%d calls failed" % r["failed"])
    r["cpu"] = {name: us / r["calls"] for name, us in spent.items()}
    return r


def measure_transfer(load, pids):
    if load.line(150) != "ready":
        raise Failed("the client is not ready")
    groups = {name: [pid] for name, pid in pids.items()}
    groups["client"] = [load.pid]
    watch = Watch(groups)
    load.go()
    r = json.loads(load.line(300))
    spent = watch.spent()
    r["cpu"] = {n: us / 1e3 for n, us in spent.items()}
    r["hwm"] = {n: status_kib(p[0], "VmHWM") / 1024
                for n, p in groups.items()}
    return r


# ---- tables ----

def table(title, head, rows):
    rows = [[str(c) for c in row] for row in rows]
    widths = [max(len(r[i]) for r in [head, *rows])
              for i in range(len(head))]
    print("\n%s\n" % title)
    for row in [head, ["-" * w for w in widths], *rows]:
        cells = [row[0].ljust(widths[0])]
        cells += [c.rjust(w) for c, w in zip(row[1:], widths[1:])]
        print("| %s |" % " | ".join(cells))
    sys.stdout.flush()


def ratio(a, b):
    return "%.2f" % (a / b) if b else "-"


def progress(text):
    print("... " + text, file=sys.stderr, flush=True)


def routed_load(b, gateway, host, *more):
    return b.load("gateway", "--url", "https://" + host, "--connect-port",
                  str(gateway.port), *more)


def wait_until_quiet(pids):
    """Until the processes rest: what is idle is then measured."""
    for _ in range(100):
        before = [cpu_us(p) for p in pids]
        time.sleep(0.2)
        if all(cpu_us(p) - c < 2000 for p, c in zip(pids, before)):
            return


@contextlib.contextmanager
def idle_pollers(b, port, count, first):
    with running([program("bench/pollers"), "--cert", b.certs["service"],
                  "--port", str(port), "--count", str(count), "--first",
                  str(first)]) as p:
        r = json.loads(p.line(60 + count / 20))
        if r["ended"]:
            raise Failed("%d pollers were turned away" % r["ended"])
        yield r


def run_subjects(subjects, options):
    """Builds, measures what was chosen, and leaves nothing behind."""
    raise_descriptors()
    if not options.no_build:
        progress("building in build/bench")
        build()
    directory = tempfile.mkdtemp(prefix="halibut-bench-")
    os.chmod(directory, 0o755)
    try:
        bench = Bench(options, directory)
        print("%s, %d processors, load %.1f at the start"
              % (time.strftime("%Y-%m-%d %H:%M"), os.cpu_count() or 1,
                 os.getloadavg()[0]))
        for name in options.only or subjects:
            subjects[name](bench)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def main(name, subjects, options):
    try:
        run_subjects(subjects, options)
    except Failed as e:
        print("bench/%s: %s" % (name, e), file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def add_common_options(parser, subjects):
    parser.add_argument("--quick", action="store_true",
                        help="short and small: does everything still run?")
    parser.add_argument("--seconds", type=float, default=4,
                        help="for each measurement of calls (%(default)s)")
    parser.add_argument("--only", choices=subjects, action="append",
                        help="one subject; may be repeated")
    parser.add_argument("--no-build", action="store_true",
                        help="use build/bench as it is")
