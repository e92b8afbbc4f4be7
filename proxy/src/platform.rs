//! What differs from one operating system to another. Nothing outside this module may know which one it is on.

use std::io::{self, Write as _};
use std::path::Path;

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(crate) use unix::{
    PORT_OUTLIVES_SOCKET, PORT_REFUSED_ADVICE, Signals, azure_arc_keys, creating, default_config_file,
    forbid_core_dumps, give_folder_to_owner_of, give_to_owner_of, has_browser, keep_from_others, open_browser,
    others_may_read, raise_descriptor_limit,
};

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub(crate) use windows::{
    PORT_OUTLIVES_SOCKET, PORT_REFUSED_ADVICE, Signals, azure_arc_keys, creating, default_config_file,
    forbid_core_dumps, give_folder_to_owner_of, give_to_owner_of, has_browser, keep_from_others, open_browser,
    others_may_read, raise_descriptor_limit,
};

/// What the system, or an administrator by way of it, asks of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// To stop.
    Stop,
    /// To read its configuration again.
    Reload,
}

/// Replaces a file as a whole: a reader finds what was there before, or all of this. Where `private`, its owner
/// alone may read it; it is given to the owner of `like`, or stays with the user who runs this.
///
/// # Errors
/// The system does not allow it.
pub(crate) fn replace_file(path: &Path, bytes: &[u8], private: bool, like: Option<&Path>) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    match std::fs::remove_file(beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = creating(private).open(beside)?;
    file.write_all(bytes)?;
    // The open file, and not its name, which could be another file's by now if another user owns the folder.
    if let Some(like) = like {
        give_to_owner_of(like, &file)?;
    }
    file.sync_all()?;
    drop(file);
    std::fs::rename(beside, path)
}
