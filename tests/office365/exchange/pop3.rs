//! Exchange Online's POP3 (RFC 1939, RFC 2449, RFC 5034), where only the two-line XOAUTH2 gets in.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use super::connection::{Connection, Flow};
use super::greeting;
use super::login::{self, MAX_CREDENTIALS, Opened, Verdict};
use crate::office365::behaviour::Stage;
use crate::office365::lock;
use crate::office365::records::LoginOutcome;

const MAX_LINE: usize = 16 * 1024;
/// The longest token that Exchange's POP3 takes, since July 2025.
const MAX_TOKEN: usize = 4096;
const PROTOCOL_ERROR: &str = "-ERR Protocol error. Connection is closed. 10";

pub(super) async fn serve(connection: &mut Connection) -> io::Result<()> {
    match connection.stage(Stage::Greeting, "").await? {
        Flow::Serve => {
            let greeting = connection.shared.behaviour(greeting::pop3);
            connection.say(&greeting).await?;
        }
        Flow::Answered => {}
        Flow::Close => return Ok(()),
    }
    match authorize(connection).await? {
        Some(opened) => Maildrop::open(connection, opened).serve(connection).await,
        None => Ok(()),
    }
}

/// The state before the login.
async fn authorize(connection: &mut Connection) -> io::Result<Option<Opened>> {
    let mut name = String::new();
    loop {
        let Some(line) = connection.read_line(MAX_LINE).await? else { return Ok(None) };
        let line = String::from_utf8_lossy(&line).into_owned();
        let (verb, argument) = line.split_once(' ').unwrap_or((&line, ""));
        match (verb.to_ascii_uppercase().as_str(), argument) {
            ("CAPA", _) => match connection.stage(Stage::Capability, "").await? {
                Flow::Serve => capabilities(connection).await?,
                Flow::Answered => {}
                Flow::Close => return Ok(None),
            },
            ("STLS", _) if !connection.encrypted() => match connection.stage(Stage::StartTls, "").await? {
                Flow::Serve => {
                    connection.say("+OK Begin TLS negotiation.").await?;
                    connection.start_tls().await?;
                }
                Flow::Answered => {}
                Flow::Close => return Ok(None),
            },
            ("AUTH", mechanism) if connection.encrypted() && mechanism.eq_ignore_ascii_case("XOAUTH2") => {
                connection.put_shown(b"+ \r\n", "+ ").await?;
                let Some(credentials) = connection.read_credentials(MAX_CREDENTIALS).await? else { return Ok(None) };
                match log_in(connection, &credentials).await? {
                    Step::Opened(opened) => return Ok(Some(*opened)),
                    Step::Again => {}
                    Step::Close => return Ok(None),
                }
            }
            ("AUTH", mechanism) if connection.encrypted() && mechanism.to_ascii_uppercase().starts_with("XOAUTH2 ") => {
                login::record(connection, "", 0, LoginOutcome::Malformed);
                connection.say(PROTOCOL_ERROR).await?;
                return Ok(None);
            }
            ("USER", user) if connection.encrypted() && !user.is_empty() => {
                user.clone_into(&mut name);
                connection.say("+OK").await?;
            }
            ("PASS", _) if connection.encrypted() && !name.is_empty() => {
                login::record(connection, &name, 0, LoginOutcome::Password);
                name.clear();
                refuse(connection).await?;
            }
            ("AUTH", mechanism) if connection.encrypted() && mechanism.to_ascii_uppercase().starts_with("PLAIN") => {
                if !mechanism.contains(' ') {
                    connection.put_shown(b"+ \r\n", "+ ").await?;
                    if connection.read_credentials(MAX_CREDENTIALS).await?.is_none() {
                        return Ok(None);
                    }
                }
                login::record(connection, "", 0, LoginOutcome::Password);
                refuse(connection).await?;
            }
            ("QUIT", _) => {
                connection.say("+OK Microsoft Exchange Server POP3 server signing off.").await?;
                return Ok(None);
            }
            _ => connection.say("-ERR Command is not valid in this state.").await?,
        }
    }
}

enum Step {
    Opened(Box<Opened>),
    Again,
    Close,
}

async fn log_in(connection: &mut Connection, credentials: &[u8]) -> io::Result<Step> {
    match connection.stage(Stage::Credentials, "").await? {
        Flow::Serve => {}
        Flow::Answered => return Ok(Step::Again),
        Flow::Close => return Ok(Step::Close),
    }
    if connection.shared.behaviour(|behaviour| behaviour.pop3.long_tokens_refused)
        && login::token_length(credentials) > MAX_TOKEN
    {
        login::record_unread(connection, credentials);
        connection.say(PROTOCOL_ERROR).await?;
        return Ok(Step::Close);
    }
    if let Verdict::Accepted(opened) = login::judge(connection, credentials) {
        connection.say("+OK User successfully authenticated.").await?;
        return Ok(Step::Opened(Box::new(opened)));
    }
    login::before_refusal(connection, "+ ").await?;
    connection.say("-ERR Authentication failure: unknown user name or bad password.").await?;
    Ok(Step::Again)
}

async fn refuse(connection: &mut Connection) -> io::Result<()> {
    let pause = connection.shared.behaviour(|behaviour| behaviour.refusal_delay);
    if !pause.is_zero() {
        connection.flush().await?;
        tokio::time::sleep(pause).await;
    }
    connection.say("-ERR Authentication failure: unknown user name or bad password.").await
}

async fn capabilities(connection: &mut Connection) -> io::Result<()> {
    let xoauth2 = connection.shared.behaviour(|behaviour| behaviour.pop3.offer_xoauth2);
    let lines: &[&str] = match (connection.encrypted(), xoauth2) {
        (false, _) => &["+OK", "TOP", "UIDL", "STLS", "."],
        (true, true) => &["+OK", "TOP", "UIDL", "SASL PLAIN XOAUTH2", "USER", "."],
        (true, false) => &["+OK", "TOP", "UIDL", "SASL PLAIN", "USER", "."],
    };
    for line in lines {
        connection.say(line).await?;
    }
    Ok(())
}

struct Item {
    uid: u32,
    bytes: Arc<[u8]>,
}

/// A mailbox as it was when it was opened, and what shall be deleted when it is left in order.
struct Maildrop {
    user: String,
    uid_validity: u32,
    items: Vec<Item>,
    deleted: BTreeSet<usize>,
}

impl Maildrop {
    fn open(connection: &Connection, opened: Opened) -> Self {
        let mut store = lock(&connection.shared.store);
        let folder = store.folder(&opened.user, "INBOX");
        let uid_validity = folder.as_ref().map_or(0, |folder| folder.uid_validity);
        let messages = folder.map(|folder| folder.messages.as_slice()).unwrap_or_default();
        let items =
            messages.iter().map(|message| Item { uid: message.uid, bytes: Arc::clone(&message.bytes) }).collect();
        Self { user: opened.user, uid_validity, items, deleted: BTreeSet::new() }
    }

    async fn serve(mut self, connection: &mut Connection) -> io::Result<()> {
        while let Some(line) = connection.read_line(MAX_LINE).await? {
            let line = String::from_utf8_lossy(&line).into_owned();
            let mut words = line.split_ascii_whitespace();
            let verb = words.next().unwrap_or_default().to_ascii_uppercase();
            let (first, second) = (words.next(), words.next());
            match connection.stage(Stage::Command, "").await? {
                Flow::Serve => {}
                Flow::Answered => continue,
                Flow::Close => return Ok(()),
            }
            match verb.as_str() {
                "QUIT" => {
                    self.delete(connection);
                    return connection.say("+OK Microsoft Exchange Server POP3 server signing off.").await;
                }
                "CAPA" => capabilities(connection).await?,
                "NOOP" => connection.say("+OK").await?,
                "RSET" => {
                    self.deleted.clear();
                    connection.say("+OK").await?;
                }
                "STAT" => {
                    let (count, size) = self.sum();
                    connection.say(&format!("+OK {count} {size}")).await?;
                }
                "LIST" => self.list(connection, first, |_, item| item.bytes.len().to_string()).await?,
                "UIDL" => {
                    self.list(connection, first, |validity, item| format!("{validity:08X}{:08X}", item.uid)).await?
                }
                "RETR" => self.retrieve(connection, first, None).await?,
                "TOP" => match second.and_then(|lines| lines.parse().ok()) {
                    Some(lines) => self.retrieve(connection, first, Some(lines)).await?,
                    None => connection.say("-ERR Protocol error. 19").await?,
                },
                "DELE" => match self.find(first) {
                    Some((number, _)) => {
                        self.deleted.insert(number);
                        connection.say("+OK").await?;
                    }
                    None => no_such_message(connection).await?,
                },
                _ => connection.say("-ERR Protocol error. 14").await?,
            }
        }
        Ok(())
    }

    fn find(&self, number: Option<&str>) -> Option<(usize, &Item)> {
        let number: usize = number?.parse().ok()?;
        let item = self.items.get(number.checked_sub(1)?)?;
        (!self.deleted.contains(&number)).then_some((number, item))
    }

    fn left(&self) -> impl Iterator<Item = (usize, &Item)> {
        let numbered = self.items.iter().enumerate().map(|(index, item)| (index + 1, item));
        numbered.filter(|(number, _)| !self.deleted.contains(number))
    }

    fn sum(&self) -> (usize, usize) {
        self.left().fold((0, 0), |(count, size), (_, item)| (count + 1, size + item.bytes.len()))
    }

    async fn list(
        &self,
        connection: &mut Connection,
        number: Option<&str>,
        describe: impl Fn(u32, &Item) -> String,
    ) -> io::Result<()> {
        if number.is_some() {
            return match self.find(number) {
                Some((number, item)) => {
                    connection.say(&format!("+OK {number} {}", describe(self.uid_validity, item))).await
                }
                None => no_such_message(connection).await,
            };
        }
        let (count, size) = self.sum();
        connection.say(&format!("+OK {count} {size}")).await?;
        for (number, item) in self.left() {
            connection.say(&format!("{number} {}", describe(self.uid_validity, item))).await?;
        }
        connection.say(".").await
    }

    async fn retrieve(
        &self,
        connection: &mut Connection,
        number: Option<&str>,
        lines: Option<usize>,
    ) -> io::Result<()> {
        let Some((_, item)) = self.find(number) else { return no_such_message(connection).await };
        connection.say("+OK").await?;
        connection.put_body(&stuffed(&item.bytes, lines)).await?;
        connection.say(".").await
    }

    fn delete(&self, connection: &Connection) {
        let mut store = lock(&connection.shared.store);
        let uids: BTreeSet<u32> = self
            .deleted
            .iter()
            .filter_map(|number| self.items.get(number.checked_sub(1)?))
            .map(|item| item.uid)
            .collect();
        if let Some(folder) = store.folder(&self.user, "INBOX")
            && folder.uid_validity == self.uid_validity
        {
            folder.messages.retain(|message| !uids.contains(&message.uid));
        }
        store.changed();
    }
}

async fn no_such_message(connection: &mut Connection) -> io::Result<()> {
    connection.say("-ERR The specified message is out of range.").await
}

/// A message as it goes over the wire: dots doubled, CRLF at its end, and of its body only so many lines.
fn stuffed(message: &[u8], body_lines: Option<usize>) -> Vec<u8> {
    let mut text = Vec::with_capacity(message.len() + message.len() / 64 + 2);
    let mut left = None;
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        match &mut left {
            Some(0) => break,
            Some(lines) => *lines -= 1,
            None if matches!(line, b"\r\n" | b"\n") => left = body_lines,
            None => {}
        }
        if line.first() == Some(&b'.') {
            text.push(b'.');
        }
        text.extend_from_slice(line);
    }
    if !text.is_empty() && !text.ends_with(b"\r\n") {
        text.extend_from_slice(b"\r\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dots_are_doubled_and_a_top_is_cut() {
        let message = b"Subject: x\r\n\r\n.one\r\ntwo\r\n..three";
        assert_eq!(stuffed(message, None), b"Subject: x\r\n\r\n..one\r\ntwo\r\n...three\r\n");
        assert_eq!(stuffed(message, Some(0)), b"Subject: x\r\n\r\n");
        assert_eq!(stuffed(message, Some(1)), b"Subject: x\r\n\r\n..one\r\n");
    }
}
