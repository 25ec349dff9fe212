//! `millrace demo`: a collector at work, with a little web shop as the application that it serves.
//!
//! The shop runs in the same process and is a client like any other: what it makes goes through sockets, in OTLP/gRPC
//! and OTLP/HTTP. The collector is the one that `millrace --config` runs; it does not know that this is a demo.

mod places;
mod report;
mod sender;
mod session;
mod shop;

use crate::cli::{self, Input};
use crate::fetch::Web;
use crate::plan::{environment, plan};
use crate::run::{self, Outcome};
use millrace_config::{Gates, Parsed, Providers, resolve};
use places::Places;
use report::Tally;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The configuration that is run unless another one is given.
const QUICKSTART: &str = include_str!("../../configs/quickstart.yaml");
/// Where it lies in the repository. If it is there, the file is used, so that changing it changes the demo.
const QUICKSTART_PATH: &str = "configs/quickstart.yaml";
/// What says in the configuration where files go.
const OUTPUT_VARIABLE: &str = "MILLRACE_DEMO_DIR";

/// The `demo` command.
///
/// # Errors
/// Why it cannot start.
pub fn demo(options: &cli::Demo, shutdown_timeout: Duration) -> Result<ExitCode, String> {
    let started = Instant::now();
    let config = Chosen::of(options.source.given()?);
    if options.print_config {
        cli::print(&config.text()?);
        return Ok(ExitCode::SUCCESS);
    }
    let plan = plan(config.parse(options.output.as_deref()), config.gates())
        .map_err(|problems| run::invalid(&problems))?;
    let places = Places::of(&plan)?;
    places.check_free()?;
    let mut tally = Tally::default();
    let times = (started, shutdown_timeout);
    let outcome = run::accompanied(run::runtime()?, &plan, None, times, async |shared, stopping| {
        cli::print(&report::welcome(&config.name(), &places, options));
        tally = session::run(options, &places, &shared, stopping).await;
    })?;
    cli::print(&report::farewell(&tally, &outcome.closing, &places));
    Ok(if is_success(&tally, &outcome) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Everything sent was taken, and what was taken was neither lost nor forgotten.
fn is_success(tally: &Tally, outcome: &Outcome) -> bool {
    let Outcome { is_clean, closing } = outcome;
    let is_complete = closing.received >= tally.total() && closing.lost == 0 && closing.imbalances.is_empty();
    *is_clean && tally.refused == 0 && is_complete
}

/// The configuration to be run.
enum Chosen {
    /// What the command line says.
    Given(Input),
    /// The repository's quickstart, and what `--set` changes of it.
    File(Input),
    /// The same, as it was when this binary was built.
    BuiltIn(Input),
}

impl Chosen {
    fn of(input: Input) -> Self {
        match input {
            given if !given.configs.is_empty() => Self::Given(given),
            none if Path::new(QUICKSTART_PATH).is_file() => Self::File(none),
            none => Self::BuiltIn(none),
        }
    }

    fn gates(&self) -> Gates {
        let (Self::Given(input) | Self::File(input) | Self::BuiltIn(input)) = self;
        input.gates
    }

    /// What it is called.
    fn name(&self) -> String {
        match self {
            Self::Given(input) => input.configs.join(", "),
            Self::File(_) => QUICKSTART_PATH.to_owned(),
            Self::BuiltIn(_) => "the quickstart in this binary (--print-config shows it)".to_owned(),
        }
    }

    /// Reads it, with `output` standing in for the variable.
    fn parse(&self, output: Option<&Path>) -> Parsed {
        let env = |name: &str| match output {
            Some(output) if name == OUTPUT_VARIABLE => Some(output.display().to_string()),
            _ => environment(name),
        };
        let (configs, input) = match self {
            Self::Given(input) => (input.configs.clone(), input),
            Self::File(input) => (vec![QUICKSTART_PATH.to_owned()], input),
            Self::BuiltIn(input) => (vec![format!("yaml:{QUICKSTART}")], input),
        };
        resolve(&configs, &input.sets, input.gates, &Providers { env: &env, outside: &Web })
    }

    /// Its text, as it is written.
    fn text(&self) -> Result<String, String> {
        let path = match self {
            Self::BuiltIn(_) => return Ok(QUICKSTART.to_owned()),
            Self::File(_) => QUICKSTART_PATH,
            Self::Given(input) => match input.configs.as_slice() {
                [uri] => match uri.split_once(':') {
                    Some(("yaml", text)) => return Ok(format!("{text}\n")),
                    _ => uri.strip_prefix("file:").unwrap_or(uri),
                },
                _ => return Err("of several sources there is no one text; give one --config".to_owned()),
            },
        };
        std::fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    fn quickstart(output: Option<&str>) -> Plan {
        plan(Chosen::BuiltIn(Input::default()).parse(output.map(Path::new)), Gates::default())
            .expect("the quickstart is sound")
    }

    #[test]
    fn the_quickstart_in_the_binary_takes_both_transports_and_writes_a_file_per_signal() {
        let places = Places::of(&quickstart(Some("/tmp/out"))).expect("somewhere to send to");
        assert!(places.grpc.is_some() && places.http.is_some());
        assert!(places.metrics.is_some() && places.health.is_some());
        assert_eq!(places.files, ["/tmp/out/traces.jsonl", "/tmp/out/metrics.jsonl", "/tmp/out/logs.jsonl"]);
    }

    #[test]
    fn the_welcome_shows_every_place_there_is() {
        let options = cli::Demo::for_tests();
        let places = Places::of(&quickstart(Some("/tmp/out"))).expect("somewhere to send to");
        let text = report::welcome("quickstart.yaml", &places, &options);
        for part in [
            "storefront, checkout, payment and inventory",
            "/tmp/out/logs.jsonl",
            "http://localhost:8888/metrics",
            "http://localhost:13133/",
            "http://localhost:4317 OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
            "http://localhost:4318 OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
            "Ctrl-C stops it",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn losses_and_refusals_are_no_success() {
        let outcome = |is_clean, lost, received| {
            let closing = millrace_engine::ledger::Closing { lost, received, ..Default::default() };
            Outcome { is_clean, closing }
        };
        let tally =
            |refused| Tally { refused, accepted: [(millrace_wire::Signal::Logs, 5)].into(), complaint: None };
        assert!(is_success(&tally(0), &outcome(true, 0, 5)));
        assert!(!is_success(&tally(1), &outcome(true, 0, 5)));
        assert!(!is_success(&tally(0), &outcome(true, 1, 5)));
        assert!(!is_success(&tally(0), &outcome(true, 0, 4)));
        assert!(!is_success(&tally(0), &outcome(false, 0, 5)));
    }

    fn given(uri: &str) -> Chosen {
        Chosen::Given(Input { configs: vec![uri.to_owned()], ..Input::default() })
    }

    #[test]
    fn the_text_of_a_configuration_is_shown_as_written() {
        assert_eq!(given("yaml:a: ${env:B}").text().as_deref(), Ok("a: ${env:B}\n"));
        assert_eq!(Chosen::BuiltIn(Input::default()).text().as_deref(), Ok(QUICKSTART));
        assert!(given("/no/such/file").text().is_err());
    }
}
