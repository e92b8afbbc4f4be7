//! How a client's line begins: far enough to know the command's name, however the bytes are cut.

/// Most bytes at the beginning of a line that are held back until the command's name is known. A line that goes on longer
/// without one is passed on while it is looked for.
pub(super) const HOLD_LIMIT: usize = 128;

/// Longest name that matters: `UNAUTHENTICATE`.
const NAME_LIMIT: usize = 14;

/// What the beginning of a line turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The line has ended without a name.
    NoName,
    /// A command.
    Name(Name),
}

/// The name of a command in capitals; an empty one if it is longer than any that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Name {
    bytes: [u8; NAME_LIMIT],
    length: u8,
}

impl Name {
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// Whether there was room for it.
    fn push(&mut self, byte: u8) -> bool {
        match self.bytes.get_mut(usize::from(self.length)) {
            Some(place) => {
                *place = byte.to_ascii_uppercase();
                self.length += 1;
                true
            }
            None => false,
        }
    }
}

/// Where the reading of a line's beginning stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    part: Part,
    name: Name,
    seen: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Nothing but padding so far, and a tag is to come.
    BeforeTag,
    Tag,
    BeforeName,
    Name,
}

impl Start {
    /// A line of IMAP: tag, blank, name.
    pub(super) fn with_tag() -> Self {
        Self { part: Part::BeforeTag, name: Name::default(), seen: 0 }
    }

    /// A line of POP3: it begins with the name.
    pub(super) fn without_tag() -> Self {
        Self { part: Part::BeforeName, ..Self::with_tag() }
    }

    /// How many more bytes may be held back.
    pub(super) fn room(&self) -> usize {
        HOLD_LIMIT.saturating_sub(self.seen)
    }

    /// How many bytes it has read, the one that decided included.
    pub(super) fn seen(&self) -> usize {
        self.seen
    }

    /// Reads on. What it says is said once; nothing may be read after it.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Option<Found> {
        for &byte in bytes {
            self.seen = self.seen.saturating_add(1);
            let is_padding = is_padding(byte);
            match self.part {
                Part::BeforeTag | Part::Tag | Part::BeforeName if byte == b'\n' => return Some(Found::NoName),
                Part::BeforeTag if !is_padding => self.part = Part::Tag,
                Part::Tag if is_padding => self.part = Part::BeforeName,
                Part::BeforeTag | Part::Tag => {}
                Part::BeforeName if is_padding => {}
                Part::BeforeName | Part::Name => {
                    self.part = Part::Name;
                    if !byte.is_ascii_alphanumeric() {
                        return Some(Found::Name(self.name));
                    }
                    if !self.name.push(byte) {
                        return Some(Found::Name(Name::default()));
                    }
                }
            }
        }
        None
    }
}

/// What may stand around the words of a line.
pub(super) fn is_padding(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | 0)
}

/// The first word of a line: its tag.
pub(super) fn first_word(line: &[u8]) -> &[u8] {
    line.split(|byte| is_padding(*byte) || *byte == b'\n').find(|word| !word.is_empty()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(mut start: Start, line: &str) -> Option<String> {
        let whole = { start }.read(line.as_bytes());
        let in_pieces = line.as_bytes().chunks(1).find_map(|byte| start.read(byte));
        assert_eq!(whole, in_pieces, "{line:?}");
        whole.map(|found| match found {
            Found::NoName => "no name".into(),
            Found::Name(name) => String::from_utf8(name.as_bytes().to_vec()).unwrap(),
        })
    }

    #[test]
    fn name_of_a_command_is_found_behind_any_padding() {
        for (line, name) in [
            ("a LOGIN x y\r\n", Some("LOGIN")),
            ("a login\n", Some("LOGIN")),
            ("\0\0 \ta \t LoGiN\tx", Some("LOGIN")),
            ("a LOGIN\"x\" y", Some("LOGIN")),
            ("a \0LOGIN\0", Some("LOGIN")),
            ("a UNAUTHENTICATE\r\n", Some("UNAUTHENTICATE")),
            ("a UNAUTHENTICATED", Some("")),
            ("a LOGINS ", Some("LOGINS")),
            ("a (", Some("")),
            ("DONE\r\n", Some("no name")),
            ("\r\n", Some("no name")),
            ("\n", Some("no name")),
            ("a \r\n", Some("no name")),
            ("a LOGIN", None),
            ("a ", None),
            ("", None),
        ] {
            assert_eq!(found(Start::with_tag(), line).as_deref(), name, "{line:?}");
        }
        assert_eq!(found(Start::without_tag(), "\0 pass x").as_deref(), Some("PASS"));
        assert_eq!(found(Start::without_tag(), "\r\n").as_deref(), Some("no name"));
        assert_eq!(first_word(b"\0 a1\tLOGIN"), b"a1");
    }
}
