//! Whether a client has ever sent anything, which tells a probe from a mail program.

#![allow(clippy::panic)]

use oxpost_protocol::{Action, Closed, LocalDialogue, LocalEvent, Offer, imap, pop3, smtp};

/// Polls until the dialogue wants to read or reports something.
fn report(dialogue: &mut impl LocalDialogue) -> Option<LocalEvent> {
    loop {
        match dialogue.poll() {
            Action::Write(_) => {}
            Action::Read => return None,
            Action::Event(event) => return Some(event),
        }
    }
}

fn probe(mut dialogue: impl LocalDialogue) {
    assert!(report(&mut dialogue).is_none() && !dialogue.has_spoken(), "the greeting is ours");
    dialogue.receive(b"");
    dialogue.receive_end();
    assert!(matches!(report(&mut dialogue), Some(LocalEvent::Closed(Closed::EndOfStream))));
    assert!(!dialogue.has_spoken());
}

fn speak(mut dialogue: impl LocalDialogue, start_tls: &[u8]) {
    report(&mut dialogue);
    dialogue.receive(b"\r");
    assert!(dialogue.has_spoken(), "a byte is enough");
    dialogue.receive(b"\n");
    report(&mut dialogue);
    dialogue.receive(start_tls);
    assert!(matches!(report(&mut dialogue), Some(LocalEvent::StartTls)));
    dialogue.tls_started();
    assert!(dialogue.has_spoken(), "who asked for TLS has spoken, whatever is forgotten by that");
}

#[test]
fn only_bytes_of_the_client_count() {
    let offer = Offer { start_tls: true, tls_before_login: false };
    let greeting = || smtp::Greeting { host_name: "mail.example".into(), extensions: Vec::new() };
    probe(imap::Local::new(offer));
    probe(pop3::Local::new(offer));
    probe(smtp::Local::new(offer, greeting()));
    speak(imap::Local::new(offer), b"a STARTTLS\r\n");
    speak(pop3::Local::new(offer), b"STLS\r\n");
    speak(smtp::Local::new(offer, greeting()), b"EHLO x\r\nSTARTTLS\r\n");
}
