//! Plays every transcript under `transcripts/` against its dialogue, with what the peer says cut into pieces of one
//! byte, of seven bytes, and not at all. Result and order must be the same each time.
//!
//! A transcript is a text file, a step a line:
//!
//! ```text
//! # a comment: what story this is, and which device has it
//! option start-tls            how the dialogue is made (before the first step)
//! C: a1 LOGIN alice secret    the client says this line, ended by CRLF (in upstream transcripts: we say it)
//! S: a1 OK done               the server says this line (in local transcripts: we say it)
//! C- a1 LOGIN {3}\n           the same without CRLF added; both forms know \r \n \t \\ \0 and \xHH
//! C+ 1000 x                   the same text, repeated 1000 times, no CRLF
//! C= plain \0alice\0secret    base64 of the text, after a prefix up to the first blank if it is not `-`
//! CLOSE                       the peer closes its side
//! E: login alice secret       an event of the dialogue, as `event_text` below prints it
//! > accept IMAP4rev1 IDLE     the driver answers: accept, refuse KIND TEXT, tls-started,
//!                             goodbye TEXT; of upstream dialogues also what is true of them now:
//!                             misled, not-misled, listed, not-listed
//! READ                        everything was said and the dialogue wants to read
//! UNREAD: text                at the end: the bytes not used (escapes as above); checked to be empty when absent,
//!                             unless the last event was a failure
//! ```
//!
//! Lines of the peer that stand together are handed over as one stretch, so pipelining is written by just writing it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]

mod player;

use std::path::{Path, PathBuf};

use oxpost_protocol::sasl::xoauth2::XOAuth2;
use oxpost_protocol::{KnownOffer, LocalDialogue as _, Offer, Secret, imap, pop3, smtp};
use player::{Script, Side, play_local, play_upstream};

/// The chunk sizes; `usize::MAX` is all bytes in one chunk.
const CHUNKS: [usize; 3] = [1, 7, usize::MAX];

#[test]
fn imap_local() {
    each("imap/local", Side::Local, |script, chunk| play_local(imap::Local::new(offer(script)), script, chunk));
}

#[test]
fn imap_upstream() {
    each("imap/upstream", Side::Upstream, |script, chunk| {
        play_upstream(
            imap::Upstream::new(&credentials(script)).unwrap().with_known_offer(&known(script)),
            script,
            chunk,
        );
    });
}

#[test]
fn pop3_local() {
    each("pop3/local", Side::Local, |script, chunk| play_local(pop3::Local::new(offer(script)), script, chunk));
}

#[test]
fn pop3_upstream() {
    each("pop3/upstream", Side::Upstream, |script, chunk| {
        play_upstream(pop3::Upstream::new(&credentials(script)).unwrap(), script, chunk);
    });
}

#[test]
fn smtp_local() {
    each("smtp/local", Side::Local, |script, chunk| {
        let greeting = smtp::Greeting {
            host_name: "mail.example".into(),
            extensions: ["SIZE 157286400", "PIPELINING", "8BITMIME"].map(String::from).into(),
        };
        let mut local = smtp::Local::new(offer(script), greeting);
        if script.has("without-login") {
            local.allow_without_login();
        }
        play_local(local, script, chunk);
    });
}

#[test]
fn smtp_upstream() {
    each("smtp/upstream", Side::Upstream, |script, chunk| {
        let options = smtp::Options { host_name: "gateway.example".into(), start_tls: !script.has("implicit-tls") };
        let upstream = smtp::Upstream::new(&credentials(script), options).unwrap();
        play_upstream(upstream.with_known_offer(&known(script)), script, chunk);
    });
}

/// `option known IMAP4rev1 AUTH=XOAUTH2`, `option initial-response`.
fn known(script: &Script) -> KnownOffer {
    let capabilities = script.option("known").unwrap_or_default().split_whitespace().map(String::from);
    KnownOffer { capabilities: capabilities.collect(), initial_response: script.has("initial-response") }
}

fn offer(script: &Script) -> Offer {
    Offer { start_tls: script.has("start-tls"), tls_before_login: script.has("tls-before-login") }
}

/// The login of every upstream transcript. The token is short so that its base64 can be read in the transcript:
/// `printf 'user=a@b.c\1auth=Bearer T0\1\1' | base64` is `dXNlcj1hQGIuYwFhdXRoPUJlYXJlciBUMAEB`.
fn credentials(_script: &Script) -> XOAuth2 {
    XOAuth2 { user: "a@b.c".into(), token: Secret::from("T0") }
}

fn each(folder: &str, side: Side, play: impl Fn(&Script, usize)) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts").join(folder);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no transcript in {}", folder.display());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let script = Script::parse(&file, &text, side);
        for chunk in CHUNKS {
            play(&script, chunk);
        }
    }
}
