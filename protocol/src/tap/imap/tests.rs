//! Valid and invalid sessions, each in pieces of one byte, of seven bytes, and whole.

use std::time::Duration;

use super::tracker::COMMANDS_LIMIT;
use super::*;
use crate::tap::playing;

mod state;

fn alike(session: playing::Session<'_>) -> playing::Played {
    playing::unchanged::<Imap>(session)
}

fn noticed(session: &[(char, &str)]) -> Vec<Observation> {
    alike(session).noticed
}

fn validity(folder: &str, value: u32) -> Observation {
    Observation::UidValidity { folder: folder.to_owned(), value }
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
        let (begin, rest) = match command.split_once("{5}\r\n") {
            Some((_, rest)) => (command.strip_suffix(rest).unwrap(), rest),
            None => ("", command.as_str()),
        };
        let asked = if begin.is_empty() { "" } else { "+ go\r\n" };
        let answer = "* FLAGS (\\Seen)\r\n* 3 EXISTS\r\n* OK [UIDVALIDITY 14] UIDVALIDITY value\r\na1 OK done\r\n";
        let session = [('C', begin), ('S', asked), ('C', rest), ('S', answer)];
        assert_eq!(noticed(&session), [validity(folder, 14)], "{command}");
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
        ('S', "c OK x\r\n* OK [UIDVALIDITY 4] unsolicited\r\n"),
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
fn content_of_a_literal_means_nothing() {
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
    let playing::Played { noticed, counts, .. } = alike(&session);
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
    assert_eq!(alike(&session).counts, Counts { fetched: 4, stored: 0 });
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

/// LITERAL+ sends immediately; without it the server may refuse, and then the next line is a command.
#[test]
fn a_literal_that_is_refused_is_never_sent() {
    let session = [
        ('C', "a APPEND INBOX {99999999}\r\n"),
        ('S', "a NO [OVERQUOTA] too large\r\n"),
        ('C', "b SELECT INBOX\r\n"),
        ('S', "* OK [UIDVALIDITY 3] x\r\nb OK x\r\n"),
    ];
    let playing::Played { noticed, counts, .. } = alike(&session);
    assert_eq!((noticed, counts), (vec![validity("INBOX", 3)], Counts::default()));
    let several = [
        ('C', "a APPEND INBOX {3+}\r\nabc {4+}\r\n"),
        ('C', "defg\r\nb SELECT x\r\n"),
        ('S', "a OK x\r\n* OK [UIDVALIDITY 3] x\r\n"),
    ];
    let playing::Played { noticed, counts, .. } = alike(&several);
    assert_eq!((noticed, counts), (vec![validity("x", 3)], Counts { fetched: 0, stored: 1 }));
}

/// A client that need not ask sends all of it, whatever the server says meanwhile; so does one that was asked.
#[test]
fn a_literal_that_is_on_its_way_comes_to_its_end() {
    let inner = "x SELECT inner\r\n";
    let session = [
        ('C', "a APPEND INBOX {16+}\r\n"),
        ('S', "a NO [OVERQUOTA] too large\r\n"),
        ('C', inner),
        ('C', "\r\nb SELECT outer\r\n"),
        ('S', "* OK [UIDVALIDITY 3] x\r\nb OK x\r\n"),
    ];
    assert_eq!(noticed(&session), [validity("outer", 3)]);
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
fn regular_end_is_distinguished_from_a_lost_connection() {
    let bye = |text: &str, asked_for| Observation::Bye { text: text.to_owned(), asked_for };
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
    let throttled = Observation::Throttled { back_off: Duration::from_millis(1500) };
    for line in ["a NO", "a BAD", "* NO", "* BAD"] {
        assert_eq!(noticed(&[('S', &format!("{line} {words}\r\n"))]), std::slice::from_ref(&throttled), "{line}");
    }
    assert_eq!(noticed(&[('S', &format!("* BYE {words}\r\n"))]).len(), 2);
    assert_eq!(noticed(&[('S', &format!("a OK {words}\r\n* 1 FETCH ({words})\r\n"))]), []);
}

#[test]
fn nothing_is_noticed_where_a_peer_cannot_be_followed() {
    let many = "a SELECT x\r\n".repeat(COMMANDS_LIMIT + 1);
    for side in [('C', many.as_str()), ('S', "* 1 FETCH (\0 {3}\r\nabc)\r\n")] {
        let session = [
            ('C', "b SELECT y\r\n"),
            side,
            ('S', "* OK [UIDVALIDITY 1] x\r\na BAD Request is throttled.\r\n"),
            ('S', "* 1 FETCH (BODY[] {1}\r\nx)\r\n"),
        ];
        let playing::Played { noticed, counts, .. } = alike(&session);
        assert_eq!((noticed, counts), (vec![], Counts::default()), "{side:?}");
    }
    let within = "a SELECT x\r\n".repeat(COMMANDS_LIMIT);
    assert_eq!(noticed(&[('C', &within), ('S', "* OK [UIDVALIDITY 1] x\r\n")]), [validity("x", 1)]);
    let tag = "t".repeat(1000);
    let session = [('C', format!("{tag} SELECT x\r\n")), ('S', format!("* OK [UIDVALIDITY 1] x\r\n{tag} OK x\r\n"))];
    let session: Vec<(char, &str)> = session.iter().map(|(side, text)| (*side, text.as_str())).collect();
    assert_eq!(noticed(&session), [validity("x", 1)], "a long tag is only compared in part");
}

#[test]
fn a_client_that_names_too_much_costs_a_bound() {
    let mut tap = Imap::default();
    for number in 0..10_000 {
        let select = format!("a{number} SELECT \"{}\"\r\n", "x".repeat(400));
        assert_eq!(tap.client(select.as_bytes()), Cut { pass: select.len(), taken: select.len() });
        assert!(tap.held() <= 128 * 1024);
    }
    let name = "x".repeat(401);
    let select = format!("a SELECT {{{}+}}\r\n{name}\r\n", name.len());
    assert_eq!(noticed(&[('C', &select), ('S', "* OK [UIDVALIDITY 1] x\r\n")]), []);
    assert_eq!(noticed(&[('S', "* STATUS \"x (UIDVALIDITY 1)\r\n* OK [UIDVALIDITY 99999999999] x\r\n")]), []);
}

/// The session as it goes on.
fn through(session: &[(char, &str)]) -> (String, String) {
    let playing::Played { to_server, to_client, .. } = playing::alike::<Imap>(session);
    (to_server, to_client)
}

#[test]
fn login_after_a_long_tag_ends_session_without_the_password() {
    let long = format!("{} LOGIN alice hunter2\r\nb NOOP\r\n", "t".repeat(500));
    let (to_server, to_client) = through(&[('C', &long), ('S', "* 3 EXISTS\r\n")]);
    assert_eq!(to_server, format!("{} LOGIN", "t".repeat(500)));
    assert_eq!(to_client, "* BYE The tag of this command is too long\r\n");
    let harmless = format!("{} NOOP\r\n{}\r\n{} LOGINS x\r\n", "t".repeat(500), "u".repeat(500), " ".repeat(500));
    assert_eq!(through(&[('C', &harmless)]), (harmless, String::new()));
}

#[test]
fn answers_that_are_not_taken_or_have_no_place_stop_the_client() {
    let login = b"b LOGIN alice hunter2\r\n";
    let mut tap = Imap::default();
    assert_eq!(tap.client(b"a NOOP\r\n"), Cut { pass: 8, taken: 8 });
    let count = (0..10_000).take_while(|_| tap.client(login).taken > 0).count();
    assert_eq!((count, tap.output(Peer::Client)), (ANSWERS_LIMIT, vec![]), "they wait for the reply to NOOP");
    assert_eq!(tap.server(b"a OK\r\nx", &mut |_| {}), Cut { pass: 6, taken: 6 });
    assert_eq!(tap.output(Peer::Client), b"b BAD Already logged in\r\n".repeat(ANSWERS_LIMIT));
    let count = (0..10_000).take_while(|_| tap.client(login).taken > 0).count();
    assert!((ANSWER_BYTES_LIMIT / 30..ANSWER_BYTES_LIMIT).contains(&count), "{count}");
    assert!(tap.held() < 4 * ANSWER_BYTES_LIMIT);
    // Empty literals without end ask for as many go-aheads.
    let mut tap = Imap::default();
    assert_eq!(tap.client(b"a NOOP\r\nb LOGIN {0}\r\n").taken, 21);
    let count = (0..10_000).take_while(|_| tap.client(b"{0}\r\n").taken > 0).count();
    assert!(count < ANSWERS_LIMIT, "{count}");
}

#[test]
fn unfinished_beginning_goes_on_when_its_side_ends() {
    for (line, whole) in [("a NO", true), ("a LOG", true), ("a FETCH 1", true), ("a LOGIN alice", false)] {
        let mut tap = Imap::default();
        let Cut { pass, taken } = tap.client(line.as_bytes());
        tap.end(Peer::Client);
        let sent = [&line.as_bytes()[..pass], &tap.output(Peer::Server)].concat();
        assert_eq!((taken, sent.as_slice()), (line.len(), if whole { line.as_bytes() } else { b"" }), "{line}");
        assert!(!tap.client.head().windows(2).any(|bytes| bytes == b"al"), "nothing is kept of a login");
    }
    for (line, rest) in [("* CAPA", "* CAPA"), ("* CAPABILITY IDLE AUTH=P", "* CAPABILITY IDLE"), ("* 1 FE", "* 1 FE")]
    {
        let mut tap = Imap::default();
        let mut out = Vec::new();
        let mut bytes = line.as_bytes();
        while !bytes.is_empty() {
            let Cut { pass, taken } = tap.server(bytes, &mut |_| {});
            out.extend_from_slice(&bytes[..pass]);
            out.extend(tap.output(Peer::Client));
            bytes = &bytes[taken..];
        }
        tap.end(Peer::Server);
        out.extend(tap.output(Peer::Client));
        assert_eq!(String::from_utf8(out).unwrap(), rest);
    }
}

const LOGINS: &str = "b LOGIN alice hunter2\r\nc AUTHENTICATE PLAIN\r\nAGFsaWNlAGh1bnRlcjI=\r\nd UNAUTHENTICATE\r\ne LOGIN {5}\r\nalice \
                      {7+}\r\nhunter2\r\nf AUTHENTICATE PLAIN AGFsaWNlAGh1bnRlcjI=\r\ng COMPRESS DEFLATE\r\nh STARTTLS\r\n";

/// Gives the tap all that it takes of these bytes. Returns what goes to the server, and what waits.
fn give<'a>(tap: &mut Imap, mut bytes: &'a [u8]) -> (String, &'a [u8]) {
    let mut sent = Vec::new();
    loop {
        let Cut { pass, taken } = tap.client(bytes);
        sent.extend_from_slice(&bytes[..pass]);
        bytes = &bytes[taken..];
        let output = tap.output(Peer::Server);
        if taken == 0 && output.is_empty() {
            return (String::from_utf8(sent).unwrap(), bytes);
        }
        sent.extend(output);
    }
}

#[test]
fn logins_behind_any_number_of_unanswered_commands_stay_here() {
    for harmless in ["a NOOP\r\n", "a SELECT x\r\n", "a APPEND x {3+}\r\nabc\r\n", "a IDLE\r\nDONE\r\n"] {
        let harmless = harmless.repeat(20_000);
        let said = [&harmless, LOGINS.repeat(500).as_str()].concat();
        let mut tap = Imap::default();
        let (mut sent, mut waiting) = give(&mut tap, said.as_bytes());
        assert!(!waiting.is_empty() && tap.held() <= 128 * 1024);
        // The server answers at last, and the client goes on.
        let commands = harmless.matches("a ").count();
        for _ in 0..commands {
            assert_eq!(tap.server(b"a OK x\r\n", &mut |_| {}).taken, 8);
            tap.output(Peer::Client);
        }
        while !waiting.is_empty() {
            let (more, rest) = give(&mut tap, waiting);
            sent.push_str(&more);
            assert!(rest.len() < waiting.len() && tap.held() <= 128 * 1024);
            waiting = rest;
            tap.output(Peer::Client);
        }
        tap.end(Peer::Client);
        assert!(sent == harmless && tap.output(Peer::Server).is_empty());
    }
}

/// Whether the next bytes are the literal or a command is for the server to say.
#[test]
fn client_waits_until_the_server_has_asked_for_the_literal() {
    let append = "a APPEND INBOX {5}\r\n";
    for (before, answer, said, goes_on) in [
        ("", "+ go\r\n", "abcde\r\nb LOGIN alice hunter2\r\n", "abcde\r\n"),
        ("", "a NO too large\r\n", "b LOGIN alice hunter2\r\nc NOOP\r\n", "c NOOP\r\n"),
        ("", "a OK what for\r\n", "b LOGIN alice hunter2\r\nc NOOP\r\n", "c NOOP\r\n"),
        // The first one is for IDLE.
        ("i IDLE\r\nDONE\r\n", "+ idling\r\ni OK x\r\na NO x\r\n", "b LOGIN alice hunter2\r\nc NOOP\r\n", "c NOOP\r\n"),
        ("i IDLE\r\nDONE\r\n", "+ idling\r\ni OK x\r\n+ go\r\n", "abcde\r\nc NOOP\r\n", "abcde\r\nc NOOP\r\n"),
        ("i IDLE\r\nDONE\r\n", "i BAD x\r\n+ go\r\n", "abcde\r\nc NOOP\r\n", "abcde\r\nc NOOP\r\n"),
        (
            "i IDLE\r\nDONE\r\nj IDLE\r\nDONE\r\n",
            "+ idling\r\n+ idling\r\n+ go\r\n",
            "abcde\r\nc NOOP\r\n",
            "abcde\r\nc NOOP\r\n",
        ),
    ] {
        let (mut tap, begin) = (Imap::default(), [before, append].concat());
        let whole = [&begin, said].concat();
        let (mut sent, mut waiting) = give(&mut tap, whole.as_bytes());
        assert_eq!((&sent, waiting), (&begin, said.as_bytes()));
        for line in answer.split_inclusive('\n') {
            assert_eq!(waiting, said.as_bytes(), "{line}");
            tap.server(line.as_bytes(), &mut |_| {});
            tap.output(Peer::Client);
            let (more, rest) = give(&mut tap, waiting);
            sent.push_str(&more);
            waiting = rest;
        }
        assert_eq!((sent, waiting), ([&begin, goes_on].concat(), &b""[..]), "{answer}");
    }
    let mut tap = Imap::default();
    assert_eq!(give(&mut tap, b"a SELECT {0}\r\nb LOGIN alice hunter2\r\n").1, b"b LOGIN alice hunter2\r\n");
}

#[test]
fn answers_to_a_challenge_never_reach_the_server() {
    for answer in [
        "QUFB",
        " QUFB \t\r\n",
        &format!("{}QUFB\r\n", " ".repeat(1000)),
        &format!("{}\r\n", "QUFB".repeat(1000)),
        &"QUFB\r\n".repeat(1000),
    ] {
        let said = format!("a AUTHENTICATE X\r\n{answer}");
        for cut in [1, 7, usize::MAX] {
            let (mut tap, mut sent) = (Imap::default(), String::new());
            for piece in said.as_bytes().chunks(cut) {
                let (more, rest) = give(&mut tap, piece);
                assert!(rest.is_empty());
                sent.push_str(&more);
            }
            tap.end(Peer::Client);
            sent.push_str(&String::from_utf8(tap.output(Peer::Server)).unwrap());
            assert_eq!(sent, "", "{answer}");
        }
    }
}

/// Of a literal that cannot be read it is not known where it ends.
#[test]
fn literal_that_cannot_be_read_ends_the_session() {
    let zeros = "0".repeat(100);
    for literal in [format!("{{{zeros}5+}}"), format!("{{{zeros}5}}"), "{99999999999999999999+}".into()] {
        for command in ["a LOGIN ", "a LOGIN alice ", "a SELECT "] {
            let begin = format!("{command}{literal}\r\n");
            let (to_server, to_client) = through(&[('C', &format!("{begin}alice\r\nb LOGIN alice hunter2\r\n"))]);
            assert_eq!(to_server, if command == "a SELECT " { begin.as_str() } else { "" });
            assert_eq!(to_client, "* BYE The length of this literal cannot be read\r\n");
        }
    }
    let (to_server, _) = through(&[('C', "a LOGIN {5 +}\r\nalice {7+}\r\nhunter2\r\n")]);
    assert_eq!(to_server, "");
    for password in ["hunter2}", "\"{5x}\"", "5}"] {
        let (to_server, _) = through(&[('C', &format!("a LOGIN alice {password}\r\nb NOOP\r\n5}}\r\n}}\r\n"))]);
        assert_eq!(to_server, "b NOOP\r\n5}\r\n}\r\n");
    }
}

/// Byte by byte no line is a usual one, so that what each comes to is compared with what it comes to without the short way.
#[test]
fn usual_lines_come_to_what_every_other_line_comes_to() {
    let items = [
        "BODY[] ",
        "BODY[]<0> ",
        "BODY[]<10> ",
        "BODY[TEXT] ",
        "RFC822 ",
        "BINARY[] ~",
        "UID 7 BODY[] ",
        "UID 7 XBODY[] ",
    ];
    let sizes = ["{3}", "{0}", "{003}", "{}", "{3+}", "{ 3}", "{99999999999999999999}", "{3}}", "3}", "x{3}"];
    let ends = ["\r\n", "\n", " \r\n", "\0\r\n", "\r\0\n", "\r\r\n"];
    let begins = [
        "* 12 FETCH (",
        "* 12 fetch (",
        "* 12  FETCH (",
        "* 12 FETCHED (",
        "* 12x FETCH (",
        "*  12 FETCH (",
        "* FETCH (",
    ];
    let mut counted = 0;
    for begin in begins {
        for item in items {
            for size in sizes {
                for end in ends {
                    for behind in [")\r\n", ")\n", " UID 9)\r\n", " BODY[] {2}\r\nxy)\r\n"] {
                        let response = format!("{begin}{item}{size}{end}abc{behind}* BYE Request is throttled.\r\n");
                        let long = format!("{begin}{}{item}{size}{end}abc{behind}", "x".repeat(1100));
                        for response in [response, long] {
                            let session =
                                [('C', "a UID FETCH 1:* (BODY.PEEK[])\r\n"), ('S', &*response), ('S', "a OK done\r\n")];
                            counted += playing::alike::<Imap>(&session).counts.fetched;
                        }
                    }
                }
            }
        }
    }
    assert!(counted > 0, "no message was counted");
}
