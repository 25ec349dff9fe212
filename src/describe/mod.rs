//! What a configuration can say, as JSON Schema (`schema`), and what a given one says (`print-config`).

mod file;
mod print;
#[cfg(test)]
mod tests;

pub use self::print::{PrintConfig, print_config};

use crate::cli::print;
use crate::components::entries;
use clap::Args;
use millrace_config::Shape;
use millrace_config::catalog::Kind;
use millrace_telemetry::config::TelemetryConfig;
use std::process::ExitCode;

/// The section `service::telemetry`.
pub const TELEMETRY: Shape = Shape::of::<TelemetryConfig>();

/// The options of `millrace schema`.
#[derive(Debug, Args)]
pub struct SchemaOptions {
    /// One section instead of a whole file, as it is after `${…}` has been replaced: `receivers/otlp`,
    /// `service/telemetry`.
    #[arg(long, value_name = "KIND/TYPE")]
    component: Option<String>,
}

/// Runs `millrace schema`.
///
/// # Errors
/// There is no such component.
pub fn schema(options: &SchemaOptions) -> Result<ExitCode, String> {
    let schema = match &options.component {
        None => file::schema().into(),
        Some(name) => section(name)?.schema(),
    };
    print(&format!("{:#}\n", schema.to_value()));
    Ok(ExitCode::SUCCESS)
}

/// The section of that name.
fn section(name: &str) -> Result<Shape, String> {
    if name == "service/telemetry" {
        return Ok(TELEMETRY);
    }
    let (of, name_of_type) = name.split_once('/').unwrap_or(("", name));
    let kinds =
        Kind::ALL.into_iter().filter(|kind| of.is_empty() || of == kind.section() || of == kind.name());
    kinds
        .flat_map(entries)
        .find(|entry| entry.name == name_of_type || entry.aliases.contains(&name_of_type))
        .map(|entry| entry.schema)
        .ok_or_else(|| {
            format!("there is no component `{name}`; `millrace components` lists them, and `receivers/otlp` names one")
        })
}
