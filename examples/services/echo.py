#!/usr/bin/env python3
"""A service program in Python 3: IEchoService. Copy serve() and write methods
of your own. The protocol is described in halibut-service(7).

In halibutd.conf:

    service IEchoService {
        command = "python3 /usr/share/halibut/services/echo.py"
    }
"""
import json
import os
import sys


class EchoService:
    def SayHello(self, call, name):
        return f"Hello, {name}!"

    def CountBytes(self, call, stream):
        # A DataStream is a file, here until the call is answered.
        return os.path.getsize(stream["$dataStream"]["path"])

    def Reverse(self, call, stream):
        # A DataStream to answer with is a file, too: best in the call's own
        # directory, where it is removed when it was sent.
        result = os.path.join(call["directory"], "reversed")
        with open(stream["$dataStream"]["path"], "rb") as source, \
                open(result, "wb") as target:
            left = source.seek(0, os.SEEK_END)
            while left > 0:
                n = min(left, 1 << 20)
                left -= n
                source.seek(left)
                target.write(source.read(n)[::-1])
        return {"$dataStream": {"path": result}}

    def Crash(self, call):
        # Any exception becomes an error at the caller, with its traceback.
        raise ZeroDivisionError("Attempted to divide by zero.")


def answer(service, call):
    """One request to one answer."""
    # Halibut matches names without case, and so should a service.
    methods = {name.lower(): getattr(service, name) for name in dir(service)
               if not name.startswith("_")}
    method = methods.get(call["method"].lower())
    if method is None:
        return {"error": {
            "code": -32601,
            "message": f"Method {call['service']}::{call['method']} "
                       "not found"}}
    try:
        return {"result": method(call, *call["params"])}
    except Exception as e:
        import traceback
        return {"error": {"code": -32000, "message": str(e) or repr(e),
                          "data": traceback.format_exc()}}


def serve(service):
    # What is printed by mistake must not stand between two answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        call = json.loads(line)
        reply = {"jsonrpc": "2.0", "id": call["id"]}
        reply.update(answer(service, call))
        answers.write(json.dumps(reply) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve(EchoService())
