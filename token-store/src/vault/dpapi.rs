//! A key file that the system has sealed for this machine: on Windows, with its data protection (DPAPI). The file is of no
//! use on another machine, so that neither a stolen backup nor a copied disk of data opens the store.

use std::{io, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::{VaultError, key::keys_of_text};
use crate::platform;

/// How everything begins that DPAPI has sealed: version 1, and the id of its provider
/// (df9d8cd0-1501-11d1-8c7a-00c04fc297eb). Microsoft does not promise it, and Wine does it otherwise: no more than the choice
/// of a sentence hangs on it.
const BEGINNING: [u8; 20] = [
    0x01, 0x00, 0x00, 0x00, 0xd0, 0x8c, 0x9d, 0xdf, 0x01, 0x15, 0xd1, 0x11, 0x8c, 0x7a, 0x00, 0xc0, 0x4f, 0xc2, 0x97,
    0xeb,
];

/// Seals the text of the keys into the content of such a file: one line of base64.
pub(super) fn seal(text: &str) -> io::Result<String> {
    Ok(format!("{}\n", STANDARD.encode(platform::seal_here(text.as_bytes())?)))
}

/// Opens the content of such a file and returns the text of the keys.
pub(super) fn open(path: &Path, text: &str) -> Result<Zeroizing<String>, VaultError> {
    let path = path.to_owned();
    if keys_of_text(text).is_some() {
        return Err(VaultError::NeverSealed { path });
    }
    let sealed = STANDARD.decode(text.trim()).unwrap_or_default();
    if sealed.is_empty() {
        return Err(VaultError::NotSealed { path });
    }
    let opened = match platform::open_here(&sealed) {
        Ok(opened) => opened,
        Err(why) if looks_sealed(text) => return Err(VaultError::NotOpened { path, why: why.to_string() }),
        Err(_) => return Err(VaultError::NotSealed { path }),
    };
    std::str::from_utf8(&opened).map(|text| Zeroizing::new(text.to_owned())).map_err(|_| VaultError::NotAKey { path })
}

/// Whether this is such a file, most likely.
pub(super) fn looks_sealed(text: &str) -> bool {
    STANDARD.decode(text.trim()).is_ok_and(|sealed| sealed.starts_with(&BEGINNING))
}

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;
    use crate::{KeySource, NewKey};

    /// The text of a file that looks as if Windows had sealed it, but did not.
    fn as_if_sealed() -> String {
        STANDARD.encode([&BEGINNING[..], &[7; 180]].concat())
    }

    fn private(folder: &Path, text: &str) -> PathBuf {
        let path = folder.join("oxpost.key");
        let _ = fs::remove_file(&path);
        let mut file = platform::create_private(&path).unwrap();
        io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        path
    }

    #[test]
    fn what_does_not_open_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |text: &str| KeySource::Dpapi(private(folder.path(), text)).read().unwrap_err();
        let path = folder.path().join("oxpost.key");

        for damaged in ["", "\n", "not base64!", "AAAA", "AQAAAN"] {
            assert_eq!(refused(damaged), VaultError::NotSealed { path: path.clone() }, "{damaged}");
        }
        let key = NewKey::generate().unwrap();
        let error = refused(key.text().reveal_str().unwrap());
        assert_eq!(error, VaultError::NeverSealed { path: path.clone() });
        assert!(error.to_string().contains("oxpost store copy-key"), "{error}");
        assert!(!error.to_string().contains(key.text().reveal_str().unwrap()), "{error}");

        let error = refused(&as_if_sealed());
        assert!(matches!(error, VaultError::NotOpened { .. }), "{error}");
        assert!(error.to_string().contains("Another machine has sealed it"), "{error}");
    }

    #[test]
    fn a_sealed_file_is_not_taken_for_a_plain_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = private(folder.path(), &as_if_sealed());
        let error = KeySource::File(path.clone()).read().unwrap_err();
        assert_eq!(error, VaultError::SealedByWindows { path });
        assert!(error.to_string().contains("dpapi:"), "{error}");
    }

    #[cfg(windows)]
    #[test]
    fn a_sealed_key_file_is_made_read_and_changed() {
        use oxpost_protocol::Secret;

        use crate::vault::{Created, Vault};

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("oxpost.key");
        let source = KeySource::Dpapi(path.clone());
        let (made, created) = source.open().unwrap();
        assert_eq!(created, Created::Yes);
        let sealed = made.seal("c", &Secret::from("s")).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(Vault::from_key_text(&text).is_none(), "it contains the key in plain text");
        let (again, created) = source.open().unwrap();
        assert_eq!(created, Created::No);
        assert_eq!(again.open("c", &sealed).unwrap().reveal(), b"s");

        source.put_in_front(&NewKey::generate().unwrap()).unwrap().unwrap();
        assert_eq!(source.read().unwrap().keys(), 2);
        assert_eq!(source.read().unwrap().open("c", &sealed).unwrap().reveal(), b"s");
        source.keep_first().unwrap().unwrap();
        assert!(source.read().unwrap().open("c", &sealed).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left lying about");

        // Sealed on this machine, but no key.
        fs::write(&path, seal("hello").unwrap()).unwrap();
        assert_eq!(source.read().unwrap_err(), VaultError::NotAKey { path });
    }
}
