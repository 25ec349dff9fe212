//! `env`: attributes from the environment, as the Go collector reads them.

use super::Surroundings;
use crate::resource_detection::attributes::Attributes;

const VARIABLE: &str = "OTEL_RESOURCE_ATTRIBUTES";
/// An older name.
const OLD_VARIABLE: &str = "OTEL_RESOURCE";
/// The longest name or value.
const TEXT_MAX: usize = 256;

pub(super) fn detect(surroundings: &Surroundings) -> Result<Attributes, String> {
    let read = |name| surroundings.variable(name).filter(|text| !text.trim().is_empty());
    match read(VARIABLE).or_else(|| read(OLD_VARIABLE)) {
        Some(text) => parse(text.trim()),
        None => Ok(Attributes::default()),
    }
}

/// Reads `name=value,name=value`, with values escaped as in URLs.
///
/// # Errors
/// Where it is in no such form.
pub fn parse(text: &str) -> Result<Attributes, String> {
    let mut attributes = Attributes::default();
    let mut rest = text;
    while !rest.is_empty() {
        let wrong =
            || format!("{VARIABLE} has `{rest}` where it should have name=value; separate pairs by commas");
        let (name, after) = rest.split_once('=').ok_or_else(wrong)?;
        let (value, next) = after.split_once(',').unwrap_or((after, ""));
        let (name, value) = (name.trim(), value.trim());
        let is_fine = |text: &str| text.is_ascii() && text.len() <= TEXT_MAX;
        if name.is_empty() || !is_fine(name) || !is_fine(value) {
            return Err(wrong());
        }
        attributes.set(name, unescaped(value).ok_or_else(wrong)?);
        rest = next;
    }
    Ok(attributes)
}

/// A value without its escapes; `None` if one is wrong.
fn unescaped(text: &str) -> Option<String> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'%' => {
                let [high, low, after @ ..] = after else { return None };
                out.push(digit(*high)? << 4 | digit(*low)?);
                rest = after;
            }
            b'+' => out.push(b' '),
            byte => out.push(*byte),
        }
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}
