//! Content encodings, in and out. Inflating is bounded and charged as it goes, so that a bomb costs its sender.

mod frames;
mod inflate;

use bytes::Bytes;
use flate2::write::{GzEncoder, ZlibEncoder};
use millrace_engine::{Budget, Charge};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io::{self, Write};
use thiserror::Error;

/// The gzip level we send with: 1.15 times the size of level 6, which Go sends with, for half the processor time.
const GZIP_LEVEL: u32 = 2;
/// The zstd level we send with.
const ZSTD_LEVEL: i32 = 1;
/// The highest that can be asked for: about what Go's library calls its best. Beyond it memory grows faster than
/// anything shrinks.
const ZSTD_LEVEL_MAX: i32 = 11;
/// The first guess at the inflated size, as a multiple of the compressed size; telemetry compresses about five-fold.
const INFLATION: usize = 5;
/// Bodies larger than this are compressed and inflated off the workers; and they are large, which means that they leave
/// a part of the budget to others.
pub const OFFLOAD_ABOVE: usize = 256 << 10;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Not at all.
    #[default]
    #[serde(alias = "")]
    None,
    /// RFC 1952; several members in a row are one body.
    Gzip,
    /// RFC 8878; several frames in a row are one body.
    Zstd,
    /// RFC 1950, which HTTP calls `deflate`.
    #[serde(alias = "deflate")]
    Zlib,
    /// One snappy block, as HTTP senders write it. The framed form is read, too.
    Snappy,
    /// Snappy's framing format, as gRPC senders write it.
    #[serde(rename = "x-snappy-framed")]
    SnappyFramed,
    /// LZ4's frame format; several frames in a row are one body.
    Lz4,
}

/// How hard to compress; the default is our own choice for each encoding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Level(Option<i32>);

impl Level {
    /// The level of `compression_params`, where 0 and -1 are our own choice.
    #[must_use]
    pub const fn configured(level: i32) -> Self {
        match level {
            0 | -1 => Self(None),
            level => Self(Some(level)),
        }
    }

    fn deflate(self) -> flate2::Compression {
        let level = self.0.map_or(GZIP_LEVEL, |level| u32::try_from(level.clamp(1, 9)).unwrap_or(GZIP_LEVEL));
        flate2::Compression::new(level)
    }

    fn zstd(self) -> i32 {
        self.0.map_or(ZSTD_LEVEL, |level| level.clamp(1, ZSTD_LEVEL_MAX))
    }
}

/// Why a body could not be inflated.
#[derive(Debug, Error)]
pub enum InflateError {
    /// The stream is damaged or of another format.
    #[error("the {0} body is damaged: {1}")]
    Damaged(&'static str, io::Error),
    /// It would be larger than the limit.
    #[error("the body inflates to more than the limit of {0} bytes")]
    TooLarge(usize),
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
    let expected = encoding.expected(&body).min(limit);
    if body.len() <= OFFLOAD_ABOVE / INFLATION && expected <= OFFLOAD_ABOVE {
        let small = limit.min(OFFLOAD_ABOVE);
        match encoding.inflate(&body, small, budget) {
            // What a body says of its size need not be so: it begins once more.
            Err(InflateError::TooLarge(_)) if small < limit => {}
            done => return done,
        }
    }
    // No thread for what there is no room for: each keeps for a while what it has freed.
    let room = charged(budget, expected)?;
    let budget = budget.clone();
    let task = tokio::task::spawn_blocking(move || {
        drop(room);
        let inflated = encoding.inflate(&body, limit, &budget);
        drop((body, charge));
        inflated
    });
    task.await.unwrap_or(Err(InflateError::Failed))
}

/// Charges `bytes` for a body.
fn charged(budget: &Budget, bytes: usize) -> Result<Charge, InflateError> {
    let large = bytes > OFFLOAD_ABOVE;
    let bytes = bytes as u64;
    let charge = if large { budget.try_charge_sparing(bytes) } else { budget.try_charge(bytes) };
    charge.ok_or(InflateError::OverBudget)
}

impl Encoding {
    /// The encoding of that name in `Content-Encoding`. As in the Go collector, names are in lower case and `identity`
    /// is none of them: it belongs into `Accept-Encoding` only.
    #[must_use]
    pub fn from_content_encoding(name: &[u8]) -> Option<Self> {
        match name {
            b"" => Some(Self::None),
            b"gzip" => Some(Self::Gzip),
            b"zstd" => Some(Self::Zstd),
            b"zlib" | b"deflate" => Some(Self::Zlib),
            b"snappy" => Some(Self::Snappy),
            b"x-snappy-framed" => Some(Self::SnappyFramed),
            b"lz4" => Some(Self::Lz4),
            _ => None,
        }
    }

    /// The encoding of that name in `grpc-encoding`.
    #[must_use]
    pub fn from_grpc_encoding(name: &[u8]) -> Option<Self> {
        match name {
            b"identity" => Some(Self::None),
            b"gzip" => Some(Self::Gzip),
            b"zstd" => Some(Self::Zstd),
            b"snappy" => Some(Self::SnappyFramed),
            _ => None,
        }
    }

    /// The name in `Content-Encoding`; `None` for no encoding.
    #[must_use]
    pub const fn content_encoding(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
            Self::Zlib => Some("deflate"),
            Self::Snappy => Some("snappy"),
            Self::SnappyFramed => Some("x-snappy-framed"),
            Self::Lz4 => Some("lz4"),
        }
    }

    /// The encoding and its name in `grpc-encoding`; `None` for no encoding, and for those that gRPC does not know.
    /// What the configuration calls `snappy` is framed there.
    #[must_use]
    pub const fn over_grpc(self) -> Option<(Self, &'static str)> {
        match self {
            Self::Gzip => Some((Self::Gzip, "gzip")),
            Self::Zstd => Some((Self::Zstd, "zstd")),
            Self::Snappy | Self::SnappyFramed => Some((Self::SnappyFramed, "snappy")),
            Self::None | Self::Zlib | Self::Lz4 => None,
        }
    }

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
        match self {
            Self::None if body.len() > limit => Err(InflateError::TooLarge(limit)),
            Self::None => {
                let charge = charged(budget, body.len())?;
                Ok((Bytes::copy_from_slice(body), charge))
            }
            Self::Gzip => inflate::gzip(body, limit, budget),
            Self::Zlib => inflate::zlib(body, limit, budget),
            Self::Zstd => inflate::zstd(body, limit, budget),
            Self::Snappy if inflate::is_framed_snappy(body) => inflate::framed_snappy(body, limit, budget),
            Self::Snappy => inflate::snappy_block(body, limit, budget),
            Self::SnappyFramed => inflate::framed_snappy(body, limit, budget),
            Self::Lz4 => inflate::lz4(body, limit, budget),
        }
    }

    /// About how much a body inflates to, as far as it says so, which need not be true.
    fn expected(self, body: &[u8]) -> usize {
        match self {
            Self::None => body.len(),
            Self::Gzip => inflate::gzip_expected(body),
            Self::Zstd => inflate::zstd_expected(body),
            Self::Zlib | Self::Snappy | Self::SnappyFramed | Self::Lz4 => body.len() * INFLATION,
        }
    }

    /// Compresses `parts`, laid end to end, `size` bytes in all.
    ///
    /// # Errors
    /// Only when the compressor itself fails.
    pub fn compress<'a>(self, parts: impl Iterator<Item = &'a [u8]>, size: usize) -> io::Result<Vec<u8>> {
        self.compress_at(Level::default(), parts, size)
    }

    /// The same, as hard as `level` says.
    ///
    /// # Errors
    /// Only when the compressor itself fails.
    pub fn compress_at<'a>(
        self,
        level: Level,
        parts: impl Iterator<Item = &'a [u8]>,
        size: usize,
    ) -> io::Result<Vec<u8>> {
        let out = Vec::with_capacity(size / INFLATION + 1024);
        match self {
            Self::None => Ok(joined(parts, size)),
            Self::Gzip => write_all(GzEncoder::new(out, level.deflate()), parts)?.finish(),
            Self::Zlib => write_all(ZlibEncoder::new(out, level.deflate()), parts)?.finish(),
            Self::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(out, level.zstd())?;
                encoder.set_pledged_src_size(Some(size as u64))?;
                write_all(encoder, parts)?.finish()
            }
            Self::Snappy => {
                snap::raw::Encoder::new().compress_vec(&joined(parts, size)).map_err(io::Error::other)
            }
            Self::SnappyFramed => write_all(snap::write::FrameEncoder::new(out), parts)?
                .into_inner()
                .map_err(|error| io::Error::other(error.to_string())),
            Self::Lz4 => {
                write_all(lz4_flex::frame::FrameEncoder::new(out), parts)?.finish().map_err(io::Error::other)
            }
        }
    }
}

fn joined<'a>(parts: impl Iterator<Item = &'a [u8]>, size: usize) -> Vec<u8> {
    parts.fold(Vec::with_capacity(size), |mut whole, part| {
        whole.extend_from_slice(part);
        whole
    })
}

fn write_all<'a, W: Write>(mut writer: W, parts: impl Iterator<Item = &'a [u8]>) -> io::Result<W> {
    for part in parts {
        writer.write_all(part)?;
    }
    Ok(writer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::pin::pin;

    const COMPRESSING: [Encoding; 6] = [
        Encoding::Gzip,
        Encoding::Zstd,
        Encoding::Zlib,
        Encoding::Snappy,
        Encoding::SnappyFramed,
        Encoding::Lz4,
    ];

    fn compressed(encoding: Encoding, text: &[u8]) -> Vec<u8> {
        encoding.compress(text.chunks(1000), text.len()).expect("compresses")
    }

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
            let leases: Vec<_> = std::iter::from_fn(|| windows.lease(2 << 20)).collect();
            let served: Vec<_> = (0..8).map(|_| encoding.inflate(&usual, limit, &budget)).collect();
            assert!(served.iter().all(Result::is_ok), "{encoding:?} {served:?}");
            assert!(bombs.len() > 1 && !leases.is_empty(), "{encoding:?} {leases:?} {budget:?}");
        }
    }

    #[test]
    fn what_is_compressed_inflates_to_itself() {
        let text = b"one fish two fish red fish blue fish ".repeat(5000);
        for encoding in [Encoding::None].into_iter().chain(COMPRESSING) {
            for text in [&text[..], b"short", b""] {
                let budget = Budget::new(10 << 20);
                let body = compressed(encoding, text);
                let (inflated, charge) = encoding.inflate(&body, text.len(), &budget).expect("inflates");
                assert_eq!(inflated, text, "{encoding:?}");
                assert!(charge.bytes() >= text.len() as u64);
                drop(charge);
                assert_eq!(budget.used(), 0);
            }
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
                matches!(encoding.inflate(&body, 24 << 20, &budget), Err(InflateError::OverBudget)),
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
    fn every_encoding_is_found_by_the_name_it_is_sent_under() {
        for encoding in COMPRESSING {
            let name = encoding.content_encoding().expect("it has a name");
            assert_eq!(Encoding::from_content_encoding(name.as_bytes()), Some(encoding));
            if let Some((sent, name)) = encoding.over_grpc() {
                assert_eq!(Encoding::from_grpc_encoding(name.as_bytes()), Some(sent));
            }
        }
    }

    #[test]
    fn levels_make_a_difference_and_any_of_them_inflates() {
        let text: Vec<u8> =
            (0..60_000u32).flat_map(|n| format!("{} ", n * 7919 % 1000).into_bytes()).collect();
        for encoding in [Encoding::Gzip, Encoding::Zlib, Encoding::Zstd] {
            let len = |level| {
                let parts = text.chunks(1000);
                let body =
                    encoding.compress_at(Level::configured(level), parts, text.len()).expect("compresses");
                let (inflated, _) =
                    encoding.inflate(&body, text.len(), &Budget::new(16 << 20)).expect("inflates");
                assert_eq!(inflated, text);
                body.len()
            };
            assert_ne!(len(9), len(1), "{encoding:?}");
            assert_eq!(len(0), len(-1));
            for extreme in [i32::MIN, -2, 100, i32::MAX] {
                len(extreme);
            }
        }
    }
}
