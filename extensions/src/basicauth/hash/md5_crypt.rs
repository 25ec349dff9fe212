//! MD5-crypt: `$1$`, and Apache's `$apr1$`, which differ in their name only.

use super::{crypt_digits, equal};
use md5::{Digest, Md5};

/// How much of a salt counts.
const MAX_SALT: usize = 8;

/// A salt, and what it makes of the password, in crypt's digits.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Hash {
    magic: &'static [u8],
    salt: Box<[u8]>,
    hash: Box<[u8]>,
}

impl Hash {
    /// Reads what follows `$apr1$` or `$1$`.
    pub(super) fn parse(id: &str, text: &str) -> Result<Self, &'static str> {
        let (salt, hash) = text.split_once('$').ok_or("MD5 without a salt")?;
        if hash.len() != 22 {
            return Err("MD5 of a wrong length");
        }
        let magic: &[u8] = if id == "1" { b"$1$" } else { b"$apr1$" };
        let salt = salt.as_bytes();
        Ok(Self { magic, salt: salt[..salt.len().min(MAX_SALT)].into(), hash: hash.as_bytes().into() })
    }

    pub(super) fn is(&self, password: &[u8]) -> bool {
        equal(&self.digits(password), &self.hash)
    }

    /// As Poul-Henning Kamp has defined it.
    fn digits(&self, password: &[u8]) -> Vec<u8> {
        let salt = &self.salt;
        let between = digest(&[password, salt, password]);
        let mut first = Md5::new();
        first.update(password);
        first.update(self.magic);
        first.update(salt);
        for chunk in password.chunks(16) {
            first.update(&between[..chunk.len()]);
        }
        let mut length = password.len();
        while length > 0 {
            first.update(if length & 1 == 1 { &[0] } else { &password[..1] });
            length >>= 1;
        }
        let mut hash: [u8; 16] = first.finalize().into();
        for round in 0..1000 {
            let (odd, even): (&[u8], &[u8]) =
                if round % 2 == 1 { (password, &hash) } else { (&hash, password) };
            let salt: &[u8] = if round % 3 == 0 { &[] } else { salt };
            let again: &[u8] = if round % 7 == 0 { &[] } else { password };
            hash = digest(&[odd, salt, again, even]);
        }
        let mut out = Vec::with_capacity(22);
        for [high, middle, low] in [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]] {
            crypt_digits(&mut out, hash[high], hash[middle], hash[low], 4);
        }
        crypt_digits(&mut out, 0, 0, hash[11], 2);
        out
    }
}

fn digest(parts: &[&[u8]]) -> [u8; 16] {
    let mut md5 = Md5::new();
    for part in parts {
        md5.update(part);
    }
    md5.finalize().into()
}
