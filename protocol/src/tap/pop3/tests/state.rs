//! What the tap reports of a session: replies that are owed, goodbyes, and the memory that it has taken.

use super::*;

fn after(session: playing::Session<'_>) -> Pop3 {
    playing::after(session)
}

#[test]
fn reply_is_owed_until_its_last_line_is_whole() {
    playing::assert_owed::<Pop3>(&[
        (&[][..], false),
        (&[('C', "NO")], false),
        (&[('C', "NOOP\r\n")], true),
        (&[('C', "NOOP\r\n"), ('S', "+OK\r")], true),
        (&[('C', "NOOP\r\n"), ('S', "+OK\r\n")], false),
        (&[('C', "NOOP\r\nNOOP\r\n"), ('S', "+OK\r\n")], true),
        (&[('C', "RETR 1\r\n"), ('S', "+OK\r\ntext\r\n")], true),
        (&[('C', "RETR 1\r\n"), ('S', "+OK\r\ntext\r\n.\r\n")], false),
        (&[('C', "RETR 1\r\n"), ('S', "-ERR no such message\r\n")], false),
        (&[('C', "LIST\r\n"), ('S', "+OK\r\n")], true),
        (&[('C', "UIDL\r\n"), ('S', "+OK\r\n")], true),
        (&[('C', "LANG\r\n"), ('S', "+OK\r\n")], true),
        (&[('C', "TOP 1 0\r\n"), ('S', "+OK\r\n")], true),
        (&[('C', "CAPA\r\n"), ('S', "+OK\r\n")], true),
        (&[('C', "LIST 1\r\n"), ('S', "+OK 1 100\r\n")], false),
        (&[('C', "UIDL 1\r\n"), ('S', "+OK 1 a\r\n")], false),
        (&[('C', "LANG de\r\n"), ('S', "+OK\r\n")], false),
        // Answered here.
        (&[('C', "PASS hunter2\r\n")], false),
    ]);
}

#[test]
fn goodbye_is_known_of_the_peer_that_said_it() {
    playing::assert_goodbyes::<Pop3>(&[
        (&[('C', "NOOP\r\nRSET\r\n"), ('S', "+OK\r\n-ERR x\r\n")][..], (false, false)),
        (&[('C', "QUIT\r\n")], (true, false)),
        (&[('C', "QUIT\r\n"), ('S', "-ERR x\r\n")], (true, false)),
        (&[('C', "QUIT\r\nNOOP\r\n"), ('S', "+OK bye\r\n+OK\r\n")], (true, true)),
        (&[('C', "QUIT\r\nQUIT\r\n"), ('S', "+OK bye\r\n+OK bye\r\n")], (true, true)),
        (&[('S', "-ERR Connection is closed. 13\r\n")], (false, true)),
    ]);
}

#[test]
fn side_that_ends_leaves_nothing_behind() {
    playing::assert_released_at_end::<Pop3>(&[('C', "RET")], Peer::Client, "RET");
    playing::assert_released_at_end::<Pop3>(&[('C', "CAPA\r\n"), ('S', "+OK\r\nSAS")], Peer::Server, "SAS");
}

/// Of a line in a list of capabilities five bytes say whether it is hidden.
#[test]
fn line_of_a_list_is_held_until_its_word_is_known_and_no_longer() {
    for (line, goes_on) in [("USER", 0), ("USERS", 5), ("TOP", 0), ("TOP\r", 4), ("IMPLE", 5), ("SASL ", 0)] {
        let mut tap = after(&[('C', "CAPA\r\n"), ('S', "+OK\r\n")]);
        assert_eq!(tap.server(line.as_bytes(), &mut |_| {}).pass, goes_on, "{line:?}");
    }
}

/// More than is held back of a line whose command is not known yet.
#[test]
fn long_beginning_goes_on_once_and_never_with_a_password() {
    let long = " ".repeat(500);
    playing::assert_passed_once::<Pop3>(&long);
    let said = format!("{long}NOOP\r\n{long}NOOP\r\n");
    assert_eq!(playing::alike::<Pop3>(&[('C', &said)]).to_server, said);
    for cut in [1, 7, usize::MAX] {
        let mut tap = Pop3::default();
        let login = format!("{long}PASS hunter2\r\n");
        assert_eq!(playing::follow(&mut tap, &[('C', &login)], cut).to_server, format!("{long}PASS"), "{cut}");
        assert_eq!(tap.over(), Some(Over::LoginNotFollowed));
    }
}

/// Every buffer with a capacity of its own, so that none is left out or counted twice.
#[test]
fn memory_of_every_buffer_is_counted() {
    let mut tap = after(&[('C', "RET"), ('S', "+O")]);
    let (client, server) = (tap.client.held(), tap.server.held());
    assert!(client > 0 && server > 0);
    assert_eq!(tap.held(), client + server);
    tap.waiting = VecDeque::with_capacity(50);
    tap.to_client = Vec::with_capacity(1000);
    tap.to_server = Vec::with_capacity(2000);
    assert_eq!(tap.held(), client + server + 50 * size_of::<Kind>() + 1000 + 2000);
}
