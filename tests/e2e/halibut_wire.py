"""Halibut's formats for tests: BSON documents as .NET writes them, messages,
DataStream sections, and the frames between halibutd's own processes.

Written from the specification alone, not from the C code, so that a mistake
has to be made twice to go unseen.
"""
import array
import os
import re
import select
import socket
import struct
import uuid
import zlib

PREAMBLE = b"MX\n\n"
CLIENT = b"MX-CLIENT 1.0\r\n\r\n"
SERVER = b"MX-SERVER 1.0\r\n\r\n"
NEXT = b"NEXT\r\n"
PROCEED = b"PROCEED\r\n"
END = b"END\r\n"

REQUEST_TYPE = "Halibut.Transport.Protocol.RequestMessage, Halibut"
RESPONSE_TYPE = "Halibut.Transport.Protocol.ResponseMessage, Halibut"
STREAM_TYPE = "Halibut.DataStream, Halibut"


def subscriber(uri):
    return b"MX-SUBSCRIBER 1.0 " + uri.encode() + b"\r\n\r\n"


# BSON. Python ints become int64, Int32 an int32, bytes a binary of subtype 0,
# UUIDs one of subtype 4 in .NET byte order.


class Int32(int):
    pass


class Date(int):
    """Milliseconds since 1970."""


class DataStream:
    """Stands in params or results; its data goes into the section."""

    def __init__(self, data, stream_id=None):
        self.data = data
        self.id = stream_id or uuid.uuid4()

    def document(self):
        return {"$type": STREAM_TYPE, "id": self.id, "length": len(self.data)}


def _element(key, value):
    name = key.encode() + b"\0"
    if isinstance(value, DataStream):
        value = value.document()
    if value is None:
        return b"\x0a" + name
    if isinstance(value, bool):
        return b"\x08" + name + bytes([value])
    if isinstance(value, Date):
        return b"\x09" + name + struct.pack("<q", value)
    if isinstance(value, Int32):
        return b"\x10" + name + struct.pack("<i", value)
    if isinstance(value, int):
        return b"\x12" + name + struct.pack("<q", value)
    if isinstance(value, float):
        return b"\x01" + name + struct.pack("<d", value)
    if isinstance(value, str):
        text = value.encode() + b"\0"
        return b"\x02" + name + struct.pack("<i", len(text)) + text
    if isinstance(value, uuid.UUID):
        return b"\x05" + name + struct.pack("<iB", 16, 4) + value.bytes_le
    if isinstance(value, (bytes, bytearray)):
        return b"\x05" + name + struct.pack("<iB", len(value), 0) + value
    if isinstance(value, dict):
        return b"\x03" + name + bson_encode(value)
    if isinstance(value, (list, tuple)):
        numbered = {str(i): v for i, v in enumerate(value)}
        return b"\x04" + name + bson_encode(numbered)
    raise TypeError(f"no BSON for {type(value)}")


def bson_encode(document):
    body = b"".join(_element(k, v) for k, v in document.items())
    return struct.pack("<i", len(body) + 5) + body + b"\0"


def _cstring(data, at):
    end = data.index(b"\0", at)
    return data[at:end].decode(), end + 1


def _value(kind, data, at):
    if kind == 0x01:
        return struct.unpack_from("<d", data, at)[0], at + 8
    if kind == 0x02:
        n = struct.unpack_from("<i", data, at)[0]
        return data[at + 4:at + 3 + n].decode(), at + 4 + n
    if kind in (0x03, 0x04):
        n = struct.unpack_from("<i", data, at)[0]
        inner = bson_decode(data[at:at + n])
        return (list(inner.values()) if kind == 4 else inner), at + n
    if kind == 0x05:
        n, subtype = struct.unpack_from("<iB", data, at)
        raw = bytes(data[at + 5:at + 5 + n])
        if subtype == 4:
            return uuid.UUID(bytes_le=raw), at + 5 + n
        return raw, at + 5 + n
    if kind == 0x08:
        return data[at] != 0, at + 1
    if kind == 0x09:
        return Date(struct.unpack_from("<q", data, at)[0]), at + 8
    if kind == 0x0A:
        return None, at
    if kind == 0x10:
        return Int32(struct.unpack_from("<i", data, at)[0]), at + 4
    if kind == 0x12:
        return struct.unpack_from("<q", data, at)[0], at + 8
    raise ValueError(f"BSON type {kind:#x} is not one that Halibut writes")


def bson_decode(data):
    length = struct.unpack_from("<i", data)[0]
    if length != len(data) or data[-1] != 0:
        raise ValueError("not a BSON document of this length")
    document, at = {}, 4
    while data[at] != 0:
        kind = data[at]
        key, at = _cstring(data, at + 1)
        document[key], at = _value(kind, data, at)
    if at != length - 1:
        raise ValueError("bytes behind the end of a BSON document")
    return document


def deflate(data):
    z = zlib.compressobj(6, zlib.DEFLATED, -15)
    return z.compress(data) + z.flush()


def inflate(data):
    """The decompressed message and the bytes behind it; None if it is not
    complete yet."""
    z = zlib.decompressobj(-15)
    out = z.decompress(data)
    return (out, z.unused_data) if z.eof else None


# Messages


def request(service, method, params=(), activity=None, endpoint=None):
    activity = activity or uuid.uuid4()
    return {"Message": {
        "$type": REQUEST_TYPE,
        "id": f"{service}::{method}Async[1] / {activity}",
        "activityId": activity,
        "endpoint": endpoint,
        "service": service,
        "method": method,
        "params": list(params),
    }}


def endpoint(uri, thumbprint=None, queue_timeout="00:02:00"):
    return {
        "PollingRequestQueueTimeout": queue_timeout,
        "RetryListeningSleepInterval": "00:00:01",
        "RetryCountLimit": Int32(5),
        "ConnectionErrorRetryTimeout": "00:05:00",
        "TcpClientConnectTimeout": "00:01:00",
        "BaseUri": uri,
        "RemoteThumbprint": thumbprint,
        "Proxy": None,
        "ForceResolveHost": None,
        "IsWebSocketEndpoint": False,
    }


def response(request_id, result=None, error=None):
    return {"Message": {"$type": RESPONSE_TYPE, "id": request_id,
                        "error": error, "result": result}}


def encode_message(document):
    """As it stands on the wire, without its DataStreams."""
    return deflate(bson_encode(document))


def find_streams(value):
    """(id, length) of each DataStream in document order, by its shape."""
    if isinstance(value, DataStream):
        return [(value.id, len(value.data))]
    if isinstance(value, dict):
        keys = [k for k in value if k != "$type"]
        if keys == ["id", "length"] and isinstance(value["id"], uuid.UUID):
            return [(value["id"], value["length"])]
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [s for v in value for s in find_streams(v)]
    return []


def _stream_objects(value):
    if isinstance(value, DataStream):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [s for v in value for s in _stream_objects(v)]
    return []


def encode_section(document):
    """The bytes behind the message: every DataStream in document order."""
    out = b""
    for s in _stream_objects(document):
        length = struct.pack("<q", len(s.data))
        out += s.id.bytes_le + length + s.data + length
    return out


def decode_section(data):
    """{id: data} of a complete section."""
    streams, at = {}, 0
    while at < len(data):
        stream_id = uuid.UUID(bytes_le=bytes(data[at:at + 16]))
        length = struct.unpack_from("<q", data, at + 16)[0]
        end = at + 24 + length
        if struct.unpack_from("<q", data, end)[0] != length:
            raise ValueError("a DataStream's two lengths differ")
        streams[stream_id] = bytes(data[at + 24:end])
        at = end + 8
    return streams


# Fields of frames between our own processes


class Writer:
    def __init__(self):
        self.data = b""

    def u8(self, v):
        self.data += struct.pack("<B", v)
        return self

    def u16(self, v):
        self.data += struct.pack("<H", v)
        return self

    def u32(self, v):
        self.data += struct.pack("<I", v)
        return self

    def u64(self, v):
        self.data += struct.pack("<Q", v & 0xFFFFFFFFFFFFFFFF)
        return self

    def raw(self, v):
        self.data += v
        return self

    def text(self, v):
        if v is None:
            return self.u32(0xFFFFFFFF)
        v = v if isinstance(v, bytes) else v.encode()
        return self.u32(len(v)).raw(v)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def raw(self, n):
        if self.at + n > len(self.data):
            raise ValueError("a frame came up short")
        self.at += n
        return self.data[self.at - n:self.at]

    def u8(self):
        return self.raw(1)[0]

    def u16(self):
        return struct.unpack("<H", self.raw(2))[0]

    def u32(self):
        return struct.unpack("<I", self.raw(4))[0]

    def u64(self):
        return struct.unpack("<Q", self.raw(8))[0]

    def bytes(self):
        n = self.u32()
        return None if n == 0xFFFFFFFF else self.raw(n)

    def text(self):
        raw = self.bytes()
        return None if raw is None else raw.decode()


def put_parcel(w, document):
    m = document["Message"]
    is_request = m["$type"] == REQUEST_TYPE
    refs = find_streams(document)
    activity = m.get("activityId")
    w.u8(1 if is_request else 2).text(m["id"])
    w.u8(activity is not None)
    w.raw(activity.bytes_le if activity else bytes(16))
    target = m.get("endpoint") or {}
    w.text(target.get("BaseUri")).text(target.get("RemoteThumbprint"))
    w.u64(-1)
    w.text(m.get("service")).text(m.get("method"))
    w.u8(m.get("error") is not None)
    w.u32(len(refs))
    for stream_id, length in refs:
        w.raw(stream_id.bytes_le).u64(length)
    w.text(encode_message(document))
    return w


def get_parcel(r):
    """The document, and (id, length) of its streams as the parcel says."""
    r.u8()
    r.text()
    r.u8()
    r.raw(16)
    r.text(), r.text()
    r.u64()
    r.text(), r.text()
    r.u8()
    refs = [(uuid.UUID(bytes_le=bytes(r.raw(16))), r.u64())
            for _ in range(r.u32())]
    document, rest = inflate(r.bytes())
    if rest:
        raise ValueError("bytes behind a message")
    return bson_decode(document), refs


def _enum(header, name):
    """The enumerators of one C enum, so that numbers stand in one place."""
    path = os.path.join(os.environ.get("top_srcdir", "."), header)
    with open(path, encoding="utf-8") as f:
        text = f.read()
    body = re.search(r"enum %s \{(.*?)\};" % name, text, re.S).group(1)
    body = re.sub(r"/\*.*?\*/", "", body, flags=re.S)
    values, n = {}, 0
    for item in filter(None, (i.strip() for i in body.split(","))):
        key, _, number = item.partition("=")
        n = int(number, 0) if number else n
        values[key.strip()] = n
        n += 1
    return values


IPC = {k[len("HBT_IPC_"):]: v
       for k, v in _enum("src/ipc/proto.h", "hbt_ipc_type").items()}
STATUS = {k[len("HALIBUT_"):]: v
          for k, v in _enum("include/halibut/error.h",
                            "halibut_status").items()}
IPC_NAME = {v: k for k, v in IPC.items()}
STATUS_NAME = {v: k for k, v in STATUS.items()}

_MAGIC = ord("H") | 1 << 8
_MEMFD, _FD, _FOLLOWED = 1, 2, 4
_INLINE = 32 * 1024


class Frame:
    def __init__(self, kind, ident, body, fd):
        self.type, self.id, self.body, self.fd = kind, ident, body, fd

    def reader(self):
        return Reader(self.body)

    def __repr__(self):
        return f"{self.type} {self.id} {self.body[:200]!r} fd {self.fd}"


class Channel:
    """One end of a channel between processes."""

    def __init__(self, sock):
        self.sock = sock
        self.packet, self.fds = b"", []  # frames that came with others

    @staticmethod
    def pair():
        """A channel, and the socket for the other process."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return Channel(ours), theirs

    def send(self, kind, ident=0, body=b"", fd=None):
        """Takes fd over."""
        if isinstance(body, Writer):
            body = body.data
        fds, flags = [], 0
        if len(body) > _INLINE:
            flags |= _MEMFD
            memory = os.memfd_create("m", os.MFD_ALLOW_SEALING)
            left = memoryview(body)
            while left:
                left = left[os.write(memory, left):]
            import fcntl
            fcntl.fcntl(memory, 1033, 2 | 4 | 8)  # seal: shrink, grow, write
            fds.append(memory)
            body = struct.pack("<Q", len(body))
        if fd is not None:
            flags |= _FD
            fds.append(fd)
        frame = struct.pack("<HHII", _MAGIC, IPC[kind], ident, flags) + body
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                      array.array("i", fds))] if fds else []
        try:
            self.sock.sendmsg([frame], ancillary)
        finally:
            for f in fds:
                os.close(f)

    def receive(self, timeout=20):
        """The next frame; None at the end."""
        if self.packet:
            return self._next_frame()
        if not select.select([self.sock], [], [], timeout)[0]:
            raise TimeoutError("the other process says nothing")
        data, ancillary, _, _ = self.sock.recvmsg(
            _INLINE + 64, socket.CMSG_SPACE(8), socket.MSG_CMSG_CLOEXEC)
        if not data:
            return None
        fds = array.array("i")
        for level, kind, raw in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(raw[:len(raw) - len(raw) % fds.itemsize])
        self.packet = data
        self.fds = list(fds)
        return self._next_frame()

    def _next_frame(self):
        data, fds = self.packet, self.fds
        magic, kind, ident, flags, size = struct.unpack_from("<HHIHH", data)
        if magic != _MAGIC:
            raise ValueError("not a frame")
        if flags == _FOLLOWED:
            self.packet = data[12 + size:]
            return Frame(IPC_NAME.get(kind, kind), ident, data[12:12 + size],
                         None)
        self.packet = b""
        body = data[12:]
        if flags & _MEMFD:
            memory = fds.pop(0)
            with os.fdopen(memory, "rb") as f:
                f.seek(0)
                body = f.read()
            if len(body) != struct.unpack("<Q", data[12:20])[0]:
                raise ValueError("a body has another length than it says")
        fd = fds.pop(0) if flags & _FD else None
        return Frame(IPC_NAME.get(kind, kind), ident, body, fd)

    def close(self):
        self.sock.close()


# struct hbt_limits in order: its default and its format
_LIMITS = [
    ("polling_request_queue_timeout_ms", 120000, "q"),
    ("polling_queue_wait_timeout_ms", 30000, "q"),
    ("retry_listening_sleep_interval_ms", 1000, "q"),
    ("retry_count_limit", 5, "i"),
    ("connection_error_retry_timeout_ms", 300000, "q"),
    ("tcp_client_connect_timeout_ms", 60000, "q"),
    ("tcp_client_send_timeout_ms", 60000, "q"),
    ("tcp_client_receive_timeout_ms", 60000, "q"),
    ("tcp_client_receive_response_timeout_ms", 300000, "q"),
    ("tcp_client_receive_request_timeout_for_polling_ms", 60000, "q"),
    ("tcp_listening_next_request_idle_timeout_ms", 600000, "q"),
    ("tcp_client_pooled_connection_timeout_ms", 540000, "q"),
    ("tcp_client_heartbeat_send_timeout_ms", 60000, "q"),
    ("tcp_client_heartbeat_receive_timeout_ms", 60000, "q"),
    ("tcp_client_heartbeat_timeout_should_actually_be_used", True, "B"),
    ("tcp_keep_alive_enabled", True, "B"),
    ("tcp_keep_alive_time_ms", 15000, "q"),
    ("tcp_keep_alive_interval_ms", 5000, "q"),
    ("tcp_keep_alive_retry_count", 10, "i"),
    ("maximum_active_tcp_connections_per_polling_subscription", 0, "i"),
    ("polling_reconnect_min_ms", 5000, "q"),
    ("polling_reconnect_max_ms", 120000, "q"),
    ("handshake_total_timeout_ms", 60000, "q"),
    ("max_handshakes", 64, "i"),
    ("max_handshakes_per_second", 0, "i"),
    ("max_message_bytes", 128 << 20, "q"),
    ("max_streams_per_message", 4096, "q"),
    ("spool_max_bytes_a_stream_section", 64 << 20, "q"),
    ("spool_max_bytes_total", 1 << 30, "q"),
    ("spool_max_bytes_a_source", 0, "q"),
    ("spool_max_bytes_a_thumbprint", 0, "q"),
    ("spool_max_bytes_a_subscription", 0, "q"),
    ("spool_memory_bytes", 256 << 10, "q"),
]

LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG = range(4)


def settings(spool_directory, index=0, node="node-1", log_level=LOG_DEBUG,
             certificate_pem=None, key_pem=None, friendly_page=None,
             friendly_headers=None, serves_clients=True, **limits):
    """The body of SETTINGS; limits by their names."""
    w = Writer().u32(index).text(node).u8(log_level)
    for name, default, form in _LIMITS:
        w.raw(struct.pack("<" + form, limits.pop(name, default)))
    if limits:
        raise TypeError(f"no such limits: {', '.join(limits)}")
    w.text(certificate_pem).text(key_pem)
    w.text(friendly_page).text(friendly_headers).text(spool_directory)
    # Sources are whole addresses, all are limited; no identities.
    return w.u8(serves_clients).u32(32).u32(128).text(None).u32(0)


def _counters():
    """The names of a worker's counters, in the order in which they travel."""
    top = os.environ.get("top_srcdir") or os.path.join(
        os.path.dirname(__file__), "../..")
    with open(os.path.join(top, "src/ipc/counters.h")) as f:
        table = f.read().split("#define HBT_WORKER_COUNTERS(X)")[1]
    table = table.split("\n\n")[0]
    return re.findall(r"X\((?:GAUGE|COUNTER), (\w+),", table)


def get_stats(r):
    return {name: r.u64() for name in _counters()}


class Error:
    """struct halibut_error in a FAIL."""

    def __init__(self, r):
        self.status = STATUS_NAME[r.u32()]
        self.connection_state = r.u8()
        self.message, self.details, self.type = r.text(), r.text(), r.text()
