//! Secrets that do not stand in the configuration: in a file of their own, or in the environment.

use std::path::Path;

use oxpost_protocol::Secret;

use super::credential;

/// Longest secret file read, in bytes. Entra's secrets have 40 characters.
const SECRET_FILE_LIMIT: usize = 4096;

/// A secret from a file that holds nothing else and is kept from others; a line end behind it is not part of it.
pub(super) fn from_file(path: &Path, what: &str) -> Result<Secret, String> {
    let secret = credential::read(path, true)?;
    let length = secret.reveal().len();
    if length > SECRET_FILE_LIMIT {
        return Err(format!(
            "{} is too large ({length} bytes); it must contain {what} and nothing else.",
            path.display()
        ));
    }
    let trimmed = secret.reveal().trim_ascii();
    if trimmed.is_empty() {
        return Err(format!("{} is empty; write {what} into it.", path.display()));
    }
    Ok(Secret::new(trimmed))
}

/// A client secret that whoever starts us has put into a variable.
pub(super) fn from_environment(variable: &str) -> Result<Secret, String> {
    let value =
        Some(variable).filter(|name| !name.is_empty() && !name.contains(['=', '\0'])).and_then(std::env::var_os);
    let secret = value.as_deref().and_then(std::ffi::OsStr::to_str).map(|text| Secret::from(text.trim()));
    secret.filter(|secret| !secret.is_empty()).ok_or_else(|| {
        format!("the environment variable `{variable}` is not set; set it to the client secret's Value where Oxpost is started.")
    })
}
