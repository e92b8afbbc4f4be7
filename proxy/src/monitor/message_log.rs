//! One log line for each message: sender, recipients, size and result; never its content.
//!
//! Its lines are the only ones of this module: a filter such as `warn,oxpost::messages=info` leaves nothing else.

use oxpost_protocol::line::printable;
use oxpost_protocol::smtp::submission::{Event, NotSent, Outcome, Report};
use oxpost_token_store::Mailbox;
use tracing::{info, warn};

use crate::failure;

/// The target of these lines, for a filter.
const TARGET: &str = "oxpost::messages";

/// Writes the log lines of one session's messages.
#[derive(Debug, Clone)]
pub(crate) struct MessageLog {
    /// The account that logged in.
    pub account: Mailbox,
    /// The address of the client.
    pub client: String,
    /// It is a device that sends without a login.
    pub without_login: bool,
}

impl MessageLog {
    /// Logs an event of the session.
    pub(crate) fn write(&self, event: &Event) {
        let Self { account, client, without_login } = self;
        let without_login = without_login.then_some(true);
        match event {
            Event::Message(report) => self.message(report),
            Event::PutOff { sender, answer } => {
                let sender = printable(sender.as_bytes());
                warn!(target: TARGET, %account, %client, without_login, sender, answer, "message deferred: send limit reached");
            }
            Event::NotAllowed { command, address, answer } => {
                let address = printable(address.as_bytes());
                warn!(target: TARGET, %account, %client, without_login, command, address, answer, "refused: not allowed for this account or device");
            }
            Event::Malformed { command, answer } => {
                warn!(target: TARGET, %account, %client, without_login, command, answer, "invalid address in the client's command");
            }
            Event::Refused { command, address, reply } => {
                let address = printable(address.as_bytes());
                let remedy = failure::explained(reply, account);
                warn!(target: TARGET, %account, %client, without_login, command, address, reply, remedy, "refused by the mail server");
            }
        }
    }

    fn message(&self, report: &Report) {
        let Self { account, client, without_login } = self;
        let without_login = without_login.then_some(true);
        let Report { sender, recipient_count, octets: size, outcome, .. } = report;
        let (sender, recipients) = (printable(sender.as_bytes()), recipients(report));
        let replaced = replaced(report);
        match outcome {
            Outcome::Accepted(reply) => {
                let id = id(reply);
                info!(target: TARGET,
                    %account, %client, without_login, sender, replaced, recipients, recipient_count, size, id, result = "accepted", reply,
                    "message"
                );
            }
            Outcome::Refused(reply) => {
                let remedy = failure::explained(reply, account);
                warn!(target: TARGET,
                    %account, %client, without_login, sender, replaced, recipients, recipient_count, size, result = "refused", reply, remedy,
                    "message"
                );
            }
            Outcome::NotSent(why) => {
                let why = why_not_sent(*why);
                warn!(target: TARGET, %account, %client, without_login, sender, recipients, recipient_count, size, result = "not sent", why, "message");
            }
            Outcome::InDoubt => {
                let why = "the mail server disconnected before it answered";
                warn!(target: TARGET, %account, %client, without_login, sender, recipients, recipient_count, size, result = "in doubt", why, "message");
            }
        }
    }
}

/// The sender that was replaced, in the envelope or in the message.
fn replaced(report: &Report) -> Option<String> {
    let given = report.given_sender.as_ref().map(|given| printable(given.as_bytes()));
    given.or_else(|| report.from_changed.then(|| "From:".to_owned()))
}

fn recipients(report: &Report) -> String {
    let named = printable(report.recipients.join(" ").as_bytes());
    match report.recipient_count - report.recipients.len() {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// The id under which the server can find the message: Exchange repeats its Message-ID, others reply `queued as X`.
fn id(reply: &str) -> &str {
    let bracketed = reply.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(id, _)| id);
    let queued = || reply.split_once("queued as ").and_then(|(_, rest)| rest.split_ascii_whitespace().next());
    bracketed.or_else(queued).unwrap_or_default()
}

fn why_not_sent(why: NotSent) -> &'static str {
    match why {
        NotSent::BareCr => "the message has a CR without LF",
        NotSent::Nul => "the message has a NUL byte",
        NotSent::TooLarge => "the message is larger than the mail server accepts",
        NotSent::OtherSender => {
            "its From: or Sender: is an address that this account may not send as (`oxpost account sender`, or the [[listener.device]])"
        }
        NotSent::UnreadableSender => "its sender cannot be determined",
        NotSent::HeaderTooLong => "its header is longer than any mail server accepts",
        NotSent::HeaderLineEnd => "its header has a line that does not end with CRLF",
        NotSent::ClientGone => "the client disconnected within the message",
        NotSent::ClientGoneBehindBareLf => {
            "the client disconnected within the message; it had sent a line with only a dot, which ends a message only if that line \
             and the one before it end with CRLF"
        }
        NotSent::ClientSilent => "the client stopped within the message and timed out",
        NotSent::EndedWithBareLf => {
            "the client ended it with a dot on a line of its own and waited, but that line or the one before it ended with a bare \
             LF; only CRLF.CRLF ends a message"
        }
        NotSent::GivenUp => "the client abandoned the message",
        NotSent::ServerGone => "the mail server disconnected within the message",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_id_is_found_in_the_reply() {
        assert_eq!(id("250 2.0.0 OK <1@contoso.com> [Hostname=X]"), "1@contoso.com");
        assert_eq!(id("250 2.0.0 Ok: queued as 4XyZ12"), "4XyZ12");
        assert_eq!(id("250 2.0.0 Ok"), "");
    }

    #[test]
    fn recipients_are_printed_on_one_line() {
        let mut report = Report {
            sender: String::new(),
            given_sender: None,
            from_changed: false,
            recipients: vec!["a@b.c".into(), "x\u{1b}@y.z".into()],
            recipient_count: 2,
            octets: 0,
            outcome: Outcome::InDoubt,
        };
        assert_eq!(recipients(&report), "a@b.c x?@y.z");
        report.recipient_count = 7;
        assert_eq!(recipients(&report), "a@b.c x?@y.z and 5 more");
    }
}
