#!/usr/bin/env python3
"""What workers may do: as whom they run, what they have open, what they may
still ask for. As root it is tried as the unit for systemd does it, without
capabilities that it has not either.
"""
import os
import pwd
import re
import shutil
import signal
import subprocess

import gateway
from gateway import BUILD, Certificate, Client, Node, Poller, main, until

IS_ROOT = os.geteuid() == 0
UNIT = os.path.join(BUILD, "etc/halibutd.service")


def has_sandbox():
    """A build with a sanitizer, or without libseccomp, has none."""
    with open(os.path.join(BUILD, "halibut-connection-worker"), "rb") as f:
        return b"the kernel takes no seccomp filter" in f.read()


class Confined(Node):
    """Root that can do nothing but become somebody else."""

    user = "nobody"

    def __init__(self, extra="", **kw):
        # The worker's user has to get to the programs and the spool.
        os.chmod(gateway._work, 0o755)
        if IS_ROOT:
            kw["env"] = {**kw.get("env", {}), "HALIBUT_USER": self.user}
        super().__init__(extra, **kw)

    def start(self, log, before, env):
        os.chmod(self.dir, 0o755)
        if not IS_ROOT:
            return super().start(log, before, env)
        with open(UNIT) as f:
            capabilities = re.search("^CapabilityBoundingSet=(.*)$",
                                     f.read(), re.M).group(1).lower()
        capabilities = "-all" + "".join(
            ",+" + c.removeprefix("cap_") for c in capabilities.split())
        return subprocess.Popen(
            ["setpriv", "--bounding-set", capabilities, "--no-new-privs",
             os.path.join(BUILD, "halibutd"), "-c", self.conf],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env={**os.environ, **(env or {})})

    def write_conf(self, extra):
        spool = os.path.join(self.dir, "spool")
        if not os.path.exists(spool):
            os.mkdir(spool)
        os.chmod(spool, 0o1777)
        self.base = re.sub('spool_directory = ".*"',
                           f'spool_directory = "{spool}"', self.base)
        super().write_conf(extra)


def facts(pid):
    with open(f"/proc/{pid}/status") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f)


def with_all_kinds(**kw):
    """A node with a worker of each kind; Redis need not be there for one."""
    node = Confined("""
service "IEcho" {
    command = "/bin/cat"
}
redis {
    url = "unix:///nowhere"
    key_prefix = "x"
}
""", **kw)

    def workers():
        found = {w["kind"]: w["pid"] for w in node.status()["workers"]}
        return found if len(found) >= 3 and all(found.values()) else None
    return node, until(workers, "a worker of each kind")


def test_workers_are_nobody_and_stay_that():
    node, workers = with_all_kinds()
    for kind, pid in workers.items():
        fact = facts(pid)
        assert fact["NoNewPrivs"] == "1", (kind, fact)
        if IS_ROOT:
            uid = str(pwd.getpwnam(Confined.user).pw_uid)
            assert fact["Uid"].split() == [uid] * 4, (kind, fact)
            assert int(fact["CapEff"], 16) == 0, (kind, fact)
            assert int(fact["CapPrm"], 16) == 0, (kind, fact)
            assert int(fact["CapAmb"], 16) == 0, (kind, fact)
            assert fact["Groups"].split() == [], (kind, fact)
        if has_sandbox():
            assert fact["Seccomp"] == "2", (kind, fact)
    node.stop()


def test_no_worker_can_read_the_key_file():
    node, workers = with_all_kinds()
    key = os.path.join(node.dir, "node.pem")
    shutil.copy(node.certificate.path, key)
    os.chmod(key, 0o600)
    for kind, pid in workers.items():
        fact = facts(pid)
        uid, gid = fact["Uid"].split()[0], fact["Gid"].split()[0]
        # Who it is, is what the file system asks; a connection worker
        # cannot even ask (tests/unit/ipc/test_sandbox.c).
        done = subprocess.run(
            ["setpriv", "--reuid", uid, "--regid", gid, "--clear-groups",
             "cat", key], capture_output=True, timeout=gateway.PATIENCE)
        assert done.returncode != 0 and done.stdout == b"", (kind, done)
        assert b"ermission denied" in done.stderr, (kind, done)
    node.stop()


def test_workers_know_nothing_of_settings_in_the_environment():
    node, workers = with_all_kinds(env={
        "HALIBUT_CERTIFICATE_PASSWORD": "secret", "HALIBUT_WORKERS": "7",
        "HALIBUT_REDIS_URL": "redis://:secret@nowhere.invalid:6379"})
    with open(f"/proc/{node.process.pid}/environ", "rb") as f:
        assert b"secret" in f.read()
    assert len(node.worker_pids()) == 2, "the file comes after it"
    for kind, pid in workers.items():
        with open(f"/proc/{pid}/environ", "rb") as f:
            names = {x.split(b"=")[0] for x in f.read().split(b"\0")}
        settings = {n for n in names if n.startswith(b"HALIBUT_")}
        assert settings <= {b"HALIBUT_LOG_FORMAT", b"HALIBUT_SANDBOX",
                            b"HALIBUT_CONTROL"}, (kind, settings)
    node.stop()


def test_a_worker_has_open_what_it_needs_and_nothing_else():
    node = Confined()
    master = {os.readlink(f"/proc/{node.process.pid}/fd/{fd}")
              for fd in os.listdir(f"/proc/{node.process.pid}/fd")}
    for pid in node.worker_pids():
        links = {int(fd): os.readlink(f"/proc/{pid}/fd/{fd}")
                 for fd in os.listdir(f"/proc/{pid}/fd")}
        assert links[0] == links[1] == "/dev/null", links
        assert links[3].startswith("socket:"), links
        shared = {link for fd, link in links.items() if fd > 2} & master
        # Anonymous inodes have no number of their own.
        assert not {s for s in shared if not s.startswith("anon_inode")}, \
            links
    node.stop()


def test_everything_works_in_there():
    service = Certificate.get("service")
    p = subprocess.Popen(
        [os.path.join(BUILD, "examples/service"), "--cert", service.path,
         "--listen", "127.0.0.1:0", "--trust",
         Certificate.get("gateway").thumbprint], stdout=subprocess.PIPE)
    port = re.search(rb":(\d+)\n", p.stdout.readline()).group(1).decode()
    node = Confined(f"""
route "there.example.test" {{
    to = "https://localhost:{port}"
    thumbprint = "{service.thumbprint}"
}}
route "nowhere.example.test" {{
    to = "https://nowhere.invalid:{port}"
    thumbprint = "{service.thumbprint}"
}}
spool_memory = 4KiB
""", workers=1)
    pids = node.pids()
    done = node.call("https://there.example.test", "IEchoService", "SayHello",
                     '"x"')
    assert done.returncode == 0, done
    big = os.path.join(node.dir, "big")
    with open(big, "wb") as f:
        f.write(os.urandom(8 * 1024 * 1024))
    done = node.call("https://there.example.test", "IEchoService",
                     "CountBytes", "@" + big)
    assert done.stdout.split() == [b"8388608"], done
    # A reader that is slow: it goes through a file without a name.
    poller = Poller(node, "poll://slow/")
    node.wait_idle_poller("poll://slow/")
    caller = subprocess.Popen(
        [os.path.join(BUILD, "halibutctl"), "call", "--socket", node.control,
         "poll://slow/", "IEchoService", "CountBytes", "@" + big],
        stdout=subprocess.PIPE)
    request, streams = poller.take()
    assert len(next(iter(streams.values()))) == 8 * 1024 * 1024
    poller.answer(request, 1)
    assert caller.communicate(timeout=60)[0].split() == [b"1"]
    done = node.call("https://nowhere.example.test", "IEchoService",
                     "SayHello", '"x"')
    assert done.returncode == 3, done
    Client(node).close()
    assert node.pids() == pids, "no worker ended:\n" + node.log()
    poller.close()
    node.stop()
    p.kill()
    p.wait()
    p.stdout.close()


def test_a_worker_that_hangs_is_ended_without_the_right_to_kill():
    node = Confined("worker_ping_interval = 100ms\n"
                    "worker_hang_timeout = 5s\n", workers=1)
    victim, = node.worker_pids()
    os.kill(victim, signal.SIGSTOP)
    until(lambda: node.worker_pids() not in ([victim], [0], []),
          "there is another worker")
    until(node.workers_are_ready, "it is ready")
    assert not os.path.exists(f"/proc/{victim}"), "it was reaped"
    Client(node).close()
    node.stop()


def test_it_can_be_switched_off():
    node = Confined("sandbox = no\n", workers=1)
    pid, = node.worker_pids()
    if facts(os.getpid())["Seccomp"] == "0":
        assert facts(pid)["Seccomp"] == "0"
    node.stop()


if __name__ == "__main__":
    if IS_ROOT and not shutil.which("setpriv"):
        print("1..0 # SKIP there is no setpriv")
    elif IS_ROOT and subprocess.call(
            ["setpriv", "--reuid", Confined.user, "--clear-groups", "test",
             "-x", os.path.join(BUILD, "halibut-connection-worker")]) != 0:
        print(f"1..0 # SKIP user {Confined.user} cannot get to {BUILD}")
    else:
        main([v for k, v in list(globals().items())
              if k.startswith("test_")
              and (IS_ROOT or k != "test_no_worker_can_read_the_key_file")])
