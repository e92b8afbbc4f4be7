//! What the browser brings back from the authority's page (RFC 6749, 4.1.2): read here, believed only with our state.

use std::collections::HashMap;

use oxpost_protocol::Secret;

use crate::error::printable;

/// The longest query of a redirect that is read. Entra's codes have one to two thousand characters.
pub const REDIRECT_LIMIT: usize = 16 * 1024;

/// The authority's answer, as it came back with the state of this sign-in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect(pub(super) Answer);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The code to be redeemed.
    Code(Secret),
    /// RFC 6749, 4.1.2.1.
    Refused { error: String, description: String },
}

/// The address that came back is not the answer that is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedirectError {
    /// It has neither a code nor an error.
    #[error("that address has no answer of the sign-in page in it")]
    NoAnswer,
    /// There is no state, or only a part of one, behind the code.
    #[error("that address has no `state`: its end is missing")]
    NoState,
    /// It answers another sign-in, or is forged (RFC 6749, 10.12).
    #[error("that address answers another sign-in than this one")]
    WrongState,
    /// It is longer than any answer is.
    #[error("that address is too long to be an answer of the sign-in page")]
    TooLong,
}

impl Redirect {
    /// Reads the query of the redirect, which must carry the state that was sent (RFC 6749, 10.12).
    pub(super) fn read(query: &str, state: &Secret) -> Result<Self, RedirectError> {
        if query.len() > REDIRECT_LIMIT {
            return Err(RedirectError::TooLong);
        }
        let mut fields = HashMap::new();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            // RFC 6749, 3.1: no parameter stands twice. What would be believed is then not clear.
            if fields.insert(name.clone(), value).is_some() && ["code", "error", "state"].contains(&name.as_ref()) {
                return Err(RedirectError::NoAnswer);
            }
        }
        let field = |name: &str| fields.get(name).filter(|value| !value.is_empty());
        let answer = match (field("error"), field("code")) {
            (Some(error), _) => Answer::Refused {
                error: printable(error),
                description: field("error_description").map(|text| text.clone().into_owned()).unwrap_or_default(),
            },
            (None, Some(code)) => Answer::Code(Secret::from(code.as_ref())),
            (None, None) => return Err(RedirectError::NoAnswer),
        };
        match field("state") {
            Some(held) if Secret::from(held.as_ref()) == *state => Ok(Self(answer)),
            Some(_) => Err(RedirectError::WrongState),
            None => Err(RedirectError::NoState),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &str) -> Result<Redirect, RedirectError> {
        Redirect::read(query, &Secret::from("our-state"))
    }

    #[test]
    fn an_answer_is_believed_with_our_state_alone() {
        let code = Ok(Redirect(Answer::Code(Secret::from("1.AbC"))));
        assert_eq!(read("code=1.AbC&state=our-state&session_state=5"), code);
        assert_eq!(read("state=our%2Dstate&code=1.AbC"), code);
        assert_eq!(read("code=1.AbC&state=theirs"), Err(RedirectError::WrongState));
        assert_eq!(read("code=1.AbC&state="), Err(RedirectError::NoState));
        assert_eq!(read("code=1.AbC"), Err(RedirectError::NoState));
        assert_eq!(read("code=1.AbC&code=2&state=our-state"), Err(RedirectError::NoAnswer));
        assert_eq!(read("code=1.AbC&state=theirs&state=our-state"), Err(RedirectError::NoAnswer));
        assert_eq!(read("state=our-state"), Err(RedirectError::NoAnswer));
        assert_eq!(read(""), Err(RedirectError::NoAnswer));
        assert_eq!(read(&"x".repeat(REDIRECT_LIMIT + 1)), Err(RedirectError::TooLong));
    }

    #[test]
    fn a_refusal_is_an_answer_too_and_needs_the_state_as_well() {
        let refused = read("error=access_denied&error_description=AADSTS65004%3a+no&state=our-state").unwrap();
        let Answer::Refused { error, description } = refused.0 else { panic!("no refusal") };
        assert_eq!((error.as_str(), description.as_str()), ("access_denied", "AADSTS65004: no"));
        assert_eq!(read("error=access_denied&state=theirs"), Err(RedirectError::WrongState));
        let printed = format!("{:?}", read("code=1.AbC&state=our-state"));
        assert!(!printed.contains("1.AbC"), "{printed}");
    }
}
