//! After the login: relays bytes in both directions until both sides have ended, through a tap that decides what is forwarded.
//!
//! It promises: every byte that may be forwarded reaches the other side, in order, even if the sender has closed and the receiver
//! is slow; while one side does not read, the other is not read either (back-pressure), so a session holds at most one scratch
//! buffer per direction; the end of one side closes only that direction (half-close), and a connection that was cut is not closed
//! in order on the other side.

mod flow;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use oxpost_protocol::tap::{Cut, Observation, Over, Peer, Tap};
use tokio::io::AsyncWrite;
use tokio::time::{Instant, Sleep};

use self::flow::{Flow, Inspect, Moved, SourceEnd};
use crate::limits::close_request::{CloseReason, CloseRequest};
use crate::net::stream::{Broken, Stream, poll_discard};

/// How long one direction may go on without moving a byte once the other has ended. A client that was given everything
/// has this long to close its side.
pub(crate) const LINGER: Duration = Duration::from_secs(60);

/// How long a server may be silent that still owes a reply to a client that has closed its side: a search in a large mailbox
/// takes minutes.
const OWED_REPLY_TIMEOUT: Duration = Duration::from_secs(600);

/// How long the final reply of a session may take, and its client to close, when Oxpost ends it.
pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// One of the two ends of a session.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The connection.
    pub stream: Stream,
    /// What its login had received of it and not used: it goes first.
    pub unread: Vec<u8>,
}

/// What a session has moved, and how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Relayed {
    /// Bytes to the server.
    pub to_server: u64,
    /// Bytes to the client.
    pub to_client: u64,
    /// How it ended.
    pub end: End,
}

/// How a relayed session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The client closed first.
    ByClient,
    /// The server closed first.
    ByServer,
    /// The client's connection broke.
    ClientBroke,
    /// The server's connection broke.
    ServerBroke,
    /// The client's TLS ended without `close_notify`, and it had not said goodbye.
    ClientTruncated,
    /// The server's TLS ended without `close_notify`, and it had not said goodbye.
    ServerTruncated,
    /// Nothing moved for the idle timeout.
    Idle,
    /// Oxpost ended it.
    Closed(CloseReason),
    /// The client logged in again where it was not known which answer is which.
    LoginNotFollowed,
}

/// Relays until both directions have ended, or until the session is asked to close and nothing is in flight. `notice` receives what
/// the tap notices; it must be quick.
pub(crate) async fn relay(
    client: Connection,
    server: Connection,
    tap: &mut impl Tap,
    mut notice: impl FnMut(Observation),
    idle_timeout: Duration,
    mut close: CloseRequest,
) -> Relayed {
    let mut up = Direction::new(client.unread);
    let mut down = Direction::new(server.unread);
    let (mut client, mut server) = (client.stream, server.stream);
    let (mut end, mut reason) = (None, None);
    let mut idle = IdleTimer::new();
    {
        let mut asked = pin!(close.wait());
        poll_fn(|cx| {
            if reason.is_none()
                && let Poll::Ready(why) = asked.as_mut().poll(cx)
            {
                reason = Some(why);
                tap.close(why.text());
            }
            let before = (up.steps, down.steps);
            let mut done = poll_both(&mut up, &mut down, &mut client, &mut server, tap, &mut notice, cx);
            end = end.or_else(|| first_end(&up, &down, tap.over(), reason));
            // A client that is gone is no reason to keep its server busy, and a server that was cut has nothing more to say.
            if up.state == State::Cut || down.state == State::Cut || down.state == State::Failed {
                return Poll::Ready(());
            }
            // What is not forwarded any longer must still be read off the client's socket: closing a socket with unread bytes in
            // it resets the connection, and the reset would overtake the last bytes on their way to a slow client.
            if up.state == State::Failed || tap.over().is_some() && up.state == State::Done && !up.has_discarded {
                up.state = State::Discarding;
                up.has_discarded = true;
                done = up.poll_discard(&mut client, cx).is_ready() && down.is_over();
            }
            if done {
                return Poll::Ready(());
            }
            if (up.steps, down.steps) != before {
                idle.since = Instant::now();
            }
            let bound = match (up.has_ended(), down.has_ended()) {
                _ if tap.over().is_some() => CLOSE_TIMEOUT,
                (true, false) if tap.owes_reply() => OWED_REPLY_TIMEOUT,
                (true, _) | (_, true) => LINGER,
                (false, false) => idle_timeout,
            };
            if idle.poll_longer_than(bound.min(idle_timeout), cx).is_ready() {
                end = end.or(Some(End::Idle));
                return Poll::Ready(());
            }
            Poll::Pending
        })
        .await;
    }
    if down.state == State::Cut {
        client.abort();
    }
    Relayed { to_server: up.moved, to_client: down.moved, end: end.unwrap_or(End::Idle) }
}

/// Both directions as far as they go. `true` when nothing more will happen in either.
fn poll_both(
    up: &mut Direction,
    down: &mut Direction,
    client: &mut Stream,
    server: &mut Stream,
    tap: &mut impl Tap,
    notice: &mut impl FnMut(Observation),
    cx: &mut Context<'_>,
) -> bool {
    loop {
        let before = down.steps;
        let up_done = up.poll(client, server, cx, &mut FromClient(tap));
        let down_done = down.poll(server, client, cx, &mut FromServer(tap, notice));
        // A reply may be what the client's next command has waited for, and the last one of a session that is to end.
        if down.steps == before || !(up.waits || tap.over().is_some()) {
            return up_done.is_ready() && down_done.is_ready();
        }
    }
}

fn first_end(up: &Direction, down: &Direction, over: Option<Over>, reason: Option<CloseReason>) -> Option<End> {
    match (over, reason) {
        (Some(Over::Asked), Some(reason)) => return Some(End::Closed(reason)),
        (Some(_), _) => return Some(End::LoginNotFollowed),
        (None, _) => {}
    }
    match (up.source_end, down.source_end) {
        (_, Some(Ended::Truncated)) => Some(End::ServerTruncated),
        (_, Some(Ended::Broken)) => Some(End::ServerBroke),
        (Some(Ended::Truncated), _) => Some(End::ClientTruncated),
        (Some(Ended::Broken), _) => Some(End::ClientBroke),
        _ if down.state == State::Failed => Some(End::ClientBroke),
        _ if up.state == State::Failed => Some(End::ServerBroke),
        (_, Some(Ended::Closed)) => Some(End::ByServer),
        (Some(Ended::Closed), None) => Some(End::ByClient),
        (None, None) => None,
    }
}

/// What the tap does in one direction.
trait DirectionTap: Inspect {
    /// The source has ended.
    fn end(&mut self);

    /// Whether the source has said goodbye by a command or reply of its protocol.
    fn has_said_goodbye(&self) -> bool;

    /// Whether the session is over.
    fn is_over(&self) -> bool;
}

struct FromClient<'a, T>(&'a mut T);

struct FromServer<'a, T, N>(&'a mut T, &'a mut N);

impl<T: Tap> Inspect for FromClient<'_, T> {
    fn look(&mut self, bytes: &[u8]) -> Cut {
        self.0.client(bytes)
    }

    fn output(&mut self) -> Vec<u8> {
        self.0.output(Peer::Server)
    }
}

impl<T: Tap> DirectionTap for FromClient<'_, T> {
    fn end(&mut self) {
        self.0.end(Peer::Client);
    }

    fn has_said_goodbye(&self) -> bool {
        self.0.has_said_goodbye(Peer::Client)
    }

    fn is_over(&self) -> bool {
        self.0.over().is_some()
    }
}

impl<T: Tap, N: FnMut(Observation)> Inspect for FromServer<'_, T, N> {
    fn look(&mut self, bytes: &[u8]) -> Cut {
        self.0.server(bytes, self.1)
    }

    fn output(&mut self) -> Vec<u8> {
        self.0.output(Peer::Client)
    }
}

impl<T: Tap, N: FnMut(Observation)> DirectionTap for FromServer<'_, T, N> {
    fn end(&mut self) {
        self.0.end(Peer::Server);
    }

    fn has_said_goodbye(&self) -> bool {
        self.0.has_said_goodbye(Peer::Server)
    }

    fn is_over(&self) -> bool {
        self.0.over().is_some()
    }
}

/// One of the two directions.
struct Direction {
    state: State,
    flow: Flow,
    moved: u64,
    /// How often something has happened.
    steps: u64,
    unflushed: bool,
    /// What the source has said may not go on yet.
    waits: bool,
    source_end: Option<Ended>,
    has_discarded: bool,
}

/// How a source ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// In order.
    Closed,
    Truncated,
    Broken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Bytes are going tap.
    Moving,
    /// The source has ended; the rest of what goes on is going tap.
    Ending,
    /// The end is being sent to the sink.
    Closing,
    /// The source has ended and so has the sink.
    Done,
    /// The source was cut, and the sink is not told of an end in order.
    Cut,
    /// The sink has gone; what still arrives is discarded.
    Discarding,
    /// The connection to write to broke, and nothing more can be done in this direction.
    Failed,
}

impl Direction {
    fn new(unread: Vec<u8>) -> Self {
        Self {
            state: State::Moving,
            flow: Flow::new(unread),
            moved: 0,
            steps: 0,
            unflushed: false,
            waits: false,
            source_end: None,
            has_discarded: false,
        }
    }

    fn has_ended(&self) -> bool {
        !matches!(self.state, State::Moving | State::Discarding)
    }

    fn is_over(&self) -> bool {
        matches!(self.state, State::Done | State::Cut | State::Failed)
    }

    /// Goes as far as it can. Ready when nothing more will happen in this direction.
    fn poll(
        &mut self,
        source: &mut Stream,
        sink: &mut Stream,
        cx: &mut Context<'_>,
        tap: &mut impl DirectionTap,
    ) -> Poll<()> {
        loop {
            let next = match self.state {
                State::Moving if tap.is_over() && self.flow.is_clear() => State::Ending,
                State::Moving => {
                    let moved = self.flow.poll_move(source, sink, cx, tap);
                    self.waits = matches!(moved, Poll::Ready(Ok(Moved::Waits)));
                    match moved {
                        Poll::Ready(Ok(Moved::Bytes(count))) => {
                            self.went(count);
                            State::Moving
                        }
                        Poll::Ready(Ok(Moved::Ended(SourceEnd::Closed))) => self.ends(Ended::Closed, tap),
                        Poll::Ready(Ok(Moved::Ended(SourceEnd::Truncated))) => self.ends(Ended::Truncated, tap),
                        Poll::Ready(Err(Broken::Source)) => self.ends(Ended::Broken, tap),
                        Poll::Ready(Err(Broken::Sink)) => State::Failed,
                        Poll::Pending | Poll::Ready(Ok(Moved::Waits)) => match self.poll_flush(sink, cx) {
                            Poll::Ready(Err(_)) => State::Failed,
                            Poll::Ready(Ok(())) | Poll::Pending => return Poll::Pending,
                        },
                    }
                }
                State::Ending => match ready!(self.flow.poll_output(sink, cx, tap)) {
                    Ok(Some(count)) => {
                        self.went(count);
                        State::Ending
                    }
                    Ok(None) => match ready!(self.poll_flush(sink, cx)) {
                        Ok(()) if matches!(self.source_end, None | Some(Ended::Closed)) => State::Closing,
                        Ok(()) => State::Cut,
                        Err(_) => State::Failed,
                    },
                    Err(_) => State::Failed,
                },
                State::Closing => match ready!(Pin::new(&mut *sink).poll_shutdown(cx)) {
                    Ok(()) => State::Done,
                    Err(_) => State::Failed,
                },
                State::Discarding => return self.poll_discard(source, cx),
                State::Done | State::Cut | State::Failed => return Poll::Ready(()),
            };
            self.steps = self.steps.wrapping_add(1);
            self.state = next;
        }
    }

    fn went(&mut self, count: usize) {
        self.moved = self.moved.saturating_add(count as u64);
        self.unflushed |= count > 0;
    }

    /// The source has ended. One that has said goodbye has ended in order, whatever became of its connection then.
    fn ends(&mut self, how: Ended, tap: &mut impl DirectionTap) -> State {
        tap.end();
        self.source_end = Some(if tap.has_said_goodbye() { Ended::Closed } else { how });
        State::Ending
    }

    /// Ciphertext may still lie in rustls after its plaintext was taken.
    fn poll_flush(&mut self, sink: &mut Stream, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        if self.unflushed {
            ready!(Pin::new(sink).poll_flush(cx)).map_err(|_| Broken::Sink)?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads and forgets, up to the end.
    fn poll_discard(&mut self, source: &mut Stream, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Ok(0) | Err(_) = ready!(poll_discard(source, cx)) {
                self.state = State::Done;
                return Poll::Ready(());
            }
        }
    }
}

/// How long nothing has moved. Its timer is only touched when it fires, not for every byte.
pub(crate) struct IdleTimer {
    pub(crate) since: Instant,
    timer: Pin<Box<Sleep>>,
}

impl IdleTimer {
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
