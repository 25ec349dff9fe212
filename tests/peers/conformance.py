#!/usr/bin/env python3
"""Sends a table of good and bad requests to a collector and compares its answers with the Go collector's.

    tests/peers/conformance.py --check                     compare the collector cargo built last with golden.json
    tests/peers/conformance.py --check --collector PATH    … another collector
    tests/peers/conformance.py --record                    write golden.json anew, from the Go collector
    tests/peers/conformance.py --show 'http/json/*'        print the answers to some cases

An answer is the status, the headers that matter, the decoded body, and what was delivered behind the collector. The
wording of messages in a Status may differ. Differences listed in deliberate.json are no failures; all others are.
"""

import argparse
import base64
import binascii
import json
import ssl
import sys
import tempfile
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from support import installed

installed.continue_in_venv()

import cramjam
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # noqa: F401 (error_details: its types are found by name)

from conformance import cases
from conformance.doors import DOORS
from conformance.requests import Http, protobuf
from support import certificates, otlp_json, raw, replay
from support.process import Collector, Failure
from support.sink import JSON, PROTOBUF, Sink

GOLDEN = installed.HERE / "conformance/golden.json"
DELIBERATE = installed.HERE / "conformance/deliberate.json"
HTTP_HEADERS = (
    "content-type", "retry-after", "allow", "content-encoding", "connection", "location", "www-authenticate", "vary",
    "x-content-type-options", "x-served-by", "upgrade",
)  # fmt: skip
CORS_HEADERS = "access-control-"
GRPC_HEADERS = (":status", "content-type", "grpc-status", "grpc-message")
LARGEST_SHOWN = 4096  # bytes; larger deliveries are recorded by their size
TEXTS_COUNT = (405, 415)  # whose plain texts clients and tests are known to look at


def main():
    options = parse_arguments()
    if options.record:
        options.collector = installed.require(options.collector or installed.GO_COLLECTOR, "tests/peers/install-otelcol")
    else:
        options.collector = installed.collector(options.collector)
    table = [case for case in cases.cases() if fnmatchcase(case.name, options.show or "*")]
    names = [case.name for case in table]
    assert len(set(names)) == len(names), "two cases have the same name"
    with tempfile.TemporaryDirectory(prefix="millrace-conformance-") as directory, Sink() as sink:
        identities = issue(Path(directory) / "certificates")
        environment = {"CERTIFICATES": identities, "SINK_PORT": sink.port}
        names = [f"{door}_{transport}_PORT".upper() for door in DOORS for transport in ("grpc", "http")]
        collector = Collector(options.collector, "conformance.yaml", Path(directory) / "run", more_ports=names, **environment)
        try:
            with collector:
                bench = Bench(collector, sink, identities)
                answers = {case.name: bench.answer(case) for case in table}
                collector.stop()
        except Failure as failure:
            sys.exit(f"FAILED: {failure}")
    if options.show:
        print(dump(answers))
    elif options.record:
        GOLDEN.write_text(dump(answers), encoding="utf-8")
        print(f"{len(answers)} answers written to {GOLDEN}")
    else:
        sys.exit(check(answers))


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--check", action="store_true")
    mode.add_argument("--record", action="store_true")
    mode.add_argument("--show", metavar="PATTERN")
    parser.add_argument("--collector", help="the program to ask; also MILLRACE_COLLECTOR")
    return parser.parse_args()


def issue(directory):
    """Everybody's certificates; returns where they are."""
    ours = certificates.Authority(directory)
    for name in ("server", "client"):
        ours.issue(name)
    ours.issue("server-only", usage="serverAuth")
    ours.issue_expired("expired")
    certificates.Authority(directory, "stranger").issue("stranger-client")
    return directory


@dataclass
class Bench:
    """A running collector, what is behind it, and the directory of certificates."""

    collector: Collector
    sink: Sink
    identities: Path

    def answer(self, case):
        """Everything observable about one case, as JSON without anything that changes from run to run."""
        self.sink.answer = case.sink
        self.sink.requests.clear()
        ask = self.http if isinstance(case, Http) else self.grpc
        try:
            with self.connected(case, "http" if ask == self.http else case.to) as connection:
                spoken = case.tls and {"version": connection.version(), "alpn": connection.selected_alpn_protocol()}
                answered = ask(connection, case)
                if spoken:
                    answered["tls"] = spoken
        except ssl.SSLError as error:
            answered = {"tls": {"failed": error.reason or "UNEXPECTED_EOF"}}
        except ConnectionError:
            answered = {"reset": "CONNECTION_CLOSED"}
        if answered.get("status") == 0 or answered.get("tls", {}).get("failed") == "UNEXPECTED_EOF":
            answered = {"reset": "CONNECTION_CLOSED"}  # with TLS or without a goodbye: by chance
        if self.collector.process.poll() is not None:
            raise Failure(f"the collector ended at {case.name!r}\n{self.collector.log_tail()}")
        answered["delivered"] = [delivery(*request) for request in self.sink.requests]
        return json.loads(json.dumps(answered).replace(f":{self.sink.port}", ":PORT"))

    def connected(self, case, transport):
        own = {"grpc": self.collector.grpc_port, "http": self.collector.http_port}[transport]
        port = self.collector.more_ports[f"{case.door}_{transport}_PORT".upper()] if case.door else own
        return raw.connected(port, case.tls, self.identities)

    def http(self, connection, case):
        request = case.request()
        answered = {}
        if "Expect" in case.headers:
            head, _, request = request.partition(b"\r\n\r\n")
            answered["before the body"] = raw.interim(connection, head + b"\r\n\r\n")
        exchanged = raw.http_exchange(connection, request, case.half_close, case.method)
        if isinstance(exchanged, str):
            return answered | {"reset": exchanged}
        answered |= http_answer(case, *exchanged)
        if case.then:
            again = raw.http_exchange(connection, Http("", protobuf()).request(), method="POST")
            answered["then"] = again if isinstance(again, str) else again[0]
        return answered

    def grpc(self, connection, case):
        headers, data, reset = raw.grpc_exchange(connection, case.header_list(), case.body)
        if case.to == "http":
            answered = http_answer(case, int(headers.get(":status", 0)), headers, data)
        else:
            answered = grpc_answer(case, headers, data)
        return answered | ({"reset": reset} if reset else {})


def http_answer(case, status, headers, body):
    content_type = headers.get("content-type", "").split(";")[0]
    if content_type == JSON and body:
        body = json.loads(body)
    elif content_type == PROTOBUF:
        signal = case.path.partition("?")[0].rsplit("/", 1)[-1]
        body = decoded(replay.message_class(signal, "Response") if status == 200 else status_pb2.Status, body)
    else:
        body = body.decode(errors="replace")
    names = [*HTTP_HEADERS, *(name for name in headers if name.startswith(CORS_HEADERS))]
    return {"status": status, "headers": chosen(headers, names), "body": body}


def grpc_answer(case, headers, data):
    answered = {"headers": chosen(headers, GRPC_HEADERS)}
    if "grpc-status-details-bin" in headers:
        padded = headers["grpc-status-details-bin"] + "=="
        answered["details"] = decoded(status_pb2.Status, base64.b64decode(padded))
    if data:
        message = data[5:] if data[0] == 0 else decompressed(headers["grpc-encoding"], data[5:])
        answered["body"] = decoded(replay.message_class("traces", "Response"), message)
    return answered


def delivery(path, content_type, body):
    """A request that reached the sink."""
    if len(body) > LARGEST_SHOWN:
        return {"path": path, "kibibytes": len(body) // 1024}
    return {"path": path, "request": decoded(replay.message_class(path.rsplit("/", 1)[1]), body)}


def decoded(message_class, body):
    """A protobuf message as JSON, or its bytes where Python's decoder is stricter than Go's (invalid UTF-8)."""
    try:
        return json_format.MessageToDict(message_class.FromString(body))
    except (DecodeError, UnicodeDecodeError):
        return {"undecodable": binascii.hexlify(body).decode()}


def decompressed(encoding, data):
    return bytes(getattr(cramjam, encoding).decompress(data))


def chosen(headers, names):
    return {name: headers[name] for name in names if name in headers}


def dump(answers):
    """One case a line: golden.json stays readable in a diff."""
    lines = [f"{json.dumps(name)}: {json.dumps(answers[name], sort_keys=True)}" for name in answers]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def check(answers):
    """Prints how the answers differ from the recorded ones; returns the exit code."""
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    entries = json.loads(DELIBERATE.read_text(encoding="utf-8"))
    used, failed = set(), 0
    for name in sorted(golden.keys() ^ answers.keys()):
        print(f"FAILED  {name}: {'not in golden.json' if name in answers else 'no such case any more'}; --record anew")
        failed += 1
    for name in [name for name in answers if name in golden]:
        differing = otlp_json.differences(comparable(golden[name]), comparable(answers[name]))
        unexplained = []
        for line in differing:
            reasons = [index for index, entry in enumerate(entries) if explains(entry, name, line)]
            used.update(reasons)
            if not reasons:
                unexplained.append(line)
        if unexplained:
            failed += 1
            print("\n        ".join([f"FAILED  {name} (Go | tested)", *unexplained]))
        elif differing:
            print(f"differs {name}: {entries[reasons[0]]['reason']}")
    for index, entry in enumerate(entries):
        if index not in used:
            print(f"note    nothing differs as deliberate.json says: {entry}")
    print(f"\n{len(answers) - failed} passed, {failed} failed")
    return 1 if failed else 0


def explains(entry, name, line):
    """Whether an entry `{cases: [pattern], where: [prefix], reason}` of deliberate.json covers a difference."""
    return any(fnmatchcase(name, each) for each in entry["cases"]) and line.startswith(tuple(entry["where"]))


def comparable(answered):
    """The answer with the wording of errors and the spellings of "empty" evened out."""
    answered = otlp_json.tidy(answered)
    for holder in (answered.get("body"), answered.get("details")):
        if isinstance(holder, dict) and holder.get("message"):
            holder["message"] = "(some text)"
    if isinstance(answered.get("body"), str) and answered["status"] not in TEXTS_COUNT:
        answered["body"] = "(some text)" if answered["body"] else ""
    if "grpc-message" in answered.get("headers", {}):
        answered["headers"]["grpc-message"] = "(some text)" if answered["headers"]["grpc-message"] else ""
    answered.setdefault("headers", {}).setdefault("grpc-message", "")
    return answered


if __name__ == "__main__":
    main()
