//! What makes it reload, and what ends it meanwhile.

use crate::support::{Setup, http1};
use crate::{outcomes, text};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Answers whoever asks for a page, when that is done.
async fn answer(mut asked: TcpStream) {
    // A connection that is closed before it has been read is reset.
    let mut request = [0; 4096];
    let mut len = 0;
    while !request[..len].ends_with(b"\r\n\r\n") {
        let read = asked.read(&mut request[len..]).await.expect("a request");
        assert!(read > 0, "it goes away");
        len += read;
    }
    let page = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nconnection: close\r\n\r\n{}\n";
    asked.write_all(page).await.expect("written");
}

#[tokio::test]
async fn watched_files_are_read_when_they_have_changed() {
    let collector = Setup::to("nop: {}").with(&["--watch-config"]).start().await;
    let base = text(&collector);
    collector.setup.reconfigure(&base.replace("limit_mib: 128", "limit_mib: 64"));
    let metrics = collector.metrics_when("it is read", |metrics| outcomes(metrics, "success") == 1.0).await;
    let limit = metrics.sum("otelcol_millrace_budget_limit", &[]);
    assert!(limit <= f64::from(64 << 20), "{limit}");
    collector.setup.reconfigure(&base);
    collector.metrics_when("it is read again", |metrics| outcomes(metrics, "success") == 2.0).await;
    collector.finish().await;
}

#[tokio::test]
async fn signals_that_come_together_are_answered_together() {
    let collector = Setup::to("nop: {}").start().await;
    for _ in 0..50 {
        collector.signal("HUP");
    }
    // Whatever was asked for before has been answered when this one is, as they are answered in order.
    let base = text(&collector);
    crate::reload(&collector, &base.replace("limit_mib: 128", "limit_mib: 64"), "success").await;
    let metrics = collector
        .metrics_when("the last one is answered", |metrics| {
            metrics.sum("otelcol_millrace_budget_limit", &[]) <= f64::from(64 << 20)
        })
        .await;
    let answered = outcomes(&metrics, "success");
    assert!((1.0..=51.0).contains(&answered), "{answered} reloads for 51 signals");
    assert_eq!(outcomes(&metrics, "failure"), 0.0);
    collector.finish().await;
}

#[tokio::test]
async fn it_can_be_stopped_in_the_middle_of_a_reload() {
    for _ in 0..5 {
        let collector = Setup::to("nop: {}").start().await;
        let base = text(&collector);
        collector.setup.reconfigure(&base.replace("limit_mib: 128", "limit_mib: 64"));
        collector.signal("HUP");
        let stopped = collector.stopped_by("TERM").await;
        stopped.assert_clean();
    }
}

#[tokio::test]
async fn which_configuration_is_at_work_is_told() {
    let collector = Setup::to("nop: {}").start().await;
    let hash = async || {
        let page = http1::get(collector.setup.metrics, "/metrics").await.expect("a page").text().to_owned();
        let lines: Vec<_> =
            page.lines().filter(|line| line.starts_with("otelcol_millrace_config_info{")).collect();
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines[0].to_owned()
    };
    let before = hash().await;
    let base = text(&collector);
    crate::reload(&collector, &base.replace("limit_mib: 128", "limit_mib: 64"), "success").await;
    let after = hash().await;
    assert_ne!(before, after);
    crate::reload(&collector, &base, "success").await;
    assert_eq!(hash().await, before);
    let now = collector.metrics().await.sum("otelcol_millrace_reload_last_success", &[]);
    assert!(now > 1.7e9, "{now}");
    collector.finish().await;
}

#[tokio::test]
async fn a_signal_that_comes_while_it_starts_does_not_end_it() {
    let page = TcpListener::bind("127.0.0.1:0").await.expect("an address");
    let url = format!("http://{}/more.yaml", page.local_addr().expect("an address"));
    let mut collector = Setup::to("nop: {}").with(&["--config", &url]).begin();
    // Given a process that waits for a part of its configuration
    let (asked, _) = page.accept().await.expect("it asks");

    collector.signal("HUP");

    answer(asked).await;
    collector.ready().await;
    // It does then what it was told before.
    let (asked, _) = page.accept().await.expect("it asks again");
    answer(asked).await;
    collector.metrics_when("it has read it again", |metrics| outcomes(metrics, "success") == 1.0).await;
    collector.finish().await;
}
