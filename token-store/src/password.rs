//! Local passwords, which mail clients log in with. Oxpost generates them, shows them once, and keeps only an argon2id hash.

use std::fmt;

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::phc::{self, Output, ParamsString, Salt},
};
use aws_lc_rs::{constant_time::verify_slices_are_equal, rand};
use oxpost_protocol::Secret;

pub(crate) use crate::working_memory::HashingFailed;
use crate::working_memory::{COST, WorkingMemory};

/// Letters and digits that cannot be taken for one another in any typeface: no 0 and o, no 1, i and l.
const ALPHABET: &[u8; 31] = b"abcdefghjkmnpqrstuvwxyz23456789";

/// 24 of 31 symbols are 118 bits.
const SYMBOLS: usize = 24;

/// Symbols between two hyphens.
const GROUP: usize = 4;

/// Bytes of a hash (RFC 9106, 4: 256 bits).
const HASH_LENGTH: usize = 32;

/// How every hash begins that was made so.
#[cfg(not(fuzzing))]
const AGREED: &str = "$argon2id$v=19$m=19456,t=2,p=1$";

#[cfg(fuzzing)]
const AGREED: &str = "$argon2id$v=19$m=8,t=1,p=1$";

/// A password that was just made. It is shown to a person once, and only its hash is kept.
#[derive(Clone, Debug)]
pub struct LocalPassword(Secret);

impl LocalPassword {
    /// Makes a new one, like `k7rm-w3xp-…`: 24 letters and digits, 118 bits.
    pub fn generate() -> Result<Self, HashingFailed> {
        let mut password = Vec::with_capacity(SYMBOLS + SYMBOLS / GROUP);
        let mut symbols = 0;
        while symbols < SYMBOLS {
            let mut byte = [0; 1];
            rand::fill(&mut byte).map_err(|_| HashingFailed)?;
            // 8 * 31 = 248: the bytes above would make the first symbols likelier than the others.
            let Some(symbol) = byte.first().filter(|&&b| b < 248).and_then(|&b| ALPHABET.get(usize::from(b) % 31))
            else {
                continue;
            };
            if symbols > 0 && symbols % GROUP == 0 {
                password.push(b'-');
            }
            password.push(*symbol);
            symbols += 1;
        }
        Ok(Self(Secret::new(password)))
    }

    /// The password, to be shown once.
    pub fn secret(&self) -> &Secret {
        &self.0
    }

    /// Hashes it, on a thread where that does not hold up others.
    pub async fn hash(&self) -> Result<PasswordHash, HashingFailed> {
        let password = self.0.clone();
        tokio::task::spawn_blocking(move || PasswordHash::of(&password)).await.map_err(|_| HashingFailed)?
    }
}

/// The text is no hash of a local password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no hash that `oxpost account password hash` has printed; run it, and copy the whole of its line")]
pub struct NotAHash;

/// The argon2id hash of a local password, as a PHC string. It is not printed: a hash can be attacked at leisure.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Hashes a password in memory of its own. This takes tens of milliseconds and 19 MiB: not on a runtime's worker thread,
    /// and in a long-lived process only for passwords that an administrator gives.
    pub fn of(password: &Secret) -> Result<Self, HashingFailed> {
        Self::of_in(password, &mut WorkingMemory::new()?)
    }

    /// Whether this is the password. As slow as [`PasswordHash::of`], and of the same size.
    pub fn verify(&self, password: &Secret) -> bool {
        WorkingMemory::new().is_ok_and(|mut memory| self.verify_in(password, &mut memory))
    }

    /// [`PasswordHash::of`] in the caller's memory.
    pub(crate) fn of_in(password: &Secret, memory: &mut WorkingMemory) -> Result<Self, HashingFailed> {
        let mut salt = [0; 16];
        rand::fill(&mut salt).map_err(|_| HashingFailed)?;
        let hashed = hash(as_hashed(password).reveal(), &salt, memory);
        Ok(Self(hashed.map_err(|_| HashingFailed)?.to_string()))
    }

    /// [`PasswordHash::verify`] in the caller's memory. A hash that costs more memory than ours is that of no password.
    pub(crate) fn verify_in(&self, password: &Secret, memory: &mut WorkingMemory) -> bool {
        phc::PasswordHash::new(&self.0).is_ok_and(|stored| is_hash_of(&stored, as_hashed(password).reveal(), memory))
    }

    /// A hash of the same cost that no password matches, for accounts that do not exist.
    pub(crate) fn dummy() -> Self {
        // Salt and hash are 16 and 32 bytes of zeros; to find a password for them is to break argon2.
        let (salt, hash) = ("A".repeat(22), "A".repeat(43));
        Self(format!("{AGREED}{salt}${hash}"))
    }

    /// Reads a hash that [`PasswordHash::text`] gave. Only hashes of the agreed cost are taken: a dearer one would be a way to
    /// use this machine up, and the time of a refusal would tell accounts apart.
    ///
    /// # Errors
    /// It is something else; what, is not said, because it may be a password.
    pub fn parse(text: &str) -> Result<Self, NotAHash> {
        let hash = phc::PasswordHash::new(text).map_err(|_| NotAHash)?;
        let prefix = text.get(..AGREED.len()).is_some_and(|prefix| prefix == AGREED);
        let whole = hash.salt.is_some() && hash.hash.is_some();
        if prefix && whole { Ok(Self(text.to_owned())) } else { Err(NotAHash) }
    }

    /// The hash as text, for a configuration file.
    pub fn text(&self) -> &str {
        &self.0
    }

    pub(crate) fn from_stored(phc: String) -> Self {
        Self(phc)
    }

    pub(crate) fn as_stored(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash([redacted])")
    }
}

/// The hash of these bytes at the agreed cost.
fn hash(
    password: &[u8],
    salt: &[u8],
    memory: &mut WorkingMemory,
) -> Result<phc::PasswordHash, argon2::password_hash::Error> {
    let (kilobytes, passes) = COST;
    let params = Params::new(kilobytes, passes, 1, Some(HASH_LENGTH))?;
    let mut out = [0; HASH_LENGTH];
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_into_with_memory(password, salt, &mut out, memory)?;
    Ok(phc::PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(argon2.params())?,
        salt: Some(Salt::new(salt)?),
        hash: Some(Output::new(&out)?),
    })
}

/// Whether these bytes have this hash, computed at its own cost, compared in constant time.
fn is_hash_of(stored: &phc::PasswordHash, password: &[u8], memory: &mut WorkingMemory) -> bool {
    let computed = || {
        let (salt, expected) = (stored.salt.as_ref()?, stored.hash.as_ref()?);
        let algorithm = Algorithm::try_from(stored.algorithm.as_str()).ok()?;
        let version = stored.version.map_or(Ok(Version::default()), Version::try_from).ok()?;
        let argon2 = Argon2::new(algorithm, version, Params::try_from(stored).ok()?);
        let mut out = [0; Output::MAX_LENGTH];
        let out = out.get_mut(..expected.len())?;
        argon2.hash_password_into_with_memory(password, salt, out, memory).ok()?;
        Some(verify_slices_are_equal(out, expected.as_bytes()).is_ok())
    };
    computed().unwrap_or(false)
}

/// The form in which a password is hashed: one of ours may be typed in capitals, with or without its hyphens, because
/// it is typed on the panels of printers. Any other password is taken byte by byte.
pub(crate) fn as_hashed(password: &Secret) -> Secret {
    let bare: Vec<u8> =
        password.reveal().iter().filter(|b| !matches!(b, b'-' | b' ')).map(u8::to_ascii_lowercase).collect();
    let ours = bare.len() == SYMBOLS && bare.iter().all(|b| ALPHABET.contains(b));
    let bare = Secret::new(bare);
    if ours { bare } else { password.clone() }
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::{PasswordHasher, PasswordVerifier};

    use super::*;

    #[test]
    fn a_password_of_ours_may_be_typed_in_any_way() {
        let password = LocalPassword::generate().unwrap();
        let shown = password.secret().reveal_str().unwrap().to_owned();
        assert_eq!(shown.split('-').map(str::len).collect::<Vec<_>>(), [4; 6], "six groups of four");
        assert_ne!(shown, LocalPassword::generate().unwrap().secret().reveal_str().unwrap());
        assert!(!format!("{password:?}").contains(&shown));

        let hash = PasswordHash::of(password.secret()).unwrap();
        assert!(hash.as_stored().starts_with(AGREED), "the agreed cost");
        assert_eq!(PasswordHash::parse(hash.text()), Ok(hash.clone()));
        for typed in [shown.clone(), shown.replace('-', ""), shown.to_uppercase(), shown.replace('-', " ")] {
            assert!(hash.verify(&Secret::from(typed)));
        }
        assert!(!hash.verify(&Secret::from(shown.replace('-', "_"))));
        assert!(!hash.verify(&Secret::from("")));
        assert!(!format!("{hash:?}").contains("argon2id"));
        assert!(
            phc::PasswordHash::new(PasswordHash::dummy().as_stored()).is_ok(),
            "the dummy is computed, not rejected"
        );
        assert!(!PasswordHash::from_stored("no hash".into()).verify(&Secret::from(shown)));
    }

    #[test]
    fn hashes_are_those_of_the_argon2_crate() {
        let (password, wrong) = (Secret::from("correct horse"), Secret::from("correct house"));
        let reference = Argon2::default();
        let ours = PasswordHash::of(&password).unwrap();
        assert!(reference.verify_password(password.reveal(), ours.text()).is_ok());
        // Another cost, as it may be stored by another version: 256 KiB, three passes, parallelism 2, 16 bytes.
        for (kilobytes, length) in [(19 * 1024, 32), (256, 16)] {
            let params = Params::new(kilobytes, 3, 2, Some(length)).unwrap();
            let argon2 = Argon2::new(Algorithm::Argon2i, Version::V0x10, params);
            let salt = b"sixteen bytes of";
            let theirs: phc::PasswordHash = argon2.hash_password_with_salt(password.reveal(), salt).unwrap();
            let theirs = PasswordHash::from_stored(theirs.to_string());
            assert!(theirs.verify(&password) && !theirs.verify(&wrong), "{}", theirs.text());
        }
        let dearer: phc::PasswordHash = Argon2::from(Params::new(19 * 1024 + 8, 1, 1, None).unwrap())
            .hash_password_with_salt(password.reveal(), b"sixteen bytes of")
            .unwrap();
        assert!(!PasswordHash::from_stored(dearer.to_string()).verify(&password), "it does not fit");
        for part in [AGREED, AGREED.trim_end_matches('$'), "$argon2id$v=19$m=19456,t=2,p=1$c2l4dGVlbiBieXRlcyBvZg"] {
            assert!(!PasswordHash::from_stored(part.into()).verify(&password), "{part}");
        }
    }

    #[test]
    fn no_other_hash_is_taken_from_a_file() {
        let dear = PasswordHash::dummy().text().replace("m=19456", "m=4194304");
        let half = AGREED.trim_end_matches('$').to_owned();
        for text in ["", "hunter2", "$argon2id$", &dear, &half, AGREED, "$argon2id$v=19$m=19456,t=2,p=1$AAAA"] {
            assert_eq!(PasswordHash::parse(text), Err(NotAHash), "{text}");
        }
    }

    #[test]
    fn any_other_password_is_taken_byte_by_byte() {
        assert_eq!(as_hashed(&Secret::from("Correct-Horse")).reveal(), b"Correct-Horse");
        assert_eq!(as_hashed(&Secret::new([0xff, b'-'])).reveal(), [0xff, b'-']);
    }
}
