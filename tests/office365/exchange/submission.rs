//! A submitted message: which user may send it as which sender, how many concurrently, and where it goes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::connection::Connection;
use super::login::Opened;
use crate::office365::records::Outgoing;
use crate::office365::{Shared, Tenant, lock};

/// What a mailbox is sending, and has sent.
#[derive(Debug, Default)]
pub(in crate::office365) struct Sending {
    /// Messages at this moment.
    now: usize,
    /// The most that were concurrent.
    most: usize,
    /// When those of the last minute were sent, by the clock of the runtime, which a test can stop.
    minute: VecDeque<Instant>,
    /// The most there ever were within a minute.
    most_in_a_minute: usize,
    /// Sessions that have logged in, at this moment and at most.
    sessions: usize,
    most_sessions: usize,
    /// Messages that were refused because they were too many.
    refused: usize,
}

/// A session of a mailbox; it has ended when this is dropped.
pub(super) struct LoggedIn {
    shared: Arc<Shared>,
    user: String,
}

impl LoggedIn {
    pub(super) fn count(shared: &Arc<Shared>, user: &str) -> Self {
        let mut sending = lock(&shared.sending);
        let count = sending.entry(user.to_owned()).or_default();
        count.sessions += 1;
        count.most_sessions = count.most_sessions.max(count.sessions);
        Self { shared: Arc::clone(shared), user: user.to_owned() }
    }
}

impl Drop for LoggedIn {
    fn drop(&mut self) {
        if let Some(count) = lock(&self.shared.sending).get_mut(&self.user) {
            count.sessions = count.sessions.saturating_sub(1);
        }
    }
}

/// A slot among the concurrent messages of a mailbox; it is free again when this is dropped.
pub(super) struct Slot {
    shared: Arc<Shared>,
    user: String,
    /// Its number among them, from 1.
    pub(super) number: usize,
}

impl Slot {
    pub(super) fn take(shared: &Arc<Shared>, user: &str) -> Self {
        let mut sending = lock(&shared.sending);
        let count = sending.entry(user.to_owned()).or_default();
        count.now += 1;
        count.most = count.most.max(count.now);
        Self { number: count.now, shared: Arc::clone(shared), user: user.to_owned() }
    }

    /// Whether the mailbox may send another one within this minute.
    pub(super) fn is_within(&self, messages_per_minute: usize) -> bool {
        let now = Instant::now();
        let mut sending = lock(&self.shared.sending);
        let count = sending.entry(self.user.clone()).or_default();
        count.minute.retain(|sent| now.saturating_duration_since(*sent) < Duration::from_secs(60));
        let within = count.minute.len() < messages_per_minute;
        if within {
            count.minute.push_back(now);
            count.most_in_a_minute = count.most_in_a_minute.max(count.minute.len());
        }
        within
    }

    /// The message is refused because it is too much.
    pub(super) fn refuse(&self) {
        lock(&self.shared.sending).entry(self.user.clone()).or_default().refused += 1;
    }
}

impl Tenant {
    /// The most concurrent SMTP sessions that a mailbox has had.
    pub fn most_smtp_sessions(&self, address: &str) -> usize {
        lock(&self.shared.sending).get(address).map_or(0, |sending| sending.most_sessions)
    }

    /// The most messages that a mailbox has ever sent within a minute, where they are limited.
    pub fn most_in_a_minute(&self, address: &str) -> usize {
        lock(&self.shared.sending).get(address).map_or(0, |sending| sending.most_in_a_minute)
    }

    /// How many messages of a mailbox were refused because there were too many concurrently or within a minute.
    pub fn refused_for_limits(&self, address: &str) -> usize {
        lock(&self.shared.sending).get(address).map_or(0, |sending| sending.refused)
    }

    /// The most concurrent messages that a mailbox has sent.
    pub fn most_concurrent(&self, address: &str) -> usize {
        lock(&self.shared.sending).get(address).map_or(0, |sending| sending.most)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(count) = lock(&self.shared.sending).get_mut(&self.user) {
            count.now = count.now.saturating_sub(1);
        }
    }
}

/// The address of `FROM:<a@b> PARAMETERS`, in lower case, and the parameters.
pub(super) fn path(argument: &str, word: &str) -> Option<(String, String)> {
    let (start, rest) = argument.split_at_checked(word.len())?;
    let rest = start.eq_ignore_ascii_case(word).then(|| rest.trim_start())?;
    let (address, parameters) = rest.strip_prefix('<')?.split_once('>')?;
    Some((address.to_lowercase(), parameters.trim().to_owned()))
}

/// The value of a header field, unfolded.
pub(super) fn header(message: &[u8], name: &str) -> Option<String> {
    let mut value: Option<String> = None;
    for line in message.split(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
        match (&mut value, line.chars().next()) {
            (Some(value), Some(' ' | '\t')) => value.push_str(&line),
            (Some(_), _) | (None, None) => break,
            (None, Some(_)) => {
                let field = line.split_once(':').filter(|(field, _)| field.trim_end().eq_ignore_ascii_case(name));
                value = field.map(|(_, text)| text.to_owned());
            }
        }
    }
    value.map(|value| value.trim().to_owned())
}

/// The address of `Name <a@b>` or `a@b`, in lower case.
pub(super) fn address_in(value: &str) -> String {
    let inner = value.rsplit_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or(value, |(address, _)| address);
    inner.trim().to_lowercase()
}

/// A mailbox sends as itself, or as one that gave it (and, without a user, the application) SendAs.
pub(super) fn may_send_as(connection: &Connection, login: &Opened, sender: &str) -> bool {
    if sender == login.user {
        return true;
    }
    lock(&connection.shared.directory).mailbox_or_alias(sender).is_some_and(|mailbox| {
        if mailbox.address == login.user {
            return true;
        }
        let user = mailbox.send_as.contains(&login.user);
        user && (!login.claims.app_only() || mailbox.send_as.contains(&login.claims.appid))
    })
}

/// To the mailboxes of the tenant, to the outside, and to the Sent Items of the mailbox that logged in.
pub(super) fn deliver(connection: &Connection, user: &str, from: String, to: &[String], message: Vec<u8>) {
    let shared = &connection.shared;
    let now = shared.clock.now();
    let bytes: Arc<[u8]> = Arc::from(message.as_slice());
    let local: HashMap<bool, Vec<String>> = to.iter().fold(HashMap::new(), |mut sorted, address| {
        let known = lock(&shared.directory).mailbox_or_alias(address).map(|mailbox| mailbox.address.clone());
        sorted.entry(known.is_some()).or_default().push(known.unwrap_or_else(|| address.clone()));
        sorted
    });
    let mut store = lock(&shared.store);
    for address in local.get(&true).into_iter().flatten() {
        store.deliver(address, "INBOX", &bytes, now);
    }
    store.deliver(user, "Sent Items", &bytes, now);
    drop(store);
    if let Some(to) = local.get(&false).cloned() {
        lock(&shared.outgoing).push(Outgoing { from, to, bytes: message });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_headers_are_read() {
        assert_eq!(
            path("FROM:<A@b.c> SIZE=3 BODY=8BITMIME", "FROM:").unwrap(),
            ("a@b.c".into(), "SIZE=3 BODY=8BITMIME".into())
        );
        assert_eq!(path("from: <>", "FROM:").unwrap(), (String::new(), String::new()));
        assert!(path("FROM:a@b", "FROM:").is_none());
        let message = b"Received: x\r\n\tfrom: y\r\nfrom: Alice\r\n <Alice@Contoso.com>\r\n\r\nTo: z\r\n";
        assert_eq!(header(message, "From").unwrap(), "Alice <Alice@Contoso.com>");
        assert_eq!(address_in("Alice <Alice@Contoso.com>"), "alice@contoso.com");
        assert!(header(message, "To").is_none());
    }
}
