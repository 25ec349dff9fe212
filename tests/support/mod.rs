//! Running the real binary in tests: spawn it, wait for it, look at it from outside, stop it, and hold it to account.
//!
//! Nothing here shares code with the binary, except for the writers of OTLP in `requests`.
#![allow(dead_code, reason = "each test binary uses its own part")]

pub mod grpc;
pub mod http1;
pub mod metrics;
pub mod requests;
pub mod stub;
pub mod tls;

use metrics::Metrics;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs::{self, File};
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// How long anything may take that is expected to happen. Far more than it needs, as machines may be busy.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// How often it is looked for.
const POLL: Duration = Duration::from_millis(20);

/// Waits until `look` finds something, and panics with `what` and its last excuse if it does not in time.
pub async fn eventually<T, F: Future<Output = Result<T, String>>>(
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(excuse) if Instant::now() > deadline => panic!("{what}: not within {PATIENCE:?}: {excuse}"),
            Err(_) => sleep(POLL).await,
        }
    }
}

/// A port that nobody listens on. Below the range from which the system gives ports to outgoing connections, so that
/// nobody takes it by chance until it is used.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test binaries run at the same time, too.
    let start = std::process::id() as u16 % 97 * 120;
    for _ in 0..11_000 {
        let port = 20_000 + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}

/// Replaces a file all at once: it may be read at any time, and half of it is not what was meant.
pub fn replace(file: &Path, text: &str) {
    let next = file.with_extension("next");
    fs::write(&next, text).expect("written");
    fs::rename(&next, file).expect("moved");
}

/// Lets this process, and what it starts, open as many files and sockets as it may at most.
fn allow_many_files() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let limit = getrlimit(Resource::Nofile);
        // Where it cannot be, what there is may do.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    });
}

/// A configuration file in a folder of its own, with ports of its own.
pub struct Setup {
    /// Goes away with the setup.
    pub folder: TempDir,
    pub config: PathBuf,
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    pub metrics: SocketAddr,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    /// What a shell says to set them.
    limits: String,
    /// It can write to no file, nor to one for its log.
    is_full: bool,
}

impl Setup {
    /// An OTLP receiver on free ports, 128 MiB of memory, and for all three signals one pipeline to `exporter`, given
    /// as its section: `nop: {}`. `{folder}` in it stands for the folder.
    pub fn to(exporter: &str) -> Self {
        let name = exporter.split(':').next().expect("a section has a name").trim();
        Self::of(&format!(
            "receivers:
  otlp:
    protocols:
      grpc: {{endpoint: 127.0.0.1:{{grpc}}}}
      http: {{endpoint: 127.0.0.1:{{http}}}}
processors:
  memory_limiter: {{check_interval: 1s, limit_mib: 128}}
exporters:
  {exporter}
service:
  telemetry:
    metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {{metrics}}}}}}}}}}]}}
  pipelines:
    traces: &all {{receivers: [otlp], processors: [memory_limiter], exporters: [{name}]}}
    metrics: *all
    logs: *all
"
        ))
    }

    /// The given text, with `{grpc}`, `{http}`, `{metrics}` replaced by free ports and `{folder}` by a folder.
    pub fn of(text: &str) -> Self {
        allow_many_files();
        let folder = tempfile::tempdir().expect("a folder");
        let [grpc, http, metrics] = [(); 3].map(|()| free_port());
        let mut text = text.replace("{folder}", folder.path().to_str().expect("a path in UTF-8"));
        for (name, port) in [("{grpc}", grpc), ("{http}", http), ("{metrics}", metrics)] {
            text = text.replace(name, &port.to_string());
        }
        let config = folder.path().join("config.yaml");
        fs::write(&config, text).expect("written");
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        Self {
            folder,
            config,
            grpc: at(grpc),
            http: at(http),
            metrics: at(metrics),
            arguments: Vec::new(),
            environment: Vec::new(),
            limits: String::new(),
            is_full: false,
        }
    }

    /// With further arguments on the command line.
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// With further variables in its environment.
    pub fn with_env<'a>(mut self, variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        self.environment.extend(variables.into_iter().map(owned));
        self
    }

    /// With a limit on its open files and sockets, which it cannot raise.
    pub fn with_open_files(mut self, most: u32) -> Self {
        self.limits += &format!("ulimit -n {most}; ");
        self
    }

    /// Begins with that limit on its open files and sockets, and may have more.
    pub fn begins_with_open_files(mut self, most: u32) -> Self {
        self.limits += &format!("ulimit -S -n {most}; ");
        self
    }

    /// With files that take nothing, until they do again ([`Collector::has_room`]).
    pub fn with_full_disk(mut self) -> Self {
        self.limits += "ulimit -S -f 0; ";
        self.is_full = true;
        self
    }

    /// Starts the binary and waits until it serves.
    pub async fn start(self) -> Collector {
        let mut collector = self.begin();
        collector.ready().await;
        collector
    }

    /// Starts the binary, and does not wait for anything.
    pub fn begin(self) -> Collector {
        let process = Process::start(&self);
        Collector { setup: self, process }
    }

    /// Runs the binary, which is expected to give up by itself; what it wrote, and its exit code.
    pub async fn fails(&self) -> (String, Option<i32>) {
        let status = Process::start(self).ended().await;
        (fs::read_to_string(self.log()).expect("a log"), status.code())
    }

    /// Replaces the configuration.
    pub fn reconfigure(&self, text: &str) {
        replace(&self.config, text);
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log.txt")
    }
}

/// A process that does not outlive its test.
struct Process(Child);

impl Process {
    fn start(setup: &Setup) -> Self {
        let mut file = File::create(setup.log()).expect("a file for the log");
        let handle = || Stdio::from(file.try_clone().expect("a second handle"));
        // The shell's `exec` keeps the process id.
        let script = format!("exec 2>&1; {}exec \"$@\"", setup.limits);
        let mut child = Command::new("sh")
            .args(["-c", &script, "sh", env!("CARGO_BIN_EXE_millrace"), "--config"])
            .arg(&setup.config)
            .args(&setup.arguments)
            .envs(setup.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(if setup.is_full { Stdio::piped() } else { handle() })
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        if let Some(mut log) = child.stdout.take() {
            // Until the process ends.
            std::thread::spawn(move || std::io::copy(&mut log, &mut file));
        }
        Self(child)
    }

    fn status(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("it can be waited for")
    }

    async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.status() {
                return status;
            }
            assert!(Instant::now() < deadline, "the process does not end");
            sleep(POLL).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running collector. Killed when dropped.
pub struct Collector {
    pub setup: Setup,
    process: Process,
}

/// What is left of a collector that was stopped.
pub struct Stopped {
    pub code: Option<i32>,
    /// Everything that it wrote.
    pub log: String,
    pub setup: Setup,
}

impl Collector {
    /// Waits until it serves.
    pub async fn ready(&mut self) {
        let (grpc, http) = (self.setup.grpc, self.setup.http);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let listens = tokio::net::TcpStream::connect(grpc).await.is_ok()
                && tokio::net::TcpStream::connect(http).await.is_ok();
            if listens && self.log().contains("Everything is ready") {
                return;
            }
            if let Some(status) = self.process.status() {
                panic!("it did not start, {status}:\n{}", self.log());
            }
            assert!(Instant::now() < deadline, "it does not serve:\n{}", self.log());
            sleep(POLL).await;
        }
    }

    /// What it has written so far: less than it has said, as a thread of its own writes it. Whoever expects something
    /// of it waits for that ([`Self::has_said`]).
    pub fn log(&self) -> String {
        fs::read_to_string(self.setup.log()).expect("a log")
    }

    /// Its log, once it says this.
    pub async fn has_said(&self, text: &str) -> String {
        eventually(text, || async {
            let log = self.log();
            if log.contains(text) { Ok(log) } else { Err(log) }
        })
        .await
    }

    /// Waits until it has said this so often, and not more often.
    pub async fn has_said_times(&self, text: &str, times: usize) {
        let said = eventually(text, || async {
            let log = self.log();
            let said = log.matches(text).count();
            if said >= times { Ok(said) } else { Err(format!("{said} of {times}: {log}")) }
        })
        .await;
        assert_eq!(said, times, "{text}: {}", self.log());
    }

    /// Its metrics page.
    pub async fn metrics(&self) -> Metrics {
        let reply = http1::get(self.setup.metrics, "/metrics").await.expect("the metrics are served");
        Metrics::parse(reply.text())
    }

    /// Its metrics page, once it satisfies `is_so`.
    pub async fn metrics_when(&self, what: &str, is_so: impl Fn(&Metrics) -> bool) -> Metrics {
        eventually(what, || async {
            let metrics = self.metrics().await;
            if is_so(&metrics) { Ok(metrics) } else { Err(format!("{metrics:?}")) }
        })
        .await
    }

    /// The most memory that it ever had, in MiB.
    pub fn peak_mib(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// The memory that it has, in MiB.
    pub fn resident_mib(&self) -> u64 {
        self.memory("VmRSS:")
    }

    fn memory(&self, key: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.0.id())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("the kernel says it");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib >> 10
    }

    /// How many files and sockets it may have open, and how many it might allow itself.
    pub fn open_files_allowed(&self) -> (String, String) {
        let path = format!("/proc/{}/limits", self.process.0.id());
        let limits = fs::read_to_string(path).expect("it runs");
        let limit =
            limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("there is one");
        let mut numbers = limit.split_whitespace().map(str::to_owned);
        (numbers.next().expect("a number"), numbers.next().expect("a number"))
    }

    /// Its files take something again.
    #[cfg(target_os = "linux")]
    pub fn has_room(&self) {
        let process = self.process.0.id().to_string();
        let status = Command::new("prlimit").args(["--pid", &process, "--fsize=unlimited:"]).status();
        assert!(status.expect("there is `prlimit`").success());
    }

    /// How many files and sockets it has open.
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process.0.id())).expect("it runs").count()
    }

    pub fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.process.0.id());
        let status = Command::new("sh").args(["-c", &kill]).status().expect("there is a shell");
        assert!(status.success(), "{kill}");
    }

    /// Whoever sends something good, in either protocol, is served.
    pub async fn assert_serves(&self) {
        let reply = http1::post(self.setup.http, "/v1/logs", http1::PROTOBUF, &requests::logs(1)).await;
        assert_eq!(reply.expect("an answer over HTTP").status, 200);
        let mut client = grpc::Client::connect(self.setup.grpc).await.expect("a connection over gRPC");
        let reply = client.export("logs", &requests::logs(1)).await;
        assert_eq!(reply.expect("an answer over gRPC").code, Some(0));
    }

    /// Stops it by a signal; waits for its end.
    pub async fn stopped_by(mut self, signal: &str) -> Stopped {
        self.signal(signal);
        let status = self.process.ended().await;
        Stopped { code: status.code(), log: self.log(), setup: self.setup }
    }

    /// The end of every test: it still serves, its accounts balance while it runs, it ends in good order, and its
    /// closing account balances.
    pub async fn finish(self) -> Stopped {
        self.assert_serves().await;
        self.assert_balanced().await;
        let stopped = self.stopped_by("TERM").await;
        stopped.assert_clean();
        stopped
    }

    /// Every account balances as soon as nothing moves.
    pub async fn assert_balanced(&self) {
        eventually("the ledger balances", || async {
            let imbalances = self.metrics().await.imbalances();
            if imbalances.is_empty() { Ok(()) } else { Err(format!("{imbalances:?}")) }
        })
        .await;
    }
}

impl Stopped {
    /// It ended as it should.
    pub fn assert_clean(&self) {
        assert_eq!(self.code, Some(0), "{}", self.log);
        assert!(self.log.contains("Shutdown complete: "), "{}", self.log);
        assert!(!self.log.contains("does not balance"), "{}", self.log);
        assert!(!self.log.contains("panicked"), "{}", self.log);
    }

    /// The number before `word` in the closing account: `received`, `refused`, `delivered`, `filtered`, `lost`.
    pub fn account(&self, word: &str) -> u64 {
        let (_, account) = self.log.rsplit_once("Shutdown complete: ").expect("a closing account");
        let (before, _) = account.split_once(&format!(" {word}")).expect("the account says it");
        let number = before.rsplit(' ').next().expect("a word");
        number.parse().unwrap_or_else(|_| panic!("no number of {word} in {account}"))
    }
}
