//! Unix: permission bits.

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, chown},
    path::Path,
};

use zeroize::Zeroizing;

use super::{ByteOrder, Encoding};

/// Bits of group and others.
const NOT_OWNER: u32 = 0o077;

/// Bits of group and others, but for the group's right to read.
const NOT_OWNER_NOR_GROUP_READ: u32 = 0o037;

/// Whether only the owner can read or write the file.
///
/// systemd hands credentials over (`LoadCredential=`) in a directory that only the service may enter, and shows their
/// access control entry as the group's right to read; there that one bit is no danger.
pub(crate) fn is_private(path: &Path, metadata: &Metadata, credentials: Option<&Path>) -> bool {
    let handed_over = credentials.is_some_and(|directory| path.starts_with(directory));
    let forbidden = if handed_over { NOT_OWNER_NOR_GROUP_READ } else { NOT_OWNER };
    metadata.mode() & forbidden == 0
}

/// The command that makes a file private.
pub(crate) fn make_private_advice(path: &Path) -> String {
    format!("run `chmod 600 {}`", path.display())
}

/// Creates a file that must not exist yet, readable by its owner alone from the first moment.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Makes the name of a new file in this directory survive a power cut.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Gives a new file to the owner of another one, so that a command run by root leaves nothing that the service's own
/// user cannot open.
pub(crate) fn give_to_owner_of(other: &Path, new: &Path) -> io::Result<()> {
    let (other, now) = (std::fs::metadata(other)?, std::fs::metadata(new)?);
    if (other.uid(), other.gid()) == (now.uid(), now.gid()) {
        return Ok(());
    }
    chown(new, Some(other.uid()), Some(other.gid()))
}

/// Whether the system seals something for this machine.
pub(crate) const SEALS: bool = false;

/// Nothing is sealed here: systemd has its encrypted credentials instead.
pub(crate) fn seal_here(_plain: &[u8]) -> io::Result<Vec<u8>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// See [`seal_here`].
pub(crate) fn open_here(_sealed: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The command that converts a file to UTF-8. The file keeps its permissions.
pub(crate) fn convert_command(path: &Path, encoding: Encoding) -> String {
    let from = match encoding {
        Encoding::Utf16(ByteOrder::Little) => "UTF-16LE",
        Encoding::Utf16(ByteOrder::Big) => "UTF-16BE",
        Encoding::Windows1252 => "WINDOWS-1252",
    };
    let mut before = path.as_os_str().to_owned();
    before.push(".before");
    let (path, before) = (quoted_path(path), quoted_path(Path::new(&before)));
    format!("cp {path} {before} && iconv -f {from} -t UTF-8 {before} > {path} && rm {before}")
}

/// A path as a word of a shell.
pub(crate) fn quoted_path(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:@%,".contains(c);
    if text.chars().all(is_plain) { text.into_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn convert_command_quotes_what_a_shell_reads() {
        let command = convert_command(Path::new("/a b/it's.txt"), Encoding::Utf16(ByteOrder::Little));
        assert_eq!(
            command,
            r"cp '/a b/it'\''s.txt' '/a b/it'\''s.txt.before' && iconv -f UTF-16LE -t UTF-8 '/a b/it'\''s.txt.before' > '/a b/it'\''s.txt' && rm '/a b/it'\''s.txt.before'"
        );
    }
}
