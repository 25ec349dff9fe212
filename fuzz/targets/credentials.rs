//! Who sends: lines of htpasswd files, and the header `Authorization`.

#![no_main]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libfuzzer_sys::fuzz_target;
use millrace_extensions::basicauth::fuzzing::{Users, credentials};
use std::collections::HashMap;

fuzz_target!(|text: &str| {
    header(text);
    file(text);
});

fn header(text: &str) {
    if let Some((name, password)) = credentials(text.as_bytes()) {
        assert!(text[..6].eq_ignore_ascii_case("basic ") && !name.contains(':'));
        assert!(STANDARD.decode(&text[6..]).is_ok_and(|plain| plain.ends_with(&password)));
    }
    let encoded = format!("bAsIc {}", STANDARD.encode(text));
    let expected =
        text.split_once(':').map(|(name, password)| (name.to_owned(), password.as_bytes().to_vec()));
    assert_eq!(credentials(encoded.as_bytes()), expected);
}

fn file(text: &str) {
    let (users, bad) = Users::read(text);
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    for (number, problem) in &bad {
        assert!(!lines[number - 1].is_empty() && !problem.is_empty());
    }
    let is_bad = |at: usize| bad.iter().any(|(number, _)| *number == at + 1);
    let mut last = HashMap::new();
    for (at, line) in lines.iter().enumerate().filter(|(at, line)| !line.is_empty() && !is_bad(*at)) {
        let (name, kept) = line.split_once(':').unwrap_or_else(|| panic!("line {at} is no good: {line}"));
        last.insert(name, kept);
    }
    assert_eq!(users.count(), last.len());
    for (name, kept) in last {
        // What looks like a hash must never be a password itself.
        if let Some(is_its_own_password) = users.is(name, kept.as_bytes()) {
            let is_hash =
                ["{SHA}", "{SSHA}", "$2y$", "$apr1$", "$6$"].iter().any(|mark| kept.starts_with(mark));
            assert_eq!(is_its_own_password, !is_hash, "{kept}");
        }
        assert_ne!(users.is(name, format!("{kept}x").as_bytes()), Some(true));
    }
}
