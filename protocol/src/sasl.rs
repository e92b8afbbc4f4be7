//! The SASL mechanisms: PLAIN and LOGIN, which clients speak to us, and XOAUTH2, which we speak to the server.

pub mod exchange;
pub mod login;
pub mod plain;
pub mod redact;
pub mod xoauth2;

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

use crate::Secret;

/// Longest user name taken, in bytes. RFC 5321, 4.5.3.1 allows 64 + 1 + 255; `owner\shared` needs two of them.
pub const USER_LIMIT: usize = 641;

/// Longest password taken, in bytes. RFC 4616, 2 asks for at least 255; ours have 24 characters.
pub const PASSWORD_LIMIT: usize = 1024;

/// Longest line with a SASL message in it, its line end included (RFC 4954, 4). POP3 and IMAP name no bound of their own.
pub const LINE_LIMIT: usize = 12288;

/// What a client sent is not what the mechanism prescribes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// Old devices leave the padding away.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Base64 of one SASL message, without line breaks.
pub fn encode(message: &Secret) -> Secret {
    Secret::from(STANDARD.encode(message.reveal()))
}

/// Decodes one SASL message; blanks around it and missing padding are forgiven, and a lone `=` is the empty message
/// (RFC 4954, 4; RFC 4959, 3).
///
/// # Errors
/// It is not base64.
pub fn decode(line: &[u8]) -> Result<Secret, Malformed> {
    let line = line.trim_ascii();
    if line == b"=" {
        return Ok(Secret::default());
    }
    LENIENT.decode(line).map(Secret::new).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_with_and_without_padding() {
        for text in ["YWxpY2U=", "YWxpY2U", " YWxpY2U= "] {
            assert_eq!(decode(text.as_bytes()).unwrap().reveal(), b"alice");
        }
        assert!(decode(b"=").unwrap().is_empty());
        assert!(decode(b"").unwrap().is_empty());
        assert_eq!(decode(b"YWx*"), Err(Malformed));
    }
}
