//! What merging, dividing and editing cost per span, against the same work on prost structs.
//!
//! `cargo run --release -p millrace-wire --example edit_cost`
//!
//! Every case works on eight requests of 1,000 spans in rotation, more than the second-level cache holds, and all
//! cases take turns; printed is the best of many rounds, in nanoseconds of wall time per span.
#![allow(clippy::print_stdout)] // It is a report.

use bytes::Bytes;
use millrace_wire::edit::{Above, Edit, Message, Reach, Span, Verdict, rewrite};
use millrace_wire::view::Number;
use millrace_wire::write::{Metrics, Point, Scope, Span as NewSpan, SpanKind, Traces};
use millrace_wire::{Payload, merge, split, view};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use prost::Message as _;
use std::hint::black_box;
use std::time::Instant;

const SPANS: usize = 1000;
const REQUESTS: usize = 8;
const ROUNDS: usize = 60;

fn main() {
    let corpus: &[Payload] = &(0..REQUESTS as u64).map(request).collect::<Vec<_>>();
    let points: Vec<Payload> = (0..REQUESTS as u64).map(gauges).collect();
    let bytes: usize = corpus.iter().map(Payload::len).sum();
    println!("{} B per span, {REQUESTS} requests of {SPANS} spans", bytes / SPANS / REQUESTS);

    type Case<'c> = (&'c str, Box<dyn FnMut() + 'c>);
    let each =
        |work: fn(&Payload)| -> Box<dyn FnMut() + '_> { Box::new(move || corpus.iter().for_each(work)) };
    let mut cases: Vec<Case<'_>> = vec![
        ("copy (memcpy)", each(|request| drop(black_box(request.detached())))),
        ("concat 8 -> 1", Box::new(|| drop(black_box(merge::concat(corpus).expect("one signal"))))),
        ("regroup 8 -> 1", Box::new(|| drop(black_box(merge::regroup(corpus).expect("one signal"))))),
        ("by_key: 8 shards by trace id", each(|request| drop(black_box(split::by_key(request, shard))))),
        ("by_key: every trace by itself", each(|request| drop(black_box(split::by_key(request, trace_id))))),
        ("by_size: 100 items", each(|request| drop(black_box(split::by_size(request, items(100)))))),
        ("halve", each(|request| drop(black_box(split::halve(request))))),
        (
            "retain every other span",
            each(|request| {
                let mut nth = 0;
                drop(black_box(split::retain(request, |_| {
                    nth += 1;
                    nth % 2 == 0
                })));
            }),
        ),
        ("edit: visit spans, change none", each(|request| drop(black_box(rewrite(request, &mut Visit))))),
        (
            "edit: delete one attribute, insert one",
            each(|request| drop(black_box(rewrite(request, &mut Swap)))),
        ),
        ("edit: resource only", each(|request| drop(black_box(rewrite(request, &mut Stamp))))),
        ("prost: decode + encode", each(|request| drop(black_box(prost_edit(request, |_| {}))))),
        (
            "prost: delete one attribute, insert one",
            each(|request| drop(black_box(prost_edit(request, swap)))),
        ),
        ("prost: split into 8 by trace id", each(|request| drop(black_box(prost_shards(request))))),
        (
            "points: by_key: 8 shards",
            Box::new(|| {
                points
                    .iter()
                    .for_each(|request| drop(black_box(split::by_key(request, |item| item.bytes[9] & 7))));
            }),
        ),
        (
            "points: by_size: 100 items",
            Box::new(|| {
                points.iter().for_each(|request| drop(black_box(split::by_size(request, items(100)))));
            }),
        ),
    ];
    let mut best = vec![f64::INFINITY; cases.len()];
    for _ in 0..ROUNDS {
        for ((_, work), best) in cases.iter_mut().zip(&mut best) {
            let start = Instant::now();
            work();
            *best = best.min(start.elapsed().as_nanos() as f64 / (SPANS * REQUESTS) as f64);
        }
    }
    for ((name, _), best) in cases.iter().zip(best) {
        println!("{name:<42}{best:>8.1} ns");
    }
}

fn items(max: u32) -> split::Limit {
    split::Limit { max_items: std::num::NonZeroU32::new(max), max_bytes: None }
}

fn shard(item: &split::Item<'_>) -> u32 {
    view::Span::over(item.bytes).trace_id().map_or(0, |id| u32::from(id[0]) & 7)
}

fn trace_id(item: &split::Item<'_>) -> [u8; 16] {
    view::Span::over(item.bytes).trace_id().unwrap_or_default()
}

struct Visit;

impl Edit for Visit {
    fn reach(&self) -> Reach {
        Reach::SPAN
    }

    fn span(&mut self, span: &mut Message<'_, Span>, _: &mut Above<'_, '_>) -> Verdict {
        span.remove(b"not.there");
        Verdict::Keep
    }
}

struct Swap;

impl Edit for Swap {
    fn reach(&self) -> Reach {
        Reach::SPAN
    }

    fn span(&mut self, span: &mut Message<'_, Span>, _: &mut Above<'_, '_>) -> Verdict {
        span.remove(b"user.email");
        span.insert(b"deployment.environment", "production");
        Verdict::Keep
    }
}

struct Stamp;

impl Edit for Stamp {
    fn reach(&self) -> Reach {
        Reach::RESOURCE
    }

    fn resource(&mut self, resource: &mut Message<'_, millrace_wire::edit::Resource>) -> Verdict {
        resource.upsert(b"deployment.environment", "production");
        Verdict::Keep
    }
}

fn swap(request: &mut ExportTraceServiceRequest) {
    for resource in &mut request.resource_spans {
        for span in resource.scope_spans.iter_mut().flat_map(|scope| &mut scope.spans) {
            span.attributes.retain(|attribute| attribute.key != "user.email");
            let value = any_value::Value::StringValue("production".to_owned());
            span.attributes.push(KeyValue {
                key: "deployment.environment".to_owned(),
                value: Some(AnyValue { value: Some(value) }),
                ..KeyValue::default()
            });
        }
    }
}

fn prost_edit(payload: &Payload, edit: fn(&mut ExportTraceServiceRequest)) -> Vec<u8> {
    let mut request = decode(payload.bytes());
    edit(&mut request);
    request.encode_to_vec()
}

fn prost_shards(payload: &Payload) -> Vec<Vec<u8>> {
    let mut shards = vec![ExportTraceServiceRequest::default(); 8];
    for mut resource in decode(payload.bytes()).resource_spans {
        for mut scope in std::mem::take(&mut resource.scope_spans) {
            for shard in &mut shards {
                let mut resource = resource.clone();
                resource.scope_spans.push(Default::default());
                resource.scope_spans[0].scope = scope.scope.clone();
                shard.resource_spans.push(resource);
            }
            for span in std::mem::take(&mut scope.spans) {
                let shard = &mut shards[usize::from(span.trace_id[0] & 7)];
                let resource = shard.resource_spans.last_mut().expect("pushed above");
                resource.scope_spans[0].spans.push(span);
            }
        }
    }
    shards.iter().map(ExportTraceServiceRequest::encode_to_vec).collect()
}

fn decode(bytes: &Bytes) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest::decode(bytes.clone()).expect("our own bytes")
}

/// One resource, two scopes, about 700 bytes a span with twelve attributes and one or two events.
fn request(seed: u64) -> Payload {
    Traces::build(|traces| {
        traces.resource("", |resource| {
            for key in ["service.name", "service.version", "host.name", "host.id", "os.type", "cloud.region"]
            {
                resource.attr(key, "a resource attribute's value");
            }
        });
        for scope in ["http.server", "db.client"] {
            traces.scope(Scope { name: scope, version: "1.2.3", ..Scope::default() }, |_| {});
            for nth in 0..SPANS as u64 / 2 {
                traces.span(span(seed << 32 | nth), |span| {
                    span.attr("http.request.method", "GET").attr("url.path", "/api/v1/orders/1234567");
                    span.attr("http.response.status_code", 200).attr("server.address", "orders.example.com");
                    span.attr("server.port", 8443).attr("client.address", "192.0.2.17");
                    span.attr("user.id", "u-77812345").attr("user.email", "someone@example.com");
                    span.attr("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101");
                    span.attr("thread.id", 4711)
                        .attr("thread.name", "worker-17")
                        .attr("cache.hit", nth % 2 == 0);
                    for event in 0..1 + nth % 2 {
                        span.event("message received", nth, |attributes| {
                            attributes.attr("message.id", event as i64).attr("message.size", 512);
                        });
                    }
                });
            }
        }
    })
}

fn span(seed: u64) -> NewSpan<'static> {
    let mixed = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut trace_id = [7; 16];
    trace_id[..8].copy_from_slice(&mixed.rotate_left(23).to_le_bytes());
    NewSpan {
        trace_id,
        span_id: mixed.to_le_bytes(),
        parent_span_id: mixed.rotate_left(7).to_le_bytes(),
        name: "GET /api/v1/orders/{id}",
        kind: SpanKind::Server,
        start_ns: 1_700_000_000_000_000_000 + seed,
        end_ns: 1_700_000_000_001_000_000 + seed,
        ..NewSpan::default()
    }
}

/// A hundred gauges of ten points each.
fn gauges(seed: u64) -> Payload {
    Metrics::build(|metrics| {
        metrics.resource("", |resource| {
            resource.attr("service.name", "shop");
        });
        for name in 0..SPANS / 10 {
            metrics.gauge(&*format!("process.gauge.{name}"), |gauge| {
                for nth in 0..10 {
                    let time_ns = 1_700_000_000_000_000_000 + seed + nth;
                    let point = Point { time_ns, start_ns: nth << 4, flags: 0 };
                    gauge.point(point, Number::Double(nth as f64), |point| {
                        point
                            .attr("cpu", nth as i64)
                            .attr("state", "user")
                            .attr("host.name", "a host's name");
                    });
                }
            });
        }
    })
}
