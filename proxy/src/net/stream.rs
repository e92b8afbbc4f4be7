//! A connection to either side, plain or TLS, and how the relay takes bytes from it without a buffer of its own.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use crate::net::handshake_limit::HandshakeLimit;

/// What a plain connection is read into, once for each thread: 16 KiB, the size of a TLS record, which is what the other
/// side of the relay deals in.
const SCRATCH: usize = 16 * 1024;

thread_local! {
    pub(crate) static SCRATCH_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH]);
}

/// A connection to a client or a server.
#[derive(Debug)]
pub enum Stream {
    /// Bytes as they come.
    Plain(TcpStream),
    /// Within TLS, whichever side began it. Boxed: it is a kilobyte, and most local sessions are plain.
    Tls(Box<TlsStream<HandshakeLimit>>),
    /// A fuzzer's or a test's: bytes that come from memory, on which TLS begins without a handshake.
    #[cfg(any(test, fuzzing))]
    Memory(Box<dyn Memory>),
}

/// What a fuzzer or a test puts in the place of a connection.
#[cfg(any(test, fuzzing))]
pub trait Memory: AsyncRead + AsyncWrite + Unpin + Send + std::fmt::Debug {}

#[cfg(test)]
impl Memory for tokio::io::DuplexStream {}

/// Bytes taken from a plain connection that the other side could not accept immediately. Empty, and without memory, unless the
/// other side is slower; never more than [`SCRATCH`], or than what a login left over.
#[derive(Debug, Default)]
pub(crate) struct Leftover {
    bytes: Vec<u8>,
    sent: usize,
}

impl Leftover {
    /// Bytes that must go before anything else.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, sent: 0 }
    }

    /// What is still to be sent.
    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.get(self.sent..).unwrap_or_default()
    }

    /// Appends bytes to those that are still to be sent.
    pub(crate) fn push(&mut self, bytes: Vec<u8>) {
        if self.as_slice().is_empty() {
            *self = Self::new(bytes);
        } else {
            self.bytes.extend_from_slice(&bytes);
        }
    }

    /// So many of them were sent.
    pub(crate) fn advance(&mut self, count: usize) {
        self.sent += count;
        if self.as_slice().is_empty() {
            *self = Self::default();
        }
    }
}

/// Which of two connections broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The one read from.
    Source,
    /// The one written to.
    Sink,
}

/// Reads what there is and lends it, without a buffer of its own. Ready with how much it was; with 0, and nothing lent, when
/// the source has ended.
pub(crate) fn poll_lend(
    source: &mut Stream,
    cx: &mut Context<'_>,
    lend: impl FnOnce(&[u8]),
) -> Poll<io::Result<usize>> {
    match source {
        Stream::Tls(tls) => {
            let count = match ready!(Pin::new(tls.as_mut()).poll_fill_buf(cx)) {
                Ok(chunk) => {
                    if !chunk.is_empty() {
                        lend(chunk);
                    }
                    chunk.len()
                }
                // A peer that closes TCP without close_notify: the mail protocols mark their own ends.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
                Err(error) => return Poll::Ready(Err(error)),
            };
            Pin::new(tls.as_mut()).consume(count);
            tls.get_mut().0.content_came();
            Poll::Ready(Ok(count))
        }
        plain => SCRATCH_BUFFER.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(plain).poll_read(cx, &mut buffer))?;
            let chunk = buffer.filled();
            if !chunk.is_empty() {
                lend(chunk);
            }
            Poll::Ready(Ok(chunk.len()))
        }),
    }
}

/// Sends what is left over. Ready when there is nothing more.
pub(crate) fn poll_send(sink: &mut Stream, leftover: &mut Leftover, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    while !leftover.as_slice().is_empty() {
        match ready!(Pin::new(&mut *sink).poll_write(cx, leftover.as_slice()))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            count => leftover.advance(count),
        }
    }
    Poll::Ready(Ok(()))
}

/// Reads and forgets. Ready with 0 when the source has ended.
pub(crate) fn poll_discard(source: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    SCRATCH_BUFFER.with_borrow_mut(|scratch| {
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(source).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    })
}

/// Writes as much as the sink takes.
pub(crate) fn poll_write_some(sink: &mut Stream, bytes: &[u8], cx: &mut Context<'_>) -> Poll<Result<usize, Broken>> {
    match ready!(Pin::new(sink).poll_write(cx, bytes)) {
        Ok(0) | Err(_) => Poll::Ready(Err(Broken::Sink)),
        Ok(count) => Poll::Ready(Ok(count)),
    }
}

impl Stream {
    /// Closes it so that the peer sees that it was cut: a plain connection is reset, and TLS ends without `close_notify`.
    pub fn abort(self) {
        if let Self::Plain(tcp) = self {
            let _ = tcp.set_zero_linger();
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Self::Tls(tls) => match ready!(Pin::new(tls.as_mut()).poll_read(cx, buffer)) {
                Ok(()) => {
                    tls.get_mut().0.content_came();
                    Poll::Ready(Ok(()))
                }
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(())),
                Err(error) => Poll::Ready(Err(error)),
            },
            #[cfg(any(test, fuzzing))]
            Self::Memory(memory) => Pin::new(memory).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_write(cx, bytes),
            #[cfg(any(test, fuzzing))]
            Self::Memory(memory) => Pin::new(memory).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
            #[cfg(any(test, fuzzing))]
            Self::Memory(memory) => Pin::new(memory).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
            #[cfg(any(test, fuzzing))]
            Self::Memory(memory) => Pin::new(memory).poll_shutdown(cx),
        }
    }
}
