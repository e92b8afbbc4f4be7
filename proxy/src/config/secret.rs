//! Secrets that are not in the configuration: in a file of their own, or in the environment.

use std::path::Path;

use oxpost_protocol::Secret;
use oxpost_token_store::text_file::{self, TextFile};

use crate::platform;

/// Longest secret file read, in bytes. Entra's secrets have 40 characters.
const SECRET_FILE_LIMIT: u64 = 4096;

/// A secret from a file that holds nothing else and is kept from others. `what` is the phrase for it in errors.
pub(super) fn from_file(path: &Path, what: &'static str) -> Result<Secret, String> {
    let text = private(path)?.text(SECRET_FILE_LIMIT);
    text.and_then(|text| text.value(what)).map_err(|error| format!("{}.", error.about(what)))
}

/// Opens a file that holds a secret, and must be kept from others.
pub(super) fn private(path: &Path) -> Result<TextFile, String> {
    let file = TextFile::open(path).map_err(|error| format!("{error}."))?;
    let metadata = file.metadata().map_err(|error| format!("{error}."))?;
    if platform::others_may_read(&metadata) {
        return Err(format!("{} can be read by others; {}.", path.display(), platform::keep_from_others(path)));
    }
    Ok(file)
}

/// A client secret that the environment of this process has in a variable.
pub(super) fn from_environment(variable: &str) -> Result<Secret, String> {
    let what = "the client secret's Value";
    text_file::variable(variable, what).map_err(|error| format!("{error}."))?.ok_or_else(|| {
        format!("the environment variable `{variable}` is not set; set it to {what} where Oxpost is started.")
    })
}
