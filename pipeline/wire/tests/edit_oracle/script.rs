//! An edit that touches whatever can be edited, as a function of a seed.

use super::super::support::Rng;
use millrace_wire::edit::{
    Above, Attributed, Data, Edit, Event, Exemplar, Link, LogRecord, Message, Metric, OfMetric, Point, Reach,
    Resource, Scope, Span, Verdict,
};
use millrace_wire::view::Number;
use millrace_wire::write::Value;

/// One change of a list of attributes.
#[derive(Debug, Clone)]
pub enum Op {
    Insert(String, i64),
    Update(String, String),
    Upsert(String, i64),
    Remove(String),
    Rename(String, String),
    Copy(String, String),
}

/// Some changes, and what else to do; the same for the bytes and for the structs.
#[derive(Debug, Clone)]
pub struct Script {
    pub(super) ops: Vec<Op>,
    pub(super) reach: [bool; 9],
    drops: bool,
}

impl Script {
    pub fn random(rng: &mut Rng) -> Self {
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
    pub(super) fn verdict(&self, property: u64) -> Verdict {
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
