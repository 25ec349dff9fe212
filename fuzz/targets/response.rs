//! What destinations answer: anything is read or refused, and what was read survives being written.

#![no_main]

use libfuzzer_sys::fuzz_target;
use millrace_wire::Signal;
use millrace_wire::response::{Encoding, ExportResponse, Status};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use prost::Message;

fuzz_target!(|data: &[u8]| {
    let [signal, body @ ..] = data else { return };
    let signal = Signal::ALL[usize::from(*signal) % Signal::ALL.len()];
    for encoding in [Encoding::Protobuf, Encoding::Json] {
        if let Ok(response) = ExportResponse::decode(signal, encoding, body) {
            for encoding in [Encoding::Protobuf, Encoding::Json] {
                let again = ExportResponse::decode(signal, encoding, &response.encode(signal, encoding));
                assert_eq!(again.as_ref(), Ok(&response), "{encoding:?}");
            }
        }
        if let Ok(status) = Status::decode(encoding, body) {
            for encoding in [Encoding::Protobuf, Encoding::Json] {
                let again = Status::decode(encoding, &status.encode(encoding));
                assert_eq!(again.as_ref(), Ok(&status), "{encoding:?}");
            }
        }
    }
    if let Ok(theirs) = ExportLogsServiceResponse::decode(body) {
        let ours = ExportResponse::decode(signal, Encoding::Protobuf, body).expect("prost reads it");
        let partial = theirs.partial_success.unwrap_or_default();
        assert_eq!((ours.rejected, ours.message), (partial.rejected_log_records, partial.error_message));
    }
});
