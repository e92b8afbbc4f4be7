//! A connection in memory: one end for the session, the other for the player of the peer.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use oxpost::testing::{Memory, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a peer that does not read still takes: its system's buffers.
pub const ROOM: usize = 512;

/// What a session may take from one side while the other takes nothing: the relay's scratch buffer, and what is read of a
/// client that waits for its login.
pub const AHEAD_BOUND: usize = 16 * 1024 + 8 * 1024;

/// How the bytes are cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// As much as there is room for.
    Whole,
    /// At most so many concurrently, in both directions, and each is read only after everything else had its turn.
    Pieces(usize),
}

/// The peer's end.
#[derive(Clone, Debug)]
pub struct Wire(Arc<Mutex<State>>);

/// The session's end.
#[derive(Debug)]
struct End(Wire);

#[derive(Debug)]
struct State {
    cut: Cut,
    /// Said by the peer and not read by the session.
    said: VecDeque<u8>,
    ended: Option<Ended>,
    /// All that the session has read.
    taken: Vec<u8>,
    /// All that the session has written.
    heard: Vec<u8>,
    /// At each write: where it begins, and how much the session had read by then.
    written: Vec<(usize, usize)>,
    /// How much the peer still takes, if it does not read.
    room: Option<usize>,
    /// The session has something to write for which there is no room.
    blocked: bool,
    /// What was read from here since the other connection is blocked.
    ahead: usize,
    other: Option<Wire>,
    rested: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    shut: bool,
    dropped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Closed,
    Broken,
}

impl Wire {
    pub fn new(cut: Cut) -> (Self, Stream) {
        let wire = Self(Arc::new(Mutex::new(State {
            cut,
            said: VecDeque::new(),
            ended: None,
            taken: Vec::new(),
            heard: Vec::new(),
            written: Vec::new(),
            room: None,
            blocked: false,
            ahead: 0,
            other: None,
            rested: false,
            reader: None,
            writer: None,
            shut: false,
            dropped: false,
        })));
        (wire.clone(), Stream::Memory(Box::new(End(wire))))
    }

    /// Whose being blocked counts here.
    pub fn opposite(&self, other: &Self) {
        self.state().other = Some(other.clone());
    }

    /// The peer says this.
    pub fn say(&self, bytes: &[u8]) {
        let mut state = self.state();
        if state.ended.is_none() && !state.dropped {
            state.said.extend(bytes);
        }
        wake(&mut state.reader);
    }

    /// The peer says no more, but still reads.
    pub fn close(&self) {
        let mut state = self.state();
        state.ended = state.ended.or(Some(Ended::Closed));
        wake(&mut state.reader);
    }

    /// The connection breaks, behind what the peer has said.
    pub fn reset(&self) {
        let mut state = self.state();
        state.ended = Some(Ended::Broken);
        // Nothing waits for it any more; what is said for it is read and forgotten.
        state.blocked = false;
        wake(&mut state.reader);
        wake(&mut state.writer);
    }

    /// The peer does not read from now on; or does again, if it does not.
    pub fn turn_away(&self) {
        let mut state = self.state();
        state.room = if state.room.is_some() { None } else { Some(ROOM) };
        state.blocked = false;
        wake(&mut state.writer);
    }

    pub fn is_turned_away(&self) -> bool {
        self.state().room.is_some()
    }

    pub fn taken(&self) -> Vec<u8> {
        self.state().taken.clone()
    }

    pub fn heard(&self) -> Vec<u8> {
        self.state().heard.clone()
    }

    /// What the session had read when it wrote the byte of this number.
    pub fn taken_before(&self, number: usize) -> Vec<u8> {
        let state = self.state();
        let write = state.written.iter().rev().find(|(begin, _)| *begin <= number);
        write.map(|(_, taken)| state.taken[..*taken].to_vec()).unwrap_or_default()
    }

    pub fn is_live(&self) -> bool {
        let state = self.state();
        !state.dropped && state.ended.is_none()
    }

    /// The session has read all that was said.
    pub fn is_read(&self) -> bool {
        self.state().said.is_empty()
    }

    pub fn is_dropped(&self) -> bool {
        self.state().dropped
    }

    /// It was left without a word of an end: what was on its way is lost.
    pub fn was_cut(&self) -> bool {
        let state = self.state();
        state.dropped && !state.shut
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl Cut {
    fn piece(self) -> usize {
        match self {
            Self::Whole => usize::MAX,
            Self::Pieces(size) => size,
        }
    }
}

impl Memory for End {}

impl AsyncRead for End {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let other = self.0.state().other.clone();
        let other_is_blocked = other.is_some_and(|other| {
            let other = other.state();
            other.blocked && !other.dropped
        });
        let mut state = self.0.state();
        if state.said.is_empty() {
            return match state.ended {
                Some(Ended::Closed) => Poll::Ready(Ok(())),
                Some(Ended::Broken) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                None => {
                    state.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
            };
        }
        state.rested = !state.rested;
        if state.rested && state.cut != Cut::Whole {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let count = state.cut.piece().min(buffer.remaining()).min(state.said.len());
        let bytes: Vec<u8> = state.said.drain(..count).collect();
        buffer.put_slice(&bytes);
        state.taken.extend(&bytes);
        state.ahead = if other_is_blocked { state.ahead + count } else { 0 };
        assert!(state.ahead <= AHEAD_BOUND, "{} bytes were taken for a side that does not read", state.ahead);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut state = self.0.state();
        if state.ended == Some(Ended::Broken) || state.shut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = state.room.unwrap_or(usize::MAX);
        if room == 0 {
            state.blocked = true;
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let count = state.cut.piece().min(room).min(bytes.len());
        let written = (state.heard.len(), state.taken.len());
        state.written.push(written);
        state.heard.extend_from_slice(&bytes[..count]);
        state.room = state.room.map(|room| room - count);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.state();
        if state.ended == Some(Ended::Broken) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        state.shut = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.dropped = true;
        // The two know one another.
        state.other = None;
    }
}
