//! Writes first inputs for every target from what the tests have: the generator of requests, the goldens, the
//! configurations.

use millrace_engine::Budget;
use millrace_fuzz::Input;
use millrace_fuzz::support::{self, Rng};
use millrace_net::Encoding;
use millrace_net::grpc::{Code, Status};
use millrace_wire::response::{Encoding as Format, ExportResponse, Status as Details};
use millrace_wire::{Policy, Signal, json, schema, validate};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Requests above this size teach a fuzzer nothing that smaller ones do not.
const REQUEST_MAX: usize = 600;

fn main() {
    let out = std::env::args_os().nth(1).map(PathBuf::from).expect("seeds DIRECTORY");
    requests(&out);
    responses(&out);
    configurations(&out);
    bodies(&out);
    statuses(&out);
    texts(&out);
}

fn put(out: &Path, target: &str, name: &str, bytes: &[u8]) {
    let directory = out.join(target);
    fs::create_dir_all(&directory).expect("a directory");
    fs::write(directory.join(name), bytes).expect("written");
}

fn requests(out: &Path) {
    for signal in [Signal::Traces, Signal::Metrics, Signal::Logs] {
        let table = schema::request(signal).expect("not profiles");
        for seed in 0..150 {
            let mut rng = Rng::new(seed);
            let plain = support::request_bytes(signal, &mut rng);
            let forms = [
                ("plain", plain.clone()),
                ("shuffled", support::shuffled(table, &plain, &mut rng)),
                ("odd", support::odd(table, &plain, &mut rng)),
            ];
            for (form, request) in forms.iter().filter(|(_, request)| request.len() <= REQUEST_MAX) {
                let input = Input { signal, choice: seed as u8, request }.bytes();
                for target in ["validate", "views", "edit", "split_merge"] {
                    put(out, target, &format!("{form}-{signal}-{seed}"), &input);
                }
            }
            let payload =
                validate(signal, plain.into(), &Policy::default()).expect("prost writes OTLP").payload;
            let mut text = Vec::new();
            json::to_json(&payload, &mut text).expect("a payload can be written");
            if text.len() <= 2 * REQUEST_MAX {
                let input = Input { signal, choice: seed as u8, request: &text }.bytes();
                put(out, "json", &format!("{signal}-{seed}"), &input);
            }
        }
    }
}

fn responses(out: &Path) {
    let delays = [None, Some(Duration::ZERO), Some(Duration::from_micros(1_500_001)), Some(Duration::MAX)];
    for (at, signal) in Signal::ALL.into_iter().enumerate() {
        for (form, encoding) in [("protobuf", Format::Protobuf), ("json", Format::Json)] {
            let response = ExportResponse { rejected: 3 << (at * 8), message: "too \"old\"\n".into() };
            let body = [&[at as u8], &response.encode(signal, encoding)[..]].concat();
            put(out, "response", &format!("partial-{form}-{signal}"), &body);
            let status = Details { code: 14 - at as i32, message: "é %".into(), retry_delay: delays[at] };
            let body = [&[at as u8], &status.encode(encoding)[..]].concat();
            put(out, "response", &format!("status-{form}-{at}"), &body);
        }
    }
}

fn configurations(out: &Path) {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipeline/config/tests");
    for directory in ["go_verdicts", "diagnostics"] {
        for entry in fs::read_dir(tests.join(directory)).expect("a directory of cases") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                let text = fs::read_to_string(&path).expect("text");
                let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
                put(out, "config", &format!("{directory}-{name}"), format!("{text}\u{1}a: [1]").as_bytes());
            }
        }
    }
}

fn bodies(out: &Path) {
    let texts: [&[u8]; 3] = [b"", b"one fish two fish red fish blue fish", &[0; 5000]];
    let encodings = [
        Encoding::None,
        Encoding::Gzip,
        Encoding::Zstd,
        Encoding::Zlib,
        Encoding::Snappy,
        Encoding::SnappyFramed,
        Encoding::Lz4,
    ];
    for (at, encoding) in encodings.into_iter().enumerate() {
        for (nth, text) in texts.into_iter().enumerate() {
            let body = encoding.compress(text.chunks(7), text.len()).expect("compresses");
            assert!(encoding.inflate(&body, text.len(), &Budget::new(1 << 20)).is_ok());
            for limits in [20, 12, 128 + 4] {
                let input = [&[at as u8, limits], &body[..]].concat();
                if input.len() <= REQUEST_MAX {
                    put(out, "inflate", &format!("{encoding:?}-{nth}-{limits}"), &input);
                }
            }
        }
    }
}

fn statuses(out: &Path) {
    let messages = ["", "plain", "voll, später: 100%\n", "%41%zz%"];
    for (nth, message) in messages.into_iter().enumerate() {
        for (delay, retry_delay) in [None, Some(Duration::from_millis(1500))].into_iter().enumerate() {
            let status = Status { code: Code::Unavailable, message: message.into(), retry_delay };
            let trailers = status.to_trailers();
            let value = |name| trailers.get(name).map_or(&b""[..], |value| value.as_bytes());
            let input =
                [value("grpc-status"), value("grpc-message"), value("grpc-status-details-bin")].join(&b'\n');
            put(out, "grpc_status", &format!("{nth}-{delay}"), &input);
        }
    }
}

fn texts(out: &Path) {
    let texts = [
        "1h2m3.5s",
        "-5ms",
        "0",
        "otlp/internal",
        "traces/2",
        "metrics",
        "http://localhost:4318/otlp/",
        "dns:///collector:4317",
        "[::1]:4317",
        "0.0.0.0:0",
        "gzip",
        "deflate",
        "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
        "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=values",
        "Wed, 21 Oct 2026 07:28:00 GMT",
    ];
    for (nth, text) in texts.into_iter().enumerate() {
        put(out, "texts", &format!("{nth}"), text.as_bytes());
    }
}
