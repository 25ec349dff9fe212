//! A body in parts, of known length.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Parts that are sent one after the other. One alone, which is the usual case, needs no memory of its own.
#[derive(Debug)]
pub(super) enum Parts {
    One(Option<Bytes>),
    Many(VecDeque<Bytes>),
}

impl Parts {
    pub(super) fn of(parts: &[Bytes]) -> Self {
        match parts {
            [] => Self::One(None),
            [one] => Self::One(Some(one.clone())),
            many => Self::Many(many.iter().cloned().collect()),
        }
    }
}

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let part = match &mut *self {
            Self::One(part) => part.take(),
            Self::Many(parts) => parts.pop_front(),
        };
        Poll::Ready(part.map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::One(part) => part.is_none(),
            Self::Many(parts) => parts.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let len = match self {
            Self::One(part) => part.as_ref().map_or(0, Bytes::len),
            Self::Many(parts) => parts.iter().map(Bytes::len).sum(),
        };
        SizeHint::with_exact(len as u64)
    }
}
