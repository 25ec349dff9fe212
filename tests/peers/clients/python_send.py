"""Sends traces, metrics and logs with the official Python SDK and prints what it sent.

Every span, data point and log record carries an attribute `test.id` that no other item has, so that the receiving
end can be checked item by item. Prints `{"sent": {signal: [ids]}, "errors": [...]}`; exits with 1 if an export failed.
"""

import argparse
import importlib
import json
import math
import sys

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

BATCH = 100  # small enough that a run takes several requests
TEXT = "příliš žluťoučký 🐎 \"quoted\" \\ \t<&>"


def main():
    options = parse_arguments()
    errors = []
    export = Exporters(options, errors)
    resource = Resource({"service.name": "python-client", "test.run": options.run})
    sent = {
        "traces": send_traces(options, resource, export.of("trace", "OTLPSpanExporter")),
        "metrics": send_metrics(options, resource, export.of("metric", "OTLPMetricExporter")),
        "logs": send_logs(options, resource, export.of("_log", "OTLPLogExporter")),
    }
    json.dump({"sent": sent, "errors": errors}, sys.stdout)
    sys.exit(1 if errors else 0)


def parse_arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--protocol", choices=["grpc", "http/protobuf"], required=True)
    parser.add_argument("--compression", choices=["none", "gzip"], default="none")
    parser.add_argument("--endpoint", required=True, help="http[s]://host:port of the receiver")
    parser.add_argument("--run", required=True, help="prefix of every test.id")
    parser.add_argument("--count", type=int, default=250, help="spans, logs, and data points per instrument")
    return parser.parse_args()


class Exporters:
    """Makes the SDK's exporters, each wrapped so that a failed export is noted and not only logged."""

    def __init__(self, options, errors):
        self.options, self.errors = options, errors

    def of(self, module, name):
        grpc = self.options.protocol == "grpc"
        package = "opentelemetry.exporter.otlp.proto." + ("grpc" if grpc else "http")
        exporter_class = getattr(importlib.import_module(f"{package}.{module}_exporter"), name)
        if grpc:
            from grpc import Compression

            compression = Compression.Gzip if self.options.compression == "gzip" else Compression.NoCompression
            plain = self.options.endpoint.startswith("http:")
            exporter = exporter_class(endpoint=self.options.endpoint, insecure=plain, compression=compression)
        else:
            from opentelemetry.exporter.otlp.proto.http import Compression

            signal = {"trace": "traces", "metric": "metrics", "_log": "logs"}[module]
            compression = Compression.Gzip if self.options.compression == "gzip" else Compression.NoCompression
            exporter = exporter_class(endpoint=f"{self.options.endpoint}/v1/{signal}", compression=compression)
        send = exporter.export

        def export(*arguments, **named):
            result = send(*arguments, **named)
            if result.name != "SUCCESS":
                self.errors.append(f"{name}: {result.name}")
            return result

        exporter.export = export
        return exporter


def send_traces(options, resource, exporter):
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(
        BatchSpanProcessor(exporter, max_queue_size=options.count + BATCH, max_export_batch_size=BATCH)
    )
    tracer = provider.get_tracer("python_send", "1.0", schema_url="https://example.test/schema")
    ids = []
    previous = None
    for index in range(options.count):
        ids.append(f"{options.run}-traces-{index}")
        links = [Link(previous, {"link.index": index})] if previous else []
        span = tracer.start_span(f"span {index}", kind=list(SpanKind)[index % 5], links=links)
        span.set_attributes(attributes(ids[-1], index))
        span.add_event("event", {"event.index": index})
        span.set_status(Status(StatusCode.ERROR, TEXT) if index % 3 == 0 else Status(StatusCode.OK))
        span.end()
        previous = span.get_span_context()
    provider.shutdown()
    return ids


def send_metrics(options, resource, exporter):
    # With no interval the reader collects only when told to, so that every data point is exported exactly once.
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=math.inf)
    exponential = View(instrument_name="test.exponential", aggregation=ExponentialBucketHistogramAggregation())
    provider = MeterProvider(resource=resource, metric_readers=[reader], views=[exponential])
    meter = provider.get_meter("python_send", "1.0")
    instruments = {
        "counter": (meter.create_counter("test.counter", unit="1", description="a sum").add, [1, 2]),
        "updown": (meter.create_up_down_counter("test.updown").add, [-1.5]),
        "gauge": (meter.create_gauge("test.gauge").set, [3]),
        "histogram": (meter.create_histogram("test.histogram", unit="ms").record, [1, 30, 20000.5]),
        "exponential": (meter.create_histogram("test.exponential").record, [0, 0.1, 10, 1000]),
    }
    ids = []
    for kind, (record, values) in instruments.items():
        for index in range(options.count):
            ids.append(f"{options.run}-metrics-{kind}-{index}")
            for value in values:
                record(value, {"test.id": ids[-1]})
    provider.force_flush()
    provider.shutdown()
    return ids


def send_logs(options, resource, exporter):
    provider = LoggerProvider(resource=resource)
    provider.add_log_record_processor(
        BatchLogRecordProcessor(exporter, max_queue_size=options.count + BATCH, max_export_batch_size=BATCH)
    )
    logger = provider.get_logger("python_send")
    ids = []
    for index in range(options.count):
        ids.append(f"{options.run}-logs-{index}")
        record = LogRecord(
            timestamp=1_700_000_000_123_456_789 + index,
            severity_number=SeverityNumber.WARN,
            severity_text="WARN",
            body={"message": TEXT, "index": index, "bytes": bytes([0, 255, index % 256])},
            attributes=attributes(ids[-1], index),
            event_name="test.event",
        )
        logger.emit(record)
    provider.shutdown()
    return ids


def attributes(id, index):
    return {
        "test.id": id,
        "test.index": index,
        "test.text": TEXT,
        "test.large": 2**53 + 1,
        "test.ratio": 0.1,
        "test.flag": index % 2 == 0,
        "test.list": ["a", "", "č"],
    }


if __name__ == "__main__":
    main()
