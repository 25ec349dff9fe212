"""What the tables of requests are made of: one request of either transport, and documents and bytes to put into it."""

import json
import struct
from dataclasses import dataclass, field

from support import replay
from support.sink import PROTOBUF

MIB = 1 << 20
HTTP_LIMIT = 20 * MIB  # of the Go collector, before and after decompression
GRPC_LIMIT = 4 * MIB  # of grpc-go


@dataclass
class Http:
    name: str
    body: bytes = b""
    content_type: str | None = PROTOBUF
    path: str = "/v1/traces"
    method: str = "POST"
    headers: dict = field(default_factory=dict)
    version: str = "HTTP/1.1"
    framing: dict | None = None  # instead of Content-Length
    half_close: bool = False
    sink: tuple | None = None
    door: str = ""  # which of the receivers in configs/conformance.yaml is asked
    tls: object = None  # a support.raw.Tls, to speak it
    then: bool = False  # whether the connection is tried with another request after the answer

    def request(self):
        headers = {"Host": "collector.test"} if self.version == "HTTP/1.1" else {}
        if self.content_type is not None:
            headers["Content-Type"] = self.content_type
        headers.update({"Content-Length": len(self.body)} if self.framing is None else self.framing)
        headers.update(self.headers)
        lines = [f"{self.method} {self.path} {self.version}"]
        lines += [f"{name}: {value}" for name, value in headers.items() if value is not None]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body


@dataclass
class Grpc:
    name: str
    body: bytes | None = b""
    path: str = replay.METHODS["traces"]
    headers: dict = field(default_factory=dict)
    sink: tuple | None = None
    door: str = ""
    tls: object = None
    content_type: str = "application/grpc"
    to: str = "grpc"  # or "http": HTTP/2 on the port for OTLP/HTTP

    def header_list(self):
        headers = {
            ":method": "POST",
            ":scheme": "https" if self.tls else "http",
            ":path": self.path,
            ":authority": "collector.test",
            "content-type": self.content_type,
            "te": "trailers",
        }
        headers.update(self.headers)
        pairs = [(name, each) for name, value in headers.items() for each in (value if isinstance(value, tuple) else (value,))]
        return [(name, each) for name, each in pairs if each is not None]


# Small requests that many cases start from.
DOCUMENTS = {
    "traces": {
        "resourceSpans": [
            {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "conformance"}}]},
                "scopeSpans": [
                    {
                        "scope": {"name": "scope"},
                        "spans": [
                            {
                                "traceId": "0102030405060708090a0b0c0d0e0f10",
                                "spanId": "1112131415161718",
                                "name": "span",
                                "kind": 2,
                                "startTimeUnixNano": "1700000000000000001",
                                "endTimeUnixNano": "1700000000000000002",
                                "status": {"code": 2},
                            }
                        ],
                    }
                ],
            }
        ]
    },
    "metrics": {
        "resourceMetrics": [
            {
                "scopeMetrics": [
                    {
                        "metrics": [
                            {
                                "name": "sum",
                                "sum": {
                                    "aggregationTemporality": 2,
                                    "isMonotonic": True,
                                    "dataPoints": [{"timeUnixNano": "1", "asInt": "7"}, {"asDouble": 0.5}],
                                },
                            }
                        ]
                    }
                ]
            }
        ]
    },
    "logs": {
        "resourceLogs": [
            {"scopeLogs": [{"logRecords": [{"severityNumber": 9, "body": {"stringValue": "record"}}]}]}
        ]
    },
}


def protobuf(signal="traces", document=None):
    return replay.to_message(signal, document or DOCUMENTS[signal]).SerializeToString()


def text(document):
    return json.dumps(document, ensure_ascii=False).encode()


def span(**changes):
    """The JSON of a request with one span, changed; None removes a field."""
    document = json.loads(json.dumps(DOCUMENTS["traces"]))
    item = document["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    item.update(changes)
    for name in [name for name, value in item.items() if value is None]:
        del item[name]
    return document


def log_body(value):
    return {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": value}]}]}]}


# Protobuf by hand, for what no encoder would write.
def tag(number, wire_type):
    return varint(number << 3 | wire_type)


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out + bytes([value]))


def nested(content, *numbers):
    """`content` as the innermost of length-delimited fields, the outermost number first."""
    for number in reversed(numbers):
        content = tag(number, 2) + varint(len(content)) + content
    return content


def raw_span(content):
    return nested(content, 1, 2, 2)


def large_span(size):
    return protobuf(document=span(name="x" * size))


def deep_value(depth):
    """A log body of lists in lists."""
    value = nested(b"deep", 1)
    for _ in range(depth):
        value = nested(nested(value, 1), 5)
    return nested(value, 1, 2, 2, 5)


def chunked(content):
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)


def message(content, flag=0, length=None):
    """A gRPC message with its prefix."""
    return struct.pack(">BI", flag, len(content) if length is None else length) + content
