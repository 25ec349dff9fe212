//! The tree that an OTLP request is: containers inside containers, and the items at the bottom.
//!
//! ```text
//! level      traces, logs            metrics
//! REQUEST    request                 request
//! RESOURCE   └ Resource{Spans,Logs}  └ ResourceMetrics
//! SCOPE        └ Scope{Spans,Logs}     └ ScopeMetrics
//! METRIC         └ item                  └ Metric
//! DATA                                     └ Gauge, Sum, Histogram, …
//!                                            └ item
//! ```
//! Whatever else a container holds besides its children is its header: it is repeated when the container is divided.

use crate::Signal;
use crate::place::{Place, Places};

pub(crate) const REQUEST: usize = 0;
pub(crate) const RESOURCE: usize = 1;
pub(crate) const SCOPE: usize = 2;
pub(crate) const METRIC: usize = 3;
pub(crate) const DATA: usize = 4;
/// How many levels there are.
pub(crate) const LEVELS: usize = 5;

/// The level whose children are the items; `None` for profiles, which have no inside.
pub(crate) fn leaf_level(signal: Signal) -> Option<usize> {
    match signal {
        Signal::Traces | Signal::Logs => Some(SCOPE),
        Signal::Metrics => Some(DATA),
        Signal::Profiles => None,
    }
}

/// Whether a field of a container at `level` is one of its children.
#[inline]
pub(crate) fn is_child(level: usize, place: &Place) -> bool {
    match level {
        REQUEST | DATA => place.is_len(1),
        RESOURCE | SCOPE => place.is_len(2),
        _ => matches!(place.number, 5 | 7 | 9 | 10 | 11) && place.is_len(place.number),
    }
}

/// How many items there are in the container at `level` whose body is `start..end`.
pub(crate) fn count(bytes: &[u8], level: usize, start: usize, end: usize, leaf: usize) -> u32 {
    let children = Places::within(bytes, start, end).filter(|place| is_child(level, place));
    if level == leaf {
        children.fold(0, |sum, _| sum + 1)
    } else {
        children.map(|child| count(bytes, level + 1, child.body, child.end, leaf)).sum()
    }
}

/// A container on the way down to an item.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Container {
    /// Distinguishes it from every other container of the payload; never 0, which stands for none.
    pub id: u32,
    /// Its field number in its parent.
    pub number: u32,
    /// Where its header lies among the [`Headers`].
    pub header: (usize, usize),
    /// Where its own bytes lie, without tag and length.
    pub body: (usize, usize),
    /// Where the `Resource` or `InstrumentationScope` lies, without tag and length; empty if it has none.
    pub subject: (usize, usize),
}

impl Container {
    pub fn header_len(&self) -> usize {
        self.header.1 - self.header.0
    }
}

/// The containers from the request down to where a walk stands; only those at or above the current level count.
pub(crate) type Path = [Container; LEVELS];

/// The headers of all containers entered so far, end to end.
#[derive(Debug, Default)]
pub(crate) struct Headers {
    bytes: Vec<u8>,
    entered: u32,
}

impl Headers {
    /// Reads the header of the container at `level` that lies at `place`.
    pub fn enter(&mut self, input: &[u8], level: usize, place: &Place) -> Container {
        self.entered += 1;
        let from = self.bytes.len();
        let mut subject = (0, 0);
        for field in Places::within(input, place.body, place.end) {
            if !is_child(level, &field) {
                self.bytes.extend_from_slice(field.raw(input));
                if level <= SCOPE && field.is_len(1) {
                    subject = (field.body, field.end);
                }
            }
        }
        Container {
            id: self.entered,
            number: place.number,
            header: (from, self.bytes.len()),
            body: (place.body, place.end),
            subject,
        }
    }

    #[inline]
    pub fn get(&self, header: (usize, usize)) -> &[u8] {
        &self.bytes[header.0..header.1]
    }
}
