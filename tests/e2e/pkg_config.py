#!/usr/bin/env python3
"""The installed library is found with pkg-config: the examples are compiled
against it as a user would, and speak to one another.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

SRC = os.path.abspath(os.environ.get(
    "top_srcdir", os.path.join(os.path.dirname(__file__), "../..")))
BUILD = os.path.abspath(os.environ.get("top_builddir", SRC))
PATIENCE = 120


def setting(name):
    """A variable of the build's Makefile."""
    with open(os.path.join(BUILD, "Makefile")) as f:
        return re.search(rf"^{name} = *(.*)$", f.read(), re.M).group(1)


def run(*args, **kw):
    done = subprocess.run(args, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True,
                          timeout=PATIENCE, **kw)
    assert done.returncode == 0, f"{args}:\n{done.stdout}"
    return done.stdout


def main():
    work = tempfile.mkdtemp(prefix="halibut-install-")
    service = None
    try:
        env = {k: v for k, v in os.environ.items()
               if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
        run("make", "-C", BUILD, "install-libLTLIBRARIES",
            "install-halibutincludeHEADERS", "install-pkgconfigDATA",
            "DESTDIR=" + work, env=env)
        prefix = work + setting("prefix")
        libdir = prefix + "/lib"
        env.update(PKG_CONFIG_PATH=libdir + "/pkgconfig",
                   LD_LIBRARY_PATH=libdir)
        flags = run("pkg-config", "--define-variable=prefix=" + prefix,
                    "--cflags", "--libs", "halibut", env=env).split()
        # A sanitizer build needs its runtime in the program, too.
        flags += setting("SAN_FLAGS").split()
        for name, more in (("client", []), ("service", ["-levent_core"])):
            run(*setting("CC").split(), "-o", os.path.join(work, name),
                os.path.join(SRC, "examples", name + ".c"), *flags, *more)
        prints = {}
        for name in ("client", "service"):
            pem = os.path.join(work, name + ".pem")
            out = run(os.path.join(BUILD, "halibutctl"), "cert", "new",
                      "--out", pem)
            prints[name] = out.strip().splitlines()[-1]
        service = subprocess.Popen(
            [os.path.join(work, "service"), "--cert", work + "/service.pem",
             "--listen", "127.0.0.1:0", "--trust", prints["client"]],
            stdout=subprocess.PIPE, text=True, env=env)
        url = service.stdout.readline().split()[-1]
        out = run(os.path.join(work, "client"), "--cert",
                  work + "/client.pem", "--thumbprint", prints["service"],
                  url, env=env)
        assert "Hello, World!" in out, out
        return 0
    finally:
        if service is not None:
            service.terminate()
            service.wait(PATIENCE)
        shutil.rmtree(work, True)


if __name__ == "__main__":
    print("1..1", flush=True)
    name = "1 - programs are built with pkg-config against what is installed"
    try:
        main()
        print("ok", name)
    except Exception as e:
        for line in f"{type(e).__name__}: {e}".splitlines():
            print("#", line)
        print("not ok", name)
        sys.exit(1)
