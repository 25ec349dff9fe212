//! Compressing, as hard as is asked for.

use super::{Encoding, INFLATION};
use flate2::write::{GzEncoder, ZlibEncoder};
use std::io::{self, Write};

/// The gzip level we send with: 1.15 times the size of level 6, which Go sends with, for half the processor time.
const GZIP_LEVEL: u32 = 2;
/// The zstd level we send with.
const ZSTD_LEVEL: i32 = 1;
/// The highest that can be asked for: about what Go's library calls its best. Beyond it memory grows faster than
/// anything shrinks.
const ZSTD_LEVEL_MAX: i32 = 11;

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

impl Encoding {
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
    use millrace_engine::Budget;

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
