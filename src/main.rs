//! The `millrace` binary: the command line, and the one list of all components.

mod cli;
mod components;
mod metrics;
mod plan;
mod run;

use clap::Parser;
use cli::{Cli, Command};
use std::process::ExitCode;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match &cli.command {
        None => match cli.single_config() {
            Ok(config) => run::run(config, cli.shutdown_timeout()),
            Err(problem) => cli::fail(&problem),
        },
        Some(Command::Validate { config }) => plan::validate(config.as_deref().or(cli.config.first().map(String::as_str))),
        Some(Command::Components) => components::list(),
    }
}
