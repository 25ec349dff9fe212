//! One connection: what calls share of it, and how it is told from a dead one.

use super::KeepAlive;
use super::message::Message;
use crate::coalesce::{Coalesced, Flusher, coalesce};
use crate::connect::{Address, Stream};
use crate::outgoing::Known;
use h2::client::{Connection, SendRequest};
use h2::{Ping, PingPong};
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

/// The limit for HTTP/2's preface, settings, and the first answer.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// The headers of an answer, in all.
const HEADER_LIST_MAX: u32 = 16 << 10;
/// How long a server that is suspected may take to say that it is there.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a server is shunned that did not answer in time; doubled each time until it answers.
const SHUN_MIN: Duration = Duration::from_secs(5);
/// The longest that it is shunned.
const SHUN_MAX: Duration = Duration::from_secs(60);

/// A connection that takes calls. Who holds one keeps the connection open.
pub(super) struct Link {
    pub(super) requests: SendRequest<Message>,
    pub(super) address: Address,
    /// What its messages consist of.
    pub(super) known: Known,
    /// Calls answered.
    answered: AtomicU64,
    /// Calls in a row that were given up on while the server answered nothing.
    silences: AtomicU32,
    /// Until when others are preferred, in milliseconds since `since`; 0 is not at all.
    shunned_until: AtomicU64,
    since: Instant,
    doubt: Arc<Notify>,
}

impl Link {
    /// Calls answered so far.
    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Relaxed)
    }

    /// A call was answered, well or not.
    pub(super) fn answers(&self) {
        self.answered.fetch_add(1, Relaxed);
        if self.silences.load(Relaxed) != 0 {
            self.silences.store(0, Relaxed);
            self.shunned_until.store(0, Relaxed);
        }
    }

    /// A call was given up on, and nothing was answered meanwhile. The server is asked whether it is there, and
    /// others are preferred for a while.
    pub(super) fn is_silent(&self) {
        let silences = self.silences.fetch_add(1, Relaxed).min(8);
        self.shun(silences);
        self.doubt.notify_one();
    }

    /// Whether others are to be preferred. When the time is over, one call finds out whether it answers again.
    pub(super) fn is_shunned(&self) -> bool {
        let until = self.shunned_until.load(Relaxed);
        if until == 0 {
            return false;
        }
        if self.age_ms() < until {
            return true;
        }
        self.shun(self.silences.load(Relaxed).min(8));
        false
    }

    fn shun(&self, doublings: u32) {
        let time = SHUN_MIN.saturating_mul(1 << doublings).min(SHUN_MAX);
        let until = self.age_ms() + u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 2);
        self.shunned_until.store(until, Relaxed);
    }

    fn age_ms(&self) -> u64 {
        // At least 1, because 0 means something else.
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX / 2).max(1)
    }
}

/// What keeps a connection going; whoever has it must drive it.
pub(super) struct Driver {
    connection: Connection<Coalesced<Stream>, Message>,
    flusher: Flusher<Stream>,
    pings: Option<PingPong>,
    link: Weak<Link>,
    doubt: Arc<Notify>,
}

/// Speaks HTTP/2 on a stream, and waits until the server has shown that it does as well: a server that accepts
/// connections and then says nothing must not get calls.
pub(super) async fn open(stream: Stream, address: Address) -> io::Result<(Arc<Link>, Driver)> {
    let mut builder = h2::client::Builder::new();
    builder.max_header_list_size(HEADER_LIST_MAX).enable_push(false);
    let known = Known::default();
    let (stream, flusher) = coalesce(stream, known.clone());
    let opening = async {
        let (requests, mut connection) =
            flusher.drive(builder.handshake(stream)).await.map_err(io::Error::other)?;
        let mut pings = connection.ping_pong();
        if let Some(pings) = &mut pings {
            let greeted = async {
                tokio::select! {
                    biased;
                    ended = &mut connection => match ended {
                        Ok(()) => Err(hung_up()),
                        Err(error) => Err(io::Error::other(error)),
                    },
                    pong = pings.ping(Ping::opaque()) => pong.map(drop).map_err(io::Error::other),
                }
            };
            flusher.drive(greeted).await?;
        }
        Ok::<_, io::Error>((requests, connection, pings))
    };
    let (requests, connection, pings) = timeout(HANDSHAKE_TIMEOUT, opening)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the HTTP/2 handshake took too long"))?
        .map_err(|error| explained(&error))?;
    let doubt = Arc::new(Notify::new());
    let link = Arc::new(Link {
        requests,
        address,
        known,
        answered: AtomicU64::new(0),
        silences: AtomicU32::new(0),
        shunned_until: AtomicU64::new(0),
        since: Instant::now(),
        doubt: Arc::clone(&doubt),
    });
    let driver = Driver { connection, flusher, pings, link: Arc::downgrade(&link), doubt };
    Ok((link, driver))
}

fn hung_up() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, "the server hung up")
}

/// A server that expects TLS, and an HTTP/1.1 server, answer with what is no HTTP/2.
fn explained(error: &io::Error) -> io::Error {
    let text = crate::connect::advised(&error.to_string());
    let strange = text.contains("frame with invalid size") || text.contains("PROTOCOL_ERROR");
    if strange || error.kind() == io::ErrorKind::ConnectionReset {
        let advice = "does it speak gRPC on this port, and without TLS if `tls::insecure` says so?";
        return io::Error::new(error.kind(), format!("{text}; {advice}"));
    }
    io::Error::new(error.kind(), text)
}

impl Driver {
    /// The connection that is driven.
    pub(super) fn link(&self) -> Weak<Link> {
        Weak::clone(&self.link)
    }

    /// Keeps the connection going until it ends, by itself or because the server is not there any more. Calls under
    /// way fail then.
    pub(super) async fn run(self, keepalive: Option<KeepAlive>) -> String {
        let Self { connection, flusher, pings, link, doubt } = self;
        let watch = watch(pings, link, doubt, keepalive);
        tokio::select! {
            ended = flusher.drive(connection) => match ended {
                Ok(()) => "it was closed".to_owned(),
                Err(error) => error.to_string(),
            },
            dead = watch => dead.to_owned(),
        }
    }
}

/// Asks the server whether it is there, when there is doubt and as often as `keepalive` says; ends when it is not.
async fn watch(
    pings: Option<PingPong>,
    link: Weak<Link>,
    doubt: Arc<Notify>,
    keepalive: Option<KeepAlive>,
) -> &'static str {
    let Some(mut pings) = pings else { return std::future::pending().await };
    let mut answered = 0;
    loop {
        let limit = tokio::select! {
            () = doubt.notified() => PROBE_TIMEOUT,
            keepalive = due(keepalive) => {
                let Some(link) = link.upgrade() else { continue };
                let before = std::mem::replace(&mut answered, link.answered());
                // The pool and we hold it; whoever else does is a call under way.
                let idle = Arc::strong_count(&link) <= 2;
                if before != answered || idle && !keepalive.permit_without_stream {
                    continue;
                }
                keepalive.timeout
            }
        };
        match timeout(limit, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {}
            // The connection itself tells why.
            Ok(Err(_)) => return std::future::pending().await,
            Err(_) => return "the server does not answer pings",
        }
    }
}

/// Resolves when the next sign of life is due.
async fn due(keepalive: Option<KeepAlive>) -> KeepAlive {
    match keepalive {
        Some(keepalive) => {
            sleep(keepalive.time).await;
            keepalive
        }
        None => std::future::pending().await,
    }
}
