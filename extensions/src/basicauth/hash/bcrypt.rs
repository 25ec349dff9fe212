//! bcrypt: Blowfish with a key schedule that takes as long as its cost says.

use super::equal;
use blowfish::Blowfish;

/// The digits of bcrypt's own base 64.
const DIGITS: &[u8; 64] = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// What is encrypted.
const TEXT: &[u8; 24] = b"OrpheanBeholderScryDoubt";
/// The cheapest that Go accepts, and what takes some seconds: beyond it one request would hold a thread for minutes.
const COSTS: std::ops::RangeInclusive<u32> = 4..=17;
/// How much of a password counts, its final zero byte included.
const MAX_KEY: usize = 72;

/// A cost, a salt, and what they make of the password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Hash {
    cost: u32,
    salt: [u8; 16],
    hash: [u8; 23],
}

impl Hash {
    /// Reads what follows `$2y$`.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let (cost, rest) = text.split_once('$').ok_or("bcrypt without a salt")?;
        let cost = cost
            .parse()
            .ok()
            .filter(|cost| COSTS.contains(cost))
            .ok_or("bcrypt with a cost beyond 4 to 17")?;
        let (salt, hash) = rest.split_at_checked(22).ok_or("bcrypt that is too short")?;
        let salt = decode(salt).ok_or("bcrypt with a damaged salt")?;
        let hash = decode(hash).ok_or("bcrypt of a wrong length")?;
        Ok(Self { cost, salt, hash })
    }

    pub(super) fn is(&self, password: &[u8]) -> bool {
        let mut key: Vec<u8> = password.iter().copied().chain([0]).collect();
        key.truncate(MAX_KEY);
        let mut state = Blowfish::bc_init_state();
        state.salted_expand_key(&self.salt, &key);
        for _ in 0..1_u32 << self.cost {
            state.bc_expand_key(&key);
            state.bc_expand_key(&self.salt);
        }
        let mut out = [0; 24];
        for (block, text) in out.chunks_exact_mut(8).zip(TEXT.chunks_exact(8)) {
            let mut halves = [word(&text[..4]), word(&text[4..])];
            for _ in 0..64 {
                halves = state.bc_encrypt(halves);
            }
            block[..4].copy_from_slice(&halves[0].to_be_bytes());
            block[4..].copy_from_slice(&halves[1].to_be_bytes());
        }
        // The key ends with a zero byte and is repeated, so a zero byte within would let other passwords match.
        equal(&out[..23], &self.hash) & !password.contains(&0)
    }
}

fn word(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |word, byte| word << 8 | u32::from(*byte))
}

/// Exactly `N` bytes; bits that are left over do not matter.
fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (mut out, mut filled, mut bits, mut count) = ([0; N], 0, 0_u32, 0);
    for digit in text.bytes() {
        let value = DIGITS.iter().position(|known| *known == digit)?;
        bits = bits << 6 | value as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            *out.get_mut(filled)? = (bits >> count) as u8;
            filled += 1;
        }
    }
    (filled == N).then_some(out)
}
