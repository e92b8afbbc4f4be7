//! Takes out of a text what may not be passed on: names we know, and whatever looks like an address, an id or a secret.
//! It masks too much rather than too little.

use std::net::IpAddr;

/// A run of letters and digits from here on is an id or a token if it has a digit in it. The longest word with a digit that
/// a mail server says of itself is shorter.
const ID: usize = 16;

/// Without a digit, and spelt like a word, it is one from here on: `SmtpClientAuthenticationDisabled` is shorter.
const LONG: usize = 40;

/// A part of a host's name with letters and digits, such as `AM0PR02CA0134`, is a server's own from here on.
const SERVER: usize = 8;

/// A known word that is shorter than this is taken out only where it stands alone.
const SHORT: usize = 6;

/// What is to be taken out.
#[derive(Debug, Default)]
pub(super) struct Mask {
    known: Vec<(String, &'static str)>,
}

impl Mask {
    /// Takes this word out wherever it stands, in any case.
    pub(super) fn hide(&mut self, word: &str, name: &'static str) {
        let word = word.trim().to_ascii_lowercase();
        if !word.is_empty() {
            self.known.push((word, name));
            // The address before the domain that is a part of it.
            self.known.sort_by_key(|(word, _)| std::cmp::Reverse(word.len()));
        }
    }

    pub(super) fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (word, name) in &self.known {
            text = replace(&text, word, name);
        }
        let mut masked = String::new();
        for part in text.split_inclusive(is_end) {
            let word = part.trim_end_matches(is_end);
            // A line of an SMTP reply that is not the last (RFC 5321, 4.2.1).
            let code =
                word.get(..4).filter(|code| code.ends_with('-') && code.bytes().take(3).all(|b| b.is_ascii_digit()));
            masked.push_str(code.unwrap_or_default());
            masked.push_str(&mask(word.strip_prefix(code.unwrap_or_default()).unwrap_or(word)));
            masked.push_str(part.strip_prefix(word).unwrap_or_default());
        }
        masked
    }
}

fn is_end(c: char) -> bool {
    c.is_whitespace() || matches!(c, '<' | '>' | '[' | ']' | '(' | ')' | '{' | '}' | '"' | '\'' | '`' | ',' | ';')
}

/// In any case of ASCII letters, whose lower case has the same length.
fn replace(text: &str, word: &str, name: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let (mut replaced, mut from) = (String::new(), 0);
    let letter = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    for (at, found) in lower.match_indices(word) {
        // A machine may have a name of two letters, which also stand inside of words.
        let within = letter(at.checked_sub(1).and_then(|before| lower.as_bytes().get(before)))
            || letter(lower.as_bytes().get(at + found.len()));
        if word.len() < SHORT && within {
            continue;
        }
        replaced.push_str(text.get(from..at).unwrap_or_default());
        replaced.push_str(name);
        from = at + found.len();
    }
    replaced.push_str(text.get(from..).unwrap_or_default());
    replaced
}

fn mask(word: &str) -> String {
    let bare = word.trim_end_matches(['.', ':']);
    if word.contains('@') {
        return "ADDRESS".into();
    }
    if bare.parse::<IpAddr>().is_ok() {
        return "IP".into();
    }
    let runs = || word.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '_' | '-')));
    let digit = |run: &str| run.bytes().any(|byte| byte.is_ascii_digit());
    if runs().any(|run| run.len() >= LONG || run.len() >= ID && (digit(run) || is_jumbled(run))) {
        return format!("[{} characters]", word.len());
    }
    let own = |label: &str| {
        let letters = label.bytes().any(|byte| byte.is_ascii_alphabetic());
        let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        label.len() >= SERVER && letters && plain && digit(label)
    };
    // `office365.com` and `outlook.office365.com` are everybody's.
    let everybodys = |label: &str| label.eq_ignore_ascii_case("office365");
    if bare.contains('.') && bare.split('.').any(|label| own(label) && !everybodys(label)) {
        return "HOST".into();
    }
    word.to_owned()
}

/// Small and capital letters as no word has them, `SendAsDenied` neither: base64 without a digit.
fn is_jumbled(run: &str) -> bool {
    let capitals = run.as_bytes().windows(2).any(|pair| pair.iter().all(u8::is_ascii_uppercase));
    capitals && run.bytes().any(|byte| byte.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifying_text_is_masked_and_the_protocol_stays() {
        let mut mask = Mask::default();
        mask.hide("contoso.com", "DOMAIN");
        mask.hide("alice@contoso.com", "MAILBOX");
        mask.hide("vm", "THIS-HOST");
        for (text, expected) in [
            ("MAIL FROM:<Alice@Contoso.com>", "MAIL FROM:<MAILBOX>"),
            ("the domain contoso.COM.", "the domain DOMAIN."),
            ("EHLO vm and an ovmx of vm", "EHLO THIS-HOST and an ovmx of THIS-HOST"),
            ("bob@fabrikam.com spoke", "ADDRESS spoke"),
            (
                "* OK The Microsoft Exchange IMAP4 service is ready. [QQBNADAAUABSADAAMgA=]",
                "* OK The Microsoft Exchange IMAP4 service is ready. [[20 characters]]",
            ),
            ("250-AM0PR02CA0134.outlook.office365.com Hello [203.0.113.7]", "250-HOST Hello [IP]"),
            (
                "[AM0PR02CA0134.eurprd02.prod.outlook.com 2024-07-11T11:46:49.042Z 08DCA18218166FB4]",
                "[HOST 2024-07-11T11:46:49.042Z [16 characters]]",
            ),
            (
                "0c6b2f4e-0000-4000-8000-000000000001 (tcpproxy/15.21.0406.000 BACKENDAUTHENTICATE-IR)",
                "[36 characters] (tcpproxy/15.21.0406.000 BACKENDAUTHENTICATE-IR)",
            ),
            ("eyJ0eXAiOiJKV1QiLCJh.eyJhdWQiOiJodHRw.c2lnbmF0dXJl1234567", "[57 characters]"),
            ("fe80::1 and 10.0.0.1.", "IP and IP"),
            (
                "outlook.office365.com smtp.office365.com 250-SIZE 157286400",
                "outlook.office365.com smtp.office365.com 250-SIZE 157286400",
            ),
            (
                "SmtpClientAuthenticationDisabled CLIENTNETWORKPRESENCELOCATION AUTH=XOAUTH2",
                "SmtpClientAuthenticationDisabled CLIENTNETWORKPRESENCELOCATION AUTH=XOAUTH2",
            ),
        ] {
            assert_eq!(mask.text(text), expected);
        }
    }
}
