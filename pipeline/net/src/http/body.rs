//! Receiving a body: bounded before and after inflating, and charged to the budget before it is kept.

use super::head::expects_continue;
use crate::Encoding;
use crate::compression::{InflateError, inflate};
use crate::gathering::{Gathering, NotKept};
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::header::CONNECTION;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Version};
use http_body::Body as _;
use http_body_util::BodyExt;
use millrace_engine::{Budget, Charge};
use std::time::Duration;
use thiserror::Error;
use tokio::time::timeout;

/// The limit for receiving one body unless it is configured; a sender slower than this holds memory for too long.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(60);
/// What is read and thrown away of a refused body, so that the connection can be used again.
const DISCARD_MAX: usize = 1 << 20;
/// How long that may take.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// Which bodies are taken.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The largest, before and after inflating, in bytes.
    pub limit: usize,
    /// How long one may take to arrive.
    pub timeout: Duration,
    /// How one may be compressed, by the names that `Content-Encoding` has for it, with `""` for not at all.
    pub encodings: Encodings,
}

/// Which compressions are undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encodings {
    /// All that there are.
    All,
    /// None: a body is taken as it is, whatever its headers say of it.
    Raw,
    /// Those of these names.
    Named(Vec<String>),
}

impl Accepted {
    /// Bodies of at most `limit` bytes, in any encoding, that take a minute at most.
    #[must_use]
    pub fn up_to(limit: usize) -> Self {
        Self { limit, timeout: RECEIVE_TIMEOUT, encodings: Encodings::All }
    }

    /// Whether a body of that encoding would be taken, for whoever does not read it.
    ///
    /// # Errors
    /// [`BodyError::UnknownEncoding`].
    pub fn check(&self, headers: &HeaderMap) -> Result<(), BodyError> {
        self.encoding(headers).map(drop)
    }

    fn encoding(&self, headers: &HeaderMap) -> Result<Encoding, BodyError> {
        let name = headers.get(http::header::CONTENT_ENCODING).map_or(&b""[..], HeaderValue::as_bytes);
        let encoding = match &self.encodings {
            Encodings::Raw => return Ok(Encoding::None),
            Encodings::Named(names) if !names.iter().any(|known| known.as_bytes() == name) => None,
            Encodings::All | Encodings::Named(_) if name.is_empty() => Some(Encoding::None),
            Encodings::All | Encodings::Named(_) => Encoding::from_content_encoding(name),
        };
        encoding.ok_or_else(|| BodyError::UnknownEncoding {
            name: String::from_utf8_lossy(name).into_owned(),
            known: match &self.encodings {
                Encodings::Named(names) => {
                    let names = names.iter().map(|name| if name.is_empty() { "none" } else { name });
                    names.collect::<Vec<_>>().join(", ")
                }
                Encodings::All | Encodings::Raw => {
                    "gzip, zstd, zlib, deflate, snappy, x-snappy-framed or lz4".to_owned()
                }
            },
        })
    }
}

/// A body, inflated, with what it holds of the budget.
#[derive(Debug)]
pub struct Received {
    /// The body.
    pub bytes: Bytes,
    /// What it holds.
    pub charge: Charge,
    /// Its size on the wire.
    pub wire_bytes: usize,
}

/// Why a body was not received.
#[derive(Debug, Error)]
pub enum BodyError {
    /// `Content-Encoding` names one that we do not have.
    #[error("unsupported Content-Encoding: {name}; use {known}")]
    UnknownEncoding {
        /// What it names.
        name: String,
        /// What it could have named.
        known: String,
    },
    /// Larger than the limit, compressed or not.
    #[error("request body too large: the limit is {0} bytes")]
    TooLarge(usize),
    /// Larger than the memory budget ever has room for.
    #[error("request body too large: the collector's memory budget has room for {0} bytes")]
    NeverFits(usize),
    /// The memory budget is used up.
    #[error("the collector is out of memory budget; try again later")]
    OverBudget,
    /// The compressed stream is damaged.
    #[error("{0}")]
    Damaged(String),
    /// The sender went away.
    #[error("the request body did not arrive: {0}")]
    CutOff(String),
    /// The sender was too slow.
    #[error("the request body did not arrive within {} seconds", .0.as_secs_f64())]
    TooSlow(Duration),
    /// A bug of ours, whatever the body is.
    #[error("{0}")]
    Failed(String),
}

/// Receives a body, charged to `budget`.
///
/// # Errors
/// See [`BodyError`]. What is left of a refused body is for [`last_unless_whole`].
pub async fn receive(
    headers: &HeaderMap,
    body: &mut Body,
    accepted: &Accepted,
    budget: &Budget,
) -> Result<Received, BodyError> {
    let limit = accepted.limit;
    let encoding = accepted.encoding(headers)?;
    let gathered = timeout(accepted.timeout, gather(body, limit, budget)).await;
    let (bytes, charge) = gathered.unwrap_or(Err(BodyError::TooSlow(accepted.timeout)))?;
    let wire_bytes = bytes.len();
    if encoding == Encoding::None {
        return Ok(Received { bytes, charge, wire_bytes });
    }
    let (bytes, charge) =
        inflate(encoding, bytes, charge, limit, budget).await.map_err(|error| not_inflated(&error))?;
    Ok(Received { bytes, charge, wire_bytes })
}

fn announced(body: &Body) -> Option<usize> {
    body.size_hint().exact().map(|len| usize::try_from(len).unwrap_or(usize::MAX))
}

/// The body in one buffer.
async fn gather(body: &mut Body, limit: usize, budget: &Budget) -> Result<(Bytes, Charge), BodyError> {
    let announced = announced(body);
    if announced.is_some_and(|len| len > limit) {
        return Err(BodyError::TooLarge(limit));
    }
    let gathering = match announced {
        Some(len) => Gathering::announced(len, budget),
        None => Gathering::unannounced(limit, budget),
    };
    let not_kept = |problem| match problem {
        NotKept::TooMuch => BodyError::TooLarge(limit),
        NotKept::OverBudget => BodyError::OverBudget,
        NotKept::NeverFits(most) => BodyError::NeverFits(most),
    };
    let mut gathering = gathering.map_err(not_kept)?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| BodyError::CutOff(error.to_string()))?;
        let Ok(chunk) = frame.into_data() else { continue };
        gathering.add(&chunk).map_err(not_kept)?;
    }
    Ok(gathering.finish())
}

/// The answer to a request whose body nobody reads.
pub async fn turned_away(request: Request, answer: Response) -> Response {
    let (head, body) = request.into_parts();
    last_unless_whole(&head, Some(body), answer).await
}

/// An answer after which the connection goes on only if the rest of the body has been read: it is thrown away here
/// where that is cheap, so that the sender hears the answer and can use the connection again. Without a rest there is
/// none that could be read. Otherwise the connection ends, and the answer says so.
pub async fn last_unless_whole(head: &Parts, rest: Option<Body>, mut answer: Response) -> Response {
    let is_whole = match rest {
        Some(rest) => discard(&head.headers, rest).await,
        None => false,
    };
    if !is_whole && head.version <= Version::HTTP_11 {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// Whether a body has come to its end. Whoever waits to be told that it is wanted is not told so.
async fn discard(headers: &HeaderMap, mut body: Body) -> bool {
    if body.is_end_stream() {
        return true;
    }
    if expects_continue(headers) || announced(&body).is_some_and(|len| len > DISCARD_MAX) {
        return false;
    }
    let reading = async {
        let mut discarded = 0;
        while discarded < DISCARD_MAX {
            match body.frame().await {
                Some(Ok(frame)) => discarded += frame.data_ref().map_or(0, Bytes::len),
                Some(Err(_)) => return false,
                None => return true,
            }
        }
        false
    };
    timeout(DISCARD_TIMEOUT, reading).await.unwrap_or(false)
}

fn not_inflated(error: &InflateError) -> BodyError {
    match *error {
        InflateError::OverBudget => BodyError::OverBudget,
        InflateError::TooLarge(limit) => BodyError::TooLarge(limit),
        InflateError::NeverFits(most) => BodyError::NeverFits(most),
        InflateError::Damaged(..) => BodyError::Damaged(error.to_string()),
        InflateError::Failed => BodyError::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_ours_is_not_taken_for_a_damaged_body() {
        let damaged = InflateError::Damaged("gzip", std::io::Error::other("checksum"));
        assert!(matches!(not_inflated(&damaged), BodyError::Damaged(_)));
        assert!(matches!(not_inflated(&InflateError::Failed), BodyError::Failed(_)));
    }
}
