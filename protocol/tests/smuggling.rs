//! Every text there is, up to some length, of the bytes that ends of data are made of: what reaches the server for it.
//!
//! Servers read line ends in many ways. A message is one message to each of them only if every line of what goes on ends in
//! CRLF, no CR and no LF stands alone, and no line is a dot but the last.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use oxpost_protocol::smtp::submission::{Event, Options, Outcome, Peer, Step, Submission};

const ALPHABET: [u8; 5] = [b'\r', b'\n', b'.', b'x', 0];
const LENGTH: u32 = 6;

/// What a client sends behind every text: an end, in case there was none yet, and a command.
const BEHIND: &[u8] = b"\r\n.\r\nNOOP\r\n";

#[test]
fn no_text_reaches_the_server_as_anything_but_one_message() {
    let (mut whole, mut refused, mut more) = (0, 0, 0);
    for length in 0..=LENGTH {
        for number in 0..5usize.pow(length) {
            let text: Vec<u8> = (0..length).map(|place| ALPHABET[number / 5usize.pow(place) % 5]).collect();
            let said = [&text, BEHIND].concat();
            for piece in [1, 3, usize::MAX] {
                match (sent(&said, piece), message(&said)) {
                    (Sent::Message(wire, octets), Some((content, end))) => {
                        assert_eq!(read_by_a_server(&wire).as_deref(), Ok(&content[..]), "{}", text.escape_ascii());
                        assert_eq!(octets, content.len() as u64, "{}", text.escape_ascii());
                        whole += 1;
                        more += usize::from(end < text.len());
                    }
                    (Sent::Nothing, None) => refused += 1,
                    (sent, message) => panic!("{}: {sent:?}, but it is {message:?}", text.escape_ascii()),
                }
            }
        }
    }
    println!("{whole} texts went on as one message ({more} had commands behind them), {refused} were refused");
    assert!(whole > 0 && refused > 0 && more > 0);
}

/// By the letter of RFC 5321: what a text says up to its end, and where that is; none if it has what it must not have.
fn message(said: &[u8]) -> Option<(Vec<u8>, usize)> {
    let from_line_start = [b"\r\n", said].concat();
    let end = from_line_start.windows(5).position(|window| window == b"\r\n.\r\n").unwrap();
    let text = &from_line_start[..end + 2];
    let alone = |at: usize| text[at] == b'\r' && text.get(at + 1) != Some(&b'\n');
    if text.contains(&0) || (0..text.len()).any(alone) {
        return None;
    }
    let mut content = Vec::new();
    for (at, byte) in text.iter().enumerate().skip(2) {
        let behind_crlf = text[at - 2..at] == *b"\r\n";
        match byte {
            b'.' if behind_crlf => {}
            b'\n' if text[at - 1] != b'\r' => content.extend(b"\r\n"),
            byte => content.push(*byte),
        }
    }
    Some((content, end))
}

/// What a server reads, if all servers must read the same.
fn read_by_a_server(wire: &[u8]) -> Result<Vec<u8>, String> {
    let mut content = Vec::new();
    let mut lines = wire.split_inclusive(|byte| *byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        let inner = line.strip_suffix(b"\r\n").ok_or("a line does not end in CRLF")?;
        if inner.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return Err("CR, LF or NUL within a line".into());
        }
        if inner == b"." {
            return if lines.peek().is_none() { Ok(content) } else { Err("an end in the middle".into()) };
        }
        content.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
    }
    Err("no end".into())
}

#[derive(Debug)]
enum Sent {
    /// This was sent to the server, with a declared size.
    Message(Vec<u8>, u64),
    /// The connection was cut before the end.
    Nothing,
}

/// Lets a client say DATA and this, to a server that takes everything.
fn sent(said: &[u8], piece: usize) -> Sent {
    let mut machine = Submission::new(Options { host_name: "x".into(), extensions: Vec::new() });
    machine.receive(Peer::Client, b"MAIL FROM:<a@b.c>\r\nDATA\r\n");
    let mut pieces = said.chunks(piece);
    let (mut wire, mut whole, mut cut, mut size) = (Vec::new(), Vec::new(), false, None);
    let mut phase = 0;
    loop {
        match machine.poll() {
            Step::Write(Peer::Server, bytes) => wire.extend(bytes),
            Step::Write(Peer::Client, _) => {}
            Step::Begin { .. } => machine.begin(),
            Step::CutServer => cut = true,
            Step::Event(Event::Message(report)) => {
                assert_eq!(cut, !matches!(report.outcome, Outcome::Accepted(_)));
                size = Some(report.octets);
            }
            Step::Event(other) => panic!("{other:?}"),
            Step::Over(_) => break,
            Step::Read { server, .. } => {
                let answer: &[u8] = match phase {
                    0 | 1 => [&b"250 OK\r\n"[..], b"354 Go\r\n"][phase],
                    2 if wire.ends_with(b"\r\n.\r\n") || wire == b".\r\n" => b"250 OK\r\n",
                    _ => b"",
                };
                if !answer.is_empty() && server {
                    if phase == 2 {
                        whole.clone_from(&wire);
                    }
                    wire.clear();
                    phase += 1;
                    machine.receive(Peer::Server, answer);
                } else if let Some(piece) = pieces.next().filter(|_| size.is_none()) {
                    machine.receive(Peer::Client, piece);
                } else {
                    break;
                }
            }
        }
    }
    match size {
        Some(size) if !cut => Sent::Message(whole, size),
        _ => {
            assert!(!wire.ends_with(b"\r\n.\r\n") && wire != b".\r\n", "an end although it was cut");
            Sent::Nothing
        }
    }
}
