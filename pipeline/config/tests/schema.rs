//! What a typed configuration says of itself.

use millrace_config::{Duration, GivenOnly, Node, Optional, Secret, Secrets, Shape, Spanned, parse_str};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Where to, and how.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
struct Client {
    /// `host:port`.
    endpoint: String,
    /// How long one attempt may take.
    timeout: Duration,
    headers: BTreeMap<String, Secret>,
    token: Secret,
    tls: GivenOnly<Tls>,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            endpoint: "localhost:1".to_owned(),
            timeout: Duration::from_millis(1500),
            headers: BTreeMap::new(),
            token: Secret::default(),
            tls: GivenOnly::Off,
        }
    }
}

impl millrace_config::Validate for Client {}

#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
struct Tls {
    cert_file: String,
    min: Option<Version>,
}

#[derive(Debug, Clone, Copy, Deserialize, Serialize, JsonSchema)]
enum Version {
    #[serde(rename = "1.2")]
    Old,
    #[serde(rename = "1.3")]
    New,
}

#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
struct Own {
    queue: Optional<Queue>,
    batch: Optional<Queue>,
    rules: Vec<Rule>,
    statement: Spanned<String>,
    factor: f64,
}

impl Default for Own {
    fn default() -> Self {
        Self {
            queue: Optional::On(Queue { size: 7 }),
            batch: Optional::Off,
            rules: Vec::new(),
            statement: Spanned::unwritten("all".to_owned()),
            factor: 0.5,
        }
    }
}

impl millrace_config::Validate for Own {}

#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
struct Queue {
    size: u32,
}

#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
struct Rule {
    action: String,
}

impl Default for Rule {
    fn default() -> Self {
        Self { action: "keep".to_owned() }
    }
}

millrace_config::parts! {
    /// Both.
    struct Config {
        client: Client,
        own: Own,
    }
}

const SHAPE: Shape = Shape::over::<Config>("{endpoint: 'localhost:2', batch?: {size: 3}}");

fn tree(yaml: &str) -> Node {
    parse_str("test.yaml", yaml, &|_| None).node.expect("the test's YAML is in form")
}

fn complete(yaml: &str, secrets: Secrets) -> Value {
    SHAPE.complete(&tree(yaml), secrets).expect(yaml).to_json()
}

#[test]
fn what_was_read_is_written_with_its_defaults_and_without_its_secrets() {
    let yaml = "{token: hush, headers: {a: b}, batch: , rules: [{}]}";
    let expected = json!({
        "endpoint": "localhost:2",
        "timeout": "1.5s",
        "headers": {"a": "[REDACTED]"},
        "token": "[REDACTED]",
        "tls": null,
        "queue": {"size": 7},
        "batch": {"size": 3},
        "rules": [{"action": "keep"}],
        "statement": "all",
        "factor": 0.5,
    });
    assert_eq!(complete(yaml, Secrets::Redacted), expected);
    let shown = complete(yaml, Secrets::Shown);
    assert_eq!((&shown["token"], &shown["headers"]["a"]), (&json!("hush"), &json!("b")));
    assert_eq!(complete(yaml, Secrets::Redacted), expected, "they are hidden again");
    assert_eq!(serde_json::to_value(Secret::new("hush")).expect("text"), json!("[REDACTED]"));
}

#[test]
fn what_is_off_is_written_so_that_it_stays_off() {
    for yaml in ["{queue: {enabled: false}}", "{tls: , batch: {size: 5, enabled: false}}", "{tls: {}}"] {
        let once = SHAPE.complete(&tree(yaml), Secrets::Shown).expect(yaml);
        let twice = SHAPE.complete(&once, Secrets::Shown).expect(yaml);
        assert_eq!(once.to_json(), twice.to_json(), "{yaml}");
    }
    assert_eq!(complete("{}", Secrets::Shown)["batch"], json!({"enabled": false}));
    assert_eq!(complete("{tls: {}}", Secrets::Shown)["tls"], json!({"cert_file": "", "min": null}));
}

#[test]
fn the_schema_tells_the_defaults_that_hold_here() {
    let schema = SHAPE.schema().to_value();
    let keys = &schema["properties"];
    assert_eq!(keys["endpoint"]["default"], "localhost:2");
    assert_eq!(keys["endpoint"]["description"], "`host:port`.");
    assert_eq!(keys["timeout"]["default"], "1.5s");
    assert_eq!(keys["token"].get("default"), None);
    assert_eq!(keys["token"]["x-secret"], true);
    assert_eq!(keys["headers"]["default"], json!({}));
    assert_eq!(keys["headers"]["additionalProperties"]["x-secret"], true);
    assert_eq!(keys["tls"]["default"], Value::Null);
    assert_eq!(keys["tls"]["properties"]["cert_file"]["default"], "");
    assert_eq!(keys["queue"].get("default"), None, "it is on, and its keys say how");
    assert_eq!(keys["queue"]["properties"]["size"]["default"], 0, "written, it has its own defaults");
    assert_eq!(keys["queue"]["properties"]["enabled"]["default"], true);
    assert_eq!(keys["batch"]["default"], json!({"enabled": false}));
    assert_eq!(keys["batch"]["properties"]["size"]["default"], 3);
    assert_eq!(keys["rules"]["default"], json!([]));
    assert_eq!(keys["rules"]["items"]["properties"]["action"]["default"], "keep");
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn the_decoder_tells_the_keys_it_accepts() {
    let keys = SHAPE.keys(&tree("{queue: {}, rules: [{}], headers: {}}"));
    let sections: Vec<_> = keys.keys().map(String::as_str).collect();
    assert_eq!(sections, ["", "queue", "rules[0]"]);
    assert_eq!(keys["queue"], ["size", "enabled"]);
    assert_eq!(keys[""].len(), 10);
}
