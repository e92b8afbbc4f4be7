//! The events of the journal as text for a terminal of 80 columns: one paragraph for each message.

use std::time::SystemTime;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

use crate::journal::event::{DecidedBy, Detail, JournalEvent, Kind};

/// The width of a line.
const WIDTH: usize = 80;

/// What is below the first line of a paragraph begins here.
const INDENT: usize = 10;

/// The events of one message, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message(pub(super) Vec<JournalEvent>);

impl Message {
    /// Joins events to messages, in the order of their first event.
    pub(super) fn join(events: impl IntoIterator<Item = JournalEvent>) -> Vec<Self> {
        let mut messages: Vec<Self> = Vec::new();
        let mut places = std::collections::HashMap::new();
        for event in events {
            let place = *places.entry(event.id.clone()).or_insert(messages.len());
            match messages.get_mut(place) {
                Some(message) => message.0.push(event),
                None => messages.push(Self(vec![event])),
            }
        }
        messages
    }

    /// Whether anything in it was not accepted by the mail server.
    pub(super) fn has_trouble(&self) -> bool {
        self.0.iter().any(|event| event.kind != Kind::AcceptedByServer)
    }

    /// The event that says what became of the message: the last one that is not about a single recipient.
    fn result(&self) -> Option<&JournalEvent> {
        self.0.iter().rev().find(|event| !is_of_recipient(event)).or(self.0.last())
    }

    /// The paragraph, with the times of this zone.
    pub(super) fn paragraph(&self, zone: &TimeZone) -> String {
        let Some(event) = self.result() else { return String::new() };
        let mut lines = Lines::default();
        let of_recipients: Vec<_> = self.0.iter().filter(|one| is_of_recipient(one)).collect();
        let heading = match &event.kind {
            Kind::LoginRefused => "login refused; no message could be sent".to_owned(),
            Kind::AcceptedByServer if !of_recipients.is_empty() => {
                format!("{}; {} refused", event.text(), counted(of_recipients.len(), "recipient"))
            }
            _ => event.text(),
        };
        lines.heading(&time_of_day(event.at, zone), &heading, &event.id);
        let detail = &event.detail;
        if let Some(envelope) = envelope(detail) {
            lines.paragraph(INDENT, &envelope);
        }
        lines.reply(INDENT, event);
        for one in of_recipients.iter().filter(|one| **one != event) {
            let address = one.detail.recipients.first().map_or("", |recipient| recipient.address.as_str());
            lines.paragraph(INDENT, &format!("{address}: {}", one.text()));
            lines.reply(INDENT + 2, one);
        }
        lines.paragraph(INDENT, &origin(event));
        lines.0
    }
}

/// Whether an event is about one recipient, before the content.
fn is_of_recipient(event: &JournalEvent) -> bool {
    event.detail.command.as_deref() == Some("RCPT")
}

/// Sender, recipients and size.
fn envelope(detail: &Detail) -> Option<String> {
    let sender = match detail.sender.as_deref()? {
        "" => "<>",
        sender => sender,
    };
    let mut text = format!("from {sender}");
    if let Some(replaced) = &detail.replaced_sender {
        text.push_str(&format!(" (instead of {replaced})"));
    }
    if !detail.recipients.is_empty() {
        let named: Vec<&str> = detail.recipients.iter().map(|one| one.address.as_str()).collect();
        text.push_str(&format!(" to {}", named.join(", ")));
        let named = u64::try_from(named.len()).unwrap_or(u64::MAX);
        if let Some(more @ 1..) = detail.recipient_count.checked_sub(named) {
            text.push_str(&format!(" and {more} more"));
        }
    }
    if let Some(size) = detail.size {
        text.push_str(&format!(" ({})", octets(size)));
    }
    Some(text)
}

/// Who sent it, and how that client was let in.
fn origin(event: &JournalEvent) -> String {
    let Detail { client, credential, device_permit, session, .. } = &event.detail;
    let mut parts = Vec::new();
    if !event.account.is_empty() {
        parts.push(format!("account {}", event.account));
    }
    if let Some(credential) = credential {
        parts.push(format!("password \"{credential}\""));
    }
    if let Some(networks) = device_permit {
        parts.push(format!("device permit {networks}"));
    }
    for (name, value) in [("client", client), ("session", session), ("node", &event.node)] {
        if !value.is_empty() {
            parts.push(format!("{name} {value}"));
        }
    }
    parts.join(", ")
}

fn octets(size: u64) -> String {
    match size {
        0..1_000 => counted(usize::try_from(size).unwrap_or_default(), "byte"),
        1_000..1_000_000 => format!("{}.{} kB", size / 1_000, size % 1_000 / 100),
        _ => format!("{}.{} MB", size / 1_000_000, size % 1_000_000 / 100_000),
    }
}

/// `1 message`, `2 messages`.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A time in a zone; `None` where it cannot be printed.
pub(super) fn zoned(time: SystemTime, zone: &TimeZone) -> Option<ZonedDateTime> {
    Timestamp::try_from(time).ok().map(|time| time.to_zoned_datetime(zone.clone()))
}

fn time_of_day(time: SystemTime, zone: &TimeZone) -> String {
    zoned(time, zone).map_or_else(|| "??:??:??".to_owned(), |time| time.strftime("%H:%M:%S").to_string())
}

/// `Tuesday, 2026-12-01`
pub(super) fn day(time: SystemTime, zone: &TimeZone) -> Option<String> {
    zoned(time, zone).map(|time| time.strftime("%A, %Y-%m-%d").to_string())
}

/// Lines that are no longer than [`WIDTH`].
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn heading(&mut self, time: &str, text: &str, id: &str) {
        let line = format!("{time:<INDENT$}{text}");
        let id_at = WIDTH.saturating_sub(id.chars().count());
        match line.chars().count() + 2 <= id_at {
            true => self.0.push_str(&format!("{line:<id_at$}{id}\n")),
            false => {
                let wrapped = wrap(text, WIDTH - INDENT);
                for (number, part) in wrapped.iter().enumerate() {
                    let time = if number == 0 { time } else { "" };
                    self.0.push_str(&format!("{time:<INDENT$}{part}\n"));
                }
                self.0.push_str(&format!("{:INDENT$}{id}\n", ""));
            }
        }
    }

    fn paragraph(&mut self, indent: usize, text: &str) {
        for line in wrap(text, WIDTH.saturating_sub(indent)) {
            self.0.push_str(&format!("{:indent$}{line}\n", ""));
        }
    }

    /// What was replied, why, and what to do.
    fn reply(&mut self, indent: usize, event: &JournalEvent) {
        let Detail { decided_by, server, reply, reason, remedy, .. } = &event.detail;
        if let Some(reply) = reply {
            let by = match (decided_by, server) {
                (Some(DecidedBy::MailServer), Some(server)) => format!("{server}: "),
                (Some(DecidedBy::MailServer | DecidedBy::Login), _) => "mail server: ".to_owned(),
                _ => "reply to the client: ".to_owned(),
            };
            self.paragraph(indent, &format!("{by}{reply}"));
        }
        for text in [reason, remedy].into_iter().flatten() {
            self.paragraph(indent, text);
        }
    }
}

/// A text in lines that fit.
pub(super) fn wrapped(text: &str) -> String {
    wrap(text, WIDTH).join("\n")
}

/// Breaks a text at spaces, and a word that is longer than a line where the line ends.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + letters.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.extend(letters.chunks(width.max(1)).map(|part| part.iter().collect::<String>())),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::journal::event::Recipient;

    fn event(step: u32, kind: Kind, detail: Detail) -> JournalEvent {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_796_133_802);
        let (client, session, server) = ("192.168.1.7".into(), "00002a".into(), Some("smtp.office365.com".into()));
        let credential = Some("erp".into());
        JournalEvent {
            id: "01m5x2k9z-7f3aq".into(),
            step,
            at,
            kind,
            account: "erp@contoso.com".into(),
            node: "gateway".into(),
            detail: Detail { client, session, server, credential, ..detail },
        }
    }

    fn recipient(address: &str) -> Vec<Recipient> {
        vec![Recipient { address: address.into(), result: "refused".into() }]
    }

    fn paragraph(events: Vec<JournalEvent>) -> String {
        Message(events).paragraph(&TimeZone::fixed(jiff::tz::offset(1)))
    }

    #[test]
    fn message_is_a_paragraph_of_80_columns() {
        let refused = Detail {
            decided_by: Some(DecidedBy::MailServer),
            command: Some("RCPT".into()),
            sender: Some("erp@contoso.com".into()),
            recipients: recipient("nobody@contoso.com"),
            recipient_count: 1,
            reply: Some("550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup".into()),
            ..Detail::default()
        };
        let accepted = Detail {
            decided_by: Some(DecidedBy::MailServer),
            sender: Some("erp@contoso.com".into()),
            recipients: recipient("bob@fabrikam.example"),
            recipient_count: 3,
            size: Some(12_345),
            reply: Some("250 2.0.0 OK <1@contoso.com>".into()),
            ..Detail::default()
        };
        let events = vec![event(0, Kind::Refused, refused), event(1, Kind::AcceptedByServer, accepted)];
        assert_eq!(
            paragraph(events),
            "\
15:03:22  accepted by the mail server; 1 recipient refused       01m5x2k9z-7f3aq
          from erp@contoso.com to bob@fabrikam.example and 2 more (12.3 kB)
          smtp.office365.com: 250 2.0.0 OK <1@contoso.com>
          nobody@contoso.com: refused at RCPT by the mail server
            smtp.office365.com: 550 5.1.10 RESOLVER.ADR.RecipientNotFound;
            Recipient not found by SMTP address lookup
          account erp@contoso.com, password \"erp\", client 192.168.1.7, session
          00002a, node gateway
"
        );
    }

    #[test]
    fn refused_recipient_alone_is_the_result() {
        let detail = Detail {
            decided_by: Some(DecidedBy::DevicePermit),
            command: Some("RCPT".into()),
            sender: Some(String::new()),
            recipients: recipient("x@elsewhere.example"),
            recipient_count: 1,
            reply: Some("550 5.7.1 No".into()),
            device_permit: Some("192.168.1.40/32".into()),
            ..Detail::default()
        };
        let shown = paragraph(vec![event(0, Kind::Refused, detail)]);
        for words in [
            "15:03:22  refused at RCPT by the rules of the device permit",
            "from <> to x@elsewhere.example\n",
            "reply to the client: 550 5.7.1 No\n",
            "device permit\n          192.168.1.40/32, ",
        ] {
            assert!(shown.contains(words), "{words}: {shown}");
        }
        assert_eq!(shown.matches("x@elsewhere.example").count(), 1, "{shown}");
    }

    #[test]
    fn events_of_two_messages_at_a_time_are_joined() {
        let of = |id: &str, kind| JournalEvent { id: id.into(), ..event(0, kind, Detail::default()) };
        let messages = Message::join([
            of("a", Kind::Refused),
            of("b", Kind::AcceptedByServer),
            of("a", Kind::AcceptedByServer),
            of("c", Kind::NotRecorded),
        ]);
        let shape: Vec<_> = messages.iter().map(|one| (one.0[0].id.as_str(), one.0.len(), one.has_trouble())).collect();
        assert_eq!(shape, [("a", 2, true), ("b", 1, false), ("c", 1, true)]);
    }

    #[test]
    fn word_that_is_longer_than_a_line_is_broken() {
        let (most, rest) = ("x".repeat(70), "x".repeat(20));
        assert_eq!(wrap(&format!("from {most}{rest} to b@c.de"), 70), ["from", &most, &format!("{rest} to b@c.de")]);
        assert_eq!(wrap("", 70), Vec::<String>::new());
        assert_eq!((octets(1), octets(1_234_567)), ("1 byte".to_owned(), "1.2 MB".to_owned()));
    }
}
