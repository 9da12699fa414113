//! Watch: the bodies of answers: at hand, or coming in pieces.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

/// Why the rest of a body does not come.
pub(crate) type Broken = Box<dyn std::error::Error + Send + Sync>;

type Next = Box<dyn FnMut(&mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> + Send>;

/// The body of an answer, as [`http_body::Body`] has it.
pub struct Body(Kind);

enum Kind {
    Whole(Bytes),
    Pieces { next: Next, left: Option<u64> },
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Whole(bytes) => f.debug_tuple("Body").field(&bytes.len()).finish(),
            Kind::Pieces { .. } => f.debug_tuple("Body").field(&"in pieces").finish(),
        }
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::from(Bytes::new())
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(Kind::Whole(bytes))
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::from(Bytes::from(text))
    }
}

impl Body {
    /// One that comes as it is asked for; `size` is how much there will be, where that is known.
    pub(crate) fn pieces(
        size: Option<u64>,
        next: impl FnMut(&mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> + Send + 'static,
    ) -> Self {
        Self(Kind::Pieces { next: Box::new(next), left: size })
    }

    /// One whose pieces come one after the other, each from the state that the one before has left; a piece that is
    /// broken is the last.
    pub(crate) fn unfold<S, F>(
        size: Option<u64>,
        state: S,
        mut step: impl FnMut(S) -> F + Send + 'static,
    ) -> Self
    where
        S: Send + 'static,
        F: Future<Output = Option<Result<(Bytes, S), Broken>>> + Send + 'static,
    {
        let mut running = Some(Box::pin(step(state)));
        Self::pieces(size, move |context| {
            let Some(future) = &mut running else { return Poll::Ready(None) };
            let Poll::Ready(piece) = future.as_mut().poll(context) else { return Poll::Pending };
            running = None;
            Poll::Ready(piece.map(|piece| {
                piece.map(|(bytes, state)| {
                    running = Some(Box::pin(step(state)));
                    bytes
                })
            }))
        })
    }

    /// How much of it there is, where that is known.
    pub(crate) fn size(&self) -> Option<u64> {
        match &self.0 {
            Kind::Whole(bytes) => Some(bytes.len() as u64),
            Kind::Pieces { left, .. } => *left,
        }
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut self.0 {
            Kind::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Pieces { next, left } => {
                let piece = next(context);
                if let (Poll::Ready(Some(Ok(bytes))), Some(left)) = (&piece, left) {
                    *left = left.saturating_sub(bytes.len() as u64);
                }
                piece.map(|piece| piece.map(|piece| piece.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(&self.0, Kind::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        self.size().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
