//! SASL LOGIN (\[MS-XLOGIN\]): two prompts, user name then password.

use super::{Malformed, PASSWORD_LIMIT, USER_LIMIT};
use crate::{Login, Secret};

/// The prompt for the user name, base64 of `Username:`. Some devices compare it byte for byte.
pub const USER_PROMPT: &str = "VXNlcm5hbWU6";

/// The prompt for the password, base64 of `Password:`.
pub const PASSWORD_PROMPT: &str = "UGFzc3dvcmQ6";

/// Joins the two decoded answers.
///
/// # Errors
/// One of them is empty or longer than its bound.
pub fn login(user: &Secret, password: &Secret) -> Result<Login, Malformed> {
    // Devices written in C send their terminating NUL along.
    let user = user.reveal().strip_suffix(b"\0").unwrap_or(user.reveal());
    let password = password.reveal().strip_suffix(b"\0").unwrap_or(password.reveal());
    if user.is_empty() || user.len() > USER_LIMIT || password.is_empty() || password.len() > PASSWORD_LIMIT {
        return Err(Malformed);
    }
    Ok(Login::new(user, Secret::new(password)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_the_answers() {
        let both = login(&Secret::from("alice\0"), &Secret::from("secret")).unwrap();
        assert_eq!((both.user.as_str(), both.password.reveal()), ("alice", &b"secret"[..]));
        assert_eq!(login(&Secret::from(""), &Secret::from("x")), Err(Malformed));
        assert_eq!(login(&Secret::from("x"), &Secret::from("")), Err(Malformed));
    }
}
