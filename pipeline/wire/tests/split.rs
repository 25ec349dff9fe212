//! Divided payloads hold, together, what the whole held.

mod flat;
mod support;

use flat::{FlatItem, STRUCTURED, assert_sound, filled, items, random};
use millrace_wire::split::{
    Limit, MAX_REPEATED_BASE_BYTES, MAX_REPEATED_FACTOR, by_key, by_size, halve, retain,
};
use millrace_wire::{Payload, Signal, merge, view};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message;
use std::num::{NonZeroU32, NonZeroUsize};

fn big(signal: Signal, seed: u64) -> Payload {
    let parts: Vec<_> = (0..3).map(|nth| random(signal, seed * 3 + nth)).collect();
    merge::concat(&parts).expect("one signal")
}

fn limit(max_items: u32, max_bytes: usize) -> Limit {
    Limit { max_items: NonZeroU32::new(max_items), max_bytes: NonZeroUsize::new(max_bytes) }
}

fn rejoined(parts: &[Payload]) -> Vec<FlatItem> {
    parts.iter().flat_map(items).collect()
}

#[test]
fn parts_by_items_are_exactly_full_and_keep_the_order() {
    for signal in STRUCTURED {
        for seed in 0..60 {
            let whole = big(signal, seed);
            for max_items in 1..5 {
                let parts = by_size(&whole, limit(max_items, 0));

                parts.iter().for_each(assert_sound);
                assert_eq!(rejoined(&parts), items(&whole), "{signal}, seed {seed}");
                let counts: Vec<_> = parts.iter().map(Payload::items).filter(|&items| items > 0).collect();
                if let Some((last, full)) = counts.split_last() {
                    assert!(
                        full.iter().all(|&items| items == max_items),
                        "{counts:?}, {signal}, seed {seed}"
                    );
                    assert!(*last <= max_items);
                }
            }
        }
    }
}

#[test]
fn parts_by_bytes_exceed_the_limit_only_for_a_single_item() {
    for signal in STRUCTURED {
        for seed in 0..60 {
            let whole = big(signal, seed);
            for max_bytes in [1, 300, 1000, 3000, 10_000] {
                let parts = by_size(&whole, limit(0, max_bytes));

                parts.iter().for_each(assert_sound);
                assert_eq!(rejoined(&parts), items(&whole), "{signal}, seed {seed}");
                for part in &parts {
                    assert!(
                        part.len() <= max_bytes || part.items() <= 1,
                        "{} B, {} items, limit {max_bytes}, {signal}, seed {seed}",
                        part.len(),
                        part.items()
                    );
                }
            }
        }
    }
}

#[test]
fn parts_by_bytes_are_filled_to_the_last_item_that_fits() {
    // Given log records of 122 bytes each, with their tags, under one resource
    let mut request = flat::logs(&Payload::empty(Signal::Logs));
    request.resource_logs.push(Default::default());
    request.resource_logs[0].schema_url = "x".repeat(50);
    request.resource_logs[0].scope_logs.push(Default::default());
    let record = LogRecord { severity_text: "y".repeat(118), ..Default::default() };
    request.resource_logs[0].scope_logs[0].log_records = vec![record; 200];
    let whole = flat::payload(Signal::Logs, request.encode_to_vec());

    for max_bytes in 300..1500 {
        let parts = by_size(&whole, limit(0, max_bytes));

        let (last, full) = parts.split_last().expect("there are parts");
        assert!(full.iter().all(|part| part.len() <= max_bytes && part.len() + 122 + 3 > max_bytes));
        assert!(last.len() <= max_bytes);
    }
}

#[test]
fn what_fits_is_not_copied() {
    let whole = filled(Signal::Traces);
    let parts = by_size(&whole, limit(whole.items(), whole.len()));
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].bytes().as_ptr(), whole.bytes().as_ptr());
}

#[test]
fn runs_of_whole_resources_are_slices_of_the_input() {
    // Given three requests of one resource each, laid end to end
    let one = filled(Signal::Logs);
    let whole = merge::concat(&[one.clone(), one.clone(), one.clone()]).expect("one signal");

    let parts = by_size(&whole, limit(one.items(), 0));

    let slices = parts.iter().filter(|part| whole.bytes().as_ptr_range().contains(&part.bytes().as_ptr()));
    assert_eq!((parts.len(), slices.count()), (3, 3));
}

#[test]
fn headers_that_dwarf_their_items_do_not_blow_up_the_data() {
    // Given a resource of 100 kB over a thousand log records of a few bytes
    let mut request = flat::logs(&Payload::empty(Signal::Logs));
    request.resource_logs.push(Default::default());
    request.resource_logs[0].schema_url = "x".repeat(100_000);
    request.resource_logs[0].scope_logs.push(Default::default());
    request.resource_logs[0].scope_logs[0].log_records = vec![Default::default(); 1000];
    let whole = flat::payload(Signal::Logs, request.encode_to_vec());

    for limit in [limit(1, 0), limit(0, 100_100), limit(0, 10)] {
        let parts = by_size(&whole, limit);

        let total: usize = parts.iter().map(Payload::len).sum();
        assert!(parts.len() > 1);
        assert!(total <= whole.len() * (MAX_REPEATED_FACTOR + 1) + MAX_REPEATED_BASE_BYTES, "{total} bytes");
        assert_eq!(rejoined(&parts), items(&whole));
    }
}

#[test]
fn halving_again_and_again_ends_at_single_items() {
    fn pieces(payload: &Payload, depth: u32) -> Vec<Payload> {
        assert!(depth < 32);
        match halve(payload) {
            Some((first, second)) => {
                assert!(first.items() - second.items() <= 1);
                [pieces(&first, depth + 1), pieces(&second, depth + 1)].concat()
            }
            None => vec![payload.clone()],
        }
    }
    for signal in STRUCTURED {
        for seed in 0..60 {
            let whole = big(signal, seed);
            let pieces = pieces(&whole, 0);
            assert!(pieces.iter().all(|piece| piece.items() <= 1));
            assert_eq!(rejoined(&pieces), items(&whole), "{signal}, seed {seed}");
        }
    }
    assert_eq!(halve(&Payload::empty(Signal::Traces)), None);
}

#[test]
fn keys_gather_their_items_in_order_with_all_that_encloses_them() {
    for signal in STRUCTURED {
        for seed in 0..60 {
            let whole = big(signal, seed);
            let bucket = |item: &[u8]| item.iter().fold(0u32, |sum, &byte| sum + u32::from(byte)) % 3;

            let parts = by_key(&whole, |item| bucket(item.bytes));

            let flat = items(&whole);
            let mut nth = 0;
            let mut wire_buckets = Vec::new();
            let _ = retain(&whole, |item| {
                wire_buckets.push(bucket(item.bytes));
                nth += 1;
                true
            });
            assert_eq!(nth, flat.len());
            let mut order = wire_buckets.clone();
            let mut seen = Vec::new();
            order.retain(|key| {
                !seen.contains(key) && {
                    seen.push(*key);
                    true
                }
            });
            assert_eq!(parts.iter().map(|(key, _)| *key).collect::<Vec<_>>(), order);
            for (key, part) in &parts {
                assert_sound(part);
                let expected = flat.iter().zip(&wire_buckets).filter(|(_, bucket)| *bucket == key);
                let expected: Vec<_> = expected.map(|(item, _)| item.clone()).collect();
                assert_eq!(items(part), expected, "{signal}, seed {seed}, key {key}");
            }
        }
    }
}

#[test]
fn a_key_sees_the_item_and_its_surroundings() {
    let whole = filled(Signal::Metrics);
    let mut seen = Vec::new();
    by_key(&whole, |item| {
        let metric = item.metric.expect("data points have metrics");
        seen.push((
            view::Resource::over(item.resource).attributes().len(),
            view::Scope::over(item.scope).name().to_str_lossy().into_owned(),
            view::Metric::over(metric.bytes).name().to_str_lossy().into_owned(),
            metric.kind,
        ));
        0
    });
    let mut expected = Vec::new();
    for resource in flat::metrics(&whole).resource_metrics {
        for scope in &resource.scope_metrics {
            for metric in &scope.metrics {
                use millrace_wire::split::MetricKind::*;
                use opentelemetry_proto::tonic::metrics::v1::metric::Data;
                let (kind, points) = match &metric.data {
                    Some(Data::Gauge(data)) => (Gauge, data.data_points.len()),
                    Some(Data::Sum(data)) => (Sum, data.data_points.len()),
                    Some(Data::Histogram(data)) => (Histogram, data.data_points.len()),
                    Some(Data::ExponentialHistogram(data)) => (ExponentialHistogram, data.data_points.len()),
                    Some(Data::Summary(data)) => (Summary, data.data_points.len()),
                    None => continue,
                };
                let attributes = resource.resource.as_ref().map_or(0, |resource| resource.attributes.len());
                let name = scope.scope.as_ref().map_or("", |scope| &scope.name).to_owned();
                expected.extend(vec![(attributes, name, metric.name.clone(), kind); points]);
            }
        }
    }
    assert!(!expected.is_empty());
    assert_eq!(seen, expected);
}

#[test]
fn one_key_for_all_is_the_payload_itself() {
    let whole = filled(Signal::Traces);
    let parts = by_key(&whole, |_| [7u8; 16]);
    assert_eq!(parts.len(), 1);
    assert_eq!(parts[0].1.bytes().as_ptr(), whole.bytes().as_ptr());
}

#[test]
fn retaining_drops_what_it_is_told_to_and_emptied_containers() {
    for signal in STRUCTURED {
        for seed in 0..60 {
            let whole = big(signal, seed);
            let keep = |item: &[u8]| !item.len().is_multiple_of(3);
            let mut choices = Vec::new();

            let (kept, dropped) = retain(&whole, |item| {
                choices.push(keep(item.bytes));
                keep(item.bytes)
            });

            assert_sound(&kept);
            assert_eq!(kept.items() + dropped, whole.items());
            let flat = items(&whole);
            let expected = flat.iter().zip(&choices).filter(|(_, keep)| **keep).map(|(item, _)| item.clone());
            assert_eq!(items(&kept), expected.collect::<Vec<_>>(), "{signal}, seed {seed}");
        }
    }
}

#[test]
fn retaining_everything_copies_nothing_and_retaining_nothing_leaves_nothing() {
    let whole = filled(Signal::Metrics);
    let (all, dropped) = retain(&whole, |_| true);
    assert_eq!((all.bytes().as_ptr(), dropped), (whole.bytes().as_ptr(), 0));

    let one = by_size(&whole, limit(1, 0)).into_iter().find(|part| part.items() == 1).expect("it has items");
    let (none, dropped) = retain(&one, |_| false);
    assert_eq!((none.items(), dropped), (0, 1));
}

#[test]
fn profiles_are_one_opaque_item() {
    let whole = flat::profiles();
    assert_eq!(by_size(&whole, limit(1, 1)), std::slice::from_ref(&whole));
    assert_eq!(halve(&whole), None);
    assert_eq!(by_key(&whole, |item| item.bytes.len()), [(whole.len(), whole.clone())]);
    assert_eq!(retain(&whole, |_| false), (Payload::empty(Signal::Profiles), whole.items()));
}
