use super::*;

fn run(text: &str, env: &[(&str, &str)]) -> (Node, Diagnostics) {
    let lookup = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    let mut diags = Diagnostics::new();
    let providers = Providers::sealed(&lookup);
    let node = Node::synthetic(Value::String(text.to_owned()));
    let (mut sources, mut edits) = (Sources::new(), Vec::new());
    let mut with =
        Expansion { providers: &providers, sources: &mut sources, diags: &mut diags, edits: &mut edits };
    let node = expand(node, &mut with);
    (node, diags)
}

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

#[test]
fn values_expand_as_in_the_go_collector() {
    let env = [
        ("N", "8080"),
        ("B", "bval"),
        ("EMPTY", ""),
        ("QUOTED", "\"q\""),
        ("CHAIN", "${env:N}"),
        ("NAME", "B"),
        ("DOLLAR", "a$$b"),
        ("BROKEN", "[a"),
        ("HEX", "0x10"),
    ];
    for (input, expected) in [
        ("${env:N}", Value::Int(8080)),
        ("${N}", Value::Int(8080)),
        (":${env:N}", text(":8080")),
        ("${env:CHAIN}", Value::Int(8080)),
        ("${env:EMPTY}", Value::Null),
        ("${env:NONE}", Value::Null),
        ("x${env:NONE}y", text("xy")),
        ("${env:NONE:-5}", Value::Int(5)),
        ("${env:NONE:-}", text("")),
        ("${env:EMPTY:-5}", Value::Null),
        ("${env:NONE:-${env:B}}", text("bval")),
        ("${env:${env:NAME}}", text("bval")),
        ("${env:QUOTED}", text("\"q\"")),
        ("${env:BROKEN}", text("[a")),
        ("$$${env:B}", text("$bval")),
        ("$${env:B}", text("${env:B}")),
        ("x$$$${env:B}", text("x$${env:B}")),
        ("$B $$ ${B", text("$B $ ${B")),
        ("${env:DOLLAR}", text("a$b")),
    ] {
        let (node, diags) = run(input, &env);
        assert_eq!(node.value, expected, "{input}");
        assert!(!diags.has_errors(), "{input}");
    }
}

#[test]
fn a_text_field_receives_the_variable_as_it_stands() {
    let (node, _) = run("${env:HEX}", &[("HEX", "0x10")]);
    assert_eq!(node.value, Value::Int(16));
    assert_eq!(node.as_text(), Some("0x10"));
}

#[test]
fn a_list_from_a_variable_is_expanded_in_turn() {
    let (node, _) = run("${env:L}", &[("L", "- ${env:N}\n- b\n"), ("N", "7")]);
    let Value::Seq(items) = &node.value else { panic!("not a list: {node:?}") };
    assert_eq!(items[0].value, Value::Int(7));
    assert_eq!(items[0].as_text(), Some("7"));
    assert_eq!(items[1].value, text("b"));
}

#[test]
fn references_in_one_another_have_a_limit() {
    let nested = |depth: usize| format!("{}N{}", "${".repeat(depth), "}".repeat(depth));
    let (node, diags) = run(&nested(3), &[("N", "M"), ("M", "L"), ("L", "8080")]);
    assert_eq!((node.value, diags.has_errors()), (Value::Int(8080), false));
    for text in [nested(60), nested(1_000_000), "${".repeat(1_000_000)] {
        let (node, diags) = run(&text, &[("N", "N")]);
        assert_eq!((node.value, diags.iter().count()), (Value::Null, 1));
    }
}

#[test]
fn endless_recursion_and_explosions_are_refused() {
    for env in [
        vec![("A", "${env:A}")],
        vec![("A", "x${env:A}")],
        vec![("A", "- ${env:A}")],
        vec![("A", "${env:B}${env:B}"), ("B", "${env:A}${env:A}")],
        vec![("A", "- ${env:B}\n- ${env:B}"), ("B", "- ${env:A}\n- ${env:A}")],
    ] {
        let (_, diags) = run("${env:A}", &env);
        assert!(diags.has_errors(), "{env:?}");
    }
}
