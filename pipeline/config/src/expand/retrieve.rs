//! What a `${…}` stands for: variables, files and pages, within the limits.

use super::{Expander, Level, MAX_CHAIN, Refused};
use crate::diagnostic::Diagnostic;
use crate::provider::{MAX_FETCHES, SCHEMES, public_url, split_scheme};
use crate::source::{SourceId, Span};
use crate::suggest;

pub(super) const TOO_MANY: &str =
    "too many recursive expansions: the content of a `${…}` leads to itself or to too many others";

impl Expander<'_> {
    /// What a `${uri}` stands for.
    pub(super) fn retrieve(
        &mut self,
        uri: &str,
        span: Span,
        path: &str,
        level: Level,
    ) -> Result<Content, Refused> {
        self.left = self.left.saturating_sub(1);
        if level.chain >= MAX_CHAIN || self.left == 0 {
            return self.refuse_once(span, path, TOO_MANY);
        }
        match split_scheme(uri) {
            Some(("env", selector)) => self.variable(selector, span, path, level),
            Some(("yaml", text)) => Ok(Content::Text(text.to_owned())),
            Some((scheme @ ("file" | "http" | "https"), rest)) => {
                self.document(uri, scheme, rest, span, path, level)
            }
            None if !uri.contains(':') => self.variable(uri, span, path, level),
            _ => {
                let scheme = uri.split(':').next().unwrap_or_default();
                self.diags.push(unsupported(uri, scheme, span, path, level));
                Err(Refused)
            }
        }
    }

    fn variable(&mut self, selector: &str, span: Span, path: &str, level: Level) -> Result<Content, Refused> {
        let (name, default) = match selector.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (selector, None),
        };
        if !is_variable_name(name) {
            let shown = if level.is_hidden { String::new() } else { format!(" \"{name}\"") };
            self.diags.push(
                Diagnostic::error(span, path, format!("environment variable{shown} has an invalid name"))
                    .help("a name has letters, digits and `_`, and does not start with a digit; write `$$` for a literal `$`".to_owned()),
            );
            return Err(Refused);
        }
        Ok(match ((self.providers.env)(name), default) {
            (Some(content), _) => Content::Text(content),
            (None, Some("")) => Content::EmptyDefault,
            (None, Some(default)) => Content::Text(default.to_owned()),
            (None, None) => {
                self.diags.push(
                    Diagnostic::warning(span, path, format!("environment variable {name} is not set"))
                        .help(format!("set it, or give a default: ${{env:{name}:-…}}")),
                );
                Content::Unset
            }
        })
    }

    /// A file or a page, read once.
    fn document(
        &mut self,
        uri: &str,
        scheme: &str,
        rest: &str,
        span: Span,
        path: &str,
        level: Level,
    ) -> Result<Content, Refused> {
        if let Some(&id) = self.documents.get(uri) {
            return Ok(self.kept(id));
        }
        let is_file = scheme == "file";
        let name = if is_file { rest.to_owned() } else { public_url(uri) };
        let read = if rest.contains('$') {
            Err("a `$` is not possible there".to_owned())
        } else if is_file {
            self.providers.outside.file(rest)
        } else if self.fetches == MAX_FETCHES {
            Err(format!("at most {MAX_FETCHES} URLs are fetched"))
        } else {
            self.fetches += 1;
            self.providers.outside.fetch(uri)
        };
        match read {
            Ok(text) => {
                let id =
                    if is_file { self.sources.add_file(rest, &text) } else { self.sources.add(&name, &text) };
                self.documents.insert(uri.to_owned(), id);
                Ok(self.kept(id))
            }
            Err(problem) => {
                // Where it is what a variable holds, the name may be anything.
                let name = if level.is_hidden { "what a `${…}` refers to".to_owned() } else { name };
                let mut error = Diagnostic::error(span, path, format!("cannot read {name}: {problem}"));
                if rest.contains(":-") {
                    error = error.help("only `env` takes a default: ${env:NAME:-…}".to_owned());
                }
                self.diags.push(error);
                Err(Refused)
            }
        }
    }

    fn kept(&self, id: SourceId) -> Content {
        Content::Document(self.sources.text(id).unwrap_or_default().to_owned(), id)
    }

    pub(super) fn spend(&mut self, bytes: usize, span: Span, path: &str) -> Result<(), Refused> {
        match self.room.checked_sub(bytes) {
            Some(room) => {
                self.room = room;
                Ok(())
            }
            None => {
                self.room = 0;
                self.refuse_once(span, path, "the content of `${…}` makes the configuration too large")
            }
        }
    }

    /// Reports a limit that, once reached, every further value would reach again.
    pub(super) fn refuse_once<T>(&mut self, span: Span, path: &str, message: &str) -> Result<T, Refused> {
        if !self.exhausted {
            self.diags.push(Diagnostic::error(span, path, message));
        }
        self.exhausted |= self.left == 0 || self.room == 0;
        Err(Refused)
    }
}

/// What a variable holds.
pub(super) enum Content {
    Text(String),
    /// The text of a file or page, and where it is kept.
    Document(String, SourceId),
    EmptyDefault,
    Unset,
}

impl Content {
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Text(text) | Self::Document(text, _) => text,
            Self::EmptyDefault | Self::Unset => String::new(),
        }
    }
}

/// What to say of a scheme that there is not.
fn unsupported(uri: &str, scheme: &str, span: Span, path: &str, level: Level) -> Diagnostic {
    if level.is_hidden {
        // The scheme may be part of a secret.
        let message = "the content of a `${…}` refers to a scheme that is not supported";
        let help = format!("accepted schemes: {}", SCHEMES.join(", "));
        return Diagnostic::error(span, path, message).help(help);
    }
    let message = format!("scheme \"{scheme}\" is not supported in ${{…}}");
    let help = match uri.strip_prefix(scheme).and_then(|rest| rest.strip_prefix(":-")) {
        Some(_) => Some(format!("a default needs the scheme: ${{env:{scheme}:-…}}")),
        None => suggest::advice(scheme, "schemes", &SCHEMES),
    };
    Diagnostic::error(span, path, message).help(help)
}

fn is_variable_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
