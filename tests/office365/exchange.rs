//! The mail services of Exchange Online.

mod connection;
mod greeting;
mod imap;
mod login;
mod pop3;
mod smtp;
mod submission;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};

pub(super) use submission::Sending;

use super::behaviour::Stage;
use super::transcript::Protocol;
use super::{Error, Shared, bind};
use connection::{Connection, Flow};

/// Where the services listen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) imap: SocketAddr,
    pub(super) imap_plain: SocketAddr,
    pub(super) pop3: SocketAddr,
    pub(super) pop3_plain: SocketAddr,
    pub(super) smtp: SocketAddr,
    pub(super) smtp_tls: SocketAddr,
}

/// Serves all of them until the tenant stops.
pub(super) async fn serve(shared: &Arc<Shared>) -> Result<Ports, Error> {
    Ok(Ports {
        imap: listen(shared, Protocol::Imap, true).await?,
        imap_plain: listen(shared, Protocol::Imap, false).await?,
        pop3: listen(shared, Protocol::Pop3, true).await?,
        pop3_plain: listen(shared, Protocol::Pop3, false).await?,
        smtp: listen(shared, Protocol::Smtp, false).await?,
        smtp_tls: listen(shared, Protocol::Smtp, true).await?,
    })
}

async fn listen(shared: &Arc<Shared>, protocol: Protocol, tls: bool) -> io::Result<SocketAddr> {
    let (listener, address) = bind().await?;
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        let stop = shared.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = accept(listener, shared, protocol, tls) => {}
        }
    });
    Ok(address)
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, protocol: Protocol, tls: bool) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let stop = shared.stop.clone();
            tokio::select! {
                () = stop.cancelled() => {}
                // How a conversation ends is in its transcript; an error of the socket is only another end.
                _ = Box::pin(converse(stream, shared, protocol, tls)) => {}
            }
        });
    }
}

async fn converse(stream: TcpStream, shared: Arc<Shared>, protocol: Protocol, tls: bool) -> io::Result<()> {
    let mut connection = Connection::new(stream, shared, protocol);
    if !matches!(connection.stage(Stage::Connect, "").await?, Flow::Serve) {
        return Ok(());
    }
    if tls {
        connection.start_tls().await?;
    }
    let ended = match protocol {
        Protocol::Imap => imap::serve(&mut connection).await,
        Protocol::Pop3 => pop3::serve(&mut connection).await,
        Protocol::Smtp => smtp::serve(&mut connection).await,
    };
    connection.close(ended.is_ok()).await
}
