//! Asking for a secret: without an echo at a terminal, from standard input otherwise. Never from an argument: those are
//! seen by every user of the machine.

use std::io::IsTerminal as _;

use oxpost_protocol::Secret;
use oxpost_token_store::text_file;

use super::Failed;

/// Longest secret taken, in bytes. Entra's client secrets have 40 characters, its passwords at most 256.
const SECRET_LIMIT: u64 = 4096;

/// What is typed, or the only line of standard input. `what` is the phrase for it in errors.
///
/// # Errors
/// What is piped in is no text of one line; or the terminal cannot be read.
pub(super) fn ask(prompt: &str, what: &'static str) -> Result<Secret, Failed> {
    if std::io::stdin().is_terminal() {
        return Ok(Secret::new(rpassword::prompt_password(prompt)?));
    }
    let piped = text_file::standard_input(SECRET_LIMIT).and_then(|text| text.value(what));
    piped.map_err(|error| Failed::new(format!("{}.", error.about(what))))
}
