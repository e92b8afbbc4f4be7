//! SASL PLAIN (RFC 4616).

use super::{Malformed, PASSWORD_LIMIT, USER_LIMIT};
use crate::{Login, Secret};

/// Takes the message `[authzid] NUL authcid NUL passwd` apart. The authorization identity, when there is one and differs,
/// names whose mailbox is meant (RFC 4616, 2); it is joined as `authcid\authzid`, the way a shared mailbox is written
/// everywhere else.
///
/// # Errors
/// There are not exactly two NUL, the user or the password is empty, or one of them is longer than its bound.
pub fn login(message: &Secret) -> Result<Login, Malformed> {
    let mut parts = message.reveal().split(|&byte| byte == 0);
    let (Some(acting_as), Some(user), Some(password), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Malformed);
    };
    // Some devices end the message with another NUL or a line end; that is Malformed above, as a password may not hold NUL.
    if user.is_empty() || password.is_empty() || password.len() > PASSWORD_LIMIT {
        return Err(Malformed);
    }
    let user = if acting_as.is_empty() || acting_as.eq_ignore_ascii_case(user) {
        user.to_vec()
    } else {
        [user, b"\\", acting_as].concat()
    };
    if user.len() > USER_LIMIT {
        return Err(Malformed);
    }
    Ok(Login::new(&user, Secret::new(password)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(message: &[u8]) -> Result<(String, Vec<u8>), Malformed> {
        login(&Secret::new(message)).map(|l| (l.user, l.password.reveal().to_vec()))
    }

    #[test]
    fn takes_user_and_password_apart() {
        assert_eq!(of(b"\0alice\0pa ss"), Ok(("alice".into(), b"pa ss".to_vec())));
        assert_eq!(of(b"alice\0alice\0x"), Ok(("alice".into(), b"x".to_vec())));
        assert_eq!(of(b"shared\0alice\0x"), Ok(("alice\\shared".into(), b"x".to_vec())));
        assert_eq!(of(b"\0alice\0p\xe9"), Ok(("alice".into(), b"p\xe9".to_vec())));
    }

    #[test]
    fn refuses_what_is_not_plain() {
        for message in [&b""[..], b"alice", b"\0alice", b"\0\0x", b"\0alice\0", b"\0alice\0x\0y"] {
            assert_eq!(of(message), Err(Malformed), "{message:?}");
        }
        assert_eq!(of(&[b"\0alice\0".to_vec(), vec![b'x'; PASSWORD_LIMIT + 1]].concat()), Err(Malformed));
        assert_eq!(of(&[vec![0], vec![b'x'; USER_LIMIT + 1], vec![0, b'x']].concat()), Err(Malformed));
    }
}
