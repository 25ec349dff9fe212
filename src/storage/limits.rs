//! What a queue may hold, by the configuration that its collector runs with.

use super::folders::{Folder, Where};
use crate::components::namesakes;
use millrace_config::catalog::Kind;
use millrace_config::{ComponentId, Diagnostics, Node, Optional, decode};
use millrace_delivery::storage::QUEUE;
use millrace_delivery::{QueueConfig, Sizer};
use millrace_engine::Cost;
use millrace_engine::storage::Owner;
use millrace_extensions::file_storage::{Config, FACTORY, folder};
use millrace_log::{Options, Totals};
use millrace_wire::Signal;
use std::sync::Arc;

/// How much a queue may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    sizer: Sizer,
    queue_size: u64,
    /// On disk; `None` leaves it to the disk.
    max_bytes: Option<u64>,
    segment_bytes: u64,
}

impl Limits {
    /// Those of the queue in that folder; or why they are not known.
    ///
    /// # Errors
    /// If there is a configuration, and it cannot be read.
    pub fn of(queue: &Folder, place: &Where) -> Result<Result<Self, String>, String> {
        let Some(node) = place.configuration()? else {
            return Ok(Err(
                "how much its queue may hold, the configuration says: name it with --config; or say with --limit how many \
                 are to be put there, or start the collector and replay while it runs"
                    .into(),
            ));
        };
        let Some(config) = queue_of(&node, &queue.name) else {
            return Ok(Err(format!(
                "no exporter of the configuration has a queue that is kept in {}; name the configuration that the \
                 collector runs with",
                queue.name
            )));
        };
        let storage = config.storage.as_ref().and_then(|id| storage_of(&node, id));
        let rules = storage.unwrap_or_default().rules();
        Ok(Ok(Self {
            sizer: config.sizer,
            queue_size: config.queue_size,
            max_bytes: rules.max_bytes,
            segment_bytes: rules.segment_bytes,
        }))
    }

    /// Whether one more fits beside what is held.
    ///
    /// # Errors
    /// Why it does not.
    pub fn admit(&self, held: Totals, one: Cost) -> Result<(), String> {
        let used = match self.sizer {
            Sizer::Requests => held.entries,
            Sizer::Items => held.items,
            Sizer::Bytes => held.bytes,
        };
        if used.saturating_add(self.sizer.of(one)) > self.queue_size {
            return Err(format!(
                "the queue is full ({used} of `queue_size: {}`); start the collector, and replay again when it has sent some",
                self.queue_size
            ));
        }
        Ok(())
    }

    /// The options of a log that keeps to them. Nothing that waits is dropped for what is put back.
    pub fn options(&self) -> Options {
        Options {
            max_size: self.max_bytes.unwrap_or(u64::MAX),
            segment_size: Some(self.segment_bytes),
            ..Options::default()
        }
    }
}

/// The queue that is kept in a folder of that name.
fn queue_of(node: &Node, name: &str) -> Option<QueueConfig> {
    let sections = |key: &str| {
        let map = node.as_map().and_then(|all| all.get(key)?.as_map());
        map.map_or(&[][..], |map| map.entries())
    };
    let exporters = sections("exporters");
    let configured: Vec<_> = exporters.iter().filter_map(|entry| entry.key.parse().ok()).collect();
    let exporter = exporters.iter().find(|entry| {
        let ids = ids(Kind::Exporter, &entry.key, &configured);
        ids.iter().any(|id| {
            Signal::ALL.into_iter().any(|signal| is_folder_of(Kind::Exporter, id, None, signal, name))
        })
    });
    if let Some(exporter) = exporter {
        let section = exporter.value.as_map()?.get("sending_queue")?;
        return decode::<Optional<QueueConfig>>(section, "", &mut Diagnostics::new())?.into_option();
    }
    let pipelines = || {
        let pipelines = node.get(&["service", "pipelines"]).and_then(Node::as_map);
        pipelines.into_iter().flat_map(|pipelines| pipelines.entries())
    };
    let processors = sections("processors");
    let configured: Vec<_> = processors.iter().filter_map(|entry| entry.key.parse().ok()).collect();
    let processor = processors.iter().find(|entry| {
        let ids = ids(Kind::Processor, &entry.key, &configured);
        ids.iter().any(|id| {
            pipelines()
                .any(|pipeline| is_folder_of(Kind::Processor, id, Some(&pipeline.key), Signal::Logs, name))
        })
    })?;
    millrace_processors::queue_batch::queue(&processor.value)
}

/// The ids under which a component may have kept something: its own, and those of other names of its type that no other
/// one has.
fn ids(kind: Kind, key: &str, configured: &[ComponentId]) -> Vec<ComponentId> {
    let Ok(id) = key.parse::<ComponentId>() else { return Vec::new() };
    namesakes(kind, &id, |other| configured.contains(other)).chain([id.clone()]).collect()
}

/// Whether what a component keeps of a signal, or in a pipeline, is kept in a folder of that name.
fn is_folder_of(kind: Kind, id: &ComponentId, pipeline: Option<&str>, signal: Signal, name: &str) -> bool {
    let (kind, id, pipeline) = (kind.name(), id.clone(), pipeline.map(str::to_owned));
    let owner = Owner { kind, id, namesakes: Arc::default(), pipeline, signal, what: QUEUE };
    folder(&owner) == name
}

fn storage_of(node: &Node, id: &ComponentId) -> Option<Config> {
    let extensions = node.as_map()?.get("extensions")?.as_map()?;
    let is_it = |key: &str| key.parse::<ComponentId>().is_ok_and(|key| key == *id);
    let entry = extensions.entries().iter().find(|entry| is_it(&entry.key))?;
    // What is wrong with it, the collector says.
    decode(&entry.value, "", &mut Diagnostics::new()).filter(|_| id.type_name() == FACTORY.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Input;
    use crate::plan;

    const CONFIG: &str = "
exporters:
  otlp/eu: {endpoint: a:1, sending_queue: {storage: file_storage/small, queue_size: 7, sizer: bytes}}
  otlp_http: {endpoint: 'http://a:1', sending_queue: {storage: file_storage}}
  otlp/two: {endpoint: a:1, sending_queue: {storage: file_storage, queue_size: 20}}
  otlp_grpc/two: {endpoint: b:1, sending_queue: {storage: file_storage/small, queue_size: 30}}
  nop: {}
processors:
  queue_batch/a: {storage: file_storage, wait_for_result: false}
extensions:
  file_storage: {directory: /tmp}
  file_storage/small: {directory: /tmp, max_size: 1048576}
service:
  pipelines: {logs/x: {receivers: [], processors: [queue_batch/a], exporters: [otlp/eu]}}
";

    fn limits(name: &str) -> Option<(u64, Option<u64>)> {
        let input = Input { configs: vec![format!("yaml:{CONFIG}")], ..Input::default() };
        let node = plan::read(&input).node.expect("it is YAML");
        let config = queue_of(&node, name)?;
        let rules = storage_of(&node, config.storage.as_ref()?)?.rules();
        Some((config.queue_size, rules.max_bytes))
    }

    #[test]
    fn a_folder_has_the_limits_of_the_component_whose_it_is_under_whichever_name_of_its_type() {
        let small = Some((7, Some(1 << 20)));
        assert_eq!(limits("exporter-otlp-eu-traces.queue"), small);
        assert_eq!(limits("exporter-otlp_grpc-eu-logs.queue"), small);
        assert_eq!(limits("exporter-otlp_http-logs.queue"), Some((1000, None)));
        assert_eq!(limits("exporter-otlphttp-metrics.queue"), Some((1000, None)));
        assert_eq!(limits("processor-queue_batch-a-logs~002Fx.queue"), Some((10, None)));
        // Of two whose types are the same, each has its own.
        assert_eq!(limits("exporter-otlp-two-logs.queue"), Some((20, None)));
        assert_eq!(limits("exporter-otlp_grpc-two-logs.queue"), Some((30, Some(1 << 20))));
        for unknown in
            ["exporter-otlp-us-logs.queue", "exporter-nop-logs.queue", "processor-queue_batch-a-logs.queue"]
        {
            assert_eq!(limits(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn what_is_held_and_what_comes_are_counted_by_the_sizer() {
        let held = Totals { entries: 2, items: 20, bytes: 2_000 };
        let one = Cost { items: 10, bytes: 1_000 };
        for (sizer, fits) in [(Sizer::Requests, 3), (Sizer::Items, 30), (Sizer::Bytes, 3_000)] {
            let limits = |queue_size| Limits { sizer, queue_size, max_bytes: None, segment_bytes: 1 << 20 };
            assert_eq!(limits(fits).admit(held, one), Ok(()));
            let problem = limits(fits - 1).admit(held, one).expect_err("too small");
            assert!(problem.contains(&format!("`queue_size: {}`", fits - 1)), "{problem}");
        }
    }
}
