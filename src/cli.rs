//! The command line.

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use std::time::Duration;

/// An OpenTelemetry-compatible telemetry collector.
///
/// Runs the pipelines of a configuration file written for the OpenTelemetry Collector: receivers take telemetry in,
/// processors work on it, exporters send it on. Metrics about the collector itself are at
/// http://localhost:8888/metrics unless the file says otherwise.
///
/// SIGTERM and Ctrl-C stop it cleanly: intake ends, what is held is passed on, and an account of everything is printed.
#[derive(Debug, Parser)]
#[command(name = "millrace", version, max_term_width = 100, args_conflicts_with_subcommands = false)]
pub struct Cli {
    /// The configuration: a path, `file:PATH`, or `yaml:TEXT`.
    #[arg(long, value_name = "URI")]
    pub config: Vec<String>,

    /// How long stopping may take: what has not been passed on by then is lost, and counted.
    #[arg(long, value_name = "SECONDS", default_value_t = 25.0)]
    shutdown_timeout: f64,

    /// What to do instead of running.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the binary can do besides running.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check a configuration without running it, and say everything that is wrong with it.
    Validate {
        /// The configuration: a path, `file:PATH`, or `yaml:TEXT`.
        #[arg(long, value_name = "URI")]
        config: Option<String>,
    },
    /// List the components in this binary, with the signals they handle.
    Components,
}

impl Cli {
    /// The one configuration to run.
    pub fn single_config(&self) -> Result<&str, String> {
        match self.config.as_slice() {
            [config] => Ok(config),
            [] => Err("at least one config flag must be provided, e.g. --config=configs/quickstart.yaml (see --help)".to_owned()),
            _ => Err("several --config are not supported yet; put everything into one file".to_owned()),
        }
    }

    /// How long stopping may take.
    pub fn shutdown_timeout(&self) -> Duration {
        Duration::try_from_secs_f64(self.shutdown_timeout).unwrap_or(Duration::from_secs(25))
    }
}

/// Says what is wrong and ends with an error.
#[allow(clippy::print_stderr, reason = "the command line talks to the person who typed it")]
pub fn fail(problem: &str) -> ExitCode {
    eprintln!("Error: {problem}");
    ExitCode::FAILURE
}
