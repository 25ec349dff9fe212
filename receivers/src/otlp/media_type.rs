//! What a body is written in, by its `Content-Type` (RFC 9110, section 8.3.1), as strict as the Go collector about
//! parameters, which do not matter otherwise.

use super::intake::Format;
use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// The format that the headers name, if it is one of ours.
pub(super) fn format(headers: &HeaderMap) -> Option<Format> {
    let content_type = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let (essence, parameters) = content_type.split_at(content_type.find(';').unwrap_or(content_type.len()));
    let essence = essence.trim();
    let format = if essence.eq_ignore_ascii_case("application/x-protobuf") {
        Format::Protobuf
    } else if essence.eq_ignore_ascii_case("application/json") {
        Format::Json
    } else {
        return None;
    };
    are_well_formed(parameters).then_some(format)
}

/// Whether each parameter is `;name=value`; a semicolon at the end is forgiven.
fn are_well_formed(parameters: &str) -> bool {
    let mut rest = parameters.trim();
    while let Some(parameter) = rest.strip_prefix(';') {
        rest = match after_parameter(parameter.trim_start()) {
            Some(rest) => rest.trim_start(),
            None => return parameter.is_empty(),
        };
    }
    rest.is_empty()
}

/// What follows `name=value`, where the value is a token or a quoted string.
fn after_parameter(text: &str) -> Option<&str> {
    let value = after_token(text)?.trim_start().strip_prefix('=')?.trim_start();
    match value.strip_prefix('"') {
        None => after_token(value),
        Some(quoted) => {
            let mut escaped = false;
            let end = quoted.bytes().position(|byte| {
                let ends = byte == b'"' && !escaped;
                escaped = byte == b'\\' && !escaped;
                ends
            })?;
            Some(&quoted[end + 1..])
        }
    }
}

/// What follows a token of at least one character.
fn after_token(text: &str) -> Option<&str> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let len = text.find(|c| !is_token(c)).unwrap_or(text.len());
    (len > 0).then(|| &text[len..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format_of(content_type: &str) -> Option<Format> {
        format(&HeaderMap::from_iter([(CONTENT_TYPE, content_type.parse().expect("a header"))]))
    }

    #[test]
    fn parameters_do_not_matter_where_they_are_well_formed() {
        for parameters in ["", ";", " ; ", "; charset=utf-8", ";a=b;c=\"d \\\" ;\" ; e=f;"] {
            assert_eq!(
                format_of(&format!("Application/JSON{parameters}")),
                Some(Format::Json),
                "{parameters}"
            );
        }
        for parameters in [";=", "; charset", ";charset=", ";a=b c", ";a=\"b", ";;"] {
            assert_eq!(format_of(&format!("application/json{parameters}")), None, "{parameters}");
        }
    }

    #[test]
    fn other_types_are_not_ours() {
        for other in ["", "application/protobuf", "text/json", "x", "application/x-protobufs"] {
            assert_eq!(format_of(other), None, "{other}");
        }
    }
}
