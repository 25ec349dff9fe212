//! Clients in TLS: what they say when something is wrong with it, both versions of HTTP, and proxies before it.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

mod support;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, Uri};
use millrace_net::Endpoint;
use millrace_net::config::{GrpcClientConfig, HttpClientConfig};
use millrace_net::connect::{Connector, Proxy};
use millrace_net::grpc::{Channel, ChannelOptions};
use millrace_net::http::{Client, ClientOptions};
use millrace_net::tls::{ALPN_H2, ALPN_HTTP1, Acceptor};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use support::certificates::{Authority, context, decoded};
use support::hostile::answer;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// A server of either version of HTTP, in TLS. Over HTTP/2 it answers as gRPC servers do.
#[derive(Clone, Default)]
struct Secured {
    connections: Arc<AtomicUsize>,
    /// The version, `:authority` or `Host`, and `authorization` of each request.
    requests: Arc<Mutex<Vec<(&'static str, String)>>>,
}

impl Secured {
    async fn start(acceptor: Acceptor) -> (u16, Self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Self::default();
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.connections.fetch_add(1, SeqCst);
                let (serving, acceptor) = (serving.clone(), acceptor.clone());
                tokio::spawn(async move {
                    // The client says what is wrong.
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    if stream.agreed().alpn_protocol() == Some(ALPN_H2) {
                        serving.http2(stream).await;
                    } else {
                        serving.http1(stream).await;
                    }
                });
            }
        });
        (port, server)
    }

    async fn http2<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(&self, stream: S) {
        let Ok(mut connection) = h2::server::handshake(stream).await else { return };
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let authority = request.uri().authority().unwrap().to_string();
            self.requests.lock().unwrap().push(("h2", authority));
            if request.headers().get("content-type").is_some() {
                answer(&mut respond);
            } else {
                let mut body = respond.send_response(Response::new(()), false).unwrap();
                body.send_data(Bytes::from_static(b"ok"), true).unwrap();
            }
        }
    }

    async fn http1<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(&self, mut stream: S) {
        let mut head = Vec::new();
        while let Ok(byte) = stream.read_u8().await {
            head.push(byte);
            if head.ends_with(b"\r\n\r\nbody") {
                let text = String::from_utf8(std::mem::take(&mut head)).unwrap();
                let host = text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
                self.requests.lock().unwrap().push(("http/1.1", host.to_owned()));
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
                stream.flush().await.unwrap();
            }
        }
    }
}

async fn call(channel: &Channel) -> Result<(), String> {
    let uri = channel.uri("/test.Service/Prompt").unwrap();
    let called = channel.unary(&uri, channel.headers(), &[Bytes::from_static(b"message")]).await;
    called.map(drop).map_err(|error| error.to_string())
}

/// What a gRPC client with such a section `tls` says to a server with that certificate.
async fn outcome(authority: &Authority, acceptor: Acceptor, endpoint: &str, tls: &str) -> Result<(), String> {
    let (port, _) = Secured::start(acceptor).await;
    let endpoint = endpoint.replace("PORT", &port.to_string());
    let yaml = authority.yaml(&format!("{{endpoint: '{endpoint}', tls: {tls}}}"));
    let config: GrpcClientConfig = decoded(&yaml);
    let endpoint = Endpoint::parse(&config.endpoint).unwrap();
    let (channel, _) = config.channel(&context(), endpoint).unwrap();
    call(&channel).await
}

#[tokio::test]
async fn tls_is_the_default_and_failures_say_what_to_do() {
    let ours = Authority::new();
    ours.certify("server", "localhost", 4000);
    ours.certify("elsewhere", "elsewhere.example", 4000);
    ours.certify("old", "localhost", 2001);
    ours.certify("client", "sender", 4000);
    let believed = "{ca_file: '{d}/ca.pem'}";
    let wanted = ", client_ca_file: '{d}/ca.pem'";
    let cases = [
        ("server", "", "localhost:PORT", believed, Ok(())),
        ("server", "", "https://localhost:PORT", "{insecure: true, ca_file: '{d}/ca.pem'}", Ok(())),
        ("server", "", "http://localhost:PORT", believed, Ok(())),
        (
            "elsewhere",
            "",
            "localhost:PORT",
            "{ca_file: '{d}/ca.pem', server_name_override: elsewhere.example}",
            Ok(()),
        ),
        ("server", "", "127.0.0.1:PORT", "{insecure_skip_verify: true}", Ok(())),
        (
            "server",
            wanted,
            "localhost:PORT",
            "{ca_file: '{d}/ca.pem', cert_file: '{d}/client.pem', key_file: '{d}/client.key'}",
            Ok(()),
        ),
        ("server", "", "localhost:PORT", "{}", Err("ca_file")),
        ("elsewhere", "", "localhost:PORT", believed, Err("server_name_override")),
        ("old", "", "localhost:PORT", believed, Err("has expired")),
        ("server", wanted, "localhost:PORT", believed, Err("cert_file")),
        (
            "server",
            "",
            "localhost:PORT",
            "{insecure: true}",
            Err("does it speak gRPC on this port, and without TLS"),
        ),
    ];
    for (certificate, server, endpoint, tls, expected) in cases {
        let acceptor = ours.acceptor(certificate, &ours.yaml(server));
        let outcome = outcome(&ours, acceptor, endpoint, tls).await;
        match (&outcome, expected) {
            (Ok(()), Ok(())) => {}
            (Err(error), Err(part)) => assert!(error.contains(part), "{certificate} {tls}: {error}"),
            _ => panic!("{certificate} {endpoint} {tls}: {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn tls_with_a_server_of_plain_text_says_so() {
    let plain = support::serve(64 << 20, None).await;
    let config: GrpcClientConfig = decoded(&format!("{{endpoint: '{}'}}", plain.address));
    let (channel, _) = config.channel(&context(), Endpoint::parse(&config.endpoint).unwrap()).unwrap();
    let error = call(&channel).await.unwrap_err();
    // Which words it is depends on whether the server's settings were there before it hung up.
    assert!(error.contains("speak TLS") && error.contains("insecure: true"), "{error}");
}

async fn post(client: &Client, uri: &Uri) -> Result<(), String> {
    let posted = client.post(uri, &HeaderMap::new(), &[Bytes::from_static(b"body")]).await;
    posted.map(|response| assert_eq!(response.body, "ok")).map_err(|error| error.to_string())
}

#[tokio::test]
async fn http_2_is_spoken_where_both_sides_want_it() {
    let ours = Authority::new();
    ours.certify("server", "localhost", 4000);
    for (force, version, connections) in [(true, "h2", 1), (false, "http/1.1", 8)] {
        let (port, server) = Secured::start(ours.acceptor("server", "")).await;
        let yaml = format!(
            "{{force_attempt_http2: {force}, max_conns_per_host: 20, tls: {{ca_file: '{{d}}/ca.pem'}}}}"
        );
        let config: HttpClientConfig = decoded(&ours.yaml(&yaml));
        let uri: Uri = format!("https://localhost:{port}/v1/logs").parse().unwrap();
        let (client, _) = config.client(&context(), Endpoint::parse(&uri.to_string()).unwrap()).unwrap();
        let requests: Vec<_> = (0..8)
            .map(|_| {
                let (client, uri) = (client.clone(), uri.clone());
                tokio::spawn(async move { post(&client, &uri).await })
            })
            .collect();
        for request in requests {
            request.await.unwrap().unwrap();
        }
        assert!(server.connections.load(SeqCst) <= connections, "{version}: {:?}", server.connections);
        let requests = server.requests.lock().unwrap().clone();
        assert_eq!(requests, vec![(version, format!("localhost:{port}")); 8]);
        let host = HeaderMap::from_iter([(http::header::HOST, HeaderValue::from_static("otlp.example"))]);
        client.post(&uri, &host, &[Bytes::from_static(b"body")]).await.unwrap();
        assert_eq!(server.requests.lock().unwrap().last().unwrap(), &(version, "otlp.example".to_owned()));
    }
}

#[tokio::test]
async fn an_http_client_says_what_is_wrong_with_tls() {
    let ours = Authority::new();
    ours.certify("server", "localhost", 4000);
    let (port, _) = Secured::start(ours.acceptor("server", "")).await;
    let uri: Uri = format!("https://localhost:{port}/v1/logs").parse().unwrap();
    let config: HttpClientConfig = decoded("{}");
    let (client, _) = config.client(&context(), Endpoint::parse(&uri.to_string()).unwrap()).unwrap();
    let error = post(&client, &uri).await.unwrap_err();
    assert!(error.contains("cannot connect to localhost") && error.contains("ca_file"), "{error}");
}

/// A proxy that lets everybody through who knows the password, and notes where to.
async fn tunnels() -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap();
            let destination = head.strip_prefix("CONNECT ").unwrap().split(' ').next().unwrap().to_owned();
            if !head.contains("Proxy-Authorization: Basic bWU6c2VjcmV0\r\n") {
                stream.write_all(b"HTTP/1.1 407 Who are you?\r\n\r\n").await.unwrap();
                continue;
            }
            noted.lock().unwrap().push(destination.clone());
            tokio::spawn(async move {
                // The proxy knows the name, and the client need not.
                let onward = destination.replace("only.the.proxy.knows", "127.0.0.1");
                let mut onward = TcpStream::connect(onward).await.unwrap();
                stream.write_all(b"HTTP/1.1 200 Go ahead\r\n\r\n").await.unwrap();
                // Either side may hang up.
                let _ = copy_bidirectional(&mut stream, &mut onward).await;
            });
        }
    });
    (address, asked)
}

#[tokio::test]
async fn both_protocols_go_through_a_proxy_that_knows_the_destination() {
    let ours = Authority::new();
    ours.certify("server", "localhost", 4000);
    let (port, server) = Secured::start(ours.acceptor("server", "")).await;
    let (proxy, asked) = tunnels().await;
    let uri: Uri = format!("https://only.the.proxy.knows:{port}/v1/logs").parse().unwrap();
    let endpoint = Endpoint::parse(&uri.to_string()).unwrap();
    for (offered, version) in [(&[ALPN_H2][..], "h2"), (&[ALPN_HTTP1][..], "http/1.1")] {
        let connector = Connector {
            tls: Some(ours.handshake("", offered)),
            proxy: Some(Proxy::parse(&format!("http://me:secret@{proxy}")).unwrap()),
            ..Connector::default()
        };
        let options = ClientOptions { connector: connector.clone(), ..ClientOptions::new(endpoint.clone()) };
        post(&Client::new(options, context().shared.tasks), &uri).await.unwrap();
        assert_eq!(server.requests.lock().unwrap().last().unwrap().0, version);
        if version == "h2" {
            let options = ChannelOptions {
                connector,
                ..ChannelOptions::new(Endpoint::new("only.the.proxy.knows", port))
            };
            call(&Channel::new(options, context().shared.tasks)).await.unwrap();
        }
    }
    assert_eq!(*asked.lock().unwrap(), vec![format!("only.the.proxy.knows:{port}"); 3]);
}

#[tokio::test]
async fn a_proxy_that_wants_to_know_who_asks_is_quoted() {
    let (proxy, _) = tunnels().await;
    let connector = Connector {
        proxy: Some(Proxy::parse(&format!("http://you:secret@{proxy}")).unwrap()),
        ..Connector::default()
    };
    let options = ChannelOptions { connector, ..ChannelOptions::new(Endpoint::new("somewhere.test", 4317)) };
    let error = call(&Channel::new(options, context().shared.tasks)).await.unwrap_err();
    assert!(error.contains("407") && !error.contains("secret"), "{error}");
}
