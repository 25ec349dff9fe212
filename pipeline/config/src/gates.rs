//! Feature gates: `--feature-gates=+a,-b`, with the Go collector's life cycle.
//!
//! A gate of the Go collector that names behaviour which is not built here is refused by name, so that nobody believes
//! it is on. A gate that the Go collector has since removed, because what it switched on is now always so, is taken
//! with a notice where that is so here too.

use std::fmt;

use crate::load::Gates;
use crate::suggest;

/// How far a gate has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Off unless enabled.
    Alpha,
    /// On unless disabled.
    Beta,
    /// On, and cannot be disabled: the gate will go away.
    Stable,
    /// No longer a gate of the Go collector: what it enabled is always so.
    Removed,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alpha => "Alpha",
            Self::Beta => "Beta",
            Self::Stable => "Stable",
            Self::Removed => "Removed",
        })
    }
}

/// What a gate does here.
#[derive(Debug, Clone, Copy)]
enum Here {
    /// It sets this.
    Sets(fn(&mut Gates) -> &mut bool),
    /// Either way is the same, for this reason.
    MakesNoDifference(&'static str),
    /// It is always on: what it would go back to is not built.
    IsAlwaysOn,
    /// What it enables is not built.
    IsMissing,
}

/// A feature gate.
#[derive(Debug, Clone, Copy)]
pub struct Gate {
    /// Its name.
    pub id: &'static str,
    /// How far it has come.
    pub stage: Stage,
    /// The version of the Go collector that brought it.
    pub from: &'static str,
    /// What it is for.
    pub description: &'static str,
    here: Here,
}

impl Gate {
    /// Whether it is on when nobody says anything.
    #[must_use]
    pub fn is_on_by_default(&self) -> bool {
        self.stage != Stage::Alpha
    }

    /// Why it changes nothing here, or cannot be enabled.
    #[must_use]
    pub fn note(&self) -> Option<&'static str> {
        match self.here {
            Here::Sets(_) => None,
            Here::MakesNoDifference(why) => Some(why),
            Here::IsAlwaysOn => Some("it cannot be disabled here"),
            Here::IsMissing => Some("what it enables is not built here yet"),
        }
    }
}

/// Every gate that is recognised, by name.
pub static GATES: &[Gate] = &[
    Gate {
        id: "confmap.enableMergeAppendOption",
        stage: Stage::Alpha,
        from: "v0.120.0",
        description: "Of several sources, join the lists of extensions, receivers and exporters in `service` instead of replacing them.",
        here: Here::Sets(|gates| &mut gates.join_references),
    },
    Gate {
        id: "exporter.file.nativeCompression",
        stage: Stage::Alpha,
        from: "v0.154.0",
        description: "Compress files as a whole instead of message by message.",
        here: Here::IsMissing,
    },
    Gate {
        id: "exporter.prometheusexporter.DisableAddMetricSuffixes",
        stage: Stage::Beta,
        from: "v0.132.0",
        description: "Name metrics by `translation_strategy` alone.",
        here: Here::IsAlwaysOn,
    },
    Gate {
        id: "extension.healthcheck.useComponentStatus",
        stage: Stage::Alpha,
        from: "v0.142.0",
        description: "Answer health checks from the state of each component.",
        here: Here::MakesNoDifference(
            "`http` and `grpc` of health_check answer so without it, `endpoint` never does",
        ),
    },
    Gate {
        id: "pdata.useProtoPooling",
        stage: Stage::Alpha,
        from: "v0.133.0",
        description: "Reuse the memory of decoded telemetry.",
        here: Here::MakesNoDifference("telemetry is not decoded here, so there is nothing to reuse"),
    },
    Gate {
        id: "pkg.exporterhelper.queueBatchEnabled",
        stage: Stage::Alpha,
        from: "v0.158.0",
        description: "Let sending queues batch unless they are told otherwise.",
        here: Here::Sets(|gates| &mut gates.queue_batch),
    },
    Gate {
        id: "pkg.translator.prometheus.PermissiveLabelSanitization",
        stage: Stage::Alpha,
        from: "v0.61.0",
        description: "Leave labels that begin with an underscore as they are.",
        here: Here::IsMissing,
    },
    Gate {
        id: "processor.resourcedetection.consul.prefixMetaAttributes",
        stage: Stage::Alpha,
        from: "v0.159.0",
        description: "Put `consul.meta.` before the names of attributes from a node's metadata.",
        here: Here::IsMissing,
    },
    Gate {
        id: "processor.resourcedetection.elasticbeanstalk.DontEmitV0DeploymentConventions",
        stage: Stage::Alpha,
        from: "v0.159.0",
        description: "Leave out `deployment.environment` and `service.instance.id` of Elastic Beanstalk.",
        here: Here::IsMissing,
    },
    Gate {
        id: "processor.resourcedetection.elasticbeanstalk.EmitV1DeploymentConventions",
        stage: Stage::Alpha,
        from: "v0.159.0",
        description: "Set `deployment.environment.name` and `deployment.id` of Elastic Beanstalk.",
        here: Here::IsMissing,
    },
    Gate {
        id: "receiverhelper.newReceiverMetrics",
        stage: Stage::Alpha,
        from: "v0.138.0",
        description: "Tell in the metrics of receivers whose fault a refusal was.",
        here: Here::IsMissing,
    },
    Gate {
        id: "service.AllowNoPipelines",
        stage: Stage::Alpha,
        from: "v0.122.0",
        description: "Allow a service of extensions only.",
        here: Here::Sets(|gates| &mut gates.allow_no_pipelines),
    },
    Gate {
        id: "service.partialReload",
        stage: Stage::Alpha,
        from: "v0.157.0",
        description: "Rebuild only what a change of the configuration concerns.",
        here: Here::MakesNoDifference("a reload keeps whatever has not changed in any case"),
    },
    Gate {
        id: "service.partialReloadReceivers",
        stage: Stage::Beta,
        from: "v0.157.0",
        description: "Restart only receivers where nothing else has changed.",
        here: Here::MakesNoDifference("a reload keeps whatever has not changed in any case"),
    },
    Gate {
        id: "service.profilesSupport",
        stage: Stage::Alpha,
        from: "v0.112.0",
        description: "Allow pipelines for profiles.",
        here: Here::Sets(|gates| &mut gates.profiles),
    },
    Gate {
        id: "telemetry.newPipelineTelemetry",
        stage: Stage::Alpha,
        from: "v0.123.0",
        description: "Measure what every component consumes and produces, with the component in the scope.",
        here: Here::IsMissing,
    },
    removed("component.UseLocalHostAsDefaultHost", "Listen on localhost unless told otherwise.", "v0.94.0"),
    removed("confmap.strictlyTypedInput", "Read values with the type that they are written with.", "v0.98.0"),
    removed("confmap.unifyEnvVarExpansion", "Replace only `${…}`, and by one set of rules.", "v0.98.0"),
    removed("otelcol.printInitialConfig", "Have the command `print-config`.", "v0.126.0"),
    removed(
        "telemetry.UseLocalHostAsDefaultMetricsAddress",
        "Serve metrics on localhost unless told otherwise.",
        "v0.111.0",
    ),
    removed(
        "telemetry.useOtelForInternalMetrics",
        "Measure with OpenTelemetry's names and types.",
        "v0.75.0",
    ),
    removed(
        "telemetry.useOtelWithSDKConfigurationForInternalTelemetry",
        "Configure the collector's own telemetry with `readers` and `processors`.",
        "v0.82.0",
    ),
];

const fn removed(id: &'static str, description: &'static str, from: &'static str) -> Gate {
    Gate { id, stage: Stage::Removed, from, description, here: Here::MakesNoDifference("it is always so") }
}

/// The gate of that name.
#[must_use]
pub fn gate(id: &str) -> Option<&'static Gate> {
    GATES.iter().find(|gate| gate.id == id)
}

/// What `--feature-gates` sets, and what to say about it.
///
/// # Errors
/// What is wrong with one of the names, and what to do.
pub fn read_gates(values: &[String]) -> Result<(Gates, Vec<String>), String> {
    let mut gates = Gates::default();
    let mut notices = Vec::new();
    for name in values.iter().flat_map(|value| value.split(',')).filter(|name| !name.is_empty()) {
        let (id, enable) = match name.strip_prefix('-') {
            Some(id) => (id, false),
            None => (name.strip_prefix('+').unwrap_or(name), true),
        };
        let gate = gate(id).ok_or_else(|| unknown(id))?;
        notices.extend(set(gate, enable, &mut gates)?);
    }
    Ok((gates, notices))
}

fn set(gate: &Gate, enable: bool, gates: &mut Gates) -> Result<Option<String>, String> {
    let id = gate.id;
    match (gate.stage, gate.here) {
        (Stage::Stable | Stage::Removed, _) if !enable => Err(format!(
            "feature gate \"{id}\" is {}, it can not be disabled; leave it out",
            gate.stage.word()
        )),
        (Stage::Stable | Stage::Removed, _) => Ok(Some(format!(
            "feature gate \"{id}\" is {} and has no effect any more; leave it out",
            gate.stage.word()
        ))),
        (_, Here::Sets(place)) => {
            *place(gates) = enable;
            Ok(None)
        }
        (_, Here::MakesNoDifference(why)) => {
            Ok(Some(format!("feature gate \"{id}\" makes no difference here: {why}")))
        }
        (_, Here::IsAlwaysOn) if enable => Ok(None),
        (_, Here::IsAlwaysOn) => Err(format!(
            "feature gate \"{id}\" is always on here, it can not be disabled ({}); leave it out",
            gate.description.trim_end_matches('.')
        )),
        (_, Here::IsMissing) if enable => Err(format!(
            "feature gate \"{id}\" enables what is not built here yet ({}); leave it out",
            gate.description.trim_end_matches('.')
        )),
        (_, Here::IsMissing) => Ok(None),
    }
}

impl Stage {
    fn word(self) -> &'static str {
        match self {
            Self::Alpha => "alpha",
            Self::Beta => "beta",
            Self::Stable => "stable",
            Self::Removed => "gone because it is always on",
        }
    }
}

fn unknown(id: &str) -> String {
    let ids = GATES.iter().filter(|gate| gate.stage != Stage::Removed).map(|gate| gate.id);
    let near = suggest::nearest(id, ids.clone());
    let near = near.map_or_else(String::new, |near| format!("did you mean \"{near}\"? "));
    let all: Vec<_> = ids.collect();
    format!("no such feature gate \"{id}\". {near}valid gates: [{}]", all.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Result<(Gates, Vec<String>), String> {
        read_gates(&[value.to_owned()])
    }

    #[test]
    fn gates_are_enabled_and_disabled_in_order() {
        let (gates, notices) = read("service.profilesSupport,+service.AllowNoPipelines").expect("known");
        assert!(gates.profiles && gates.allow_no_pipelines && notices.is_empty());
        let (gates, _) = read("+service.profilesSupport,-service.profilesSupport").expect("known");
        assert_eq!(gates, Gates::default());
        assert_eq!(read("").expect("nothing").0, Gates::default());
    }

    #[test]
    fn what_cannot_be_had_is_refused_and_what_changes_nothing_is_said() {
        let unknown = read("service.profileSupport").expect_err("unknown");
        assert!(
            unknown.starts_with("no such feature gate \"service.profileSupport\". did you mean"),
            "{unknown}"
        );
        let missing = read("telemetry.newPipelineTelemetry").expect_err("missing");
        assert!(missing.contains("not built here yet"), "{missing}");
        assert!(read("-telemetry.newPipelineTelemetry").expect("off anyway").1.is_empty());
        let always = "exporter.prometheusexporter.DisableAddMetricSuffixes";
        assert!(read(always).expect("it is on").1.is_empty());
        let refused = read(&format!("-{always}")).expect_err("cannot be disabled");
        assert!(refused.contains("always on here"), "{refused}");
        let stable = read("-component.UseLocalHostAsDefaultHost").expect_err("cannot be disabled");
        assert!(stable.contains("can not be disabled"), "{stable}");
        let idle = [
            "+component.UseLocalHostAsDefaultHost",
            "extension.healthcheck.useComponentStatus",
            "pdata.useProtoPooling",
        ];
        for nothing in idle {
            assert_eq!(read(nothing).expect(nothing).1.len(), 1, "{nothing}");
        }
    }

    #[test]
    fn the_table_is_in_order_and_every_gate_is_named_once() {
        for part in
            GATES.chunk_by(|one, other| (one.stage == Stage::Removed) == (other.stage == Stage::Removed))
        {
            assert!(part.is_sorted_by(|one, other| one.id < other.id));
        }
    }
}
