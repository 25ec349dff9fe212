//! Records one visit while a story is played: spans in spans, on a clock of its own.

use super::Service;
use fastrand::Rng;
use millrace_wire::write::{SpanKind, Value};
use std::time::Duration;

/// Everything that was recorded of one visit: one trace.
#[derive(Debug)]
pub struct Visit {
    /// Its trace.
    pub trace_id: [u8; 16],
    /// Parents before children; the first is the root.
    pub spans: Vec<Work>,
    /// In order of time.
    pub lines: Vec<Line>,
    /// What became of the order, if one was tried.
    pub order: Option<Order>,
}

/// A span.
#[derive(Debug)]
pub struct Work {
    /// Who did it.
    pub service: Service,
    /// Its id.
    pub id: [u8; 8],
    /// The id of the span around it; zeros for the root.
    pub parent: [u8; 8],
    /// What was done.
    pub name: &'static str,
    /// In what role.
    pub kind: SpanKind,
    /// In nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// In nanoseconds since the Unix epoch.
    pub end_ns: u64,
    /// What went wrong, if it failed.
    pub failure: Option<&'static str>,
    /// What else there is to say.
    pub attributes: Vec<(&'static str, Fact)>,
}

/// A log record.
#[derive(Debug)]
pub struct Line {
    /// The span that it was written in, by its place in [`Visit::spans`].
    pub span: usize,
    /// In nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// How bad it is.
    pub severity: Severity,
    /// What it says.
    pub text: String,
    /// The same for machines.
    pub attributes: Vec<(&'static str, Fact)>,
}

/// How bad a log record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// As it should be.
    Info,
    /// To be looked at some time.
    Warn,
    /// Something did not work.
    Error,
}

impl Severity {
    /// The number and the name.
    pub const fn parts(self) -> (u8, &'static str) {
        match self {
            Self::Info => (9, "INFO"),
            Self::Warn => (13, "WARN"),
            Self::Error => (17, "ERROR"),
        }
    }
}

/// What became of an order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Order {
    /// Paid, this much in euros.
    Placed(f64),
    /// The bank said no.
    Declined,
    /// The bank said nothing.
    TimedOut,
    /// There was not enough of something.
    OutOfStock,
}

impl Order {
    /// That, as the value of an attribute.
    pub const fn outcome(self) -> &'static str {
        match self {
            Self::Placed(_) => "placed",
            Self::Declined => "declined",
            Self::TimedOut => "timed_out",
            Self::OutOfStock => "out_of_stock",
        }
    }
}

/// The value of an attribute.
#[derive(Debug, Clone)]
pub enum Fact {
    /// Text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// Another number.
    Double(f64),
}

impl Fact {
    /// As it is written.
    pub fn value(&self) -> Value<'_> {
        match self {
            Self::Text(text) => Value::Str(text),
            Self::Int(number) => Value::Int(*number),
            Self::Double(number) => Value::Double(*number),
        }
    }
}

impl From<&str> for Fact {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Fact {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<f64> for Fact {
    fn from(number: f64) -> Self {
        Self::Double(number)
    }
}

/// The recorder. Its clock starts at zero and is set right in the end, so that a visit ends when it is told to.
pub struct Tape<'r> {
    /// Chance.
    pub rng: &'r mut Rng,
    clock_ns: u64,
    /// The spans that are open, from the outside in, by their place.
    open: Vec<usize>,
    visit: Visit,
}

impl<'r> Tape<'r> {
    /// An empty tape.
    pub fn new(rng: &'r mut Rng) -> Self {
        let trace_id = rng.u128(1..).to_be_bytes();
        let visit = Visit { trace_id, spans: Vec::new(), lines: Vec::new(), order: None };
        Self { rng, clock_ns: 0, open: Vec::new(), visit }
    }

    /// Records what `act` does as a span.
    pub fn span<T>(
        &mut self,
        service: Service,
        kind: SpanKind,
        name: &'static str,
        act: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let place = self.visit.spans.len();
        let parent = self.open.last().map_or([0; 8], |&open| self.visit.spans[open].id);
        self.visit.spans.push(Work {
            service,
            id: self.rng.u64(1..).to_be_bytes(),
            parent,
            name,
            kind,
            start_ns: self.clock_ns,
            end_ns: 0,
            failure: None,
            attributes: Vec::new(),
        });
        self.open.push(place);
        let result = act(self);
        self.open.pop();
        self.visit.spans[place].end_ns = self.clock_ns;
        result
    }

    /// A call from one service to another: the client's span around the server's, with the network between.
    pub fn call<T>(
        &mut self,
        (client, server): (Service, Service),
        method: &'static str,
        act: impl FnOnce(&mut Self) -> T,
    ) -> T {
        self.span(client, SpanKind::Client, method, |tape| {
            tape.fact("rpc.system.name", "grpc");
            tape.fact("server.address", server.name());
            tape.takes(Duration::from_micros(300));
            let result = tape.span(server, SpanKind::Server, method, |tape| {
                tape.fact("rpc.system.name", "grpc");
                act(tape)
            });
            tape.takes(Duration::from_micros(200));
            result
        })
    }

    /// A query to a service's database.
    pub fn query(&mut self, service: Service, statement: &'static str, table: &'static str) {
        self.span(service, SpanKind::Client, statement, |tape| {
            tape.fact("db.system.name", "postgresql");
            tape.fact("db.collection.name", table);
            tape.takes(Duration::from_millis(3));
        });
    }

    /// Lets about that much time pass: mostly a little less or more, rarely much more.
    pub fn takes(&mut self, typical: Duration) {
        // The sum of a few uniform numbers is near enough to a normal one, and its exponential to how latencies lie.
        let bell: f64 = (0..4).map(|_| self.rng.f64() - 0.5).sum();
        let hiccup = if self.rng.u32(..100) == 0 { 8.0 } else { 1.0 };
        self.clock_ns += (typical.as_nanos() as f64 * bell.exp() * hiccup) as u64;
    }

    /// Adds an attribute to the span that is open.
    pub fn fact(&mut self, key: &'static str, value: impl Into<Fact>) {
        if let Some(work) = self.current() {
            work.attributes.push((key, value.into()));
        }
    }

    /// Says that the span that is open has failed.
    pub fn fails(&mut self, why: &'static str) {
        if let Some(work) = self.current() {
            work.failure = Some(why);
        }
    }

    /// Writes a log record in the span that is open.
    pub fn says(&mut self, severity: Severity, text: String, attributes: Vec<(&'static str, Fact)>) {
        if let Some(&span) = self.open.last() {
            self.visit.lines.push(Line { span, time_ns: self.clock_ns, severity, text, attributes });
        }
    }

    /// Says what became of the order.
    pub fn order(&mut self, order: Order) {
        self.visit.order = Some(order);
    }

    /// The visit, which ended at `now_ns`.
    pub fn finish(self, now_ns: u64) -> Visit {
        let mut visit = self.visit;
        let start_ns = now_ns.saturating_sub(self.clock_ns);
        for work in &mut visit.spans {
            work.start_ns += start_ns;
            work.end_ns += start_ns;
        }
        for line in &mut visit.lines {
            line.time_ns += start_ns;
        }
        visit
    }

    fn current(&mut self) -> Option<&mut Work> {
        self.open.last().map(|&place| &mut self.visit.spans[place])
    }
}
