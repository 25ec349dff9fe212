//! The end of a move: what could not be put on disk is offered to the destination once more.
//!
//! There is nowhere to hand back what that does not take. It is tried once more to put it into the queue, and then among
//! the dead letters. While it is the disk that takes nothing, that goes on until the time is up, as somebody may make
//! room on it; then it is lost by what the destination said.

use super::{AT_ONCE, COME_BACK, Mover, Target};
use crate::courier::Phase;
use crate::parts::Parts;
use crate::queue::disk::Line;
use crate::queue::dispatcher::deliver;
use crate::queue::space::{Queued, shutting_down};
use crate::says::say;
use millrace_engine::{Failure, Reason};
use millrace_log::Refusal;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// What the destination has not taken.
pub(super) struct Left {
    queued: Queued,
    failure: Failure,
    /// Whether it has not been offered, as the time was up.
    is_cut_off: bool,
    /// Whether it is the disk that does not take it now.
    is_for_disk: bool,
}

/// What has become of it.
enum Kept {
    InQueue,
    /// So many items are among the dead letters.
    Aside(u64),
    Nowhere(Left),
}

impl Mover {
    /// Offers everything once more, by so many at once, and puts away what is not taken.
    pub(super) async fn send(&self, rest: Vec<Queued>, consumers: usize) {
        let (mut sends, mut kept) = (JoinSet::new(), Tally::default());
        for queued in rest {
            // What is not sent any more only has to be put away.
            let most = if self.courier.is_cut_off() { AT_ONCE.max(consumers) } else { consumers };
            while sends.len() >= most {
                kept.note(sends.join_next().await);
            }
            sends.spawn(self.clone().offer(queued));
        }
        while let Some(ended) = sends.join_next().await {
            kept.note(Some(ended));
        }
        while let Some(left) = self.worth_another_try(&mut kept) {
            tokio::select! {
                () = self.courier.reached(Phase::CutOff) => {}
                () = sleep(COME_BACK) => {}
            }
            let mut puts = JoinSet::new();
            for left in left {
                while puts.len() >= AT_ONCE {
                    kept.note(puts.join_next().await);
                }
                let mover = self.clone();
                puts.spawn(async move { vec![mover.put_away(left).await] });
            }
            while let Some(ended) = puts.join_next().await {
                kept.note(Some(ended));
            }
        }
        if kept.requests_aside > 0 {
            say!(
                warn,
                self.courier.account.holder(),
                requests = kept.requests_aside,
                items = kept.items_aside,
                "What waited in memory, found no room in the queue on disk and was not taken by the destination has been \
                 put aside (`millrace dead-letters list` shows it)."
            );
        }
    }

    /// What the disk may take yet. The rest is lost, and so is all of it when the time is up.
    fn worth_another_try(&self, kept: &mut Tally) -> Option<Vec<Left>> {
        let is_over = self.courier.is_cut_off();
        let (again, lost): (Vec<_>, Vec<_>) =
            std::mem::take(&mut kept.nowhere).into_iter().partition(|left| left.is_for_disk && !is_over);
        lost.into_iter().for_each(|left| self.lose(left));
        (!again.is_empty()).then_some(again)
    }

    /// One last attempt.
    async fn offer(self, queued: Queued) -> Vec<Kept> {
        let Queued { batch, ticket } = queued;
        let whole = Queued { batch: batch.clone(), ticket: Arc::clone(&ticket) };
        let mut parts = Parts::reclaiming(ticket, batch.cost());
        let is_cut_off = tokio::select! {
            biased;
            () = self.courier.reached(Phase::CutOff) => true,
            () = deliver(&self.courier, batch, &mut parts) => false,
        };
        let is_untouched = parts.left() == whole.batch.cost().items;
        let left = if is_cut_off && is_untouched {
            vec![(whole, shutting_down())]
        } else {
            // What of it was under way is lost with its ticket.
            drop(whole);
            parts.reclaimed()
        };
        let mut kept = Vec::with_capacity(left.len());
        for (queued, failure) in left {
            kept.push(self.put_away(Left { queued, failure, is_cut_off, is_for_disk: false }).await);
        }
        kept
    }

    /// Puts something into the queue on disk, or among the dead letters.
    async fn put_away(&self, mut left: Left) -> Kept {
        let target = self.target.borrow().clone();
        let Target::Disk(line) = target else { return Kept::Nowhere(left) };
        let why_not = match self.put_in_line(&line, &left.queued).await {
            Ok(()) => return Kept::InQueue,
            Err(why_not) => why_not,
        };
        let items = left.queued.batch.cost().items;
        let aside = line.give_up(&left.queued, &left.failure).await;
        if let Some(Ok(())) = aside {
            self.courier.measures.failed(items, &left.failure);
            return Kept::Aside(items);
        }
        let is_disk = |refusal: &Refusal| matches!(refusal, Refusal::DiskFull | Refusal::Disk(_));
        left.is_for_disk =
            why_not.reason == Reason::Storage || aside.is_some_and(|put| put.is_err_and(|no| is_disk(&no)));
        Kept::Nowhere(left)
    }

    async fn put_in_line(&self, line: &Arc<Line>, queued: &Queued) -> Result<(), Failure> {
        let _alone = if line.evicts() { Some(self.turn.lock().await) } else { None };
        let permit = line.try_reserve_for_moved(queued.batch.cost())?;
        line.take_over(permit, queued).await
    }

    fn lose(&self, left: Left) {
        let Left { queued, failure, is_cut_off, .. } = left;
        if is_cut_off {
            // So its ticket says, and whoever drains the exporter speaks of all that has been.
            return;
        }
        let items = queued.batch.cost().items;
        self.courier.dropped(items, &failure);
        self.courier.measures.failed(items, &failure);
        queued.ticket.failed(items, &failure);
    }
}

/// What has become of it all.
#[derive(Default)]
struct Tally {
    requests_aside: u64,
    items_aside: u64,
    nowhere: Vec<Left>,
}

impl Tally {
    /// One that panicked is lost by its ticket.
    fn note(&mut self, ended: Option<Result<Vec<Kept>, tokio::task::JoinError>>) {
        for kept in ended.and_then(Result::ok).into_iter().flatten() {
            match kept {
                Kept::InQueue => {}
                Kept::Aside(items) => {
                    self.requests_aside += 1;
                    self.items_aside += items;
                }
                Kept::Nowhere(left) => self.nowhere.push(left),
            }
        }
    }
}
