//! What a transcript cannot show.

use super::*;
use crate::{Action, Dialogue};

fn local(offer: Offer) -> Local {
    let mut local = Local::new(offer, Greeting { host_name: "mail.example".into(), extensions: Vec::new() });
    assert!(matches!(local.poll(), Action::Write(_)));
    local
}

fn says(local: &mut Local) -> String {
    match local.poll() {
        Action::Write(bytes) => String::from_utf8(bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

const TLS_FIRST: Offer = Offer { start_tls: true, tls_before_login: true };

/// A transcript cannot show this: in pieces of one byte the injected bytes come after the go-ahead.
#[test]
fn bytes_behind_starttls_end_the_connection() {
    let mut local = local(TLS_FIRST);
    local.receive(b"STARTTLS\r\nMAIL FROM:<mallory@b.c>\r\n");
    assert!(matches!(local.poll(), Action::Event(LocalEvent::Closed(Closed::BytesBehindStartTls))));
}

#[test]
fn bytes_between_the_go_ahead_and_tls_end_the_connection() {
    let mut local = local(TLS_FIRST);
    local.receive(b"STARTTLS\r\n");
    assert_eq!(says(&mut local), "220 2.0.0 Ready to start TLS\r\n");
    assert!(matches!(local.poll(), Action::Event(LocalEvent::StartTls)));
    local.receive(b"RSET\r\n");
    assert!(matches!(local.poll(), Action::Read));
    local.tls_started();
    assert!(matches!(local.poll(), Action::Event(LocalEvent::Closed(Closed::BytesBehindStartTls))));
    assert!(local.into_unread().is_empty());
}

/// Found by the fuzzer: AUTH far after spaces raised the bound if it arrived in one read, but not if it arrived byte by byte.
#[test]
fn the_bound_of_a_line_does_not_depend_on_how_it_arrives() {
    let blanks = [&[b' '; COMMAND_LIMIT][..], b"AUTH PLAIN AGEAYg==\r\n"].concat();
    let next_line = [b"\r\n", &[b' '; COMMAND_LIMIT][..], b"\r\nAUTH PLAIN AGEAYg==\r\n"].concat();
    for input in [blanks, next_line] {
        for cut in [1, 7, input.len()] {
            let mut local = local(Offer::default());
            let mut said = String::new();
            for piece in input.chunks(cut) {
                local.receive(piece);
                loop {
                    match local.poll() {
                        Action::Read => break,
                        Action::Write(bytes) => said += &String::from_utf8(bytes).unwrap(),
                        Action::Event(event) => said += &format!("{event:?}"),
                    }
                }
            }
            assert!(said.ends_with("500 5.5.6 Line is too long\r\nClosed(TooLong)"), "{cut}: {said}");
        }
    }
}

#[test]
fn ehlo_without_any_extension_is_one_line() {
    let mut local = local(Offer { start_tls: false, tls_before_login: true });
    local.receive(b"EHLO x\r\n");
    assert_eq!(says(&mut local), "250 mail.example Hello\r\n");
}

#[test]
fn a_refusal_of_any_length_is_one_line_within_512() {
    for kind in [RefusalKind::BadCredentials, RefusalKind::Unavailable, RefusalKind::AdministratorMustAct] {
        let mut local = local(Offer::default());
        local.receive(b"AUTH PLAIN AGEAYg==\r\nMAIL FROM:<a@b.c>\r\n");
        assert!(matches!(local.poll(), Action::Event(LocalEvent::Login(_))));
        local.refuse(&Refusal::new(kind, "no\r\n250 yes \u{fc} ".repeat(100)));
        for reply in [says(&mut local), says(&mut local)] {
            assert!(reply.len() <= 512 && reply.is_ascii() && reply.lines().count() == 1, "{reply:?}");
        }
    }
}

#[test]
fn debug_output_contains_no_client_input() {
    let mut local = local(Offer::default());
    local.receive(b"AUTH LOGIN YWxpY2U=\r\nc2VjcmV0");
    assert_eq!(says(&mut local), "334 UGFzc3dvcmQ6\r\n");
    let printed = format!("{local:?}");
    assert!(!printed.contains("alice") && !printed.contains("c2VjcmV0"), "{printed}");
}
