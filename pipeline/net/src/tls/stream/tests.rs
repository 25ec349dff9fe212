//! Our stream against tokio-rustls's, which knows nothing of how ours moves bytes.

use super::*;
use crate::tls::bare::Bare;
use crate::tls::session::Buffered;
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, ContentType, RootCertStore, ServerConfig, SupportedProtocolVersion,
};
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

struct Configs {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

fn configs(version: &'static SupportedProtocolVersion) -> Configs {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let certificate = params.self_signed(&key).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(certificate.der().clone()).expect("an authority");
    let provider = Arc::new(default_provider());
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("it fits");
    Configs { client: Arc::new(client), server: Arc::new(server) }
}

type Client = client::TlsStream<DuplexStream>;
type Server = server::TlsStream<DuplexStream>;

type OurClient = ClientStream<DuplexStream>;
type OurServer = ServerStream<DuplexStream>;

async fn connect(configs: &Configs, near: DuplexStream) -> Client {
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::clone(&configs.client)).connect(name, near).await.expect("connects")
}

async fn accept(configs: &Configs, mut far: DuplexStream) -> OurServer {
    let mut ahead = Ahead::default();
    let session = Bare::shake_hands(Arc::clone(&configs.server), &mut far, &mut ahead).await;
    TlsStream::new(far, session.expect("accepts"), ahead)
}

fn ours((io, session): (DuplexStream, ClientConnection)) -> OurClient {
    TlsStream::new(io, Buffered::new(session), Ahead::default())
}

async fn shake(configs: &Configs, size: usize) -> (Client, OurServer) {
    let (near, far) = duplex(size);
    tokio::join!(connect(configs, near), accept(configs, far))
}

/// Has a server say the first word: what it sends of its own accord, tickets, comes before.
async fn greet(server: &mut (impl AsyncWrite + Unpin), client: &mut (impl AsyncRead + Unpin)) {
    let greeting = async {
        server.write_all(b"hello").await.expect("writes");
        server.flush().await.expect("flushes");
    };
    let (greeted, ()) = tokio::join!(read_in_pieces(client, 5, &[5]), greeting);
    assert_eq!(greeted, b"hello");
}

/// Ours as the server, theirs as the client.
async fn pair(version: &'static SupportedProtocolVersion, size: usize) -> (OurServer, Client) {
    let (mut client, mut server) = shake(&configs(version), size).await;
    greet(&mut server, &mut client).await;
    (server, client)
}

/// Ours as the client, theirs as the server.
async fn pair_of_client(version: &'static SupportedProtocolVersion, size: usize) -> (OurClient, Server) {
    let (near, far) = duplex(size);
    let configs = configs(version);
    let accepting = TlsAcceptor::from(Arc::clone(&configs.server)).accept(far);
    let (client, server) = tokio::join!(connect(&configs, near), accepting);
    let (mut client, mut server) = (ours(client.into_inner()), server.expect("accepts"));
    greet(&mut server, &mut client).await;
    (client, server)
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|index| (index / 3) as u8 ^ (index >> 8) as u8).collect()
}

async fn write_in_pieces<S: AsyncWrite + Unpin>(stream: &mut S, sent: &[u8], sizes: &[usize]) {
    let mut left = sent;
    for &size in sizes.iter().cycle() {
        let (piece, rest) = left.split_at(size.min(left.len()));
        let (head, body) = piece.split_at(piece.len().min(9));
        let mut slices = &mut [IoSlice::new(head), IoSlice::new(&[]), IoSlice::new(body)][..];
        while slices.iter().any(|slice| !slice.is_empty()) {
            let written = stream.write_vectored(slices).await.expect("writes");
            IoSlice::advance_slices(&mut slices, written);
        }
        left = rest;
        if left.is_empty() {
            break;
        }
    }
    stream.flush().await.expect("flushes");
}

async fn read_in_pieces<S: AsyncRead + Unpin>(stream: &mut S, len: usize, sizes: &[usize]) -> Vec<u8> {
    let mut received = Vec::new();
    for &size in sizes.iter().cycle() {
        if received.len() == len {
            break;
        }
        let mut buf = vec![0; size.min(len - received.len())];
        let read = stream.read(&mut buf).await.expect("reads");
        assert!(read > 0, "ends early");
        received.extend_from_slice(&buf[..read]);
    }
    received
}

/// Sends much from each to the other.
async fn exchange(
    ours: &mut (impl AsyncRead + AsyncWrite + Unpin),
    theirs: &mut (impl AsyncRead + AsyncWrite + Unpin),
) {
    let sent = bytes(700_000);
    let sizes = [16_393, 1, 50_000, 9, 16_384, 16_383, 300_000, 16_385, 77];
    let read = read_in_pieces(theirs, sent.len(), &[10_000, 3, 70_000]);
    let ((), received) = tokio::join!(write_in_pieces(ours, &sent, &sizes), read);
    assert!(received == sent, "to them");
    let read = read_in_pieces(ours, sent.len(), &[16_393, 5, 200_000, 1]);
    let ((), received) = tokio::join!(write_in_pieces(theirs, &sent, &sizes), read);
    assert!(received == sent, "to us");
}

#[tokio::test]
async fn whatever_is_written_arrives_in_either_direction_and_either_version() {
    for version in VERSIONS {
        // Sockets that hold everything, a few records, and less than one.
        for socket in [1 << 20, 60_000, 1000] {
            let (mut ours, mut theirs) = pair(version, socket).await;
            exchange(&mut ours, &mut theirs).await;
            let (mut ours, mut theirs) = pair_of_client(version, socket).await;
            exchange(&mut ours, &mut theirs).await;
        }
    }
}

#[tokio::test]
async fn ours_understands_ours_with_both_talking_at_once() {
    let sent = bytes(500_000);
    for version in VERSIONS {
        let (client, server) = shake(&configs(version), 5000).await;
        let (mut client_in, mut client_out) = tokio::io::split(ours(client.into_inner()));
        let (mut server_in, mut server_out) = tokio::io::split(server);
        let ((), (), there, back) = tokio::join!(
            write_in_pieces(&mut client_out, &sent, &[16_393, 100]),
            write_in_pieces(&mut server_out, &sent, &[16_393, 100]),
            read_in_pieces(&mut server_in, sent.len(), &[16_384]),
            read_in_pieces(&mut client_in, sent.len(), &[16_384]),
        );
        assert!(there == sent && back == sent);
    }
}

/// The lengths of the records in what was sent.
fn records(mut sent: &[u8]) -> Vec<usize> {
    let mut lengths = Vec::new();
    while let [kind, _, _, high, low, rest @ ..] = sent {
        assert_eq!(*kind, u8::from(ContentType::ApplicationData));
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        lengths.push(len);
        sent = &rest[len..];
    }
    lengths
}

#[tokio::test]
async fn frames_fill_records_and_leave_when_they_are_flushed() {
    let (mut ours, mut theirs) = pair(&TLS13, 1 << 20).await;
    for _ in 0..7 {
        ours.write_all(&[7; 16_393]).await.expect("writes");
    }
    let wire = theirs.get_mut().0;
    let mut buf = vec![0; 1 << 20];
    let early = poll_fn(|cx| Poll::Ready(Pin::new(&mut *wire).poll_read(cx, &mut ReadBuf::new(&mut buf))));
    assert!(early.await.is_pending(), "nothing leaves before it is flushed, or there is much of it");
    ours.flush().await.expect("flushes");
    let len = wire.read(&mut buf).await.expect("reads");
    // The type of what is in it, and the tag.
    let sealed = |plain: usize| plain + 1 + 16;
    let mut expected = vec![sealed(RECORD); 7];
    expected.push(sealed(7 * 9));
    assert_eq!(records(&buf[..len]), expected);
}

#[tokio::test]
async fn a_peer_that_does_not_read_holds_the_writer_back() {
    for version in VERSIONS {
        let (mut ours, mut theirs) = pair(version, 1000).await;
        let frame = [7; 16_393];
        let mut taken = 0;
        while let Poll::Ready(written) =
            poll_fn(|cx| Poll::Ready(Pin::new(&mut ours).poll_write(cx, &frame))).await
        {
            taken += written.expect("writes");
            assert!(taken <= OUT_MAX + RECORD, "{taken}");
        }
        assert!(taken >= OUT_MAX);
        let flush = poll_fn(|cx| Poll::Ready(Pin::new(&mut ours).poll_flush(cx))).await;
        assert!(flush.is_pending());
        // Whoever gives up in between has lost nothing of it.
        let read = read_in_pieces(&mut theirs, taken, &[5000]);
        let (flushed, received) = tokio::join!(ours.flush(), read);
        flushed.expect("flushes");
        assert_eq!(received, vec![7; taken]);
    }
}

#[tokio::test]
async fn each_side_can_say_that_it_is_done_and_still_read() {
    for version in VERSIONS {
        let (mut ours, mut theirs) = pair(version, 1 << 20).await;
        ours.write_all(b"the last").await.expect("writes");
        ours.shutdown().await.expect("shuts down");
        assert!(ours.write_all(b"more").await.is_err());
        let mut received = Vec::new();
        theirs.read_to_end(&mut received).await.expect("an orderly end");
        assert_eq!(received, b"the last");
        // rustls answers the end of a connection in TLS 1.2 with its own.
        if version.version == TLS13.version {
            theirs.write_all(b"an answer").await.expect("writes");
            theirs.shutdown().await.expect("shuts down");
            received.clear();
            ours.read_to_end(&mut received).await.expect("an orderly end");
            assert_eq!(received, b"an answer");
            assert_eq!(ours.read(&mut [0; 9]).await.expect("it stays at its end"), 0);
        }
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_off_is_told_from_one_that_has_ended() {
    for version in VERSIONS {
        let (mut ours, mut theirs) = pair(version, 1 << 20).await;
        theirs.write_all(b"the last").await.expect("writes");
        theirs.flush().await.expect("flushes");
        let (io, _session) = theirs.into_inner();
        drop(io);
        let mut received = Vec::new();
        let error = ours.read_to_end(&mut received).await.expect_err("no end was said");
        assert_eq!((&received[..], error.kind()), (&b"the last"[..], io::ErrorKind::UnexpectedEof));
        assert_eq!(ours.read(&mut [0; 9]).await.expect("it stays at its end"), 0);
    }
}

#[tokio::test]
async fn what_came_before_damage_is_read_and_the_peer_hears_of_the_damage() {
    for version in VERSIONS {
        let (mut ours, theirs) = pair(version, 1 << 20).await;
        let (mut wire, mut session) = theirs.into_inner();
        let mut sealed = Vec::new();
        for _ in 0..2 {
            session.writer().write_all(b"a record").expect("seals");
            session.write_tls(&mut sealed).expect("writes");
        }
        *sealed.last_mut().expect("there is one") ^= 1;
        wire.write_all(&sealed).await.expect("writes");
        let mut buf = [0; 100];
        assert_eq!(ours.read(&mut buf).await.expect("the first is good"), 8);
        for _ in 0..2 {
            let error = ours.read(&mut buf).await.expect_err("the second is not");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            wire.write_all(b"\x17\x03\x03\0\x01x").await.expect("writes");
        }
        let len = wire.read(&mut buf).await.expect("an alert");
        session.read_tls(&mut &buf[..len]).expect("reads");
        let told = session.process_new_packets().expect_err("a fatal one");
        assert_eq!(told, rustls::Error::AlertReceived(rustls::AlertDescription::BadRecordMac));
    }
}

#[tokio::test]
async fn keys_change_under_way() {
    let sent = bytes(40_000);
    let (mut ours, mut theirs) = pair(&TLS13, 1 << 20).await;
    for _ in 0..3 {
        theirs.get_mut().1.refresh_traffic_keys().expect("TLS 1.3 can");
        write_in_pieces(&mut ours, &sent, &[16_393]).await;
        write_in_pieces(&mut theirs, &sent, &[16_393]).await;
        assert!(read_in_pieces(&mut theirs, sent.len(), &[9000]).await == sent);
        assert!(read_in_pieces(&mut ours, sent.len(), &[9000]).await == sent);
    }
}

#[tokio::test]
async fn tickets_that_come_after_the_handshake_are_used_for_the_next() {
    for version in VERSIONS {
        let configs = configs(version);
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let (client, mut server) = shake(&configs, 1 << 20).await;
            let mut client = ours(client.into_inner());
            greet(&mut server, &mut client).await;
            kinds.push(client.agreed().handshake_kind());
            assert_eq!(server.agreed().handshake_kind(), client.agreed().handshake_kind());
        }
        assert_eq!(kinds, [Some(rustls::HandshakeKind::Full), Some(rustls::HandshakeKind::Resumed)]);
    }
}

async fn poll_once<S: AsyncRead + Unpin>(stream: &mut S) -> Poll<io::Result<()>> {
    let mut buf = [0; 9];
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *stream).poll_read(cx, &mut ReadBuf::new(&mut buf)))).await
}

#[tokio::test]
async fn at_rest_no_buffer_is_held() {
    for version in VERSIONS {
        let (mut ours, mut theirs) = pair(version, 1 << 20).await;
        let sent = bytes(100_000);
        write_in_pieces(&mut theirs, &sent, &[16_393]).await;
        write_in_pieces(&mut ours, &sent, &[16_393]).await;
        assert!(read_in_pieces(&mut ours, sent.len(), &[16_384]).await == sent);
        assert!(ours.ahead.holds_nothing(), "not even before somebody reads again");
        assert!(poll_once(&mut ours).await.is_pending());
        assert_eq!((ours.begun.capacity(), ours.sealed), (0, 0));
        assert!(ours.session.holds_nothing() && ours.ahead.holds_nothing());
    }
}

#[tokio::test]
async fn a_peer_that_stops_within_a_record_takes_little_room() {
    let (mut ours, theirs) = pair(&TLS13, 1 << 20).await;
    let (mut wire, mut session) = theirs.into_inner();
    let mut sealed = Vec::new();
    session.writer().write_all(&[7; 500]).expect("seals");
    session.write_tls(&mut sealed).expect("writes");
    for part in [&sealed[..3], &sealed[3..100], &sealed[100..]] {
        assert!(poll_once(&mut ours).await.is_pending());
        assert!(ours.ahead.held() <= 100, "{}", ours.ahead.held());
        wire.write_all(part).await.expect("writes");
    }
    assert_eq!(read_in_pieces(&mut ours, 500, &[9]).await, [7; 500]);
}

#[tokio::test]
async fn what_comes_while_we_write_is_kept_and_in_order() {
    let (mut ours, mut theirs) = pair(&TLS13, 1 << 20).await;
    let sent = bytes(200_000);
    write_in_pieces(&mut theirs, &sent, &[16_393]).await;
    let mut received = read_in_pieces(&mut ours, 1, &[1]).await;
    // Keys change in between, which has to be seen before anything is said.
    for round in 0..20 {
        ours.write_all(&[round; 100]).await.expect("writes");
        ours.flush().await.expect("flushes");
        received.extend(read_in_pieces(&mut ours, 7000, &[7000]).await);
    }
    received.extend(read_in_pieces(&mut ours, sent.len() - received.len(), &[9000]).await);
    assert!(received == sent);
    let said: Vec<u8> = (0..20).flat_map(|round| [round; 100]).collect();
    assert!(read_in_pieces(&mut theirs, said.len(), &[9000]).await == said);
}

#[tokio::test]
async fn a_buffer_that_holds_something_already_gets_more() {
    let (mut ours, mut theirs) = pair(&TLS13, 1 << 20).await;
    let sent = bytes(50_000);
    write_in_pieces(&mut theirs, &sent, &[16_384]).await;
    let mut room = vec![0; 100];
    let mut received = Vec::new();
    // Less room than a record each time, beside what is there.
    for (held, size) in [(90, 100), (1, 100), (50, 60), (1, 20_000), (100, 40_000)].into_iter().cycle() {
        room.resize(size, 0);
        let mut buf = ReadBuf::new(&mut room);
        buf.put_slice(&vec![9; held]);
        poll_fn(|cx| Pin::new(&mut ours).poll_read(cx, &mut buf)).await.expect("reads");
        let (before, new) = buf.filled().split_at(held);
        assert!(!new.is_empty() && before.iter().all(|byte| *byte == 9));
        received.extend_from_slice(new);
        if received.len() == sent.len() {
            break;
        }
    }
    assert!(received == sent);
}

/// Whatever a client makes of its bytes, before, in and after the handshake, and wherever they are cut.
#[tokio::test(start_paused = true)]
async fn no_bytes_bring_a_session_down() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut met = 0;
    for version in VERSIONS {
        let configs = configs(version);
        for round in 0..150 {
            let (near, mut wire) = duplex(1 << 20);
            let (mut socket, far) = duplex(1 << 20);
            let (spoil_at, spoiling) = (random.usize(..2500), random.u8(1..));
            let client = async {
                let name = ServerName::try_from("localhost").expect("a name");
                let Ok(mut stream) =
                    TlsConnector::from(Arc::clone(&configs.client)).connect(name, near).await
                else {
                    return;
                };
                for _ in 0..3 {
                    if stream.get_mut().1.refresh_traffic_keys().is_err()
                        || stream.write_all(&[7; 300]).await.is_err()
                    {
                        return;
                    }
                }
                let _ = stream.shutdown().await;
            };
            // Between the two, one byte is changed, and what comes is cut anew.
            let mut cut = fastrand::Rng::with_seed(seed ^ round);
            let between = async {
                let (mut forth, mut back, mut seen) = ([0; 700], [0; 4096], 0);
                loop {
                    tokio::select! {
                        len = wire.read(&mut forth) => {
                            let len = len.unwrap_or(0);
                            if len == 0 { return; }
                            if (seen..seen + len).contains(&spoil_at) { forth[spoil_at - seen] ^= spoiling; }
                            seen += len;
                            let mut rest = &forth[..len];
                            while !rest.is_empty() {
                                let (piece, left) = rest.split_at(cut.usize(1..=rest.len()));
                                if socket.write_all(piece).await.is_err() { return; }
                                tokio::task::yield_now().await;
                                rest = left;
                            }
                        }
                        len = socket.read(&mut back) => {
                            let len = len.unwrap_or(0);
                            if len == 0 || wire.write_all(&back[..len]).await.is_err() { return; }
                        }
                    }
                }
            };
            let server = async {
                let (mut far, mut ahead) = (far, Ahead::default());
                let Ok(session) = Bare::shake_hands(Arc::clone(&configs.server), &mut far, &mut ahead).await
                else {
                    return;
                };
                met += 1;
                let mut stream = TlsStream::new(far, session, ahead);
                let mut buf = [0; 100];
                while let Ok(len @ 1..) = stream.read(&mut buf).await {
                    assert!(
                        buf[..len].iter().all(|byte| *byte == 7),
                        "seed {seed}: something else is believed"
                    );
                    if stream.write_all(b"yes").await.is_err() || stream.flush().await.is_err() {
                        break;
                    }
                }
                let _ = stream.shutdown().await;
            };
            // Where a length was changed, each waits for the other. Nobody else does anything, so that takes no time.
            let talk = async { tokio::join!(client, between, server) };
            let _ = timeout(Duration::from_secs(60), Box::pin(talk)).await;
        }
    }
    assert!((30..300).contains(&met), "seed {seed}: {met} handshakes came about, and the others did not");
}
