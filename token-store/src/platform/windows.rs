//! Windows. A file gets the access list of its directory, which the installer restricts; lists are not checked here. The
//! system seals for this machine with its data protection (DPAPI).

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    path::Path,
    ptr, slice,
};

use windows_sys::Win32::{
    Foundation::LocalFree,
    Security::Cryptography::{
        CRYPT_INTEGER_BLOB, CRYPTPROTECT_LOCAL_MACHINE, CRYPTPROTECT_UI_FORBIDDEN, CryptProtectData, CryptUnprotectData,
    },
};
use zeroize::{Zeroize as _, Zeroizing};

use super::{ByteOrder, Encoding};

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

/// Directories are not flushed here: NTFS writes its changes in order, so that the next file that is flushed takes a new name
/// along.
pub(crate) fn sync_directory(_directory: &Path) -> io::Result<()> {
    Ok(())
}

/// A file has its directory's access list here, whichever user made it.
pub(crate) fn give_to_owner_of(_other: &Path, _new: &Path) -> io::Result<()> {
    Ok(())
}

/// Whether the system seals something for this machine.
pub(crate) const SEALS: bool = true;

/// Goes into what is sealed, so that nothing else that was sealed on this machine is taken for ours.
const PURPOSE: &[u8] = b"oxpost: the key of the store, 1";

/// For the machine and not for the user: the service and the administrator are two users. No window ever opens, as
/// it would not be seen.
const FLAGS: u32 = CRYPTPROTECT_LOCAL_MACHINE | CRYPTPROTECT_UI_FORBIDDEN;

/// Seals bytes so that only this machine can open them.
///
/// <https://learn.microsoft.com/windows/win32/api/dpapi/nf-dpapi-cryptprotectdata>
pub(crate) fn seal_here(plain: &[u8]) -> io::Result<Vec<u8>> {
    let (plain, purpose) = (lent(plain)?, lent(PURPOSE)?);
    let mut sealed = NOTHING;
    // SAFETY: `plain` and `purpose` point to slices that outlive the call, with their lengths, and the function only reads
    // them (both parameters are `const` in its C declaration). `sealed` is a valid place for its result. A description, a
    // reserved value and a prompt are optional, and null.
    #[allow(unsafe_code)]
    let done = unsafe {
        CryptProtectData(
            &raw const plain,
            ptr::null(),
            &raw const purpose,
            ptr::null(),
            ptr::null(),
            FLAGS,
            &raw mut sealed,
        )
    };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Given(sealed).bytes().to_vec())
}

/// Opens what [`seal_here`] has sealed on this machine.
///
/// <https://learn.microsoft.com/windows/win32/api/dpapi/nf-dpapi-cryptunprotectdata>
pub(crate) fn open_here(sealed: &[u8]) -> io::Result<Zeroizing<Vec<u8>>> {
    let (sealed, purpose) = (lent(sealed)?, lent(PURPOSE)?);
    let mut plain = NOTHING;
    // SAFETY: as in `seal_here`; the place for a description is optional, and null.
    #[allow(unsafe_code)]
    let done = unsafe {
        CryptUnprotectData(
            &raw const sealed,
            ptr::null_mut(),
            &raw const purpose,
            ptr::null(),
            ptr::null(),
            CRYPTPROTECT_UI_FORBIDDEN,
            &raw mut plain,
        )
    };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Zeroizing::new(Given(plain).bytes().to_vec()))
}

/// No bytes.
const NOTHING: CRYPT_INTEGER_BLOB = CRYPT_INTEGER_BLOB { cbData: 0, pbData: ptr::null_mut() };

/// Bytes of ours, for a function that only reads them.
fn lent(bytes: &[u8]) -> io::Result<CRYPT_INTEGER_BLOB> {
    let length = u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    Ok(CRYPT_INTEGER_BLOB { cbData: length, pbData: bytes.as_ptr().cast_mut() })
}

/// What one of the two functions above has given us, having said that it succeeded: then, and only then, the bytes are ours.
/// They are wiped and given back at the end.
struct Given(CRYPT_INTEGER_BLOB);

impl Given {
    fn bytes(&self) -> &[u8] {
        let Some(length) = self.length() else { return &[] };
        // SAFETY: the function has succeeded, so the pointer, which is not null, leads to a block of `cbData` bytes that it
        // has filled. The block is ours until `drop`, and no other code knows of it; the slice cannot outlive `self`.
        #[allow(unsafe_code)]
        unsafe {
            slice::from_raw_parts(self.0.pbData, length)
        }
    }

    /// How many bytes there are, if there is a block at all.
    fn length(&self) -> Option<usize> {
        if self.0.pbData.is_null() { None } else { self.0.cbData.try_into().ok() }
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        let Some(length) = self.length() else { return };
        // SAFETY: as in `bytes`; `&mut self` says that no other slice of it is left.
        #[allow(unsafe_code)]
        let bytes = unsafe { slice::from_raw_parts_mut(self.0.pbData, length) };
        bytes.zeroize();
        // SAFETY: the documentation of both functions asks for `LocalFree` on their result. It is called once, as this is
        // the only place, and nothing uses the block afterwards.
        #[allow(unsafe_code)]
        unsafe {
            LocalFree(self.0.pbData.cast());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_here_opens_here_and_shows_nothing() {
        for plain in [&b"a key"[..], &[0xff; 4096]] {
            let sealed = seal_here(plain).unwrap();
            assert_eq!(*open_here(&sealed).unwrap(), plain);
            assert!(!sealed.windows(plain.len()).any(|part| part == plain));
            assert_ne!(sealed, seal_here(plain).unwrap(), "different each time");
        }
    }

    #[test]
    fn what_is_damaged_does_not_open() {
        let sealed = seal_here(b"a key").unwrap();
        for damaged in [&b"no blob at all"[..], sealed.get(..sealed.len() - 1).unwrap()] {
            assert!(open_here(damaged).is_err());
        }
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            *changed.get_mut(place).unwrap() ^= 1;
            // Some bytes are not looked at by Wine, or by Windows; none of them may make another key of ours.
            if let Ok(opened) = open_here(&changed) {
                assert_eq!(*opened, b"a key", "byte {place}");
            }
        }
    }
}

/// The command of PowerShell that converts a file to UTF-8. The file keeps its access list.
pub(crate) fn convert_command(path: &Path, encoding: Encoding) -> String {
    let from = match encoding {
        Encoding::Utf16(ByteOrder::Little) => "[Text.Encoding]::Unicode",
        Encoding::Utf16(ByteOrder::Big) => "[Text.Encoding]::BigEndianUnicode",
        Encoding::Windows1252 => "[Text.Encoding]::GetEncoding(1252)",
    };
    // .NET does not know the folder in which PowerShell is.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let path = format!("'{}'", path.display().to_string().replace('\'', "''"));
    format!("[IO.File]::WriteAllText({path}, [IO.File]::ReadAllText({path}, {from}))")
}

/// A path as a word of a command line, for cmd.exe and PowerShell.
pub(crate) fn quoted_path(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || r"\/._-:~".contains(c);
    if text.chars().all(is_plain) { text } else { format!("\"{text}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn convert_command_is_one_of_powershell() {
        let command = convert_command(Path::new(r"C:\it's here\a.txt"), Encoding::Windows1252);
        let path = r"'C:\it''s here\a.txt'";
        let expected = format!(
            "[IO.File]::WriteAllText({path}, [IO.File]::ReadAllText({path}, [Text.Encoding]::GetEncoding(1252)))"
        );
        assert_eq!(command, expected);
        let command = convert_command(Path::new(r"C:\a.txt"), Encoding::Utf16(ByteOrder::Little));
        assert!(command.ends_with("'C:\\a.txt', [Text.Encoding]::Unicode))"), "{command}");
    }
}
