//! What the two peers of a session do, in turns, read from any bytes at all.
//!
//! ```text
//! CHOICE CUT turn turn …       a turn is 0xff, a letter, and what is said in it; 0xff 0xff in it is one 0xff
//! C S                          the client, the server says this
//! D T                          the client, the server says this sixty-four times
//! c s                          the client, the server says no more
//! R r                          the client's, the server's connection breaks
//! P Q                          the client, the server does not read any more; or does again
//! W                            a minute goes by
//! ```

/// Two bytes of choices, then turns. `protocol/examples/seeds.rs` writes them.
pub const MARK: u8 = 0xff;

/// More turns are not played.
const TURNS: usize = 64;

/// More answers of a server that answers line by line are not played.
const LINES: usize = 192;

/// How often what is said is repeated, if it is.
const REPEATED: usize = 64;

/// More is not said in one turn.
const SAID: usize = 128 * 1024;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Peer {
    Client,
    Server,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Turn {
    Says(Peer, Vec<u8>),
    Closes(Peer),
    Breaks(Peer),
    /// Reads no more, or again.
    TurnsAway(Peer),
    AMinute,
}

#[derive(Clone, Copy, Debug)]
pub struct Choice(u8);

impl Choice {
    pub fn client_may_start_tls(self) -> bool {
        self.0 & 1 != 0
    }

    pub fn client_must_start_tls(self) -> bool {
        self.0 & 3 == 3
    }

    pub fn server_starts_tls(self) -> bool {
        self.0 & 4 != 0
    }

    /// Another node gets a new token while this one logs in.
    pub fn new_token(self) -> bool {
        self.0 & 8 != 0
    }

    pub fn client_closes_at_last(self) -> bool {
        self.0 & 16 != 0
    }

    pub fn server_closes_at_last(self) -> bool {
        self.0 & 32 != 0
    }

    /// The client may send without a login (SMTP).
    pub fn is_device(self) -> bool {
        self.0 & 64 != 0
    }

    /// Senders that the account has not are replaced (SMTP).
    pub fn replaces_senders(self) -> bool {
        self.0 & 128 != 0
    }
}

pub struct Script {
    pub choice: Choice,
    /// The largest piece when the bytes are cut.
    pub piece: usize,
    pub turns: Vec<Turn>,
}

impl Script {
    /// `by_line`: an answer that comes ahead of its question is one to nothing, and whether it does is a matter of time; so the
    /// server says each line when everybody waits for it.
    pub fn read(data: &[u8], by_line: bool) -> Option<Self> {
        let (&[choice, piece], mut rest) = data.split_first_chunk()?;
        let mut turns = Vec::new();
        while let Some((kind, said, later)) = turn(rest) {
            rest = later;
            if turns.len() == TURNS {
                break;
            }
            turns.extend(match kind {
                b'C' => vec![Turn::Says(Peer::Client, said)],
                b'D' => vec![Turn::Says(Peer::Client, repeated(&said))],
                b'S' if by_line => lines(&said),
                b'S' => vec![Turn::Says(Peer::Server, said)],
                b'T' if by_line => lines(&repeated(&said)),
                b'T' => vec![Turn::Says(Peer::Server, repeated(&said))],
                b'c' => vec![Turn::Closes(Peer::Client)],
                b's' => vec![Turn::Closes(Peer::Server)],
                b'R' => vec![Turn::Breaks(Peer::Client)],
                b'r' => vec![Turn::Breaks(Peer::Server)],
                b'P' => vec![Turn::TurnsAway(Peer::Client)],
                b'Q' => vec![Turn::TurnsAway(Peer::Server)],
                b'W' => vec![Turn::AMinute],
                _ => vec![],
            });
        }
        turns.truncate(TURNS + LINES);
        Some(Self { choice: Choice(choice), piece: usize::from(piece).max(1), turns })
    }

    /// All that one of them says.
    pub fn says(&self, who: Peer) -> Vec<u8> {
        let said = |turn: &Turn| match turn {
            Turn::Says(peer, bytes) if *peer == who => bytes.clone(),
            _ => Vec::new(),
        };
        self.turns.iter().flat_map(said).collect()
    }
}

/// The first turn: its letter, what is said, and the rest.
fn turn(bytes: &[u8]) -> Option<(u8, Vec<u8>, &[u8])> {
    let at = bytes.iter().position(|byte| *byte == MARK)?;
    let (&kind, mut rest) = bytes[at + 1..].split_first()?;
    let mut said = Vec::new();
    loop {
        match rest {
            [MARK, MARK, later @ ..] => {
                said.push(MARK);
                rest = later;
            }
            [MARK, ..] | [] => return Some((kind, said, rest)),
            [byte, later @ ..] => {
                said.push(*byte);
                rest = later;
            }
        }
    }
}

fn repeated(said: &[u8]) -> Vec<u8> {
    let mut said = said.repeat(REPEATED);
    said.truncate(SAID);
    said
}

fn lines(said: &[u8]) -> Vec<Turn> {
    let lines = said.split_inclusive(|byte| *byte == b'\n').take(LINES);
    lines.map(|line| Turn::Says(Peer::Server, line.to_vec())).collect()
}
