//! The error that travels through serde, and what it says to people.

use std::fmt;

use serde::de::{Error, Expected, Unexpected};

use super::address;
use crate::diagnostic::Diagnostic;
use crate::node::{Node, Origin};
use crate::source::Span;
use crate::suggest;

/// Why a value could not be decoded. It finds its place in the tree on its way up.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.reason)]
pub struct DecodeError(Box<Details>);

#[derive(Debug)]
struct Details {
    reason: Reason,
    site: Option<Site>,
    /// The values around it that can be left out, innermost first.
    enclosing: Vec<usize>,
}

#[derive(Debug)]
enum Reason {
    /// A null: the field keeps its default.
    Null,
    Type {
        found: Found,
        expected: String,
    },
    Missing(&'static str),
    Variant {
        name: String,
        accepted: &'static [&'static str],
    },
    /// A message, and after a line break advice.
    Custom(String),
}

/// What was found instead.
#[derive(Debug)]
struct Found {
    /// Whether it is a number or a bool.
    plain: bool,
    /// What kind of value it is.
    what: &'static str,
    /// The value itself in words, where it is short.
    text: Option<String>,
}

/// The value at which it happened.
#[derive(Debug)]
struct Site {
    address: usize,
    span: Span,
    path: String,
    /// The text that must not be shown, if any.
    hidden: Option<String>,
    masked: bool,
}

impl DecodeError {
    pub(super) fn null() -> Self {
        Self::of(Reason::Null)
    }

    fn of(reason: Reason) -> Self {
        Self(Box::new(Details { reason, site: None, enclosing: Vec::new() }))
    }

    /// Says at which value it happened, unless a value further in has already done so.
    pub(super) fn at(mut self, node: &Node, span: Span, path: impl FnOnce() -> String, secret: bool) -> Self {
        self.0.site.get_or_insert_with(|| Site {
            address: address(node),
            span,
            path: path(),
            hidden: node.is_expanded().then(|| hidden_text(node)),
            masked: secret,
        });
        self
    }

    /// Adds a value around it that can be left out.
    pub(super) fn within(mut self, node: &Node) -> Self {
        self.0.enclosing.push(address(node));
        self
    }

    pub(super) fn enclosing(&self) -> impl Iterator<Item = usize> {
        self.0.enclosing.iter().copied()
    }

    pub(super) fn is_silent(&self) -> bool {
        matches!(self.0.reason, Reason::Null)
    }

    pub(super) fn missing_key(&self) -> Option<&'static str> {
        match self.0.reason {
            Reason::Missing(key) => Some(key),
            _ => None,
        }
    }

    pub(super) fn site_address(&self) -> usize {
        self.0.site.as_ref().map_or(0, |site| site.address)
    }

    pub(super) fn diagnostic(&self, root: &Node, root_path: &str) -> Diagnostic {
        let (span, path) =
            self.0.site.as_ref().map_or((root.span, root_path), |site| (site.span, site.path.as_str()));
        let hidden = self.0.site.as_ref().and_then(|site| site.hidden.as_deref());
        let masked = self.0.site.as_ref().is_some_and(|site| site.masked);
        let (mut message, help) = self.words(path, hidden.is_some() || masked);
        if hidden.is_some() {
            message.push_str(" (the value comes from `${…}`)");
        }
        if let Some(secret) = hidden.filter(|secret| !secret.is_empty()) {
            message = message.replace(secret, "…");
        }
        let mut diagnostic = Diagnostic::error(span, path, message).help(help);
        diagnostic.masked = masked;
        diagnostic
    }

    /// The message and the advice.
    fn words(&self, path: &str, discreet: bool) -> (String, Option<String>) {
        match &self.0.reason {
            Reason::Null => ("a value is needed here".to_owned(), None),
            Reason::Type { found, expected } => {
                let expected = plain_words(expected);
                let found_words = match found.text.as_ref().filter(|_| !discreet) {
                    Some(text) => text.as_str(),
                    None => found.what,
                };
                (
                    format!("expected {expected}, found {found_words}"),
                    type_advice(found, expected, path, discreet),
                )
            }
            Reason::Missing(key) => (format!("the key `{key}` is missing"), None),
            Reason::Variant { name, accepted } => {
                let name = if discreet { "this".to_owned() } else { format!("`{name}`") };
                let advice = match &self.0.reason {
                    Reason::Variant { name, .. } => suggest::advice(name, "values", accepted),
                    _ => None,
                };
                (format!("{name} is not an accepted value"), advice)
            }
            Reason::Custom(text) => match text.split_once('\n') {
                Some((message, help)) => (message.to_owned(), Some(help.to_owned()).filter(|_| !discreet)),
                None => (text.clone(), None),
            },
        }
    }
}

impl Error for DecodeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::of(Reason::Custom(message.to_string()))
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::of(Reason::Type { found: Found::new(unexpected), expected: expected.to_string() })
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(unexpected, expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::custom(format!("expected {expected}, found {length} items"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::of(Reason::Variant { name: variant.to_owned(), accepted: expected })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::of(Reason::Missing(field))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("unexpected null"),
            Self::Type { found, expected } => write!(f, "expected {expected}, found {}", found.what),
            Self::Missing(key) => write!(f, "the key `{key}` is missing"),
            Self::Variant { name, .. } => write!(f, "`{name}` is not an accepted value"),
            Self::Custom(text) => f.write_str(text),
        }
    }
}

impl Found {
    fn new(unexpected: Unexpected<'_>) -> Self {
        let (plain, what, text) = match unexpected {
            Unexpected::Bool(value) => (true, "true or false", Some(value.to_string())),
            Unexpected::Unsigned(value) => (true, "a number", Some(format!("the number {value}"))),
            Unexpected::Signed(value) => (true, "a number", Some(format!("the number {value}"))),
            Unexpected::Float(value) => (true, "a number", Some(format!("the number {value}"))),
            Unexpected::Str(text) if text.chars().count() > 40 => (false, "text", None),
            Unexpected::Str(text) => (false, "text", Some(format!("the text \"{text}\""))),
            Unexpected::Unit | Unexpected::Option => (false, "nothing (null)", None),
            Unexpected::Seq => (false, "a list", None),
            Unexpected::Map | Unexpected::StructVariant => (false, "a map", None),
            _ => (false, "something else", None),
        };
        Self { plain, what, text }
    }
}

/// serde's names for types, in words for users of a configuration file.
fn plain_words(expected: &str) -> &str {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => "a whole number (0 or more, within range)",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number (within range)",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "str" | "borrowed string" | "string or bytes" => "text",
        "a sequence" => "a list",
        "a map" => "a map",
        "unit" => "nothing",
        _ if expected.starts_with("struct ") => "a section (keys and values)",
        _ if expected.starts_with("enum ") || expected == "variant identifier" => "one of the accepted names",
        _ => expected,
    }
}

fn type_advice(found: &Found, expected: &str, path: &str, discreet: bool) -> Option<String> {
    let key = path.rsplit("::").next().unwrap_or_default();
    let text =
        found.text.as_deref().and_then(|text| text.strip_prefix("the text ")).unwrap_or("").trim_matches('"');
    let advice = match expected {
        "text" if found.plain => "put it in quotes",
        "true or false" if matches!(text, "yes" | "no" | "on" | "off" | "y" | "n") => {
            "write `true` or `false`; `yes`, `no`, `on` and `off` are just text"
        }
        "true or false" if matches!(text, "true" | "false") => "remove the quotes",
        _ if expected.contains("number") && text.parse::<f64>().is_ok() && !found.plain => {
            "remove the quotes"
        }
        _ if !discreet && expected.contains("number") && text.starts_with(|c: char| c.is_ascii_digit()) => {
            return Some(match plain_number(text, path) {
                Some((number, unit)) => {
                    format!("write a plain number, without a unit: {text} is {number} {unit}")
                }
                None => "write a plain number, without a unit".to_owned(),
            });
        }
        "a section (keys and values)" if found.what == "true or false" && key == "tls" => {
            "write its keys below it, or in braces; clients use TLS unless it says `{insecure: true}`, and servers if \
             it has `cert_file` and `key_file`"
        }
        "a section (keys and values)" if found.what == "true or false" => {
            "a section that can be switched has the key `enabled`"
        }
        "a section (keys and values)" if found.plain || found.what == "text" => {
            "write its keys below it, indented, or in braces: `{key: value}`"
        }
        "text" if found.what == "a list" => "write one value, without brackets and `-`",
        "a map" if found.what == "a list" => "write `name: value`, without brackets and `-`",
        _ => return None,
    };
    Some(advice.to_owned())
}

/// A size as people write it, as the number of what the key counts in; only where that is known and comes out even.
fn plain_number(text: &str, path: &str) -> Option<(u64, &'static str)> {
    const UNITS: [(&str, u64); 6] = [
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
        ("kb", 1_000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
    ];
    let lower = text.to_ascii_lowercase();
    let (number, unit) = lower.split_at(lower.find(|c: char| !c.is_ascii_digit())?);
    let (_, factor) = UNITS.into_iter().find(|(name, _)| *name == unit.trim())?;
    let bytes = number.parse::<u64>().ok()?.checked_mul(factor)?;
    let (one, words) = counted_in(path)?;
    bytes.is_multiple_of(one).then_some((bytes / one, words))
}

/// How many bytes the key at `path` counts as one, in words as well. `None` if it counts requests, items, or what is not
/// known.
fn counted_in(path: &str) -> Option<(u64, &'static str)> {
    let (section, key) = path.rsplit_once("::").unwrap_or(("", path));
    let in_bytes = match key {
        "max_request_body_size" | "millrace_segment_size" | "read_buffer_size" | "write_buffer_size" => true,
        // Of storage and of what is put aside there. Of batches it counts items, and of views buckets.
        "max_size" => section.starts_with("extensions::") || section.ends_with("::millrace_dead_letters"),
        _ => key.ends_with("_bytes"),
    };
    match key.ends_with("_mib") {
        true => Some((1 << 20, "(in MiB)")),
        false => in_bytes.then_some((1, "(in bytes)")),
    }
}

/// What an expanded value would give away.
fn hidden_text(node: &Node) -> String {
    match (&node.origin, node.as_text()) {
        (Origin::Expanded { .. }, Some(text)) => text.to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::plain_number;

    #[test]
    fn a_number_is_suggested_only_where_it_is_certain_what_is_counted() {
        let dead_letters = "exporters::otlp_grpc::sending_queue::millrace_dead_letters::max_size";
        for (path, text, suggested) in [
            ("processors::memory_limiter::limit_mib", "2 GiB", Some((2048, "(in MiB)"))),
            ("processors::memory_limiter::limit_mib", "1500000KB", None),
            ("processors::memory_limiter::limit_mib", "512KiB", None),
            ("extensions::file_storage::max_size", "5MB", Some((5_000_000, "(in bytes)"))),
            (dead_letters, "64MiB", Some((64 << 20, "(in bytes)"))),
            (dead_letters, "99999999999GiB", None),
            ("receivers::otlp::protocols::http::max_request_body_size", "1kib", Some((1024, "(in bytes)"))),
            ("exporters::otlp_grpc::sending_queue::queue_size", "5MiB", None),
            ("exporters::otlp_grpc::sending_queue::batch::max_size", "5MiB", None),
            (dead_letters, "5 boxes", None),
        ] {
            assert_eq!(plain_number(text, path), suggested, "{path}: {text}");
        }
    }
}
