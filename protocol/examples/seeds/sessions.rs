//! Seeds of whole sessions, as `tests/fuzz/src/whole/script.rs` reads them: what both sides say in transcripts and stories.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::player::{self, Script, Side};
use crate::tap;

/// Before each turn.
const MARK: u8 = 0xff;

/// The account there is.
const USER: &str = "alice@contoso.com";
const PASSWORD: &str = "secret";

/// The bytes are sent in one piece, or in pieces of at most this many.
const PIECES: u8 = 3;

/// Choices: the server begins TLS; both sides close at last; the client needs no login.
const SERVER_STARTS_TLS: u8 = 4;
const ALL_CLOSE: u8 = 16 + 32;
const DEVICE: u8 = 64;

/// A whole session, turn by turn.
#[derive(Clone, Default)]
struct Session(Vec<u8>);

impl Session {
    fn turn(mut self, letter: u8, said: &[u8]) -> Self {
        self.0.extend([MARK, letter]);
        for byte in said {
            self.0.extend(std::iter::repeat_n(*byte, if *byte == MARK { 2 } else { 1 }));
        }
        self
    }

    /// A login that succeeds.
    fn with_login(protocol: &str) -> Self {
        let (client, server): (&[u8], &[u8]) = match protocol {
            "imap" => (
                b"a LOGIN alice secret\r\n",
                b"* OK x\r\n* CAPABILITY IMAP4rev1 AUTH=XOAUTH2 SASL-IR\r\nX1 OK x\r\nX2 OK x\r\n* CAPABILITY IMAP4rev1 IDLE\r\n\
                  X3 OK x\r\n* NAMESPACE ((\"\" \"/\")) NIL NIL\r\nX4 OK x\r\n",
            ),
            "pop3" => (b"USER alice\r\nPASS secret\r\n", b"+OK x\r\n+ \r\n+OK x\r\n"),
            _ => (
                b"EHLO c\r\nAUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n",
                b"220 x\r\n250-x\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-SIZE 100000\r\n250 AUTH XOAUTH2\r\n334 \r\n235 x\r\n",
            ),
        };
        Self::default().turn(b'C', client).turn(b'S', server)
    }

    fn seed(&self, choice: u8) -> Vec<u8> {
        [&[choice, PIECES], self.0.as_slice()].concat()
    }
}

/// The seeds of one protocol, with their names.
pub(crate) fn of(protocol: &str, transcripts: &Path, stories: &Path) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut seeds = Vec::new();
    let mut keep = |name: &str, session: Session, choices: &[u8]| {
        seeds.extend(choices.iter().map(|choice| (format!("{name}-{choice}"), session.seed(*choice))));
    };
    for (name, text, file) in texts(&transcripts.join(protocol).join("local"))? {
        let said = Script::parse(&file, &text, Side::Local).peer_says().0;
        let login = Session::with_login(protocol);
        keep(
            &format!("local-{name}"),
            Session([Session::default().turn(b'C', &said).0, login.0].concat()),
            &[1, ALL_CLOSE],
        );
    }
    for (name, text, file) in texts(&transcripts.join(protocol).join("upstream"))? {
        let script = Script::parse(&file, &text, Side::Upstream);
        let mut session = Session::with_login(protocol);
        let at = session.0.windows(2).rposition(|turn| turn == [MARK, b'S']).unwrap();
        session.0.truncate(at);
        let choice = if script.has("start-tls") { SERVER_STARTS_TLS } else { ALL_CLOSE };
        let said = script.peer_says().0;
        let session = session.turn(b'S', &said);
        keep(&format!("upstream-{name}"), session.clone(), &[choice]);
        // And once more, with a new token.
        keep(&format!("upstream-again-{name}"), session.turn(b's', b"").turn(b'S', &said), &[choice | 8]);
    }
    if protocol == "smtp" {
        for (name, text, _) in texts(&transcripts.join("smtp/submission"))? {
            let server = Session::with_login(protocol).0;
            let at = server.windows(2).rposition(|turn| turn == [MARK, b'S']).unwrap();
            let mut device = Session::default().turn(b'C', b"EHLO c\r\n");
            device.0.extend(&server[at..]);
            keep(&format!("device-{name}"), both(device, &text), &[DEVICE, DEVICE | 128]);
            keep(&format!("submission-{name}"), both(Session::with_login(protocol), &text), &[0, ALL_CLOSE]);
        }
    }
    for (number, (choice, turns)) in tap::SESSIONS.into_iter().enumerate() {
        if (protocol == "imap" && choice & 1 == 0) || (protocol == "pop3" && choice & 1 == 1) {
            let login = Session::with_login(protocol);
            let session = turns.iter().zip([b'C', b'S'].into_iter().cycle());
            let session = session.fold(login, |session, (turn, letter)| session.turn(letter, turn.as_bytes()));
            keep(&format!("tap-{number}"), session, &[0, ALL_CLOSE]);
        }
    }
    for (name, text, _) in texts(stories)? {
        if name.starts_with(protocol) {
            keep(
                &format!("story-{name}"),
                both(Session::default(), &filled_in(&text)),
                &[SERVER_STARTS_TLS, ALL_CLOSE],
            );
        }
    }
    let mut slow = Session::with_login(protocol);
    if protocol == "smtp" {
        let message = b"MAIL FROM:<a@b.c>\r\nRCPT TO:<x@y.z>\r\nDATA\r\n";
        slow = slow.turn(b'C', message).turn(b'S', b"250 x\r\n250 x\r\n354 x\r\n");
    }
    let line = [&[b'x'; 900][..], b"\r\n"].concat();
    let slow = slow.turn(b'Q', b"").turn(b'D', &line).turn(b'W', b"").turn(b'Q', b"").turn(b'P', b"").turn(b'T', &line);
    keep("slow", slow.clone(), &[ALL_CLOSE]);
    keep("slow-and-breaks", slow.turn(b'R', b""), &[0]);
    Ok(seeds)
}

fn texts(folder: &Path) -> std::io::Result<Vec<(String, String, std::path::PathBuf)>> {
    let files = std::fs::read_dir(folder)?;
    files
        .map(|entry| {
            let file = entry?.path();
            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            Ok((name, std::fs::read_to_string(&file)?, file))
        })
        .collect()
}

/// What the client says and what the (indented) server says, in the order of the text.
fn both(session: Session, text: &str) -> Session {
    text.lines().fold(session, |session, line| {
        let (letter, who, line) = match line.strip_prefix("        ") {
            Some(indented) => (b'S', "S", indented),
            None => (b'C', "C", line),
        };
        let said = line.strip_prefix(who).and_then(|rest| rest.chars().next().zip(rest.get(1..)));
        match said {
            Some((kind @ (':' | '-' | '+'), rest)) => {
                session.turn(letter, &player::said(kind, rest.strip_prefix(' ').unwrap_or_default()))
            }
            _ => session,
        }
    })
}

fn filled_in(text: &str) -> String {
    text.replace("$PLAIN64", &STANDARD.encode(format!("\0{USER}\0{PASSWORD}")))
        .replace("$USER64", &STANDARD.encode(USER))
        .replace("$PASSWORD64", &STANDARD.encode(PASSWORD))
        .replace("$USER", USER)
        .replace("$PASSWORD", PASSWORD)
        .replace('…', "x")
}
