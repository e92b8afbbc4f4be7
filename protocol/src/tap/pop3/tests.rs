//! Valid and invalid sessions, each in pieces of one byte, of seven bytes, and whole.

use std::time::Duration;

use super::*;
use crate::tap::playing;

mod state;

fn alike(session: playing::Session<'_>) -> playing::Played {
    playing::unchanged::<Pop3>(session)
}

#[test]
fn messages_are_counted_and_their_text_means_nothing() {
    let playing::Played { noticed, counts, .. } = alike(&[
        ('C', "STAT\r\nLIST\r\nuidl\r\nLIST 1\r\nRETR 1\r\nTOP 1 0\r\nRETR 2\r\nRETR 9\r\n"),
        ('S', "+OK 2 200\r\n+OK\r\n1 100\r\n2 100\r\n.\r\n+OK\r\n1 a\r\n.\r\n+OK 1 100\r\n"),
        ('S', "+OK 100 octets\r\nSubject: x\r\n\r\n-ERR Request is throttled.\r\n..\r\n.dot\r\n+OK\r\n.\r\n"),
        ('S', "+OK\r\nSubject: x\r\n.\r\n+OK\r\n\r\n.\r\n-ERR no such message\r\n"),
        ('C', "RETR 1\n"),
        ('S', "+OK\ntext\n.\n"),
        ('C', "QUIT\r\n"),
        ('S', "+OK bye\r\n"),
    ]);
    assert_eq!((noticed, counts), (vec![], Counts { fetched: 3, stored: 0 }));
}

#[test]
fn throttling_is_noticed() {
    let playing::Played { noticed, .. } = alike(&[
        ('C', "RETR 1\r\n"),
        ('S', "-ERR Request is throttled. Suggested Backoff Time: 1500 milliseconds\r\n"),
    ]);
    assert_eq!(noticed, [Observation::Throttled { back_off: Duration::from_millis(1500) }]);
}

/// Whether it is known which answer is which.
fn is_followed(said: &str, answer: &str) -> bool {
    let mut tap = Pop3::default();
    playing::follow(&mut tap, &[('C', said), ('S', answer)], 7);
    assert!(alike(&[('C', said), ('S', answer)]).noticed.is_empty());
    !tap.is_lost
}

#[test]
fn answers_that_mean_nothing_are_known_to() {
    for (said, answer) in
        [("XNEW\r\n", "-ERR unknown\r\n"), ("\r\n", "-ERR what\r\n"), ("NOOP\r\nLAST\r\n", "+OK\r\n+OK 1\r\n")]
    {
        assert!(is_followed(said, answer), "{said}");
    }
    for (said, answer) in
        [("XNEW\r\n", "+OK lines or not\r\n"), ("NOOP\r\n", "\u{16}\u{3}\u{1}\r\n"), ("", "+OK unsolicited\r\n")]
    {
        assert!(!is_followed(said, answer), "{said}");
    }
}

#[test]
fn client_waits_while_too_much_is_unanswered() {
    let mut tap = Pop3::default();
    let noop = b"NOOP\r\n";
    let count = (0..2 * COMMANDS_LIMIT).take_while(|_| tap.client(noop).taken > 0).count();
    assert_eq!(count, COMMANDS_LIMIT);
    assert_eq!(tap.server(b"+OK\r\n", &mut |_| {}).pass, 5);
    assert_eq!(tap.client(noop), Cut { pass: 6, taken: 6 });
    assert_eq!(tap.client(noop), Cut { pass: 0, taken: 0 });
    let mut tap = Pop3::default();
    let count = (0..2 * COMMANDS_LIMIT).take_while(|_| tap.client(b"PASS hunter2\r\n").taken > 0).count();
    assert!(count < ANSWER_BYTES_LIMIT / 20, "answers that the client does not take: {count}");
}

#[test]
fn unsolicited_goodbye_is_noticed() {
    let playing::Played { noticed, .. } =
        alike(&[('C', "NOOP\r\n"), ('S', "+OK\r\n-ERR Connection is closed. 13\r\n")]);
    assert_eq!(noticed, [Observation::Bye { text: "Connection is closed. 13".into(), asked_for: false }]);
}

#[test]
fn logins_behind_any_number_of_unanswered_commands_stay_here() {
    let logins =
        "USER alice\r\nPASS hunter2\r\nAPOP alice c4c9\r\nAUTH LOGIN\r\nYWxpY2U=\r\nSGFn\r\naHVudGVyMg==\r\nSTLS\r\n"
            .repeat(300);
    let harmless = "NOOP\r\n".repeat(5 * COMMANDS_LIMIT);
    let said = [&harmless, logins.as_str()].concat();
    let (mut tap, mut sent, mut at, mut answered) = (Pop3::default(), String::new(), 0, 0);
    while at < said.len() {
        let before = at;
        loop {
            let Cut { pass, taken } = tap.client(&said.as_bytes()[at..]);
            sent.push_str(said.get(at..at + pass).unwrap());
            at += taken;
            let output = String::from_utf8(tap.output(Peer::Server)).unwrap();
            sent.push_str(&output);
            assert!(tap.held() <= 128 * 1024);
            if taken == 0 && output.is_empty() {
                break;
            }
        }
        if answered < 5 * COMMANDS_LIMIT {
            assert_eq!(tap.server(b"+OK\r\n", &mut |_| {}).taken, 5);
            answered += 1;
        } else {
            assert!(at > before, "it waits for nothing");
        }
        tap.output(Peer::Client);
    }
    assert!(sent == harmless, "{}", sent.trim_start_matches("NOOP\r\n"));
}

#[test]
fn answers_to_a_challenge_never_reach_the_server() {
    for answer in [
        "QUFB",
        "STAT",
        "LIST+abc\r\n",
        &format!("{}QUFB\r\n", " ".repeat(1000)),
        &format!("{}\r\n", "QUFB".repeat(1000)),
        &"QUFB\r\n".repeat(1000),
        "\r\nQUFB\r\nQUFB\r\n*\r\n",
    ] {
        let said = format!("AUTH X\r\n{answer}");
        for cut in [1, 7, usize::MAX] {
            let mut tap = Pop3::default();
            let mut sent = playing::follow(&mut tap, &[('C', &said)], cut).to_server;
            tap.end(Peer::Client);
            sent.push_str(&String::from_utf8(tap.output(Peer::Server)).unwrap());
            assert_eq!(sent, "", "{answer}");
        }
    }
    let said = [('C', "AUTH X\r\nQUFB\r\nSTAT\r\nXNEW\r\n")];
    assert_eq!(playing::alike::<Pop3>(&said).to_server, "STAT\r\nXNEW\r\n");
}
