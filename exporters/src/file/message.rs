//! From a batch to the bytes that stand for it in the file.

use super::config::{Compression, Config, Format};
use millrace_engine::{Batch, Failure, Fault, Reason};
use millrace_wire::json::to_json_all;
use std::io;
use zstd::bulk::Compressor;

/// JSON is at most this many times as long as the protobuf it is made from.
const JSON_GROWTH: u64 = 5;
/// Buffers that have grown beyond this are given back after use.
const KEPT_BYTES: usize = 1 << 20;
/// Length prefixes are four bytes.
const PREFIX: usize = 4;

/// How messages are written. All writers of one file must agree on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    format: Format,
    /// The level, if compressed.
    zstd: Option<i32>,
}

impl Layout {
    pub(super) fn of(config: &Config) -> Self {
        let levels = zstd::compression_level_range();
        let level = config.compression_params.level.clamp(*levels.start(), *levels.end());
        let zstd = (config.compression == Compression::Zstd).then_some(level);
        Self { format: config.format, zstd }
    }

    /// Whether a message ends with a line feed (and has no other) instead of beginning with its length.
    pub(super) fn is_lines(self) -> bool {
        self.format == Format::Json && self.zstd.is_none()
    }

    /// The most memory that encoding a batch of `bytes` takes.
    pub(super) fn most(self, bytes: u64) -> u64 {
        let plain = bytes * if self.format == Format::Json { JSON_GROWTH } else { 1 };
        // What does not compress grows by less than a hundredth.
        plain + if self.zstd.is_some() { plain + plain / 100 } else { 0 } + KEPT_BYTES as u64 / 64
    }
}

/// Encodes one batch at a time, into buffers that it keeps.
pub(super) struct Encoder {
    layout: Layout,
    message: Vec<u8>,
    plain: Vec<u8>,
    compressor: Option<Compressor<'static>>,
}

impl Encoder {
    pub(super) fn new(layout: Layout) -> io::Result<Self> {
        let compressor = layout.zstd.map(Compressor::new).transpose()?;
        Ok(Self { layout, message: Vec::new(), plain: Vec::new(), compressor })
    }

    /// The batch as one message.
    pub(super) fn encode(&mut self, batch: &Batch) -> Result<&[u8], Failure> {
        self.message.clear();
        self.message.shrink_to(KEPT_BYTES);
        if self.layout.is_lines() {
            to_format(Format::Json, batch, &mut self.message)?;
            self.message.push(b'\n');
            return Ok(&self.message);
        }
        self.message.extend_from_slice(&[0; PREFIX]);
        match &mut self.compressor {
            None => to_format(self.layout.format, batch, &mut self.message)?,
            Some(compressor) => {
                self.plain.clear();
                self.plain.shrink_to(KEPT_BYTES);
                to_format(self.layout.format, batch, &mut self.plain)?;
                let compressed = compressor
                    .compress(&self.plain)
                    .map_err(|error| internal(format!("cannot compress the request: {error}")))?;
                self.message.extend_from_slice(&compressed);
            }
        }
        let len = self.message.len() - PREFIX;
        let len = u32::try_from(len).map_err(|_| {
            Failure::permanent(Fault::Us, Reason::TooLarge, "the request is longer than its length can say")
        })?;
        self.message[..PREFIX].copy_from_slice(&len.to_be_bytes());
        Ok(&self.message)
    }
}

fn to_format(format: Format, batch: &Batch, out: &mut Vec<u8>) -> Result<(), Failure> {
    let payloads = batch.pieces().iter().map(|piece| &piece.payload);
    match format {
        Format::Json => to_json_all(payloads, out).map_err(|error| internal(error.to_string())),
        Format::Proto => {
            payloads.for_each(|payload| out.extend_from_slice(payload.bytes()));
            Ok(())
        }
    }
}

fn internal(message: String) -> Failure {
    Failure::permanent(Fault::Us, Reason::Internal, message)
}
