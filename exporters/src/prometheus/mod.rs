//! The `prometheus` exporter: serves the latest data points to whoever scrapes them.
//!
//! What arrives is folded into the series that it belongs to, on the request's own task. Scrapes are answered by a
//! thread of their own, from references to all series that are copied shard by shard, so neither keeps the other
//! waiting.

mod config;
mod exponential;
mod identify;
mod intake;
mod refusal;
mod scrape;
mod scrapes;
mod series;
mod store;

#[cfg(test)]
mod tests;

pub use config::{Config, ResourceToTelemetry, Serving};

use crate::local;
use identify::Rules;
use intake::Intake;
use millrace_delivery::{Accepted, Exporter, Sender};
use millrace_engine::component::{BuildError, Context, ExporterConfig, Factory, Stability};
use millrace_engine::{Batch, BoxFuture, Failure, Stage};
use millrace_formats::prometheus::{Offer, OpenMetrics};
use millrace_net::admin::{AdminServer, Counted};
use millrace_telemetry::catalogue::millrace as catalogue;
use millrace_telemetry::{Labels, Registration};
use millrace_wire::Signal;
use scrape::Counter;
use scrapes::Scrapes;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};
use store::{Limits, Store};
use tokio::time::{MissedTickBehavior, interval};

/// How often expired series are looked for, unless they expire sooner.
const SWEEP: Duration = Duration::from_secs(60);

/// The `prometheus` exporter.
pub const FACTORY: Factory<dyn ExporterConfig> = Factory {
    name: "prometheus",
    aliases: &[],
    signals: &[Signal::Metrics],
    stability: Stability::Alpha,
    schema: millrace_config::Shape::over::<Config>(config::DEFAULTS),
    plan: |node, path, diags| {
        Some(Box::new(millrace_config::decode_over::<Config>(config::DEFAULTS, node, path, diags)?))
    },
};

impl ExporterConfig for Config {
    fn build(&self, context: Context, signal: Signal) -> Result<Arc<dyn Stage>, BuildError> {
        let prometheus = Arc::new(Prometheus::start(self, &context)?);
        let delivery = local::delivery(self.serving.sending_queue.clone());
        Ok(Exporter::start(&context, signal, &delivery, prometheus)?)
    }
}

struct Prometheus {
    intake: Intake,
    address: String,
    server: Mutex<Option<AdminServer>>,
    _visible: [Registration; 2],
}

impl Prometheus {
    fn start(config: &Config, context: &Context) -> Result<Self, BuildError> {
        let Config { server, serving } = config;
        let expiration = serving.metric_expiration.get();
        let limits = Limits {
            series: usize::try_from(serving.max_series).unwrap_or(usize::MAX),
            bytes: usize::try_from(serving.max_series_mib.saturating_mul(1 << 20)).unwrap_or(usize::MAX),
            expiration,
        };
        let store = Arc::new(Store::new(limits, context.shared.intake.clone()));
        let names = serving.names();
        let open_metrics =
            if serving.enable_open_metrics { OpenMetrics::IfPreferred } else { OpenMetrics::Never };
        let counter = Counter {
            store: Arc::clone(&store),
            target_info: names.target_info(),
            send_timestamps: serving.send_timestamps,
            offer: Offer { open_metrics, protobuf: true },
            scrapes: Scrapes::new([context.shared.work.clone(), context.shared.intake.clone()]),
        };
        let router = scrape::router(Arc::new(counter));
        let listening = AdminServer::http("prometheus", server, context, router, Counted::Yes)?;
        let address = listening.address().map_or_else(|| server.endpoint.clone(), |at| at.to_string());
        tracing::info!(
            otelcol.component.id = %context.id,
            otelcol.component.kind = "exporter",
            endpoint = %address,
            "serving metrics at /metrics"
        );
        context
            .shared
            .tasks
            .spawn("sweep", sweep(Arc::downgrade(&store), expiration.clamp(Duration::from_secs(1), SWEEP)));
        let rules = Rules {
            names,
            const_labels: serving.const_labels.clone(),
            with_scope: !serving.without_scope_info,
            with_resource: serving.resource_to_telemetry_conversion.enabled,
            without_service: serving.resource_to_telemetry_conversion.exclude_service_attributes,
        };
        Ok(Self {
            _visible: visible(context, &store),
            intake: Intake::new(context, rules, store),
            address,
            server: Mutex::new(Some(listening)),
        })
    }
}

/// Shows how much there is among the collector's own metrics.
fn visible(context: &Context, store: &Arc<Store>) -> [Registration; 2] {
    let labels = Labels::new().with("exporter", context.id.to_string());
    let observe = |def, read: fn(&Store) -> usize| {
        let store = Arc::downgrade(store);
        let read = move || store.upgrade().map_or(f64::NAN, |store| read(&store) as f64);
        context.shared.registry.observe(def, &labels, read)
    };
    [
        observe(&catalogue::PROMETHEUS_SERIES, Store::series),
        observe(&catalogue::PROMETHEUS_SERIES_BYTES, Store::bytes),
    ]
}

/// Forgets expired series until the exporter is gone.
async fn sweep(store: Weak<Store>, period: Duration) {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(store) = store.upgrade() else { return };
        store.sweep(Instant::now());
    }
}

impl Sender for Prometheus {
    fn begin(&self) {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        server.iter().for_each(AdminServer::begin);
    }

    fn send<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Accepted, Failure>> {
        Box::pin(async move { Ok(Accepted { rejected_items: self.intake.take(batch, Instant::now()) }) })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(server) = server {
                tracing::debug!(endpoint = %self.address, "no longer serving metrics");
                server.stop().await;
            }
        })
    }
}
