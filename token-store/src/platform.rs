//! What differs between operating systems: who else may read a file, how a file is made that nobody else may read, and what
//! the system can seal for this machine alone.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(crate) use unix::{
    SEALS, create_private, give_to_owner_of, is_private, make_private_advice, open_here, seal_here, sync_directory,
};

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub(crate) use windows::{
    SEALS, create_private, give_to_owner_of, is_private, make_private_advice, open_here, seal_here, sync_directory,
};
