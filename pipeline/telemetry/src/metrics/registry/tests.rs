use super::*;

static ACCEPTED: Def = Def::counter("accepted", "", "");
static SIZE: Def = Def::gauge("size", "", "");
static DETAIL: Def = Def::counter("detail", "", "").at(Level::Detailed);
static UPTIME: Def = Def::counter_f64("uptime", "", "s");

fn numbers(registry: &Registry, def: &Def) -> Vec<(Labels, f64)> {
    let families = registry.snapshot();
    let series = families.into_iter().filter(|family| family.def == def).flat_map(|family| family.series);
    let mut numbers: Vec<_> = series
        .map(|series| match series.value {
            Value::Number(number) => (series.labels, number),
            _ => panic!("not a number"),
        })
        .collect();
    numbers.sort_by(|a, b| a.0.cmp(&b.0));
    numbers
}

#[test]
fn the_same_definition_and_labels_are_the_same_series() {
    let registry = Registry::new(Level::Normal);
    let labels = Labels::from([("receiver", "otlp")]);

    registry.counter(&ACCEPTED, &labels).add(2);
    registry.clone().counter(&ACCEPTED, &labels).add(3);

    assert_eq!(numbers(&registry, &ACCEPTED), [(labels, 5.0)]);
}

#[test]
fn a_series_appears_with_its_first_add_even_of_nothing() {
    let registry = Registry::new(Level::Normal);
    let counter = registry.counter(&ACCEPTED, &Labels::new());
    assert!(registry.snapshot().is_empty());

    counter.add(0);

    assert_eq!(numbers(&registry, &ACCEPTED), [(Labels::new(), 0.0)]);
}

#[test]
fn metrics_above_the_level_are_not_collected() {
    let registry = Registry::new(Level::Normal);
    let detail = registry.counter(&DETAIL, &Labels::new());
    detail.add(1);
    assert!(!detail.is_active());
    assert!(registry.snapshot().is_empty());

    let off = Registry::new(Level::None);
    assert!(!off.counter(&ACCEPTED, &Labels::new()).is_active());
    let _kept = off.observe(&SIZE, &Labels::new(), || 1.0);
    assert!(off.snapshot().is_empty());
}

#[test]
fn series_over_the_limit_are_counted_in_one() {
    let registry = Registry::build(Level::Normal, Resource::default(), Vec::new(), 3);
    for tenant in 0..10 {
        registry.counter(&ACCEPTED, &Labels::new().with("tenant", tenant.to_string())).add(1);
    }
    registry.counter(&ACCEPTED, &Labels::from([("tenant", "1")])).add(1);

    let expected = [
        (Labels::from([(OVERFLOW_LABEL, "true")]), 8.0),
        (Labels::from([("tenant", "0")]), 1.0),
        (Labels::from([("tenant", "1")]), 2.0),
    ];
    assert_eq!(numbers(&registry, &ACCEPTED), expected);
}

#[test]
fn an_observed_series_lives_as_long_as_its_registration() {
    let registry = Registry::new(Level::Normal);
    let first = registry.observe(&SIZE, &Labels::new(), || 1.0);
    let second = registry.observe(&SIZE, &Labels::new(), || 2.0);
    assert_eq!(numbers(&registry, &SIZE), [(Labels::new(), 2.0)]);

    drop(second);
    assert_eq!(numbers(&registry, &SIZE), [(Labels::new(), 1.0)]);

    drop(first);
    assert!(registry.snapshot().is_empty());
}

#[test]
fn observed_counters_of_the_same_series_are_summed_and_absent_ones_left_out() {
    let registry = Registry::new(Level::Normal);
    let _one = registry.observe(&UPTIME, &Labels::new(), || 1.5);
    let _two = registry.observe(&UPTIME, &Labels::new(), || 2.0);
    let _absent = registry.observe(&UPTIME, &Labels::new(), || f64::NAN);
    assert_eq!(numbers(&registry, &UPTIME), [(Labels::new(), 3.5)]);
}

#[test]
fn an_observer_may_use_the_registry() {
    let registry = Registry::new(Level::Normal);
    let counter_registry = Registry::clone(&registry);
    let kept = registry.observe(&SIZE, &Labels::new(), move || {
        counter_registry.counter(&ACCEPTED, &Labels::new()).value() as f64
    });
    registry.counter(&ACCEPTED, &Labels::new()).add(7);
    assert_eq!(numbers(&registry, &SIZE), [(Labels::new(), 7.0)]);
    drop(kept);
}

#[test]
fn a_removed_series_is_gone_and_starts_again_from_nothing() {
    let registry = Registry::new(Level::Normal);
    let labels = Labels::from([("endpoint", "a")]);
    let old = registry.counter(&ACCEPTED, &labels);
    old.add(5);
    registry.remove(&ACCEPTED, &labels);
    old.add(1);
    assert!(registry.snapshot().is_empty());
    registry.counter(&ACCEPTED, &labels).add(1);
    assert_eq!(numbers(&registry, &ACCEPTED), [(labels, 1.0)]);
}

#[test]
fn concurrent_registration_and_adding_lose_nothing() {
    let registry = Registry::new(Level::Normal);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for round in 0..1_000_u64 {
                    let labels = Labels::new().with("shard", (round % 7).to_string());
                    registry.counter(&ACCEPTED, &labels).add(round);
                }
            });
        }
    });
    let total: f64 = numbers(&registry, &ACCEPTED).iter().map(|(_, value)| value).sum();
    assert_eq!(total, 8.0 * (0..1_000).sum::<u64>() as f64);
}

fn viewed(yaml: &str) -> Registry {
    let views: Vec<View> = serde_json::from_str(yaml).expect("views");
    Registry::build(Level::Detailed, Resource::default(), views, 100)
}

#[test]
fn views_drop_rename_and_leave_out_labels() {
    let registry = viewed(
        r#"[{"selector": {"instrument_name": "det*"}, "stream": {"aggregation": {"drop": {}}}},
            {"selector": {"instrument_name": "accepted"},
             "stream": {"name": "taken", "attribute_keys": {"excluded": ["transport"]}}},
            {"selector": {"instrument_type": "observable_gauge", "unit": ""},
             "stream": {"description": "How large."}}]"#,
    );
    assert!(!registry.counter(&DETAIL, &Labels::new()).is_active());
    for (transport, count) in [("grpc", 1), ("http", 2)] {
        let labels = Labels::from([("receiver", "otlp"), ("transport", transport)]);
        registry.counter(&ACCEPTED, &labels).add(count);
    }
    let _kept = registry.observe(&SIZE, &Labels::new(), || 7.0);
    let families = registry.snapshot();
    let names: Vec<_> = families.iter().map(|family| (&*family.name, &*family.help)).collect();
    assert_eq!(names, [("taken", ""), ("size", "How large.")]);
    let labels = Labels::from([("receiver", "otlp")]);
    assert_eq!(families[0].series, [SeriesSnapshot { labels, value: Value::Number(3.0) }]);
}

#[test]
fn a_metric_that_several_views_select_is_shown_once_for_each() {
    static TIMES: Def = Def::histogram("times", "", "s").with_bounds(&[1.0, 10.0]);
    let registry = viewed(
        r#"[{"selector": {"instrument_name": "times"},
             "stream": {"aggregation": {"explicit_bucket_histogram": {"boundaries": [5]}}}},
            {"selector": {"instrument_name": "times"}, "stream": {"name": "times.total",
             "aggregation": {"sum": {}}}},
            {"selector": {"instrument_name": "times"}, "stream": {"name": "times.exponential",
             "aggregation": {"base2_exponential_bucket_histogram": {"max_size": 4, "record_min_max": true}}}}]"#,
    );
    let times = registry.histogram(&TIMES, &Labels::new());
    [2.0, 4.0, 8.0].into_iter().for_each(|value| times.record(value));
    let families = registry.snapshot();
    let shown: Vec<_> =
        families.iter().map(|family| (&*family.name, family.kind, &family.series[0].value)).collect();
    let [(_, _, explicit), (_, _, sum), (_, _, exponential)] = &shown[..] else { panic!("{shown:?}") };
    let expected =
        Value::Histogram { bounds: [5.0].into(), counts: vec![2, 1], sum: 14.0, min: None, max: None };
    assert_eq!(**explicit, expected);
    assert_eq!(**sum, Value::Number(14.0));
    let Value::Exponential(exponential) = exponential else { panic!("{exponential:?}") };
    assert_eq!((exponential.count, exponential.max, exponential.scale), (3, Some(8.0), 0));
    assert_eq!(shown[1].1, Kind::CounterF64);
}
