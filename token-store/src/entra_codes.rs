//! What the authority's refusals mean: one table from `AADSTS` numbers to a kind, a sentence and a remedy, and a fallback
//! by the names that OAuth gives to errors.
//!
//! Microsoft says that numbers and texts may change
//! (<https://learn.microsoft.com/entra/identity-platform/reference-error-codes>), so an unknown number is no surprise:
//! then `error` and `suberror` decide. Pure; the table is printed in the operator's manual.

mod names;
mod password;
mod registration;
mod sign_in;

pub use names::{NameRow, names};
use oxpost_protocol::Secret;

use crate::{
    account::Grant,
    error::{ErrorKind, Problem, TokenError, printable},
};

/// One known error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The number behind `AADSTS`.
    pub code: u32,
    /// What it means for us.
    pub kind: ErrorKind,
    /// What happened. May hold `{mailbox}` and `{application}`.
    pub what: &'static str,
    /// What to do, and where. May hold `{mailbox}` and `{application}`.
    pub remedy: &'static str,
}

/// All known errors.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    registration::ROWS.iter().chain(sign_in::ROWS)
}

/// Codes with another meaning or remedy if Microsoft verifies the mail program's password.
pub fn password_grant_codes() -> &'static [Row] {
    password::ROWS
}

/// The row of a number.
pub fn lookup(code: u32) -> Option<&'static Row> {
    rows().find(|row| row.code == code)
}

fn lookup_for(code: u32, grant: Grant) -> Option<&'static Row> {
    let own = if grant == Grant::Password { password::ROWS } else { &[] };
    own.iter().find(|row| row.code == code).or_else(|| lookup(code))
}

/// A refusal as the authority words it (RFC 6749, 5.2, with Entra's additions).
#[derive(Clone, Copy, Debug, Default)]
pub struct Refusal<'a> {
    /// `error`.
    pub error: &'a str,
    /// `suberror`.
    pub suberror: Option<&'a str>,
    /// `error_codes`; where they are missing, the number is read from the description.
    pub codes: &'a [u32],
    /// `error_description`.
    pub description: &'a str,
    /// `trace_id`, which Microsoft's support asks for.
    pub trace_id: Option<&'a str>,
}

/// Whose tokens were asked for, to name them in the remedy.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// The mailbox.
    pub mailbox: &'a str,
    /// The application's name in our configuration.
    pub application: &'a str,
    /// How its tokens are obtained.
    pub grant: Grant,
}

/// What a refusal means.
pub fn classify(refusal: &Refusal<'_>, names: &Names<'_>) -> TokenError {
    let numbers = || refusal.codes.iter().copied().chain(number_in(refusal.description));
    let known = numbers().find_map(|code| lookup_for(code, names.grant));
    let (kind, what, remedy) = match known {
        Some(row) => (row.kind, row.what, row.remedy),
        None => {
            let row = names::by_name(refusal, names.grant);
            (row.kind, row.what, row.remedy)
        }
    };
    let fill = |text: &str| text.replace("{mailbox}", names.mailbox).replace("{application}", names.application);
    let problem = Problem {
        what: fill(what),
        remedy: fill(remedy),
        code: known.map(|row| row.code).or_else(|| numbers().next()),
        detail: detail(refusal),
    };
    TokenError::new(kind, problem)
}

/// `error`, the first line of its description, and the trace id.
fn detail(refusal: &Refusal<'_>) -> String {
    let first_line = refusal.description.lines().next().unwrap_or_default();
    // Newer answers have everything on one line.
    let first_line = first_line.split(" Trace ID:").next().unwrap_or_default();
    let mut detail = printable(refusal.error);
    for (name, value) in [("", Some(first_line)), (" suberror=", refusal.suberror), (" trace_id=", refusal.trace_id)] {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            detail.push_str(if name.is_empty() { ": " } else { name });
            detail.push_str(&printable(value));
        }
    }
    detail
}

/// The number in a text that starts like `AADSTS70008: …`.
pub(crate) fn number_in(description: &str) -> Option<u32> {
    let (_, rest) = description.split_once("AADSTS")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Nothing that was sent may come back in a text: the words of the authority are searched for our own secrets.
pub(crate) fn without(mut error: TokenError, secrets: &[&Secret]) -> TokenError {
    if let TokenError::Transient { problem, .. }
    | TokenError::Paused { problem, .. }
    | TokenError::SignInRequired(problem)
    | TokenError::Misconfigured(problem) = &mut error
    {
        for secret in secrets.iter().filter_map(|secret| secret.reveal_str()).filter(|secret| !secret.is_empty()) {
            problem.detail = problem.detail.replace(secret, "[redacted]");
        }
    }
    error
}

#[cfg(test)]
mod tests {
    use oxpost_protocol::line::reply_text;

    use super::*;

    const DELEGATED: Names<'_> = Names { mailbox: "scan@contoso.com", application: "office", grant: Grant::SignIn };

    fn refused(error: &str, suberror: Option<&str>, codes: &[u32], description: &str) -> TokenError {
        classify(&Refusal { error, suberror, codes, description, trace_id: None }, &DELEGATED)
    }

    #[test]
    fn every_row_is_one_sentence_and_one_place_to_go_to() {
        let password = password::ROWS.iter().map(|row| (row, Grant::Password));
        for (row, grant) in rows().map(|row| (row, Grant::SignIn)).chain(password) {
            let same = |other: &&Row| other.code == row.code;
            let times = rows().filter(same).count().max(password::ROWS.iter().filter(same).count());
            assert_eq!(times, 1, "{} stands twice", row.code);
            assert!(row.what.ends_with('.') && row.remedy.ends_with('.'), "{row:?}");
            let places = ["admin center", "`oxpost ", "proxy.toml", "PowerShell", "https://", "tried again"];
            assert!(places.iter().any(|place| row.remedy.contains(place)), "{row:?}");
            let refusal = Refusal { error: "invalid_grant", codes: &[row.code], ..Refusal::default() };
            let error = classify(&refusal, &Names { grant, ..DELEGATED });
            let problem = error.problem().unwrap();
            assert_eq!((error.kind(), problem.what.split(' ').next()), (row.kind, row.what.split(' ').next()));
            assert_eq!(problem.code, Some(row.code));
            assert!(!format!("{problem}").contains(['{', '}']), "{problem}");
            let long = Names { mailbox: "somebody.with.a.long.name@subsidiary.contoso.com", grant, ..DELEGATED };
            let problem =
                classify(&Refusal { codes: &[row.code], ..Refusal::default() }, &long).problem().cloned().unwrap();
            let sentence = format!("{} {}", problem.what, problem.remedy);
            assert_eq!(reply_text(&sentence), sentence, "it is shown in a mail client's dialog box, whole");
        }
    }

    #[test]
    fn every_name_is_explained_in_a_sentence_that_fits_too() {
        let long = Names { mailbox: "somebody.with.a.long.name@subsidiary.contoso.com", ..DELEGATED };
        for row in names() {
            let (error, suberror) = (row.errors.first().copied().unwrap_or_default(), row.suberrors.first().copied());
            let grant = if row.app_only { Grant::ClientCredentials } else { Grant::SignIn };
            let error = classify(&Refusal { error, suberror, ..Refusal::default() }, &Names { grant, ..long });
            let problem = error.problem().unwrap();
            let sentence = format!("{} {}", problem.what, problem.remedy);
            assert_eq!(error.kind(), row.kind, "another row stands before {row:?}");
            assert!(!sentence.contains(['{', '}']) && reply_text(&sentence) == sentence, "{sentence}");
        }
    }

    #[test]
    fn a_known_number_decides_whatever_the_error_is_called() {
        let kind = |error, codes: &[u32]| refused(error, None, codes, "").kind();
        assert_eq!(kind("invalid_grant", &[90033]), ErrorKind::Transient, "a transient failure called invalid_grant");
        assert_eq!(kind("invalid_grant", &[700_082]), ErrorKind::SignInRequired);
        assert_eq!(kind("invalid_grant", &[7_000_215]), ErrorKind::Misconfigured);
        assert_eq!(
            kind("invalid_client", &[1, 7_000_222]),
            ErrorKind::Misconfigured,
            "the second number is the known one"
        );
        assert_eq!(
            refused("invalid_grant", None, &[], "AADSTS50173: revoked\r\nTrace ID: x").problem().unwrap().code,
            Some(50173)
        );
    }

    #[test]
    fn without_a_known_number_the_name_decides() {
        let kind = |error, suberror| refused(error, suberror, &[], "AADSTS999999: new").kind();
        assert_eq!(kind("invalid_grant", None), ErrorKind::SignInRequired);
        assert_eq!(kind("invalid_grant", Some("token_expired")), ErrorKind::SignInRequired);
        assert_eq!(kind("invalid_grant", Some("client_mismatch")), ErrorKind::Misconfigured);
        assert_eq!(kind("interaction_required", Some("basic_action")), ErrorKind::SignInRequired);
        assert_eq!(kind("invalid_client", None), ErrorKind::Misconfigured);
        assert_eq!(kind("temporarily_unavailable", None), ErrorKind::Transient);
        assert_eq!(kind("something_new", None), ErrorKind::Transient, "nothing is thrown away for an unknown reason");
        let app_only = Names { grant: Grant::ClientCredentials, ..DELEGATED };
        let refusal = Refusal { error: "invalid_grant", ..Refusal::default() };
        assert_eq!(classify(&refusal, &app_only).kind(), ErrorKind::Misconfigured);
    }

    #[test]
    fn the_detail_is_what_microsofts_support_asks_for() {
        let refusal = Refusal {
            error: "invalid_grant",
            suberror: Some("bad_token"),
            codes: &[70008],
            description: "AADSTS70008: The grant has expired. Trace ID: 5f-1 Correlation ID: 7 Timestamp: now",
            trace_id: Some("5f-1"),
        };
        let error = classify(&refusal, &DELEGATED);
        let problem = error.problem().unwrap();
        assert_eq!(
            problem.detail,
            "invalid_grant: AADSTS70008: The grant has expired. suberror=bad_token trace_id=5f-1"
        );
        assert!(problem.remedy.contains("oxpost sign-in scan@contoso.com"));
        let echoed = Refusal { error: "invalid_grant", description: "bad token rt-12345", ..Refusal::default() };
        let error = without(classify(&echoed, &DELEGATED), &[&Secret::from("rt-12345")]);
        assert!(!format!("{error:?}").contains("rt-12345"));
    }
}
