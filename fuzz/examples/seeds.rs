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
    certificates(&out);
    frames(&out);
    answers(&out);
    credentials(&out);
    expositions(&out);
    sources(&out);
    segments(&out);
    records(&out);
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

/// A certificate's outline needs no more than its times; the rest are sections of PEM.
fn certificates(out: &Path) {
    let pem = "text\n-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n\
               -----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIB\n-----END RSA PRIVATE KEY-----\n";
    let inputs: [(u8, &str); 7] = [
        (0, pem),
        (0, "-----BEGIN PRIVATE KEY-----\r\nMIIB\r\n-----END PRIVATE KEY-----"),
        (0, "-----BEGIN EC PRIVATE KEY-----\nMIIB"),
        (1, "0\u{1}\u{2}\u{3}\n1key\n3second\n2list"),
        (2, "240229235959Z\n491231000000Z\n1"),
        (2, "500101000000Z\n20500101000000Z\n"),
        (2, "20240230000000Z\n99991231235960Z\n"),
    ];
    for (nth, (choice, text)) in inputs.into_iter().enumerate() {
        put(out, "certificates", &format!("{nth}"), &[&[choice], text.as_bytes()].concat());
    }
}

fn frames(out: &Path) {
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        [&[0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream], payload].concat()
    };
    let kinds = [
        frame(4, 0, 0, &[]),
        [frame(1, 4, 1, &[7; 5]), frame(0, 0, 1, &[7; 9]), frame(0, 1, 1, &[])].concat(),
        frame(6, 0, 0, &[0; 8]),
        frame(6, 1, 0, &[0; 8]),
        frame(8, 0, 0, &[0, 0, 0, 1]).repeat(20),
        frame(4, 0, 0, &[]).repeat(20),
        [frame(1, 4, 3, &[]), frame(3, 0, 3, &[0; 4]), frame(0, 0, 3, &[])].concat(),
    ];
    for (nth, frames) in kinds.iter().enumerate() {
        for times in [0, 6] {
            put(out, "frames", &format!("{nth}-{times}"), &[&[times, 8 * nth as u8], &frames[..]].concat());
        }
        put(out, "http2", &format!("{nth}"), &[&[8 * nth as u8], &frames[..]].concat());
    }
    // A request whose fields go into the table, one that refers to them, and settings that hold the answers back.
    let block = b"\x83\x86\x44\x02/a\x41\x04test\x5f\x10application/grpc\x40\x02te\x08trailers";
    let conversation = [
        frame(4, 0, 0, &[0, 4, 0, 0, 0, 3]),
        frame(1, 4, 1, block),
        frame(0, 8, 1, &[2, 1, 1, 1, 0, 0]),
        frame(1, 5, 1, &[0, 1, b'x', 1, b'y']),
        frame(1, 0, 3, &[0x83, 0x86]),
        frame(9, 4, 3, &[0xC1, 0xC0, 0xBF, 0xBE]),
        frame(0, 1, 3, &[7; 20]),
        frame(8, 0, 1, &[0, 0, 0, 9]),
        frame(3, 0, 3, &[0, 0, 0, 8]),
        frame(7, 0, 0, &[0; 8]),
    ];
    put(out, "http2", "conversation", &[&[5], &conversation.concat()[..]].concat());
}

fn answers(out: &Path) {
    let inputs: [(u8, &str); 12] = [
        (0, "HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n\u{16}"),
        (0, "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"),
        (0, "HTTP/1.0 200\r\n\r\n"),
        (1, "node=7; Path=/; HttpOnly\nhere=1\nsafe=2; Secure; Path=/\nother=3; Domain=example.org"),
        (5, "wide=4; Domain=.example.com; Path=/v1\ngone=5; Max-Age=0\nwide=5; Max-Age=9; Path=/v1"),
        (1, "late=6; Expires=Thu, 01 Jan 1970 00:00:01 GMT; Path=/"),
        (2, "http://me:s%40cret@proxy.example:3128/\n10.0.0.0/8, .inner.example,*.example"),
        (2, "https://p\n192.0.2.1:4317,[2001:db8::1],fe80::/10"),
        (2, "[::1]:8080\n*"),
        (2, "socks5://p:1\nfar.example:4317"),
        (2, "user@p\n0.0.0.0/0,::/0"),
        (2, "a:b:1\n192.0.2.0/33"),
    ];
    for (nth, (choice, text)) in inputs.into_iter().enumerate() {
        put(out, "answers", &format!("{nth}"), &[&[choice], text.as_bytes()].concat());
    }
}

fn credentials(out: &Path) {
    let inputs = [
        "Basic bWU6c2VjcmV0",
        "alice:one\n\n bob:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\r\nno colon\n:nameless\nco:l:on",
        "a:$2y$10$abcdefghijklmnopqrstuuAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "a:$apr1$salt$xxxxxxxxxxxxxxxxxxxxx.\nb:$1$salt$xxxxxxxxxxxxxxxxxxxxx.",
        "a:$6$rounds=5000$salt$hash\nb:$5$salt$hash\nc:$argon2id$v=19\nd:$none",
        "a:{SSHA}5en6G6MezRroT3XKqkdPOmY/BfRzYWx0",
    ];
    for (nth, text) in inputs.into_iter().enumerate() {
        put(out, "credentials", &format!("{nth}"), text.as_bytes());
    }
}

fn expositions(out: &Path) {
    let accepts = [
        "",
        "text/plain;escaping=allow-utf-8",
        "text/plain;escaping=values",
        "text/plain;escaping=dots",
        "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8,*/*;q=0.1",
        "application/openmetrics-text;version=0.0.1;q=0.75,text/plain;q=0.5",
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
    ];
    for (nth, accept) in accepts.into_iter().enumerate() {
        for (at, help) in ["{requests}", "By/s", "a \\ \"b\"\nc", ""].into_iter().enumerate() {
            let name = ["http.requests_total", "1.größe", "plain"][(nth + at) % 3];
            let number = ["1.5", "inf", "-0", "12345678.5"][at];
            let parts = [accept, name, help, number, "1700000000123", "service.name", "a\"b\\\n", "le", "é"];
            put(out, "exposition", &format!("{nth}-{at}"), parts.join("\u{1}").as_bytes());
        }
    }
}

fn sources(out: &Path) {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipeline/config/tests/legacy");
    for entry in fs::read_dir(tests).expect("a directory of cases") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if name.ends_with(".old.yaml") {
            let text = fs::read_to_string(&path).expect("text");
            let over = "exporters: {debug: {verbosity: basic}}\u{1}=exporters.debug.verbosity=normal";
            put(out, "sources", &name, text.as_bytes());
            put(out, "sources", &format!("{name}-over"), format!("{text}\u{1}{over}").as_bytes());
        }
    }
}

/// Edits of six bytes behind the number of entries and a seed.
fn segments(out: &Path) {
    for what in 0..8_u8 {
        for (nth, at) in [(0_u8, [0, 20]), (1, [16, 40]), (2, [32, 90]), (3, [255, 255])] {
            let edits = [[what, nth, at[0], at[1], 77, nth], [what, 1, at[1], at[0], 1, 4]].concat();
            put(
                out,
                "segments",
                &format!("{what}-{nth}"),
                &[&[9 * nth + 5, what + nth], &edits[..]].concat(),
            );
        }
    }
}

/// The two sections of an entry, behind what it is and how long the first one is.
fn records(out: &Path) {
    let write = |name: &str, what: u8, meta: &[u8], payload: &[u8]| {
        let length = (meta.len() as u16).to_be_bytes();
        put(out, "records", name, &[&[what, length[0], length[1]], meta, payload].concat());
    };
    // One resource with one record: empty in all signals but for what encloses it.
    let request: &[u8] = &[10, 4, 18, 2, 18, 0];
    let piece =
        |metadata: &[u8]| [&[6, 0, 0, 0, 0, 0, 0x40, 0x5a, 0x47, 0x5c, 0xd7, 0x18], metadata].concat();
    let told: &[u8] = &[1, 0, 6, 0, b't', b'e', b'n', b'a', b'n', b't', 1, 0, b'a'];
    for what in 0..3 {
        write(&format!("one-{what}"), what, &[&[1, 0, 1, 0, 0, 0], &piece(&[0, 0])[..]].concat(), request);
        let two = [&[1, 0, 2, 0, 0, 0], &piece(told)[..], &piece(&[0, 0])[..]].concat();
        write(&format!("two-{what}"), what, &two, &[request, request].concat());
        let span = [&[1, 3][..], &[7; 24], &[1, 0, 0, 0], &piece(told)[..]].concat();
        write(&format!("span-{what}"), what, &span, request);
    }
    let text = |text: &str| [&(text.len() as u16).to_le_bytes()[..], text.as_bytes()].concat();
    let texts = ["rejected", "destination", "backend:4317", "not that"].map(text).concat();
    write("dead-letter", 3, &[&[1, 1, 2, 3, 4, 5, 6, 7, 8], &texts[..]].concat(), &[]);
}
