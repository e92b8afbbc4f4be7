//! A connection to a server, over whichever of its addresses answers first.
//!
//! The system's resolver returns the addresses of both families together, so there is no waiting for one of them as in RFC
//! 8305, 3; the order and the delays are those of that RFC.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::happy_eyeballs::{Next, Race};
use super::lookups::{LookupError, Lookups};

/// How long one address may take to accept a connection. The others are tried meanwhile.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How many addresses are named when none of them answers.
const MAX_LISTED: usize = 6;

/// Why there is no connection.
#[derive(Debug)]
pub enum ConnectError {
    /// The name has no address, or the resolver fails.
    NoAddress(LookupError),
    /// What became of each address, in the order in which they were given up.
    NoAnswer(Vec<(SocketAddr, io::Error)>),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAddress(error) => error.fmt(f),
            Self::NoAnswer(tried) => {
                for (index, (address, error)) in tried.iter().take(MAX_LISTED).enumerate() {
                    let between = if index > 0 { ", " } else { "" };
                    write!(f, "{between}{}: {error}", address.ip())?;
                }
                match tried.len().saturating_sub(MAX_LISTED) {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
        }
    }
}

/// The addresses of a name, as the system's resolver orders them.
///
/// # Errors
/// It has none, or the resolver fails.
pub(crate) async fn addresses(lookups: &Lookups, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    let found = lookups.addresses(host).await.map_err(ConnectError::NoAddress)?;
    Ok(found.iter().map(|address| SocketAddr::new(*address, port)).collect())
}

/// A connection to the first of them that answers.
///
/// # Errors
/// None does.
pub(crate) async fn first_of(addresses: impl IntoIterator<Item = SocketAddr>) -> Result<TcpStream, ConnectError> {
    first(addresses, to).await.map_err(ConnectError::NoAnswer)
}

async fn to(address: SocketAddr) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(address).await?;
    crate::net::socket::tune(&tcp)?;
    Ok(tcp)
}

/// What the first call of `dial` that succeeds gives; those that are still on their way are dropped.
async fn first<T, F>(
    addresses: impl IntoIterator<Item = SocketAddr>,
    dial: impl Fn(SocketAddr) -> F,
) -> Result<T, Vec<(SocketAddr, io::Error)>>
where
    T: Send + 'static,
    F: Future<Output = io::Result<T>> + Send + 'static,
{
    let (mut race, mut running, mut failed) = (Race::new(addresses), JoinSet::new(), Vec::new());
    loop {
        let until = match race.next(Instant::now()) {
            Next::Start(address) => {
                let dialled = timeout(CONNECT_TIMEOUT, dial(address));
                running.spawn(async move { (address, dialled.await.unwrap_or_else(|_| Err(timed_out()))) });
                continue;
            }
            Next::WaitUntil(until) => Some(until),
            Next::Wait => None,
            Next::Failed => return Err(failed),
        };
        let turn = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(ended) = running.join_next() => match ended {
                Ok((_, Ok(connected))) => return Ok(connected),
                Ok((address, Err(error))) => {
                    failed.push((address, error));
                    race.failed();
                }
                Err(_) => race.failed(),
            },
            () = turn => {}
        }
    }
}

fn timed_out() -> io::Error {
    let text = format!("no answer within {} s", CONNECT_TIMEOUT.as_secs());
    io::Error::new(io::ErrorKind::TimedOut, text)
}

#[cfg(test)]
mod tests;
