//! Answers to scrapes: what is served, written piece by piece while the scraper reads it.
//!
//! A scrape copies references to all series at once, and so shows one moment; what it then writes holds up nobody.

use super::scrapes::{Busy, Scrapes, Slot, Snapshot, lock};
use super::series::{Family, HistogramState, Identity, Label, NumberState, State};
use super::store::{Shown, Store};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Method, StatusCode};
use http_body::{Body as HttpBody, Frame};
use millrace_engine::Charge;
use millrace_formats::prometheus::{
    self as format, Bucket, Exposition, Format, Histogram, Kind, Native, Offer, Span, Summary, Value,
    negotiate,
};
use millrace_net::stream::Peer;
use millrace_wire::view::Number;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

/// How much is written at once.
const CHUNK_BYTES: usize = 64 << 10;
/// What a scrape is charged for at once, beyond what all are.
const STEP_BYTES: u64 = 1 << 20;
/// How many names a scraper may choose.
const NAMES_MAX: usize = 1000;

/// What all scrapes of an exporter have in common.
pub(super) struct Counter {
    pub store: Arc<Store>,
    pub target_info: String,
    pub send_timestamps: bool,
    pub offer: Offer,
    pub scrapes: Scrapes,
}

/// Serves `/metrics`.
pub(super) fn router(counter: Arc<Counter>) -> Router {
    let answer = move |request: Request| {
        let counter = Arc::clone(&counter);
        async move { counter.answer(&request) }
    };
    Router::new().route("/metrics", any(answer))
}

impl Counter {
    fn answer(&self, request: &Request) -> Response {
        let header = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
        let format = negotiate(header(ACCEPT), self.offer);
        let zipped = header(ACCEPT_ENCODING).is_some_and(takes_gzip);
        let body = match request.method() {
            // Nobody would read it.
            &Method::HEAD => Answer { slot: Arc::new(Slot::new(None)), first: None },
            _ => match self.scrape(request, format, zipped) {
                Ok(answer) => answer,
                Err(busy) => {
                    return (StatusCode::SERVICE_UNAVAILABLE, format!("{busy}; try again later\n"))
                        .into_response();
                }
            },
        };
        let mut response = Response::new(Body::new(body));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
        if zipped {
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }

    fn scrape(&self, request: &Request, format: Format, zipped: bool) -> Result<Answer, Busy> {
        let now = Instant::now();
        let peer = request.extensions().get::<Peer>().and_then(|peer| peer.0).map(|peer| peer.ip());
        let write = |snapshot, charge| Writing {
            snapshot,
            next: 0,
            names: request.uri().query().map(chosen_names).filter(|names| !names.is_empty()),
            target_info: self.target_info.clone(),
            send_timestamps: self.send_timestamps,
            exposition: Some(Exposition::new(format)),
            family: None,
            zip: zipped.then(|| GzEncoder::new(Vec::new(), Compression::fast())),
            last: 0,
            charge,
        };
        let slot = self.scrapes.begin(now, peer, self.store.series(), || self.shown(now), write)?;
        // While it can still be refused.
        let first = next_piece(&slot).transpose().map_err(|_| Busy::Budget)?;
        Ok(Answer { slot, first })
    }

    /// Everything that is served, in order.
    fn shown(&self, now: Instant) -> Vec<Shown> {
        let (targets, mut shown) = self.store.shown(now);
        let family = Arc::new(Family {
            name: self.target_info.clone(),
            help: "Target metadata".to_owned(),
            kind: Kind::Gauge,
        });
        shown.extend(targets.into_iter().map(|labels| target(&family, &labels)));
        shown.sort_unstable_by(|a, b| {
            let (a, b) = (&a.identity, &b.identity);
            a.family.name.cmp(&b.family.name).then_with(|| a.order(b))
        });
        shown
    }
}

fn target(family: &Arc<Family>, labels: &[Label]) -> Shown {
    let state = NumberState { value: Number::Int(1), start_ns: 0, time_ns: 0, exemplar: None };
    let identity = Identity { family: Arc::clone(family), labels: labels.into() };
    Shown { identity: Arc::new(identity), state: State::Number(state) }
}

/// The body of an answer.
struct Answer {
    slot: Arc<Slot>,
    /// What has been written of it already.
    first: Option<Bytes>,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = CutOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutOff>>> {
        let piece = self.first.take().map(Ok).or_else(|| next_piece(&self.slot));
        Poll::Ready(piece.map(|piece| piece.map(Frame::data)))
    }
}

/// The next piece of what is written; none after the end.
fn next_piece(slot: &Arc<Slot>) -> Option<Result<Bytes, CutOff>> {
    let mut writing = lock(slot);
    let Some(under_way) = writing.as_mut() else { return Some(Err(CutOff::Slow)) };
    let piece = under_way.next()?;
    if piece.is_err() {
        *writing = None;
    }
    Some(piece.map(|bytes| Bytes::from_owner(Piece { bytes, _of: Arc::clone(slot) })))
}

/// A piece of an answer. What the answer has been charged for is charged until this has been sent.
struct Piece {
    bytes: Vec<u8>,
    _of: Arc<Slot>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The answer ends before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum CutOff {
    #[error("the scrape took too long while others waited")]
    Slow,
    #[error("the memory budget is used up")]
    Budget,
}

/// An answer that is being written.
pub(super) struct Writing {
    snapshot: Arc<Snapshot>,
    /// The first of it that has not been written.
    next: usize,
    /// The only metrics that are asked for.
    names: Option<BTreeSet<String>>,
    target_info: String,
    send_timestamps: bool,
    /// None once the end has been written.
    exposition: Option<Exposition>,
    family: Option<Arc<Family>>,
    zip: Option<GzEncoder<Vec<u8>>>,
    /// What the piece before takes, which may not have been sent.
    last: usize,
    /// For what it takes beside its snapshot.
    charge: Charge,
}

impl Iterator for Writing {
    type Item = Result<Vec<u8>, CutOff>;

    /// The next piece, which is not empty.
    fn next(&mut self) -> Option<Result<Vec<u8>, CutOff>> {
        loop {
            let ended = self.exposition.is_none();
            let text = match self.text().transpose() {
                Ok(text) => text,
                Err(cut_off) => return Some(Err(cut_off)),
            };
            let piece = match &mut self.zip {
                None => text?,
                Some(zip) => match text {
                    Some(text) => zipped(zip, &text),
                    None => self.zip.take()?.finish().unwrap_or_else(never),
                },
            };
            if !piece.is_empty() {
                self.last = piece.capacity();
                return Some(Ok(piece));
            }
            if ended && self.zip.is_none() {
                return None;
            }
        }
    }
}

/// Writing into memory does not fail.
fn never(_: std::io::Error) -> Vec<u8> {
    Vec::new()
}

fn zipped(zip: &mut GzEncoder<Vec<u8>>, text: &[u8]) -> Vec<u8> {
    let _ = zip.write_all(text);
    std::mem::take(zip.get_mut())
}

impl Writing {
    #[cfg(test)]
    pub(super) fn test(snapshot: Arc<Snapshot>, charge: Charge, format: Format) -> Self {
        Self {
            snapshot,
            next: 0,
            names: None,
            target_info: String::new(),
            send_timestamps: false,
            exposition: Some(Exposition::new(format)),
            family: None,
            zip: None,
            last: 0,
            charge,
        }
    }

    /// Charges what is held beyond what a scrape is charged for anyway. Whether there is room for it.
    fn is_paid(&mut self, held: usize) -> bool {
        let missing = (self.last + held) as u64;
        let missing = missing.saturating_sub(self.charge.bytes());
        missing == 0 || self.charge.try_grow(missing.next_multiple_of(STEP_BYTES))
    }

    /// The next piece of text; none after the end.
    fn text(&mut self) -> Option<Result<Vec<u8>, CutOff>> {
        let mut exposition = self.exposition.take()?;
        let snapshot = Arc::clone(&self.snapshot);
        for Shown { identity, state } in &snapshot.shown[self.next..] {
            self.next += 1;
            let wanted = self.names.as_ref().is_none_or(|names| names.contains(&identity.family.name));
            if !wanted {
                continue;
            }
            match &self.family {
                Some(family) if family.name == identity.family.name => {
                    // A metric may have ended and come back as another while the series were being looked at.
                    if family.kind != identity.family.kind {
                        continue;
                    }
                }
                _ => {
                    let Family { name, help, kind } = &*identity.family;
                    exposition.family(format::Family { name, help, kind: *kind });
                    self.family = Some(Arc::clone(&identity.family));
                }
            }
            let is_timed = self.send_timestamps && identity.family.name != self.target_info;
            write(&mut exposition, identity, state, is_timed);
            if !self.is_paid(exposition.held()) {
                return Some(Err(CutOff::Budget));
            }
            if exposition.len() >= CHUNK_BYTES {
                let piece = exposition.take();
                self.exposition = Some(exposition);
                return Some(Ok(piece));
            }
        }
        Some(Ok(exposition.finish()))
    }
}

fn write(exposition: &mut Exposition, identity: &Identity, state: &State, is_timed: bool) {
    const MILLISECOND: u64 = 1_000_000;
    let mut buckets = Vec::new();
    let (value, time_ns) = match state {
        State::Number(number) => (of_number(number, identity.family.kind), number.time_ns),
        State::Histogram(histogram) => (of_histogram(histogram, &mut buckets), histogram.time_ns),
        State::Summary(summary) => {
            let value = Summary {
                count: summary.count,
                sum: summary.sum,
                quantiles: &summary.quantiles,
                created_ns: created(summary.start_ns),
            };
            (Value::Summary(value), summary.time_ns)
        }
        State::Exponential(histogram) => {
            // Prometheus counts from the bucket that ends at 1, OTLP from the one that begins there.
            let span = |offset: i64| i32::try_from(offset + 1).unwrap_or(i32::MAX);
            let value = Native {
                count: histogram.count,
                sum: histogram.sum.unwrap_or_default(),
                schema: histogram.scale,
                zero_threshold: histogram.shown_zero_threshold(),
                zero_count: histogram.zero_count,
                positive: Span {
                    offset: span(histogram.positive.offset),
                    counts: &histogram.positive.counts,
                },
                negative: Span {
                    offset: span(histogram.negative.offset),
                    counts: &histogram.negative.counts,
                },
                created_ns: created(histogram.start_ns),
                exemplars: &histogram.exemplars,
            };
            (Value::Native(value), histogram.time_ns)
        }
    };
    let labels = identity.labels.iter().map(|(name, value)| (&**name, &**value));
    let timestamp_ms = is_timed.then(|| (time_ns / MILLISECOND).cast_signed());
    exposition.sample(labels, timestamp_ms, &value);
}

fn of_number(number: &NumberState, kind: Kind) -> Value<'static> {
    let value = number.value.to_f64();
    match kind {
        Kind::Counter => {
            Value::Counter { value, created_ns: created(number.start_ns), exemplar: number.exemplar }
        }
        _ => Value::Number(value),
    }
}

fn of_histogram<'a>(histogram: &'a HistogramState, buckets: &'a mut Vec<Bucket>) -> Value<'a> {
    let mut cumulative = 0u64;
    let counts = histogram.counts.iter().copied().chain(std::iter::repeat(0));
    buckets.extend(histogram.bounds.iter().zip(counts).map(|(upper_bound, count)| {
        cumulative = cumulative.saturating_add(count);
        Bucket { upper_bound: *upper_bound, cumulative }
    }));
    Value::Histogram(Histogram {
        count: histogram.count,
        sum: histogram.sum,
        buckets,
        created_ns: created(histogram.start_ns),
        exemplars: &histogram.exemplars,
    })
}

/// A time within the first second of 1970 is none, as in Go.
fn created(start_ns: u64) -> Option<u64> {
    const SECOND: u64 = 1_000_000_000;
    (start_ns >= SECOND).then_some(start_ns)
}

/// Whether an `Accept-Encoding` takes gzip.
fn takes_gzip(accepted: &str) -> bool {
    accepted.split(',').any(|coding| {
        let (name, parameters) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = parameters.trim().strip_prefix("q=").and_then(|quality| quality.parse::<f32>().ok());
        matches!(name.trim(), "gzip" | "*") && refused != Some(0.0)
    })
}

/// The metrics that a query chooses: `name[]=a&name[]=b`.
fn chosen_names(query: &str) -> BTreeSet<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .filter(|(key, _)| unescaped(key) == "name[]")
        .map(|(_, name)| unescaped(name))
        .take(NAMES_MAX)
        .collect()
}

/// A part of a query without its escapes; what is no escape stays as it is.
fn unescaped(text: &str) -> String {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b'%', [high, low, after @ ..]) => match (digit(*high), digit(*low)) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    rest = after;
                }
                _ => out.push(b'%'),
            },
            (b'+', _) => out.push(b' '),
            _ => out.push(*byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_chosen_by_the_query() {
        let names = chosen_names("name[]=a_b&x=1&name%5B%5D=c%2Ed+e&name[]=%zz");
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["%zz", "a_b", "c.d e"]);
    }

    #[test]
    fn gzip_is_taken_unless_refused() {
        assert!(takes_gzip("gzip") && takes_gzip("deflate, gzip;q=0.5") && takes_gzip("*"));
        assert!(
            !takes_gzip("") && !takes_gzip("br") && !takes_gzip("gzip;q=0") && !takes_gzip("gzip;q=0.0, br")
        );
    }
}
