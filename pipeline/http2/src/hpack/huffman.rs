//! The one Huffman code of HPACK (RFC 7541, appendix B). It is canonical: codes of one length count upwards in the
//! order of their symbols, so that the lengths are all there is to know.

use super::Damaged;

/// The symbol that ends a text, and never occurs.
const END: usize = 256;
/// How many bits each symbol has.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8,
    7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7,
    7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23,
    24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22,
    23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25,
    26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24,
    20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27,
    27, 27, 27, 26, 30,
];
const LONGEST: usize = 30;
/// What is looked at in one step. Text seldom has longer codes.
const STEP: usize = 8;

/// The codes of one length.
#[derive(Clone, Copy)]
struct Codes {
    first: u32,
    count: u32,
    /// Where their symbols begin in `Code::symbols`.
    at: u32,
}

struct Code {
    /// For every eight bits the symbol that they begin with, and its length; no length where it is longer.
    short: [(u8, u8); 1 << STEP],
    by_length: [Codes; LONGEST + 1],
    /// In the order of their codes.
    symbols: [u16; 257],
}

static CODE: Code = code();

const fn code() -> Code {
    let mut short = [(0, 0); 1 << STEP];
    let mut by_length = [Codes { first: 0, count: 0, at: 0 }; LONGEST + 1];
    let mut symbols = [0; 257];
    let (mut next, mut at, mut length) = (0_u32, 0_usize, 1);
    while length <= LONGEST {
        next <<= 1;
        by_length[length] = Codes { first: next, count: 0, at: at as u32 };
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                symbols[at] = symbol as u16;
                at += 1;
                by_length[length].count += 1;
                if length <= STEP {
                    let spare = STEP - length;
                    let mut fill = 0;
                    while fill < 1 << spare {
                        short[(next as usize) << spare | fill] = (symbol as u8, length as u8);
                        fill += 1;
                    }
                }
                next += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    Code { short, by_length, symbols }
}

/// Adds to `out` what `coded` says. It is at most 8/5 as long.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Result<(), Damaged> {
    // The next bits are the upper ones.
    let (mut bits, mut have) = (0_u64, 0_usize);
    let mut coded = coded.iter();
    loop {
        while have <= 56
            && let Some(&byte) = coded.next()
        {
            bits |= u64::from(byte) << (56 - have);
            have += 8;
        }
        if have == 0 {
            return Ok(());
        }
        let (symbol, length) = match CODE.short[(bits >> (64 - STEP)) as usize] {
            (symbol, length @ 1..) => (usize::from(symbol), usize::from(length)),
            _ => match long(bits) {
                Some(found) => found,
                // What is no code can only be padding: ones, and less than a byte of them.
                None => return padding(bits, have),
            },
        };
        if length > have {
            return padding(bits, have);
        }
        if symbol == END {
            return Err(Damaged);
        }
        out.push(symbol as u8);
        bits <<= length;
        have -= length;
    }
}

#[cold]
fn long(bits: u64) -> Option<(usize, usize)> {
    (STEP + 1..=LONGEST).find_map(|length| {
        let Codes { first, count, at } = CODE.by_length[length];
        let nth = ((bits >> (64 - length)) as u32).checked_sub(first).filter(|nth| *nth < count)?;
        Some((usize::from(CODE.symbols[(at + nth) as usize]), length))
    })
}

fn padding(bits: u64, have: usize) -> Result<(), Damaged> {
    let ones = !0 << (64 - have);
    if have < 8 && bits == ones { Ok(()) } else { Err(Damaged) }
}

#[cfg(test)]
pub(super) fn encode(text: &[u8]) -> Vec<u8> {
    let (mut out, mut bits, mut have) = (Vec::new(), 0_u64, 0_usize);
    for &byte in text {
        let length = usize::from(LENGTHS[usize::from(byte)]);
        let Codes { first, at, .. } = CODE.by_length[length];
        let nth = CODE.symbols[at as usize..].iter().position(|symbol| *symbol == u16::from(byte));
        bits = bits << length | u64::from(first + nth.expect("every byte has a code") as u32);
        have += length;
        while have >= 8 {
            have -= 8;
            out.push((bits >> have) as u8);
        }
    }
    if have > 0 {
        out.push((bits << (8 - have)) as u8 | 0xFF >> have);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, Damaged> {
        let mut out = Vec::new();
        decode(coded, &mut out).map(|()| out)
    }

    #[test]
    fn the_code_is_that_of_the_standard() {
        // Appendix B: the first and the last of some lengths, and the end of text.
        for (symbol, code, length) in [
            (b'0', 0x0, 5),
            (b't', 0x9, 5),
            (b'&', 0xf8, 8),
            (b'Z', 0xfd, 8),
            (b'?', 0x3fc, 10),
            (b'\\', 0x7fff0, 19),
            (0, 0x1ff8, 13),
            (10, 0x3fff_fffc, 30),
            (249, 0x0fff_fffe, 28),
        ] {
            assert_eq!(usize::from(LENGTHS[usize::from(symbol)]), length);
            let Codes { first, at, .. } = CODE.by_length[length];
            let nth = CODE.symbols[at as usize..].iter().position(|at| *at == u16::from(symbol));
            assert_eq!(first + nth.expect("it is there") as u32, code, "{symbol}");
        }
        let Codes { first, count, at } = CODE.by_length[30];
        assert_eq!((first + count - 1, CODE.symbols[(at + count - 1) as usize]), (0x3fff_ffff, 256));
    }

    #[test]
    fn texts_of_the_standard() {
        // Appendix C.4.1, C.4.2, C.6.1.
        for (coded, text) in [
            (
                &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff][..],
                "www.example.com",
            ),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (&[0xae, 0xc3, 0x77, 0x1a, 0x4b], "private"),
        ] {
            assert_eq!(decoded(coded).as_deref(), Ok(text.as_bytes()));
            assert_eq!(encode(text.as_bytes()), coded);
        }
    }

    #[test]
    fn every_text_comes_back() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..5_000 {
            let text: Vec<u8> = (0..random.usize(..40)).map(|_| random.u8(..)).collect();
            assert_eq!(decoded(&encode(&text)), Ok(text));
        }
    }

    #[test]
    fn padding_is_less_than_a_byte_of_ones_and_the_end_is_never_said() {
        let text = encode(b"0");
        assert_eq!(text, [0x07]);
        assert_eq!(decoded(&[0x06]), Err(Damaged), "a zero in the padding");
        assert_eq!(decoded(&[0x07, 0xFF]), Err(Damaged), "a byte of padding");
        assert_eq!(decoded(&[0xFF; 4]), Err(Damaged), "the end");
        assert_eq!(decoded(&[0xFF; 3]), Err(Damaged));
        assert_eq!(decoded(&[]), Ok(Vec::new()));
    }
}
