//! A door in front of a server: it counts those who come, and lets them through.
//!
//! A test that says "nothing has reached the server" asks the door, not the server's log, which may be late or silent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::Problem;

/// A door. It closes, with all connections through it, when this is dropped.
pub struct Door {
    address: SocketAddr,
    count: Arc<AtomicUsize>,
    stop: CancellationToken,
}

impl Door {
    /// Opens a door on 127.0.0.1 that leads to `server`.
    ///
    /// # Errors
    /// There is no port.
    pub async fn open(server: SocketAddr) -> Result<Self, Problem> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let count = Arc::new(AtomicUsize::new(0));
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(serve(listener, server, Arc::clone(&count), stop.clone())));
        Ok(Self { address, count, stop })
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
}
