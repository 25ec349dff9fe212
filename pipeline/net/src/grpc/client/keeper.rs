//! The tasks behind a channel: one that asks for the addresses of the name, and for each address one that keeps a
//! connection to it. They live as long as the channel, and hold no call up.

use super::link::{Driver, Link, open};
use super::pool::{PeerId, Wanted};
use super::{Core, KeepAlive};
use crate::connect::{Address, advised};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// How often a name is asked for again while everything is well.
const RESOLVE_EVERY: Duration = Duration::from_secs(30);
/// How soon it is asked for again when a connection has broken.
const RESOLVE_MIN: Duration = Duration::from_secs(1);
/// The first wait after an address could not be connected to.
const BACKOFF_MIN: Duration = Duration::from_secs(1);
/// The longest.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// How soon it is tried again when a call needs it; many calls cannot make it more often.
const AGAIN_MIN: Duration = Duration::from_millis(50);
/// A connection that lasted less is as good as none.
const LASTING: Duration = Duration::from_secs(1);
/// How long calls may take to end on a connection that gets no new ones.
const DRAIN_MAX: Duration = Duration::from_secs(300);

/// Starts what a channel needs, and ends it when `open` is dropped.
pub(super) fn start(core: &Arc<Core>, open: oneshot::Receiver<()>) {
    let core = Arc::clone(core);
    core.tasks.clone().spawn("grpc addresses", follow(core, open));
}

/// Keeps the pool's addresses those of the name.
async fn follow(core: Arc<Core>, mut open: oneshot::Receiver<()>) {
    let endpoint = &core.options.endpoint;
    let may_move = core.options.connector.may_move(endpoint);
    loop {
        let asked = Instant::now();
        let told = tokio::select! {
            told = core.options.connector.addresses(endpoint) => told,
            _ = &mut open => break,
        };
        let known = told.is_ok();
        match told {
            Ok(addresses) => {
                let wanted = core.pool().resolved(addresses);
                for wanted in wanted {
                    core.tasks.spawn("grpc connections", keep(Arc::clone(&core), wanted));
                }
            }
            Err(error) => {
                tracing::debug!(%endpoint, %error, "cannot find the destination");
                core.pool().unresolved(error.to_string());
                core.changed();
            }
        }
        let again = async {
            if known && !may_move {
                std::future::pending::<()>().await;
            }
            let _ = timeout(RESOLVE_EVERY, core.stale.notified()).await;
            sleep_until(asked + RESOLVE_MIN).await;
        };
        tokio::select! {
            () = again => {}
            _ = &mut open => break,
        }
    }
    core.pool().close();
    core.changed();
}

/// Keeps a connection for a peer, until it is not wanted any more.
async fn keep(core: Arc<Core>, wanted: Wanted) {
    let Wanted { id, mut until } = wanted;
    let mut calls = core.calls.subscribe();
    let mut wait = BACKOFF_MIN;
    loop {
        calls.mark_unchanged();
        let connected = tokio::select! {
            biased;
            _ = &mut until => return,
            connected = connect(&core, id) => connected,
        };
        let (link, driver) = match connected {
            Ok(connected) => connected,
            Err(problem) => {
                tracing::debug!(endpoint = %core.options.endpoint, error = problem, "cannot connect");
                core.pool().failed(id, problem);
                core.changed();
                core.stale.notify_one();
                tokio::select! {
                    () = back_off(&mut wait, &mut calls) => continue,
                    _ = &mut until => return,
                }
            }
        };
        let since = Instant::now();
        // Before it runs, because its end takes it out again.
        core.pool().up(id, link);
        let mut running = run(&core, driver, core.options.keepalive);
        core.changed();
        tokio::select! {
            _ = &mut running => {}
            () = told_down(&core, id) => drain(&core, running),
            _ = &mut until => return drain(&core, running),
        }
        core.stale.notify_one();
        if since.elapsed() >= LASTING {
            wait = BACKOFF_MIN;
            continue;
        }
        tokio::select! {
            () = back_off(&mut wait, &mut calls) => {}
            _ = &mut until => return,
        }
    }
}

async fn connect(core: &Core, id: PeerId) -> Result<(Arc<Link>, Driver), String> {
    let addresses = core.pool().addresses(id);
    let about = |address: Option<&Address>, error: &io::Error| match address {
        Some(address) if core.options.connector.may_move(&core.options.endpoint) => {
            format!("{address}: {error}")
        }
        _ => error.to_string(),
    };
    let (stream, address) = core
        .options
        .connector
        .connect(&core.options.endpoint, &addresses)
        .await
        .map_err(|error| about(addresses.first(), &error))?;
    let opened = open(stream, address.clone()).await;
    opened.map_err(|error| about(Some(&address), &error))
}

/// Drives a connection in a task of its own, because it may outlive its peer.
fn run(core: &Arc<Core>, driver: Driver, keepalive: Option<KeepAlive>) -> JoinHandle<Option<()>> {
    let core = Arc::clone(core);
    core.tasks.clone().spawn("grpc connection", async move {
        let link = driver.link();
        let why = driver.run(keepalive).await;
        tracing::debug!(endpoint = %core.options.endpoint, why = advised(&why), "a connection ended");
        if let Some(link) = link.upgrade() {
            core.pool().down(&link);
        }
    })
}

/// Lets the calls on a connection end that gets no new ones.
fn drain(core: &Core, mut running: JoinHandle<Option<()>>) {
    core.tasks.spawn("grpc connection", async move {
        if timeout(DRAIN_MAX, &mut running).await.is_err() {
            running.abort();
        }
    });
}

/// Resolves when a call has found that the peer's connection takes no more.
async fn told_down(core: &Core, id: PeerId) {
    let mut changes = core.changes.subscribe();
    loop {
        changes.mark_unchanged();
        if !core.pool().is_up(id) {
            return;
        }
        if changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Waits, longer each time; when a call needs a connection, not for long.
async fn back_off(wait: &mut Duration, calls: &mut watch::Receiver<u64>) {
    let this = wait.mul_f64(0.8 + 0.4 * fastrand::f64());
    *wait = (*wait).mul_f64(1.6).min(BACKOFF_MAX);
    sleep(AGAIN_MIN).await;
    tokio::select! {
        () = sleep(this.saturating_sub(AGAIN_MIN)) => {}
        // The sender lives as long as the core that whoever waits here holds.
        _ = calls.changed() => {}
    }
}
