//! The texts by which Exchange Online presents itself, in both generations of its front end.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::office365::behaviour::{Behaviour, FrontEnd};
use crate::office365::clock::Civil;
use crate::office365::tokens::{guid, random_text};

/// The server that answers.
pub(super) const HOST: &str = "AM0PR02CA0134.eurprd02.prod.outlook.com";
/// The name that SMTP gives itself.
const SMTP_HOST: &str = "AM0PR02CA0134.outlook.office365.com";
/// The server that keeps the mailboxes.
pub(super) const MAILBOX_HOST: &str = "SYBP282MB2635.AUSP282.PROD.OUTLOOK.COM";

/// The base64 of the host's name in UTF-16LE, as the greetings have it in brackets.
fn bracket() -> String {
    let units: Vec<u8> = HOST.encode_utf16().flat_map(u16::to_le_bytes).collect();
    STANDARD.encode(units)
}

pub(super) fn imap(behaviour: &Behaviour) -> String {
    let bracket = if behaviour.imap.empty_bracket { String::new() } else { bracket() };
    match behaviour.front_end {
        FrontEnd::Classic => format!("* OK The Microsoft Exchange IMAP4 service is ready. [{bracket}]"),
        FrontEnd::TcpProxy => format!(
            "* OK Microsoft Exchange IMAP4 service ready. {} (tcpproxy/15.21.0406.000 BACKENDAUTHENTICATE) [{bracket}]",
            guid().unwrap_or_default()
        ),
    }
}

/// What follows `* CAPABILITY ` before and after the login.
pub(super) fn imap_capabilities(behaviour: &Behaviour, encrypted: bool, logged_in: bool) -> String {
    let (before, after) = match behaviour.front_end {
        FrontEnd::Classic => (
            "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+",
            "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT CLIENTACCESSRULES \
             CLIENTNETWORKPRESENCELOCATION BACKENDAUTHENTICATE CHILDREN IDLE NAMESPACE LITERAL+",
        ),
        FrontEnd::TcpProxy => (
            "IMAP4 IMAP4rev1 AUTH=XOAUTH2 LOGINDISABLED SASL-IR UIDPLUS MOVE ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+",
            "IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT ENABLE IMAP4rev2 CLIENTACCESSRULES \
             CLIENTNETWORKPRESENCELOCATION BACKENDAUTHENTICATE BACKENDAUTHENTICATE-IR CHILDREN IDLE NAMESPACE LITERAL+",
        ),
    };
    let mut list = if logged_in { after.to_owned() } else { before.to_owned() };
    if !behaviour.imap.offer_xoauth2 {
        list = list.replace(" AUTH=XOAUTH2", "");
    }
    if !behaviour.imap.offer_initial_response {
        list = list.replace(" SASL-IR", "");
    }
    if !encrypted {
        list =
            list.replace(" AUTH=PLAIN", "").replace(" AUTH=XOAUTH2", "").replace(" SASL-IR", " STARTTLS LOGINDISABLED");
    }
    list
}

pub(super) fn pop3(behaviour: &Behaviour) -> String {
    match behaviour.front_end {
        FrontEnd::Classic => format!("+OK The Microsoft Exchange POP3 service is ready. [{}]", bracket()),
        FrontEnd::TcpProxy => {
            format!("+OK Microsoft Exchange POP3 server ready (tcpproxy/15.20.9137.005). [{}]", bracket())
        }
    }
}

pub(super) fn smtp(behaviour: &Behaviour, now: SystemTime) -> String {
    let id = if behaviour.smtp.greeting_id { format!(" [{}]", hex_id()) } else { String::new() };
    format!("220 {SMTP_HOST} Microsoft ESMTP MAIL Service ready at {}{id}", Civil::of(now).mail())
}

/// The lines of the answer to EHLO.
pub(super) fn ehlo(behaviour: &Behaviour, encrypted: bool) -> Vec<String> {
    let middle = match (encrypted, behaviour.smtp.offer_starttls, behaviour.smtp.offer_xoauth2) {
        (true, _, true) => "AUTH LOGIN XOAUTH2",
        (true, _, false) => "AUTH LOGIN",
        (false, true, _) => "STARTTLS",
        (false, false, _) => "",
    };
    let hello = format!("{SMTP_HOST} Hello [127.0.0.1]");
    let before = [hello.as_str(), "SIZE 157286400", "PIPELINING", "DSN", "ENHANCEDSTATUSCODES", middle];
    let words = before.into_iter().chain(["8BITMIME", "BINARYMIME", "CHUNKING"]).filter(|word| !word.is_empty());
    let mut lines: Vec<String> = words.map(|word| format!("250-{word}")).collect();
    lines.push("250 SMTPUTF8".to_owned());
    lines
}

/// `[host time id]`, at the end of SMTP's refusals.
pub(super) fn trailer(now: SystemTime) -> String {
    format!("[{HOST} {} {}]", Civil::of(now).iso(), hex_id())
}

/// Sixteen hexadecimal digits in capitals.
fn hex_id() -> String {
    let text = random_text(8).unwrap_or_default();
    let number = text.bytes().fold(0x08DC_E8B6_2813_AB2B_u64, |sum, byte| sum.rotate_left(7) ^ u64::from(byte));
    format!("{:016X}", number & 0x0FFF_FFFF_FFFF_FFFF)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn the_bracket_is_base64_of_utf_16() {
        assert!(bracket().starts_with("QQBNADAAUABSADAAMg"));
    }

    #[test]
    fn starttls_stands_where_auth_will_stand() {
        let behaviour = Behaviour::default();
        let clear = ehlo(&behaviour, false);
        assert_eq!(clear.first().unwrap(), "250-AM0PR02CA0134.outlook.office365.com Hello [127.0.0.1]");
        assert_eq!(clear.get(5).unwrap(), "250-STARTTLS");
        assert_eq!(ehlo(&behaviour, true).get(5).unwrap(), "250-AUTH LOGIN XOAUTH2");
        assert_eq!(clear.len(), 10);
        let mut none = behaviour.clone();
        none.smtp.offer_starttls = false;
        assert_eq!(ehlo(&none, false).len(), 9);
    }

    #[test]
    fn the_smtp_greeting_carries_time_and_id() {
        let now = UNIX_EPOCH + Duration::from_millis(1_720_698_402_000);
        let mut behaviour = Behaviour::default();
        let greeting = smtp(&behaviour, now);
        assert!(greeting.starts_with(
            "220 AM0PR02CA0134.outlook.office365.com Microsoft ESMTP MAIL Service ready at Thu, 11 Jul 2024 11:46:42 +0000 ["
        ));
        behaviour.smtp.greeting_id = false;
        assert!(smtp(&behaviour, now).ends_with("+0000"));
    }
}
