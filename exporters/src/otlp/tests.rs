//! The exporters as they are configured: what is wrong with a section, and an authenticator that changes its mind.

use super::{GRPC_FACTORY, HTTP_FACTORY};
use crate::testing::{batch, commit, config, context, log, outcome, plan};
use http::{HeaderMap, HeaderValue};
use millrace_engine::component::{BuildError, Extension};
use millrace_engine::{BoxFuture, ClientAuth, Failure, Origin};
use millrace_wire::Signal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[test]
fn what_is_wrong_with_a_client_is_said_with_what_to_do() {
    for (yaml, expected) in [
        ("{endpoint: 'x:1/path'}", "gRPC has no path"),
        ("{endpoint: 'dns://8.8.8.8/x:1'}", "write `dns:///host:port`"),
        ("{endpoint: 'x:1', balancer_name: ring}", "use round_robin or pick_first"),
        ("{endpoint: 'x:1', compression: lz4}", "must be one of gzip, snappy, zstd, none"),
        ("{endpoint: 'x:1', authority: 'a b'}", "must be `host` or `host:port`"),
        ("{endpoint: 'x:1', auth: {}}", "no authenticator is named"),
        ("{endpoint: 'x:1', tls: {cert_file: a}}", "must include both certificate and key"),
    ] {
        let (config, problems) = plan(&GRPC_FACTORY, yaml);
        assert!(config.is_none() && problems.contains(expected), "{yaml}: {problems}");
    }
    for (yaml, expected) in [
        ("{endpoint: 'x:1'}", "must begin with http:// or https://"),
        ("{endpoint: 'http://x', compression_params: {level: 11}}", "gzip, zlib and deflate have -2 to 9"),
        (
            "{endpoint: 'http://x', compression: snappy, compression_params: {level: 1}}",
            "unsupported parameters",
        ),
        ("{endpoint: 'http://x', proxy_url: 'socks5://me:secret@p:1'}", "use an http or https proxy"),
        ("{endpoint: 'http://x', proxy_url: 'http://me:secret@:p'}", "is not the URL of a proxy"),
    ] {
        let (config, problems) = plan(&HTTP_FACTORY, yaml);
        assert!(config.is_none() && problems.contains(expected), "{yaml}: {problems}");
        let said = problems.lines().filter(|line| !line.contains(" | ")).collect::<String>();
        assert!(!said.contains("secret"), "{said}");
    }
    for (yaml, expected) in [
        ("{endpoint: 'http://x:1'}", "does not switch TLS off"),
        ("{endpoint: 'x:1', keepalive: {time: 1s}}", "is raised to 10s"),
    ] {
        let (config, problems) = plan(&GRPC_FACTORY, yaml);
        assert!(config.is_some() && problems.contains(expected), "{yaml}: {problems}");
    }
    for yaml in [
        "{endpoint: 'https://x:1', tls: {insecure: true}}",
        "{endpoint: 'http://x:1', tls: {insecure: true}, balancer_name: pick_first, wait_for_ready: true, keepalive: }",
        "{endpoint: 'unix:///run/x.sock', tls: {insecure: true}}",
    ] {
        assert_eq!(plan(&GRPC_FACTORY, yaml).1, "", "{yaml}");
    }
}

/// Sends a number that grows each time it is not believed.
#[derive(Default)]
struct Rotating(AtomicUsize);

impl ClientAuth for Rotating {
    fn authorize<'a>(
        &'a self,
        headers: &'a mut HeaderMap,
        _: Option<&'a Origin>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        let mut value = HeaderValue::try_from(format!("token {}", self.0.load(SeqCst))).expect("text");
        value.set_sensitive(true);
        headers.insert(http::header::AUTHORIZATION, value);
        Box::pin(async { Ok(()) })
    }

    fn disbelieved(&self) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Extension for Rotating {
    fn start(&self) -> BoxFuture<'_, Result<(), BuildError>> {
        Box::pin(async { Ok(()) })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    fn client_auth(self: Arc<Self>) -> Option<Arc<dyn ClientAuth>> {
        Some(self)
    }
}

/// A destination that believes nothing before `token 2`.
async fn suspicious() -> SocketAddr {
    answering(|head| {
        let status = if head.contains("authorization: token 2\r\n") { 200 } else { 401 };
        format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n")
    })
    .await
}

/// A destination that answers each request with what is made of its head.
async fn answering(answer: impl Fn(&str) -> String + Copy + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while let Ok(byte) = stream.read_u8().await {
                    head.push(byte);
                    if !head.ends_with(b"\r\n\r\n") {
                        continue;
                    }
                    let text = String::from_utf8(std::mem::take(&mut head)).expect("text");
                    let len = text.lines().find_map(|line| line.strip_prefix("content-length: "));
                    let mut body = vec![0; len.map_or(0, |len| len.parse().expect("a number"))];
                    stream.read_exact(&mut body).await.expect("the body");
                    stream.write_all(answer(&text).as_bytes()).await.expect("the client is there");
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn what_is_not_believed_is_sent_again_with_what_the_authenticator_then_says() {
    let address = suspicious().await;
    let auth = |auth: &str| {
        config(
            &HTTP_FACTORY,
            &format!(
                "{{endpoint: 'http://{address}', sending_queue: {{enabled: false}}{auth}, \
                 retry_on_failure: {{initial_interval: 1ms}}}}"
            ),
        )
    };

    let with = context("otlp_http");
    let rotating: Arc<dyn Extension> = Arc::new(Rotating::default());
    with.shared.offers.publish([("rotating".parse().expect("an id"), rotating)]);
    let stage =
        auth(", auth: {authenticator: rotating}").build(with.clone(), Signal::Logs).expect("it can be built");
    commit(stage.as_ref(), batch([log("x")])).await.expect("believed in the end");
    assert_eq!(outcome(&with), (1, 0));

    // Without one, nothing would be different the second time.
    let without = context("otlp_http");
    let stage = auth("").build(without.clone(), Signal::Logs).expect("it can be built");
    let failure = commit(stage.as_ref(), batch([log("x")])).await.expect_err("never believed");
    assert!(!failure.is_transient() && failure.grpc_code == Some(16));
    assert_eq!(outcome(&without), (0, 1));
}

#[tokio::test]
async fn a_destination_that_repeats_what_it_was_sent_does_not_give_it_away() {
    let address = answering(|head| {
        let (path, body) = (head.split(' ').nth(1).expect("a path"), head.replace("\r\n", "\n"));
        let body = format!("cannot take {path} with:\n{body}");
        format!(
            "HTTP/1.1 400 x\r\nContent-Type: text/plain\r\nSet-Cookie: session=canary-1\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    })
    .await;
    let context = context("otlp_http");
    let rotating: Arc<dyn Extension> = Arc::new(Rotating::default());
    context.shared.offers.publish([("rotating".parse().expect("an id"), rotating)]);
    let yaml = format!(
        "{{logs_endpoint: 'http://{address}/v1/logs?key=canary-2', sending_queue: {{enabled: false}}, compression: none, \
         headers: {{x-key: canary-3, x-other: canary-4}}, cookies: {{enabled: true}}, \
         auth: {{authenticator: rotating}}}}"
    );
    let stage = config(&HTTP_FACTORY, &yaml).build(context, Signal::Logs).expect("it can be built");
    for cookies in [0, 1] {
        let failure = commit(stage.as_ref(), batch([log("x")])).await.expect_err("refused");
        let message = &failure.message;
        assert!(message.contains("Message=cannot take /v1/logs?*** with: POST /v1/logs?***"), "{message}");
        assert_eq!(message.matches("cookie: ***").count(), cookies, "{message}");
        for kept in
            ["x-key: ***", "x-other: ***", "authorization: ***", "content-type: application/x-protobuf"]
        {
            assert!(message.contains(kept), "{kept} in {message}");
        }
        assert!(!message.contains("canary") && !message.contains("token 0"), "{message}");
    }
}
