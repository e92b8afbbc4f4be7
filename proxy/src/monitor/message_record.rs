//! What becomes of each message of a session: one line in the log and one event in the journal, in the same words and under the same id;
//! never anything of its content.
//!
//! Its lines are the only ones of this module: a filter such as `warn,oxpost::messages=info` leaves nothing else.

use oxpost_protocol::line::printable;
use oxpost_protocol::smtp::submission::{Event, NotSent, Outcome, Report};
use oxpost_token_store::{Mailbox, SharedClock};
use tracing::{info, warn};

use crate::config::MailService;
use crate::failure::{self, Asked, Step};
use crate::journal::Journal;
use crate::journal::event::{DecidedBy, Detail, JournalEvent, Kind, RECIPIENTS_NAMED, Recipient, TakenBy, bounded};

/// The target of these lines, for a filter.
const TARGET: &str = "oxpost::messages";

/// Who sends in a session, and how it was let in.
#[derive(Debug, Clone)]
pub(crate) struct SenderSession {
    /// The account that logged in.
    pub(crate) account: Mailbox,
    /// The address of the client.
    pub(crate) client: String,
    /// The id of the session in the log.
    pub(crate) session: String,
    /// The name of the local password.
    pub(crate) credential: Option<String>,
    /// The networks of the device, if it sends without a login.
    pub(crate) device_permit: Option<String>,
    /// The mail server.
    pub(crate) server: String,
    /// Whose it is.
    pub(crate) service: MailService,
}

/// Records the messages of one session.
pub(crate) struct MessageRecord<'a> {
    session: SenderSession,
    journal: &'a Journal,
    clock: &'a SharedClock,
    current: Option<Current>,
}

/// The message that was begun last.
struct Current {
    id: String,
    /// Its sender, once it is known.
    sender: Option<String>,
    /// The number of its next event.
    step: u32,
    /// Whether an event has said what became of it.
    is_over: bool,
    /// Who takes it, as far as the driver has said.
    taken_by: TakenBy,
}

impl<'a> MessageRecord<'a> {
    pub(crate) fn new(session: SenderSession, journal: &'a Journal, clock: &'a SharedClock) -> Self {
        Self { session, journal, clock, current: None }
    }

    /// The client wants to begin a message: it gets an id.
    pub(crate) fn begin(&mut self, sender: &str, taken_by: TakenBy) {
        self.finish(taken_by);
        self.current = Some(self.new_message(Some(printable(sender.as_bytes())), taken_by));
    }

    fn new_message(&self, sender: Option<String>, taken_by: TakenBy) -> Current {
        Current { id: self.journal.new_id(self.clock.now()), sender, step: 0, is_over: false, taken_by }
    }

    /// A message that was begun, and of which nothing else is known, was given up by its client.
    pub(crate) fn finish(&mut self, taken_by: TakenBy) {
        let is_open = |current: &&Current| !current.is_over && current.step == 0;
        let Some(current) = self.current.as_ref().filter(is_open) else {
            self.current = None;
            return;
        };
        let detail = Detail {
            decided_by: Some(DecidedBy::Client),
            sender: current.sender.clone(),
            reason: Some("it ended the message, or disconnected, before the content".to_owned()),
            ..Detail::default()
        };
        self.record(Kind::Unfinished, detail, taken_by);
        self.current = None;
    }

    /// Records an event of the session.
    pub(crate) fn note(&mut self, event: &Event, taken_by: TakenBy) {
        if begins_none(event) {
            // It is a message that does not begin.
            self.finish(taken_by);
            self.current = Some(self.new_message(None, taken_by));
        }
        let (kind, detail) = self.described(event);
        self.record(kind, detail, taken_by);
        if let (true, Some(current)) = (is_last(event), &mut self.current) {
            current.is_over = true;
        }
    }

    fn record(&mut self, kind: Kind, detail: Detail, taken_by: TakenBy) {
        let at = self.clock.now();
        let mut current = self.current.take().unwrap_or_else(|| self.new_message(None, taken_by));
        let (id, step, sender) = (current.id.clone(), current.step, current.sender.clone());
        current.step = current.step.saturating_add(1);
        self.current = Some(current);
        let SenderSession { account, client, session, credential, device_permit, server, service } = &self.session;
        let remedy = match detail.decided_by {
            Some(DecidedBy::MailServer) => {
                let step = detail.command.as_deref().map_or(Step::EndOfData, Step::of_command);
                let asked = Asked::of_message(*service, step);
                detail.reply.as_ref().and_then(|reply| failure::explained(asked, reply, account))
            }
            _ => None,
        };
        let detail = Detail {
            session: session.clone(),
            client: client.clone(),
            credential: credential.clone(),
            device_permit: device_permit.clone(),
            server: Some(server.clone()),
            taken_by: Some(taken_by),
            sender: detail.sender.or(sender),
            reply: detail.reply.as_deref().map(bounded),
            remedy,
            ..detail
        };
        let (account, node) = (account.to_string(), String::new());
        let event = JournalEvent { id, step, at, kind, account, node, detail };
        log(&event);
        // The log has the others. A client that tries thousands of recipients must not fill the journal.
        if usize::try_from(step).is_ok_and(|step| step <= RECIPIENTS_NAMED) || event.detail.command.is_none() {
            self.journal.record(event);
        }
    }

    /// What an event means, as far as the event itself says it.
    fn described(&self, event: &Event) -> (Kind, Detail) {
        let rules = self.rules();
        match event {
            Event::Message(report) => message(report, rules),
            Event::PutOff { sender, answer } => {
                let sender = Some(printable(sender.as_bytes()));
                (Kind::Deferred, Detail { sender, ..decided(DecidedBy::SendLimit, answer) })
            }
            Event::NotAllowed { command, address, answer } => {
                (Kind::Refused, of_command(command, address, &Kind::Refused, decided(rules, answer)))
            }
            Event::Malformed { command, answer } => {
                let command = Some((*command).to_owned());
                (Kind::Refused, Detail { command, ..decided(DecidedBy::Format, answer) })
            }
            Event::Refused { command, address, reply } => {
                let kind = Kind::of_refusal(reply);
                let detail = of_command(command, address, &kind, decided(DecidedBy::MailServer, reply));
                (kind, detail)
            }
        }
    }

    /// Whose rules the messages of this session must comply with.
    fn rules(&self) -> DecidedBy {
        if self.session.device_permit.is_some() { DecidedBy::DevicePermit } else { DecidedBy::SenderPolicy }
    }
}

impl Drop for MessageRecord<'_> {
    /// A session whose end was not seen was cut, by a stop or by a panic. Whether the mail server has its message is not known.
    fn drop(&mut self) {
        let Some(current) = self.current.as_ref().filter(|current| !current.is_over) else { return };
        let (sender, taken_by) = (current.sender.clone(), current.taken_by);
        let reason = "Oxpost cut the session before the result was known";
        self.record(Kind::InDoubt, Detail { sender, reason: Some(reason.to_owned()), ..Detail::default() }, taken_by);
    }
}

/// Whether an event is about a MAIL that was refused here, before it could begin anything.
fn begins_none(event: &Event) -> bool {
    matches!(event, Event::NotAllowed { command: "MAIL", .. } | Event::Malformed { command: "MAIL", .. })
}

/// Whether nothing else can become of the message after this.
fn is_last(event: &Event) -> bool {
    match event {
        Event::Message(_) | Event::PutOff { .. } => true,
        Event::NotAllowed { command, .. } | Event::Malformed { command, .. } | Event::Refused { command, .. } => {
            *command != "RCPT"
        }
    }
}

fn decided(decided_by: DecidedBy, reply: &str) -> Detail {
    Detail { decided_by: Some(decided_by), reply: Some(reply.to_owned()), ..Detail::default() }
}

/// Adds the command that was refused, and whose address.
fn of_command(command: &str, address: &str, kind: &Kind, detail: Detail) -> Detail {
    let address = bounded(&printable(address.as_bytes()));
    let detail = Detail { command: Some(command.to_owned()), ..detail };
    match command {
        "MAIL" => Detail { sender: Some(address), ..detail },
        "RCPT" => {
            let recipients = vec![Recipient { address, result: kind.as_str().to_owned() }];
            Detail { recipients, recipient_count: 1, ..detail }
        }
        _ => detail,
    }
}

/// A message whose content had begun.
fn message(report: &Report, rules: DecidedBy) -> (Kind, Detail) {
    let Report { sender, recipient_count, octets, outcome, .. } = report;
    let (kind, decided) = match outcome {
        Outcome::Accepted(reply) => {
            let server_id = Some(server_id(reply)).filter(|id| !id.is_empty()).map(bounded);
            (Kind::AcceptedByServer, Detail { server_id, ..decided(DecidedBy::MailServer, reply) })
        }
        Outcome::Refused(reply) => (Kind::of_refusal(reply), decided(DecidedBy::MailServer, reply)),
        Outcome::InDoubt => (Kind::InDoubt, because(DecidedBy::Connection, None)),
        Outcome::NotSent(why) => not_sent(*why, rules),
    };
    let result = kind.as_str();
    let named = |address: &String| Recipient { address: printable(address.as_bytes()), result: result.to_owned() };
    let detail = Detail {
        sender: Some(printable(sender.as_bytes())),
        replaced_sender: replaced(report),
        recipients: report.recipients.iter().take(RECIPIENTS_NAMED).map(named).collect(),
        recipient_count: u64::try_from(*recipient_count).unwrap_or(u64::MAX),
        size: Some(*octets),
        ..decided
    };
    (kind, detail)
}

fn because(decided_by: DecidedBy, reason: Option<&str>) -> Detail {
    Detail { decided_by: Some(decided_by), reason: reason.map(str::to_owned), ..Detail::default() }
}

/// Why the mail server never received all of a message, and who decided that.
fn not_sent(why: NotSent, rules: DecidedBy) -> (Kind, Detail) {
    let (kind, decided_by, reason) = match why {
        NotSent::BareCr => (Kind::Refused, DecidedBy::Format, "the message has a CR without LF"),
        NotSent::Nul => (Kind::Refused, DecidedBy::Format, "the message has a NUL byte"),
        NotSent::TooLarge => (Kind::Refused, DecidedBy::Format, "the message is larger than the mail server accepts"),
        NotSent::OtherSender => (
            Kind::Refused,
            rules,
            "its From: or Sender: is an address that this account may not send as (`oxpost account sender`, or the [[listener.device]])",
        ),
        NotSent::UnreadableSender => (Kind::Refused, rules, "its sender cannot be determined"),
        NotSent::HeaderTooLong => {
            (Kind::Refused, DecidedBy::Format, "its header is longer than any mail server accepts")
        }
        NotSent::HeaderLineEnd => {
            (Kind::Refused, DecidedBy::Format, "its header has a line that does not end with CRLF")
        }
        NotSent::ClientGone => (Kind::Unfinished, DecidedBy::Client, "the client disconnected within the message"),
        NotSent::ClientGoneBehindBareLf => (
            Kind::Unfinished,
            DecidedBy::Client,
            "the client disconnected within the message; it had sent a line with only a dot, which ends a message only if that line \
             and the one before it end with CRLF",
        ),
        NotSent::ClientSilent => {
            (Kind::Unfinished, DecidedBy::Client, "the client stopped within the message and timed out")
        }
        NotSent::EndedWithBareLf => (
            Kind::Unfinished,
            DecidedBy::Client,
            "the client ended it with a dot on a line of its own and waited, but that line or the one before it ended with a bare \
             LF; only CRLF.CRLF ends a message",
        ),
        NotSent::GivenUp => (Kind::Unfinished, DecidedBy::Client, "the client abandoned the message"),
        NotSent::ServerGone => {
            (Kind::Deferred, DecidedBy::Connection, "the mail server disconnected within the message")
        }
    };
    (kind, because(decided_by, Some(reason)))
}

/// The log line of an event.
fn log(event: &JournalEvent) {
    let JournalEvent { id, kind, account, detail, .. } = event;
    let Detail { client, command, sender, reply, server_id, reason, remedy, size, .. } = detail;
    let without_login = detail.device_permit.is_some().then_some(true);
    let (replaced, recipients) = (&detail.replaced_sender, recipients(detail));
    let recipient_count = Some(detail.recipient_count).filter(|count| *count > 0);
    let text = event.text();
    match kind {
        Kind::AcceptedByServer => info!(target: TARGET,
            id, %account, %client, without_login, sender, replaced, recipients, recipient_count, size, result = %kind, server_id, reply,
            "message {text}"
        ),
        _ => warn!(target: TARGET,
            id, %account, %client, without_login, command, sender, replaced, recipients, recipient_count, size, result = %kind, reply, reason,
            remedy, "message {text}"
        ),
    }
}

/// The sender that was replaced, in the envelope or in the message.
fn replaced(report: &Report) -> Option<String> {
    let given = report.given_sender.as_ref().map(|given| printable(given.as_bytes()));
    given.or_else(|| report.from_changed.then(|| "From:".to_owned()))
}

fn recipients(detail: &Detail) -> Option<String> {
    let named: Vec<&str> = detail.recipients.iter().map(|one| one.address.as_str()).collect();
    let count = usize::try_from(detail.recipient_count).unwrap_or(usize::MAX);
    match count.saturating_sub(named.len()) {
        0 if named.is_empty() => None,
        0 => Some(named.join(" ")),
        more => Some(format!("{} and {more} more", named.join(" "))),
    }
}

/// The id under which the server can find the message: Exchange repeats its Message-ID, others reply `queued as X`.
fn server_id(reply: &str) -> &str {
    let bracketed = reply.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(id, _)| id);
    let queued = || reply.split_once("queued as ").and_then(|(_, rest)| rest.split_ascii_whitespace().next());
    bracketed.or_else(queued).unwrap_or_default()
}

#[cfg(test)]
mod tests;
