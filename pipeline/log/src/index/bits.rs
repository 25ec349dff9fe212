//! One bit for each entry of a segment.

/// Grows as bits are set. Takes no room while none is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Bits {
    words: Vec<u64>,
    set: u64,
}

impl Bits {
    pub(crate) fn contains(&self, at: u64) -> bool {
        self.words.get((at / 64) as usize).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    /// `true` if it was not set before.
    pub(crate) fn set(&mut self, at: u64) -> bool {
        let word = (at / 64) as usize;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let bit = 1 << (at % 64);
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.set += u64::from(new);
        new
    }

    /// How many are set.
    pub(crate) fn count(&self) -> u64 {
        self.set
    }

    /// The first below `len` that is not set.
    pub(crate) fn first_clear(&self, len: u64) -> Option<u64> {
        let beyond = self.words.len() as u64 * 64;
        let within = self.words.iter().position(|word| *word != u64::MAX);
        let at = within.map_or(beyond, |word| word as u64 * 64 + u64::from(self.words[word].trailing_ones()));
        (at < len).then_some(at)
    }

    /// The last below `len` that is not set.
    pub(crate) fn last_clear(&self, len: u64) -> Option<u64> {
        let last = len.checked_sub(1)?;
        if last / 64 >= self.words.len() as u64 {
            return Some(last);
        }
        let within = last % 64 + 1;
        let mut word = (last / 64) as usize;
        // Bits beyond `len` count as set.
        let mut bits = self.words[word] | u64::MAX.checked_shl(within as u32).unwrap_or(0);
        while bits == u64::MAX {
            word = word.checked_sub(1)?;
            bits = self.words[word];
        }
        Some(word as u64 * 64 + 63 - u64::from(bits.leading_ones()))
    }

    /// As it is persisted.
    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn a_set_of_numbers_says_the_same(
            set in proptest::collection::btree_set(0_u64..300, 0..300),
            len in 0_u64..400,
        ) {
            let mut bits = Bits::default();
            for at in &set {
                prop_assert!(bits.set(*at));
                prop_assert!(!bits.set(*at));
            }
            prop_assert_eq!(bits.count(), set.len() as u64);
            let clear: BTreeSet<u64> = (0..len).filter(|at| !set.contains(at)).collect();
            prop_assert_eq!(bits.first_clear(len), clear.first().copied());
            prop_assert_eq!(bits.last_clear(len), clear.last().copied());
            prop_assert!((0..400).all(|at| bits.contains(at) == set.contains(&at)));
        }
    }
}
