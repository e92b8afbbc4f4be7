//! Finds secrets in whatever a program has written, whole or in part, and in the forms in which they get there.

use std::collections::{BTreeSet, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// The shortest part of a secret that is looked for: every part of twice this length contains one.
const PART: usize = 12;

/// The shortest secret that can be looked for.
const SHORTEST: usize = 8;

/// Secrets, each with the kind it is of.
#[derive(Default)]
pub(crate) struct Searcher {
    kinds: BTreeSet<String>,
    parts: HashMap<[u8; PART], String>,
    whole: Vec<(Vec<u8>, String)>,
}

impl Searcher {
    pub(crate) fn add(&mut self, kind: &str, secret: &str) {
        assert!(secret.len() >= SHORTEST, "a {kind} of {} bytes cannot be distinguished from other text", secret.len());
        self.kinds.insert(kind.to_owned());
        for form in forms(secret) {
            let (parts, rest) = form.as_chunks::<PART>();
            self.parts.extend(parts.iter().map(|part| (*part, kind.to_owned())));
            // What follows the last part, with what precedes it; a form that has no part is searched for as it is.
            if let Some(end) = form.last_chunk::<PART>() {
                self.parts.insert(*end, kind.to_owned());
            } else {
                self.whole.push((rest.to_vec(), kind.to_owned()));
            }
        }
        // As `{:?}` writes bytes.
        let listed: Vec<String> = secret.bytes().take(SHORTEST).map(|byte| byte.to_string()).collect();
        self.whole.push((listed.join(", ").into_bytes(), kind.to_owned()));
    }

    /// The kinds of what is looked for.
    pub(crate) fn kinds(&self) -> Vec<&str> {
        self.kinds.iter().map(String::as_str).collect()
    }

    /// The first secret in a text: its kind, and the line it is on.
    pub(crate) fn find(&self, text: &[u8]) -> Option<(&str, String)> {
        let parts = text.array_windows::<PART>().enumerate();
        let mut parts = parts.filter_map(|(at, window)| Some((at, self.parts.get(window)?)));
        let whole = || self.whole.iter().find_map(|(form, kind)| Some((memchr::memmem::find(text, form)?, kind)));
        let (at, kind) = parts.next().or_else(whole)?;
        let begin = text[..at].iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let end = text[at..].iter().position(|&byte| byte == b'\n').map_or(text.len(), |length| at + length);
        Some((kind, String::from_utf8_lossy(&text[begin..end]).into_owned()))
    }

    /// # Panics
    /// A secret is in it.
    #[track_caller]
    pub(crate) fn assert_none_in(&self, name: &str, text: &[u8]) {
        if let Some((kind, line)) = self.find(text) {
            panic!("{name} contains a secret ({kind}):\n{line}");
        }
    }
}

/// As it is, in URLs, in hexadecimal, and in base64, also as a part of something longer.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut forms = vec![secret.into(), encoded.into(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
    for before in 0..3 {
        // What neither depends on what is before it nor on what is after it.
        let bytes = [&b"\0\0"[..before], secret.as_bytes()].concat();
        let (skipped, length) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        for text in [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)] {
            forms.push(text.as_bytes()[skipped..length].to_vec());
        }
    }
    forms
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;

    const SECRETS: [(&str, &str); 4] = [
        ("refresh token", "1.AQkA9zQ0m1FvUk-ZtW_x7bYd3LqKp5cN8sJhRgTeVwXyZaBcDeFgHiJkLmNoPqRs"),
        ("access token", "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJhdWQiOiJodHRwczovL291dGxvb2sub2ZmaWNl.c2lnbmF0dXJl"),
        ("password", "Passw0rd!"),
        ("local password", "k7mf-93xw-p2ta-hd6r-vq8z-c4ny"),
    ];

    fn searcher() -> Searcher {
        let mut searcher = Searcher::default();
        for (kind, secret) in SECRETS {
            searcher.add(kind, secret);
        }
        searcher
    }

    #[test]
    fn a_secret_is_found_in_every_form_and_named_with_its_line() {
        let searcher = searcher();
        for (kind, secret) in SECRETS {
            let mut planted = vec![secret.to_owned(), format!("{:?}", secret.as_bytes())];
            for before in ["", "a", "ab", "user=alice@contoso.com\u{1}auth=Bearer "] {
                for after in ["", "x", "\u{1}\u{1}"] {
                    planted.push(STANDARD.encode(format!("{before}{secret}{after}")));
                    planted.push(URL_SAFE.encode(format!("{before}{secret}{after}")));
                }
            }
            planted.push(url::form_urlencoded::byte_serialize(secret.as_bytes()).collect());
            planted.push(secret.bytes().map(|byte| format!("{byte:02x}")).collect());
            planted.push(secret.bytes().map(|byte| format!("{byte:02X}")).collect());
            for planted in planted {
                let text = format!("before\nsaid \"{planted}\".\nafter");
                let (found, line) = searcher.find(text.as_bytes()).unwrap_or_else(|| panic!("{kind} as {planted}"));
                assert_eq!((found, line), (kind, format!("said \"{planted}\".")));
            }
        }
    }

    #[test]
    fn a_part_of_a_token_is_found_wherever_it_begins() {
        let searcher = searcher();
        for (kind, secret) in &SECRETS[..2] {
            for begin in 0..=secret.len() - 2 * PART {
                let part = &secret[begin..begin + 2 * PART];
                assert!(searcher.find(format!("({part}…)").as_bytes()).is_some(), "{kind}: {part}");
            }
        }
    }

    #[test]
    fn what_is_no_secret_is_not_found() {
        let searcher = searcher();
        for text in ["", "1.A", "eyJ", "Passw0rd", "refresh_token=[redacted]", "k7mf-93xw", "[49, 46, 65, 81]"] {
            assert_eq!(searcher.find(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Searcher::default().find(b"Passw0rd!"), None);
    }

    #[test]
    #[should_panic(expected = "the log contains a secret (password)")]
    fn a_secret_that_is_found_fails_the_test() {
        searcher().assert_none_in("the log", b"line\npassword Passw0rd!\n");
    }
}
