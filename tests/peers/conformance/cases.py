"""The table of requests. Each case is one request, and what the sink behind the collector answers to it.

Names are `transport/subject/variation`; they are the keys of golden.json and what deliberate.json refers to.
"""

import gzip
import json
import struct
import zlib

import cramjam

from support import replay
from support.sink import JSON, PROTOBUF

from .doors import doors
from .requests import DOCUMENTS, GRPC_LIMIT, HTTP_LIMIT, MIB, Grpc, Http, chunked, deep_value, large_span, log_body, message
from .requests import nested, protobuf, raw_span, span, tag, text, varint


def cases():
    tables = (http_good, http_lines, http_encodings, http_json, http_protobuf, sink_answers, grpc, doors)
    return [case for table in tables for case in table()]


def http_good():
    for signal in DOCUMENTS:
        path = f"/v1/{signal}"
        yield Http(f"http/good/{signal} protobuf", protobuf(signal), path=path)
        yield Http(f"http/good/{signal} json", text(DOCUMENTS[signal]), JSON, path=path)
        yield Http(f"http/empty/{signal} protobuf", b"", path=path)
        yield Http(f"http/empty/{signal} json object", b"{}", JSON, path=path)
    yield Http("http/empty/json no bytes", b"", JSON)
    yield Http("http/empty/resource without items", protobuf(document={"resourceSpans": [{"scopeSpans": [{}]}]}))
    yield Http("http/empty/metric without points", text({"resourceMetrics": [{"scopeMetrics": [{"metrics": [
        {"name": "m", "gauge": {}}]}]}]}), JSON, path="/v1/metrics")


def http_lines():
    """Methods, paths, content types and the framing of HTTP itself."""
    good = protobuf()
    for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"):
        yield Http(f"http/method/{method}", good, method=method)
    yield Http("http/method/preflight", b"", None, method="OPTIONS", headers={
        "Origin": "http://page.test", "Access-Control-Request-Method": "POST"})
    for path in ("/", "/v1/trace", "/v1/traces/", "//v1/traces", "/v1/../v1/traces", "/v1/traces?a=b", "/V1/TRACES",
                 "/v1/traces%20", "/v1/profiles", "*"):
        yield Http(f"http/path/{path}", good, path=path)
    yield Http("http/path/GET of another path", b"", None, path="/nothing", method="GET")
    for content_type in (
        None, "", "text/plain", "application/protobuf", "application/octet-stream", "application/grpc", "x",
        "application/x-protobuf; charset=utf-8", "Application/X-Protobuf", "application/x-protobuf;",
        "application/x-protobuf; =",
    ):
        yield Http(f"http/content type/{content_type}", good, content_type)
    for content_type in ("application/json; charset=utf-8", "APPLICATION/JSON", "application/json;charset=latin1", "text/json"):
        yield Http(f"http/content type/{content_type}", text(DOCUMENTS["traces"]), content_type)
    yield Http("http/content type/json said, protobuf sent", good, JSON)
    yield Http("http/content type/protobuf said, json sent", text(DOCUMENTS["traces"]))
    yield Http("http/framing/chunked", chunked(good), framing={"Transfer-Encoding": "chunked"})
    yield Http("http/framing/bad chunk size", b"zz\r\n", framing={"Transfer-Encoding": "chunked"})
    yield Http("http/framing/length and chunked", chunked(good), framing={"Transfer-Encoding": "chunked", "Content-Length": 5})
    yield Http("http/framing/negative length", good, framing={"Content-Length": -1})
    yield Http("http/framing/length not a number", good, framing={"Content-Length": "many"})
    yield Http("http/framing/no length", b"", framing={})
    yield Http("http/framing/body shorter than said", good, framing={"Content-Length": len(good) + 10}, half_close=True)
    yield Http("http/framing/HTTP 1.0", good, version="HTTP/1.0")
    yield Http("http/framing/no host", good, headers={"Host": None})
    yield Http("http/framing/HTTP 3.0", good, version="HTTP/3.0")


def http_encodings():
    """Content-Encoding, honest and not, and the limits of size."""

    def encoded(name, encoding, body, content_type=PROTOBUF):
        return Http(f"http/encoding/{name}", body, content_type, headers={"Content-Encoding": encoding})

    good = protobuf()
    packed = gzip.compress(good, mtime=0)
    raw_deflate = zlib.compress(good)[2:-4]
    zstd, snappy = bytes(cramjam.zstd.compress(good)), bytes(cramjam.snappy.compress_raw(good))
    yield encoded("gzip", "gzip", packed)
    yield encoded("gzip json", "gzip", gzip.compress(text(DOCUMENTS["traces"])), JSON)
    yield encoded("GZIP", "GZIP", packed)
    yield encoded("x-gzip", "x-gzip", packed)
    yield encoded("gzip twice", "gzip, gzip", gzip.compress(packed))
    yield encoded("gzip of two members", "gzip", gzip.compress(good[:20]) + gzip.compress(good[20:]))
    yield encoded("gzip then rubbish", "gzip", packed + b"rubbish")
    yield encoded("gzip truncated", "gzip", packed[:-12])
    yield encoded("gzip bad checksum", "gzip", packed[:-8] + bytes(8))
    yield encoded("gzip said, plain sent", "gzip", good)
    yield encoded("gzip of nothing", "gzip", gzip.compress(b""))
    yield encoded("gzip no bytes", "gzip", b"")
    yield encoded("zlib", "zlib", zlib.compress(good))
    yield encoded("deflate with zlib header", "deflate", zlib.compress(good))
    yield encoded("deflate raw", "deflate", raw_deflate)
    yield encoded("zstd", "zstd", zstd)
    yield encoded("zstd truncated", "zstd", zstd[:-5])
    yield encoded("zstd said, plain sent", "zstd", good)
    yield encoded("zstd to 21 MiB", "zstd", bytes(cramjam.zstd.compress(large_span(HTTP_LIMIT + MIB))))
    yield encoded("snappy", "snappy", snappy)
    yield encoded("snappy framed, said plainly", "snappy", bytes(cramjam.snappy.compress(good)))
    yield encoded("snappy framed", "x-snappy-framed", bytes(cramjam.snappy.compress(good)))
    yield encoded("snappy truncated", "snappy", snappy[:-5])
    yield encoded("lz4", "lz4", bytes(cramjam.lz4.compress(good)))
    yield encoded("identity", "identity", good)
    yield encoded("empty name", "", good)
    yield encoded("br", "br", good)
    yield encoded("unknown", "rot13", good)
    yield encoded("gzip bomb", "gzip", gzip.compress(bytes(64 * MIB)))
    yield encoded("gzip to 21 MiB", "gzip", gzip.compress(large_span(HTTP_LIMIT + MIB)))
    yield encoded("gzip to 19 MiB", "gzip", gzip.compress(large_span(HTTP_LIMIT - MIB)))
    yield Http("http/size/19 MiB", large_span(HTTP_LIMIT - MIB))
    yield Http("http/size/21 MiB", large_span(HTTP_LIMIT + MIB))
    yield Http("http/size/21 MiB json", text(span(name="x" * (HTTP_LIMIT + MIB))), JSON)
    yield Http("http/size/21 MiB chunked", chunked(large_span(HTTP_LIMIT + MIB)), framing={"Transfer-Encoding": "chunked"})


def http_json():
    def traces(name, body):
        return Http(f"http/json/{name}", body if isinstance(body, bytes) else text(body), JSON)

    good = text(DOCUMENTS["traces"])
    for body in (b"null", b"[]", b"1", b'"text"', b"{", b"{}{}", b"{} x", b"{,}", b"{'a':1}", b"nul", b"  {}\n",
                 b"\xef\xbb\xbf{}"):
        yield traces(f"document {body.decode('utf-8', 'replace')!r}", body)
    yield traces("truncated", good[:-20])
    yield traces("nulls", {"resourceSpans": [{"resource": None, "scopeSpans": [{"scope": None, "spans": [{"name": "n"}]}]}]})
    yield traces("null span", {"resourceSpans": [{"scopeSpans": [{"spans": [None]}]}]})
    yield traces("list where an object belongs", {"resourceSpans": {}})
    yield traces("unknown fields", span(unknown={"a": [1, {"b": None}]}))
    yield traces("snake case", {"resource_spans": [{"scope_spans": [{"spans": [
        {"trace_id": "0102030405060708090a0b0c0d0e0f10", "span_id": "1112131415161718", "start_time_unix_nano": "5"}
    ]}]}]})
    yield traces("same key twice", good[:-1] + b"," + good[1:])
    yield traces("same field twice", good.replace(b'"name": "span"', b'"name": "first", "name": "second"'))
    yield traces("enum by name", span(kind="SPAN_KIND_SERVER", status={"code": "STATUS_CODE_ERROR"}))
    yield traces("enum by unknown name", span(kind="SPAN_KIND_OTHER"))
    yield traces("enum by number text", span(kind="2"))
    yield traces("enum out of range", span(kind=77))
    yield traces("time as number", span(startTimeUnixNano=1700000000000000001))
    yield traces("time as float", good.replace(b'"1700000000000000001"', b"1.7e18"))
    yield traces("time negative", span(startTimeUnixNano="-1"))
    yield traces("time too large", span(startTimeUnixNano="18446744073709551616"))
    yield traces("time not a number", span(startTimeUnixNano="soon"))
    yield traces("count too large", span(droppedLinksCount=4294967296))
    yield traces("count as text", span(droppedLinksCount="5"))
    yield traces("name as number", span(name=5))
    yield traces("ids in upper case", span(traceId="0102030405060708090A0B0C0D0E0F10"))
    yield traces("id too short", span(traceId="0102"))
    yield traces("id too long", span(spanId="11121314151617181920"))
    yield traces("id of odd length", span(spanId="111213141516171"))
    yield traces("id not hex", span(spanId="zz12131415161718"))
    yield traces("id in base64", span(traceId="AQIDBAUGBwgJCgsMDQ4PEA=="))
    yield traces("id empty", span(traceId="", spanId=""))
    yield traces("id of zeros", span(traceId="0" * 32, spanId="0" * 16))
    yield traces("id absent", span(traceId=None, spanId=None))
    yield traces("invalid UTF-8", good.replace(b'"span"', b'"\xff\xfe"'))
    yield traces("lone surrogate", good.replace(b'"span"', b'"\\ud800"'))
    yield traces("escapes", good.replace(b'"span"', b'"\\u00e9\\ud83d\\ude00\\n\\/"'))
    yield traces("bad escape", good.replace(b'"span"', b'"\\x41"'))
    yield traces("raw control character", good.replace(b'"span"', b'"a\nb"'))
    yield traces("two values in one", span(attributes=[{"key": "k", "value": {"stringValue": "s", "intValue": "1"}}]))
    yield traces("deep unknown field", b'{"unknown": ' + b"[" * 5000 + b"]" * 5000 + b"}")

    for value in ({"intValue": "9223372036854775807"}, {"intValue": 5}, {"intValue": "9223372036854775808"}, {"intValue": 1.5},
                  {"intValue": "1.0"}, {"doubleValue": "NaN"}, {"doubleValue": "-Infinity"}, {"doubleValue": "1.5"},
                  {"doubleValue": "x"}, {"boolValue": "true"}, {"boolValue": 1}, {"bytesValue": "3q2-7w=="},
                  {"bytesValue": "3q2+7w"}, {"bytesValue": "?"}, {"stringValue": None}, {"arrayValue": {"values": [{}]}}, {}, None):
        yield Http(f"http/json/value {json.dumps(value)}", text(log_body(value)), JSON, path="/v1/logs")


def http_protobuf():
    def traces(name, body):
        return Http(f"http/protobuf/{name}", body)

    good = protobuf()
    yield traces("not protobuf", b"not protobuf at all")
    yield traces("truncated", good[:-3])
    yield traces("length past the end", tag(1, 2) + varint(100) + b"short")
    yield traces("length of 2^63", tag(1, 2) + varint(1 << 63))
    yield traces("varint too long", b"\xff" * 11)
    yield traces("varint cut off", tag(9, 0) + b"\x80")
    yield traces("field number 0", tag(0, 0) + b"\x01")
    yield traces("wire type 6", bytes([1 << 3 | 6]))
    yield traces("wire type 7", bytes([1 << 3 | 7]))
    yield traces("wrong wire type", tag(1, 0) + b"\x01")
    yield traces("wrong wire type inside", raw_span(tag(1, 0) + b"\x01"))
    unknown = nested(b"x", 100) + tag(101, 5) + bytes(4) + tag(102, 1) + bytes(8)
    yield traces("unknown fields", tag(99, 0) + b"\x01" + good + unknown)
    yield traces("unknown group", tag(99, 3) + tag(1, 0) + b"\x01" + tag(99, 4) + good)
    yield traces("group without end", good + tag(99, 3))
    yield traces("end without group", good + tag(99, 4))
    yield traces("two requests end to end", good + good)
    yield traces("over-long varint length", tag(1, 2) + b"\x80\x80\x00")
    attributes, dropped = nested(nested(b"a", 1), 1, 1), nested(b"\x10\x05", 1)
    yield traces("resource twice", nested(attributes + dropped + nested(b"n", 2, 2, 5), 1))
    yield traces("name twice", raw_span(nested(b"first", 5) + nested(b"second", 5)))
    for length in (0, 1, 15, 16, 17):
        yield traces(f"trace id of {length} bytes", raw_span(nested(b"\x01" * length, 1)))
    for length in (0, 7, 8, 9):
        yield traces(f"span id of {length} bytes", raw_span(nested(b"\x01" * length, 2)))
    yield traces("parent id of 3 bytes", raw_span(nested(b"\x01" * 3, 4)))
    yield traces("link trace id of 3 bytes", raw_span(nested(nested(b"\x01" * 3, 1), 13)))
    yield traces("enum out of range", raw_span(tag(6, 0) + varint(77)))
    yield traces("enum negative", raw_span(tag(6, 0) + b"\xff" * 9 + b"\x01"))
    yield traces("invalid UTF-8 name", raw_span(nested(b"\xff\xfe", 5)))
    yield traces("invalid UTF-8 key", raw_span(nested(nested(b"\xc3", 1) + nested(nested(b"v", 1), 2), 9)))
    yield traces("attribute without value", raw_span(nested(nested(b"k", 1), 9)))
    two_values = nested(nested(b"v", 1) + b"\x18\x05", 2)
    yield traces("attribute of two values", raw_span(nested(nested(b"k", 1) + two_values, 9)))
    for depth in (30, 1000):
        yield Http(f"http/protobuf/value {depth} deep", deep_value(depth), path="/v1/logs")
    number = struct.pack("<Q", 1)
    points = {
        "packed": nested(number * 2, 6),
        "unpacked": (tag(6, 1) + number) * 2,
        "of a broken length": nested(number[:5], 6),
    }
    for name, counts in points.items():
        yield Http(f"http/protobuf/bucket counts {name}", nested(counts, 1, 2, 2, 9, 1), path="/v1/metrics")


def sink_answers():
    """What the client is told when the next one in line refuses."""

    def both(name, status, headers=None, body=b""):
        sink = (status, {"Content-Type": PROTOBUF, **(headers or {})}, body)
        yield Http(f"http/sink/{name}", protobuf(), sink=sink)
        yield Grpc(f"grpc/sink/{name}", message(protobuf()), sink=sink)

    for status in (400, 401, 403, 404, 413, 429, 500, 501, 502, 503, 504):
        yield from both(f"{status}", status)
    yield from both("429 in 7 s", 429, {"Retry-After": "7"})
    yield from both("503 in 7 s", 503, {"Retry-After": "7"})
    yield from both("400 with status", 400, body=b"\x08\x03" + nested(b"no such tenant", 2))
    yield from both("partial success", 200, body=nested(b"\x08\x01" + nested(b"one was bad", 2), 1))
    yield from both("200 with rubbish", 200, body=b"rubbish")
    yield Http("http/sink/503 in 7 s, json", text(DOCUMENTS["traces"]), JSON, sink=(503, {"Retry-After": "7"}, b""))
    yield Http("http/sink/400, json", text(DOCUMENTS["traces"]), JSON, sink=(400, {}, b""))


def grpc():
    good = protobuf()
    packed = gzip.compress(good, mtime=0)
    for signal in DOCUMENTS:
        yield Grpc(f"grpc/good/{signal}", message(protobuf(signal)), replay.METHODS[signal])
        yield Grpc(f"grpc/empty/{signal}", message(b""), replay.METHODS[signal])

    def headers(name, body=message(good), **changed):
        return Grpc(f"grpc/headers/{name}", body, headers={key.replace("_", "-"): value for key, value in changed.items()})

    for path in ("/opentelemetry.proto.collector.trace.v1.TraceService/Nothing", "/no.such.Service/Export", "/x", "/", "",
                 "/opentelemetry.proto.collector.trace.v1.TraceService/export"):
        yield Grpc(f"grpc/path/{path}", message(good), path)
    for content_type in ("application/grpc+proto", "application/grpc;charset=utf-8", "application/grpc+json", "application/grpcx",
                         "application/json", "", None):
        yield headers(f"content type {content_type}", content_type=content_type)
    yield headers("no te", te=None)
    yield Grpc("grpc/headers/GET", None, headers={":method": "GET"})
    yield headers("timeout not a number", grpc_timeout="soon")
    yield headers("timeout without unit", grpc_timeout="5")
    yield headers("timeout of 10 s", grpc_timeout="10S")
    yield headers("timeout of 0", grpc_timeout="0m")
    yield headers("binary metadata that is not base64", custom_bin="???")
    yield headers("encoding named, not used", grpc_encoding="gzip")
    yield headers("unknown encoding named, not used", grpc_encoding="rot13")
    yield headers("gzip", message(packed, 1), grpc_encoding="gzip")
    yield headers("zstd", message(bytes(cramjam.zstd.compress(good)), 1), grpc_encoding="zstd")
    yield headers("snappy framed", message(bytes(cramjam.snappy.compress(good)), 1), grpc_encoding="snappy")
    yield headers("snappy in block form", message(bytes(cramjam.snappy.compress_raw(good)), 1), grpc_encoding="snappy")
    yield headers("deflate", message(zlib.compress(good), 1), grpc_encoding="deflate")
    yield headers("unknown encoding", message(good, 1), grpc_encoding="rot13")
    yield headers("compressed without encoding", message(packed, 1))
    yield headers("compressed as identity", message(packed, 1), grpc_encoding="identity")
    yield headers("gzip said, plain sent", message(good, 1), grpc_encoding="gzip")
    yield headers("gzip truncated", message(packed[:-12], 1), grpc_encoding="gzip")
    yield headers("gzip bomb", message(gzip.compress(bytes(64 * MIB)), 1), grpc_encoding="gzip")

    yield Grpc("grpc/framing/no message", b"")
    yield Grpc("grpc/framing/end with the headers", None)
    yield Grpc("grpc/framing/prefix cut off", b"\x00\x00\x00")
    yield Grpc("grpc/framing/message cut off", message(good, length=len(good) + 10))
    yield Grpc("grpc/framing/two messages", message(good) + message(good))
    yield Grpc("grpc/framing/rubbish after the message", message(good) + b"\x00\x00")
    yield Grpc("grpc/framing/flag 2", message(good, 2))
    yield Grpc("grpc/framing/flag 255", message(good, 255))
    yield Grpc("grpc/framing/length of 4 GiB", message(good, length=0xFFFFFFFF))
    yield Grpc("grpc/size/3 MiB", message(large_span(3 * MIB)))
    yield Grpc("grpc/size/5 MiB", message(large_span(GRPC_LIMIT + MIB)))
    yield Grpc("grpc/size/21 MiB", message(large_span(21 * MIB)))
    yield headers("gzip to 21 MiB", message(gzip.compress(large_span(21 * MIB)), 1), grpc_encoding="gzip")

    yield Grpc("grpc/protobuf/not protobuf", message(b"not protobuf at all"))
    yield Grpc("grpc/protobuf/truncated", message(good[:-3]))
    yield Grpc("grpc/protobuf/trace id of 15 bytes", message(raw_span(nested(b"\x01" * 15, 1))))
    yield Grpc("grpc/protobuf/invalid UTF-8 name", message(raw_span(nested(b"\xff\xfe", 5))))
    yield Grpc("grpc/protobuf/unknown group", message(tag(99, 3) + tag(99, 4) + good))
