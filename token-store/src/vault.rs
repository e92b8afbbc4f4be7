//! The vault: encryption of what the store keeps secret.
//!
//! AES-256-GCM with a random nonce. What is sealed is bound to its place (`table/column/row`) as associated data, so a
//! sealed value that somebody moved to another account's row does not open there.

use std::{
    env, fmt, fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    rand,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use oxpost_protocol::Secret;
use zeroize::Zeroizing;

use crate::platform;

/// The first byte of everything sealed: which key, and which way of sealing. A second key will get a second number.
const KEY_ID: u8 = 1;

/// Bytes of an AES-256 key.
const KEY_LEN: usize = 32;

/// A key file is one line of base64; anything much longer is another file.
const KEY_FILE_LIMIT: u64 = 4096;

/// Seals and opens. Cheap to clone; prints nothing of its key.
#[derive(Clone)]
pub struct Vault(Arc<RandomizedNonceKey>);

/// Whether [`Vault::open_or_create`] made a new key file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The file is new: whatever was sealed before needs the file that was there before.
    Yes,
    /// The file was there.
    No,
}

/// Why there is no vault, or why something does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The key file cannot be read or created.
    #[error("the key file {} cannot be used: {why}; check the path and who may read it", path.display())]
    KeyFile {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// Others may read the key file.
    #[error("the key file {} can be read by others than its owner; {advice}", path.display())]
    TooOpen {
        /// Which file.
        path: PathBuf,
        /// The command to run.
        advice: String,
    },
    /// The file's content is no key.
    #[error(
        "the key file {} does not hold a key of {KEY_LEN} bytes in base64; restore it from your backup, or name another file",
        path.display()
    )]
    NotAKey {
        /// Which file.
        path: PathBuf,
    },
    /// A sealed value does not open: another key, another row, or damage.
    #[error("a sealed value does not open with this key")]
    DoesNotOpen,
    /// The cryptographic library failed, which it never should.
    #[error("sealing failed in the cryptographic library; restart, and report it if it happens again")]
    Library,
}

impl Vault {
    /// Reads the key from a file that must exist and that only its owner may read.
    pub fn from_key_file(path: &Path) -> Result<Self, VaultError> {
        let failed = |error: io::Error| VaultError::KeyFile { path: path.to_owned(), why: error.to_string() };
        let file = fs::File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        let credentials = env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        if !platform::is_private(path, &metadata, credentials.as_deref()) {
            return Err(VaultError::TooOpen { path: path.to_owned(), advice: platform::make_private_advice(path) });
        }
        let mut text = Zeroizing::new(String::with_capacity(64));
        match file.take(KEY_FILE_LIMIT).read_to_string(&mut text) {
            Ok(_) => Self::from_key_text(&text).ok_or_else(|| VaultError::NotAKey { path: path.to_owned() }),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(VaultError::NotAKey { path: path.to_owned() })
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Reads the key file, or creates it with a new random key, readable by its owner alone.
    pub fn open_or_create(path: &Path) -> Result<(Self, Created), VaultError> {
        match Self::create(path) {
            Ok(vault) => Ok((vault, Created::Yes)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok((Self::from_key_file(path)?, Created::No)),
            Err(error) => Err(VaultError::KeyFile { path: path.to_owned(), why: error.to_string() }),
        }
    }

    /// The new key is complete on disk before it is used: a sealed value whose key was lost in a power cut is lost too.
    fn create(path: &Path) -> io::Result<Self> {
        let library = || io::Error::other("the system has no random numbers");
        let mut key = Zeroizing::new([0; KEY_LEN]);
        rand::fill(key.as_mut()).map_err(|_| library())?;
        let vault = Self::from_key(&key).map_err(|_| library())?;
        let mut file = platform::create_private(path)?;
        let text = Zeroizing::new(STANDARD.encode(key.as_ref()) + "\n");
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        if let Err(error) = written {
            // An empty or half-written key file would stand in the way of the next try.
            let _ = fs::remove_file(path);
            return Err(error);
        }
        platform::sync_directory(path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
        Ok(vault)
    }

    /// Reads the key from text, as it stands in a key file.
    pub fn from_key_text(text: &str) -> Option<Self> {
        let mut bytes = Zeroizing::new(Vec::new());
        STANDARD.decode_vec(text.trim(), &mut bytes).ok()?;
        Self::from_key(bytes.as_slice().try_into().ok()?).ok()
    }

    /// A vault with this key.
    pub fn from_key(key: &[u8; KEY_LEN]) -> Result<Self, VaultError> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| VaultError::Library)?;
        Ok(Self(Arc::new(key)))
    }

    /// Seals a value for one place in the store, named by `context` (`table/column/row`).
    pub fn seal(&self, context: &str, secret: &Secret) -> Result<Vec<u8>, VaultError> {
        let mut sealed = secret.reveal().to_vec();
        let nonce =
            self.0.seal_in_place_append_tag(Aad::from(context), &mut sealed).map_err(|_| VaultError::Library)?;
        let mut record = Vec::with_capacity(1 + NONCE_LEN + sealed.len());
        record.push(KEY_ID);
        record.extend_from_slice(nonce.as_ref());
        record.extend_from_slice(&sealed);
        Ok(record)
    }

    /// Opens what was sealed for this very place.
    pub fn open(&self, context: &str, record: &[u8]) -> Result<Secret, VaultError> {
        let (&id, rest) = record.split_first().ok_or(VaultError::DoesNotOpen)?;
        let (nonce, sealed) = rest.split_at_checked(NONCE_LEN).ok_or(VaultError::DoesNotOpen)?;
        if id != KEY_ID {
            return Err(VaultError::DoesNotOpen);
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| VaultError::DoesNotOpen)?;
        let mut opened = Zeroizing::new(sealed.to_vec());
        let plain =
            self.0.open_in_place(nonce, Aad::from(context), &mut opened).map_err(|_| VaultError::DoesNotOpen)?;
        Ok(Secret::new(&*plain))
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault([redacted])")
    }
}

#[cfg(test)]
mod tests {
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
    fn a_new_key_file_is_private_and_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("oxpost.key");
        let (made, created) = Vault::open_or_create(&path).unwrap();
        assert_eq!(created, Created::Yes);
        let sealed = made.seal("c", &Secret::from("s")).unwrap();
        let (again, created) = Vault::open_or_create(&path).unwrap();
        assert_eq!(created, Created::No);
        assert_eq!(again.open("c", &sealed).unwrap().reveal(), b"s");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            let refused = Vault::from_key_file(&path).unwrap_err();
            assert!(refused.to_string().contains("chmod 600"), "{refused}");
            let metadata = fs::metadata(&path).unwrap();
            assert!(platform::is_private(&path, &metadata, Some(dir.path())), "handed over by systemd");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_with_the_next_step() {
        let dir = tempfile::tempdir().unwrap();
        let missing = Vault::from_key_file(&dir.path().join("none")).unwrap_err();
        assert!(matches!(missing, VaultError::KeyFile { .. }), "{missing}");
        for (name, content) in
            [("short", &b"c2hvcnQ=\n"[..]), ("empty", b""), ("binary", &[0xff; 32]), ("text", b"not base64!")]
        {
            let path = dir.path().join(name);
            platform::create_private(&path).unwrap().write_all(content).unwrap();
            assert_eq!(Vault::from_key_file(&path).unwrap_err(), VaultError::NotAKey { path: path.clone() }, "{name}");
        }
    }

    #[test]
    fn prints_nothing_of_its_key() {
        assert_eq!(format!("{:?}", vault(7)), "Vault([redacted])");
    }
}
