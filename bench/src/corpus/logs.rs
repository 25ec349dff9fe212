//! Log records of about 320 bytes.

use super::text::{
    self, EPOCH_NS, ROUTES, Random, SENTENCES, identity_attribute, int_attribute, string_attribute,
};
use millrace_wire::writer::{
    begin_message, end_message, put_fixed32_field, put_fixed64_field, put_len_field, put_varint_field,
};

const SEVERITIES: &[(u64, &str)] = &[(9, "INFO"), (9, "INFO"), (5, "DEBUG"), (13, "WARN"), (17, "ERROR")];

/// Appends an `ExportLogsServiceRequest`.
pub(super) fn request(out: &mut Vec<u8>, items: usize, random: &mut Random) {
    let resource_logs = begin_message(out, 1);
    text::resource(out, random);
    for (scope, count) in text::halves(items).into_iter().enumerate().filter(|(_, count)| *count > 0) {
        let scope_logs = begin_message(out, 2);
        text::scope(out, scope);
        for _ in 0..count {
            record(out, random);
        }
        end_message(out, scope_logs);
    }
    end_message(out, resource_logs);
}

fn record(out: &mut Vec<u8>, random: &mut Random) {
    let time = EPOCH_NS + random.below(3_600_000_000_000);
    let (number, text) = random.pick(SEVERITIES);
    let record = begin_message(out, 2);
    put_fixed64_field(out, 1, time);
    put_varint_field(out, 2, number);
    put_len_field(out, 3, text.as_bytes());
    let body = begin_message(out, 5);
    let sentence = format!("{} (order {})", random.pick(SENTENCES), random.below(10_000_000));
    put_len_field(out, 1, sentence.as_bytes());
    end_message(out, body);
    identity_attribute(out, 6);
    string_attribute(out, 6, "http.route", random.pick(ROUTES));
    string_attribute(out, 6, "thread.name", &format!("worker-{}", random.below(64)));
    string_attribute(out, 6, "log.iostream", "stdout");
    int_attribute(out, 6, "code.line.number", random.below(900));
    string_attribute(out, 6, "request.id", &random.hex());
    put_fixed32_field(out, 8, 1);
    put_len_field(out, 9, &[random.next().to_be_bytes(), random.next().to_be_bytes()].concat());
    put_len_field(out, 10, &random.next().to_be_bytes());
    put_fixed64_field(out, 11, time + 1_000_000);
    end_message(out, record);
}
