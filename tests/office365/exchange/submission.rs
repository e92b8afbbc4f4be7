//! A submitted message: who may send it as whom, how many at once, and where it goes.

use std::collections::HashMap;
use std::sync::Arc;

use super::connection::Connection;
use super::login::Opened;
use crate::office365::records::Outgoing;
use crate::office365::{Shared, lock};

/// How many messages a mailbox is sending at this moment.
#[derive(Debug, Default)]
pub(in crate::office365) struct Sending(usize);

/// A place among the messages that a mailbox sends at once; it is free again when this is dropped.
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
        count.0 += 1;
        Self { number: count.0, shared: Arc::clone(shared), user: user.to_owned() }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(count) = lock(&self.shared.sending).get_mut(&self.user) {
            count.0 = count.0.saturating_sub(1);
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
    lock(&connection.shared.directory).mailbox(sender).is_some_and(|mailbox| {
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
        let known = lock(&shared.directory).mailbox(address).is_some();
        sorted.entry(known).or_default().push(address.clone());
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
