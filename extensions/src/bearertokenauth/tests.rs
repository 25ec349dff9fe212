//! The extension as it is configured and asked.

use super::*;
use crate::testing::{assert_refused, build};
use millrace_engine::Unauthenticated;
use std::fs;
use std::time::{Duration, Instant};

fn with(header: &'static str, value: &str) -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static(header), HeaderValue::from_str(value).expect("a header"))])
}

async fn outcome(extension: &Arc<dyn Extension>, headers: &HeaderMap) -> Result<(), String> {
    let auth = Arc::clone(extension).server_auth().expect("it serves servers");
    match auth.authenticate(headers).await {
        Ok(_) => Ok(()),
        Err(Denied::Unauthenticated(Unauthenticated(text))) => Err(text),
        Err(other) => panic!("{other:?}"),
    }
}

async fn sent(extension: &Arc<dyn Extension>) -> HeaderMap {
    let auth = Arc::clone(extension).client_auth().expect("it serves clients");
    let mut headers = HeaderMap::new();
    auth.authorize(&mut headers, None).await.expect("there is a token");
    headers
}

#[tokio::test]
async fn servers_take_the_tokens_and_nothing_else() {
    let extension = build(&FACTORY, "{tokens: [one, two]}");
    for token in ["Bearer one", "Bearer two"] {
        assert_eq!(outcome(&extension, &with("authorization", token)).await, Ok(()));
    }
    let wrong = Err("provided authorization does not match expected scheme or token".to_owned());
    for token in
        ["", "one", "bearer one", "Bearer  one", "Bearer one ", "Bearer three", "Bearer on", "Basic one"]
    {
        assert_eq!(outcome(&extension, &with("authorization", token)).await, wrong, "{token}");
    }
    let huge = format!("Bearer {}", "x".repeat(1 << 20));
    assert_eq!(outcome(&extension, &with("authorization", &huge)).await, wrong);
    let missing = Err("missing or empty authorization header: Authorization".to_owned());
    assert_eq!(outcome(&extension, &HeaderMap::new()).await, missing);
    assert_eq!(outcome(&extension, &with("x-token", "Bearer one")).await, missing);
}

#[tokio::test]
async fn header_and_scheme_are_as_configured() {
    let extension = build(&FACTORY, "{header: X-Token, scheme: '', token: one}");
    assert_eq!(outcome(&extension, &with("x-token", "one")).await, Ok(()));
    assert!(outcome(&extension, &with("authorization", "Bearer one")).await.is_err());
    let headers = sent(&extension).await;
    assert_eq!(headers.get("x-token").map(HeaderValue::as_bytes), Some(&b"one"[..]));
    assert!(headers["x-token"].is_sensitive());
    assert!(!format!("{headers:?}").contains("one"), "it is not shown");
}

#[tokio::test]
async fn a_file_wins_is_read_again_and_keeps_its_last_good_state() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tokens");
    fs::write(&path, "\n  one the first\n\ttwo\t# another\n").expect("written");
    let extension = build(&FACTORY, &format!("{{filename: '{}', token: ignored}}", path.display()));
    extension.start().await.expect("the file can be read");
    let good = async |token: &str| outcome(&extension, &with("authorization", token)).await.is_ok();
    assert!(good("Bearer one").await && good("Bearer two").await && !good("Bearer ignored").await);
    assert_eq!(sent(&extension).await["authorization"], "Bearer one");

    fs::write(&path, "three").expect("written");
    let deadline = Instant::now() + Duration::from_secs(90);
    while !good("Bearer three").await {
        assert!(Instant::now() < deadline, "it does not notice");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!good("Bearer one").await);
    assert_eq!(sent(&extension).await["authorization"], "Bearer three");
    extension.stop().await;
}

#[tokio::test]
async fn without_a_token_nothing_is_taken_and_what_is_sent_waits() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tokens");
    fs::write(&path, "\n").expect("written");
    let extension = build(&FACTORY, &format!("filename: '{}'", path.display()));
    assert!(outcome(&extension, &with("authorization", "Bearer ")).await.is_err());
    let auth = Arc::clone(&extension).client_auth().expect("it serves clients");
    let failure = auth.authorize(&mut HeaderMap::new(), None).await.expect_err("there is none");
    assert!(failure.is_transient() && failure.message.contains("no token in"), "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn while_tokens_rotate_each_is_good_or_not() {
    let values = Arc::new(Current::from(values("Bearer", ["t0"].into_iter()).expect("sendable")));
    let rotating = Arc::clone(&values);
    let rotation = tokio::task::spawn_blocking(move || {
        for round in 1..2000 {
            let tokens = [format!("t{round}"), format!("t{}", round - 1)];
            let next = super::values("Bearer", tokens.iter().map(String::as_str)).expect("sendable");
            rotating.replace(next);
        }
    });
    let readers = (0..4).map(|_| {
        let values = Arc::clone(&values);
        tokio::spawn(async move {
            for _ in 0..20_000 {
                assert!((1..=2).contains(&values.read().len()));
                tokio::task::yield_now().await;
            }
        })
    });
    for reader in readers.collect::<Vec<_>>() {
        reader.await.expect("no panic");
    }
    rotation.await.expect("no panic");
    assert_eq!(values.read()[0].clone(), "Bearer t1999");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    assert_refused(
        &FACTORY,
        &[
            ("{}", "no bearer token provided"),
            ("{token: a, tokens: [b]}", "either tokens or token should be provided, not both"),
            ("{tokens: ['']}", "a token is empty"),
            ("{token: \"a\\nb\"}", "has characters that a header cannot have"),
            ("{token: a, header: 'a b'}", "is not a header name"),
            ("{token: a, filname: b}", "did you mean `filename`?"),
        ],
    );
    let problem = std::panic::catch_unwind(|| build(&FACTORY, "filename: /nonexistent/tokens"));
    assert!(problem.is_err());
}
