//! Small texts from configurations and headers: durations, component names, endpoints, addresses, what a scraper
//! accepts.

#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_config::{ComponentId, Duration, PipelineId};
use millrace_net::config::listen_address;
use millrace_net::{Encoding, Endpoint};
use millrace_telemetry::expose::Options;
use millrace_telemetry::metrics::Level;
use millrace_telemetry::{Labels, Registry, catalogue};

fuzz_target!(|text: &str| {
    if let Ok(duration) = text.parse::<Duration>() {
        assert_eq!(duration.to_string().parse(), Ok(duration), "a duration survives being shown");
    }
    if let Ok(id) = text.parse::<ComponentId>() {
        assert_eq!(id.to_string().parse(), Ok(id), "a name survives being shown");
    }
    if let Ok(id) = text.parse::<PipelineId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    if let Ok(endpoint) = Endpoint::parse(text) {
        assert!(!endpoint.host().is_empty() && endpoint.port() != Some(0));
        assert!(!endpoint.to_string().is_empty());
    }
    // Refusals say what was refused.
    match listen_address(text) {
        Ok((host, _)) => assert!(text.contains(&host)),
        Err(problem) => assert!(!problem.is_empty()),
    }
    if let Some(encoding) = Encoding::from_content_encoding(text.as_bytes()) {
        let name = encoding.content_encoding();
        assert!(name.is_none_or(|name| Encoding::from_content_encoding(name.as_bytes()) == Some(encoding)));
    }
    if let Some((encoding, name)) =
        Encoding::from_grpc_encoding(text.as_bytes()).and_then(Encoding::over_grpc)
    {
        assert_eq!(Encoding::from_grpc_encoding(name.as_bytes()), Some(encoding));
    }
    let registry = Registry::new(Level::Normal);
    registry
        .counter(&catalogue::millrace::CONNECTIONS_ACCEPTED, &Labels::new().with("receiver", text.to_owned()))
        .add(1);
    let (content_type, page) = registry.render_with(&Options::default(), Some(text));
    assert!(content_type.contains('/'));
    assert!(page.lines().all(|line| line.starts_with('#') || line.contains(' ')), "{page}");
});
