//! A TCP connection below TLS that fails when a client sends too much TLS without content.
//!
//! TLS lets a handshake message be 16 MB long in as many records as the peer likes (RFC 8446, 4 and 5.1); rustls keeps up
//! to 64 KiB of one that never ends, for unauthenticated clients too. So received bytes are counted until content is decrypted.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// What a client may send without content: a full record, which must be whole before it is opened (16,640 bytes and a
/// header; RFC 8446, 5.2), and as much as a client's part of a handshake, which is 2 KiB with post-quantum keys.
const CLIENT_BYTES: usize = 24 * 1024;

/// A connection, and how many bytes were received since content was last decrypted.
#[derive(Debug)]
pub struct HandshakeLimit {
    tcp: TcpStream,
    count: usize,
    limit: usize,
}

impl HandshakeLimit {
    /// The connection of a client, which may be an attacker.
    pub fn client(tcp: TcpStream) -> Self {
        Self { tcp, count: 0, limit: CLIENT_BYTES }
    }

    /// The connection to a configured mail server, whose certificates may be long: without a limit.
    pub fn server(tcp: TcpStream) -> Self {
        Self { tcp, count: 0, limit: usize::MAX }
    }

    /// Whether anything was received since content was last decrypted.
    pub fn has_received(&self) -> bool {
        self.count > 0
    }

    /// Content was decrypted: the count starts again.
    pub fn content_came(&mut self) {
        self.count = 0;
    }
}

impl AsyncRead for HandshakeLimit {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.tcp).poll_read(cx, buffer))?;
        this.count = this.count.saturating_add(buffer.filled().len() - before);
        if this.count > this.limit {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "too much TLS without content")));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for HandshakeLimit {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (near.unwrap(), far.unwrap().0)
    }

    #[tokio::test]
    async fn handshake_bytes_of_a_client_are_bounded() {
        let (mut client, far) = pair().await;
        let mut limited = HandshakeLimit::client(far);
        client.write_all(&vec![0; CLIENT_BYTES + 1]).await.unwrap();
        let mut taken = vec![0; CLIENT_BYTES];
        limited.read_exact(&mut taken).await.unwrap();
        assert_eq!(limited.read(&mut taken).await.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn content_resets_the_count() {
        let (mut client, far) = pair().await;
        let mut limited = HandshakeLimit::client(far);
        let mut taken = vec![0; CLIENT_BYTES];
        for _ in 0..3 {
            client.write_all(&taken).await.unwrap();
            limited.read_exact(&mut taken).await.unwrap();
            limited.content_came();
        }
    }
}
