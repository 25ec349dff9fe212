//! The heads of frames, the frames that are always the same, and why something is ended.

use std::fmt;

/// What a client begins every connection with, before its first frame.
pub const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The bytes of a frame's head.
pub const HEAD_LEN: usize = 9;
/// Stream identifiers and windows have 31 bits.
pub(crate) const MAX_31: u32 = u32::MAX >> 1;

/// What frames are called on the wire.
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const PRIORITY: u8 = 2;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PUSH_PROMISE: u8 = 5;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

pub(crate) mod flag {
    pub(crate) const ACK: u8 = 0x1;
    pub(crate) const END_STREAM: u8 = 0x1;
    pub(crate) const END_HEADERS: u8 = 0x4;
    pub(crate) const PADDED: u8 = 0x8;
    pub(crate) const PRIORITY: u8 = 0x20;
}

/// Why a stream or a connection is ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Reason(pub u32);

#[allow(missing_docs, reason = "the names are the protocol's own")]
impl Reason {
    pub const NO_ERROR: Self = Self(0);
    pub const PROTOCOL_ERROR: Self = Self(1);
    pub const INTERNAL_ERROR: Self = Self(2);
    pub const FLOW_CONTROL_ERROR: Self = Self(3);
    pub const STREAM_CLOSED: Self = Self(5);
    pub const FRAME_SIZE_ERROR: Self = Self(6);
    pub const REFUSED_STREAM: Self = Self(7);
    pub const CANCEL: Self = Self(8);
    pub const COMPRESSION_ERROR: Self = Self(9);
    pub const ENHANCE_YOUR_CALM: Self = Self(11);
}

impl fmt::Debug for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0 => "NO_ERROR",
            1 => "PROTOCOL_ERROR",
            2 => "INTERNAL_ERROR",
            3 => "FLOW_CONTROL_ERROR",
            4 => "SETTINGS_TIMEOUT",
            5 => "STREAM_CLOSED",
            6 => "FRAME_SIZE_ERROR",
            7 => "REFUSED_STREAM",
            8 => "CANCEL",
            9 => "COMPRESSION_ERROR",
            10 => "CONNECT_ERROR",
            11 => "ENHANCE_YOUR_CALM",
            12 => "INADEQUATE_SECURITY",
            13 => "HTTP_1_1_REQUIRED",
            number => return write!(f, "{number}"),
        };
        f.write_str(name)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Why a connection has to be ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {words}")]
pub struct Fatal {
    /// In the protocol's terms.
    pub reason: Reason,
    /// In words, which the peer is told.
    pub words: &'static str,
}

impl Fatal {
    pub(crate) const fn protocol(words: &'static str) -> Self {
        Self { reason: Reason::PROTOCOL_ERROR, words }
    }

    pub(crate) const fn size(words: &'static str) -> Self {
        Self { reason: Reason::FRAME_SIZE_ERROR, words }
    }

    pub(crate) const fn flow(words: &'static str) -> Self {
        Self { reason: Reason::FLOW_CONTROL_ERROR, words }
    }

    /// More of something than anybody needs.
    pub(crate) const fn flood(words: &'static str) -> Self {
        Self { reason: Reason::ENHANCE_YOUR_CALM, words }
    }
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// How many bytes follow it.
    pub len: u32,
    /// Its type, by the protocol's number.
    pub kind: u8,
    /// What they mean depends on the type.
    pub flags: u8,
    /// The stream that it belongs to; 0 for the connection.
    pub stream: u32,
}

impl Head {
    /// Reads one. Every nine bytes are one.
    #[must_use]
    pub fn parse(bytes: [u8; HEAD_LEN]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = bytes;
        let len = u32::from_be_bytes([0, a, b, c]);
        Self { len, kind, flags, stream: u32::from_be_bytes(stream) & MAX_31 }
    }

    /// Whether it begins a request, or ends one with trailers.
    #[must_use]
    pub fn is_headers(&self) -> bool {
        self.kind == kind::HEADERS
    }

    /// Whether it has a flag, by the protocol's number.
    #[must_use]
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Writes the head of a frame of `len` bytes, which its writer keeps below 2^24.
pub(crate) fn put_head(out: &mut Vec<u8>, len: usize, kind: u8, flags: u8, stream: u32) {
    let [_, a, b, c] = (len as u32).to_be_bytes();
    let [d, e, f, g] = stream.to_be_bytes();
    out.extend_from_slice(&[a, b, c, kind, flags, d, e, f, g]);
}

/// Writes a frame of one number.
pub(crate) fn put_number(out: &mut Vec<u8>, kind: u8, stream: u32, number: u32) {
    put_head(out, 4, kind, 0, stream);
    out.extend_from_slice(&number.to_be_bytes());
}

pub(crate) fn put_ping(out: &mut Vec<u8>, flags: u8, payload: [u8; 8]) {
    put_head(out, 8, kind::PING, flags, 0);
    out.extend_from_slice(&payload);
}

/// Writes a GOAWAY: requests after stream `last` have not been looked at.
pub fn go_away(out: &mut Vec<u8>, last: u32, reason: Reason, words: &str) {
    put_head(out, 8 + words.len(), kind::GOAWAY, 0, 0);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&reason.0.to_be_bytes());
    out.extend_from_slice(words.as_bytes());
}
