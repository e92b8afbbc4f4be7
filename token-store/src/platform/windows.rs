//! Windows (and everything else without permission bits): a file gets the access list of its directory, which the
//! installer restricts; lists are not checked here.

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    path::Path,
};

/// Not checked here: see above.
pub(crate) fn is_private(_path: &Path, _metadata: &Metadata, _credentials: Option<&Path>) -> bool {
    true
}

/// What makes a file private.
pub(crate) fn make_private_advice(path: &Path) -> String {
    format!("restrict the access list of {} to the service's account", path.display())
}

/// Creates a file that must not exist yet.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).open(path)
}

/// Directories cannot be flushed here, and need not be.
pub(crate) fn sync_directory(_directory: &Path) -> io::Result<()> {
    Ok(())
}

/// A file belongs to its directory's access list here, whoever made it.
pub(crate) fn give_to_owner_of(_other: &Path, _new: &Path) -> io::Result<()> {
    Ok(())
}
