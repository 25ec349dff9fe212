//! OTLP to send.

use millrace_wire::view::Number;
use millrace_wire::write::{
    Attributes, LogRecord, Logs, Metrics, NumberPoints, Point, Scope, Span, Traces, Value,
};
use std::ops::Range;

/// A request of so many log records.
pub fn logs(records: usize) -> Vec<u8> {
    logs_saying("hello", records)
}

/// A request of so many log records with that body.
pub fn logs_saying(body: &str, records: usize) -> Vec<u8> {
    let payload = Logs::build(|logs| {
        logs.resource("", service);
        logs.scope(Scope::default(), |_| {});
        for _ in 0..records {
            logs.record(LogRecord { body: Some(Value::Str(body)), ..LogRecord::default() }, |_| {});
        }
    });
    payload.into_bytes().to_vec()
}

/// A request of log records that say their ids.
pub fn logs_named(ids: Range<u64>) -> Vec<u8> {
    let payload = Logs::build(|logs| {
        logs.resource("", service);
        logs.scope(Scope::default(), |_| {});
        for id in ids {
            let body = format!("id={id};");
            logs.record(LogRecord { body: Some(Value::Str(&body)), ..LogRecord::default() }, |_| {});
        }
    });
    payload.into_bytes().to_vec()
}

/// The ids in the bytes of such requests, in order, without decoding anything else of them.
pub fn ids(bytes: &[u8]) -> Vec<u64> {
    let text = String::from_utf8_lossy(bytes);
    let parts = text.split("id=").skip(1);
    parts.map(|part| part.split(';').next().expect("an end").parse().expect("a number")).collect()
}

/// A request of so many spans.
pub fn traces(spans: usize) -> Vec<u8> {
    let payload = Traces::build(|traces| {
        traces.resource("", service);
        traces.scope(Scope::default(), |_| {});
        for _ in 0..spans {
            let span = Span { name: "GET /", trace_id: [7; 16], span_id: [8; 8], ..Span::default() };
            traces.span(span, |body| {
                body.attr("http.request.method", "GET");
            });
        }
    });
    payload.into_bytes().to_vec()
}

/// A request of so many data points.
pub fn metrics(points: usize) -> Vec<u8> {
    let payload = Metrics::build(|metrics| {
        metrics.resource("", service);
        metrics.scope(Scope::default(), |_| {});
        metrics.gauge("load", |gauge: &mut NumberPoints<'_>| {
            for _ in 0..points {
                gauge.point(Point::default(), Number::Int(1), |_| {});
            }
        });
    });
    payload.into_bytes().to_vec()
}

fn service(resource: &mut Attributes<'_>) {
    resource.attr("service.name", "hostile");
}
