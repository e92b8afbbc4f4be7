//! SEARCH (RFC 3501 section 6.4.4), for what mail clients ask.

use super::super::connection::Connection;
use super::mime;
use super::parse::{Command, Set};
use super::{Answer, Bad, OrBad as _, Session};
use crate::office365::clock::Civil;
use crate::office365::lock;
use crate::office365::mailbox::Message;

/// NOT within OR within NOT: no deeper than this.
const MAX_DEPTH: usize = 16;

/// One condition.
enum Key {
    All(Vec<Key>),
    Not(Box<Key>),
    Or(Box<Key>, Box<Key>),
    Flag(String),
    Numbers(Set),
    Uids(Set),
    /// A header field that contains a text.
    Header(String, String),
    Body(String),
    Text(String),
    Larger(usize),
    Smaller(usize),
    /// A day, and how the day of the message must stand to it.
    Day(u64, std::cmp::Ordering),
    NotBefore(u64),
}

impl Session {
    pub(super) async fn search(&mut self, connection: &mut Connection, command: &mut Command) -> Answer {
        let by_uid = command.verb.starts_with("UID");
        let selected = self.selected.as_ref().ok_or(Bad::State)?;
        let greatest_uid = selected.uids.last().copied().unwrap_or(0);
        let greatest = u32::try_from(selected.uids.len()).unwrap_or(u32::MAX);
        let mut keys = Vec::new();
        while !command.at_end() {
            command.space().or_bad()?;
            keys.push(read(command, greatest, greatest_uid, 0).or_bad()?);
        }
        if keys.is_empty() {
            return Err(Bad::Argument);
        }
        let wanted = Key::All(keys);
        let found: Vec<String> = {
            let mut store = lock(&connection.shared.store);
            let folder = store.folder(self.user(), &selected.folder).ok_or(Bad::No("SEARCH failed."))?;
            let numbered = (1_u32..).zip(&selected.uids);
            let found = numbered
                .filter(|(number, uid)| folder.message(**uid).is_some_and(|message| wanted.holds(*number, message)));
            found.map(|(number, uid)| if by_uid { uid.to_string() } else { number.to_string() }).collect()
        };
        let list = if found.is_empty() { String::new() } else { format!(" {}", found.join(" ")) };
        connection.say(&format!("* SEARCH{list}")).await?;
        Ok("OK SEARCH completed.".to_owned())
    }
}

fn read(command: &mut Command, greatest: u32, greatest_uid: u32, depth: usize) -> Option<Key> {
    if depth > MAX_DEPTH {
        return None;
    }
    let inner = |command: &mut Command| {
        command.space()?;
        read(command, greatest, greatest_uid, depth + 1)
    };
    if command.eat(b'(').is_some() {
        let mut keys = vec![read(command, greatest, greatest_uid, depth + 1)?];
        while command.eat(b')').is_none() {
            keys.push(inner(command)?);
        }
        return Some(Key::All(keys));
    }
    let argument = |command: &mut Command| {
        command.space()?;
        command.string()
    };
    let word = command.atom()?.to_ascii_uppercase();
    let not = |key: Key| Key::Not(Box::new(key));
    let flag = |name: &str| Key::Flag(format!("\\{name}"));
    let key = match word.as_str() {
        "ALL" | "OLD" => Key::All(Vec::new()),
        "NEW" | "RECENT" => not(Key::All(Vec::new())),
        "ANSWERED" | "DELETED" | "DRAFT" | "FLAGGED" | "SEEN" => flag(&word),
        "UNANSWERED" | "UNDELETED" | "UNDRAFT" | "UNFLAGGED" | "UNSEEN" => not(flag(word.trim_start_matches("UN"))),
        "KEYWORD" => Key::Flag(argument(command)?),
        "UNKEYWORD" => not(Key::Flag(argument(command)?)),
        "NOT" => not(inner(command)?),
        "OR" => Key::Or(Box::new(inner(command)?), Box::new(inner(command)?)),
        "UID" => Key::Uids(Set::read(&argument(command)?, greatest_uid)?),
        "SUBJECT" | "FROM" | "TO" | "CC" | "BCC" => Key::Header(word, argument(command)?.to_lowercase()),
        "HEADER" => {
            let name = argument(command)?;
            Key::Header(name, argument(command)?.to_lowercase())
        }
        "BODY" => Key::Body(argument(command)?.to_lowercase()),
        "TEXT" => Key::Text(argument(command)?.to_lowercase()),
        "LARGER" => Key::Larger(argument(command)?.parse().ok()?),
        "SMALLER" => Key::Smaller(argument(command)?.parse().ok()?),
        "SINCE" | "SENTSINCE" => Key::NotBefore(day(&argument(command)?)?),
        "BEFORE" | "SENTBEFORE" => Key::Day(day(&argument(command)?)?, std::cmp::Ordering::Less),
        "ON" | "SENTON" => Key::Day(day(&argument(command)?)?, std::cmp::Ordering::Equal),
        "CHARSET" => {
            argument(command)?;
            inner(command)?
        }
        numbers => Key::Numbers(Set::read(numbers, greatest)?),
    };
    Some(key)
}

/// `1-Feb-2024` as a number that orders days.
fn day(text: &str) -> Option<u64> {
    let mut words = text.trim().split('-');
    let (day, month, year) = (words.next()?, words.next()?.to_ascii_lowercase(), words.next()?);
    let months = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let month = u64::try_from(months.iter().position(|name| *name == month)?).ok()? + 1;
    Some(ordered(year.parse().ok()?, month, day.parse().ok()?))
}

fn ordered(year: u64, month: u64, day: u64) -> u64 {
    year.saturating_mul(10_000).saturating_add(month * 100).saturating_add(day)
}

impl Key {
    fn holds(&self, number: u32, message: &Message) -> bool {
        let received = || {
            let civil = Civil::of(message.received);
            ordered(civil.year, civil.month, civil.day)
        };
        match self {
            Self::All(keys) => keys.iter().all(|key| key.holds(number, message)),
            Self::Not(key) => !key.holds(number, message),
            Self::Or(one, other) => one.holds(number, message) || other.holds(number, message),
            Self::Flag(flag) => message.has(flag),
            Self::Numbers(set) => set.contains(number),
            Self::Uids(set) => set.contains(message.uid),
            Self::Header(name, text) => {
                let header = message.bytes.get(..mime::header_length(&message.bytes)).unwrap_or_default();
                let fields = mime::fields(header);
                let named = fields.iter().filter(|(held, _)| held.eq_ignore_ascii_case(name));
                named.map(|(_, value)| value.to_lowercase()).any(|value| value.contains(text.as_str()))
            }
            Self::Body(text) => {
                let body = message.bytes.get(mime::header_length(&message.bytes)..).unwrap_or_default();
                contains(body, text)
            }
            Self::Text(text) => contains(&message.bytes, text),
            Self::Larger(size) => message.bytes.len() > *size,
            Self::Smaller(size) => message.bytes.len() < *size,
            Self::Day(day, order) => received().cmp(day) == *order,
            Self::NotBefore(day) => received() >= *day,
        }
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(&bytes.to_ascii_lowercase(), text.as_bytes()).is_some()
}
