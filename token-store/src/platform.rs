//! What differs between operating systems: which others may read a file, how a file is made that no other user may read, how its
//! encoding is converted, and what the system can seal for this machine alone.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub(crate) use unix::{
    SEALS, convert_command, create_private, give_to_owner_of, is_private, make_private_advice, open_here, quoted_path,
    seal_here, sync_directory,
};

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub(crate) use windows::{
    SEALS, convert_command, create_private, give_to_owner_of, is_private, make_private_advice, open_here, quoted_path,
    seal_here, sync_directory,
};

/// An encoding that a text is converted from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// UTF-16.
    Utf16(ByteOrder),
    /// The one of Windows in Western Europe and America.
    Windows1252,
}

/// The byte order of UTF-16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByteOrder {
    Little,
    Big,
}
