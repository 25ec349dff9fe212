//! The instruments of the shop: cumulative since it opened, as most SDKs report.

use super::Service;
use super::tape::{Order, Visit, Work};
use millrace_wire::write::SpanKind;
use std::collections::BTreeMap;

/// The upper bounds of the buckets for durations, in seconds.
pub const BOUNDS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

/// All instruments.
#[derive(Debug, Default)]
pub struct Measures {
    /// How long serving took, by service, operation and error. The names are few and fixed, so this is bounded.
    pub durations: BTreeMap<Operation, Durations>,
    /// Orders by what became of them.
    pub orders: BTreeMap<&'static str, u64>,
    /// What came in, in euros.
    pub revenue_eur: f64,
}

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Operation {
    /// Who serves it.
    pub service: Service,
    /// The name of the span.
    pub name: &'static str,
    /// Why it failed, if it did.
    pub error: Option<&'static str>,
}

/// A histogram.
#[derive(Debug, Clone, Default)]
pub struct Durations {
    /// How many fell into each bucket.
    pub buckets: [u64; BOUNDS.len() + 1],
    /// In seconds.
    pub sum: f64,
    /// In seconds.
    pub min: f64,
    /// In seconds.
    pub max: f64,
    /// The latest of them, in seconds, and where it is to be found.
    pub exemplar: Option<Found>,
}

/// A measurement and the span behind it.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// In seconds.
    pub seconds: f64,
    /// In nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// Its trace.
    pub trace_id: [u8; 16],
    /// Its span.
    pub span_id: [u8; 8],
}

impl Measures {
    /// Counts a visit.
    pub fn count(&mut self, visit: &Visit) {
        for work in visit.spans.iter().filter(|work| work.kind == SpanKind::Server) {
            let operation = Operation { service: work.service, name: work.name, error: work.failure };
            self.durations.entry(operation).or_default().add(work, visit.trace_id);
        }
        if let Some(order) = visit.order {
            *self.orders.entry(order.outcome()).or_default() += 1;
        }
        if let Some(Order::Placed(total)) = visit.order {
            self.revenue_eur += total;
        }
    }
}

impl Durations {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    fn add(&mut self, work: &Work, trace_id: [u8; 16]) {
        let seconds = (work.end_ns - work.start_ns) as f64 / 1e9;
        let is_first = self.count() == 0;
        self.buckets[BOUNDS.partition_point(|bound| *bound < seconds)] += 1;
        self.sum += seconds;
        self.min = if is_first { seconds } else { self.min.min(seconds) };
        self.max = self.max.max(seconds);
        self.exemplar = Some(Found { seconds, time_ns: work.end_ns, trace_id, span_id: work.id });
    }
}

#[cfg(test)]
mod tests {
    use super::super::Shop;
    use super::*;

    #[test]
    fn histograms_count_the_spans_and_hold_together() {
        let mut shop = Shop::open(5, 1_700_000_000_000_000_000);
        let visits = shop.visits(2000.0, 1_700_000_000_000_000_000);
        let served =
            visits.iter().flat_map(|visit| &visit.spans).filter(|work| work.kind == SpanKind::Server).count();
        let durations = &shop.measures.durations;
        assert_eq!(durations.values().map(Durations::count).sum::<u64>(), served as u64);
        for durations in durations.values() {
            let mean = durations.sum / durations.count() as f64;
            assert!(durations.min <= mean && mean <= durations.max, "{durations:?}");
            let exemplar = durations.exemplar.expect("something was measured");
            assert!((durations.min..=durations.max).contains(&exemplar.seconds));
        }
    }

    #[test]
    fn orders_are_counted_by_what_became_of_them() {
        let mut measures = Measures::default();
        for order in [Some(Order::Placed(9.5)), Some(Order::Placed(0.5)), Some(Order::OutOfStock), None] {
            measures.count(&Visit { trace_id: [1; 16], spans: Vec::new(), lines: Vec::new(), order });
        }
        assert_eq!(measures.orders, BTreeMap::from([("placed", 2), ("out_of_stock", 1)]));
        assert_eq!(measures.revenue_eur, 10.0);
    }
}
