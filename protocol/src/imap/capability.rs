//! The capabilities that a client sees.

use crate::Offer;

/// Most capabilities passed on, and the longest of them: more than any server has, and little enough for a client that
/// reads lines of bounded length.
const COUNT_LIMIT: usize = 64;
const LENGTH_LIMIT: usize = 64;

/// Capabilities that are for the login, which is over, or that must not be used by a client of ours: a login that was
/// switched off at the server works here; IMAP4rev2 and ENABLE change the protocol under a client that may never have
/// been tested with them (and Exchange lists them for some tenants only); UNAUTHENTICATE (RFC 8437) would make the next
/// LOGIN, with the local password, go upstream; the others are Exchange talking to its own front ends.
const HIDDEN: [&str; 8] = [
    "LOGINDISABLED",
    "STARTTLS",
    "SASL-IR",
    "IMAP4REV2",
    "ENABLE",
    "UNAUTHENTICATE",
    "CLIENTACCESSRULES",
    "CLIENTNETWORKPRESENCELOCATION",
];

/// The same, by how they begin. Compression (RFC 4978) would hide from us what the client sends.
const HIDDEN_PREFIXES: [&str; 3] = ["AUTH=", "BACKENDAUTHENTICATE", "COMPRESS="];

/// What a client hears after its login, from what the server listed after ours: the same order and spelling, without
/// what a client may not use, and always with `IMAP4rev1`.
pub fn for_client(upstream: &[String]) -> Vec<String> {
    let mut shown: Vec<String> = upstream
        .iter()
        .filter(|name| is_plain(name) && !is_hidden(name.as_bytes()))
        .take(COUNT_LIMIT)
        .cloned()
        .collect();
    if !shown.iter().any(|name| name.eq_ignore_ascii_case("IMAP4rev1")) {
        shown.insert(0, "IMAP4rev1".into());
    }
    shown
}

/// What a client hears before its login: a fixed list, of which everything holds after the login as well.
pub(super) fn before_login(offer: Offer) -> &'static str {
    match (offer.login_allowed(), offer.start_tls) {
        (true, false) => "IMAP4rev1 SASL-IR LITERAL+ ID AUTH=PLAIN AUTH=LOGIN",
        (true, true) => "IMAP4rev1 SASL-IR LITERAL+ ID STARTTLS AUTH=PLAIN AUTH=LOGIN",
        (false, true) => "IMAP4rev1 LITERAL+ ID STARTTLS LOGINDISABLED",
        (false, false) => "IMAP4rev1 LITERAL+ ID LOGINDISABLED",
    }
}

/// An atom (RFC 3501, 9), and one that cannot end a response code.
fn is_plain(name: &str) -> bool {
    (1..=LENGTH_LIMIT).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_graphic() && !b"(){%*\"\\]".contains(&byte))
}

/// Whether a client may not use this capability, and does not see it.
pub(crate) fn is_hidden(name: &[u8]) -> bool {
    let begins_with =
        |prefix: &str| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()));
    HIDDEN.iter().any(|hidden| name.eq_ignore_ascii_case(hidden.as_bytes()))
        || HIDDEN_PREFIXES.iter().any(|prefix| begins_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(upstream: &str) -> String {
        for_client(&upstream.split_whitespace().map(String::from).collect::<Vec<_>>()).join(" ")
    }

    #[test]
    fn hides_what_a_client_may_not_use() {
        assert_eq!(
            shown(
                "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 LOGINDISABLED STARTTLS SASL-IR UIDPLUS MOVE ID UNSELECT ENABLE \
                 IMAP4rev2 CLIENTACCESSRULES CLIENTNETWORKPRESENCELOCATION BACKENDAUTHENTICATE BACKENDAUTHENTICATE-IR \
                 CHILDREN IDLE NAMESPACE LITERAL+"
            ),
            "IMAP4 IMAP4rev1 UIDPLUS MOVE ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+"
        );
        assert_eq!(shown("imap4rev1 auth=xoauth2 imap4REV2 unauthenticate compress=deflate Idle"), "imap4rev1 Idle");
    }

    #[test]
    fn always_has_the_revision() {
        assert_eq!(shown(""), "IMAP4rev1");
        assert_eq!(shown("IDLE"), "IMAP4rev1 IDLE");
    }

    #[test]
    fn a_server_cannot_forge_or_flood_the_line() {
        assert_eq!(shown("IMAP4rev1 X] (a \"b caf\u{e9} 1{2 %"), "IMAP4rev1");
        assert_eq!(for_client(&["IDLE\r\na OK".into(), "A B".into(), String::new()]), ["IMAP4rev1"]);
        assert_eq!(for_client(&vec!["X".to_owned(); 5000]).len(), COUNT_LIMIT + 1);
        assert_eq!(for_client(&["X".repeat(LENGTH_LIMIT + 1)]), ["IMAP4rev1"]);
    }
}
