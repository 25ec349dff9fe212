//! The `resource_detection` processor: adds to resources what is known of the machine that the collector runs on.
//!
//! It looks once before the pipelines start, and again now and then if it is told to. What it found is put onto every
//! resource in one rewrite that does not look at the items.

mod attributes;
mod config;
mod detection;
pub mod detectors;
mod http;
mod sections;

#[cfg(test)]
mod tests;

pub use attributes::{Attribute, Attributes};
pub use config::{Azure, Config, Docker, Ec2, Gcp, K8sNode, Plain, Retry, System, Want, Wanted};
pub use detectors::Surroundings;

use detection::Detection;
use millrace_config::encode::{Secrets, encode};
use millrace_engine::component::{BuildError, Context, Factory, ProcessorConfig, Stability};
use millrace_engine::entry::Route;
use millrace_engine::{Batch, Current, Failure, Transform};
use millrace_telemetry::catalogue::processor as catalogue;
use millrace_telemetry::{Labels, Registration};
use millrace_wire::Signal;
use millrace_wire::edit::{Edit, Message, Reach, Resource, Verdict, rewrite};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::time::sleep;

/// The `resource_detection` processor.
pub const FACTORY: Factory<dyn ProcessorConfig> = Factory {
    name: "resource_detection",
    aliases: &["resourcedetection"],
    signals: &[Signal::Traces, Signal::Metrics, Signal::Logs],
    stability: Stability::Alpha,
    schema: millrace_config::Shape::of::<Config>(),
    plan: |node, path, diags| Some(Box::new(millrace_config::decode::<Config>(node, path, diags)?)),
};

impl ProcessorConfig for Config {
    fn build(&self, context: Context, _: Signal, next: Arc<Route>) -> Result<Route, BuildError> {
        let detected = detected(self, &context)?;
        let processor = ResourceDetection { detected, override_existing: self.r#override };
        Ok(Route::Apply(Arc::new(processor), next))
    }
}

/// What has been found, shared by the pipelines that a processor is in.
struct Detected {
    attributes: Current<Attributes>,
    visible: Mutex<Option<Registration>>,
}

impl Detected {
    fn new(attributes: Attributes) -> Arc<Self> {
        let (attributes, _) = Current::new(attributes);
        Arc::new(Self { attributes, visible: Mutex::default() })
    }
}

/// What a processor has found, or now finds. One is built for each of its pipelines, and again on a reload: as long as
/// any is in use, all of the same configuration get what the first one found.
fn detected(config: &Config, context: &Context) -> Result<Arc<Detected>, BuildError> {
    let lasting = &context.shared.lasting;
    // With secrets, which may be all that has changed.
    let print = encode(config, Secrets::Shown).map_err(|error| context.error(error))?.print();
    let key = format!("{} {print:x}", context.id);
    if let Some(detected) = lasting.find(&key) {
        return Ok(detected);
    }
    let detection = Arc::new(Detection::new(config, context, Surroundings::real()));
    let attributes = first(&detection).map_err(|error| {
        context.error(format!(
            "cannot detect the resource: {error}; remove a detector that does not belong here"
        ))
    })?;
    tracing::info!(
        otelcol.component.id = %context.id,
        otelcol.component.kind = "processor",
        attributes = attributes.len(),
        "detected resource information"
    );
    let detected = Detected::new(attributes);
    let seen = Arc::downgrade(&detected);
    let visible =
        context.shared.registry.observe(&catalogue::DETECTED_ATTRIBUTES, &Labels::new(), move || {
            seen.upgrade().map_or(f64::NAN, |detected| detected.attributes.read().len() as f64)
        });
    *detected.visible.lock().unwrap_or_else(PoisonError::into_inner) = Some(visible);
    let interval = config.refresh_interval.get();
    if !interval.is_zero() {
        let again = again(detection, Arc::downgrade(&detected), interval, context.id.to_string());
        context.shared.tasks.spawn("detect", again);
    }
    lasting.put(&key, &detected);
    Ok(detected)
}

/// Asks for the first time. Blocks, on a thread of its own: nothing runs before this is known.
fn first(detection: &Arc<Detection>) -> Result<Attributes, String> {
    let detection = Arc::clone(detection);
    let ask = move || {
        let runtime =
            Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
        let found = runtime.block_on(detection.run());
        // Without waiting for the system's resolver, which may go on for longer than the detectors may.
        runtime.shutdown_background();
        found
    };
    let thread = std::thread::Builder::new().name("detect".to_owned()).spawn(ask);
    let asked = thread.map_err(|error| error.to_string())?.join();
    asked.unwrap_or_else(|_| Err("a detector panicked; this is a bug".to_owned()))
}

/// Asks again, until nobody needs to know any more. What was found stays as long as nothing new is.
async fn again(detection: Arc<Detection>, detected: Weak<Detected>, interval: Duration, processor: String) {
    loop {
        sleep(interval).await;
        if detected.strong_count() == 0 {
            return;
        }
        match (detection.run().await, detected.upgrade()) {
            (Ok(attributes), Some(detected)) => drop(detected.attributes.replace(attributes)),
            (Err(error), Some(_)) => tracing::warn!(
                otelcol.component.id = processor,
                otelcol.component.kind = "processor",
                error,
                "resource refresh failed; keeping previous snapshot"
            ),
            (_, None) => return,
        }
    }
}

struct ResourceDetection {
    detected: Arc<Detected>,
    override_existing: bool,
}

impl Transform for ResourceDetection {
    fn apply(&self, batch: Batch) -> Result<Option<Batch>, Failure> {
        let attributes = self.detected.attributes.read();
        if attributes.is_empty() {
            return Ok(Some(batch));
        }
        let mut stamp = Stamp { attributes: &attributes, override_existing: self.override_existing };
        let mut stamped = Batch::empty(batch.signal());
        for piece in batch.into_pieces() {
            let edited = rewrite(&piece.payload, &mut stamp);
            stamped.push(piece.with_payload(edited.payload));
        }
        Ok(Some(stamped))
    }
}

/// Puts what was detected onto every resource.
struct Stamp<'a> {
    attributes: &'a Attributes,
    override_existing: bool,
}

impl Edit for Stamp<'_> {
    fn reach(&self) -> Reach {
        Reach::RESOURCE
    }

    fn resource(&mut self, resource: &mut Message<'_, Resource>) -> Verdict {
        self.attributes.put(resource, self.override_existing);
        Verdict::Skip
    }
}
