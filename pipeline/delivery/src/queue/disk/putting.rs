//! Putting requests on disk, in the room that was set aside for them.

use super::Line;
use super::arriving::Arriving;
use super::record::{self, Now};
use super::reserved::{Reserved, RoomIn};
use crate::courier::Courier;
use crate::queue::space::full;
use crate::ticket::Outcome;
use millrace_engine::{Batch, Cost, Failure, Fault, Permit, Reason, Until};
use millrace_log::{Entry, Room};
use std::sync::Arc;
use tokio::sync::oneshot;

/// What has become of a request that was handed in.
enum Put {
    /// It waits here, and perhaps somebody for its outcome.
    InLine(Option<Outcome>),
    Aside,
}

impl Line {
    /// Puts a batch on disk, and waits for its outcome if somebody asked for it.
    pub(crate) async fn put(
        self: &Arc<Self>,
        courier: &Courier,
        permit: Permit,
        batch: Batch,
        until: Until,
    ) -> Result<(), Failure> {
        let cost = batch.cost();
        let put = self.put_somewhere(courier, permit, batch, until).await;
        match put {
            Err(failure) => {
                courier.measures.enqueue_failed.add(cost.items);
                Err(failure)
            }
            Ok(Put::Aside) => Ok(()),
            Ok(Put::InLine(outcome)) => {
                courier.measures.enqueued(cost);
                match outcome {
                    None => Ok(()),
                    Some(outcome) => outcome.await.unwrap_or_else(|_| {
                        let message = "the request was dropped from the disk before it was delivered";
                        Err(Failure::transient(Fault::Us, Reason::Evicted, message))
                    }),
                }
            }
        }
    }

    /// Where there is room for it.
    async fn put_somewhere(
        self: &Arc<Self>,
        courier: &Courier,
        permit: Permit,
        batch: Batch,
        until: Until,
    ) -> Result<Put, Failure> {
        let Some(mut reserved) = permit.into_carried::<Reserved>() else {
            return Err(Failure::transient(Fault::Us, Reason::Internal, "no room was set aside on disk"));
        };
        match (reserved.room.take(), self.overflow()) {
            (Some(RoomIn::Queue(room)), overflow) => {
                let outcome = self.append(courier, reserved, room, batch, until).await?;
                if let Some(overflow) = overflow {
                    overflow.ended();
                }
                Ok(Put::InLine(outcome))
            }
            (Some(RoomIn::DeadLetters(room)), Some(overflow)) => {
                overflow.put(&courier.account, room, &batch).await.map(|()| Put::Aside)
            }
            _ => Err(full()),
        }
    }

    async fn append(
        self: &Arc<Self>,
        courier: &Courier,
        reserved: Reserved,
        room: Room,
        batch: Batch,
        until: Until,
    ) -> Result<Option<Outcome>, Failure> {
        let span = courier.measures.spans.enqueue();
        let batch = self.declared.strip(batch);
        let entry = record::entry(&batch, span, Now::get());
        let cost = Cost { items: batch.cost().items, bytes: entry.framed_len() };
        let (answer, outcome) = match until {
            Until::Stored => (None, None),
            Until::Settled => {
                let (answer, outcome) = oneshot::channel();
                (Some(answer), Some(outcome))
            }
        };
        let arriving = Arriving::new(self, cost, batch, span, answer);
        self.write(reserved, room, entry, arriving).await.map(|()| outcome)
    }

    pub(super) async fn write(
        &self,
        reserved: Reserved,
        room: Room,
        entry: Entry,
        arriving: Arriving,
    ) -> Result<(), Failure> {
        let store = &self.store;
        let appended = store.log.append_with(room, entry, move |sequence| arriving.placed(sequence)).await;
        // Not before it is on disk, and in the room that is taken there.
        drop(reserved);
        match appended {
            Ok(appended) => {
                store.watch.works();
                self.give_way_to(appended.sequence).await;
                Ok(())
            }
            Err(refusal) => Err(self.refused(&refusal)),
        }
    }
}
