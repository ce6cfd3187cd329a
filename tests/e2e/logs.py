#!/usr/bin/env python3
"""The log of a whole gateway: form, levels, file, who follows it."""
import json
import os
import pty
import re
import signal
import subprocess

import halibut_wire as hw
from gateway import (BUILD, PATIENCE, Certificate, Client, Closed, Node, Peer,
                     Poller, ctl, echo_first, free_port, main, until)


def objects(text):
    return [json.loads(line) for line in text.splitlines()]


def levels(node, *args):
    out = ctl("log", "--socket", node.control, *args, check=True).stdout
    return dict(x.split("=") for x in out.decode().split())


def test_every_line_of_every_process_is_one_json_object():
    node = Node('service "IEcho" {\n command = "/bin/cat"\n}\n')
    for o in objects(node.log()):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",
                            o["time"]), o
        assert o["level"] in ("error", "warning", "info", "debug"), o
        assert o["pid"] > 0 and o["process"] and o["area"], o
        assert "message" in o, o
    poller = Poller(node, "poll://tentacle/")
    node.wait_idle_poller("poll://tentacle/")
    line = next(o for o in objects(node.log())
                if "polls for poll://tentacle/" in o["message"])
    assert line["pid"] in node.worker_pids(), line
    assert re.fullmatch(r"worker \d", line["process"]), line
    assert line["area"] == "connections", line
    poller.close()
    node.stop()


def test_text_is_there_for_those_who_ask_for_it():
    node = Node('log_format = "text"\n')
    for line in node.log().splitlines():
        assert re.match(r"\S+Z (error|warning|info|debug) +\S", line), line
    node.stop()
    node = Node(env={"HALIBUT_LOG_FORMAT": "journal"})
    for line in node.log().splitlines():
        assert re.match(r"<[3467]>\w", line), line
    node.stop()


def test_a_terminal_gets_text():
    ours, theirs = pty.openpty()
    done = subprocess.run([os.path.join(BUILD, "halibutd"), "-c", "/nowhere"],
                          stdin=subprocess.DEVNULL, stderr=theirs,
                          env={**os.environ, "HALIBUT_LOG_FORMAT": ""},
                          timeout=PATIENCE)
    assert done.returncode == 1, done
    assert b"halibutd: /nowhere: cannot be read" in os.read(ours, 4096)
    node = Node()
    node.stop()
    process = subprocess.Popen(
        [os.path.join(BUILD, "halibutd"), "-c", node.conf],
        stdin=subprocess.DEVNULL, stderr=theirs)
    said = b""

    def listens():
        nonlocal said
        said += os.read(ours, 4096)
        return b"listening on" in said
    until(listens, "it says that it listens")
    assert re.match(rb"\d{4}-\d\d-\d\dT[0-9:.]+Z (info|debug) +master: ",
                    said), said
    process.kill()
    process.wait(PATIENCE)
    os.close(ours)
    os.close(theirs)


def test_levels_change_while_it_runs_in_all_processes():
    node = Node()
    assert set(levels(node, "--levels").values()) == {"debug"}
    got = levels(node, "--level", "warning", "--level", "queues=error")
    assert got.pop("queues") == "error"
    assert set(got.values()) == {"warning"}, got
    mark = len(node.log())
    poller = Poller(node, "poll://quiet/")
    node.wait_idle_poller("poll://quiet/")
    assert "polls for" not in node.log()[mark:]
    assert levels(node, "--level", "connections=info")["connections"] == "info"
    # The order to the worker went out before the answer; what follows on the
    # same channel comes after it.
    second = Poller(node, "poll://loud/")
    node.wait_idle_poller("poll://loud/")
    node.wait_log("polls for poll://loud/", mark)
    node.write_conf('log_levels = {"redis=error"}\n')
    ctl("reload", "--socket", node.control, check=True)
    got = levels(node, "--levels")
    assert got.pop("redis") == "error" and set(got.values()) == {"debug"}, got
    done = ctl("log", "--socket", node.control, "--level", "rediss=debug")
    assert done.returncode == 1 and b"rediss=debug" in done.stderr, done
    poller.close()
    second.close()
    node.stop()


def test_a_wrong_level_in_the_file_is_refused_with_its_line():
    node = Node()
    node.write_conf('log_levels = {"redis"}\n')
    done = ctl("reload", "--socket", node.control)
    assert done.returncode == 1, done
    assert re.search(rb'halibutd.conf:\d+: .*redis', done.stderr), done
    node.stop()


def test_a_renamed_log_file_is_opened_again_by_all_processes():
    # The harness reads log_path, which standard error leads to as well.
    node = Node()
    node.stop()
    path = os.path.join(node.dir, "halibutd.log")
    node.write_conf(f'log_file = "{path}"\n')
    with open(node.log_path, "wb") as err:
        node.process = subprocess.Popen(
            [os.path.join(BUILD, "halibutd"), "-c", node.conf],
            stdin=subprocess.DEVNULL, stdout=err, stderr=err)
    console, node.log_path = node.log_path, path
    until(lambda: os.path.exists(path), "there is a log file")
    node.port = int(node.wait_log(
        r"listening on 127\.0\.0\.1:(\d+)").group(1))
    until(node.workers_are_ready, "workers are ready")
    assert os.stat(path).st_mode & 0o777 == 0o640
    os.rename(path, path + ".1")
    node.process.send_signal(signal.SIGUSR1)
    until(lambda: os.path.exists(path), "there is another log file")
    node.wait_log("log opened again")
    poller = Poller(node, "poll://tentacle/")
    node.wait_idle_poller("poll://tentacle/")
    node.wait_log("polls for poll://tentacle/")
    with open(path + ".1") as f:
        assert "polls for" not in f.read()
    for pid in node.pids():
        assert os.readlink(f"/proc/{pid}/fd/2") == path
    poller.close()
    node.stop()
    with open(console) as f:
        assert f.read() == ""


def test_a_log_file_that_cannot_be_opened_ends_the_start():
    node = Node()
    node.stop()
    node.write_conf('log_file = "/nowhere/halibutd.log"\n')
    done = subprocess.run([os.path.join(BUILD, "halibutd"), "-c", node.conf],
                          capture_output=True, timeout=PATIENCE)
    assert done.returncode == 1, done
    assert b"log_file /nowhere/halibutd.log cannot be opened" in done.stderr


def test_halibutctl_follows_the_lines_of_all_processes():
    node = Node()
    follower = subprocess.Popen(
        [os.path.join(BUILD, "halibutctl"), "log", "--json", "--socket",
         node.control], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    heard = []
    # Once a line of a worker is heard, it was told to send them.
    names = iter(range(10 ** 6))
    pollers = []

    def hear_worker():
        pollers.append(Poller(node, f"poll://tentacle-{next(names)}/"))
        line = json.loads(follower.stdout.readline())
        heard.append(line)
        return line["process"].startswith("worker")
    until(hear_worker, "a worker's line is heard")
    assert heard[-1]["time"] and heard[-1]["message"], heard
    follower.terminate()
    follower.wait(PATIENCE)
    follower.stdout.close()
    # Nobody follows: workers keep their lines to themselves again.
    assert node.status()["workers"]
    for p in pollers:
        p.close()
    node.stop()


def test_a_thousand_refusals_are_one_line_a_reason():
    node = Node()
    levels(node, "--level", "info")
    for _ in range(20):
        try:
            peer = Peer(node, "stranger")
            peer.send(hw.PREAMBLE)
            peer.fill()
        except (Closed, OSError):
            pass
    node.wait_log("connection_refused")
    lines = [o for o in objects(node.log())
             if o.get("event") == "connection_refused"]
    assert len(lines) == 1, lines
    assert lines[0]["thumbprint"] == Certificate.get("stranger").thumbprint
    assert lines[0]["peer"].startswith("127.0.0.1:"), lines
    assert lines[0]["process"] == "master", lines
    assert lines[0]["remedy"] == "halibutctl trust add " + \
        Certificate.get("stranger").thumbprint, lines
    node.stop()


def test_an_outage_is_two_lines():
    port = free_port()
    service = Certificate.get("service")
    node = Node(f"""
route "away.example.test" {{
    to = "https://127.0.0.1:{port}"
    thumbprint = "{service.thumbprint}"
}}
retry_count_limit = 3
retry_sleep_interval = 10ms
""", workers=1)
    levels(node, "--level", "info")
    for _ in range(5):
        done = node.call("https://away.example.test", "IEchoService",
                         "SayHello", '"x"')
        assert done.returncode == 3, done
    back = subprocess.Popen(
        [os.path.join(BUILD, "examples/service"), "--cert", service.path,
         "--listen", f"127.0.0.1:{port}", "--trust",
         node.certificate.thumbprint], stdout=subprocess.PIPE)
    back.stdout.readline()
    for _ in range(3):
        done = node.call("https://away.example.test", "IEchoService",
                         "SayHello", '"x"')
        assert done.returncode == 0, done
    back.kill()
    back.wait(PATIENCE)
    back.stdout.close()
    lines = [o for o in objects(node.log())
             if o.get("event", "").startswith("dialling_")]
    assert [o["event"] for o in lines] == ["dialling_failed",
                                           "dialling_works"], lines
    assert "and 15 failures" in lines[1]["message"], lines
    assert not [o for o in objects(node.log())
                if "attempt" in o["message"] and o["level"] != "debug"]
    node.stop()


def test_changes_are_audited_with_who_made_them():
    node = Node()
    levels(node, "--level", "error")
    peer, stranger = (Certificate.get(n).thumbprint
                      for n in ("peer", "stranger"))
    node.write_trust([stranger])
    ctl("reload", "--socket", node.control, check=True)
    lines = [o for o in objects(node.log()) if "event" in o]
    by = {o["event"]: o for o in lines}
    assert by["trust_removed"]["thumbprint"] == peer, lines
    assert by["trust_added"]["thumbprint"] == stranger, lines
    me = rf"control client \d+ \(pid \d+, uid {os.getuid()}\)"
    for event in ("log_level", "reload", "trust_added", "trust_removed"):
        assert re.fullmatch(me, by[event]["peer"]), by[event]
    node.write_conf("nonsense = 1\n")
    ctl("reload", "--socket", node.control)
    assert '"event":"reload_refused"' in node.log()
    node.stop()
    assert '"event":"stop"' in node.log()


def test_calls_are_audited_without_their_parameters():
    node = Node()
    path = os.path.join(node.dir, "audit")
    node.stop()
    node = Node(f'audit_log = "{path}"\naudit_calls = yes\n')
    poller = Poller(node, "poll://tentacle/")
    node.wait_idle_poller("poll://tentacle/")
    poller.serve(echo_first)
    client = Client(node)
    client.call("poll://tentacle/", "IEchoService", "SayHello", "secret-word")
    client.call("https://nowhere.example.test", "IEchoService", "SayHello", 1)
    client.close()
    poller.close()
    node.stop()
    with open(path) as f:
        text = f.read()
    assert "secret-word" not in text
    calls = [o for o in objects(text) if o["event"] == "call"]
    assert len(calls) == 2, text
    assert "SayHello of IEchoService at poll://tentacle/: answered" in \
        calls[0]["message"], calls
    assert calls[0]["peer"].endswith(Certificate.get("peer").thumbprint)
    assert calls[0]["endpoint"] == "poll://tentacle/", calls
    assert "failed" in calls[1]["message"], calls
    assert "route" in calls[1]["reason"], calls
    assert "stop" in [o["event"] for o in objects(text)]


def test_what_audit_log_does_not_take_is_among_the_others():
    node = Node('audit_log = "/dev/full"\n')
    levels(node, "--level", "error")
    ctl("reload", "--socket", node.control, check=True)
    lines = [o for o in objects(node.log()) if o.get("event") == "reload"]
    assert len(lines) == 1 and lines[0]["peer"], lines
    lost = [o for o in objects(node.log()) if o.get("event") == "audit_lost"]
    assert lost and "No space" in lost[0]["reason"], lost
    node.stop()


if __name__ == "__main__":
    main([v for k, v in list(globals().items()) if k.startswith("test_")])
