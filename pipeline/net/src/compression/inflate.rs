//! The decoders. Each charges its output before it grows, and what it needs besides from what the frames' heads say.

use super::frames::{self, Lz4Frames};
use super::{INFLATION, InflateError};
use bytes::Bytes;
use flate2::bufread::{MultiGzDecoder, ZlibDecoder};
use millrace_engine::{Budget, Charge};
use std::io::{self, Read};

/// Inflating grows its buffer by at least this much.
const STEP_MIN: usize = 16 << 10;
/// What the framed snappy decoder holds: one block of 64 KiB in either form.
const SNAPPY_BUFFERS: u64 = 160 << 10;
/// How many bytes one byte of a snappy block can stand for: its densest element makes 64 of three.
const SNAPPY_DENSITY: usize = 22;
/// How framed snappy begins.
const SNAPPY_IDENTIFIER: &[u8] = b"\xff\x06\x00\x00sNaPpY";

type Inflated = Result<(Bytes, Charge), InflateError>;

pub(super) fn gzip(body: &[u8], limit: usize, budget: &Budget) -> Inflated {
    fill(MultiGzDecoder::new(body), "gzip", body.len(), limit, budget)
}

pub(super) fn zlib(body: &[u8], limit: usize, budget: &Budget) -> Inflated {
    fill(ZlibDecoder::new(body), "deflate", body.len(), limit, budget)
}

pub(super) fn zstd(body: &[u8], limit: usize, budget: &Budget) -> Inflated {
    let damaged = |error| InflateError::Damaged("zstd", error);
    let claims = frames::zstd(body).map_err(damaged)?;
    if claims.content_bytes > limit as u64 {
        return Err(InflateError::TooLarge(limit));
    }
    let _working = budget.try_charge(claims.working_bytes()).ok_or(InflateError::OverBudget)?;
    let mut decoder = zstd::stream::read::Decoder::with_buffer(body).map_err(damaged)?;
    decoder.window_log_max(claims.window_log()).map_err(damaged)?;
    fill(decoder, "zstd", body.len(), limit, budget)
}

pub(super) fn is_framed_snappy(body: &[u8]) -> bool {
    body.starts_with(SNAPPY_IDENTIFIER)
}

pub(super) fn framed_snappy(body: &[u8], limit: usize, budget: &Budget) -> Inflated {
    let _working = budget.try_charge(SNAPPY_BUFFERS).ok_or(InflateError::OverBudget)?;
    fill(snap::read::FrameDecoder::new(body), "snappy", body.len(), limit, budget)
}

pub(super) fn snappy_block(body: &[u8], limit: usize, budget: &Budget) -> Inflated {
    let damaged = |error: snap::Error| InflateError::Damaged("snappy", error.into());
    let len = snap::raw::decompress_len(body).map_err(damaged)?;
    if body.is_empty() || len > body.len() * SNAPPY_DENSITY {
        let error = io::Error::new(io::ErrorKind::InvalidData, "it claims more than its bytes can hold");
        return Err(InflateError::Damaged("snappy", error));
    }
    if len > limit {
        return Err(InflateError::TooLarge(limit));
    }
    let charge = budget.try_charge(len as u64).ok_or(InflateError::OverBudget)?;
    let mut out = vec![0; len];
    snap::raw::Decoder::new().decompress(body, &mut out).map_err(damaged)?;
    Ok((Bytes::from(out), charge))
}

pub(super) fn lz4(body: &[u8], limit: usize, budget: &Budget) -> Inflated {
    let frames = Lz4Frames::new(body).map_err(|error| InflateError::Damaged("lz4", error))?;
    let _working = budget.try_charge(frames.working_bytes()).ok_or(InflateError::OverBudget)?;
    fill(frames, "lz4", body.len(), limit, budget)
}

/// Reads all of `decoder`, charging each growth of the buffer before it happens.
fn fill(
    mut decoder: impl Read,
    name: &'static str,
    compressed: usize,
    limit: usize,
    budget: &Budget,
) -> Inflated {
    // One byte beyond the limit shows that there is more.
    let most = limit.saturating_add(1);
    let first = (compressed * INFLATION).max(STEP_MIN).min(most);
    let mut charge = budget.try_charge(first as u64).ok_or(InflateError::OverBudget)?;
    let mut out = vec![0; first];
    let mut filled = 0;
    loop {
        if filled > limit {
            return Err(InflateError::TooLarge(limit));
        }
        if filled == out.len() {
            let step = (out.len() / 2).max(STEP_MIN).min(most - filled);
            if !charge.try_grow(step as u64) {
                return Err(InflateError::OverBudget);
            }
            out.reserve_exact(step);
            out.resize(filled + step, 0);
        }
        match decoder.read(&mut out[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(InflateError::Damaged(name, error)),
        }
    }
    out.truncate(filled);
    if out.capacity() > 2 * filled.max(1024) {
        out.shrink_to_fit();
        charge.shrink_to(filled as u64);
    }
    Ok((Bytes::from(out), charge))
}
