//! Whole sessions: a client and a server, both of any kind, and between them the real session of the proxy (`session.rs` and
//! all that it calls), with bytes in memory in the place of sockets. What must hold:
//!
//! - It does not panic, and it ends within a bounded time, whichever peer is silent, or does not read.
//! - The mail server is not even dialled before a password was given (but for a device that needs none), and hears nothing but the login until it has said yes.
//! - The password of the account never reaches the server, and its tokens never reach the client.
//! - What one side says is not read without bound while the other side does not read.
//! - What reaches either side does not depend on how the bytes are cut.

mod marks;
mod play;
mod script;
mod wire;
mod world;

use oxpost::testing::Protocol;

use self::play::{Outcome, play};
use self::script::{Peer, Script, Turn};
use self::wire::{Cut, Wire};

/// Plays these bytes; [`script`] says how they are read.
pub fn check(protocol: Protocol, data: &[u8]) {
    let Some(script) = Script::read(data, protocol == Protocol::Smtp) else { return };
    let whole = play(protocol, &script, Cut::Whole);
    if std::env::var_os("SHOW").is_some() {
        show(&whole);
    }
    nothing_is_given_away(protocol, &script, &whole);
    let in_pieces = play(protocol, &script, Cut::Pieces(script.piece));
    nothing_is_given_away(protocol, &script, &in_pieces);
    // Bytes that wait behind STARTTLS are refused, and whether they wait depends on when they arrive: that is the point. And how
    // much of a message was looked at when the server takes no more of it depends on how much was read in one call.
    let is_stopped = script.turns.iter().any(|turn| matches!(turn, Turn::TurnsAway(_)));
    if may_start_tls(protocol, &script) || is_stopped && protocol == Protocol::Smtp {
        return;
    }
    same(protocol, "to the client", &whole.client, &in_pieces.client);
    assert_eq!(whole.servers.len(), in_pieces.servers.len(), "connections to the server");
    for (one, other) in whole.servers.iter().zip(&in_pieces.servers) {
        same(protocol, "to the server", one, other);
    }
}

/// Shown when an input is replayed.
fn show(outcome: &Outcome) {
    eprintln!("client said:\n{}\nand heard:\n{}", text(&outcome.client.taken()), text(&outcome.client.heard()));
    for server in &outcome.servers {
        eprintln!("server said:\n{}\nand heard:\n{}", text(&server.taken()), text(&server.heard()));
    }
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace("\\n", "\\n\n")
}

fn may_start_tls(protocol: Protocol, script: &Script) -> bool {
    let words = script.says(Peer::Client).to_ascii_uppercase();
    let asks = [&b"STARTTLS"[..], b"STLS"].iter().any(|word| words.windows(word.len()).any(|window| window == *word));
    script.choice.client_may_start_tls() && asks || protocol == Protocol::Smtp && script.choice.server_starts_tls()
}

fn same(protocol: Protocol, direction: &str, whole: &Wire, in_pieces: &Wire) {
    let (one, other) = match protocol {
        Protocol::Smtp => (without_needless_dots(&whole.heard()), without_needless_dots(&in_pieces.heard())),
        Protocol::Imap | Protocol::Pop3 => (whole.heard(), in_pieces.heard()),
    };
    // How far a message has gone whose connection is cut depends on the pieces, and so does how far a relayed session has gone
    // that is ended because a login in it could not be answered in its place.
    let was_ended = protocol != Protocol::Smtp || whole.was_cut() && in_pieces.was_cut();
    let cut = was_ended && (one.starts_with(&other) || other.starts_with(&one));
    assert!(cut || one == other, "{direction}:\n{}\n\n{}", text(&one), text(&other));
}

/// Without the dot before a line that needs none: a server removes it (RFC 5321, 4.5.2). The filter of senders removes it from all that
/// arrives with the end of the header, and what arrives later goes on as it is.
fn without_needless_dots(text: &[u8]) -> Vec<u8> {
    let line = |line: &[u8]| match line {
        [b'.', b'.' | b'\r', ..] | [b'.'] => line.to_vec(),
        [b'.', rest @ ..] => rest.to_vec(),
        _ => line.to_vec(),
    };
    text.split_inclusive(|byte| *byte == b'\n').flat_map(line).collect()
}

fn nothing_is_given_away(protocol: Protocol, script: &Script, outcome: &Outcome) {
    let to_server: Vec<u8> = outcome.servers.iter().flat_map(Wire::heard).collect();
    // After its login a client may say it again in a message, or in a command that is no login; that is passed on. A device has
    // no login.
    let (said, passed_on) = (marks::passwords(&script.says(Peer::Client)), marks::passwords(&to_server));
    let login = usize::from(!script.choice.is_device());
    assert!(
        passed_on == 0 || passed_on + login <= said,
        "the password reaches the server: {}",
        to_server.escape_ascii()
    );
    if !marks::has_token(&script.says(Peer::Server)) && !marks::has_token(&script.says(Peer::Client)) {
        let heard = outcome.client.heard();
        assert!(!marks::has_token(&heard), "a token reaches the client: {}", heard.escape_ascii());
    }
    for server in &outcome.servers {
        only_a_login_comes_first(protocol, server);
        no_login_with_the_password_goes_on(protocol, script, server);
    }
}

/// What is in a literal is no command.
fn no_login_with_the_password_goes_on(protocol: Protocol, script: &Script, server: &Wire) {
    let (has_tag, logins): (bool, &[&[u8]]) = match protocol {
        Protocol::Imap if script.says(Peer::Client).contains(&b'{') => return,
        Protocol::Imap => (true, &[b"LOGIN", b"AUTHENTICATE", b"UNAUTHENTICATE"]),
        Protocol::Pop3 => (false, &[b"USER", b"PASS", b"APOP", b"AUTH"]),
        Protocol::Smtp => return,
    };
    let heard = server.heard();
    for line in heard.split(|byte| *byte == b'\n').filter(|line| marks::has_password(line)) {
        let mut words = line.split(|byte| matches!(byte, b' ' | b'\t' | b'\r' | 0)).filter(|word| !word.is_empty());
        let word = words.nth(usize::from(has_tag)).unwrap_or_default();
        let name = word.split(|byte| !byte.is_ascii_alphanumeric()).next().unwrap_or_default();
        let is_login = logins.iter().any(|login| name.eq_ignore_ascii_case(login));
        assert!(!is_login, "a login goes on to the server: {}", line.escape_ascii());
    }
}

/// Until the server has said yes to it, our own login is all that it hears.
fn only_a_login_comes_first(protocol: Protocol, server: &Wire) {
    let heard = server.heard();
    let of_a_login = |line: &[u8]| {
        let line = line.strip_suffix(b"\r\n").unwrap_or(line);
        let begins = |words: &[&str]| words.iter().any(|word| line.starts_with(word.as_bytes()));
        let words: &[&str] = match protocol {
            Protocol::Imap => &["X1 ", "X2 ", "X3 ", "X4 ", "X5 "],
            Protocol::Pop3 => &["AUTH XOAUTH2"],
            Protocol::Smtp => &["EHLO mail.example", "STARTTLS", "AUTH XOAUTH2"],
        };
        line.is_empty() || line == b"*" || begins(words) || begins(&["dXNlcj1"])
    };
    let mut begin = 0;
    let more = heard.split_inclusive(|byte| *byte == b'\n').find_map(|line| {
        let at = begin;
        begin += line.len();
        (!of_a_login(line)).then_some(at)
    });
    // Its first byte was written when the server had said yes already.
    let Some(more) = more else { return };
    let yes: &[u8] = match protocol {
        Protocol::Imap => b"OK",
        Protocol::Pop3 => b"+OK",
        Protocol::Smtp => b"235",
    };
    let has = |bytes: &[u8], word: &[u8]| bytes.to_ascii_uppercase().windows(word.len()).any(|window| window == word);
    let logged_in = has(&heard[..more], b"XOAUTH2") && has(&server.taken_before(more), yes);
    assert!(logged_in, "the server hears more than a login: {}", heard.escape_ascii());
}
