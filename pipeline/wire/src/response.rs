//! What an OTLP server answers: `Export*ServiceResponse` with its partial success, and `google.rpc.Status` with its
//! retry delay, in protobuf and in JSON.
//!
//! Written as the Go collector v0.159 writes them: the partial success is always there, if empty. Its JSON `Status`
//! comes from protojson, which puts blanks in at random; ours has none.
//!
//! The callers bound the length of what is decoded. Text that is not UTF-8 is repaired; unknown fields and details
//! are stepped over.

use crate::Signal;
use crate::cursor::{Cursor, WireError, WireType};
use crate::json::{Fault, JsonError, Problem, Scanner, integer, put_json_string};
use crate::writer::{begin_message, end_message, put_len_field, put_varint_field};
use std::io::Write;
use std::time::Duration;
use thiserror::Error;

/// How a body is written: `application/x-protobuf` or `application/json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Binary protobuf.
    Protobuf,
    /// OTLP/JSON.
    Json,
}

/// Why a response could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ResponseError {
    /// Damaged protobuf.
    #[error("the response is not protobuf: {0}")]
    Protobuf(#[from] WireError),
    /// Damaged JSON.
    #[error("the response is not JSON: {0}")]
    Json(#[from] JsonError),
}

/// The body of a successful export.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExportResponse {
    /// How many spans, data points or log records the server has refused.
    pub rejected: i64,
    /// Why, or a warning where nothing was refused; empty for a full success.
    pub message: String,
}

impl ExportResponse {
    /// The body as bytes.
    #[must_use]
    pub fn encode(&self, signal: Signal, encoding: Encoding) -> Vec<u8> {
        let mut out = Vec::with_capacity(32 + self.message.len());
        match encoding {
            Encoding::Protobuf => {
                let partial = begin_message(&mut out, 1);
                if self.rejected != 0 {
                    put_varint_field(&mut out, 1, self.rejected as u64);
                }
                put_text(&mut out, 2, &self.message);
                end_message(&mut out, partial);
            }
            Encoding::Json => {
                out.extend_from_slice(b"{\"partialSuccess\":{");
                if self.rejected != 0 {
                    // Writing to a vector cannot fail.
                    let _ = write!(out, "\"{}\":\"{}\"", rejected_name(signal).0, self.rejected);
                }
                if !self.message.is_empty() {
                    out.extend_from_slice(if self.rejected == 0 { b"" } else { b"," });
                    out.extend_from_slice(b"\"errorMessage\":");
                    put_json_string(&mut out, self.message.as_bytes());
                }
                out.extend_from_slice(b"}}");
            }
        }
        out
    }

    /// Reads a body. An empty protobuf body is a full success.
    ///
    /// # Errors
    /// [`ResponseError`] when the body is damaged.
    pub fn decode(signal: Signal, encoding: Encoding, body: &[u8]) -> Result<Self, ResponseError> {
        let mut response = Self::default();
        match encoding {
            Encoding::Protobuf => each_field(body, |field, value| match (field, value) {
                (1, Value::Bytes(partial)) => each_field(partial, |field, value| {
                    match (field, value) {
                        (1, Value::Varint(rejected)) => response.rejected = rejected as i64,
                        (2, Value::Bytes(message)) => response.message = lossy(message),
                        _ => {}
                    }
                    Ok(())
                }),
                _ => Ok(()),
            })?,
            Encoding::Json => {
                let (camel, snake) = rejected_name(signal);
                let mut partial = |key: &[u8], json: &mut Json<'_>| {
                    if key == camel.as_bytes() || key == snake.as_bytes() {
                        response.rejected = json.integer()?;
                    } else if key == b"errorMessage" || key == b"error_message" {
                        response.message = json.text()?;
                    } else {
                        json.skip()?;
                    }
                    Ok(())
                };
                whole(body, |json| {
                    json.each_member(&mut |key, json| match key {
                        b"partialSuccess" | b"partial_success" => json.each_member(&mut partial),
                        _ => json.skip(),
                    })
                })?;
            }
        }
        Ok(response)
    }
}

/// Why an export failed: `google.rpc.Status`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// The gRPC status code.
    pub code: i32,
    /// What went wrong, for people.
    pub message: String,
    /// How long to wait before the next attempt (`google.rpc.RetryInfo`). A negative delay is read as none to wait.
    pub retry_delay: Option<Duration>,
}

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

impl Status {
    /// The status as bytes; in protobuf also what `grpc-status-details-bin` carries.
    #[must_use]
    pub fn encode(&self, encoding: Encoding) -> Vec<u8> {
        let mut out = Vec::with_capacity(80 + self.message.len());
        match encoding {
            Encoding::Protobuf => self.put_protobuf(&mut out),
            Encoding::Json => self.put_json(&mut out),
        }
        out
    }

    /// Reads a status.
    ///
    /// # Errors
    /// [`ResponseError`] when the bytes are damaged.
    pub fn decode(encoding: Encoding, bytes: &[u8]) -> Result<Self, ResponseError> {
        let mut status = Self::default();
        match encoding {
            Encoding::Protobuf => each_field(bytes, |field, value| {
                match (field, value) {
                    (1, Value::Varint(code)) => status.code = code as i32,
                    (2, Value::Bytes(message)) => status.message = lossy(message),
                    (3, Value::Bytes(detail)) => {
                        status.retry_delay = retry_delay(detail)?.or(status.retry_delay);
                    }
                    _ => {}
                }
                Ok(())
            })?,
            Encoding::Json => whole(bytes, |json| {
                json.each_member(&mut |key, json| {
                    match key {
                        b"code" => status.code = json.integer()?,
                        b"message" => status.message = json.text()?,
                        b"details" => json.each_element(&mut |json| {
                            status.retry_delay = json.retry_delay()?.or(status.retry_delay);
                            Ok(())
                        })?,
                        _ => json.skip()?,
                    }
                    Ok(())
                })
            })?,
        }
        Ok(status)
    }

    fn put_protobuf(&self, out: &mut Vec<u8>) {
        if self.code != 0 {
            put_varint_field(out, 1, i64::from(self.code) as u64);
        }
        put_text(out, 2, &self.message);
        if let Some(delay) = self.retry_delay {
            let any = begin_message(out, 3);
            put_text(out, 1, RETRY_INFO);
            let info = begin_message(out, 2);
            let duration = begin_message(out, 1);
            if delay.as_secs() != 0 {
                put_varint_field(out, 1, delay.as_secs());
            }
            if delay.subsec_nanos() != 0 {
                put_varint_field(out, 2, u64::from(delay.subsec_nanos()));
            }
            end_message(out, duration);
            end_message(out, info);
            end_message(out, any);
        }
    }

    fn put_json(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        // Writing to a vector cannot fail.
        if self.code != 0 {
            let _ = write!(out, "\"code\":{},", self.code);
        }
        if !self.message.is_empty() {
            out.extend_from_slice(b"\"message\":");
            put_json_string(out, self.message.as_bytes());
            out.push(b',');
        }
        if let Some(delay) = self.retry_delay {
            let (secs, nanos) = (delay.as_secs(), delay.subsec_nanos());
            let _ = write!(out, "\"details\":[{{\"@type\":\"{RETRY_INFO}\",\"retryDelay\":\"{secs}");
            // Three, six or nine digits, as protojson writes them.
            let _ = match nanos {
                0 => Ok(()),
                _ if nanos.is_multiple_of(1_000_000) => write!(out, ".{:03}", nanos / 1_000_000),
                _ if nanos.is_multiple_of(1_000) => write!(out, ".{:06}", nanos / 1_000),
                _ => write!(out, ".{nanos:09}"),
            };
            out.extend_from_slice(b"s\"}],");
        }
        if out.last() == Some(&b',') {
            out.pop();
        }
        out.push(b'}');
    }
}

/// The JSON and proto names of the count of refused items.
fn rejected_name(signal: Signal) -> (&'static str, &'static str) {
    match signal {
        Signal::Traces => ("rejectedSpans", "rejected_spans"),
        Signal::Metrics => ("rejectedDataPoints", "rejected_data_points"),
        Signal::Logs => ("rejectedLogRecords", "rejected_log_records"),
        Signal::Profiles => ("rejectedProfiles", "rejected_profiles"),
    }
}

fn put_text(out: &mut Vec<u8>, field: u32, text: &str) {
    if !text.is_empty() {
        put_len_field(out, field, text.as_bytes());
    }
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// How deep groups and unknown values may be.
const DEPTH: u32 = 32;

/// The payload of a field that a response may have.
enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
}

fn each_field<'a>(
    message: &'a [u8],
    mut each: impl FnMut(u32, Value<'a>) -> Result<(), WireError>,
) -> Result<(), WireError> {
    let mut cursor = Cursor::new(message);
    while !cursor.is_done() {
        let tag = cursor.tag()?;
        match tag.wire {
            WireType::Varint => each(tag.field, Value::Varint(cursor.varint()?))?,
            WireType::Len => each(tag.field, Value::Bytes(cursor.len_prefixed()?))?,
            _ => cursor.skip(tag, DEPTH)?,
        }
    }
    Ok(())
}

/// The delay in a `google.protobuf.Any`, if that is a `RetryInfo` with one.
fn retry_delay(any: &[u8]) -> Result<Option<Duration>, WireError> {
    let (mut is_retry_info, mut info) = (false, &[][..]);
    each_field(any, |field, value| {
        match (field, value) {
            (1, Value::Bytes(name)) => is_retry_info = name_is_retry_info(name),
            (2, Value::Bytes(value)) => info = value,
            _ => {}
        }
        Ok(())
    })?;
    let mut delay = None;
    if is_retry_info {
        each_field(info, |field, value| {
            let (1, Value::Bytes(duration)) = (field, value) else { return Ok(()) };
            let (mut secs, mut nanos) = (0i64, 0i64);
            each_field(duration, |field, value| {
                match (field, value) {
                    (1, Value::Varint(value)) => secs = value as i64,
                    (2, Value::Varint(value)) => nanos = value as i64,
                    _ => {}
                }
                Ok(())
            })?;
            let nanos = nanos.clamp(0, 999_999_999) as u32;
            delay = Some(u64::try_from(secs).map_or(Duration::ZERO, |secs| Duration::new(secs, nanos)));
            Ok(())
        })?;
    }
    Ok(delay)
}

/// Any prefix will do, as `Any` asks.
fn name_is_retry_info(name: &[u8]) -> bool {
    name.rsplit(|&byte| byte == b'/').next() == Some(b"google.rpc.RetryInfo")
}

/// Reads one JSON value, which must be all there is.
fn whole(text: &[u8], read: impl FnOnce(&mut Json<'_>) -> Result<(), Fault>) -> Result<(), JsonError> {
    let mut json = Json { scan: Scanner::new(text), scratch: Vec::new() };
    read(&mut json).and_then(|()| json.scan.end()).map_err(|fault| fault.located(text))
}

/// What is done with a member, given its key and the reader that stands before its value.
type OnMember<'m> = dyn FnMut(&[u8], &mut Json<'_>) -> Result<(), Fault> + 'm;

struct Json<'a> {
    scan: Scanner<'a>,
    scratch: Vec<u8>,
}

impl Json<'_> {
    fn each_member(&mut self, each: &mut OnMember<'_>) -> Result<(), Fault> {
        if self.scan.null()? {
            return Ok(());
        }
        self.scan.open_object()?;
        let mut first = true;
        while let Some(key) = self.scan.key(first)? {
            first = false;
            // No key that is looked for has a reason to be escaped.
            each(key.bytes, self)?;
        }
        Ok(())
    }

    fn each_element(&mut self, each: &mut dyn FnMut(&mut Self) -> Result<(), Fault>) -> Result<(), Fault> {
        if self.scan.null()? {
            return Ok(());
        }
        self.scan.open_list()?;
        let mut first = true;
        while self.scan.element(first)? {
            first = false;
            each(self)?;
        }
        Ok(())
    }

    fn integer<T: crate::json::Integer + Default>(&mut self) -> Result<T, Fault> {
        if self.scan.null()? {
            return Ok(T::default());
        }
        integer(&mut self.scan, &mut self.scratch)
    }

    fn text(&mut self) -> Result<String, Fault> {
        if self.scan.null()? {
            return Ok(String::new());
        }
        let string = self.scan.string()?;
        Ok(lossy(string.resolve(&mut self.scratch)?))
    }

    fn skip(&mut self) -> Result<(), Fault> {
        self.scan.skip(DEPTH)
    }

    /// Reads a detail: its delay, if it is a `RetryInfo` with one.
    fn retry_delay(&mut self) -> Result<Option<Duration>, Fault> {
        let (mut is_retry_info, mut delay) = (false, None);
        self.each_member(&mut |key, json| {
            match key {
                b"@type" => is_retry_info = name_is_retry_info(json.text()?.as_bytes()),
                b"retryDelay" | b"retry_delay" if json.scan.peek()? == b'"' => {
                    let start = json.scan.offset();
                    delay =
                        Some(duration(&json.text()?).ok_or_else(|| Fault::new(start, Problem::BadNumber))?);
                }
                _ => json.skip()?,
            }
            Ok(())
        })?;
        Ok(delay.filter(|_| is_retry_info))
    }
}

/// Reads a duration as the proto3 JSON mapping writes it: `1.500s`.
fn duration(text: &str) -> Option<Duration> {
    let number = text.strip_suffix('s')?;
    let (negative, number) = number.strip_prefix('-').map_or((false, number), |number| (true, number));
    let (secs, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(secs) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let secs = secs.parse::<u64>().ok()?;
    let nanos = fraction.parse::<u32>().ok()? * 10u32.pow(9 - fraction.len() as u32);
    Some(if negative { Duration::ZERO } else { Duration::new(secs, nanos) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_success_is_what_go_writes() {
        let success = ExportResponse::default();
        assert_eq!(success.encode(Signal::Traces, Encoding::Protobuf), [0x0a, 0]);
        assert_eq!(success.encode(Signal::Logs, Encoding::Json), b"{\"partialSuccess\":{}}");
        for body in
            [&b"{}"[..], b"null", b" {\"partialSuccess\":null,\"x\":[{}]} ", b"{\"partialSuccess\":{}}"]
        {
            assert_eq!(ExportResponse::decode(Signal::Traces, Encoding::Json, body), Ok(success.clone()));
        }
        assert_eq!(ExportResponse::decode(Signal::Traces, Encoding::Protobuf, b""), Ok(success));
    }

    #[test]
    fn partial_success_survives_both_encodings() {
        for signal in Signal::ALL {
            for (rejected, message) in
                [(0, "careful"), (3, ""), (i64::MAX, "a \"quoted\"\nline"), (-1, "odd")]
            {
                let response = ExportResponse { rejected, message: message.into() };
                for encoding in [Encoding::Protobuf, Encoding::Json] {
                    let body = response.encode(signal, encoding);
                    assert_eq!(ExportResponse::decode(signal, encoding, &body).as_ref(), Ok(&response));
                }
            }
        }
    }

    #[test]
    fn statuses_survive_both_encodings() {
        let delays =
            [None, Some(Duration::ZERO), Some(Duration::from_millis(1500)), Some(Duration::new(7, 1))];
        for retry_delay in delays {
            for (code, message) in [(0, ""), (14, "try again"), (-3, "\u{1}é")] {
                let status = Status { code, message: message.into(), retry_delay };
                for encoding in [Encoding::Protobuf, Encoding::Json] {
                    assert_eq!(Status::decode(encoding, &status.encode(encoding)).as_ref(), Ok(&status));
                }
            }
        }
    }

    #[test]
    fn json_status_is_written_as_protojson_writes_it() {
        let status =
            Status { code: 14, message: "busy".into(), retry_delay: Some(Duration::from_micros(2_000_250)) };
        let expected = "{\"code\":14,\"message\":\"busy\",\"details\":[{\
            \"@type\":\"type.googleapis.com/google.rpc.RetryInfo\",\"retryDelay\":\"2.000250s\"}]}";
        assert_eq!(String::from_utf8(status.encode(Encoding::Json)).unwrap(), expected);
        assert_eq!(Status::default().encode(Encoding::Json), b"{}");
    }

    #[test]
    fn other_details_are_stepped_over() {
        let text = b"{\"details\":[{\"@type\":\"t/google.rpc.ErrorInfo\",\"reason\":\"R\",\"retryDelay\":\"9s\"},null,\
            {\"retryDelay\":\"0.5s\",\"@type\":\"x/google.rpc.RetryInfo\"}],\"code\":8, \"message\":\"m\"}";
        let expected = Status { code: 8, message: "m".into(), retry_delay: Some(Duration::from_millis(500)) };
        assert_eq!(Status::decode(Encoding::Json, text), Ok(expected));
    }

    #[test]
    fn damage_is_an_error() {
        for bad in
            [&b""[..], b"{", b"[]", b"{\"code\":\"x\"}", b"{\"message\":5}", b"{} x", b"{\"code\":1e3}"]
        {
            assert!(Status::decode(Encoding::Json, bad).is_err(), "{}", lossy(bad));
        }
        for delay in ["", "1", "s", ".5s", "1.s", "1.0000000001s", "+1s", "1e3s", "99999999999999999999s"] {
            assert_eq!(duration(delay), None, "{delay}");
        }
        assert_eq!(
            Status::decode(Encoding::Protobuf, &[0x12, 9, b'x']),
            Err(WireError::LengthOverrun.into())
        );
        assert_eq!(duration("-1.5s"), Some(Duration::ZERO));
    }
}
