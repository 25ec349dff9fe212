//! A process to live in.

use millrace_config::{Duration as Configured, Optional};
use millrace_delivery::{Delivery, Exporter, QueueConfig, RetryConfig, Sender};
use millrace_engine::component::{Context, Shared};
use millrace_engine::ledger::Term;
use millrace_engine::{Account, Batch, Failure, Health, Reason, Stage, Until};
use millrace_telemetry::Labels;
use millrace_telemetry::metrics::{Level, Registry};
use millrace_wire::Signal;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

pub fn context() -> Context {
    let shared = Shared::new(Registry::new(Level::Detailed), &Health::starting(), 64 << 20, 64 << 20, "test");
    Context { shared, kind: "exporter", id: "test".parse().expect("an id"), pipeline: None }
}

/// One attempt, no limit in time, no queue.
pub fn direct() -> Delivery {
    Delivery {
        queue: Optional::Off,
        retry: RetryConfig { enabled: false, ..RetryConfig::default() },
        timeout: Duration::ZERO,
        destination: Labels::new(),
        metadata: Vec::new(),
    }
}

/// The same behind a queue.
pub fn queued(queue: QueueConfig) -> Delivery {
    Delivery { queue: Optional::On(queue), ..direct() }
}

/// An exporter of logs on trial, and what it has written down.
pub struct Trial {
    pub context: Context,
    pub exporter: Arc<Exporter>,
}

impl Trial {
    pub fn new(delivery: &Delivery, sender: Arc<dyn Sender>) -> Self {
        let context = context();
        let exporter = Exporter::start(&context, Signal::Logs, delivery, sender).expect("it starts");
        exporter.begin();
        Self { context, exporter }
    }

    /// Another exporter of the same id in the same process.
    pub fn beside(&self, delivery: &Delivery, sender: Arc<dyn Sender>) -> Self {
        let other = self.built_beside(delivery, sender);
        other.exporter.begin();
        other
    }

    /// The same, before it begins to work.
    pub fn built_beside(&self, delivery: &Delivery, sender: Arc<dyn Sender>) -> Self {
        let exporter =
            Exporter::start(&self.context, Signal::Logs, delivery, sender).expect("it can be started");
        Self { context: self.context.clone(), exporter }
    }

    /// The same, but that its type is called otherwise, and so is it.
    pub fn renamed(&self, id: &str, delivery: &Delivery, sender: Arc<dyn Sender>) -> Self {
        let mut context = self.context.clone();
        if context.shared.namesakes.is_empty() {
            context.shared.namesakes = [context.id].into();
        }
        context.id = id.parse().expect("an id");
        let exporter = Exporter::start(&context, Signal::Logs, delivery, sender).expect("it can be started");
        Self { context, exporter }
    }

    pub fn account(&self) -> Arc<Account> {
        self.context.shared.ledger.accounts().pop().expect("one account")
    }

    /// Hands a batch in, as the graph does.
    pub async fn hand_in(&self, batch: Batch) -> Result<(), Failure> {
        self.hand_in_until(batch, Until::Stored).await
    }

    pub async fn hand_in_until(&self, batch: Batch, until: Until) -> Result<(), Failure> {
        let permit = self.exporter.reserve(batch.cost()).decided().await?;
        self.exporter.commit(permit, batch, until).await
    }

    /// Drains within that time; how long it took.
    pub async fn drain(&self, within: Duration) -> Duration {
        let started = Instant::now();
        self.exporter.drain((started + within).into_std()).await;
        started.elapsed()
    }

    /// Goes on for that long, then drains, as when a reload has no place for it any more; how long it took.
    pub async fn leave(&self, lingering: Duration, draining: Duration) -> Duration {
        let started = Instant::now();
        self.exporter.linger((started + lingering).into_std()).await;
        self.exporter.drain((started + lingering + draining).into_std()).await;
        started.elapsed()
    }

    pub fn total(&self, term: Term) -> u64 {
        self.account().total(term).items
    }

    pub fn lost(&self, reason: Reason) -> u64 {
        self.total(Term::Lost(reason))
    }

    /// Nothing is held, and items and bytes balance.
    pub fn assert_settled(&self) {
        let account = self.account();
        assert_eq!(account.held().items, 0, "{account:?}");
        assert_eq!((account.imbalance(), account.imbalance_bytes()), (0, 0), "{account:?}");
    }

    /// The sum of all series of a metric on the page; 0 if there is none.
    pub fn metric(&self, name: &str) -> f64 {
        let (_, page) = self.context.shared.registry.render(None);
        let lines = page.lines().filter(|line| line.starts_with(&format!("{name}{{")));
        lines.map(|line| line.rsplit(' ').next().expect("a value").parse::<f64>().expect("a number")).sum()
    }
}

/// What is refused for a while is tried again, and again.
pub fn patient(queue: QueueConfig) -> Delivery {
    let retry = RetryConfig { initial_interval: Configured::from_millis(5), ..RetryConfig::default() };
    Delivery { retry, ..queued(queue) }
}

/// As a reload does with what has a successor.
pub fn hand_over(old: &Trial, new: &Trial) {
    let stage = |trial: &Trial| Arc::clone(&trial.exporter) as Arc<dyn Stage>;
    stage(old).hand_over(&stage(new));
}
