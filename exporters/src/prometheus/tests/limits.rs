//! What series may take.

use super::*;

#[tokio::test]
async fn series_beyond_the_limit_are_refused_and_those_within_go_on() {
    let context = context("prometheus");
    let exporter = started(&context, json!({"max_series": 2}));
    assert_eq!(send(&exporter, &gauge("a", &json!({"k": "1"}), 1.0)), 0);
    assert_eq!(send(&exporter, &gauge("a", &json!({"k": "2"}), 1.0)), 0);
    assert_eq!(send(&exporter, &gauge("a", &json!({"k": "3"}), 1.0)), 1);
    assert_eq!(send(&exporter, &gauge("a", &json!({"k": "1"}), 7.0)), 0);
    let text = text(&exporter);
    assert!(text.contains("k=\"1\"") && text.contains("} 7\n") && !text.contains("k=\"3\""), "{text}");
    assert_eq!(refused(&context, "too_many_series"), 1.0);
    assert!(
        context.shared.registry.render(None).1.contains("prometheus_series{exporter=\"prometheus\"} 2\n")
    );
}

#[tokio::test]
async fn a_series_of_more_labels_than_there_may_be_is_refused_before_it_is_named() {
    let context = context("prometheus");
    let exporter = started(&context, json!({}));
    let labels = |count: usize| {
        let labels = (0..count).map(|n| (format!("k{n}"), json!("v"))).collect::<serde_json::Map<_, _>>();
        Value::Object(labels)
    };
    assert_eq!(send(&exporter, &gauge("a", &labels(1000), 1.0)), 0);
    assert_eq!(send(&exporter, &gauge("a", &labels(1001), 1.0)), 1);
    assert_eq!(refused(&context, "too_many_labels"), 1.0);
}

#[tokio::test]
async fn series_are_charged_to_the_budget_and_refused_when_it_is_used_up() {
    let context = context("prometheus");
    let exporter = started(&context, json!({"max_series_mib": 1}));
    assert_eq!(context.shared.intake.used(), 0);
    let long = "v".repeat(4096);
    let mut sent = 0;
    while send(&exporter, &gauge("a", &json!({"k": format!("{long}{sent}")}), 1.0)) == 0 {
        sent += 1;
        assert!(sent < 1000, "the limit holds");
    }
    assert!(sent > 100, "{sent}");
    assert_eq!(refused(&context, "too_many_bytes"), 1.0);
    assert_eq!(context.shared.intake.used(), 1 << 20);

    let _taken =
        context.shared.intake.try_charge(context.shared.intake.limit() - (1 << 20)).expect("the rest");
    let other = started(&context, json!({}));
    assert_eq!(send(&other, &gauge("a", &json!({}), 1.0)), 1);
    assert_eq!(refused(&context, "over_budget"), 1.0);
    exporter.close().await;
    drop(exporter);
    assert_eq!(send(&other, &gauge("a", &json!({}), 1.0)), 0);
}

/// A histogram whose only data point has so many bounds.
fn histogram(bounds: u32, time_ns: u64) -> Value {
    let counts: Vec<_> = (0..=bounds).map(|_| "0").collect();
    one(&json!({"name": "h", "histogram": {"aggregationTemporality": 2, "dataPoints": [{
        "timeUnixNano": time_ns.to_string(), "count": "0", "bucketCounts": counts,
        "explicitBounds": (0..bounds).collect::<Vec<_>>()}]}}))
}

#[tokio::test]
async fn a_series_that_grows_beyond_what_there_is_room_for_is_given_up() {
    let context = context("prometheus");
    let exporter = started(&context, json!({"max_series_mib": 1}));
    assert_eq!(send(&exporter, &histogram(10, 1)), 0);
    assert_eq!(send(&exporter, &histogram(100_000, 2)), 1);
    assert_eq!(refused(&context, "too_many_bytes"), 1.0);
    assert_eq!((exporter.intake.store.bytes(), context.shared.intake.used()), (0, 0));
    assert_eq!(send(&exporter, &histogram(20, 3)), 0);
    let taken = context.shared.intake.limit() - context.shared.intake.used();
    let taken = context.shared.intake.try_charge(taken).expect("the rest");
    assert_eq!(send(&exporter, &histogram(30_000, 4)), 1);
    assert_eq!(refused(&context, "over_budget"), 1.0);
    drop(taken);
    assert_eq!((exporter.intake.store.series(), context.shared.intake.used()), (0, 0));
}

#[tokio::test]
async fn what_metrics_are_called_and_described_by_is_charged_like_their_series() {
    let context = context("prometheus");
    let exporter = started(
        &context,
        json!({"max_series_mib": 1, "metric_expiration": "10s", "without_scope_info": true}),
    );
    let long = "d".repeat(64 << 10);
    let described = |name: &str| {
        let point = json!({"timeUnixNano": "1", "asInt": "1"});
        one(&json!({"name": name, "description": long, "gauge": {"dataPoints": [point]}}))
    };
    let start = Instant::now();
    let taken = (0..100).filter(|n| send_at(&exporter, &described(&format!("m{n}")), start) == 0).count();
    assert!((10..=16).contains(&taken), "{taken}");
    exporter.intake.store.sweep(start + Duration::from_secs(11));
    assert_eq!((exporter.intake.store.bytes(), context.shared.intake.used()), (0, 0));
}

#[tokio::test]
async fn a_histogram_of_more_buckets_than_there_are_is_refused_before_they_are_read() {
    let context = context("prometheus");
    let exporter = started(&context, json!({}));
    let exponential = |buckets: usize| {
        one(&json!({"name": "e", "exponentialHistogram": {"aggregationTemporality": 2, "dataPoints": [{
            "timeUnixNano": "1", "count": "0", "scale": 8,
            "positive": {"offset": 0, "bucketCounts": vec!["0"; buckets]},
            "negative": {"offset": 0, "bucketCounts": ["0"]}}]}}))
    };
    assert_eq!(send(&exporter, &exponential(65_535)), 0);
    assert_eq!(send(&exporter, &exponential(65_536)), 1);
    assert_eq!(refused(&context, "unsupported"), 1.0);
}

#[tokio::test]
async fn a_metric_that_is_one_piece_is_charged_and_cut_off_where_there_is_no_room_for_it() {
    let context = context("prometheus");
    let exporter = started(&context, json!({}));
    let long = "v".repeat(2000);
    for n in 0..3000 {
        assert_eq!(send(&exporter, &gauge("a", &json!({"k": format!("{long}{n}")}), 1.0)), 0);
    }
    let whole = scrape(&exporter, PROTOBUF);
    assert!(whole.len() > 6_000_000, "{}", whole.len());
    let budgets = [&context.shared.intake, &context.shared.work];
    // Room for the snapshot and for what every scrape takes, and not for twice the metric.
    let taken = budgets.map(|budget| {
        let free = budget.limit() - budget.used();
        budget.try_charge(free - free.min(8 << 20)).expect("it is free")
    });
    assert!(scrape(&exporter, PLAIN).len() > 6_000_000, "text is written piece by piece");
    let (head, said) = ask(&exporter, "/metrics", &format!("Accept: {PROTOBUF}\r\n"));
    assert!(head.starts_with("http/1.0 503"), "{head}");
    assert_eq!(String::from_utf8_lossy(&said), "the memory budget is used up; try again later\n");
    drop(taken);
    assert_eq!(scrape(&exporter, PROTOBUF), whole);
}
