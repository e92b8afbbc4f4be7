//! Asking for a secret: without an echo at a terminal, from standard input otherwise. Never from an argument: those are
//! seen by every user of the machine.

use std::io::{IsTerminal as _, Read as _};

use oxpost_protocol::Secret;

/// Longest secret taken, in bytes. Entra's client secrets have 40 characters, its passwords at most 256.
const SECRET_LIMIT: u64 = 4096;

/// What is typed, or the first of what standard input holds, without the end of its line.
pub(super) fn ask(prompt: &str) -> std::io::Result<Secret> {
    if std::io::stdin().is_terminal() {
        return Ok(Secret::new(rpassword::prompt_password(prompt)?));
    }
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(SECRET_LIMIT).read_to_end(&mut bytes)?;
    let read = Secret::new(bytes);
    let line = read.reveal();
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    Ok(Secret::new(line.strip_suffix(b"\r").unwrap_or(line)))
}
