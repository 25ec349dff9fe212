//! Content encodings, in and out. Inflating is bounded and charged as it goes, so that a bomb costs its sender.

mod bounds;
mod compress;
mod decoders;
mod frames;
mod inflate;

pub use compress::Level;
pub use inflate::InflateError;
pub(crate) use inflate::inflate;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_engine::Budget;

    pub(super) const COMPRESSING: [Encoding; 6] = [
        Encoding::Gzip,
        Encoding::Zstd,
        Encoding::Zlib,
        Encoding::Snappy,
        Encoding::SnappyFramed,
        Encoding::Lz4,
    ];

    pub(super) fn compressed(encoding: Encoding, text: &[u8]) -> Vec<u8> {
        encoding.compress(text.chunks(1000), text.len()).expect("compresses")
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
}
