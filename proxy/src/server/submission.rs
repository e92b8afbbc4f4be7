//! After the login of SMTP: drives the state machine of messages ([`Submission`]) between the two connections.
//!
//! It promises the same as the relay. The client is not read while anything is still to be sent to either side, the server not
//! while anything is to be sent to the client, so a session holds what one read returned and nothing else. The end of one side
//! ends that side only. Replies to a client that has closed its side, or is slow, are still sent. Every wait has a limit
//! ([`wait`]).

mod side;
mod upstream;
mod wait;

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use oxpost_protocol::smtp::Submission;
use oxpost_protocol::smtp::submission::{Ended, Event, Peer, Step};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, Sleep, timeout};

use self::side::Side;
pub(crate) use self::upstream::Upstream;
use self::wait::{Awaited, Circumstances, Snapshot, WaitClock};
use crate::journal::event::TakenBy;
use crate::limits::close_request::{CloseReason, CloseRequest};
use crate::limits::send_limiter::{MessagePermit, PendingPermit, SendSlot};
use crate::net::stream::{Stream, poll_discard};
use crate::server::relay::{CLOSE_TIMEOUT, LINGER};

/// What a session has moved, and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SubmissionResult {
    /// Bytes from the client.
    pub from_client: u64,
    /// Bytes from the server.
    pub from_server: u64,
    /// How it ended.
    pub end: Ended,
}

/// Sees what happens to the messages of a session. The driver says which side takes them.
pub(crate) trait MessageObserver {
    /// The client wants to begin a message from this sender: it has sent MAIL, which no rule refuses.
    fn begins(&mut self, sender: &str, taken_by: TakenBy);
    /// Something has happened to a message.
    fn happened(&mut self, event: &Event, taken_by: TakenBy);
    /// The session has ended.
    fn ended(&mut self, taken_by: TakenBy);
}

/// How a session is driven.
pub(crate) struct SubmissionSettings {
    /// How long a client may take for its next command, or the next part of a message.
    pub command_timeout: Duration,
    /// The send slot. It is given back when the connection to the server is closed; without one, nothing waits for its permit.
    pub send_slot: Option<SendSlot>,
    /// What may ask the session to end.
    pub close: CloseRequest,
}

/// Carries mail between a client and a server that have both logged in, until one of them ends it, or it is asked to end.
/// `observer` is called for each message and each refusal.
pub(crate) async fn relay_submission(
    client: Stream,
    upstream: Upstream,
    machine: Submission,
    settings: SubmissionSettings,
    observer: impl MessageObserver,
) -> SubmissionResult {
    let SubmissionSettings { command_timeout, send_slot, mut close } = settings;
    let mut driver = Driver {
        machine,
        observer,
        client: Side::new(client),
        upstream,
        client_ended: false,
        send_slot,
        permit: None,
        waiting: None,
        end: None,
    };
    let mut timeouts = Timeouts::new(command_timeout, Box::pin(async move { close.wait().await }));
    let end = poll_fn(|cx| {
        loop {
            timeouts.poll_close_request(cx, &mut driver.machine);
            if let Poll::Ready(end) = driver.poll(cx) {
                return Poll::Ready(end);
            }
            let (awaited, circumstances) = ready!(timeouts.poll_silence(cx, &mut driver));
            match driver.end.take() {
                // The final reply of a session is sent if possible; it is not waited for.
                Some(end) => return Poll::Ready(end),
                None => driver.time_out(awaited, circumstances),
            }
        }
    })
    .await;
    let result =
        SubmissionResult { from_client: driver.client.received(), from_server: driver.upstream.received(), end };
    let taken_by = driver.upstream.taken_by();
    driver.observer.ended(taken_by);
    let Driver { client, upstream, client_ended, send_slot, waiting, .. } = driver;
    drop(waiting);
    let linger = if timeouts.close.is_none() { CLOSE_TIMEOUT } else { LINGER };
    close_both(client, upstream, client_ended, send_slot, linger).await;
    result
}

/// Closes both connections in order. What a client still sends must be read: closing a socket with unread bytes in it
/// resets the connection, and the reset would overtake the final reply on its way to it.
async fn close_both(
    client: Side,
    upstream: Upstream,
    client_ended: bool,
    send_slot: Option<SendSlot>,
    linger: Duration,
) {
    let server = async {
        upstream.close().await;
        drop(send_slot);
    };
    let client = async {
        if let Some(mut client) = client.stream
            && client.shutdown().await.is_ok()
            && !client_ended
        {
            while matches!(poll_fn(|cx| poll_discard(&mut client, cx)).await, Ok(count) if count > 0) {}
        }
    };
    let _ = timeout(linger, async { tokio::join!(server, client) }).await;
}

/// The timeouts of a session, and the request to close it.
struct Timeouts {
    command_timeout: Duration,
    /// None once it was asked.
    close: Option<Pin<Box<dyn Future<Output = CloseReason> + Send>>>,
    clock: WaitClock,
    /// Only touched when it fires, or would fire too late; not for every byte.
    timer: Pin<Box<Sleep>>,
}

impl Timeouts {
    fn new(command_timeout: Duration, close: Pin<Box<dyn Future<Output = CloseReason> + Send>>) -> Self {
        let now = Instant::now();
        let timer = Box::pin(tokio::time::sleep_until(now));
        Self { command_timeout, close: Some(close), clock: WaitClock::new(now), timer }
    }

    fn poll_close_request(&mut self, cx: &mut Context<'_>, machine: &mut Submission) {
        if let Some(close) = &mut self.close
            && let Poll::Ready(reason) = close.as_mut().poll(cx)
        {
            self.close = None;
            machine.close(reason.text());
        }
    }

    /// Ready with what was waited for too long, and under which circumstances.
    fn poll_silence<O>(&mut self, cx: &mut Context<'_>, driver: &mut Driver<O>) -> Poll<(Awaited, Circumstances)> {
        let snapshot = driver.snapshot();
        self.clock.show(snapshot, Instant::now());
        if let Some(send_slot) = driver.send_slot.as_mut().filter(|_| !snapshot.awaited.is_some_and(wait::is_idle)) {
            send_slot.busy();
        }
        let Some(awaited) = snapshot.awaited else { return Poll::Pending };
        let mut circumstances = Circumstances {
            command_timeout: self.command_timeout,
            others_wait: true,
            closing: self.close.is_none(),
            server_on_network: driver.upstream.is_on_network(),
        };
        circumstances.others_wait = match (&mut driver.send_slot, wait::limit(awaited, circumstances)) {
            (Some(send_slot), Some(limit)) if wait::is_idle(awaited) => {
                send_slot.poll_must_make_room(self.clock.deadline(limit), cx)
            }
            _ => false,
        };
        let Some(limit) = wait::limit(awaited, circumstances) else { return Poll::Pending };
        let deadline = self.clock.deadline(limit);
        if deadline < self.timer.deadline() {
            self.timer.as_mut().reset(deadline);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready((awaited, circumstances));
            }
            self.timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

struct Driver<O> {
    machine: Submission,
    observer: O,
    client: Side,
    upstream: Upstream,
    client_ended: bool,
    send_slot: Option<SendSlot>,
    /// The permit of the next message, or of the last one.
    permit: Option<MessagePermit>,
    /// The permit that the next message waits for.
    waiting: Option<PendingPermit>,
    /// How it has ended, while the final reply is being sent.
    end: Option<Ended>,
}

impl<O> Driver<O> {
    /// What is waited for, and what tells since when.
    fn snapshot(&self) -> Snapshot {
        let awaited = if self.end.is_some() {
            Some(Awaited::Goodbye)
        } else if self.client.has_unsent() {
            Some(Awaited::Output(Peer::Client))
        } else if self.upstream.has_unsent() {
            Some(Awaited::Output(Peer::Server))
        } else {
            self.machine.waits_for().map(Awaited::Input)
        };
        Snapshot {
            awaited,
            progress: self.machine.progress(),
            replies: self.machine.replies(),
            lone_dots: self.machine.lone_dots(),
            taken: self.client.taken() + self.upstream.taken(),
        }
    }

    /// This was waited for too long.
    fn time_out(&mut self, awaited: Awaited, circumstances: Circumstances) {
        match awaited {
            Awaited::Output(Peer::Client) => {
                // It is treated as disconnected. The result of its message is still waited for.
                self.client.cut();
                self.client_ended = true;
                self.machine.receive_end(Peer::Client);
            }
            Awaited::Output(Peer::Server) => self.machine.time_out(Peer::Server),
            Awaited::Input(_) if wait::frees_slot(awaited, circumstances) => {
                self.machine.make_room();
                if let Some(send_slot) = &mut self.send_slot {
                    send_slot.mark_leaving();
                }
            }
            Awaited::Input(wait) => self.machine.time_out(wait.peer()),
            Awaited::Goodbye => {}
        }
    }
}

impl<O: MessageObserver> Driver<O> {
    /// Goes as far as it can. Ready when the session is over and everything that could be said has been.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        let mut drained = Drained::default();
        loop {
            match self.machine.poll() {
                Step::Write(Peer::Client, bytes) => self.client.push(bytes),
                Step::Write(Peer::Server, bytes) => self.upstream.push(bytes),
                Step::CutServer => {
                    self.upstream.cut();
                    drained.server = false;
                    // The rest of a discarded message must not keep other sessions from sending.
                    self.send_slot = None;
                }
                Step::Event(event) => self.observer.happened(&event, self.upstream.taken_by()),
                Step::Begin { again } => {
                    if let Some(sender) = self.machine.waiting_sender().filter(|_| !again) {
                        self.observer.begins(sender, self.upstream.taken_by());
                    }
                    self.wait_for_permit(again);
                }
                Step::Over(end) => {
                    // Other messages must not wait for one that will not come.
                    self.waiting = None;
                    self.end = Some(end.clone());
                    let server = self.upstream.poll_send(cx);
                    ready!(self.client.poll_send(cx));
                    ready!(server);
                    return Poll::Ready(end);
                }
                Step::Read { client, server } => {
                    if self.poll_permit(cx).is_ready() {
                        continue;
                    }
                    if self.poll_read(client, server, &mut drained, cx).is_pending() {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    fn wait_for_permit(&mut self, again: bool) {
        self.waiting = match (self.permit.take().filter(|_| again), &self.send_slot) {
            (Some(permit), _) => Some(permit.retry()),
            (None, Some(send_slot)) => Some(send_slot.permit().wait()),
            (None, None) if again => return self.machine.put_off("451 4.3.2 Try again later"),
            (None, None) => return self.machine.begin(),
        };
    }

    /// Ready when a message that waited may begin, or has waited long enough.
    fn poll_permit(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(waiting) = &mut self.waiting else { return Poll::Pending };
        let (permit, come) = ready!(waiting.as_mut().poll(cx));
        self.waiting = None;
        self.permit = Some(permit);
        match come {
            Ok(()) => self.machine.begin(),
            Err(answer) => self.machine.put_off(&answer),
        }
        Poll::Ready(())
    }

    /// Sends what there is to send, and reads from the sides that may be read. Ready when the machine has received something.
    fn poll_read(&mut self, client: bool, server: bool, drained: &mut Drained, cx: &mut Context<'_>) -> Poll<()> {
        let to_server = self.upstream.poll_send(cx).is_ready();
        let to_client = self.client.poll_send(cx).is_ready();
        let mut progress = Poll::Pending;
        if server && to_client && !drained.server {
            let lent = self.upstream.poll_lend(cx, |bytes| self.machine.receive(Peer::Server, bytes));
            drained.server = lent.is_pending();
            if let Poll::Ready(more) = lent {
                if !more {
                    self.machine.receive_end(Peer::Server);
                }
                progress = Poll::Ready(());
            }
        }
        if client && to_client && to_server && !self.client_ended && !drained.client {
            let lent = self.client.poll_lend(cx, |bytes| self.machine.receive(Peer::Client, bytes));
            drained.client = lent.is_pending();
            if let Poll::Ready(more) = lent {
                if !more {
                    self.machine.receive_end(Peer::Client);
                    self.client_ended = true;
                }
                progress = Poll::Ready(());
            }
        }
        progress
    }
}

/// Connections with nothing more to read. The task is woken when that changes, so they are not tried again until then.
#[derive(Default)]
struct Drained {
    client: bool,
    server: bool,
}

#[cfg(test)]
mod tests;
