//! The schema of a whole file, held against configurations by a validator that is not ours.

use crate::{at_root, ours};
use boon::{Compiler, Schemas};
use millrace_config::parse::parse_tree;
use millrace_config::{Diagnostics, Sources};
use serde_json::Value;
use std::fs;

/// Whether the validator accepts a configuration as it is written, and if not, why.
fn validate(configurations: &[(String, String)]) -> Vec<(String, Result<(), String>)> {
    let mut compiler = Compiler::new();
    compiler.add_resource("millrace.json", ours::schema(&[])).expect("a resource");
    let mut schemas = Schemas::new();
    let index = compiler.compile("millrace.json", &mut schemas).expect("a sound schema of draft 2020-12");
    let check = |(name, text): &(String, String)| {
        let verdict = schemas.validate(&written(text), index).map_err(|error| format!("{error:#}"));
        (name.clone(), verdict)
    };
    configurations.iter().map(check).collect()
}

/// A text as a tree in which nothing has been replaced.
fn written(text: &str) -> Value {
    let mut sources = Sources::new();
    let id = sources.add("test.yaml", text);
    parse_tree(&sources, id, &mut Diagnostics::new()).expect("YAML").to_json()
}

#[test]
fn what_is_shipped_and_shown_is_valid() {
    let mut configurations: Vec<(String, String)> = fs::read_dir(at_root("configs"))
        .expect("the folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .map(|path| (path.display().to_string(), fs::read_to_string(&path).expect("a text")))
        .collect();
    configurations.push(("the README".to_owned(), example("README.md")));
    assert!(configurations.len() > 3);
    for (name, verdict) in validate(&configurations) {
        assert_eq!(verdict, Ok(()), "{name}");
    }
}

/// The first complete configuration on a page.
fn example(page: &str) -> String {
    let text = crate::read(page);
    let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.into_iter().find(|block| block.contains("\nservice:")).expect("an example").to_owned()
}

const SOUND: &str = "\
receivers: {otlp/a: {protocols: {grpc: ,http: '${file:http.yaml}'}}}
exporters: {otlp: {endpoint: '${env:WHERE}', tls: {insecure: '${env:PLAIN}'}, timeout: '${env:T:-5s}', compression: '${env:C}',
  sending_queue: {queue_size: '${env:SIZE}', sizer: items, batch: }, headers: {a: b}}, debug: , debug/x: {verbosity: detailed}}
processors: {batch: {timeout: 0, metadata_keys: 'a,b'}}
service:
  extensions: []
  pipelines: {traces/x: {receivers: [otlp/a], processors: [batch], exporters: [otlp, debug, debug/x]}}
  telemetry: {metrics: {level: '${env:LEVEL}'}, resource: {deployment.environment: test}}
";

#[test]
fn what_an_editor_should_underline_is_not_valid() {
    let cases = [
        ("service:", "servce:"),
        ("grpc:", "grcp:"),
        ("endpoint:", "endpont:"),
        ("'${env:T:-5s}'", "5"),
        ("'${env:T:-5s}'", "'5 parsecs'"),
        ("'${env:SIZE}'", "many"),
        ("'${env:PLAIN}'", "'yes'"),
        ("'${env:C}'", "gzap"),
        ("sizer: items", "sizer: things"),
        ("verbosity: detailed", "verbosity: {}"),
        ("debug/x: {", "debugger/x: {"),
        ("traces/x:", "spans/x:"),
        ("exporters: [otlp, ", "exporters: [nothing, "),
        ("receivers: [otlp/a], ", "receivers: {otlp/a: }, "),
        ("extensions: []", "extension: []"),
    ];
    let changed = cases.map(|(from, to)| {
        assert!(SOUND.contains(from), "{from}");
        (format!("{to} for {from}"), SOUND.replacen(from, to, 1))
    });
    let part = "exporters: {debug: {verbosity: detailed}}".to_owned();
    let mut configurations = vec![("as it is".to_owned(), SOUND.to_owned()), ("a part".to_owned(), part)];
    configurations.extend(changed);
    let verdicts = validate(&configurations);
    for (name, verdict) in &verdicts[..2] {
        assert_eq!(verdict, &Ok(()), "{name}");
    }
    for (name, verdict) in &verdicts[2..] {
        assert!(verdict.is_err(), "{name}");
    }
}
