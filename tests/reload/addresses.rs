//! Addresses and open connections.

use crate::support::{PATIENCE, Setup, free_port, grpc, http1, requests};
use crate::{post, reload, text};
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A page of metrics as a scraper gets it, which may be in chunks.
async fn scraped(port: u16) -> io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
    let mut page = String::new();
    stream.read_to_string(&mut page).await?;
    Ok(page)
}

#[tokio::test]
async fn open_connections_reach_the_new_graph_and_are_asked_what_it_asks() {
    let collector = Setup::to("nop: {}").start().await;
    let (base, log) = (text(&collector), requests::logs(1));
    let mut over_grpc = grpc::Client::connect(collector.setup.grpc).await.expect("a connection");
    let mut over_http = http1::Connection::open(collector.setup.http).await.expect("a connection");
    assert_eq!(over_grpc.export("logs", &log).await.expect("an answer").code, Some(0));
    assert_eq!(over_http.post("/v1/logs", http1::PROTOBUF, &log).await.expect("an answer").status, 200);

    let guarded = base
        .replace("protocols:\n", "protocols: &all\n")
        .replace("grpc}}", "grpc}")
        .replace("grpc: {", "grpc: {auth: {authenticator: bearertokenauth}, ")
        .replace("http: {", "http: {auth: {authenticator: bearertokenauth}, ")
        .replace("service:\n", "extensions: {bearertokenauth: {token: open-sesame}}\nservice:\n  extensions: [bearertokenauth]\n");
    reload(&collector, &guarded, "success").await;
    assert_eq!(over_grpc.export("logs", &log).await.expect("the connection is open").code, Some(16));
    let refused = over_http.post("/v1/logs", http1::PROTOBUF, &log).await.expect("the connection is open");
    assert_eq!(refused.status, 401);
    let token = [("authorization", "Bearer open-sesame")];
    let reply = over_grpc.call("logs", &token, &grpc::framed(0, &log)).await.expect("an answer");
    assert_eq!(reply.code, Some(0));

    reload(&collector, &base, "success").await;
    assert_eq!(over_grpc.export("logs", &log).await.expect("the connection is open").code, Some(0));
    collector.finish().await;
}

#[tokio::test]
async fn a_receiver_that_moves_has_its_clients_go() {
    let collector = Setup::to("nop: {}").start().await;
    let (base, log) = (text(&collector), requests::logs(1));
    let mut client = grpc::Client::connect(collector.setup.grpc).await.expect("a connection");
    assert_eq!(client.export("logs", &log).await.expect("an answer").code, Some(0));
    let (old, new) = (collector.setup.grpc.port(), free_port());

    reload(&collector, &base.replace(&old.to_string(), &new.to_string()), "success").await;

    crate::support::eventually("the old address is closed", || async {
        match grpc::Client::connect(collector.setup.grpc).await {
            Ok(_) => Err("it is open".to_owned()),
            Err(_) => Ok(()),
        }
    })
    .await;
    // What it sends before it has heard of that is served.
    let ending = async { while client.export("logs", &log).await.is_ok() {} };
    timeout(PATIENCE, ending).await.expect("its connection is ended");
    let mut client = grpc::Client::connect(([127, 0, 0, 1], new).into()).await.expect("a connection");
    assert_eq!(client.export("logs", &log).await.expect("an answer").code, Some(0));
    reload(&collector, &base, "success").await;
    collector.finish().await;
}

#[tokio::test]
async fn transports_can_change_places() {
    let mut collector = Setup::to("nop: {}").start().await;
    let base = text(&collector);
    let (grpc, http) = (collector.setup.grpc.port().to_string(), collector.setup.http.port().to_string());
    let swapped = base.replace(&grpc, "GRPC").replace(&http, &grpc).replace("GRPC", &http);
    reload(&collector, &swapped, "success").await;
    (collector.setup.grpc, collector.setup.http) = (collector.setup.http, collector.setup.grpc);
    collector.assert_serves().await;
    collector.finish().await;
}

#[tokio::test]
async fn one_address_can_become_every_address_and_back() {
    let collector = Setup::to("nop: {}").start().await;
    let base = text(&collector);
    let everywhere = base.replace("endpoint: 127.0.0.1:", "endpoint: 0.0.0.0:");
    reload(&collector, &everywhere, "success").await;
    collector.assert_serves().await;
    let named = base.replace("endpoint: 127.0.0.1:", "endpoint: localhost:");
    reload(&collector, &named, "success").await;
    assert_eq!(post(&collector).await, 200);
    reload(&collector, &base, "success").await;
    collector.finish().await;
}

#[tokio::test]
async fn unix_sockets_stay_where_they_are() {
    let collector = Setup::to("nop: {}").start().await;
    let base = text(&collector);
    let socket = collector.setup.folder.path().join("otlp.sock");
    let with_socket = |more: &str| {
        base.replace(
            "processors:\n",
            &format!(
                "  otlp/socket: {{protocols: {{grpc: {{transport: unix, endpoint: '{}'{more}}}}}}}\nprocessors:\n",
                socket.display()
            ),
        )
        .replace("receivers: [otlp]", "receivers: [otlp, otlp/socket]")
    };
    reload(&collector, &with_socket(""), "success").await;
    let stream = tokio::net::UnixStream::connect(&socket).await.expect("it listens");
    let mut client = grpc::Client::over(stream).await.expect("a connection");
    let log = requests::logs(1);
    assert_eq!(client.export("logs", &log).await.expect("an answer").code, Some(0));

    reload(&collector, &with_socket(", max_recv_msg_size_mib: 3"), "success").await;
    assert_eq!(client.export("logs", &log).await.expect("the connection is open").code, Some(0));
    tokio::net::UnixStream::connect(&socket).await.expect("it listens still");

    reload(&collector, &base, "success").await;
    crate::support::eventually("the socket is removed", || async {
        if socket.exists() { Err("it is there".to_owned()) } else { Ok(()) }
    })
    .await;
    collector.finish().await;
}

#[tokio::test]
async fn pages_for_probes_and_scrapers_stay_or_move() {
    let (health, scrape) = (free_port(), free_port());
    let collector = Setup::to("prometheus: {endpoint: '127.0.0.1:{scrape}'}");
    let text_before = std::fs::read_to_string(&collector.config).expect("a configuration");
    let text_before = text_before
        .replace("{scrape}", &scrape.to_string())
        .replace("traces: &all", "metrics/only:")
        .replace("metrics: *all\n", "")
        .replace("    logs: *all\n", "")
        .replace(
            "service:\n",
            &format!(
                "extensions: {{health_check: {{endpoint: '127.0.0.1:{health}'}}, zpages: {{endpoint: '127.0.0.1:{z}'}}}}\n\
                 service:\n  extensions: [health_check]\n",
                z = free_port()
            ),
        );
    std::fs::write(&collector.config, &text_before).expect("written");
    let collector = collector.start().await;
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_nanos();
    let metrics = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"load","gauge":{{"dataPoints":[{{"asInt":"1","timeUnixNano":"{now}"}}]}}}}]}}]}}]}}"#
    );
    let sent = http1::post(collector.setup.http, "/v1/metrics", http1::JSON, metrics.as_bytes()).await;
    assert_eq!(sent.expect("an answer").status, 200);
    let at = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let shows = async |wanted: &'static str| {
        crate::support::eventually("the series is shown", || async move {
            let page = scraped(scrape).await.map_err(|error| error.to_string())?;
            if page.contains(wanted) { Ok(()) } else { Err(page) }
        })
        .await;
    };
    shows("load").await;

    // The exporter has not changed, and keeps its series.
    reload(&collector, &text_before.replace("limit_mib: 128", "limit_mib: 100"), "success").await;
    shows("load").await;
    assert_eq!(http1::get(at(health), "/").await.expect("a page").status, 200);

    // One that has begins anew, at the same address.
    let changed = text_before.replace("prometheus: {endpoint", "prometheus: {namespace: new, endpoint");
    reload(&collector, &changed, "success").await;
    let sent = http1::post(collector.setup.http, "/v1/metrics", http1::JSON, metrics.as_bytes()).await;
    assert_eq!(sent.expect("an answer").status, 200);
    shows("new_load").await;

    // The collector's own page moves at once.
    let (old, new) = (collector.setup.metrics.port(), free_port());
    collector.setup.reconfigure(&changed.replace(&old.to_string(), &new.to_string()));
    collector.signal("HUP");
    crate::support::eventually("the page is elsewhere", || async {
        http1::get(at(new), "/metrics").await.map(drop).map_err(|error| error.to_string())
    })
    .await;
    crate::support::eventually("and not where it was", || async {
        match http1::get(at(old), "/metrics").await {
            Ok(_) => Err("it is there".to_owned()),
            Err(_) => Ok(()),
        }
    })
    .await;
    let stopped = collector.stopped_by("TERM").await;
    stopped.assert_clean();
}
