//! What connectors count. Label of all: `connector` (the component's id as configured).

use crate::metrics::{Def, Scope, Stability};

const FAILOVER: Scope =
    Scope::named("github.com/open-telemetry/opentelemetry-collector-contrib/connector/failoverconnector");

/// The level that takes requests, counted from 0; -1 when none does. Observed.
pub static FAILOVER_ACTIVE_LEVEL: Def = Def::gauge(
    "otelcol_connector_failover_active_level",
    "The priority level that takes requests, counted from 0; -1 when no level does.",
    "{level}",
)
.stability(Stability::Development)
.of(FAILOVER);

/// Times that a level failed and requests went to the next. A metric of ours. Also labelled `signal`.
pub static FAILOVER_SWITCHES: Def = Def::counter(
    "otelcol_millrace_failover_switches",
    "Number of times that a priority level failed and requests went to the next.",
    "{time}",
);

pub(super) const ALL: &[&Def] = &[&FAILOVER_ACTIVE_LEVEL, &FAILOVER_SWITCHES];
