"""Starts a program with sockets that listen already, as systemd does."""
import fcntl
import os
import subprocess


def popen(command, sockets, env=None, **more):
    env = {**(os.environ if env is None else env),
           "LISTEN_FDS": str(len(sockets))}
    # The shell's pid is the one that exec keeps. Descriptors from 3 on are
    # copied from where nothing of Python's is in the way.
    high = [fcntl.fcntl(s.fileno(), fcntl.F_DUPFD, 200) for s in sockets]
    moves = " ".join(f"{3 + i}<&{fd} {fd}<&-" for i, fd in enumerate(high))
    try:
        return subprocess.Popen(
            ["bash", "-c", f'LISTEN_PID=$$ exec "$@" {moves}', "sh",
             *command], env=env, pass_fds=high, **more)
    finally:
        for fd in high:
            os.close(fd)
