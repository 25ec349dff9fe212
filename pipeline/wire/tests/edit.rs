//! Edited bytes decode to what the same edit makes of prost structs.

mod edit_oracle;
mod flat;
mod support;

use edit_oracle::Oracle;
use flat::{STRUCTURED, assert_sound, filled, random};
use millrace_wire::edit::{
    Above, Attributed, Data, Edit, Event, Exemplar, Link, LogRecord, Message, Metric, OfMetric, Point, Reach,
    Resource, Scope, Span, Verdict, rewrite,
};
use millrace_wire::split::MetricKind;
use millrace_wire::view::{Number, Text, Value as Seen};
use millrace_wire::write::{LogRecord as NewRecord, Logs, Scope as NewScope, Span as NewSpan, Traces, Value};
use millrace_wire::{Payload, Signal};
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value};
use prost::Message as _;
use support::Rng;

/// One change of a list of attributes.
#[derive(Debug, Clone)]
enum Op {
    Insert(String, i64),
    Update(String, String),
    Upsert(String, i64),
    Remove(String),
    Rename(String, String),
    Copy(String, String),
}

/// Some changes, and what else to do; the same for the bytes and for the structs.
#[derive(Debug, Clone)]
struct Script {
    ops: Vec<Op>,
    reach: [bool; 9],
    drops: bool,
}

impl Script {
    fn random(rng: &mut Rng) -> Self {
        let op = |rng: &mut Rng| match rng.below(6) {
            0 => Op::Insert(rng.key(), 1 << rng.below(60)),
            1 => Op::Update(rng.key(), rng.text()),
            2 => Op::Upsert(rng.key(), 7),
            3 => Op::Remove(rng.key()),
            4 => Op::Rename(rng.key(), rng.key()),
            _ => Op::Copy(rng.key(), rng.key()),
        };
        let ops = (0..rng.below(5)).map(|_| op(rng)).collect();
        let everything = rng.one_in(3);
        Self { ops, reach: std::array::from_fn(|_| everything || rng.one_in(3)), drops: rng.one_in(2) }
    }

    fn reach(&self) -> Reach {
        const ALL: [Reach; 9] = [
            Reach::RESOURCE,
            Reach::SCOPE,
            Reach::SPAN,
            Reach::EVENT,
            Reach::LINK,
            Reach::RECORD,
            Reach::METRIC,
            Reach::POINT,
            Reach::EXEMPLAR,
        ];
        let chosen = ALL.into_iter().zip(self.reach).filter(|(_, chosen)| *chosen);
        chosen.fold(Reach::default(), |all, (one, _)| all | one)
    }

    fn apply<L: Attributed>(&self, message: &mut Message<'_, L>) {
        for op in &self.ops {
            match op {
                Op::Insert(key, value) => message.insert(key.as_bytes(), *value),
                Op::Update(key, value) => message.update(key.as_bytes(), value.as_str()),
                Op::Upsert(key, value) => message.upsert(key.as_bytes(), *value),
                Op::Remove(key) => message.remove(key.as_bytes()),
                Op::Rename(from, to) => message.rename(from.as_bytes(), to.as_bytes()),
                Op::Copy(from, to) => message.copy(from.as_bytes(), to.as_bytes()),
            };
        }
    }

    /// What becomes of something with a property like that.
    fn verdict(&self, property: u64) -> Verdict {
        match property % 5 {
            1 if self.drops => Verdict::Drop,
            2 => Verdict::Skip,
            _ => Verdict::Keep,
        }
    }
}

impl Edit for Script {
    fn reach(&self) -> Reach {
        Script::reach(self)
    }

    fn resource(&mut self, resource: &mut Message<'_, Resource>) -> Verdict {
        let verdict = self.verdict(resource.get(Resource::DROPPED_ATTRIBUTES).into());
        self.apply(resource);
        resource.set(Resource::DROPPED_ATTRIBUTES, 0);
        verdict
    }

    fn scope(&mut self, above: &mut Above<'_, '_>) -> Verdict {
        let verdict = self.verdict(above.scope.get(Scope::DROPPED_ATTRIBUTES).into());
        self.apply(above.scope);
        above.scope.set(Scope::VERSION, b"edited");
        verdict
    }

    fn span(&mut self, span: &mut Message<'_, Span>, above: &mut Above<'_, '_>) -> Verdict {
        let verdict = self.verdict(span.get(Span::START_NS));
        self.apply(span);
        above.resource.upsert(b"last.kind", span.get(Span::KIND));
        let name = [span.get(Span::NAME).as_bytes(), b"!"].concat();
        span.set(Span::NAME, &name);
        span.set(Span::STATUS, (2, b"bad"));
        span.set(Span::KIND, -3);
        span.set(Span::SPAN_ID, [9; 8]);
        span.clear(Span::TRACE_STATE);
        verdict
    }

    fn event(
        &mut self,
        event: &mut Message<'_, Event>,
        span: &mut Message<'_, Span>,
        _: &mut Above<'_, '_>,
    ) -> Verdict {
        let verdict = self.verdict(event.get(Event::TIME_NS));
        self.apply(event);
        event.set(Event::TIME_NS, 77);
        span.upsert(b"from.event", event.get(Event::DROPPED_ATTRIBUTES));
        verdict
    }

    fn link(
        &mut self,
        link: &mut Message<'_, Link>,
        _: &mut Message<'_, Span>,
        _: &mut Above<'_, '_>,
    ) -> Verdict {
        let verdict = self.verdict(link.get(Link::FLAGS).into());
        self.apply(link);
        link.set(Link::TRACE_ID, [0; 16]);
        verdict
    }

    fn record(&mut self, record: &mut Message<'_, LogRecord>, above: &mut Above<'_, '_>) -> Verdict {
        let verdict = self.verdict(record.get(LogRecord::TIME_NS));
        self.apply(record);
        above.scope.insert(b"severity", record.get(LogRecord::SEVERITY_NUMBER));
        record.set(LogRecord::SEVERITY_TEXT, b"WARN");
        record.set(LogRecord::BODY, Some(Value::List(&[Value::Str("new"), Value::Double(1.5)])));
        verdict
    }

    fn metric(&mut self, of: &mut OfMetric<'_, '_>, _: &mut Above<'_, '_>) -> Verdict {
        let verdict = self.verdict(of.metric.get(Metric::NAME).len() as u64);
        self.apply(of.metric);
        of.metric.set(Metric::UNIT, b"s");
        of.data.set(Data::TEMPORALITY, 2);
        of.data.set(Data::IS_MONOTONIC, true);
        verdict
    }

    fn point(
        &mut self,
        point: &mut Message<'_, Point>,
        of: &mut OfMetric<'_, '_>,
        above: &mut Above<'_, '_>,
    ) -> Verdict {
        let verdict = self.verdict(point.get(Point::TIME_NS));
        self.apply(point);
        point.set_number(Number::Int(5));
        point.set(Point::COUNT, 11);
        point.set(Point::MAX, Some(0.0));
        point.set(Point::SUMMARY_SUM, 0.25);
        point.set(Point::FLAGS, 1);
        of.metric.set(Metric::DESCRIPTION, b"has points");
        above.scope.set(Scope::NAME, b"of points");
        verdict
    }

    fn exemplar(
        &mut self,
        exemplar: &mut Message<'_, Exemplar>,
        point: &mut Message<'_, Point>,
        _: &mut OfMetric<'_, '_>,
        _: &mut Above<'_, '_>,
    ) -> Verdict {
        let verdict = self.verdict(exemplar.get(Exemplar::TIME_NS));
        self.apply(exemplar);
        exemplar.set_number(Number::Double(-0.5));
        point.insert(b"exemplars", true);
        verdict
    }
}

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
