//! Inflating: what a body says of itself decides where that is done, and what it may cost.

use super::bounds::Bounds;
use super::frames::{self, ZstdClaims};
use super::{Encoding, INFLATION, OFFLOAD_ABOVE, decoders};
use bytes::Bytes;
use millrace_engine::{Budget, Charge};
use std::io;
use thiserror::Error;

/// Why a body could not be inflated.
#[derive(Debug, Error)]
pub enum InflateError {
    /// The stream is damaged or of another format.
    #[error("the {0} body is damaged: {1}")]
    Damaged(&'static str, io::Error),
    /// It would be larger than the limit.
    #[error("the body inflates to more than the limit of {0} bytes")]
    TooLarge(usize),
    /// It would be larger than the memory budget ever has room for.
    #[error("the body inflates to more than the {0} bytes that the collector's memory budget has room for")]
    NeverFits(usize),
    /// The memory budget is used up.
    #[error("the memory budget is used up")]
    OverBudget,
    /// A bug.
    #[error("inflating the body failed")]
    Failed,
}

/// Inflates a body as [`Encoding::inflate`] does, off the workers unless it is small in both forms.
///
/// # Errors
/// See [`InflateError`].
pub(crate) async fn inflate(
    encoding: Encoding,
    body: Bytes,
    charge: Charge,
    limit: usize,
    budget: &Budget,
) -> Result<(Bytes, Charge), InflateError> {
    let says = Says::of(encoding, &body)?;
    let bounds = Bounds::of(&body, limit, budget);
    let expected = says.inflated_bytes.min(bounds.limit);
    if body.len() <= OFFLOAD_ABOVE / INFLATION && expected <= OFFLOAD_ABOVE {
        let small = limit.min(OFFLOAD_ABOVE);
        match says.inflate(&body, small, budget) {
            // What a body says of its size need not be so: it begins once more.
            Err(InflateError::TooLarge(_)) if small < limit => {}
            done => return done,
        }
    }
    // No thread for what there is no room for: each keeps for a while what it has freed.
    let (room, _) = bounds.first(expected)?;
    let budget = budget.clone();
    let task = tokio::task::spawn_blocking(move || {
        drop(room);
        let inflated = says.inflate(&body, limit, &budget);
        drop((body, charge));
        inflated
    });
    task.await.unwrap_or(Err(InflateError::Failed))
}

/// Charges `bytes` for a body.
pub(super) fn charged(budget: &Budget, bytes: usize) -> Result<Charge, InflateError> {
    let large = bytes > OFFLOAD_ABOVE;
    let bytes = bytes as u64;
    let charge = if large { budget.try_charge_sparing(bytes) } else { budget.try_charge(bytes) };
    charge.ok_or(InflateError::OverBudget)
}

impl Encoding {
    /// Inflates a body to at most `limit` bytes, all of it charged to `budget`, as is what the decoder needs meanwhile.
    /// The result's buffer is no larger than its charge.
    ///
    /// # Errors
    /// See [`InflateError`].
    pub fn inflate(
        self,
        body: &[u8],
        limit: usize,
        budget: &Budget,
    ) -> Result<(Bytes, Charge), InflateError> {
        Says::of(self, body)?.inflate(body, limit, budget)
    }
}

/// What a body says of itself, read once however often it is inflated. It need not be true.
#[derive(Debug, Clone, Copy)]
struct Says {
    encoding: Encoding,
    /// About how much it inflates to.
    inflated_bytes: usize,
    /// What the heads of its frames claim, if it has frames of zstd.
    zstd: ZstdClaims,
}

impl Says {
    /// Looks at a body.
    ///
    /// # Errors
    /// If a frame's head is damaged.
    fn of(encoding: Encoding, body: &[u8]) -> Result<Self, InflateError> {
        let zstd = match encoding {
            Encoding::Zstd => frames::zstd(body).map_err(|error| InflateError::Damaged("zstd", error))?,
            _ => ZstdClaims::default(),
        };
        let inflated_bytes = match encoding {
            Encoding::None => body.len(),
            Encoding::Gzip => decoders::gzip_expected(body),
            Encoding::Zstd => decoders::zstd_expected(body, zstd),
            Encoding::Zlib | Encoding::Snappy | Encoding::SnappyFramed | Encoding::Lz4 => {
                decoders::usual(body)
            }
        };
        Ok(Self { encoding, inflated_bytes, zstd })
    }

    /// Inflates the body that says so.
    fn inflate(self, body: &[u8], limit: usize, budget: &Budget) -> Result<(Bytes, Charge), InflateError> {
        let bounds = Bounds::of(body, limit, budget);
        match self.inflate_within(body, &bounds) {
            Err(InflateError::TooLarge(most)) if most < limit => Err(InflateError::NeverFits(most)),
            done => done,
        }
    }

    fn inflate_within(self, body: &[u8], bounds: &Bounds<'_>) -> Result<(Bytes, Charge), InflateError> {
        let expected = self.inflated_bytes;
        match self.encoding {
            Encoding::None if body.len() > bounds.limit => Err(InflateError::TooLarge(bounds.limit)),
            Encoding::None => {
                let charge = charged(bounds.budget, body.len())?;
                Ok((Bytes::copy_from_slice(body), charge))
            }
            Encoding::Gzip => decoders::gzip(body, expected, bounds),
            Encoding::Zlib => decoders::zlib(body, expected, bounds),
            Encoding::Zstd => decoders::zstd(body, self.zstd, expected, bounds),
            Encoding::Snappy if !decoders::is_framed_snappy(body) => decoders::snappy_block(body, bounds),
            Encoding::Snappy | Encoding::SnappyFramed => decoders::framed_snappy(body, expected, bounds),
            Encoding::Lz4 => decoders::lz4(body, expected, bounds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{COMPRESSING, compressed};
    use super::*;
    use futures_util::FutureExt;
    use std::pin::pin;

    /// Inflates where nothing runs off the worker, as long as that is not needed; whether it was, and the outcome.
    fn inflated_by_the_worker(encoding: Encoding, body: Vec<u8>, limit: usize) -> (bool, Inflated) {
        let budget = Budget::new(100 << 20);
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build();
        runtime.expect("a runtime").block_on(async {
            let (release, released) = std::sync::mpsc::sync_channel::<()>(0);
            let busy = tokio::task::spawn_blocking(move || released.recv());
            let mut inflating = pin!(inflate(encoding, Bytes::from(body), Charge::none(), limit, &budget));
            if let Some(inflated) = inflating.as_mut().now_or_never() {
                return (true, inflated);
            }
            drop(release);
            busy.await.expect("no panic").expect_err("nothing was sent");
            (false, inflating.await)
        })
    }

    type Inflated = Result<(Bytes, Charge), InflateError>;

    #[test]
    fn what_inflates_to_much_leaves_the_worker_however_small_it_lies_here() {
        let zeros = vec![0; 2 << 20];
        for encoding in COMPRESSING {
            for (text, is_small) in [(&zeros[..], false), (&zeros[..1000], true)] {
                let body = compressed(encoding, text);
                let (by_the_worker, inflated) = inflated_by_the_worker(encoding, body, zeros.len());
                assert_eq!(by_the_worker, is_small, "{encoding:?}");
                assert_eq!(inflated.expect("inflates").0, text, "{encoding:?}");
            }
        }
        let mut says_that_it_is_small = compressed(Encoding::Gzip, &zeros);
        let end = says_that_it_is_small.len() - 4;
        says_that_it_is_small[end..].copy_from_slice(&100u32.to_le_bytes());
        let (by_the_worker, inflated) =
            inflated_by_the_worker(Encoding::Gzip, says_that_it_is_small, zeros.len());
        assert!(!by_the_worker && matches!(inflated, Err(InflateError::Damaged("gzip", _))));
    }

    #[test]
    fn those_that_inflate_to_much_turn_away_one_another_and_nobody_else() {
        let (limit, zeros) = (16 << 20, vec![0; 3 << 20]);
        for encoding in COMPRESSING {
            let budget = Budget::new(limit as u64);
            let (bomb, usual) = (compressed(encoding, &zeros), compressed(encoding, &zeros[..10 << 10]));
            let mut bombs = Vec::new();
            loop {
                match encoding.inflate(&bomb, limit, &budget) {
                    Ok(bomb) => bombs.push(bomb),
                    Err(InflateError::OverBudget) => break,
                    Err(error) => panic!("{encoding:?}: {error}"),
                }
            }
            let windows = crate::connections::Windows::new(budget.clone());
            let leases: Vec<_> = std::iter::from_fn(|| windows.lease_buffer(2 << 20)).collect();
            let served: Vec<_> = (0..8).map(|_| encoding.inflate(&usual, limit, &budget)).collect();
            assert!(served.iter().all(Result::is_ok), "{encoding:?} {served:?}");
            assert!(bombs.len() > 1 && !leases.is_empty(), "{encoding:?} {leases:?} {budget:?}");
        }
    }

    #[test]
    fn a_bomb_is_refused_at_the_limit_and_costs_no_more() {
        let bomb = vec![0; 24 << 20];
        for encoding in COMPRESSING {
            let budget = Budget::new(16 << 20);
            let body = compressed(encoding, &bomb);
            assert!(
                matches!(encoding.inflate(&body, 1 << 20, &budget), Err(InflateError::TooLarge(_))),
                "{encoding:?}"
            );
            assert!(
                matches!(encoding.inflate(&body, 24 << 20, &budget), Err(InflateError::NeverFits(_))),
                "{encoding:?}"
            );
            assert_eq!(budget.used(), 0);
        }
    }

    #[test]
    fn a_body_that_says_its_size_is_charged_for_just_that() {
        let text = b"0123456789".repeat(100_000);
        for encoding in [Encoding::Gzip, Encoding::Zstd] {
            let body = compressed(encoding, &text);
            let (_, charge) = encoding.inflate(&body, 4 << 20, &Budget::new(4 << 20)).expect("inflates");
            assert_eq!(charge.bytes(), 1_000_000, "{encoding:?}");
        }
    }

    #[test]
    fn a_size_that_is_not_true_costs_no_more_than_the_truth() {
        let text = b"0123456789".repeat(100_000);
        let mut body = compressed(Encoding::Gzip, &text);
        let size = body.len() - 4;
        for (says, fits) in [(17u32, 3 << 20), (1_000_001, 1 << 21), (u32::MAX, 3 << 20)] {
            body[size..].copy_from_slice(&says.to_le_bytes());
            let budget = Budget::new(fits);
            let inflated = Encoding::Gzip.inflate(&body, 2_000_000, &budget);
            assert!(matches!(inflated, Err(InflateError::Damaged(..))), "{says}: {inflated:?}");
            assert_eq!(budget.used(), 0);
        }
    }

    #[test]
    fn what_fits_exactly_is_taken_and_one_byte_more_is_not() {
        let text = b"0123456789".repeat(10_000);
        for encoding in [Encoding::None].into_iter().chain(COMPRESSING) {
            let budget = Budget::new(16 << 20);
            let body = compressed(encoding, &text);
            assert!(encoding.inflate(&body, text.len(), &budget).is_ok(), "{encoding:?}");
            assert!(
                matches!(
                    encoding.inflate(&body, text.len() - 1, &budget),
                    Err(InflateError::TooLarge(99_999))
                ),
                "{encoding:?}"
            );
        }
    }

    #[test]
    fn several_members_or_frames_are_one_body() {
        for encoding in [Encoding::Gzip, Encoding::Zstd, Encoding::Lz4, Encoding::SnappyFramed] {
            let mut body = compressed(encoding, b"first ");
            body.extend(compressed(encoding, b"second"));
            let (inflated, _charge) = encoding.inflate(&body, 100, &Budget::new(16 << 20)).expect("inflates");
            assert_eq!(&inflated[..], b"first second", "{encoding:?}");
        }
    }

    #[test]
    fn a_body_cut_short_anywhere_is_an_error() {
        let text = b"some text that is long enough to be cut short ".repeat(20);
        for encoding in COMPRESSING {
            let budget = Budget::new(16 << 20);
            let body = compressed(encoding, &text);
            // Framed snappy has no end mark, so it may end after any of its chunks; its identifier is one of ten bytes.
            let cuts =
                (0..body.len()).filter(|&cut| encoding != Encoding::SnappyFramed || ![0, 10].contains(&cut));
            for cut in cuts {
                assert!(
                    matches!(
                        encoding.inflate(&body[..cut], 1 << 16, &budget),
                        Err(InflateError::Damaged(..))
                    ),
                    "{encoding:?} cut at {cut} of {}",
                    body.len()
                );
            }
            assert_eq!(budget.used(), 0);
        }
    }

    #[test]
    fn what_is_of_another_format_is_an_error() {
        for encoding in COMPRESSING {
            let budget = Budget::new(16 << 20);
            assert!(
                matches!(encoding.inflate(b"not compressed", 1000, &budget), Err(InflateError::Damaged(..))),
                "{encoding:?}"
            );
        }
    }

    #[test]
    fn snappy_is_read_in_both_forms_under_its_own_name() {
        let framed = compressed(Encoding::SnappyFramed, b"framed");
        let (inflated, _charge) =
            Encoding::Snappy.inflate(&framed, 100, &Budget::new(1 << 20)).expect("inflates");
        assert_eq!(&inflated[..], b"framed");
    }

    #[test]
    fn what_there_is_never_room_for_is_told_from_what_there_is_none_for_now() {
        let text: Vec<u8> = (0_u32..400_000).flat_map(|number| (number / 7).to_le_bytes()).collect();
        for encoding in COMPRESSING {
            let body = compressed(encoding, &text);
            let inflate = |budget: &Budget| encoding.inflate(&body, 20 << 20, budget).map(drop);
            let small = Budget::new(text.len() as u64);
            assert!(matches!(inflate(&small), Err(InflateError::NeverFits(_))), "{encoding:?}");
            let large = Budget::new(16 << 20);
            let held = large.try_charge(15 << 20).expect("room");
            assert!(matches!(inflate(&large), Err(InflateError::OverBudget)), "{encoding:?}");
            drop(held);
            assert!(inflate(&large).is_ok(), "{encoding:?}");
            assert_eq!((small.used(), large.used()), (0, 0));
        }
    }

    #[test]
    fn a_guess_that_is_too_high_for_the_budget_keeps_nothing_out_that_fits() {
        // It hardly shrinks, so that what bodies usually become would be several times as much.
        let mut state = 1_u64;
        let text: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .take(300_000)
        .collect();
        for encoding in COMPRESSING {
            let body = compressed(encoding, &text);
            let budget = Budget::new(2 << 20);
            let connection = budget.try_charge(48 << 10).expect("room");
            let held = budget.try_charge(body.len() as u64).expect("room");
            assert!(encoding.inflate(&body, 20 << 20, &budget).is_ok(), "{encoding:?}");
            drop((held, connection));
            assert_eq!(budget.used(), 0);
        }
    }

    /// Of every 4 KiB so many bytes that do not shrink.
    fn text(len: usize, of_4_kib: usize) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(7);
        let mut text = vec![0; len];
        text.chunks_mut(4 << 10).for_each(|chunk| random.fill(&mut chunk[..of_4_kib]));
        text
    }

    /// What a budget of 8 MiB says to a body, where others hold so much, and when it has all for itself.
    fn beside(held: u64, encoding: Encoding, body: &[u8]) -> (Inflated, Inflated) {
        let budget = Budget::new(8 << 20);
        let _body = budget.try_charge(body.len() as u64).expect("room");
        let held = budget.try_charge(held).expect("room");
        let with_others = encoding.inflate(body, 20 << 20, &budget);
        drop(held);
        (with_others, encoding.inflate(body, 20 << 20, &budget))
    }

    #[test]
    fn what_others_leave_no_room_for_may_try_again() {
        // Nearly all that there ever is room for, whether it says so or is taken for as much. A window of zstd's would be
        // too large beside it.
        let text = text(5 << 20, 1 << 10);
        for encoding in COMPRESSING.into_iter().filter(|encoding| *encoding != Encoding::Zstd) {
            let (with_others, alone) = beside(1 << 20, encoding, &compressed(encoding, &text));
            assert!(matches!(with_others, Err(InflateError::OverBudget)), "{encoding:?} {with_others:?}");
            assert_eq!(alone.expect("it fits").0, text, "{encoding:?}");
        }
    }

    #[test]
    fn what_others_leave_no_room_to_grow_for_may_try_again() {
        // It is taken for about a third of what it is.
        let text = text(5 << 20, 240);
        let body = compressed(Encoding::Zlib, &text);
        let (with_others, alone) = beside(5 << 19, Encoding::Zlib, &body);
        assert!(matches!(with_others, Err(InflateError::OverBudget)), "{with_others:?}");
        assert_eq!(alone.expect("it fits").0, text);
    }

    #[test]
    fn what_does_not_say_its_size_is_taken_where_there_is_room_for_it_once() {
        let text = text(5 << 20, 240);
        for encoding in COMPRESSING {
            let body = match encoding {
                // All members are no smaller than the last, which is all that is known of them.
                Encoding::Gzip => [compressed(encoding, &text), compressed(encoding, b"")].concat(),
                Encoding::Zstd => zstd::stream::encode_all(&text[..], 1).expect("compresses"),
                _ => compressed(encoding, &text),
            };
            let budget = Budget::new(8 << 20);
            let held = budget.try_charge(body.len() as u64).expect("room");
            let (inflated, charge) = encoding.inflate(&body, 20 << 20, &budget).expect("it fits");
            assert_eq!(inflated, text, "{encoding:?}");
            assert_eq!((charge.bytes(), budget.refused()), (5 << 20, 0), "{encoding:?}");
            drop((held, charge));
            assert_eq!(budget.used(), 0);
        }
    }
}
