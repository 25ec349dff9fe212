//! The `forward` connector: what one pipeline puts in, others of the same signal get.
//!
//! It exists in the configuration only: the graph links the pipelines, and nothing runs.

use millrace_config::{PipelineId, Validate};
use millrace_engine::component::{BuildError, ConnectorConfig, Context, Factory, Stability};
use millrace_engine::entry::Route;
use millrace_wire::Signal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The `forward` connector.
pub const FACTORY: Factory<dyn ConnectorConfig> = Factory {
    name: "forward",
    aliases: &[],
    signals: &Signal::ALL,
    stability: Stability::Beta,
    schema: millrace_config::Shape::of::<Config>(),
    plan: |node, path, diags| Some(Box::new(millrace_config::decode::<Config>(node, path, diags)?)),
};

/// The section `connectors::forward`, which has no keys.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {}

impl Validate for Config {}

impl ConnectorConfig for Config {
    fn build(
        &self,
        context: Context,
        signal: Signal,
        outputs: Vec<(PipelineId, Arc<Route>)>,
    ) -> Result<Arc<Route>, BuildError> {
        let mut routes: Vec<_> = outputs
            .into_iter()
            .filter(|(pipeline, _)| pipeline.signal == signal)
            .map(|(_, route)| route)
            .collect();
        Ok(match routes.len() {
            0 => {
                return Err(context
                    .error(format!("no {signal} pipeline lists it among its receivers; add it to one")));
            }
            1 => routes.remove(0),
            _ => Arc::new(Route::Fan(routes)),
        })
    }
}
