#!/usr/bin/env python3
"""halibutctl steers a gateway of real processes: whom it trusts, and what the
operator is told.
"""
import json
import os
import re
import threading

from gateway import SRC, Certificate, Client, Closed, Node, Poller, ctl
from gateway import echo_first, main, until


os.umask(0o077)  # configurations with passwords are for their owner only


def thumbprint(name):
    return Certificate.get(name).thumbprint


def order(node, *args, code=0):
    """Runs a command against the node: what it printed."""
    done = ctl(*args, "--socket", node.control)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == code, (args, done.returncode, said)
    return said


def is_let_in(node, certificate):
    try:
        Client(node, certificate=certificate).close()
        return True
    except (Closed, OSError):
        return False


def wait_closed(poller):
    try:
        while True:
            poller.take()  # null messages of the time before
    except Closed:
        pass


def by_hand(node):
    with open(os.path.join(node.dir, "trusted-by-hand")) as f:
        return f.read()


def events(node):
    """The lines of the log, which is JSON where there is no terminal."""
    return [json.loads(line) for line in node.log().splitlines()
            if line.startswith("{")]


def restart(node):
    assert node.stop() == 0
    after = len(node.log())
    with open(node.log_path, "ab") as log:
        node.process = node.start(log, None, None)
    node.port = int(node.wait_log(
        r"listening on 127\.0\.0\.1:(\d+)", after).group(1))
    until(node.workers_are_ready, "workers are ready")


def test_trust_that_is_given_by_hand_holds_at_once_and_after_a_restart():
    node = Node()
    assert not is_let_in(node, "newcomer")
    said = order(node, "trust", "add", thumbprint("newcomer"), "--comment",
                 "web1, ticket 4711")
    assert "trusted-by-hand" in said, said
    assert is_let_in(node, "newcomer")
    assert f"{thumbprint('newcomer')}  # web1, ticket 4711\n" in by_hand(node)
    restart(node)
    assert is_let_in(node, "newcomer")
    added = [e for e in events(node) if e.get("event") == "trust_added"]
    assert [e["thumbprint"] for e in added] == [thumbprint("newcomer")]
    assert "control client" in added[0]["peer"]
    node.stop()


def test_without_a_comment_the_file_says_when_and_by_whom():
    node = Node()
    order(node, "trust", "add", thumbprint("newcomer"))
    assert re.search(r"  # added \d{4}-\d\d-\d\d by uid %d\n" % os.getuid(),
                     by_hand(node)), by_hand(node)
    node.stop()


def test_trust_that_is_removed_ends_that_peer_only_at_once():
    node = Node()
    order(node, "trust", "add", thumbprint("newcomer"))
    leaving = Poller(node, "poll://leaving/", certificate="newcomer")
    staying = Poller(node, "poll://staying/")
    staying.serve(echo_first)
    node.wait_idle_poller("poll://leaving/")
    node.wait_idle_poller("poll://staying/")
    order(node, "trust", "remove", thumbprint("newcomer"))
    wait_closed(leaving)
    assert not is_let_in(node, "newcomer")
    assert thumbprint("newcomer") not in by_hand(node)
    done = node.call("poll://staying/", "IEchoService", "Echo", '"still"')
    assert done.stdout == b'"still"\n', done
    node.stop()


def test_what_the_configuration_trusts_is_not_removed_by_hand():
    node = Node()
    said = order(node, "trust", "remove", thumbprint("peer"), code=1)
    assert "line 1 of " + node.trust_file in said and "reload" in said, said
    assert is_let_in(node, "peer")
    said = order(node, "trust", "add", thumbprint("peer"))
    assert "already" in said and node.trust_file in said
    node.write_conf(f'trust = {{"{thumbprint("newcomer")}"}}\n')
    order(node, "reload")
    said = order(node, "trust", "remove", thumbprint("newcomer"), code=1)
    assert "the setting trust of " + node.conf in said, said
    node.stop()


def test_the_file_may_be_written_by_others_and_is_read_on_reload():
    node = Node()
    path = os.path.join(node.dir, "trusted-by-hand")
    with open(path, "w") as f:
        f.write(f"# of the configuration management\n"
                f"{thumbprint('newcomer')}  # web1\n")
    assert not is_let_in(node, "newcomer")
    order(node, "reload")
    assert is_let_in(node, "newcomer")
    order(node, "trust", "add", thumbprint("other"))
    assert by_hand(node).startswith("# of the configuration management\n")
    # A mistake in it is told with its line, and changes nothing.
    with open(path, "a") as f:
        f.write("nonsense\n")
    before = by_hand(node)
    said = order(node, "trust", "remove", thumbprint("other"), code=1)
    assert f"{path}:4: " in said, said
    assert by_hand(node) == before and is_let_in(node, "other")
    node.stop()


def test_without_a_file_the_command_says_where_trust_is_given():
    node = Node('trust_added_file = ""\n')
    said = order(node, "trust", "add", thumbprint("newcomer"), code=1)
    assert "trust_added_file" in said and node.trust_file in said, said
    assert not is_let_in(node, "newcomer")
    node.stop()


def test_a_file_that_cannot_be_written_changes_nothing_and_says_so():
    node = Node('trust_added_file = "/proc/halibut/trusted"\n')
    said = order(node, "trust", "add", thumbprint("newcomer"), code=1)
    assert "/proc/halibut/trusted cannot be written" in said, said
    assert not is_let_in(node, "newcomer")
    node.stop()


def test_orders_answer_in_json_as_well():
    node = Node()
    done = json.loads(order(node, "trust", "add", thumbprint("newcomer"),
                            "--json"))
    assert done["ok"] is True and thumbprint("newcomer") in done["message"]
    done = json.loads(order(node, "trust", "remove", thumbprint("peer"),
                            "--json", code=1))
    assert done["ok"] is False and node.trust_file in done["message"]
    assert json.loads(order(node, "reload", "--json"))["ok"] is True
    node.stop()


def test_kick_closes_the_connections_that_are_named_and_no_other():
    node = Node(trust=("peer", "other"))
    leaving = [Poller(node, "poll://leaving/") for _ in range(3)]
    other = Poller(node, "poll://other/", certificate="other")
    staying = Poller(node, "poll://staying/")
    staying.serve(echo_first)
    for uri, n in (("leaving", 3), ("other", 1), ("staying", 1)):
        node.wait_idle_poller(f"poll://{uri}/", n)
    said = order(node, "kick", "--subscription", "poll://leaving")
    assert said == "3 connections of poll://leaving/ closed\n", said
    for poller in leaving:
        wait_closed(poller)
    said = order(node, "kick", "--thumbprint", thumbprint("other").lower())
    assert "1 connection of " + thumbprint("other") in said, said
    wait_closed(other)
    done = node.call("poll://staying/", "IEchoService", "Echo", '"still"')
    assert done.stdout == b'"still"\n', done
    kicks = [e for e in events(node) if e.get("event") == "kick"]
    assert [e.get("endpoint") for e in kicks] == ["poll://leaving/", None]
    assert kicks[1]["thumbprint"] == thumbprint("other")
    assert all("control client" in e["peer"] for e in kicks), kicks
    node.stop()


def test_what_a_kicked_connection_carries_fails_with_the_reason():
    node = Node()
    poller = Poller(node, "poll://busy/")
    node.wait_idle_poller("poll://busy/")
    call = threading.Thread(target=lambda: answers.append(
        node.call("poll://busy/", "IEchoService", "Echo", "1")))
    answers = []
    call.start()
    poller.take()
    order(node, "kick", "--subscription", "poll://busy/")
    call.join()
    assert answers[0].returncode == 9, answers
    assert b"halibutctl kick" in answers[0].stderr, answers
    node.stop()


def test_levels_of_the_log_are_json_as_well():
    node = Node()
    done = json.loads(order(node, "log", "--level", "redis=error", "--json"))
    assert done["ok"] is True and "redis=error" in done["levels"], done
    plain = order(node, "log", "--levels").split()
    assert plain == done["levels"]
    done = json.loads(order(node, "log", "--level", "loud", "--json", code=1))
    assert done["ok"] is False and "loud" in done["message"]
    node.stop()


def test_to_kick_nobody_is_refused():
    node = Node()
    for args in (("0-4711",), ("9-1",), ("--subscription", "poll://none/"),
                 ("--thumbprint", thumbprint("other"))):
        said = order(node, "kick", *args, code=1)
        assert "there is no open connection" in said, said
    for args in (("17",), ("0-x",), ("--thumbprint", "12"), (),
                 ("0-1", "0-2"), ("0-1", "--subscription", "poll://x/")):
        order(node, "kick", *args, code=2)
    said = order(node, "kick", "--subscription", "what", code=1)
    assert "no subscription" in said
    node.stop()


CONFIG = """
polling_request_queue_timeout = 90s
max_message_size = 64MiB
workers = 1
friendly_headers = {"X-A: it's", 'X-B: "b" $HOME'}
certificate_password = 'hush-1'
endpoint "https://deploy.internal:10933" {
    thumbprint = "8A7D5BC0F0F4B4A7A3C1E2D3F4A5B6C7D8E9F0A1"
    proxy = "proxy.example.com:3128"
    proxy_user = "halibut"
    proxy_password = 'hush-2'
}
route "*.poll.example.com" {
    to = "poll://{label}/"
}
service "IEchoService" {
    command = "/bin/cat"
    timeout = 5min
}
queue "queue://worker-1/" {
}
poll "https://octopus.example.com:10943" {
    thumbprint = "8A7D5BC0F0F4B4A7A3C1E2D3F4A5B6C7D8E9F0A1"
    subscription = "poll://gateway-1/"
}
redis {
    url = "redis://u:hush-3@127.0.0.1:1/0"
    key_prefix = "p"
}
"""


def shown_settings(doc):
    return {s["name"]: s for s in doc["settings"]}


def test_the_configuration_in_force_is_shown_without_its_secrets():
    node = Node(CONFIG)
    text = order(node, "config", "show")
    as_json = order(node, "config", "show", "--json")
    assert "hush" not in text and "hush" not in as_json
    doc = json.loads(as_json)
    assert doc["file"] == node.conf
    settings = shown_settings(doc)
    assert settings["polling_request_queue_timeout"]["value"] == "90s"
    assert settings["polling_request_queue_timeout"]["default"] is False
    assert settings["handshake_timeout"] == {
        "name": "handshake_timeout", "value": "1min", "default": True,
        "secret": False}
    assert settings["listen"]["value"] == ["127.0.0.1:0"]
    assert settings["certificate_password"]["secret"] is True
    titles = [(s["section"], s["title"]) for s in doc["sections"]]
    assert titles == [
        ("endpoint", "https://deploy.internal:10933"),
        ("route", "*.poll.example.com"), ("service", "IEchoService"),
        ("queue", "queue://worker-1/"),
        ("poll", "https://octopus.example.com:10943/"), ("redis", None)]
    assert '\nmax_message_size = 64MiB\n' in text, text
    assert '\n#handshake_timeout = 1min\n' in text
    assert '    #proxy_password = (hidden)\n' in text
    assert '127.0.0.1:1' in text  # of Redis, without its password
    node.stop()


def test_what_is_shown_is_a_configuration_that_says_the_same():
    node = Node(CONFIG.replace("u:hush-3@", "")
                .replace("certificate_password = 'hush-1'", "")
                .replace("    proxy_password = 'hush-2'\n", ""))
    shown = order(node, "config", "show")
    node.stop()
    again = Node()
    assert again.stop() == 0
    with open(again.conf, "w") as f:
        f.write(shown)
    after = len(again.log())
    with open(again.log_path, "ab") as log:
        again.process = again.start(log, None, None)
    again.control = node.control
    again.wait_log(r"listening on 127\.0\.0\.1:(\d+)", after)
    second = order(again, "config", "show")
    assert (second.replace(again.conf, node.conf) == shown), second
    again.stop()


def test_every_setting_of_the_manual_is_shown():
    node = Node()
    shown = shown_settings(json.loads(order(node, "config", "show", "--json")))
    sample = re.findall(r"^#([a-z0-9_]+) = ",
                        open(os.path.join(SRC, "etc/halibutd.conf")).read(),
                        re.M)
    assert len(sample) > 50
    # Those of sections are indented there.
    assert set(sample) == set(shown), set(sample) ^ set(shown)
    node.stop()


def test_a_configuration_is_checked_without_touching_the_gateway():
    node = Node()
    assert "is right" in order(node, "config", "check")
    assert node.conf in order(node, "config", "check")
    wrong = os.path.join(node.dir, "wrong.conf")
    with open(wrong, "w") as f:
        f.write("workers = 1\nworkerz = 2\n")
    said = order(node, "config", "check", wrong, code=2)
    assert f"{wrong}:2: " in said and "workers" in said, said
    done = json.loads(order(node, "config", "check", wrong, "--json", code=2))
    assert done["file"] == wrong and done["right"] is False
    assert f"{wrong}:2: " in done["message"]
    assert node.status()["reloads"] == 0
    node.stop()


if __name__ == "__main__":
    main([v for k, v in list(globals().items()) if k.startswith("test_")])
