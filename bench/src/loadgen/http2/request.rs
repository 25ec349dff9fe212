//! The header block of an export call (RFC 7541). It is always the same: written out once, so that the server puts it
//! into its table as those of usual clients do, and from then on a few indices.

/// The first index of the table that both sides keep.
const TABLE: usize = 62;
/// What is entered there has room in the table that every connection begins with.
const TABLE_FIRST: u32 = 4096;

/// The header block.
#[derive(Debug, Clone)]
pub(in crate::loadgen) struct Request {
    /// `:method` and `:scheme`, which have indices from the beginning.
    known: [u8; 2],
    /// The others: the index of the name or its text, and the value.
    fields: Vec<(Name, String)>,
    manner: Manner,
}

#[derive(Debug, Clone, Copy)]
enum Name {
    Known(u8),
    Text(&'static str),
}

/// How the fields are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// In full, and entered into the table.
    First,
    /// By their indices.
    Again,
    /// In full; the server is to hear first that the table is not used any more.
    Plain { told: bool },
}

impl Request {
    pub(in crate::loadgen) fn new(
        scheme: &str,
        authority: String,
        path: &str,
        encoding: Option<&str>,
    ) -> Self {
        let mut fields = vec![
            (Name::Known(4), path.to_owned()),
            (Name::Known(1), authority),
            (Name::Text("te"), "trailers".to_owned()),
            (Name::Known(31), "application/grpc".to_owned()),
        ];
        fields.extend(encoding.map(|encoding| (Name::Text("grpc-encoding"), encoding.to_owned())));
        let known = [0x83, if scheme == "https" { 0x87 } else { 0x86 }];
        Self { known, fields, manner: Manner::First }
    }

    /// The server keeps a table of that size.
    pub(super) fn table_is(&mut self, size: u32) {
        if size < TABLE_FIRST {
            self.manner = Manner::Plain { told: false };
        }
    }

    /// The block of the next call.
    pub(super) fn block(&mut self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        match &mut self.manner {
            Manner::Plain { told: told @ false } => {
                out.push(0x20);
                *told = true;
            }
            Manner::First | Manner::Again | Manner::Plain { .. } => {}
        }
        out.extend_from_slice(&self.known);
        let last = self.fields.len() - 1;
        for (at, (name, value)) in self.fields.iter().enumerate() {
            let (prefix, first) = match self.manner {
                // The one that was entered last has the lowest index.
                Manner::Again => {
                    put_number(&mut out, 7, 0x80, TABLE + last - at);
                    continue;
                }
                Manner::First => (6, 0x40),
                Manner::Plain { .. } => (4, 0),
            };
            match name {
                Name::Known(index) => put_number(&mut out, prefix, first, usize::from(*index)),
                Name::Text(text) => {
                    out.push(first);
                    put_text(&mut out, text);
                }
            }
            put_text(&mut out, value);
        }
        if self.manner == Manner::First {
            self.manner = Manner::Again;
        }
        out
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_number(out, 7, 0, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// Section 5.1.
fn put_number(out: &mut Vec<u8>, prefix: u32, first: u8, number: usize) {
    let mask = (1 << prefix) - 1;
    if number < mask {
        return out.push(first | number as u8);
    }
    out.push(first | mask as u8);
    let mut rest = number - mask;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
