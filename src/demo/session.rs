//! The shop's opening hours: sends what happens in it until told to stop.

use super::places::Places;
use super::report::{self, Tally};
use super::sender::Sender;
use super::shop::{Request, Shop};
use crate::cli;
use millrace_engine::component::Shared;
use std::pin::pin;
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How often spans and log records are sent.
const TICK: Duration = Duration::from_millis(500);
/// After a pause (a suspended machine), no more than this is made up for.
const CATCH_UP_MAX: Duration = Duration::from_secs(2);
/// How often metrics are sent, in ticks.
const TICKS_PER_READING: u64 = 4;
/// How often the account is shown.
const STATUS_INTERVAL: Duration = Duration::from_secs(5);

/// Keeps the shop open until `stopping`, or until its time is over.
pub async fn run(
    options: &cli::Demo,
    places: &Places,
    shared: &Shared,
    mut stopping: oneshot::Receiver<()>,
) -> Tally {
    let mut tally = Tally::default();
    let sender = Sender::new(places, shared);
    let mut shop = Shop::open(fastrand::u64(..), now_ns());
    let opened = Instant::now();
    let mut end = pin!(closing_time(options.duration));
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut status = interval(STATUS_INTERVAL);
    status.reset();
    let mut served = opened;
    let mut tick = 0;
    loop {
        tokio::select! {
            biased;
            _ = &mut stopping => break,
            () = &mut end => break,
            _ = status.tick() => cli::print(&report::status(opened.elapsed(), &shared.ledger)),
            now = ticks.tick() => {
                let elapsed = (now - served).min(CATCH_UP_MAX);
                served = now;
                tick += 1;
                let mut requests = shop.serve(f64::from(options.rate) * elapsed.as_secs_f64(), now_ns());
                if tick % TICKS_PER_READING == 0 {
                    requests.extend(shop.read(now_ns()));
                }
                send(&sender, requests, &mut tally).await;
            }
        }
    }
    // As an SDK does when its process ends.
    send(&sender, shop.read(now_ns()), &mut tally).await;
    tally
}

async fn closing_time(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}

async fn send(sender: &Sender, requests: Vec<Request>, tally: &mut Tally) {
    for request in requests {
        let answer = sender.send(&request).await;
        if let Err(complaint) = &answer
            && tally.complaint.is_none()
        {
            cli::print(&format!(
                "demo: the collector did not accept what {} sent: {complaint}\n",
                request.service.name()
            ));
        }
        tally.count(&request.payload, answer);
    }
}

/// Nanoseconds since the Unix epoch; zero before it.
fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
