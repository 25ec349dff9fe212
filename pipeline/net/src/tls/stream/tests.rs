//! Our stream against tokio-rustls's, which knows nothing of how ours moves bytes.

use super::*;
use rcgen::{CertificateParams, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ContentType, RootCertStore, ServerConfig, SupportedProtocolVersion};
use std::future::poll_fn;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
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

async fn shake(configs: &Configs, size: usize) -> (Client, Server) {
    let (near, far) = duplex(size);
    let name = ServerName::try_from("localhost").expect("a name");
    let connecting = TlsConnector::from(Arc::clone(&configs.client)).connect(name, near);
    let accepting = TlsAcceptor::from(Arc::clone(&configs.server)).accept(far);
    let (client, server) = tokio::join!(connecting, accepting);
    (client.expect("connects"), server.expect("accepts"))
}

fn ours<C: Into<Connection>>((io, session): (DuplexStream, C)) -> TlsStream<DuplexStream> {
    TlsStream::new(io, session, Ahead::default())
}

/// Ours as the server, theirs as the client.
async fn pair(version: &'static SupportedProtocolVersion, size: usize) -> (TlsStream<DuplexStream>, Client) {
    let (mut client, server) = shake(&configs(version), size).await;
    let mut server = ours(server.into_inner());
    // What the server sends of its own accord, tickets, comes before.
    let greeting = async {
        server.write_all(b"hello").await.expect("writes");
        server.flush().await.expect("flushes");
    };
    let (greeted, ()) = tokio::join!(read_in_pieces(&mut client, 5, &[5]), greeting);
    assert_eq!(greeted, b"hello");
    (server, client)
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

#[tokio::test]
async fn whatever_is_written_arrives_in_either_direction_and_either_version() {
    let sent = bytes(700_000);
    let sizes = [16_393, 1, 50_000, 9, 16_384, 16_383, 300_000, 16_385, 77];
    for version in VERSIONS {
        // Sockets that hold everything, a few records, and less than one.
        for socket in [1 << 20, 60_000, 1000] {
            let (mut ours, mut theirs) = pair(version, socket).await;
            let read = read_in_pieces(&mut theirs, sent.len(), &[10_000, 3, 70_000]);
            let ((), received) = tokio::join!(write_in_pieces(&mut ours, &sent, &sizes), read);
            assert!(received == sent, "to them, {version:?}, {socket}");
            let read = read_in_pieces(&mut ours, sent.len(), &[16_393, 5, 200_000, 1]);
            let ((), received) = tokio::join!(write_in_pieces(&mut theirs, &sent, &sizes), read);
            assert!(received == sent, "to us, {version:?}, {socket}");
        }
    }
}

#[tokio::test]
async fn ours_understands_ours_with_both_talking_at_once() {
    let sent = bytes(500_000);
    for version in VERSIONS {
        let (client, server) = shake(&configs(version), 5000).await;
        let (client_in, client_out) = tokio::io::split(ours(client.into_inner()));
        let (server_in, server_out) = tokio::io::split(ours(server.into_inner()));
        let write = async |mut out| write_in_pieces(&mut out, &sent, &[16_393, 100]).await;
        let read = async |mut input| read_in_pieces(&mut input, sent.len(), &[16_384]).await;
        let done = async { tokio::join!(write(client_out), write(server_out)) };
        let ((), ()) = tokio::join!(
            async {
                done.await;
            },
            async {
                let (there, back) = tokio::join!(read(client_in), read(server_in));
                assert!(there == sent && back == sent);
            }
        );
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
    let (mut ours, mut theirs) = pair(&TLS13, 1 << 20).await;
    let sent = bytes(40_000);
    for _ in 0..3 {
        ours.session.refresh_traffic_keys().expect("TLS 1.3 can");
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
            let (client, server) = shake(&configs, 1 << 20).await;
            let (mut client, mut server) = (ours(client.into_inner()), ours(server.into_inner()));
            server.write_all(b"hello").await.expect("writes");
            server.flush().await.expect("flushes");
            assert_eq!(read_in_pieces(&mut client, 5, &[5]).await, b"hello");
            kinds.push(client.session().handshake_kind());
        }
        assert_eq!(kinds, [Some(rustls::HandshakeKind::Full), Some(rustls::HandshakeKind::Resumed)]);
    }
}

#[tokio::test]
async fn at_rest_no_buffer_is_held() {
    let (mut ours, mut theirs) = pair(&TLS13, 1 << 20).await;
    let sent = bytes(100_000);
    write_in_pieces(&mut theirs, &sent, &[16_393]).await;
    write_in_pieces(&mut ours, &sent, &[16_393]).await;
    assert!(read_in_pieces(&mut ours, sent.len(), &[16_384]).await == sent);
    let mut buf = [0; 9];
    let more =
        poll_fn(|cx| Poll::Ready(Pin::new(&mut ours).poll_read(cx, &mut ReadBuf::new(&mut buf)))).await;
    assert!(more.is_pending());
    assert_eq!((ours.begun.capacity(), ours.sealed, ours.opening), (0, 0, false));
    assert!(!ours.session.wants_write() && ours.ahead.holds_nothing());
}
