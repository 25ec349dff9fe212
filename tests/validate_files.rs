//! `millrace validate` opens what the configuration names: certificates, keys and credentials that are missing, over,
//! or do not belong together are told with their place. It is still valid: it may be run elsewhere.

mod support;

use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, date_time_ymd};
use std::fs;
use std::path::Path;
use std::process::Command;
use support::tls::Certificates;

/// What is said of a receiver with this section `tls` and an exporter with this token file; it must be valid.
fn said(folder: &Path, tls: &str, token: &str) -> String {
    let text = format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{tls: {tls}}}}}}}}}
exporters: {{otlp_grpc: {{endpoint: 'backend:4317', auth: {{authenticator: bearertokenauth}}}}}}
extensions: {{bearertokenauth: {{filename: {token}}}}}
service: {{extensions: [bearertokenauth], pipelines: {{logs: {{receivers: [otlp], exporters: [otlp_grpc]}}}}}}
"
    );
    said_of(folder, &text)
}

#[test]
fn what_is_wrong_with_certificates_and_credentials_is_told_before_it_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = Certificates::in_folder(folder.path());
    certificates.write("token", "canary-token");
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
    certificates.write("old.pem", &params.self_signed(&key).expect("signed").pem());
    certificates.write("old.key", &key.serialize_pem());
    let pipe = Command::new("mkfifo").arg(folder.path().join("pipe")).status().expect("mkfifo");
    assert!(pipe.success());

    let sound = "{cert_file: server.pem, key_file: server.key, client_ca_file: ca.pem}";
    assert_eq!(said(folder.path(), sound, "token"), "");
    for (tls, token, expected) in [
        ("{cert_file: no.pem, key_file: server.key}", "token", "`no.pem` cannot be read: "),
        (
            "{cert_file: server.pem, key_file: client.key}",
            "token",
            "`client.key` holds a key that does not belong to",
        ),
        ("{cert_file: server.key, key_file: server.pem}", "token", "are certificate and key interchanged?"),
        ("{cert_file: old.pem, key_file: old.key}", "token", "`old.pem` holds a certificate that expired "),
        (
            "{cert_file: server.pem, key_file: pipe}",
            "token",
            "`pipe` cannot be read: it is a pipe or a device",
        ),
        (
            "{cert_file: server.pem, key_file: server.key, client_ca_file: no.pem}",
            "token",
            "grpc::tls::client_ca_file",
        ),
        (sound, "no-token", "`no-token` cannot be read: "),
        (sound, "pipe", "`pipe` cannot be read: it is a pipe or a device"),
    ] {
        let said = said(folder.path(), tls, token);
        assert!(said.starts_with("warning: ") && said.contains(expected), "{tls} {token}:\n{said}");
        assert!(said.contains("--> config.yaml:") && said.contains("= help: "), "{tls} {token}:\n{said}");
        assert!(!said.contains("canary"), "{said}");
    }
}

/// What is said of a whole configuration, which must be valid.
fn said_of(folder: &Path, text: &str) -> String {
    fs::write(folder.join("config.yaml"), text).expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_millrace"))
        .current_dir(folder)
        .args(["validate", "--config=config.yaml"])
        .output()
        .expect("it runs");
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn files_of_own_telemetry_and_of_detectors_and_keys_to_sign_with_are_opened_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = Certificates::in_folder(folder.path());
    certificates.write("token", "canary-token");
    let configuration = |own: &str, key: &str, token: &str| {
        format!(
            "receivers: {{otlp: {{protocols: {{grpc: }}}}}}
processors: {{resource_detection: {{detectors: [consul], consul: {{token_file: {token}}}}}}}
exporters: {{otlp_grpc: {{endpoint: 'backend:4317', auth: {{authenticator: oauth2client}}}}}}
extensions:
  oauth2client:
    client_id: a
    token_url: https://localhost/token
    grant_type: urn:ietf:params:oauth:grant-type:jwt-bearer
    client_certificate_key_file: {key}
service:
  extensions: [oauth2client]
  telemetry:
    logs: {{processors: [{{batch: {{exporter: {{otlp: {{protocol: http/protobuf, {own}}}}}}}}}]}}
    metrics: {{readers: [{{periodic: {{exporter: {{otlp: {{protocol: grpc, {own}}}}}}}}}]}}
  pipelines: {{logs: {{receivers: [otlp], processors: [resource_detection], exporters: [otlp_grpc]}}}}
"
        )
    };
    let own = "certificate: ca.pem, client_certificate: client.pem, client_key: client.key";
    let rsa = KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key");
    certificates.write("rsa.key", &rsa.serialize_pem());
    assert_eq!(said_of(folder.path(), &configuration(own, "rsa.key", "token")), "");
    // Names of files may be masked: some of these keys look like secrets.
    for (own, key, token, expected, times) in [
        ("certificate: no.pem", "rsa.key", "token", "` cannot be read: ", 2),
        ("client_certificate: client.pem, client_key: no.key", "rsa.key", "token", "` cannot be read: ", 2),
        ("client_certificate: no.pem, client_key: client.key", "rsa.key", "token", "` cannot be read: ", 2),
        (own, "no.key", "token", "` cannot be read: ", 1),
        (own, "client.key", "token", "` cannot be used: ", 1),
        (own, "rsa.key", "no-token", "` cannot be read: ", 1),
    ] {
        let said = said_of(folder.path(), &configuration(own, key, token));
        assert_eq!(said.matches("warning: ").count(), times, "{said}");
        assert_eq!(said.matches(expected).count(), times, "{said}");
        assert_eq!(said.matches("--> config.yaml:").count(), times, "{said}");
        assert!(said.contains("= help: ") && !said.contains("canary"), "{said}");
    }
}
