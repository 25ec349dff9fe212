//! How well the data plane scales: the receive path without sockets, on one thread and on two, turn by turn.
//!
//! Each task does what the OTLP receiver does with a body: charges the budget, validates, enters it into the ledger and
//! the metrics, and submits it through a `memory_limiter` to an exporter that counts. See `--help`.

use bytes::Bytes;
use clap::Parser;
use millrace_bench::corpus::Template;
use millrace_bench::run;
use millrace_config::{ComponentId, Optional};
use millrace_delivery::{Accepted, Delivery, Exporter, QueueConfig, RetryConfig, Sender};
use millrace_engine::component::{Context, ProcessorConfig, Shared};
use millrace_engine::entry::Route;
use millrace_engine::ledger::Term;
use millrace_engine::{
    Account, Batch, BoxFuture, Budget, Cost, Entry, Failure, Health, Lanes, Metadata, Origin, Piece, Tasks,
    Until,
};
use millrace_processors::memory_limiter;
use millrace_telemetry::catalogue::receiver as catalogue;
use millrace_telemetry::metrics::{Level, Registry};
use millrace_telemetry::{Counter, Labels};
use millrace_wire::Signal;
use millrace_wire::validate::{Policy, validate};
use rustix::time::{ClockId, clock_gettime};
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Distinct requests of each task, so that the caches of the processor do not hold them all.
const TEMPLATES: u64 = 8;
/// How many requests a task takes before it lets others run. Giving way costs a look at the runtime's I/O, which is not
/// what is measured.
const TURN: usize = 64;
/// What requests in flight may hold; never reached here.
const BUDGET_BYTES: u64 = 1 << 30;

/// Measures the data plane, without sockets, on one thread and on two (or as told), turn by turn.
///
/// Two ratios are printed. That of the rates is what a user sees, and suffers from whatever else the machine does. That
/// of the CPU times per item leaves out waiting for a core, and shows what threads cost each other (shared cache lines,
/// locks, memory bandwidth) as far as they ran at the same time. Rounds in which something else had the cores are left
/// out of the second verdict.
#[derive(Debug, Parser)]
#[command(name = "millrace-dataplane", version, max_term_width = 100)]
struct Args {
    /// Spans, data points or log records per request.
    #[arg(long, default_value_t = 100)]
    items: usize,

    /// The kind of telemetry.
    #[arg(long, default_value = "traces", value_parser = parse_signal)]
    signal: Signal,

    /// Worker threads to compare with one.
    #[arg(long, default_value_t = 2)]
    threads: usize,

    /// Tasks per worker thread.
    #[arg(long, default_value_t = 4)]
    tasks: usize,

    /// How often each case is measured.
    #[arg(long, default_value_t = 12)]
    rounds: usize,

    /// How long each time.
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,

    /// Put a memory queue in front of the exporter.
    #[arg(long)]
    queue: bool,

    /// Run each request as a task of its own.
    #[arg(long)]
    spawn: bool,

    /// Only validate, and share nothing but the machine: the most that it lets threads scale.
    #[arg(long)]
    ceiling: bool,
}

fn parse_signal(text: &str) -> Result<Signal, String> {
    let signals = [Signal::Traces, Signal::Metrics, Signal::Logs];
    signals.into_iter().find(|signal| signal.name() == text).ok_or("give traces, metrics or logs".into())
}

fn main() -> ExitCode {
    let args = Args::parse();
    match compare(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            run::complain(&format!("millrace-dataplane: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// What one round has shown.
#[derive(Debug, Clone, Copy)]
struct Round {
    items_per_s: f64,
    cpu_ns_per_item: f64,
    /// How much of the time its threads had a core: below one, something else ran.
    share: f64,
}

/// A round in which the threads had less of the cores says nothing about them.
const UNDISTURBED: f64 = 0.97;

impl Round {
    fn show(&self) -> String {
        let Self { items_per_s, cpu_ns_per_item, share } = self;
        format!(
            "{:.3} M items/s, {cpu_ns_per_item:.1} CPU-ns/item, {:.0}% of the cores",
            items_per_s / 1e6,
            share * 100.0
        )
    }
}

fn compare(args: &Args) -> io::Result<()> {
    let (mut single, mut multi) = (Vec::new(), Vec::new());
    for round in 1..=args.rounds.max(1) {
        let one = measure(args, 1)?;
        let many = measure(args, args.threads)?;
        run::say(&format!(
            "round {round}: 1 thread {}; {} threads {}",
            one.show(),
            args.threads,
            many.show()
        ));
        single.push(one);
        multi.push(many);
    }
    verdict("all rounds", args.threads, &single, &multi);
    for rounds in [&mut single, &mut multi] {
        rounds.retain(|round| round.share >= UNDISTURBED);
    }
    if single.is_empty() || multi.is_empty() {
        run::say("no round was undisturbed; try again when the machine is idle, with shorter rounds");
    } else {
        verdict("undisturbed rounds", args.threads, &single, &multi);
    }
    Ok(())
}

fn verdict(which: &str, threads: usize, single: &[Round], multi: &[Round]) {
    let rate = |rounds: &[Round]| median(rounds.iter().map(|round| round.items_per_s));
    let cpu = |rounds: &[Round]| median(rounds.iter().map(|round| round.cpu_ns_per_item));
    run::say(&format!(
        "{which} ({} and {}), medians: 1 thread {:.3} M items/s, {:.1} CPU-ns/item; {threads} threads {:.3} M items/s, {:.1} CPU-ns/item; scaling {:.3}x by rate, {:.3}x by CPU time per item",
        single.len(),
        multi.len(),
        rate(single) / 1e6,
        cpu(single),
        rate(multi) / 1e6,
        cpu(multi),
        rate(multi) / rate(single),
        threads as f64 * cpu(single) / cpu(multi)
    ));
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[expect(
    clippy::disallowed_methods,
    reason = "the main thread is no worker, and is to cost nothing while it waits"
)]
fn measure(args: &Args, threads: usize) -> io::Result<Round> {
    let runtime = runtime(threads)?;
    let stop = Arc::new(AtomicBool::new(false));
    let plane = {
        let _inside = runtime.enter();
        Lanes::new(Plane::new(args.signal, args.queue).map_err(io::Error::other)?)
    };
    let tasks: Vec<_> = (0..args.tasks * threads)
        .map(|task| {
            let requests = (0..TEMPLATES)
                .map(|seed| {
                    Template::build(args.signal, args.items, task as u64 * TEMPLATES + seed).bytes().to_vec()
                })
                .collect();
            runtime.spawn(feed(plane.clone(), requests, Arc::clone(&stop), Work::of(args)))
        })
        .collect();
    // Until every task has run for a while.
    std::thread::sleep(Duration::from_secs_f64(args.seconds / 4.0));
    let (items, cpu, started) = (plane.delivered(), cpu_time(), Instant::now());
    std::thread::sleep(Duration::from_secs_f64(args.seconds));
    let (items, cpu, elapsed) = (plane.delivered() - items, cpu_time() - cpu, started.elapsed());
    stop.store(true, Relaxed);
    runtime.block_on(async {
        for task in tasks {
            task.await.map_err(io::Error::other)?;
        }
        Ok::<_, io::Error>(())
    })?;
    if plane.failed.load(Relaxed) > 0 {
        return Err(io::Error::other("a request was refused"));
    }
    let items = items as f64;
    Ok(Round {
        items_per_s: items / elapsed.as_secs_f64(),
        cpu_ns_per_item: cpu.as_nanos() as f64 / items,
        share: cpu.as_secs_f64() / elapsed.as_secs_f64() / threads as f64,
    })
}

/// Always with workers of its own, so that both cases differ in nothing but their number.
fn runtime(threads: usize) -> io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(threads).enable_all().build()
}

/// The CPU time of the process: its workers', since the main thread sleeps.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

async fn feed(plane: Lanes<Plane>, requests: Vec<Vec<u8>>, stop: Arc<AtomicBool>, work: Work) {
    for (turn, request) in requests.iter().cycle().enumerate() {
        if stop.load(Relaxed) {
            return;
        }
        // As if read from a socket: an allocation of its own.
        let body = Bytes::copy_from_slice(request);
        match work {
            Work::Inline => plane.take(body).await,
            Work::Spawn => {
                let near = plane.near();
                let _ = plane.tasks.spawn("request", async move { near.take(body).await }).await;
                continue;
            }
            Work::ValidateOnly => plane.validate_only(body),
        }
        if turn % TURN == TURN - 1 {
            tokio::task::yield_now().await;
        }
    }
}

/// What is done with a body.
#[derive(Debug, Clone, Copy)]
enum Work {
    Inline,
    Spawn,
    ValidateOnly,
}

impl Work {
    fn of(args: &Args) -> Self {
        match (args.ceiling, args.spawn) {
            (true, _) => Self::ValidateOnly,
            (false, true) => Self::Spawn,
            (false, false) => Self::Inline,
        }
    }
}

/// What stands between a body and the exporter.
struct Plane {
    tasks: Tasks,
    signal: Signal,
    policy: Policy,
    intake: Budget,
    account: Arc<Account>,
    accepted: Counter,
    refused: Counter,
    entry: Arc<Entry>,
    exporter: Arc<Account>,
    failed: AtomicU64,
}

impl Plane {
    fn new(signal: Signal, queue: bool) -> Result<Self, String> {
        let shared = Shared::new(
            Registry::new(Level::Normal),
            &Health::starting(),
            BUDGET_BYTES,
            BUDGET_BYTES,
            "millrace-dataplane",
        );
        let context = |kind, id: &str| {
            let id: ComponentId = id.parse().map_err(|error| format!("{error}"))?;
            Ok::<_, String>(Context { shared: shared.clone(), kind, id, pipeline: None })
        };
        let delivery = Delivery {
            queue: if queue { Optional::On(patient()) } else { Optional::Off },
            retry: RetryConfig::default(),
            timeout: Duration::ZERO,
            destination: Labels::new(),
            metadata: Vec::new(),
        };
        let exporter = Exporter::start(&context("exporter", "nop")?, signal, &delivery, Arc::new(Nop))
            .map_err(|error| error.to_string())?;
        let ledger = shared.ledger.accounts();
        let next = Arc::new(Route::Commit(exporter));
        let limiter = memory_limiter::Counting::default();
        let route = limiter
            .build(context("processor", "memory_limiter")?, signal, next)
            .map_err(|error| error.to_string())?;
        let receiver = context("receiver", "otlp")?;
        let labels = Labels::new().with("receiver", "otlp").with("transport", "grpc");
        Ok(Self {
            tasks: shared.tasks.clone(),
            signal,
            policy: Policy::default(),
            intake: shared.intake.clone(),
            account: receiver.account(signal),
            accepted: shared.registry.counter(catalogue::ACCEPTED.of(signal), &labels),
            refused: shared.registry.counter(catalogue::REFUSED.of(signal), &labels),
            entry: Entry::new(Arc::new(route)),
            exporter: ledger.first().cloned().ok_or("the exporter has no account")?,
            failed: AtomicU64::new(0),
        })
    }

    /// Takes one body, as the OTLP receiver does.
    async fn take(&self, body: Bytes) {
        if self.try_take(body).await.is_none() {
            self.failed.fetch_add(1, Relaxed);
        }
    }

    async fn try_take(&self, body: Bytes) -> Option<()> {
        let charge = self.intake.try_charge(body.len() as u64)?;
        let received = Instant::now();
        let payload = validate(self.signal, body, &self.policy).ok()?.payload;
        let items = u64::from(payload.items());
        let origin = Arc::new(Origin { received, peer: None, metadata: Metadata::new(), identity: None });
        let batch = Batch::of(Piece { payload, origin, charge });
        let cost = batch.cost();
        self.account.record(Term::In, cost);
        let held = self.account.hold(cost);
        let result = self.entry.submit(batch, Until::Stored).await;
        drop(held);
        self.account.record(if result.is_ok() { Term::Out } else { Term::Refused }, cost);
        self.accepted.add(items);
        self.refused.add(0);
        result.ok()
    }

    fn validate_only(&self, body: Bytes) {
        match validate(self.signal, body, &self.policy) {
            // A cell for each worker.
            Ok(validated) => {
                self.exporter
                    .record(Term::Out, Cost { items: u64::from(validated.payload.items()), bytes: 0 });
            }
            Err(_) => {
                self.failed.fetch_add(1, Relaxed);
            }
        }
    }

    fn delivered(&self) -> u64 {
        self.exporter.total(Term::Out).items
    }
}

/// Makes the tasks wait for the exporter instead of being refused.
fn patient() -> QueueConfig {
    QueueConfig { block_on_overflow: true, ..QueueConfig::default() }
}

struct Nop;

impl Sender for Nop {
    fn send<'a>(&'a self, _: &'a Batch) -> BoxFuture<'a, Result<Accepted, Failure>> {
        Box::pin(async { Ok(Accepted::default()) })
    }
}
