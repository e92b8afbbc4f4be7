//! One direction of the relay: bytes of one connection are forwarded to the other unchanged, without a buffer of their own, after
//! an inspection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use oxpost_protocol::tap::Cut;
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};
use zeroize::Zeroize as _;

use crate::net::stream::{Broken, Leftover, SCRATCH_BUFFER, Stream, poll_write_some};

/// How a source ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SourceEnd {
    /// As its protocol has it.
    Closed,
    /// TLS ended without `close_notify`: an attacker on the network may have cut it.
    Truncated,
}

/// What one move came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// So many bytes went on; some may have been taken that did not.
    Bytes(usize),
    /// What the source has said may not go on yet.
    Waits,
    /// The source has ended, and everything that may go on has.
    Ended(SourceEnd),
}

/// What is on its way in one direction. Without memory unless the sink is slower than the source.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Read and not looked at yet, but for what is counted below.
    unread: Leftover,
    /// How many bytes at the front of what was read are forwarded, and how many after them are dropped.
    passing: usize,
    dropping: usize,
    /// What is sent after those.
    output: Leftover,
}

/// Decides about what a flow moves.
pub(super) trait Inspect {
    /// Looks at bytes of the source.
    fn look(&mut self, bytes: &[u8]) -> Cut;

    /// Takes what is sent to the sink after all that was forwarded so far.
    fn output(&mut self) -> Vec<u8>;
}

impl Flow {
    /// A flow that begins with these bytes of its source.
    pub(super) fn new(unread: Vec<u8>) -> Self {
        Self { unread: Leftover::new(unread), ..Self::default() }
    }

    /// Moves one chunk from `source` to `sink`.
    pub(super) fn poll_move(
        &mut self,
        source: &mut Stream,
        sink: &mut Stream,
        cx: &mut Context<'_>,
        inspect: &mut impl Inspect,
    ) -> Poll<Result<Moved, Broken>> {
        if let Some(count) = ready!(self.poll_output(sink, cx, inspect))? {
            return Poll::Ready(Ok(Moved::Bytes(count)));
        }
        if !self.unread.as_slice().is_empty() {
            let mut unread = std::mem::take(&mut self.unread);
            let went = self.poll_chunk(unread.as_slice(), sink, cx, inspect);
            if let Poll::Ready(Ok(ChunkResult { taken, .. })) = went {
                unread.advance(taken);
            }
            self.unread = unread;
            return went.map_ok(ChunkResult::moved);
        }
        match source {
            Stream::Tls(tls) => {
                // rustls lends its decrypted record; only what is done with is consumed.
                let chunk = match ready!(Pin::new(tls.as_mut()).poll_fill_buf(cx)) {
                    Ok([]) => return Poll::Ready(Ok(Moved::Ended(SourceEnd::Closed))),
                    Ok(chunk) => chunk,
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        return Poll::Ready(Ok(Moved::Ended(SourceEnd::Truncated)));
                    }
                    Err(_) => return Poll::Ready(Err(Broken::Source)),
                };
                let went = ready!(self.poll_chunk(chunk, sink, cx, inspect))?;
                Pin::new(tls.as_mut()).consume(went.taken);
                tls.get_mut().0.content_came();
                Poll::Ready(Ok(went.moved()))
            }
            plain => SCRATCH_BUFFER.with_borrow_mut(|scratch| {
                let mut buffer = ReadBuf::new(scratch);
                ready!(Pin::new(plain).poll_read(cx, &mut buffer)).map_err(|_| Broken::Source)?;
                let chunk = buffer.filled_mut();
                if chunk.is_empty() {
                    return Poll::Ready(Ok(Moved::Ended(SourceEnd::Closed)));
                }
                let went = self.poll_chunk(chunk, sink, cx, inspect);
                let (taken, passed) = match went {
                    Poll::Ready(Ok(ChunkResult { taken, passed, .. })) => (taken, passed),
                    Poll::Ready(Err(_)) | Poll::Pending => (0, 0),
                };
                self.unread = Leftover::new(chunk.get(taken..).unwrap_or_default().to_vec());
                // What does not go on may be a password.
                if let Some(dropped) = chunk.get_mut(passed..taken) {
                    dropped.zeroize();
                }
                went.map_ok(ChunkResult::moved)
            }),
        }
    }

    /// Sends what goes before anything else is looked at. Ready with how much of it went, or with nothing when there is none.
    pub(super) fn poll_output(
        &mut self,
        sink: &mut Stream,
        cx: &mut Context<'_>,
        inspect: &mut impl Inspect,
    ) -> Poll<Result<Option<usize>, Broken>> {
        // It is sent after what was inspected before.
        if !self.is_clear() {
            return Poll::Ready(Ok(None));
        }
        if self.output.as_slice().is_empty() {
            self.output = Leftover::new(inspect.output());
            if self.output.as_slice().is_empty() {
                return Poll::Ready(Ok(None));
            }
        }
        let count = ready!(poll_write_some(sink, self.output.as_slice(), cx))?;
        self.output.advance(count);
        Poll::Ready(Ok(Some(count)))
    }

    /// Sends what goes on of this chunk. Pending while the sink takes nothing of it.
    fn poll_chunk(
        &mut self,
        chunk: &[u8],
        sink: &mut Stream,
        cx: &mut Context<'_>,
        inspect: &mut impl Inspect,
    ) -> Poll<Result<ChunkResult, Broken>> {
        if self.is_clear() {
            let Cut { pass, taken } = inspect.look(chunk);
            self.passing = pass;
            self.dropping = taken.saturating_sub(pass);
            if taken == 0 {
                let output = inspect.output();
                self.output = Leftover::new(output);
                let waits = self.output.as_slice().is_empty();
                return Poll::Ready(Ok(ChunkResult { passed: 0, taken: 0, waits }));
            }
        }
        let mut passed = 0;
        if let Some(passing) = chunk.get(..self.passing).filter(|passing| !passing.is_empty()) {
            passed = ready!(poll_write_some(sink, passing, cx))?;
            self.passing = self.passing.saturating_sub(passed);
        }
        let mut taken = passed;
        if self.passing == 0 {
            taken += std::mem::take(&mut self.dropping);
        }
        Poll::Ready(Ok(ChunkResult { passed, taken, waits: false }))
    }

    /// Whether all that was looked at has gone.
    pub(super) fn is_clear(&self) -> bool {
        self.passing == 0 && self.dropping == 0
    }
}

/// What became of a chunk.
struct ChunkResult {
    /// So many bytes at its front went on, and so many are done with.
    passed: usize,
    taken: usize,
    /// Nothing of it may go on yet.
    waits: bool,
}

impl ChunkResult {
    fn moved(self) -> Moved {
        if self.waits { Moved::Waits } else { Moved::Bytes(self.passed) }
    }
}
