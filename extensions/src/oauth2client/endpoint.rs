//! Asking the token endpoint: a connection for each token, since hours lie between two.

use super::Config;
use super::config::target;
use super::grant::{Style, Token, answer, basic, form};
use crate::credentials::Source;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use millrace_engine::Tasks;
use millrace_engine::component::{BuildError, Context};
use millrace_net::tls::{ALPN_HTTP1, Connector, Site};
use millrace_net::{Endpoint, tcp};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

/// The limit for one request unless it is configured.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer.
const ANSWER_MAX: usize = 64 << 10;

pub(super) struct TokenEndpoint {
    config: Config,
    endpoint: Endpoint,
    uri: Uri,
    connector: Option<Connector>,
    id: Option<Source>,
    secret: Option<Source>,
    user_agent: HeaderValue,
    tasks: Tasks,
    /// What the server has accepted before.
    style: Mutex<Option<Style>>,
}

impl TokenEndpoint {
    pub(super) fn new(config: &Config, context: &Context) -> Result<Self, BuildError> {
        let (endpoint, uri) = target(&config.token_url).map_err(|problem| context.error(problem))?;
        let connector = if endpoint.tls == Some(true) {
            let connector = config.tls.connector(&Site::of(context), &[ALPN_HTTP1]);
            Some(connector.map_err(|error| context.error(error))?)
        } else {
            None
        };
        let id = Source::of(&millrace_config::Secret::new(config.client_id.clone()), &config.client_id_file);
        let user_agent = HeaderValue::from_str(&context.shared.user_agent);
        Ok(Self {
            id,
            secret: Source::of(&config.client_secret, &config.client_secret_file),
            user_agent: user_agent.map_err(|error| context.error(error))?,
            config: config.clone(),
            tasks: context.shared.tasks.clone(),
            endpoint,
            uri,
            connector,
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
            let Endpoint { host, port, .. } = &self.endpoint;
            format!("failed to get security token from token endpoint {host}:{port}: {problem}")
        })
    }

    /// As in Go: what has worked, or else first by header and then in the body.
    async fn in_either_style(&self) -> Result<Token, String> {
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
        let request = self.request(style)?;
        let stream = tcp::connect(&self.endpoint).await.map_err(|error| error.to_string())?;
        match &self.connector {
            Some(connector) => {
                let connected = connector.connect(&self.endpoint.host, stream).await;
                self.exchange(connected.map_err(|error| error.to_string())?, request).await
            }
            None => self.exchange(stream, request).await,
        }
    }

    async fn exchange<S>(
        &self,
        stream: S,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Result<Token, String>), String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
        let driving = self.tasks.spawn("token connection", async {
            // What goes wrong with it is told to the one who asks.
            let _ = connection.await;
        });
        let answered = async {
            let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_MAX).collect().await;
            let body = body.map_err(|_| "its answer is cut off or larger than 64 KiB".to_owned())?.to_bytes();
            Ok((head.status, answer(head.status, &head.headers, &body)))
        };
        let outcome = answered.await;
        driving.abort();
        outcome
    }

    fn request(&self, style: Style) -> Result<Request<Full<Bytes>>, String> {
        let read = |source: &Option<Source>| source.as_ref().map(Source::read).transpose();
        let id = read(&self.id)?.unwrap_or_default();
        let secret = read(&self.secret)?.unwrap_or_default();
        let scopes = self.config.scopes.join(" ");
        let params = &self.config.endpoint_params;
        let mut parameters = Vec::new();
        if !params.contains_key("grant_type") {
            parameters.push(("grant_type", "client_credentials"));
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
        let mut request = Request::new(Full::new(Bytes::from(form(parameters))));
        *request.method_mut() = Method::POST;
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = path.parse().map_err(|_| "the URL has no path".to_owned())?;
        let headers = request.headers_mut();
        let host = self.uri.authority().map_or("", |authority| authority.as_str());
        headers.insert(HOST, HeaderValue::from_str(host).map_err(|_| "the URL has no host".to_owned())?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, self.user_agent.clone());
        if style == Style::Header {
            let credentials = basic(id.expose(), secret.expose());
            headers.insert(AUTHORIZATION, credentials.ok_or("the credentials cannot be sent in a header")?);
        }
        Ok(request)
    }
}
