//! What older collectors accepted: every `legacy/NAME.old.yaml` runs as it is, with warnings (`NAME.txt`), and is
//! rewritten to `NAME.new.yaml`, which says the same and draws none.
//!
//! `UPDATE_EXPECT=1 cargo test -p millrace-config --test legacy` rewrites the texts and the new forms.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use millrace_config::legacy::rewrite;
use millrace_config::{Gates, Node, Value, parse_str};
use proptest::prelude::*;
use support::{TestCatalog, check, settings};

/// Rewrites a text until there is nothing to do.
fn fixed(text: &str) -> String {
    let (env, _) = settings(text);
    let mut text = text.to_owned();
    for _ in 0..20 {
        let mut parsed = parse_str("c.yaml", &text, &|name| env.get(name).cloned());
        let edits = parsed.modernise(&TestCatalog);
        match rewrite(&text, &edits.iter().collect::<Vec<_>>()) {
            Some(next) => text = next,
            None => return text,
        }
    }
    panic!("there is no end to rewriting\n{text}");
}

/// The values of a configuration in its modern form, with keys in order and components under their present names.
fn meaning(text: &str) -> String {
    fn tell(node: &Node, renamed: &dyn Fn(&str) -> String) -> String {
        match &node.value {
            Value::Map(map) => {
                let mut entries: Vec<_> = map
                    .iter()
                    .map(|entry| format!("{}: {}", renamed(&entry.key), tell(&entry.value, renamed)))
                    .collect();
                entries.sort();
                format!("{{{}}}", entries.join(", "))
            }
            Value::Seq(items) => {
                let items: Vec<_> = items.iter().map(|item| tell(item, renamed)).collect();
                format!("[{}]", items.join(", "))
            }
            Value::String(text) => format!("{:?}", renamed(text)),
            value => format!("{value:?}"),
        }
    }
    let (env, _) = settings(text);
    let mut parsed = parse_str("c.yaml", text, &|name| env.get(name).cloned());
    let _ = parsed.modernise(&TestCatalog);
    let renamed = |name: &str| {
        // Its own name was taken.
        let name = if name == "debug/logging" { "logging" } else { name };
        let (kind, rest) = name.split_once('/').map_or((name, String::new()), |(a, b)| (a, format!("/{b}")));
        let kind = match kind {
            "logging" => "debug",
            // The receiver of that name is renamed as well, on both sides.
            "otlp" | "jaeger" => "otlp_grpc",
            "otlphttp" | "jaeger_thrift" | "loki" => "otlp_http",
            other => other,
        };
        format!("{kind}{rest}")
    };
    tell(&parsed.node.expect("a tree"), &renamed)
}

fn cases() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/legacy");
    let entries = fs::read_dir(directory).expect("the directory of cases");
    let mut cases: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().ends_with(".old.yaml"))
        .collect();
    cases.sort();
    cases
}

#[test]
fn what_older_collectors_accepted_runs_and_is_rewritten() {
    let update = std::env::var_os("UPDATE_EXPECT").is_some();
    let mut wrong = Vec::new();
    assert!(cases().len() >= 15);
    for old_path in cases() {
        let old = fs::read_to_string(&old_path).expect("a readable case");
        let (env, gates) = settings(&old);
        let name = old_path.file_name().expect("a name").to_string_lossy().into_owned();
        let new_path = PathBuf::from(old_path.to_string_lossy().replace(".old.yaml", ".new.yaml"));
        let text_path = PathBuf::from(old_path.to_string_lossy().replace(".old.yaml", ".txt"));

        let (config, parsed) = check(&name, &old, &|key| env.get(key).cloned(), gates);
        let warnings = parsed.render();
        assert!(config.is_some(), "{name} is refused:\n{warnings}");
        assert!(!warnings.contains("secret-"), "{name}: the content of a variable is shown\n{warnings}");
        let new = fixed(&old);
        let (config, parsed) = check(&name, &new, &|key| env.get(key).cloned(), gates);
        assert!(config.is_some() && parsed.diagnostics.is_empty(), "{name}:\n{new}\n{}", parsed.render());

        assert_eq!(meaning(&old), meaning(&new), "{name}");
        if update {
            fs::write(&new_path, &new).expect("written");
            fs::write(&text_path, &warnings).expect("written");
            continue;
        }
        for (path, actual) in [(&new_path, &new), (&text_path, &warnings)] {
            if fs::read_to_string(path).unwrap_or_default() != *actual {
                wrong.push(format!("== {}\n{actual}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{} texts differ from what is recorded:\n{}", wrong.len(), wrong.join("\n"));
}

/// Old forms of entries of a component, as `key: value` lines between brackets or on lines of their own.
fn entries(kind: &'static str) -> impl Strategy<Value = Vec<&'static str>> {
    let all: &[&str] = match kind {
        "exporter" => &[
            "insecure: true",
            "insecure_skip_verify: false",
            "ca_file: /ca",
            "key_file: '/k, v'",
            "cert_file: \"/c\"",
            "timeout: 5s",
            "headers: {a: \"b # c\"}",
            "wait_for_ready: true",
            "sending_queue: {blocking: true, queue_size: 7}",
            "batcher: {min_size_items: 5, flush_timeout: 1s}",
            "retry_on_failure: {enabled: false}",
        ],
        _ => &["limit_mib: 10", "ballast_size_mib: 5", "spike_limit_mib: 1"],
    };
    prop::sample::subsequence(all, 0..=all.len()).prop_shuffle()
}

fn section(name: &str, entries: &[&str], is_flow: bool, comments: bool) -> String {
    if is_flow {
        return format!("  {name}: {{{}}}\n", entries.join(", "));
    }
    let comment = if comments { "   # kept" } else { "" };
    let lines: Vec<_> = entries.iter().map(|entry| format!("    {entry}{comment}\n")).collect();
    format!("  {name}:\n{}", lines.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_rewritten_says_the_same_and_draws_no_warning(
        exporter in entries("exporter"),
        limiter in entries("limiter"),
        endpoint in prop::sample::select(vec!["endpoint: a:1", "endpoint: 'http://a:1'", "endpoint: \"http://a/\""]),
        flows in any::<[bool; 3]>(),
        name in prop::sample::select(vec!["otlp", "otlp/x", "otlp_grpc", "jaeger"]),
        with_ballast in any::<bool>(),
    ) {
        let mut exporter = exporter;
        exporter.insert(exporter.len() / 2, endpoint);
        let mut limiter = limiter;
        if !limiter.contains(&"limit_mib: 10") {
            limiter.push("limit_mib: 20");
        }
        let (extensions, use_of_them) = if with_ballast {
            ("extensions:\n  health_check: {port: 1}\n  memory_ballast: {size_mib: 1}\n", "  extensions: [health_check, memory_ballast]\n")
        } else {
            ("", "")
        };
        let old = format!(
            "# first\nreceivers: {{otlp: {{protocols: {{grpc: }}}}}}\n{extensions}processors:\n{}exporters:\n{}  debug: # last\n\
             service:\n{use_of_them}  pipelines:\n    traces:\n      receivers: [otlp]\n      processors: [memory_limiter]\n      exporters: [debug, {name}]\n",
            section("memory_limiter", &limiter, flows[0], flows[2]),
            section(name, &exporter, flows[1], flows[2]),
        );
        let (config, before) = check("c.yaml", &old, &|_| None, Gates::default());
        prop_assert!(config.is_some(), "{old}\n{}", before.render());
        let new = fixed(&old);
        let (config, parsed) = check("c.yaml", &new, &|_| None, Gates::default());
        prop_assert!(config.is_some() && parsed.diagnostics.is_empty(), "{old}\n{new}\n{}", parsed.render());
        prop_assert_eq!(meaning(&old), meaning(&new), "{}\n{}", old, new);
        prop_assert!(new.starts_with("# first\n") && new.contains("  debug: # last\n"));
        prop_assert_eq!(fixed(&new), new);
    }

    #[test]
    fn any_text_is_rewritten_to_one_that_can_be_read(old in "(?s).{0,80}") {
        let text = format!("exporters:\n  otlp:\n    endpoint: a:1\n    insecure: {old}\n");
        let parsed = parse_str("c.yaml", &text, &|_| None);
        if parsed.node.is_some() {
            let new = fixed(&text);
            prop_assert!(parse_str("c.yaml", &new, &|_| None).node.is_some(), "{text}\n{new}");
        }
    }
}

#[test]
fn a_component_with_a_queue_on_disk_is_renamed_where_the_queue_is_found_under_the_new_name() {
    let text = "receivers: {otlp: }\nextensions: {file_storage: }\nexporters:\n  otlp:\n    endpoint: a:1\n    \
                sending_queue: {storage: file_storage}\nservice:\n  extensions: [file_storage]\n  pipelines:\n    \
                traces: {receivers: [otlp], exporters: [otlp]}\n";
    assert!(fixed(text).contains("  otlp_grpc:\n"), "{}", fixed(text));
    let without = text.replace("storage: file_storage}", "storage: }");
    assert!(fixed(&without).contains("  otlp_grpc:\n"), "{}", fixed(&without));
    // That name is another one's, and under a further one the queue would not be found.
    let taken = text.replace("exporters:\n", "exporters:\n  otlp_grpc: {endpoint: b:1}\n");
    assert_eq!(fixed(&taken), taken);
    let warnings = |text: &str| check("c.yaml", text, &|_| None, Gates::default()).1.render();
    assert!(warnings(text).contains("its queue on disk is found under either name"), "{}", warnings(text));
    assert!(warnings(&taken).contains("once its queue on disk is empty"), "{}", warnings(&taken));
    assert!(!warnings(&without).contains("on disk"), "{}", warnings(&without));
}
