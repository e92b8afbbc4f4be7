//! What differs between operating systems: who else may read a file, and how a file is made that nobody else may read.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(crate) use unix::{create_private, give_to_owner_of, is_private, make_private_advice, sync_directory};

#[cfg(not(unix))]
mod windows;
#[cfg(not(unix))]
pub(crate) use windows::{create_private, give_to_owner_of, is_private, make_private_advice, sync_directory};
