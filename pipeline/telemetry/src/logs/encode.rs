//! Lines: the `console` and `json` encodings, as zap writes them.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::time::{SystemTime, UNIX_EPOCH};

use millrace_formats::calendar::date;
use tracing::Level;
use tracing::field::{Field, Visit};

use crate::config::Encoding;
use crate::metrics::Labels;

/// Texts longer than this, in bytes, are cut: a line must not fill the buffer.
const MAX_TEXT: usize = 16 * 1024;

/// What stands before the fields of a line.
pub(super) struct Head<'a> {
    pub(super) time: SystemTime,
    pub(super) level: Level,
    pub(super) file: Option<&'a str>,
    pub(super) line: Option<u32>,
    pub(super) message: &'a str,
}

impl Encoding {
    /// Appends one line. `fields` are runs of encoded fields, see [`Fields`]; empty ones are skipped.
    pub(super) fn line<'a>(
        self,
        out: &mut String,
        head: &Head<'_>,
        fields: impl IntoIterator<Item = &'a str>,
    ) {
        let fields = fields.into_iter().filter(|run| !run.is_empty());
        match self {
            Self::Console => {
                timestamp(out, head.time);
                out.push('\t');
                out.push_str(level(head.level));
                out.push('\t');
                if let (Some(file), Some(line)) = (head.file, head.line) {
                    caller(out, file, line);
                    out.push('\t');
                }
                message(out, head.message);
                let mut opening = "\t{";
                for run in fields {
                    out.push_str(opening);
                    out.push_str(run);
                    opening = ", ";
                }
                if opening == ", " {
                    out.push('}');
                }
                out.push('\n');
            }
            Self::Json => {
                out.push_str("{\"level\":\"");
                out.push_str(level(head.level));
                out.push_str("\",\"ts\":\"");
                timestamp(out, head.time);
                if let (Some(file), Some(line)) = (head.file, head.line) {
                    out.push_str("\",\"caller\":\"");
                    caller(out, file, line);
                }
                out.push_str("\",\"msg\":");
                text(out, head.message);
                for run in fields {
                    out.push(',');
                    out.push_str(run);
                }
                out.push_str("}\n");
            }
        }
    }

    const fn between_fields(self) -> &'static str {
        match self {
            Self::Console => ", ",
            Self::Json => ",",
        }
    }

    const fn after_name(self) -> &'static str {
        match self {
            Self::Console => ": ",
            Self::Json => ":",
        }
    }
}

/// A run of encoded fields without braces, and the message, which is no field of its own.
pub(super) struct Fields {
    encoding: Encoding,
    pub(super) out: String,
    pub(super) message: String,
}

impl Fields {
    pub(super) fn new(encoding: Encoding) -> Self {
        Self { encoding, out: String::new(), message: String::new() }
    }

    pub(super) fn after(encoding: Encoding, fields: String) -> Self {
        Self { encoding, out: fields, message: String::new() }
    }

    pub(super) fn json(&mut self, name: &str, value: &serde_json::Value) {
        self.name(name);
        match value {
            serde_json::Value::String(value) => text(&mut self.out, value),
            value => write_to(&mut self.out, value),
        }
    }

    pub(super) fn resource(&mut self, resource: &Labels) {
        if resource.is_empty() {
            return;
        }
        self.name("resource");
        self.out.push('{');
        for (at, (name, value)) in resource.iter().enumerate() {
            if at > 0 {
                self.out.push_str(self.encoding.between_fields());
            }
            text(&mut self.out, name);
            self.out.push_str(self.encoding.after_name());
            text(&mut self.out, value);
        }
        self.out.push('}');
    }

    fn name(&mut self, name: &str) {
        if !self.out.is_empty() {
            self.out.push_str(self.encoding.between_fields());
        }
        text(&mut self.out, name);
        self.out.push_str(self.encoding.after_name());
    }

    fn plain(&mut self, field: &Field, value: impl fmt::Display) {
        self.name(field.name());
        write_to(&mut self.out, value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            write_to(&mut self.message, format_args!("{value:?}"));
        } else {
            self.record_str(field, &format!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message.push_str(value);
        } else {
            self.name(field.name());
            text(&mut self.out, value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut words = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            write_to(&mut words, format_args!(": {error}"));
            cause = error.source();
        }
        self.record_str(field, &words);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, value);
    }

    fn record_i128(&mut self, field: &Field, value: i128) {
        self.plain(field, value);
    }

    fn record_u128(&mut self, field: &Field, value: u128) {
        self.plain(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no words for the last three.
        match value {
            value if value.is_finite() => self.plain(field, value),
            value if value.is_nan() => self.plain(field, "\"NaN\""),
            value if value > 0.0 => self.plain(field, "\"+Inf\""),
            _ => self.plain(field, "\"-Inf\""),
        }
    }
}

fn write_to(out: &mut String, value: impl fmt::Display) {
    // Writing to a string cannot fail; a `Display` that says it failed has written what it could.
    let _ = write!(out, "{value}");
}

const fn level(level: Level) -> &'static str {
    match level {
        Level::TRACE | Level::DEBUG => "debug",
        Level::INFO => "info",
        Level::WARN => "warn",
        Level::ERROR => "error",
    }
}

/// The file and the folder it lies in, not counting `src`, which says nothing: `otlp/mod.rs:17`.
fn caller(out: &mut String, file: &str, line: u32) {
    let mut parts = file.rsplit(['/', '\\']).filter(|part| *part != "src");
    let name = parts.next().unwrap_or_default();
    if let Some(folder) = parts.next() {
        out.push_str(folder);
        out.push('/');
    }
    write_to(out, format_args!("{name}:{line}"));
}

/// JSON text, with quotes, cut to [`MAX_TEXT`].
fn text(out: &mut String, text: &str) {
    out.push('"');
    let kept = &text[..text.floor_char_boundary(MAX_TEXT)];
    for c in kept.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c => visible(out, c),
        }
    }
    if kept.len() < text.len() {
        out.push('…');
    }
    out.push('"');
}

/// A message as it is, which may have several lines, but for what terminals obey.
fn message(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            c => visible(out, c),
        }
    }
}

fn visible(out: &mut String, c: char) {
    match c.is_control() {
        true => write_to(out, format_args!("\\u{:04x}", u32::from(c))),
        false => out.push(c),
    }
}

/// `2026-11-20T19:45:08.723Z`.
pub(super) fn timestamp(out: &mut String, time: SystemTime) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs().cast_signed();
    let (year, month, day) = date(seconds / 86_400);
    let seconds = seconds % 86_400;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let millis = since.subsec_millis();
    write_to(
        out,
        format_args!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z"),
    );
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn stamp(seconds: u64, millis: u64) -> String {
        let mut out = String::new();
        timestamp(&mut out, UNIX_EPOCH + Duration::from_secs(seconds) + Duration::from_millis(millis));
        out
    }

    #[test]
    fn times_are_written_to_the_millisecond_in_utc() {
        assert_eq!(stamp(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(stamp(951_782_399, 999), "2000-02-28T23:59:59.999Z");
        assert_eq!(stamp(951_782_400, 0), "2000-02-29T00:00:00.000Z");
        assert_eq!(stamp(951_868_800, 0), "2000-03-01T00:00:00.000Z");
        assert_eq!(stamp(1_795_203_908, 723), "2026-11-20T19:45:08.723Z");
        assert_eq!(stamp(4_107_542_399, 7), "2100-02-28T23:59:59.007Z");
        assert_eq!(stamp(4_107_542_400, 7), "2100-03-01T00:00:00.007Z");
    }

    #[test]
    fn callers_are_short() {
        for (file, expected) in [
            ("receivers/src/otlp/mod.rs", "otlp/mod.rs:7"),
            ("pipeline/engine/src/graph.rs", "engine/graph.rs:7"),
            ("/home/me/registry/h2-0.4.20/src/proto/streams.rs", "proto/streams.rs:7"),
            ("main.rs", "main.rs:7"),
        ] {
            let mut out = String::new();
            caller(&mut out, file, 7);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn texts_are_escaped_and_cut() {
        let mut out = String::new();
        text(&mut out, "a\"\\\n\r\t\u{1}é</script>");
        assert_eq!(out, "\"a\\\"\\\\\\n\\r\\t\\u0001é</script>\"");

        out.clear();
        text(&mut out, &"é".repeat(MAX_TEXT));
        assert_eq!(out.len(), MAX_TEXT + "\"…\"".len());
    }
}
