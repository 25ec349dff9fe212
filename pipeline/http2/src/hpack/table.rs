//! The dynamic table (RFC 7541, section 2.3.2), held as compactly as it can be: connections by the ten thousand each
//! have one, and are idle.

use crate::settings::TABLE_FIRST;
use std::collections::VecDeque;

/// What an entry counts beside its bytes (section 4.1).
const ENTRY: usize = 32;

/// Room that is not used and not worth giving back.
const SPARE: usize = 256;

/// What the peer has said and may refer to. Empty, it holds no memory.
#[derive(Debug)]
pub(super) struct Table {
    /// Names and values, the oldest first, behind `start` bytes of entries that are gone.
    bytes: Vec<u8>,
    start: usize,
    entries: VecDeque<Entry>,
    /// As the standard counts.
    size: usize,
    max: usize,
}

/// The lengths of a name and its value, neither of which is longer than a table may be.
#[derive(Debug, Clone, Copy)]
struct Entry {
    name: u16,
    value: u16,
}

impl Entry {
    fn len(self) -> usize {
        usize::from(self.name) + usize::from(self.value)
    }
}

impl Table {
    pub(super) const fn new() -> Self {
        let max = TABLE_FIRST as usize;
        Self { bytes: Vec::new(), start: 0, entries: VecDeque::new(), size: 0, max }
    }

    /// The entry that was added `age` entries before the last.
    pub(super) fn get(&self, age: usize) -> Option<(&[u8], &[u8])> {
        let nth = self.entries.len().checked_sub(age + 1)?;
        let after: usize = self.entries.range(nth + 1..).map(|entry| entry.len()).sum();
        let entry = self.entries[nth];
        let from = self.bytes.len() - after - entry.len();
        let (name, value) = self.bytes[from..from + entry.len()].split_at(entry.name.into());
        Some((name, value))
    }

    /// Adds an entry, at the cost of older ones. One that is larger than the table leaves it empty.
    pub(super) fn add(&mut self, name: &[u8], value: &[u8]) {
        let size = ENTRY + name.len() + value.len();
        self.shrink(self.max.saturating_sub(size));
        let (Ok(name_len), Ok(value_len)) = (u16::try_from(name.len()), u16::try_from(value.len())) else {
            return;
        };
        if size > self.max {
            return;
        }
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        self.entries.push_back(Entry { name: name_len, value: value_len });
        self.size += size;
    }

    /// How large it may be from now on.
    pub(super) fn resize(&mut self, max: usize) {
        self.max = max;
        self.shrink(max);
    }

    fn shrink(&mut self, max: usize) {
        while self.size > max
            && let Some(oldest) = self.entries.pop_front()
        {
            self.size -= ENTRY + oldest.len();
            self.start += oldest.len();
        }
        if self.entries.is_empty() {
            *self = Self { max: self.max, ..Self::new() };
        } else if self.start > self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    /// Gives back room that is not used, if it is much.
    pub(super) fn settle(&mut self) {
        let used = self.bytes.len() - self.start;
        if self.bytes.capacity() > used + SPARE {
            self.bytes.drain(..self.start);
            self.start = 0;
            self.bytes.shrink_to_fit();
            self.entries.shrink_to_fit();
        }
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table as the standard describes it, without any thought of memory.
    #[derive(Default)]
    struct Plain(VecDeque<(Vec<u8>, Vec<u8>)>);

    impl Plain {
        fn size(&self) -> usize {
            self.0.iter().map(|(name, value)| name.len() + value.len() + 32).sum()
        }

        fn trim(&mut self, max: usize) {
            while self.size() > max {
                self.0.pop_back();
            }
        }
    }

    #[test]
    fn it_is_the_table_of_the_standard_and_its_memory_is_bounded() {
        let mut random = fastrand::Rng::with_seed(1);
        let (mut table, mut plain, mut max) = (Table::new(), Plain::default(), 4096);
        for _ in 0..20_000 {
            match random.u8(..40) {
                0 => {
                    max = random.usize(..=4096);
                    table.resize(max);
                    plain.trim(max);
                }
                1 => table.settle(),
                _ => {
                    let longest = [10, 100, 1000, 5000][random.usize(..4)];
                    let mut text = || vec![random.u8(..); random.usize(..longest)];
                    let (name, value) = (text(), text());
                    table.add(&name, &value);
                    plain.0.push_front((name, value));
                    plain.trim(max);
                }
            }
            assert_eq!(table.size(), plain.size());
            assert!(table.bytes.capacity() <= 4 * 4096, "{}", table.bytes.capacity());
            for (age, (name, value)) in plain.0.iter().enumerate() {
                assert_eq!(table.get(age), Some((&name[..], &value[..])));
            }
            assert_eq!(table.get(plain.0.len()), None);
        }
        table.resize(0);
        assert_eq!((table.bytes.capacity(), table.entries.capacity()), (0, 0));
    }
}
