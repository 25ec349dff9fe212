//! On whose behalf TLS is spoken: for logs, metrics and tasks.

use super::material::Texts;
use millrace_engine::component::Context;
use millrace_engine::{Health, Tasks};
use millrace_telemetry::catalogue::millrace as catalogue;
use millrace_telemetry::metrics::Level;
use millrace_telemetry::{Counter, Labels, Registry};

/// The component that TLS is spoken for.
#[derive(Debug, Clone)]
pub struct Site {
    component: String,
    labels: Labels,
    registry: Registry,
    tasks: Tasks,
    failed_reloads: Counter,
}

impl Site {
    /// The component's.
    #[must_use]
    pub fn of(context: &Context) -> Self {
        let component = context.id.to_string();
        let labels = Labels::new().with("kind", context.kind).with("component", component.clone());
        Self::with(component, labels, context)
    }

    /// Nobody's: for what connects before there are components, such as fetching a configuration. Counts nowhere.
    #[must_use]
    pub fn nobody() -> Self {
        let registry = Registry::new(Level::None);
        let failed_reloads = registry.counter(&catalogue::TLS_RELOAD_FAILURES, &Labels::new());
        let tasks = Tasks::new(Health::starting());
        Self { component: String::new(), labels: Labels::new(), registry, tasks, failed_reloads }
    }

    /// One transport of the component's, where several have certificates of their own.
    #[must_use]
    pub fn transport(context: &Context, transport: &'static str) -> Self {
        let component = context.id.to_string();
        let labels = Labels::new()
            .with("kind", context.kind)
            .with("component", component.clone())
            .with("transport", transport);
        Self::with(component, labels, context)
    }

    fn with(component: String, labels: Labels, context: &Context) -> Self {
        let registry = context.shared.registry.clone();
        let failed_reloads = registry.counter(&catalogue::TLS_RELOAD_FAILURES, &labels);
        Self { component, labels, registry, tasks: context.shared.tasks.clone(), failed_reloads }
    }

    pub(super) fn component(&self) -> &str {
        &self.component
    }

    pub(super) fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    pub(super) fn count_failed_reload(&self) {
        self.failed_reloads.add(1);
    }

    /// Shows when the certificates end, by the key that names them.
    pub(super) fn show_ends(&self, texts: &Texts) {
        for (origin, validity) in texts.ends() {
            let labels = self.labels.clone().with("file", origin.key);
            self.registry.gauge(&catalogue::TLS_CERTIFICATE_EXPIRY, &labels).set(validity.until as f64);
        }
    }
}
