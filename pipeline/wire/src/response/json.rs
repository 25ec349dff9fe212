//! Responses in JSON.

use super::{DELAY_MAX, DEPTH, ExportResponse, RETRY_INFO, Status, lossy, name_is_retry_info};
use crate::Signal;
use crate::json::{Fault, Integer, JsonError, Problem, Scanner, integer, put_json_string};
use std::io::Write;
use std::time::Duration;

pub(super) fn put_response(response: &ExportResponse, signal: Signal, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"partialSuccess\":{");
    if response.rejected != 0 {
        // Writing to a vector cannot fail.
        let _ = write!(out, "\"{}\":\"{}\"", rejected_name(signal).0, response.rejected);
    }
    if !response.message.is_empty() {
        out.extend_from_slice(if response.rejected == 0 { b"" } else { b"," });
        out.extend_from_slice(b"\"errorMessage\":");
        put_json_string(out, response.message.as_bytes());
    }
    out.extend_from_slice(b"}}");
}

pub(super) fn response(signal: Signal, body: &[u8]) -> Result<ExportResponse, JsonError> {
    let mut response = ExportResponse::default();
    let (camel, snake) = rejected_name(signal);
    let mut partial = |key: &[u8], json: &mut Json<'_>| {
        match key {
            b"errorMessage" | b"error_message" => response.message = json.text()?,
            _ if key == camel.as_bytes() || key == snake.as_bytes() => response.rejected = json.integer()?,
            _ => json.skip()?,
        }
        Ok(())
    };
    whole(body, |json| {
        json.each_member(&mut |key, json| match key {
            b"partialSuccess" | b"partial_success" => json.each_member(&mut partial),
            _ => json.skip(),
        })
    })?;
    Ok(response)
}

pub(super) fn put_status(status: &Status, out: &mut Vec<u8>) {
    out.push(b'{');
    // Writing to a vector cannot fail.
    if status.code != 0 {
        let _ = write!(out, "\"code\":{},", status.code);
    }
    if !status.message.is_empty() {
        out.extend_from_slice(b"\"message\":");
        put_json_string(out, status.message.as_bytes());
        out.push(b',');
    }
    if let Some(delay) = status.retry_delay {
        let delay = delay.min(DELAY_MAX);
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

pub(super) fn status(text: &[u8]) -> Result<Status, JsonError> {
    let mut status = Status::default();
    whole(text, |json| {
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
    })?;
    Ok(status)
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

    fn integer<T: Integer + Default>(&mut self) -> Result<T, Fault> {
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
    Some(if negative { Duration::ZERO } else { Duration::new(secs, nanos).min(DELAY_MAX) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_the_proto3_mapping_writes_them() {
        assert_eq!(duration("3s"), Some(Duration::from_secs(3)));
        assert_eq!(duration("1.000000001s"), Some(Duration::new(1, 1)));
        assert_eq!(duration("-1.5s"), Some(Duration::ZERO));
        for bad in ["", "1", "s", ".5s", "1.s", "1.0000000001s", "+1s", "1e3s", "99999999999999999999s"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}
