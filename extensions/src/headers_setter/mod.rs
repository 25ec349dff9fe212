//! The `headers_setter` extension: headers of what a client sends, also from what was received.

mod config;

pub use config::{Action, Config, HeaderConfig};

use crate::credentials::{Current, WatchedFile, read_credentials};
use http::{HeaderMap, HeaderName, HeaderValue};
use millrace_config::{ComponentId, Role, Secret};
use millrace_engine::component::{BuildError, Context, Extension, ExtensionConfig, Factory, Stability};
use millrace_engine::{BoxFuture, ClientAuth, Failure, Fault, Origin, Reason};
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// The `headers_setter` extension.
pub const FACTORY: Factory<dyn ExtensionConfig> = Factory {
    name: "headers_setter",
    aliases: &[],
    signals: &[],
    stability: Stability::Beta,
    schema: millrace_config::Shape::of::<Config>(),
    plan: |node, path, diags| Some(Box::new(millrace_config::decode::<Config>(node, path, diags)?)),
};

impl ExtensionConfig for Config {
    fn build(&self, context: Context) -> Result<Arc<dyn Extension>, BuildError> {
        let headers =
            self.headers.iter().map(|header| Header::new(header, &context)).collect::<Result<_, _>>()?;
        Ok(Arc::new(HeadersSetter {
            headers,
            additional_auth: self.additional_auth.clone(),
            inner: OnceLock::new(),
            context,
        }))
    }

    fn offers(&self) -> &'static [Role] {
        &[Role::ClientAuth]
    }
}

struct HeadersSetter {
    context: Context,
    headers: Vec<Header>,
    additional_auth: Option<ComponentId>,
    /// The authenticator of that id, which may be built after this one.
    inner: OnceLock<Arc<dyn ClientAuth>>,
}

struct Header {
    action: Action,
    name: HeaderName,
    source: Source,
}

enum Source {
    Value(HeaderValue),
    File {
        path: Box<Path>,
        known: Vec<u8>,
        value: Arc<Current<HeaderValue>>,
        watched: WatchedFile,
    },
    /// A header of the client's, in lower case, and what takes its place.
    Sent {
        name: String,
        default: HeaderValue,
    },
    /// What is known of the client.
    Known {
        name: String,
    },
}

impl Header {
    fn new(config: &HeaderConfig, context: &Context) -> Result<Self, BuildError> {
        let name = HeaderName::try_from(&config.key).map_err(|error| context.error(error))?;
        let value = |secret: Option<&Secret<String>>| {
            let text = secret.map_or("", |secret| secret.expose());
            sensitive(text).map_err(|problem| context.error(problem))
        };
        let source = if let Some(file) = &config.value_file {
            let path: Box<Path> = Path::new(file).into();
            let known = read_credentials(&path).map_err(|problem| context.error(problem))?;
            let value = of_file(&known).map_err(|problem| context.error(problem))?;
            Source::File {
                path,
                known,
                value: Arc::new(Current::from(value)),
                watched: WatchedFile::default(),
            }
        } else if let Some(name) = &config.from_context {
            let default = value(config.default_value.as_ref())?;
            Source::Sent { name: name.to_ascii_lowercase(), default }
        } else if let Some(name) = &config.from_attribute {
            Source::Known { name: name.clone() }
        } else {
            Source::Value(value(config.value.as_ref())?)
        };
        Ok(Self { action: config.action, name, source })
    }

    fn apply(&self, headers: &mut HeaderMap, origin: Option<&Origin>) -> Result<(), Failure> {
        let is_there = headers.get(&self.name).is_some_and(|value| !value.is_empty());
        match self.action {
            Action::Delete => {
                headers.remove(&self.name);
            }
            Action::Insert if is_there => {}
            Action::Update if !is_there => {}
            _ => {
                headers.insert(self.name.clone(), self.value(origin)?);
            }
        }
        Ok(())
    }

    fn value(&self, origin: Option<&Origin>) -> Result<HeaderValue, Failure> {
        match &self.source {
            Source::Value(value) => Ok(value.clone()),
            Source::File { value, .. } => Ok(value.read().clone()),
            Source::Sent { name, default } => {
                let metadata = origin.map_or(&[][..], |origin| &origin.metadata);
                let mut sent = metadata.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
                match (sent.next(), sent.count()) {
                    (None, _) => Ok(default.clone()),
                    (Some((_, value)), 0) => self.foreign(value),
                    (Some(_), others) => {
                        let count = others + 1;
                        let message =
                            format!("the client sent {count} headers `{name}`, of which one is wanted");
                        Err(Failure::permanent(Fault::Sender, Reason::Rejected, message))
                    }
                }
            }
            Source::Known { name } => {
                let identity = origin.and_then(|origin| origin.identity.as_ref());
                let known = identity.and_then(|identity| identity.iter().find(|(key, _)| **key == **name));
                known.map_or(Ok(HeaderValue::from_static("")), |(_, value)| self.foreign(value))
            }
        }
    }

    /// A value from outside, which must not become more than a header.
    fn foreign(&self, value: &str) -> Result<HeaderValue, Failure> {
        sensitive(value).map_err(|_| {
            let message =
                format!("what the client sent for `{}` has characters that a header cannot have", self.name);
            Failure::permanent(Fault::Sender, Reason::Rejected, message)
        })
    }
}

impl HeadersSetter {
    fn inner(&self) -> Result<Option<&Arc<dyn ClientAuth>>, Failure> {
        let Some(id) = &self.additional_auth else { return Ok(None) };
        if let Some(inner) = self.inner.get() {
            return Ok(Some(inner));
        }
        let inner = self
            .context
            .shared
            .offers
            .client_auth(id)
            .map_err(|error| Failure::permanent(Fault::Us, Reason::Internal, error.to_string()))?;
        Ok(Some(self.inner.get_or_init(|| inner)))
    }
}

impl Extension for HeadersSetter {
    fn start(&self) -> BoxFuture<'_, Result<(), BuildError>> {
        Box::pin(async {
            for header in &self.headers {
                let Source::File { path, known, value, watched } = &header.source else { continue };
                let value = Arc::clone(value);
                let changed = move |bytes: &[u8]| {
                    value.replace(of_file(bytes)?);
                    Ok(())
                };
                watched.start(&self.context.shared.tasks, path.clone(), known.clone(), changed);
            }
            Ok(())
        })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            for header in &self.headers {
                if let Source::File { watched, .. } = &header.source {
                    watched.stop();
                }
            }
        })
    }

    fn client_auth(self: Arc<Self>) -> Option<Arc<dyn ClientAuth>> {
        Some(self)
    }
}

impl ClientAuth for HeadersSetter {
    fn authorize<'a>(
        &'a self,
        headers: &'a mut HeaderMap,
        origin: Option<&'a Origin>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            if let Some(inner) = self.inner()? {
                inner.authorize(headers, origin).await?;
            }
            self.headers.iter().try_for_each(|header| header.apply(headers, origin))
        })
    }

    fn metadata(&self) -> Vec<String> {
        let own = self.headers.iter().filter_map(|header| match &header.source {
            Source::Sent { name, .. } => Some(name.clone()),
            _ => None,
        });
        let inner = self.inner().ok().flatten().map(|inner| inner.metadata());
        own.chain(inner.into_iter().flatten()).collect()
    }

    fn disbelieved(&self) {
        if let Ok(Some(inner)) = self.inner() {
            inner.disbelieved();
        }
    }
}

fn sensitive(text: &str) -> Result<HeaderValue, String> {
    // Of bytes, because text beyond ASCII may stand in a header.
    let mut value = HeaderValue::from_bytes(text.as_bytes())
        .map_err(|_| "a value has characters that a header cannot have".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

fn of_file(bytes: &[u8]) -> Result<HeaderValue, String> {
    let text =
        std::str::from_utf8(bytes).map_err(|_| "the value in a file is not text in UTF-8".to_owned())?;
    sensitive(text.trim())
}

#[cfg(test)]
mod tests;
