//! The `featuregate` command.

use crate::cli;
use millrace_config::gates::{GATES, Gate, gate};
use std::process::ExitCode;

/// Lists all gates, or tells about one.
///
/// # Errors
/// When there is no such gate.
pub fn tell(id: Option<&str>) -> Result<ExitCode, String> {
    let text = match id {
        None => table(),
        Some(id) => details(gate(id).ok_or_else(|| format!("feature \"{id}\" not found"))?),
    };
    cli::print(&text);
    Ok(ExitCode::SUCCESS)
}

fn table() -> String {
    let width = GATES.iter().map(|gate| gate.id.len()).max().unwrap_or(0);
    let mut out = format!("{:width$}  {:7}  {:7}  Description\n", "ID", "Enabled", "Stage");
    for gate in GATES {
        let Gate { id, stage, .. } = gate;
        let (on, stage) = (gate.is_on_by_default(), stage.to_string());
        out.push_str(&format!("{id:width$}  {on:<7}  {stage:7}  {}\n", description(gate)));
    }
    out
}

fn details(gate: &Gate) -> String {
    let Gate { id, stage, from, .. } = gate;
    let on = gate.is_on_by_default();
    format!(
        "Feature: {id}\nEnabled: {on}\nStage: {stage}\nDescription: {}\nFrom Version: {from}\n",
        description(gate)
    )
}

fn description(gate: &Gate) -> String {
    gate.note()
        .map_or_else(|| gate.description.to_owned(), |note| format!("{} (Here: {note}.)", gate.description))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_gate_is_in_the_table_and_can_be_asked_for() {
        let table = table();
        for gate in GATES {
            assert!(table.contains(gate.id));
            assert!(tell(Some(gate.id)).is_ok());
        }
        assert!(
            details(&GATES[0])
                .starts_with("Feature: confmap.enableMergeAppendOption\nEnabled: false\nStage: Alpha\n")
        );
        assert_eq!(tell(Some("x")), Err("feature \"x\" not found".to_owned()));
    }
}
