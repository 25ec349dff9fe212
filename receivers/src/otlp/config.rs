//! The section `receivers::otlp`.

use millrace_config::{Checker, Optional, Validate};
use millrace_net::config::{GrpcServerConfig, HttpServerConfig};
use millrace_wire::Signal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The OTLP receiver's configuration.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Which transports to listen on; a transport is on if its key is present.
    pub protocols: Protocols,
}

/// `protocols`.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Protocols {
    /// OTLP/gRPC, by default on localhost:4317.
    pub grpc: Optional<GrpcServerConfig>,
    /// OTLP/HTTP with protobuf and JSON bodies, by default on localhost:4318.
    pub http: Optional<HttpConfig>,
}

millrace_config::parts! {
    /// `protocols::http`: the server's keys and the paths.
    pub struct HttpConfig {
        /// The server.
        pub server: HttpServerConfig,
        /// The paths.
        pub paths: Paths,
    }
}

/// The paths of the signals.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Paths {
    /// Where traces are posted.
    pub traces_url_path: String,
    /// Where metrics are posted.
    pub metrics_url_path: String,
    /// Where logs are posted.
    pub logs_url_path: String,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            traces_url_path: "/v1/traces".to_owned(),
            metrics_url_path: "/v1/metrics".to_owned(),
            logs_url_path: "/v1/logs".to_owned(),
        }
    }
}

impl Paths {
    pub(super) fn by_signal(&self) -> [(Signal, &str); 3] {
        [
            (Signal::Traces, &self.traces_url_path),
            (Signal::Metrics, &self.metrics_url_path),
            (Signal::Logs, &self.logs_url_path),
        ]
    }
}

impl Validate for Paths {
    fn validate(&self, at: &mut Checker<'_>) {
        let rootless = |path: &str| path.strip_prefix('/').unwrap_or(path).to_owned();
        let paths = self.by_signal().map(|(signal, path)| (signal, rootless(path)));
        for (index, (signal, path)) in paths.iter().enumerate() {
            if let Some((other, _)) = paths[..index].iter().find(|(_, earlier)| earlier == path) {
                at.error(&format!("{signal}_url_path"), format!("must differ from `{other}_url_path`"));
            }
        }
    }
}

impl Validate for Config {
    fn validate(&self, at: &mut Checker<'_>) {
        at.within("protocols", |at| {
            at.nested("grpc", &self.protocols.grpc);
            at.nested("http", &self.protocols.http);
        });
        if !self.protocols.grpc.is_on() && !self.protocols.http.is_on() {
            at.error("protocols", "must specify at least one protocol when using the OTLP receiver\nadd `grpc:` or `http:` here");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_config::{Diagnostics, parse_str};

    fn complaints(yaml: &str) -> String {
        let parsed = parse_str("test.yaml", yaml, &|_| None);
        let mut diags = Diagnostics::new();
        let node = parsed.node.expect("the test's YAML is in form");
        let config = millrace_config::decode::<Config>(&node, "receivers::otlp", &mut diags);
        assert_eq!(config.is_none(), diags.has_errors());
        diags.render(&parsed.sources)
    }

    #[test]
    fn a_transport_is_on_if_its_key_is_there() {
        assert_eq!(complaints("protocols: {grpc: }"), "");
        assert_eq!(complaints("protocols: {http: {traces_url_path: 'v1/{x}/:y'}}"), "");
        assert!(complaints("protocols: {}").contains("at least one protocol"));
    }

    #[test]
    fn two_signals_cannot_have_one_path() {
        let complaint = complaints("protocols: {http: {traces_url_path: /x, logs_url_path: x}}");
        assert!(complaint.contains("must differ from `traces_url_path`"), "{complaint}");
    }
}
