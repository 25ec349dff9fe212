//! Asking the token endpoint: a connection for each token, since hours lie between two.

use super::Config;
use super::config::{JWT_BEARER, target};
use super::grant::{Style, Token, answer, basic, form};
use super::jwt;
use crate::credentials::Source;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use millrace_engine::component::{BuildError, Context};
use millrace_net::config::HttpClientConfig;
use millrace_net::http::Client;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::time::timeout;

/// The limit for one request unless it is configured.
const TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct TokenEndpoint {
    config: Config,
    /// Host and port, for messages.
    authority: String,
    uri: Uri,
    client: Client,
    id: Option<Source>,
    secret: Option<Source>,
    key: Option<Source>,
    user_agent: HeaderValue,
    /// What the server has accepted before.
    style: Mutex<Option<Style>>,
}

impl TokenEndpoint {
    pub(super) fn new(config: &Config, context: &Context) -> Result<Self, BuildError> {
        let (endpoint, uri) = target(&config.token_url).map_err(|problem| context.error(problem))?;
        // Hours lie between two requests: a connection for each.
        let settings = HttpClientConfig {
            tls: config.tls.clone(),
            disable_keep_alives: true,
            ..HttpClientConfig::default()
        };
        let authority = endpoint.authority();
        let (client, _) = settings.client(context, endpoint)?;
        let id = Source::of(&millrace_config::Secret::new(config.client_id.clone()), &config.client_id_file);
        let user_agent = HeaderValue::from_str(&context.shared.user_agent);
        Ok(Self {
            id,
            secret: Source::of(&config.client_secret, &config.client_secret_file),
            key: Source::of(&config.client_certificate_key, &config.client_certificate_key_file),
            user_agent: user_agent.map_err(|error| context.error(error))?,
            config: config.clone(),
            client,
            authority,
            uri,
            style: Mutex::new(None),
        })
    }

    /// Fetches a token, within the time limit.
    ///
    /// # Errors
    /// Why there is none, without anything that is secret.
    pub(super) async fn fetch(&self) -> Result<Token, String> {
        let limit = self.config.timeout.get();
        let limit = if limit.is_zero() { TIMEOUT } else { limit };
        let fetched = timeout(limit, self.in_either_style()).await;
        fetched.unwrap_or_else(|_| Err(format!("no answer within {limit:?}"))).map_err(|problem| {
            format!("failed to get security token from token endpoint {}: {problem}", self.authority)
        })
    }

    /// As in Go: what has worked, or else first by header and then in the body.
    async fn in_either_style(&self) -> Result<Token, String> {
        if self.config.signs() {
            return self.ask(Style::Assertion).await?.1;
        }
        let known = *self.style.lock().unwrap_or_else(PoisonError::into_inner);
        let style = known.unwrap_or(Style::Header);
        let (status, mut token) = self.ask(style).await?;
        let mut worked = style;
        if token.is_err() && status.is_client_error() && known.is_none() {
            worked = Style::Body;
            token = self.ask(Style::Body).await?.1;
        }
        if token.is_ok() {
            *self.style.lock().unwrap_or_else(PoisonError::into_inner) = Some(worked);
        }
        token
    }

    async fn ask(&self, style: Style) -> Result<(StatusCode, Result<Token, String>), String> {
        let (headers, body) = self.request(style)?;
        let answered = self.client.post(&self.uri, &headers, &[body]).await;
        let response = answered.map_err(|error| error.to_string())?;
        Ok((response.status, answer(response.status, &response.headers, &response.body)))
    }

    fn request(&self, style: Style) -> Result<(HeaderMap, Bytes), String> {
        let read = |source: &Option<Source>| source.as_ref().map(Source::read).transpose();
        let id = read(&self.id)?.unwrap_or_default();
        let secret = read(&self.secret)?.unwrap_or_default();
        let scopes = self.config.scopes.join(" ");
        let params = &self.config.endpoint_params;
        let mut parameters = Vec::new();
        if !params.contains_key("grant_type") {
            let grant = if style == Style::Assertion { JWT_BEARER } else { "client_credentials" };
            parameters.push(("grant_type", grant));
        }
        let assertion = match style {
            Style::Assertion => {
                let pem = read(&self.key)?.unwrap_or_default();
                let now = SystemTime::now()
                    .duration_since(SystemTime::UNIX_EPOCH)
                    .map_or(0, |since| since.as_secs());
                jwt::assertion(&self.config, id.expose(), pem.expose(), now)?
            }
            Style::Header | Style::Body => String::new(),
        };
        if style == Style::Assertion {
            parameters.push(("assertion", &assertion));
        }
        if !scopes.is_empty() {
            parameters.push(("scope", scopes.as_str()));
        }
        for (name, values) in params {
            parameters.extend(values.iter().map(|value| (name.as_str(), value.expose().as_str())));
        }
        if style == Style::Body {
            parameters.push(("client_id", id.expose()));
            parameters.push(("client_secret", secret.expose()));
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, self.user_agent.clone());
        if style == Style::Header {
            let credentials = basic(id.expose(), secret.expose());
            headers.insert(AUTHORIZATION, credentials.ok_or("the credentials cannot be sent in a header")?);
        }
        Ok((headers, form(parameters).into()))
    }
}
