//! The extension as it is configured and asked.

use super::*;
use crate::testing::{assert_refused, build, context, plan};
use millrace_engine::Health;
use std::time::Instant;

fn origin(metadata: &[(&str, &str)], user: Option<&str>) -> Origin {
    Origin {
        received: Instant::now(),
        peer: None,
        metadata: metadata.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        identity: user.map(|user| Arc::new(vec![("username".into(), user.into())])),
    }
}

async fn set(yaml: &str, before: &[(&'static str, &str)], origin: &Origin) -> Result<Vec<String>, Failure> {
    let auth = build(&FACTORY, yaml).client_auth().expect("it serves clients");
    let before = before.iter().map(|(name, value)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header"))
    });
    let mut headers: HeaderMap = before.collect();
    auth.authorize(&mut headers, Some(origin)).await?;
    let text = |(name, value): (&HeaderName, &HeaderValue)| {
        format!("{name}={}", std::str::from_utf8(value.as_bytes()).expect("text"))
    };
    let mut texts: Vec<_> = headers.iter().map(text).collect();
    texts.sort();
    Ok(texts)
}

#[tokio::test]
async fn actions_do_what_they_say() {
    for (action, without, with) in [
        ("insert", vec!["x=new"], vec!["x=old"]),
        ("update", vec![], vec!["x=new"]),
        ("upsert", vec!["x=new"], vec!["x=new"]),
        ("delete", vec![], vec![]),
    ] {
        let yaml = format!("headers: [{{action: {action}, key: X, value: new}}]");
        let nobody = origin(&[], None);
        assert_eq!(set(&yaml, &[], &nobody).await.expect("set"), without, "{action}");
        assert_eq!(set(&yaml, &[("x", "old")], &nobody).await.expect("set"), with, "{action}");
    }
}

#[tokio::test]
async fn values_come_from_what_was_received() {
    let yaml = "headers: [
        {action: upsert, key: tenant, from_context: X-Scope-OrgID, default_value: none},
        {action: upsert, key: user, from_attribute: username}]";
    let acme = origin(&[("x-scope-orgid", "acme"), ("other", "x")], Some("alice"));
    assert_eq!(set(yaml, &[], &acme).await.expect("set"), ["tenant=acme", "user=alice"]);
    assert_eq!(set(yaml, &[], &origin(&[], None)).await.expect("set"), ["tenant=none", "user="]);
    let zurich = origin(&[("x-scope-orgid", "zürich")], None);
    assert_eq!(set(yaml, &[], &zurich).await.expect("set"), ["tenant=zürich", "user="]);
    let two = origin(&[("x-scope-orgid", "acme"), ("x-scope-orgid", "globex")], None);
    let failure = set(yaml, &[], &two).await.expect_err("nobody knows which");
    assert!(!failure.is_transient() && failure.message.contains("2 headers"), "{failure}");
}

#[tokio::test]
async fn what_a_client_sent_does_not_become_another_header() {
    let yaml = "headers: [{action: upsert, key: user, from_attribute: username}]";
    for user in ["a\r\nx-admin: true", "a\nb", "a\0b"] {
        let failure = set(yaml, &[], &origin(&[], Some(user))).await.expect_err("it is not a value");
        assert!(!failure.is_transient() && !failure.message.contains("x-admin"), "{failure}");
    }
}

#[tokio::test]
async fn another_authenticator_comes_first() {
    let (config, problems) = plan(
        &FACTORY,
        "{additional_auth: basicauth/x, headers: [{action: insert, key: authorization, value: mine},
          {action: upsert, key: tenant, value: acme}]}",
    );
    let context = context("headers_setter", &Health::starting());
    let inner = build(&crate::basicauth::FACTORY, "{client_auth: {username: a, password: b}}");
    context.shared.offers.publish([("basicauth/x".parse().expect("an id"), inner)]);
    let extension = config.unwrap_or_else(|| panic!("{problems}")).build(context).expect("it builds");
    let auth = extension.client_auth().expect("it serves clients");
    let mut headers = HeaderMap::new();
    auth.authorize(&mut headers, None).await.expect("set");
    assert_eq!(
        (&headers["authorization"], &headers["tenant"]),
        (&HeaderValue::from_static("Basic YTpi"), &HeaderValue::from_static("acme"))
    );
}

#[test]
fn what_cannot_be_meant_is_refused() {
    assert_refused(
        &FACTORY,
        &[
            ("{}", "missing headers configuration"),
            ("headers: [{action: upsert, value: x}]", "missing header name"),
            ("headers: [{action: upsert, key: x}]", "missing header source"),
            ("headers: [{action: upsert, key: x, value: a, from_context: b}]", "must be only one of"),
            ("headers: [{action: set, key: x, value: a}]", "`set` is not an accepted value"),
            ("headers: [{action: upsert, key: 'a b', value: a}]", "is not a header name"),
            ("headers: [{action: upsert, key: x, value: \"a\\r\\nb: c\"}]", "a header cannot have"),
            ("headers: [{action: upsert, key: Content-Length, value: '0'}]", "belongs to the connection"),
            (
                "headers: [{action: upsert, key: Transfer-Encoding, value: chunked}]",
                "belongs to the connection",
            ),
        ],
    );
    let (config, problems) = plan(&FACTORY, "headers: [{key: x, value: a}]");
    assert!(config.is_some() && problems.contains("no action is given"), "{problems}");
    let (config, problems) = plan(&FACTORY, "headers: [{action: delete, key: x}]");
    assert!(config.is_some() && problems.is_empty(), "{problems}");
}
