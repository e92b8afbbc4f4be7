//! Takes out of a list of capabilities what a client may not use, word by word as it passes.

use crate::imap::capability::is_hidden;

/// More bytes than any name has that is hidden as a whole; of a longer one its beginning decides.
const WORD_LIMIT: usize = 64;

/// A list that is passing.
#[derive(Default)]
pub(super) struct CapabilityList {
    /// It ends at `]`, as it is in a response code, or else with its line.
    is_code: bool,
    /// The word that is not whole yet, with the blank before it.
    word: Vec<u8>,
    state: State,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A word is put together.
    #[default]
    Word,
    /// The rest of a long word goes on.
    Shown,
    /// The rest of a long word does not.
    Hidden,
    /// The list has ended.
    Over,
}

impl CapabilityList {
    pub(super) fn new(is_code: bool) -> Self {
        Self { is_code, ..Self::default() }
    }

    pub(super) fn held(&self) -> usize {
        self.word.capacity()
    }

    /// What goes on of this piece.
    pub(super) fn pass(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        for &byte in piece {
            match byte {
                _ if self.state == State::Over => out.push(byte),
                b' ' => {
                    self.end_word(out);
                    self.word.push(byte);
                }
                b'\r' | b'\n' => {
                    self.end_word(out);
                    out.push(byte);
                }
                b']' if self.is_code => {
                    self.end_word(out);
                    out.push(byte);
                    self.state = State::Over;
                }
                _ => self.add(byte, out),
            }
        }
    }

    /// What was held of a list that does not go on.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        self.end_word(out);
    }

    fn add(&mut self, byte: u8, out: &mut Vec<u8>) {
        match self.state {
            State::Word => self.word.push(byte),
            State::Shown | State::Over => out.push(byte),
            State::Hidden => {}
        }
        if self.state == State::Word && self.word.len() > WORD_LIMIT {
            self.state = if is_hidden(self.word.trim_ascii()) { State::Hidden } else { State::Shown };
            self.put_out(out);
        }
    }

    fn end_word(&mut self, out: &mut Vec<u8>) {
        self.put_out(out);
        self.state = State::Word;
    }

    fn put_out(&mut self, out: &mut Vec<u8>) {
        let word = std::mem::take(&mut self.word);
        if !is_hidden(word.trim_ascii()) {
            out.extend_from_slice(&word);
        }
    }
}

/// What a line of the server is, by how it begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// More of it is needed.
    NeedsMore,
    /// Any line.
    Plain,
    /// A list of capabilities begins here, after so many bytes of the line.
    CapabilityList { at: usize, is_code: bool },
}

/// Looks at the beginning of a line: `* CAPABILITY …`, `a OK [CAPABILITY …] …`, or `[CAPABILITY …] …`, as Exchange has been
/// seen to leave `* OK` out before a code.
pub(super) fn look(line: &[u8]) -> Look {
    let mut words = Words { line, at: 0 };
    let Some(first) = words.next() else { return Look::NeedsMore };
    if first.text.starts_with(b"[") {
        return first.code();
    }
    // No tag has such a byte, so that it need not be waited for.
    if first.is_whole && first.text == b"+" || !first.text.iter().all(u8::is_ascii_graphic) {
        return Look::Plain;
    }
    if !first.is_whole {
        return Look::NeedsMore;
    }
    let Some(second) = words.next() else { return Look::NeedsMore };
    if first.text == b"*" && second.may_be(b"CAPABILITY") {
        if !second.is_whole {
            return Look::NeedsMore;
        }
        if second.is(b"CAPABILITY") {
            return Look::CapabilityList { at: second.end, is_code: false };
        }
    }
    let conditions: [&[u8]; 5] = [b"OK", b"NO", b"BAD", b"PREAUTH", b"BYE"];
    if !conditions.iter().any(|name| second.is(name) || !second.is_whole && second.may_be(name)) {
        return Look::Plain;
    }
    if !second.is_whole {
        return Look::NeedsMore;
    }
    match words.next() {
        Some(third) => third.code(),
        None => Look::NeedsMore,
    }
}

struct Words<'a> {
    line: &'a [u8],
    at: usize,
}

struct Word<'a> {
    text: &'a [u8],
    /// Where in the line it ends.
    end: usize,
    /// What ends it is there.
    is_whole: bool,
}

impl<'a> Words<'a> {
    /// The next word; `None` if it has not arrived yet. At the end of the line it is an empty one.
    fn next(&mut self) -> Option<Word<'a>> {
        let rest = self.line.get(self.at..)?;
        let begin = self.at + rest.iter().position(|byte| *byte != b' ')?;
        let rest = self.line.get(begin..)?;
        let length = rest.iter().position(|byte| matches!(byte, b' ' | b'\r' | b'\n'));
        let end = begin + length.unwrap_or(rest.len());
        self.at = end;
        Some(Word { text: self.line.get(begin..end)?, end, is_whole: length.is_some() })
    }
}

impl Word<'_> {
    /// Whether it begins a code with a list.
    fn code(&self) -> Look {
        const BEGINNING: &[u8] = b"[CAPABILITY";
        if self.is_whole && self.is(BEGINNING) {
            Look::CapabilityList { at: self.end, is_code: true }
        } else if !self.is_whole && self.may_be(BEGINNING) {
            Look::NeedsMore
        } else {
            Look::Plain
        }
    }

    fn is(&self, name: &[u8]) -> bool {
        self.text.eq_ignore_ascii_case(name)
    }

    /// Whether it is this one, or can become it.
    fn may_be(&self, name: &[u8]) -> bool {
        name.get(..self.text.len()).is_some_and(|beginning| self.is(beginning))
    }
}

#[cfg(test)]
mod tests;
