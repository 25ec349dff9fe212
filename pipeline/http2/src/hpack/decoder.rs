//! Reading header blocks.

use super::huffman;
use super::statics::FIELDS;
use super::table::Table;
use crate::settings::TABLE_FIRST;

/// A header block that is none. The connection cannot go on: both sides no longer have the same table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damaged;

/// Numbers are lengths and indices, and none of those is larger.
const NUMBER_MAX: usize = 1 << 24;

/// What is known of the peer's headers.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// One that knows nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { table: Table::new() }
    }

    /// Reads a whole block. `field` is told each name, its value, and whether it is a secret.
    ///
    /// # Errors
    /// A block that cannot be read.
    pub fn decode(
        &mut self,
        mut block: &[u8],
        mut field: impl FnMut(&[u8], &[u8], bool),
    ) -> Result<(), Damaged> {
        let mut literal = Literal::default();
        let mut may_resize = true;
        while let Some(&first) = block.first() {
            match first {
                0x80.. => {
                    let index = number(&mut block, 7)?;
                    let (name, value) = self.entry(index)?;
                    field(name, value, false);
                }
                0x20..0x40 => {
                    let max = number(&mut block, 5)?;
                    // Only at the beginning (section 4.2), and within what we allow, which is what all begin with.
                    if !may_resize || max > TABLE_FIRST as usize {
                        return Err(Damaged);
                    }
                    self.table.resize(max);
                    continue;
                }
                0x40.. => {
                    literal.read(&mut block, 6, self)?;
                    let (name, value) = literal.parts();
                    self.table.add(name, value);
                    field(name, value, false);
                }
                _ => {
                    literal.read(&mut block, 4, self)?;
                    let (name, value) = literal.parts();
                    field(name, value, first & 0x10 != 0);
                }
            }
            may_resize = false;
        }
        Ok(())
    }

    /// Gives back room that is not used.
    pub(crate) fn settle(&mut self) {
        self.table.settle();
    }

    fn entry(&self, index: usize) -> Result<(&[u8], &[u8]), Damaged> {
        let index = index.checked_sub(1).ok_or(Damaged)?;
        match FIELDS.get(index) {
            Some((name, value)) => Ok((name.as_bytes(), value.as_bytes())),
            None => self.table.get(index - FIELDS.len()).ok_or(Damaged),
        }
    }
}

/// A field that is written out, copied here: what it refers to may have to make room for it.
#[derive(Default)]
struct Literal {
    bytes: Vec<u8>,
    name: usize,
}

impl Literal {
    fn read(&mut self, block: &mut &[u8], prefix: u32, known: &Decoder) -> Result<(), Damaged> {
        self.bytes.clear();
        match number(block, prefix)? {
            0 => text(block, &mut self.bytes)?,
            index => self.bytes.extend_from_slice(known.entry(index)?.0),
        }
        self.name = self.bytes.len();
        text(block, &mut self.bytes)
    }

    fn parts(&self) -> (&[u8], &[u8]) {
        self.bytes.split_at(self.name)
    }
}

/// A text with its length (section 5.2).
fn text(block: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Damaged> {
    let is_coded = block.first().ok_or(Damaged)? & 0x80 != 0;
    let len = number(block, 7)?;
    let (text, rest) = block.split_at_checked(len).ok_or(Damaged)?;
    *block = rest;
    if is_coded {
        return huffman::decode(text, out);
    }
    out.extend_from_slice(text);
    Ok(())
}

/// A number that begins in the lower `prefix` bits of the first byte (section 5.1).
fn number(block: &mut &[u8], prefix: u32) -> Result<usize, Damaged> {
    let (&first, mut rest) = block.split_first().ok_or(Damaged)?;
    let mask = (1_usize << prefix) - 1;
    let mut number = usize::from(first) & mask;
    if number == mask {
        let mut shift = 0;
        loop {
            let (&byte, after) = rest.split_first().ok_or(Damaged)?;
            rest = after;
            // Four bytes are enough for whatever is allowed.
            if shift > 21 {
                return Err(Damaged);
            }
            number += usize::from(byte & 0x7F) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *block = rest;
    if number > NUMBER_MAX { Err(Damaged) } else { Ok(number) }
}

#[cfg(test)]
mod tests;
