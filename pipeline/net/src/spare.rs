//! Large buffers for a moment: for what has been read and not handed on, or gathered and not sent.
//!
//! A connection needs one while its task runs and seldom longer. The allocator goes round all the memory that it has of
//! a size, so that each time it would be a piece that no cache knows; a worker that uses the same one again and again
//! copies in half the time.
//!
//! # Invariant
//! A thread keeps at most [`KEPT`] of them.

use std::cell::RefCell;

/// The size of each.
pub(crate) const LEN: usize = 128 << 10;
/// How many a thread keeps: one to read into, one to write from.
const KEPT: usize = 2;

thread_local! {
    static KEEPING: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer, empty.
pub(crate) fn take() -> Vec<u8> {
    // A thread that is ending has none.
    let kept = KEEPING.try_with(|keeping| keeping.borrow_mut().pop());
    kept.ok().flatten().unwrap_or_else(|| Vec::with_capacity(LEN))
}

/// Keeps a buffer for whoever needs one next, if it is one of this kind.
pub(crate) fn give_back(mut buffer: Vec<u8>) {
    if buffer.capacity() != LEN {
        return;
    }
    buffer.clear();
    let _ = KEEPING.try_with(|keeping| {
        let mut keeping = keeping.borrow_mut();
        if keeping.len() < KEPT {
            keeping.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_buffer_is_used_again_and_few_are_kept() {
        let first = take();
        let address = first.as_ptr();
        give_back(first);
        let again = take();
        assert_eq!((again.as_ptr(), again.len(), again.capacity()), (address, 0, LEN));
        let many: Vec<_> = (0..10).map(|_| take()).collect();
        many.into_iter().chain([again, Vec::with_capacity(10)]).for_each(give_back);
        KEEPING.with_borrow(|keeping| assert_eq!(keeping.len(), KEPT));
    }
}
