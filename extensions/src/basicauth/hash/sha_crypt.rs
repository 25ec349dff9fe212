//! SHA-crypt: `$5$` with SHA-256 and `$6$` with SHA-512.

use super::{crypt_digits, equal};
use aws_lc_rs::digest::{Algorithm, Context, SHA256, SHA512};

/// How much of a salt counts.
const MAX_SALT: usize = 16;
/// Rounds unless they are given.
const ROUNDS: u32 = 5000;
/// As in the definition below, and what takes some seconds above.
const MIN_ROUNDS: u32 = 1000;
const MAX_ROUNDS: u32 = 2_000_000;

/// A salt, how often, and what they make of the password, in crypt's digits.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Hash {
    is_512: bool,
    rounds: u32,
    salt: Box<[u8]>,
    hash: Box<[u8]>,
}

impl Hash {
    /// Reads what follows `$5$` or `$6$`.
    pub(super) fn parse(id: &str, text: &str) -> Result<Self, &'static str> {
        let (rounds, text) = match text.strip_prefix("rounds=") {
            None => (ROUNDS, text),
            Some(text) => {
                let (rounds, text) = text.split_once('$').ok_or("SHA-crypt without a salt")?;
                let rounds: u32 = rounds.parse().map_err(|_| "SHA-crypt whose rounds are not a number")?;
                if rounds > MAX_ROUNDS {
                    return Err("SHA-crypt with more than 2000000 rounds");
                }
                (rounds.max(MIN_ROUNDS), text)
            }
        };
        let (salt, hash) = text.split_once('$').ok_or("SHA-crypt without a salt")?;
        let is_512 = id == "6";
        if hash.len() != if is_512 { 86 } else { 43 } {
            return Err("SHA-crypt of a wrong length");
        }
        let salt = salt.as_bytes();
        let salt = salt[..salt.len().min(MAX_SALT)].into();
        Ok(Self { is_512, rounds, salt, hash: hash.as_bytes().into() })
    }

    pub(super) fn is(&self, password: &[u8]) -> bool {
        equal(&self.digits(password), &self.hash)
    }

    /// As Ulrich Drepper has defined it.
    fn digits(&self, password: &[u8]) -> Vec<u8> {
        let algorithm = if self.is_512 { &SHA512 } else { &SHA256 };
        let digest = |parts: &[&[u8]]| digest(algorithm, parts);
        let salt = &self.salt;
        let between = digest(&[password, salt, password]);
        let mut first = Context::new(algorithm);
        first.update(password);
        first.update(salt);
        first.update(&stretched(&between, password.len()));
        let mut length = password.len();
        while length > 0 {
            first.update(if length & 1 == 1 { &between } else { password });
            length >>= 1;
        }
        let mut hash = first.finish().as_ref().to_vec();
        let password = stretched(&repeated(algorithm, password, password.len()), password.len());
        let salt = stretched(&repeated(algorithm, salt, 16 + usize::from(hash[0])), salt.len());
        for round in 0..self.rounds {
            let (odd, even): (&[u8], &[u8]) =
                if round % 2 == 1 { (&password, &hash) } else { (&hash, &password) };
            let salt: &[u8] = if round % 3 == 0 { &[] } else { &salt };
            let again: &[u8] = if round % 7 == 0 { &[] } else { &password };
            hash = digest(&[odd, salt, again, even]);
        }
        self.transposed(&hash)
    }

    /// The bytes of the hash in the order in which they are written.
    fn transposed(&self, hash: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(86);
        let (groups, third) = if self.is_512 { (21, 21) } else { (10, 10) };
        let mut at = [0, third, 2 * third];
        for _ in 0..groups {
            crypt_digits(&mut out, hash[at[0]], hash[at[1]], hash[at[2]], 4);
            // Three columns, whose roles turn from group to group.
            at = if self.is_512 {
                [at[1] + 1, at[2] + 1, at[0] + 1]
            } else {
                [at[2] + 1, at[0] + 1, at[1] + 1]
            };
        }
        if self.is_512 {
            crypt_digits(&mut out, 0, 0, hash[63], 2);
        } else {
            crypt_digits(&mut out, 0, hash[31], hash[30], 3);
        }
        out
    }
}

fn digest(algorithm: &'static Algorithm, parts: &[&[u8]]) -> Vec<u8> {
    let mut context = Context::new(algorithm);
    for part in parts {
        context.update(part);
    }
    context.finish().as_ref().to_vec()
}

/// The digest of so many copies.
fn repeated(algorithm: &'static Algorithm, part: &[u8], copies: usize) -> Vec<u8> {
    let mut context = Context::new(algorithm);
    for _ in 0..copies {
        context.update(part);
    }
    context.finish().as_ref().to_vec()
}

/// So many bytes, starting over as often as needed.
fn stretched(bytes: &[u8], length: usize) -> Vec<u8> {
    bytes.iter().copied().cycle().take(length).collect()
}
