//! Seeded hashing of keys that a sender may choose, so that nobody can aim at one slot of our tables.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::OnceLock;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A number that differs from process to process.
fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| RandomState::new().build_hasher().finish())
}

/// Hashes bytes. Equal bytes have equal hashes within a process, and only there.
pub(crate) fn hash_bytes(bytes: &[u8]) -> u64 {
    xxh3_64_with_seed(bytes, seed())
}

/// For hash tables with short keys: shard numbers, ids, fingerprints.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seeded {
    seed: u64,
}

impl Default for Seeded {
    fn default() -> Self {
        Self { seed: seed() }
    }
}

impl BuildHasher for Seeded {
    type Hasher = Mix;

    #[inline]
    fn build_hasher(&self) -> Mix {
        Mix { state: self.seed, key: self.seed.rotate_left(32) | 1 }
    }
}

/// Folds 64 bits at a time into the state by a wide multiplication.
#[derive(Debug)]
pub(crate) struct Mix {
    state: u64,
    key: u64,
}

impl Hasher for Mix {
    #[inline]
    fn write_u64(&mut self, value: u64) {
        let wide = u128::from(self.state ^ value) * u128::from(self.key);
        self.state = (wide as u64) ^ (wide >> 64) as u64;
    }

    #[inline]
    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    #[inline]
    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write(&mut self, bytes: &[u8]) {
        self.write_u64(xxh3_64_with_seed(bytes, self.state));
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn short_keys_are_spread_over_high_and_low_bits() {
        let seeded = Seeded::default();
        let hashes: Vec<u64> = (0..10_000u32).map(|key| seeded.hash_one(key)).collect();
        let distinct =
            |part: fn(u64) -> u64| hashes.iter().map(|&hash| part(hash)).collect::<HashSet<_>>().len();

        assert_eq!(distinct(|hash| hash), hashes.len());
        assert_eq!(distinct(|hash| hash >> 57), 128, "the bits by which a table tells slots apart");
        assert!(distinct(|hash| hash & 0xffff) > 8_000, "the bits by which a table finds a slot");
    }

    #[test]
    fn equal_bytes_hash_alike_and_others_do_not() {
        assert_eq!(hash_bytes(b"resource"), hash_bytes("resource".as_bytes()));
        assert_ne!(hash_bytes(b"resource"), hash_bytes(b"resourcf"));
    }
}
