//! The `bearertokenauth` extension: requests carry a token that both sides know.

mod config;

pub use config::Config;

use crate::credentials::{Current, Refused, Verdicts, WatchedFile, read_credentials};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::{HeaderMap, HeaderName, HeaderValue};
use millrace_config::Role;
use millrace_engine::component::{BuildError, Context, Extension, ExtensionConfig, Factory, Stability};
use millrace_engine::{BoxFuture, ClientAuth, Denied, Failure, Fault, Identity, Origin, Reason, ServerAuth};
use std::path::Path;
use std::sync::Arc;

/// The `bearertokenauth` extension.
pub const FACTORY: Factory<dyn ExtensionConfig> = Factory {
    name: "bearertokenauth",
    aliases: &[],
    signals: &[],
    stability: Stability::Beta,
    schema: millrace_config::Shape::of::<Config>(),
    plan: |node, path, diags| Some(Box::new(millrace_config::decode::<Config>(node, path, diags)?)),
};

impl ExtensionConfig for Config {
    fn build(&self, context: Context) -> Result<Arc<dyn Extension>, BuildError> {
        let header = HeaderName::try_from(&self.header).map_err(|error| context.error(error))?;
        let inline = self.tokens.iter().chain(std::iter::once(&self.token));
        let inline = inline.map(|token| token.expose().as_str()).filter(|token| !token.is_empty());
        let file = (!self.filename.is_empty()).then(|| Box::from(Path::new(&self.filename)));
        let read = file.as_ref().map(|path| read_credentials(path)).transpose();
        let read = read.map_err(|problem| context.error(problem))?;
        let values = match &read {
            Some(bytes) => values_of_file(&self.scheme, bytes).map_err(|problem| context.error(problem))?,
            None => values(&self.scheme, inline).map_err(|problem| context.error(problem))?,
        };
        Ok(Arc::new(BearerTokenAuth {
            missing: format!("missing or empty authorization header: {}", self.header),
            scheme: self.scheme.clone(),
            header,
            values: Arc::new(Current::from(values)),
            file: file.zip(read),
            watched: WatchedFile::default(),
            nobody: Arc::default(),
            verdicts: Verdicts::new(&context),
            context,
        }))
    }

    fn offers(&self) -> &'static [Role] {
        &[Role::ServerAuth, Role::ClientAuth]
    }
}

struct BearerTokenAuth {
    context: Context,
    scheme: String,
    header: HeaderName,
    missing: String,
    /// What the header may be, and is for a client: the first.
    values: Arc<Current<Vec<HeaderValue>>>,
    /// The file of tokens and what was in it.
    file: Option<(Box<Path>, Vec<u8>)>,
    watched: WatchedFile,
    /// A token says nothing of who sends it.
    nobody: Arc<Identity>,
    verdicts: Verdicts,
}

impl BearerTokenAuth {
    fn judge(&self, headers: &HeaderMap) -> Result<Arc<Identity>, Refused> {
        // As in Go, the first counts.
        let Some(given) = headers.get(&self.header) else {
            return Err(Refused::Missing(self.missing.clone()));
        };
        // All are compared, so that the time says nothing about which.
        let equal = |value: &HeaderValue| verify_slices_are_equal(value.as_bytes(), given.as_bytes()).is_ok();
        if self.values.read().iter().filter(|value| equal(value)).count() == 0 {
            return Err(Refused::Wrong("provided authorization does not match expected scheme or token"));
        }
        Ok(Arc::clone(&self.nobody))
    }
}

impl Extension for BearerTokenAuth {
    fn start(&self) -> BoxFuture<'_, Result<(), BuildError>> {
        Box::pin(async {
            let Some((path, known)) = &self.file else { return Ok(()) };
            let (scheme, values) = (self.scheme.clone(), Arc::clone(&self.values));
            let changed = move |bytes: &[u8]| {
                values.replace(values_of_file(&scheme, bytes)?);
                Ok(())
            };
            self.watched.start(&self.context.shared.tasks, path.clone(), known.clone(), changed);
            Ok(())
        })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.watched.stop() })
    }

    fn server_auth(self: Arc<Self>) -> Option<Arc<dyn ServerAuth>> {
        Some(self)
    }

    fn client_auth(self: Arc<Self>) -> Option<Arc<dyn ClientAuth>> {
        Some(self)
    }
}

impl ServerAuth for BearerTokenAuth {
    fn authenticate<'a>(&'a self, headers: &'a HeaderMap) -> BoxFuture<'a, Result<Arc<Identity>, Denied>> {
        let verdict = self.verdicts.count(self.judge(headers));
        Box::pin(std::future::ready(verdict))
    }
}

impl ClientAuth for BearerTokenAuth {
    fn authorize<'a>(
        &'a self,
        headers: &'a mut HeaderMap,
        _: Option<&'a Origin>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        let outcome = match self.values.read().first().cloned() {
            Some(value) => {
                headers.insert(self.header.clone(), value);
                Ok(())
            }
            None => {
                let message = format!("there is no token in {}; add one", self.file_name());
                Err(Failure::transient(Fault::Us, Reason::Rejected, message))
            }
        };
        Box::pin(std::future::ready(outcome))
    }
}

impl BearerTokenAuth {
    fn file_name(&self) -> std::path::Display<'_> {
        self.file.as_ref().map_or(Path::new(""), |(path, _)| path).display()
    }
}

/// The first word of each line is a token.
fn values_of_file(scheme: &str, bytes: &[u8]) -> Result<Vec<HeaderValue>, String> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| "the file of tokens is not text in UTF-8".to_owned())?;
    values(scheme, text.lines().filter_map(|line| line.split_whitespace().next()))
}

/// What the header is for each token.
fn values<'t>(scheme: &str, tokens: impl Iterator<Item = &'t str>) -> Result<Vec<HeaderValue>, String> {
    let value = |token: &str| {
        let text = if scheme.is_empty() { token.to_owned() } else { format!("{scheme} {token}") };
        let mut value = HeaderValue::try_from(text)
            .map_err(|_| "a token has characters that a header cannot have".to_owned())?;
        value.set_sensitive(true);
        Ok(value)
    };
    tokens.map(value).collect()
}

#[cfg(test)]
mod tests;
