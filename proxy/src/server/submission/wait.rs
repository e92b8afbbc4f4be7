//! How long a session waits for each side (RFC 5321, 4.5.3.2), and since when.
//!
//! The limits are a table of what is waited for; the clock is a function of what it is shown and when. Neither awaits anything.

use std::time::Duration;

use oxpost_protocol::smtp::submission::{ClientStage, Peer, Progress, ServerStage, Wait};
use tokio::time::Instant;

/// The client has sent a line with only a dot that ends no message because of a bare LF, and nothing after it: most likely it waits for
/// an answer. Longer than any pause within a message that is being sent, shorter than any program's patience.
const LONE_DOT: Duration = Duration::from_secs(10);

/// The client was sent the final reply of its session, and may still send QUIT.
const QUIT_AFTER_CLOSE: Duration = Duration::from_secs(60);

/// The final reply is being sent to a side that does not read.
const LAST_WORDS: Duration = Duration::from_secs(60);

/// The client is idle between two messages while others wait for the send slot. A pool of idle connections must not block other
/// clients; a client with a message to send sends it immediately.
const IDLE_WHILE_OTHERS_WAIT: Duration = Duration::from_secs(5);

/// The same within an envelope, whose next line a program has ready. Below the time that others wait (`send-slot-timeout`), so that
/// they wait for something.
const ENVELOPE_WHILE_OTHERS_WAIT: Duration = Duration::from_secs(30);

/// RFC 5321, 4.5.3.2.2.
const SERVER_MAIL: Duration = Duration::from_secs(300);

/// RFC 5321, 4.5.3.2.3. Exchange looks some recipients up for long.
const SERVER_RCPT: Duration = Duration::from_secs(300);

/// RFC 5321, 4.5.3.2.4.
const SERVER_DATA: Duration = Duration::from_secs(120);

/// RFC 5321, 4.5.3.2.5: a block of data that is not taken; RFC 3030 has none for the answer to a chunk.
const SERVER_BLOCK: Duration = Duration::from_secs(180);

/// RFC 5321, 4.5.3.2.6: an impatient sender gets its message delivered twice.
const SERVER_FINAL_DOT: Duration = Duration::from_secs(600);

/// NOOP, RSET and the like: as MAIL, which no server answers more slowly.
const SERVER_COMMAND: Duration = Duration::from_secs(300);

/// QUIT: the client can be answered without the server.
const SERVER_QUIT: Duration = Duration::from_secs(10);

/// An answer that can lead to no message, because the client has closed its side.
const SERVER_UNUSED: Duration = Duration::from_secs(10);

/// What a session waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    /// Input from a peer.
    Input(Wait),
    /// A peer to read what was sent to it.
    Output(Peer),
    /// Both to read the final reply.
    Goodbye,
}

/// What moves the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Circumstances {
    /// How long a client may take for its next command, or the next part of a message.
    pub(super) command_timeout: Duration,
    /// Others wait for the send slot that this session holds, and it is this session's turn to make room.
    pub(super) others_wait: bool,
    /// The session was asked to end.
    pub(super) closing: bool,
    /// The server is on the network.
    pub(super) server_on_network: bool,
}

/// How long this may be waited for. `None`: without a limit.
pub(super) fn limit(awaited: Awaited, now: Circumstances) -> Option<Duration> {
    let client = now.command_timeout;
    let on_network = |limit| now.server_on_network.then_some(limit);
    match awaited {
        Awaited::Goodbye => Some(LAST_WORDS),
        Awaited::Output(Peer::Client) => Some(client),
        Awaited::Output(Peer::Server) => on_network(SERVER_BLOCK),
        Awaited::Input(Wait::Client(stage)) => Some(match stage {
            ClientStage::NextMessage if now.others_wait => client.min(IDLE_WHILE_OTHERS_WAIT),
            ClientStage::Envelope if now.others_wait || now.closing => client.min(ENVELOPE_WHILE_OTHERS_WAIT),
            ClientStage::NextMessage | ClientStage::Envelope | ClientStage::Message => client,
            ClientStage::LoneDot => client.min(LONE_DOT),
            ClientStage::Quit => client.min(QUIT_AFTER_CLOSE),
        }),
        Awaited::Input(Wait::Server(stage)) => on_network(match stage {
            ServerStage::Mail => SERVER_MAIL,
            ServerStage::Rcpt => SERVER_RCPT,
            ServerStage::Data => SERVER_DATA,
            ServerStage::Chunk => SERVER_BLOCK,
            ServerStage::FinalDot => SERVER_FINAL_DOT,
            ServerStage::Command => SERVER_COMMAND,
            ServerStage::Quit => SERVER_QUIT,
            ServerStage::Unused => SERVER_UNUSED,
        }),
    }
}

/// Whether a session that waits for this could make room for others.
pub(super) fn is_idle(awaited: Awaited) -> bool {
    matches!(awaited, Awaited::Input(Wait::Client(ClientStage::NextMessage | ClientStage::Envelope)))
}

/// Whether it is only because others wait that this is over already.
pub(super) fn frees_slot(awaited: Awaited, now: Circumstances) -> bool {
    is_idle(awaited) && now.others_wait
}

/// What a session shows its clock, each time it can go no further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// What it waits for. `None`: for its own turn to send, which has a limit of its own.
    pub(super) awaited: Option<Awaited>,
    /// How far the client has come.
    pub(super) progress: Progress,
    /// How many replies the server has given.
    pub(super) replies: u64,
    /// How many lone dots the message has that goes by.
    pub(super) lone_dots: u64,
    /// Bytes that the peers have taken.
    pub(super) taken: u64,
}

/// Since when a session waits.
///
/// A server's silence begins with what it is to answer. A client's adds up: what is no progress does not end it, and what the server
/// needs for its answers does not count for the client.
#[derive(Debug)]
pub(super) struct WaitClock {
    snapshot: Option<Snapshot>,
    /// When it was last shown something.
    at: Instant,
    /// Since when it has been shown the same.
    since: Instant,
    /// How long the client was waited for since its last progress.
    client: Duration,
}

impl WaitClock {
    pub(super) fn new(now: Instant) -> Self {
        Self { snapshot: None, at: now, since: now, client: Duration::ZERO }
    }

    /// What the session waits for from now on.
    pub(super) fn show(&mut self, snapshot: Snapshot, now: Instant) {
        let before = self.snapshot.replace(snapshot);
        if matches!(before.and_then(|snapshot| snapshot.awaited), Some(Awaited::Input(Wait::Client(_)))) {
            self.client += now.saturating_duration_since(self.at);
        }
        if before.is_some_and(|before| before.progress != snapshot.progress) {
            self.client = Duration::ZERO;
        }
        if before != Some(snapshot) {
            self.since = now;
        }
        self.at = now;
    }

    /// For how long the session has waited, as far as it counts.
    pub(super) fn waited(&self) -> Duration {
        let same = self.at.saturating_duration_since(self.since);
        match self.snapshot.and_then(|snapshot| snapshot.awaited) {
            // Bytes of a QUIT after the dot do not change the snapshot.
            Some(Awaited::Input(Wait::Client(ClientStage::LoneDot))) | None => same,
            Some(Awaited::Input(Wait::Client(_))) => self.client,
            Some(Awaited::Input(Wait::Server(_)) | Awaited::Output(_) | Awaited::Goodbye) => same,
        }
    }

    /// When this limit is reached.
    pub(super) fn deadline(&self, limit: Duration) -> Instant {
        self.at + limit.saturating_sub(self.waited())
    }
}

#[cfg(test)]
mod tests;
