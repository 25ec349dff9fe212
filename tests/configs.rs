//! What is shipped in `configs/` works as it is: every file is sound, and the quickstart runs under `millrace demo`
//! and accounts for everything that the shop sent, and an agent reaches a backend through a gateway with certificates.

mod support;

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use support::tls::Certificates;
use support::{Setup, free_port, http1, requests};

fn millrace() -> Command {
    Command::new(env!("CARGO_BIN_EXE_millrace"))
}

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("configs")
}

/// The quickstart with its four ports replaced by free ones, written to `folder`. Returns where it lies and the port
/// of OTLP/gRPC.
fn quickstart(folder: &Path) -> (PathBuf, u16) {
    let mut text = fs::read_to_string(configs().join("quickstart.yaml")).expect("the quickstart");
    // All are held at the same time, so that no two are the same.
    let held = [(); 4].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let free = held.map(|listener| listener.local_addr().expect("bound").port());
    for (port, free) in ["4317", "4318", "13133", "8888"].into_iter().zip(free) {
        for place in [format!("endpoint: localhost:{port}\n"), format!("port: {port}\n")] {
            text = text.replace(&place, &place.replace(port, &free.to_string()));
        }
        assert!(text.contains(&free.to_string()), "the quickstart does not name port {port}");
    }
    let path = folder.join("quickstart.yaml");
    fs::write(&path, text).expect("written");
    (path, free[0])
}

fn demo(config: &Path, output: &Path) -> Command {
    let mut command = millrace();
    command.arg("demo").arg("--config").arg(config).arg("--output").arg(output);
    command
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// The values of a key anywhere in the lines of a file.
fn values(file: &Path, key: &str) -> Vec<String> {
    fn collect(value: &Value, key: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get(key).and_then(Value::as_str).map(ToOwned::to_owned));
                map.values().for_each(|value| collect(value, key, found));
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, key, found)),
            _ => {}
        }
    }
    let text = fs::read_to_string(file).expect("the file was written");
    let mut found = Vec::new();
    for line in text.lines() {
        collect(&serde_json::from_str(line).expect("a line is JSON"), key, &mut found);
    }
    found
}

/// The number before `unit` in what the demo says at its end.
fn told(stdout: &str, unit: &str) -> usize {
    let (_, farewell) = stdout.split_once("The shop sent").expect("it ended well");
    let before = farewell.split(&format!(" {unit}")).next().unwrap_or_default();
    let number = before.rsplit(' ').next().unwrap_or_default().replace(',', "");
    number.parse().unwrap_or_else(|_| panic!("no number of {unit} in {farewell}"))
}

#[test]
fn every_configuration_is_sound_and_listed() {
    let listing = fs::read_to_string(configs().join("README.md")).expect("the listing");
    let mut checked = 0;
    for entry in fs::read_dir(configs()).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let output = millrace().arg("validate").arg("--config").arg(&path).output().expect("it runs");
        let (stdout, stderr) = texts(&output);
        // Where this runs there are none of the certificates and tokens that they name.
        let said = stderr.split("\n\n").filter(|one| !one.is_empty() && !one.contains(" cannot be read: "));
        assert_eq!((stdout.as_str(), said.collect::<Vec<_>>()), ("", Vec::new()), "{}", path.display());
        assert!(output.status.success(), "{}", path.display());
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        assert!(listing.contains(&format!("[{name}]({name})")), "{name} is not in configs/README.md");
        checked += 1;
    }
    assert!(checked >= 6, "only {checked} configurations were found");
}

#[test]
fn the_demo_delivers_everything_that_the_shop_sent_into_a_file_per_signal() {
    // given
    let folder = tempfile::tempdir().expect("a folder");
    let (config, _) = quickstart(folder.path());
    let files = folder.path().join("out");
    // when
    let output = demo(&config, &files).args(["--for", "6"]).output().expect("it runs");
    // then
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert!(stdout.contains(" 0 filtered, 0 lost"), "{stdout}");
    let spans = values(&files.join("traces.jsonl"), "spanId");
    assert_eq!(spans.iter().collect::<BTreeSet<_>>().len(), spans.len(), "a span was delivered twice");
    assert_eq!(spans.len(), told(&stdout, "spans"), "{stdout}");
    let records = values(&files.join("logs.jsonl"), "observedTimeUnixNano");
    assert_eq!(records.len(), told(&stdout, "log records"), "{stdout}");
    let traces: BTreeSet<_> = values(&files.join("traces.jsonl"), "traceId").into_iter().collect();
    assert!(values(&files.join("logs.jsonl"), "traceId").iter().all(|id| traces.contains(id)));
    let names = values(&files.join("metrics.jsonl"), "name");
    for name in ["http.server.request.duration", "rpc.server.call.duration", "shop.revenue", "shop.stock"] {
        assert!(names.iter().any(|found| found == name), "{name} in {names:?}");
    }
    let services: BTreeSet<_> = values(&files.join("traces.jsonl"), "stringValue").into_iter().collect();
    for service in ["storefront", "inventory"] {
        assert!(services.contains(service), "{service} is not in the traces");
    }
    assert!(stderr.contains("Shutdown complete: "), "{stderr}");
}

#[test]
fn an_interrupt_ends_the_demo_with_a_clean_account() {
    // given: a demo that has said how to stop it (and would stop by itself if this failed)
    let folder = tempfile::tempdir().expect("a folder");
    let (config, _) = quickstart(folder.path());
    let mut command = demo(&config, &folder.path().join("out"));
    let mut running = command
        .args(["--for", "60"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut stdout = BufReader::new(running.stdout.take().expect("piped"));
    let mut line = String::new();
    while !line.contains("Ctrl-C") {
        line.clear();
        assert!(stdout.read_line(&mut line).expect("readable") > 0, "it ended before it had begun");
    }
    // when
    let id = running.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().expect("there is `kill`").success());
    // then
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("readable");
    assert!(running.wait().expect("it ends").success(), "{rest}");
    assert!(rest.contains(" 0 filtered, 0 lost"), "{rest}");
    assert!(told(&rest, "data points") > 0, "the last reading was not sent: {rest}");
}

#[test]
fn a_port_that_is_taken_is_named_before_anything_starts() {
    let folder = tempfile::tempdir().expect("a folder");
    let (config, port) = quickstart(folder.path());
    let _other = TcpListener::bind(("127.0.0.1", port)).expect("still free");
    let files = folder.path().join("out");
    let output = demo(&config, &files).args(["--for", "3"]).output().expect("it runs");
    let (stdout, stderr) = texts(&output);
    assert_eq!((output.status.code(), stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains(&format!("localhost:{port}")), "{stderr}");
    assert!(stderr.contains("receivers::otlp::protocols::grpc::endpoint"), "{stderr}");
    assert!(!files.exists(), "nothing was to be written");
}

#[test]
fn what_cannot_be_run_is_refused_with_a_reason_and_an_exit_code() {
    let broken = "yaml:{receivers: {otlp: {protocols: {grcp: {}}}}}";
    for (arguments, code, reason) in [
        (vec![], 1, "at least one config flag must be provided"),
        (vec!["--config=yaml:", "--set=a.b"], 1, "write --set=processors.batch.timeout=2s"),
        (vec!["--config=a.yaml", "--feature-gates=x"], 1, "no such feature gate \"x\""),
        (vec!["featuregate", "x"], 1, "feature \"x\" not found"),
        (vec!["--config=/no/such/file.yaml"], 1, "cannot read the configuration /no/such/file.yaml"),
        (vec!["validate", "--config", broken], 1, "grpc"),
        (vec!["--config", broken], 1, "invalid configuration"),
        (vec!["--confg=a.yaml"], 2, "a similar argument exists: '--config'"),
    ] {
        let output = millrace().args(&arguments).output().expect("it runs");
        let (stdout, stderr) = texts(&output);
        assert_eq!((output.status.code(), stdout.as_str()), (Some(code), ""), "{arguments:?}");
        assert!(stderr.contains(reason), "{arguments:?}: {stderr}");
    }
}

/// What was written for collectors of years ago.
const OLD: &str = "receivers:
  otlp: {protocols: {grpc: {endpoint: 'localhost:4317'}}}
exporters:
  # to the terminal
  logging:
    loglevel: debug   # all of it
  otlp:
    endpoint: backend:4317
    insecure: true
processors:
  memory_limiter: {limit_mib: 100, check_interval: 1s}
service:
  telemetry: {metrics: {address: 'localhost:8888'}}
  pipelines:
    traces: {receivers: [otlp], processors: [memory_limiter], exporters: [logging, otlp]}
";

#[test]
fn an_old_configuration_is_shown_as_it_would_be_written_today_and_rewritten_when_asked() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("old.yaml");
    fs::write(&path, OLD).expect("written");
    let fix = |more: &[&str]| {
        let arguments = ["validate", "--fix", "--config"];
        let output = millrace().args(arguments).arg(&path).args(more).output().expect("it runs");
        (output.status.success(), texts(&output))
    };
    // It runs as it is, with warnings.
    let output = millrace().args(["validate", "--config"]).arg(&path).output().expect("it runs");
    let (_, warnings) = texts(&output);
    assert!(output.status.success(), "{warnings}");
    assert!(
        warnings.contains("help: write `verbosity: detailed`") && warnings.contains("old.yaml:6:5"),
        "{warnings}"
    );
    // The patch is shown, and nothing is written.
    let (sound, (patch, remarks)) = fix(&[]);
    assert!(sound && remarks.is_empty(), "{remarks}");
    assert_eq!(fs::read_to_string(&path).expect("readable"), OLD);
    for line in [
        "-    loglevel: debug   # all of it\n",
        "+    verbosity: detailed   # all of it\n",
        "   # to the terminal\n",
    ] {
        assert!(patch.contains(line), "{line}: {patch}");
    }
    // The file is written, and there is nothing to be said any more.
    let (sound, (stdout, remarks)) = fix(&["--write"]);
    assert!(sound && stdout.is_empty() && remarks.is_empty(), "{stdout}{remarks}");
    let new = fs::read_to_string(&path).expect("readable");
    assert!(
        new.contains("exporters: [debug, otlp_grpc]}") && new.contains("    tls:\n      insecure: true\n"),
        "{new}"
    );
    let (sound, said) = fix(&[]);
    assert!(sound && said == (String::new(), String::new()), "{said:?}");
}

#[test]
fn several_sources_are_merged_and_a_mistake_says_which_replaced_what() {
    let folder = tempfile::tempdir().expect("a folder");
    let base = folder.path().join("base.yaml");
    fs::write(&base, "receivers: {otlp: {protocols: {grpc: {endpoint: 'localhost:0'}}}}\nexporters:\n  nop:\nservice:\n  pipelines:\n    traces: {receivers: [otlp], exporters: [nop]}\n").expect("written");
    let over = folder.path().join("over.yaml");
    fs::write(&over, "exporters:\n").expect("written");
    let validate = |more: &[&str]| {
        let output =
            millrace().args(["validate", "--config"]).arg(&base).args(more).output().expect("it runs");
        (output.status.success(), texts(&output).1)
    };
    let over = format!("--config={}", over.display());
    let verbosity = "--set=exporters.debug.verbosity=normal";
    let used = "--set=service.pipelines.traces.exporters=[debug]";
    let (sound, said) = validate(&[&over, verbosity, used, "--config=yaml:exporters::nop: {}"]);
    assert!(sound, "{said}");
    let (sound, said) = validate(&[&over]);
    assert!(!sound && said.contains("this `exporters` was replaced by a later source"), "{said}");
    assert!(said.contains("base.yaml:3:3") && said.contains("over.yaml:1:1"), "{said}");
    let (sound, said) = validate(&["--set=exporters.debug.verbosity=loud"]);
    assert!(!sound && said.contains("--> --set:1:27"), "{said}");
}

/// A backend that takes everything; the heads of what it is sent, in lower case.
fn backend() -> (u16, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    let (heads, seen) = sync_channel(16);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let heads = heads.clone();
            thread::spawn(move || {
                let mut stream = BufReader::new(stream);
                loop {
                    let mut head = String::new();
                    while !head.ends_with("\r\n\r\n") {
                        if stream.read_line(&mut head).unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    let head = head.to_lowercase();
                    let len = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
                    let mut body = vec![0; len.and_then(|len| len.parse().ok()).unwrap_or(0)];
                    let answered = stream.read_exact(&mut body).and_then(|()| {
                        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                    });
                    if answered.is_err() || heads.send(head).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (port, seen)
}

/// A shipped configuration on free ports, in that environment.
fn shipped(name: &str, environment: &[(&str, &str)]) -> Setup {
    let setup = Setup::of(&fs::read_to_string(configs().join(name)).expect("a configuration"));
    let own = setup.metrics.port();
    let arguments = [
        format!("--set=receivers.otlp.protocols.grpc.endpoint={}", setup.grpc),
        format!("--set=receivers.otlp.protocols.http.endpoint={}", setup.http),
        format!("--set=extensions.health_check.endpoint=127.0.0.1:{}", free_port()),
        format!(
            "--set=service.telemetry.metrics.readers=\
             [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {own}}}}}}}}}]"
        ),
    ];
    setup.with(&arguments.each_ref().map(String::as_str)).with_env(environment.iter().copied())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_reaches_the_backend_through_the_gateway_as_its_tenant_and_nobody_else_gets_in() {
    // given: a backend, and in front of it a gateway and an agent with certificates
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = Certificates::in_folder(folder.path());
    certificates.write("token", "s3cret");
    let (backend, seen) = backend();
    let certs = folder.path().to_str().expect("a path in UTF-8");
    let gateway = shipped(
        "gateway-mtls.yaml",
        &[
            ("CERTS", certs),
            ("BACKEND_ENDPOINT", &format!("http://127.0.0.1:{backend}")),
            ("BACKEND_TOKEN_FILE", &format!("{certs}/token")),
        ],
    );
    let gateway = gateway.start().await;
    let entrance = format!("localhost:{}", gateway.setup.grpc.port());
    let agent =
        shipped("node-agent.yaml", &[("CERTS", certs), ("GATEWAY_ENDPOINT", &entrance), ("TENANT", "acme")]);
    let agent = agent.start().await;
    // when: an application sends to the agent
    let reply = http1::post(agent.setup.http, "/v1/logs", http1::PROTOBUF, &requests::logs(3)).await;
    assert_eq!(reply.expect("an answer").status, 200);
    // then: the backend hears whose it is, and is shown the token
    let head = seen.recv_timeout(support::PATIENCE).expect("the backend is sent something");
    assert!(head.starts_with("post /v1/logs ") && head.contains("x-scope-orgid: acme\r\n"), "{head}");
    assert!(head.contains("authorization: bearer s3cret\r\n"), "{head}");
    // Who says nothing of a tenant belongs to nobody, and who has no certificate is not heard.
    let request = http1::request("/v1/traces", http1::PROTOBUF, &requests::traces(1));
    let to = gateway.setup.http;
    let answer = certificates.post(to, &request, true).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let head = seen.recv_timeout(support::PATIENCE).expect("the backend is sent something");
    assert!(head.starts_with("post /v1/traces ") && head.contains("x-scope-orgid: nobody\r\n"), "{head}");
    assert!(certificates.post(to, &request, false).await.is_err());
    for (collector, records) in [(agent, 3), (gateway, 4)] {
        let stopped = collector.stopped_by("TERM").await;
        stopped.assert_clean();
        assert_eq!(stopped.account("delivered"), records, "{}", stopped.log);
    }
}
