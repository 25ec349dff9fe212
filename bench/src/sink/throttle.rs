//! A backend that manages so many items a second: one server, first come first served.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Delays answers to a rate that can be changed while requests wait.
#[derive(Debug)]
pub(super) struct Throttle {
    rate: watch::Sender<f64>,
    free_at: Mutex<Instant>,
}

impl Throttle {
    /// `rate` in items per second; 0 is no limit.
    pub(super) fn new(rate: f64) -> Self {
        Self { rate: watch::Sender::new(rate), free_at: Mutex::new(Instant::now()) }
    }

    /// Changes the rate. Lifting it releases whoever waits; another rate holds from the next request on.
    pub(super) fn set(&self, rate: f64) {
        self.rate.send_replace(rate);
        *self.free_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Returns when the backend has worked off `items`.
    pub(super) async fn pass(&self, items: u64) {
        let mut watcher = self.rate.subscribe();
        let rate = *watcher.borrow_and_update();
        if rate <= 0.0 {
            return;
        }
        let done_at = {
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            *free_at = (*free_at).max(Instant::now()) + Duration::from_secs_f64(items as f64 / rate);
            *free_at
        };
        tokio::select! {
            () = sleep_until(done_at) => {}
            // The sender lives as long as this.
            _ = watcher.wait_for(|rate| *rate <= 0.0) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn items_leave_at_the_rate_one_after_another() {
        let throttle = Throttle::new(100.0);
        let start = Instant::now();
        tokio::join!(throttle.pass(50), throttle.pass(50), throttle.pass(100));
        assert_eq!(start.elapsed().as_millis(), 2000);
    }

    #[tokio::test(start_paused = true)]
    async fn lifting_the_rate_releases_those_who_wait() {
        let throttle = Throttle::new(1.0);
        let start = Instant::now();
        tokio::join!(throttle.pass(3600), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            throttle.set(0.0);
        });
        assert_eq!(start.elapsed().as_secs(), 1);
    }
}
