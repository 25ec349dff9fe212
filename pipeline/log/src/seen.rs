//! What can be seen of a log that is open.

use crate::event::Listener;
use crate::log::Log;
use crate::report::{Stats, Totals};

impl Log {
    /// Tells when there may be room that was not there when it was made.
    pub fn freed(&self) -> Listener {
        self.shared().freed.listen()
    }

    /// How much waits for the consumer for which most does.
    #[must_use]
    pub fn held(&self) -> Totals {
        self.shared().with(|index| index.held())
    }

    /// How many bytes to leave, so that entries can be put in again after they have been taken out, one after the other
    /// and from the oldest on, and always find room: disk space is given back segment by segment.
    #[must_use]
    pub fn turnover(&self) -> u64 {
        self.shared().with(|index| index.turnover())
    }

    /// How much waits for the consumer for which most does, in segments that have entries below that number with which it
    /// is not done; nothing if there are none.
    #[must_use]
    pub fn held_before(&self, sequence: u64) -> Totals {
        self.shared().with(|index| index.held_before(sequence))
    }

    /// The number of the next entry.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.shared().with(|index| index.next_sequence)
    }

    /// How much there is.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let now_ns = self.shared().now_ns();
        self.shared().with(|index| index.stats(now_ns))
    }
}
