//! The rules: one function per place, each a few lines that name the old form and the new one.

use super::section::{Findings, Section, whole};
use super::{Change, gone, known, rename, text};
use crate::catalog::{Catalog, Kind};
use crate::id::ComponentId;
use crate::node::{Entry, Map, Node, Value};
use crate::source::Span;

/// Where applications used to send to Jaeger, and where it takes OTLP.
const JAEGER_PORT: (&str, &str) = (":14250", ":4317");
/// Where the Loki exporter used to send to, and where Loki takes OTLP.
const LOKI_PATH: (&str, &str) = ("/loki/api/v1/push", "/otlp");
/// The settings of TLS that clients once had beside their endpoint.
const TLS_KEYS: [(&str, &str); 6] = [
    ("insecure", "insecure"),
    ("insecure_skip_verify", "insecure_skip_verify"),
    ("ca_file", "ca_file"),
    ("cert_file", "cert_file"),
    ("key_file", "key_file"),
    ("server_name_override", "server_name_override"),
];

/// Applies all rules to a configuration.
pub(super) fn apply(root: &mut Node, catalog: &dyn Catalog, findings: &mut Findings<'_>) {
    for kind in Kind::ALL {
        remove_idle(root, kind, findings);
        let Some(Value::Map(section)) = root.get_mut(kind.section()).map(|node| &mut node.value) else {
            continue;
        };
        for entry in section.entries_mut() {
            let Ok(id) = entry.key.parse::<ComponentId>() else { continue };
            let Some(known) = known(catalog, kind, id.type_name()) else { continue };
            if !matches!(entry.value.value, Value::Map(_) | Value::Null) {
                continue;
            }
            let path = format!("{}::{id}", kind.section());
            let key_span = entry.key_span;
            let mut section = Section { node: &mut entry.value, path, key_span, findings };
            component(kind, id.type_name(), known.canonical, &mut section);
        }
    }
    let Some(service) = root.get_mut("service") else { return };
    let mut service = Section { node: service, path: "service".to_owned(), key_span: Span::NONE, findings };
    service.within("telemetry", |at| at.within("metrics", metrics_address));
}

/// The rules for one component, by the name it was written with and the one it has.
fn component(kind: Kind, written: &str, canonical: &str, at: &mut Section<'_, '_>) {
    match (kind, canonical) {
        (Kind::Exporter, "debug") => loglevel(at),
        (Kind::Exporter, "otlp_grpc" | "otlp_http") => {
            match written {
                "jaeger" => jaeger(at),
                "jaeger_thrift" => jaeger_thrift(at),
                "loki" => loki(at),
                _ => {}
            }
            at.rename("tls_settings", "tls");
            at.move_into("tls", &TLS_KEYS);
            if canonical == "otlp_grpc" {
                plain_scheme(at);
            }
            batcher(at);
            at.within("sending_queue", queue);
        }
        (Kind::Receiver, "otlp") => at.within("protocols", |at| {
            for transport in ["grpc", "http"] {
                at.within(transport, |at| {
                    at.rename("tls_settings", "tls");
                    at.move_into(
                        "cors",
                        &[
                            ("cors_allowed_origins", "allowed_origins"),
                            ("cors_allowed_headers", "allowed_headers"),
                        ],
                    );
                });
            }
        }),
        (Kind::Processor | Kind::Extension, "memory_limiter") => memory_limiter(at),
        (Kind::Extension, "health_check") => health_check_port(at),
        _ => {}
    }
}

/// `loglevel` of the `logging` exporter. Case did not matter in keys once, and many wrote `logLevel`.
fn loglevel(at: &mut Section<'_, '_>) {
    let key = if at.has("logLevel") { "logLevel" } else { "loglevel" };
    let Some(level) = at.text(key) else { return };
    let verbosity = match level.to_ascii_lowercase().as_str() {
        "debug" => "detailed",
        "info" => "normal",
        _ => "basic",
    };
    at.replace(key, "verbosity", text(verbosity), &format!("`{key}` has become `verbosity`"));
}

fn jaeger(at: &mut Section<'_, '_>) {
    let (old, new) = JAEGER_PORT;
    let Some(endpoint) =
        at.text("endpoint").and_then(|endpoint| Some(endpoint.strip_suffix(old)?.to_owned()))
    else {
        return;
    };
    at.replace(
        "endpoint",
        "endpoint",
        text(endpoint + new),
        "Jaeger takes OTLP on another port than its own format",
    );
}

fn jaeger_thrift(at: &mut Section<'_, '_>) {
    let Some(endpoint) = at.text("endpoint") else { return };
    let base = endpoint.split(":14268").next().unwrap_or_default();
    if base.len() < endpoint.len() {
        let message = "Jaeger takes OTLP on another port than its own format";
        at.replace("endpoint", "endpoint", text(format!("{base}:4318")), message);
    }
}

fn loki(at: &mut Section<'_, '_>) {
    let (old, new) = LOKI_PATH;
    if let Some(base) = at.text("endpoint").and_then(|endpoint| Some(endpoint.strip_suffix(old)?.to_owned()))
    {
        at.replace(
            "endpoint",
            "endpoint",
            text(base + new),
            "Loki takes OTLP under another path than its own format",
        );
    }
    if let Some(tenant) = at.text("tenant_id") {
        let mut headers = Map::new();
        headers.push(entry("X-Scope-OrgID", text(tenant)));
        let message = "`tenant_id` is a header, here as anywhere";
        at.replace("tenant_id", "headers", Node::synthetic(Value::Map(headers)), message);
    }
    for key in ["labels", "default_labels_enabled", "format", "tenant"] {
        if at.has(key) {
            let message = format!(
                "`{key}` does nothing any more: which attributes become labels is configured in Loki"
            );
            at.remove(key, &message);
        }
    }
}

/// `http://` in front of a gRPC endpoint.
fn plain_scheme(at: &mut Section<'_, '_>) {
    let Some(host) =
        at.text("endpoint").and_then(|endpoint| Some(endpoint.strip_prefix("http://")?.to_owned()))
    else {
        return;
    };
    let host = host.trim_end_matches('/');
    let is_plain_host = !host.is_empty() && !host.contains(['/', '@', '?']);
    let tls_fits = at.get("tls").is_none_or(|tls| matches!(tls.value, Value::Map(_) | Value::Null));
    if !is_plain_host || !tls_fits {
        return;
    }
    let has_port =
        host.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let host = if has_port { host.to_owned() } else { format!("{host}:80") };
    let message = "the endpoint of gRPC has no scheme; `http://` stands for `tls: {insecure: true}`";
    at.replace("endpoint", "endpoint", text(host), message);
    let insecure = || Node::synthetic(Value::Bool(true));
    if at.has("tls") {
        at.within("tls", |at| {
            if !at.has("insecure") {
                at.insert_quietly("insecure", insecure());
            }
        });
    } else {
        let mut tls = Map::new();
        tls.push(entry("insecure", insecure()));
        at.insert_quietly("tls", Node::synthetic(Value::Map(tls)));
    }
}

/// The section `batcher` that exporters had for a while.
fn batcher(at: &mut Section<'_, '_>) {
    at.within("batcher", sizes);
    at.move_into("sending_queue", &[("batcher", "batch")]);
}

fn sizes(at: &mut Section<'_, '_>) {
    at.rename("min_size_items", "min_size");
    at.rename("max_size_items", "max_size");
}

fn queue(at: &mut Section<'_, '_>) {
    at.rename("blocking", "block_on_overflow");
    at.within("batch", sizes);
    if at.has("persistent_storage_enabled") && !at.is_true("persistent_storage_enabled") {
        at.remove(
            "persistent_storage_enabled",
            "a queue is on disk if it names a `storage`, and not otherwise",
        );
    } else if at.has("persistent_storage_enabled") {
        let message = "a queue is on disk if it names a `storage`: an extension that says where";
        at.replace("persistent_storage_enabled", "storage", text("file_storage"), message);
    }
}

fn memory_limiter(at: &mut Section<'_, '_>) {
    if at.has("ballast_size_mib") {
        at.remove("ballast_size_mib", "`ballast_size_mib` does nothing: there is no ballast any more");
    }
    if !at.has("check_interval") {
        at.insert("check_interval", text("1s"), "`check_interval` is missing");
    }
}

/// `port` of `health_check`, which meant all addresses.
fn health_check_port(at: &mut Section<'_, '_>) {
    let port = match at.get("port").map(|node| &node.value) {
        Some(Value::Int(port)) => port.to_string(),
        Some(Value::String(port)) => port.clone(),
        _ => return,
    };
    let message = "`port` has become part of `endpoint`";
    at.replace("port", "endpoint", text(format!("0.0.0.0:{port}")), message);
}

/// `service::telemetry::metrics::address`.
fn metrics_address(at: &mut Section<'_, '_>) {
    if at.has("readers") && at.has("address") {
        return at.remove("address", "`address` does nothing beside `readers`");
    }
    let Some(address) = at.text("address") else { return };
    let Some((host, port)) = address.rsplit_once(':') else { return };
    let Ok(port) = port.parse::<u16>() else { return };
    let host = if host.is_empty() { "0.0.0.0" } else { host.trim_matches(['[', ']']) };
    let mut prometheus = Map::new();
    prometheus.push(entry("host", text(host)));
    prometheus.push(entry("port", Node::synthetic(Value::Int(port.into()))));
    let reader = ["prometheus", "exporter", "pull"].into_iter().fold(
        Node::synthetic(Value::Map(prometheus)),
        |value, key| {
            let mut map = Map::new();
            map.push(entry(key, value));
            Node::synthetic(Value::Map(map))
        },
    );
    let readers = Node::synthetic(Value::Seq(vec![reader]));
    at.replace("address", "readers", readers, "`address` has become one of `readers`");
}

/// Takes out components that do nothing any more, and every mention of them.
fn remove_idle(root: &mut Node, kind: Kind, findings: &mut Findings<'_>) {
    let Some(Value::Map(section)) = root.get_mut(kind.section()).map(|node| &mut node.value) else { return };
    let mut is_any = false;
    for entry in section.iter().filter(|entry| rename::does_nothing(kind, &entry.key)) {
        is_any = true;
        let type_name = entry.key.split('/').next().unwrap_or_default().trim();
        let Some(gone) = gone(kind, type_name) else { continue };
        let path = format!("{}::{}", kind.section(), entry.key.trim());
        findings.warn(entry.key_span, &path, gone.message, gone.help);
        findings.edit(whole(entry), Change::Remove);
    }
    section.retain(|entry| !rename::does_nothing(kind, &entry.key));
    if !is_any {
        return;
    }
    let Some(service) = root.get_mut("service") else { return };
    if kind == Kind::Extension {
        without_idle(service.get_mut("extensions"), kind, findings);
    }
    let Some(Value::Map(pipelines)) = service.get_mut("pipelines").map(|node| &mut node.value) else {
        return;
    };
    for pipeline in pipelines.entries_mut() {
        without_idle(pipeline.value.get_mut(kind.section()), kind, findings);
    }
}

fn without_idle(list: Option<&mut Node>, kind: Kind, findings: &mut Findings<'_>) {
    let Some(Value::Seq(items)) = list.map(|list| &mut list.value) else { return };
    let is_idle = |item: &Node| item.as_text().is_some_and(|text| rename::does_nothing(kind, text));
    for item in items.iter().filter(|item| is_idle(item) && !item.is_expanded()) {
        findings.edit(Some(item.span), Change::Remove);
    }
    items.retain(|item| !is_idle(item));
}

fn entry(key: &str, value: Node) -> Entry {
    Entry { key: key.to_owned(), key_span: Span::NONE, value }
}
