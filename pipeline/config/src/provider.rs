//! Where configurations and what they refer to come from: the schemes of the Go collector's official builds.

use std::path::Path;
use std::time::Duration;

use crate::expand::Env;
use crate::files::{FileError, read_file_or_pipe};
use crate::parse::{MAX_TEXT_BYTES, too_long};

/// The schemes of `--config` and `${…}`.
pub(crate) const SCHEMES: [&str; 5] = ["env", "file", "http", "https", "yaml"];

/// How many texts are fetched over HTTP for one configuration; each fetch has a time limit of its own.
pub const MAX_FETCHES: usize = 16;

/// How long a pipe (`--config=<(…)`) may take to its end.
const PIPE_PATIENCE: Duration = Duration::from_secs(30);

/// What lies outside of the configuration itself. The binary hands this in: this crate does no I/O but reading files.
pub trait Outside {
    /// The text of a file, up to [`MAX_TEXT_BYTES`].
    ///
    /// # Errors
    /// Why it could not be read.
    fn file(&self, path: &str) -> Result<String, String> {
        read_file(path)
    }

    /// The body at `url`, which begins with `http:` or `https:`. What is longer than [`MAX_TEXT_BYTES`], or takes too
    /// long, is an error.
    ///
    /// # Errors
    /// Why it could not be had, without what the URL may keep secret.
    fn fetch(&self, url: &str) -> Result<String, String>;
}

/// Files, but no network.
#[derive(Debug, Clone, Copy, Default)]
pub struct Files;

impl Outside for Files {
    fn fetch(&self, _: &str) -> Result<String, String> {
        Err("fetching over HTTP is not possible here".to_owned())
    }
}

/// Nothing at all, for texts that nobody vouches for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sealed;

impl Outside for Sealed {
    fn file(&self, _: &str) -> Result<String, String> {
        Err("reading files is not possible here".to_owned())
    }

    fn fetch(&self, url: &str) -> Result<String, String> {
        Files.fetch(url)
    }
}

/// What a configuration is read with.
#[derive(Clone, Copy)]
pub struct Providers<'a> {
    /// The environment.
    pub env: Env<'a>,
    /// Files and the network.
    pub outside: &'a dyn Outside,
}

impl<'a> Providers<'a> {
    /// The environment and files.
    #[must_use]
    pub fn local(env: Env<'a>) -> Self {
        Self { env, outside: &Files }
    }

    /// The environment only.
    #[must_use]
    pub fn sealed(env: Env<'a>) -> Self {
        Self { env, outside: &Sealed }
    }
}

/// `scheme:rest`, split; `None` if there is no scheme, which is one letter and at least one more of letters, digits,
/// `+`, `.` and `-`. (One letter alone is the drive of a path.)
pub(crate) fn split_scheme(uri: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = uri.split_once(':')?;
    let is_scheme = scheme.len() >= 2
        && scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte));
    is_scheme.then_some((scheme, rest))
}

/// What a URL is called in messages: without user, password and query, which may be secret.
pub(crate) fn public_url(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let (rest, query) = rest.split_once(['?', '#']).map_or((rest, ""), |(rest, _)| (rest, "?…"));
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}{query}")
}

/// The text of a file.
fn read_file(path: &str) -> Result<String, String> {
    let bytes = match read_file_or_pipe(Path::new(path), MAX_TEXT_BYTES as u64, PIPE_PATIENCE) {
        Ok(bytes) => bytes,
        Err(FileError::TooLong(_)) => return Err(too_long(MAX_TEXT_BYTES + 1)),
        Err(error) => return Err(error.to_string()),
    };
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].iter().filter(|&&byte| byte == b'\n').count() + 1;
        format!("line {line} is not UTF-8 text")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_has_at_least_two_letters() {
        for (uri, expected) in [
            ("yaml:a: 1", Some(("yaml", "a: 1"))),
            ("https://x/y", Some(("https", "//x/y"))),
            ("c:file.yaml", None),
            ("dir/a:b", None),
            ("1x:y", None),
            ("file", None),
            ("a+b.c-d:x", Some(("a+b.c-d", "x"))),
        ] {
            assert_eq!(split_scheme(uri), expected, "{uri}");
        }
    }

    #[test]
    fn what_a_url_may_keep_secret_is_not_shown() {
        for (url, shown) in [
            ("http://u:p@host:1/a?token=t", "http://host:1/a?…"),
            ("https://host/a/b", "https://host/a/b"),
            ("http://host#x", "http://host?…"),
        ] {
            assert_eq!(public_url(url), shown, "{url}");
        }
    }
}
