//! What receivers count. Labels: `receiver` (the component's id as configured) and `transport` (`grpc`, `http`, …).
//!
//! At the end of every receive, accepted, refused and failed are all added to, zeros included, so that all three
//! appear with the first request.

use super::{PerSignal, per_signal};
use crate::metrics::{Def, Scope};

const SCOPE: Scope = Scope::named("go.opentelemetry.io/collector/receiver/receiverhelper");

/// Items that the pipeline took.
pub static ACCEPTED: PerSignal = per_signal!(
    SCOPE,
    "otelcol_receiver_accepted_",
    ["Number of ", " successfully pushed into the pipeline."]
)
.labelled(&["receiver", "transport"]);

/// Items that the pipeline did not take.
pub static REFUSED: PerSignal = per_signal!(
    SCOPE,
    "otelcol_receiver_refused_",
    ["Number of ", " that could not be pushed into the pipeline."]
)
.labelled(&["receiver", "transport"]);

/// Items that the receiver itself failed on.
pub static FAILED: PerSignal = per_signal!(
    SCOPE,
    "otelcol_receiver_failed_",
    ["The number of ", " that failed to be processed by the receiver due to internal errors."]
)
.labelled(&["receiver", "transport"]);

pub(super) const ALL: &[&Def] = &[];
pub(super) const PER_SIGNAL: &[&PerSignal] = &[&ACCEPTED, &REFUSED, &FAILED];
