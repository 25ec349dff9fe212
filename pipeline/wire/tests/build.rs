//! What the writers write is what prost reads.

mod flat;
mod support;

use flat::assert_sound;
use millrace_wire::view::Number;
use millrace_wire::write::{
    Buckets, Exemplar, ExponentialHistogram, Histogram, LogRecord, Logs, MAX_NESTING, Metric, Metrics, Point,
    Scope, Span, SpanKind, Status, StatusCode, Summary, Temporality, Traces, Value,
};
use opentelemetry_proto::tonic::common::v1 as common;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::logs::v1 as logs;
use opentelemetry_proto::tonic::metrics::v1 as metrics;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as trace;

fn any(value: Any) -> common::AnyValue {
    common::AnyValue { value: Some(value) }
}

fn attr(key: &str, value: Any) -> common::KeyValue {
    common::KeyValue { key: key.to_owned(), value: Some(any(value)), ..Default::default() }
}

fn text(value: &str) -> Any {
    Any::StringValue(value.to_owned())
}

#[test]
fn spans_with_all_they_can_have() {
    let payload = Traces::build(|traces| {
        traces.resource("https://schema/1", |resource| {
            resource.attr("service.name", "shop").attr("service.instance", 7);
        });
        traces.scope(Scope { name: "cart", version: "1.2", schema_url: "https://schema/2" }, |scope| {
            scope.attr("x", true);
        });
        let span = Span {
            trace_id: [1; 16],
            span_id: [2; 8],
            parent_span_id: [3; 8],
            trace_state: "a=b",
            name: "GET /cart",
            kind: SpanKind::Server,
            start_ns: 10,
            end_ns: 20,
            status: Status { code: StatusCode::Error, message: "no stock" },
            flags: 1,
            dropped_attributes_count: 4,
            dropped_events_count: 5,
            dropped_links_count: 6,
        };
        traces.span(span, |span| {
            span.attr("d", 1.5).attr("b", &b"\xff"[..]).event("e", 15, |event| {
                event.attr("k", "v");
            });
            span.link([4; 16], [5; 8], |link| {
                link.attr("k", -1i64);
            });
        });
        traces.span(Span::default(), |_| {});
        traces.resource("", |_| {}).span(Span { name: "no scope", ..Span::default() }, |_| {});
    });

    assert_sound(&payload);
    assert_eq!(payload.items(), 3);
    let full = trace::Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        parent_span_id: vec![3; 8],
        trace_state: "a=b".to_owned(),
        name: "GET /cart".to_owned(),
        kind: 2,
        start_time_unix_nano: 10,
        end_time_unix_nano: 20,
        attributes: vec![attr("d", Any::DoubleValue(1.5)), attr("b", Any::BytesValue(vec![0xff]))],
        dropped_attributes_count: 4,
        events: vec![trace::span::Event {
            time_unix_nano: 15,
            name: "e".to_owned(),
            attributes: vec![attr("k", text("v"))],
            dropped_attributes_count: 0,
        }],
        dropped_events_count: 5,
        links: vec![trace::span::Link {
            trace_id: vec![4; 16],
            span_id: vec![5; 8],
            attributes: vec![attr("k", Any::IntValue(-1))],
            ..Default::default()
        }],
        dropped_links_count: 6,
        status: Some(trace::Status { message: "no stock".to_owned(), code: 2 }),
        flags: 1,
    };
    let expected = vec![
        trace::ResourceSpans {
            resource: Some(Resource {
                attributes: vec![
                    attr("service.name", text("shop")),
                    attr("service.instance", Any::IntValue(7)),
                ],
                ..Default::default()
            }),
            scope_spans: vec![trace::ScopeSpans {
                scope: Some(common::InstrumentationScope {
                    name: "cart".to_owned(),
                    version: "1.2".to_owned(),
                    attributes: vec![attr("x", Any::BoolValue(true))],
                    dropped_attributes_count: 0,
                }),
                spans: vec![full, trace::Span::default()],
                schema_url: "https://schema/2".to_owned(),
            }],
            schema_url: "https://schema/1".to_owned(),
        },
        trace::ResourceSpans {
            resource: Some(Resource::default()),
            scope_spans: vec![trace::ScopeSpans {
                spans: vec![trace::Span { name: "no scope".to_owned(), ..Default::default() }],
                ..Default::default()
            }],
            schema_url: String::new(),
        },
    ];
    assert_eq!(flat::traces(&payload).resource_spans, expected);
}

#[test]
fn log_records_with_values_of_every_type() {
    let inner = [("deep", Value::List(&[Value::Int(1), Value::Empty]))];
    let body = Value::Map(&[("m", Value::Map(&inner)), ("s", Value::Str("x")), ("b", Value::Bool(false))]);
    let payload = Logs::build(|logs| {
        let record = LogRecord {
            time_ns: 1,
            observed_ns: 2,
            severity_number: 17,
            severity_text: "ERROR",
            body: Some(body),
            event_name: "event",
            flags: 1,
            trace_id: [1; 16],
            span_id: [2; 8],
            dropped_attributes_count: 3,
        };
        logs.record(record, |record| {
            record.attr("text", millrace_wire::view::Text(b"caf\xc3"));
        });
        logs.record(LogRecord { body: Some(Value::Empty), ..LogRecord::default() }, |_| {});
    });

    assert_sound(&payload);
    let list = Any::ArrayValue(common::ArrayValue {
        values: vec![any(Any::IntValue(1)), common::AnyValue::default()],
    });
    let map = |values| Any::KvlistValue(common::KeyValueList { values });
    let full = logs::LogRecord {
        time_unix_nano: 1,
        observed_time_unix_nano: 2,
        severity_number: 17,
        severity_text: "ERROR".to_owned(),
        body: Some(any(map(vec![
            attr("m", map(vec![attr("deep", list)])),
            attr("s", text("x")),
            attr("b", Any::BoolValue(false)),
        ]))),
        attributes: vec![attr("text", text("caf\u{fffd}"))],
        dropped_attributes_count: 3,
        flags: 1,
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        event_name: "event".to_owned(),
    };
    let empty = logs::LogRecord { body: Some(common::AnyValue::default()), ..Default::default() };
    assert_eq!(flat::logs(&payload).resource_logs[0].scope_logs[0].log_records, [full, empty]);
}

#[test]
fn metrics_of_all_kinds() {
    let point = Point { start_ns: 1, time_ns: 2, flags: 1 };
    let payload = Metrics::build(|metrics| {
        metrics.resource("", |_| {}).scope(Scope::default(), |_| {});
        metrics.gauge(Metric { name: "g", description: "d", unit: "By" }, |gauge| {
            gauge.point(point, Number::Int(0), |point| {
                point.attr("k", "v");
            });
            gauge.point(point, Number::Double(0.0), |_| {});
        });
        metrics.counter("c", Temporality::Cumulative, |counter| {
            counter.point(point, Number::Int(-5), |point| {
                let exemplar =
                    Exemplar { time_ns: 3, value: Number::Double(2.5), trace_id: [1; 16], span_id: [2; 8] };
                point.exemplar(exemplar, |exemplar| {
                    exemplar.attr("k", 1);
                });
            });
        });
        metrics.up_down_counter("u", Temporality::Delta, |_| {});
        metrics.histogram("h", Temporality::Delta, |histogram| {
            let value = Histogram {
                count: 3,
                sum: Some(0.0),
                min: None,
                max: Some(4.0),
                bucket_counts: &[1, 2],
                explicit_bounds: &[2.0],
            };
            histogram.point(point, value, |point| {
                point.attr("k", "v");
            });
        });
        metrics.exponential_histogram("e", Temporality::Delta, |histogram| {
            let value = ExponentialHistogram {
                count: 3,
                scale: -2,
                zero_count: 1,
                zero_threshold: 0.5,
                positive: Buckets { offset: -3, counts: &[1, 300] },
                ..Default::default()
            };
            histogram.point(point, value, |point| {
                point.attr("k", "v");
            });
        });
        metrics.summary("s", |summary| {
            summary.point(
                point,
                Summary { count: 2, sum: 1.0, quantiles: &[(0.0, 1.0), (1.0, 3.0)] },
                |point| {
                    point.attr("k", "v");
                },
            );
        });
    });

    assert_sound(&payload);
    assert_eq!(payload.items(), 6);
    let attributes = vec![attr("k", text("v"))];
    let number = |value| metrics::NumberDataPoint {
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        flags: 1,
        value: Some(value),
        ..Default::default()
    };
    let data = vec![
        metrics::metric::Data::Gauge(metrics::Gauge {
            data_points: vec![
                metrics::NumberDataPoint {
                    attributes: attributes.clone(),
                    ..number(metrics::number_data_point::Value::AsInt(0))
                },
                number(metrics::number_data_point::Value::AsDouble(0.0)),
            ],
        }),
        metrics::metric::Data::Sum(metrics::Sum {
            data_points: vec![metrics::NumberDataPoint {
                exemplars: vec![metrics::Exemplar {
                    time_unix_nano: 3,
                    value: Some(metrics::exemplar::Value::AsDouble(2.5)),
                    trace_id: vec![1; 16],
                    span_id: vec![2; 8],
                    filtered_attributes: vec![attr("k", Any::IntValue(1))],
                }],
                ..number(metrics::number_data_point::Value::AsInt(-5))
            }],
            aggregation_temporality: 2,
            is_monotonic: true,
        }),
        metrics::metric::Data::Sum(metrics::Sum { aggregation_temporality: 1, ..Default::default() }),
        metrics::metric::Data::Histogram(metrics::Histogram {
            data_points: vec![metrics::HistogramDataPoint {
                attributes: attributes.clone(),
                start_time_unix_nano: 1,
                time_unix_nano: 2,
                count: 3,
                sum: Some(0.0),
                bucket_counts: vec![1, 2],
                explicit_bounds: vec![2.0],
                flags: 1,
                max: Some(4.0),
                ..Default::default()
            }],
            aggregation_temporality: 1,
        }),
        metrics::metric::Data::ExponentialHistogram(metrics::ExponentialHistogram {
            data_points: vec![metrics::ExponentialHistogramDataPoint {
                attributes: attributes.clone(),
                start_time_unix_nano: 1,
                time_unix_nano: 2,
                count: 3,
                scale: -2,
                zero_count: 1,
                positive: Some(metrics::exponential_histogram_data_point::Buckets {
                    offset: -3,
                    bucket_counts: vec![1, 300],
                }),
                flags: 1,
                zero_threshold: 0.5,
                ..Default::default()
            }],
            aggregation_temporality: 1,
        }),
        metrics::metric::Data::Summary(metrics::Summary {
            data_points: vec![metrics::SummaryDataPoint {
                attributes,
                start_time_unix_nano: 1,
                time_unix_nano: 2,
                count: 2,
                sum: 1.0,
                quantile_values: vec![
                    metrics::summary_data_point::ValueAtQuantile { quantile: 0.0, value: 1.0 },
                    metrics::summary_data_point::ValueAtQuantile { quantile: 1.0, value: 3.0 },
                ],
                flags: 1,
            }],
        }),
    ];
    let written = flat::metrics(&payload).resource_metrics.remove(0).scope_metrics.remove(0).metrics;
    assert_eq!(written.iter().map(|metric| metric.data.clone().expect("has data")).collect::<Vec<_>>(), data);
    let names: String = written.iter().map(|metric| metric.name.as_str()).collect();
    assert_eq!(names, "gcuhes");
    assert_eq!((written[0].description.as_str(), written[0].unit.as_str()), ("d", "By"));
}

#[test]
fn values_nested_too_deeply_are_cut_off_and_stay_valid() {
    fn nest(levels: u32, inner: Value<'_>, check: &mut dyn FnMut(Value<'_>)) {
        match levels {
            0 => check(inner),
            _ => nest(levels - 1, Value::List(&[inner]), check),
        }
    }
    for levels in [MAX_NESTING, MAX_NESTING + 1, 200] {
        nest(levels, Value::Str("bottom"), &mut |value| {
            let payload = Logs::build(|logs| {
                logs.record(LogRecord { body: Some(value), ..LogRecord::default() }, |_| {});
            });
            assert_sound(&payload);
            let reaches_bottom = payload.bytes().windows(6).any(|window| window == b"bottom");
            assert_eq!(reaches_bottom, levels <= MAX_NESTING);
        });
    }
}

#[test]
fn nothing_written_is_an_empty_payload() {
    assert!(Traces::build(|_| {}).is_empty());
}
