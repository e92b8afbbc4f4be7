//! What the server says: it goes on, without what a client may not use.

use std::borrow::Cow;

use super::capability_list::{CapabilityList, Look, look};
use super::syntax::word;
use super::{Imap, ServerLineHandling};
use crate::tap::command_name::HOLD_LIMIT;
use crate::tap::line_stream::{HEAD, Line, Piece};
use crate::tap::{Observation, Step};

/// How a response ends that ends with a literal.
const END_OF_RESPONSE: &[u8] = b")\r\n";

/// A longer line is not kept whole.
const USUAL: usize = HEAD - "* \r\n".len();

impl Imap {
    pub(super) fn server_step(&mut self, rest: &[u8], notice: &mut dyn FnMut(Observation)) -> Step {
        if self.over.is_some() {
            return Step::drop(rest.len());
        }
        if let Some(length) = self.usual_line(rest) {
            let step = Step::pass(length);
            return if self.to_client.is_empty() { step } else { step.and_stop() };
        }
        let (length, is_whole) = match self.server.piece(rest) {
            Piece::Literal(count) => {
                self.server.take_literal(count);
                return Step::pass(count);
            }
            Piece::Line { length, is_whole } => (length, is_whole),
        };
        let piece = rest.get(..length).unwrap_or(rest);
        if let ServerLineHandling::Start = self.server_course
            && let Some(step) = self.begin_response(piece, is_whole)
        {
            return step;
        }
        let step = match &mut self.server_course {
            ServerLineHandling::Lists(list) => {
                list.pass(piece, &mut self.to_client);
                Step::drop(length)
            }
            ServerLineHandling::Start | ServerLineHandling::Passes => Step::pass(length),
        };
        if let Some(whole) = self.server.take(piece, is_whole) {
            self.server_course = ServerLineHandling::Start;
            self.responded(&whole.line(), notice);
            self.give_answers();
        }
        if self.to_client.is_empty() { step } else { step.and_stop() }
    }

    /// The lines that a mailbox of many messages consists of, `* 12 FETCH (… BODY[] {345}` and the `)` after the message, go on with
    /// one look, if they are whole and nothing was held. What it comes to is what the rest of this file would come to, which has
    /// every other line. Gives back the length of such a line.
    fn usual_line(&mut self, rest: &[u8]) -> Option<usize> {
        if !matches!(self.server_course, ServerLineHandling::Start) || !self.server.is_between() {
            return None;
        }
        if self.continues.is_some() {
            rest.starts_with(END_OF_RESPONSE).then_some(())?;
            self.continues = None;
            self.give_answers();
            return Some(END_OF_RESPONSE.len());
        }
        let numbered = rest.strip_prefix(b"* ").filter(|numbered| numbered.first().is_some_and(u8::is_ascii_digit))?;
        // Whatever has a NUL is no IMAP.
        let end = memchr::memchr2(b'\n', 0, numbered).filter(|&end| numbered.get(end) == Some(&b'\n'))?;
        let line = numbered.get(..end).and_then(|line| line.strip_suffix(b"\r")).filter(|line| line.len() < USUAL)?;
        let (response, size) = self.tracker.fetch_with_literal(line)?;
        self.continues = Some(response);
        self.server.skip(size);
        Some("* ".len() + end + 1)
    }

    /// Looks at the beginning of a response. `None` when it is known what becomes of it.
    fn begin_response(&mut self, piece: &[u8], is_whole: bool) -> Option<Step> {
        let head = self.server.head();
        let line = if head.is_empty() { Cow::Borrowed(piece) } else { Cow::Owned([head, piece].concat()) };
        let beginning = line.get(..HOLD_LIMIT).unwrap_or(&line);
        let found = if self.continues.is_some() { Look::Plain } else { look(beginning) };
        match found {
            Look::NeedsMore if line.len() < HOLD_LIMIT && !is_whole => {
                self.server.take(piece, false);
                Some(Step::drop(piece.len()))
            }
            Look::NeedsMore | Look::Plain => {
                self.server_course = ServerLineHandling::Passes;
                if self.server.head().is_empty() {
                    return None;
                }
                self.to_client.extend_from_slice(self.server.head());
                Some(Step::stop())
            }
            Look::CapabilityList { at, is_code } => {
                // What was held does not reach to the end of the word before the list.
                let rest = at.saturating_sub(self.server.head().len());
                self.to_client.extend_from_slice(line.get(..at).unwrap_or_default());
                self.server.take(piece.get(..rest).unwrap_or(piece), false);
                self.server_course = ServerLineHandling::Lists(CapabilityList::new(is_code));
                Some(Step::drop(rest))
            }
        }
    }

    /// A line of a response.
    fn responded(&mut self, line: &Line<'_>, notice: &mut dyn FnMut(Observation)) {
        let continued = self.continues.take();
        if continued.is_none() {
            self.follow(line.head);
        }
        if let Some((response, size)) = self.tracker.response(continued, line, notice) {
            self.continues = Some(response);
            self.server.skip(size);
        }
    }

    /// What a response means for what goes on.
    fn follow(&mut self, head: &[u8]) {
        let (first, rest) = word(head);
        let is = |name: &str| word(rest).0.eq_ignore_ascii_case(name.as_bytes());
        match first {
            b"+" => {
                // That of IDLE comes first.
                let is_asked_for = self.unfinished.is_some() && self.order.is_answered_but(1);
                if self.waiting_idles > 0 && !is_asked_for {
                    self.waiting_idles -= 1;
                } else if let Some(unfinished) = &mut self.unfinished {
                    unfinished.waits = false;
                }
            }
            b"*" => {
                self.has_said_bye |= is("BYE");
                // A command whose tag it could not read.
                if is("BAD") {
                    self.replied();
                }
            }
            _ if first.starts_with(b"[") => {}
            tag => {
                self.replied();
                if self.unfinished.as_ref().is_some_and(|one| one.waits && one.command.has_tag(tag))
                    && (!is("OK") || self.order.is_answered_but(0))
                {
                    self.literal_was_refused();
                }
            }
        }
    }

    fn replied(&mut self) {
        self.order.reply();
        // One that was refused is answered without DONE.
        if self.order.is_answered_but(0) {
            self.is_idling = false;
            self.waiting_idles = 0;
        }
    }

    pub(super) fn server_ends(&mut self) {
        match &mut self.server_course {
            _ if self.over.is_some() => {}
            ServerLineHandling::Start => self.to_client.extend_from_slice(self.server.head()),
            ServerLineHandling::Lists(list) => list.end(&mut self.to_client),
            ServerLineHandling::Passes => {}
        }
        self.server.forget();
    }
}
