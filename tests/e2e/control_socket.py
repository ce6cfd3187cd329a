#!/usr/bin/env python3
"""Whoever may connect to the control socket, and means no good: the gateway
goes on, in bounds, and hears others.
"""
import itertools
import os
import socket
import struct

import halibut_wire as hw
from gateway import Node, PATIENCE, ctl, main, sanitized, until

FLAGS = {"memfd": 1, "fd": 2, "followed": 4}
TRUSTED = 2000  # a third of a MiB when shown


def connect(node, hello=True):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.connect(node.control)  # waits its turn if need be
    sock.settimeout(PATIENCE)
    channel = hw.Channel(sock)
    if hello:
        w = hw.Writer()
        w.u32(1).u8(3).u32(os.getpid()).text("test")
        channel.send("HELLO", 0, w)
    return channel


def ask(channel, number, path):
    channel.send("DOCUMENT_ASK", number, hw.Writer().text(path))


def answer(channel):
    frame = channel.receive(PATIENCE)
    assert frame is not None, "hung up"
    assert frame.type == "DOCUMENT", frame
    r = frame.reader()
    return frame.id, r.u16(), r.text()


def answer_behind_lines(channel):
    """The same, of who follows the log as well."""
    while True:
        frame = channel.receive(PATIENCE)
        assert frame is not None, "hung up"
        if frame.type != "LOG_LINE":
            return frame.id, frame.type


def is_closed(channel):
    try:
        while channel.sock.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


def is_well(node):
    assert ctl("status", "--socket", node.control).returncode == 0
    assert node.process.poll() is None


def shared_memory():
    """Of the machine, where the kernel keeps what nobody has read; in MiB."""
    with open("/proc/meminfo") as f:
        line, = (l for l in f if l.startswith("Shmem:"))
    return int(line.split()[1]) // 1024


def resident(pid):
    with open(f"/proc/{pid}/status") as f:
        line, = (l for l in f if l.startswith("VmRSS:"))
    return int(line.split()[1]) // 1024


def node_that_has_much_to_say():
    node = Node()
    node.write_trust([f"{n:040X}" for n in range(TRUSTED)])
    ctl("reload", "--socket", node.control, check=True)
    return node


def who_floods_questions_and_reads_nothing_bloats_nobody():
    node = node_that_has_much_to_say()
    before = {p: resident(p) for p in node.pids()}
    shared = shared_memory()
    clients = [connect(node) for _ in range(6)]
    asked = []
    for c in clients:
        c.sock.setblocking(False)
        n = 0
        try:
            while n < 2000:
                ask(c, n, "/trustz?limit=10000")
                n += 1
        except BlockingIOError:
            pass
        asked.append(n)
        c.sock.settimeout(PATIENCE)
    is_well(node)
    # What was asked before is answered before what is asked now.
    last = connect(node)
    for n in range(8):
        ask(last, n, "/trustz?limit=10000")
        assert answer(last)[:2] == (n, 200)
    grown = {p: resident(p) - before[p] for p in node.pids()}
    assert sanitized() or max(grown.values()) < 100, grown
    assert shared_memory() - shared < 150, (shared, shared_memory(), asked)
    # Who reads gets what he asked for, four at a time.
    assert min(asked) > 100, asked
    answers = [answer(clients[0])[:2] for _ in range(40)]
    assert {status for _, status in answers} == {200}, answers
    numbers = {n for n, _ in answers}
    assert len(numbers) == 40 and max(numbers) < 44, answers
    for c in clients:
        c.close()
    last.close()
    assert node.stop() == 0


def who_goes_in_the_middle_of_a_document_leaves_nothing_behind():
    node = node_that_has_much_to_say()
    is_well(node)
    before = node.descriptors()
    for n in range(30):
        c = connect(node)
        for i in range(n % 6):
            ask(c, i, "/trustz?limit=10000")
        if n % 3 == 0:
            answer(c) if n % 6 else None
        c.close()
    until(lambda: node.descriptors() <= before,
          "as many descriptors as before")
    is_well(node)
    assert node.stop() == 0


def many_clients_at_once_keep_nobody_out():
    node = Node()
    silent = [connect(node) for _ in range(100)]
    is_well(node)
    for c in silent:
        ask(c, 1, "/varz")
    assert {answer(c)[1] for c in silent} == {200}
    more = [connect(node, hello=False) for _ in range(40)]
    node.wait_log("control clients of uid [0-9]+ are refused")
    for c in more + silent:
        c.close()
    until(lambda: ctl("status", "--socket", node.control).returncode == 0,
          "others come in again")
    assert node.stop() == 0


def who_follows_the_log_again_and_again_takes_one_place():
    node = Node()
    greedy, other = connect(node), connect(node)
    for n in range(100):
        greedy.send("LOG_FOLLOW", n)
    other.send("LOG_FOLLOW", 7)
    ask(other, 8, "/livez")
    assert answer_behind_lines(other) == (8, "DOCUMENT")
    node.call("https://nobody.test/", "I", "M")  # that is worth a line
    for channel, n in ((greedy, 99), (other, 7)):
        until(lambda: channel.receive(PATIENCE).id == n,
              "lines come under its last number")
        channel.close()
    assert node.stop() == 0


def call(channel, number, uri):
    w = hw.Writer().u8(1)  # to be routed
    w.text(uri).text(None).text(None).text(None).u8(3)
    document = hw.request("I", "M", [number], endpoint=hw.endpoint(uri))
    channel.send("CALL", number, hw.put_parcel(w, document))


def waiting(node, uri):
    return (node.subscription(uri) or {"waiting": 0})["waiting"]


def calls_of_one_client_are_bounded_and_end_with_it():
    node = Node()
    c = connect(node)
    c.sock.setblocking(False)
    numbers = itertools.count()

    def ask_more():
        """As many as it takes, which are more and more."""
        try:
            while True:
                call(c, next(numbers), "poll://nobody/")
        except BlockingIOError:
            return waiting(node, "poll://nobody/") >= 256
    until(ask_more, "256 are there")
    ask_more()
    other = connect(node)
    call(other, 1, "poll://nobody/")
    until(lambda: waiting(node, "poll://nobody/") == 257, "others may, too")
    assert next(numbers) > 256
    c.close()
    until(lambda: waiting(node, "poll://nobody/") == 1, "they went with him")
    other.close()
    until(lambda: waiting(node, "poll://nobody/") == 0, "that one, too")
    is_well(node)
    assert node.stop() == 0


def frame(flags=(), body=b"", magic=0x148, kind="DOCUMENT_ASK", length=0):
    return struct.pack("<HHIHH", magic, hw.IPC[kind], 1,
                       sum(FLAGS[f] for f in flags), length) + body


def lies():
    """(bytes, descriptors) that are no frame, or none that a client says."""
    good = frame(body=struct.pack("<I", 5) + b"/varz")
    yield from ((good[:n], 0) for n in range(1, 12))
    yield frame(magic=0x248), 0
    yield frame(["memfd"], struct.pack("<Q", 10)), 0
    yield frame(["memfd"], struct.pack("<Q", 10)), 1
    yield frame(["memfd"], struct.pack("<Q", 1 << 62)), 1
    yield frame(["memfd"]), 1
    yield frame(["fd"]), 0
    yield frame(["fd"]), 2
    yield frame(["followed"], b"x", length=100), 0
    yield frame(["followed", "fd"], b"x", length=1), 1
    yield frame(length=7), 0
    yield frame(body=b"x" * 40000), 0
    yield frame(kind="ROWS_ASK"), 0  # a worker says that
    yield frame(kind="CALL", body=b"\1"), 0
    yield frame(kind="CALL", body=b"\xff" * 200), 0
    yield frame(kind="KICK", body=b"\1\2"), 0
    yield frame(kind="HELLO"), 0


def half_frames_and_lies_end_one_client_alone():
    node = Node()
    other = connect(node)
    before = node.descriptors()
    for packet, n_fds in lies():
        for hello in (True, False):
            c = connect(node, hello)
            fds = [os.memfd_create("lie") for _ in range(n_fds)]
            socket.send_fds(c.sock, [packet], fds)
            for fd in fds:
                os.close(fd)
            assert is_closed(c), packet
            c.close()
    ask(other, 1, "/varz")
    assert answer(other)[1] == 200
    other.close()
    until(lambda: node.descriptors() <= before,
          "as many descriptors as before")
    is_well(node)
    assert node.stop() == 0


if __name__ == "__main__":
    main([who_floods_questions_and_reads_nothing_bloats_nobody,
          who_goes_in_the_middle_of_a_document_leaves_nothing_behind,
          many_clients_at_once_keep_nobody_out,
          who_follows_the_log_again_and_again_takes_one_place,
          calls_of_one_client_are_bounded_and_end_with_it,
          half_frames_and_lies_end_one_client_alone])
