//! Saying who we are.

use super::ClientCredentials;
use crate::credentials::{Current, Source, WatchedFile, read_credentials};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use millrace_config::Secret;
use millrace_engine::component::{BuildError, Context, Extension};
use millrace_engine::{BoxFuture, ClientAuth, Failure, Origin};
use std::sync::Arc;

/// Adds user and password to requests.
pub(super) struct Client {
    context: Context,
    username: Option<Source>,
    password: Option<Source>,
    header: Arc<Current<HeaderValue>>,
    watched: [WatchedFile; 2],
}

impl Client {
    pub(super) fn new(config: &ClientCredentials, context: Context) -> Result<Self, BuildError> {
        let username = Source::of(&Secret::new(config.username.clone()), &config.username_file);
        let password = Source::of(&config.password, &config.password_file);
        let header =
            header(username.as_ref(), password.as_ref()).map_err(|problem| context.error(problem))?;
        let header = Arc::new(Current::from(header));
        Ok(Self { context, username, password, header, watched: Default::default() })
    }
}

impl Extension for Client {
    fn start(&self) -> BoxFuture<'_, Result<(), BuildError>> {
        Box::pin(async {
            for (source, watched) in [&self.username, &self.password].into_iter().zip(&self.watched) {
                let Some(Source::File(path)) = source else { continue };
                // Whatever has changed since it was built is noticed at the first look.
                let known = read_credentials(path).map_err(|problem| self.context.error(problem))?;
                let (username, password) = (self.username.clone(), self.password.clone());
                let current = Arc::clone(&self.header);
                let changed = move |_: &[u8]| {
                    current.replace(header(username.as_ref(), password.as_ref())?);
                    Ok(())
                };
                changed(&known).map_err(|problem| self.context.error(problem))?;
                watched.start(&self.context.shared.tasks, path.clone(), known, changed);
            }
            Ok(())
        })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async { self.watched.iter().for_each(WatchedFile::stop) })
    }

    fn client_auth(self: Arc<Self>) -> Option<Arc<dyn ClientAuth>> {
        Some(self)
    }
}

impl ClientAuth for Client {
    fn authorize<'a>(
        &'a self,
        headers: &'a mut HeaderMap,
        _: Option<&'a Origin>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        headers.insert(AUTHORIZATION, self.header.read().clone());
        Box::pin(std::future::ready(Ok(())))
    }
}

fn header(username: Option<&Source>, password: Option<&Source>) -> Result<HeaderValue, String> {
    let read = |source: Option<&Source>| source.map(Source::read).transpose().map(Option::unwrap_or_default);
    let (username, password) = (read(username)?, read(password)?);
    if username.expose().contains(':') {
        return Err(
            "the user name contains a colon: what follows would become part of the password".to_owned()
        );
    }
    let encoded = STANDARD.encode(format!("{}:{}", username.expose(), password.expose()));
    let mut value = HeaderValue::try_from(format!("Basic {encoded}"))
        .map_err(|_| "the credentials cannot be sent in a header".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}
