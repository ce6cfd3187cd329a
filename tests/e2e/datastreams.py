#!/usr/bin/env python3
"""Where DataStreams of queued messages wait: docs/datastreams.md."""
import http.server
import os
import threading

import halibut_wire as hw
from cluster_nodes import Cluster, Redis, has_redis
from gateway import SRC, Client, Poller, echo_first, main, until

EXAMPLES = os.path.join(SRC, "examples/streams")
SIZES = (0, 1, 15, 16, 17, 100000, 5 << 20)


class Bucket(http.server.BaseHTTPRequestHandler):
    """As strict as an object store: a length, or no."""
    objects = {}
    puts = 0

    def do_PUT(self):
        if self.headers["Content-Length"] is None:
            self.send_error(411)
            return
        Bucket.puts += 1
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self.objects[self.path] = data
        self.reply(200)

    def do_GET(self):
        data = self.objects.get(self.path)
        self.reply(404 if data is None else 200, data or b"")

    def do_DELETE(self):
        self.objects.pop(self.path, None)
        self.reply(204)

    def reply(self, status, data=b""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def bucket():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Bucket.objects, Bucket.puts = {}, 0
    return f"http://127.0.0.1:{server.server_port}/bucket"


def key_file(redis):
    path = os.path.join(redis.dir, "queue.key")
    with open(path, "w") as f:
        f.write("correct horse battery staple\n")
    return path


def echo(c, size):
    data = os.urandom(size)
    reply, streams = Client(c.nodes[1]).call("poll://ds/", "IAny", "Echo",
                                             hw.DataStream(data))
    assert reply["error"] is None, reply
    assert list(streams.values()) == [data], size
    return data


def cluster(redis, more):
    c = Cluster(redis=redis, more=more)
    Poller(c.nodes[0], "poll://ds").serve(echo_first)
    c.nodes[0].wait_idle_poller("poll://ds/")
    return c


def test_files_of_a_shared_directory():
    redis = Redis()
    d = os.path.join(redis.dir, "streams")
    os.mkdir(d)
    c = cluster(redis, f'streams = "directory"\nstreams_directory = "{d}"')
    for size in SIZES:
        echo(c, size)
    until(lambda: all(n.startswith(".swept") for n in os.listdir(d)),
          "nothing is left")
    c.stop()


def test_an_object_store_in_ten_lines_of_shell():
    redis = Redis()
    c = cluster(redis, 'streams = "program"\nstreams_command = '
                f'"{EXAMPLES}/object-store {bucket()}"')
    for size in SIZES:
        echo(c, size)
    assert Bucket.puts > 0
    until(lambda: Bucket.objects == {}, "nothing is left")
    c.stop()


def test_an_object_store_that_is_away_fails_the_call_and_says_why():
    redis = Redis()
    c = cluster(redis, 'streams = "program"\nstreams_command = '
                f'"{EXAMPLES}/object-store http://127.0.0.1:1/bucket"')
    reply, _ = Client(c.nodes[1]).call("poll://ds/", "IAny", "Echo",
                                       hw.DataStream(b"x"))
    text = str(reply["error"])
    assert "error occured when preparing request for queue" in text, text
    assert "curl" in text, text
    c.stop()


def test_everything_is_encrypted_outside_the_nodes():
    redis = Redis()
    key = key_file(redis)
    url = bucket()
    c = cluster(redis, f'wrappers = {{"program {EXAMPLES}/encrypt {key}"}}\n'
                'streams = "program"\nstreams_command = '
                f'"{EXAMPLES}/encrypted-store {key} '
                f'{EXAMPLES}/object-store {url}"')
    for size in SIZES:
        echo(c, size)
    until(lambda: Bucket.objects == {}, "nothing is left")
    # What waits for a service that is away can be looked at.
    client = Client(c.nodes[1])
    client.start("poll://away/", "IAny", "Echo",
                 hw.DataStream(b"plain" * 99), "plain words")
    until(lambda: c.redis.keys("*RequestMessage::*"), "it is in Redis")
    stored = c.redis.ask("HGET", c.redis.keys("*RequestMessage::*")[0],
                         "RequestMessageField")
    assert "plain" not in stored and stored.startswith("Salted__"), stored
    assert len(Bucket.objects) == 1
    for data in Bucket.objects.values():
        assert data.startswith(b"Salted__") and b"plain" not in data
    Poller(c.nodes[0], "poll://away").serve(echo_first)
    reply, _ = client.finish()
    assert reply["error"] is None, reply
    c.stop()


def test_nodes_with_different_stores_say_so():
    redis = Redis()
    d = os.path.join(redis.dir, "streams")
    os.mkdir(d)
    c = cluster(redis, "")
    other = Cluster(n=1, redis=redis, more='streams = "directory"\n'
                    f'streams_directory = "{d}"')
    client = Client(other.nodes[0])
    reply, _ = client.call("poll://ds/", "IAny", "Echo", hw.DataStream(b"x"))
    assert reply["error"]["message"] == \
        "Error occured when reading data from the queue", reply
    for part in ('in a store of kind "directory"', 'configured for "redis"'):
        assert part in reply["error"]["details"], reply
    c.nodes.append(other.nodes[0])
    c.stop()


if __name__ == "__main__":
    if not has_redis():
        print("1..0 # SKIP no redis-server here")
    else:
        main([v for k, v in list(globals().items()) if k.startswith("test_")])
