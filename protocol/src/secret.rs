//! Values that must never be printed: passwords, tokens, client secrets, keys.

use std::fmt;

use zeroize::Zeroizing;

/// A secret byte string. It prints as `[redacted]` in every build and opens with one verb, [`Secret::reveal`], so that
/// every place that opens one can be found by searching for that word. Its memory is wiped on drop (best effort: copies
/// that libraries make are theirs).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the value over.
    pub fn new(value: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(value.into()))
    }

    /// The value itself. The caller is responsible for where it goes.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }

    /// The value as text, if it is UTF-8. The caller is responsible for where it goes.
    pub fn reveal_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Length in bytes, which is no secret.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Secret {
    fn from(value: &str) -> Self {
        Self::new(value.as_bytes())
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self::new(value.into_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_nothing_of_its_value() {
        let secret = Secret::from("correct horse");
        assert_eq!(format!("{secret} {secret:?} {:#?}", Some(&secret)).matches("horse").count(), 0);
        assert_eq!(secret.reveal_str(), Some("correct horse"));
    }
}
