//! What the six dialogues have in common: they keep what was received, send what is to be sent, and advance in between.

use std::mem;

use crate::line::Buffer;
use crate::outbox::Outbox;
use crate::{Action, Dialogue};

/// The bytes and the event that a dialogue and its driver exchange.
pub struct Io<E> {
    /// Bytes of the peer that are not used yet.
    pub(crate) input: Buffer,
    /// What the driver is to send and to hear next.
    pub(crate) out: Outbox<E>,
}

impl<E> Default for Io<E> {
    fn default() -> Self {
        Self { input: Buffer::default(), out: Outbox::default() }
    }
}

/// What differs between the dialogues. Whatever implements this is a [`Dialogue`].
///
/// The trait is public because [`LocalDialogue`](crate::LocalDialogue) requires it; its module is private, so that only
/// this crate implements it.
pub trait StateMachine {
    /// What the dialogue reports.
    type Event;

    /// The input and output of the dialogue.
    fn io(&self) -> &Io<Self::Event>;

    /// The same, to be changed.
    fn io_mut(&mut self) -> &mut Io<Self::Event>;

    /// Advances by one line or reply. Returns `false` if it cannot without more bytes, TLS, or an answer of the driver.
    fn advance(&mut self) -> bool;

    /// Takes the bytes that were received and not used.
    fn take_unread(&mut self) -> Vec<u8> {
        mem::take(&mut self.io_mut().input).into_unread()
    }
}

impl<M: StateMachine> Dialogue for M {
    type Event = M::Event;

    fn receive(&mut self, bytes: &[u8]) {
        self.io_mut().input.receive(bytes);
    }

    fn receive_end(&mut self) {
        self.io_mut().input.receive_end();
    }

    fn poll(&mut self) -> Action<M::Event> {
        loop {
            if let Some(action) = self.io_mut().out.next() {
                return action;
            }
            if !self.advance() {
                return Action::Read;
            }
        }
    }

    fn into_unread(mut self) -> Vec<u8> {
        self.take_unread()
    }
}
