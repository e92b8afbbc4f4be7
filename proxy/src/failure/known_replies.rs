//! The table of the mail servers' refusals: what each means at the step that it answers, and what to do.
//!
//! [`exchange`] has those of Exchange Online, [`gmail`] those of Gmail, [`any`] what means the same everywhere. The first row counts
//! that fits, so the more specific ones come first.

mod any;
mod exchange;
mod gmail;
mod sending;
#[cfg(test)]
mod tests;

use oxpost_protocol::RefusalKind::{self, AdministratorMustAct, Unavailable};
use oxpost_token_store::Mailbox;

use super::asked::{Asked, Step};
use crate::config::{MailService, Protocol};

/// One refusal of a mail server.
#[derive(Debug)]
pub struct KnownReply {
    /// Whose server says it; none: any.
    pub service: Option<MailService>,
    /// In which protocols; empty: all.
    pub protocols: &'static [Protocol],
    /// At which steps; empty: all.
    pub steps: &'static [Step],
    /// A part of the server's reply, in any case of its letters. After `^` its beginning.
    pub pattern: &'static str,
    /// What happened. `MAILBOX` stands for the mailbox.
    pub what: &'static str,
    /// What to do. `MAILBOX` stands for the mailbox.
    pub remedy: &'static str,
    /// The reply to the client.
    pub kind: RefusalKind,
    /// Whether it passes by itself.
    pub waiting_helps: bool,
    /// Whether it may be the token's fault alone, so that a fresh one is worth a try.
    pub(super) another_token: bool,
}

impl KnownReply {
    pub(super) fn sentence(&self, mailbox: &Mailbox) -> String {
        format!("{} {}", self.what, self.remedy).replace("MAILBOX", mailbox.as_ref())
    }

    /// At these steps only.
    const fn at(self, steps: &'static [Step]) -> Self {
        Self { steps, ..self }
    }

    /// In this protocol only.
    const fn by(self, protocols: &'static [Protocol]) -> Self {
        Self { protocols, ..self }
    }

    /// From this service only.
    const fn of(self, service: MailService) -> Self {
        Self { service: Some(service), ..self }
    }

    fn fits(&self, asked: Asked, lower_case_text: &str) -> bool {
        self.service.is_none_or(|service| service == asked.service)
            && (self.protocols.is_empty() || self.protocols.contains(&asked.protocol))
            && (self.steps.is_empty() || self.steps.contains(&asked.step))
            && match self.pattern.strip_prefix('^') {
                Some(beginning) => lower_case_text.starts_with(&beginning.to_ascii_lowercase()),
                None => lower_case_text.contains(&self.pattern.to_ascii_lowercase()),
            }
    }
}

/// Every refusal that has a remedy of its own, in the order in which they are looked for.
pub fn known_replies() -> impl Iterator<Item = &'static KnownReply> {
    [any::FIRST, exchange::ROWS, sending::ROWS, gmail::ROWS, any::LAST].into_iter().flatten()
}

/// The row of a reply to what was asked.
pub(super) fn lookup(asked: Asked, text: &str) -> Option<&'static KnownReply> {
    let text = text.to_ascii_lowercase();
    known_replies().find(|reply| reply.fits(asked, &text))
}

/// A setting must be changed.
const fn setting(pattern: &'static str, what: &'static str, remedy: &'static str) -> KnownReply {
    KnownReply {
        service: None,
        protocols: &[],
        steps: &[],
        pattern,
        what,
        remedy,
        kind: AdministratorMustAct,
        waiting_helps: false,
        another_token: false,
    }
}

/// It ends without a change.
const fn passing(pattern: &'static str, what: &'static str, remedy: &'static str) -> KnownReply {
    KnownReply { kind: Unavailable, waiting_helps: true, ..setting(pattern, what, remedy) }
}

/// It ends by itself, but not soon: until then the message cannot be sent.
const fn lasting(pattern: &'static str, what: &'static str, remedy: &'static str) -> KnownReply {
    KnownReply { waiting_helps: true, ..setting(pattern, what, remedy) }
}

/// The plain refusal of a protocol: the token, the mailbox or the rights to it.
const fn plain(pattern: &'static str, what: &'static str, remedy: &'static str) -> KnownReply {
    KnownReply { another_token: true, ..setting(pattern, what, remedy) }
}

const SMTP: &[Protocol] = &[Protocol::Smtp];
const IMAP: &[Protocol] = &[Protocol::Imap];
const POP3: &[Protocol] = &[Protocol::Pop3];
const AUTH: &[Step] = &[Step::Auth];
/// What belongs to a message.
const MESSAGE: &[Step] = &[Step::Mail, Step::Rcpt, Step::Data, Step::EndOfData];
