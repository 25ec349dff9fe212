//! The collector's own metrics page, and the metrics of the process itself.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};
use millrace_engine::component::Shared;
use millrace_engine::{Budget, Generation};
use millrace_net::admin::AdminServer;
use millrace_telemetry::catalogue::millrace as catalogue;
use millrace_telemetry::config::{Prometheus, TelemetryConfig};
use millrace_telemetry::expose::Options;
use millrace_telemetry::process::ProcessMetrics;
use millrace_telemetry::{Labels, Registration, Registry};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// What keeps the process's own metrics alive and served.
pub struct Served {
    _process: ProcessMetrics,
    _budgets: Vec<Registration>,
    servers: Mutex<Vec<PageServer>>,
}

/// A metrics page, and what the configuration says of it.
pub struct PageServer {
    reader: Prometheus,
    generation: Generation,
    server: Arc<AdminServer>,
}

impl Served {
    /// Registers the process's metrics and listens at every reader's address.
    ///
    /// # Errors
    /// Which address could not be listened on, and why.
    pub fn start(config: &TelemetryConfig, shared: &Shared, started: Instant) -> Result<Self, String> {
        let registry = &shared.registry;
        shared.tasks.count_in(registry);
        let servers = pages(config, shared, &[])?;
        servers.iter().for_each(|page| page.server.begin());
        let budgets = [("intake", &shared.intake), ("work", &shared.work)];
        let mut budgets: Vec<_> =
            budgets.into_iter().flat_map(|(pool, budget)| observe(registry, pool, budget)).collect();
        let retries = shared.retries.clone();
        let balance = move || retries.balance(Instant::now());
        budgets.push(registry.observe(&catalogue::RETRY_BALANCE, &Labels::new(), balance));
        Ok(Self {
            _process: ProcessMetrics::register(registry, started),
            _budgets: budgets,
            servers: Mutex::new(servers),
        })
    }

    /// The pages of another configuration: those that it has in common with the present one, and new ones that do not
    /// answer yet.
    ///
    /// # Errors
    /// Which address could not be listened on, and why.
    pub fn prepare(&self, config: &TelemetryConfig, shared: &Shared) -> Result<Vec<PageServer>, String> {
        pages(config, shared, &self.servers())
    }

    /// Serves these pages from now on, and no others.
    pub async fn replace(&self, pages: Vec<PageServer>) {
        pages.iter().for_each(|page| page.server.begin());
        let old = std::mem::replace(&mut *self.servers(), pages);
        for page in old {
            if let Some(server) = Arc::into_inner(page.server) {
                server.stop().await;
            }
        }
    }

    /// Stops serving.
    pub async fn stop(self) {
        self.replace(Vec::new()).await;
    }

    fn servers(&self) -> MutexGuard<'_, Vec<PageServer>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pages(
    config: &TelemetryConfig,
    shared: &Shared,
    present: &[PageServer],
) -> Result<Vec<PageServer>, String> {
    let page = |reader: &Prometheus| {
        if let Some(page) = present.iter().find(|page| page.reader == *reader) {
            page.generation.renew(&shared.generation);
            let (generation, server) = (page.generation.clone(), Arc::clone(&page.server));
            return Ok(PageServer { reader: reader.clone(), generation, server });
        }
        let address = reader.address();
        let router = router(shared.registry.clone(), reader.options());
        let own = Shared { generation: shared.generation.apart(), ..shared.clone() };
        let server = AdminServer::start("metrics", &own, &address, router).map_err(|error| {
            format!(
                "cannot serve metrics on {address}: {error}; is another collector running there? set \
                 `service::telemetry::metrics::readers`"
            )
        })?;
        let generation = own.generation;
        Ok(PageServer { reader: reader.clone(), generation, server: Arc::new(server) })
    };
    config.metrics.prometheus().map(page).collect()
}

fn router(registry: Registry, options: Options) -> Router {
    let page = async |State((registry, options)): State<(Registry, Options)>, headers: HeaderMap| {
        let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
        let (content_type, text) = registry.render_with(&options, accept);
        ([(CONTENT_TYPE, content_type)], text)
    };
    Router::new().route("/metrics", get(page)).with_state((registry, options))
}

fn observe(registry: &Registry, pool: &'static str, budget: &Budget) -> [Registration; 3] {
    let labels = Labels::new().with("pool", pool);
    let [used, limit, refused] = [budget.clone(), budget.clone(), budget.clone()];
    [
        registry.observe(&catalogue::BUDGET_USED, &labels, move || used.used() as f64),
        registry.observe(&catalogue::BUDGET_LIMIT, &labels, move || limit.limit() as f64),
        registry.observe(&catalogue::BUDGET_REFUSED, &labels, move || refused.refused() as f64),
    ]
}
