"""Requests to receivers that are set up otherwise: TLS, client certificates, tokens, CORS, small limits.

`door` names one of the receivers in configs/conformance.yaml, `otlp/<door>`.
"""

import gzip
import ssl
import zlib

import cramjam

from support import replay
from support.raw import Tls
from support.sink import JSON

from .requests import DOCUMENTS, MIB, Grpc, Http, large_span, message, protobuf, text

DOORS = ("tls", "mutual", "tls12", "tls13", "suite", "token", "key", "cors", "anycors", "guardedcors", "small", "bare")
TRACES = replay.METHODS["traces"]
GOOD = protobuf()
GOOD_JSON = text(DOCUMENTS["traces"])
GZIPPED = gzip.compress(GOOD, mtime=0)
V1_0, V1_1, V1_2, V1_3 = (getattr(ssl.TLSVersion, name) for name in ("TLSv1", "TLSv1_1", "TLSv1_2", "TLSv1_3"))
ALL_VERSIONS = (V1_0, V1_3)


def doors():
    for table in (tls, tokens, cors, limits, connections, shapes):
        yield from table()


def tls():
    def both(name, door, http_alpn=(), **how):
        yield Http(f"tls/http/{name}", GOOD, door=door, tls=Tls(alpn=http_alpn, **how))
        yield Grpc(f"tls/grpc/{name}", message(GOOD), door=door, tls=Tls(**{"alpn": ("h2",), **how}))

    yield from both("server certificate", "tls")
    yield from both("no name asked for", "tls", host=None)
    yield from both("another host", "tls", host="elsewhere.test")
    yield from both("another authority", "tls", authority="stranger")
    yield from both("a certificate nobody asked for", "tls", identity="stranger-client")
    for version, name in ((V1_0, "1.0"), (V1_1, "1.1"), (V1_2, "1.2"), (V1_3, "1.3")):
        yield from both(f"version {name}", "tls", versions=(version, version))
        yield from both(f"version {name}, up to 1.2 taken", "tls12", versions=(version, version))
        yield from both(f"version {name}, from 1.3 taken", "tls13", versions=(version, version))
    for cipher in ("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305",
                   "ECDHE-RSA-AES256-GCM-SHA384"):
        yield from both(f"cipher {cipher}, one other taken", "suite", versions=(V1_2, V1_2), ciphers=cipher)
    for cipher in ("ECDHE-ECDSA-AES256-SHA", "ECDHE-ECDSA-CHACHA20-POLY1305", "AES128-GCM-SHA256"):
        yield from both(f"cipher {cipher}", "tls", versions=(V1_2, V1_2), ciphers=cipher)
    for versions, name in (((V1_2, V1_2), "1.2"), ((V1_3, V1_3), "1.3")):
        yield from both(f"mutual, {name}", "mutual", identity="client", versions=versions)
        yield from both(f"mutual, {name}, no certificate", "mutual", versions=versions)
        yield from both(f"mutual, {name}, a stranger's certificate", "mutual", identity="stranger-client", versions=versions)
        yield from both(f"mutual, {name}, expired certificate", "mutual", identity="expired", versions=versions)
        yield from both(f"mutual, {name}, certificate for servers", "mutual", identity="server-only", versions=versions)
    for alpn in (("h2",), ("http/1.1",), ("h2", "http/1.1"), ("http/1.1", "h2"), ("spdy/3",), ("http/1.0",), ()):
        listed = " ".join(alpn) or "none"
        if alpn[:1] != ("h2",):
            yield Http(f"tls/http/alpn {listed}", GOOD, door="tls", tls=Tls(alpn=alpn))
        yield Grpc(f"tls/grpc/alpn {listed}", message(GOOD), door="tls", tls=Tls(alpn=alpn))
        yield Grpc(f"tls/http/alpn {listed}, HTTP 2", GOOD, "/v1/traces", content_type="application/x-protobuf", to="http",
                   door="tls", tls=Tls(alpn=alpn))
    for method, path in (("GET", "/v1/traces"), ("POST", "/v1/nothing")):
        yield Grpc(f"tls/http/HTTP 2 {method} {path}", GOOD, path, headers={":method": method}, to="http", door="tls",
                   content_type="application/x-protobuf", tls=Tls(alpn=("h2",)))
    yield Grpc("tls/http/HTTP 2 json", GOOD_JSON, "/v1/traces", to="http", door="tls", content_type=JSON, tls=Tls(alpn=("h2",)))
    yield Http("tls/http/without TLS", GOOD, door="tls")
    yield Http("tls/http/without TLS, to mutual", GOOD, door="mutual")
    yield Grpc("tls/grpc/without TLS", message(GOOD), door="tls")
    yield Http("tls/http/TLS to a plain port", GOOD, tls=Tls())
    yield Grpc("tls/grpc/TLS to a plain port", message(GOOD), tls=Tls(alpn=("h2",)))


def tokens():
    """Authentication, and which mistake is told of when there are several."""
    credentials = {
        "right": {"Authorization": "Bearer first"},
        "right, second": {"Authorization": "Bearer second"},
        "none": {},
        "empty": {"Authorization": ""},
        "wrong": {"Authorization": "Bearer third"},
        "wrong case": {"Authorization": "Bearer First"},
        "part of it": {"Authorization": "Bearer firs"},
        "more of it": {"Authorization": "Bearer first1"},
        "scheme in lower case": {"Authorization": "bearer first"},
        "another scheme": {"Authorization": "Basic first"},
        "no scheme": {"Authorization": "first"},
        "scheme only": {"Authorization": "Bearer"},
        "two spaces": {"Authorization": "Bearer  first"},
        "space at the end": {"Authorization": "Bearer first "},
        "header in lower case": {"authorization": "Bearer first"},
        "header in upper case": {"AUTHORIZATION": "Bearer first"},
        "twice, right first": {"Authorization": "Bearer first", "authorization": "Bearer third"},
        "twice, wrong first": {"Authorization": "Bearer third", "authorization": "Bearer first"},
        "not ASCII": {"Authorization": "Bearer f\u00efrst"},
    }
    for name, headers in credentials.items():
        yield Http(f"auth/http/{name}", GOOD, headers=headers, door="token")
        metadata = {"authorization": tuple(headers.values())}
        yield Grpc(f"auth/grpc/{name}", message(GOOD), headers=metadata, door="token")
    yield Http("auth/http/none, json", GOOD_JSON, JSON, door="token")
    for content_type in ("text/plain", "application/grpc", None, "application/x-protobuf; charset=utf-8"):
        yield Http(f"auth/http/none, content type {content_type}", GOOD, content_type, door="token")
        yield Http(f"auth/http/right, content type {content_type}", GOOD, content_type, headers=credentials["right"], door="token")
    for encoding, body in (("gzip", GZIPPED), ("gzip", b"not gzip"), ("rot13", GOOD), ("zstd", b"")):
        named = f"{encoding} of {len(body)} bytes"
        yield Http(f"auth/http/none, {named}", body, headers={"Content-Encoding": encoding}, door="token")
        yield Http(f"auth/http/right, {named}", body, headers={"Content-Encoding": encoding, **credentials["right"]}, door="token")
    yield Http("auth/http/none, malformed", b"\xff\xff\xff", door="token")
    yield Http("auth/http/none, 21 MiB", large_span(21 * MIB), door="token")
    yield Http("auth/http/none, body shorter than said", GOOD, framing={"Content-Length": len(GOOD) + 10}, half_close=True, door="token")
    for method in ("GET", "HEAD", "OPTIONS", "PUT"):
        yield Http(f"auth/http/none, {method}", b"", None, method=method, door="token")
        yield Http(f"auth/http/right, {method}", b"", None, method=method, headers=credentials["right"], door="token")
    for path in ("/", "/v1/nothing", "/v1/traces/"):
        yield Http(f"auth/http/none, path {path}", GOOD, path=path, door="token")
    yield Http("auth/http/none, connection goes on", GOOD, door="token", then=True)
    yield Grpc("auth/grpc/none, malformed", message(b"\xff\xff\xff"), door="token")
    yield Grpc("auth/grpc/none, no message", b"", door="token")
    yield Grpc("auth/grpc/none, flag 2", message(GOOD, 2), door="token")
    yield Grpc("auth/grpc/none, gzip", message(GZIPPED, 1), headers={"grpc-encoding": "gzip"}, door="token")
    yield Grpc("auth/grpc/none, unknown encoding", message(GOOD, 1), headers={"grpc-encoding": "rot13"}, door="token")
    yield Grpc("auth/grpc/none, gzip said, plain sent", message(GOOD, 1), headers={"grpc-encoding": "gzip"}, door="token")
    yield Grpc("auth/grpc/none, 21 MiB", message(large_span(21 * MIB)), door="token")
    yield Grpc("auth/grpc/none, unknown method", message(GOOD), "/no.such.Service/Export", door="token")
    yield Grpc("auth/grpc/none, content type", message(GOOD), content_type="application/json", door="token")
    for name, headers in (
        ("right", {"X-Key": "first"}), ("in lower case", {"x-key": "first"}), ("with a scheme", {"X-Key": "Bearer first"}),
        ("wrong", {"X-Key": "second"}), ("in the usual header", {"Authorization": "first"}),
    ):
        yield Http(f"auth/http/another header, {name}", GOOD, headers=headers, door="key")
        yield Grpc(f"auth/grpc/another header, {name}", message(GOOD), headers={key.lower(): each for key, each in headers.items()},
                   door="key")


def cors():
    origins = (
        "http://page.test", "http://PAGE.test", "http://page.test:8080", "https://page.test", "http://page.test/", "http://a.page.test",
        "https://a.shop.test", "https://a.b.shop.test", "https://.shop.test", "https://shop.test", "https://a.shop.test.evil.test", "null", "",
    )
    for origin in origins:
        yield Http(f"cors/origin {origin}", GOOD, headers={"Origin": origin}, door="cors")
        yield Http(f"cors/preflight, origin {origin}", b"", None, method="OPTIONS", door="cors", headers={
            "Origin": origin, "Access-Control-Request-Method": "POST"})

    def preflight(name, door="cors", **headers):
        asked = {"Origin": "http://page.test", "Access-Control-Request-Method": "POST"}
        asked |= {key.replace("_", "-"): value for key, value in headers.items()}
        return Http(f"cors/{door}/preflight, {name}", b"", None, method="OPTIONS", headers=asked, door=door)

    for door in ("cors", "anycors", "guardedcors", ""):
        yield Http(f"cors/{door}/any page", GOOD, headers={"Origin": "http://any.test"}, door=door)
        yield Http(f"cors/{door}/no origin", GOOD, door=door)
        yield preflight("nothing else", door)
        yield preflight("no such path", door, Origin="http://any.test")
        yield preflight("no method asked for", door, Access_Control_Request_Method=None)
        yield preflight("no origin", door, Origin=None)
        for headers in ("content-type", "Content-Type", "content-type,x-sent", "content-type, x-sent", "x-sent", "x-other", "X-Sent",
                        "x-sent,content-type", "x-requested-with", "accept", "origin", "", "traceparent, content-type"):
            yield preflight(f"headers {headers!r}", door, Access_Control_Request_Headers=headers)
    for method in ("GET", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS", "post", "BREW", ""):
        yield preflight(f"method {method!r}", Access_Control_Request_Method=method)
    yield preflight("private network", Access_Control_Request_Private_Network="true")
    page = {"Origin": "http://page.test"}
    yield Http("cors/preflight of another path", b"", None, path="/nothing", method="OPTIONS", door="cors",
               headers={**page, "Access-Control-Request-Method": "POST"})
    yield Http("cors/preflight with a body", GOOD, method="OPTIONS", door="cors",
               headers={**page, "Access-Control-Request-Method": "POST"})
    yield Http("cors/preflight, then a request", b"", None, method="OPTIONS", door="cors", then=True,
               headers={**page, "Access-Control-Request-Method": "POST"})
    for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE"):
        yield Http(f"cors/method {method}", b"", None, method=method, headers=page, door="cors")
    yield Http("cors/malformed", b"\xff\xff\xff", headers=page, door="cors")
    yield Http("cors/malformed json", b"{", JSON, headers=page, door="cors")
    yield Http("cors/content type", GOOD, "text/plain", headers=page, door="cors")
    yield Http("cors/unknown path", GOOD, path="/nothing", headers=page, door="cors")
    yield Http("cors/unknown encoding", GOOD, headers={**page, "Content-Encoding": "rot13"}, door="cors")
    yield Http("cors/too large", large_span(21 * MIB), headers=page, door="cors")
    yield Http("cors/refused behind it", GOOD, headers=page, door="cors", sink=(503, {}, b""))
    yield Http("cors/gzip", GZIPPED, headers={**page, "Content-Encoding": "gzip"}, door="cors")
    yield Http("cors/two origins", GOOD, headers={**page, "origin": "http://any.test"}, door="cors")
    token = {"Authorization": "Bearer first"}
    yield Http("cors/guardedcors/right token", GOOD, headers={**page, **token}, door="guardedcors")
    yield Http("cors/guardedcors/wrong token", GOOD, headers={**page, "Authorization": "Bearer third"}, door="guardedcors")
    yield Http("cors/guardedcors/no token, json", GOOD_JSON, JSON, headers=page, door="guardedcors")
    yield Http("cors/guardedcors/no token, another page", GOOD, headers={"Origin": "http://other.test"}, door="guardedcors")


def limits():
    """The door `small` takes bodies of 1000 bytes and messages of 1 MiB."""
    def encoded(name, encoding, body):
        return Http(f"limits/http/{name}", body, headers={"Content-Encoding": encoding}, door="small")

    fits, large = large_span(800), large_span(5000)
    compressed = {
        "gzip": lambda body: gzip.compress(body, mtime=0),
        "zlib": zlib.compress,
        "deflate": zlib.compress,
        "zstd": lambda body: bytes(cramjam.zstd.compress(body)),
        "snappy": lambda body: bytes(cramjam.snappy.compress_raw(body)),
        "x-snappy-framed": lambda body: bytes(cramjam.snappy.compress(body)),
        "lz4": lambda body: bytes(cramjam.lz4.compress(body)),
    }
    for size in (999, 1000, 1001):
        body = large_span(900)
        body = large_span(900 + size - len(body))
        assert len(body) == size
        yield Http(f"limits/http/{size} bytes", body, door="small")
    yield Http("limits/http/5000 bytes json", text(DOCUMENTS["traces"])[:-1] + b" " * 5000 + b"}", JSON, door="small")
    yield Http("limits/http/5000 bytes, connection goes on", large, door="small", then=True)
    yield Http("limits/http/5 MiB, connection goes on", large_span(5 * MIB), door="small", then=True)
    for encoding, compress in compressed.items():
        yield encoded(f"{encoding}, no bytes", encoding, b"")
        yield encoded(f"{encoding}, fits", encoding, compress(fits))
        yield encoded(f"{encoding}, too large inflated", encoding, compress(large))
        incompressible = bytes((index * index * 7919 >> 5) % 251 for index in range(4000))
        yield encoded(f"{encoding}, too large as it comes", encoding, compress(incompressible))
    yield Grpc("limits/grpc/1 MiB less a little", message(large_span(MIB - 200)), door="small")
    yield Grpc("limits/grpc/1 MiB and a little", message(large_span(MIB)), door="small")
    yield Grpc("limits/grpc/gzip to 1 MiB and a little", message(gzip.compress(large_span(MIB)), 1), door="small",
               headers={"grpc-encoding": "gzip"})
    for size in (8, 15, 20, 60, 2048):
        value = "x" * (size << 10)
        yield Http(f"limits/http/a header of {size} KiB", GOOD, headers={"X-Long": value})
        yield Http(f"limits/http/a query of {size} KiB", GOOD, path=f"/v1/traces?{value}")
    for count in (90, 150, 1000):
        yield Http(f"limits/http/{count} headers", GOOD, headers={f"X-{index}": "v" for index in range(count)})
    for size in (8, 12, 20, 100):
        yield Grpc(f"limits/grpc/metadata of {size} KiB", message(GOOD), headers={"x-long": "x" * (size << 10)})


def connections():
    """Whether a connection goes on after an answer, and what is said before a body is sent."""
    yield Http("connection/good", GOOD, then=True)
    yield Http("connection/asked to close", GOOD, headers={"Connection": "close"}, then=True)
    yield Http("connection/HTTP 1.0", GOOD, version="HTTP/1.0", then=True)
    yield Http("connection/HTTP 1.0 that stays", GOOD, version="HTTP/1.0", headers={"Connection": "keep-alive"}, then=True)
    yield Http("connection/malformed", b"\xff\xff\xff", then=True)
    yield Http("connection/unknown path", GOOD, path="/nothing", then=True)
    yield Http("connection/content type", GOOD, "text/plain", then=True)
    yield Http("connection/unknown encoding", GOOD, headers={"Content-Encoding": "rot13"}, then=True)
    yield Http("connection/GET", b"", None, method="GET", then=True)
    yield Http("connection/HEAD", b"", None, method="HEAD", then=True)
    yield Http("connection/21 MiB", large_span(21 * MIB), then=True)
    yield Http("connection/content type, 1 MiB", large_span(MIB), "text/plain", then=True)
    yield Http("connection/unknown path, 1 MiB", large_span(MIB), path="/nothing", then=True)
    yield Http("connection/refused behind it", GOOD, sink=(503, {}, b""), then=True)
    yield Http("connection/none goes on", GOOD, door="bare", then=True)
    yield Http("connection/upgrade to h2c", GOOD, headers={
        "Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAARAAAAAAAIAAAAA"})
    yield Http("connection/upgrade to websocket", GOOD, headers={"Connection": "Upgrade", "Upgrade": "websocket"})
    expecting = {"Expect": "100-continue"}
    yield Http("expect/good", GOOD, headers=expecting)
    yield Http("expect/unknown path", GOOD, path="/nothing", headers=expecting)
    yield Http("expect/content type", GOOD, "text/plain", headers=expecting)
    yield Http("expect/GET", GOOD, method="GET", headers=expecting)
    yield Http("expect/too large", large_span(5000), headers=expecting, door="small")
    yield Http("expect/without a token", GOOD, headers=expecting, door="token")
    yield Http("expect/with a token", GOOD, headers={**expecting, "Authorization": "Bearer first"}, door="token")
    yield Http("expect/unknown encoding", GOOD, headers={**expecting, "Content-Encoding": "rot13"})
    yield Http("expect/something else", GOOD, headers={"Expect": "200-maybe"})
    yield Http("expect/no body", b"", headers=expecting)


def shapes():
    """What is left of odd requests, and a receiver that takes gzip only and says who it is (`bare`)."""
    for signal in DOCUMENTS:
        for method in ("GET", "HEAD", "OPTIONS"):
            yield Http(f"shapes/{method} /v1/{signal}", b"", None, path=f"/v1/{signal}", method=method)
    yield Http("shapes/OPTIONS *", b"", None, path="*", method="OPTIONS")
    yield Http("shapes/CONNECT", b"", None, path="collector.test:80", method="CONNECT")
    yield Http("shapes/absolute form", GOOD, path="http://collector.test/v1/traces")
    yield Http("shapes/absolute form of another", GOOD, path="http://elsewhere.test/v1/traces")
    yield Http("shapes/two hosts", GOOD, headers={"host": "elsewhere.test"})
    yield Http("shapes/empty host", GOOD, headers={"Host": ""})
    yield Http("shapes/bad host", GOOD, headers={"Host": "a b"})
    yield Http("shapes/header without a name", GOOD, headers={"": "v"})
    yield Http("shapes/header with a space before the colon", GOOD, headers={"X-Odd ": "v"})
    yield Http("shapes/header of odd bytes", GOOD, headers={"X-Odd": "\x01"})
    yield Http("shapes/header not ASCII", GOOD, headers={"X-Odd": "\u00e9"})
    yield Http("shapes/folded header", GOOD, headers={"X-Odd": "a\r\n b"})
    yield Http("shapes/two lengths alike", GOOD, headers={"content-length": len(GOOD)})
    yield Http("shapes/two lengths", GOOD, headers={"content-length": len(GOOD) + 1})
    yield Http("shapes/length with a sign", GOOD, framing={"Content-Length": f"+{len(GOOD)}"})
    yield Http("shapes/gzip as transfer encoding", GOOD, framing={"Transfer-Encoding": "gzip, chunked"})
    yield Http("shapes/identity as transfer encoding", GOOD, framing={"Transfer-Encoding": "identity"})
    yield Http("shapes/chunks with extensions and trailers", b"%x;a=b\r\n%s\r\n0\r\nX-End: 1\r\n\r\n" % (len(GOOD), GOOD),
               framing={"Transfer-Encoding": "chunked"})
    yield Http("shapes/accept", GOOD, headers={"Accept": "text/html", "Accept-Encoding": "gzip"})
    for encoding, body in (("gzip", GZIPPED), ("zstd", bytes(cramjam.zstd.compress(GOOD))), ("deflate", zlib.compress(GOOD)), ("", GOOD),
                           ("identity", GOOD), ("rot13", GOOD), ("GZIP", GZIPPED)):
        yield Http(f"shapes/gzip only/{encoding}", body, headers={"Content-Encoding": encoding}, door="bare")
    yield Http("shapes/gzip only/unknown path", GOOD, path="/nothing", door="bare")
    yield Http("shapes/gzip only/GET", b"", None, method="GET", door="bare")
    yield Http("shapes/gzip only/malformed", b"\xff\xff\xff", door="bare")

    def grpc(name, body=message(GOOD), **changed):
        return Grpc(f"shapes/grpc/{name}", body, headers=changed)

    for name in ("grpc-status", "grpc-message", "grpc-anything", "grpc-accept-encoding", "user-agent", "grpc-previous-rpc-attempts"):
        yield grpc(f"{name} from the client", **{name: "1"})
    for value in ("1M", "1H", "0S", "-1S", "123456789S", "99999999H", "5 S", "S", "", "5s", "1.5S"):
        yield grpc(f"timeout {value!r}", **{"grpc-timeout": value})
    yield grpc("a name in upper case", **{"X-Odd": "v"})
    yield grpc("connection", **{"connection": "keep-alive"})
    yield grpc("te of another kind", **{"te": "gzip"})
    yield grpc("transfer-encoding", **{"transfer-encoding": "chunked"})
    yield grpc("no authority", **{":authority": None})
    yield grpc("host and authority", **{"host": "elsewhere.test"})
    yield grpc("host alone", **{":authority": None, "host": "collector.test"})
    yield grpc("no scheme", **{":scheme": None})
    yield grpc("no path", **{":path": None})
    yield grpc("unknown pseudo header", **{":odd": "v"})
    yield grpc("content-length that is right", **{"content-length": str(len(message(GOOD)))})
    yield grpc("content-length that is wrong", **{"content-length": "3"})
    yield grpc("accepts gzip", **{"grpc-accept-encoding": "gzip"})
    yield grpc("gzip both ways", message(GZIPPED, 1), **{"grpc-encoding": "gzip", "grpc-accept-encoding": "gzip, identity"})
    yield grpc("zstd, accepts gzip only", message(bytes(cramjam.zstd.compress(GOOD)), 1), **{
        "grpc-encoding": "zstd", "grpc-accept-encoding": "gzip"})
    yield grpc("metadata twice", **{"x-key": "a, b"})
    for path in ("/grpc.health.v1.Health/Check", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                 "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export", TRACES + "/", TRACES + "?a", TRACES[1:],
                 "/" + TRACES, "*"):
        yield Grpc(f"shapes/grpc/path {path}", message(GOOD), path)
    for content_type in ("application/grpc-web", "application/grpc-web+proto", "application/grpc+", "application/grpc+protobuf",
                         "APPLICATION/GRPC", "application/x-protobuf"):
        yield Grpc(f"shapes/grpc/content type {content_type}", message(GOOD), content_type=content_type)
