//! No output shows a secret, wherever in a configuration somebody has put it.
//!
//! The schema names every key. In each that takes text a URL with user, password and query is planted, in each that is
//! secret a word, and beside it mistakes are made, so that the line is shown: an unknown key, a wrong type, the key itself
//! spelt wrongly. Whatever `validate` and `print-config` say must not contain what was planted.

mod support;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::iter;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use support::{Setup, eventually, http1, requests};

/// What must never be seen: it begins so.
const CANARY: &str = "canary";
/// A secret word.
const WORD: &str = "canary-word-7Jq2";
/// A URL with a secret in each place where one can be.
const URL: &str = "https://canary-user:canary-password@host.example:4318/path?signature=canary-query";
/// What a secret can be besides a word.
const PEM: &str = "-----BEGIN PRIVATE KEY-----\nMIIcanaryEvQ\n-----END PRIVATE KEY-----\n";

/// A key that takes text.
#[derive(Debug, Clone)]
struct Place {
    /// The keys that lead to it from the component; `*` in a map takes any key, and `[]` is an item of a list.
    path: Vec<String>,
    secret: bool,
}

/// Whether a step of a path is a key by its name.
fn is_key(step: &str) -> bool {
    step != "*" && step != "[]"
}

/// What stands at the place in a configuration.
fn written(place: &Place, value: Value) -> Value {
    place.path.iter().rev().fold(value, |value, step| match step.as_str() {
        "[]" => json!([value]),
        "*" => json!({ "x-name": value }),
        key => json!({ key: value }),
    })
}

/// All keys below a schema that take text.
fn places(schema: &Value, path: &[String], secret: bool, found: &mut Vec<Place>) {
    let secret = secret || schema.get("x-secret").is_some();
    let types = |name: &str| match &schema["type"] {
        Value::Array(types) => types.iter().any(|one| one == name),
        one => one == name,
    };
    let is_named = path.iter().any(|step| is_key(step));
    let is_text = types("string") || (secret && !types("array") && !types("object"));
    if is_named && is_text {
        found.push(Place { path: path.to_vec(), secret });
    }
    let below = |step: &str| [path, &[step.to_owned()]].concat();
    for (key, schema) in schema["properties"].as_object().into_iter().flatten() {
        places(schema, &below(key), secret, found);
    }
    for (keyword, step) in [("items", "[]"), ("additionalProperties", "*")] {
        if schema[keyword].is_object() {
            places(&schema[keyword], &below(step), secret, found);
        }
    }
    for keyword in ["anyOf", "oneOf", "allOf"] {
        for variant in schema[keyword].as_array().into_iter().flatten() {
            places(variant, path, secret, found);
        }
    }
}

/// `$ref` replaced by what it refers to, as deep as configurations go.
fn resolved(schema: &Value, root: &Value, depth: usize) -> Value {
    match schema {
        Value::Object(keys) => {
            if let Some(reference) = keys.get("$ref").and_then(Value::as_str).filter(|_| depth < 40) {
                let target = root.pointer(reference.trim_start_matches('#')).expect("a definition");
                return resolved(target, root, depth + 1);
            }
            keys.iter().map(|(key, value)| (key.clone(), resolved(value, root, depth + 1))).collect()
        }
        Value::Array(items) => items.iter().map(|item| resolved(item, root, depth + 1)).collect(),
        other => other.clone(),
    }
}

/// The places of each component and of `service::telemetry`, by section and type.
fn everything() -> Vec<(String, String, Vec<Place>)> {
    let output = Command::new(env!("CARGO_BIN_EXE_millrace")).arg("schema").output().expect("it runs");
    let schema: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let mut all = Vec::new();
    for section in ["receivers", "processors", "exporters", "connectors", "extensions"] {
        let keys = schema["properties"][section]["properties"].as_object().expect("components");
        for (name, component) in keys.iter().filter(|(_, component)| component.get("deprecated").is_none()) {
            let mut found = Vec::new();
            places(&resolved(component, &schema, 0), &[], false, &mut found);
            all.push((section.to_owned(), name.clone(), found));
        }
    }
    let mut found = Vec::new();
    let telemetry = &schema["properties"]["service"]["properties"]["telemetry"];
    places(&resolved(telemetry, &schema, 0), &["telemetry".to_owned()], false, &mut found);
    all.push(("service".to_owned(), String::new(), found));
    all
}

/// How people spell a key wrongly.
fn misspelt(key: &str) -> Vec<String> {
    let letters: Vec<char> = key.chars().collect();
    let middle = letters.len() / 2;
    let mut variants = vec![key.to_uppercase(), key.replace('_', "-"), format!("{key}s"), format!("{key}_")];
    variants.push(key.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect());
    for at in [1, middle, letters.len() - 1].into_iter().filter(|_| letters.len() > 2) {
        let mut dropped = letters.clone();
        dropped.remove(at);
        variants.push(dropped.into_iter().collect());
        let mut doubled = letters.clone();
        doubled.insert(at, letters[at]);
        variants.push(doubled.into_iter().collect());
        let mut swapped = letters.clone();
        swapped.swap(at - 1, at);
        variants.push(swapped.into_iter().collect());
    }
    variants.retain(|variant| variant != key);
    variants
}

/// The sections to be shown for a place: the secret beside mistakes, and as one.
fn mistakes(place: &Place) -> Vec<Value> {
    let mut sections = Vec::new();
    let planted: &[&str] = if place.secret { &[WORD, URL, PEM] } else { &[URL] };
    for &text in planted {
        let text = json!(text);
        sections.push(written(place, text.clone()));
        sections.push(written(place, json!([text])));
        sections.push(written(place, json!({ "a": text })));
        // An unknown key in each section on the way.
        for depth in 0..place.path.len() {
            let mut section = written(place, text.clone());
            let mut inner = &mut section;
            for step in &place.path[..depth] {
                inner = match step.as_str() {
                    "[]" => &mut inner[0],
                    "*" => &mut inner["x-name"],
                    key => &mut inner[key],
                };
            }
            if let Value::Object(keys) = inner {
                keys.insert("zzz".to_owned(), json!(0));
                sections.push(section);
            }
        }
    }
    sections
}

/// The key of a place spelt wrongly. Whether a word is taken for a secret then depends on the key, and a little on its
/// neighbours; a URL is masked by its look, wherever it stands, so that once is enough.
fn spelt_wrongly(place: &Place) -> Vec<Value> {
    let own = place.path.iter().rposition(|step| is_key(step)).expect("a place has a name");
    let variants = misspelt(&place.path[own]).into_iter();
    let variants = variants.take(if place.secret { usize::MAX } else { 1 });
    let sections = variants.map(|wrong| {
        let mut place = place.clone();
        place.path[own] = wrong;
        written(&place, json!(if place.secret { WORD } else { URL }))
    });
    sections.collect()
}

/// Keys that stand in the same section, as far as names tell, and are shared by many components.
fn family(place: &Place) -> (Vec<String>, bool) {
    let keys: Vec<_> = place.path.iter().filter(|step| is_key(step)).cloned().collect();
    (keys[keys.len().saturating_sub(2)..].to_vec(), place.secret)
}

/// A configuration with sections, each on a line of its own.
fn configuration(section: &str, name: &str, sections: &[Value]) -> String {
    if section == "service" {
        let telemetry = sections.first().map_or("{}".to_owned(), |section| section["telemetry"].to_string());
        return format!(
            "receivers: {{otlp: {{protocols: {{grpc: }}}}}}\nexporters: {{nop: }}\nservice:\n  \
             pipelines: {{logs: {{receivers: [otlp], exporters: [nop]}}}}\n  telemetry: {telemetry}\n"
        );
    }
    let lines = sections.iter().enumerate().map(|(at, section)| format!("  {name}/{at}: {section}\n"));
    let mut text = format!("{section}:\n{}", lines.collect::<String>());
    // The section's own first, as it is still open.
    let mut needed = [("receivers", "otlp: {protocols: {grpc: }}"), ("exporters", "nop: ")];
    needed.sort_by_key(|(other, _)| *other != section);
    for (other, content) in needed {
        match other == section {
            true => text.push_str(&format!("  {content}\n")),
            false => text.push_str(&format!("{other}: {{{content}}}\n")),
        }
    }
    text.push_str("service: {pipelines: {logs: {receivers: [otlp], exporters: [nop]}}}\n");
    text
}

/// Everything that a command says about a configuration.
fn said(folder: &Path, command: &[&str], text: &str) -> (bool, String) {
    let path = folder.join("config.yaml");
    fs::write(&path, text).expect("written");
    let mut process = Command::new(env!("CARGO_BIN_EXE_millrace"));
    let output = process.args(command).arg("--config").arg(&path).output().expect("it runs");
    let text =
        [output.stdout, output.stderr].map(|part| String::from_utf8_lossy(&part).into_owned()).concat();
    (output.status.success(), text)
}

/// The lines of an output in which something shows that must not.
fn shown(output: &str) -> Vec<String> {
    output.lines().filter(|line| line.contains(CANARY)).map(str::to_owned).collect()
}

/// Runs all of it, on two threads, and gathers what comes of it.
fn at_once<T: Send, R: Send>(jobs: Vec<T>, run: impl Fn(&Path, T) -> R + Sync) -> Vec<R> {
    let jobs = Mutex::new(jobs.into_iter());
    let next = || jobs.lock().expect("no panic").next();
    let work = || -> Vec<R> {
        let folder = tempfile::tempdir().expect("a folder");
        iter::from_fn(next).map(|job| run(folder.path(), job)).collect()
    };
    thread::scope(|scope| {
        let other = scope.spawn(work);
        let mut done = work();
        done.extend(other.join().expect("no panic"));
        done
    })
}

#[test]
fn no_mistake_shows_a_secret_that_stands_beside_it_or_is_it() {
    let (mut jobs, mut known) = (Vec::new(), BTreeSet::new());
    for (section, name, places) in everything() {
        let mut sections: Vec<_> = places.iter().flat_map(mistakes).collect();
        for place in &places {
            if known.insert(family(place)) {
                sections.extend(spelt_wrongly(place));
            }
        }
        // Of `service` there is one only, so that each mistake takes a run: some of them have to do.
        let (size, step) = if section == "service" { (1, 12) } else { (100, 1) };
        for some in sections.chunks(size).step_by(step) {
            jobs.push((format!("{section} {name}"), configuration(&section, &name, some)));
        }
    }
    let told = at_once(jobs, |folder, (place, text)| {
        let (_, output) = said(folder, &["validate"], &text);
        assert!(!output.contains("not valid YAML"), "{text}");
        let leaks = shown(&output).into_iter().map(|line| format!("{place}: {line}"));
        (output.matches("error: ").count(), leaks.collect::<BTreeSet<_>>())
    });
    let errors: usize = told.iter().map(|(errors, _)| errors).sum();
    let leaks: BTreeSet<_> = told.into_iter().flat_map(|(_, leaks)| leaks).collect();
    assert!(leaks.is_empty(), "{} leaks:\n{leaks:#?}", leaks.len());
    assert!(errors > 5_000, "only {errors} mistakes were told");
}

/// Which of so many sections, each on a line of its own from the second on, have errors.
fn refused(output: &str, sections: usize) -> BTreeSet<usize> {
    let errors = output.split("\n\n").filter(|told| told.contains("error: "));
    let places = errors.filter_map(|told| told.split_once("--> ")?.1.lines().next());
    let lines = places.filter_map(|place| place.rsplit(':').nth(1)?.parse::<usize>().ok());
    lines.filter(|line| (2..sections + 2).contains(line)).map(|line| line - 2).collect()
}

#[test]
fn print_config_shows_no_secret_unless_it_is_asked_to() {
    let mut jobs = Vec::new();
    for (section, name, places) in everything() {
        let sections: Vec<_> = places.iter().map(|place| written(place, json!(URL))).collect();
        let size = if section == "service" { 1 } else { 100 };
        jobs.extend(sections.chunks(size).map(|some| (section.clone(), name.clone(), some.to_vec())));
    }
    let printed = at_once(jobs, |folder, (section, name, mut sections)| {
        // Those that cannot be read at all, such as a URL where there are words to choose from, are told, and left out.
        loop {
            let text = configuration(&section, &name, &sections);
            let (ok, output) = said(folder, &["print-config", "--validate=false"], &text);
            assert_eq!(shown(&output), Vec::<String>::new(), "{text}");
            if ok {
                return sections.len();
            }
            let wrong = refused(&output, sections.len());
            if section == "service" {
                return 0;
            }
            assert!(!wrong.is_empty(), "{output}");
            let mut at = 0..;
            sections.retain(|_| !at.next().is_some_and(|at| wrong.contains(&at)));
        }
    });
    let printed: usize = printed.into_iter().sum();
    assert!(printed > 100, "only {printed} configurations were printed");
}

#[test]
fn what_is_not_yaml_shows_no_secret_either() {
    let folder = tempfile::tempdir().expect("a folder");
    let leading = "receivers:\n  otlp:\nexporters:\n  otlp_http:\n    endpoint: http://localhost:4318\n";
    for broken in [
        "    headers: {a: canary1, b: canary2\n    x: [\n",
        "    headers:\n      authorization: Bearer canary: canary\n",
        "    headers:\n      x-key: \"canary\n",
        "    headers:\n      - name: a\n        value: canary: canary\n",
        "    tls:\n      key_pem: |\n        -----BEGIN PRIVATE KEY-----\n        MIIcanary\n\tMIIcanary\n",
        "    password: canary: canary\n",
        "    password canary\n    token: x\n",
        "    proxy_url: http://canary:canary@host: x\n",
        "    client_secret: 'canary'canary'\n",
        "    tokens:\n    - canary: canary: canary\n",
        "    tokens: [canary, canary\n",
        "    endpoint: https://u:canary@host/?key=canary: x\n",
        "    headers: {\n  authorization: canary: canary\n  }\n",
        "    api_key: @canary\n",
        "    token: %canary\n",
        "    token: `canary`\n",
        "    token: *canary\n",
    ] {
        let (ok, output) = said(folder.path(), &["validate"], &format!("{leading}{broken}"));
        assert!(!ok, "{broken} was taken");
        assert_eq!(shown(&output), Vec::<String>::new(), "{broken}\n{output}");
    }
    for set in [
        "exporters.nop.password=canary",
        "exporters.otlp_http.headers={a: canary",
        "extensions.x.token=canary",
    ] {
        let flag = format!("--set={set}");
        let (ok, output) = said(folder.path(), &["validate", &flag], leading);
        assert!(!ok && shown(&output).is_empty(), "{set}\n{output}");
    }
    let uri = format!("--config=http://canary:canary@127.0.0.1:{}/x?key=canary", support::free_port());
    let (ok, output) = said(folder.path(), &["validate", &uri], leading);
    assert!(!ok && shown(&output).is_empty(), "{output}");
}

#[tokio::test]
async fn nothing_of_a_running_collector_shows_a_secret() {
    let pages = support::free_port();
    let nobody = support::free_port();
    let collector = Setup::of(
        &format!("receivers:
  otlp:
    protocols:
      grpc: {{endpoint: '127.0.0.1:{{grpc}}'}}
      http: {{endpoint: '127.0.0.1:{{http}}', response_headers: {{x-a: canary-1}}}}
exporters:
  otlp_http:
    endpoint: http://127.0.0.1:{nobody}/a?signature=canary-2
    headers: {{x-key: canary-3}}
    auth: {{authenticator: bearertokenauth}}
    retry_on_failure: {{initial_interval: 10ms, max_interval: 1s, max_elapsed_time: 1s}}
extensions:
  bearertokenauth: {{token: canary-4}}
  basicauth/x: {{client_auth: {{username: canary-5, password: canary-6}}}}
  oauth2client: {{client_id: a, client_secret: canary-7, token_url: 'http://127.0.0.1:{nobody}/t?key=canary-8'}}
  zpages: {{endpoint: '127.0.0.1:{pages}'}}
service:
  extensions: [bearertokenauth, basicauth/x, oauth2client, zpages]
  telemetry:
    logs: {{level: debug}}
    metrics: {{level: detailed, readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {{metrics}}}}}}}}}}]}}
  pipelines:
    logs: {{receivers: [otlp], exporters: [otlp_http]}}
"),
    )
    .start()
    .await;
    let body = requests::logs(1);
    http1::post(collector.setup.http, "/v1/logs", http1::PROTOBUF, &body).await.expect("an answer");
    let log = collector.setup.folder.path().join("log.txt");
    eventually("the failed request in the log", || async {
        let log = fs::read_to_string(&log).expect("a log");
        log.contains(&format!("127.0.0.1:{nobody}/a")).then_some(()).ok_or(log)
    })
    .await;
    for (at, paths) in [
        (
            std::net::SocketAddr::from(([127, 0, 0, 1], pages)),
            &["/debug/servicez", "/debug/pipelinez", "/debug/extensionz", "/debug/tracez", "/debug/featurez"]
                [..],
        ),
        (collector.setup.metrics, &["/metrics"]),
    ] {
        for path in paths {
            let reply = http1::get(at, path).await.expect("an answer");
            let page = format!("{}{}", reply.head, reply.words());
            assert_eq!(shown(&page), Vec::<String>::new(), "{path}");
        }
    }
}
