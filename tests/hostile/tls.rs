//! Servers with TLS and other conditions: who is taken, who is not, and what is said of it.

use crate::support::http1::{self, PROTOBUF};
use crate::support::tls::Certificates;
use crate::support::{Collector, Setup, eventually, free_port, grpc, requests};
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// A collector with a receiver in plain text and one with TLS, whose certificates lie in a folder of their own.
struct Secured {
    collector: Collector,
    certificates: Certificates,
    grpc: SocketAddr,
    http: SocketAddr,
    folder: TempDir,
}

/// Starts one; `tls` is what its sections say beside certificate and key, and `extensions` whole sections.
async fn secured(tls: &str, server: &str, extensions: &str) -> Secured {
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = Certificates::in_folder(folder.path());
    let [grpc, http] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
    let d = folder.path().display();
    let (tls, names) = (tls.replace("{d}", &d.to_string()), names(extensions));
    let section =
        format!("tls: {{cert_file: '{d}/server.pem', key_file: '{d}/server.key', {tls}}}, {server}");
    let setup = Setup::of(&format!(
        "receivers:
  otlp:
    protocols:
      grpc: {{endpoint: '127.0.0.1:{{grpc}}'}}
      http: {{endpoint: '127.0.0.1:{{http}}'}}
  otlp/secured:
    protocols:
      grpc: {{endpoint: '{grpc}', {section}}}
      http: {{endpoint: '{http}', {section}}}
processors:
  memory_limiter: {{check_interval: 1s, limit_mib: 128}}
exporters: {{nop: }}
{extensions}
service:
  extensions: [{names}]
  telemetry:
    metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {{metrics}}}}}}}}}}]}}
  pipelines:
    logs: {{receivers: [otlp, otlp/secured], processors: [memory_limiter], exporters: [nop]}}
"
    ));
    let collector = setup.start().await;
    Secured { collector, certificates, grpc, http, folder }
}

/// The names of the sections below `extensions:`.
fn names(extensions: &str) -> String {
    let names = extensions.lines().skip(1).filter_map(|line| line.trim().split(':').next());
    names.collect::<Vec<_>>().join(", ")
}

impl Secured {
    async fn client(&self, with_certificate: bool) -> Result<grpc::Client, String> {
        let connecting = self.certificates.connect(self.grpc, &["h2"], with_certificate);
        grpc::Client::over(connecting.await.map_err(|error| error.to_string())?).await
    }

    /// Waits until that many connections have been refused for a reason.
    async fn refused(&self, reason: &str, times: f64) {
        let labels = [("reason", reason)];
        let what = format!("{times} connections are refused as {reason}");
        self.collector
            .metrics_when(&what, |metrics| {
                metrics.sum("otelcol_millrace_connections_refused", &labels) == times
            })
            .await;
    }
}

fn post() -> Vec<u8> {
    http1::request("/v1/logs", PROTOBUF, &requests::logs(1))
}

#[tokio::test]
async fn telemetry_over_tls_is_taken_in_every_protocol() {
    let server = secured("min_version: '1.2'", "", "").await;
    let reply = server.client(false).await.expect("a connection").export("logs", &requests::logs(1)).await;
    assert_eq!(reply.expect("an answer").code, Some(0));

    let answer = server.certificates.post(server.http, &post(), false).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    // HTTP/2, as browsers and Go's clients speak it where they can.
    let stream = server.certificates.connect(server.http, &["h2", "http/1.1"], false).await.expect("TLS");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let mut client = grpc::Client::over(stream).await.expect("HTTP/2");
    for _ in 0..3 {
        // Larger than the window.
        let body = requests::logs_saying(&"x".repeat(500_000), 1);
        assert_eq!(client.post("https://localhost/v1/logs", &body).await.expect("an answer"), 200);
    }
    assert_eq!(server.collector.finish().await.account("received"), 7);
}

#[tokio::test]
async fn clients_without_a_certificate_are_refused_where_one_is_asked_for() {
    let server = secured("client_ca_file: '{d}/ca.pem'", "", "").await;
    for _ in 0..2 {
        let reply = server.client(true).await.expect("a connection").export("logs", &requests::logs(1)).await;
        assert_eq!(reply.expect("an answer").code, Some(0));
        let answer = server.certificates.post(server.http, &post(), true).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    // In TLS 1.3 the client's side of the handshake has ended before it is refused.
    if let Ok(mut client) = server.client(false).await {
        client.export("logs", &requests::logs(1)).await.expect_err("no certificate");
    }
    server.certificates.post(server.http, &post(), false).await.expect_err("no certificate");
    server.refused("client_certificate", 2.0).await;
    server.collector.has_said("TLS handshake error").await;
    server.collector.finish().await;
}

#[tokio::test]
async fn whoever_speaks_the_wrong_protocol_is_told_named_and_counted() {
    let server = secured("", "", "").await;

    // Plain HTTP where TLS is spoken: told as Go does
    let mut confused = TcpStream::connect(server.http).await.expect("a connection");
    confused.write_all(&post()).await.expect("written");
    let mut told = String::new();
    // Its request was not read, so the connection may end with a reset after the words.
    let _ = confused.read_to_string(&mut told).await;
    assert!(told.contains("Client sent an HTTP request to an HTTPS server."), "{told}");
    let mut plain = grpc::Client::connect(server.grpc).await.expect("h2 does not wait");
    plain.export("logs", &requests::logs(1)).await.expect_err("TLS is spoken there");
    server.refused("not_tls", 2.0).await;

    // TLS where plain text is spoken
    let setup = &server.collector.setup;
    for port in [setup.grpc, setup.http] {
        server.certificates.connect(port, &["h2"], false).await.expect_err("plain text is spoken there");
    }
    server.refused("tls_to_plain_port", 2.0).await;
    server.collector.has_said("a client speaks TLS to a port without `tls`").await;

    // Nonsense that begins like TLS
    let nonsense = [0x16, 3, 1, 0, 9, 1, 0, 0, 5, 9, 9, 9, 9, 9];
    for port in [server.grpc, server.http] {
        let mut stream = TcpStream::connect(port).await.expect("a connection");
        stream.write_all(&nonsense).await.expect("written");
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }
    server.refused("broken_handshake", 2.0).await;
    // … and clients that do not believe our certificate
    let stranger = tempfile::tempdir().expect("a folder");
    let strangers = Certificates::in_folder(stranger.path());
    strangers.connect(server.grpc, &["h2"], false).await.expect_err("another authority");
    server.refused("refused_by_client", 1.0).await;
    server.collector.finish().await;
}

#[tokio::test]
async fn slow_handshakes_hold_up_nobody() {
    let server = secured("", "", "").await;
    let mut slow = Vec::new();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(server.grpc).await.expect("a connection");
        stream.write_all(&[0x16, 3, 1, 2, 0, 1, 0]).await.expect("written");
        slow.push(stream);
    }
    for _ in 0..5 {
        let reply =
            server.client(false).await.expect("a connection").export("logs", &requests::logs(1)).await;
        assert_eq!(reply.expect("an answer").code, Some(0));
    }
    server.refused("handshake_timeout", 300.0).await;
    drop(slow);
    server.collector.finish().await;
}

#[tokio::test]
async fn certificates_are_replaced_while_it_runs_and_broken_ones_are_not() {
    async fn shown(server: &Secured) -> Vec<u8> {
        let stream = server.certificates.connect(server.grpc, &["h2"], false).await.expect("TLS");
        stream.get_ref().1.peer_certificates().expect("it has one")[0].to_vec()
    }
    let server = secured("reload_interval: 1s", "", "").await;
    let first = shown(&server).await;

    server.certificates.write("server.pem", "half a certi");
    let failed = |metrics: &crate::support::metrics::Metrics| {
        metrics.sum("otelcol_millrace_tls_reload_failures", &[("component", "otlp/secured")]) >= 2.0
    };
    server.collector.metrics_when("failed reloads are counted", failed).await;
    assert_eq!(shown(&server).await, first);
    server.collector.has_said("those from before stay in use").await;

    let second = server.certificates.certify("server");
    eventually("the new certificate is shown", || async {
        if shown(&server).await == *second { Ok(()) } else { Err("the old one is".to_owned()) }
    })
    .await;
    let metrics = server.collector.metrics().await;
    let ends = [("component", "otlp/secured"), ("file", "cert_file"), ("transport", "grpc")];
    assert!(metrics.sum("otelcol_millrace_tls_certificate_expiry", &ends) > 1.7e9);
    server.collector.finish().await;
}

/// Puts a pipe that nobody writes to where a file is.
fn replace_by_pipe(path: &Path) {
    let pipe = path.with_extension("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    std::fs::rename(pipe, path).expect("it takes the file's place");
}

#[tokio::test]
async fn pipes_in_the_place_of_files_hold_up_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let token = folder.path().join("token");
    std::fs::write(&token, "good").expect("written");
    let extensions = format!("extensions:\n  bearertokenauth: {{filename: '{}'}}", token.display());
    let server = secured("reload_interval: 1s", "auth: {authenticator: bearertokenauth}", &extensions).await;
    let shown = async || {
        let stream = server.certificates.connect(server.grpc, &["h2"], false).await.expect("TLS");
        stream.get_ref().1.peer_certificates().expect("it has one")[0].to_vec()
    };
    let call = async |token: &'static str| {
        let mut client = server.client(false).await.expect("a connection");
        let body = grpc::framed(0, &requests::logs(1));
        client.call("logs", &[("authorization", token)], &body).await.expect("an answer").code
    };
    let first = shown().await;
    replace_by_pipe(&server.folder.path().join("server.pem"));
    replace_by_pipe(&token);
    let failed = |metrics: &crate::support::metrics::Metrics| {
        metrics.sum("otelcol_millrace_tls_reload_failures", &[("component", "otlp/secured")]) >= 4.0
    };
    server.collector.metrics_when("it is tried again and again", failed).await;
    assert_eq!(shown().await, first);
    assert_eq!(call("Bearer good").await, Some(0));
    server.collector.has_said("it is a pipe or a device, and must be a file").await;

    for pipe in [server.folder.path().join("server.pem"), token.clone()] {
        std::fs::remove_file(pipe).expect("it is there");
    }
    let second = server.certificates.certify("server");
    std::fs::write(&token, "better").expect("written");
    eventually("what replaces them is read", || async {
        let is_new = shown().await == *second && call("Bearer better").await == Some(0);
        if is_new { Ok(()) } else { Err("the old one is in use".to_owned()) }
    })
    .await;
    server.collector.finish().await;
}

#[tokio::test]
async fn a_pipe_as_certificate_is_named_when_it_starts() {
    let setup = Setup::of(
        "receivers: {otlp: {protocols: {grpc: {endpoint: '127.0.0.1:{grpc}',
  tls: {cert_file: '{folder}/pipe', key_file: '{folder}/pipe'}}}}}
exporters: {nop: }
service: {pipelines: {logs: {receivers: [otlp], exporters: [nop]}}}
",
    );
    replace_by_pipe(&setup.folder.path().join("pipe"));
    let (log, code) = setup.fails().await;
    assert_ne!(code, Some(0));
    assert!(log.contains("tls::cert_file `") && log.contains("must be a file"), "{log}");
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_named_when_it_starts() {
    let setup = Setup::of(
        "receivers: {otlp: {protocols: {grpc: {endpoint: '127.0.0.1:{grpc}',
  tls: {cert_file: '{folder}/none.pem', key_file: '{folder}/none.key'}}}}}
exporters: {nop: }
service: {pipelines: {logs: {receivers: [otlp], exporters: [nop]}}}
",
    );
    let (log, code) = setup.fails().await;
    assert_ne!(code, Some(0));
    assert!(log.contains("tls::cert_file `") && log.contains("none.pem`: cannot be read"), "{log}");
}

#[tokio::test]
async fn whoever_does_not_prove_who_it_is_is_refused_before_its_body() {
    let extensions = "extensions:\n  bearertokenauth: {token: good}";
    let server = secured("", "auth: {authenticator: bearertokenauth}", extensions).await;
    let mut client = server.client(false).await.expect("a connection");
    let reply = client.export("logs", &requests::logs(1)).await.expect("an answer");
    assert_eq!(reply.code, Some(16), "{reply:?}");
    let bearer = [("authorization", "Bearer good")];
    let body = grpc::framed(0, &requests::logs(1));
    assert_eq!(client.call("logs", &bearer, &body).await.expect("an answer").code, Some(0));

    // A body that is announced and not sent: the answer does not wait for it
    let head = format!("POST /v1/logs HTTP/1.1\r\nhost: x\r\n{PROTOBUF}content-length: 5000000\r\n\r\n");
    let answer = server.certificates.post(server.http, head.as_bytes(), false).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    // … in words that its sender can read, whatever it sent
    let odd = http1::request("/v1/logs", "content-type: text/plain\r\n", b"?");
    let answer = server.certificates.post(server.http, &odd, false).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("application/json"), "{answer}");
    let good =
        http1::request("/v1/logs", &format!("{PROTOBUF}authorization: Bearer good\r\n"), &requests::logs(1));
    let answer = server.certificates.post(server.http, &good, false).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let metrics = server.collector.metrics().await;
    assert_eq!(metrics.malformed("unauthenticated"), 3.0);
    server.collector.finish().await;
}

#[tokio::test]
async fn a_unix_socket_is_served_and_cleaned_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("otlp.sock");
    // Left behind by a process that was killed
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    let collector = Setup::of(&format!(
        "receivers:
  otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{{grpc}}'}}, http: {{endpoint: '127.0.0.1:{{http}}'}}}}}}
  otlp/unix: {{protocols: {{grpc: {{endpoint: '{}', transport: unix, include_metadata: true}}}}}}
exporters: {{nop: }}
service:
  telemetry:
    metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {{metrics}}}}}}}}}}]}}
  pipelines:
    logs: {{receivers: [otlp, otlp/unix], exporters: [nop]}}
",
        path.display()
    ))
    .start()
    .await;
    assert!(is_socket(&path));
    let stream = UnixStream::connect(&path).await.expect("a connection");
    let mut client = grpc::Client::over(stream).await.expect("HTTP/2");
    assert_eq!(client.export("logs", &requests::logs(5)).await.expect("an answer").code, Some(0));
    assert_eq!(collector.finish().await.account("received"), 7);
    assert!(!path.exists(), "the socket is left behind");
}

fn is_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

/// Heads that a server and something before it may read differently, so that one request hides in another.
#[tokio::test]
async fn requests_that_could_be_read_in_two_ways_are_refused_or_read_in_one() {
    let collector = Setup::to("nop: {}").start().await;
    let hidden =
        "POST /v1/logs HTTP/1.1\r\nhost: y\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
    let len = hidden.len();
    let refused = [
        format!("content-length: 0\r\ncontent-length: {len}\r\n\r\n{hidden}"),
        format!("content-length: {len}, 0\r\n\r\n{hidden}"),
        format!("content-length: +{len}\r\n\r\n{hidden}"),
        format!("content-length: -1\r\n\r\n{hidden}"),
        format!("content-length : {len}\r\n\r\n{hidden}"),
        format!("x-a: b\r\n content-length: {len}\r\n\r\n{hidden}"),
        format!("transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n{hidden}"),
        format!("transfer-encoding: xchunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("transfer-encoding: chunked\r\n\r\n-1\r\n\r\n{hidden}"),
        format!("transfer-encoding: chunked\r\n\r\n0x2\r\n{{}}\r\n0\r\n\r\n{hidden}"),
        format!("transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n{hidden}"),
        format!("content-length: 0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("x\0y: z\r\ncontent-length: 0\r\n\r\n{hidden}"),
        format!("x: a\rb\r\ncontent-length: 0\r\n\r\n{hidden}"),
    ];
    for head in refused {
        let mut stream = TcpStream::connect(collector.setup.http).await.expect("a connection");
        let request =
            format!("POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{head}");
        stream.write_all(request.as_bytes()).await.expect("written");
        let mut answers = Vec::new();
        let reading = stream.read_to_end(&mut answers);
        // It may end with a reset, as not everything was read.
        let _ = tokio::time::timeout(crate::support::PATIENCE, reading).await.expect("the connection ends");
        let answers = String::from_utf8_lossy(&answers);
        assert!(answers.matches("HTTP/1.1 ").count() <= 1, "two answers to {head:?}: {answers}");
        assert!(answers.is_empty() || answers.contains("HTTP/1.1 400"), "{head:?}: {answers}");
    }
    collector.finish().await;
}

#[tokio::test]
async fn a_configuration_is_fetched_from_whom_the_system_trusts_and_from_nobody_else() {
    // A receiver stands in for a web server: its 404 is an answer, and a stranger's would not be listened to.
    let secured = secured("", "", "").await;
    let url = format!("https://localhost:{}/collector.yaml", secured.http.port());
    let fetch = |trusted: &Path| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_millrace"))
            .args(["validate", "--config", &url])
            .env("SSL_CERT_FILE", trusted)
            .env_remove("SSL_CERT_DIR")
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let ours = fetch(&secured.folder.path().join("ca.pem"));
    assert!(ours.contains("404 Not Found"), "{ours}");
    let theirs = tempfile::tempdir().expect("a folder");
    let _ = Certificates::in_folder(theirs.path());
    let strange = fetch(&theirs.path().join("ca.pem"));
    assert!(strange.contains("cannot connect") && strange.contains("certificate"), "{strange}");
}
