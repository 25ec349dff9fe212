//! Configurations from the web: the schemes `http:` and `https:` of `--config` and `${…}`.
//!
//! They are read before anything else runs, so this blocks. Everything is bounded: the time for all of it, the length of
//! the answer, and how often the server may send us elsewhere.

use http::{Request, StatusCode, Uri};
use millrace_config::Outside;
use millrace_config::parse::MAX_TEXT_BYTES;
use millrace_net::config::TlsClientConfig;
use millrace_net::http::{OnceError, once};
use millrace_net::tls::{ALPN_HTTP1, Site};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Builder;

/// How long one fetch may take, name resolution, redirects and body included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often a server may send us elsewhere.
const MAX_REDIRECTS: usize = 5;

/// The web.
#[derive(Debug, Clone, Copy)]
pub struct Web;

impl Outside for Web {
    fn fetch(&self, url: &str) -> Result<String, String> {
        let runtime =
            Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
        let text = runtime.block_on(async { tokio::time::timeout(TIMEOUT, follow(url)).await });
        // Without waiting for the system's resolver, which may go on for longer.
        runtime.shutdown_background();
        text.unwrap_or_else(|_| Err(format!("no answer within {} s", TIMEOUT.as_secs())))
    }
}

/// Fetches a text from where a URL leads.
async fn follow(url: &str) -> Result<String, String> {
    let mut uri: Uri = url.parse().map_err(|_| "this is not a URL".to_owned())?;
    for _ in 0..=MAX_REDIRECTS {
        match ask(&uri).await? {
            Answer::Text(text) => return Ok(text),
            Answer::Elsewhere(location) => uri = elsewhere(&uri, &location)?,
        }
    }
    Err(format!("more than {MAX_REDIRECTS} redirects"))
}

enum Answer {
    Text(String),
    /// Where the server says it is instead.
    Elsewhere(String),
}

async fn ask(uri: &Uri) -> Result<Answer, String> {
    let usual_port = match uri.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return Err("only http:// and https:// can be fetched".to_owned()),
    };
    let host = uri.host().ok_or("the URL has no host")?;
    let port = uri.port_u16().unwrap_or(usual_port);
    let authority = if port == usual_port { host.to_owned() } else { format!("{host}:{port}") };
    let host = host.trim_matches(['[', ']']);
    let cannot_connect = |error: io::Error| format!("cannot connect: {error}");
    let stream = TcpStream::connect((host, port)).await.map_err(cannot_connect)?;
    if usual_port == 80 {
        return exchange(stream, uri, &authority).await;
    }
    // What the system trusts, as for the exporters' clients.
    let connector = TlsClientConfig::default().connector(&Site::nobody(), &[ALPN_HTTP1]);
    let connector = connector.map_err(|error| error.to_string())?;
    let stream = connector.connect(host, stream).await.map_err(cannot_connect)?;
    exchange(stream, uri, &authority).await
}

async fn exchange<S>(stream: S, uri: &Uri, authority: &str) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path)
        .header("host", authority)
        .header("user-agent", concat!("Millrace/", env!("CARGO_PKG_VERSION")))
        .body(())
        .map_err(|error| error.to_string())?;
    let response = once(stream, request, MAX_TEXT_BYTES).await.map_err(|error| match error {
        OnceError::Incomplete(_) => "the answer was cut off, or is longer than 16 MiB".to_owned(),
        OnceError::Broken(error) => format!("no answer: {error}"),
    })?;
    let status = response.status();
    if status.is_redirection() {
        let location = response.headers().get("location").and_then(|value| value.to_str().ok());
        return location.map(|to| Answer::Elsewhere(to.to_owned())).ok_or_else(|| status.to_string());
    }
    if status != StatusCode::OK {
        return Err(status.to_string());
    }
    String::from_utf8(response.into_body().into())
        .map(Answer::Text)
        .map_err(|_| "it is not UTF-8 text".to_owned())
}

/// Where a `Location` leads from a page: a URL, or a path on the same host.
fn elsewhere(from: &Uri, location: &str) -> Result<Uri, String> {
    let to = if location.starts_with('/') {
        let authority = from.authority().map_or("", |authority| authority.as_str());
        format!("{}://{authority}{location}", from.scheme_str().unwrap_or("http"))
    } else {
        location.to_owned()
    };
    to.parse().map_err(|_| "it redirects to what is not a URL".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    /// A server that gives one answer per connection, in order. Returns its port, and at the end what it was asked for.
    fn server(answers: Vec<String>) -> (u16, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let asked = std::thread::spawn(move || {
            let serve = |answer: String| {
                let (mut stream, _) = listener.accept().expect("a client");
                let mut lines = BufReader::new(stream.try_clone().expect("a copy")).lines();
                let first = lines.next().expect("a request").expect("text");
                for line in lines.map_while(Result::ok) {
                    if line.is_empty() {
                        break;
                    }
                }
                // A client that has had enough is gone.
                let _ = stream.write_all(answer.as_bytes());
                first
            };
            answers.into_iter().map(serve).collect()
        });
        (port, asked)
    }

    fn ok(body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    #[test]
    fn a_page_is_fetched_and_redirects_are_followed() {
        let (port, asked) = server(vec![
            "HTTP/1.1 302 Found\r\nlocation: /b?c=d\r\ncontent-length: 0\r\n\r\n".to_owned(),
            ok("a: 1\n"),
        ]);
        assert_eq!(Web.fetch(&format!("http://127.0.0.1:{port}/a")), Ok("a: 1\n".to_owned()));
        assert_eq!(asked.join().expect("served"), ["GET /a HTTP/1.1", "GET /b?c=d HTTP/1.1"]);
    }

    #[test]
    fn an_answer_may_end_with_the_connection() {
        let (port, _) = server(vec!["HTTP/1.1 200 OK\r\nconnection: close\r\n\r\na: 1".to_owned()]);
        assert_eq!(Web.fetch(&format!("http://127.0.0.1:{port}")), Ok("a: 1".to_owned()));
    }

    #[test]
    fn what_cannot_be_had_says_why() {
        let gone = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned();
        let long = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\nx", MAX_TEXT_BYTES + 1);
        let circle = "HTTP/1.1 301 Moved\r\nlocation: /\r\ncontent-length: 0\r\n\r\n".to_owned();
        for (answers, reason) in [
            (vec![gone], "404 Not Found"),
            (vec![long], "longer than 16 MiB"),
            (vec![circle; MAX_REDIRECTS + 1], "more than 5 redirects"),
            (
                vec!["HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n\u{1}".to_owned().replace('\u{1}', "")],
                "cut off",
            ),
        ] {
            let (port, _) = server(answers);
            let problem = Web.fetch(&format!("http://127.0.0.1:{port}")).expect_err(reason);
            assert!(problem.contains(reason), "{problem}");
        }
        assert!(Web.fetch("https://127.0.0.1:1/").expect_err("nobody is there").contains("cannot connect"));
        assert!(Web.fetch("http:nonsense").is_err());
        assert!(Web.fetch("http://127.0.0.1:1/").expect_err("nobody is there").contains("cannot connect"));
    }
}
