//! Filters the header of a message, sent by DATA or in chunks, so that a login cannot use another user's address.

use super::dot_stuffing::DotStuffing;
use super::header::{Header, Wrong};
use super::report::{Ended, NotSent, Outcome};
use super::server::reply_line;
use super::{Disposition, State, Submission};
use crate::line;
use crate::smtp::sender_policy::AllowedSenders;

/// A header and, where the message comes by DATA, its dots.
#[derive(Debug, Default)]
pub(super) struct SenderFilter {
    header: Header,
    unstuff: DotStuffing,
    stuff: DotStuffing,
}

impl SenderFilter {
    /// Whether all that comes from now on is the body.
    pub(super) fn is_over(&self) -> bool {
        self.header.is_over()
    }

    /// As far as the message was looked at, in octets.
    fn octets(&self) -> u64 {
        self.header.octets()
    }

    /// Whether the message is from another sender than it was.
    pub(super) fn is_changed(&self) -> bool {
        self.header.is_changed()
    }

    /// Takes what goes on of a text, and at its end the final dot too.
    pub(super) fn pass_text(
        &mut self,
        text: &[u8],
        end: bool,
        senders: &AllowedSenders,
        out: &mut Vec<u8>,
    ) -> Result<(), Wrong> {
        const DOT: &[u8] = b".\r\n";
        let inner = if end { text.strip_suffix(DOT).unwrap_or(text) } else { text };
        let mut passed = Vec::new();
        self.header.pass(&self.unstuff.unstuff(inner), senders, &mut passed)?;
        if end {
            self.header.finish(senders, &mut passed)?;
        }
        self.stuff.stuff(&passed, out);
        if end {
            out.extend_from_slice(DOT);
        }
        Ok(())
    }
}

impl Submission {
    /// A message begins, or goes on with another chunk.
    pub(super) fn begin_header(&mut self) {
        if self.senders.is_some() && self.header.is_none() {
            self.header = Some(SenderFilter::default());
        }
    }

    /// A chunk with the header in it, or a part of that. How large it is when it goes on is known once the header is over, or
    /// the chunk.
    pub(super) fn header_in_chunk(&mut self) -> bool {
        let State::Header { left, last, held } = &mut self.state else { return false };
        let unread = self.client.unread();
        let count = usize::try_from(*left).unwrap_or(usize::MAX).min(unread.len());
        let bytes = unread.get(..count).unwrap_or_default();
        *left = left.saturating_sub(count as u64);
        let mut passed = Ok(());
        let mut over = *left == 0;
        if let (Some(SenderFilter { header, .. }), Some(senders)) = (&mut self.header, &self.senders) {
            passed = header.pass(bytes, senders, held);
            if passed.is_ok() && over && *last {
                passed = header.finish(senders, held);
            }
            over |= header.is_over();
        }
        self.client.skip(count);
        self.counted.octets(count);
        let (left, last) = (*left, *last);
        if let Err(wrong) = passed {
            self.state = State::Chunk { left, disposition: Disposition::Pass };
            self.refuse_header(wrong);
        } else if over {
            let held = std::mem::take(held);
            self.state = State::Chunk { left, disposition: Disposition::Pass };
            if self.server_open {
                self.send_chunk(left.saturating_add(held.len() as u64), last);
                self.to_server.extend_from_slice(&held);
            }
        } else if count == 0 && self.client.is_ended() {
            self.client_gone();
        } else {
            return count > 0;
        }
        true
    }

    /// The message goes no further.
    pub(super) fn refuse_header(&mut self, wrong: Wrong) {
        let (why, answer) = match wrong {
            Wrong::Sender(address) => {
                let answer = self.senders.as_ref().map(|senders| senders.answer(&address));
                (NotSent::OtherSender, line::reply_text(&answer.unwrap_or_default()))
            }
            Wrong::Unreadable => (
                NotSent::UnreadableSender,
                "550 5.7.60 The From: or Sender: of the message cannot be read. Nothing of it was sent".to_owned(),
            ),
            Wrong::TooLong => (
                NotSent::HeaderTooLong,
                "552 5.3.4 The header of the message is too long. Nothing of it was sent".to_owned(),
            ),
            Wrong::LineEnd => (
                NotSent::HeaderLineEnd,
                "550 5.6.0 The header of the message has a line that does not end in CRLF. Nothing of it was sent"
                    .to_owned(),
            ),
        };
        if matches!(self.state, State::Text(..))
            && let Some(header) = &self.header
        {
            self.transaction.set_octets(header.octets());
            if let Some(limit) = self.too_large() {
                // This came first, no matter how much was read in one call.
                self.transaction.set_octets(limit + 1);
                return self.give_up(NotSent::TooLarge);
            }
        }
        self.discard(reply_line(&answer), Outcome::NotSent(why), Ended::MessageGivenUp);
    }
}
