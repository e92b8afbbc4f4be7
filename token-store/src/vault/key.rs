//! Keys, and their form as text.

use std::sync::Arc;

use aws_lc_rs::{
    aead::{AES_256_GCM, RandomizedNonceKey},
    digest, hmac, rand,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use oxpost_protocol::Secret;
use zeroize::Zeroizing;

use super::VaultError;

/// Bytes of an AES-256 key.
pub(crate) const KEY_LEN: usize = 32;

/// How many keys one text may hold: the one that seals, and those that open what was sealed before.
pub(crate) const KEYS_LIMIT: usize = 4;

/// Names a key without telling anything of it: the first bytes of a digest over its 256 random bits.
pub(super) type KeyId = [u8; 4];

/// Keeps this digest apart from every other one of the same bytes.
const ID_LABEL: &[u8] = b"oxpost key id\0";

/// The same for the key of tags.
const TAGGING_LABEL: &[u8] = b"oxpost tagging key\0";

/// A key, ready to be used.
#[derive(Clone)]
pub(super) struct Key {
    id: KeyId,
    aead: Arc<RandomizedNonceKey>,
    tagging: hmac::Key,
}

impl Key {
    pub(super) fn new(bytes: &[u8; KEY_LEN]) -> Result<Self, VaultError> {
        let aead = RandomizedNonceKey::new(&AES_256_GCM, bytes).map_err(|_| VaultError::Library)?;
        let mut digest = digest::Context::new(&digest::SHA256);
        digest.update(ID_LABEL);
        digest.update(bytes);
        let id = digest.finish().as_ref().first_chunk().copied().ok_or(VaultError::Library)?;
        let mut digest = digest::Context::new(&digest::SHA256);
        digest.update(TAGGING_LABEL);
        digest.update(bytes);
        let tagging = hmac::Key::new(hmac::HMAC_SHA256, digest.finish().as_ref());
        Ok(Self { id, aead: Arc::new(aead), tagging })
    }

    pub(super) fn id(&self) -> KeyId {
        self.id
    }

    /// A key derived from it, for tags.
    pub(super) fn tagging(&self) -> &hmac::Key {
        &self.tagging
    }

    pub(super) fn aead(&self) -> &RandomizedNonceKey {
        &self.aead
    }
}

/// The keys of a text, in base64 with blanks or line ends between them. Nothing if one of it is no key.
pub(super) fn keys_of_text(text: &str) -> Option<Vec<Key>> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    if words.is_empty() || words.len() > KEYS_LIMIT {
        return None;
    }
    words.into_iter().map(|word| Key::new(&*bytes_of_text(word)?).ok()).collect()
}

fn bytes_of_text(word: &str) -> Option<Zeroizing<[u8; KEY_LEN]>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(KEY_LEN + 2));
    STANDARD.decode_vec(word, &mut bytes).ok()?;
    bytes.as_slice().try_into().ok().map(Zeroizing::new)
}

/// A key that was just made and seals nothing yet.
#[derive(Debug)]
pub struct NewKey(Secret);

impl NewKey {
    /// Makes one from the system's random numbers.
    pub fn generate() -> Result<Self, VaultError> {
        let mut bytes = Zeroizing::new([0; KEY_LEN]);
        rand::fill(bytes.as_mut()).map_err(|_| VaultError::Library)?;
        Ok(Self(Secret::from(STANDARD.encode(bytes.as_ref()))))
    }

    /// The key in the format of a key file.
    pub fn text(&self) -> &Secret {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_holds_one_key_or_a_few_and_nothing_else() {
        let made: Vec<String> =
            (0..6).map(|_| NewKey::generate().unwrap().text().reveal_str().unwrap().to_owned()).collect();
        assert_ne!(made[0], made[1]);
        let count = |text: &str| keys_of_text(text).map(|keys| keys.len());
        assert_eq!(count(&format!("{}\n", made[0])), Some(1));
        assert_eq!(count(&format!("{}\r\n{} \n", made[0], made[1])), Some(2));
        assert_eq!(count(&made[..KEYS_LIMIT].join(" ")), Some(KEYS_LIMIT));
        assert_eq!(count(&made[..=KEYS_LIMIT].join(" ")), None);
        for bad in ["".to_owned(), "c2hvcnQ=".into(), format!("{} rubbish", made[0]), made.join(" ")] {
            assert_eq!(count(&bad), None, "{bad}");
        }
        assert!(!format!("{:?}", NewKey(Secret::from("abc"))).contains("abc"));
    }
}
