//! After the login of SMTP: drives the machine that knows where messages begin and end between the two connections.
//!
//! The promises are those of the relay. A side that is not read from is not read for: the client is not read while anything
//! is still to be sent to either side, the server not while anything is to be sent to the client, so a session holds what
//! was read at once and no more. An end of one side is an end of that side only. What was said to a client that has closed,
//! or to one that is slow, still goes out.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use oxpost_protocol::smtp::Submission;
use oxpost_protocol::smtp::submission::{Ended, Event, Peer, Step};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use crate::pacing::{REST_WHILE_OTHERS_WAIT, Sending, Turn, Waiting};
use crate::relay::{LINGER, Quiet};
use crate::stream::{Leftover, Stream, poll_discard, poll_lend, poll_send};

/// How long the server may take for what it still owes to a client that has closed its side. Its answer to a message may
/// take ten minutes (RFC 5321, 4.5.3.2.6).
const PATIENCE_WITHOUT_CLIENT: Duration = Duration::from_secs(600);

/// What a session has moved, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// Bytes from the client.
    pub from_client: u64,
    /// Bytes from the server.
    pub from_server: u64,
    /// How it ended.
    pub end: Ended,
}

/// Carries mail between a client and a server that have both logged in, until one of them ends it.
///
/// `place` is given back when the connection to the server is closed; without one, nothing waits for its turn. `happened`
/// hears of each message and of each refusal.
pub async fn carry(
    client: Stream,
    server: Stream,
    machine: Submission,
    idle_timeout: Duration,
    place: Option<Sending>,
    happened: impl FnMut(&Event),
) -> Carried {
    let mut crowd = place.as_ref().map(Sending::crowd);
    let mut carrier = Carrier {
        machine,
        happened,
        client: Side::new(client),
        server: Side::new(server),
        client_ended: false,
        place,
        turn: None,
        waiting: None,
    };
    let mut quiet = Quiet::new();
    let end = poll_fn(|cx| {
        let moved = carrier.moved();
        if let Poll::Ready(end) = carrier.poll(cx) {
            return Poll::Ready(end);
        }
        // A message that waits for its turn has a bound of its own.
        if carrier.moved() != moved || carrier.waiting.is_some() {
            quiet.since = Instant::now();
        }
        let crowded = carrier.machine.is_at_rest() && crowd.as_mut().is_some_and(|crowd| crowd.poll(cx));
        let bound = match (carrier.client_ended, crowded) {
            (true, _) => PATIENCE_WITHOUT_CLIENT.min(idle_timeout),
            (false, true) => REST_WHILE_OTHERS_WAIT.min(idle_timeout),
            (false, false) => idle_timeout,
        };
        if quiet.poll_longer_than(bound, cx).is_ready() {
            carrier.machine.expire();
            // The last words of a session go out if they can; nobody waits for them.
            return Poll::Ready(match carrier.poll(cx) {
                Poll::Ready(end) => end,
                Poll::Pending => Ended::Idle,
            });
        }
        Poll::Pending
    })
    .await;
    let carried = Carried { from_client: carrier.client.received, from_server: carrier.server.received, end };
    let Carrier { client, server, client_ended, place, waiting, .. } = carrier;
    drop(waiting);
    farewell(client, server, client_ended, place).await;
    carried
}

/// Closes both connections in order. What a client still says must be read: closing a socket with unread bytes in it
/// resets the connection, and the reset would overtake the last words on their way to it.
async fn farewell(client: Side, server: Side, client_ended: bool, place: Option<Sending>) {
    let server = async {
        if let Some(mut server) = server.stream {
            let _ = server.shutdown().await;
        }
        drop(place);
    };
    let client = async {
        if let Some(mut client) = client.stream
            && client.shutdown().await.is_ok()
            && !client_ended
        {
            while matches!(poll_fn(|cx| poll_discard(&mut client, cx)).await, Ok(count) if count > 0) {}
        }
    };
    let _ = timeout(LINGER, async { tokio::join!(server, client) }).await;
}

struct Carrier<F> {
    machine: Submission,
    happened: F,
    client: Side,
    server: Side,
    client_ended: bool,
    place: Option<Sending>,
    /// That of the message that is about to begin, or was the last to.
    turn: Option<Turn>,
    /// It is waited for.
    waiting: Option<Waiting>,
}

/// One of the two connections.
struct Side {
    /// None when it was cut, or has broken.
    stream: Option<Stream>,
    leftover: Leftover,
    unflushed: bool,
    /// A write has failed: nothing more goes there, or there would be a hole in what did.
    broken: bool,
    received: u64,
    sent: u64,
}

impl<F: FnMut(&Event)> Carrier<F> {
    /// Goes as far as it can. Ready when the session is over and everything that could be said has been.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        loop {
            match self.machine.poll() {
                Step::Write(Peer::Client, bytes) => self.client.push(bytes),
                Step::Write(Peer::Server, bytes) => self.server.push(bytes),
                Step::CutServer => {
                    self.server.cut();
                    // The rest of a message that is forgotten keeps nobody from sending.
                    self.place = None;
                }
                Step::Event(event) => (self.happened)(&event),
                Step::Begin { again } => self.wait_for_turn(again),
                Step::Over(end) => {
                    // Nobody else waits behind a message that will not come.
                    self.waiting = None;
                    let server = self.server.poll_send(cx);
                    ready!(self.client.poll_send(cx));
                    ready!(server);
                    return Poll::Ready(end);
                }
                Step::Read { client, server } => {
                    if self.poll_turn(cx).is_ready() {
                        continue;
                    }
                    if self.poll_read(client, server, cx).is_pending() {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    fn wait_for_turn(&mut self, again: bool) {
        self.waiting = match (self.turn.take().filter(|_| again), &self.place) {
            (Some(turn), _) => Some(turn.come_again()),
            (None, Some(place)) => Some(place.turn().come()),
            (None, None) if again => return self.machine.put_off("451 4.3.2 Try again later"),
            (None, None) => return self.machine.begin(),
        };
    }

    /// Ready when a message that waited may begin, or has waited long enough.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(waiting) = &mut self.waiting else { return Poll::Pending };
        let (turn, come) = ready!(waiting.as_mut().poll(cx));
        self.waiting = None;
        self.turn = Some(turn);
        match come {
            Ok(()) => self.machine.begin(),
            Err(answer) => self.machine.put_off(&answer),
        }
        Poll::Ready(())
    }

    /// Sends what there is to send, and reads from whoever may speak. Ready when the machine has something to do for it.
    fn poll_read(&mut self, client: bool, server: bool, cx: &mut Context<'_>) -> Poll<()> {
        let to_server = self.server.poll_send(cx).is_ready();
        let to_client = self.client.poll_send(cx).is_ready();
        let mut progress = Poll::Pending;
        if server
            && to_client
            && let Poll::Ready(more) = self.server.poll_lend(cx, |bytes| self.machine.receive(Peer::Server, bytes))
        {
            if !more {
                self.machine.receive_end(Peer::Server);
            }
            progress = Poll::Ready(());
        }
        if client
            && to_client
            && to_server
            && !self.client_ended
            && let Poll::Ready(more) = self.client.poll_lend(cx, |bytes| self.machine.receive(Peer::Client, bytes))
        {
            if !more {
                self.machine.receive_end(Peer::Client);
                self.client_ended = true;
            }
            progress = Poll::Ready(());
        }
        progress
    }

    fn moved(&self) -> u64 {
        self.client.received + self.client.sent + self.server.received + self.server.sent
    }
}

impl Side {
    fn new(stream: Stream) -> Self {
        Self {
            stream: Some(stream),
            leftover: Leftover::default(),
            unflushed: false,
            broken: false,
            received: 0,
            sent: 0,
        }
    }

    /// To be sent, if there is still somebody to send it to.
    fn push(&mut self, bytes: Vec<u8>) {
        if self.stream.is_some() && !self.broken {
            self.sent += bytes.len() as u64;
            self.leftover.push(bytes);
            self.unflushed = true;
        }
    }

    /// Closes at once. TLS says no farewell, and what has not gone yet is gone for good.
    fn cut(&mut self) {
        self.stream = None;
        self.leftover = Leftover::default();
        self.unflushed = false;
    }

    /// Ready when all is sent. A peer that does not take it any more may still have something to say.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(()) };
        let sent = match poll_send(stream, &mut self.leftover, cx) {
            // Ciphertext may still lie in rustls after its plaintext was taken.
            Poll::Ready(Ok(())) if self.unflushed => Pin::new(stream).poll_flush(cx),
            sent => sent,
        };
        if ready!(sent).is_err() {
            self.leftover = Leftover::default();
            self.broken = true;
        }
        self.unflushed = false;
        Poll::Ready(())
    }

    /// Ready with `false` when the peer has ended or its connection has broken.
    fn poll_lend(&mut self, cx: &mut Context<'_>, lend: impl FnOnce(&[u8])) -> Poll<bool> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(false) };
        Poll::Ready(match ready!(poll_lend(stream, cx, lend)) {
            Ok(count) => {
                self.received += count as u64;
                count > 0
            }
            Err(_) => {
                self.cut();
                false
            }
        })
    }
}

#[cfg(test)]
mod tests;
