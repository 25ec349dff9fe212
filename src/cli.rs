//! The command line: what can be typed, and what is said when it cannot be understood.
//!
//! Flags are those of the Go collector.

use crate::describe::{PrintConfig, SchemaOptions};
use crate::storage::{DeadLetters, Queue};
use clap::builder::RangedU64ValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use millrace_config::Gates;
use millrace_config::gates::read_gates;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;

/// More than this is not a demo any more; `bench/` has a load generator.
const DEMO_RATE_MAX: u64 = 10_000;

/// An OpenTelemetry-compatible telemetry collector.
///
/// Runs the pipelines of a configuration file written for the OpenTelemetry Collector: receivers take telemetry in,
/// processors work on it, exporters send it on. Metrics about the collector itself are at
/// http://localhost:8888/metrics unless the file says otherwise.
///
/// SIGTERM and Ctrl-C stop it cleanly: intake ends, what is held is passed on, and an account of everything is
/// printed. A second signal stops the waiting.
///
/// SIGHUP has the configuration read again, from wherever it was given. If there is nothing wrong with it, it takes the
/// place of what runs: addresses stay open, what has not changed goes on, and what waits is passed on. If there is, it
/// is logged, and what runs goes on.
#[derive(Debug, Parser)]
#[command(name = "millrace", version, disable_version_flag = true, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    /// What to run.
    #[command(flatten)]
    pub source: Source,

    /// How long stopping may take: what has not been passed on by then stays on disk where its queue is there, and
    /// otherwise is lost, and counted.
    #[arg(long, value_name = "SECONDS", default_value = "25", value_parser = seconds)]
    pub shutdown_timeout: Duration,

    /// Read the configuration again when one of its files has changed, as on SIGHUP.
    ///
    /// Files are looked at every second, and read when they have stayed the same for a second. Pages and the
    /// environment are read again only then.
    #[arg(long)]
    pub watch_config: bool,

    /// Print the version.
    #[arg(short = 'v', short_alias = 'V', long, action = ArgAction::Version)]
    version: Option<bool>,

    /// What to do instead of running.
    #[command(subcommand)]
    pub command: Option<Command>,
}

const EXAMPLES: &str = "\
Examples:
  millrace demo                                  see it work, with telemetry made on the spot
  millrace --config=configs/gateway.yaml         run a configuration
  millrace validate --config=my.yaml             say everything that is wrong with a configuration
  millrace validate --config=old.yaml --fix      … and show how it would be written today
  millrace --config='yaml:{receivers: …}'        run a configuration written on the command line";

/// What the binary can do besides running.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check a configuration without running it, and say everything that is wrong with it.
    ///
    /// Nothing is printed and the exit code is 0 when nothing is wrong. Mistakes are told all at once, with their
    /// places in the file, and the exit code is 1. Warnings do not change the exit code.
    Validate {
        /// What to check.
        #[command(flatten)]
        source: Source,

        /// Show how the files would say in today's form what older collectors accepted, and check that.
        #[arg(long)]
        fix: bool,

        /// Change the files accordingly.
        #[arg(long, requires = "fix")]
        write: bool,
    },
    /// Print a configuration as it is understood: sources joined, `${…}` replaced, defaults filled in, secrets hidden.
    ///
    /// What is printed is a configuration again: with `--mode=unredacted` it does what the original does.
    #[command(alias = "print-initial-config")]
    PrintConfig(PrintConfig),
    /// Print what a configuration can say, as JSON Schema (draft 2020-12): for editors, and for other tools.
    ///
    /// With it an editor completes keys, shows what they mean and underlines mistakes. For those that use
    /// yaml-language-server: `millrace schema > millrace.json`, and `# yaml-language-server: $schema=millrace.json` as
    /// the first line of the configuration.
    Schema(SchemaOptions),
    /// List the components in this binary, with the signals they handle.
    Components,
    /// List the feature gates, or tell about one.
    Featuregate {
        /// Which one.
        id: Option<String>,
    },
    /// Look at what waits on disk for its destination (`sending_queue::storage`).
    ///
    /// Works while the collector runs, and while it is stopped. Which directories: those of the `file_storage`
    /// extensions of --config, or --directory, or /var/lib/otelcol/file_storage.
    Queue(Queue),
    /// Look at what could not be delivered, and replay or drop it.
    ///
    /// An exporter with `sending_queue::storage` puts aside what the destination refuses for good, what has been tried
    /// for too long, and records that are too large, each with its reason. Works while the collector runs, and while it
    /// is stopped; which directories: as for `queue`.
    DeadLetters(DeadLetters),
    /// Show a collector at work: run a pipeline and send it the telemetry of a little web shop.
    ///
    /// Starts configs/quickstart.yaml, or the copy of it in this binary, and sends it traces, metrics and logs over
    /// real OTLP/gRPC and OTLP/HTTP on this machine. They end up in files and on the terminal. What to look at is
    /// printed at the start; Ctrl-C stops the shop, then the pipeline, and closes the account.
    ///
    /// The exit code is 0 if everything that the shop sent was accepted, and nothing of it was lost.
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(Demo),
}

const DEMO_EXAMPLES: &str = "\
Examples:
  millrace demo                                  until Ctrl-C, files in ./demo-output
  millrace demo --for 10 --output /tmp/shop      ten seconds, files elsewhere
  millrace demo --print-config > my.yaml         the pipeline, to be changed …
  millrace demo --config=my.yaml                 … and shown";

/// The options of `millrace demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// What to run instead of the quickstart; it needs a pipeline that begins with an `otlp` receiver.
    #[command(flatten)]
    pub source: Source,

    /// The folder for the files: what `${env:MILLRACE_DEMO_DIR}` stands for in the configuration.
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,

    /// How many spans the shop makes per second; metrics and logs come with them.
    #[arg(long, value_name = "SPANS", default_value = "50", value_parser = RangedU64ValueParser::<u32>::new().range(1..=DEMO_RATE_MAX))]
    pub rate: u32,

    /// Stop after this long instead of on Ctrl-C.
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
    pub duration: Option<Duration>,

    /// Print the configuration that would be run, and do nothing else.
    #[arg(long)]
    pub print_config: bool,
}

/// Where a configuration comes from.
#[derive(Debug, Args)]
pub struct Source {
    /// The configuration: a path, `file:PATH`, `yaml:TEXT`, `env:NAME`, or a URL. Several are merged: maps are joined,
    /// whatever else a later one says replaces what an earlier one said.
    #[arg(long, value_name = "URI")]
    config: Vec<String>,

    /// Set one value over all that --config says: --set=processors.batch.timeout=2s.
    #[arg(long, value_name = "KEY.PATH=VALUE")]
    set: Vec<String>,

    /// Feature gates to enable, and with `-` in front to disable, separated by commas; `featuregate` lists them.
    #[arg(long, value_name = "GATES", allow_hyphen_values = true)]
    feature_gates: Vec<String>,
}

/// What is to be read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Input {
    /// The values of `--config`, in order.
    pub configs: Vec<String>,
    /// The values of `--set`, in order.
    pub sets: Vec<String>,
    /// What `--feature-gates` sets.
    pub gates: Gates,
    /// What there is to say about the gates.
    pub notices: Vec<String>,
}

impl Source {
    /// What was given, if only with `--set`.
    ///
    /// # Errors
    /// What is wrong with a feature gate.
    pub fn given(&self) -> Result<Input, String> {
        let (gates, notices) = read_gates(&self.feature_gates)
            .map_err(|problem| format!("invalid argument for --feature-gates: {problem}"))?;
        Ok(Input { configs: self.config.clone(), sets: self.set.clone(), gates, notices })
    }

    /// The same for a command that needs a configuration.
    ///
    /// # Errors
    /// As [`Source::given`], and when there is none; `example` shows how to give one.
    pub fn required(&self, example: &str) -> Result<Input, String> {
        let input = self.given()?;
        if input.configs.is_empty() {
            return Err(format!(
                "at least one config flag must be provided, for example\n\n  {example}\n\n`millrace demo` needs none; `millrace --help` tells the rest"
            ));
        }
        Ok(input)
    }

    /// Takes from the flags before the command what the flags behind it do not say.
    fn inherit(&mut self, outer: &Self) {
        for (own, outer) in [
            (&mut self.config, &outer.config),
            (&mut self.set, &outer.set),
            (&mut self.feature_gates, &outer.feature_gates),
        ] {
            if own.is_empty() {
                own.clone_from(outer);
            }
        }
    }
}

#[cfg(test)]
impl Demo {
    /// As if nothing had been typed behind `millrace demo`.
    pub fn for_tests() -> Self {
        let source = Source { config: Vec::new(), set: Vec::new(), feature_gates: Vec::new() };
        Self { source, output: None, rate: 50, duration: None, print_config: false }
    }
}

impl Cli {
    /// What was typed.
    ///
    /// # Errors
    /// The exit code, when it was a request for help or a mistake; either has been answered.
    pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Self, ExitCode> {
        Self::understand(args).map_err(|error| {
            if let Some(path) = configuration_without_flag(&error) {
                return fail(&format!("a configuration is given with a flag: millrace --config={path}"));
            }
            // A closed terminal cannot be told anything.
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(1))
        })
    }

    fn understand(args: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let matches = Self::command().try_get_matches_from(args)?;
        let mut cli = Self::from_arg_matches(&matches)?;
        let source = match &mut cli.command {
            Some(
                Command::Validate { source, .. }
                | Command::Demo(Demo { source, .. })
                | Command::PrintConfig(PrintConfig { source, .. }),
            ) => source,
            Some(Command::Queue(queue)) => &mut queue.place().source,
            Some(Command::DeadLetters(letters)) => &mut letters.place().source,
            _ => return Ok(cli),
        };
        source.inherit(&cli.source);
        Ok(cli)
    }
}

/// The likeliest mistake: a file where a command is expected.
fn configuration_without_flag(error: &clap::Error) -> Option<&str> {
    let kinds = [ErrorKind::InvalidSubcommand, ErrorKind::UnknownArgument];
    if !kinds.contains(&error.kind()) {
        return None;
    }
    let typed = [ContextKind::InvalidSubcommand, ContextKind::InvalidArg]
        .into_iter()
        .find_map(|kind| error.get(kind));
    match typed {
        Some(ContextValue::String(typed)) if is_configuration(typed) => Some(typed),
        _ => None,
    }
}

fn is_configuration(typed: &str) -> bool {
    !typed.starts_with('-') && [".yaml", ".yml", ".json"].iter().any(|end| typed.ends_with(end))
}

/// A number of seconds, or a length of time as Go writes them.
fn seconds(text: &str) -> Result<Duration, String> {
    let parsed = match text.parse::<f64>() {
        Ok(number) => Duration::try_from_secs_f64(number).ok(),
        Err(_) => text.parse::<millrace_config::Duration>().ok().map(millrace_config::Duration::get),
    };
    // Deadlines are moments on a clock that does not go on for ever.
    let year = Duration::from_secs(365 * 24 * 3600);
    parsed
        .map(|duration| duration.min(year))
        .ok_or_else(|| "write seconds as 30 or 0.5, or with a unit as 2m".to_owned())
}

/// Why something could not be printed, first of all. A command goes on with what it was asked to do, and fails in the
/// end.
static UNPRINTED: OnceLock<io::Error> = OnceLock::new();

/// Prints what a command was asked for.
pub fn print(text: &str) {
    print_bytes(text.as_bytes());
}

/// Prints what is no text.
pub fn print_bytes(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    printed(out.write_all(bytes).and_then(|()| out.flush()));
}

/// Takes note of what became of something that was to be printed. A reader that has gone away wants no more of it.
pub fn printed(written: io::Result<()>) {
    if let Err(error) = written
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        let _ = UNPRINTED.set(error);
    }
}

/// How to end: with an error, if something could not be printed.
pub fn end(code: ExitCode) -> ExitCode {
    match UNPRINTED.get() {
        Some(error) => fail(&format!("cannot write to the standard output: {error}")),
        None => code,
    }
}

/// Says what is going on, beside what a command was asked for.
pub fn remark(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Says what is wrong and ends with an error.
pub fn fail(problem: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "Error: {}", problem.trim_end());
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(line: &str) -> Result<Cli, clap::Error> {
        Cli::understand(line.split_whitespace().map(OsString::from))
    }

    fn refused(line: &str) -> String {
        typed(line).expect_err(line).to_string()
    }

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_configuration_is_run_with_the_go_collectors_flag() {
        for line in ["millrace --config=a.yaml", "millrace --config a.yaml"] {
            let cli = typed(line).expect(line);
            assert!(cli.command.is_none());
            assert_eq!(cli.source.required("").expect("one").configs, ["a.yaml"]);
            assert_eq!(cli.shutdown_timeout, Duration::from_secs(25));
        }
    }

    #[test]
    fn commands_take_the_configuration_from_either_side() {
        for line in ["millrace validate --config=a.yaml", "millrace --config=a.yaml validate"] {
            let Some(Command::Validate { source, .. }) = typed(line).expect(line).command else {
                panic!("{line}")
            };
            assert_eq!(source.given().expect("one").configs, ["a.yaml"]);
        }
        let both = "millrace --config=a.yaml validate --config=b.yaml";
        let Some(Command::Validate { source, .. }) = typed(both).expect(both).command else {
            panic!("{both}")
        };
        assert_eq!(source.given().expect("one").configs, ["b.yaml"]);
    }

    #[test]
    fn a_missing_configuration_is_said_in_the_go_collectors_words() {
        let problem =
            typed("millrace").expect("nothing").source.required("millrace --config=FILE").expect_err("none");
        assert!(problem.starts_with("at least one config flag must be provided"), "{problem}");
        assert!(problem.contains("millrace --config=FILE"), "{problem}");
    }

    #[test]
    fn sources_sets_and_gates_are_given_as_in_the_go_collector() {
        let line = "millrace --config=a.yaml --set=a.b=c --config yaml:x --set d=1 --feature-gates=-service.profilesSupport,+service.AllowNoPipelines";
        let input = typed(line).expect(line).source.required("").expect("some");
        assert_eq!(
            (input.configs, input.sets),
            (vec!["a.yaml".into(), "yaml:x".into()], vec!["a.b=c".into(), "d=1".into()])
        );
        assert_eq!(input.gates, Gates { allow_no_pipelines: true, ..Gates::default() });
        let unknown = "millrace --config=a.yaml --feature-gates -b";
        let problem = typed(unknown).expect(unknown).source.given().expect_err(unknown);
        assert!(problem.contains("no such feature gate \"b\""), "{problem}");
    }

    #[test]
    fn unknown_flags_are_named_with_the_nearest_known_one() {
        let problem = refused("millrace --confg=a.yaml");
        assert!(problem.contains("'--confg'") && problem.contains("'--config'"), "{problem}");
        assert!(refused("millrace valdate").contains("'validate'"));
    }

    #[test]
    fn a_file_without_its_flag_is_recognised() {
        for (line, file) in [
            ("millrace my/config.yaml", Some("my/config.yaml")),
            ("millrace validate my.yml", Some("my.yml")),
            ("millrace frobnicate", None),
            ("millrace --my.yaml", None),
        ] {
            assert_eq!(configuration_without_flag(&typed(line).expect_err(line)), file, "{line}");
        }
    }

    #[test]
    fn the_version_is_told_by_both_habits() {
        for flag in ["-v", "-V", "--version"] {
            let shown = refused(&format!("millrace {flag}"));
            assert_eq!(shown.trim_end(), concat!("millrace ", env!("CARGO_PKG_VERSION")));
        }
    }

    #[test]
    fn lengths_of_time_are_seconds_unless_they_have_a_unit() {
        assert_eq!(seconds("3"), Ok(Duration::from_secs(3)));
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(seconds("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(seconds("1e12"), Ok(Duration::from_secs(365 * 24 * 3600)));
        for text in ["", "-1", "NaN", "inf", "soon", "3 parsecs"] {
            assert!(seconds(text).is_err(), "{text}");
        }
        assert!(refused("millrace --shutdown-timeout=soon").contains("write seconds as 30"));
    }

    #[test]
    fn the_demo_has_bounds() {
        let demo = |line: &str| match typed(line).expect(line).command {
            Some(Command::Demo(demo)) => demo,
            other => panic!("{other:?}"),
        };
        let plain = demo("millrace demo");
        assert_eq!((plain.rate, plain.duration, plain.output.is_none()), (50, None, true));
        let set = demo("millrace demo --rate 10000 --for 3 --output /tmp/x");
        assert_eq!((set.rate, set.duration), (10_000, Some(Duration::from_secs(3))));
        assert_eq!(set.output, Some(PathBuf::from("/tmp/x")));
        for rate in ["0", "10001", "-5", "many"] {
            refused(&format!("millrace demo --rate={rate}"));
        }
    }
}
