//! What is acknowledged in front of a queue on disk, and is in memory only: a `batch` processor answers as soon as a
//! request waits in it. With the Go collector that is usual, so it is worth a warning and no more.

use millrace_config::catalog::Kind;
use millrace_config::load::{Component, Pipeline};
use millrace_config::{ComponentId, Config, Diagnostic, Diagnostics, Node, PipelineId, Value};
use millrace_processors::batch;
use std::collections::BTreeSet;

/// Warns of each such processor, once.
pub fn warn(config: &Config, diags: &mut Diagnostics) {
    let mut warned = BTreeSet::new();
    for pipeline in config.service.pipelines.values() {
        let kept = kept_behind(config, &pipeline.id);
        let batches = pipeline.processors.iter().filter(|processor| {
            let component = config.processors.get(&processor.id);
            component.is_some_and(|component| component.canonical == batch::FACTORY.name)
        });
        for processor in batches {
            if kept.is_empty() || !warned.insert(&processor.id) {
                continue;
            }
            let exporters: Vec<_> = kept.iter().map(|id| format!("`{id}`")).collect();
            let path = format!("service::pipelines::{}::processors", pipeline.id);
            let message = format!(
                "`{}` collects in memory what has been acknowledged, in front of a queue on disk ({}): a kill or a power \
                 failure loses it",
                processor.id,
                exporters.join(", ")
            );
            let help = "remove it here, and give the exporter `sending_queue: {batch: }`, which batches what is on disk \
                        already";
            diags.push(Diagnostic::warning(processor.span, &path, message).help(help.to_owned()));
        }
    }
}

/// The exporters that a pipeline leads to, through connectors as well, and whose queues are on disk.
fn kept_behind<'c>(config: &'c Config, from: &PipelineId) -> BTreeSet<&'c ComponentId> {
    let mut kept = BTreeSet::new();
    let mut seen = BTreeSet::from([from]);
    let mut next: Vec<&Pipeline> = config.service.pipelines.get(from).into_iter().collect();
    while let Some(pipeline) = next.pop() {
        for to in &pipeline.exporters {
            if config.components(Kind::Connector).contains_key(&to.id) {
                let receives = |pipeline: &&Pipeline| pipeline.receivers.iter().any(|one| one.id == to.id);
                let behind = config.service.pipelines.values().filter(receives);
                next.extend(behind.filter(|pipeline| seen.insert(&pipeline.id)));
            } else if let Some((id, exporter)) = config.exporters.get_key_value(&to.id)
                && is_on_disk(exporter)
            {
                kept.insert(id);
            }
        }
    }
    kept
}

fn is_on_disk(exporter: &Component) -> bool {
    let at = |key| exporter.node.get(&["sending_queue", key]).map(|node: &Node| &node.value);
    let is_named = at("storage").is_some_and(|value| !matches!(value, Value::Null));
    is_named && !matches!(at("enabled"), Some(Value::Bool(false)))
}
