#!/usr/bin/env python3
"""The example programs with their queues in Redis: each a node of its own."""
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile

from gateway import BUILD, PATIENCE, Certificate, free_port, main, until

WORK = tempfile.mkdtemp(prefix="halibut-library-")
SERVER = os.path.join(WORK, "redis.sock")
URL = "unix://" + SERVER
GOOD = ['SayHello: "Hello, World!"',
        "Reverse: god yzal eht revo spmuj xof nworb kciuq ehT"]


def start_redis():
    redis = subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", SERVER, "--save", "",
         "--dir", WORK], stdout=subprocess.DEVNULL)
    until(lambda: answers("PING") == b"+PONG\r\n", "redis-server answers")
    return redis


def answers(command):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(PATIENCE)
        try:
            s.connect(SERVER)
        except OSError:
            return None
        s.sendall(command.encode() + b"\r\n")
        return s.recv(65536)


def program(name, cert, *args):
    return subprocess.Popen(
        [os.path.join(BUILD, "examples", name), "--cert", cert.path, *args],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def service(cert, *args, says):
    p = program("service", cert, *args)
    line = p.stdout.readline()
    assert line.startswith(says), (line, p.poll())
    return p


def end(p):
    p.send_signal(signal.SIGTERM)
    out, err = p.communicate(timeout=PATIENCE)
    assert p.returncode == 0, (p.returncode, out, err)


def call(cert, *args):
    p = program("client", cert, *args)
    out, err = p.communicate(timeout=PATIENCE)
    return p.returncode, out.splitlines(), err


def redis_args(prefix, *more):
    return ["--redis", URL, "--prefix", prefix, *more]


def good(result):
    code, out, err = result
    assert code == 0 and out == GOOD, result


def left(prefix):
    """Keys that the calls left behind."""
    keys = re.findall(rf"{prefix}:\S+", answers("KEYS *").decode())
    return [k for k in keys if "WatchForDataLoss" not in k]


def queue_only(kind):
    prefix = "queue-" + kind
    cert = Certificate.get("library")
    s = service(cert, *redis_args(prefix, "--streams", kind),
                "--name", "queue://Worker", says="serving queue://Worker")
    for _ in range(3):
        good(call(cert, *redis_args(prefix, "--streams", kind),
                  "queue://worker"))
    end(s)
    until(lambda: left(prefix) == [], f"nothing is left: {left(prefix)}")


def test_a_queue_endpoint_is_served_through_redis_alone():
    queue_only("redis")


def test_datastreams_may_travel_beside_their_message():
    queue_only("metadata")


def test_a_polling_service_gets_its_requests_out_of_redis():
    node, tentacle = Certificate("node"), Certificate("tentacle")
    port = free_port()
    s = service(tentacle, "--poll", f"https://127.0.0.1:{port}",
                "--thumbprint", node.thumbprint, "--name", "poll://Tentacle",
                says="polling")
    good(call(node, *redis_args("poll"), "--listen", f"127.0.0.1:{port}",
              "--trust", tentacle.thumbprint, "poll://tentacle"))
    end(s)


def test_a_call_waits_for_a_redis_that_comes_late():
    global redis
    redis.kill()
    redis.wait()
    os.unlink(SERVER)
    cert = Certificate("late")
    s = service(cert, *redis_args("late"), "--name", "queue://late",
                says="serving")
    p = program("client", cert, *redis_args("late"), "queue://late")
    line = p.stderr.readline()
    assert "redis" in line.lower(), line
    redis = start_redis()
    out, err = p.communicate(timeout=PATIENCE)
    assert out.splitlines() == GOOD, (out, err)
    end(s)


def test_what_is_wrong_is_said_before_anything_begins():
    cert = Certificate("wrong")
    for args, text in (
            (["--redis", "http://x", "--prefix", "p"], "http"),
            (["--redis", URL, "--prefix", ""], "key_prefix"),
            (["--redis", URL, "--prefix", "p", "--streams", "tape"], "tape")):
        code, out, err = call(cert, *args, "queue://x")
        assert code == 1 and not out and text in err, (args, code, out, err)


if __name__ == "__main__":
    if shutil.which("redis-server") is None:
        print("1..0 # SKIP no redis-server here")
    else:
        redis = start_redis()
        try:
            main([v for k, v in list(globals().items())
                  if k.startswith("test_")])
        finally:
            redis.kill()
            redis.wait()
            shutil.rmtree(WORK)
