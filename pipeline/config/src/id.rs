//! The names of components and pipelines.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use millrace_wire::Signal;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::ser::{Serialize, Serializer};

/// The longest name after the `/`, in bytes.
const NAME_MAX: usize = 1024;

/// The longest type, in bytes.
const TYPE_MAX: usize = 63;

/// `type` or `type/name`, as the user wrote it (`otlp` stays `otlp`): the id in metrics and logs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ComponentId {
    type_name: String,
    name: Option<String>,
}

impl ComponentId {
    /// What it is: the part before the `/`.
    #[must_use]
    pub fn type_name(&self) -> &str {
        &self.type_name
    }

    /// Which one it is: the part after the `/`.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The same one under another name of its type; none if that cannot be one.
    #[must_use]
    pub fn of_type(&self, type_name: &str) -> Option<Self> {
        match &self.name {
            None => type_name.parse().ok(),
            Some(name) => format!("{type_name}/{name}").parse().ok(),
        }
    }
}

/// `signal` or `signal/name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PipelineId {
    /// What flows through the pipeline.
    pub signal: Signal,
    /// Which one it is: the part after the `/`.
    pub name: Option<String>,
}

/// Why a text is not an id. The words are the Go collector's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// There is nothing.
    #[error("id must not be empty")]
    Empty,
    /// There is nothing before the `/`.
    #[error("in \"{0}\" id: the part before / should not be empty")]
    NoType(String),
    /// There is nothing after the `/`.
    #[error("in \"{0}\" id: the part after / should not be empty")]
    NoName(String),
    /// The type is not a letter followed by up to 62 letters, digits and `_`.
    #[error("in \"{0}\" id: invalid character(s) in type \"{1}\"")]
    BadType(String, String),
    /// The name has spaces, control characters or symbols.
    #[error("in \"{0}\" id: invalid character(s) in name \"{1}\"")]
    BadName(String, String),
    /// The name is longer than 1024 bytes.
    #[error("in \"{id}\" id: the name is longer than 1024 characters", id = .0.chars().take(40).collect::<String>())]
    LongName(String),
    /// There is no such signal.
    #[error("in \"{0}\" id: unknown pipeline signal: \"{1}\"")]
    BadSignal(String, String),
}

impl FromStr for ComponentId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let (type_name, name) = halves(text)?;
        let starts_well = type_name.starts_with(|c: char| c.is_ascii_alphabetic());
        if !starts_well || type_name.len() > TYPE_MAX || !type_name.bytes().all(is_type_byte) {
            return Err(IdError::BadType(text.to_owned(), type_name.to_owned()));
        }
        Ok(Self { type_name: type_name.to_owned(), name: name.map(str::to_owned) })
    }
}

impl FromStr for PipelineId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let (signal, name) = halves(text)?;
        let unknown = || IdError::BadSignal(text.to_owned(), signal.to_owned());
        let signal = Signal::from_name(signal).ok_or_else(unknown)?;
        Ok(Self { signal, name: name.map(str::to_owned) })
    }
}

impl<'de> Deserialize<'de> for ComponentId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for ComponentId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for ComponentId {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ComponentId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^\\s*[a-zA-Z][0-9a-zA-Z_]{0,62}\\s*(/.+)?$"})
    }
}

impl fmt::Display for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_id(f, &self.type_name, self.name())
    }
}

impl fmt::Display for PipelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_id(f, self.signal.name(), self.name.as_deref())
    }
}

fn write_id(f: &mut fmt::Formatter<'_>, first: &str, name: Option<&str>) -> fmt::Result {
    match name {
        Some(name) => write!(f, "{first}/{name}"),
        None => f.write_str(first),
    }
}

/// The parts before and after the first `/`, without the spaces around them.
fn halves(text: &str) -> Result<(&str, Option<&str>), IdError> {
    let (first, name) = match text.split_once('/') {
        Some((first, name)) => (first.trim(), Some(name.trim())),
        None => (text.trim(), None),
    };
    match (first, name) {
        ("", Some(_)) => Err(IdError::NoType(text.to_owned())),
        ("", None) => Err(IdError::Empty),
        (_, Some("")) => Err(IdError::NoName(text.to_owned())),
        (_, Some(name)) if name.len() > NAME_MAX => Err(IdError::LongName(text.to_owned())),
        (_, Some(name)) if !name.chars().all(is_name_char) => {
            Err(IdError::BadName(text.to_owned(), name.to_owned()))
        }
        _ => Ok((first, name)),
    }
}

fn is_type_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Not a separator, control or symbol character in Unicode's terms. Exact for ASCII; beyond it by the blocks that
/// hold symbols and invisible characters, which spares a table of all of Unicode.
fn is_name_char(c: char) -> bool {
    let is_symbol = matches!(c, '$' | '+' | '<' | '=' | '>' | '^' | '`' | '|' | '~'
        | '\u{a2}'..='\u{a6}' | '\u{a8}' | '\u{a9}' | '\u{ac}'..='\u{b1}' | '\u{b4}' | '\u{b8}' | '\u{d7}' | '\u{f7}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{20a0}'..='\u{20cf}'
        | '\u{2100}'..='\u{2101}' | '\u{2122}' | '\u{2190}'..='\u{2bff}' | '\u{e000}'..='\u{f8ff}' | '\u{feff}'
        | '\u{fff0}'..='\u{ffff}' | '\u{1f000}'..='\u{1faff}' | '\u{e0000}'..='\u{10ffff}');
    !(is_symbol || c.is_control() || c.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn component_ids_follow_the_go_collectors_rules() {
        for (text, shown) in [
            ("otlp", "otlp"),
            (" otlp / east ", "otlp/east"),
            ("otlp/a/b", "otlp/a/b"),
            ("kafka/prod-1.eu_west#2", "kafka/prod-1.eu_west#2"),
            ("otlp/größe", "otlp/größe"),
            ("a", "a"),
        ] {
            assert_eq!(text.parse::<ComponentId>().map(|id| id.to_string()), Ok(shown.to_owned()), "{text}");
        }
        for text in [
            "",
            " ",
            "/x",
            "x/",
            "x/ ",
            "1x",
            "_x",
            "o-tlp",
            "otlp/a b",
            "otlp/a$",
            "otlp/a→b",
            "otlp/\u{1f600}",
        ] {
            assert!(text.parse::<ComponentId>().is_err(), "{text}");
        }
        assert!(format!("a{}", "b".repeat(62)).parse::<ComponentId>().is_ok());
        assert!(format!("a{}", "b".repeat(63)).parse::<ComponentId>().is_err());
        assert!(format!("a/{}", "b".repeat(1024)).parse::<ComponentId>().is_ok());
        assert!(format!("a/{}", "b".repeat(1025)).parse::<ComponentId>().is_err());
    }

    #[test]
    fn pipeline_ids_start_with_a_signal() {
        assert_eq!("logs/x".parse::<PipelineId>().map(|id| id.to_string()), Ok("logs/x".to_owned()));
        assert_eq!(
            "trace".parse::<PipelineId>(),
            Err(IdError::BadSignal("trace".to_owned(), "trace".to_owned()))
        );
    }
}
