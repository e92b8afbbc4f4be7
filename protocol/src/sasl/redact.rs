//! Servers repeat what they did not understand. What they repeat of the token must not reach a log.

use std::fmt;

use memchr::memmem;

use super::xoauth2::XOAuth2;
use crate::{Secret, line};

/// This many consecutive characters that also occur in a secret are no coincidence. A real token has over a thousand.
const TELLING: usize = 16;

/// How much of a reply is looked at. [`line::printable`] shows far less.
const LOOKED_AT: usize = 4096;

/// Prints a server's reply without the secrets that were sent to the server.
pub struct Redactor {
    secrets: [Secret; 2],
}

impl Redactor {
    /// For a login with these credentials, sent as this base64 message.
    pub fn new(credentials: &XOAuth2, message: &Secret) -> Self {
        Self { secrets: [message.clone(), credentials.token.clone()] }
    }

    /// What the server said, on one bounded line, each word that repeats some of the token replaced by `[redacted]`.
    pub fn printable(&self, text: &[u8]) -> String {
        let text = text.get(..LOOKED_AT).unwrap_or(text);
        let mut clean = Vec::new();
        for run in text.chunk_by(|a, b| in_token(*a) == in_token(*b)) {
            let repeats = run.windows(TELLING).any(|part| self.holds(part));
            clean.extend_from_slice(if repeats { b"[redacted]" } else { run });
        }
        line::printable(&clean)
    }

    fn holds(&self, part: &[u8]) -> bool {
        self.secrets.iter().any(|secret| memmem::find(secret.reveal(), part).is_some())
    }
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor")
    }
}

/// Whether base64 or a bearer token may hold it (RFC 6750, 2.1).
fn in_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/=-._~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_out_the_whole_the_half_and_the_glued() {
        let token = "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJodHRwczovL291dGxvb2sifQ.c2lnbmF0dXJl";
        let credentials = XOAuth2 { user: "a@b.c".into(), token: Secret::from(token) };
        let message = credentials.message().unwrap();
        let message = message.reveal_str().unwrap();
        let redactor = Redactor::new(&credentials, &Secret::from(message));
        for said in [
            format!("500 Unrecognized command '{message}'"),
            format!("500 Unrecognized command '{}'", message.get(5..40).unwrap()),
            format!("500 Unrecognized command '{token}'"),
            format!("500 Unrecognized command 'token={}'", token.get(20..60).unwrap()),
        ] {
            assert_eq!(redactor.printable(said.as_bytes()), "500 Unrecognized command '[redacted]'", "{said}");
        }
        // Past the end of what is printed as well.
        let long = format!("{} {message}", "x".repeat(380));
        assert!(redactor.printable(long.as_bytes()).contains("[redacted]"));
        let plain =
            "535 5.7.3 Authentication unsuccessful [AM0PR02CA0134.eurprd02.prod.outlook.com 2024-07-11T11:46:49.042Z]";
        assert_eq!(redactor.printable(plain.as_bytes()), plain);
    }
}
