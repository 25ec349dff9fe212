//! The `millrace` binary: the command line, and the one list of all components.

mod batched;
mod cli;
mod components;
mod demo;
mod describe;
mod featuregate;
mod fetch;
mod fix;
mod open_files;
mod plan;
mod prints;
mod reload;
mod run;
mod storage;
mod telemetry;

use cli::{Cli, Command};
use std::process::ExitCode;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let done = match &cli.command {
        None => cli
            .source
            .required("millrace --config=configs/gateway.yaml")
            .map(|input| run::run(&input, cli.watch_config, cli.shutdown_timeout)),
        Some(Command::Validate { source, fix: true, write }) => source
            .required("millrace validate --config=my.yaml --fix")
            .and_then(|input| fix::fix(&input, *write)),
        Some(Command::Validate { source, .. }) => {
            source.required("millrace validate --config=my.yaml").map(|input| plan::validate(&input))
        }
        Some(Command::PrintConfig(options)) => describe::print_config(options),
        Some(Command::Schema(options)) => describe::schema(options),
        Some(Command::Components) => Ok(components::list()),
        Some(Command::Featuregate { id }) => featuregate::tell(id.as_deref()),
        Some(Command::Queue(options)) => storage::queue(options),
        Some(Command::DeadLetters(options)) => storage::dead_letters(options),
        Some(Command::Demo(options)) => demo::demo(options, cli.shutdown_timeout),
    };
    cli::end(done.unwrap_or_else(|problem| cli::fail(&problem)))
}
