//! Who may send: the lines of an htpasswd file.

use super::hash::Kept;
use super::proof::Proof;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// A user and the password.
pub(super) struct User {
    pub(super) name: Box<str>,
    pub(super) kept: Kept,
    /// Of the password that was found to be right, so that the same need not be hashed again. A user has one, which
    /// bounds what is remembered; it goes when the user's line changes.
    pub(super) proven: OnceLock<Proof>,
}

/// The users by name.
#[derive(Default)]
pub(super) struct Users(HashMap<Box<str>, Arc<User>>);

/// A line that cannot be used. Its text may be a secret and is not told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadLine {
    /// Counted from 1.
    pub(super) number: usize,
    pub(super) problem: &'static str,
}

impl Users {
    /// Reads the lines of a file and of what is configured, which wins. As in Go, bad lines are left out. Users whose
    /// line has not changed keep their proof.
    pub(super) fn read(texts: &[&str], before: Option<&Self>) -> (Self, Vec<BadLine>) {
        let (mut users, mut bad) = (Self::default(), Vec::new());
        for text in texts {
            for (index, line) in text.lines().enumerate() {
                let mut refuse = |problem| bad.push(BadLine { number: index + 1, problem });
                let line = line.trim();
                if line.is_empty() {
                    continue;
                }
                let Some((name, kept)) = line.split_once(':') else {
                    refuse("no colon between user and password");
                    continue;
                };
                if kept.is_empty() {
                    refuse("no password behind the colon");
                    continue;
                }
                match Kept::parse(kept) {
                    Ok(kept) => users.insert(name, kept, before),
                    Err(problem) => refuse(problem),
                }
            }
        }
        (users, bad)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Arc<User>> {
        self.0.get(name)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn insert(&mut self, name: &str, kept: Kept, before: Option<&Self>) {
        let known = before.and_then(|before| before.get(name)).filter(|user| user.kept == kept);
        let user = known
            .cloned()
            .unwrap_or_else(|| Arc::new(User { name: name.into(), kept, proven: OnceLock::new() }));
        self.0.insert(name.into(), user);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_lines_win_and_odd_ones_are_told_by_number() {
        let file = "\u{feff}# a comment\nalice:one\n\n  bob:two  \nno colon\n:nameless\nmallory:$argon2id$x\nalice:three\nco:l:on\neve:";
        let (users, bad) = Users::read(&[file, "bob:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\r\n"], None);
        let is = |name, password: &[u8]| users.get(name).is_some_and(|user| user.kept.is(password));
        assert!(is("alice", b"three") && !is("alice", b"one"));
        assert!(is("bob", b"secret") && !is("bob", b"two"));
        assert!(is("co", b"l:on") && is("", b"nameless"));
        assert!(users.get("mallory").is_none() && users.get("eve").is_none());
        let numbers: Vec<_> = bad.iter().map(|bad| bad.number).collect();
        assert_eq!(numbers, [1, 5, 7, 10]);
        assert_eq!(users.len(), 4);
    }

    #[test]
    fn a_proof_lasts_as_long_as_the_line() {
        let (before, _) = Users::read(&["alice:one\nbob:two"], None);
        for name in ["alice", "bob"] {
            let proven = &before.get(name).expect("there").proven;
            assert!(proven.set(Proof::default()).is_ok());
        }
        let (after, _) = Users::read(&["alice:one\nbob:other"], Some(&before));
        assert!(after.get("alice").is_some_and(|user| user.proven.get().is_some()));
        assert!(after.get("bob").is_some_and(|user| user.proven.get().is_none()));
    }
}
