//! What the authority's refusals mean: one table from `AADSTS` numbers to a kind, a sentence and a remedy, and a fallback
//! by the names that OAuth gives to errors.
//!
//! Microsoft says that numbers and texts may change
//! (<https://learn.microsoft.com/entra/identity-platform/reference-error-codes>), so an unknown number is no surprise:
//! then `error` and `suberror` decide. Pure; the table is printed in the operator's manual.

mod app_only;
mod federation;
mod google;
mod names;
mod other;
mod password;
mod person;
mod policy;
mod proof;
mod registration;
mod request;
mod sign_in;
#[cfg(test)]
mod tests;

pub use google::google_names;
pub use names::{NameRow, names};
pub use other::other_names;
use oxpost_protocol::{Secret, line::REPLY_TEXT_LIMIT};

use crate::{
    account::Grant,
    application::Application,
    error::{ErrorKind, Problem, RETRIED, TokenError, printable},
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
    /// What to do, and where. May hold `{mailbox}` and `{application}`. That the service tries again is not part of it.
    pub remedy: &'static str,
}

/// An error that passes without a change.
const fn transient(code: u32, what: &'static str, remedy: &'static str) -> Row {
    Row { code, kind: ErrorKind::Transient, what, remedy }
}

/// An error that ends with a sign-in, perhaps after a change.
const fn sign_in(code: u32, what: &'static str, remedy: &'static str) -> Row {
    Row { code, kind: ErrorKind::SignInRequired, what, remedy }
}

/// An error in the registration, the tenant or the configuration.
const fn misconfigured(code: u32, what: &'static str, remedy: &'static str) -> Row {
    Row { code, kind: ErrorKind::Misconfigured, what, remedy }
}

/// All known errors.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    [registration::ROWS, proof::ROWS, request::ROWS, sign_in::ROWS, person::ROWS, policy::ROWS, federation::ROWS]
        .into_iter()
        .flatten()
}

/// Codes with another meaning or remedy if Microsoft verifies the mail program's password.
pub fn password_grant_codes() -> &'static [Row] {
    password::ROWS
}

/// Codes with another meaning or remedy if the application acts in its own name.
pub fn app_only_codes() -> &'static [Row] {
    app_only::ROWS
}

/// The row of a number.
pub fn lookup(code: u32) -> Option<&'static Row> {
    rows().find(|row| row.code == code)
}

fn lookup_for(code: u32, grant: Grant) -> Option<&'static Row> {
    let own = match grant {
        Grant::Password => password::ROWS,
        Grant::ClientCredentials => app_only::ROWS,
        Grant::SignIn => &[],
    };
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

/// Whose authority it is: each has its own names for errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// Microsoft Entra.
    Microsoft,
    /// Google.
    Google,
    /// Another one, of which OAuth's names are known only.
    Other,
}

impl Vendor {
    /// Whose authority issues the tokens of an application. Only Microsoft's has tenants.
    pub fn of(application: &Application) -> Self {
        let host = application.token_url.host_str().unwrap_or_default();
        let is_in = |domain: &str| host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
        if is_in("googleapis.com") || is_in("google.com") {
            Self::Google
        } else if application.tenant.is_some() {
            Self::Microsoft
        } else {
            Self::Other
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Microsoft => "Microsoft",
            Self::Google => "Google",
            Self::Other => "The sign-in service",
        }
    }
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
    /// Whose authority refused.
    pub vendor: Vendor,
}

impl<'a> Names<'a> {
    /// Of tokens that an application requests.
    pub fn of(application: &'a Application, mailbox: &'a str, grant: Grant) -> Self {
        Self { mailbox, application: &application.name, grant, vendor: Vendor::of(application) }
    }
}

/// What a refusal means. Of one that is not known, the authority's own sentence is part of it.
pub fn classify(refusal: &Refusal<'_>, names: &Names<'_>) -> TokenError {
    let numbers = || refusal.codes.iter().copied().chain(number_in(refusal.description));
    let known = numbers().find_map(|code| lookup_for(code, names.grant)).filter(|_| names.vendor == Vendor::Microsoft);
    let fill = |text: &str| text.replace("{mailbox}", names.mailbox).replace("{application}", names.application);
    let (kind, what, remedy) = match known {
        Some(row) => (row.kind, fill(row.what), fill(row.remedy)),
        None => {
            let row = names::by_name(refusal, names);
            let (what, remedy) = (fill(row.what), fill(row.remedy));
            let room = REPLY_TEXT_LIMIT.saturating_sub(what.len() + remedy.len() + RETRIED.len() + AROUND_OWN_WORDS);
            let what = match own_words(refusal, room) {
                Some(words) => format!("{what} {} says: {words}", names.vendor.name()),
                None => what,
            };
            (row.kind, what, remedy)
        }
    };
    // A wrong password is not sent again by Oxpost.
    let is_retried = kind == ErrorKind::Transient && names.grant != Grant::Password;
    let problem = Problem {
        what,
        remedy: if is_retried { format!("{RETRIED} {remedy}") } else { remedy },
        code: known.map(|row| row.code).or_else(|| numbers().next()),
        detail: detail(refusal),
    };
    TokenError::new(kind, problem)
}

/// Longest sentence of the authority that becomes part of ours, in characters. A mail program shows both whole, so there may be room
/// for less.
const OWN_WORDS_LIMIT: usize = 200;

/// What `… says: "…" (trace id …).` needs besides the sentence.
const AROUND_OWN_WORDS: usize = 90;

/// The authority's own sentence in quotes, without its number, and the trace id that Microsoft's support asks for.
fn own_words(refusal: &Refusal<'_>, room: usize) -> Option<String> {
    let limit = room.min(OWN_WORDS_LIMIT);
    let sentence = printable(sentence(refusal.description));
    let sentence = match sentence.split_once(": ") {
        Some((number, rest)) if number.starts_with("AADSTS") => rest,
        _ => &sentence,
    };
    let mut shown: String = sentence.trim().chars().take(limit).collect();
    if shown.is_empty() {
        return None;
    }
    if sentence.trim().chars().count() > limit {
        shown.push_str("...");
    }
    let shown = shown.replace('"', "'");
    let trace_id = refusal.trace_id.map(str::to_owned).or_else(|| trace_id_in(refusal.description).map(str::to_owned));
    Some(match trace_id.filter(|id| is_id(id)) {
        Some(id) => format!("\"{shown}\" (trace id {id})."),
        None => format!("\"{shown}\"."),
    })
}

/// The first line of a description, without the ids and the time that Entra adds to it, on the same line or on others.
fn sentence(description: &str) -> &str {
    let line = description.lines().next().unwrap_or_default();
    let ends = [" Trace ID:", " Correlation ID:", " Timestamp:"];
    let end = ends.iter().filter_map(|end| line.find(end)).min().unwrap_or(line.len());
    line.get(..end).unwrap_or(line)
}

fn trace_id_in(description: &str) -> Option<&str> {
    description.split_once("Trace ID: ")?.1.split_whitespace().next()
}

fn is_id(text: &str) -> bool {
    (1..=40).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// `error`, the first line of its description, and the trace id.
fn detail(refusal: &Refusal<'_>) -> String {
    let trace_id = refusal.trace_id.or_else(|| trace_id_in(refusal.description));
    let mut detail = printable(refusal.error);
    for (name, value) in
        [("", Some(sentence(refusal.description))), (" suberror=", refusal.suberror), (" trace_id=", trace_id)]
    {
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
            problem.what = problem.what.replace(secret, "[redacted]");
        }
    }
    error
}
