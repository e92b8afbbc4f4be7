//! What a peer can make us hold, measured at the allocator: every dialogue, in every state, against peers that never end.
//!
//! What is held is what the dialogue has allocated and not given back whenever it wants to read, capacity that is not in use
//! included.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::alloc::System;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cap::Cap;
use oxpost_protocol::sasl::xoauth2::XOAuth2;
use oxpost_protocol::smtp::AllowedSenders;
use oxpost_protocol::smtp::sender_policy::Fallback;
use oxpost_protocol::smtp::submission::{Options, Peer, Step, Submission};
use oxpost_protocol::tap::{Cut, Imap, Pop3, Tap};
use oxpost_protocol::{
    Action, Closed, KnownOffer, LocalDialogue, LocalEvent, Offer, Refusal, RefusalKind, Secret, UpstreamDialogue,
    UpstreamEvent, imap, pop3, smtp,
};

#[global_allocator]
static ALLOCATED: Cap<System> = Cap::new(System, usize::MAX);

/// How much an unauthenticated client may make Oxpost hold.
const BEFORE_LOGIN: usize = 64 * 1024;

/// What a mail server may make us hold before the login there: a line of 16 KiB, and a read.
const OF_A_SERVER: usize = 20 * 1024;

/// What a client that is logged in and its server may make us hold.
const AFTER_LOGIN: usize = 32 * 1024;

/// The same where senders are looked at: a header of 256 KiB, in a buffer that has doubled.
const WITH_A_HEADER: usize = 544 * 1024;

/// What a tap may hold, as it promises.
const OF_A_TAP: usize = 128 * 1024;

/// What the driver reads in one call.
const READ: usize = 2048;

/// What a peer sends in all, if it is not stopped.
const SENT: usize = 1024 * 1024;

/// One measurement at a time: the allocator counts for the whole process.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The most that was held, and what stands for what.
struct Most {
    before: usize,
    most: usize,
}

impl Most {
    fn begin() -> Self {
        Self { before: ALLOCATED.allocated(), most: 0 }
    }

    fn look(&mut self) {
        self.most = self.most.max(ALLOCATED.allocated().saturating_sub(self.before));
    }
}

/// What a peer sends without end, in pieces as they are read.
fn endless(again: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let pieces = SENT / READ;
    let stream: Vec<u8> = again.iter().cycle().copied().take(READ + again.len()).collect();
    let length = again.len();
    (0..pieces).map(move |piece| stream[piece * READ % length..][..READ].to_vec())
}

/// How it begins, and what comes then, again and again.
const CLIENTS: [(&[u8], &[u8]); 27] = [
    (b"", b"x"),
    (b"", b"\n"),
    (b"", b"\r\n"),
    (b"", b"\r"),
    (b"", b"\0"),
    (b"", b"\0\n"),
    (b"", b" "),
    (b"", b"("),
    (b"", b"\xff"),
    (b"", b"{0+}\r\n"),
    (b"", b"{9}\r\n"),
    (b"a LOGIN ", b"("),
    (b"a LOGIN \"", b"x"),
    (b"a LOGIN \"", b"\\"),
    (b"a LOGIN ", b"{4096+}\r\n"),
    (b"a LOGIN {1000+}\r\n", b"x {1000+}\r\n"),
    (b"a LOGIN {18446744073709551615+}\r\n", b"x"),
    (b"a LOGIN {4294967296+}\r\n", b"x"),
    (b"a LOGIN {-1+}\r\n", b"x"),
    (b"a ID (", b"\"x\" {0+}\r\n "),
    (b"a AUTHENTICATE PLAIN ", b"A"),
    (b"a AUTHENTICATE PLAIN\r\n", b"A"),
    (b"AUTH PLAIN ", b"A"),
    (b"AUTH PLAIN\r\n", b"A"),
    (b"AUTH LOGIN\r\nYQ==\r\n", b"A"),
    (b"USER x\r\nPASS ", b"x"),
    (b"MAIL FROM:<", b"x"),
];

#[test]
fn unauthenticated_client_buffers_less_than_64_kib() {
    let _alone = alone();
    let greeting = || smtp::Greeting { host_name: "mail.example".into(), extensions: Vec::new() };
    let offer = |start_tls| Offer { start_tls, ..Offer::default() };
    let mut held = [0; 6];
    for (beginning, again) in CLIENTS {
        for (most, measured) in held.iter_mut().zip([
            of_client(|| imap::Local::new(offer(false)), b"", beginning, again),
            of_client(|| pop3::Local::new(offer(false)), b"", beginning, again),
            of_client(|| smtp::Local::new(offer(false), greeting()), b"", beginning, again),
            // Within TLS.
            of_client(|| imap::Local::new(offer(true)), b"a STARTTLS\r\n", beginning, again),
            of_client(|| pop3::Local::new(offer(true)), b"STLS\r\n", beginning, again),
            of_client(|| smtp::Local::new(offer(true), greeting()), b"EHLO x\r\nSTARTTLS\r\n", beginning, again),
        ]) {
            assert!(measured <= BEFORE_LOGIN, "{measured} bytes are held of {}", beginning.escape_ascii());
            *most = measured.max(*most);
        }
    }
    println!("bytes held at most before the login, of IMAP, POP3 and SMTP, without TLS and with it: {held:?}");
    assert!(held.iter().all(|most| *most > READ), "nothing was measured: {held:?}");
}

/// The most that is held of such a client. What it has sent before the beginning must have started TLS.
fn of_client<D: LocalDialogue>(make: impl Fn() -> D, tls: &[u8], beginning: &[u8], again: &[u8]) -> usize {
    let first = [tls, beginning].into_iter().filter(|piece| !piece.is_empty()).map(<[u8]>::to_vec);
    let mut pieces = first.collect::<Vec<_>>().into_iter().chain(endless(again));
    let mut most = Most::begin();
    let mut dialogue = make();
    let mut tls_started = tls.is_empty();
    loop {
        match dialogue.poll() {
            Action::Write(_) | Action::Event(LocalEvent::SkippedPreamble(_)) => {}
            Action::Event(LocalEvent::Closed(why)) => {
                assert!(!matches!(why, Closed::EndOfStream | Closed::ByClient), "{why:?}");
                break;
            }
            Action::Event(LocalEvent::Login(_)) => dialogue.refuse(&Refusal::new(RefusalKind::BadCredentials, "no")),
            Action::Event(LocalEvent::StartTls) => {
                dialogue.tls_started();
                tls_started = true;
            }
            Action::Event(other) => panic!("{other:?}"),
            Action::Read => {
                most.look();
                let Some(piece) = pieces.next() else { break };
                dialogue.receive(&piece);
                drop(piece);
                most.look();
            }
        }
    }
    assert!(tls_started, "TLS was not started");
    most.most
}

/// What a server says that does not end, whatever it was asked.
const SERVERS: [&[u8]; 18] = [
    b"x",
    b"\n",
    b"\r\n",
    b"\0",
    b"* OK x\r\n",
    b"* CAPABILITY IMAP4rev1 AUTH=XOAUTH2\r\n",
    b"* CAPABILITY X ",
    b" A=B",
    b"* x {65536}\r\n",
    b"* x {9}\r\n123456789\r\n",
    b"+ \r\n",
    b"+OK x\r\n",
    b"-ERR x\r\n",
    b"220-x\r\n",
    b"250-AUTH XOAUTH2\r\n",
    b"250-SIZE ",
    b"334 \r\n",
    b"535-5.7.3 x\r\n",
];

/// The states of a login to a server: what the server has said before, and what it was sent because of it.
const IMAP_STATES: [(&[u8], &str); 4] = [
    (b"", ""),
    (b"* OK ready\r\n", "CAPABILITY"),
    (b"* OK [CAPABILITY IMAP4rev1 AUTH=XOAUTH2 SASL-IR] ready\r\n", "AUTHENTICATE"),
    (b"* OK [CAPABILITY IMAP4rev1 AUTH=XOAUTH2 SASL-IR] ready\r\nX2 OK done\r\n", "X3"),
];
const IMAP_STATES_OF_A_KNOWN_SERVER: [(&[u8], &str); 3] = [
    (b"* OK ready\r\n", "X2 AUTHENTICATE"),
    (b"* OK ready\r\nX2 NO no\r\n", "X1 CAPABILITY"),
    (b"* OK ready\r\nX2 NO no\r\n* CAPABILITY AUTH=XOAUTH2\r\nX1 OK done\r\n", "X5 AUTHENTICATE"),
];
const POP3_STATES: [(&[u8], &str); 3] = [(b"", ""), (b"+OK ready\r\n", "AUTH"), (b"+OK ready\r\n+ \r\n", "dXNlcj")];
const SMTP_STATES: [(&[u8], &str); 4] = [
    (b"", ""),
    (b"220 ready\r\n", "EHLO"),
    (b"220 ready\r\n250-x\r\n250 AUTH XOAUTH2\r\n", "AUTH"),
    (b"220 ready\r\n250-x\r\n250 AUTH XOAUTH2\r\n334 \r\n", "dXNlcj"),
];

#[test]
fn endless_server_output_is_buffered_within_bounds() {
    let _alone = alone();
    let login = || XOAuth2 { user: "a@b.c".into(), token: Secret::from("T0") };
    let known =
        || KnownOffer { capabilities: ["AUTH=XOAUTH2", "SASL-IR"].map(String::from).into(), initial_response: true };
    let options = || smtp::Options { host_name: "gateway.example".into(), start_tls: false };
    let mut held = [0; 3];
    for again in SERVERS {
        for (said, heard) in IMAP_STATES {
            held[0] = held[0].max(of_server(|| imap::Upstream::new(&login()).unwrap(), said, heard, again));
        }
        for (said, heard) in IMAP_STATES_OF_A_KNOWN_SERVER {
            let make = || imap::Upstream::new(&login()).unwrap().with_known_offer(&known());
            held[0] = held[0].max(of_server(make, said, heard, again));
        }
        for (said, heard) in POP3_STATES {
            held[1] = held[1].max(of_server(|| pop3::Upstream::new(&login()).unwrap(), said, heard, again));
        }
        for (said, heard) in SMTP_STATES {
            held[2] = held[2].max(of_server(|| smtp::Upstream::new(&login(), options()).unwrap(), said, heard, again));
            let make = || smtp::Upstream::new(&login(), options()).unwrap().with_known_offer(&known());
            held[2] = held[2].max(of_server(make, said, heard, again));
        }
    }
    println!("bytes held at most of a server before the login there, of IMAP, POP3 and SMTP: {held:?}");
    assert!(held.iter().all(|most| *most > READ), "nothing was measured: {held:?}");
}

fn of_server<D: UpstreamDialogue>(make: impl Fn() -> D, said: &[u8], heard: &str, again: &[u8]) -> usize {
    // A line at a time: what is ahead of its question may be no answer.
    let lines: Vec<Vec<u8>> = said.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let mut before = lines.into_iter();
    let (mut pieces, mut told) = (endless(again), String::with_capacity(4096));
    let mut most = Most::begin();
    let mut dialogue = make();
    loop {
        match dialogue.poll() {
            // Its memory is taken before.
            Action::Write(bytes) if told.capacity() - told.len() > bytes.len() => {
                told.push_str(std::str::from_utf8(&bytes).unwrap());
            }
            Action::Write(_) => {}
            Action::Event(UpstreamEvent::Authenticated { .. } | UpstreamEvent::Failed(_)) => break,
            Action::Event(UpstreamEvent::StartTls) => panic!("no TLS is to be started"),
            Action::Read => {
                most.look();
                if let Some(line) = before.next() {
                    dialogue.receive(&line);
                    continue;
                }
                assert!(told.contains(heard), "the state was not reached: {told}");
                let Some(piece) = pieces.next() else { break };
                dialogue.receive(&piece);
                drop(piece);
                most.look();
            }
        }
    }
    assert!(before.len() == 0 && told.contains(heard), "the state was not reached: {told}");
    assert!(most.most <= OF_A_SERVER, "{} bytes are held of {} after {told}", most.most, again.escape_ascii());
    most.most
}

/// Who says what, up to a state.
type Before = &'static [(Peer, &'static [u8])];

/// A session after the login: what comes before, who goes on without end, and how.
const SESSIONS: [(Before, Peer, &[&[u8]]); 7] = [
    // Between two commands.
    (
        &[],
        Peer::Client,
        &[b"x", b"\r\n", b"\0", b"NOOP\r\n", b"MAIL FROM:<a@b.c>\r\n", b"BDAT 999999\r\n", b"DATA\r\n"],
    ),
    (&[], Peer::Server, &[b"x", b"\r\n", b"250-x\r\n", b"421 x\r\n"]),
    // Waiting for the answer to a command.
    (&[(Peer::Client, b"MAIL FROM:<a@b.c>\r\n")], Peer::Server, &[b"x", b"\r\n", b"250-x\r\n", b"\0"]),
    (&[(Peer::Client, b"MAIL FROM:<a@b.c>\r\n")], Peer::Client, &[b"x", b"RCPT TO:<x@y.z>\r\n", b"NOOP\r\n"]),
    // With a sender, adding recipients.
    (
        &[(Peer::Client, b"MAIL FROM:<a@b.c>\r\n"), (Peer::Server, b"250 ok\r\n")],
        Peer::Client,
        &[b"RCPT TO:<x@y.z>\r\n", b"RCPT TO:<", b"DATA\r\n"],
    ),
    // Within a message.
    (
        &[
            (Peer::Client, b"MAIL FROM:<a@b.c>\r\n"),
            (Peer::Server, b"250 ok\r\n"),
            (Peer::Client, b"RCPT TO:<x@y.z>\r\n"),
            (Peer::Server, b"250 ok\r\n"),
            (Peer::Client, b"DATA\r\n"),
            (Peer::Server, b"354 go\r\n"),
        ],
        Peer::Client,
        &[
            b"x",
            b"\n",
            b"\r\n",
            b"x\r\n",
            b".\n",
            b"X: y\r\n",
            b"From: a@b.c\r\n x\r\n",
            b" x\r\n",
            b"From: (",
            b"\0",
            b"\r",
        ],
    ),
    // Within a chunk.
    (
        &[
            (Peer::Client, b"MAIL FROM:<a@b.c>\r\n"),
            (Peer::Server, b"250 ok\r\n"),
            (Peer::Client, b"RCPT TO:<x@y.z>\r\n"),
            (Peer::Server, b"250 ok\r\n"),
            (Peer::Client, b"BDAT 1000000000\r\n"),
        ],
        Peer::Client,
        &[b"x", b"\r\n", b"X: y\r\n", b"From: a@b.c\r\n x\r\n", b" x\r\n"],
    ),
];

#[test]
fn a_session_of_smtp_holds_a_header_and_no_more() {
    let _alone = alone();
    let mut held = [0; 2];
    for (before, peer, again) in SESSIONS {
        for again in again {
            for (number, watched) in [false, true].into_iter().enumerate() {
                held[number] = held[number].max(of_session(before, peer, again, watched));
            }
        }
    }
    println!("bytes held at most of a session of SMTP, without and with a look at its senders: {held:?}");
    assert!(held[0] > READ && held[0] <= AFTER_LOGIN, "{held:?}");
    assert!(held[1] > READ && held[1] <= WITH_A_HEADER, "{held:?}");
}

fn of_session(before: &[(Peer, &[u8])], peer: Peer, again: &[u8], watched: bool) -> usize {
    let (mut before, mut pieces) = (before.iter(), endless(again));
    let mut most = Most::begin();
    let extensions = ["CHUNKING", "PIPELINING", "SIZE 2000000000"].map(str::to_owned).to_vec();
    let senders = watched.then(|| AllowedSenders::new("a@b.c", Vec::new(), Fallback::Account));
    let mut session = Submission::new(Options { host_name: "mail.example".into(), extensions }).with_senders(senders);
    loop {
        match session.poll() {
            Step::Write(..) | Step::Event(_) | Step::CutServer => {}
            Step::Begin { .. } => session.begin(),
            Step::Over(_) => break,
            Step::Read { client, server } => {
                most.look();
                let wants = |from: Peer| if from == Peer::Client { client } else { server };
                if let Some((from, bytes)) = before.next() {
                    assert!(wants(*from), "{} is not wanted", bytes.escape_ascii());
                    session.receive(*from, bytes);
                } else if wants(peer)
                    && let Some(piece) = pieces.next()
                {
                    session.receive(peer, &piece);
                    drop(piece);
                    most.look();
                } else {
                    break;
                }
            }
        }
    }
    assert_eq!(before.len(), 0, "the state was not reached");
    most.most
}

#[test]
fn a_tap_holds_what_it_promises_and_no_more() {
    let _alone = alone();
    let client: [&[u8]; 12] = [
        b"x",
        b"\r\n",
        b"a SELECT \"",
        b"a SELECT {4}\r\n",
        b"a NOOP\r\n",
        b"a IDLE\r\n",
        b"RETR 1\r\n",
        b"{9+}\r\n",
        b"a LOGIN x y\r\n",
        b"a LOGIN {0}\r\n{0}\r\n",
        b"PASS x\r\n",
        b"AUTH x\r\n",
    ];
    let server: [&[u8]; 7] =
        [b"x", b"\r\n", b"* OK [UIDVALIDITY 1] x\r\n", b"* 1 FETCH {9}\r\n", b"* BYE ", b"+OK x\r\n", b"-ERR x\r\n"];
    let mut held = [0; 2];
    // One side alone is what a tap has to wait with.
    let both = client.iter().flat_map(|one| server.iter().map(move |other| (*one, *other)));
    let alone = client.iter().map(|one| (*one, &b""[..])).chain(server.iter().map(|other| (&b""[..], *other)));
    for (from_client, from_server) in both.chain(alone) {
        held[0] = held[0].max(of_tap(Imap::default, from_client, from_server));
        held[1] = held[1].max(of_tap(Pop3::default, from_client, from_server));
    }
    println!("bytes held at most of a tap, of IMAP and POP3: {held:?}");
    assert!(held.iter().all(|most| *most > READ && *most <= OF_A_TAP), "{held:?}");
}

/// Gives a tap these bytes, as far as it takes them. What there is for the client is not taken: it does not read.
fn through<T: Tap>(tap: &mut T, most: &mut Most, mut bytes: &[u8], give: impl Fn(&mut T, &[u8]) -> Cut) {
    while !bytes.is_empty() {
        let taken = give(tap, bytes).taken;
        most.look();
        bytes = &bytes[taken..];
        if taken == 0 && tap.output(Peer::Server).is_empty() {
            return;
        }
    }
}

fn of_tap<T: Tap>(make: impl Fn() -> T, from_client: &[u8], from_server: &[u8]) -> usize {
    let pieces = |again: &[u8]| if again.is_empty() { Vec::new() } else { endless(again).take(64).collect() };
    let (client, server) = (pieces(from_client), pieces(from_server));
    let mut most = Most::begin();
    let mut tap = make();
    for number in 0..64 {
        // What waits is given again by the relay, and waits in its buffers.
        if let Some(piece) = client.get(number) {
            through(&mut tap, &mut most, piece, |tap, bytes| tap.client(bytes));
        }
        if let Some(piece) = server.get(number) {
            through(&mut tap, &mut most, piece, |tap, bytes| tap.server(bytes, &mut |_| {}));
        }
    }
    assert!(tap.held() <= OF_A_TAP, "{} bytes are held, it says", tap.held());
    most.most
}
