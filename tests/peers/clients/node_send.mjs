// Sends traces, metrics and logs with the official Node SDK and prints what it sent.
//
// Every span, data point and log record carries an attribute `test.id` that no other item has, so that the receiving
// end can be checked item by item. Prints {"sent": {signal: [ids]}, "errors": [...]}; exits with 1 if an export failed.
//
// The SDK lives outside the tree: NODE_PEERS names the directory that holds its node_modules.

import { createRequire } from "node:module";
import { parseArgs } from "node:util";

const require = createRequire(`${process.env.NODE_PEERS}/`);
const { SpanKind, SpanStatusCode, diag, DiagLogLevel, trace, ROOT_CONTEXT } = require("@opentelemetry/api");
const { SeverityNumber } = require("@opentelemetry/api-logs");
const { resourceFromAttributes } = require("@opentelemetry/resources");
const { BasicTracerProvider, BatchSpanProcessor } = require("@opentelemetry/sdk-trace-base");
const { AggregationType, MeterProvider, PeriodicExportingMetricReader } = require("@opentelemetry/sdk-metrics");
const { BatchLogRecordProcessor, LoggerProvider } = require("@opentelemetry/sdk-logs");
const { CompressionAlgorithm } = require("@opentelemetry/otlp-exporter-base");

const BATCH = 100; // small enough that a run takes several requests
const TEXT = 'příliš žluťoučký 🐎 "quoted" \\ \t<&>';
const PACKAGE = { grpc: "grpc", "http/protobuf": "proto", "http/json": "http" };

const { values: options } = parseArgs({
  options: {
    protocol: { type: "string" },
    compression: { type: "string", default: "none" },
    endpoint: { type: "string" }, // http[s]://host:port of the receiver
    run: { type: "string" }, // prefix of every test.id
    count: { type: "string", default: "250" }, // spans, logs, and data points per instrument
  },
});
const count = Number(options.count);
const errors = [];
diag.setLogger({ error: (text) => errors.push(text), warn() {}, info() {}, debug() {}, verbose() {} }, DiagLogLevel.ERROR);

const resource = resourceFromAttributes({ "service.name": "node-client", "test.run": options.run });
const sent = { traces: await sendTraces(), metrics: await sendMetrics(), logs: await sendLogs() };
process.stdout.write(JSON.stringify({ sent, errors }), () => process.exit(errors.length > 0 ? 1 : 0));

// The SDK's exporter, wrapped so that a failed export is noted and not only logged.
function exporter(signal, name) {
  const package_ = signal === "traces" ? "trace" : signal;
  const Exporter = require(`@opentelemetry/exporter-${package_}-otlp-${PACKAGE[options.protocol]}`)[name];
  const path = options.protocol === "grpc" ? "" : `/v1/${signal}`;
  const compression = options.compression === "gzip" ? CompressionAlgorithm.GZIP : CompressionAlgorithm.NONE;
  const exporter = new Exporter({ url: options.endpoint + path, compression });
  const send = exporter.export.bind(exporter);
  exporter.export = (items, done) =>
    send(items, (result) => {
      if (result.code !== 0) errors.push(`${name}: ${result.error}`);
      done(result);
    });
  return exporter;
}

async function sendTraces() {
  const processor = new BatchSpanProcessor(exporter("traces", "OTLPTraceExporter"), {
    maxQueueSize: count + BATCH,
    maxExportBatchSize: BATCH,
  });
  const provider = new BasicTracerProvider({ resource, spanProcessors: [processor] });
  const tracer = provider.getTracer("node_send", "1.0", { schemaUrl: "https://example.test/schema" });
  const kinds = [SpanKind.INTERNAL, SpanKind.SERVER, SpanKind.CLIENT, SpanKind.PRODUCER, SpanKind.CONSUMER];
  const ids = [];
  let previous;
  for (let index = 0; index < count; index++) {
    ids.push(`${options.run}-traces-${index}`);
    const links = previous ? [{ context: previous, attributes: { "link.index": index } }] : [];
    const parent = previous && index % 2 ? trace.setSpanContext(ROOT_CONTEXT, previous) : ROOT_CONTEXT;
    const span = tracer.startSpan(`span ${index}`, { kind: kinds[index % 5], links }, parent);
    span.setAttributes(attributes(ids.at(-1), index));
    span.addEvent("event", { "event.index": index });
    span.setStatus(index % 3 ? { code: SpanStatusCode.OK } : { code: SpanStatusCode.ERROR, message: TEXT });
    span.end();
    previous = span.spanContext();
  }
  await provider.shutdown().catch((error) => errors.push(String(error)));
  return ids;
}

async function sendMetrics() {
  // The interval never comes: one collection at shutdown, so that every data point is exported exactly once.
  const reader = new PeriodicExportingMetricReader({
    exporter: exporter("metrics", "OTLPMetricExporter"),
    exportIntervalMillis: 2 ** 31 - 1,
  });
  const exponential = { instrumentName: "test.exponential", aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM } };
  const provider = new MeterProvider({ resource, readers: [reader], views: [exponential] });
  const meter = provider.getMeter("node_send", "1.0");
  const counter = meter.createCounter("test.counter", { unit: "1", description: "a sum", valueType: 0 });
  const updown = meter.createUpDownCounter("test.updown");
  const gauge = meter.createGauge("test.gauge");
  const histogram = meter.createHistogram("test.histogram", { unit: "ms" });
  const exponentialHistogram = meter.createHistogram("test.exponential");
  const instruments = {
    counter: [(value, labels) => counter.add(value, labels), [1, 2]],
    updown: [(value, labels) => updown.add(value, labels), [-1.5]],
    gauge: [(value, labels) => gauge.record(value, labels), [3]],
    histogram: [(value, labels) => histogram.record(value, labels), [1, 30, 20000.5]],
    exponential: [(value, labels) => exponentialHistogram.record(value, labels), [0, 0.1, 10, 1000]],
  };
  const ids = [];
  for (const [kind, [record, values]] of Object.entries(instruments)) {
    for (let index = 0; index < count; index++) {
      ids.push(`${options.run}-metrics-${kind}-${index}`);
      for (const value of values) record(value, { "test.id": ids.at(-1) });
    }
  }
  await provider.shutdown().catch((error) => errors.push(String(error)));
  return ids;
}

async function sendLogs() {
  const processor = new BatchLogRecordProcessor({
    exporter: exporter("logs", "OTLPLogExporter"),
    maxQueueSize: count + BATCH,
    maxExportBatchSize: BATCH,
  });
  const provider = new LoggerProvider({ resource, processors: [processor] });
  const logger = provider.getLogger("node_send");
  const ids = [];
  for (let index = 0; index < count; index++) {
    ids.push(`${options.run}-logs-${index}`);
    logger.emit({
      timestamp: [1700000000, 123456000 + index],
      severityNumber: SeverityNumber.WARN,
      severityText: "WARN",
      body: { message: TEXT, index, bytes: new Uint8Array([0, 255, index % 256]) },
      attributes: attributes(ids.at(-1), index),
      eventName: "test.event",
    });
  }
  await provider.shutdown().catch((error) => errors.push(String(error)));
  return ids;
}

function attributes(id, index) {
  return {
    "test.id": id,
    "test.index": index,
    "test.text": TEXT,
    "test.large": 2 ** 53 - 1,
    "test.ratio": 0.1,
    "test.flag": index % 2 === 0,
    "test.list": ["a", "", "č"],
  };
}
