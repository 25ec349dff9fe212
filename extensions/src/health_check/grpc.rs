//! The standard health service, `grpc.health.v1.Health`, on a thread of its own.
//!
//! Requests are a name, answers a number; so the messages are read and written here. Changes are looked for every
//! second, since some come with time alone.

use super::aggregate::collector;
use super::config::ComponentHealth;
use super::status_page::{is_healthy, scope};
use bytes::{BufMut, Bytes, BytesMut};
use h2::server::{Builder, SendResponse};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use millrace_engine::status::Condition;
use millrace_engine::{Health, Tasks};
use millrace_net::tcp;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use std::{io, thread};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::{sleep, timeout};

/// Connections at once; further ones wait.
const CONNECTIONS: usize = 256;
/// Calls at once on one of them.
const STREAMS: u32 = 16;
/// The longest request: the name of a pipeline has at most 1,024 bytes.
const REQUEST_MAX: usize = 4 << 10;
/// How long handshakes and requests may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a watched service is looked at.
const LOOK: Duration = Duration::from_secs(1);

const NOT_FOUND: &str = "5";
const CANCELED: &str = "1";
const INVALID: &str = "3";
const UNIMPLEMENTED: &str = "12";

/// `ServingStatus`.
const SERVING: u8 = 1;
const NOT_SERVING: u8 = 2;
const SERVICE_UNKNOWN: u8 = 3;

/// What is asked for.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) health: Health,
    pub(super) component_health: Option<ComponentHealth>,
}

impl Judge {
    /// How a service is, a pipeline or everything; `None` if there is none of that name.
    fn serving(&self, service: &str) -> Option<u8> {
        let default = ComponentHealth::default();
        let config = self.component_health.as_ref().unwrap_or(&default);
        let whole = collector(&self.health, config);
        let event = scope(&whole, service)?.event.as_ref();
        let works = matches!(
            event.map(|event| event.condition),
            Some(Condition::Ok | Condition::RecoverableError | Condition::PermanentError)
        );
        Some(if works && is_healthy(event, Some(config), Instant::now()) { SERVING } else { NOT_SERVING })
    }
}

/// A running service. Dropping it stops it without waiting.
pub(super) struct HealthService {
    stop: watch::Sender<bool>,
    ended: oneshot::Receiver<()>,
    pub(super) address: SocketAddr,
}

impl HealthService {
    /// Returns when the service listens; blocks while the name of the host is looked up.
    ///
    /// # Errors
    /// Why the address cannot be listened on, or no thread started.
    pub(super) fn start(host: String, port: u16, judge: Judge) -> io::Result<Self> {
        let (stop, stopping) = watch::channel(false);
        let (end, ended) = oneshot::channel();
        let (tell, told) = mpsc::sync_channel(1);
        thread::Builder::new().name("health_grpc".to_owned()).spawn(move || {
            run(&host, port, judge, stopping, &tell);
            // Nobody waits if the service was dropped.
            let _ = end.send(());
        })?;
        let address = told.recv().map_err(|_| io::Error::other("the thread ended before it listened"))??;
        Ok(Self { address, stop, ended })
    }

    pub(super) async fn stop(self) {
        self.stop.send_replace(true);
        // An error says that the thread has ended, too.
        let _ = self.ended.await;
    }
}

/// The thread's work, from listening to the end.
fn run(
    host: &str,
    port: u16,
    judge: Judge,
    stopping: watch::Receiver<bool>,
    tell: &mpsc::SyncSender<io::Result<SocketAddr>>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let bound = runtime.and_then(|runtime| {
        let listener = runtime.block_on(tcp::listen(host, port))?;
        Ok((listener.local_addr()?, listener, runtime))
    });
    // Whoever started the thread waits for this, or is gone and has stopped it.
    match bound {
        Ok((address, listener, runtime)) => {
            let _ = tell.send(Ok(address));
            runtime.block_on(serve(listener, Arc::new(judge), stopping));
        }
        Err(error) => drop(tell.send(Err(error))),
    }
}

async fn serve(listener: TcpListener, judge: Arc<Judge>, mut stopping: watch::Receiver<bool>) {
    // A panic costs its own connection; it is reported by the task.
    let tasks = Tasks::new(Health::starting());
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let accepting = async {
        loop {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                sleep(Duration::from_millis(100)).await;
                continue;
            };
            tcp::prepare(&stream);
            let (judge, calls) = (Arc::clone(&judge), tasks.clone());
            drop(tasks.spawn("health connection", async move {
                connection(stream, judge, calls).await;
                drop(place);
            }));
        }
    };
    tokio::select! {
        () = accepting => {}
        // An error says that the handle was dropped: stop as well.
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
}

async fn connection(stream: TcpStream, judge: Arc<Judge>, tasks: Tasks) {
    let mut builder = Builder::new();
    builder.max_concurrent_streams(STREAMS).max_header_list_size(16 << 10).max_concurrent_reset_streams(100);
    let Ok(Ok(mut connection)) = timeout(PATIENCE, builder.handshake::<_, Bytes>(stream)).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let judge = Arc::clone(&judge);
        drop(tasks.spawn("health call", async move {
            // The client has gone away.
            let _ = call(request, respond, &judge).await;
        }));
    }
}

async fn call(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    judge: &Judge,
) -> Result<(), h2::Error> {
    let path = request.uri().path().to_owned();
    let is_watch = match path.as_str() {
        "/grpc.health.v1.Health/Check" => false,
        "/grpc.health.v1.Health/Watch" => true,
        _ => return refuse(&mut respond, UNIMPLEMENTED, "unknown method"),
    };
    let service = match timeout(PATIENCE, body(request.into_body())).await {
        Ok(Some(body)) => service(&body),
        _ => None,
    };
    let Some(service) = service else { return refuse(&mut respond, INVALID, "not a HealthCheckRequest") };
    if is_watch {
        return watch_service(&mut respond, judge, &service).await;
    }
    let Some(serving) = judge.serving(&service) else {
        return refuse(&mut respond, NOT_FOUND, "Service not found.");
    };
    let mut stream = respond.send_response(head(), false)?;
    stream.send_data(message(serving), false)?;
    stream.send_trailers(trailers("0", ""))
}

/// Tells how the service is, and whenever that changes, for as long as the client listens.
async fn watch_service(
    respond: &mut SendResponse<Bytes>,
    judge: &Judge,
    service: &str,
) -> Result<(), h2::Error> {
    let mut stream: SendStream<Bytes> = respond.send_response(head(), false)?;
    let mut told = None;
    loop {
        let serving = judge.serving(service).unwrap_or(SERVICE_UNKNOWN);
        if told != Some(serving) {
            stream.send_data(message(serving), false)?;
            told = Some(serving);
        }
        tokio::select! {
            reset = std::future::poll_fn(|context| stream.poll_reset(context)) => {
                reset?;
                return stream.send_trailers(trailers(CANCELED, "Stream has ended."));
            }
            () = sleep(LOOK) => {}
        }
    }
}

fn head() -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

fn trailers(code: &'static str, message: &'static str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(code));
    if !message.is_empty() {
        trailers.insert("grpc-message", HeaderValue::from_static(message));
    }
    trailers
}

fn refuse(
    respond: &mut SendResponse<Bytes>,
    code: &'static str,
    text: &'static str,
) -> Result<(), h2::Error> {
    let mut response = head();
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().extend(trailers(code, text));
    respond.send_response(response, true).map(drop)
}

/// `HealthCheckResponse { status = 1 }`, framed.
fn message(serving: u8) -> Bytes {
    let mut message = BytesMut::with_capacity(7);
    message.put_u8(0);
    message.put_u32(2);
    message.put_slice(&[0x08, serving]);
    message.freeze()
}

async fn body(mut stream: RecvStream) -> Option<BytesMut> {
    let mut body = BytesMut::new();
    while let Some(data) = stream.data().await {
        let data = data.ok()?;
        // What is not given back would stop the connection.
        let _ = stream.flow_control().release_capacity(data.len());
        if body.len() + data.len() > REQUEST_MAX {
            return None;
        }
        body.extend_from_slice(&data);
    }
    Some(body)
}

/// The one field of a framed `HealthCheckRequest { service = 1 }`, not compressed.
fn service(body: &[u8]) -> Option<String> {
    let [0, a, b, c, d, message @ ..] = body else { return None };
    if u32::from_be_bytes([*a, *b, *c, *d]) as usize != message.len() {
        return None;
    }
    let text = match message {
        [] => &[][..],
        // A length of up to 14 bits; longer names there are none.
        [0x0a, short, text @ ..] if *short < 0x80 && text.len() == usize::from(*short) => text,
        [0x0a, low, high, text @ ..]
            if *low >= 0x80
                && *high < 0x80
                && text.len() == usize::from(*low & 0x7f) | usize::from(*high) << 7 =>
        {
            text
        }
        _ => return None,
    };
    String::from_utf8(text.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_engine::health::State;

    fn framed(message: &[u8]) -> Vec<u8> {
        [&[0], &(message.len() as u32).to_be_bytes()[..], message].concat()
    }

    #[test]
    fn requests_are_a_name() {
        assert_eq!(service(&framed(b"")).as_deref(), Some(""));
        assert_eq!(service(&framed(b"\x0a\x06traces")).as_deref(), Some("traces"));
        let long = "n".repeat(300);
        let message = [&[0x0a, 0xac, 0x02], long.as_bytes()].concat();
        assert_eq!(service(&framed(&message)), Some(long));
        for damaged in
            [&b""[..], b"\x01\0\0\0\0", b"\0\0\0\0\x01", &framed(b"\x0a\x07traces"), &framed(b"\x10\x01")]
        {
            assert_eq!(service(damaged), None, "{damaged:?}");
        }
    }

    async fn ask(port: u16, method: &str, service: &str) -> (Option<u8>, Option<String>) {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("it listens");
        let (mut client, connection) = h2::client::handshake(stream).await.expect("it speaks HTTP/2");
        let driving = tokio::spawn(connection);
        let request =
            Request::post(format!("http://h/grpc.health.v1.Health/{method}")).body(()).expect("a request");
        let (response, mut stream) = client.send_request(request, false).expect("sent");
        let name = [&[0x0a, service.len() as u8], service.as_bytes()].concat();
        stream.send_data(Bytes::from(framed(&name)), true).expect("sent");
        let response = response.await.expect("an answer");
        let code = |headers: &HeaderMap| {
            headers.get("grpc-status").map(|code| code.to_str().expect("text").to_owned())
        };
        let from_head = code(response.headers());
        let mut body = response.into_body();
        let data = match from_head {
            Some(_) => None,
            None => body.data().await.map(|data| data.expect("it is whole")),
        };
        let code = match (method, from_head) {
            (_, Some(code)) => Some(code),
            // A watch has no end.
            ("Watch", None) => None,
            _ => body.trailers().await.expect("it is whole").as_ref().and_then(code),
        };
        driving.abort();
        (data.map(|data| *data.last().expect("not empty")), code)
    }

    #[tokio::test]
    async fn the_standard_clients_are_answered() {
        let health = Health::starting();
        let judge = Judge { health: health.clone(), component_health: None };
        let service = HealthService::start("127.0.0.1".to_owned(), 0, judge).expect("a free port");
        let ok = Some("0".to_owned());
        assert_eq!(ask(service.address.port(), "Check", "").await, (Some(NOT_SERVING), ok.clone()));
        let text = "{receivers: {otlp: }, exporters: {nop: }, service: {pipelines: {traces: {receivers: [otlp], exporters: [nop]}}}}";
        health.components().declare(&crate::testing::config(text));
        health.advance(State::Ready);
        for (instance, status) in crate::testing::statuses(&health) {
            status.works();
            assert_ne!(instance.kind, "extension");
        }
        assert_eq!(ask(service.address.port(), "Check", "").await, (Some(SERVING), ok.clone()));
        assert_eq!(ask(service.address.port(), "Check", "traces").await, (Some(SERVING), ok.clone()));
        assert_eq!(ask(service.address.port(), "Check", "logs").await, (None, Some(NOT_FOUND.to_owned())));
        assert_eq!(ask(service.address.port(), "Watch", "traces").await, (Some(SERVING), None));
        assert_eq!(ask(service.address.port(), "Watch", "logs").await, (Some(SERVICE_UNKNOWN), None));
        assert_eq!(ask(service.address.port(), "List", "").await, (None, Some(UNIMPLEMENTED.to_owned())));
        health.advance(State::Failed);
        assert_eq!(ask(service.address.port(), "Check", "").await, (Some(NOT_SERVING), ok));
        service.stop().await;
    }
}
