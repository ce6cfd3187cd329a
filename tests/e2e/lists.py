#!/usr/bin/env python3
"""The lists of halibutctl, of a gateway of real processes: as tables, in a
terminal, and as documents.
"""
import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import termios
import threading
import time

from gateway import BUILD, PATIENCE, Certificate, Client, Closed, Node, Poller
from gateway import ctl, echo_first, example_service, main, until


def show(node, *args, code=0):
    done = ctl(*args, "--socket", node.control)
    assert done.returncode == code, (args, done)
    return (done.stdout if code == 0 else done.stderr).decode()


def document(node, *args):
    return json.loads(show(node, *args, "--json"))


def rows(text):
    """{first cell: its row by the heads above}. Cells have two spaces
    between them, and none is empty but at the end of a row."""
    lines = text.splitlines()
    heads = re.split(r"  +", lines[0].strip())
    return {cells[0]: dict(zip(heads, cells)) for cells in
            (re.split(r"  +", line.strip()) for line in lines[1:])}


def node_with_pollers(n=3):
    node = Node()
    for i in range(n):
        Poller(node, f"poll://web{i}/").serve(echo_first)
        node.wait_idle_poller(f"poll://web{i}/")
    return node


def test_subscriptions_are_listed_filtered_and_sorted():
    node = node_with_pollers()
    assert node.call("poll://web1/", "IEcho", "Echo", "1").returncode == 0
    text = show(node, "subscriptions")
    assert set(rows(text)) == {f"poll://web{i}/" for i in range(3)}
    assert rows(text)["poll://web1/"]["CONNS"] == "1"
    text = show(node, "subscriptions", "--where", "uri=*web2*")
    assert set(rows(text)) == {"poll://web2/"}
    text = show(node, "subscriptions", "--sort", "collected", "--limit", "1")
    assert text.splitlines()[1].startswith("poll://web1/"), text
    assert "(1 of 3;" in text
    names = [s["uri"] for s in document(node, "subscriptions", "--sort",
                                        "-uri")["subscriptions"]]
    assert names == ["poll://web2/", "poll://web1/", "poll://web0/"]
    assert "no subscriptions" in show(node, "subscriptions", "--where",
                                      "uri=nothing")
    node.stop()


def test_a_wrong_field_is_answered_with_those_that_there_are():
    node = Node()
    for option in ("--sort", "--where"):
        value = "nonsense" if option == "--sort" else "nonsense=1"
        said = show(node, "subscriptions", option, value, code=1)
        assert "nonsense" in said and "waiting" in said, said
    said = show(node, "subscriptions", "--where", "uri", code=2)
    assert "FIELD=PATTERN" in said
    assert "number" in show(node, "calls", "--limit", "many", code=2)
    node.stop()


def node_with_a_service():
    url, _ = example_service("service", "gateway")
    node = Node(f"""endpoint "{url}" {{
    thumbprint = "{Certificate.get("service").thumbprint}"
}}
""")
    done = node.call(url, "IEchoService", "SayHello", '"you"')
    assert done.returncode == 0, done
    return node, url


def test_connections_are_listed_whoever_dialled():
    node, url = node_with_a_service()
    Poller(node, "poll://web1/").serve(echo_first)
    node.wait_idle_poller("poll://web1/")
    client = Client(node)
    client.call("poll://web1/", "IEcho", "Echo", 1)
    doc = until(lambda: (d := document(node, "connections"))
                and d["total_connections"] == 3 and d, "three connections")
    by_role = {c["role"]: c for c in doc["connections"]}
    assert set(by_role) == {"client", "subscriber", "service"}, by_role
    text = show(node, "connections")
    for role, name in (("subscriber", "poll://web1/"), ("service", url)):
        c = by_role[role]
        row = rows(text)[f"{c['worker']}-{c['id']}"]
        assert row["ROLE"] == role and row["PEER"] == c["peer"]
        assert row["SUBSCRIPTION OR URL"].rstrip("/") == name.rstrip("/"), row
        assert row["THUMBPRINT"] == c["thumbprint"]
    only = document(node, "connections", "--where", "role=client")
    assert only["total_connections"] == 1
    client.close()
    text = until(lambda: (t := show(node, "connections", "--closed"))
                 .startswith("ID") and t, "the client is listed as closed")
    assert "CLOSED BECAUSE" in text and "client" in text, text
    node.stop()


def test_each_connection_can_be_kicked_by_its_id():
    node, url = node_with_a_service()
    Poller(node, "poll://web1/").serve(echo_first)
    node.wait_idle_poller("poll://web1/")

    def listed():
        return document(node, "connections")["connections"]
    for c in until(lambda: len(listed()) == 2 and listed(), "two"):
        said = show(node, "kick", f"{c['worker']}-{c['id']}")
        assert said.startswith("1 connection "), said
        until(lambda: c["id"] not in [o["id"] for o in listed()
                                      if o["worker"] == c["worker"]],
              f"{c} is gone")
    # The service is dialled anew when it is needed.
    done = node.call(url, "IEchoService", "SayHello", '"again"')
    assert done.returncode == 0, done
    node.stop()


def test_calls_in_flight_and_past_ones_are_told_apart():
    node = Node()
    slow = Poller(node, "poll://slow/")
    node.wait_idle_poller("poll://slow/")
    call = threading.Thread(target=node.call, args=(
        "poll://slow/", "ISlow", "Wait", "1"))
    call.start()
    request, _ = slow.take()
    text = show(node, "calls", "--open")
    assert "ISlow" in text and "poll://slow/" in text, text
    assert "secret" not in text
    done = node.call("poll://nobody/", "IGone", "Get", "--timeout", "200ms")
    assert done.returncode == 4
    past = until(lambda: document(node, "calls", "--past")["past_calls"],
                 "the call that failed is listed")
    # Its time to be collected is over when that of the whole call is.
    assert past[0]["error"] in ("ENOT_COLLECTED", "ECONNECTING_CANCELLED"), past
    text = show(node, "calls")
    assert text.index("In flight") < text.index("ISlow") < text.index(
        "Slow or failed") < text.index("IGone"), text
    slow.answer(request, 2)
    call.join()
    until(lambda: "ISlow" not in show(node, "calls", "--open"),
          "the call that was answered is gone")
    assert "no calls in flight" in show(node, "calls", "--open")
    node.stop()


def test_who_was_refused_is_listed_with_the_command_that_trusts_him():
    node = Node()
    assert show(node, "refused") == "nobody was refused\n"
    try:
        Client(node, certificate="stranger")
        raise AssertionError("a stranger was let in")
    except (Closed, OSError):
        pass
    stranger = Certificate.get("stranger").thumbprint
    text = until(lambda: (t := show(node, "refused")).startswith("ADDRESS")
                 and t, "the stranger is listed")
    command = re.search(r"halibutctl (trust add [0-9A-F]{40})", text).group(1)
    assert command.split()[-1] == stranger, text
    # The command does what it promises.
    show(node, *command.split())
    Client(node, certificate="stranger").close()
    node.stop()


def test_trust_is_listed_with_its_source():
    node = Node()
    newcomer = Certificate.get("newcomer").thumbprint
    show(node, "trust", "add", newcomer, "--comment", "web1")
    Poller(node, "poll://web1/", certificate="newcomer").serve(echo_first)
    node.wait_idle_poller("poll://web1/")
    text = show(node, "trust", "list")
    assert rows(text)[Certificate.get("peer").thumbprint]["SOURCE"] == "file"
    assert rows(text)[newcomer] == {
        "THUMBPRINT": newcomer, "SOURCE": "added", "CONNS": "1",
        "LAST SEEN": rows(text)[newcomer]["LAST SEEN"], "COMMENT": "web1"}
    added = document(node, "trust", "list", "--where", "source=added")
    assert [t["thumbprint"] for t in added["trusted"]] == [newcomer]
    node.stop()


def in_terminal(columns, *args):
    """What a command prints in a terminal of that width, until it ends."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ,
                struct.pack("HHHH", 24, columns, 0, 0))
    p = subprocess.Popen([os.path.join(BUILD, "halibutctl"), *args],
                         stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    out = b""
    end = time.monotonic() + PATIENCE
    while True:
        ready = select.select([master], [], [], end - time.monotonic())[0]
        assert ready, out
        try:
            piece = os.read(master, 65536)
        except OSError:
            break
        if not piece:
            break
        out += piece
    os.close(master)
    assert p.wait(PATIENCE) == 0, out
    return out.decode().replace("\r\n", "\n")


def test_a_table_fits_its_terminal_and_is_whole_in_a_file():
    node = Node()
    name = "poll://" + "a-very-long-name-" * 8 + "/"
    Poller(node, name).serve(echo_first)
    node.wait_idle_poller(name)
    for columns in (80, 100, 132):
        text = in_terminal(columns, "subscriptions", "--socket", node.control)
        assert max(map(len, text.splitlines())) <= columns, text
        assert "\u2026" in text and "COLLECTED" in text, text
        assert "REDIS" not in text, text  # a column without anything in it
    assert name in show(node, "subscriptions")
    node.stop()


if __name__ == "__main__":
    main([v for k, v in list(globals().items()) if k.startswith("test_")])
