//! What every fuzz target asserts of its dialogue:
//!
//! - it does not panic, whatever the peer sends;
//! - what it says and reports does not depend on how the peer's bytes are cut;
//! - it never holds more unread than one line or literal within its bounds and one read;
//! - a local dialogue says nothing of a login before the driver has allowed it, and an upstream dialogue that must start
//!   TLS says nothing of the token before TLS is on.

/// A whole session of SMTP: what it asserts stands there.
#[path = "../../../protocol/tests/player/session.rs"]
pub mod session;
/// The taps of IMAP and POP3: what it asserts stands there.
#[path = "../../../protocol/tests/player/tap.rs"]
pub mod tap;
/// Whole sessions through the real proxy: what they assert stands there.
pub mod whole;

use oxpost_protocol::sasl::Malformed;
use oxpost_protocol::sasl::xoauth2::XOAuth2;
use oxpost_protocol::{
    Action, Dialogue, LocalDialogue, LocalEvent, Offer, Refusal, RefusalKind, Secret, UpstreamDialogue, UpstreamEvent,
    smtp,
};

/// What the driver of the real proxy reads at once.
const READ: usize = 2048;

/// More than any line or literal bound of any dialogue, plus one read.
const UNREAD_BOUND: usize = 128 * 1024;

/// More polls than this without wanting to read is a loop.
const POLLS: usize = 10_000;

/// The token of every upstream run, and its SASL message for `a@b.c`, which must not appear before its time.
const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9";

pub fn greeting() -> smtp::Greeting {
    smtp::Greeting { host_name: "mail.example".into(), extensions: vec!["SIZE 157286400".into(), "8BITMIME".into()] }
}

pub fn options(start_tls: bool) -> smtp::Options {
    smtp::Options { host_name: "gateway.example".into(), start_tls }
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
            LocalEvent::PassedOver(stray) => (format!("passed over {stray:?}"), Then::GoOn),
            LocalEvent::Closed(why) => (format!("closed {why:?}"), Then::Stop),
        })
    };
    independent_of_the_cut(bytes, run, None);
}

/// Plays a server's bytes. The first byte chooses whether TLS must be started.
pub fn upstream<D: UpstreamDialogue>(data: &[u8], make: impl Fn(&XOAuth2, bool) -> Result<D, Malformed>) {
    let Some((&choice, bytes)) = data.split_first() else { return };
    let login = XOAuth2 { user: "a@b.c".into(), token: Secret::from(TOKEN) };
    let Ok(message) = login.message() else { return };
    let start_tls = choice & 1 != 0;
    let run = |cut: usize| {
        let Ok(dialogue) = make(&login, start_tls) else { unreachable!("user and token are plain") };
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
    independent_of_the_cut(bytes, run, Some(message));
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

fn independent_of_the_cut(bytes: &[u8], run: impl Fn(usize) -> Outcome, message: Option<Secret>) {
    let whole = run(READ);
    if let Some(message) = message {
        let tls = whole.events.iter().find(|(_, event)| event == "start-tls").map(|(said, _)| *said);
        if let Some(before) = tls {
            let said = &whole.said[..before];
            assert!(!said.windows(message.len()).any(|window| window == message.reveal()), "the token before TLS");
        }
    }
    // Bytes that wait behind STARTTLS are refused, and whether they wait depends on when they arrive: that is the point.
    let tls = |outcome: &Outcome| {
        outcome.events.iter().any(|(_, event)| {
            event == "start-tls" || event.contains("BytesBehindStartTls") || event.contains("ahead of TLS")
        })
    };
    for cut in [1, 7] {
        let cut_up = run(cut);
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
    let mut outcome = Outcome::default();
    let (mut ended, mut relay) = (false, false);
    let (mut given, mut polls) = (0, 0);
    loop {
        polls += 1;
        assert!(polls < POLLS + input.len() + given, "the dialogue loops");
        match dialogue.poll() {
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
    assert!(outcome.rest.len() <= UNREAD_BOUND, "{} bytes unread", outcome.rest.len());
    outcome.rest.extend_from_slice(input);
    outcome
}
