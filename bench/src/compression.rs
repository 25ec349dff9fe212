//! Content codings of request bodies.

use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use std::io::{self, Read, Write};

/// How a request body is compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// The name in `content-encoding`, `grpc-encoding` and the collector's YAML (`none` when absent).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }

    /// The coding of that header value; `identity` and the empty text are none.
    #[must_use]
    pub fn from_header(value: &str) -> Option<Self> {
        match value {
            "" | "identity" => Some(Self::None),
            "gzip" => Some(Self::Gzip),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Appends the compressed form of `body` to `out`.
    ///
    /// # Errors
    /// Only what the zstd library reports (a level that does not exist).
    pub fn encode(self, level: u32, body: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::None => out.extend_from_slice(body),
            Self::Gzip => {
                let mut encoder = GzEncoder::new(out, flate2::Compression::new(level.min(9)));
                encoder.write_all(body)?;
                encoder.finish()?;
            }
            Self::Zstd => {
                let level = i32::try_from(level).unwrap_or(i32::MAX);
                out.extend_from_slice(&zstd::bulk::compress(body, level)?);
            }
        }
        Ok(())
    }

    /// The inflated form of `body`, refused when it is longer than `limit`.
    ///
    /// # Errors
    /// Damage, or a body longer than the limit.
    pub fn decode(self, body: &[u8], limit: usize) -> io::Result<Vec<u8>> {
        let mut inflated = Vec::new();
        let bound = limit as u64 + 1;
        match self {
            Self::None => inflated.extend_from_slice(body),
            Self::Gzip => {
                MultiGzDecoder::new(body).take(bound).read_to_end(&mut inflated)?;
            }
            Self::Zstd => {
                zstd::stream::read::Decoder::with_buffer(body)?.take(bound).read_to_end(&mut inflated)?;
            }
        }
        if inflated.len() > limit {
            return Err(io::Error::other(format!("inflates beyond the limit of {limit} bytes")));
        }
        Ok(inflated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_coding_gives_the_body_back_within_its_limit_only() {
        let body: Vec<u8> = (0..20_000u32).flat_map(|n| (n % 500).to_le_bytes()).collect();
        for coding in [Compression::None, Compression::Gzip, Compression::Zstd] {
            let mut packed = Vec::new();
            coding.encode(3, &body, &mut packed).unwrap();
            assert_eq!(coding.decode(&packed, body.len()).unwrap(), body);
            assert!(coding.decode(&packed, body.len() - 1).is_err());
            assert_eq!(Compression::from_header(coding.name()).is_none(), coding == Compression::None);
        }
    }
}
