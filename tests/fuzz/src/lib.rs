//! What every fuzz target asserts of its dialogue:
//!
//! - it does not panic, whatever the peer sends;
//! - what it says and reports does not depend on how the peer's bytes are cut;
//! - what it holds, as the allocator counts it, is bounded whenever it wants to read ([`HELD_BOUND`]);
//! - it asks for something else than more bytes only so often;
//! - a local dialogue says that a login has succeeded only after the driver has allowed it, and an upstream dialogue that must
//!   start TLS says nothing of the token before TLS is on, or ever, if TLS never comes.

/// A whole session of SMTP: see there for what it asserts.
#[path = "../../../protocol/tests/player/session.rs"]
pub mod session;
/// The taps of IMAP and POP3: see there for what it asserts.
#[path = "../../../protocol/tests/player/tap.rs"]
pub mod tap;
/// Whole sessions through the real proxy: see there for what they assert.
pub mod whole;

use std::alloc::System;

use cap::Cap;
use oxpost_protocol::sasl::Malformed;
use oxpost_protocol::sasl::xoauth2::XOAuth2;
use oxpost_protocol::{
    Action, Dialogue, KnownOffer, LocalDialogue, LocalEvent, Offer, Refusal, RefusalKind, Secret, UpstreamDialogue,
    UpstreamEvent, smtp,
};

/// What the driver of the real proxy reads in one call.
const READ: usize = 2048;

#[global_allocator]
static ALLOCATED: Cap<System> = Cap::new(System, usize::MAX);

/// What a dialogue may hold: see `protocol/tests/bounds.rs`.
const HELD_BOUND: usize = 64 * 1024;

/// How a local dialogue says that a login has succeeded: IMAP, POP3, SMTP.
const SUCCESS: [&[u8]; 3] = [b"] Logged in\r\n", b"+OK Logged in\r\n", b"235 2.7.0 "];

/// More polls than this without wanting to read is a loop.
const POLLS: usize = 10_000;

/// The token of every upstream run, and its SASL message for `a@b.c`, which must not appear before its time.
const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9";

pub fn greeting() -> smtp::Greeting {
    smtp::Greeting { host_name: "mail.example".into(), extensions: vec!["SIZE 157286400".into(), "8BITMIME".into()] }
}

pub fn options(start_tls: bool) -> smtp::Options {
    smtp::Options { host_name: "context.example".into(), start_tls }
}

/// Plays a client's bytes. The first byte chooses the offer and the driver's answers.
pub fn local<D: LocalDialogue>(data: &[u8], make: impl Fn(Offer) -> D) {
    let Some((&choice, bytes)) = data.split_first() else { return };
    let offer = Offer { start_tls: choice & 1 != 0, tls_before_login: choice & 3 == 3 };
    let accept_after = usize::from(choice >> 2 & 3);
    let run = |cut: usize| {
        let mut logins = 0;
        play(make(offer), bytes, cut, |dialogue, event| match event {
            LocalEvent::Login(login) => {
                logins += 1;
                let seen = format!("login {} {}", login.user, login.password.reveal().escape_ascii());
                if logins > accept_after {
                    dialogue.accept(&["IMAP4rev1".to_owned(), "IDLE".to_owned()]);
                    (seen, Then::Relay)
                } else {
                    dialogue.refuse(&Refusal::new(RefusalKind::Unavailable, "not\r\nnow"));
                    (seen, Then::GoOn)
                }
            }
            LocalEvent::WithoutLogin if logins == accept_after => {
                dialogue.accept(&[]);
                ("without-login".into(), Then::Relay)
            }
            LocalEvent::WithoutLogin => {
                logins += 1;
                dialogue.refuse(&Refusal::new(RefusalKind::Unavailable, "not\r\nnow"));
                ("without-login".into(), Then::GoOn)
            }
            LocalEvent::StartTls => {
                dialogue.tls_started();
                ("start-tls".into(), Then::GoOn)
            }
            LocalEvent::SkippedPreamble(stray) => (format!("passed over {stray:?}"), Then::GoOn),
            LocalEvent::Closed(why) => (format!("closed {why:?}"), Then::Stop),
        })
    };
    independent_of_the_cut(bytes, run, |outcome| {
        // Before the event behind which the driver has said yes; or all of it, if it never has.
        let allowed =
            outcome.events.iter().filter(|(_, event)| event.starts_with("login ") || event == "without-login");
        let before = allowed.map(|(said, _)| *said).nth(accept_after).unwrap_or(outcome.said.len());
        for success in SUCCESS {
            let early = contains(&outcome.said[..before], success);
            assert!(!early, "a success before the driver's: {}", outcome.said.escape_ascii());
        }
    });
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Plays a server's bytes. The first byte chooses whether TLS must be started, where it can be, and what is known of the server.
pub fn upstream<D: UpstreamDialogue>(
    data: &[u8],
    can_start_tls: bool,
    make: impl Fn(&XOAuth2, bool, &KnownOffer) -> Result<D, Malformed>,
) {
    let Some((&choice, bytes)) = data.split_first() else { return };
    let login = XOAuth2 { user: "a@b.c".into(), token: Secret::from(TOKEN) };
    let Ok(message) = login.message() else { return };
    let start_tls = can_start_tls && choice & 1 != 0;
    let capabilities: &[&str] = match choice >> 1 & 3 {
        0 => &[],
        1 => &["AUTH=XOAUTH2"],
        2 => &["AUTH=XOAUTH2", "SASL-IR"],
        _ => &["AUTH=XOAUTH2", "SASL-IR", "NAMESPACE"],
    };
    let known = KnownOffer {
        capabilities: capabilities.iter().map(|name| (*name).to_owned()).collect(),
        initial_response: choice & 8 != 0,
    };
    let run = |cut: usize| {
        let Ok(dialogue) = make(&login, start_tls, &known) else { unreachable!("user and token are plain") };
        play(dialogue, bytes, cut, |dialogue, event| match event {
            UpstreamEvent::StartTls => {
                dialogue.tls_started();
                ("start-tls".into(), Then::GoOn)
            }
            UpstreamEvent::Authenticated { capabilities } => {
                (format!("authenticated {}", capabilities.join(",")), Then::Stop)
            }
            UpstreamEvent::Failed(failure) => {
                let text = format!("{failure:?}");
                assert!(!text.contains(TOKEN), "the token in an error");
                (text, Then::Stop)
            }
        })
    };
    independent_of_the_cut(bytes, run, |outcome| {
        if start_tls {
            let tls = outcome.events.iter().find(|(_, event)| event == "start-tls").map(|(said, _)| *said);
            let before = &outcome.said[..tls.unwrap_or(outcome.said.len())];
            for token in [message.reveal(), TOKEN.as_bytes()] {
                assert!(!contains(before, token), "the token before TLS: {}", outcome.said.escape_ascii());
            }
        }
    });
}

/// What happens after an event.
enum Then {
    GoOn,
    /// Say what is to be said, then the dialogue is over.
    Relay,
    Stop,
}

#[derive(Default, PartialEq, Eq, Debug)]
struct Outcome {
    said: Vec<u8>,
    /// Each event with how much had been said before it.
    events: Vec<(usize, String)>,
    /// What was left of the input: unread in the dialogue and not yet asked for.
    rest: Vec<u8>,
}

impl Outcome {
    fn allocated(&self) -> usize {
        let texts: usize = self.events.iter().map(|(_, text)| text.capacity()).sum();
        self.said.capacity() + self.events.capacity() * size_of::<(usize, String)>() + texts
    }
}

/// `holds` looks at each of the outcomes.
fn independent_of_the_cut(bytes: &[u8], run: impl Fn(usize) -> Outcome, holds: impl Fn(&Outcome)) {
    let whole = run(READ);
    holds(&whole);
    // Bytes that wait behind STARTTLS are refused, and whether they wait depends on when they arrive: that is the point.
    let tls = |outcome: &Outcome| {
        outcome.events.iter().any(|(_, event)| {
            event == "start-tls" || event.contains("BytesBehindStartTls") || event.contains("ahead of TLS")
        })
    };
    for cut in [1, 7] {
        let cut_up = run(cut);
        holds(&cut_up);
        if !tls(&whole) && !tls(&cut_up) {
            assert_eq!(whole, cut_up, "input {:?}", bytes.escape_ascii().to_string());
        }
    }
}

fn play<D: Dialogue>(
    mut dialogue: D,
    mut input: &[u8],
    cut: usize,
    mut answer: impl FnMut(&mut D, D::Event) -> (String, Then),
) -> Outcome {
    let allocated = ALLOCATED.allocated();
    let mut outcome = Outcome::default();
    let (mut ended, mut relay) = (false, false);
    let (mut given, mut polls) = (0, 0);
    loop {
        polls += 1;
        assert!(polls < POLLS + input.len() + given, "the dialogue loops");
        let action = dialogue.poll();
        if matches!(action, Action::Read) {
            let held = ALLOCATED.allocated().saturating_sub(allocated + outcome.allocated());
            assert!(held <= HELD_BOUND, "{held} bytes are held");
        }
        match action {
            Action::Write(bytes) => outcome.said.extend(bytes),
            Action::Read if relay || ended => break,
            Action::Read if input.is_empty() => {
                ended = true;
                dialogue.receive_end();
            }
            Action::Read => {
                let (now, later) = input.split_at(cut.min(input.len()));
                dialogue.receive(now);
                given += now.len();
                input = later;
            }
            Action::Event(event) => {
                let (text, then) = answer(&mut dialogue, event);
                outcome.events.push((outcome.said.len(), text));
                match then {
                    Then::GoOn => {}
                    Then::Relay => relay = true,
                    Then::Stop => break,
                }
            }
        }
    }
    outcome.rest = dialogue.into_unread();
    outcome.rest.extend_from_slice(input);
    outcome
}
