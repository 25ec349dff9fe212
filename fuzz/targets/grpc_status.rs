//! How a call ended, from a server's trailers: percent-encoding, base64 and the details in it.

#![no_main]

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use millrace_net::grpc::{Code, Status};

/// No message shorter than this is cut.
const MESSAGE_MIN: usize = 1000;

fuzz_target!(|data: &[u8]| {
    let mut parts = data.split(|&byte| byte == b'\n');
    let mut trailers = HeaderMap::new();
    for name in ["grpc-status", "grpc-message", "grpc-status-details-bin"] {
        if let Some(Ok(value)) = parts.next().map(HeaderValue::from_bytes) {
            trailers.insert(name, value);
        }
    }
    if let Some(status) = Status::from_trailers(&trailers) {
        survives(&status);
    }
    survives(&Status::new(Code::Unavailable, String::from_utf8_lossy(data).into_owned()));
});

fn survives(status: &Status) {
    let again = Status::from_trailers(&status.to_trailers()).expect("a status has a number");
    assert_eq!(again.code, status.code);
    // Long ones are cut, so that they fit into a header.
    assert!(again.message == status.message || status.message.len() > MESSAGE_MIN);
    assert!(status.message.starts_with(&*again.message), "{:?} of {:?}", again.message, status.message);
    assert_eq!(again.retry_delay, status.retry_delay);
    assert!(!status.to_string().is_empty());
}
