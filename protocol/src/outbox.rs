//! What a dialogue has still to say, and what it reports once that is said.

use std::mem;

use crate::Action;

/// Lines to write, then at most one event. The order matters: a driver that receives a close or a TLS event must be
/// sure that the reply announcing it has gone out.
pub(crate) struct Outbox<E> {
    bytes: Vec<u8>,
    event: Option<E>,
}

impl<E> Default for Outbox<E> {
    fn default() -> Self {
        Self { bytes: Vec::new(), event: None }
    }
}

impl<E> Outbox<E> {
    /// Adds a line; its CRLF is added here.
    pub(crate) fn say(&mut self, line: impl AsRef<[u8]>) {
        self.bytes.extend_from_slice(line.as_ref());
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// Reports this when everything is written. The first report stands: nothing can follow the end of a dialogue.
    pub(crate) fn report(&mut self, event: E) {
        self.event.get_or_insert(event);
    }

    /// Reports this in place of what was not reported yet.
    pub(crate) fn report_instead(&mut self, event: E) {
        self.event = Some(event);
    }

    /// The next thing for the driver, if there is one.
    pub(crate) fn next(&mut self) -> Option<Action<E>> {
        if !self.bytes.is_empty() {
            return Some(Action::Write(mem::take(&mut self.bytes)));
        }
        self.event.take().map(Action::Event)
    }
}
