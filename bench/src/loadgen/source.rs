//! Request bodies: pre-encoded, re-stamped in place, and reused once the connection has let go of them.

use super::cli::Identities;
use super::{Args, Protocol};
use crate::compression::Compression;
use crate::corpus::Template;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Compression flag and length in front of a gRPC message.
const GRPC_PREFIX: usize = 5;

/// Makes bodies.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) run: u64,
    items: u64,
    prefix: usize,
    compression: Compression,
    level: u32,
    templates: Vec<Template>,
    /// Finished bodies, when identities are fixed.
    fixed: Vec<Bytes>,
    rotation: AtomicUsize,
    /// Buffers with a template's bytes in them, ready to be stamped; at most one per worker and template.
    pool: Mutex<VecDeque<(usize, BytesMut)>>,
    pool_limit: usize,
}

/// A body and what is needed to reuse it.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) bytes: Bytes,
    /// The sequence of its first item.
    pub(super) first: u64,
    template: usize,
}

impl Source {
    pub(super) fn new(args: &Args) -> io::Result<Self> {
        let templates: Vec<_> = (0..args.templates)
            .map(|seed| Template::build(args.signal.into(), args.items_per_request, seed as u64))
            .collect();
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64);
        let mut source = Self {
            run: args.run_id.unwrap_or_else(|| crate::ids::scramble(clock ^ u64::from(std::process::id()))),
            items: args.items_per_request as u64,
            prefix: if args.protocol == Protocol::Grpc { GRPC_PREFIX } else { 0 },
            compression: args.compression,
            level: args.level(),
            templates,
            fixed: Vec::new(),
            rotation: AtomicUsize::new(0),
            pool: Mutex::new(VecDeque::new()),
            pool_limit: (args.connections * args.in_flight).max(args.templates),
        };
        // Encode one of each now: it fills `fixed`, and makes a level that does not exist fail before the run.
        for (index, template) in source.templates.iter().enumerate() {
            let mut message = template.bytes().to_vec();
            template.stamp(&mut message, source.run, 1 + index as u64 * source.items);
            let body = source.pack(&message)?;
            if args.ids == Identities::Fixed {
                source.fixed.push(body);
            }
        }
        Ok(source)
    }

    /// Items in every body.
    pub(super) fn items(&self) -> u64 {
        self.items
    }

    /// The body of request `ordinal`.
    pub(super) fn body(&self, ordinal: u64) -> Body {
        let first = 1 + ordinal * self.items;
        if !self.fixed.is_empty() {
            let template = ordinal as usize % self.fixed.len();
            return Body { bytes: self.fixed[template].clone(), first, template };
        }
        let (template, mut buffer) = self.take();
        self.templates[template].stamp(&mut buffer[self.prefix_in_buffer()..], self.run, first);
        if self.compression == Compression::None {
            return Body { bytes: buffer.freeze(), first, template };
        }
        let bytes = self.pack(&buffer).expect("the level was tried when the source was made");
        self.put(template, buffer);
        Body { bytes, first, template }
    }

    /// Takes a body back after its request has ended.
    pub(super) fn give_back(&self, body: Body) {
        if self.fixed.is_empty()
            && self.compression == Compression::None
            && let Ok(buffer) = body.bytes.try_into_mut()
        {
            self.put(body.template, buffer);
        }
    }

    /// Only uncompressed bodies carry their gRPC prefix in the buffer.
    fn prefix_in_buffer(&self) -> usize {
        if self.compression == Compression::None { self.prefix } else { 0 }
    }

    fn take(&self) -> (usize, BytesMut) {
        if let Some(ready) = self.pool.lock().unwrap_or_else(PoisonError::into_inner).pop_front() {
            return ready;
        }
        let index = self.rotation.fetch_add(1, Ordering::Relaxed) % self.templates.len();
        let message = self.templates[index].bytes();
        let mut buffer = BytesMut::with_capacity(self.prefix + message.len());
        if self.prefix_in_buffer() > 0 {
            buffer.extend_from_slice(&grpc_prefix(false, message.len()));
        }
        buffer.extend_from_slice(message);
        (index, buffer)
    }

    fn put(&self, template: usize, buffer: BytesMut) {
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.len() < self.pool_limit {
            pool.push_back((template, buffer));
        }
    }

    /// A whole body from an encoded message: compressed, and with the gRPC prefix if there is to be one.
    fn pack(&self, message: &[u8]) -> io::Result<Bytes> {
        let mut out = vec![0; self.prefix];
        self.compression.encode(self.level, message, &mut out)?;
        let prefix = grpc_prefix(self.compression != Compression::None, out.len() - self.prefix);
        out[..self.prefix].copy_from_slice(&prefix[..self.prefix]);
        Ok(out.into())
    }
}

fn grpc_prefix(compressed: bool, len: usize) -> [u8; GRPC_PREFIX] {
    let len = u32::try_from(len).expect("the corpus stays far below 4 GiB").to_be_bytes();
    [u8::from(compressed), len[0], len[1], len[2], len[3]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walk;
    use clap::Parser as _;
    use millrace_wire::Signal;

    fn source(options: &[&str]) -> Source {
        let args = Args::parse_from(["millrace-loadgen", "--items-per-request", "20"].iter().chain(options));
        Source::new(&args).unwrap()
    }

    #[test]
    fn a_buffer_that_came_back_is_stamped_anew() {
        let source = source(&["--templates", "1"]);
        let one = source.body(0);
        let (kept, address) = (one.bytes.to_vec(), one.bytes.as_ptr());
        source.give_back(one);
        let two = source.body(1);

        assert_eq!(two.bytes.as_ptr(), address, "the buffer is reused");
        assert_eq!(two.first, 21);
        assert_ne!(two.bytes[..], kept[..]);
        assert_eq!(two.bytes[..5], grpc_prefix(false, two.bytes.len() - 5));
    }

    #[test]
    fn a_body_that_is_still_held_is_not_touched() {
        let source = source(&["--templates", "1"]);
        let one = source.body(0);
        let (held, before) = (one.bytes.clone(), one.bytes.to_vec());
        source.give_back(one);
        drop(source.body(1));
        assert_eq!(held[..], before[..]);
    }

    #[test]
    fn compressed_bodies_inflate_to_what_was_stamped() {
        let source = source(&["--compression", "gzip", "--protocol", "http"]);
        let body = source.body(7);
        let inflated = Compression::Gzip.decode(&body.bytes, 1 << 20).unwrap();
        assert_eq!(walk::count(Signal::Traces, &inflated), Ok(20));
    }
}
