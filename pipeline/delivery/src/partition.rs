//! Keeping requests apart by what their clients said.

use millrace_engine::{Batch, Origin};
use std::collections::HashMap;

/// The metadata keys by whose values requests are kept apart. Without any, nothing is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys(Vec<Box<str>>);

/// The values of the keys, in their order. Each key may have several or none, and none differs from an empty one.
pub type Combination = Vec<Vec<Box<str>>>;

impl Keys {
    /// Keys are compared in lower case, as the metadata has them.
    #[must_use]
    pub fn new(keys: &[String]) -> Self {
        Self(keys.iter().map(|key| key.to_lowercase().into()).collect())
    }

    /// The keys, in lower case.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|key| &**key)
    }

    /// What the client of a piece said.
    #[must_use]
    pub fn combination(&self, origin: &Origin) -> Combination {
        let values = |key: &str| {
            let found = origin.metadata.iter().filter(|(name, _)| **name == *key);
            found.map(|(_, value)| value.clone()).collect()
        };
        self.0.iter().map(|key| values(key)).collect()
    }

    /// Divides a batch by the combinations of its pieces, in the order in which they occur.
    #[must_use]
    pub fn divide(&self, batch: Batch) -> Vec<(Combination, Batch)> {
        if self.0.is_empty() {
            return vec![(Combination::new(), batch)];
        }
        let signal = batch.signal();
        let mut groups: Vec<(Combination, Batch)> = Vec::with_capacity(1);
        let mut index = HashMap::new();
        for piece in batch.into_pieces() {
            let combination = self.combination(&piece.origin);
            let at = match groups.last() {
                Some((last, _)) if *last == combination => groups.len() - 1,
                _ => *index.entry(combination.clone()).or_insert_with(|| {
                    groups.push((combination, Batch::empty(signal)));
                    groups.len() - 1
                }),
            };
            groups[at].1.push(piece);
        }
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_engine::{Charge, Piece};
    use millrace_wire::write::{LogRecord, Logs};
    use std::sync::Arc;
    use std::time::Instant;

    fn piece(metadata: &[(&str, &str)]) -> Piece {
        let metadata = metadata.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let payload = Logs::build(|logs| {
            logs.record(LogRecord::default(), |_| {});
        });
        let origin = Arc::new(Origin { received: Instant::now(), peer: None, metadata, identity: None });
        Piece { payload, origin, charge: Charge::none() }
    }

    #[test]
    fn pieces_of_different_combinations_never_stay_together() {
        let keys = Keys::new(&["Tenant".into(), "zone".into()]);
        let mut batch = Batch::of(piece(&[("tenant", "a"), ("zone", "1")]));
        for metadata in [
            &[("tenant", "a"), ("zone", "1"), ("other", "x")][..],
            &[("tenant", "b")],
            &[("tenant", "a"), ("zone", "1")],
            &[("zone", ""), ("tenant", "b")],
            &[("tenant", "b"), ("tenant", "a")],
            &[("tenant", "b")],
        ] {
            batch.push(piece(metadata));
        }

        let groups = keys.divide(batch);

        let shown: Vec<_> = groups
            .iter()
            .map(|(combination, batch)| {
                let values: Vec<_> = combination.iter().map(|values| values.join("+")).collect();
                (values.join("/"), combination[1].len(), batch.pieces().len())
            })
            .collect();
        let expected = [("a/1", 1, 3), ("b/", 0, 2), ("b/", 1, 1), ("b+a/", 0, 1)];
        assert_eq!(shown, expected.map(|(values, zones, pieces)| (values.to_owned(), zones, pieces)));
    }
}
