//! Header compression (RFC 7541): all of the decoder, and of the encoder what needs no state.

mod decoder;
mod encoder;
mod huffman;
mod statics;
mod table;

pub use decoder::{Damaged, Decoder};
pub(crate) use encoder::{TABLE_SIZE_ZERO, put_field, put_status};
