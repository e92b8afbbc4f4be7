//! The vault encrypts the secrets in the store.
//!
//! AES-256-GCM with a random nonce. A sealed value is bound to its place (`table/column/row`) as associated data, so a
//! sealed value that was moved to another account's row does not open there.

mod dpapi;
mod key;
mod source;

use std::{fmt, path::PathBuf, sync::Arc};

use aws_lc_rs::{
    aead::{Aad, NONCE_LEN, Nonce},
    hmac,
};
use oxpost_protocol::Secret;
use zeroize::Zeroizing;

pub(crate) use self::key::KEY_LEN;
pub use self::{
    key::NewKey,
    source::{Created, KeySource},
};
use self::{
    key::{Key, KeyId, keys_of_text},
    source::KEY_FORM,
};
use crate::text_file::TextError;

/// The first byte of a sealed value: the version of its format. The id of the key follows, then the nonce.
const FORMAT: u8 = 1;

/// Seals and opens. Cheap to clone; prints nothing of its keys.
///
/// The first key seals. The others only open what was sealed before the key was changed.
#[derive(Clone)]
pub struct Vault(Arc<[Key]>);

/// Why there is no vault, or why something does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The key file cannot be written.
    #[error("the key file {} cannot be written: {why}; check the path and the permissions of its folder", path.display())]
    KeyFile {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// The key file cannot be read, or is in a shape that is not read.
    #[error("the key of the store cannot be read: {0}")]
    Text(TextError),
    /// Others may read the key file.
    #[error("the key file {} can be read by others than its owner; {advice}", path.display())]
    TooOpen {
        /// Which file.
        path: PathBuf,
        /// The command to run.
        advice: String,
    },
    /// The file's content is no key.
    #[error("the key file {} does not hold {KEY_FORM}; restore it from your backup, or name another file", path.display())]
    NotAKey {
        /// Which file.
        path: PathBuf,
    },
    /// A key file of `dpapi:` holds nothing that Windows has sealed.
    #[error(
        "the key file {} does not hold a key that Windows has sealed: it is damaged, or another file; restore it from your \
         backup",
        path.display()
    )]
    NotSealed {
        /// Which file.
        path: PathBuf,
    },
    /// A key file of `dpapi:` holds the key itself.
    #[error(
        "the key file {path} holds a key that Windows has not sealed. Write `key = \"file:{path}\"` in proxy.toml; `oxpost \
         store copy-key dpapi:FILE` then makes a sealed copy of it",
        path = path.display()
    )]
    NeverSealed {
        /// Which file.
        path: PathBuf,
    },
    /// Windows does not open the key file.
    #[error(
        "Windows does not open the key file {}: {why}. Another machine has sealed it, or this one before Windows was \
         reinstalled, or it is damaged. Put back a copy that this machine has sealed, or one made with `oxpost store copy-key \
         file:FILE`; if there is none, the key is lost (see docs/backup.md)",
        path.display()
    )]
    NotOpened {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// A key file of `file:` was sealed by Windows.
    #[error(
        "the key file {path} was sealed by Windows and opens on the machine where that was done only: there, write `key = \
         \"dpapi:{path}\"` in proxy.toml",
        path = path.display()
    )]
    SealedByWindows {
        /// Which file.
        path: PathBuf,
    },
    /// A copy of the key would overwrite a file.
    #[error("{} is there already and is not overwritten; name a new file", path.display())]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// A copy of the key can be written into a file only.
    #[error("a copy of the key is written into a file; write \"file:PATH\" or, on Windows, \"dpapi:PATH\"")]
    NoFile,
    /// The service manager handed over no credentials.
    #[error(
        "there is no credential `{name}`, because this process was not started by systemd with one. The unit needs \
         `LoadCredential={name}:/path/of/the/key` or `LoadCredentialEncrypted=`; to run another command with it, use \
         `systemd-run --pipe --wait` with the same property"
    )]
    NoCredential {
        /// The credential's name.
        name: String,
    },
    /// The environment variable is not set.
    #[error(
        "the environment variable {name} is not set; it must hold {KEY_FORM}, such as `oxpost store new-key` prints"
    )]
    NoVariable {
        /// The variable's name.
        name: String,
    },
    /// The environment variable's content is no key.
    #[error("the environment variable {name} does not hold {KEY_FORM}; `oxpost store new-key` prints one")]
    BadVariable {
        /// The variable's name.
        name: String,
    },
    /// A sealed value does not open: another key, another row, or damage.
    #[error("a sealed value does not open with this key")]
    DoesNotOpen,
    /// The cryptographic library failed, which it never should.
    #[error("sealing failed in the cryptographic library; restart, and report it if it happens again")]
    Library,
}

impl Vault {
    /// Reads keys in the format of a key file: base64, one per line; the first one seals.
    pub fn from_key_text(text: &str) -> Option<Self> {
        Some(Self(keys_of_text(text)?.into()))
    }

    /// A vault with this key.
    pub fn from_key(key: &[u8; KEY_LEN]) -> Result<Self, VaultError> {
        Ok(Self([Key::new(key)?].into()))
    }

    /// How many keys it has.
    pub fn keys(&self) -> usize {
        self.0.len()
    }

    /// Seals a value for one place in the store, named by `context` (`table/column/row`).
    pub(crate) fn seal(&self, context: &str, secret: &Secret) -> Result<Vec<u8>, VaultError> {
        let key = self.0.first().ok_or(VaultError::Library)?;
        let mut sealed = secret.reveal().to_vec();
        let nonce =
            key.aead().seal_in_place_append_tag(Aad::from(context), &mut sealed).map_err(|_| VaultError::Library)?;
        let mut record = Vec::with_capacity(1 + size_of::<KeyId>() + NONCE_LEN + sealed.len());
        record.push(FORMAT);
        record.extend_from_slice(&key.id());
        record.extend_from_slice(nonce.as_ref());
        record.extend_from_slice(&sealed);
        Ok(record)
    }

    /// Opens what was sealed for this very place.
    pub(crate) fn open(&self, context: &str, record: &[u8]) -> Result<Secret, VaultError> {
        let (key, rest) = self.key_of(record)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN).ok_or(VaultError::DoesNotOpen)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| VaultError::DoesNotOpen)?;
        let mut opened = Zeroizing::new(sealed.to_vec());
        let plain =
            key.aead().open_in_place(nonce, Aad::from(context), &mut opened).map_err(|_| VaultError::DoesNotOpen)?;
        Ok(Secret::new(&*plain))
    }

    /// Sixteen bits that are the same for the same secret in the same place: enough to see that it comes again, too few to
    /// find it by. Another key gives others.
    pub(crate) fn short_tag(&self, context: &str, secret: &Secret) -> u16 {
        let Some(key) = self.0.first() else { return 0 };
        let mut hashed = hmac::Context::with_key(key.tagging());
        hashed.update(context.as_bytes());
        hashed.update(&[0]);
        hashed.update(secret.reveal());
        hashed.sign().as_ref().first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes))
    }

    /// Whether a value was sealed with the key that seals now.
    pub(crate) fn is_current(&self, record: &[u8]) -> bool {
        self.key_of(record).is_ok_and(|(key, _)| self.0.first().is_some_and(|first| first.id() == key.id()))
    }

    /// The key a record was sealed with, and what follows the key's id.
    fn key_of<'a>(&self, record: &'a [u8]) -> Result<(&Key, &'a [u8]), VaultError> {
        let (&format, rest) = record.split_first().ok_or(VaultError::DoesNotOpen)?;
        let (id, rest) = rest.split_first_chunk::<{ size_of::<KeyId>() }>().ok_or(VaultError::DoesNotOpen)?;
        let key = self.0.iter().find(|key| format == FORMAT && key.id() == *id).ok_or(VaultError::DoesNotOpen)?;
        Ok((key, rest))
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};

    use super::*;

    fn vault(fill: u8) -> Vault {
        Vault::from_key(&[fill; KEY_LEN]).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_only_in_its_place_and_whole() {
        let sealed = vault(1).seal("token/refresh/a@x", &Secret::from("rt")).unwrap();
        assert_eq!(vault(1).open("token/refresh/a@x", &sealed).unwrap().reveal(), b"rt");
        assert_eq!(vault(1).open("token/refresh/b@x", &sealed), Err(VaultError::DoesNotOpen));
        assert_eq!(vault(2).open("token/refresh/a@x", &sealed), Err(VaultError::DoesNotOpen));
        for index in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[index] ^= 1;
            assert!(vault(1).open("token/refresh/a@x", &changed).is_err(), "byte {index}");
            assert!(vault(1).open("token/refresh/a@x", &sealed[..index]).is_err(), "length {index}");
        }
        assert_ne!(sealed, vault(1).seal("token/refresh/a@x", &Secret::from("rt")).unwrap());
    }

    #[test]
    fn the_first_key_seals_and_the_others_only_open() {
        let old = vault(1).seal("c", &Secret::from("s")).unwrap();
        let text = |fill: u8| STANDARD.encode([fill; KEY_LEN]);
        let both = Vault::from_key_text(&format!("{}\n{}\n", text(2), text(1))).unwrap();
        assert_eq!(both.keys(), 2);
        assert_eq!(both.open("c", &old).unwrap().reveal(), b"s");
        assert!(!both.is_current(&old) && vault(1).is_current(&old));
        let new = both.seal("c", &Secret::from("s")).unwrap();
        assert!(both.is_current(&new));
        assert_eq!(vault(1).open("c", &new), Err(VaultError::DoesNotOpen));
        assert_eq!(vault(2).open("c", &new).unwrap().reveal(), b"s");
    }

    #[test]
    fn short_tag_is_the_same_for_the_same_secret_in_the_same_place() {
        let tag = |fill, context, secret| vault(fill).short_tag(context, &Secret::from(secret));
        let same = tag(1, "a", "secret");
        assert_eq!(tag(1, "a", "secret"), same);
        assert_eq!(
            [tag(2, "a", "secret"), tag(1, "b", "secret"), tag(1, "a", "secreu")].map(|tag| tag == same),
            [false; 3]
        );
    }

    #[test]
    fn prints_nothing_of_its_key() {
        assert_eq!(format!("{:?}", vault(7)), "Vault([redacted])");
    }
}
