//! The servers for people and probes: `health_check`, `zpages` and the `prometheus` exporter, with everything that a
//! server of telemetry can be told.

use crate::support::http1::{self, Connection};
use crate::support::tls::Certificates;
use crate::support::{Collector, Setup, eventually, free_port, grpc};
use std::net::SocketAddr;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// A collector whose small servers speak TLS and ask who is there.
struct Guarded {
    collector: Collector,
    certificates: Certificates,
    /// Of the first version of `health_check`, and of the second over HTTP and gRPC.
    health: [SocketAddr; 3],
    pages: SocketAddr,
    served: SocketAddr,
    _folder: TempDir,
}

async fn guarded(tls: &str) -> Guarded {
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = Certificates::in_folder(folder.path());
    let [h1, h2, h3, pages, served] = [(); 5].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
    let d = folder.path().display();
    let tls = tls.replace("{d}", &d.to_string());
    let both = format!(
        "tls: {{cert_file: '{d}/server.pem', key_file: '{d}/server.key', {tls}}}, auth: {{authenticator: bearertokenauth}}"
    );
    let page = format!("{both}, cors: {{allowed_origins: ['https://a.test']}}, response_headers: {{x-a: b}}");
    let text = format!(
        "receivers:
  otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{{grpc}}'}}, http: {{endpoint: '127.0.0.1:{{http}}'}}}}}}
exporters:
  nop:
  prometheus: {{endpoint: '{served}', {page}}}
extensions:
  bearertokenauth: {{token: good}}
  health_check: {{endpoint: '{h1}', {page}}}
  health_check/2: {{http: {{endpoint: '{h2}', {page}}}, grpc: {{endpoint: '{h3}', {both}}}}}
  zpages: {{endpoint: '{pages}', {page}}}
service:
  extensions: [health_check, health_check/2, zpages, bearertokenauth]
  telemetry:
    metrics:
      level: detailed
      readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {{metrics}}}}}}}}}}]
  pipelines:
    metrics: {{receivers: [otlp], exporters: [prometheus]}}
    logs: {{receivers: [otlp], exporters: [nop]}}
"
    );
    let collector = Setup::of(&text).start().await;
    Guarded { collector, certificates, health: [h1, h2, h3], pages, served, _folder: folder }
}

fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").into_bytes()
}

#[tokio::test]
async fn small_servers_speak_tls_ask_who_is_there_and_are_open_to_listed_origins() {
    let server = guarded("").await;
    let [v1, v2, health] = server.health;
    for (at, path) in
        [(v1, "/"), (v2, "/status"), (server.pages, "/debug/servicez"), (server.served, "/metrics")]
    {
        let ask = async |headers: &str| {
            let answer = server.certificates.post(at, &get(path, headers), false).await;
            answer.expect("an answer").to_lowercase()
        };
        let stranger = ask("").await;
        assert!(stranger.starts_with("http/1.1 401"), "{at}{path}: {stranger}");
        assert!(stranger.contains("x-a: b\r\n") && stranger.contains("text/plain"), "{stranger}");
        let good = "Authorization: Bearer good\r\n";
        let answer = ask(good).await;
        assert!(answer.starts_with("http/1.1 200") && answer.contains("x-a: b\r\n"), "{at}{path}: {answer}");
        let crossing = ask(&format!("{good}Origin: https://a.test\r\n")).await;
        assert!(crossing.contains("access-control-allow-origin: https://a.test\r\n"), "{crossing}");
        let odd = ask(&format!("{good}Content-Encoding: foo\r\n")).await;
        assert!(odd.starts_with("http/1.1 400"), "as in go: {odd}");
        let preflight = "Origin: https://a.test\r\nAccess-Control-Request-Method: GET\r\n";
        let preflight = format!("OPTIONS {path} HTTP/1.1\r\nHost: x\r\n{preflight}\r\n");
        let answer = server.certificates.post(at, preflight.as_bytes(), false).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 204"), "browsers do not say who they are: {answer}");

        // HTTP/2, as Prometheus scrapes over TLS
        let stream = server.certificates.connect(at, &["h2", "http/1.1"], false).await.expect("TLS");
        let mut client = grpc::Client::over(stream).await.expect("HTTP/2");
        assert_eq!(client.post(&format!("https://localhost{path}"), b"").await, Ok(401));
        // In plain text
        let mut confused = tokio::net::TcpStream::connect(at).await.expect("a connection");
        confused.write_all(&get(path, good)).await.expect("written");
        let mut told = String::new();
        let _ = confused.read_to_string(&mut told).await;
        assert!(told.contains("Client sent an HTTP request to an HTTPS server."), "{told}");
    }

    let stream = server.certificates.connect(health, &["h2"], false).await.expect("TLS");
    let mut client = grpc::Client::over(stream).await.expect("HTTP/2");
    let question = grpc::framed(0, b"\x0a\x04logs");
    let check = "/grpc.health.v1.Health/Check";
    let stranger = client.call(check, &[], &question).await.expect("an answer");
    assert_eq!(stranger.code, Some(16), "{stranger:?}");
    let reply = client.call(check, &[("authorization", "Bearer good")], &question).await.expect("an answer");
    assert_eq!((reply.code, reply.body.as_slice()), (Some(0), &b"\0\0\0\0\x02\x08\x01"[..]));

    // Over HTTP/2 the host is `localhost`, without a port
    let scraped =
        [("server_address", "localhost"), ("url_scheme", "https"), ("network_protocol_version", "2.0")];
    let refused = [("extension", "zpages"), ("transport", "http"), ("reason", "not_tls")];
    let checks = [("rpc_method", "grpc.health.v1.Health/Check")];
    let metrics = server.collector.metrics_when("the last of them is counted", |metrics| {
        metrics.sum("http_server_request_duration_count", &scraped) >= 3.0
            && metrics.sum("otelcol_millrace_connections_refused", &refused) >= 1.0
            && metrics.sum("rpc_server_call_duration_count", &checks) >= 2.0
    });
    let metrics = metrics.await;
    assert_eq!(metrics.sum("http_server_request_duration_count", &scraped), 3.0);
    assert_eq!(metrics.sum("otelcol_millrace_connections_refused", &refused), 1.0);
    // As the Go collector counts them: not those to the first version
    let first = v1.port().to_string();
    assert_eq!(metrics.sum("http_server_request_duration_count", &[("server_port", &first)]), 0.0);
    server.collector.finish().await;
}

#[tokio::test]
async fn small_servers_ask_for_certificates_and_follow_theirs() {
    let server = guarded("client_ca_file: '{d}/ca.pem', reload_interval: 1s").await;
    let [v1, v2, health] = server.health;
    let second = server.certificates.certify("server");
    for at in [v1, v2, health, server.pages, server.served] {
        let known = server.certificates.connect(at, &["h2"], true).await.expect("it shows a certificate");
        drop(known);
        // In TLS 1.3 the client's side of the handshake has ended before it is refused.
        if let Ok(stream) = server.certificates.connect(at, &["h2"], false).await
            && let Ok(mut client) = grpc::Client::over(stream).await
        {
            client.post("https://localhost/", b"").await.expect_err("no certificate");
        }
        eventually("the new certificate is shown", || async {
            let stream = server.certificates.connect(at, &["h2"], true).await.expect("TLS");
            let shown = stream.get_ref().1.peer_certificates().expect("it has one")[0].to_vec();
            if shown == *second { Ok(()) } else { Err(format!("{at} shows the old one")) }
        })
        .await;
    }
    server.collector.finish().await;
}

#[tokio::test]
async fn small_servers_listen_on_unix_sockets_and_keep_to_their_times() {
    let collector = Setup::of(
        "receivers:
  otlp: {protocols: {grpc: {endpoint: '127.0.0.1:{grpc}'}, http: {endpoint: '127.0.0.1:{http}'}}}
exporters:
  prometheus: {endpoint: '{folder}/p.sock', transport: unix}
extensions:
  health_check: {http: {endpoint: '{folder}/h.sock', transport: unix, idle_timeout: 300ms}, grpc: {endpoint: '{folder}/g.sock', transport: unix}}
service:
  extensions: [health_check]
  telemetry:
    metrics: {readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: {metrics}}}}}]}
  pipelines: {metrics: {receivers: [otlp], exporters: [prometheus]}}
",
    )
    .start()
    .await;
    let at = |name: &str| collector.setup.folder.path().join(name);
    for (name, path) in [("p.sock", "/metrics"), ("h.sock", "/status")] {
        let mut stream = UnixStream::connect(at(name)).await.expect("it listens");
        stream.write_all(&get(path, "Connection: close\r\n")).await.expect("written");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let stream = UnixStream::connect(at("g.sock")).await.expect("it listens");
    let mut client = grpc::Client::over(stream).await.expect("HTTP/2");
    let reply = client.call("/grpc.health.v1.Health/Check", &[], &grpc::framed(0, b"")).await;
    assert_eq!(reply.expect("an answer").code, Some(0));

    let mut idle = UnixStream::connect(at("h.sock")).await.expect("it listens");
    idle.write_all(&get("/status", "")).await.expect("written");
    let mut answer = String::new();
    idle.read_to_string(&mut answer).await.expect("it is closed after a while");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let folder = collector.setup.folder.path().to_owned();
    collector.signal("TERM");
    eventually("the sockets are gone", || async {
        if folder.join("p.sock").exists() { Err("it is there".to_owned()) } else { Ok(()) }
    })
    .await;
}

#[tokio::test]
async fn scrapers_who_do_not_read_keep_nobody_out() {
    let served = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let text = "receivers:
  otlp: {protocols: {grpc: {endpoint: '127.0.0.1:{grpc}'}, http: {endpoint: '127.0.0.1:{http}'}}}
processors:
  memory_limiter: {check_interval: 1s, limit_mib: 128}
exporters:
  nop:
  prometheus: {endpoint: '{served}'}
service:
  telemetry:
    metrics: {readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: {metrics}}}}}]}
  pipelines:
    metrics: {receivers: [otlp], processors: [memory_limiter], exporters: [prometheus]}
    logs: {receivers: [otlp], exporters: [nop]}
";
    let collector = Setup::of(&text.replace("{served}", &served.to_string())).start().await;
    // More than sockets hold
    let attribute = "x".repeat(2000);
    for batch in 0..10 {
        let points = (0..1000).map(|series| {
            let value = format!("{batch}/{series}/{attribute}");
            format!(r#"{{"timeUnixNano":"1700000000000000000","asDouble":1,"attributes":[{{"key":"a","value":{{"stringValue":"{value}"}}}}]}}"#)
        });
        let points = points.collect::<Vec<_>>().join(",");
        let request = format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"m","gauge":{{"dataPoints":[{points}]}}}}]}}]}}]}}"#
        );
        let reply = http1::post(collector.setup.http, "/v1/metrics", http1::JSON, request.as_bytes()).await;
        assert_eq!(reply.expect("an answer").status, 200);
    }
    let before = collector.resident_mib();
    let mut slow = Vec::new();
    for _ in 0..40 {
        let mut connection = Connection::open(served).await.expect("a connection");
        connection.write(&get("/metrics", "")).await.expect("written");
        slow.push(connection);
    }
    for _ in 0..5 {
        let mut stream = tokio::net::TcpStream::connect(served).await.expect("a connection");
        stream.write_all(&get("/metrics", "Connection: close\r\n")).await.expect("written");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an answer");
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..200]));
        assert!(answer.len() > 20_000_000, "it is whole: {}", answer.len());
    }
    let after = collector.resident_mib();
    assert!(after < before + 64, "{before} MiB before, {after} after");
    drop(slow);
    collector.finish().await;
}
