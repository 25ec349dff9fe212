//! Edited bytes decode to what the same edit makes of prost structs.

mod edit_oracle;
mod flat;
mod support;

use edit_oracle::{Oracle, Script};
use flat::{STRUCTURED, assert_sound, filled, random};
use millrace_wire::edit::{
    Above, Data, Edit, LogRecord, Message, OfMetric, Point, Reach, Scope, Span, Verdict, rewrite,
};
use millrace_wire::split::MetricKind;
use millrace_wire::view::{Text, Value as Seen};
use millrace_wire::write::{LogRecord as NewRecord, Logs, Scope as NewScope, Span as NewSpan, Traces, Value};
use millrace_wire::{Payload, Signal};
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value};
use prost::Message as _;
use support::Rng;

#[test]
fn edited_bytes_decode_to_edited_structs() {
    for signal in STRUCTURED {
        for seed in 0..600 {
            let payload = random(signal, seed);
            let mut script = Script::random(&mut Rng::new(seed ^ 0x5eed));

            let edited = rewrite(&payload, &mut script);

            assert_sound(&edited.payload);
            assert_eq!(edited.payload.items() + edited.dropped_items, payload.items());
            let oracle = Oracle { script: &script };
            let context = format!("{signal}, seed {seed}, {script:?}");
            match signal {
                Signal::Traces => {
                    assert_eq!(
                        flat::traces(&edited.payload),
                        oracle.traces(flat::traces(&payload)),
                        "{context}"
                    );
                }
                Signal::Logs => {
                    assert_eq!(flat::logs(&edited.payload), oracle.logs(flat::logs(&payload)), "{context}");
                }
                _ => {
                    assert_eq!(
                        flat::metrics(&edited.payload),
                        oracle.metrics(flat::metrics(&payload)),
                        "{context}"
                    );
                }
            }
        }
    }
}

/// An edit of spans and log records made of one closure.
struct Each<F>(F);

impl<F: FnMut(&mut Message<'_, Span>) -> Verdict> Edit for Each<F> {
    fn reach(&self) -> Reach {
        Reach::SPAN
    }

    fn span(&mut self, span: &mut Message<'_, Span>, _: &mut Above<'_, '_>) -> Verdict {
        (self.0)(span)
    }
}

fn each_span(payload: &Payload, edit: impl FnMut(&mut Message<'_, Span>) -> Verdict) -> Payload {
    rewrite(payload, &mut Each(edit)).payload
}

fn one_span() -> Payload {
    Traces::build(|traces| {
        traces.resource("", |resource| {
            resource.attr("service.name", "shop");
        });
        traces.scope(NewScope::default(), |_| {});
        traces.span(NewSpan { name: "GET", ..NewSpan::default() }, |span| {
            span.attr("a", 1).attr("b", "two").attr("a", 3);
        });
    })
}

fn attributes(payload: &Payload) -> Vec<String> {
    let mut seen = Vec::new();
    each_span(payload, |span| {
        seen.extend(span.attributes().map(|(key, value)| format!("{key}={:?}", value.view())));
        Verdict::Keep
    });
    seen
}

#[test]
fn what_changes_nothing_gives_the_very_same_bytes_back() {
    for payload in STRUCTURED.map(filled) {
        struct Nothing;
        impl Edit for Nothing {
            fn reach(&self) -> Reach {
                Reach::ALL
            }
        }
        let edited = rewrite(&payload, &mut Nothing);
        assert_eq!(edited.payload.bytes().as_ptr(), payload.bytes().as_ptr());
    }

    let payload = one_span();
    let same = each_span(&payload, |span| {
        assert!(!span.set(Span::NAME, b"GET"));
        assert!(!span.upsert(b"b", "two"));
        assert!(!span.insert(b"b", 9));
        assert!(!span.update(b"c", 9));
        assert!(span.insert(b"c", 9) && span.remove(b"c"));
        Verdict::Keep
    });
    assert_eq!(same.bytes().as_ptr(), payload.bytes().as_ptr());
}

#[test]
fn what_was_written_is_what_is_read() {
    each_span(&one_span(), |span| {
        span.rename(b"b", b"c");
        span.upsert(b"n", 1.5);
        span.set(Span::NAME, b"POST");
        assert!(span.attribute(b"b").is_none());
        let texts = span
            .attribute(b"c")
            .map(|value| value.view().as_text().expect("text").to_str_lossy().into_owned());
        assert_eq!(texts.as_deref(), Some("two"));
        assert!(matches!(span.attribute(b"n").map(|value| value.view()), Some(Seen::Double(1.5))));
        assert_eq!(span.get(Span::NAME), "POST");
        assert_eq!(span.original(), millrace_wire::view::Span::over(span.original()).bytes());
        Verdict::Keep
    });
}

#[test]
fn a_repeated_key_is_removed_and_changed_as_one() {
    let removed = each_span(&one_span(), |span| {
        span.remove(b"a");
        Verdict::Keep
    });
    assert_eq!(attributes(&removed), ["b=Text(\"two\")"]);

    let changed = each_span(&one_span(), |span| {
        span.upsert(b"a", true);
        Verdict::Keep
    });
    assert_eq!(attributes(&changed), ["a=Bool(true)", "b=Text(\"two\")", "a=Bool(true)"]);

    let renamed = each_span(&one_span(), |span| {
        span.rename(b"a", b"b");
        Verdict::Keep
    });
    assert_eq!(attributes(&renamed), ["b=Int(1)"]);
}

#[test]
fn attributes_are_edited_one_by_one() {
    let edited = each_span(&one_span(), |span| {
        span.edit_attributes(|attribute| match attribute.value().view() {
            Seen::Int(3) => attribute.remove(),
            Seen::Int(value) => {
                attribute.set(value + 1);
            }
            _ => {
                let upper = attribute.key().to_str_lossy().to_uppercase();
                attribute.set(&upper[..]);
            }
        });
        Verdict::Keep
    });
    assert_eq!(attributes(&edited), ["a=Int(2)", "b=Text(\"B\")"]);
}

#[test]
fn texts_are_edited_wherever_they_are_in_a_value() {
    let nested = [("k", Value::List(&[Value::Str("secret"), Value::Int(1)])), ("secret", Value::Str("fine"))];
    let payload = Logs::build(|logs| {
        let body = Some(Value::Map(&nested));
        logs.record(NewRecord { body, ..NewRecord::default() }, |record| {
            record.attr("a", "secret").attr("b", 5).attr("c", &nested[..]);
        });
    });
    struct Mask;
    impl Edit for Mask {
        fn reach(&self) -> Reach {
            Reach::RECORD
        }

        fn record(&mut self, record: &mut Message<'_, LogRecord>, _: &mut Above<'_, '_>) -> Verdict {
            let mask = |text: Text<'_>, out: &mut Vec<u8>| {
                out.extend_from_slice(b"***");
                text == "secret"
            };
            assert!(record.edit_body_texts(mask));
            record.edit_attributes(|attribute| {
                let key = attribute.key().to_str_lossy().into_owned();
                assert_eq!(attribute.edit_texts(mask), key != "b");
                attribute.set_key(format!("{key}{key}").as_bytes());
            });
            Verdict::Keep
        }
    }

    let edited = rewrite(&payload, &mut Mask).payload;

    let masked = [("k", Value::List(&[Value::Str("***"), Value::Int(1)])), ("secret", Value::Str("fine"))];
    let expected = Logs::build(|logs| {
        let body = Some(Value::Map(&masked));
        logs.record(NewRecord { body, ..NewRecord::default() }, |record| {
            record.attr("aa", "***").attr("bb", 5).attr("cc", &masked[..]);
        });
    });
    assert_eq!(flat::logs(&edited), flat::logs(&expected));
}

#[test]
fn a_value_nested_as_deeply_as_may_be_stays_where_it_is_but_is_not_put_deeper() {
    // Given a log record with an attribute of 45 lists in each other
    let mut value = AnyValue { value: Some(any_value::Value::StringValue("bottom".to_owned())) };
    for _ in 0..45 {
        value = AnyValue { value: Some(any_value::Value::ArrayValue(ArrayValue { values: vec![value] })) };
    }
    let mut request = flat::logs(&Logs::build(|logs| {
        logs.record(NewRecord::default(), |_| {});
    }));
    let attributes = &mut request.resource_logs[0].scope_logs[0].log_records[0].attributes;
    attributes.push(KeyValue { key: "deep".to_owned(), value: Some(value), ..KeyValue::default() });
    let payload = flat::payload(Signal::Logs, request.encode_to_vec());
    struct Move;
    impl Edit for Move {
        fn reach(&self) -> Reach {
            Reach::RECORD
        }

        fn record(&mut self, record: &mut Message<'_, LogRecord>, above: &mut Above<'_, '_>) -> Verdict {
            above.resource.insert(b"moved", record.attribute(b"deep").expect("it is there"));
            record.rename(b"deep", b"renamed");
            record.edit_attributes(|attribute| {
                attribute.edit_texts(|_, out| {
                    out.extend_from_slice(b"edited");
                    true
                });
            });
            Verdict::Keep
        }
    }

    let edited = rewrite(&payload, &mut Move).payload;

    assert_sound(&edited);
    let resource = flat::logs(&edited).resource_logs.remove(0);
    let attributes = &resource.scope_logs[0].log_records[0].attributes;
    assert_eq!(attributes[0].key, "renamed");
    assert!(edited.bytes().windows(6).any(|window| window == b"edited"));
    assert_eq!(resource.resource.expect("made").attributes[0].value, Some(AnyValue::default()));
}

#[test]
fn text_that_is_not_utf8_is_repaired_as_it_is_written() {
    let edited = each_span(&one_span(), |span| {
        span.set(Span::NAME, b"caf\xc3");
        span.upsert(b"\xff", Text(b"\xfe"));
        Verdict::Keep
    });
    assert_sound(&edited);
    assert_eq!(flat::traces(&edited).resource_spans[0].scope_spans[0].spans[0].name, "caf\u{fffd}");
}

#[test]
fn a_missing_resource_or_scope_is_made_when_it_is_changed() {
    let payload = Logs::build(|logs| {
        logs.record(Default::default(), |_| {});
    });
    struct Stamp;
    impl Edit for Stamp {
        fn reach(&self) -> Reach {
            Reach::RECORD
        }

        fn record(&mut self, _: &mut Message<'_, LogRecord>, above: &mut Above<'_, '_>) -> Verdict {
            above.resource.insert(b"host.name", "here");
            above.scope.set(Scope::NAME, b"stamp");
            Verdict::Keep
        }
    }

    let edited = rewrite(&payload, &mut Stamp).payload;

    assert_sound(&edited);
    let resource = flat::logs(&edited).resource_logs.remove(0);
    assert_eq!(resource.resource.expect("made").attributes[0].key, "host.name");
    assert_eq!(resource.scope_logs[0].scope.as_ref().expect("made").name, "stamp");
}

#[test]
fn dropping_everything_leaves_nothing() {
    let payload = one_span();
    let edited = rewrite(&payload, &mut Each(|_: &mut Message<'_, Span>| Verdict::Drop));
    assert_eq!((edited.payload, edited.dropped_items), (Payload::empty(Signal::Traces), 1));
}

#[test]
fn a_field_that_a_kind_of_point_has_not_cannot_be_set() {
    struct Gauges(u32);
    impl Edit for Gauges {
        fn reach(&self) -> Reach {
            Reach::POINT
        }

        fn point(
            &mut self,
            point: &mut Message<'_, Point>,
            of: &mut OfMetric<'_, '_>,
            _: &mut Above<'_, '_>,
        ) -> Verdict {
            assert_eq!(point.kind(), of.data.kind());
            if point.kind() == MetricKind::Gauge {
                assert!(!point.set(Point::COUNT, 3) && point.get(Point::COUNT) == 0);
                assert!(!of.data.set(Data::IS_MONOTONIC, true));
                self.0 += 1;
            }
            Verdict::Keep
        }
    }
    let mut gauges = Gauges(0);
    for seed in 0..50 {
        let payload = random(Signal::Metrics, seed);
        assert_eq!(rewrite(&payload, &mut gauges).payload, payload);
    }
    assert!(gauges.0 > 0);
}

#[test]
fn profiles_are_never_changed() {
    let payload = flat::profiles();
    let edited = rewrite(&payload, &mut Each(|_: &mut Message<'_, Span>| Verdict::Drop));
    assert_eq!((edited.payload, edited.dropped_items), (payload, 0));
}
