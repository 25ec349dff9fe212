//! The detectors in surroundings of the tests' own, and the processor as a whole.

mod attempts;
mod clouds;

use super::detection::Detection;
use super::{Attribute, Attributes, Config, FACTORY, ResourceDetection, Stamp, Surroundings, detectors};
use millrace_config::{Diagnostics, parse_str};
use millrace_engine::component::{Context, Shared};
use millrace_engine::{Batch, Charge, Health, Origin, Piece, Transform};
use millrace_telemetry::metrics::{Level, Registry};
use millrace_wire::json::{Options, from_json, to_json};
use millrace_wire::{Signal, edit};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, UnixListener};

fn context() -> Context {
    let shared = Shared::new(Registry::new(Level::Detailed), &Health::starting(), 64 << 20, 64 << 20, "test");
    Context { shared, kind: "processor", id: "resource_detection".parse().expect("an id"), pipeline: None }
}

fn config(yaml: &str) -> Result<Config, String> {
    let parsed = parse_str("test.yaml", yaml, &|_| None);
    let mut diags = Diagnostics::new();
    let node = parsed.node.expect("the test's YAML is in form");
    let config = millrace_config::decode::<Config>(&node, "processors::resource_detection", &mut diags);
    config.ok_or_else(|| diags.render(&parsed.sources))
}

/// Nothing is in it but these variables.
fn variables(pairs: &[(&str, &str)]) -> Surroundings {
    at(Path::new("/nonexistent"), pairs)
}

fn at(root: &Path, pairs: &[(&str, &str)]) -> Surroundings {
    let pairs: BTreeMap<String, String> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Surroundings::at(root, move |name| pairs.get(name).cloned())
}

async fn detect(yaml: &str, surroundings: Surroundings) -> Result<Attributes, String> {
    let config = config(yaml).unwrap_or_else(|problems| panic!("{problems}"));
    Detection::new(&config, &context(), surroundings).run().await
}

fn texts(attributes: &Attributes) -> Vec<String> {
    let text = |value: &Attribute| match value {
        Attribute::Text(text) => text.clone(),
        Attribute::Int(number) => number.to_string(),
        Attribute::List(texts) => texts.join("|"),
    };
    attributes.iter().map(|(name, value)| format!("{name}={}", text(value))).collect()
}

/// Answers requests by their first line, and keeps the whole of each.
struct Service {
    origin: String,
    asked: Arc<Mutex<Vec<String>>>,
}

const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";

fn answer(answers: &[(&str, &str)], request: &str) -> String {
    let line = request.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1");
    match answers.iter().find(|(asked, _)| *asked == line) {
        Some((_, body)) => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
        None => NOT_FOUND.to_owned(),
    }
}

impl Service {
    async fn start(answers: &'static [(&'static str, &'static str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let origin = format!("http://{}", listener.local_addr().expect("it listens"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let kept = Arc::clone(&kept);
                tokio::spawn(async move {
                    let mut request = vec![0; 4096];
                    let read = stream.read(&mut request).await.unwrap_or_default();
                    let request = String::from_utf8_lossy(&request[..read]).into_owned();
                    let answer = answer(answers, &request);
                    kept.lock().expect("not poisoned").push(request);
                    let _ = stream.write_all(answer.as_bytes()).await;
                });
            }
        });
        Self { origin, asked }
    }
}

#[tokio::test]
async fn the_environment_is_read_as_in_go() {
    let read = |text: &str| detectors::env::parse(text).map(|found| texts(&found));
    for (text, expected) in [
        ("a=1", vec!["a=1"]),
        (" service.name = shop , b=x%20y+z, ", vec!["service.name=shop", "b=x y z"]),
        ("a=", vec!["a="]),
        ("a=1,a=2", vec!["a=2"]),
        ("a=b=c", vec!["a=b=c"]),
        ("a,b=c", vec!["a,b=c"]),
    ] {
        let text = text.trim();
        let text = text.strip_suffix(',').unwrap_or(text);
        assert_eq!(read(text).expect(text), expected, "{text}");
    }
    for wrong in ["a", "a=1,b", "=1", "a=%zz", "a=%4", "ü=1", "a=ü"] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
    let old = detect("{}", variables(&[("OTEL_RESOURCE", "a=old")])).await.expect("read");
    assert_eq!(texts(&old), ["a=old"]);
    let error = detect("{retry: {enabled: false}}", variables(&[("OTEL_RESOURCE_ATTRIBUTES", "a")])).await;
    assert!(error.expect_err("wrong").contains("detector `env`: OTEL_RESOURCE_ATTRIBUTES has `a`"));
}

#[tokio::test]
async fn the_system_is_described_by_its_files() {
    let root = tempfile::tempdir().expect("a folder");
    for (path, text) in [
        ("proc/sys/kernel/hostname", "box\n"),
        ("proc/sys/kernel/ostype", "Linux\n"),
        ("proc/sys/kernel/osrelease", "6.1.0\n"),
        ("proc/sys/kernel/version", "#1 SMP\n"),
        (
            "proc/cpuinfo",
            "processor : 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD X\nstepping\t: 1\ncache size\t: 512 KB\n\nprocessor : 1\nvendor_id : Other\n",
        ),
        (
            "proc/net/fib_trie",
            "  |-- 10.1.2.3\n     /32 host LOCAL\n  |-- 127.0.0.1\n     /32 host LOCAL\n  |-- 10.1.2.3\n     /32 host LOCAL\n",
        ),
        (
            "proc/net/if_inet6",
            "00000000000000000000000000000001 01 80 10 80       lo\nfe800000000000000000000000000001 02 40 20 80     eth0\n",
        ),
        ("etc/hosts", "127.0.1.1 box.example.com box\n"),
        ("etc/machine-id", "0123456789abcdef\n"),
        (
            "etc/os-release",
            "ID=debian\nNAME=\"Debian GNU/Linux\"\nVERSION=\"12 (bookworm)\"\nVERSION_ID=\"12\"\n",
        ),
        ("etc/debian_version", "12.9\n"),
        ("sys/class/net/lo/ifindex", "1\n"),
        ("sys/class/net/lo/flags", "0x9\n"),
        ("sys/class/net/lo/address", "00:00:00:00:00:00\n"),
        ("sys/class/net/eth0/ifindex", "2\n"),
        ("sys/class/net/eth0/flags", "0x1003\n"),
        ("sys/class/net/eth0/address", "02:42:ac:11:00:0a\n"),
        ("sys/class/net/down0/ifindex", "3\n"),
        ("sys/class/net/down0/flags", "0x1002\n"),
        ("sys/class/net/down0/address", "02:42:ac:11:00:0b\n"),
    ] {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }
    let all: Vec<String> =
        detectors::system::ATTRIBUTES.iter().map(|(name, _)| format!("{name}: {{enabled: true}}")).collect();
    let yaml = format!("{{detectors: [system], system: {{resource_attributes: {{{}}}}}}}", all.join(", "));
    let found = detect(&yaml, at(root.path(), &[])).await.expect("it is there");
    let arch = std::env::consts::ARCH;
    let go_arch = if arch == "x86_64" { "amd64" } else { "arm64" };
    assert_eq!(
        texts(&found),
        [
            "host.name=box.example.com".to_owned(),
            format!("os.type={}", std::env::consts::OS),
            format!("host.arch={go_arch}"),
            "host.id=0123456789abcdef".to_owned(),
            format!("os.description=Debian GNU/Linux 12 (bookworm) (Linux box 6.1.0 #1 SMP {arch})"),
            "os.name=debian".to_owned(),
            "os.version=12.9".to_owned(),
            "os.build.id=6.1.0".to_owned(),
            "host.mac=02-42-AC-11-00-0A".to_owned(),
            "host.interface=lo|eth0|down0".to_owned(),
            "host.ip=10.1.2.3|fe80::1".to_owned(),
            "host.cpu.vendor.id=AuthenticAMD".to_owned(),
            "host.cpu.family=25".to_owned(),
            "host.cpu.model.id=1".to_owned(),
            "host.cpu.model.name=AMD X".to_owned(),
            "host.cpu.stepping=1".to_owned(),
            "host.cpu.cache.l2.size=512".to_owned(),
        ]
    );
    let by_default =
        detect("{detectors: [system], system: {hostname_sources: [os]}}", at(root.path(), &[])).await;
    assert_eq!(texts(&by_default.expect("it is there"))[..1], ["host.name=box"]);
}

#[tokio::test]
async fn what_is_named_first_wins() {
    let root = tempfile::tempdir().expect("a folder");
    std::fs::create_dir_all(root.path().join("proc/sys/kernel")).expect("made");
    std::fs::write(root.path().join("proc/sys/kernel/hostname"), "box").expect("written");
    let surroundings = || at(root.path(), &[("OTEL_RESOURCE_ATTRIBUTES", "host.name=mine,os.type=x")]);
    let first = detect("{detectors: [env, system]}", surroundings()).await.expect("found");
    assert_eq!(texts(&first), ["host.name=mine", "os.type=x"]);
    let second = detect("{detectors: [' system', env]}", surroundings()).await.expect("found");
    assert_eq!(texts(&second)[0], "host.name=box");
}

#[tokio::test]
async fn amazon_s_machines_are_asked_with_a_token() {
    let service = Service::start(&[
        ("PUT /latest/api/token", "T0KEN"),
        ("GET /latest/meta-data/instance-id", "i-1"),
        ("GET /latest/meta-data/hostname", "ip-10-0-0-1.ec2.internal"),
        ("GET /latest/dynamic/instance-identity/document",
         r#"{"region":"us-east-1","accountId":"12","availabilityZone":"us-east-1a","instanceId":"i-1","imageId":"ami","instanceType":"m5"}"#),
    ]).await;
    let yaml = format!(
        "{{detectors: [ec2], ec2: {{endpoint: '{}', resource_attributes: {{host.image.id: {{enabled: false}}}}}}}}",
        service.origin
    );
    let found = detect(&yaml, variables(&[])).await.expect("it answers");
    assert_eq!(
        texts(&found),
        [
            "cloud.provider=aws",
            "cloud.platform=aws_ec2",
            "cloud.region=us-east-1",
            "cloud.account.id=12",
            "cloud.availability_zone=us-east-1a",
            "host.id=i-1",
            "host.type=m5",
            "host.name=ip-10-0-0-1.ec2.internal"
        ]
    );
    let asked = service.asked.lock().expect("not poisoned");
    assert!(asked[0].contains("x-aws-ec2-metadata-token-ttl-seconds: 60\r\n"), "{asked:?}");
    assert!(
        asked[1..].iter().all(|request| request.contains("x-aws-ec2-metadata-token: T0KEN\r\n")),
        "{asked:?}"
    );
}

#[tokio::test]
async fn microsoft_s_machines_say_what_they_are() {
    let service = Service::start(&[(
        "GET /metadata/instance/compute?api-version=2020-09-01&format=json",
        r#"{"location":"westeurope","name":"vm","vmId":"id","vmSize":"D2","subscriptionId":"sub","resourceGroupName":"rg","zone":"1","osProfile":{"computerName":"pc"}}"#,
    )])
    .await;
    let yaml = format!("{{detectors: [azure], azure: {{endpoint: '{}'}}}}", service.origin);
    assert_eq!(
        texts(&detect(&yaml, variables(&[])).await.expect("it answers")),
        [
            "cloud.provider=azure",
            "cloud.platform=azure.vm",
            "host.name=pc",
            "cloud.region=westeurope",
            "host.id=id",
            "cloud.account.id=sub",
            "azure.vm.name=vm",
            "azure.vm.size=D2",
            "azure.resourcegroup.name=rg"
        ]
    );
    assert!(service.asked.lock().expect("not poisoned")[0].contains("metadata: true\r\n"));
}

#[tokio::test]
async fn google_s_machines_and_clusters_say_what_they_are() {
    let service = Service::start(&[
        ("GET /computeMetadata/v1/project/project-id", "proj"),
        ("GET /computeMetadata/v1/instance/zone", "projects/1/zones/us-central1-a"),
        ("GET /computeMetadata/v1/instance/machine-type", "projects/1/machineTypes/n1"),
        ("GET /computeMetadata/v1/instance/id", "77"),
        ("GET /computeMetadata/v1/instance/name", "gke-node"),
        (
            "GET /computeMetadata/v1/instance/attributes/created-by",
            "projects/1/zones/us-central1-a/instanceGroupManagers/mig",
        ),
        ("GET /computeMetadata/v1/instance/attributes/cluster-location", "us-central1"),
        ("GET /computeMetadata/v1/instance/attributes/cluster-name", "c1"),
    ])
    .await;
    let yaml = format!("{{detectors: [gcp], gcp: {{endpoint: '{}'}}}}", service.origin);
    assert_eq!(
        texts(&detect(&yaml, variables(&[])).await.expect("it answers")),
        [
            "cloud.provider=gcp",
            "cloud.account.id=proj",
            "cloud.platform=gcp_compute_engine",
            "cloud.region=us-central1",
            "cloud.availability_zone=us-central1-a",
            "host.type=n1",
            "host.id=77",
            "host.name=gke-node",
            "gcp.gce.instance_group_manager.name=mig",
            "gcp.gce.instance_group_manager.zone=us-central1-a"
        ]
    );
    assert_eq!(
        texts(
            &detect(&yaml, variables(&[("KUBERNETES_SERVICE_HOST", "10.0.0.1")])).await.expect("it answers")
        ),
        [
            "cloud.provider=gcp",
            "cloud.account.id=proj",
            "cloud.platform=gcp_kubernetes_engine",
            "cloud.region=us-central1",
            "k8s.cluster.name=c1",
            "host.id=77",
            "host.name=gke-node"
        ]
    );
    let elsewhere =
        format!("{{detectors: [gcp], gcp: {{endpoint: '{}'}}, retry: {{enabled: false}}}}", service.origin);
    let error = detect(&elsewhere, variables(&[("K_SERVICE", "x")])).await.expect_err("not supported");
    assert!(error.contains("Cloud Run"), "{error}");
}

#[tokio::test]
async fn the_docker_daemon_is_asked_through_its_socket() {
    let root = tempfile::tempdir().expect("a folder");
    std::fs::create_dir_all(root.path().join("proc/sys/kernel")).expect("made");
    std::fs::write(root.path().join("proc/sys/kernel/hostname"), "4f2a\n").expect("written");
    let socket = root.path().join("d.sock");
    let listener = UnixListener::bind(&socket).expect("a socket");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap_or_default();
            let answers = [
                ("GET /info", r#"{"Name":"node","OSType":"linux"}"#),
                ("GET /containers/4f2a/json", r#"{"Name":"/shop","Image":"sha256:1"}"#),
            ];
            let answer = answer(&answers, &String::from_utf8_lossy(&request[..read]));
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let origin = format!("unix://{}", socket.display());
    let surroundings = at(root.path(), &[("DOCKER_HOST", &origin)]);
    let yaml = "{detectors: [docker], docker: {resource_attributes: {container.name: {enabled: true}}}}";
    let found = detect(yaml, surroundings).await.expect("it answers");
    assert_eq!(texts(&found), ["os.type=linux", "host.name=node", "container.name=/shop"]);
}

#[tokio::test]
async fn functions_dynos_and_pods_are_known_by_their_environment() {
    let lambda = [("AWS_LAMBDA_FUNCTION_NAME", "f"), ("AWS_REGION", "r"), ("AWS_LAMBDA_LOG_GROUP_NAME", "g")];
    assert_eq!(
        texts(&detect("{detectors: [lambda]}", variables(&lambda)).await.expect("found")),
        [
            "cloud.provider=aws",
            "cloud.platform=aws_lambda",
            "faas.name=f",
            "cloud.region=r",
            "aws.log.group.names=g"
        ]
    );
    let heroku = [("HEROKU_APP_ID", "id"), ("HEROKU_APP_NAME", "n"), ("HEROKU_DYNO_ID", "d")];
    assert_eq!(
        texts(&detect("{detectors: [heroku]}", variables(&heroku)).await.expect("found")),
        ["cloud.provider=heroku", "service.instance.id=d", "heroku.app.id=id", "service.name=n"]
    );
    let pod = [("K8S_POD_NAME", "p"), ("K8S_NODE_NAME", "n"), ("NODE", "other")];
    assert_eq!(
        texts(&detect("{detectors: [downward_api]}", variables(&pod)).await.expect("found")),
        ["k8s.node.name=n", "k8s.pod.name=p"]
    );
    let node = "{detectors: [k8snode], k8snode: {node_from_env_var: NODE, auth_type: serviceAccount}}";
    assert_eq!(texts(&detect(node, variables(&pod)).await.expect("found")), ["k8s.node.name=other"]);
    let missing = detect("{detectors: [k8snode], retry: {enabled: false}}", variables(&[])).await;
    assert!(missing.expect_err("missing").contains("K8S_NODE_NAME is not set"));
}

#[tokio::test]
async fn a_service_that_is_not_there_is_an_error_only_if_it_is_to_be() {
    // Bound, so that nobody else is given the port, and not listening.
    let held = TcpSocket::new_v4().expect("a socket");
    held.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let nobody = held.local_addr().expect("bound");
    for detector in ["ec2", "gcp", "azure", "docker"] {
        let yaml = format!(
            "detectors: [{detector}], {detector}: {{endpoint: 'http://{nobody}'}}, retry: {{enabled: false}}"
        );
        assert!(
            detect(&format!("{{{yaml}}}"), variables(&[])).await.expect("elsewhere").is_empty(),
            "{detector}"
        );
        let strict = format!("{{{yaml}, fail_on_missing_metadata: true}}");
        let error = detect(&strict, variables(&[])).await.expect_err("it is to be");
        assert!(error.contains(detector) && error.contains("does not answer"), "{error}");
    }
}

#[test]
fn pipelines_share_what_was_found_by_one_and_the_same_configuration() {
    let context = context();
    let detected = |yaml: &str| {
        super::detected(&config(yaml).expect("it is right"), &context).expect("nothing is asked")
    };
    let one = detected("{detectors: [downward_api], consul: {token: a}}");
    let same = detected("{detectors: [downward_api], consul: {token: a}}");
    let other = detected("{detectors: [downward_api], consul: {token: b}}");
    assert!(Arc::ptr_eq(&one, &same));
    assert!(!Arc::ptr_eq(&one, &other), "they differ in what is not shown");
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let yaml = format!(
        "{{detectors: [azure], azure: {{endpoint: 'http://{}'}}, timeout: 50ms}}",
        silent.local_addr().expect("it listens")
    );
    let error = detect(&yaml, variables(&[])).await.expect_err("nobody answers");
    assert!(error.contains("no answer within 50ms"), "{error}");
}

fn stamped(attributes: &Attributes, override_existing: bool, json: &str) -> String {
    let payload = from_json(Signal::Logs, json.as_bytes(), &Options::default()).expect("in form").payload;
    let mut stamp = Stamp { attributes, override_existing };
    let edited = edit::rewrite(&payload, &mut stamp).payload;
    let mut json = Vec::new();
    to_json(&edited, &mut json).expect("it can be JSON");
    String::from_utf8(json).expect("JSON is UTF-8")
}

#[test]
fn what_was_found_goes_onto_every_resource_and_over_what_is_there_if_wanted() {
    let mut attributes = Attributes::default();
    attributes.set("host.name", "found");
    attributes.set("host.ip", Attribute::List(vec!["10.0.0.1".to_owned()]));
    let json = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"host.name","value":{"stringValue":"sent"}}]},"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"}}]}]},{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"y"}}]}]}]}"#;
    let over = stamped(&attributes, true, json);
    assert_eq!(over.matches(r#""stringValue":"found""#).count(), 2, "{over}");
    assert!(!over.contains("sent") && over.matches("10.0.0.1").count() == 2, "{over}");
    let beside = stamped(&attributes, false, json);
    assert_eq!((beside.matches("sent").count(), beside.matches("found").count()), (1, 1), "{beside}");
}

#[test]
fn what_is_stamped_keeps_its_items() {
    let mut attributes = Attributes::default();
    attributes.set("a", "1");
    let processor = ResourceDetection { detected: super::Detected::new(attributes), override_existing: true };
    let json = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{},{}]}]}]}"#;
    let payload = from_json(Signal::Logs, json.as_bytes(), &Options::default()).expect("in form").payload;
    let before = payload.len();
    let piece = Piece { payload, origin: Origin::local(), charge: Charge::none() };
    let batch = processor.apply(Batch::of(piece)).expect("nothing fails").expect("something is left");
    assert_eq!(batch.cost().items, 2);
    assert!(batch.pieces()[0].payload.len() > before);
}

#[test]
fn what_is_wrong_in_a_configuration_is_said() {
    for (yaml, expected) in [
        ("{detectors: [eks]}", "the detector `eks` is not supported yet"),
        ("{detectors: [sytem]}", "`sytem` is not a detector"),
        ("{eks: {}}", "not supported yet"),
        ("{system: {hostname_sources: [lookup]}}", "`lookup` is not supported yet"),
        ("{system: {hostname_sources: [x]}}", "`x` is not a source"),
        ("{system: {resource_attributes: {host.nmae: {enabled: true}}}}", "`host.nmae` is not an attribute"),
        ("{ec2: {endpoint: 'https://a'}}", "is not an address"),
        ("{timeout: 0}", "it could go on for ever"),
        ("{attributes: [host.name]}", "unknown key `attributes`"),
    ] {
        let problems = config(yaml).expect_err(yaml);
        assert!(problems.contains(expected), "{yaml}: {problems}");
    }
    assert_eq!(FACTORY.aliases, ["resourcedetection"]);
    config("{detectors: [env, system], override: false, refresh_interval: 5m}").expect("it is right");
}
