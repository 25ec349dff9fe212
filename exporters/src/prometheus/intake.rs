//! The way in: batches, point by point.

use super::identify::{Key, Origin, Rules, Source, Subject};
use super::refusal::Refusal;
use super::series::{Point, Temporality};
use super::store::Store;
use millrace_engine::Batch;
use millrace_engine::component::Context;
use millrace_telemetry::catalogue::millrace as catalogue;
use millrace_telemetry::{Counter, Labels, warn_sparingly};
use millrace_wire::view::{Metric, MetricData, Metrics, ResourceMetrics, ScopeMetrics};
use std::sync::Arc;
use std::time::Instant;

/// Labels of refused series that are made in one request; further new series of it are refused without a name.
const FUTILE_LABELS_MAX: usize = 100_000;

/// Folds batches into the store.
pub(super) struct Intake {
    exporter: String,
    rules: Rules,
    pub(super) store: Arc<Store>,
    refused: [Counter; Refusal::ALL.len()],
}

/// What became of a batch.
#[derive(Default)]
struct Tally {
    refused: [u64; Refusal::ALL.len()],
    /// The first that should not have been, and its metric.
    first: Option<(Refusal, String)>,
}

impl Tally {
    fn refuse(&mut self, refusal: Refusal, points: u64, metric: Metric<'_>) {
        self.refused[refusal as usize] += points;
        if refusal != Refusal::OutOfOrder && self.first.is_none() {
            self.first = Some((refusal, metric.name().to_string()));
        }
    }
}

impl Intake {
    pub(super) fn new(context: &Context, rules: Rules, store: Arc<Store>) -> Self {
        let exporter = context.id.to_string();
        let refused = Refusal::ALL.map(|refusal| {
            let labels = Labels::new().with("exporter", exporter.clone()).with("reason", refusal.name());
            context.shared.registry.counter(&catalogue::PROMETHEUS_REFUSED, &labels)
        });
        Self { exporter, rules, store, refused }
    }

    /// Takes in a batch; how many of its data points are not served.
    pub(super) fn take(&self, batch: &Batch, now: Instant) -> u64 {
        let mut pass = Pass {
            intake: self,
            now,
            scratch: Vec::with_capacity(256),
            tally: Tally::default(),
            futile: Futile::default(),
        };
        for metrics in batch.pieces().iter().filter_map(|piece| Metrics::of(&piece.payload)) {
            metrics.resource_metrics().for_each(|group| pass.resource(group));
        }
        self.conclude(&pass.tally)
    }

    fn conclude(&self, tally: &Tally) -> u64 {
        for (count, counter) in tally.refused.iter().zip(&self.refused) {
            if *count > 0 {
                counter.add(*count);
            }
        }
        if let Some((reason, metric)) = &tally.first {
            warn_sparingly!(
                otelcol.component.id = self.exporter,
                otelcol.component.kind = "exporter",
                metric = metric,
                reason = %reason,
                "A data point is not served."
            );
        }
        tally.refused.iter().sum()
    }
}

/// One batch on its way.
struct Pass<'i> {
    intake: &'i Intake,
    now: Instant,
    scratch: Vec<u8>,
    tally: Tally,
    futile: Futile,
}

impl Pass<'_> {
    fn resource(&mut self, group: ResourceMetrics<'_>) {
        let Intake { rules, store, .. } = self.intake;
        let source = Source::of(rules, group.resource(), &mut self.scratch);
        if let Some((target, attributes)) = source.target(&mut self.scratch) {
            let noted =
                store.note_target(target, attributes, self.now, || source.target_labels(&rules.names));
            if let Err(refusal) = noted {
                warn_sparingly!(
                    otelcol.component.id = self.intake.exporter,
                    otelcol.component.kind = "exporter",
                    reason = %refusal,
                    "A resource is not served as target_info."
                );
            }
        }
        group.scope_metrics().for_each(|group| self.scope(&source, group));
    }

    fn scope(&mut self, source: &Source<'_>, group: ScopeMetrics<'_>) {
        let scope = (group.scope(), group.schema_url());
        let origin = Origin::of(&self.intake.rules, source, scope, &mut self.scratch);
        for metric in group.metrics() {
            if let Some(data) = metric.data() {
                let subject = Subject::of(&origin, (metric, data), &mut self.scratch);
                self.metric(&subject, metric, data);
            }
        }
    }

    fn metric(&mut self, subject: &Subject<'_, '_>, metric: Metric<'_>, data: MetricData<'_>) {
        let temporality = match data {
            MetricData::Gauge(_) | MetricData::Summary(_) => Ok(Temporality::Cumulative),
            MetricData::Sum(sum) => match Temporality::read(sum.temporality()) {
                // It may fall, and nobody knows from where.
                Ok(Temporality::Delta) if !sum.is_monotonic() => Err(Refusal::Unsupported),
                temporality => temporality,
            },
            MetricData::Histogram(histogram) => Temporality::read(histogram.temporality()),
            MetricData::ExponentialHistogram(histogram) => Temporality::read(histogram.temporality()),
        };
        let temporality = match temporality {
            Ok(temporality) => temporality,
            Err(refusal) => return self.tally.refuse(refusal, data.point_count() as u64, metric),
        };
        let mut point = |point| {
            if let Err(refusal) = self.point(subject, point) {
                self.tally.refuse(refusal, 1, metric);
            }
        };
        match data {
            MetricData::Gauge(gauge) => gauge.data_points().map(Point::Gauge).for_each(&mut point),
            MetricData::Sum(sum) => {
                sum.data_points().map(|at| Point::Sum(at, temporality)).for_each(&mut point);
            }
            MetricData::Histogram(histogram) => {
                histogram.data_points().map(|at| Point::Histogram(at, temporality)).for_each(&mut point);
            }
            MetricData::ExponentialHistogram(histogram) => {
                histogram.data_points().map(|at| Point::Exponential(at, temporality)).for_each(&mut point);
            }
            MetricData::Summary(summary) => summary.data_points().map(Point::Summary).for_each(&mut point),
        }
    }

    fn point(&mut self, subject: &Subject<'_, '_>, point: Point<'_>) -> Result<(), Refusal> {
        let attributes = point.attributes();
        let key: Key = subject.key(attributes, &mut self.scratch);
        let named = self.futile.reason().map_or_else(|| Ok(()), Err);
        let mut is_new = false;
        let taken = self.intake.store.take(key, point, self.now, || {
            is_new = true;
            named.and_then(|()| subject.found(attributes))
        });
        if let Err(refusal) = taken
            && is_new
            && named.is_ok()
        {
            self.futile.note(refusal, subject.label_count(attributes));
        }
        taken
    }
}

/// What naming new series has come to that were then refused. Names are costly, and a request may have a hundred
/// thousand of them.
#[derive(Default)]
struct Futile {
    labels: usize,
    /// There was no room for one, so there will hardly be any for the next.
    full: Option<Refusal>,
}

impl Futile {
    fn note(&mut self, refusal: Refusal, labels: usize) {
        // Those are not named.
        if refusal != Refusal::TooManyLabels {
            self.labels += labels;
        }
        if matches!(refusal, Refusal::TooManySeries | Refusal::TooManyBytes | Refusal::OverBudget) {
            self.full = Some(refusal);
        }
    }

    /// Why no further new series of the request is named, if so.
    fn reason(&self) -> Option<Refusal> {
        self.full.or_else(|| (self.labels > FUTILE_LABELS_MAX).then_some(Refusal::TooManyRefused))
    }
}
