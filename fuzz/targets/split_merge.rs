//! Dividing and joining: what comes out is in form, its items are those that went in, and they keep what encloses them.

#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use millrace_fuzz::flat::{FlatItem, items, sorted};
use millrace_fuzz::{Input, assert_sound, protobuf};
use millrace_wire::split::{Limit, by_key, by_size, halve, retain};
use millrace_wire::{Payload, Utf8Policy, merge};
use std::num::{NonZeroU32, NonZeroUsize};

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    protobuf::mutate(data, size, max_size, seed)
});

fuzz_target!(|data: &[u8]| {
    let Some(input) = Input::of(data) else { return };
    let Some(payload) = input.payload(Utf8Policy::Repair) else { return };
    let whole = items(&payload);
    assert_eq!(whole.len(), payload.items() as usize);

    sizes(&payload, &whole, input.choice);
    halves(&payload, &whole);
    keys(&payload, &whole, input.choice);
    kept(&payload, input.choice);
    merged(&payload, &whole);
});

fn sound<'a>(parts: impl IntoIterator<Item = &'a Payload>) -> Vec<FlatItem> {
    let check = |part: &'a Payload| {
        assert_sound(part, Utf8Policy::Repair);
        items(part)
    };
    parts.into_iter().flat_map(check).collect()
}

fn sizes(payload: &Payload, whole: &[FlatItem], choice: u8) {
    let max_items = NonZeroU32::new(u32::from(choice % 4));
    let max_bytes = NonZeroUsize::new(usize::from(choice / 4) * 16);
    let parts = by_size(payload, Limit { max_items, max_bytes });
    assert_eq!(sound(&parts), whole, "nothing is lost, and the order is kept");
    for part in &parts {
        // The budget for repeated headers is far above the size of these inputs.
        assert!(max_items.is_none_or(|limit| part.items() <= limit.get()), "{} items", part.items());
        assert!(max_bytes.is_none_or(|limit| part.len() <= limit.get() || part.items() <= 1));
    }
}

fn halves(payload: &Payload, whole: &[FlatItem]) {
    match halve(payload) {
        Some((first, second)) => {
            assert!(first.items() - second.items() <= 1, "the first half has the odd item");
            assert_eq!(sound([&first, &second]), whole);
        }
        None => assert!(payload.items() < 2),
    }
}

fn keys(payload: &Payload, whole: &[FlatItem], choice: u8) {
    let modulus = usize::from(choice % 5) + 1;
    let mut seen = Vec::new();
    let parts = by_key(payload, |item| {
        let key = item.bytes.len() % modulus;
        seen.push(key);
        key
    });
    assert_eq!(seen.len(), whole.len(), "every item is asked for once");
    for (key, part) in &parts {
        let expected = whole.iter().zip(&seen).filter(|(_, seen)| *seen == key).map(|(item, _)| item);
        assert!(sound([part]).iter().eq(expected), "key {key}");
    }
    assert_eq!(parts.iter().map(|(_, part)| part.items()).sum::<u32>(), payload.items());
}

fn kept(payload: &Payload, choice: u8) {
    let (kept, dropped) = retain(payload, |item| item.bytes.len() & 3 != usize::from(choice & 3));
    assert_sound(&kept, Utf8Policy::Repair);
    assert_eq!(kept.items() + dropped, payload.items());
}

fn merged(payload: &Payload, whole: &[FlatItem]) {
    let twice = [payload.clone(), payload.clone()];
    let joined = merge::concat(&twice).expect("one signal");
    assert_eq!(sound([&joined]), [whole, whole].concat());
    let grouped = merge::regroup(&twice).expect("one signal");
    assert_eq!(sorted(sound([&grouped])), sorted([whole, whole].concat()), "the same items, in some order");
    assert_eq!(merge::regroup(std::slice::from_ref(&grouped)), Ok(grouped), "grouping once is enough");
}
