//! Configurations as people write them: every `shapes/*.yaml` is accepted and runs as it is, or is refused with the
//! names of exactly what is missing here (`# expect: missing A, B`).
//!
//! Further comments at the head of a shape: `# env: NAME=value …` is its environment; `# header: …` goes with the
//! request that it is sent; `# tls` means that certificates lie beside it.

mod support;

use serde_json::Value;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use support::tls::Certificates;
use support::{Setup, free_port, grpc, http1, requests};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How many run at the same time.
const AT_ONCE: usize = 6;

/// A file in `shapes`.
struct Shape {
    name: String,
    path: PathBuf,
    text: String,
}

impl Shape {
    /// What stands behind `# key: ` at the head.
    fn says(&self, key: &str) -> Option<&str> {
        let head = self.text.lines().take_while(|line| line.starts_with('#'));
        head.filter_map(|line| line.strip_prefix("# ")).find_map(|line| line.strip_prefix(key))
    }

    fn env(&self) -> impl Iterator<Item = (&str, &str)> {
        self.says("env: ").unwrap_or_default().split(' ').filter_map(|pair| pair.split_once('='))
    }

    fn ask(&self, arguments: &[&str]) -> (bool, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millrace"));
        let output = command.args(arguments).arg("--config").arg(&self.path).envs(self.env()).output();
        let output = output.expect("it runs");
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    }

    /// Nothing is wrong but that some things are not there, and each of them is named.
    fn refused(&self, missing: &str) -> Result<(), String> {
        let (sound, _, said) = self.ask(&["validate"]);
        let errors: Vec<_> = said.lines().filter(|line| line.starts_with("error: ")).collect();
        let told = |thing: &str| errors.iter().filter(|error| error.contains(thing)).count();
        let things: Vec<_> = missing.split(", ").collect();
        let all: usize = things.iter().map(|thing| told(thing)).sum();
        let is_precise = things.iter().all(|thing| told(thing) > 0) && all == errors.len();
        if !sound && is_precise { Ok(()) } else { Err(said) }
    }

    /// It is accepted, starts, takes a request, and stops in good order.
    async fn runs(&self) -> Result<(), String> {
        let (sound, _, said) = self.ask(&["validate"]);
        let (printed, json, _) = self.ask(&["print-config", "--format=json"]);
        if !sound || !printed {
            return Err(said);
        }
        let folder = tempfile::tempdir().expect("a folder");
        let certificates = self.says("tls").map(|_| Certificates::in_folder(folder.path()));
        let whole: Value = serde_json::from_str(&json).map_err(|error| error.to_string())?;
        let places = Places::of(&whole, folder.path());
        let text = self.text.replace(": server.", &format!(": {}/server.", folder.path().display()));
        let text = text.replace(": client.", &format!(": {}/client.", folder.path().display()));
        let text = text.replace(": ca.pem", &format!(": {}/ca.pem", folder.path().display()));
        let arguments: Vec<_> = places.arguments.iter().map(String::as_str).collect();
        let mut setup = Setup::of(&text).with(&arguments).with_env(self.env());
        let receiver = places.receiver.as_ref().ok_or("it does not receive OTLP")?;
        (setup.grpc, setup.http) = (receiver.address, receiver.address);
        let collector = setup.start().await;
        receiver.takes_a_request(self.says("header: "), certificates.as_ref()).await?;
        let stopped = collector.stopped_by("TERM").await;
        if stopped.code == Some(0) && stopped.log.contains("Shutdown complete: 1 received") {
            return Ok(());
        }
        Err(stopped.log)
    }
}

/// A server to send to.
struct Receiver {
    address: SocketAddr,
    is_http: bool,
    signal: String,
    path: String,
}

impl Receiver {
    async fn takes_a_request(
        &self,
        header: Option<&str>,
        certificates: Option<&Certificates>,
    ) -> Result<(), String> {
        let body = match &*self.signal {
            "traces" => requests::traces(1),
            "metrics" => requests::metrics(1),
            _ => requests::logs(1),
        };
        if !self.is_http {
            let mut client = grpc::Client::connect(self.address).await.map_err(|error| error.to_string())?;
            let reply = client.export(&self.signal, &body).await.map_err(|error| error.to_string())?;
            return if reply.code == Some(0) { Ok(()) } else { Err(format!("{reply:?}")) };
        }
        let headers = header.map(|header| format!("{header}\r\n")).unwrap_or_default() + http1::PROTOBUF;
        let head = match certificates {
            Some(certificates) => {
                let request = http1::request(&self.path, &headers, &body);
                certificates.post(self.address, &request, true).await.map_err(|error| error.to_string())?
            }
            None => {
                let reply = http1::post(self.address, &self.path, &headers, &body).await;
                reply.map_err(|error| error.to_string())?.head
            }
        };
        if head.contains(" 200 ") { Ok(()) } else { Err(head) }
    }
}

/// The arguments that give a configuration ports and paths of its own, and where to send to then.
struct Places {
    arguments: Vec<String>,
    receiver: Option<Receiver>,
}

impl Places {
    fn of(config: &Value, folder: &Path) -> Self {
        let mut places = Self { arguments: vec!["--shutdown-timeout=1".to_owned()], receiver: None };
        for (id, receiver) in section(&config["receivers"]) {
            places.receiver(id, receiver, &config["service"]["pipelines"]);
        }
        for (id, extension) in section(&config["extensions"]) {
            if extension["endpoint"].is_string() {
                places.move_port(&format!("extensions.{id}.endpoint"));
            }
            if extension["directory"].is_string() {
                places.set(
                    &format!("extensions.{id}.directory"),
                    &folder.join("storage").display().to_string(),
                );
            }
            for protocol in ["http", "grpc"] {
                if extension[protocol]["endpoint"].is_string() && extension[protocol]["enabled"] != false {
                    places.move_port(&format!("extensions.{id}.{protocol}.endpoint"));
                }
            }
        }
        for (id, _) in section(&config["exporters"]) {
            match id.split('/').next() {
                Some("prometheus") => {
                    places.move_port(&format!("exporters.{id}.endpoint"));
                }
                Some("file") => {
                    let file = folder.join(id.replace('/', "-"));
                    places.set(&format!("exporters.{id}.path"), &file.display().to_string());
                }
                _ => {}
            }
        }
        let own =
            format!("[{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {}}}}}}}}}]", free_port());
        places.set("service.telemetry.metrics.readers", &own);
        // So that it says when it is ready.
        places.set("service.telemetry.logs.level", "info");
        places
    }

    fn receiver(&mut self, id: &str, receiver: &Value, pipelines: &Value) {
        let pipeline = section(pipelines).find(|(_, pipeline)| {
            pipeline["receivers"].as_array().is_some_and(|ids| ids.iter().any(|used| used == id))
        });
        for (protocol, server) in section(&receiver["protocols"]) {
            if !server["endpoint"].is_string() {
                continue;
            }
            let address = self.move_port(&format!("receivers.{id}.protocols.{protocol}.endpoint"));
            let Some((name, _)) = pipeline else { continue };
            let signal = name.split('/').next().unwrap_or_default().to_owned();
            let key = format!("{signal}_url_path");
            let path = server[&key].as_str().map_or(format!("/v1/{signal}"), ToOwned::to_owned);
            self.receiver = Some(Receiver { address, is_http: protocol == "http", signal, path });
        }
    }

    /// Gives a server a free port.
    fn move_port(&mut self, key: &str) -> SocketAddr {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        self.set(key, &address.to_string());
        address
    }

    fn set(&mut self, key: &str, value: &str) {
        self.arguments.push(format!("--set={key}={value}"));
    }
}

fn section(node: &Value) -> impl Iterator<Item = (&str, &Value)> {
    node.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value))
}

fn shapes() -> Vec<Shape> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shapes");
    let entries = fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path());
    let shapes = entries.map(|path| Shape {
        name: path.file_name().expect("a name").to_string_lossy().into_owned(),
        text: fs::read_to_string(&path).expect("readable"),
        path,
    });
    shapes.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn configurations_as_people_write_them_run_or_name_what_is_missing() {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut running = JoinSet::new();
    for shape in shapes() {
        let room = Arc::clone(&room);
        running.spawn(async move {
            let _place = room.acquire_owned().await;
            let outcome = match shape.says("expect: missing ") {
                Some(missing) => shape.refused(missing),
                None => shape.runs().await,
            };
            outcome.map_err(|why| format!("{}: {why}", shape.name))
        });
    }
    let mut outcomes = Vec::new();
    while let Some(outcome) = running.join_next().await {
        outcomes.push(outcome.unwrap_or_else(|panic| Err(panic.to_string())));
    }
    let failed: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    let (all, good) = (outcomes.len(), outcomes.len() - failed.len());
    println!("{good} of {all} shapes run, or are refused for what is missing");
    assert!(all >= 60, "only {all} shapes were found");
    assert!(good * 100 >= all * 95, "{failed:#?}");
    assert!(failed.is_empty(), "not one of the shapes may be lost again: {failed:#?}");
}
