//! The taps of IMAP and POP3 on any bytes at all: what must hold of them, however the bytes are cut.
//!
//! - They neither panic nor hold more than their bounds.
//! - What they notice and count does not depend on how the bytes of either side are cut.
//! - What they notice is bounded and on one line.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use oxpost_protocol::tap::{BACK_OFF_LIMIT, Counts, Imap, Noticed, Pop3, Tap};

/// Between what one side says and what the other says then. The client begins.
pub const DIVISION: &[u8] = b"\xff\xfe\xff";

/// What the relay moves at once.
const READ: usize = 16 * 1024;

/// What a tap may hold, as it promises.
const HELD_BOUND: usize = 128 * 1024;

/// More characters than anything that is noticed has.
const TEXT_BOUND: usize = 402;

/// Sessions to begin with: the choice, and what the client and the server say in turn.
pub const SESSIONS: [(u8, &[&str]); 6] = [
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
];

/// A session as [`check`] takes it.
pub fn seed((choice, turns): (u8, &[&str])) -> Vec<u8> {
    let turns: Vec<&[u8]> = turns.iter().map(|turn| turn.as_bytes()).collect();
    [&[choice], turns.join(DIVISION).as_slice()].concat()
}

/// Plays these bytes. The first one chooses the protocol.
pub fn check(data: &[u8]) {
    let Some((&choice, bytes)) = data.split_first() else { return };
    let play = |cut| if choice & 1 == 0 { run(Imap::default(), bytes, cut) } else { run(Pop3::default(), bytes, cut) };
    let whole = play(READ);
    for cut in [1, 7] {
        assert_eq!(whole, play(cut), "in pieces of {cut}: {}", bytes.escape_ascii());
    }
    for noticed in &whole.0 {
        match noticed {
            Noticed::UidValidity { folder: text, .. } | Noticed::Bye { text, .. } => {
                assert!(text.chars().count() <= TEXT_BOUND && !text.contains(char::is_control), "{text:?}");
            }
            Noticed::Throttled { back_off } => assert!(*back_off <= BACK_OFF_LIMIT),
        }
    }
}

fn run(mut tap: impl Tap, mut bytes: &[u8], cut: usize) -> (Vec<Noticed>, Counts) {
    let (mut noticed, mut is_client) = (Vec::new(), true);
    loop {
        let end = bytes.windows(DIVISION.len()).position(|window| window == DIVISION);
        for piece in bytes[..end.unwrap_or(bytes.len())].chunks(cut) {
            if is_client {
                tap.client(piece);
            } else {
                tap.server(piece, &mut |one| noticed.push(one));
            }
            assert!(tap.held() <= HELD_BOUND, "{} bytes held", tap.held());
        }
        let Some(end) = end else { return (noticed, tap.counts()) };
        bytes = &bytes[end + DIVISION.len()..];
        is_client = !is_client;
    }
}
