//! Requests that two readers may take for different ones, answered as the Go collector 0.159.0 answers them, or more
//! strictly.

use crate::support::Setup;
use crate::support::http1::Connection;

const HEAD: &str = "POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
const CHUNKS: &str = "2\r\n{}\r\n0\r\n\r\n";
/// What a proxy in between would have taken for a part of the first request.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test]
async fn what_two_readers_may_take_for_different_requests_ends_the_connection() {
    let collector = Setup::to("nop: {}").start().await;
    let chunked = |headers: &str| format!("{HEAD}{headers}\r\n\r\n{CHUNKS}");
    let sized = |headers: &str| format!("{HEAD}{headers}\r\n\r\n{{}}");
    for (shape, status) in [
        // Go: 400, too
        (sized("Host: x\r\nContent-Length: 2"), 400),
        (sized("Host: y\r\nContent-Length: 2"), 400),
        (HEAD.replace("Host: x", "Host: x@y/") + "Content-Length: 2\r\n\r\n{}", 400),
        (HEAD.replace("Host: x", "Host: x y") + "Content-Length: 2\r\n\r\n{}", 400),
        (sized("Content-Length: 2\r\nContent-Length: 3"), 400),
        (sized("Content-Length: 2, 2"), 400),
        (sized("Content-Length: +2"), 400),
        (sized("Content-Length : 2"), 400),
        (sized("X: a\rb\r\nContent-Length: 2"), 400),
        (format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n2\n{{}}\n0\n\n"), 400),
        (format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n2;a\n{{}}\r\n0\r\n\r\n"), 400),
        (chunked("Transfer-Encoding: \u{b}chunked"), 400),
        // Go: 501, or 400 where it is not read as far
        (chunked("Transfer-Encoding: identity, chunked"), 501),
        (chunked("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked"), 501),
        (chunked("Transfer-Encoding: gzip, chunked"), 501),
        (chunked("Transfer-Encoding: chunked, chunked"), 501),
        (chunked("Transfer-Encoding: chunked, identity"), 400),
        (chunked("Transfer-Encoding: identity"), 400),
        // Go: taken
        (sized("X: a\r\n b\r\nContent-Length: 2"), 400),
    ] {
        let mut connection = Connection::open(collector.setup.http).await.expect("a connection");
        connection.write(format!("{shape}{HIDDEN}").as_bytes()).await.expect("written");
        let mut statuses = Vec::new();
        while let Ok(reply) = connection.reply().await {
            statuses.push(reply.status);
        }
        assert_eq!(statuses, [status], "{shape}");
    }
    for taken in [
        chunked("Transfer-Encoding: CHUNKED"),
        chunked("Transfer-Encoding: chunked\r\nContent-Length: 2"),
        sized("Content-Length: 2").replace("\r\n", "\n"),
        sized("Content-Length: 2\r\nContent-Length: 2"),
    ] {
        let mut connection = Connection::open(collector.setup.http).await.expect("a connection");
        connection.write(taken.as_bytes()).await.expect("written");
        assert_eq!(connection.reply().await.expect("an answer").status, 200, "{taken}");
    }
    collector.finish().await;
}

#[tokio::test]
async fn nobody_is_redirected_to_another_host() {
    let collector = Setup::to("nop: {}").start().await;
    let mut connection = Connection::open(collector.setup.http).await.expect("a connection");
    connection.write(b"GET //\\evil.com HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("written");
    let reply = connection.reply().await.expect("an answer");
    assert_eq!(reply.status, 307);
    assert!(reply.head.contains("location: /%5cevil.com\r\n"), "{}", reply.head);
    collector.finish().await;
}
