//! The taps of IMAP and POP3 on any bytes at all: what must hold of them, however the bytes are cut.
//!
//! - They neither panic nor hold more than their bounds.
//! - What goes on to either side, and what they notice and count, does not depend on how the bytes are cut.
//! - Where there is nothing to filter, everything goes on as it came. What goes on to the server is always what the client has
//!   said, in order, with parts left out; and in a session whose lines a simple reader can tell, exactly its logins.
//! - What they notice is bounded and on one line.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use oxpost_protocol::tap::{BACK_OFF_LIMIT, Counts, Cut, Imap, Observation, Over, Peer, Pop3, Tap};

/// Between what one side says and what the other says then. The client begins.
pub const DIVISION: &[u8] = b"\xff\xfe\xff";

/// What the relay moves in one call.
const READ: usize = 16 * 1024;

/// What a tap may hold, as it promises.
const HELD_BOUND: usize = 128 * 1024;

/// More characters than anything that is noticed has.
const TEXT_BOUND: usize = 402;

/// Sessions to begin with: the choice, and what the client and the server say in turn.
pub const SESSIONS: [(u8, &[&str]); 11] = [
    (
        0,
        &[
            "a SELECT INBOX\r\nb EXAMINE {4+}\r\nSent\r\n",
            "* 3 EXISTS\r\n* OK [UIDVALIDITY 14] UIDVALIDITY value\r\na OK x\r\n* OK [UIDVALIDITY 15] x\r\nb OK x\r\n",
            "c FETCH 1:2 (BODY.PEEK[])\r\n",
            "* 1 FETCH (UID 5 BODY[] {9}\r\n* BYE x\r\n)\r\n* 2 FETCH (BINARY[] ~{2}\r\n\0\n RFC822 {1}\r\nx)\r\nc OK x\r\n",
        ],
    ),
    (
        0,
        &[
            "d APPEND \"Sent Items\" (\\Seen) {5}\r\n",
            "+ go\r\n",
            "abc\r\n\r\ne APPEND INBOX {99}\r\n",
            "d OK [APPENDUID 15 3] x\r\ne NO [OVERQUOTA] x\r\n",
            "f SELECT \"a \\\"b\\\"\"\r\n",
            "* OK [UIDVALIDITY 16] x\r\nf OK x\r\n* STATUS \"x (y)\" (MESSAGES 1 UIDVALIDITY 9)\r\n",
        ],
    ),
    (
        0,
        &[
            "g IDLE\r\n",
            "+ idling\r\n* 4 EXISTS\r\n",
            "DONE\r\nh NOOP\r\n",
            "g OK x\r\nh BAD Request is throttled. Suggested Backoff Time: 299961 milliseconds\r\n",
            "i LOGOUT\r\n",
            "* BYE signing off\r\ni OK x\r\n",
        ],
    ),
    (0, &["j COMPRESS DEFLATE\r\n", "j OK x\r\n\0\u{1}\n", "\u{1}\u{2}\r\n", "* BYE Session invalidated\r\n"]),
    (
        1,
        &[
            "STAT\r\nLIST\r\nUIDL 1\r\nRETR 1\r\nTOP 1 0\r\n",
            "+OK 1 9\r\n+OK\r\n1 9\r\n.\r\n+OK 1 x\r\n+OK\r\n-ERR x\r\n..\r\n.\r\n+OK\r\nx\r\n.\r\n",
            "CAPA\r\nDELE 1\r\nQUIT\r\n",
            "+OK\r\nUIDL\r\n.\r\n-ERR Request is throttled.\r\n+OK\r\n",
        ],
    ),
    (1, &["NOOP\r\n", "+OK\r\n-ERR Connection is closed. 13\r\n", "XNEW\r\n", "+OK\r\n"]),
    (
        0,
        &[
            "a LOGIN alice hunter2\r\nb NOOP\r\nc LOGIN {5}\r\nalice {7+}\r\nhunter2\r\nd AUTHENTICATE LOGIN\r\nQUFB\r\n*\r\ne NOOP\r\n",
        ],
    ),
    (
        0,
        &[
            "a CAPABILITY\r\nb LOGIN alice hunter2\r\nc IDLE\r\n",
            "* CAPABILITY IMAP4rev1 AUTH=XOAUTH2 SASL-IR IDLE\r\na OK [CAPABILITY UNAUTHENTICATE X] x\r\n+ idling\r\n* 3 EX",
            "d AUTHENTICATE PLAIN QUFB\r\nDONE\r\n",
            "ISTS\r\nc OK x\r\n",
        ],
    ),
    (2, &["a APPEND INBOX {3}\r\n", "+ go\r\n", "abc\r\nb LOGIN a b\r\n", "a OK\r\n"]),
    (
        1,
        &[
            "CAPA\r\nUSER alice\r\nPASS hunter2\r\nAUTH LOGIN\r\nQUFB\r\nSTAT\r\nSTLS\r\n",
            "+OK\r\nSASL PLAIN\r\nTOP\r\nUSER\r\n.\r\n+OK 1 9\r\n",
        ],
    ),
    (3, &["RETR 1\r\nPASS hunter2\r\n", "+OK\r\nx\r\n.\r\n"]),
];

/// A session as [`check`] takes it.
pub fn seed((choice, turns): (u8, &[&str])) -> Vec<u8> {
    let turns: Vec<&[u8]> = turns.iter().map(|turn| turn.as_bytes()).collect();
    [&[choice], turns.join(DIVISION).as_slice()].concat()
}

/// Plays these bytes. The first one chooses the protocol, and whether the session is asked to close after its first turn.
pub fn check(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else { return };
    let closes = choice & 2 != 0;
    let play = |cut| {
        if choice & 1 == 0 {
            run(Imap::default(), bytes, cut, closes)
        } else {
            run(Pop3::default(), bytes, cut, closes)
        }
    };
    let whole = play(READ);
    for cut in [1, 7] {
        assert_eq!(whole, play(cut), "in pieces of {cut}: {}", bytes.escape_ascii());
    }
    for noticed in &whole.noticed {
        match noticed {
            Observation::UidValidity { folder: text, .. }
            | Observation::FolderChanged { folder: text }
            | Observation::Bye { text, .. } => {
                assert!(text.chars().count() <= TEXT_BOUND && !text.contains(char::is_control), "{text:?}");
            }
            Observation::Throttled { back_off } => assert!(*back_off <= BACK_OFF_LIMIT),
        }
    }
    if !closes {
        nothing_else_is_changed(choice & 1 == 0, &whole);
    }
}

/// What came of a session.
#[derive(Debug, Default, PartialEq)]
struct Run {
    noticed: Vec<Observation>,
    counts: Counts,
    said: [Bytes; 2],
    told: [Bytes; 2],
    /// What each has said that still waits at the end: it never goes on.
    waiting: [Bytes; 2],
    over: Option<Over>,
}

#[derive(Default, PartialEq)]
struct Bytes(Vec<u8>);

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

fn nothing_else_is_changed(is_imap: bool, run: &Run) {
    let [client, server] = [&run.said[0].0, &run.said[1].0];
    let [to_client, to_server] = [&run.told[0].0, &run.told[1].0];
    let words: &[&str] = if is_imap {
        &["LOGIN", "AUTHENTICATE", "STARTTLS", "COMPRESS"]
    } else {
        &["USER", "PASS", "APOP", "AUTH", "STLS", "CAPA"]
    };
    let is_harmless = !words.iter().any(|word| has(client, word));
    let [waiting, server_waiting] = [&run.waiting[0].0, &run.waiting[1].0];
    assert!(server_waiting.is_empty(), "{run:?}");
    let went = &client[..client.len() - waiting.len()];
    if is_harmless && !has_unreadable_literal(client) {
        assert_eq!(run.over, None, "{run:?}");
        assert!(went == to_server, "{run:?}");
        // The literal that the server has not asked for, or an answer to one of very many commands.
        let may_wait = if is_imap { client.contains(&b'{') } else { client.len() > 1024 };
        assert!(may_wait || waiting.is_empty(), "{run:?}");
    }
    // A literal whose length cannot be read ends the session with words of our own.
    if is_harmless && !has_unreadable_literal(client) && !(is_imap && has(server, "CAPABILITY")) {
        assert!(server == to_client, "{run:?}");
    }
    let mut rest = client.iter();
    assert!(to_server.iter().all(|byte| rest.any(|other| other == byte)), "more than the client has said: {run:?}");
    if run.over.is_none()
        && (server.is_empty() || !client.contains(&b'{') && !has(client, "IDLE"))
        && let Some(expected) = without_logins(is_imap, went)
    {
        assert!(expected == *to_server, "expected {}: {run:?}", expected.escape_ascii());
    }
}

fn has(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
}

/// What a simple reader makes of a client whose literals are all sent; `None` where it cannot tell.
fn without_logins(is_imap: bool, client: &[u8]) -> Option<Vec<u8>> {
    let (mut rest, mut kept) = (client, Vec::new());
    let (mut command, mut is_authenticating, mut is_idle) = (None, false, false);
    while !rest.is_empty() {
        let length = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
        let (line, behind) = rest.split_at(length);
        rest = behind;
        let is_kept = match command {
            Some(is_kept) => is_kept,
            None => {
                let (name, is_whole, at) = name(is_imap, line);
                if at > 100 {
                    return None;
                }
                let name = name.to_ascii_uppercase();
                let logins: &[&[u8]] = if is_imap {
                    &[b"LOGIN", b"AUTHENTICATE", b"UNAUTHENTICATE", b"STARTTLS", b"COMPRESS"]
                } else {
                    &[b"USER", b"PASS", b"APOP", b"AUTH", b"STLS"]
                };
                let is_login = is_whole && logins.contains(&name.as_slice());
                let known: [&[u8]; 13] = [
                    b"RETR", b"TOP", b"CAPA", b"LIST", b"UIDL", b"LANG", b"QUIT", b"STAT", b"DELE", b"NOOP", b"RSET",
                    b"UTF8", b"LAST",
                ];
                let is_word =
                    line.get(at + name.len()).is_some_and(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0));
                let is_command =
                    is_login || if is_imap { is_whole } else { is_word && known.contains(&name.as_slice()) };
                if is_authenticating && !is_command {
                    if is_imap && is_idle {
                        return None;
                    }
                    continue;
                }
                // What is kept of a dialogue within another one is beyond this reader: a DONE that comes next ends the IDLE.
                if is_idle && is_login {
                    return None;
                }
                is_idle = is_imap && (name == b"IDLE" || is_idle && !is_whole);
                is_authenticating = is_login && matches!(name.as_slice(), b"AUTHENTICATE" | b"AUTH");
                !is_login
            }
        };
        if is_kept {
            kept.extend_from_slice(line);
        }
        command = None;
        if is_imap && let Some(size) = literal(line) {
            let size = usize::try_from(size).unwrap_or(usize::MAX).min(rest.len());
            if is_kept {
                kept.extend_from_slice(&rest[..size]);
            }
            rest = &rest[size..];
            command = Some(is_kept);
        }
    }
    Some(kept)
}

/// The name of a line's command, whether it is all of it, and where it begins.
fn name(has_tag: bool, line: &[u8]) -> (&[u8], bool, usize) {
    let is_padding = |byte: u8| matches!(byte, b' ' | b'\t' | b'\r' | 0);
    let mut at = 0;
    let mut skip = |wanted: bool| {
        while line.get(at).is_some_and(|byte| *byte != b'\n' && is_padding(*byte) == wanted) {
            at += 1;
        }
        at
    };
    skip(true);
    if has_tag {
        skip(false);
        skip(true);
    }
    let begin = at;
    let rest = &line[begin..];
    let length = rest.iter().position(|byte| !byte.is_ascii_alphanumeric()).unwrap_or(rest.len());
    let is_whole = length < rest.len() && rest[0] != b'\n';
    (&rest[..length], is_whole || length > 14, begin)
}

/// Whether a number in braces is longer than any that is read.
fn has_unreadable_literal(client: &[u8]) -> bool {
    client.split(|byte| !byte.is_ascii_digit()).any(|digits| digits.len() >= 20)
}

fn literal(line: &[u8]) -> Option<u64> {
    let line = line.strip_suffix(b"\n")?;
    let inner = line.strip_suffix(b"\r").unwrap_or(line).strip_suffix(b"}")?;
    let digits = inner.strip_suffix(b"+").unwrap_or(inner);
    let digits = &digits[digits.iter().rposition(|byte| *byte == b'{')? + 1..];
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    // Only the last 64 bytes of a line are kept.
    is_number.then(|| std::str::from_utf8(digits).unwrap().parse().ok()).flatten().filter(|_| digits.len() < 50)
}

fn run(mut tap: impl Tap, mut bytes: &[u8], cut: usize, closes: bool) -> Run {
    let mut run = Run::default();
    let mut waiting = [Vec::new(), Vec::new()];
    let (mut from, mut is_first) = (Peer::Client, true);
    loop {
        let end = bytes.windows(DIVISION.len()).position(|window| window == DIVISION);
        let mut rest = &bytes[..end.unwrap_or(bytes.len())];
        while !rest.is_empty() {
            // A server's line may be what the client has waited for: its next one then comes behind what the client has said.
            let line = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
            let waits = from == Peer::Server && !waiting[Peer::Client as usize].is_empty();
            let piece;
            (piece, rest) = rest.split_at(cut.min(if waits { line } else { rest.len() }));
            run.said[from as usize].0.extend_from_slice(piece);
            waiting[from as usize].extend_from_slice(piece);
            // What waits on one side may go on after the other was heard.
            while [Peer::Client, Peer::Server].map(|peer| go_on(&mut tap, peer, &mut waiting, &mut run))
                != [false, false]
            {}
            assert!(tap.held() <= HELD_BOUND, "{} bytes held", tap.held());
        }
        if is_first && closes {
            tap.close("Oxpost is stopping");
            take_output(&mut tap, &mut run);
        }
        let Some(end) = end else { break };
        bytes = &bytes[end + DIVISION.len()..];
        (from, is_first) = (other(from), false);
    }
    for peer in [Peer::Client, Peer::Server] {
        tap.end(peer);
        take_output(&mut tap, &mut run);
    }
    if tap.over().is_none() {
        run.waiting = waiting.map(Bytes);
    }
    run.counts = tap.counts();
    run.over = tap.over();
    run
}

/// Whether anything has gone on.
fn go_on(tap: &mut impl Tap, from: Peer, waiting: &mut [Vec<u8>; 2], run: &mut Run) -> bool {
    let bytes = std::mem::take(&mut waiting[from as usize]);
    if bytes.is_empty() {
        return false;
    }
    let Cut { pass, taken } = match from {
        Peer::Client => tap.client(&bytes),
        Peer::Server => tap.server(&bytes, &mut |noticed| run.noticed.push(noticed)),
    };
    assert!(pass <= taken && taken <= bytes.len());
    run.told[other(from) as usize].0.extend_from_slice(&bytes[..pass]);
    waiting[from as usize] = bytes[taken..].to_vec();
    take_output(tap, run) || taken > 0
}

fn take_output(tap: &mut impl Tap, run: &mut Run) -> bool {
    let mut is_any = false;
    for peer in [Peer::Client, Peer::Server] {
        let output = tap.output(peer);
        is_any |= !output.is_empty();
        run.told[peer as usize].0.extend(output);
    }
    is_any
}

fn other(peer: Peer) -> Peer {
    match peer {
        Peer::Client => Peer::Server,
        Peer::Server => Peer::Client,
    }
}
