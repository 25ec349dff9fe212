//! Destinations in trouble, and what they are spared: simulations in paused time.

mod support;

use millrace_config::Duration as Configured;
use millrace_delivery::{Accepted, Delivery, QueueConfig, RetryConfig, Sender};
use millrace_engine::ledger::Term;
use millrace_engine::status::Condition;
use millrace_engine::{Batch, BoxFuture, Failure, Fault, Reason};
use millrace_wire::Signal;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::process::{Trial, direct, queued};
use support::sender::{Go, Scripted, later, never};
use support::{Rng, batch, ids};
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

/// A destination with a mind of its own.
struct Simulated {
    started: Instant,
    rng: Mutex<Rng>,
    /// It is not there before that.
    up_after: Duration,
    /// What it can work on at once; more is refused.
    capacity: usize,
    /// One in so many attempts fails for no reason.
    fails_one_in: Option<u64>,
    latency: (Duration, Duration),
    under_way: AtomicUsize,
    most_under_way: AtomicUsize,
    /// When each attempt came.
    attempts: Mutex<Vec<Duration>>,
    refused: AtomicUsize,
    delivered: Mutex<Vec<u64>>,
}

impl Simulated {
    fn new(seed: u64) -> Self {
        Self {
            started: Instant::now(),
            rng: Mutex::new(Rng::new(seed)),
            up_after: Duration::ZERO,
            capacity: usize::MAX,
            fails_one_in: None,
            latency: (SECOND / 10, SECOND / 10),
            under_way: AtomicUsize::new(0),
            most_under_way: AtomicUsize::new(0),
            attempts: Mutex::default(),
            refused: AtomicUsize::new(0),
            delivered: Mutex::default(),
        }
    }

    /// A latency, and whether this attempt fails for no reason.
    fn fate(&self) -> (Duration, bool) {
        let mut rng = self.rng.lock().expect("no test panics here");
        let (least, most) = self.latency;
        let spread = u64::try_from((most - least).as_millis()).expect("short") + 1;
        let latency = least + Duration::from_millis(rng.below(spread));
        (latency, self.fails_one_in.is_some_and(|chances| rng.one_in(chances)))
    }

    async fn attempt(&self, batch: &Batch) -> Result<Accepted, Failure> {
        let at = self.started.elapsed();
        self.attempts.lock().expect("no test panics here").push(at);
        let (latency, fails) = self.fate();
        let under_way = self.under_way.fetch_add(1, SeqCst) + 1;
        self.most_under_way.fetch_max(under_way, SeqCst);
        let overloaded = under_way > self.capacity;
        if !overloaded {
            sleep(latency).await;
        }
        self.under_way.fetch_sub(1, SeqCst);
        if overloaded || fails || at < self.up_after {
            self.refused.fetch_add(1, SeqCst);
            return Err(Failure::transient(Fault::Destination, Reason::Throttled, "later"));
        }
        self.delivered.lock().expect("no test panics here").extend(ids(batch));
        Ok(Accepted::default())
    }

    /// The most attempts that came within any second from `from` on.
    fn most_in_a_second(&self, from: Duration) -> usize {
        let mut attempts = self.attempts.lock().expect("no test panics here").clone();
        attempts.retain(|at| *at >= from);
        attempts.sort_unstable();
        let within =
            |start: &Duration| attempts.iter().filter(|at| (*start..*start + SECOND).contains(at)).count();
        attempts.iter().map(within).max().unwrap_or(0)
    }

    fn delivered(&self) -> Vec<u64> {
        let mut delivered = self.delivered.lock().expect("no test panics here").clone();
        delivered.sort_unstable();
        delivered
    }
}

impl Sender for Simulated {
    fn send<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Accepted, Failure>> {
        Box::pin(self.attempt(batch))
    }
}

fn queue(consumers: usize, adaptive: bool) -> QueueConfig {
    QueueConfig {
        num_consumers: consumers,
        queue_size: 1_000_000,
        millrace_adaptive_concurrency: adaptive,
        ..QueueConfig::default()
    }
}

fn quick_retries() -> RetryConfig {
    RetryConfig {
        initial_interval: Configured::from_millis(100),
        max_interval: Configured::from_secs(1),
        ..RetryConfig::default()
    }
}

/// Sends so many requests of one item through a queue; how long that takes.
async fn run(destination: &Arc<Simulated>, queue: QueueConfig, requests: u64) -> Duration {
    let delivery = Delivery { retry: quick_retries(), ..queued(queue) };
    let trial = Trial::new(&delivery, Arc::clone(destination) as _);
    let started = Instant::now();
    for id in 0..requests {
        trial.hand_in(batch(id..id + 1)).await.expect("the queue has room");
    }
    while trial.account().held().items > 0 {
        sleep(SECOND / 100).await;
    }
    let took = started.elapsed();
    assert_eq!(trial.total(Term::Out), requests, "nothing is given up");
    assert_eq!(destination.delivered(), (0..requests).collect::<Vec<_>>(), "each is delivered once");
    trial.assert_settled();
    took
}

#[tokio::test(start_paused = true)]
async fn when_a_destination_comes_back_what_waits_does_not_come_at_once() {
    const CALLERS: u64 = 500;
    let destination = Arc::new(Simulated { up_after: SECOND * 20, ..Simulated::new(1) });
    // Without jitter all of them would come back together each time.
    let retry = RetryConfig { randomization_factor: 0.0, ..RetryConfig::default() };
    let trial = Arc::new(Trial::new(&Delivery { retry, ..direct() }, Arc::clone(&destination) as _));
    let mut callers = tokio::task::JoinSet::new();
    for id in 0..CALLERS {
        let trial = Arc::clone(&trial);
        callers.spawn(async move { trial.hand_in(batch(id..id + 1)).await });
    }
    while let Some(outcome) = callers.join_next().await {
        outcome.expect("no panic").expect("delivered at last: nothing is given up for being held back");
    }
    assert_eq!(destination.delivered(), (0..CALLERS).collect::<Vec<_>>());
    // At five seconds a hundred go that have been earned, and a hundred that are always there.
    let first = destination.most_in_a_second(SECOND);
    assert!((200..=210).contains(&first), "{first} at five seconds");
    let most = destination.most_in_a_second(SECOND * 20);
    assert!(most <= 60, "{most} of {CALLERS} within a second after it came back");
    assert!(trial.metric("otelcol_millrace_retry_held_back") > 200.0);
    assert!(trial.metric("otelcol_millrace_retry_attempts") >= CALLERS as f64);
    assert_eq!(trial.metric("otelcol_millrace_retry_waiting"), 0.0);
    trial.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn being_held_back_does_not_count_as_retrying() {
    // One retry would be given up after a second, and it is held back for longer.
    let retry = RetryConfig {
        initial_interval: Configured::from_millis(500),
        max_interval: Configured::from_millis(500),
        max_elapsed_time: Some(Configured::from_millis(1_200)),
        randomization_factor: 0.0,
        ..RetryConfig::default()
    };
    let sender = Scripted::new([Go::Fail(later()), Go::Fail(later())]);
    let trial = Trial::new(&Delivery { retry, ..direct() }, Arc::clone(&sender) as _);
    let now = Instant::now().into_std();
    while trial.context.shared.retries.book(now, 0.0).as_secs() < 10 {}
    let started = Instant::now();
    trial
        .hand_in(batch(0..1))
        .await
        .expect("the first retry is held back for ten seconds, and the second goes, too");
    assert!(started.elapsed() > SECOND * 10);
    assert_eq!(sender.attempts().len(), 3);
    assert_eq!(trial.metric("otelcol_millrace_retry_held_back"), 1.0);
}

#[tokio::test(start_paused = true)]
async fn draining_holds_nothing_back() {
    let sender = Scripted::new([Go::Fail(later()), Go::Take]);
    let delivery = Delivery { retry: quick_retries(), ..queued(QueueConfig::default()) };
    let trial = Trial::new(&delivery, Arc::clone(&sender) as _);
    let now = Instant::now().into_std();
    while trial.context.shared.retries.book(now, 0.0).as_secs() < 25 {}
    trial.hand_in(batch(0..1)).await.expect("the queue has it");
    sleep(SECOND).await;
    assert_eq!(sender.attempts().len(), 1, "the second is held back");
    assert!(trial.drain(SECOND).await < SECOND / 2);
    assert_eq!(trial.total(Term::Out), 1);
    trial.assert_settled();
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_can_do_less_is_refused_less_and_loses_little_time() {
    let took = async |adaptive| {
        let destination = Arc::new(Simulated { capacity: 4, ..Simulated::new(2) });
        let took = run(&destination, queue(20, adaptive), 400).await;
        (took.as_secs_f64(), destination.refused.load(SeqCst))
    };
    let (with, refused_with) = took(true).await;
    let (without, refused_without) = took(false).await;
    // 400 requests of a tenth of a second, four at a time, take ten seconds.
    assert!(with < 16.0 && with < without * 1.2, "{with} s with, {without} s without");
    assert!(refused_with * 2 < refused_without, "{refused_with} refusals with, {refused_without} without");
}

#[tokio::test(start_paused = true)]
async fn a_healthy_destination_is_always_sent_all_that_is_allowed() {
    let took = async |adaptive| {
        let latency = (SECOND / 100, SECOND);
        let destination = Arc::new(Simulated { latency, ..Simulated::new(3) });
        let took = run(&destination, queue(10, adaptive), 1_000).await;
        assert_eq!(destination.most_under_way.load(SeqCst), 10);
        took
    };
    assert_eq!(took(true).await, took(false).await, "whatever its latency is");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_now_and_then_costs_next_to_nothing() {
    let took = async |adaptive| {
        let destination = Arc::new(Simulated { fails_one_in: Some(100), ..Simulated::new(4) });
        run(&destination, queue(10, adaptive), 3_000).await.as_secs_f64()
    };
    let (with, without) = (took(true).await, took(false).await);
    assert!(with < without * 1.1, "{with} s with, {without} s without");
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_the_window_opens_again() {
    let destination = Arc::new(Simulated { up_after: SECOND * 60, ..Simulated::new(5) });
    let took = run(&destination, queue(10, true), 2_000).await;
    assert!(destination.most_in_a_second(SECOND * 10) > 90, "ten at a time, a tenth of a second each");
    // A minute of outage, and 2,000 requests at 100 a second.
    assert!(took < SECOND * 60 + SECOND * 24, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_window_is_among_the_metrics_and_the_status_says_what_is_wrong() {
    let sender = Scripted::new([Go::Fail(later())]);
    let delivery = Delivery { retry: quick_retries(), ..queued(queue(10, true)) };
    let trial = Trial::new(&delivery, Arc::clone(&sender) as _);
    let condition = || trial.context.status(Some(Signal::Logs)).event().condition;
    assert_eq!(trial.metric("otelcol_millrace_exporter_concurrency"), 10.0);
    trial.hand_in(batch(0..1)).await.expect("the queue has it");
    sleep(SECOND / 100).await;
    assert_eq!(trial.metric("otelcol_millrace_exporter_concurrency"), 8.0);
    assert_eq!(trial.metric("otelcol_millrace_retry_waiting"), 1.0);
    assert_eq!(condition(), Condition::RecoverableError);
    sleep(SECOND).await;
    assert_eq!((trial.total(Term::Out), condition()), (1, Condition::Ok));

    let off = Trial::new(&queued(queue(10, false)), Scripted::new([]));
    assert_eq!(off.metric("otelcol_millrace_exporter_concurrency"), 0.0, "there is none");
}

#[tokio::test(start_paused = true)]
async fn status_codes_can_be_made_exceptions() {
    let codes = |yaml: &str| {
        let mut parsed = millrace_config::parse_str("test.yaml", yaml, &|_| None);
        let node = parsed.node.take().expect("the test's YAML is in form");
        let mut diags = millrace_config::Diagnostics::new();
        let config = millrace_config::decode::<RetryConfig>(&node, "retry_on_failure", &mut diags);
        config.ok_or_else(|| diags.render(&parsed.sources))
    };
    let config =
        codes("{millrace_status_codes: {retry: [500, UNIMPLEMENTED], give_up: [503]}}").expect("accepted");
    let failure = |status| never().with_http_status(status);
    let sender = Scripted::new([Go::Fail(failure(500)), Go::Fail(never().with_grpc_code(12)), Go::Take]);
    let trial = Trial::new(&Delivery { retry: config.clone(), ..direct() }, Arc::clone(&sender) as _);
    trial.hand_in(batch(0..1)).await.expect("both are tried again");
    assert_eq!(sender.attempts().len(), 3);

    let sender = Scripted::new([Go::Fail(later().with_http_status(503))]);
    let trial = Trial::new(&Delivery { retry: config, ..direct() }, Arc::clone(&sender) as _);
    let refused = trial.hand_in(batch(0..1)).await.expect_err("given up at once");
    assert_eq!((refused.is_transient(), sender.attempts().len()), (false, 1));

    for (yaml, problem) in [
        ("{millrace_status_codes: {retry: [200]}}", "`200` is no status of a refusal"),
        ("{millrace_status_codes: {retry: [BUSY]}}", "`BUSY` is not a gRPC code"),
        ("{millrace_status_codes: {retry: [429], give_up: [429]}}", "`429` is under `give_up`, too"),
        ("{status_codes: {retry: [429]}}", "unknown key `status_codes`"),
    ] {
        let problems = codes(yaml).expect_err("it is refused");
        assert!(problems.contains(problem), "{yaml}: {problems}");
    }
}
