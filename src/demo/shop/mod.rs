//! A little web shop, as far as its telemetry goes: what four services would have told about each visit.
//!
//! Time and chance are passed in, so a seed replays the same shop. What one [`Visit`] says in spans, log records and
//! metrics is consistent: the records lie in its spans, and the histograms count them.

mod encode;
mod measures;
mod service;
mod stories;
mod tape;

pub use service::{Service, Transport};

use fastrand::Rng;
use measures::Measures;
use millrace_wire::Payload;
use stories::Warehouse;
use tape::Visit;

/// Something that one service sends to its collector.
#[derive(Debug)]
pub struct Request {
    /// Who sends it.
    pub service: Service,
    /// The body of the export request.
    pub payload: Payload,
}

/// The shop.
#[derive(Debug)]
pub struct Shop {
    rng: Rng,
    warehouse: Warehouse,
    measures: Measures,
    opened_ns: u64,
    /// Spans that are still to be made before the next visit; below zero after a visit that made too many.
    owed_spans: f64,
}

impl Shop {
    /// Opens at `now_ns`, in nanoseconds since the Unix epoch.
    pub fn open(seed: u64, now_ns: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            warehouse: Warehouse::default(),
            measures: Measures::default(),
            opened_ns: now_ns,
            owed_spans: 0.0,
        }
    }

    /// Serves as many visitors as make `spans` spans in the long run, who all leave at `now_ns`. Returns the traces
    /// and logs of it.
    pub fn serve(&mut self, spans: f64, now_ns: u64) -> Vec<Request> {
        let visits = self.visits(spans, now_ns);
        let mut requests = Vec::new();
        for service in Service::ALL {
            let payloads = [encode::traces(service, &visits), encode::logs(service, &visits)];
            let payloads = payloads.into_iter().filter(|payload| !payload.is_empty());
            requests.extend(payloads.map(|payload| Request { service, payload }));
        }
        requests
    }

    /// Reads all instruments: the metrics of every service.
    pub fn read(&self, now_ns: u64) -> Vec<Request> {
        let reading =
            |service| encode::metrics(service, &self.measures, &self.warehouse, self.opened_ns, now_ns);
        Service::ALL.into_iter().map(|service| Request { service, payload: reading(service) }).collect()
    }

    fn visits(&mut self, spans: f64, now_ns: u64) -> Vec<Visit> {
        self.owed_spans += spans;
        let mut visits = Vec::new();
        while self.owed_spans > 0.0 {
            let visit = stories::visit(&mut self.rng, &mut self.warehouse, now_ns);
            self.owed_spans -= visit.spans.len() as f64;
            self.measures.count(&visit);
            visits.push(visit);
        }
        visits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_wire::Signal;
    use millrace_wire::validate::{Policy, validate};

    const NOW_NS: u64 = 1_700_000_000_000_000_000;

    #[test]
    fn the_rate_is_kept_in_the_long_run() {
        let mut shop = Shop::open(1, NOW_NS);
        let made: usize =
            (0..200).flat_map(|_| shop.visits(25.0, NOW_NS)).map(|visit| visit.spans.len()).sum();
        assert!((5000..5020).contains(&made), "{made}");
    }

    #[test]
    fn every_service_sends_well_formed_requests_of_all_three_signals() {
        let mut shop = Shop::open(2, NOW_NS);
        let mut requests = shop.serve(500.0, NOW_NS);
        requests.extend(shop.read(NOW_NS));
        for service in Service::ALL {
            for signal in [Signal::Traces, Signal::Metrics, Signal::Logs] {
                let request = requests.iter().find(|r| r.service == service && r.payload.signal() == signal);
                let payload = &request.unwrap_or_else(|| panic!("no {signal} of {service:?}")).payload;
                let read =
                    validate(signal, payload.bytes().clone(), &Policy::default()).expect("well-formed");
                assert_eq!(read.payload.items(), payload.items(), "{signal} of {service:?}");
                assert!(payload.items() > 0);
            }
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_shop() {
        let served = |seed| {
            let mut shop = Shop::open(seed, NOW_NS);
            shop.serve(100.0, NOW_NS)
                .into_iter()
                .map(|request| request.payload.into_bytes())
                .collect::<Vec<_>>()
        };
        assert_eq!(served(3), served(3));
        assert_ne!(served(3), served(4));
    }
}
