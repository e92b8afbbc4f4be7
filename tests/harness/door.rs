//! A door in front of a server: it counts those who come, and lets them through.
//!
//! A test that says "nothing has reached the server" asks the door, not the server's log, which may be late or silent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Problem;

/// A door. It closes, with all connections through it, when this is dropped.
pub struct Door {
    address: SocketAddr,
    server: SocketAddr,
    count: Arc<AtomicUsize>,
    stop: CancellationToken,
    serving: JoinHandle<Option<()>>,
}

impl Door {
    /// Opens a door on 127.0.0.1 that leads to `server`.
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

    /// Shuts it: connections through it are cut, and whoever comes now is refused.
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
    /// Somebody else has taken the port.
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

impl Drop for Door {
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
    async fn a_door_counts_and_lets_through() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let door = Door::open(server.local_addr().unwrap()).await.unwrap();
        assert_eq!(door.count(), 0);
        let mut client = TcpStream::connect(door.address()).await.unwrap();
        client.write_all(b"hello").await.unwrap();
        let (mut served, _) = server.accept().await.unwrap();
        assert_eq!(door.count(), 1);
        let mut bytes = [0; 5];
        served.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"hello");
        drop(served);
        assert_eq!(client.read(&mut bytes).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_door_that_is_shut_refuses_until_it_is_opened_again() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut door = Door::open(server.local_addr().unwrap()).await.unwrap();
        let mut client = TcpStream::connect(door.address()).await.unwrap();
        let (served, _) = server.accept().await.unwrap();
        door.shut().await.unwrap();
        assert!(!matches!(client.read(&mut [0]).await, Ok(1..)), "who was within is cut off");
        TcpStream::connect(door.address()).await.unwrap_err();
        assert_eq!(door.count(), 1);
        door.open_again().await.unwrap();
        TcpStream::connect(door.address()).await.unwrap();
        server.accept().await.unwrap();
        assert_eq!(door.count(), 2);
        drop(served);
    }
}
