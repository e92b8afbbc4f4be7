//! One of the two connections of a session: what is still to be sent to it, and what was moved.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use crate::net::stream::{Leftover, Stream, poll_lend, poll_send};

/// A connection, or what is left of it.
pub(super) struct Side {
    /// None when it was cut, or has broken.
    pub(super) stream: Option<Stream>,
    leftover: Leftover,
    unflushed: bool,
    /// A write has failed: nothing else is written, or bytes would be missing in between.
    broken: bool,
    received: u64,
    sent: u64,
}

impl Side {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream: Some(stream),
            leftover: Leftover::default(),
            unflushed: false,
            broken: false,
            received: 0,
            sent: 0,
        }
    }

    /// Queues bytes, unless the connection was cut or has broken.
    pub(super) fn push(&mut self, bytes: Vec<u8>) {
        if self.stream.is_some() && !self.broken {
            self.sent += bytes.len() as u64;
            self.leftover.push(bytes);
            self.unflushed = true;
        }
    }

    /// Closes immediately: without `close_notify`, and what was not sent yet is dropped.
    pub(super) fn cut(&mut self) {
        self.stream = None;
        self.leftover = Leftover::default();
        self.unflushed = false;
    }

    /// Ready when all is sent. A peer that cannot be written to may still be read.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(()) };
        let sent = match poll_send(stream, &mut self.leftover, cx) {
            // Ciphertext may still lie in rustls after its plaintext was taken.
            Poll::Ready(Ok(())) if self.unflushed => Pin::new(stream).poll_flush(cx),
            sent => sent,
        };
        if ready!(sent).is_err() {
            self.leftover = Leftover::default();
            self.broken = true;
        }
        self.unflushed = false;
        Poll::Ready(())
    }

    /// Ready with `false` when the peer has ended or its connection has broken.
    pub(super) fn poll_lend(&mut self, cx: &mut Context<'_>, lend: impl FnOnce(&[u8])) -> Poll<bool> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(false) };
        Poll::Ready(match ready!(poll_lend(stream, cx, lend)) {
            Ok(count) => {
                self.received += count as u64;
                count > 0
            }
            Err(_) => {
                self.cut();
                false
            }
        })
    }

    /// Whether something is still to be sent.
    pub(super) fn has_unsent(&self) -> bool {
        self.unflushed
    }

    /// Bytes that came.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// Bytes that have left for the peer.
    pub(super) fn taken(&self) -> u64 {
        self.sent.saturating_sub(self.leftover.as_slice().len() as u64)
    }
}
