//! Sessions as they are, and as they are not meant to be: each in pieces of one byte, of seven, and at once.

use std::time::Duration;

use super::*;
use crate::tap::playing;

fn alike(session: &[(char, &str)]) -> playing::Heard {
    playing::alike(session, |tap: &Imap| tap.is_aside)
}

fn noticed(session: &[(char, &str)]) -> Vec<Noticed> {
    alike(session).0
}

fn validity(folder: &str, value: u32) -> Noticed {
    Noticed::UidValidity { folder: folder.to_owned(), value }
}

#[test]
fn a_folder_is_named_however_the_client_names_it() {
    for (command, folder) in [
        ("SELECT INBOX", "INBOX"),
        ("select inbox (CONDSTORE)", "INBOX"),
        ("EXAMINE \"Sent Items\"", "Sent Items"),
        ("SELECT \"a \\\"b\\\" \\\\c\"", "a \"b\" \\c"),
        ("SELECT {5}\r\niNbOx", "INBOX"),
        ("SELECT {10+}\r\nSent Items", "Sent Items"),
        (" SELECT  Entw&APw-rfe", "Entw&APw-rfe"),
    ] {
        let command = format!("a1 {command}\r\n");
        let answer = "* FLAGS (\\Seen)\r\n* 3 EXISTS\r\n* OK [UIDVALIDITY 14] UIDVALIDITY value\r\na1 OK done\r\n";
        assert_eq!(noticed(&[('C', &command), ('S', answer)]), [validity(folder, 14)], "{command}");
    }
}

#[test]
fn pipelined_folders_get_their_own() {
    let session = [
        ('C', "a SELECT one\r\nb NOOP\r\nc EXAMINE two\r\n"),
        (
            'S',
            "* OK [UIDVALIDITY 1] x\r\na OK [READ-WRITE] x\r\nb OK x\r\n* OK [uidvalidity 2] x\r\n* OK [UIDVALIDITY 3]\r\n",
        ),
        ('S', "c OK x\r\n* OK [UIDVALIDITY 4] nobody asked\r\n"),
    ];
    assert_eq!(noticed(&session), [validity("one", 1), validity("two", 2)]);
    // One that is refused has no value, and the next one its own.
    let session =
        [('C', "a SELECT gone\r\nb SELECT there\r\n"), ('S', "a NO no such folder\r\n[UIDVALIDITY 7]\r\nb OK x\r\n")];
    assert_eq!(noticed(&session), [validity("there", 7)], "Exchange has been seen to leave `* OK` out");
}

#[test]
fn status_names_its_folder_itself() {
    let said = [('S', "* STATUS \"a (b)\" (MESSAGES 3 UIDVALIDITY 9 UIDNEXT 4)\r\n* STATUS inbox (UIDVALIDITY 5)\r\n")];
    assert_eq!(noticed(&said), [validity("a (b)", 9), validity("INBOX", 5)]);
    assert_eq!(noticed(&[('S', "* STATUS {5}\r\nINBOX (UIDVALIDITY 9)\r\n* STATUS x (MESSAGES 1)\r\n")]), []);
}

#[test]
fn what_stands_in_a_literal_means_nothing() {
    let message = "* OK [UIDVALIDITY 66] x\r\n* BYE x\r\n{9}\r\na BAD Request is throttled.\r\n";
    let fetch = format!("* 1 FETCH (UID 5 BODY[] {{{}}}\r\n{message})\r\na OK done\r\n", message.len());
    let append = format!("b APPEND INBOX (\\Seen) {{{}}}\r\n", message.len());
    let session = [
        ('C', "z SELECT INBOX\r\na FETCH 1 BODY[]\r\n"),
        ('S', &fetch),
        ('C', &append),
        ('S', "+ go ahead\r\n"),
        ('C', message),
        ('C', "\r\n"),
        ('S', "b OK [APPENDUID 14 6] APPEND completed.\r\nz OK x\r\n"),
    ];
    let (noticed, counts, _) = alike(&session);
    assert_eq!((noticed, counts), (vec![], Counts { fetched: 1, stored: 1 }));
}

#[test]
fn messages_are_counted_once_and_parts_are_not() {
    let session = [(
        'S',
        "* 1 FETCH (BODY[HEADER] {3}\r\nabc BODY[TEXT] {1}\r\nx)\r\n\
         * 2 FETCH (FLAGS () RFC822 {3}\r\nabc RFC822.SIZE 3)\r\n\
         * 3 FETCH (RFC822.HEADER {3}\r\nabc)\r\n\
         * 4 FETCH (BINARY[] ~{3}\r\na\0c BODY[] {3}\r\nabc)\r\n\
         * 5 FETCH (body[]<0> {3}\r\nabc)\r\n* 5 FETCH (BODY[]<3> {3}\r\nabc)\r\n\
         * LIST () \"/\" {8}\r\nBODY[] x\r\n* 6 FETCH (BODY[HEADER] {0}\r\n BODY[] {2}\r\nxy)\r\n",
    )];
    assert_eq!(alike(&session).1, Counts { fetched: 4, stored: 0 });
}

#[test]
fn the_text_of_a_condition_is_no_literal() {
    let session = [
        ('C', "a SELECT INBOX\r\n"),
        (
            'S',
            "* OK hello {99}\r\n* NO sorry {99}\r\n+ go {99}\r\nx BAD what {99}\r\n[ALERT] {99}\r\n* OK [UIDVALIDITY 1] x\r\n",
        ),
    ];
    assert_eq!(noticed(&session), [validity("INBOX", 1)]);
}

/// LITERAL+ sends at once; without it the server may refuse, and then the next line is a command.
#[test]
fn a_literal_that_is_refused_is_never_sent() {
    let session = [
        ('C', "a APPEND INBOX {99999999}\r\n"),
        ('S', "a NO [OVERQUOTA] too large\r\n"),
        ('C', "b SELECT INBOX\r\n"),
        ('S', "* OK [UIDVALIDITY 3] x\r\nb OK x\r\n"),
    ];
    let (noticed, counts, _) = alike(&session);
    assert_eq!((noticed, counts), (vec![validity("INBOX", 3)], Counts::default()));
    let several = [
        ('C', "a APPEND INBOX {3+}\r\nabc {4+}\r\n"),
        ('C', "defg\r\nb SELECT x\r\n"),
        ('S', "a OK x\r\n* OK [UIDVALIDITY 3] x\r\n"),
    ];
    let (noticed, counts, _) = alike(&several);
    assert_eq!((noticed, counts), (vec![validity("x", 3)], Counts { fetched: 0, stored: 1 }));
}

/// A client that sends without being asked sends all of it, whatever the server says meanwhile; so does one that was asked.
#[test]
fn a_literal_that_is_on_its_way_comes_to_its_end() {
    let inner = "x SELECT inner\r\n";
    for begin in ["a APPEND INBOX {16+}\r\n", "a APPEND INBOX {17}\r\nx"] {
        let session = [
            ('C', begin),
            ('S', "a NO [OVERQUOTA] too large\r\n"),
            ('C', inner),
            ('C', "\r\nb SELECT outer\r\n"),
            ('S', "* OK [UIDVALIDITY 3] x\r\nb OK x\r\n"),
        ];
        assert_eq!(noticed(&session), [validity("outer", 3)], "{begin}");
    }
    let session = [
        ('C', "a APPEND INBOX {16}\r\n"),
        ('S', "+ go ahead\r\na NO [OVERQUOTA] too large\r\n"),
        ('C', inner),
        ('C', "\r\nb SELECT outer\r\n"),
        ('S', "* OK [UIDVALIDITY 3] x\r\nb OK x\r\n"),
    ];
    assert_eq!(noticed(&session), [validity("outer", 3)]);
}

#[test]
fn the_end_of_a_session_is_told_from_an_accident() {
    let bye = |text: &str, asked_for| Noticed::Bye { text: text.to_owned(), asked_for };
    let expired = "Session invalidated - AccessTokenExpired";
    assert_eq!(noticed(&[('S', &format!("* BYE {expired}\r\n"))]), [bye(expired, false)]);
    let session = [
        ('C', "a IDLE\r\n"),
        ('S', "+ IDLE accepted, awaiting DONE command.\r\n* 4 EXISTS\r\n"),
        ('C', "DONE\r\nb LOGOUT\r\n"),
        (
            'S',
            "a OK IDLE completed.\r\n* BYE Microsoft Exchange Server IMAP4 server signing off.\r\nb OK LOGOUT completed.\r\n",
        ),
    ];
    assert_eq!(noticed(&session), [bye("Microsoft Exchange Server IMAP4 server signing off.", true)]);
}

#[test]
fn throttling_is_noticed_wherever_it_is_said() {
    let words = "Request is throttled. Suggested Backoff Time: 1500 milliseconds";
    let throttled = Noticed::Throttled { back_off: Duration::from_millis(1500) };
    for line in ["a NO", "a BAD", "* NO", "* BAD"] {
        assert_eq!(noticed(&[('S', &format!("{line} {words}\r\n"))]), std::slice::from_ref(&throttled), "{line}");
    }
    assert_eq!(noticed(&[('S', &format!("* BYE {words}\r\n"))]).len(), 2);
    assert_eq!(noticed(&[('S', &format!("a OK {words}\r\n* 1 FETCH ({words})\r\n"))]), []);
}

#[test]
fn it_steps_aside_when_compression_or_tls_begins() {
    for command in ["COMPRESS DEFLATE", "STARTTLS"] {
        let begin = format!("a {command}\r\n");
        let session = [
            ('C', begin.as_str()),
            ('S', "a OK begin\r\n* BYE this is no IMAP any more\r\n"),
            ('C', "b SELECT x\r\n"),
            ('S', "* OK [UIDVALIDITY 1] x\r\n"),
        ];
        let (noticed, _, is_aside) = alike(&session);
        assert!(noticed.is_empty() && is_aside, "{command}");
        assert!(!alike(&[('C', &begin), ('S', "a NO not now\r\n")]).2);
    }
}

#[test]
fn it_steps_aside_where_it_cannot_follow() {
    let tag = "t".repeat(TAG_LIMIT + 1);
    let long = format!("{tag} SELECT x\r\n");
    let many = "a SELECT x\r\n".repeat(COMMANDS_LIMIT + 1);
    for side in [('C', long.as_str()), ('C', &many), ('S', "* 1 FETCH (\0 {3}\r\n")] {
        let (noticed, counts, is_aside) = alike(&[('C', "b SELECT y\r\n"), side, ('S', "* OK [UIDVALIDITY 1] x\r\n")]);
        assert!(noticed.is_empty() && counts == Counts::default() && is_aside, "{side:?}");
    }
    let within = "a SELECT x\r\n".repeat(COMMANDS_LIMIT);
    assert!(!alike(&[('C', &within)]).2);
}

#[test]
fn a_client_that_names_too_much_costs_a_bound() {
    let mut tap = Imap::default();
    for number in 0..10_000 {
        tap.client(format!("a{number} SELECT \"{}\"\r\n", "x".repeat(400)).as_bytes());
        assert!(tap.waiting.len() <= COMMANDS_LIMIT);
    }
    let name = "x".repeat(FOLDER_LIMIT + 1);
    let select = format!("a SELECT {{{}+}}\r\n{name}\r\n", name.len());
    assert_eq!(noticed(&[('C', &select), ('S', "* OK [UIDVALIDITY 1] x\r\n")]), []);
    assert_eq!(noticed(&[('S', "* STATUS \"x (UIDVALIDITY 1)\r\n* OK [UIDVALIDITY 99999999999] x\r\n")]), []);
}
