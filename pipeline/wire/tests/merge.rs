//! Joined payloads hold what their parts held.

mod flat;
mod support;

use flat::{STRUCTURED, assert_sound, filled, items, random, sorted};
use millrace_wire::merge::{MergeError, concat, regroup};
use millrace_wire::{Payload, Signal};
use std::collections::HashSet;

fn some(signal: Signal, seed: u64) -> Vec<Payload> {
    (0..4).map(|nth| random(signal, seed * 4 + nth)).collect()
}

#[test]
fn concatenation_keeps_every_item_in_order() {
    for signal in STRUCTURED {
        for seed in 0..100 {
            let parts = some(signal, seed);
            let whole = concat(&parts).expect("one signal");

            assert_sound(&whole);
            assert_eq!(
                items(&whole),
                parts.iter().flat_map(items).collect::<Vec<_>>(),
                "{signal}, seed {seed}"
            );
        }
    }
}

#[test]
fn a_single_filled_payload_is_not_copied() {
    let one = filled(Signal::Logs);
    let nothing = Payload::empty(Signal::Logs);

    let whole = concat(&[nothing.clone(), one.clone(), nothing]).expect("one signal");

    assert_eq!(whole.bytes().as_ptr(), one.bytes().as_ptr());
}

#[test]
fn regrouping_joins_equal_resources_and_scopes_and_loses_nothing() {
    for signal in STRUCTURED {
        for seed in 0..100 {
            // Given the same requests several times, between others
            let mut parts = some(signal, seed);
            parts.extend_from_within(..);
            parts.push(random(signal, 100_000 + seed));

            let whole = regroup(&parts).expect("one signal");

            // Then each item is there with its resource and scope
            assert_sound(&whole);
            let expected = parts.iter().flat_map(items).collect::<Vec<_>>();
            assert_eq!(sorted(items(&whole)), sorted(expected), "{signal}, seed {seed}");
        }
    }
}

#[test]
fn after_regrouping_no_scope_is_in_two_places() {
    for signal in STRUCTURED {
        for seed in 0..100 {
            // Given requests as prost writes them, so that what is equal has equal bytes
            let mut parts: Vec<_> = (0..3).map(|nth| random(signal, seed * 6 + nth * 2)).collect();
            parts.extend_from_within(..);

            let mut places: Vec<_> = items(&regroup(&parts).expect("one signal"))
                .into_iter()
                .map(|item| (item.resource, item.scope))
                .collect();

            places.dedup();
            let distinct: HashSet<_> = places.iter().collect();
            assert_eq!(distinct.len(), places.len(), "{signal}, seed {seed}");
        }
    }
}

#[test]
fn regrouping_keeps_the_order_of_first_appearance() {
    let (first, second) = (random(Signal::Traces, 2), random(Signal::Traces, 4));
    assert!(first.items() > 0 && second.items() > 0);

    let whole = regroup(&[first.clone(), second.clone(), first.clone()]).expect("one signal");

    let of = |payload: &Payload| items(payload).into_iter().map(|item| item.resource).collect::<Vec<_>>();
    let mut expected = [of(&first), of(&second)].concat();
    let mut found = of(&whole);
    expected.dedup();
    found.dedup();
    assert_eq!(found, expected);
}

#[test]
fn nothing_to_join_is_nothing_to_copy() {
    let one = filled(Signal::Metrics);
    let whole = regroup(std::slice::from_ref(&one)).expect("one signal");
    assert_eq!(whole.bytes().as_ptr(), one.bytes().as_ptr());
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let (logs, traces) = (Payload::empty(Signal::Logs), Payload::empty(Signal::Traces));
    assert_eq!(concat(&[]), Err(MergeError::Nothing));
    assert_eq!(
        regroup(&[logs.clone(), traces.clone()]),
        Err(MergeError::MixedSignals(Signal::Logs, Signal::Traces))
    );
    let profiles = flat::profiles();
    assert_eq!(concat(&[profiles.clone(), profiles.clone()]), Err(MergeError::Profiles));
    assert_eq!(concat(std::slice::from_ref(&profiles)), Ok(profiles));
}
