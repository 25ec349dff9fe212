//! Detectors that fail.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_detector_that_fails_is_asked_again_until_its_time_is_up() {
    let began = tokio::time::Instant::now();
    let error = detect("{timeout: 10s}", variables(&[("OTEL_RESOURCE_ATTRIBUTES", "a")])).await;
    assert!(error.expect_err("wrong").contains("where it should have name=value"));
    assert_eq!(began.elapsed(), Duration::from_secs(10));
    let began = tokio::time::Instant::now();
    let yaml = "{retry: {max_elapsed_time: 1m, randomization_factor: 0}}";
    assert!(detect(yaml, variables(&[("OTEL_RESOURCE_ATTRIBUTES", "a")])).await.is_err());
    assert_eq!(began.elapsed(), Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn waits_between_attempts_neither_overflow_nor_vanish() {
    let wrong = || variables(&[("OTEL_RESOURCE_ATTRIBUTES", "a")]);
    let yaml = "{timeout: 100s, retry: {multiplier: 1.0e+300, max_interval: 40s, randomization_factor: 0}}";
    assert!(detect(yaml, wrong()).await.is_err());
    let attempts = context();
    let config = config("{timeout: 1s, retry: {initial_interval: 0s}}").expect("it is right");
    let asked = Arc::new(Mutex::new(0));
    let count = Arc::clone(&asked);
    let surroundings = Surroundings::at(Path::new("/nonexistent"), move |_| {
        *count.lock().expect("nothing panics") += 1;
        Some("a".to_owned())
    });
    assert!(Detection::new(&config, &attempts, surroundings).run().await.is_err());
    let asked = *asked.lock().expect("nothing panics");
    assert!((2..100).contains(&asked), "{asked}");
}
