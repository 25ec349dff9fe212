//! The collector's own metrics page, and the metrics of the process itself.

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};
use millrace_engine::Budget;
use millrace_engine::component::Shared;
use millrace_net::admin::AdminServer;
use millrace_telemetry::catalogue::millrace as catalogue;
use millrace_telemetry::config::TelemetryConfig;
use millrace_telemetry::expose::Options;
use millrace_telemetry::process::ProcessMetrics;
use millrace_telemetry::{Labels, Registration, Registry};
use std::time::Instant;

/// What keeps the process's own metrics alive and served.
pub struct Served {
    _process: ProcessMetrics,
    _budgets: Vec<Registration>,
    servers: Vec<AdminServer>,
}

impl Served {
    /// Registers the process's metrics and listens at every reader's address.
    ///
    /// # Errors
    /// Which address could not be listened on, and why.
    pub fn start(config: &TelemetryConfig, shared: &Shared, started: Instant) -> Result<Self, String> {
        let registry = &shared.registry;
        shared.tasks.count_in(registry);
        let mut servers = Vec::new();
        for reader in config.metrics.prometheus() {
            let address = reader.address();
            let (host, port) = millrace_net::config::listen_address(&address)?;
            let router = router(registry.clone(), reader.options());
            let server = AdminServer::start("metrics", &host, port, router)
                .map_err(|error| format!("cannot serve metrics on {address}: {error}; is another collector running there? set `service::telemetry::metrics::readers`"))?;
            servers.push(server);
        }
        let budgets = [("intake", &shared.intake), ("work", &shared.work)];
        let mut budgets: Vec<_> =
            budgets.into_iter().flat_map(|(pool, budget)| observe(registry, pool, budget)).collect();
        let retries = shared.retries.clone();
        let balance = move || retries.balance(Instant::now());
        budgets.push(registry.observe(&catalogue::RETRY_BALANCE, &Labels::new(), balance));
        Ok(Self { _process: ProcessMetrics::register(registry, started), _budgets: budgets, servers })
    }

    /// Stops serving.
    pub async fn stop(self) {
        for server in self.servers {
            server.stop().await;
        }
    }
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
