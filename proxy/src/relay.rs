//! After the login: bytes go both ways, unchanged, until both sides have ended.
//!
//! The promises: every byte that was taken from one side reaches the other, in order, also when the giver has closed
//! meanwhile and the taker is slow; a side that is not read from is not read for either (back-pressure), so a session
//! holds at most one scratch buffer a direction; an end is passed on as an end of that direction only (half-close).

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::time::{Instant, Sleep};

use crate::stream::{Broken, Leftover, Stream, poll_discard, poll_move};

/// How long one direction may go on without moving a byte once the other has ended. A client that was given everything
/// has this long to close its side.
pub(crate) const LINGER: Duration = Duration::from_secs(60);

/// What a session has moved, and how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relayed {
    /// Bytes from the client to the server.
    pub to_server: u64,
    /// Bytes from the server to the client.
    pub to_client: u64,
    /// How it ended.
    pub end: End,
}

/// How a relayed session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The client closed first.
    ByClient,
    /// The server closed first.
    ByServer,
    /// The client's connection broke.
    ClientBroke,
    /// The server's connection broke.
    ServerBroke,
    /// Nothing moved for the idle timeout.
    Idle,
}

/// Hears what is relayed, in order and however it is cut, after it was sent on. It changes nothing, and must be quick.
pub trait Ear {
    /// The client has said this.
    fn client(&mut self, bytes: &[u8]);

    /// The server has said this.
    fn server(&mut self, bytes: &[u8]);
}

/// Relays until both directions have ended.
///
/// `to_server` and `to_client` are what the login's dialogues had received and not used: it goes first.
pub async fn relay(
    mut client: Stream,
    mut server: Stream,
    to_server: Vec<u8>,
    to_client: Vec<u8>,
    idle_timeout: Duration,
    ear: &mut impl Ear,
) -> Relayed {
    let mut up = Direction::new(to_server, false);
    let mut down = Direction::new(to_client, true);
    let mut end: Option<End> = None;
    let mut quiet = Quiet::new();
    poll_fn(|cx| {
        let moved = (up.moved, down.moved);
        let mut up_done = up.poll(&mut client, &mut server, cx, &mut |bytes| ear.client(bytes));
        let down_done = down.poll(&mut server, &mut client, cx, &mut |bytes| ear.server(bytes));
        end = end.or_else(|| first_end(&up, &down));
        // A client that is gone is no reason to keep its server busy.
        if up.broke(Broken::Source) || down.broke(Broken::Sink) {
            return Poll::Ready(());
        }
        // What nobody will read any more must still be read off the client's socket: closing a socket with unread bytes in
        // it resets the connection, and the reset would overtake the last bytes on their way to a slow client.
        if up.broke(Broken::Sink) {
            up.state = State::Discarding;
            up_done = up.poll(&mut client, &mut server, cx, &mut |_| {});
        }
        if up_done.is_ready() && down_done.is_ready() {
            return Poll::Ready(());
        }
        if (up.moved, down.moved) != moved {
            quiet.since = Instant::now();
        }
        let bound = if up.ended() || down.ended() { LINGER.min(idle_timeout) } else { idle_timeout };
        if quiet.poll_longer_than(bound, cx).is_ready() {
            end = end.or(Some(End::Idle));
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
    Relayed { to_server: up.moved, to_client: down.moved, end: end.unwrap_or(End::Idle) }
}

fn first_end(up: &Direction, down: &Direction) -> Option<End> {
    if up.broke(Broken::Source) || down.broke(Broken::Sink) {
        Some(End::ClientBroke)
    } else if down.source_broke || up.broke(Broken::Sink) {
        Some(End::ServerBroke)
    } else if down.ended() {
        Some(End::ByServer)
    } else if up.ended() {
        Some(End::ByClient)
    } else {
        None
    }
}

/// One of the two directions.
struct Direction {
    state: State,
    leftover: Leftover,
    moved: u64,
    unflushed: bool,
    source_broke: bool,
    /// Whether the sink is still to be told when the source's connection breaks.
    closes_after_break: bool,
}

enum State {
    /// Bytes are going through.
    Moving,
    /// The source has ended; the sink is being told.
    Closing,
    /// The source has ended and the sink was told.
    Done,
    /// The sink has gone; what still comes is read and forgotten.
    Discarding,
    /// A connection broke, and nothing more can be done in this direction.
    Failed(Broken),
}

impl Direction {
    fn new(first: Vec<u8>, closes_after_break: bool) -> Self {
        Self {
            state: State::Moving,
            leftover: Leftover::new(first),
            moved: 0,
            unflushed: false,
            source_broke: false,
            closes_after_break,
        }
    }

    fn ended(&self) -> bool {
        !matches!(self.state, State::Moving | State::Discarding)
    }

    fn broke(&self, which: Broken) -> bool {
        matches!(self.state, State::Failed(broken) if broken == which)
    }

    /// Goes as far as it can. Ready when nothing more will happen in this direction.
    fn poll(
        &mut self,
        source: &mut Stream,
        sink: &mut Stream,
        cx: &mut Context<'_>,
        hear: &mut dyn FnMut(&[u8]),
    ) -> Poll<()> {
        loop {
            match self.state {
                State::Moving => match poll_move(source, sink, &mut self.leftover, cx, hear) {
                    Poll::Ready(Ok(0)) => self.state = State::Closing,
                    Poll::Ready(Ok(count)) => {
                        self.moved += count as u64;
                        self.unflushed = true;
                    }
                    Poll::Ready(Err(Broken::Sink)) => self.state = State::Failed(Broken::Sink),
                    // What the server had sent before its connection broke is on its way; the client is told of the end
                    // behind it. A broken client has nobody left to tell.
                    Poll::Ready(Err(Broken::Source)) => {
                        self.source_broke = true;
                        self.state =
                            if self.closes_after_break { State::Closing } else { State::Failed(Broken::Source) };
                    }
                    Poll::Pending => {
                        // Ciphertext may still lie in rustls after its plaintext was taken.
                        if self.unflushed {
                            match Pin::new(&mut *sink).poll_flush(cx) {
                                Poll::Ready(Ok(())) => self.unflushed = false,
                                Poll::Ready(Err(_)) => self.state = State::Failed(Broken::Sink),
                                Poll::Pending => {}
                            }
                        }
                        if !matches!(self.state, State::Failed(_)) {
                            return Poll::Pending;
                        }
                    }
                },
                State::Closing => match Pin::new(&mut *sink).poll_shutdown(cx) {
                    Poll::Ready(Ok(())) => self.state = State::Done,
                    Poll::Ready(Err(_)) => self.state = State::Failed(Broken::Sink),
                    Poll::Pending => return Poll::Pending,
                },
                State::Discarding => match poll_discard(source, cx) {
                    Poll::Ready(Ok(0) | Err(_)) => self.state = State::Done,
                    Poll::Ready(Ok(_)) => {}
                    Poll::Pending => return Poll::Pending,
                },
                State::Done | State::Failed(_) => return Poll::Ready(()),
            }
        }
    }
}

/// How long nothing has moved. Its timer is only touched when it fires, not for every byte.
pub(crate) struct Quiet {
    pub(crate) since: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Quiet {
    pub(crate) fn new() -> Self {
        let since = Instant::now();
        Self { since, timer: Box::pin(tokio::time::sleep_until(since)) }
    }

    pub(crate) fn poll_longer_than(&mut self, bound: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = self.since + bound;
        if deadline < self.timer.deadline() {
            self.timer.as_mut().reset(deadline);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;
