//! The extension as it is configured and asked.

use super::*;
use crate::testing::{assert_refused, build, context, plan};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use millrace_engine::{Denied, Health, Unauthenticated};
use std::fs;
use std::time::{Duration, Instant};

/// `secret`, at a cost that takes some hundreds of milliseconds, and as plain text.
const SLOW: &str = "$2b$12$abcdefghijklmnopqrstuuqflPDzB6gcMhKa1rZqKiun2YGL5sa2u";

fn basic(credentials: &str) -> HeaderMap {
    let value = format!("Basic {}", STANDARD.encode(credentials));
    HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::try_from(value).expect("a header"))])
}

async fn outcome(extension: &Arc<dyn Extension>, headers: &HeaderMap) -> Result<String, String> {
    let auth = Arc::clone(extension).server_auth().expect("it serves servers");
    match auth.authenticate(headers).await {
        Ok(identity) => Ok(identity.iter().map(|(key, value)| format!("{key}={value}")).collect()),
        Err(Denied::Unauthenticated(Unauthenticated(text))) => Err(text),
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn users_are_told_by_their_passwords() {
    let kept = include_str!("hash/testdata/kept.txt");
    let hashes = kept.lines().filter_map(|line| line.strip_prefix("secret|")).enumerate();
    let lines: Vec<_> = hashes.map(|(number, hash)| format!("user{number}:{hash}")).collect();
    let extension = build(&FACTORY, &format!("{{htpasswd: {{inline: \"{}\"}}}}", lines.join("\\n")));
    for (number, line) in lines.iter().enumerate() {
        let user = format!("user{number}");
        // The second time from memory.
        for _ in 0..2 {
            let headers = basic(&format!("{user}:secret"));
            assert_eq!(outcome(&extension, &headers).await, Ok(format!("username={user}")), "{line}");
        }
        let wrong = outcome(&extension, &basic(&format!("{user}:secrets"))).await;
        assert_eq!(wrong, Err("invalid credentials".to_owned()), "{line}");
    }
    assert!(lines.len() > 8, "there are some of every kind");
    assert_eq!(outcome(&extension, &basic("nobody:secret")).await, Err("invalid credentials".to_owned()));
}

#[tokio::test]
async fn a_password_of_absurd_length_is_wrong_before_it_is_hashed() {
    // SHA-crypt hashes a password as often as it has bytes: this would take minutes.
    let hash = "$6$rounds=2000000$saltsalt$".to_owned() + &"x".repeat(86);
    let extension = build(&FACTORY, &format!("{{htpasswd: {{inline: 'alice:{hash}'}}}}"));
    let headers = basic(&format!("alice:{}", "p".repeat(20 << 10)));
    let answered = tokio::time::timeout(Duration::from_secs(30), outcome(&extension, &headers)).await;
    assert_eq!(answered.expect("at once"), Err("invalid credentials".to_owned()));
}

#[tokio::test]
async fn what_is_no_basic_authentication_is_named_as_in_go() {
    let extension = build(&FACTORY, "{htpasswd: {inline: 'alice:secret'}}");
    let with = |value: &str| {
        HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::try_from(value).expect("a header"))])
    };
    assert_eq!(outcome(&extension, &with("bAsIc YWxpY2U6c2VjcmV0")).await, Ok("username=alice".to_owned()));
    let huge = format!("Basic {}", STANDARD.encode("x".repeat(1 << 20)));
    for (value, problem) in [
        ("", "no basic auth provided"),
        ("Basic", "invalid authorization scheme prefix"),
        ("Bearer YWxpY2U6c2VjcmV0", "invalid authorization scheme prefix"),
        ("Basic not-base64!", "invalid authorization format"),
        ("Basic YWxpY2U=", "invalid authorization format"),
        ("Basic  YWxpY2U6c2VjcmV0", "invalid authorization format"),
        ("Basic ", "invalid authorization format"),
        (&huge, "invalid authorization format"),
    ] {
        assert_eq!(outcome(&extension, &with(value)).await, Err(problem.to_owned()), "{value:.40}");
    }
    assert_eq!(outcome(&extension, &HeaderMap::new()).await, Err("no basic auth provided".to_owned()));
}

#[tokio::test]
async fn a_file_is_read_again_when_it_changes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("htpasswd");
    fs::write(&path, "alice:one\nbob:two\n").expect("written");
    let yaml = format!("{{htpasswd: {{file: '{}', inline: 'bob:three'}}}}", path.display());
    let extension = build(&FACTORY, &yaml);
    extension.start().await.expect("the file can be read");
    let good = async |credentials: &str| outcome(&extension, &basic(credentials)).await.is_ok();
    assert!(good("alice:one").await && good("bob:three").await && !good("bob:two").await);

    fs::write(&path, "alice:four\n").expect("written");
    let deadline = Instant::now() + Duration::from_secs(90);
    while !good("alice:four").await {
        assert!(Instant::now() < deadline, "it does not notice");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(!good("alice:one").await && good("bob:three").await);
    extension.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_guess_are_put_off_and_those_who_are_known_are_served() {
    let (config, problems) =
        plan(&FACTORY, &format!("{{htpasswd: {{inline: \"alice:plain\\nbob:{SLOW}\"}}}}"));
    let config = config.unwrap_or_else(|| panic!("{problems}"));
    let extension = config.build(context("basicauth", &Health::starting())).expect("it builds");
    let auth = Arc::clone(&extension).server_auth().expect("it serves servers");
    let guesses = (0..400).map(|number| {
        let auth = Arc::clone(&auth);
        tokio::spawn(async move { auth.authenticate(&basic(&format!("bob:{number}"))).await.map(drop) })
    });
    let guesses: Vec<_> = guesses.collect();
    assert_eq!(outcome(&extension, &basic("alice:plain")).await, Ok("username=alice".to_owned()));
    assert!(guesses.iter().any(|guess| !guess.is_finished()), "nobody waits for those who guess");
    let mut put_off = 0;
    for guess in guesses {
        match guess.await.expect("no panic") {
            Err(Denied::NotNow(failure)) => {
                assert!(failure.is_transient());
                put_off += 1;
            }
            Err(Denied::Unauthenticated(_)) => {}
            Ok(()) => panic!("a guess was right"),
        }
    }
    // But for those in whose place somebody has been judged by then.
    assert!(put_off >= 100, "those beyond 256 are not kept waiting: {put_off}");
}

#[tokio::test]
async fn clients_send_what_is_configured_or_in_files() {
    let sent = async |extension: &Arc<dyn Extension>| {
        let auth = Arc::clone(extension).client_auth().expect("it serves clients");
        let mut headers = HeaderMap::new();
        auth.authorize(&mut headers, None).await.expect("always");
        assert!(headers[AUTHORIZATION].is_sensitive());
        headers[AUTHORIZATION].clone()
    };
    let extension = build(&FACTORY, "{client_auth: {username: alice, password: 'se:cret'}}");
    assert_eq!(sent(&extension).await, basic("alice:se:cret")[AUTHORIZATION]);

    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("password");
    fs::write(&path, " one\n").expect("written");
    let yaml =
        format!("{{client_auth: {{username: alice, password: x, password_file: '{}'}}}}", path.display());
    let extension = build(&FACTORY, &yaml);
    extension.start().await.expect("the file can be read");
    assert_eq!(sent(&extension).await, basic("alice:one")[AUTHORIZATION]);
    fs::write(&path, "two").expect("written");
    let deadline = Instant::now() + Duration::from_secs(90);
    while sent(&extension).await != basic("alice:two")[AUTHORIZATION] {
        assert!(Instant::now() < deadline, "it does not notice");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    extension.stop().await;
}

#[test]
fn what_cannot_be_meant_is_refused() {
    assert_refused(
        &FACTORY,
        &[
            ("{}", "no credential source provided"),
            ("{htpasswd: {}}", "no credential source provided"),
            (
                "{htpasswd: {inline: x}, client_auth: {username: a}}",
                "only one of `htpasswd` or `client_auth`",
            ),
            ("{client_auth: {username: 'a:b'}}", "must not contain a colon"),
            ("{htpasswd: {fiel: x}}", "did you mean `file`?"),
        ],
    );
    let (config, _) = plan(&FACTORY, "{htpasswd: {file: /nonexistent/htpasswd}}");
    let error = config.expect("in form").build(context("basicauth", &Health::starting()));
    let error = error.err().expect("the file is not there").to_string();
    assert!(error.starts_with("extension `basicauth`: cannot read /nonexistent/htpasswd: "), "{error}");
}
