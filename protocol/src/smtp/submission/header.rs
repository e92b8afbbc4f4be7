//! The header of a message as it goes by (RFC 5322, 2.2, 3.6), where a login may not send as everybody.
//!
//! Field after field is held until it is whole, and goes on as it came, but for those that say who sends: `From:` and
//! `Sender:` (Exchange looks at both). What could be a field to one reader and the body to another is made the body for all.

use std::mem;

use super::mailboxes::Mailboxes;
use crate::smtp::sender_policy::{AllowedSenders, Verdict};

/// Longest header taken, in octets. That of Exchange is no longer (`MaxHeaderSize`).
const HEADER_LIMIT: usize = 256 * 1024;

/// What ends a header does not count.
const EMPTY_LINE: usize = b"\r\n".len();

/// The header of one message.
#[derive(Debug, Default)]
pub(super) struct Header {
    /// What has come of a field that is not whole yet.
    field: Vec<u8>,
    /// How far that is known to have no end.
    searched: usize,
    /// How many octets the evaluated fields had.
    judged: usize,
    /// The original author of the message, if replaced: replies go to this address.
    replaced: Option<Vec<u8>>,
    has_from: bool,
    has_reply_to: bool,
    any_field: bool,
    /// A field was left out, or says another sender now.
    changed: bool,
    over: bool,
}

/// Why a message cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Its sender is an address that this login may not send as.
    Sender(String),
    /// Its sender cannot be determined.
    Unreadable,
    /// The header is too long.
    TooLong,
    /// A line of it does not end in CRLF.
    LineEnd,
}

impl Header {
    /// Whether all that comes from now on is the body.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Whether the sender of the message was replaced.
    pub(super) fn is_changed(&self) -> bool {
        self.changed
    }

    /// As far as the message was looked at, in octets.
    pub(super) fn octets(&self) -> u64 {
        self.judged as u64
    }

    /// Takes what comes and adds to `out` what goes on for it.
    pub(super) fn pass(&mut self, bytes: &[u8], senders: &AllowedSenders, out: &mut Vec<u8>) -> Result<(), Wrong> {
        if self.over {
            out.extend_from_slice(bytes);
            return Ok(());
        }
        self.field.extend_from_slice(bytes);
        // Taken, not copied: a header may come byte by byte.
        let mut bytes = mem::take(&mut self.field);
        let mut taken = 0;
        while let Some(rest) = bytes.get(taken..).filter(|_| !self.over) {
            if rest.starts_with(b"\r\n") {
                self.end(out);
                break;
            }
            let Some(end) = self.end_of_field(rest) else { break };
            self.searched = 0;
            self.take(rest.get(..end).unwrap_or_default(), senders, out)?;
            taken += end;
        }
        bytes.drain(..taken);
        self.field = bytes;
        if self.over {
            out.append(&mut self.field);
        } else if self.judged + self.field.len() > HEADER_LIMIT + EMPTY_LINE {
            return Err(self.too_long());
        }
        Ok(())
    }

    fn too_long(&mut self) -> Wrong {
        // As far as the first octet too many, however it came.
        self.judged = HEADER_LIMIT + 1;
        Wrong::TooLong
    }

    /// No more comes: the message has no body.
    pub(super) fn finish(&mut self, senders: &AllowedSenders, out: &mut Vec<u8>) -> Result<(), Wrong> {
        if self.over {
            return Ok(());
        }
        let field = mem::take(&mut self.field);
        if !field.is_empty() {
            self.take(&field, senders, out)?;
        }
        if !self.over {
            self.add_reply_to(out);
            self.over = true;
        }
        out.append(&mut self.field);
        Ok(())
    }

    /// Where the field in front ends: at a CRLF that no blank follows. Without the byte behind it that cannot be known.
    fn end_of_field(&mut self, bytes: &[u8]) -> Option<usize> {
        while let Some(at) = bytes.get(self.searched..).and_then(|rest| memchr::memchr(b'\n', rest)) {
            let end = self.searched + at + 1;
            let next = bytes.get(end)?;
            let ends = end >= 2 && bytes.get(end - 2) == Some(&b'\r');
            if ends && !matches!(next, b' ' | b'\t') {
                return Some(end);
            }
            self.searched = end;
        }
        self.searched = bytes.len();
        None
    }

    /// One field, with all of its lines.
    fn take(&mut self, field: &[u8], senders: &AllowedSenders, out: &mut Vec<u8>) -> Result<(), Wrong> {
        self.judged += field.len();
        if self.judged > HEADER_LIMIT {
            return Err(self.too_long());
        }
        if has_lone_line_end(field) {
            return Err(Wrong::LineEnd);
        }
        let first = !mem::replace(&mut self.any_field, true);
        let Some((name, body)) = name_and_body(field) else {
            if first && (field.starts_with(b"From ") || field.starts_with(b">From ")) {
                // The line that mailbox files have between messages (RFC 4155).
                return Ok(());
            }
            // Some readers take such a line for the beginning of the body, others go on to look for fields behind it.
            self.end(out);
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(field);
            return Ok(());
        };
        match name.to_ascii_lowercase().as_slice() {
            b"from" => self.from(field, body, senders, out),
            b"sender" => {
                self.changed |= !sender(field, body, senders, out)?;
                Ok(())
            }
            name => {
                self.has_reply_to |= name == b"reply-to";
                out.extend_from_slice(field);
                Ok(())
            }
        }
    }

    fn from(&mut self, field: &[u8], body: &[u8], senders: &AllowedSenders, out: &mut Vec<u8>) -> Result<(), Wrong> {
        if mem::replace(&mut self.has_from, true) && senders.replaces() {
            // There is one (RFC 5322, 3.6), and which of two a reader shows is up to the reader.
            self.changed = true;
            return Ok(());
        }
        let Some(mailboxes) = Mailboxes::read(body) else {
            let own = senders.instead_of_unreadable().ok_or(Wrong::Unreadable)?;
            self.replace(None, own, Vec::new(), out);
            return Ok(());
        };
        match verdict(&mailboxes, senders)? {
            None => out.extend_from_slice(field),
            Some(instead) => self.replace(mailboxes.name.as_deref(), instead, mailboxes.listed(), out),
        }
        Ok(())
    }

    fn replace(&mut self, name: Option<&[u8]>, address: &str, answers_to: Vec<u8>, out: &mut Vec<u8>) {
        self.replaced = Some(answers_to);
        self.changed = true;
        out.extend_from_slice(b"From: ");
        if let Some(name) = name {
            out.extend_from_slice(name);
            out.push(b' ');
        }
        out.push(b'<');
        out.extend_from_slice(address.as_bytes());
        out.extend_from_slice(b">\r\n");
    }

    /// The header is over: with the empty line, or without one.
    fn end(&mut self, out: &mut Vec<u8>) {
        self.add_reply_to(out);
        self.over = true;
    }

    /// Replies go to the original author, unless the message has its own Reply-To.
    fn add_reply_to(&mut self, out: &mut Vec<u8>) {
        if let Some(addresses) = self.replaced.as_ref().filter(|addresses| !addresses.is_empty() && !self.has_reply_to)
        {
            if !out.is_empty() && !out.ends_with(b"\r\n") {
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(b"Reply-To: ");
            out.extend_from_slice(addresses);
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// The sender that must replace these, if one must.
fn verdict<'a>(mailboxes: &Mailboxes, senders: &'a AllowedSenders) -> Result<Option<&'a str>, Wrong> {
    let mut instead = None;
    for address in &mailboxes.addresses {
        match senders.verdict(address) {
            Verdict::Allowed => {}
            Verdict::Replaced(by) => instead = instead.or(Some(by)),
            Verdict::Refused => return Err(Wrong::Sender(address.clone())),
        }
    }
    Ok(instead)
}

/// Who sent it on behalf of the author. Where the sender may be replaced it is left out (`false`): then both are the same.
fn sender(field: &[u8], body: &[u8], senders: &AllowedSenders, out: &mut Vec<u8>) -> Result<bool, Wrong> {
    match Mailboxes::read(body).map(|mailboxes| verdict(&mailboxes, senders)) {
        Some(Ok(None)) => out.extend_from_slice(field),
        _ if senders.replaces() => return Ok(false),
        Some(Err(wrong)) => return Err(wrong),
        None | Some(Ok(_)) => return Err(Wrong::Unreadable),
    }
    Ok(true)
}

/// RFC 5322, 2.2 and 4.5: spaces may precede the colon.
fn name_and_body(field: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = memchr::memchr(b':', field)?;
    let blanks = |bytes: &[u8]| bytes.iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let name = field.get(..colon)?;
    let name = name.get(..name.len() - blanks(name))?;
    let whole = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    whole.then_some((name, field.get(colon + 1..)?))
}

/// Chunks may have anything in them; a line end that is one for some readers only could hide a field, and so could a NUL.
fn has_lone_line_end(field: &[u8]) -> bool {
    let before = |at: usize| at.checked_sub(1).and_then(|at| field.get(at));
    field.iter().enumerate().any(|(at, byte)| match byte {
        b'\n' => before(at) != Some(&b'\r'),
        b'\r' => field.get(at + 1) != Some(&b'\n'),
        byte => *byte == 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::sender_policy::{Fallback, RewriteRule};

    fn senders(otherwise: Fallback) -> AllowedSenders {
        AllowedSenders::new("scan@b.c", vec!["info@b.c".parse().unwrap()], otherwise)
    }

    fn replacing() -> [AllowedSenders; 2] {
        let rule = RewriteRule { from: "*@old.local".parse().unwrap(), to: "erp@b.c".into() };
        [senders(Fallback::Account), senders(Fallback::Map(vec![rule]))]
    }

    /// What goes on for a message that comes in pieces of this size.
    fn passed(message: &str, senders: &AllowedSenders, piece: usize) -> Result<String, Wrong> {
        let (mut header, mut out) = (Header::default(), Vec::new());
        for piece in message.as_bytes().chunks(piece) {
            header.pass(piece, senders, &mut out)?;
        }
        header.finish(senders, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn always(message: &str, senders: &AllowedSenders) -> Result<String, Wrong> {
        let whole = passed(message, senders, usize::MAX);
        for piece in [1, 2, 7] {
            assert_eq!(passed(message, senders, piece), whole, "{message:?} in pieces of {piece}");
        }
        whole
    }

    #[test]
    fn what_is_from_one_of_its_own_goes_on_as_it_came() {
        for message in [
            "From: scan@b.c\r\n\r\nhello\r\n",
            "SUBJECT: x\r\nfrom:\r\n  Scan\r\n\t<SCAN@b.c>\r\nTo: x@y.z\r\n\r\nFrom: ceo@b.c\r\n",
            "From : \"ceo\" <info@b.c>\r\nSender: scan@b.c\r\n\r\n",
            "From: scan@b.c, info@b.c\r\nSender: info@b.c\r\n",
            "Subject: none\r\n\r\nhello",
            "Resent-From: ceo@b.c\r\nX-From: ceo@b.c\r\n\r\n",
            "\r\nFrom: ceo@b.c\r\n",
            "",
        ] {
            for senders in [senders(Fallback::Reject), replacing()[0].clone(), replacing()[1].clone()] {
                assert_eq!(always(message, &senders).as_deref(), Ok(message));
            }
        }
    }

    #[test]
    fn what_is_from_others_is_refused() {
        let refuse = senders(Fallback::Reject);
        let ceo = Wrong::Sender("ceo@b.c".into());
        for (message, wrong) in [
            ("From: ceo@b.c\r\n\r\n", &ceo),
            ("From: scan@b.c\r\nFrom: ceo@b.c\r\n\r\n", &ceo),
            ("From: scan@b.c, ceo@b.c\r\n\r\n", &ceo),
            ("From: ceo@b.c <scan@b.c>\r\n\r\n", &ceo),
            ("From: scan@b.c\r\nSender: ceo@b.c\r\n\r\n", &ceo),
            ("FROM\t: <ceo@b.c>\r\n\r\n", &ceo),
            ("X:\r\n \r\nFrom: <ceo@b.c>", &ceo),
            ("From: <\"ceo\"@b.c>\r\n\r\n", &Wrong::Unreadable),
            ("From: ceo. scan@b.c\r\n\r\n", &Wrong::Unreadable),
            ("From: Scanner\r\n\r\n", &Wrong::Unreadable),
            ("From:\r\n\r\n", &Wrong::Unreadable),
            ("Sender: Scanner\r\n\r\n", &Wrong::Unreadable),
            ("X: y\nFrom: ceo@b.c\r\n\r\n", &Wrong::LineEnd),
            ("X: y\rFrom: ceo@b.c\r\n\r\n", &Wrong::LineEnd),
            ("X: y\0From: ceo@b.c\r\n\r\n", &Wrong::LineEnd),
            ("X: y\n\r\nFrom: ceo@b.c\r\n\r\n", &Wrong::LineEnd),
        ] {
            assert_eq!(always(message, &refuse), Err(wrong.clone()), "{message:?}");
        }
    }

    #[test]
    fn replaced_sender_gets_the_replies() {
        let [own, map] = replacing();
        for (came, goes_on, map_too) in [
            (
                "From: Lift <lift@old.local>\r\nTo: x@y.z\r\n\r\nhello\r\n",
                "From: Lift <@>\r\nTo: x@y.z\r\nReply-To: <lift@old.local>\r\n\r\nhello\r\n",
                true,
            ),
            ("Reply-To: desk@b.c\r\nfrom: lift@old.local\r\n\r\n", "Reply-To: desk@b.c\r\nFrom: <@>\r\n\r\n", true),
            (
                "From: lift@old.local\r\nreply-to : desk@b.c\r\nSender: root@old.local\r\n\r\n",
                "From: <@>\r\nreply-to : desk@b.c\r\n\r\n",
                true,
            ),
            (
                "From: a@old.local, scan@b.c\r\n\r\n",
                "From: <@>\r\nReply-To: <a@old.local>,\r\n <scan@b.c>\r\n\r\n",
                true,
            ),
            ("From: a@old.local\r\nFrom: ceo@b.c\r\n\r\n", "From: <@>\r\nReply-To: <a@old.local>\r\n\r\n", true),
            ("From: a@old.local", "From: <@>\r\nReply-To: <a@old.local>\r\n", true),
            ("From: a@old.local\r\nTo: x@y.z", "From: <@>\r\nTo: x@y.z\r\nReply-To: <a@old.local>\r\n", true),
            ("From: Scanner in the hall\r\n\r\n", "From: <@>\r\n\r\n", false),
            ("From: \"x\" <ceo@b.c\r\n\r\n", "From: <@>\r\n\r\n", false),
        ] {
            assert_eq!(always(came, &own), Ok(goes_on.replace("<@>", "<scan@b.c>")), "{came:?}");
            match map_too {
                true => assert!(always(came, &map).unwrap().contains("<erp@b.c>"), "{came:?}"),
                false => assert_eq!(always(came, &map), Err(Wrong::Unreadable), "{came:?}"),
            }
        }
        assert_eq!(always("From: ceo@b.c\r\n\r\n", &map), Err(Wrong::Sender("ceo@b.c".into())));
    }

    /// Some readers continue to look for fields after a line that is not a field.
    #[test]
    fn a_line_that_is_no_field_begins_the_body() {
        for (came, goes_on) in [
            ("hello\r\nFrom: ceo@b.c\r\n", "\r\nhello\r\nFrom: ceo@b.c\r\n"),
            (
                "To: x@y.z\r\nhello there: you\r\nFrom: ceo@b.c\r\n",
                "To: x@y.z\r\n\r\nhello there: you\r\nFrom: ceo@b.c\r\n",
            ),
            (" From: ceo@b.c\r\n\r\n", "\r\n From: ceo@b.c\r\n\r\n"),
            (": x\r\nFrom: ceo@b.c", "\r\n: x\r\nFrom: ceo@b.c"),
            ("From a@b.c Mon Jan  1\r\nTo: x@y.z\r\n\r\n", "To: x@y.z\r\n\r\n"),
            ("hello", "\r\nhello"),
        ] {
            assert_eq!(always(came, &senders(Fallback::Reject)).as_deref(), Ok(goes_on), "{came:?}");
        }
    }

    #[test]
    fn a_header_has_a_bound_and_a_body_has_none() {
        let refuse = senders(Fallback::Reject);
        let long = "X: yyyyyyyyyyyyyyyyyyyyyyyyy\r\n".repeat(HEADER_LIMIT / 20);
        assert_eq!(passed(&long, &refuse, 2048), Err(Wrong::TooLong));
        let body = format!("X: y\r\n\r\n{long}");
        assert_eq!(passed(&body, &refuse, 2048).as_deref(), Ok(&*body));
    }

    #[test]
    fn longest_header_goes_on_and_one_octet_more_does_not() {
        let refuse = senders(Fallback::Reject);
        let header = |octets: usize| {
            let first = "X: y\r\n".repeat(100);
            let last = format!("Y: {}\r\n", "y".repeat(octets - first.len() - 5));
            [first, last].concat()
        };
        for end in ["", "\r\n", "\r\nbody", "\r\n\r\n"] {
            let longest = [&header(HEADER_LIMIT), end].concat();
            assert_eq!(longest.len(), HEADER_LIMIT + end.len());
            let longer = [&header(HEADER_LIMIT + 1), end].concat();
            for piece in [1, 2, 1000, usize::MAX] {
                assert!(passed(&longest, &refuse, piece).as_ref() == Ok(&longest), "{end:?} in pieces of {piece}");
                assert_eq!(passed(&longer, &refuse, piece), Err(Wrong::TooLong), "{end:?} in pieces of {piece}");
            }
        }
    }

    #[test]
    fn header_counts_as_changed_if_sender_is_replaced_or_removed() {
        let [own, _] = replacing();
        for (message, is_changed) in [
            ("From: scan@b.c\r\nSender: info@b.c\r\n\r\n", false),
            ("From a@b.c Mon Jan  1\r\nFrom: scan@b.c\r\n\r\n", false),
            ("From: lift@old.local\r\nFrom: lift@old.local\r\n\r\n", true),
            ("From: Scanner\r\n\r\n", true),
            ("From: scan@b.c\r\nFrom: scan@b.c\r\n\r\n", true),
            ("From: scan@b.c\r\nSender: lift@old.local\r\n\r\n", true),
            ("From: scan@b.c\r\nSender: Scanner\r\nSender: lift@old.local\r\n\r\n", true),
        ] {
            let mut header = Header::default();
            header.pass(message.as_bytes(), &own, &mut Vec::new()).unwrap();
            assert_eq!(header.is_changed(), is_changed, "{message:?}");
        }
    }
}
