//! The destination of a session's mail. The session uses only this interface, so that a destination other than a mail server on the
//! network is possible.

use std::task::{Context, Poll};

use tokio::io::AsyncWriteExt;

use super::side::Side;
use crate::journal::event::TakenBy;
use crate::net::stream::Stream;

/// The server's side of a session.
pub(crate) enum Upstream {
    /// A mail server, logged in to.
    Live(Live),
}

/// A connection to a mail server.
pub(crate) struct Live(Side);

impl Upstream {
    /// A mail server that was logged in to over this connection.
    pub(crate) fn live(stream: Stream) -> Self {
        Self::Live(Live(Side::new(stream)))
    }

    /// Queues what the machine sends to it.
    pub(super) fn push(&mut self, bytes: Vec<u8>) {
        self.side().push(bytes);
    }

    /// Ready when all of that was taken. While it is not, the client is not read.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.side().poll_send(cx)
    }

    /// Lends what it replies. Ready with `false` when it has ended.
    pub(super) fn poll_lend(&mut self, cx: &mut Context<'_>, lend: impl FnOnce(&[u8])) -> Poll<bool> {
        self.side().poll_lend(cx, lend)
    }

    /// Closes immediately, because an unfinished message must not be delivered.
    pub(super) fn cut(&mut self) {
        self.side().cut();
    }

    /// Closes in order.
    pub(super) async fn close(self) {
        let Self::Live(Live(side)) = self;
        if let Some(mut stream) = side.stream {
            let _ = stream.shutdown().await;
        }
    }

    /// Who takes the messages of the session.
    pub(super) fn taken_by(&self) -> TakenBy {
        match self {
            Self::Live(_) => TakenBy::Live,
        }
    }

    /// Whether it can be silent because of a network, so that its silence has a limit.
    pub(super) fn is_on_network(&self) -> bool {
        match self {
            Self::Live(_) => true,
        }
    }

    /// Whether something was pushed and not taken yet.
    pub(super) fn has_unsent(&self) -> bool {
        let Self::Live(Live(side)) = self;
        side.has_unsent()
    }

    /// Bytes that it has taken.
    pub(super) fn taken(&self) -> u64 {
        let Self::Live(Live(side)) = self;
        side.taken()
    }

    /// Bytes of its replies.
    pub(super) fn received(&self) -> u64 {
        let Self::Live(Live(side)) = self;
        side.received()
    }

    fn side(&mut self) -> &mut Side {
        let Self::Live(Live(side)) = self;
        side
    }
}
