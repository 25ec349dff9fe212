//! Configurations that follow their files.
//!
//! # Invariant
//! What is in use was complete and in order when it was read. A file that is broken, or half written, changes nothing
//! but a counter and the log.

use super::Site;
use super::material::{Due, Texts};
use super::pem::TlsError;
use crate::config::TlsConfig;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until};

/// How often a file of clients' authorities is looked at, and the least time between two readings of any.
const SECOND: Duration = Duration::from_secs(1);

type Make<T> = dyn Fn(&Texts) -> Result<T, TlsError> + Send + Sync;

/// How something is made out of texts, and when they are read again.
pub(super) struct Recipe<T> {
    pub(super) config: TlsConfig,
    pub(super) client_ca_file: String,
    pub(super) client_ca_reload: bool,
    pub(super) make: Box<Make<T>>,
}

/// What a recipe makes, always of the newest texts that are in order.
pub(super) struct Live<T> {
    current: watch::Receiver<Arc<T>>,
    _reload: Option<Reload>,
}

impl<T> fmt::Debug for Live<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

/// A task that ends with whoever needs it.
struct Reload(JoinHandle<Option<()>>);

impl Drop for Reload {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T: Send + Sync + 'static> Live<T> {
    /// Reads and makes it for the first time; within the runtime if it is to be read again.
    pub(super) fn start(recipe: Recipe<T>, site: &Site) -> Result<Self, TlsError> {
        let texts = Texts::read(&recipe.config, &recipe.client_ca_file)?;
        let made = (recipe.make)(&texts)?;
        texts.warn_of_what_is_over(site.component());
        site.show_ends(&texts);
        let (sender, current) = watch::channel(Arc::new(made));
        let schedule = Schedule::of(&recipe);
        let reload = schedule.next().map(|_| {
            let following = follow(recipe, texts, schedule, sender, site.clone());
            Reload(site.tasks().spawn("tls reload", following))
        });
        Ok(Self { current, _reload: reload })
    }

    /// The newest.
    pub(super) fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.borrow())
    }
}

/// When which files are read again.
#[derive(Debug)]
struct Schedule {
    others: Option<Rhythm>,
    client_ca: Option<Rhythm>,
}

#[derive(Debug)]
struct Rhythm {
    every: Duration,
    next: Instant,
}

impl Rhythm {
    fn of(every: Duration) -> Self {
        let every = every.max(SECOND);
        Self { every, next: Instant::now() + every }
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let due = self.next <= now;
        if due {
            self.next = now + self.every;
        }
        due
    }
}

impl Schedule {
    fn of<T>(recipe: &Recipe<T>) -> Self {
        let TlsConfig { reload_interval, ca_file, cert_file, key_file, .. } = &recipe.config;
        let has_files = [ca_file, cert_file, key_file].into_iter().any(|file| !file.is_empty());
        let has_client_ca = !recipe.client_ca_file.is_empty();
        Self {
            others: (has_files && !reload_interval.is_zero()).then(|| Rhythm::of(reload_interval.get())),
            client_ca: (has_client_ca && recipe.client_ca_reload).then(|| Rhythm::of(SECOND)),
        }
    }

    fn next(&self) -> Option<Instant> {
        self.others.iter().chain(&self.client_ca).map(|rhythm| rhythm.next).min()
    }

    fn due(&mut self, now: Instant) -> Due {
        let is_due = |rhythm: &mut Option<Rhythm>| rhythm.as_mut().is_some_and(|rhythm| rhythm.is_due(now));
        Due { client_ca: is_due(&mut self.client_ca), others: is_due(&mut self.others) }
    }
}

/// Reads again and again, and replaces what is in use when there is something new and in order.
async fn follow<T: Send + Sync + 'static>(
    recipe: Recipe<T>,
    mut texts: Texts,
    mut schedule: Schedule,
    current: watch::Sender<Arc<T>>,
    site: Site,
) {
    let recipe = Arc::new(recipe);
    let mut complaint = None;
    while let Some(next) = schedule.next() {
        sleep_until(next).await;
        let due = schedule.due(Instant::now());
        let (reading, old) = (Arc::clone(&recipe), texts.clone());
        match spawn_blocking(move || reading.again(&old, due)).await {
            Ok(Ok(None)) => complaint = None,
            Ok(Ok(Some((fresh, made)))) => {
                complaint = None;
                fresh.warn_of_what_is_over(site.component());
                site.show_ends(&fresh);
                texts = fresh;
                current.send_replace(Arc::new(made));
                tracing::info!(
                    component = site.component(),
                    "the TLS certificates were read again and replaced"
                );
            }
            Ok(Err(error)) => {
                site.count_failed_reload();
                // Once, and not each time: it may stay so for long.
                if complaint.as_ref() != Some(&error) {
                    tracing::error!(component = site.component(), %error, "reading TLS certificates again failed; those from before stay in use");
                    complaint = Some(error);
                }
            }
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The process is ending.
            Err(_) => return,
        }
    }
}

impl<T> Recipe<T> {
    /// Reads what is due; `None` if nothing has changed.
    fn again(&self, old: &Texts, due: Due) -> Result<Option<(Texts, T)>, TlsError> {
        let fresh = old.again(&self.config, &self.client_ca_file, due)?;
        if fresh == *old {
            return Ok(None);
        }
        let made = (self.make)(&fresh)?;
        Ok(Some((fresh, made)))
    }
}
