//! A TCP forwarder in front of a server that counts connections.
//!
//! A test that says "nothing has reached the server" asks the forwarder, not the server's log, which may be late or silent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Problem;

/// A forwarder. It closes, with all connections through it, when this is dropped.
pub struct Forwarder {
    address: SocketAddr,
    server: SocketAddr,
    count: Arc<AtomicUsize>,
    stop: CancellationToken,
    serving: JoinHandle<Option<()>>,
}

impl Forwarder {
    /// Opens a forwarder on 127.0.0.1 that leads to `server`.
    ///
    /// # Errors
    /// There is no port.
    pub async fn open(server: SocketAddr) -> Result<Self, Problem> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (count, stop) = (Arc::default(), CancellationToken::new());
        let serving = begin(listener, server, &count, &stop);
        Ok(Self { address, server, count, stop, serving })
    }

    /// Shuts it: its connections are cut, and new ones are refused.
    ///
    /// # Errors
    /// It has died.
    pub async fn shut(&mut self) -> Result<(), Problem> {
        self.stop.cancel();
        (&mut self.serving).await.map(drop).map_err(|error| Problem::new(error.to_string()))
    }

    /// Opens it again, where it was.
    ///
    /// # Errors
    /// Another process has taken the port.
    pub async fn open_again(&mut self) -> Result<(), Problem> {
        let listener = TcpListener::bind(self.address).await?;
        self.stop = CancellationToken::new();
        self.serving = begin(listener, self.server, &self.count, &self.stop);
        Ok(())
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many have come so far. A connection is counted before a byte goes through.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn begin(
    listener: TcpListener,
    server: SocketAddr,
    count: &Arc<AtomicUsize>,
    stop: &CancellationToken,
) -> JoinHandle<Option<()>> {
    let serving = serve(listener, server, Arc::clone(count), stop.clone());
    tokio::spawn(stop.clone().run_until_cancelled_owned(serving))
}

async fn serve(listener: TcpListener, server: SocketAddr, count: Arc<AtomicUsize>, stop: CancellationToken) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        count.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(stop.clone().run_until_cancelled_owned(let_through(client, server)));
    }
}

async fn let_through(mut client: TcpStream, server: SocketAddr) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn forwarder_counts_and_forwards() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let forwarder = Forwarder::open(server.local_addr().unwrap()).await.unwrap();
        assert_eq!(forwarder.count(), 0);
        let mut client = TcpStream::connect(forwarder.address()).await.unwrap();
        client.write_all(b"hello").await.unwrap();
        let (mut served, _) = server.accept().await.unwrap();
        assert_eq!(forwarder.count(), 1);
        let mut bytes = [0; 5];
        served.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"hello");
        drop(served);
        assert_eq!(client.read(&mut bytes).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn closed_forwarder_refuses_connections_until_it_is_reopened() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut forwarder = Forwarder::open(server.local_addr().unwrap()).await.unwrap();
        let mut client = TcpStream::connect(forwarder.address()).await.unwrap();
        let (served, _) = server.accept().await.unwrap();
        forwarder.shut().await.unwrap();
        assert!(!matches!(client.read(&mut [0]).await, Ok(1..)), "an open connection is cut");
        TcpStream::connect(forwarder.address()).await.unwrap_err();
        assert_eq!(forwarder.count(), 1);
        forwarder.open_again().await.unwrap();
        TcpStream::connect(forwarder.address()).await.unwrap();
        server.accept().await.unwrap();
        assert_eq!(forwarder.count(), 2);
        drop(served);
    }
}
