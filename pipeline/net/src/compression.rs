//! Content encodings, in and out. Inflating is bounded and charged as it goes, so that a bomb costs its sender.

use bytes::Bytes;
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use flate2::write::GzEncoder;
use millrace_engine::{Budget, Charge};
use serde::Deserialize;
use std::io::{Read, Write};
use thiserror::Error;

/// The gzip level we send with: what level 6 saves beyond it costs several times the processor time.
const GZIP_LEVEL: u32 = 1;
/// The zstd level we send with.
const ZSTD_LEVEL: i32 = 1;
/// The first guess at the inflated size, as a multiple of the compressed size; telemetry compresses about five-fold.
const INFLATION: usize = 5;
/// Inflating grows its buffer by at least this much.
const STEP_MIN: usize = 16 << 10;
/// Bodies larger than this are compressed and inflated off the workers.
pub const OFFLOAD_ABOVE: usize = 256 << 10;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
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
}

/// Why a body could not be inflated.
#[derive(Debug, Error)]
pub enum InflateError {
    /// The stream is damaged or of another format.
    #[error("the {0} body is damaged: {1}")]
    Damaged(&'static str, std::io::Error),
    /// It would be larger than the limit.
    #[error("the body inflates to more than the limit of {0} bytes")]
    TooLarge(usize),
    /// The memory budget is used up.
    #[error("the memory budget is used up")]
    OverBudget,
}

impl Encoding {
    /// The encoding of that name in `Content-Encoding` or `grpc-encoding`.
    #[must_use]
    pub fn from_header(name: &str) -> Option<Self> {
        match name {
            "" | "identity" => Some(Self::None),
            "gzip" => Some(Self::Gzip),
            "zstd" => Some(Self::Zstd),
            "zlib" | "deflate" => Some(Self::Zlib),
            _ => None,
        }
    }

    /// The name in headers; `None` for no encoding.
    #[must_use]
    pub const fn header(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
            Self::Zlib => Some("deflate"),
        }
    }

    /// Inflates a body to at most `limit` bytes, all of it charged to `budget`. The result's buffer is no larger than
    /// its charge.
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
            Self::None => {
                let charge = budget.try_charge(body.len() as u64).ok_or(InflateError::OverBudget)?;
                Ok((Bytes::copy_from_slice(body), charge))
            }
            Self::Gzip => fill(MultiGzDecoder::new(body), "gzip", body.len(), limit, budget),
            Self::Zlib => fill(ZlibDecoder::new(body), "deflate", body.len(), limit, budget),
            Self::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(body)
                    .map_err(|error| InflateError::Damaged("zstd", error))?;
                fill(decoder, "zstd", body.len(), limit, budget)
            }
        }
    }

    /// Compresses `parts`, laid end to end.
    ///
    /// # Errors
    /// Only when the compressor itself fails.
    pub fn compress<'a>(
        self,
        parts: impl Iterator<Item = &'a [u8]>,
        size: usize,
    ) -> std::io::Result<Vec<u8>> {
        let out = Vec::with_capacity(size / INFLATION + 1024);
        match self {
            Self::None => Ok(parts.fold(Vec::with_capacity(size), |mut out, part| {
                out.extend_from_slice(part);
                out
            })),
            Self::Gzip => {
                write_all(GzEncoder::new(out, flate2::Compression::new(GZIP_LEVEL)), parts)?.finish()
            }
            Self::Zlib => {
                let encoder = flate2::write::ZlibEncoder::new(out, flate2::Compression::new(GZIP_LEVEL));
                write_all(encoder, parts)?.finish()
            }
            Self::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(out, ZSTD_LEVEL)?;
                encoder.set_pledged_src_size(Some(size as u64))?;
                write_all(encoder, parts)?.finish()
            }
        }
    }
}

fn write_all<'a, W: Write>(mut writer: W, parts: impl Iterator<Item = &'a [u8]>) -> std::io::Result<W> {
    for part in parts {
        writer.write_all(part)?;
    }
    Ok(writer)
}

/// Reads all of `decoder`, charging each growth of the buffer before it happens.
fn fill(
    mut decoder: impl Read,
    name: &'static str,
    compressed: usize,
    limit: usize,
    budget: &Budget,
) -> Result<(Bytes, Charge), InflateError> {
    let first = (compressed * INFLATION).clamp(STEP_MIN, limit.max(STEP_MIN));
    let mut charge = budget.try_charge(first as u64).ok_or(InflateError::OverBudget)?;
    let mut out = vec![0; first];
    let mut filled = 0;
    loop {
        if filled == out.len() {
            if filled > limit {
                return Err(InflateError::TooLarge(limit));
            }
            let step = (out.len() / 2).max(STEP_MIN);
            if !charge.try_grow(step as u64) {
                return Err(InflateError::OverBudget);
            }
            out.resize(filled + step, 0);
        }
        match decoder.read(&mut out[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(InflateError::Damaged(name, error)),
        }
    }
    if filled > limit {
        return Err(InflateError::TooLarge(limit));
    }
    out.truncate(filled);
    if out.capacity() > 2 * filled.max(1024) {
        out.shrink_to_fit();
    }
    Ok((Bytes::from(out), charge))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Encoding; 4] = [Encoding::None, Encoding::Gzip, Encoding::Zstd, Encoding::Zlib];

    fn compressed(encoding: Encoding, text: &[u8]) -> Vec<u8> {
        encoding.compress(text.chunks(7), text.len()).expect("compresses")
    }

    #[test]
    fn what_is_compressed_inflates_to_itself() {
        let text = b"one fish two fish red fish blue fish ".repeat(5000);
        for encoding in ALL {
            let budget = Budget::new(10 << 20);
            let body = compressed(encoding, &text);
            let (inflated, charge) = encoding.inflate(&body, text.len(), &budget).expect("inflates");
            assert_eq!(inflated, text, "{encoding:?}");
            assert!(charge.bytes() >= text.len() as u64);
            drop(charge);
            assert_eq!(budget.used(), 0);
        }
    }

    #[test]
    fn a_bomb_is_refused_at_the_limit_and_costs_no_more() {
        let bomb = vec![0; 64 << 20];
        for encoding in [Encoding::Gzip, Encoding::Zstd, Encoding::Zlib] {
            let budget = Budget::new(8 << 20);
            let body = compressed(encoding, &bomb);
            assert!(
                matches!(encoding.inflate(&body, 1 << 20, &budget), Err(InflateError::TooLarge(_))),
                "{encoding:?}"
            );
            assert!(
                matches!(encoding.inflate(&body, 64 << 20, &budget), Err(InflateError::OverBudget)),
                "{encoding:?}"
            );
            assert_eq!(budget.used(), 0);
        }
    }

    #[test]
    fn several_gzip_members_are_one_body() {
        let mut body = compressed(Encoding::Gzip, b"first ");
        body.extend(compressed(Encoding::Gzip, b"second"));
        let (inflated, _charge) =
            Encoding::Gzip.inflate(&body, 100, &Budget::new(1 << 20)).expect("inflates");
        assert_eq!(&inflated[..], b"first second");
    }

    #[test]
    fn damage_is_an_error() {
        for encoding in [Encoding::Gzip, Encoding::Zstd, Encoding::Zlib] {
            let budget = Budget::new(1 << 20);
            let body = compressed(encoding, &b"some text that is long enough to be cut short ".repeat(20));
            let cut = &body[..body.len() / 2];
            assert!(
                matches!(encoding.inflate(cut, 1 << 16, &budget), Err(InflateError::Damaged(..))),
                "{encoding:?}"
            );
            assert!(matches!(
                encoding.inflate(b"not compressed", 100, &budget),
                Err(InflateError::Damaged(..))
            ));
        }
    }
}
