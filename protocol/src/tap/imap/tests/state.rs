//! What the tap reports of a session: replies that are owed, goodbyes, and the memory that it has taken.

use super::super::client::tag;
use super::super::tracker::Command;
use super::*;
use crate::tap::command_name::HOLD_LIMIT;

fn after(session: playing::Session<'_>) -> Imap {
    playing::after(session)
}

#[test]
fn reply_is_owed_until_its_line_is_whole() {
    let idle = [('C', "a IDLE\r\n"), ('S', "+ idling\r\n"), ('C', "DONE\r\n"), ('S', "a OK x\r\n")];
    playing::assert_owed::<Imap>(&[
        (&[][..], false),
        (&[('C', "a NO")], false),
        (&[('C', "a NOOP\r\n")], true),
        (&[('C', "a NOOP\r\n"), ('S', "* 3 EXISTS\r\na OK x\r")], true),
        (&[('C', "a NOOP\r\n"), ('S', "* 3 EXISTS\r\na OK x\r\n")], false),
        (&[('C', "a NOOP\r\nb NOOP\r\n"), ('S', "a OK x\r\n")], true),
        // Neither is the answer.
        (&[('C', "a NOOP\r\n"), ('S', "[ALERT] x\r\n+ x\r\n")], true),
        // It could not read the tag.
        (&[('C', "a NOOP\r\n"), ('S', "* BAD x\r\n")], false),
        // Answered here.
        (&[('C', "a LOGIN x y\r\n")], false),
        // IDLE is only answered after DONE.
        (&idle[..1], false),
        (&idle[..2], false),
        (&idle[..3], true),
        (&idle[..], false),
        (&[('C', "b NOOP\r\na IDLE\r\n"), ('S', "+ idling\r\n")], true),
    ]);
}

#[test]
fn goodbye_is_known_of_the_peer_that_said_it() {
    playing::assert_goodbyes::<Imap>(&[
        (&[('C', "a NOOP\r\n"), ('S', "* OK BYE\r\na OK x\r\n")][..], (false, false)),
        (&[('C', "a LOGOUT\r\n")], (true, false)),
        (&[('C', "a LOGOUT\r\nb NOOP\r\n"), ('S', "* BYE x\r\n* 3 EXISTS\r\n")], (true, true)),
        (&[('C', "a LOGOUT\r\nb LOGOUT\r\n"), ('S', "* BYE x\r\n* BYE x\r\n")], (true, true)),
        (&[('S', "* BYE x\r\n")], (false, true)),
    ]);
}

#[test]
fn side_that_ends_leaves_nothing_behind() {
    playing::assert_released_at_end::<Imap>(&[('C', "* CA")], Peer::Client, "* CA");
    playing::assert_released_at_end::<Imap>(&[('S', "* CA")], Peer::Server, "* CA");
}

/// More than is held back of a line whose command is not known yet.
#[test]
fn long_beginning_goes_on_once() {
    for long in [" ".repeat(500), "t".repeat(500), format!("t{}", " ".repeat(500))] {
        playing::assert_passed_once::<Imap>(&long);
    }
}

#[test]
fn session_that_is_over_sends_no_more_of_the_server() {
    let mut tap = after(&[('S', "* CA")]);
    tap.client(b"a SELECT {99999999999999999999+}\r\n");
    assert_eq!(tap.over(), Some(Over::LoginNotFollowed));
    tap.end(Peer::Server);
    assert_eq!(tap.output(Peer::Client), b"");
}

#[test]
fn messages_counted_before_the_peer_was_lost_stay_counted() {
    let tap = after(&[
        ('C', "a APPEND x {1+}\r\ny\r\n"),
        ('S', "a OK x\r\n* 1 FETCH (BODY[] {1}\r\nx)\r\n* \0\r\n* 2 FETCH (BODY[] {1}\r\nx)\r\n"),
    ]);
    assert_eq!(tap.counts(), Counts { fetched: 1, stored: 1 });
}

#[test]
fn beginning_of_the_server_is_held_up_to_the_limit() {
    let mut tap = Imap::default();
    assert_eq!(tap.server(&[b' '; HOLD_LIMIT - 1], &mut |_| {}), Cut { pass: 0, taken: HOLD_LIMIT - 1 });
    assert_eq!(tap.output(Peer::Client), b"");
    tap.server(b" ", &mut |_| {});
    assert_eq!(tap.output(Peer::Client), [b' '; HOLD_LIMIT - 1]);
    assert_eq!(tap.server(b" ", &mut |_| {}), Cut { pass: 1, taken: 1 });
}

/// Every buffer with a capacity of its own, so that none is left out or counted twice.
#[test]
fn memory_of_every_buffer_is_counted() {
    let command = |line: &str| Command::read(line.as_bytes(), false).unwrap();
    for (line, held) in [
        ("tag NOOP", 3),
        ("tag APPEND x", 3),
        ("tag SELECT folder", 3 + 6),
        ("t CREATE abc", 1 + 3 + size_of::<Vec<u8>>()),
        ("t RENAME abc de", 1 + 3 + 2 + 2 * size_of::<Vec<u8>>()),
    ] {
        assert_eq!(command(line).held(), held, "{line}");
    }
    // The name comes in the literal, or is longer than any folder has.
    assert_eq!(Command::read(b"t SELECT x", true).unwrap().held(), 1);
    assert_eq!(command(&format!("t SELECT {}", "x".repeat(401))).held(), 1);
    assert_eq!(command(&format!("t SELECT {}", "x".repeat(400))).held(), 401);

    let mut tracker = Tracker::default();
    tracker.sent(command("tag SELECT folder"));
    tracker.sent(command("t RENAME abc de"));
    // What a queue has room for first.
    let waiting = 4 * size_of::<Command>();
    assert_eq!(tracker.held(), waiting + 9 + 6 + 2 * size_of::<Vec<u8>>());

    let mut list = CapabilityList::new(false);
    list.pass(b" IMAP4rev1", &mut Vec::new());
    let in_list = list.held();
    assert!((10..=16).contains(&in_list), "{in_list}");

    let mut tap = after(&[('C', "longtag LOGIN x"), ('S', "* 3 EX")]);
    assert_eq!(tap.course.held(), 7, "the tag that the answer repeats");
    let (client, server) = (tap.client.held(), tap.server.held());
    assert!(client > 0 && server > 0);
    assert_eq!(tap.held(), client + server + 7);
    tap.server_course = ServerLineHandling::Lists(list);
    tap.unfinished = Some(Unfinished { command: command("tag SELECT folder"), waits: false });
    tap.tracker = tracker;
    tap.order.answers = VecDeque::with_capacity(3);
    tap.order.push("x".repeat(100));
    tap.to_client = Vec::with_capacity(1000);
    tap.to_server = Vec::with_capacity(2000);
    let rest = in_list + 9 + tap.tracker.held() + 3 * size_of::<Answer>() + 100 + 1000 + 2000;
    assert_eq!(tap.held(), client + server + 7 + rest);
}

/// RFC 3501, 9: what is no tag is not repeated.
#[test]
fn answer_has_the_tag_or_a_star() {
    for word in ["a", "A1.b-c", "[x]~"] {
        assert_eq!(tag(word.as_bytes()), word);
    }
    for word in ["", "a(", "a)", "a{", "a%", "a*", "a\"", "a\\", "a+", "a\u{7f}", "a\u{fc}", "a\u{1}"] {
        assert_eq!(tag(word.as_bytes()), "*", "{word:?}");
    }
    assert_eq!(tag(b"a\xff"), "*");
    assert_eq!(through(&[('C', "a% LOGIN x y\r\n")]).1, "* BAD Already logged in\r\n");
}
