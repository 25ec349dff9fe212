//! What a component's type receives. The values that concern Go's rules were read off `otelcol print-config`.

mod support;

use std::collections::BTreeMap;

use millrace_config::{
    Checker, Diagnostics, Duration, GivenOnly, Node, Optional, Secret, Sources, Spanned, Validate, decode,
    decode_over, parse_str,
};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use support::{Debug as DebugExporter, OTLP_GRPC, OTLP_RECEIVER, OtlpGrpc, OtlpReceiver, Verbosity};

const ENV: [(&str, &str); 5] =
    [("N", "8080"), ("HEX", "0x10"), ("EMPTY", ""), ("TRUE", "true"), ("LIST", "[a, \"${env:N}\"]")];

fn node(text: &str) -> (Node, Sources) {
    let env = |name: &str| ENV.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    let parsed = parse_str("c.yaml", text, &env);
    assert!(!parsed.diagnostics.has_errors(), "{}", parsed.render());
    (parsed.node.expect("a tree"), parsed.sources)
}

fn good<T: DeserializeOwned + Validate>(text: &str) -> T {
    let (node, sources) = node(text);
    let mut diags = Diagnostics::new();
    let value = decode(&node, "c", &mut diags);
    assert!(diags.is_empty(), "{}", diags.render(&sources));
    value.expect("no errors")
}

/// The messages and paths of what is wrong.
fn bad<T: DeserializeOwned + Validate>(text: &str) -> Vec<String> {
    let (node, _) = node(text);
    let mut diags = Diagnostics::new();
    assert!(decode::<T>(&node, "c", &mut diags).is_none(), "accepted");
    diags.iter().map(|one| format!("{}: {}", one.path, one.message)).collect()
}

#[derive(Debug, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(default)]
struct Scalars {
    text: String,
    maybe: Option<String>,
    number: i64,
    size: u16,
    ratio: f64,
    flag: bool,
    wait: Duration,
    list: Vec<String>,
    numbers: Vec<u8>,
    map: BTreeMap<String, String>,
}

impl Validate for Scalars {}

impl Default for Scalars {
    fn default() -> Self {
        Self {
            text: "default".to_owned(),
            maybe: Some("default".to_owned()),
            number: 7,
            size: 7,
            ratio: 7.5,
            flag: true,
            wait: Duration::from_secs(7),
            list: vec!["default".to_owned()],
            numbers: vec![7],
            map: BTreeMap::from([("default".to_owned(), "default".to_owned())]),
        }
    }
}

#[test]
fn a_null_keeps_the_default_and_an_empty_variable_is_zero() {
    let keys = ["text", "number", "size", "ratio", "flag", "wait", "list", "map"];
    let nulls: String = keys.map(|key| format!("{key}:\n")).concat();
    assert_eq!(good::<Scalars>(&nulls), Scalars::default());
    assert_eq!(good::<Scalars>(""), Scalars::default());

    let empty: String = keys.map(|key| format!("{key}: ${{env:EMPTY}}\n")).concat();
    let zero = Scalars {
        text: String::new(),
        number: 0,
        size: 0,
        ratio: 0.0,
        flag: false,
        wait: Duration::ZERO,
        ..Scalars::default()
    };
    assert_eq!(good::<Scalars>(&empty), zero);
    assert_eq!(good::<Scalars>("maybe:").maybe, None);
    assert_eq!(good::<Scalars>("maybe: ${env:EMPTY}").maybe, None);
}

#[test]
fn a_variable_fits_text_and_number_fields_alike() {
    let value: Scalars =
        good("text: ${env:HEX}\nnumber: ${env:HEX}\nflag: ${env:TRUE}\nmap: {a: \"${env:N}\"}\n");
    assert_eq!((value.text.as_str(), value.number, value.flag), ("0x10", 16, true));
    assert_eq!(value.map["a"], "8080");
    assert_eq!(good::<Scalars>("list: ${env:LIST}").list, ["a", "8080"]);
    assert_eq!(
        bad::<Scalars>("number: 1${env:N}"),
        ["c::number: expected a whole number (within range), found text (the value comes from `${…}`)"]
    );
}

#[test]
fn lists_may_be_written_with_commas_and_replace_the_default() {
    assert_eq!(good::<Scalars>("list: a,b ,c").list, ["a", "b ", "c"]);
    assert!(good::<Scalars>("list: \"\"").list.is_empty());
    assert!(good::<Scalars>("list: []").list.is_empty());
    assert_eq!(good::<Scalars>("list: [a, ~]").list, ["a", ""]);
    assert_eq!(good::<Scalars>("numbers: [1, 2e0, ~]").numbers, [1, 2, 0]);
}

#[test]
fn every_mistake_of_a_section_is_reported_in_one_run() {
    let mistakes = bad::<Scalars>(
        "text: 5\nnumber: x\nsize: 70000\nratio: y\nflag: 1\nwait: 3\nlist: [a, 1, b, [c]]\nnumbers: [1, 300, x]\n\
         map: {a: 1, b: c, d: {}}\nlimit: 1\nnmber: 3\n",
    );
    assert_eq!(
        mistakes,
        [
            "c::limit: unknown key `limit`",
            "c::nmber: unknown key `nmber`",
            "c::text: expected text, found the number 5",
            "c::number: expected a whole number (within range), found the text \"x\"",
            "c::size: expected a whole number (0 or more, within range), found the number 70000",
            "c::ratio: expected a number, found the text \"y\"",
            "c::flag: expected true or false, found the number 1",
            "c::wait: a duration needs a unit",
            "c::list[1]: expected text, found the number 1",
            "c::list[3]: expected text, found a list",
            "c::numbers[1]: expected a whole number (0 or more, within range), found the number 300",
            "c::numbers[2]: expected a whole number (0 or more, within range), found the text \"x\"",
            "c::map::a: expected text, found the number 1",
            "c::map::d: expected text, found a map",
        ]
    );
}

#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
struct Server {
    endpoint: String,
    tls: GivenOnly<Tls>,
}

impl Validate for Server {
    fn validate(&self, at: &mut Checker<'_>) {
        at.nested("tls", &self.tls);
    }
}

#[derive(Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(default)]
struct Tls {
    cert: String,
}

impl Validate for Tls {
    fn validate(&self, at: &mut Checker<'_>) {
        if self.cert.is_empty() {
            at.error("cert", "a certificate is needed");
        }
    }
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
struct Servers {
    off_unless_given: Optional<Server>,
    on_unless_disabled: Optional<Server>,
}

impl Default for Servers {
    fn default() -> Self {
        Self { off_unless_given: Optional::Off, on_unless_disabled: Optional::On(Server::default()) }
    }
}

impl Validate for Servers {
    fn validate(&self, at: &mut Checker<'_>) {
        at.nested("off_unless_given", &self.off_unless_given);
        at.nested("on_unless_disabled", &self.on_unless_disabled);
    }
}

#[test]
fn optional_sections_are_on_when_given_and_off_when_disabled() {
    for (text, first, second) in [
        ("", false, true),
        ("off_unless_given:\n", true, true),
        ("off_unless_given: {}\n", true, true),
        ("off_unless_given: {enabled: false}\n", false, true),
        ("off_unless_given: {enabled: true}\n", true, true),
        ("on_unless_disabled: {enabled: false, endpoint: x}\n", false, false),
        ("on_unless_disabled:\n", false, true),
        ("off_unless_given: ${env:EMPTY}\n", true, true),
    ] {
        let servers: Servers = good(text);
        assert_eq!(
            (servers.off_unless_given.is_on(), servers.on_unless_disabled.is_on()),
            (first, second),
            "{text}"
        );
    }
}

#[test]
fn a_given_only_section_stays_off_when_it_is_bare() {
    assert!(!good::<Server>("tls:").tls.is_on());
    assert!(!good::<Server>("").tls.is_on());
    assert!(!good::<Server>("tls: {enabled: false}").tls.is_on());
    assert_eq!(good::<Server>("tls: {cert: x}").tls.into_option(), Some(Tls { cert: "x".to_owned() }));
    assert_eq!(bad::<Server>("tls: {}"), ["c::tls::cert: a certificate is needed"]);
}

#[test]
fn a_section_that_is_off_is_typed_but_not_checked() {
    assert_eq!(
        bad::<Servers>("on_unless_disabled: {enabled: false, endpoint: 5, tls: {}}"),
        ["c::on_unless_disabled::endpoint: expected text, found the number 5"]
    );
}

#[test]
fn a_components_own_defaults_lie_under_what_the_user_wrote() {
    let over = |text: &str| -> OtlpReceiver {
        let (node, sources) = node(text);
        let mut diags = Diagnostics::new();
        let value = decode_over(OTLP_RECEIVER, &node, "c", &mut diags);
        value.unwrap_or_else(|| panic!("{}", diags.render(&sources)))
    };
    let receiver = over("protocols: {grpc: }");
    assert_eq!(
        receiver.protocols.grpc.as_option().map(|server| server.endpoint.as_str()),
        Some("localhost:4317")
    );
    assert!(!receiver.protocols.http.is_on());
    let receiver = over("protocols: {grpc: {endpoint: x:1}, http: {include_metadata: true}}");
    let grpc = receiver.protocols.grpc.into_option().expect("on");
    assert_eq!((grpc.endpoint.as_str(), grpc.read_buffer_size), ("x:1", 524_288));
    let http = receiver.protocols.http.into_option().expect("on");
    assert_eq!((http.endpoint.as_str(), http.include_metadata), ("localhost:4318", true));
}

#[test]
fn parts_share_one_section() {
    let (node, sources) = node("endpoint: x:1\ntimeout: 3s\nsending_queue: {queue_size: 5}\n");
    let mut diags = Diagnostics::new();
    let exporter: Option<OtlpGrpc> = decode_over(OTLP_GRPC, &node, "c", &mut diags);
    let exporter = exporter.unwrap_or_else(|| panic!("{}", diags.render(&sources)));
    assert_eq!((exporter.client.endpoint.as_str(), exporter.client.compression.as_str()), ("x:1", "gzip"));
    assert_eq!(exporter.delivery.timeout, Duration::from_secs(3));
    assert_eq!(exporter.delivery.sending_queue.as_option().map(|queue| queue.queue_size), Some(5));
    assert_eq!(exporter.delivery.sending_queue.as_option().map(|queue| queue.num_consumers), Some(10));
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
struct Required {
    key: String,
    action: String,
    #[serde(default, rename = "type", alias = "kind")]
    what: String,
}

impl Validate for Required {}

#[derive(Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
struct Actions {
    actions: Vec<Required>,
}

impl Validate for Actions {
    fn validate(&self, at: &mut Checker<'_>) {
        at.each("actions", &self.actions);
    }
}

#[test]
fn required_keys_are_asked_for_unless_they_were_just_written_wrongly() {
    assert_eq!(
        bad::<Actions>("actions: [{key: a}, {key: 1, action: x}, {key: b, acton: y}, {}]"),
        [
            "c::actions[0]: the key `action` is missing",
            "c::actions[1]::key: expected text, found the number 1",
            "c::actions[2]::acton: unknown key `acton`",
            "c::actions[3]: the key `key` is missing",
        ]
    );
}

#[test]
fn aliases_of_keys_are_accepted() {
    let actions: Actions = good("actions: [{key: a, action: b, kind: c}, {key: a, action: b, type: d}]");
    let kinds: Vec<_> =
        actions.actions.iter().map(|one| (one.key.as_str(), one.action.as_str(), &*one.what)).collect();
    assert_eq!(kinds, [("a", "b", "c"), ("a", "b", "d")]);
}

#[derive(Debug, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Source {
    Nothing,
    File { path: String },
    Address(String),
}

#[derive(Debug, Deserialize, Serialize, JsonSchema)]
struct WithSource {
    source: Spanned<Source>,
    #[serde(default)]
    token: Secret,
}

impl Validate for WithSource {}

#[test]
fn variants_are_names_or_maps_of_one_key() {
    assert_eq!(good::<WithSource>("source: nothing").source.value, Source::Nothing);
    assert_eq!(good::<WithSource>("source: {address: x}").source.value, Source::Address("x".to_owned()));
    let file = Source::File { path: "p".to_owned() };
    assert_eq!(good::<WithSource>("source: {file: {path: p}}").source.value, file);
    assert_eq!(bad::<WithSource>("source: {file: {paht: p}}"), ["c::source::file::paht: unknown key `paht`"]);
    assert_eq!(
        bad::<WithSource>("source: {adress: p}"),
        ["c::source::adress: `adress` is not an accepted value"]
    );
    assert_eq!(
        bad::<WithSource>("source: {}"),
        ["c::source: expected exactly one key that says which kind this is, found 0"]
    );
}

#[test]
fn spanned_values_know_where_they_were_written() {
    let (node, sources) = node("\nsource: {address: x}\n");
    let mut diags = Diagnostics::new();
    let value: WithSource = decode(&node, "c", &mut diags).expect("good");
    assert_eq!(sources.slice(value.source.span), Some("{address: x}"));
    assert_eq!((value.source.span.start.line, value.source.span.start.column), (2, 9));
}

#[test]
fn secrets_do_not_show() {
    let value: WithSource = good("source: nothing\ntoken: hunter2");
    assert_eq!(value.token.expose(), "hunter2");
    assert!(!format!("{value:?}{}", value.token).contains("hunter2"));
    let (node, sources) = node("source: nothing\ntoken: [hunter2]\n");
    let mut diags = Diagnostics::new();
    assert!(decode::<WithSource>(&node, "c", &mut diags).is_none());
    let shown = diags.render(&sources);
    assert!(shown.contains("token: ***\n") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn the_debug_exporters_values_are_those_that_go_prints() {
    let exporter: DebugExporter =
        good("verbosity: ~\nsampling_initial: ${env:EMPTY}\nsampling_thereafter: 1e1\n");
    assert_eq!(exporter.verbosity, Verbosity::Basic);
    assert_eq!((exporter.sampling_initial, exporter.sampling_thereafter), (0, 10));
}

#[test]
fn many_nulls_are_read() {
    let text: String = (0..1000).map(|_| "- {key: a, action: b, type: }\n").collect();
    let text = format!("actions:\n{}", text.lines().map(|line| format!("  {line}\n")).collect::<String>());
    assert_eq!(good::<Actions>(&text).actions.len(), 1000);
}

#[test]
fn what_is_not_a_section_is_refused_at_the_top() {
    assert_eq!(bad::<Scalars>("[a]"), ["c: expected a section (keys and values), found a list"]);
    assert_eq!(bad::<Servers>("text"), ["c: expected a section (keys and values), found the text \"text\""]);
}
