//! Certificates under other names.

use crate::support::tls::Certificates;
use crate::support::{PATIENCE, Setup, free_port, http1, requests};
use crate::{reload, text};
use rustls::pki_types::CertificateDer;
use std::io;
use std::net::SocketAddr;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

/// The certificate that a server shows to a new connection.
async fn shown(certificates: &Certificates, to: SocketAddr) -> io::Result<CertificateDer<'static>> {
    let stream = certificates.connect(to, &["http/1.1"], false).await?;
    let (_, session) = stream.get_ref();
    let chain = session.peer_certificates().expect("the handshake is over");
    Ok(chain[0].clone().into_owned())
}

#[tokio::test]
async fn another_certificate_is_shown_as_soon_as_the_configuration_names_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = Certificates::in_folder(folder.path());
    let first = certificates.certify("first");
    let second = certificates.certify("second");
    let secured = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let d = folder.path().display();
    let tls = format!("tls: {{cert_file: '{d}/first.pem', key_file: '{d}/first.key'}}");
    let setup = Setup::to("nop: {}");
    let config = std::fs::read_to_string(&setup.config).expect("a configuration");
    let config = config
        .replace(
            "receivers:\n",
            &format!(
                "receivers:\n  otlp/secured: {{protocols: {{http: {{endpoint: '{secured}', {tls}}}}}}}\n"
            ),
        )
        .replace("receivers: [otlp]", "receivers: [otlp, otlp/secured]");
    std::fs::write(&setup.config, config).expect("written");
    let collector = setup.start().await;
    assert_eq!(shown(&certificates, secured).await.expect("a handshake"), first);
    let mut open = certificates.connect(secured, &["http/1.1"], false).await.expect("a connection");

    let base = text(&collector);
    let broken = base.replace("first.pem", "missing.pem");
    reload(&collector, &broken, "failure").await;
    collector.has_said("missing.pem").await;
    assert_eq!(shown(&certificates, secured).await.expect("a handshake"), first);
    let mixed = base.replace("first.pem", "second.pem");
    reload(&collector, &mixed, "failure").await;
    assert_eq!(shown(&certificates, secured).await.expect("a handshake"), first, "a key of another");

    reload(&collector, &base.replace("/first.", "/second."), "success").await;
    assert_eq!(shown(&certificates, secured).await.expect("a handshake"), second);
    let post = http1::request("/v1/logs", http1::PROTOBUF, &requests::logs(1));
    let answer = certificates.post(secured, &post, false).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // Whoever is connected has to come again, where the new certificate is shown.
    let mut answer = Vec::new();
    let ended = timeout(PATIENCE, open.read_to_end(&mut answer)).await.expect("the connection is ended");
    assert!(ended.is_ok() && answer.is_empty(), "{ended:?} {answer:?}");
    collector.finish().await;
}
