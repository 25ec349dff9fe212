//! Graphs that have been replaced and are not gone yet: what they have left is sent beside what works now.

use super::told;
use millrace_engine::graph::{Destinations, Earlier, Graph, Haste, Progress, Retirement};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// How many there may be. One more, and the first has to be gone.
const MOST: usize = 8;
/// How long what has ended may take to be closed: far longer than a disk needs that works, and less than a log is waited
/// for whose last handle is dropped.
pub(super) const CLOSING: Duration = Duration::from_secs(3);

/// One of them.
pub(super) struct Leaving {
    pub(super) destinations: Destinations,
    progress: watch::Receiver<Progress>,
    haste: watch::Sender<Haste>,
    /// Until when it may go on.
    deadline: Instant,
}

impl Leaving {
    /// Retires `before`, which `after` works in the place of, within `patience` and after those that are `leaving`. What is
    /// to be polled for that ends when it is gone.
    pub(super) fn new(
        before: Arc<Graph>,
        after: &Graph,
        patience: Duration,
        leaving: &[Arc<Self>],
    ) -> (Arc<Self>, impl Future<Output = Gone> + use<>) {
        let retirement: Retirement = before.retirement(after);
        // Nobody else may have it any more: what it has is closed when it has ended.
        drop(before);
        let (tell, progress) = watch::channel(Progress::Takes);
        let (haste, hurry) = watch::channel(Haste::None);
        let deadline = Instant::now() + patience;
        let destinations = retirement.destinations();
        let earlier: Vec<_> = leaving.iter().map(|leaving| leaving.progress.clone()).collect();
        let retire = async move {
            let has_come = |far| {
                tell.send_replace(far);
            };
            let earlier = Earlier {
                have_fed: all(earlier.clone(), Progress::Sends),
                are_gone: all(earlier, Progress::Gone),
            };
            retirement.run(deadline, hurry, has_come, earlier).await;
            if !let_go(retirement).await {
                tracing::warn!(
                    "what has been replaced is not closed yet, as its disk does not answer; until it does, nothing else can \
                     use what it has there"
                );
            }
            Gone(tell)
        };
        (Arc::new(Self { destinations, progress, haste, deadline }), retire)
    }

    /// There is haste with it.
    pub(super) fn hurry(&self, haste: Haste) {
        self.haste.send_if_modified(|present| {
            let is_more = haste > *present;
            *present = haste.max(*present);
            is_more
        });
    }

    /// Whether it may feed what works now, or what is in the place of that.
    pub(super) fn feeds(&self) -> bool {
        *self.progress.borrow() < Progress::Sends && self.progress.has_changed().is_ok()
    }

    /// How long it may go on.
    pub(super) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// Drops what may have things on disk: they are closed, and that waits for the disk, aside from the workers. Whether it was
/// over in time: a disk may hang, and then it is over when that answers.
pub(super) async fn let_go<T: Send + 'static>(it: T) -> bool {
    // A panic in it has been reported.
    timeout(CLOSING, spawn_blocking(move || drop(it))).await.is_ok()
}

/// It is gone, and whoever waits for that is told when this is dropped.
pub(super) struct Gone(watch::Sender<Progress>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.send_replace(Progress::Gone);
    }
}

/// Waits until none of them has requests under way.
pub(super) fn have_answered(leaving: &[Arc<Leaving>]) -> impl Future<Output = ()> + use<> {
    all(leaving.iter().map(|leaving| leaving.progress.clone()).collect(), Progress::Feeds)
}

/// Waits until none of them feeds what works now.
pub(super) fn have_fed(leaving: &[Arc<Leaving>]) -> impl Future<Output = ()> + use<> {
    all(leaving.iter().map(|leaving| leaving.progress.clone()).collect(), Progress::Sends)
}

/// Waits until they are gone.
pub(super) fn are_gone(leaving: &[Arc<Leaving>]) -> impl Future<Output = ()> + use<> {
    all(leaving.iter().map(|leaving| leaving.progress.clone()).collect(), Progress::Gone)
}

/// The first, if there are so many that it has to make way for one more.
pub(super) fn one_too_many(leaving: &[Arc<Leaving>]) -> Option<Arc<Leaving>> {
    leaving.first().filter(|_| leaving.len() >= MOST).cloned()
}

async fn all(leaving: Vec<watch::Receiver<Progress>>, far: Progress) {
    for progress in leaving {
        told(progress, |progress| *progress >= far).await;
    }
}
