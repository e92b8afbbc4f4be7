//! SASL XOAUTH2, as Exchange Online takes it.
//!
//! <https://learn.microsoft.com/exchange/client-developer/legacy-protocols/how-to-authenticate-an-imap-pop-smtp-application-by-using-oauth>

use super::Malformed;
use crate::Secret;

/// Who logs in upstream, and with what.
#[derive(Debug, Clone)]
pub struct XOAuth2 {
    /// The mailbox to open.
    pub user: String,
    /// The access token.
    pub token: Secret,
}

impl XOAuth2 {
    /// The one message of the mechanism, in base64: `user=` user `^A` `auth=Bearer ` token `^A^A`.
    ///
    /// # Errors
    /// The user or the token has a control character or the token a blank: it could forge a field of the message.
    pub fn message(&self) -> Result<Secret, Malformed> {
        let plain_user = !self.user.is_empty() && !self.user.chars().any(char::is_control);
        let plain_token = !self.token.is_empty() && self.token.reveal().iter().all(u8::is_ascii_graphic);
        if !plain_user || !plain_token {
            return Err(Malformed);
        }
        let user = self.user.as_bytes();
        let message = [b"user=", user, b"\x01auth=Bearer ", self.token.reveal(), b"\x01\x01"].concat();
        Ok(super::encode(&Secret::new(message)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(user: &str, token: &str) -> Result<String, Malformed> {
        let message = XOAuth2 { user: user.into(), token: Secret::from(token) }.message()?;
        Ok(message.reveal_str().unwrap().to_owned())
    }

    /// The example on Microsoft's page.
    #[test]
    fn is_what_microsoft_documents() {
        assert_eq!(
            of("test@contoso.onmicrosoft.com", "EwBAAl3BAAUFFpUAo7J3Ve0bjLBWZWCclRC3EoAA").unwrap(),
            "dXNlcj10ZXN0QGNvbnRvc28ub25taWNyb3NvZnQuY29tAWF1dGg9QmVhcmVyIEV3QkFBbDNCQUFVRkZwVUFvN0ozVmUwYmpMQldaV0NjbFJDM0VvQUEBAQ=="
        );
    }

    #[test]
    fn nothing_can_forge_a_field() {
        for (user, token) in
            [("a\x01auth=Bearer x", "t"), ("a", "t\x01"), ("a", "t t"), ("", "t"), ("a", ""), ("a\r\n", "t")]
        {
            assert_eq!(of(user, token), Err(Malformed), "{user:?} {token:?}");
        }
    }
}
