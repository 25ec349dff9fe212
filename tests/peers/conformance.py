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
import sys
import tempfile
from fnmatch import fnmatchcase
from pathlib import Path

from support import installed

installed.continue_in_venv()

import cramjam
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # noqa: F401 (error_details: its types are found by name)

from conformance import cases
from support import otlp_json, raw, replay
from support.process import Collector, Failure
from support.sink import JSON, PROTOBUF, Sink

GOLDEN = installed.HERE / "conformance/golden.json"
DELIBERATE = installed.HERE / "conformance/deliberate.json"
HTTP_HEADERS = ("content-type", "retry-after", "allow", "content-encoding")
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
        collector = Collector(options.collector, "conformance.yaml", Path(directory) / "run", SINK_PORT=sink.port)
        try:
            with collector:
                answers = {case.name: answer(collector, sink, case) for case in table}
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


def answer(collector, sink, case):
    """Everything observable about one case, as JSON without anything that changes from run to run."""
    sink.answer = case.sink
    sink.requests.clear()
    answered = http_answer(collector, case) if isinstance(case, cases.Http) else grpc_answer(collector, case)
    if collector.process.poll() is not None:
        raise Failure(f"the collector ended at {case.name!r}\n{collector.log_tail()}")
    answered["delivered"] = [delivery(*request) for request in sink.requests]
    return json.loads(json.dumps(answered).replace(f":{sink.port}", ":PORT"))


def http_answer(collector, case):
    exchanged = raw.http_exchange(collector.http_port, case.request(), case.half_close)
    if isinstance(exchanged, str):
        return {"reset": exchanged}
    status, headers, body = exchanged
    content_type = headers.get("content-type", "").split(";")[0]
    if content_type == JSON:
        body = json.loads(body)
    elif content_type == PROTOBUF:
        signal = case.path.partition("?")[0].rsplit("/", 1)[-1]
        body = decoded(replay.message_class(signal, "Response") if status == 200 else status_pb2.Status, body)
    else:
        body = body.decode(errors="replace")
    return {"status": status, "headers": chosen(headers, HTTP_HEADERS), "body": body}


def grpc_answer(collector, case):
    headers, data, reset = raw.grpc_exchange(collector.grpc_port, case.header_list(), case.body)
    answered = {"headers": chosen(headers, GRPC_HEADERS)}
    if "grpc-status-details-bin" in headers:
        padded = headers["grpc-status-details-bin"] + "=="
        answered["details"] = decoded(status_pb2.Status, base64.b64decode(padded))
    if data:
        message = data[5:] if data[0] == 0 else decompressed(headers["grpc-encoding"], data[5:])
        answered["body"] = decoded(replay.message_class("traces", "Response"), message)
    if reset:
        answered["reset"] = reset
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
