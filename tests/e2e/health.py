#!/usr/bin/env python3
"""halibutctl health: what the health check of a container hears."""
import json
import os
import signal
import subprocess

from gateway import PATIENCE, Node, Poller, ctl, main, until


def health(node, *args):
    done = ctl("health", "--socket", node.control, *args)
    return done.returncode, done.stdout.decode()


def well(node):
    until(lambda: health(node)[0] == 0, "the gateway is well")


def test_a_gateway_that_serves_is_well():
    node = Node()
    well(node)
    assert health(node) == (0, "ok\n")
    assert health(node, "--live") == (0, "ok\n")
    code, text = health(node, "--json")
    doc = json.loads(text)
    assert code == 0 and doc["status"] == "ok" and doc["checks"], doc
    node.stop()


def test_without_workers_it_is_not_ready_but_alive():
    node = Node("worker_restart_delay = 1min\n"
                "worker_restart_delay_max = 1min\n", workers=1)
    well(node)
    victim, = node.worker_pids()
    os.kill(victim, signal.SIGKILL)
    until(lambda: health(node)[0] == 1, "it is not ready")
    code, text = health(node)
    assert code == 1 and text.startswith("unavailable\nworkers: "), text
    assert health(node, "--live") == (0, "ok\n")
    node.stop()


def test_a_gateway_that_stops_is_draining():
    node = Node("stop_timeout = 30s\n")
    well(node)
    poller = Poller(node, "poll://slow/")
    node.wait_idle_poller("poll://slow/")
    caller = subprocess.Popen(
        [os.path.join(os.environ.get("top_builddir", "."), "halibutctl"),
         "call", "--socket", node.control, "poll://slow/", "IEcho", "Echo",
         "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    request, _ = poller.take()
    node.process.terminate()
    until(lambda: health(node)[1] == "draining\n", "it says that it drains")
    assert health(node)[0] == 1
    poller.answer(request, 1)
    assert caller.communicate(timeout=PATIENCE)[0].split() == [b"1"]
    assert node.process.wait(PATIENCE) == 0
    poller.close()


def test_without_a_gateway_there_is_no_health():
    node = Node()
    node.stop()
    done = ctl("health", "--socket", node.control)
    assert done.returncode == 8 and done.stdout == b"", done
    assert node.control.encode() in done.stderr, done


def test_a_master_that_hangs_is_no_gateway():
    node = Node()
    well(node)
    node.process.send_signal(signal.SIGSTOP)
    done = ctl("health", "--timeout", "500ms", "--socket", node.control)
    node.process.send_signal(signal.SIGCONT)
    assert done.returncode == 4, done
    well(node)
    node.stop()


if __name__ == "__main__":
    main([v for k, v in list(globals().items()) if k.startswith("test_")])
