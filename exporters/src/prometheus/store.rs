//! All series that are served.
//!
//! # Invariants
//! - A data point takes the lock of one shard, and for new series that of the catalogue within it; never the other way
//!   round. A scrape takes one shard's lock after another, and holds it while it copies references.
//! - No two series have the same name and labels, and no two metrics of one name have different types.
//! - The number of series and what they take is within the limits; what they take is charged to the budget.

use super::identify::{Found, Key};
use super::refusal::Refusal;
use super::series::{Family, Identity, Label, Point, Series, State};
use millrace_engine::{Budget, Charge};
use millrace_formats::prometheus::Kind;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::mem::size_of;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Shards of the series, so that a scrape keeps few data points waiting and none for long.
const SHARDS: usize = 64;
/// What series take is charged to the budget in steps of this.
const SLAB_BYTES: usize = 256 << 10;
/// What a series takes beside its texts and buckets: its places in the maps.
const PLACE_BYTES: usize = 2 * (size_of::<Series>() + 2 * size_of::<Key>());

/// The bounds of a store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub series: usize,
    pub bytes: usize,
    /// Series that have not changed for so long are no longer served.
    pub expiration: Duration,
}

pub(super) struct Store {
    limits: Limits,
    shards: Box<[Mutex<HashMap<Key, Series>>]>,
    catalogue: Mutex<Catalogue>,
}

/// What is known of all series together.
struct Catalogue {
    families: HashMap<Arc<str>, Listed>,
    /// The series by what they look like, however they were found.
    outputs: HashMap<Key, ()>,
    targets: HashMap<Key, Target>,
    used: Used,
}

/// A metric that is served.
struct Listed {
    family: Arc<Family>,
    series: usize,
}

/// A resource, as `target_info` shows it.
struct Target {
    attributes: Key,
    labels: Arc<[Label]>,
    bytes: usize,
    updated: Instant,
}

/// How much there is of everything that has a limit.
struct Used {
    series: usize,
    bytes: usize,
    charges: Vec<Charge>,
    budget: Budget,
}

/// A series at the time of a scrape.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    pub identity: Arc<Identity>,
    pub state: State,
}

impl Store {
    pub(super) fn new(limits: Limits, budget: Budget) -> Self {
        let used = Used { series: 0, bytes: 0, charges: Vec::new(), budget };
        let catalogue =
            Catalogue { families: HashMap::new(), outputs: HashMap::new(), targets: HashMap::new(), used };
        Self {
            limits,
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            catalogue: Mutex::new(catalogue),
        }
    }

    /// Takes in one data point of the series with that key; `found` says what it is called, should it be new.
    pub(super) fn take(
        &self,
        key: Key,
        point: Point<'_>,
        now: Instant,
        found: impl FnOnce() -> Result<Found, Refusal>,
    ) -> Result<(), Refusal> {
        let mut shard = lock(&self.shards[key.shard(SHARDS)]);
        match shard.entry(key) {
            Entry::Occupied(entry) if point.is_stale_marker() => {
                self.forget(&entry.remove());
                Ok(())
            }
            Entry::Occupied(mut entry) => {
                let series = entry.get_mut();
                series.state.update(point)?;
                series.updated = now;
                let bytes = PLACE_BYTES + series.identity.bytes() + series.state.bytes();
                if bytes != series.bytes {
                    let resized = lock(&self.catalogue).used.resize(series.bytes, bytes, &self.limits);
                    if let Err(refusal) = resized {
                        // What it was before is gone, and would be wrong to serve.
                        self.forget(&entry.remove());
                        return Err(refusal);
                    }
                    series.bytes = bytes;
                }
                Ok(())
            }
            Entry::Vacant(_) if point.is_stale_marker() => Ok(()),
            Entry::Vacant(entry) => {
                let state = State::first(point)?;
                let series = self.admit(found()?, state, now)?;
                entry.insert(series);
                Ok(())
            }
        }
    }

    /// Makes a new series, if it may be.
    fn admit(&self, found: Found, state: State, now: Instant) -> Result<Series, Refusal> {
        let output = found.output();
        let mut catalogue = lock(&self.catalogue);
        let family = catalogue.family(&found)?;
        if catalogue.outputs.contains_key(&output) {
            return Err(Refusal::Duplicate);
        }
        let identity = Identity { family: Arc::clone(&family), labels: found.labels };
        let bytes = PLACE_BYTES + identity.bytes() + state.bytes();
        let is_listed = catalogue.families.contains_key(family.name.as_str());
        let of_family = if is_listed { 0 } else { family.bytes() };
        catalogue.used.add(bytes + of_family, &self.limits)?;
        catalogue.outputs.insert(output, ());
        let listed = catalogue.families.entry(family.name.as_str().into());
        listed.or_insert(Listed { family, series: 0 }).series += 1;
        Ok(Series { identity: Arc::new(identity), state, updated: now, bytes })
    }

    fn forget(&self, series: &Series) {
        let mut catalogue = lock(&self.catalogue);
        let Identity { family, labels } = &*series.identity;
        catalogue.outputs.remove(&Key::of_output(&family.name, labels));
        let mut bytes = series.bytes;
        if let Some(listed) = catalogue.families.get_mut(family.name.as_str()) {
            listed.series -= 1;
            if listed.series == 0 {
                bytes += listed.family.bytes();
                catalogue.families.remove(family.name.as_str());
            }
        }
        catalogue.used.remove(bytes);
    }

    /// Notes what is known of a resource, to be served as `target_info`.
    pub(super) fn note_target(
        &self,
        key: Key,
        attributes: Key,
        now: Instant,
        labels: impl FnOnce() -> Box<[Label]>,
    ) -> Result<(), Refusal> {
        let mut catalogue = lock(&self.catalogue);
        let Catalogue { targets, used, .. } = &mut *catalogue;
        if let Some(target) = targets.get_mut(&key)
            && target.attributes == attributes
        {
            target.updated = now;
            return Ok(());
        }
        let labels: Arc<[Label]> = labels().into();
        let texts: usize =
            labels.iter().map(|(name, value)| size_of::<Label>() + name.len() + value.len()).sum();
        let bytes = PLACE_BYTES + texts;
        if let Some(replaced) = targets.remove(&key) {
            used.remove(replaced.bytes);
        }
        used.add(bytes, &self.limits)?;
        targets.insert(key, Target { attributes, labels, bytes, updated: now });
        Ok(())
    }

    /// Everything that is served now, in no order.
    pub(super) fn shown(&self, now: Instant) -> (Vec<Arc<[Label]>>, Vec<Shown>) {
        let targets = {
            let catalogue = lock(&self.catalogue);
            let targets = catalogue.targets.values().filter(|target| self.is_current(target.updated, now));
            targets.map(|target| Arc::clone(&target.labels)).collect()
        };
        let mut shown = Vec::with_capacity(self.series());
        for shard in &self.shards {
            let shard = lock(shard);
            let current = shard.values().filter(|series| self.is_current(series.updated, now));
            shown.extend(
                current.map(|series| Shown {
                    identity: Arc::clone(&series.identity),
                    state: series.state.clone(),
                }),
            );
        }
        (targets, shown)
    }

    /// Forgets what has expired.
    pub(super) fn sweep(&self, now: Instant) {
        for shard in &self.shards {
            let mut shard = lock(shard);
            shard.retain(|_, series| {
                let current = self.is_current(series.updated, now);
                if !current {
                    self.forget(series);
                }
                current
            });
        }
        let mut catalogue = lock(&self.catalogue);
        let Catalogue { targets, used, .. } = &mut *catalogue;
        targets.retain(|_, target| {
            let current = self.is_current(target.updated, now);
            if !current {
                used.remove(target.bytes);
            }
            current
        });
    }

    fn is_current(&self, updated: Instant, now: Instant) -> bool {
        now.saturating_duration_since(updated) <= self.limits.expiration && !self.limits.expiration.is_zero()
    }

    /// How many series there are.
    pub(super) fn series(&self) -> usize {
        lock(&self.catalogue).used.series
    }

    /// What they take.
    pub(super) fn bytes(&self) -> usize {
        lock(&self.catalogue).used.bytes
    }
}

impl Catalogue {
    /// The metric that a series belongs to. The first description stays.
    fn family(&self, found: &Found) -> Result<Arc<Family>, Refusal> {
        match self.families.get(found.name.as_str()) {
            Some(listed) if listed.family.kind == found.kind => Ok(Arc::clone(&listed.family)),
            Some(_) => Err(Refusal::TypeConflict),
            None if self.is_part_of_another(&found.name, found.kind) => Err(Refusal::TypeConflict),
            None => {
                let Found { name, help, kind, .. } = found;
                Ok(Arc::new(Family { name: name.clone(), help: help.clone(), kind: *kind }))
            }
        }
    }

    /// Whether Prometheus would take it for a part of a histogram or summary, or the other way round.
    fn is_part_of_another(&self, name: &str, kind: Kind) -> bool {
        let is = |name: &str, kinds: &[Kind]| {
            self.families.get(name).is_some_and(|listed| kinds.contains(&listed.family.kind))
        };
        let parts = [
            ("_count", &[Kind::Histogram, Kind::Summary][..]),
            ("_sum", &[Kind::Histogram, Kind::Summary][..]),
            ("_bucket", &[Kind::Histogram][..]),
        ];
        parts.into_iter().any(|(suffix, kinds)| {
            name.strip_suffix(suffix).is_some_and(|whole| is(whole, kinds))
                || (kinds.contains(&kind) && self.families.contains_key(format!("{name}{suffix}").as_str()))
        })
    }
}

impl Used {
    fn add(&mut self, bytes: usize, limits: &Limits) -> Result<(), Refusal> {
        if self.series >= limits.series {
            return Err(Refusal::TooManySeries);
        }
        let total = self.bytes + bytes;
        if total > limits.bytes {
            return Err(Refusal::TooManyBytes);
        }
        self.charge(total)?;
        self.series += 1;
        self.bytes = total;
        Ok(())
    }

    /// A series that is there takes `to` instead of `from`.
    fn resize(&mut self, from: usize, to: usize, limits: &Limits) -> Result<(), Refusal> {
        let total = self.bytes - from + to;
        if to > from && total > limits.bytes {
            return Err(Refusal::TooManyBytes);
        }
        self.charge(total)?;
        self.bytes = total;
        Ok(())
    }

    fn remove(&mut self, bytes: usize) {
        self.series -= 1;
        self.bytes -= bytes;
        self.charges.truncate(self.bytes.div_ceil(SLAB_BYTES));
    }

    /// Charges as many slabs as that many bytes take, or leaves it as it is.
    fn charge(&mut self, bytes: usize) -> Result<(), Refusal> {
        let (before, slabs) = (self.charges.len(), bytes.div_ceil(SLAB_BYTES));
        self.charges.truncate(slabs);
        while self.charges.len() < slabs {
            let Some(charge) = self.budget.try_charge(SLAB_BYTES as u64) else {
                self.charges.truncate(before);
                return Err(Refusal::OverBudget);
            };
            self.charges.push(charge);
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
