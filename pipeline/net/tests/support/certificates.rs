//! Certificates made for the occasion, and a process to use them in.

use millrace_config::{Diagnostics, Validate, parse_str};
use millrace_engine::Health;
use millrace_engine::component::{Context, Shared};
use millrace_net::config::{TlsClientConfig, TlsServerConfig};
use millrace_net::connect::Handshake;
use millrace_net::tls::{ALPN_H2, ALPN_HTTP1, Acceptor, Site};
use millrace_telemetry::{Level, Registry};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use serde::de::DeserializeOwned;
use tempfile::TempDir;

/// What a component is built with.
pub fn context() -> Context {
    let shared = Shared::new(Registry::new(Level::Detailed), &Health::starting(), 64 << 20, 64 << 20, "test");
    Context { shared, kind: "exporter", id: "otlp_grpc".parse().expect("an id"), pipeline: None }
}

/// Reads a configuration.
pub fn decoded<T: DeserializeOwned + Validate + Clone + Default>(yaml: &str) -> T {
    let parsed = parse_str("test.yaml", yaml, &|_| None);
    let mut diags = Diagnostics::new();
    let config = millrace_config::decode(&parsed.node.expect("YAML"), "section", &mut diags);
    config.unwrap_or_else(|| panic!("{}", diags.render(&parsed.sources)))
}

/// An authority and what it has signed, in files.
pub struct Authority {
    folder: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA");
        let authority = Self { folder: tempfile::tempdir().expect("a folder"), issuer };
        authority.write("ca.pem", &authority.issuer.pem());
        authority
    }

    /// Signs a certificate for a host; `NAME.pem` and `NAME.key`.
    pub fn certify(&self, name: &str, host: &str, until: i32) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec![host.to_owned()]).expect("a name");
        params.not_after = date_time_ymd(until, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        self.write(&format!("{name}.pem"), &certificate.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).expect("a file");
    }

    /// `{d}` stands for the folder.
    pub fn yaml(&self, yaml: &str) -> String {
        yaml.replace("{d}", self.folder.path().to_str().expect("UTF-8"))
    }

    /// What accepts with the certificate of that name; `more` are keys of `tls`.
    pub fn acceptor(&self, name: &str, more: &str) -> Acceptor {
        let yaml = self.yaml(&format!("{{cert_file: {{d}}/{name}.pem, key_file: {{d}}/{name}.key{more}}}"));
        let config: TlsServerConfig = decoded(&yaml);
        config.acceptor(&Site::of(&context()), &[ALPN_H2, ALPN_HTTP1]).expect("certificates")
    }

    /// A handshake with `localhost`; `more` are keys of `tls`.
    pub fn handshake(&self, more: &str, alpn: &'static [&'static [u8]]) -> Handshake {
        let config: TlsClientConfig = decoded(&self.yaml(&format!("{{ca_file: {{d}}/ca.pem{more}}}")));
        Handshake::new(config.connector(&Site::of(&context()), alpn).expect("certificates"), "localhost")
            .expect("a name")
    }
}
