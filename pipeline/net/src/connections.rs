//! The life of a server's connections: accepting, stopping, and how much window each may lease.

use crate::read_ahead::ReadAhead;
use crate::stream::{Listener, Peer, Socket, Stream};
use crate::tls::{Acceptor, Rejected, Unsecured};
use futures_util::FutureExt as _;
use millrace_engine::component::Context;
use millrace_engine::{Budget, Charge, Tasks};
use millrace_telemetry::catalogue::millrace as catalogue;
use millrace_telemetry::{Counter, Labels, UpDown};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout, timeout_at};

/// How long accepting pauses when the process has run out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What TLS holds for a connection beyond that: some 4 KiB of keys and state at rest (docs/memory.md), and for as long
/// as a peer likes what of a record has come, and what of one has not been taken.
const TLS_BYTES: u64 = 20 << 10;

/// How long a new connection waits for room; requests come and go much faster than that.
const ADMISSION_PATIENCE: Duration = Duration::from_secs(2);

/// What is spoken on the connections of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Speaks {
    /// gRPC, over our own HTTP/2, which keeps next to nothing.
    Grpc,
    /// HTTP/1.1, whose buffers are hyper's from a request's first byte on, and HTTP/2 where TLS has agreed on it.
    #[default]
    Http,
}

impl Speaks {
    /// What a connection is charged for as long as it is open: its task, its buffers, the protocol's state. What a
    /// thousand take whose requests never end, less what is charged for the requests themselves (`just memory`, its
    /// slow crowds): what a peer can have us hold for as long as it likes.
    const fn bytes(self) -> u64 {
        match self {
            Self::Grpc => 4 << 10,
            Self::Http => 28 << 10,
        }
    }

    /// The label value.
    #[must_use]
    pub const fn transport(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Http => "http",
        }
    }
}

/// What a server's connections are counted by and charged to.
#[derive(Debug, Clone, Default)]
pub struct Door {
    /// The component, for the log.
    pub component: Arc<str>,
    /// Open now.
    pub open: UpDown,
    /// Ever accepted.
    pub accepted: Counter,
    /// Turned away or cut off, by reason.
    pub refused: Refusals,
    /// What they speak.
    pub speaks: Speaks,
    /// What they are charged to; without one they are not.
    pub budget: Option<Budget>,
    /// What they must speak, if anything but plain text.
    pub tls: Option<Acceptor>,
}

/// Why a connection was turned away or cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// No room for it.
    OverBudget,
    /// It spoke something else where TLS is spoken.
    NotTls,
    /// It spoke TLS where plain text is spoken.
    TlsToPlain,
    /// Its handshake took too long.
    HandshakeTimeout,
    /// It showed no certificate, or one that is not believed.
    ClientCertificate,
    /// It did not like our certificate.
    RefusedByClient,
    /// No TLS version, cipher suite or protocol in common.
    NothingInCommon,
    /// Its handshake broke off, or was nonsense.
    BrokenHandshake,
    /// It sent HTTP/2 frames that carry nothing, in masses.
    Flood,
    /// It sent more pings than `enforcement_policy` allows.
    TooManyPings,
    /// It did not answer a ping.
    Unresponsive,
    /// It took too long over a request or an answer.
    TooSlow,
}

impl Refused {
    /// All of them, for counters that are there from the start.
    pub const ALL: [Self; 12] = [
        Self::OverBudget,
        Self::NotTls,
        Self::TlsToPlain,
        Self::HandshakeTimeout,
        Self::ClientCertificate,
        Self::RefusedByClient,
        Self::NothingInCommon,
        Self::BrokenHandshake,
        Self::Flood,
        Self::TooManyPings,
        Self::Unresponsive,
        Self::TooSlow,
    ];

    /// The label value.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OverBudget => "over_budget",
            Self::NotTls => "not_tls",
            Self::TlsToPlain => "tls_to_plain_port",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::ClientCertificate => "client_certificate",
            Self::RefusedByClient => "refused_by_client",
            Self::NothingInCommon => "nothing_in_common",
            Self::BrokenHandshake => "broken_handshake",
            Self::Flood => "flood",
            Self::TooManyPings => "too_many_pings",
            Self::Unresponsive => "unresponsive",
            Self::TooSlow => "too_slow",
        }
    }
}

impl From<Unsecured> for Refused {
    fn from(why: Unsecured) -> Self {
        match why {
            Unsecured::NotTls => Self::NotTls,
            Unsecured::TooSlow => Self::HandshakeTimeout,
            Unsecured::ClientCertificate => Self::ClientCertificate,
            Unsecured::RefusedByClient => Self::RefusedByClient,
            Unsecured::NothingInCommon => Self::NothingInCommon,
            Unsecured::Broken => Self::BrokenHandshake,
        }
    }
}

/// A counter for each reason.
#[derive(Debug, Clone, Default)]
pub struct Refusals([Counter; Refused::ALL.len()]);

impl Refusals {
    /// Counts with what `counter` makes for each reason.
    pub fn counted_by(counter: impl FnMut(Refused) -> Counter) -> Self {
        Self(Refused::ALL.map(counter))
    }

    /// Counts one.
    pub fn count(&self, reason: Refused) {
        self.0[reason as usize].add(1);
    }
}

impl Door {
    /// The door of a component, without TLS.
    #[must_use]
    pub fn of(context: &Context, speaks: Speaks, budget: Budget) -> Self {
        let registry = &context.shared.registry;
        let labels = Labels::new().with(context.kind, context.id.to_string());
        let labels = labels.with("transport", speaks.transport());
        Self {
            component: context.id.to_string().into(),
            open: registry.updown(&catalogue::CONNECTIONS, &labels),
            accepted: registry.counter(&catalogue::CONNECTIONS_ACCEPTED, &labels),
            refused: Refusals::counted_by(|reason| {
                let labels = labels.clone().with("reason", reason.name());
                registry.counter(&catalogue::CONNECTIONS_REFUSED, &labels)
            }),
            speaks,
            budget: Some(budget),
            tls: None,
        }
    }

    /// Lets a connection in as soon as there is room for it, or not at all. Those behind it wait in the kernel's queue.
    async fn admit(&self) -> Option<Admitted> {
        let bytes = self.speaks.bytes() + if self.tls.is_some() { TLS_BYTES } else { 0 };
        let charge = match &self.budget {
            Some(budget) => timeout(ADMISSION_PATIENCE, budget.charge(bytes)).await.ok()?,
            None => Charge::none(),
        };
        self.accepted.add(1);
        self.open.add(1);
        Some(Admitted { open: self.open.clone(), _charge: charge })
    }

    /// Brings a connection to speak what it must, on its own task.
    ///
    /// # Errors
    /// The connection, if it does not speak TLS and an answer in plain text may help; logged and counted in any case.
    pub(crate) async fn secure(
        &self,
        socket: Socket,
        peer: Peer,
    ) -> Result<Stream, Option<ReadAhead<Socket>>> {
        let Some(acceptor) = &self.tls else { return Ok(Stream::Plain(socket)) };
        // In a box: a handshake is large, soon over, and not everybody shakes hands.
        match Box::pin(acceptor.accept(socket)).await {
            Ok(stream) => Ok(Stream::Tls(Box::new(stream))),
            Err(Rejected { why, message, stream }) => {
                let reason = Refused::from(why);
                tracing::warn!(otelcol.component.id = %self.component, %peer, reason = reason.name(), "TLS handshake error: {message}");
                self.refused.count(reason);
                Err(stream)
            }
        }
    }

    /// New connections are shown the certificates that another door's are.
    pub(crate) fn take_certificates_of(&self, other: &Self) {
        if let (Some(ours), Some(theirs)) = (&self.tls, &other.tls) {
            ours.follow(theirs);
        }
    }

    /// A client speaks TLS to a port that does not.
    pub(crate) fn refuse_tls(&self, peer: Peer) {
        tracing::warn!(otelcol.component.id = %self.component, %peer, "a client speaks TLS to a port without `tls`; it must be told to send in plain text");
        self.refused.count(Refused::TlsToPlain);
    }
}

/// An open connection.
struct Admitted {
    open: UpDown,
    _charge: Charge,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.open.add(-1);
    }
}

/// Told to every connection: finish what is under way, take nothing new.
pub type Stopping = watch::Receiver<bool>;

/// Accepts connections until `stopping`, serves each as a task, and then waits for them until `deadline` says so.
pub async fn accept<F, C>(listener: Listener, tasks: Tasks, door: Door, mut stopping: Stopping, serve: C)
where
    F: Future<Output = ()> + Send + 'static,
    C: Fn(Socket, Peer, Stopping) -> F,
{
    let mut open = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => break,
            Some(_) = open.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) => {
                let admitted = tokio::select! {
                    biased;
                    _ = stopping.wait_for(|stopping| *stopping) => break,
                    admitted = door.admit() => admitted,
                };
                let Some(admitted) = admitted else {
                    // Dropping the socket closes it; the client will come back.
                    door.refused.count(Refused::OverBudget);
                    continue;
                };
                // Combinators, because an async block around it would keep the future twice.
                let connection = tasks.watched("connection", serve(socket, peer, stopping.clone()));
                open.spawn(connection.map(move |_| drop(admitted)));
            }
            Err(error) => {
                // Out of descriptors, or the peer went away between the handshake and here.
                tracing::warn!(%error, "accepting a connection failed");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

/// A running server, to be stopped.
#[derive(Debug)]
pub struct Running {
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<Option<()>>,
}

impl Running {
    /// Starts `serve` with the signal that will stop it.
    pub fn start<F: Future<Output = ()> + Send + 'static>(
        tasks: &Tasks,
        name: &'static str,
        serve: impl FnOnce(Stopping) -> F,
    ) -> Self {
        let (stop, stopping) = watch::channel(false);
        Self { stop, task: tasks.spawn(name, serve(stopping)) }
    }

    /// Takes no new connection or request, waits for those under way, and cuts off what is left at `deadline`.
    pub async fn stop(mut self, deadline: Instant) {
        self.stop.send_replace(true);
        if timeout_at(deadline.into(), &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

/// How far ahead peers may send is leased: a connection begins with [`WINDOW_MIN`], and may grow as long as all leases
/// together stay within a quarter of the budget. Which of them hold a part of it is up to what becomes of the bytes.
#[derive(Debug)]
pub struct Windows {
    budget: Budget,
    leased: AtomicU64,
}

/// The window that every HTTP/2 connection begins with; the protocol's own default.
pub const WINDOW_MIN: u32 = 65_535;
/// The window of a connection that has been granted a lease.
pub const WINDOW_MAX: u32 = 2 << 20;
/// The smallest lease worth having.
const LEASE_MIN: u32 = 128 << 10;

impl Windows {
    /// Leases from `budget`.
    #[must_use]
    pub fn new(budget: Budget) -> Arc<Self> {
        Arc::new(Self { budget, leased: AtomicU64::new(0) })
    }

    /// A lease of the largest buffer up to `most` bytes that there is room for, if any. It is charged as long as it
    /// lasts: a peer may fill it at any time, and nobody else charges what lies there.
    #[must_use]
    pub fn lease_buffer(self: &Arc<Self>, most: u32) -> Option<Lease> {
        self.lease(most).map(|(mut lease, charge)| {
            lease.charge = charge;
            lease
        })
    }

    /// A lease of the largest window up to `most` bytes that there is room for, if any, for whoever charges what comes
    /// through it before it is kept. That there is room now is all that is asked for: to hold it would keep it from
    /// those very bytes, and from everybody else for as long as a connection is open.
    #[must_use]
    pub fn lease_window(self: &Arc<Self>, most: u32) -> Option<Lease> {
        self.lease(most).map(|(lease, _)| lease)
    }

    /// A lease that holds nothing, and what it could hold.
    fn lease(self: &Arc<Self>, most: u32) -> Option<(Lease, Charge)> {
        let room = self.budget.limit() / 4;
        let mut size = most;
        while size >= LEASE_MIN {
            let wanted = u64::from(size);
            if self.leased.fetch_add(wanted, Relaxed) + wanted <= room
                && let Some(charge) = self.budget.try_charge_sparing(wanted)
            {
                return Some((Lease { windows: Arc::clone(self), size, charge: Charge::none() }, charge));
            }
            self.leased.fetch_sub(wanted, Relaxed);
            size /= 2;
        }
        None
    }
}

/// A window beyond the minimum, given back when dropped.
#[derive(Debug)]
pub struct Lease {
    windows: Arc<Windows>,
    size: u32,
    charge: Charge,
}

impl Lease {
    /// The window, in bytes.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.size
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.windows.leased.fetch_sub(u64::from(self.size), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_charged_what_its_protocol_takes() {
        for (speaks, kib) in [(Speaks::Grpc, 4), (Speaks::Http, 28)] {
            let budget = Budget::new(10 * (kib << 10));
            let door = Door { speaks, budget: Some(budget.clone()), ..Door::default() };
            let mut admitted = Vec::new();
            for _ in 0..10 {
                admitted.push(door.admit().await.expect("there is room"));
            }
            assert!(door.admit().await.is_none(), "{speaks:?}: {budget:?}");
            admitted.pop();
            assert!(door.admit().await.is_some());
        }
    }

    #[test]
    fn leases_stay_within_a_quarter_of_the_budget_and_come_back() {
        let budget = Budget::new(64 << 20);
        let windows = Windows::new(budget.clone());
        let lease = |nth: usize| {
            if nth.is_multiple_of(2) {
                windows.lease_buffer(WINDOW_MAX)
            } else {
                windows.lease_window(WINDOW_MAX)
            }
        };
        let leases: Vec<_> = (0..).map_while(lease).collect();
        let total: u64 = leases.iter().map(|lease| u64::from(lease.size())).sum();
        assert_eq!(total, 16 << 20);
        assert_eq!(budget.used(), total / 2, "of buffers, and not of windows");
        drop(leases);
        assert_eq!(budget.used(), 0);
        assert_eq!(lease(0).map(|lease| lease.size()), Some(WINDOW_MAX));
    }

    #[test]
    fn no_window_grows_while_there_is_no_room_for_what_comes_through_it() {
        let budget = Budget::new(64 << 20);
        let windows = Windows::new(budget.clone());
        // An eighth is left to what is small.
        let held = budget.try_charge((56 << 20) - (1 << 20)).expect("room");
        assert_eq!(windows.lease_window(WINDOW_MAX).map(|lease| lease.size()), Some(1 << 20));
        let more = budget.try_charge(1 << 20).expect("room");
        assert!(windows.lease_window(WINDOW_MAX).is_none());
        drop((held, more));
        assert_eq!(windows.lease_window(WINDOW_MAX).map(|lease| lease.size()), Some(WINDOW_MAX));
    }
}
