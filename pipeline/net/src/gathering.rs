//! A body in one buffer, charged as it arrives: for about what is there, not for what was announced. Announcing costs a
//! peer nothing, and would otherwise let it hold the whole budget with a few bytes.
//!
//! # Invariants
//! - The buffer is no larger than its charge.
//! - Before anything has arrived, nothing is held; then at most [`FIRST_GROWTH`] times the first chunk and at most
//!   [`FIRST`] (or [`FIRST_MIN`] for the smallest), and from there on [`GROWTH`] times what has arrived.

use crate::compression::OFFLOAD_ABOVE;
use bytes::Bytes;
use millrace_engine::{Budget, Charge};

/// The most room that a body gets when its first chunk arrives. Bodies up to this size are not moved if they begin
/// with a chunk of usual size.
const FIRST: usize = 96 << 10;
/// The least room. A peer that sends a byte at a time holds this much for the first of them.
const FIRST_MIN: usize = 4 << 10;
/// How many times its first chunk a body may hold: what one read of a socket gives is a few KiB at least.
const FIRST_GROWTH: usize = 16;
/// By how much the room grows when it is full, but not beyond what may arrive. Moving what is there costs as much as
/// receiving it, so it must be rare; a peer can hold no more than this times what it has sent.
const GROWTH: usize = 8;

/// The least room for which a buffer is lent: what comes in smaller pieces is copied, which is as cheap.
const LENT_MIN: usize = 16 << 10;

/// A body that is arriving.
pub(crate) struct Gathering {
    whole: Vec<u8>,
    charge: Charge,
    /// How much may arrive.
    most: usize,
    /// What there is to be room for beside it.
    between: usize,
    /// No more may because the budget has room for no more.
    by_budget: bool,
}

/// Why something that arrived is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotKept {
    /// It is more than may arrive.
    TooMuch,
    /// The budget is used up.
    OverBudget,
    /// It is more than these bytes, which are all that the budget ever has room for.
    NeverFits(usize),
}

/// What a connection over HTTP/1.1 holds itself: its buffers, those of TLS, and what it reads ahead. One of gRPC holds
/// less, as its window is not charged.
const CONNECTION: u64 = 192 << 10;

/// The largest body that a budget ever has room for, as those that are large leave a part of it to others, and what they
/// come over is charged, too.
pub(crate) fn largest(budget: &Budget) -> usize {
    let small = budget.limit().min(OFFLOAD_ABOVE as u64);
    let large = budget.most_sparing().saturating_sub(CONNECTION);
    usize::try_from(large.max(small)).unwrap_or(usize::MAX)
}

impl Gathering {
    /// A body that says that it has `len` bytes. If the budget has not room for all of it now, it is better refused at
    /// once.
    pub(crate) fn announced(len: usize, budget: &Budget) -> Result<Self, NotKept> {
        let largest = largest(budget);
        if len > largest {
            return Err(NotKept::NeverFits(largest));
        }
        let mut charge = budget.try_charge(0).ok_or(NotKept::OverBudget)?;
        if !grow(&mut charge, 0, len) {
            return Err(NotKept::OverBudget);
        }
        charge.shrink_to(0);
        Ok(Self { whole: Vec::new(), charge, most: len, between: 0, by_budget: false })
    }

    /// A body that does not say how long it is, of at most `limit` bytes.
    pub(crate) fn unannounced(limit: usize, budget: &Budget) -> Result<Self, NotKept> {
        let largest = largest(budget);
        let mut charge = budget.try_charge(FIRST_MIN.min(limit) as u64).ok_or(NotKept::OverBudget)?;
        charge.shrink_to(0);
        Ok(Self {
            whole: Vec::new(),
            charge,
            most: limit.min(largest),
            between: 0,
            by_budget: largest < limit,
        })
    }

    /// Adds what has arrived.
    pub(crate) fn add(&mut self, chunk: &[u8]) -> Result<(), NotKept> {
        let len = self.whole.len().saturating_add(chunk.len());
        if len > self.most {
            return Err(self.too_much());
        }
        let room = self.charge.bytes() as usize;
        if len > room {
            let needed = len - room;
            let wanted = match room {
                0 => (chunk.len() * FIRST_GROWTH).clamp(FIRST_MIN, FIRST),
                room => room * (GROWTH - 1),
            };
            let generous = needed.max(wanted.min(self.most + self.between - room));
            // When the budget is nearly used up, what is needed may still fit.
            let granted = [generous, needed].into_iter().find(|step| grow(&mut self.charge, room, *step));
            let Some(step) = granted else { return Err(NotKept::OverBudget) };
            self.whole.reserve_exact(room + step - self.whole.len());
        }
        self.whole.extend_from_slice(chunk);
        Ok(())
    }

    /// The same in frames of HTTP/2, which are read together with what is between them: with room for that, all of it can be
    /// read at once.
    pub(crate) fn in_frames(self) -> Self {
        Self { between: between(self.most), ..self }
    }

    /// Lends its buffer with what has arrived, if there is much room behind it that is charged. Nothing has arrived until
    /// it [is back](Self::take_back), which is to be soon: its charge does not wait for it.
    pub(crate) fn lend(&mut self) -> Option<Vec<u8>> {
        let has_room = self.whole.capacity() - self.whole.len() >= LENT_MIN;
        has_room.then(|| std::mem::take(&mut self.whole))
    }

    /// Its own buffer again, with what has arrived meanwhile behind what had.
    pub(crate) fn take_back(&mut self, whole: Vec<u8>) -> Result<(), NotKept> {
        if whole.len() > self.most {
            return Err(self.too_much());
        }
        self.whole = whole;
        Ok(())
    }

    fn too_much(&self) -> NotKept {
        if self.by_budget { NotKept::NeverFits(self.most) } else { NotKept::TooMuch }
    }

    /// Whether as much has arrived as may.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole.len() == self.most
    }

    /// The body; what it does not fill of its buffer is given back where that is much.
    pub(crate) fn finish(self) -> (Bytes, Charge) {
        let Self { mut whole, mut charge, .. } = self;
        if (whole.len() as u64) < charge.bytes() / 2 {
            whole.shrink_to_fit();
            charge.shrink_to(whole.len() as u64);
        }
        (Bytes::from(whole), charge)
    }
}

/// How much lies between the frames of so many bytes, and behind them, where they have the usual size.
fn between(len: usize) -> usize {
    const FRAME: usize = 16 << 10;
    const HEAD: usize = 9;
    match len / FRAME {
        0 => 0,
        frames => (frames + 1) * HEAD,
    }
}

/// Charges `step` bytes more than `room`; what becomes large by that leaves a part of the budget to others.
fn grow(charge: &mut Charge, room: usize, step: usize) -> bool {
    let bytes = step as u64;
    if room + step > OFFLOAD_ABOVE { charge.try_grow_sparing(bytes) } else { charge.try_grow(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_holds_next_to_nothing_but_must_fit() {
        let budget = Budget::new(1 << 20);
        let announce = |len| Gathering::announced(len, &budget);
        let mut announced: Vec<_> = (0..50).map(|_| announce(700 << 10).expect("there is room")).collect();
        assert_eq!(budget.used(), 0);
        for gathering in &mut announced {
            gathering.add(b"x").expect("there is room");
        }
        assert_eq!(budget.used(), 50 * FIRST_MIN as u64);
        assert!(matches!(announce(700 << 10), Err(NotKept::OverBudget)));
        drop(announced);
        assert!(announce(700 << 10).is_ok());
    }

    #[test]
    fn what_the_budget_never_has_room_for_is_told_from_what_it_has_not_now() {
        let budget = Budget::new(1 << 20);
        let largest = (7 << 17) - CONNECTION as usize;
        let announced = |len| Gathering::announced(len, &budget).map(drop);
        assert_eq!(announced(largest), Ok(()));
        assert_eq!(announced(largest + 1), Err(NotKept::NeverFits(largest)));
        let held = budget.try_charge(CONNECTION + 1).expect("room");
        assert_eq!(announced(largest), Err(NotKept::OverBudget));
        drop(held);
        for (limit, problem) in [(2 << 20, NotKept::NeverFits(largest)), (1 << 19, NotKept::TooMuch)] {
            let mut gathering = Gathering::unannounced(limit, &budget).expect("room");
            let refused = (0..).find_map(|_| gathering.add(&[0; 10_000]).err());
            assert_eq!(refused, Some(problem));
        }
        assert_eq!(budget.refused(), 1, "only what could have fitted");
    }

    #[test]
    fn what_arrives_is_charged_before_it_is_kept_and_not_much_more() {
        let budget = Budget::new(1 << 20);
        let mut gathering = Gathering::announced(100_000, &budget).expect("there is room");
        let chunk = [7; 77];
        while gathering.whole.len() + chunk.len() <= 100_000 {
            gathering.add(&chunk).expect("there is room");
            let charged = gathering.charge.bytes() as usize;
            assert!(
                gathering.whole.capacity() <= charged
                    && charged <= (GROWTH * gathering.whole.len()).max(FIRST_MIN)
            );
        }
        assert_eq!(gathering.add(&chunk), Err(NotKept::TooMuch));
        gathering.add(&[7; 100_000 % 77]).expect("it fits exactly");
        let (bytes, charge) = gathering.finish();
        assert_eq!((bytes.len(), charge.bytes(), budget.used()), (100_000, 100_000, 100_000));
        assert!(bytes.iter().all(|&byte| byte == 7));
    }

    #[test]
    fn a_body_that_outgrows_the_budget_is_refused_and_released() {
        let budget = Budget::new(20_000);
        let used = budget.try_charge(10_000).expect("room");
        let mut gathering = Gathering::unannounced(20_000, &budget).expect("there is room");
        gathering.add(&[0; 4000]).expect("there is room");
        gathering.add(&[0; 4000]).expect("there is room");
        assert_eq!(gathering.add(&[0; 4000]), Err(NotKept::OverBudget));
        let other = budget.try_charge(budget.limit() - budget.used()).expect("there is room");
        assert!(Gathering::unannounced(20_000, &budget).is_err());
        drop((gathering, other, used));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_short_body_gives_back_what_it_did_not_need() {
        let budget = Budget::new(1 << 20);
        let mut gathering = Gathering::unannounced(1 << 20, &budget).expect("there is room");
        gathering.add(b"short").expect("there is room");
        let (bytes, charge) = gathering.finish();
        assert_eq!((&bytes[..], charge.bytes(), budget.used()), (&b"short"[..], 5, 5));
    }
}
