//! Exporters whose queue a reload moves from memory to disk.

use super::batch;
use super::disk::{Disk, on_disk, soon, until};
use super::process::{Trial, patient};
use super::sender::dead;
use millrace_delivery::{QueueConfig, Sizer};
use millrace_engine::Account;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

const SECOND: Duration = Duration::from_secs(1);

/// A queue on disk that holds so many items, of which one request is being sent.
pub fn holding(queue_size: u64) -> QueueConfig {
    QueueConfig {
        queue_size,
        sizer: Sizer::Items,
        num_consumers: 1,
        millrace_adaptive_concurrency: false,
        ..on_disk()
    }
}

/// An exporter with so many requests of two items in memory.
pub async fn waiting(disk: &Disk, requests: u64) -> Arc<Trial> {
    let old = disk.start(&patient(QueueConfig { num_consumers: 2, ..QueueConfig::default() }), dead());
    for id in 0..requests {
        old.hand_in(batch(2 * id..2 * id + 2)).await.expect("there is room");
    }
    until("some are being retried", || old.metric("otelcol_millrace_retry_waiting") > 0.0).await;
    Arc::new(old)
}

pub fn leaving(trial: &Arc<Trial>) -> JoinHandle<Duration> {
    let trial = Arc::clone(trial);
    tokio::spawn(async move { trial.leave(SECOND * 600, SECOND * 5).await })
}

/// As when the process is told to stop: all drain at once.
pub async fn stop(trials: [&Trial; 2]) {
    soon("they end", async { tokio::join!(trials[0].drain(SECOND * 60), trials[1].drain(SECOND * 60)) })
        .await;
}

pub fn accounts(trial: &Trial) -> Vec<Arc<Account>> {
    trial.context.shared.ledger.accounts()
}

pub fn account(trial: &Trial, kind: &str) -> Arc<Account> {
    accounts(trial).into_iter().find(|account| account.holder().kind == kind).expect("there is one")
}

pub fn assert_balanced(trial: &Trial) {
    for account in accounts(trial) {
        assert_eq!((account.imbalance(), account.imbalance_bytes()), (0, 0), "{account:?}");
        assert_eq!(account.held(), account.kept(), "nothing is in memory: {account:?}");
    }
}

pub fn sorted(mut ids: Vec<u64>) -> Vec<u64> {
    ids.sort_unstable();
    ids
}
