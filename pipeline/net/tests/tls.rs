//! TLS between our own two halves, with certificates made for the occasion: what is believed, what is not, and why;
//! and files that change while they are in use.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use millrace_config::{Diagnostics, Validate, parse_str};
use millrace_engine::Health;
use millrace_engine::component::{Context, Shared};
use millrace_net::config::{TlsClientConfig, TlsServerConfig};
use millrace_net::tls::{ALPN_H2, ALPN_HTTP1, Acceptor, Connector, Site, Unsecured};
use millrace_telemetry::{Level, Registry};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use serde::de::DeserializeOwned;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

/// Files in a folder: an authority, a server's certificate for `localhost`, a client's, and one of another authority.
struct Files {
    folder: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Files {
    fn new() -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap(), authority: authority("ours") };
        files.write("ca.pem", &files.authority.pem());
        files.write("other-ca.pem", &authority("another").pem());
        files.certify("server", &["localhost"], ExtendedKeyUsagePurpose::ServerAuth);
        files.certify("client", &["sender"], ExtendedKeyUsagePurpose::ClientAuth);
        files
    }

    /// Writes `NAME.pem` and `NAME.key`, signed by our authority.
    fn certify(&self, name: &str, hosts: &[&str], purpose: ExtendedKeyUsagePurpose) {
        let key = KeyPair::generate().unwrap();
        let mut params = params(hosts);
        params.extended_key_usages = vec![purpose];
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        self.write(&format!("{name}.pem"), &certificate.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Decodes a section in which `{d}` stands for the folder.
    fn section<T: DeserializeOwned + Validate + Clone + Default>(&self, yaml: &str) -> T {
        let yaml = yaml.replace("{d}", self.path().to_str().unwrap());
        let parsed = parse_str("test.yaml", &yaml, &|_| None);
        let mut diags = Diagnostics::new();
        let config = millrace_config::decode(&parsed.node.unwrap(), "tls", &mut diags);
        config.unwrap_or_else(|| panic!("{}", diags.render(&parsed.sources)))
    }

    fn acceptor(&self, site: &Site, yaml: &str) -> Acceptor {
        self.section::<TlsServerConfig>(yaml).acceptor(site, &[ALPN_H2, ALPN_HTTP1]).unwrap()
    }

    fn connector(&self, site: &Site, yaml: &str) -> Connector {
        self.section::<TlsClientConfig>(yaml).connector(site, &[ALPN_H2]).unwrap()
    }
}

fn params(hosts: &[&str]) -> CertificateParams {
    CertificateParams::new(hosts.iter().map(|&host| host.to_owned()).collect::<Vec<_>>()).unwrap()
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = params(&[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn context() -> Context {
    let registry = Registry::new(Level::Detailed);
    Context {
        shared: Shared::new(registry, &Health::starting(), 64 << 20, 64 << 20, "test"),
        kind: "receiver",
        id: "otlp".parse().unwrap(),
        pipeline: None,
    }
}

/// Both sides of a handshake: what the client and the server say of it, and the name of the protocol.
async fn meet(
    connector: &Connector,
    host: &str,
    acceptor: &Acceptor,
) -> (Result<(), String>, Result<(), Unsecured>) {
    let (near, far) = duplex(1 << 16);
    let client = async {
        let mut stream = connector.connect(host, near).await.map_err(|error| error.to_string())?;
        assert_eq!(stream.agreed().alpn_protocol(), Some(ALPN_H2));
        // In TLS 1.3 a client hears only afterwards that its certificate was refused.
        stream.write_all(b"ping").await.map_err(|error| error.to_string())?;
        stream.flush().await.map_err(|error| error.to_string())?;
        let mut pong = [0; 4];
        stream.read_exact(&mut pong).await.map_err(|error| millrace_net::tls::explain(&error))?;
        assert_eq!(&pong, b"pong");
        Ok(())
    };
    let server = async {
        let mut stream = acceptor.accept(far).await.map_err(|rejected| rejected.why)?;
        let mut ping = [0; 4];
        stream.read_exact(&mut ping).await.map_err(|_| Unsecured::Broken)?;
        stream.write_all(b"pong").await.map_err(|_| Unsecured::Broken)?;
        stream.flush().await.map_err(|_| Unsecured::Broken)?;
        Ok(())
    };
    tokio::join!(client, server)
}

const SERVER: &str = "{cert_file: '{d}/server.pem', key_file: '{d}/server.key'}";
const CLIENT: &str = "{ca_file: '{d}/ca.pem'}";

#[tokio::test]
async fn a_certificate_of_a_trusted_authority_for_the_right_name_is_believed() {
    let (files, site) = (Files::new(), Site::of(&context()));
    let acceptor = files.acceptor(&site, SERVER);
    for yaml in [
        CLIENT,
        "{ca_file: '{d}/ca.pem', max_version: '1.2', cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]}",
        "{ca_file: '{d}/ca.pem', curve_preferences: [P384]}",
        "{insecure_skip_verify: true}",
    ] {
        let connector = files.connector(&site, yaml);
        assert_eq!(meet(&connector, "localhost", &acceptor).await, (Ok(()), Ok(())), "{yaml}");
    }
    let renamed = files.connector(&site, "{ca_file: '{d}/ca.pem', server_name_override: localhost}");
    assert_eq!(meet(&renamed, "10.0.0.1", &acceptor).await, (Ok(()), Ok(())));
}

#[tokio::test]
async fn certificates_that_prove_nothing_are_refused_with_the_reason() {
    let (files, site) = (Files::new(), Site::of(&context()));
    let acceptor = files.acceptor(&site, SERVER);
    for (yaml, host, expected) in [
        ("{ca_file: '{d}/other-ca.pem'}", "localhost", "authority that is not trusted here"),
        (CLIENT, "example.com", "for another name"),
        (CLIENT, "127.0.0.1", "for another name"),
    ] {
        let (client, server) = meet(&files.connector(&site, yaml), host, &acceptor).await;
        assert!(client.clone().is_err_and(|error| error.contains(expected)), "{client:?}");
        assert_eq!(server, Err(Unsecured::RefusedByClient));
    }

    let key = KeyPair::generate().unwrap();
    let mut expired = params(&["localhost"]);
    expired.not_before = rcgen::date_time_ymd(2001, 1, 1);
    expired.not_after = rcgen::date_time_ymd(2002, 1, 1);
    files.write("server.pem", &expired.signed_by(&key, &files.authority).unwrap().pem());
    files.write("server.key", &key.serialize_pem());
    let acceptor = files.acceptor(&site, SERVER);
    let (client, _) = meet(&files.connector(&site, CLIENT), "localhost", &acceptor).await;
    assert!(client.clone().is_err_and(|error| error.contains("has expired")), "{client:?}");
}

/// What `openssl req -x509` makes: a certificate that signs itself and claims to be an authority.
#[tokio::test]
async fn a_certificate_that_is_itself_trusted_is_believed_for_its_names_and_its_time_only() {
    let (files, site) = (Files::new(), Site::of(&context()));
    let pair = |until: i32| {
        let mut params = params(&["localhost"]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        files.write("server.pem", &params.self_signed(&key).unwrap().pem());
        files.write("server.key", &key.serialize_pem());
        (
            files.acceptor(
                &site,
                "{cert_file: '{d}/server.pem', key_file: '{d}/server.key', client_ca_file: '{d}/server.pem'}",
            ),
            files.connector(
                &site,
                "{ca_file: '{d}/server.pem', cert_file: '{d}/server.pem', key_file: '{d}/server.key'}",
            ),
        )
    };
    let (acceptor, connector) = pair(2090);
    assert_eq!(meet(&connector, "localhost", &acceptor).await, (Ok(()), Ok(())));
    assert!(
        meet(&connector, "example.com", &acceptor).await.0.is_err_and(|error| error.contains("another name"))
    );
    let (acceptor, connector) = pair(2002);
    assert!(meet(&connector, "localhost", &acceptor).await.0.is_err_and(|error| error.contains("expired")));
}

#[tokio::test]
async fn with_client_ca_file_only_clients_with_a_certificate_of_it_are_served() {
    let (files, site) = (Files::new(), Site::of(&context()));
    let acceptor = files.acceptor(
        &site,
        "{cert_file: '{d}/server.pem', key_file: '{d}/server.key', client_ca_file: '{d}/ca.pem'}",
    );
    let known = "{ca_file: '{d}/ca.pem', cert_file: '{d}/client.pem', key_file: '{d}/client.key'}";
    assert_eq!(meet(&files.connector(&site, known), "localhost", &acceptor).await, (Ok(()), Ok(())));

    for version in ["1.2", "1.3"] {
        let anonymous = format!("{{ca_file: '{{d}}/ca.pem', max_version: '{version}'}}");
        let (client, server) = meet(&files.connector(&site, &anonymous), "localhost", &acceptor).await;
        assert!(client.clone().is_err_and(|error| error.contains("cert_file")), "{client:?}");
        assert_eq!(server, Err(Unsecured::ClientCertificate));
    }

    let key = KeyPair::generate().unwrap();
    files.write("client.pem", &params(&["sender"]).self_signed(&key).unwrap().pem());
    files.write("client.key", &key.serialize_pem());
    let (client, server) = meet(&files.connector(&site, known), "localhost", &acceptor).await;
    assert!(client.is_err());
    assert_eq!(server, Err(Unsecured::ClientCertificate));
}

#[tokio::test]
async fn peers_without_anything_in_common_part() {
    let (files, site) = (Files::new(), Site::of(&context()));
    let acceptor = files
        .acceptor(&site, "{cert_file: '{d}/server.pem', key_file: '{d}/server.key', min_version: '1.3'}");
    let connector = files.connector(&site, "{ca_file: '{d}/ca.pem', max_version: '1.2'}");
    let (client, server) = meet(&connector, "localhost", &acceptor).await;
    assert!(client.clone().is_err_and(|error| error.contains("in common")), "{client:?}");
    assert_eq!(server, Err(Unsecured::NothingInCommon));
}

#[tokio::test]
async fn what_is_not_tls_is_told_from_what_is_broken_and_from_silence() {
    async fn say(acceptor: &Acceptor, bytes: &[u8], close: bool) -> Unsecured {
        let (mut near, far): (DuplexStream, _) = duplex(1 << 16);
        near.write_all(bytes).await.unwrap();
        let _open = Some(near).filter(|_| !close);
        acceptor.accept(far).await.err().map(|rejected| rejected.why).unwrap()
    }
    let (files, site) = (Files::new(), Site::of(&context()));
    let acceptor = files.acceptor(&site, SERVER);
    assert_eq!(say(&acceptor, b"POST /v1/traces HTTP/1.1\r\n", false).await, Unsecured::NotTls);
    assert_eq!(say(&acceptor, &[0; 100], false).await, Unsecured::NotTls);
    assert_eq!(say(&acceptor, b"", true).await, Unsecured::Broken);
    assert_eq!(
        say(&acceptor, &[0x16, 3, 1, 0, 9, 1, 0, 0, 5, 9, 9, 9, 9, 9], false).await,
        Unsecured::Broken
    );
    assert_eq!(say(&acceptor, &[0x16, 3, 1, 0, 5, 1, 2, 3, 4, 5], true).await, Unsecured::Broken);
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    assert_eq!(say(&acceptor, b"", false).await, Unsecured::TooSlow);
    assert_eq!(say(&acceptor, &[0x16, 3, 1, 2, 0, 1], false).await, Unsecured::TooSlow);
    assert_eq!(begun.elapsed().as_secs(), 20);
}

#[tokio::test]
async fn a_client_that_meets_plain_text_says_so() {
    let (files, site) = (Files::new(), Site::of(&context()));
    let connector = files.connector(&site, CLIENT);
    let (near, mut far) = duplex(1 << 16);
    far.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    let error = connector.connect("localhost", near).await.unwrap_err().to_string();
    assert!(error.contains("does not speak TLS"), "{error}");
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_with_the_reason() {
    let (files, site) = (Files::new(), Site::of(&context()));
    files.certify("unrelated", &["localhost"], ExtendedKeyUsagePurpose::ServerAuth);
    files.write("garbage.pem", "garbage");
    for (yaml, file, reason) in [
        ("{cert_file: '{d}/none.pem', key_file: '{d}/server.key'}", "none.pem", "cannot be read"),
        ("{cert_file: '{d}/garbage.pem', key_file: '{d}/server.key'}", "garbage.pem", "not PEM"),
        ("{cert_file: '{d}/server.pem', key_file: '{d}/garbage.pem'}", "garbage.pem", "not PEM"),
        ("{cert_file: '{d}/server.key', key_file: '{d}/server.pem'}", "server.key", "interchanged"),
        ("{cert_file: '{d}/server.pem', key_file: '{d}/unrelated.key'}", "unrelated.key", "does not belong"),
        (
            "{cert_file: '{d}/server.pem', key_file: '{d}/server.key', client_ca_file: '{d}/garbage.pem'}",
            "client_ca_file",
            "not PEM",
        ),
    ] {
        let error = files.section::<TlsServerConfig>(yaml).acceptor(&site, &[]).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains(reason), "{yaml}: {error}");
    }
}

/// What a metric says of the receiver, by its beginning.
fn metric(context: &Context, name: &str) -> Vec<(String, f64)> {
    let (_, page) = context.shared.registry.render(None);
    page.lines()
        .filter(|line| line.starts_with(name))
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(series, value)| (series.to_owned(), value.parse().unwrap()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn certificates_are_read_again_and_broken_ones_change_nothing_but_the_counter() {
    // given a server that follows its files, and a client that knows only the second authority
    let context = context();
    let (files, site) = (Files::new(), Site::of(&context));
    let acceptor = files
        .acceptor(&site, "{cert_file: '{d}/server.pem', key_file: '{d}/server.key', reload_interval: 60s}");
    let before = files.connector(&site, CLIENT);
    let next = authority("next");
    files.write("ca.pem", &next.pem());
    let after = files.connector(&site, CLIENT);
    assert!(meet(&after, "localhost", &acceptor).await.0.is_err());

    // when a certificate without its key is there at the time of reading
    let key = KeyPair::generate().unwrap();
    files.write("server.pem", &params(&["localhost"]).signed_by(&key, &next).unwrap().pem());
    tokio::time::sleep(Duration::from_secs(61)).await;

    // then the old one is in use, and the failure counted
    failures(&context, 1.0).await;
    assert_eq!(meet(&before, "localhost", &acceptor).await, (Ok(()), Ok(())));

    // when the key is there, too
    files.write("server.key", &key.serialize_pem());
    tokio::time::sleep(Duration::from_secs(61)).await;

    // then the new one is
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while meet(&after, "localhost", &acceptor).await.0.is_err() {
        assert!(std::time::Instant::now() < deadline);
    }
    failures(&context, 1.0).await;
}

async fn failures(context: &Context, expected: f64) {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        let failures: f64 =
            metric(context, "otelcol_millrace_tls_reload_failures").iter().map(|(_, value)| value).sum();
        if failures == expected {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{failures} failures");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn clients_authorities_are_read_again_within_a_second() {
    let context = context();
    let (files, site) = (Files::new(), Site::of(&context));
    let acceptor = files.acceptor(
        &site,
        "{cert_file: '{d}/server.pem', key_file: '{d}/server.key', client_ca_file: '{d}/other-ca.pem',
          client_ca_file_reload: true}",
    );
    let known = "{ca_file: '{d}/ca.pem', cert_file: '{d}/client.pem', key_file: '{d}/client.key'}";
    let connector = files.connector(&site, known);
    assert_eq!(meet(&connector, "localhost", &acceptor).await.1, Err(Unsecured::ClientCertificate));
    files.write("other-ca.pem", &files.authority.pem());
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while meet(&connector, "localhost", &acceptor).await.1.is_err() {
        assert!(std::time::Instant::now() < deadline);
    }
}

#[tokio::test]
async fn the_end_of_each_certificate_is_a_metric() {
    let context = context();
    let files = Files::new();
    let key = KeyPair::generate().unwrap();
    let mut ends = params(&["localhost"]);
    ends.not_after = rcgen::date_time_ymd(2040, 1, 1);
    files.write("server.pem", &ends.signed_by(&key, &files.authority).unwrap().pem());
    files.write("server.key", &key.serialize_pem());
    files.acceptor(&Site::transport(&context, "grpc"), SERVER);
    let ends = metric(&context, "otelcol_millrace_tls_certificate_expiry");
    assert_eq!(ends.len(), 1);
    let (series, end) = &ends[0];
    assert_eq!(*end, 2_208_988_800.0);
    for label in [r#"component="otlp""#, r#"transport="grpc""#, r#"file="cert_file""#] {
        assert!(series.contains(label), "{series}");
    }
}
