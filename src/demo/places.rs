//! Where things are in the configuration that is run: what the shop sends to, and what a person can look at.

use crate::plan::Plan;
use millrace_config::{Component, Diagnostics};
use millrace_exporters::file;
use millrace_net::Endpoint;
use millrace_net::config::listen_address;
use millrace_receivers::otlp;
use std::io::ErrorKind;
use std::net::{TcpListener, ToSocketAddrs};

/// The places.
#[derive(Debug, Default)]
pub struct Places {
    /// Where OTLP/gRPC is taken.
    pub grpc: Option<Endpoint>,
    /// Where OTLP/HTTP is taken.
    pub http: Option<Endpoint>,
    /// Where the collector's own metrics are read.
    pub metrics: Option<Endpoint>,
    /// Where the health check answers.
    pub health: Option<Endpoint>,
    /// The files that are written.
    pub files: Vec<String>,
    /// Everything that is listened on.
    listeners: Vec<Listener>,
}

/// Something that is listened on.
#[derive(Debug)]
struct Listener {
    host: String,
    port: u16,
    /// What it is for.
    purpose: &'static str,
    /// Where the configuration says so.
    key: String,
}

impl Places {
    /// Finds them.
    ///
    /// # Errors
    /// When there is nowhere to send to.
    pub fn of(plan: &Plan) -> Result<Self, String> {
        let mut places = Self::default();
        for receiver in used(plan, Role::Receiver, otlp::FACTORY.name) {
            places.add_receiver(receiver);
        }
        if places.grpc.is_none() && places.http.is_none() {
            return Err(
                "the demo has nowhere to send to: no pipeline begins with an `otlp` receiver on a port of its own\nadd one, or leave --config out to run the quickstart"
                    .to_owned(),
            );
        }
        for reader in plan.telemetry.metrics.prometheus() {
            let key = "service::telemetry::metrics::readers".to_owned();
            let found = places.add(&reader.address(), "the collector's own metrics", key);
            places.metrics = places.metrics.take().or(found);
        }
        for extension in used(plan, Role::Extension, "health_check") {
            let endpoint = extension.node.get(&["endpoint"]).and_then(|endpoint| endpoint.as_text());
            let key = format!("{}::endpoint", extension.path());
            let found = places.add(endpoint.unwrap_or("localhost:13133"), "the health check", key);
            places.health = places.health.take().or(found);
        }
        for exporter in used(plan, Role::Exporter, file::FACTORY.name) {
            let config = exporter.decode::<file::Config>(&mut Diagnostics::new());
            places.files.extend(config.map(|config| config.path));
        }
        Ok(places)
    }

    fn add_receiver(&mut self, receiver: &Component) {
        let Some(config) = receiver.decode::<otlp::Config>(&mut Diagnostics::new()) else { return };
        let key = |protocol| format!("{}::protocols::{protocol}::endpoint", receiver.path());
        if let Some(grpc) = config.protocols.grpc.as_option() {
            let found = self.add(&grpc.endpoint, "OTLP/gRPC", key("grpc"));
            self.grpc = self.grpc.take().or(found);
        }
        if let Some(http) = config.protocols.http.as_option() {
            let found = self.add(&http.server.endpoint, "OTLP/HTTP", key("http"));
            self.http = self.http.take().or(found);
        }
    }

    /// Notes a listener and says how it is reached; a port of 0 is known to nobody but the system.
    fn add(&mut self, address: &str, purpose: &'static str, key: String) -> Option<Endpoint> {
        let (host, port) = listen_address(address).ok()?;
        if port == 0 {
            return None;
        }
        let everywhere = ["", "0.0.0.0", "::"].contains(&host.as_str());
        let reached = if everywhere { "localhost".to_owned() } else { host.clone() };
        self.listeners.push(Listener { host, port, purpose, key });
        Some(Endpoint::new(reached, port))
    }

    /// Looks whether every port is free, so that all that are not are told at once.
    ///
    /// # Errors
    /// Which are taken, and what to do.
    pub fn check_free(&self) -> Result<(), String> {
        let taken: Vec<_> = self.listeners.iter().filter(|listener| listener.is_taken()).collect();
        if taken.is_empty() {
            return Ok(());
        }
        let mut problem = "something is already listening where the demo wants to\n\n".to_owned();
        for Listener { host, port, purpose, key } in taken {
            problem.push_str(&format!("  {:<17} {purpose:<28} {key}\n", format!("{host}:{port}")));
        }
        problem.push_str(
            "\nMost likely another collector is running (`ss -ltnp` shows what it is): stop it, or give the demo other\nports in a configuration of its own:\n\n  millrace demo --print-config > my.yaml\n  millrace demo --config=my.yaml",
        );
        Err(problem)
    }
}

impl Listener {
    /// Whether somebody else listens there, on any of the addresses behind the name. Other obstacles are left for
    /// the component to report.
    fn is_taken(&self) -> bool {
        let host = if self.host.is_empty() { "::" } else { &self.host };
        let Ok(addresses) = (host, self.port).to_socket_addrs() else { return false };
        let in_use = |error: std::io::Error| error.kind() == ErrorKind::AddrInUse;
        addresses.into_iter().any(|address| TcpListener::bind(address).is_err_and(in_use))
    }
}

#[derive(Clone, Copy)]
enum Role {
    Receiver,
    Exporter,
    Extension,
}

/// The components of one type that are in use.
fn used<'p>(plan: &'p Plan, role: Role, canonical: &'static str) -> impl Iterator<Item = &'p Component> {
    let service = &plan.config.service;
    let (components, references): (_, Vec<_>) = match role {
        Role::Receiver => (
            &plan.config.receivers,
            service.pipelines.values().flat_map(|pipeline| &pipeline.receivers).collect(),
        ),
        Role::Exporter => (
            &plan.config.exporters,
            service.pipelines.values().flat_map(|pipeline| &pipeline.exporters).collect(),
        ),
        Role::Extension => (&plan.config.extensions, service.extensions.iter().collect()),
    };
    let is_used =
        move |component: &&Component| references.iter().any(|reference| reference.id == component.id);
    components.values().filter(move |component| component.canonical == canonical).filter(is_used)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan;
    use millrace_config::{Gates, parse_str};

    fn places(yaml: &str) -> Result<Places, String> {
        Places::of(&plan(parse_str("test.yaml", yaml, &|_| None), Gates::default()).expect(yaml))
    }

    #[test]
    fn they_are_found_where_the_configuration_puts_them() {
        let found = places(
            "receivers:\n  otlp: {protocols: {grpc: {endpoint: '0.0.0.0:5317'}}}\n  otlp/2: {protocols: {http: {}}}\n  \
             otlp/unused: {protocols: {http: {endpoint: 'localhost:1'}}}\n\
             exporters: {file: {path: /tmp/a.jsonl}, file/unused: {path: /tmp/b.jsonl}}\n\
             extensions: {health_check: {endpoint: '[::1]:1234'}}\n\
             service:\n  extensions: [health_check]\n  telemetry: {metrics: {readers: [{pull: {exporter: {prometheus: {port: 9999}}}}]}}\n  \
             pipelines:\n    traces: {receivers: [otlp], exporters: [file]}\n    logs: {receivers: [otlp/2], exporters: [file]}\n",
        )
        .expect("somewhere to send to");
        let authority = |endpoint: Option<Endpoint>| endpoint.map(|endpoint| endpoint.authority());
        assert_eq!(authority(found.grpc).as_deref(), Some("localhost:5317"));
        assert_eq!(authority(found.http).as_deref(), Some("localhost:4318"));
        assert_eq!(authority(found.metrics).as_deref(), Some("localhost:9999"));
        assert_eq!(authority(found.health).as_deref(), Some("[::1]:1234"));
        assert_eq!(found.files, ["/tmp/a.jsonl"]);
        assert_eq!(found.listeners.len(), 4);
    }

    #[test]
    fn without_a_port_to_send_to_there_is_no_demo() {
        let problem = places(
            "receivers: {otlp: {protocols: {grpc: {endpoint: 'localhost:0'}}}}\nexporters: {nop: {}}\n\
             service: {pipelines: {traces: {receivers: [otlp], exporters: [nop]}}}\n",
        )
        .expect_err("nowhere");
        assert!(problem.contains("no pipeline begins with an `otlp` receiver"), "{problem}");
    }

    #[test]
    fn every_port_that_is_taken_is_told_with_its_key() {
        let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let [grpc, health] = held.each_ref().map(|listener| listener.local_addr().expect("bound").port());
        let found = places(&format!(
            "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: 'localhost:{grpc}'}}}}}}}}\nexporters: {{nop: {{}}}}\n\
             extensions: {{health_check/mine: {{endpoint: '127.0.0.1:{health}'}}}}\n\
             service: {{telemetry: {{metrics: {{level: none}}}}, extensions: [health_check/mine], pipelines: {{traces: {{receivers: [otlp], exporters: [nop]}}}}}}\n"
        ))
        .expect("somewhere to send to");
        let problem = found.check_free().expect_err("both are taken");
        for part in [
            format!("localhost:{grpc}"),
            "receivers::otlp::protocols::grpc::endpoint".to_owned(),
            format!("127.0.0.1:{health}"),
            "extensions::health_check/mine::endpoint".to_owned(),
        ] {
            assert!(problem.contains(&part), "{part} in {problem}");
        }
        drop(held);
        assert_eq!(found.check_free(), Ok(()));
    }
}
