//! Commands with their literals (RFC 3501 section 9), read argument by argument.

use std::collections::VecDeque;
use std::io;

use super::super::connection::Connection;

/// A line of a command; Exchange Server's own default is 10240.
const MAX_LINE: usize = 64 * 1024;
/// A literal before the login; nothing but a user name or a password can be one.
const MAX_EARLY_LITERAL: usize = 4096;
/// A literal after it: a message.
const MAX_LITERAL: usize = 157_286_400;

/// One command, with what is left to be read of its arguments.
pub(super) struct Command {
    pub(super) tag: String,
    /// In capitals; `UID FETCH` is one.
    pub(super) verb: String,
    text: Vec<u8>,
    at: usize,
    literals: VecDeque<Vec<u8>>,
}

/// The next command; nothing at the end of the stream.
pub(super) async fn read(connection: &mut Connection, logged_in: bool) -> io::Result<Option<Command>> {
    let Some(mut text) = connection.read_line(MAX_LINE).await? else { return Ok(None) };
    let mut literals = VecDeque::new();
    let (tag, verb, arguments) = split(&text);
    let hidden = verb == "LOGIN" || verb == "AUTHENTICATE";
    let mut announced = literal_size(&text);
    while let Some((size, waits)) = announced {
        let limit = if logged_in { MAX_LITERAL } else { MAX_EARLY_LITERAL };
        if size > limit {
            connection.say(&format!("{tag} BAD Command Argument Error. 11")).await?;
            return Err(io::ErrorKind::InvalidData.into());
        }
        if waits {
            connection.say("+ Ready for additional command text.").await?;
        }
        literals.push_back(connection.read_octets(size, hidden).await?);
        let rest =
            if hidden { connection.read_credentials(MAX_LINE).await? } else { connection.read_line(MAX_LINE).await? };
        let Some(rest) = rest else { return Ok(None) };
        // Of this line alone: where it is empty, the literal behind us is not announced again.
        announced = literal_size(&rest);
        text.extend_from_slice(&rest);
    }
    Ok(Some(Command { tag, verb, text, at: arguments, literals }))
}

/// The tag, the verb, and where the arguments begin.
fn split(text: &[u8]) -> (String, String, usize) {
    let mut words = text.split(|byte| *byte == b' ');
    let tag = words.next().unwrap_or_default();
    let first = words.next().unwrap_or_default();
    let mut verb = String::from_utf8_lossy(first).to_ascii_uppercase();
    let mut length = tag.len() + 1 + first.len();
    if verb == "UID" {
        let second = words.next().unwrap_or_default();
        verb = format!("UID {}", String::from_utf8_lossy(second).to_ascii_uppercase());
        length += 1 + second.len();
    }
    (String::from_utf8_lossy(tag).into_owned(), verb, length.min(text.len()))
}

/// The size of a literal announced at the end of a line, and whether the client waits for us.
fn literal_size(text: &[u8]) -> Option<(usize, bool)> {
    let inner = text.strip_suffix(b"}")?;
    let open = inner.iter().rposition(|byte| *byte == b'{')?;
    let digits = std::str::from_utf8(inner.get(open + 1..)?).ok()?;
    let (digits, waits) = digits.strip_suffix('+').map_or((digits, true), |digits| (digits, false));
    Some((digits.parse().ok()?, waits))
}

impl Command {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    pub(super) fn eat(&mut self, byte: u8) -> Option<()> {
        (self.peek() == Some(byte)).then(|| self.at += 1)
    }

    pub(super) fn space(&mut self) -> Option<()> {
        self.eat(b' ')
    }

    pub(super) fn at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    pub(super) fn end(&self) -> Option<()> {
        self.at_end().then_some(())
    }

    fn while_true(&mut self, mut wanted: impl FnMut(u8) -> bool) -> String {
        let start = self.at;
        while self.peek().is_some_and(&mut wanted) {
            self.at += 1;
        }
        String::from_utf8_lossy(self.text.get(start..self.at).unwrap_or_default()).into_owned()
    }

    /// Everything up to a space, a parenthesis or the end.
    pub(super) fn atom(&mut self) -> Option<String> {
        let atom = self.while_true(|byte| !matches!(byte, b' ' | b'(' | b')'));
        (!atom.is_empty()).then_some(atom)
    }

    /// A fetch item: an atom that may carry a section in brackets, and a range behind it.
    pub(super) fn fetch_item(&mut self) -> Option<String> {
        let mut depth = 0_u32;
        let item = self.while_true(|byte| {
            match byte {
                b'[' => depth += 1,
                b']' => depth = depth.saturating_sub(1),
                b' ' | b'(' | b')' if depth == 0 => return false,
                _ => {}
            }
            true
        });
        (!item.is_empty()).then_some(item)
    }

    /// An atom, a quoted string or a literal.
    pub(super) fn astring(&mut self) -> Option<Vec<u8>> {
        match self.peek()? {
            b'"' => self.quoted(),
            b'{' => {
                self.while_true(|byte| byte != b'}');
                self.eat(b'}')?;
                self.literals.pop_front()
            }
            _ => self.atom().map(String::into_bytes),
        }
    }

    pub(super) fn string(&mut self) -> Option<String> {
        self.astring().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    fn quoted(&mut self) -> Option<Vec<u8>> {
        self.eat(b'"')?;
        let mut value = Vec::new();
        loop {
            let byte = self.peek()?;
            self.at += 1;
            match byte {
                b'"' => return Some(value),
                b'\\' => {
                    value.push(self.peek()?);
                    self.at += 1;
                }
                other => value.push(other),
            }
        }
    }

    pub(super) fn next_is(&self, byte: u8) -> bool {
        self.peek() == Some(byte)
    }

    /// `(a b c)`, or only `a b c` to the end where parentheses may be left out.
    pub(super) fn list(&mut self, mut item: impl FnMut(&mut Self) -> Option<String>) -> Option<Vec<String>> {
        let parentheses = self.eat(b'(').is_some();
        let mut items = Vec::new();
        if parentheses && self.eat(b')').is_some() {
            return Some(items);
        }
        loop {
            items.push(item(self)?);
            if self.space().is_some() {
                continue;
            }
            if parentheses {
                self.eat(b')')?;
            }
            return Some(items);
        }
    }
}

/// `1,3:5,7:*` as ranges; `*` is the greatest number there is.
#[derive(Debug, Clone)]
pub(super) struct Set(Vec<(u32, u32)>);

impl Set {
    pub(super) fn read(text: &str, greatest: u32) -> Option<Self> {
        let number =
            |text: &str| if text == "*" { Some(greatest) } else { text.parse::<u32>().ok().filter(|n| *n > 0) };
        let ranges: Option<Vec<(u32, u32)>> = text
            .split(',')
            .map(|part| {
                let (from, to) = part.split_once(':').unwrap_or((part, part));
                let (from, to) = (number(from)?, number(to)?);
                Some((from.min(to), from.max(to)))
            })
            .collect();
        ranges.map(Self)
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        self.0.iter().any(|(from, to)| (*from..=*to).contains(&number))
    }
}

/// Numbers as a set, `1:3,5`.
pub(super) fn compressed(numbers: &[u32]) -> String {
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => ranges.push((*number, *number)),
        }
    }
    let words = ranges.iter().map(|(from, to)| if from == to { from.to_string() } else { format!("{from}:{to}") });
    words.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: &str) -> Command {
        let (tag, verb, at) = split(line.as_bytes());
        Command { tag, verb, text: line.as_bytes().to_vec(), at, literals: VecDeque::from([b"lit eral".to_vec()]) }
    }

    #[test]
    fn arguments_are_read_one_by_one() {
        let mut it = command(r#"A1 uid fetch 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (To "X")]<0.5>) "q\"\\" {8} rest"#);
        assert_eq!((it.tag.as_str(), it.verb.as_str()), ("A1", "UID FETCH"));
        it.space().unwrap();
        assert_eq!(it.atom().unwrap(), "1:*");
        it.space().unwrap();
        let items = it.list(Command::fetch_item).unwrap();
        assert_eq!(items, ["FLAGS", r#"BODY.PEEK[HEADER.FIELDS (To "X")]<0.5>"#]);
        it.space().unwrap();
        assert_eq!(it.string().unwrap(), "q\"\\");
        it.space().unwrap();
        assert_eq!(it.string().unwrap(), "lit eral");
        it.space().unwrap();
        assert_eq!(it.string().unwrap(), "rest");
        assert!(it.at_end());
    }

    #[test]
    fn sets_and_literals() {
        let set = Set::read("1,3:5,*", 9).unwrap();
        assert_eq!((1..=10).filter(|n| set.contains(*n)).collect::<Vec<_>>(), [1, 3, 4, 5, 9]);
        assert!(Set::read("0", 9).is_none() && Set::read("a", 9).is_none());
        assert_eq!(compressed(&[1, 2, 3, 5, 7, 8]), "1:3,5,7:8");
        assert_eq!(literal_size(b"A APPEND x {12}"), Some((12, true)));
        assert_eq!(literal_size(b"A APPEND x {12+}"), Some((12, false)));
        assert_eq!(literal_size(b"A LOGIN a b"), None);
    }
}
