"""Requests as bytes, to be sent to several collectors alike: recorded from an SDK, or built from the corpus."""

import base64
import importlib
import json
import urllib.request
from dataclasses import dataclass

import grpc
from google.protobuf import json_format

from .installed import HERE
from .sink import JSON, PROTOBUF

ID_FIELDS = ("traceId", "spanId", "parentSpanId")
REQUESTS = {
    "traces": ("trace", "ExportTraceServiceRequest"),
    "metrics": ("metrics", "ExportMetricsServiceRequest"),
    "logs": ("logs", "ExportLogsServiceRequest"),
}
METHODS = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}


@dataclass
class Request:
    signal: str
    content_type: str
    body: bytes


def corpus():
    """The requests in corpus/<signal>.json, each as JSON and as protobuf."""
    requests = []
    for signal in REQUESTS:
        for document in json.loads((HERE / "corpus" / f"{signal}.json").read_text(encoding="utf-8")):
            requests.append(Request(signal, JSON, json.dumps(document).encode()))
            requests.append(Request(signal, PROTOBUF, to_message(signal, document).SerializeToString()))
    return requests


def message_class(signal, kind="Request"):
    """The generated class of a signal's export request or response."""
    module, name = REQUESTS[signal]
    package = f"opentelemetry.proto.collector.{module}.v1.{module}_service_pb2"
    return getattr(importlib.import_module(package), name.replace("Request", kind))


def to_message(signal, document):
    """The protobuf message of an OTLP JSON request; OTLP writes ids in hex where protobuf's JSON has base64."""
    return json_format.ParseDict(with_base64_ids(document), message_class(signal)())


def with_base64_ids(value):
    if isinstance(value, list):
        return [with_base64_ids(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: base64.b64encode(bytes.fromhex(each)).decode() if key in ID_FIELDS else with_base64_ids(each)
        for key, each in value.items()
    }


def send(requests, collector):
    """Sends each request over HTTP as it is, and those in protobuf over gRPC as well. An answer but success raises."""
    with grpc.insecure_channel(f"127.0.0.1:{collector.grpc_port}") as channel:
        for request in requests:
            http = urllib.request.Request(
                f"{collector.endpoint('http')}/v1/{request.signal}",
                data=request.body,
                headers={"Content-Type": request.content_type},
            )
            urllib.request.urlopen(http, timeout=10).close()
            if request.content_type == PROTOBUF:
                channel.unary_unary(METHODS[request.signal])(request.body, timeout=10)
