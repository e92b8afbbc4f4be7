//! Values sealed with a password: Fernet tokens under a key that PBKDF2 makes of the password.
//!
//! Fernet: <https://github.com/fernet/spec/blob/master/Spec.md>; PBKDF2-HMAC-SHA256: RFC 8018, 5.2.

use std::fmt;
use std::num::NonZeroU32;

use aws_lc_rs::cipher::{AES_128, DecryptionContext, PaddedBlockDecryptingKey, UnboundCipherKey};
use aws_lc_rs::{hmac, pbkdf2};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use oxpost_protocol::Secret;
use zeroize::Zeroizing;

/// Base64 of either alphabet appears with and without its padding.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);

/// The first byte of every token.
const VERSION: u8 = 0x80;

const IV_LEN: usize = 16;
const MAC_LEN: usize = 32;
/// Version and time, before the initialization vector.
const HEAD_LEN: usize = 1 + 8;

/// Counts of iterations that were the program's own, of the newest versions and of the oldest, which wrote none down:
/// tried when the file's does not fit.
const USUAL_ITERATIONS: [u32; 2] = [1_200_000, 100_000];

/// Some 10 seconds of work. The program's own highest count is a tenth of it.
const ITERATIONS_LIMIT: u32 = 12_000_000;

/// Salt and cost of the key that a password gives.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Lock {
    salt: Vec<u8>,
    iterations: Vec<NonZeroU32>,
}

/// What is wrong with a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadLock {
    /// Without the salt there is no key.
    #[error("its `token_salt` is missing, so its sign-in cannot be decrypted; sign in again")]
    NoSalt,
    /// The salt is not base64.
    #[error("its `token_salt` is damaged, so its sign-in cannot be decrypted; sign in again")]
    BadSalt,
    /// The count is invalid, or would keep the machine busy for minutes.
    #[error("its `token_iterations` is not a number from 1 to {ITERATIONS_LIMIT}; correct it, or sign in again")]
    BadIterations,
}

impl Lock {
    /// The salt in base64, and the count of iterations as the file has it.
    pub(super) fn new(salt: Option<&str>, iterations: Option<&str>) -> Result<Self, BadLock> {
        let salt = STANDARD.decode(salt.ok_or(BadLock::NoSalt)?.trim()).map_err(|_| BadLock::BadSalt)?;
        if salt.is_empty() {
            return Err(BadLock::BadSalt);
        }
        let mut counts = Vec::new();
        if let Some(text) = iterations {
            let count = text.trim().parse().ok().filter(|count: &u32| (1..=ITERATIONS_LIMIT).contains(count));
            counts.push(count.ok_or(BadLock::BadIterations)?);
        }
        counts.extend(USUAL_ITERATIONS.into_iter().filter(|usual| counts.first() != Some(usual)).collect::<Vec<_>>());
        Ok(Self { salt, iterations: counts.into_iter().filter_map(NonZeroU32::new).collect() })
    }

    /// What a password opens. Nothing is computed yet.
    pub(crate) fn opener(&self, password: &Secret) -> Opener<'_> {
        Opener { lock: self, password: password.clone(), keys: Vec::new() }
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lock([redacted])")
    }
}

/// A password on its lock. Each key takes up to a second, as it is meant to, so they are made when they are needed.
pub(crate) struct Opener<'a> {
    lock: &'a Lock,
    password: Secret,
    keys: Vec<Secret>,
}

impl Opener<'_> {
    /// Opens a value, if this is the password it was sealed with.
    pub(crate) fn open(&mut self, sealed: &str) -> Option<Secret> {
        let token = URL_SAFE.decode(sealed.trim()).ok()?;
        let mut tried = 0;
        loop {
            if let Some(opened) = self.keys.get(tried..)?.iter().find_map(|key| open(&token, key)) {
                return Some(opened);
            }
            tried = self.keys.len();
            let iterations = *self.lock.iterations.get(tried)?;
            self.keys.push(key(&self.password, &self.lock.salt, iterations));
        }
    }
}

fn key(password: &Secret, salt: &[u8], iterations: NonZeroU32) -> Secret {
    let mut key = Zeroizing::new([0; 32]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, password.reveal(), &mut *key);
    Secret::new(*key)
}

/// The first half of the key signs, the second encrypts (AES-128 in CBC mode).
fn open(token: &[u8], key: &Secret) -> Option<Secret> {
    let (signing, encrypting) = key.reveal().split_first_chunk::<16>()?;
    let (signed, mac) = token.split_last_chunk::<MAC_LEN>()?;
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, signing), signed, mac).ok()?;
    let (head, rest) = signed.split_first_chunk::<HEAD_LEN>()?;
    let (iv, sealed) = rest.split_first_chunk::<IV_LEN>()?;
    if head.first() != Some(&VERSION) {
        return None;
    }
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_128, encrypting).ok()?).ok()?;
    let mut opened = Zeroizing::new(sealed.to_vec());
    let plain = key.decrypt(&mut opened, DecryptionContext::Iv128((*iv).into())).ok()?;
    Some(Secret::new(&*plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification (`verify.json`), whose key is given and not made of a password.
    #[test]
    fn the_example_of_the_specification_opens() {
        let key = Secret::new(URL_SAFE.decode("cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=").unwrap());
        let token =
            "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA==";
        let token = URL_SAFE.decode(token).unwrap();
        assert_eq!(open(&token, &key).unwrap().reveal(), b"hello");
        for index in 0..token.len() {
            let mut changed = token.clone();
            changed[index] ^= 1;
            assert!(open(&changed, &key).is_none(), "byte {index}");
            assert!(open(&token[..index], &key).is_none(), "length {index}");
        }
    }

    #[test]
    fn a_lock_that_cannot_be_is_refused_with_the_reason() {
        assert_eq!(Lock::new(None, None), Err(BadLock::NoSalt));
        for salt in ["not base64!", "", "="] {
            assert_eq!(Lock::new(Some(salt), None), Err(BadLock::BadSalt), "{salt:?}");
        }
        for count in ["0", "-1", "many", "12000001", "99999999999"] {
            assert_eq!(Lock::new(Some("c2FsdA=="), Some(count)), Err(BadLock::BadIterations), "{count}");
        }
        let lock = Lock::new(Some("c2FsdA"), Some("870000")).unwrap();
        assert_eq!(lock.iterations.iter().map(|count| count.get()).collect::<Vec<_>>(), [870_000, 1_200_000, 100_000]);
        assert_eq!(Lock::new(Some("c2FsdA=="), Some("1200000")).unwrap().iterations.len(), 2, "no key is made twice");
        assert_eq!(format!("{lock:?}"), "Lock([redacted])");
        assert!(lock.opener(&Secret::from("x")).open("no token").is_none());
    }
}
