//! The extension against token endpoints good and bad.

use super::*;
use crate::testing::{assert_refused, context, plan};
use millrace_engine::Health;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// A token endpoint that answers word for word what it is told to; `None` is never.
struct Endpoint {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

impl Endpoint {
    async fn start(answer: impl Fn(usize, &str) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let (seen, answer) = (Arc::clone(&requests), Arc::new(answer));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                connections.spawn(async move {
                    let mut request = String::new();
                    let mut buffer = [0; 4096];
                    while !is_complete(&request) {
                        let read = stream.read(&mut buffer).await.unwrap_or(0);
                        if read == 0 {
                            return;
                        }
                        request.push_str(&String::from_utf8_lossy(&buffer[..read]));
                    }
                    let number = {
                        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                        seen.push(request.clone());
                        seen.len()
                    };
                    match answer(number, &request) {
                        Some(answer) => drop(stream.write_all(answer.as_bytes()).await),
                        None => std::future::pending().await,
                    }
                });
            }
        });
        Self { address, requests, _serving: serving }
    }

    fn seen(&self) -> Vec<String> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn client(&self, more: &str) -> Arc<dyn ClientAuth> {
        let url = format!("http://{}/oauth/token?x=1", self.address);
        let yaml = format!("{{client_id: me, client_secret: s3cret, token_url: '{url}'{more}}}");
        let (config, problems) = plan(&FACTORY, &yaml);
        let config = config.unwrap_or_else(|| panic!("{problems}"));
        let extension = config.build(context("oauth2client", &Health::starting())).expect("it builds");
        extension.client_auth().expect("it serves clients")
    }
}

fn is_complete(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.and_then(|length| length.parse().ok()).is_some_and(|length: usize| body.len() >= length)
}

fn ok(body: &str) -> Option<String> {
    Some(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

fn token(number: usize, lasts: u64) -> Option<String> {
    ok(&format!("{{\"access_token\":\"t{number}\",\"token_type\":\"bearer\",\"expires_in\":{lasts}}}"))
}

async fn sent(auth: &Arc<dyn ClientAuth>) -> Result<String, Failure> {
    let mut headers = HeaderMap::new();
    auth.authorize(&mut headers, None).await?;
    Ok(headers[AUTHORIZATION].to_str().expect("text").to_owned())
}

#[tokio::test]
async fn a_token_is_fetched_once_and_used_by_all() {
    let endpoint = Endpoint::start(|number, _| token(number, 3600)).await;
    let auth = endpoint.client(", scopes: [a, b], endpoint_params: {audience: [x y]}");
    let all: Vec<_> = (0..50)
        .map(|_| {
            let auth = Arc::clone(&auth);
            tokio::spawn(async move { sent(&auth).await })
        })
        .collect();
    for one in all {
        assert_eq!(one.await.expect("no panic").expect("a token"), "Bearer t1");
    }
    let seen = endpoint.seen();
    let [request] = seen.as_slice() else { panic!("{seen:?}") };
    assert!(request.starts_with("POST /oauth/token?x=1 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("authorization: Basic bWU6czNjcmV0\r\n"), "{request}");
    assert!(request.ends_with("\r\n\r\ngrant_type=client_credentials&scope=a+b&audience=x+y"), "{request}");
}

#[tokio::test]
async fn where_the_header_is_not_understood_the_body_says_it() {
    let endpoint = Endpoint::start(|number, request| {
        if request.contains("authorization:") {
            return Some("HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n".to_owned());
        }
        assert!(request.ends_with("&client_id=me&client_secret=s3cret"), "{request}");
        token(number, 3600)
    })
    .await;
    let auth = endpoint.client("");
    assert_eq!(sent(&auth).await.expect("a token"), "Bearer t2");
}

#[tokio::test]
async fn the_next_token_is_fetched_while_the_present_one_lasts() {
    // Each lasts for two seconds, of which it is used for one.
    let endpoint = Endpoint::start(|number, _| token(number, 2)).await;
    let auth = endpoint.client("");
    assert_eq!(sent(&auth).await.expect("a token"), "Bearer t1");
    let begun = Instant::now();
    while sent(&auth).await.expect("there is always one") == "Bearer t1" {
        assert!(begun.elapsed() < Duration::from_secs(10), "it is never replaced");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(endpoint.seen().len(), 2, "by one fetch");
}

#[tokio::test]
async fn an_endpoint_that_fails_is_left_alone_for_a_while() {
    let endpoint = Endpoint::start(|_, _| {
        Some("HTTP/1.1 503 Busy\r\ncontent-length: 14\r\n\r\ns3cret is mine".to_owned())
    })
    .await;
    let (auth, begun) = (endpoint.client(""), Instant::now());
    for _ in 0..20 {
        let failure = sent(&auth).await.expect_err("there is none");
        assert!(failure.is_transient() && failure.message.ends_with(": it answered 503"), "{failure}");
        assert!(
            failure.message.starts_with("failed to get security token from token endpoint "),
            "{failure}"
        );
        assert!(!failure.message.contains("s3cret"), "{failure}");
    }
    // It is asked again a second later at the earliest.
    let most = 1 + begun.elapsed().as_secs() as usize;
    assert!((1..=most).contains(&endpoint.seen().len()), "the others were told at once");
}

#[tokio::test]
async fn endpoints_that_hang_lie_or_answer_garbage_cost_a_bounded_wait() {
    let endless = format!("HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n{}", "x".repeat(200_000));
    let cases: [(Option<String>, &str); 5] = [
        (None, "no answer within 300ms"),
        (Some("garbage\r\n\r\n".to_owned()), "failed to get security token"),
        (Some("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".to_owned()), "is not JSON"),
        (Some(endless), "is not JSON"),
        (ok("{\"access_token\": "), "is not JSON"),
    ];
    for (answer, problem) in cases {
        let timeout = if answer.is_none() { ", timeout: 300ms" } else { ", timeout: 30s" };
        let endpoint = Endpoint::start(move |_, _| answer.clone()).await;
        let failure = sent(&endpoint.client(timeout)).await.expect_err("there is none");
        assert!(failure.is_transient() && failure.message.contains(problem), "{failure}");
    }
}

#[tokio::test]
async fn whoever_gives_up_waiting_does_not_stop_the_fetch() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let endpoint = Endpoint::start(move |number, _| {
        count.fetch_add(1, SeqCst);
        token(number, 3600)
    })
    .await;
    let auth = endpoint.client("");
    let mut headers = HeaderMap::new();
    tokio::select! {
        biased;
        _ = auth.authorize(&mut headers, None) => panic!("it cannot have a token yet"),
        () = std::future::ready(()) => {}
    }
    assert_eq!(sent(&auth).await.expect("a token"), "Bearer t1");
    assert_eq!(asked.load(SeqCst), 1);
}

#[tokio::test]
async fn a_young_token_is_kept_even_if_it_is_not_believed() {
    let endpoint = Endpoint::start(|number, _| token(number, 3600)).await;
    let auth = endpoint.client("");
    for _ in 0..100 {
        assert_eq!(sent(&auth).await.expect("a token"), "Bearer t1");
        auth.disbelieved();
    }
    assert_eq!(endpoint.seen().len(), 1);
}

#[tokio::test]
async fn secrets_are_read_from_files_for_each_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("secret");
    std::fs::write(&path, "other\n").expect("written");
    let endpoint = Endpoint::start(|number, _| token(number, 3600)).await;
    let auth = endpoint.client(&format!(", client_secret_file: '{}'", path.display()));
    assert_eq!(sent(&auth).await.expect("a token"), "Bearer t1");
    assert!(endpoint.seen()[0].contains("authorization: Basic bWU6b3RoZXI=\r\n"));
    std::fs::remove_file(&path).expect("removed");
    let gone = endpoint.client(&format!(", client_secret_file: '{}'", path.display()));
    let failure = sent(&gone).await.expect_err("it cannot be read");
    assert!(failure.is_transient() && failure.message.contains("cannot read"), "{failure}");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let with = |more: &str| format!("{{client_id: a, client_secret: b, token_url: 'https://x/token'{more}}}");
    assert_refused(
        &FACTORY,
        &[
            ("{}", "no ClientID provided"),
            ("{client_id: a}", "no ClientSecret provided"),
            ("{client_id: a, client_secret: b}", "no TokenURL provided"),
            ("{client_id: a, client_secret: b, token_url: 'x/token'}", "must begin with https://"),
            (
                "{client_id: a, client_secret: b, token_url: 'https://u:p@x/'}",
                "must not contain user and password",
            ),
            (
                &with(", grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer'"),
                "there is no key to sign with",
            ),
            (
                &with(
                    ", grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', client_certificate_key: x",
                ),
                "is not an RSA private key in PEM",
            ),
            (
                &with(
                    ", grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', client_certificate_key_file: x, signature_algorithm: none",
                ),
                "must be RS256, RS384 or RS512",
            ),
            (&with(", grant_type: password"), "must be client_credentials"),
            (&with(", endpoint_params: {client_id: [x]}"), "has a key of its own"),
            (&with(", client_secrt: x"), "did you mean"),
        ],
    );
}

#[tokio::test]
async fn a_client_that_signs_sends_an_assertion_and_no_secret() {
    let pair = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).expect("a key");
    let der = aws_lc_rs::encoding::AsDer::as_der(&pair).expect("it encodes");
    let der = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der.as_ref());
    let file = tempfile::NamedTempFile::new().expect("a file");
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
    std::fs::write(file.path(), pem).expect("written");
    let endpoint = Endpoint::start(|number, _| token(number, 3600)).await;
    let auth = endpoint.client(&format!(
        ", grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer', client_certificate_key_file: '{}', scopes: [a]",
        file.path().display()
    ));
    assert_eq!(sent(&auth).await.expect("a token"), "Bearer t1");
    let seen = endpoint.seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(
        seen[0].contains("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=ey"),
        "{seen:?}"
    );
    assert!(seen[0].ends_with("&scope=a") && !seen[0].contains("s3cret"), "{seen:?}");
    assert!(!seen[0].to_lowercase().contains("authorization:"), "{seen:?}");
}
