//! What stands before every handler of a server, in the Go collector's order: headers of every answer, other origins,
//! who sends the request, and whether it may come in now.

use super::{Cors, turned_away};
use crate::admission::Admission;
use crate::config::{HttpServerAuthConfig, HttpServerConfig, header_map};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::header::VARY;
use http::{HeaderMap, StatusCode};
use millrace_config::GivenOnly;
use millrace_engine::extension::{Denied, NoOffer};
use millrace_engine::{Failure, Identity, Offers};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// What a server asks of every request, and says with every answer.
#[derive(Debug)]
pub struct Front {
    response_headers: HeaderMap,
    cors: Option<Cors>,
    auth: GivenOnly<HttpServerAuthConfig>,
    admission: Admission,
    patience: Duration,
}

/// Why a request may not come in.
#[derive(Debug)]
pub enum Turned {
    /// It does not prove who sent it.
    Unauthenticated(String),
    /// Not now.
    Away(Failure),
    /// Nobody has said in time who sent it.
    TooSlow,
}

impl Front {
    /// What a configuration says; looks up the extensions that it names.
    ///
    /// # Errors
    /// When one is not running, or cannot do what it is named for.
    pub fn of(config: &HttpServerConfig, offers: &Offers) -> Result<Self, NoOffer> {
        let authenticator = config.auth.as_option().and_then(|auth| auth.authenticator.as_ref());
        Ok(Self {
            response_headers: header_map(&config.response_headers),
            cors: config.cors.as_option().and_then(Cors::of),
            auth: config.auth.clone(),
            admission: Admission::of(offers, authenticator, &config.middlewares)?,
            patience: config.accepted(usize::MAX).timeout,
        })
    }

    /// Has a request answered by `handle`, which is told who sent it, or by `refuse` if it may not come in.
    pub async fn answer<H, F>(
        &self,
        request: Request,
        handle: H,
        refuse: impl FnOnce(&HeaderMap, Turned) -> Response,
    ) -> Response
    where
        H: FnOnce(Request, Option<Arc<Identity>>) -> F,
        F: Future<Output = Response>,
    {
        let mut crossing = HeaderMap::new();
        let mut preflight = false;
        if let Some(cors) = &self.cors {
            preflight = Cors::is_preflight(request.method(), request.headers());
            if preflight {
                cors.answer_preflight(request.headers(), &mut crossing);
            } else {
                cors.answer_request(request.method(), request.headers(), &mut crossing);
            }
        }
        let mut response = match preflight {
            true => StatusCode::NO_CONTENT.into_response(),
            false => self.admitted(request, handle, refuse).await,
        };
        for (name, value) in &self.response_headers {
            if name == VARY {
                response.headers_mut().append(name, value.clone());
            } else {
                response.headers_mut().insert(name, value.clone());
            }
        }
        for (name, value) in &crossing {
            response.headers_mut().append(name, value.clone());
        }
        response
    }

    /// Answers a request if it may come in.
    async fn admitted<H, F>(
        &self,
        request: Request,
        handle: H,
        refuse: impl FnOnce(&HeaderMap, Turned) -> Response,
    ) -> Response
    where
        H: FnOnce(Request, Option<Arc<Identity>>) -> F,
        F: Future<Output = Response>,
    {
        if self.admission.asks_nothing() {
            return handle(request, None).await;
        }
        match self.admit(request.headers(), request.uri().query()).await {
            Ok(identity) => handle(request, identity).await,
            Err(turned) => {
                let answer = refuse(request.headers(), turned);
                turned_away(request, answer).await
            }
        }
    }

    async fn admit(&self, headers: &HeaderMap, query: Option<&str>) -> Result<Option<Arc<Identity>>, Turned> {
        let sources = self.auth.as_option().map(|auth| auth.sources(headers, query));
        let authenticating = self.admission.authenticate(sources.as_deref().unwrap_or(headers));
        let identity = match timeout(self.patience, authenticating).await {
            Ok(Ok(identity)) => identity,
            Ok(Err(Denied::Unauthenticated(denied))) => {
                return Err(Turned::Unauthenticated(denied.to_string()));
            }
            Ok(Err(Denied::NotNow(failure))) => return Err(Turned::Away(failure)),
            Err(_) => return Err(Turned::TooSlow),
        };
        self.admission.pass().map_err(Turned::Away)?;
        Ok(identity)
    }
}
