//! What holds for every input.

mod support;

use millrace_config::write::{to_json, to_yaml};
use millrace_config::{Duration, Entry, Gates, Node, Span, Value, parse_str};
use proptest::prelude::*;
use support::check;

/// Lines that look like a configuration, put together without sense.
fn configuration_like() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "receivers",
        "exporters",
        "service",
        "pipelines",
        "otlp",
        "debug",
        "otlp_grpc",
        "traces",
        "protocols",
        "grpc",
        "endpoint",
        "timeout",
        "sending_queue",
        "enabled",
        "headers",
        "tls",
        ": ",
        ":\n",
        "\n",
        "\n  ",
        "\n    ",
        "\n      ",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "5",
        "5s",
        "true",
        "null",
        "~",
        "\"",
        "'",
        "&a ",
        "*a",
        "<<: ",
        "${env:A}",
        "${A:-b}",
        "$$",
        "${",
        "#",
        "|\n",
        ">-\n",
        "!!str ",
        "!x ",
        "\t",
        "---\n",
        "é",
        "\u{feff}",
        "\r\n",
        "? ",
        "%YAML 1.2\n",
        "/",
        "0x10",
        ".inf",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// Texts that YAML might take for something else.
fn treacherous_text() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "B",
        "0",
        "1",
        "9",
        ".",
        "-",
        "+",
        "e",
        "x",
        "_",
        "_",
        ":",
        ": ",
        " ",
        "#",
        " #",
        "'",
        "\"",
        "\\",
        "\n",
        "\r",
        "\t",
        "$",
        "${",
        "${env:A}",
        "}",
        "{",
        "[",
        "]",
        ",",
        "&",
        "*",
        "!",
        "|",
        ">",
        "%",
        "@",
        "`",
        "?",
        "? ",
        "- ",
        "~",
        "null",
        "true",
        "yes",
        "<<",
        "=",
        "inf",
        ".nan",
        "2025-01-01",
        "é",
        "\u{feff}",
        "\u{85}",
        "\u{2028}",
        "\u{0}",
        "\u{7f}",
        "\u{1f600}",
        "/",
        "(",
        ")",
        ";",
        "---",
        "...",
    ]);
    prop::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

/// Any tree.
fn tree() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|number| Value::Int(number.into())),
        any::<u64>().prop_map(|number| Value::Int(number.into())),
        any::<f64>()
            .prop_filter("NaN is not equal to itself", |number| !number.is_nan())
            .prop_map(Value::Float),
        treacherous_text().prop_map(Value::String),
    ];
    leaf.prop_map(Node::synthetic).prop_recursive(5, 40, 5, |inner| {
        let entry = |(key, value)| Entry { key, key_span: Span::NONE, value };
        let entries = prop::collection::vec((treacherous_text(), inner.clone()), 0..5);
        prop_oneof![
            prop::collection::vec(inner, 0..5).prop_map(|items| Node::synthetic(Value::Seq(items))),
            entries.prop_map(move |entries| Node::synthetic(Value::Map(
                entries.into_iter().map(entry).collect()
            ))),
        ]
    })
}

/// What it holds, without the places.
fn content(node: &Node) -> Value {
    node.clone().unwritten().value
}

fn every_place_is_inside(node: &Node, length: usize) -> bool {
    let span = node.span;
    let inside = span.start.byte <= span.end.byte && span.end.byte as usize <= length;
    inside
        && match &node.value {
            Value::Seq(items) => items.iter().all(|item| every_place_is_inside(item, length)),
            Value::Map(map) => map.iter().all(|entry| every_place_is_inside(&entry.value, length)),
            _ => true,
        }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_as_the_same(node in tree()) {
        let read = |text: &str| parse_str("test.yaml", text, &|_| Some("expanded".to_owned())).node;
        let yaml = to_yaml(&node);
        let again = read(&yaml);
        prop_assert!(again.is_some(), "{yaml}");
        prop_assert_eq!(again.as_ref().map(content), Some(content(&node)), "{}", yaml);
        let json = to_json(&node);
        prop_assert_eq!(read(&json).map(|node| node.to_json()), Some(node.to_json()), "{}", json);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC*|(?s).*", content in ".*") {
        let parsed = parse_str("c.yaml", &text, &|_| Some(content.clone()));
        prop_assert!(parsed.node.is_some() || parsed.diagnostics.has_errors());
        prop_assert!(parsed.diagnostics.is_empty() || !parsed.render().is_empty());
    }

    #[test]
    fn any_configuration_is_accepted_or_explained(text in configuration_like(), content in configuration_like()) {
        let (config, parsed) = check("c.yaml", &text, &|_| Some(content.clone()), Gates::default());
        prop_assert_eq!(config.is_none(), parsed.diagnostics.has_errors(), "{}", parsed.render());
        if let Some(node) = &parsed.node {
            prop_assert!(every_place_is_inside(node, text.len()));
        }
        for diagnostic in &parsed.diagnostics {
            prop_assert!(!diagnostic.message.is_empty() && !diagnostic.message.contains('\n'));
            if let Some(span) = diagnostic.span {
                prop_assert!(parsed.sources.slice(span).is_some(), "{diagnostic:?}");
            }
        }
        let coloured = parsed.diagnostics.render_coloured(&parsed.sources);
        prop_assert_eq!(coloured.is_empty(), parsed.diagnostics.is_empty());
    }

    #[test]
    fn what_a_variable_holds_is_never_shown(
        secret in "[a-z]{3}-[a-zA-Z0-9{}:,\\- ]{5,20}[0-9]",
        key in prop::sample::select(vec![
            "endpoint", "timeout", "sending_queue", "headers", "tls", "wait_for_ready", "write_buffer_size",
            "retry_on_failure", "compression", "nonsense", "<<",
        ]),
        form in prop::sample::select(vec!["${env:S}", "x${env:S}", "[\"${env:S}\"]", "{a: \"${env:S}\"}", "${env:V}"]),
    ) {
        let text = format!(
            "receivers: {{otlp: {{protocols: {{grpc: }}}}}}\nexporters:\n  otlp_grpc:\n    {key}: {form}\n\
             service:\n  extensions: [\"${{env:S}}\"]\n  telemetry: ${{env:S}}\n  pipelines:\n    \
             traces: {{receivers: [otlp], exporters: [otlp_grpc, \"${{env:S}}\"], processors: \"${{env:S}}\"}}\n"
        );
        let env = |name: &str| Some(if name == "V" { "${env:S}".to_owned() } else { secret.clone() });
        let (_, parsed) = check("c.yaml", &text, &env, Gates::default());
        let shown = parsed.render();
        prop_assert!(!shown.contains(&secret), "{secret:?} is shown:\n{shown}");
    }

    #[test]
    fn durations_print_as_what_they_are_read_from(nanos in 0..=i64::MAX as u64) {
        let duration = Duration::from(std::time::Duration::from_nanos(nanos));
        prop_assert_eq!(duration.to_string().parse::<Duration>(), Ok(duration));
    }

    #[test]
    fn any_text_is_a_duration_or_not(text in "[-+]?[0-9.nuµmsh ]{0,30}|\\PC*") {
        if let Ok(duration) = text.parse::<Duration>() {
            prop_assert!(duration.get().as_nanos() <= i64::MAX as u128);
        }
    }
}
