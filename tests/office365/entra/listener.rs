//! TLS under the HTTP server. Handshakes are concurrent, so that a client that stalls in one delays no other; and an
//! answer can be cut off, for the fault in which the service closes the connection.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::office365::Shared;

/// Handshakes that were finished and not yet taken over.
const MAX_WAITING: usize = 64;

/// The means to cut one connection: once cancelled, nothing more is written to it.
#[derive(Debug, Clone)]
pub(super) struct Cut(pub(super) CancellationToken);

impl Connected<IncomingStream<'_, TlsListener>> for Cut {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        stream.remote_addr().clone()
    }
}

pub(super) struct TlsListener {
    ready: mpsc::Receiver<Connection>,
}

impl TlsListener {
    pub(super) fn new(tcp: TcpListener, shared: Arc<Shared>) -> Self {
        let (sender, ready) = mpsc::channel(MAX_WAITING);
        tokio::spawn(async move {
            let accept = async {
                loop {
                    let Ok((stream, _)) = tcp.accept().await else { continue };
                    tokio::spawn(handshake(stream, Arc::clone(&shared), sender.clone()));
                }
            };
            tokio::select! {
                () = shared.stop.cancelled() => {}
                () = accept => {}
            }
        });
        Self { ready }
    }
}

async fn handshake(stream: TcpStream, shared: Arc<Shared>, sender: mpsc::Sender<Connection>) {
    // A small answer in two writes must not wait for the acknowledgement of the first.
    let _ = stream.set_nodelay(true);
    let acceptor = TlsAcceptor::from(Arc::clone(&shared.tls));
    tokio::select! {
        () = shared.stop.cancelled() => {}
        accepted = acceptor.accept(stream) => if let Ok(stream) = accepted {
            let _ = sender.send(Connection { stream, cut: shared.stop.child_token() }).await;
        }
    }
}

impl Listener for TlsListener {
    type Io = Connection;
    type Addr = Cut;

    async fn accept(&mut self) -> (Connection, Cut) {
        match self.ready.recv().await {
            Some(connection) => {
                let cut = Cut(connection.cut.clone());
                (connection, cut)
            }
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Cut> {
        Ok(Cut(CancellationToken::new()))
    }
}

pub(super) struct Connection {
    stream: TlsStream<TcpStream>,
    cut: CancellationToken,
}

impl Connection {
    fn check(&self) -> io::Result<()> {
        if self.cut.is_cancelled() { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
