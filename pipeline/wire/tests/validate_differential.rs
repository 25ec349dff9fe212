//! The validating walk against prost: both accept the same bytes, count the same items and mean the same messages.

mod support;

use millrace_wire::{Policy, Signal, schema, validate};
use support::{Rng, judge};

const SIGNALS: [Signal; 3] = [Signal::Traces, Signal::Metrics, Signal::Logs];

#[test]
fn what_prost_writes_is_passed_on_as_it_came() {
    for seed in 0..400 {
        for signal in SIGNALS {
            let input = support::request_bytes(signal, &mut Rng::new(seed));
            assert!(judge(signal, &input, &format!("{signal}, seed {seed}")));
            let validated = validate(signal, input.into(), &Policy::default()).expect("checked above");
            assert!(!validated.normalised, "{signal}, seed {seed}");
        }
    }
}

#[test]
fn fields_out_of_order_and_unknown_fields_are_passed_on_as_they_came() {
    for seed in 0..400 {
        for signal in SIGNALS {
            let mut rng = Rng::new(seed);
            let table = schema::request(signal).expect("not profiles");
            let plain = support::request_bytes(signal, &mut rng);
            let input = support::shuffled(table, &plain, &mut rng);
            assert!(judge(signal, &input, &format!("{signal}, seed {seed}")));
            let validated = validate(signal, input.into(), &Policy::default()).expect("checked above");
            assert!(!validated.normalised, "{signal}, seed {seed}");
        }
    }
}

#[test]
fn odd_encodings_are_normalised_to_the_same_messages() {
    let mut normalised = 0;
    for seed in 0..400 {
        for signal in SIGNALS {
            let mut rng = Rng::new(seed);
            let table = schema::request(signal).expect("not profiles");
            let plain = support::request_bytes(signal, &mut rng);
            let input = support::odd(table, &plain, &mut rng);
            assert!(judge(signal, &input, &format!("{signal}, seed {seed}")));
            let validated = validate(signal, input.into(), &Policy::default()).expect("checked above");
            normalised += usize::from(validated.normalised);
        }
    }
    assert!(normalised > 800, "only {normalised} of 1200 odd requests needed normalising");
}

#[test]
fn damaged_requests_are_judged_as_prost_judges_them() {
    let mut accepted = 0;
    let mut refused = 0;
    for seed in 0..700 {
        for signal in SIGNALS {
            let mut rng = Rng::new(seed);
            let table = schema::request(signal).expect("not profiles");
            let plain = support::request_bytes(signal, &mut rng);
            let whole = if rng.one_in(2) { support::odd(table, &plain, &mut rng) } else { plain };
            for round in 0..4 {
                let input = damaged(&whole, &mut rng);
                let context = format!("{signal}, seed {seed}, round {round}");
                *(if judge(signal, &input, &context) { &mut accepted } else { &mut refused }) += 1;
            }
        }
    }
    assert!(
        accepted > 500 && refused > 500,
        "{accepted} accepted, {refused} refused: one side is not tested"
    );
}

/// One or two bytes changed, a piece cut off, out, or copied elsewhere.
fn damaged(whole: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    if bytes.is_empty() {
        return rng.bytes(3);
    }
    let at = rng.below(bytes.len());
    match rng.below(6) {
        0 => bytes[at] = rng.next() as u8,
        1 => bytes[at] ^= 1 << rng.below(8),
        2 => {
            bytes[at] = rng.next() as u8;
            let at = rng.below(bytes.len());
            bytes[at] = rng.next() as u8;
        }
        3 => bytes.truncate(at),
        4 => drop(bytes.drain(at..(at + 1 + rng.below(8)).min(whole.len()))),
        _ => {
            let from = rng.below(whole.len());
            let piece = &whole[from..(from + 1 + rng.below(20)).min(whole.len())];
            bytes.splice(at..at, piece.iter().copied());
        }
    }
    bytes
}

#[test]
fn random_bytes_are_judged_as_prost_judges_them() {
    for seed in 0..20_000 {
        let mut rng = Rng::new(seed);
        let len = rng.below(24);
        // Small values are more often tags and lengths that make sense.
        let input: Vec<u8> = (0..len).map(|_| rng.next() as u8 & *rng.pick(&[0x0f, 0x3f, 0xff])).collect();
        for signal in SIGNALS {
            judge(signal, &input, &format!("{signal}, seed {seed}"));
        }
    }
}

#[test]
fn every_field_number_and_wire_type_of_every_message_is_judged_as_prost_judges_it() {
    let payloads: &[(u64, &[u8])] = &[
        (0, &[1]),
        (0, &[2]),
        (0, &[0x80, 0]),
        (0, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        (0, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]),
        (1, &[1, 2, 3, 4, 5, 6, 7, 8]),
        (1, &[1, 2, 3]),
        (2, &[0]),
        (2, &[1, 0xff]),
        (2, &[1, b'a']),
        (2, &[2, 0xc3, 0xa9]),
        (2, &[2, 8, 1]),
        (2, &[8, 1, 2, 3, 4, 5, 6, 7, 8]),
        (2, &[16, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
        (2, &[9, 1]),
        (5, &[1, 2, 3, 4]),
        (5, &[1]),
        (6, &[]),
        (7, &[]),
        (4, &[]),
    ];
    let mut judged = 0;
    for signal in SIGNALS {
        for (message, path) in messages(schema::request(signal).expect("not profiles")) {
            for number in (0..=20).chain([31, 32, 33, 34, 42, 64, 65, 66, (1 << 29) - 1]) {
                let group = [(3, [(number << 3 | 4) as u8, 0])];
                let groups = group.iter().filter(|_| number < 16).map(|(wire, end)| (*wire, &end[..1]));
                for (wire, payload) in payloads.iter().copied().chain(groups) {
                    let mut field = Vec::new();
                    millrace_wire::writer::put_varint(&mut field, number << 3 | wire);
                    field.extend_from_slice(payload);
                    for times in [1, 2] {
                        let input = path.iter().rev().fold(field.repeat(times), |body, number| {
                            let mut out = Vec::new();
                            millrace_wire::writer::put_len_field(&mut out, *number, &body);
                            out
                        });
                        let context = format!("{message} field {number} wire {wire} {payload:?} x{times}");
                        judge(signal, &input, &context);
                        judged += 1;
                    }
                }
            }
        }
    }
    assert!(judged > 50_000, "only {judged} cases");
}

/// Every message that a request can hold, with the field numbers that lead to it.
fn messages(request: &'static schema::Message) -> Vec<(&'static str, Vec<u32>)> {
    let mut found: Vec<(&'static schema::Message, Vec<u32>)> = vec![(request, Vec::new())];
    let mut at = 0;
    while at < found.len() {
        let (message, path) = found[at].clone();
        for field in message.fields {
            let schema::Kind::Message(inner) = field.kind else { continue };
            if !found.iter().any(|(known, _)| std::ptr::eq(*known, inner)) {
                found.push((inner, [&path[..], &[field.number]].concat()));
            }
        }
        at += 1;
    }
    found.into_iter().map(|(message, path)| (message.name, path)).collect()
}
