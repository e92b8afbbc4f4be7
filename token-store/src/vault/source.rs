//! Where the key comes from: a file, a file that Windows has sealed, a credential of systemd, or the environment.

use std::{
    env, fmt, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    str::FromStr,
};

use oxpost_protocol::Secret;
use zeroize::Zeroizing;

use super::{NewKey, Vault, VaultError, dpapi};
use crate::{
    platform,
    text_file::{Text, TextError, TextFile},
};

/// A key file is a line or two of base64; anything much longer is another file.
const KEY_FILE_LIMIT: u64 = 4096;

/// For messages: what a key looks like.
pub(super) const KEY_FORM: &str = "a key of 32 bytes in base64";

/// Set by systemd for a unit with credentials (systemd.exec(5), `LoadCredential=`).
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Where the key of a store comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A file that only its owner may read. It is made at the first start.
    File(PathBuf),
    /// A file that Windows has sealed for this machine (DPAPI). It is made at the first start.
    Dpapi(PathBuf),
    /// A credential that systemd hands to the service, by name.
    Credential(String),
    /// An environment variable, by name.
    ///
    /// It stays in the environment: taking it out is undefined behaviour in a process that has threads, and the memory
    /// in which the kernel handed it over, which is what `/proc/PID/environ` shows, would stay as it is.
    Environment(String),
}

/// Whether [`KeySource::open`] made a new key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// The key file is new: whatever was sealed before needs the file that was there before.
    Yes,
    /// The key was there.
    No,
}

impl KeySource {
    /// Reads the key. A key file that is missing is made, with a new random key; other sources are never written.
    pub fn open(&self) -> Result<(Vault, Created), VaultError> {
        let created = match self.file() {
            Some(path) if !path.exists() => {
                let key = NewKey::generate()?;
                self.create(&Zeroizing::new(format!("{}\n", key.text().reveal_str().unwrap_or_default())))?
            }
            _ => false,
        };
        Ok((self.read()?, if created { Created::Yes } else { Created::No }))
    }

    /// Reads the key, which must be there.
    pub fn read(&self) -> Result<Vault, VaultError> {
        let text = self.text()?;
        if let Some(vault) = Vault::from_key_text(text.reveal()) {
            return Ok(vault);
        }
        // In quotes, for example: the key is there.
        if let Err(error) = text.value("the key")
            && error.is_shape()
        {
            return Err(VaultError::Text(error));
        }
        Err(match self {
            Self::Environment(name) => VaultError::BadVariable { name: name.clone() },
            Self::File(path) if dpapi::looks_sealed(text.reveal()) => {
                VaultError::SealedByWindows { path: path.clone() }
            }
            Self::File(path) | Self::Dpapi(path) => VaultError::NotAKey { path: path.clone() },
            Self::Credential(name) => VaultError::NotAKey { path: name.into() },
        })
    }

    /// Whether there is something to read.
    pub fn exists(&self) -> bool {
        match self {
            Self::File(path) | Self::Dpapi(path) => path.exists(),
            Self::Credential(name) => credentials_directory().is_some_and(|directory| directory.join(name).exists()),
            Self::Environment(name) => env::var_os(name).is_some(),
        }
    }

    /// The file that is ours to make and to write, if it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) | Self::Dpapi(path) => Some(path),
            Self::Credential(_) | Self::Environment(_) => None,
        }
    }

    /// The same source, a relative path taken from this folder.
    #[must_use]
    pub fn within(self, folder: &Path) -> Self {
        match self {
            Self::File(path) => Self::File(folder.join(path)),
            Self::Dpapi(path) => Self::Dpapi(folder.join(path)),
            other => other,
        }
    }

    /// Puts a new key in front of those in the key file, which then opens what was sealed before and seals with the new
    /// one. Gives back nothing if this source is not ours to write.
    pub(crate) fn put_in_front(&self, key: &NewKey) -> Result<Option<()>, VaultError> {
        let text = if self.file().is_some() { self.text()? } else { return Ok(None) };
        let new = key.text().reveal_str().unwrap_or_default();
        self.replace(&Zeroizing::new(format!("{new}\n{}\n", text.reveal().trim()))).map(Some)
    }

    /// Takes every key but the first out of the key file. Gives back nothing if this source is not ours to write.
    pub(crate) fn keep_first(&self) -> Result<Option<()>, VaultError> {
        let text = if self.file().is_some() { self.text()? } else { return Ok(None) };
        let first = text.reveal().split_ascii_whitespace().next().unwrap_or_default();
        self.replace(&Zeroizing::new(format!("{first}\n"))).map(Some)
    }

    /// Writes these keys into another file, which must not exist yet.
    ///
    /// # Errors
    /// These keys cannot be read, or the file cannot be made.
    pub fn copy_to(&self, other: &Self) -> Result<(), VaultError> {
        let path = other.file().ok_or(VaultError::NoFile)?;
        // Nothing but keys goes there.
        self.read()?;
        let text = self.text()?;
        if other.create(text.reveal())? { Ok(()) } else { Err(VaultError::Exists { path: path.to_owned() }) }
    }

    /// Makes the file. `false` if it is there already.
    fn create(&self, text: &str) -> Result<bool, VaultError> {
        let Some(path) = self.file() else { return Ok(false) };
        match write_new(path, &self.as_written(text)?) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(unusable(path, &error)),
        }
    }

    /// Replaces the file in one step: at every moment there is the old one or the new one, whole.
    fn replace(&self, text: &str) -> Result<(), VaultError> {
        let Some(path) = self.file() else { return Ok(()) };
        replace(path, &self.as_written(text)?).map_err(|error| unusable(path, &error))
    }

    /// The content of the file for this text of keys.
    fn as_written(&self, text: &str) -> Result<Secret, VaultError> {
        match self {
            Self::Dpapi(path) => dpapi::seal(text).map(Secret::from).map_err(|error| unusable(path, &error)),
            _ => Ok(Secret::from(text)),
        }
    }

    fn text(&self) -> Result<Text, VaultError> {
        match self {
            Self::File(path) => read_file(path),
            Self::Dpapi(path) => dpapi::open(path, read_file(path)?.reveal()).map(|text| Text::opened(path, text)),
            Self::Credential(name) => {
                let directory =
                    credentials_directory().ok_or_else(|| VaultError::NoCredential { name: name.clone() })?;
                let path = directory.join(name);
                if path.exists() { read_file(&path) } else { Err(VaultError::NoCredential { name: name.clone() }) }
            }
            Self::Environment(name) => {
                let text = Text::of_variable(name).ok_or_else(|| VaultError::NoVariable { name: name.clone() })?;
                text.map_err(|_| VaultError::BadVariable { name: name.clone() })
            }
        }
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) | Self::Dpapi(path) => write!(f, "the key file {}", path.display()),
            Self::Credential(name) => write!(f, "the credential {name}"),
            Self::Environment(name) => write!(f, "the environment variable {name}"),
        }
    }
}

/// The text names no source of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKeySource {
    /// Of any kind.
    #[error(
        "`{0}` names no source of a key; write \"file:oxpost.key\" (a file), \"credential:NAME\" (handed over by systemd), \
         \"environment:NAME\" (a variable) or, on Windows, \"dpapi:oxpost.key\" (a file that only this machine can open)"
    )]
    Unknown(String),
    /// Of a kind that another system has.
    #[error(
        "`dpapi:` is for Windows; write \"file:oxpost.key\" (a file) or \"credential:NAME\" (handed over by systemd, which can keep \
         it encrypted)"
    )]
    NotHere,
}

impl FromStr for KeySource {
    type Err = BadKeySource;

    fn from_str(text: &str) -> Result<Self, BadKeySource> {
        let bad = || BadKeySource::Unknown(text.chars().filter(|c| !c.is_control()).take(80).collect());
        let (kind, rest) = text.split_once(':').ok_or_else(bad)?;
        let rest = rest.trim();
        // A credential is a file in one directory, and must not lead out of it.
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let name = || {
            let plain = !rest.starts_with('.') && rest.chars().all(word);
            plain.then(|| rest.to_owned()).ok_or_else(bad)
        };
        match kind.trim() {
            _ if rest.is_empty() => Err(bad()),
            "file" => Ok(Self::File(rest.into())),
            "dpapi" if platform::SEALS => Ok(Self::Dpapi(rest.into())),
            "dpapi" => Err(BadKeySource::NotHere),
            "credential" => name().map(Self::Credential),
            "environment" => name().map(Self::Environment),
            _ => Err(bad()),
        }
    }
}

fn credentials_directory() -> Option<PathBuf> {
    env::var_os(CREDENTIALS_DIRECTORY).map(PathBuf::from)
}

/// Reads a file that must exist and that only its owner may read.
fn read_file(path: &Path) -> Result<Text, VaultError> {
    let failed = |error: TextError| VaultError::Text(error.about("the key"));
    let file = TextFile::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !platform::is_private(path, &metadata, credentials_directory().as_deref()) {
        return Err(VaultError::TooOpen { path: path.to_owned(), advice: platform::make_private_advice(path) });
    }
    match file.text(KEY_FILE_LIMIT) {
        Ok(text) => Ok(text),
        // The keys are there, in another encoding.
        Err(error) if error.is_shape() || error.is_unreadable() => Err(failed(error)),
        Err(_) => Err(VaultError::NotAKey { path: path.to_owned() }),
    }
}

/// The new file is complete on disk before it is used: a sealed value whose key was lost in a power cut is lost too.
fn write_new(path: &Path, text: &Secret) -> io::Result<()> {
    let mut file = platform::create_private(path)?;
    let written = file
        .write_all(text.reveal())
        .and_then(|()| file.sync_all())
        .and_then(|()| platform::sync_directory(directory_of(path)));
    if written.is_err() {
        // An empty or incomplete key file would make the next attempt fail.
        let _ = fs::remove_file(path);
    }
    written
}

fn replace(path: &Path, text: &Secret) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // Left by a process that was killed in here; it was never the key file.
    let _ = fs::remove_file(&beside);
    write_new(&beside, text)
        .and_then(|()| platform::give_to_owner_of(path, &beside))
        .and_then(|()| fs::rename(&beside, path))
        .and_then(|()| platform::sync_directory(directory_of(path)))
}

fn unusable(path: &Path, error: &io::Error) -> VaultError {
    VaultError::KeyFile { path: path.to_owned(), why: error.to_string() }
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text_file::shapes::{self, Reading};

    #[test]
    fn a_source_is_named_by_its_kind() {
        for (text, source) in [
            ("file:oxpost.key", KeySource::File("oxpost.key".into())),
            (r"file:C:\ProgramData\Oxpost\oxpost.key", KeySource::File(r"C:\ProgramData\Oxpost\oxpost.key".into())),
            ("credential:oxpost-key", KeySource::Credential("oxpost-key".into())),
            ("environment:OXPOST_KEY", KeySource::Environment("OXPOST_KEY".into())),
        ] {
            assert_eq!(text.parse(), Ok(source));
        }
        let dpapi = "dpapi:oxpost.key".parse();
        let expected =
            if cfg!(windows) { Ok(KeySource::Dpapi("oxpost.key".into())) } else { Err(BadKeySource::NotHere) };
        assert_eq!(dpapi, expected);
        for bad in
            ["oxpost.key", "", "file:", "credential:../etc/passwd", "credential:..", "environment:A=B", "vault:x"]
        {
            let error = bad.parse::<KeySource>().unwrap_err().to_string();
            assert!(error.contains("file:oxpost.key"), "{error}");
        }
    }

    #[test]
    fn a_new_key_file_is_private_and_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("oxpost.key");
        let source = KeySource::File(path.clone());
        assert!(!source.exists());
        let (made, created) = source.open().unwrap();
        assert_eq!(created, Created::Yes);
        let sealed = made.seal("c", &Secret::from("s")).unwrap();
        let (again, created) = source.open().unwrap();
        assert_eq!(created, Created::No);
        assert_eq!(again.open("c", &sealed).unwrap().reveal(), b"s");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            let refused = source.read().unwrap_err();
            assert!(refused.to_string().contains("chmod 600"), "{refused}");
            let metadata = fs::metadata(&path).unwrap();
            assert!(platform::is_private(&path, &metadata, Some(dir.path())), "handed over by systemd");
        }
    }

    #[test]
    fn a_key_is_put_in_front_and_the_rest_taken_out_in_whole_steps() {
        let dir = tempfile::tempdir().unwrap();
        let source = KeySource::File(dir.path().join("oxpost.key"));
        let (old, _) = source.open().unwrap();
        let sealed = old.seal("c", &Secret::from("s")).unwrap();
        fs::write(dir.path().join("oxpost.key.new"), "left by a kill").unwrap();
        source.put_in_front(&NewKey::generate().unwrap()).unwrap().unwrap();
        let both = source.read().unwrap();
        assert_eq!((both.keys(), both.is_current(&sealed)), (2, false));
        assert_eq!(both.open("c", &sealed).unwrap().reveal(), b"s");
        source.keep_first().unwrap().unwrap();
        let new = source.read().unwrap();
        assert_eq!(new.keys(), 1);
        assert!(new.open("c", &both.seal("c", &Secret::from("s")).unwrap()).is_ok());
        assert!(new.open("c", &sealed).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left lying about");
        let theirs = KeySource::Environment("X".into());
        assert_eq!(theirs.put_in_front(&NewKey::generate().unwrap()), Ok(None));
    }

    #[test]
    fn what_is_no_key_is_refused_with_the_next_step() {
        let dir = tempfile::tempdir().unwrap();
        let missing = KeySource::File(dir.path().join("none")).read().unwrap_err();
        assert!(matches!(missing, VaultError::Text(_)), "{missing}");
        for (name, content) in
            [("short", &b"c2hvcnQ=\n"[..]), ("empty", b""), ("binary", &[0xff; 32]), ("text", b"not base64!")]
        {
            let path = dir.path().join(name);
            platform::create_private(&path).unwrap().write_all(content).unwrap();
            assert_eq!(KeySource::File(path.clone()).read().unwrap_err(), VaultError::NotAKey { path }, "{name}");
        }
        let unset = KeySource::Environment("OXPOST_TEST_NOBODY_SETS_THIS".into()).open().unwrap_err();
        assert!(unset.to_string().contains("oxpost store new-key"), "{unset}");
        let none = KeySource::Credential("oxpost-key".into()).open().unwrap_err();
        assert!(none.to_string().contains("LoadCredential=oxpost-key:"), "{none}");
    }

    #[test]
    fn key_file_of_every_shape_is_read_or_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("oxpost.key");
        let key = NewKey::generate().unwrap().text().reveal_str().unwrap().to_owned();
        for shape in shapes::of(&key) {
            let _ = fs::remove_file(&path);
            platform::create_private(&path).unwrap().write_all(&shape.bytes).unwrap();
            let read = KeySource::File(path.clone()).read();
            match (read, shape.one_line) {
                // Keys are words: what is between and around them is not part of them.
                (Ok(_), Reading::Meant) => {}
                (Ok(_), Reading::Named(words)) => {
                    assert!(words.contains("white space") || words == "has 2 lines", "{}", shape.name);
                }
                (Err(VaultError::NotAKey { .. }), Reading::Named(words)) => {
                    assert!(
                        ["is empty", "has 2 lines", "is not UTF-8 in line", "NUL"].contains(&words),
                        "{}",
                        shape.name
                    );
                }
                (Err(error), Reading::Named(words)) => {
                    let error = error.to_string();
                    assert!(error.contains("oxpost.key") && error.contains(words), "{}: {error}", shape.name);
                    assert!(!error.contains(&key), "{error}");
                }
                (read, _) => panic!("{}: {read:?}", shape.name),
            }
        }
    }

    #[test]
    fn a_copy_of_the_keys_opens_the_same_and_overwrites_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let source = KeySource::File(dir.path().join("oxpost.key"));
        let copy = KeySource::File(dir.path().join("copy.key"));
        assert!(matches!(source.copy_to(&copy), Err(VaultError::Text(_))), "there is no key yet");
        assert!(!copy.exists());
        let sealed = source.open().unwrap().0.seal("c", &Secret::from("s")).unwrap();
        source.put_in_front(&NewKey::generate().unwrap()).unwrap().unwrap();
        source.copy_to(&copy).unwrap();
        assert_eq!(copy.read().unwrap().keys(), 2);
        assert_eq!(copy.read().unwrap().open("c", &sealed).unwrap().reveal(), b"s");
        let path = dir.path().join("copy.key");
        let before = fs::read(&path).unwrap();
        source.keep_first().unwrap().unwrap();
        assert_eq!(source.copy_to(&copy), Err(VaultError::Exists { path: path.clone() }));
        assert_eq!(fs::read(&path).unwrap(), before);
        assert_eq!(source.copy_to(&KeySource::Environment("X".into())), Err(VaultError::NoFile));
        let nowhere = KeySource::File(dir.path().join("none").join("copy.key"));
        assert!(matches!(source.copy_to(&nowhere), Err(VaultError::KeyFile { .. })), "no file is in the way");
    }
}
