//! POP3: which command an answer belongs to says whether it has lines behind it (RFC 1939, 3).

use std::collections::VecDeque;

use super::lines::{Lines, Next};
use super::{Counts, Noticed, Tap, back_off};
use crate::line::printable;

/// Most commands whose answers are awaited at once. Behind more than that nothing is followed.
const COMMANDS_LIMIT: usize = 1024;

/// Follows POP3.
#[derive(Default)]
pub struct Pop3 {
    client: Lines,
    server: Lines,
    waiting: VecDeque<Kind>,
    /// The lines of an answer go through, up to the one with a dot.
    in_answer: bool,
    counts: Counts,
    is_aside: bool,
}

/// What a command is answered with, if it succeeds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One line.
    Line,
    /// Lines.
    Lines,
    /// A message.
    Message,
    /// One line before the end of the session.
    Quit,
    /// Nobody here knows what, or nothing that could be read.
    Aside,
}

impl Tap for Pop3 {
    fn client(&mut self, mut bytes: &[u8]) {
        while !self.is_aside {
            let said = self.client.next(&mut bytes, |next| match next {
                Next::Line(line) => kind(line.head),
                Next::Literal(_) => Kind::Line,
            });
            let Some(kind) = said else { return };
            if self.waiting.len() >= COMMANDS_LIMIT {
                return self.step_aside();
            }
            self.waiting.push_back(kind);
        }
    }

    fn server(&mut self, mut bytes: &[u8], notice: &mut dyn FnMut(Noticed)) {
        while !self.is_aside {
            let in_answer = self.in_answer;
            let answered = self.server.next(&mut bytes, |next| match next {
                Next::Line(line) if in_answer => (line.head == b".").then_some(Answer::End),
                Next::Line(line) => Some(Answer::of(line.head)),
                Next::Literal(_) => None,
            });
            match answered {
                None => return,
                Some(None) => {}
                Some(Some(answer)) => self.answered(answer, notice),
            }
        }
    }

    fn counts(&self) -> Counts {
        self.counts
    }

    fn held(&self) -> usize {
        self.client.held() + self.server.held() + self.waiting.capacity()
    }
}

/// A line of the server that means something.
enum Answer {
    Good,
    Bad {
        text: String,
        back_off: Option<std::time::Duration>,
    },
    /// The last of several lines.
    End,
    /// Something else where an answer should be.
    None,
}

impl Answer {
    fn of(line: &[u8]) -> Self {
        let begins_with = |word: &[u8]| line.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
        if begins_with(b"+OK") {
            Self::Good
        } else if begins_with(b"-ERR") {
            let text = line.get(4..).unwrap_or_default().trim_ascii_start();
            Self::Bad { text: printable(text), back_off: back_off(line) }
        } else {
            Self::None
        }
    }
}

impl Pop3 {
    fn answered(&mut self, answer: Answer, notice: &mut dyn FnMut(Noticed)) {
        match answer {
            Answer::End => self.in_answer = false,
            Answer::None => self.step_aside(),
            Answer::Good => match self.answers() {
                Some(Kind::Aside) | None => self.step_aside(),
                Some(kind) => {
                    self.in_answer = matches!(kind, Kind::Lines | Kind::Message);
                    self.counts.fetched += u64::from(kind == Kind::Message);
                    if kind == Kind::Quit {
                        self.step_aside();
                    }
                }
            },
            Answer::Bad { text, back_off } => {
                if let Some(back_off) = back_off {
                    notice(Noticed::Throttled { back_off });
                }
                // Nobody has asked: these are its last words.
                if self.answers().is_none() {
                    notice(Noticed::Bye { text, asked_for: false });
                }
            }
        }
    }

    /// The command that an answer belongs to.
    fn answers(&mut self) -> Option<Kind> {
        let kind = self.waiting.pop_front();
        if self.waiting.is_empty() {
            // Without memory until the next one.
            self.waiting = VecDeque::new();
        }
        kind
    }

    /// Follows nothing any more, and forgets everything but what was counted.
    fn step_aside(&mut self) {
        *self = Self { counts: self.counts, is_aside: true, ..Self::default() };
    }
}

fn kind(line: &[u8]) -> Kind {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let verb = words.next().unwrap_or_default();
    let is = |name: &str| verb.eq_ignore_ascii_case(name.as_bytes());
    let is_alone = words.next().is_none();
    if is("RETR") {
        Kind::Message
    } else if is("TOP") || is("CAPA") || ((is("LIST") || is("UIDL") || is("LANG")) && is_alone) {
        Kind::Lines
    } else if is("QUIT") {
        Kind::Quit
    } else if ["STAT", "DELE", "NOOP", "RSET", "LIST", "UIDL", "LANG", "UTF8"].iter().any(|name| is(name)) {
        Kind::Line
    } else {
        Kind::Aside
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::tap::playing;

    fn alike(session: &[(char, &str)]) -> playing::Heard {
        playing::alike(session, |tap: &Pop3| tap.is_aside)
    }

    #[test]
    fn messages_are_counted_and_their_text_means_nothing() {
        let (noticed, counts, _) = alike(&[
            ('C', "STAT\r\nLIST\r\nuidl\r\nLIST 1\r\nRETR 1\r\nTOP 1 0\r\nRETR 2\r\nRETR 9\r\n"),
            ('S', "+OK 2 200\r\n+OK\r\n1 100\r\n2 100\r\n.\r\n+OK\r\n1 a\r\n.\r\n+OK 1 100\r\n"),
            ('S', "+OK 100 octets\r\nSubject: x\r\n\r\n-ERR Request is throttled.\r\n..\r\n.dot\r\n+OK\r\n.\r\n"),
            ('S', "+OK\r\nSubject: x\r\n.\r\n+OK\r\n\r\n.\r\n-ERR no such message\r\n"),
            ('C', "RETR 1\n"),
            ('S', "+OK\ntext\n.\n"),
            ('C', "QUIT\r\n"),
            ('S', "+OK bye\r\n"),
        ]);
        assert_eq!((noticed, counts), (vec![], Counts { fetched: 3, stored: 0 }));
    }

    #[test]
    fn throttling_is_noticed() {
        let (noticed, ..) = alike(&[
            ('C', "RETR 1\r\n"),
            ('S', "-ERR Request is throttled. Suggested Backoff Time: 1500 milliseconds\r\n"),
        ]);
        assert_eq!(noticed, [Noticed::Throttled { back_off: Duration::from_millis(1500) }]);
    }

    #[test]
    fn it_steps_aside_where_it_cannot_follow() {
        let (noticed, _, aside) = alike(&[
            ('C', "STLS\r\n"),
            ('S', "+OK begin\r\n"),
            ('C', "\u{16}\u{3}\r\n\n"),
            ('S', "-ERR Request is throttled.\r\n"),
        ]);
        assert!(noticed.is_empty() && aside);
        let many = "NOOP\r\n".repeat(COMMANDS_LIMIT + 1);
        assert!(alike(&[('C', &many)]).2, "a client that sends on and on without an answer costs a bound");
        for (said, answer) in [
            ("STLS\r\n", "-ERR not now\r\n"),
            ("XNEW\r\n", "-ERR unknown\r\n"),
            ("\r\n", "-ERR what\r\n"),
            ("NOOP\r\n", "+OK\r\n"),
        ] {
            assert!(!alike(&[('C', said), ('S', answer)]).2, "{said}");
        }
        for (said, answer) in [
            ("XNEW\r\n", "+OK lines or not\r\n"),
            ("NOOP\r\n", "\u{16}\u{3}\u{1}\r\n"),
            ("", "+OK nobody asked\r\n"),
            ("QUIT\r\n", "+OK the end\r\n"),
        ] {
            assert!(alike(&[('C', said), ('S', answer)]).2, "{said}");
        }
    }

    #[test]
    fn last_words_that_nobody_asked_for_are_noticed() {
        let (noticed, ..) = alike(&[('C', "NOOP\r\n"), ('S', "+OK\r\n-ERR Connection is closed. 13\r\n")]);
        assert_eq!(noticed, [Noticed::Bye { text: "Connection is closed. 13".into(), asked_for: false }]);
    }
}
