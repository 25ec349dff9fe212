//! "Did you mean …?"

/// The longest list of alternatives that a message spells out.
const LIST_MAX: usize = 64;

/// Names longer than this are not compared; no key is.
const NAME_MAX: usize = 128;

/// The candidate that `name` was probably meant to be, if one is near enough.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if name.is_empty() || name.len() > NAME_MAX {
        return None;
    }
    let folded = fold(name);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        if candidate.len() > NAME_MAX {
            continue;
        }
        let other = fold(candidate);
        let apart = if other == folded { 0 } else { distance(&folded, &other) };
        let allowed = (folded.len().max(other.len()) / 3).clamp(1, 4);
        if apart <= allowed && best.is_none_or(|(least, _)| apart < least) {
            best = Some((apart, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Advice for a name that is not among the accepted ones.
pub(crate) fn advice(name: &str, noun: &str, accepted: &[&str]) -> Option<String> {
    let list = || {
        let mut names: Vec<_> = accepted.iter().copied().filter(|name| !name.is_empty()).collect();
        names.sort_unstable();
        names.dedup();
        (!names.is_empty() && names.len() <= LIST_MAX)
            .then(|| format!("accepted {noun}: {}", names.join(", ")))
    };
    match (nearest(name, accepted.iter().copied()), list()) {
        (Some(near), Some(list)) => Some(format!("did you mean `{near}`? {list}")),
        (Some(near), None) => Some(format!("did you mean `{near}`?")),
        (None, list) => list,
    }
}

/// Whether two names differ only in case, `_` and `-`.
pub(crate) fn same(name: &str, other: &str) -> bool {
    fold(name) == fold(other)
}

/// Spelling variants that count as the same: case, `-` for `_`, camel case.
fn fold(name: &str) -> Vec<char> {
    name.chars().filter(|c| !matches!(c, '_' | '-' | ' ' | '.')).flat_map(char::to_lowercase).collect()
}

/// How many insertions, deletions, replacements and swaps of neighbours lead from one to the other.
fn distance(from: &[char], to: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (i, &a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &b) in to.iter().enumerate() {
            let mut cost = (last[j] + usize::from(a != b)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a == to[j - 1] && from[i - 1] == b {
                cost = cost.min(before_last[j - 1] + 1);
            }
            row.push(cost);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_keyboard_are_recognised() {
        let keys = ["insecure", "endpoint", "sending_queue", "timeout", "num_consumers", "id"];
        for (typed, meant) in [
            ("insecur", Some("insecure")),
            ("endpiont", Some("endpoint")),
            ("sendingQueue", Some("sending_queue")),
            ("NUM-CONSUMERS", Some("num_consumers")),
            ("timout", Some("timeout")),
            ("compression", None),
            ("xyz", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, keys), meant, "{typed}");
        }
    }

    #[test]
    fn distance_counts_a_swap_as_one() {
        let chars = |s: &str| s.chars().collect::<Vec<_>>();
        assert_eq!(distance(&chars("abcd"), &chars("abdc")), 1);
        assert_eq!(distance(&chars(""), &chars("abc")), 3);
        assert_eq!(distance(&chars("kitten"), &chars("sitting")), 3);
    }
}
