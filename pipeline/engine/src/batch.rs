//! The unit of flow: pieces of one signal, each with where it came from and what it holds of the budget.

use crate::{Charge, Identity};
use millrace_wire::{Payload, Signal};
use std::net::SocketAddr;
use std::ops::{Add, AddAssign, Mul};
use std::sync::Arc;
use std::time::Instant;

/// An amount of telemetry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Spans, data points or log records.
    pub items: u64,
    /// Encoded bytes.
    pub bytes: u64,
}

impl Cost {
    /// The larger of the items and of the bytes of two amounts.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self { items: self.items.max(other.items), bytes: self.bytes.max(other.bytes) }
    }
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { items: self.items + other.items, bytes: self.bytes + other.bytes }
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Mul<u64> for Cost {
    type Output = Self;

    fn mul(self, times: u64) -> Self {
        Self { items: self.items.saturating_mul(times), bytes: self.bytes.saturating_mul(times) }
    }
}

/// What the client said beside the telemetry: header names in lower case, each with its values in order.
///
/// Empty unless the receiver has `include_metadata` set. Credentials in it never reach disk, logs or dumps.
pub type Metadata = Vec<(Box<str>, Box<str>)>;

/// When and from whom a piece came. Shared by everything that was made of one request.
#[derive(Debug, Clone)]
pub struct Origin {
    /// When the first byte of the request arrived; end-to-end delay counts from here.
    pub received: Instant,
    /// The sender's address, when it came over a network.
    pub peer: Option<SocketAddr>,
    /// Client metadata, if the receiver was told to keep it.
    pub metadata: Metadata,
    /// Who the sender is, where the receiver authenticates.
    pub identity: Option<Arc<Identity>>,
}

impl Origin {
    /// Something that this process itself made, now.
    #[must_use]
    pub fn local() -> Arc<Self> {
        Arc::new(Self { received: Instant::now(), peer: None, metadata: Metadata::new(), identity: None })
    }
}

/// One well-formed run of OTLP bytes, its origin, and its hold on the budget.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The telemetry.
    pub payload: Payload,
    /// When and from whom it came.
    pub origin: Arc<Origin>,
    /// What it holds of the memory budget; given back when the last piece that shares it is dropped.
    pub charge: Charge,
}

impl Piece {
    /// Its items and bytes.
    #[must_use]
    pub fn cost(&self) -> Cost {
        Cost { items: u64::from(self.payload.items()), bytes: self.payload.len() as u64 }
    }

    /// The same origin and charge over other bytes, for what was cut or edited from this piece.
    #[must_use]
    pub fn with_payload(&self, payload: Payload) -> Self {
        Self { payload, origin: Arc::clone(&self.origin), charge: self.charge.clone() }
    }
}

/// Telemetry of one signal on its way through the graph.
///
/// Pieces lie side by side; laid end to end their bytes are one export request. Cloning shares all bytes.
#[derive(Debug, Clone)]
pub struct Batch {
    signal: Signal,
    pieces: Vec<Piece>,
}

impl Batch {
    /// A batch without pieces, to be filled.
    #[must_use]
    pub fn empty(signal: Signal) -> Self {
        Self { signal, pieces: Vec::new() }
    }

    /// One piece.
    #[must_use]
    pub fn of(piece: Piece) -> Self {
        Self { signal: piece.payload.signal(), pieces: vec![piece] }
    }

    /// The kind of telemetry.
    #[must_use]
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// The pieces, in order of arrival.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The pieces, by value.
    #[must_use]
    pub fn into_pieces(self) -> Vec<Piece> {
        self.pieces
    }

    /// Adds a piece at the end. Pieces of another signal are a bug of the caller.
    pub fn push(&mut self, piece: Piece) {
        debug_assert_eq!(piece.payload.signal(), self.signal, "a batch carries one signal");
        self.pieces.push(piece);
    }

    /// The items and bytes of all pieces.
    #[must_use]
    pub fn cost(&self) -> Cost {
        self.pieces.iter().fold(Cost::default(), |sum, piece| sum + piece.cost())
    }

    /// When the oldest piece was received.
    #[must_use]
    pub fn oldest(&self) -> Option<Instant> {
        self.pieces.iter().map(|piece| piece.origin.received).min()
    }
}
