//! FETCH (RFC 3501 section 6.4.5). A large literal goes out straight from the stored message.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::super::connection::Connection;
use super::mime::{self, Part};
use super::parse::Command;
use super::{Answer, Bad, OrBad as _, Session};
use crate::office365::clock::Civil;
use crate::office365::lock;
use crate::office365::mailbox::Message;

/// What FETCH can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Flags,
    Uid,
    Size,
    InternalDate,
    Envelope,
    Structure {
        extended: bool,
    },
    Body {
        /// As the answer names it: `BODY[TEXT]<0>`, `RFC822`.
        name: String,
        section: Section,
        partial: Option<(usize, usize)>,
        peek: bool,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Section {
    path: Vec<usize>,
    text: Text,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Text {
    All,
    Header,
    Body,
    Mime,
    Fields { names: Vec<String>, unwanted: bool },
}

impl Session {
    pub(super) async fn fetch(&mut self, connection: &mut Connection, command: &mut Command) -> Answer {
        let by_uid = command.verb.starts_with("UID");
        command.space().or_bad()?;
        let set = command.atom().or_bad()?;
        command.space().or_bad()?;
        let words = command.list(Command::fetch_item).or_bad()?;
        command.end().or_bad()?;
        let mut items = Vec::new();
        for word in &words {
            items.extend(read_items(word).or_bad()?);
        }
        if by_uid && !items.contains(&Item::Uid) {
            items.insert(0, Item::Uid);
        }
        let selected = self.selected.as_ref().ok_or(Bad::State)?;
        let wanted = selected.find(&set, by_uid).or_bad()?;
        let sets_seen = !selected.read_only && items.iter().any(|item| matches!(item, Item::Body { peek: false, .. }));
        for (number, uid) in wanted {
            let message = {
                let mut store = lock(&connection.shared.store);
                let Some(folder) = store.folder(self.user(), &selected.folder) else { break };
                let Some(message) = folder.message_mut(uid) else { continue };
                let newly_seen = sets_seen && !message.has("\\Seen");
                if newly_seen {
                    message.set("\\Seen");
                }
                (message.clone(), newly_seen)
            };
            let (message, newly_seen) = message;
            let mut items = items.clone();
            if newly_seen && !items.contains(&Item::Flags) {
                items.push(Item::Flags);
            }
            answer(connection, number, &message, &items).await?;
        }
        Ok(format!("OK {} completed.", command.verb.trim_start_matches("UID ")))
    }
}

async fn answer(connection: &mut Connection, number: usize, message: &Message, items: &[Item]) -> io::Result<()> {
    let bytes = Arc::clone(&message.bytes);
    let needs_parts = |item: &Item| match item {
        Item::Structure { .. } | Item::Envelope => true,
        Item::Body { section, .. } => !section.path.is_empty(),
        _ => false,
    };
    let part = items.iter().any(needs_parts).then(|| Part::read(&bytes));
    let mut line = format!("* {number} FETCH (");
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            line.push(' ');
        }
        match item {
            Item::Flags => line.push_str(&format!("FLAGS ({})", message.flags.join(" "))),
            Item::Uid => line.push_str(&format!("UID {}", message.uid)),
            Item::Size => line.push_str(&format!("RFC822.SIZE {}", bytes.len())),
            Item::InternalDate => line.push_str(&format!("INTERNALDATE \"{}\"", Civil::of(message.received).imap())),
            Item::Envelope => {
                let header = bytes.get(..mime::header_length(&bytes)).unwrap_or_default();
                line.push_str(&format!("ENVELOPE {}", mime::envelope(&mime::fields(header))));
            }
            Item::Structure { extended } => {
                let name = if *extended { "BODYSTRUCTURE" } else { "BODY" };
                let structure = part.as_ref().map(|part| part.structure(&bytes, *extended)).unwrap_or_default();
                line.push_str(&format!("{name} {structure}"));
            }
            Item::Body { name, section, partial, .. } => {
                let text = cut(&bytes, part.as_ref(), section);
                let text = text.as_ref().map(Piece::as_slice);
                let text = text.map(|text| match partial {
                    Some((from, length)) => {
                        let from = (*from).min(text.len());
                        text.get(from..text.len().min(from.saturating_add(*length))).unwrap_or_default()
                    }
                    None => text,
                });
                let Some(text) = text else {
                    line.push_str(&format!("{name} NIL"));
                    continue;
                };
                line.push_str(&format!("{name} {{{}}}", text.len()));
                connection.say(&line).await?;
                line.clear();
                connection.put_body(text).await?;
            }
        }
    }
    line.push(')');
    connection.say(&line).await
}

enum Piece<'a> {
    Borrowed(&'a [u8]),
    Made(Vec<u8>),
}

impl Piece<'_> {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Made(bytes) => bytes,
        }
    }
}

/// The octets of a section, if the message has it.
fn cut<'a>(bytes: &'a [u8], part: Option<&Part>, section: &Section) -> Option<Piece<'a>> {
    let piece = |place: Range<usize>| bytes.get(place).map(Piece::Borrowed);
    if section.path.is_empty() {
        let length = mime::header_length(bytes);
        return match &section.text {
            Text::All => Some(Piece::Borrowed(bytes)),
            Text::Header | Text::Mime => piece(0..length),
            Text::Body => piece(length..bytes.len()),
            Text::Fields { names, unwanted } => {
                Some(Piece::Made(mime::chosen_fields(bytes.get(..length)?, names, *unwanted)))
            }
        };
    }
    let part = part?.find(&section.path)?;
    if section.text == Text::Mime {
        return piece(part.header.clone());
    }
    if section.text == Text::All {
        return piece(part.body.clone());
    }
    // Any other text of a part is that of the message inside it.
    let inner = bytes.get(part.body.clone())?;
    cut(inner, None, &Section { path: Vec::new(), text: section.text.clone() })
}

/// The items that one word stands for.
fn read_items(word: &str) -> Option<Vec<Item>> {
    let body = |name: &str, text: Text, peek: bool| {
        vec![Item::Body { name: name.to_owned(), section: Section { path: Vec::new(), text }, partial: None, peek }]
    };
    let upper = word.to_ascii_uppercase();
    let items = match upper.as_str() {
        "ALL" => vec![Item::Flags, Item::InternalDate, Item::Size, Item::Envelope],
        "FAST" => vec![Item::Flags, Item::InternalDate, Item::Size],
        "FULL" => {
            vec![Item::Flags, Item::InternalDate, Item::Size, Item::Envelope, Item::Structure { extended: false }]
        }
        "FLAGS" => vec![Item::Flags],
        "UID" => vec![Item::Uid],
        "RFC822.SIZE" => vec![Item::Size],
        "INTERNALDATE" => vec![Item::InternalDate],
        "ENVELOPE" => vec![Item::Envelope],
        "BODYSTRUCTURE" => vec![Item::Structure { extended: true }],
        "BODY" => vec![Item::Structure { extended: false }],
        "RFC822" => body("RFC822", Text::All, false),
        "RFC822.HEADER" => body("RFC822.HEADER", Text::Header, true),
        "RFC822.TEXT" => body("RFC822.TEXT", Text::Body, false),
        _ => return read_section(&upper).map(|item| vec![item]),
    };
    Some(items)
}

/// `BODY[section]<from.length>`, `BODY.PEEK[…]`
fn read_section(word: &str) -> Option<Item> {
    let (peek, rest) = match word.strip_prefix("BODY.PEEK[") {
        Some(rest) => (true, rest),
        None => (false, word.strip_prefix("BODY[")?),
    };
    let (inner, range) = rest.rsplit_once(']')?;
    let partial = match range.strip_prefix('<') {
        Some(range) => {
            let (from, length) = range.strip_suffix('>')?.split_once('.')?;
            Some((from.parse().ok()?, length.parse().ok()?))
        }
        None if range.is_empty() => None,
        None => return None,
    };
    let origin = partial.map(|(from, _): (usize, usize)| format!("<{from}>")).unwrap_or_default();
    let mut path = Vec::new();
    let mut left = inner;
    while left.starts_with(|first: char| first.is_ascii_digit()) {
        let (number, rest) = left.split_once('.').unwrap_or((left, ""));
        path.push(number.parse().ok()?);
        left = rest;
    }
    let (kind, list) = left.split_once(' ').unwrap_or((left, ""));
    let names = || {
        let list = list.strip_prefix('(')?.strip_suffix(')')?;
        Some(list.split_ascii_whitespace().map(|name| name.trim_matches('"').to_owned()).collect::<Vec<String>>())
    };
    let text = match kind {
        "" => Text::All,
        "HEADER" => Text::Header,
        "TEXT" => Text::Body,
        "MIME" if !path.is_empty() => Text::Mime,
        "HEADER.FIELDS" => Text::Fields { names: names()?, unwanted: false },
        "HEADER.FIELDS.NOT" => Text::Fields { names: names()?, unwanted: true },
        _ => return None,
    };
    Some(Item::Body { name: format!("BODY[{inner}]{origin}"), section: Section { path, text }, partial, peek })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_read_and_named_in_the_answer() {
        let Some(Item::Body { name, section, partial, peek }) = read_section("BODY.PEEK[HEADER.FIELDS (TO FROM)]<3.7>")
        else {
            panic!()
        };
        assert_eq!(name, "BODY[HEADER.FIELDS (TO FROM)]<3>");
        assert_eq!(section.text, Text::Fields { names: vec!["TO".into(), "FROM".into()], unwanted: false });
        assert_eq!((partial, peek), (Some((3, 7)), true));
        let Some(Item::Body { section, .. }) = read_section("BODY[1.2.MIME]") else { panic!() };
        assert_eq!(section, Section { path: vec![1, 2], text: Text::Mime });
        for wrong in ["BODY[MIME]", "BODY[X]", "BODY[]<1>", "BODY[", "X[]"] {
            assert!(read_section(wrong).is_none(), "{wrong}");
        }
    }
}
