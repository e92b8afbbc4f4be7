//! A client of few words: lines out, lines in.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Nothing takes that long; a test that waits longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to the proxy.
pub(crate) struct Client<S = TcpStream> {
    stream: BufReader<S>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    /// From another address of this machine: all of 127.0.0.0/8 is.
    #[cfg(target_os = "linux")]
    pub(crate) async fn connect_from(here: std::net::Ipv4Addr, address: SocketAddr) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((here, 0))).unwrap();
        Self::over(socket.connect(address).await.unwrap())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// The connection, to raise it to TLS. Nothing may have been read ahead.
    pub(crate) fn into_inner(self) -> S {
        assert!(self.stream.buffer().is_empty(), "bytes ahead of TLS");
        self.stream.into_inner()
    }

    pub(crate) async fn say(&mut self, line: &str) {
        self.send(format!("{line}\r\n").as_bytes()).await;
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// The next line without its end; `None` at the end of the stream.
    pub(crate) async fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        let read = tokio::time::timeout(PATIENCE, self.stream.read_until(b'\n', &mut line)).await;
        match read.expect("the proxy says nothing") {
            Ok(count) if count > 0 => Some(String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n']).to_owned()),
            _ => None,
        }
    }

    /// Lines up to the first that begins like this.
    pub(crate) async fn until(&mut self, beginning: &str) -> String {
        let mut all = String::new();
        loop {
            let line = self.line().await.unwrap_or_else(|| panic!("end of stream before {beginning:?}; read {all:?}"));
            if line.starts_with(beginning) {
                return line;
            }
            all.push_str(&line);
            all.push('\n');
        }
    }

    /// Closes it in order.
    pub(crate) async fn close(mut self) {
        self.stream.shutdown().await.unwrap();
    }

    pub(crate) async fn exactly(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        let read = tokio::time::timeout(PATIENCE, self.stream.read_exact(&mut bytes)).await;
        read.expect("the proxy says nothing").unwrap();
        bytes
    }

    /// Everything up to the end of the stream.
    pub(crate) async fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut bytes)).await;
        let _ = read.expect("the proxy does not close");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
