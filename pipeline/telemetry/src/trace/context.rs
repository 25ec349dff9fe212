//! Which trace and span something belongs to, and how senders say it.

use http::HeaderMap;

use crate::config::traces::Propagator;

/// Which trace and span.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct SpanContext {
    /// Not all zero.
    pub trace_id: [u8; 16],
    /// Not all zero.
    pub span_id: [u8; 8],
    /// Whether the trace is recorded.
    pub is_sampled: bool,
    /// Whether it was told by a sender.
    pub is_remote: bool,
}

/// The trace that a sender's headers tell of, in the first of these ways that says anything.
pub(super) fn extract(propagators: &[Propagator], headers: &HeaderMap) -> Option<SpanContext> {
    propagators.iter().find_map(|propagator| match propagator {
        Propagator::TraceContext => trace_context(text(headers, "traceparent")?),
        Propagator::B3 => text(headers, "b3").and_then(b3_single).or_else(|| b3_multi(headers)),
    })
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok().map(str::trim)
}

/// `00-{trace id}-{span id}-{flags}`; later versions may say more.
fn trace_context(text: &str) -> Option<SpanContext> {
    let mut parts = text.split('-');
    let version: [u8; 1] = hex(parts.next()?)?;
    let (trace_id, span_id) = (hex(parts.next()?)?, hex(parts.next()?)?);
    let [flags] = hex(parts.next()?)?;
    let is_known = version == [0];
    if version == [0xff] || (is_known && parts.next().is_some()) {
        return None;
    }
    context(trace_id, span_id, flags & 1 == 1)
}

/// `{trace id}-{span id}-{sampled}-{parent}`, the last two optional.
fn b3_single(text: &str) -> Option<SpanContext> {
    let mut parts = text.split('-');
    let (trace_id, span_id) = (long_hex(parts.next()?)?, hex(parts.next()?)?);
    context(trace_id, span_id, parts.next().is_some_and(says_sampled))
}

fn b3_multi(headers: &HeaderMap) -> Option<SpanContext> {
    let trace_id = long_hex(text(headers, "x-b3-traceid")?)?;
    let span_id = hex(text(headers, "x-b3-spanid")?)?;
    let debug = text(headers, "x-b3-flags") == Some("1");
    context(trace_id, span_id, debug || text(headers, "x-b3-sampled").is_some_and(says_sampled))
}

fn says_sampled(text: &str) -> bool {
    matches!(text, "1" | "d" | "true")
}

fn context(trace_id: [u8; 16], span_id: [u8; 8], is_sampled: bool) -> Option<SpanContext> {
    let is_valid = trace_id != [0; 16] && span_id != [0; 8];
    is_valid.then_some(SpanContext { trace_id, span_id, is_sampled, is_remote: true })
}

/// A trace id of 16 bytes, or of 8, which are its end.
fn long_hex(text: &str) -> Option<[u8; 16]> {
    if text.len() == 32 {
        return hex(text);
    }
    let end: [u8; 8] = hex(text)?;
    let mut id = [0; 16];
    id[8..].copy_from_slice(&end);
    Some(id)
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != 2 * N || !text.bytes().all(is_hex) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";

    fn read(propagators: &[Propagator], pairs: &[(&'static str, String)]) -> Option<(bool, u8, u8)> {
        let headers = pairs.iter().map(|(name, value)| {
            (name.parse::<http::HeaderName>().expect("a name"), value.parse().expect("a value"))
        });
        let context = extract(propagators, &headers.collect())?;
        Some((context.is_sampled, context.trace_id[15], context.span_id[0]))
    }

    #[test]
    fn senders_traces_are_read_as_they_are_written() {
        use Propagator::{B3, TraceContext};
        let w3c = |text: String| read(&[TraceContext], &[("traceparent", text)]);
        assert_eq!(w3c(format!("00-{TRACE}-{SPAN}-01")), Some((true, 0x9c, 0xb7)));
        assert_eq!(w3c(format!("00-{TRACE}-{SPAN}-00")), Some((false, 0x9c, 0xb7)));
        assert_eq!(w3c(format!("cc-{TRACE}-{SPAN}-01-more")), Some((true, 0x9c, 0xb7)));
        for bad in [
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("00-{}-{SPAN}-01", "0".repeat(32)),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            "00-x".to_owned(),
        ] {
            assert_eq!(w3c(bad.clone()), None, "{bad}");
        }
        assert_eq!(read(&[B3], &[("b3", format!("{TRACE}-{SPAN}-1"))]), Some((true, 0x9c, 0xb7)));
        let multi = [("x-b3-traceid", TRACE[16..].to_owned()), ("x-b3-spanid", SPAN.to_owned())];
        assert_eq!(read(&[B3], &multi), Some((false, 0x9c, 0xb7)));
        assert_eq!(read(&[TraceContext], &multi), None);
        assert_eq!(read(&[], &[("traceparent", format!("00-{TRACE}-{SPAN}-01"))]), None);
    }
}
