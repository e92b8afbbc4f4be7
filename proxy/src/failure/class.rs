//! Why a login at the mail server failed, for programs: they decide by this class, never by the texts.

use std::fmt;

use oxpost_protocol::smtp::is_throttled;
use oxpost_protocol::tap::back_off;
use oxpost_protocol::{RefusalKind, UpstreamFailure};
use oxpost_token_store::{StoreError, TokenError};

/// The class of a failed login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureClass {
    /// The mail server cannot be reached, or gives no usable answer for now.
    Unreachable,
    /// The mail server asked for less.
    Throttled,
    /// There is no token for now: the authority or the store has a temporary problem.
    TokenTransient,
    /// There is no token until an administrator acts: a sign-in is needed, or the registration is wrong.
    TokenNeedsAdministrator,
    /// The mail server refuses the token or the mailbox, until an administrator acts.
    Refused,
    /// A limit of our own was reached.
    OurOwnLimit,
}

impl FailureClass {
    /// As it is logged.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Throttled => "throttled",
            Self::TokenTransient => "token-transient",
            Self::TokenNeedsAdministrator => "token-needs-administrator",
            Self::Refused => "refused",
            Self::OurOwnLimit => "our-own-limit",
        }
    }

    /// Why there is no token.
    pub(super) fn of_token(error: &TokenError) -> Self {
        match error {
            TokenError::Transient { .. } | TokenError::Paused { .. } => Self::TokenTransient,
            TokenError::Store(error) => Self::of_store(error),
            TokenError::SignInRequired(_) | TokenError::Misconfigured(_) => Self::TokenNeedsAdministrator,
        }
    }

    fn of_store(error: &StoreError) -> Self {
        if matches!(error, StoreError::Unreadable { .. }) {
            Self::TokenNeedsAdministrator
        } else {
            Self::TokenTransient
        }
    }

    /// Of a mail server that did not let the session begin. `kind` is what its reply is known to mean.
    pub(super) fn of_server(failure: &UpstreamFailure, kind: RefusalKind) -> Self {
        use UpstreamFailure as U;
        let text = match failure {
            U::TokenRefused(text) | U::NotConnected(text) | U::Unavailable(text) => text.as_str(),
            U::NotOffered(_) | U::Protocol(_) | U::ConnectionClosed => "",
        };
        if is_throttled(text) || back_off(text.as_bytes()).is_some() {
            return Self::Throttled;
        }
        match kind {
            RefusalKind::Unavailable => Self::Unreachable,
            RefusalKind::LimitReached => Self::OurOwnLimit,
            RefusalKind::AdministratorMustAct | RefusalKind::BadCredentials => Self::Refused,
        }
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use oxpost_token_store::{Denied, Mailbox, Problem};

    use super::*;
    use crate::config::{MailService, Protocol};
    use crate::failure::{Asked, Failure, Step, known_replies};
    use crate::upstream::connect::ConnectError;
    use crate::upstream::login_timings::{LoginTimings, Stage};

    const HOST: &str = "smtp.office365.com";

    fn of(failure: &UpstreamFailure) -> FailureClass {
        let asked = Asked { service: MailService::Exchange, protocol: Protocol::Smtp, step: Step::Auth };
        of_asked(failure, asked)
    }

    fn of_asked(failure: &UpstreamFailure, asked: Asked) -> FailureClass {
        Failure::upstream(failure, asked, HOST, &Mailbox::parse("scan@contoso.com").unwrap()).class.unwrap()
    }

    fn problem() -> Problem {
        Problem { what: "What.".into(), remedy: "Remedy.".into(), detail: String::new(), code: None }
    }

    #[test]
    fn names_are_stable() {
        use FailureClass as C;
        let all =
            [C::Unreachable, C::Throttled, C::TokenTransient, C::TokenNeedsAdministrator, C::Refused, C::OurOwnLimit];
        let names = all.map(|class| class.to_string()).join(" | ");
        assert_eq!(
            names,
            "unreachable | throttled | token-transient | token-needs-administrator | refused | our-own-limit"
        );
    }

    #[test]
    fn unreachable_or_failing_server_is_unreachable() {
        for failure in [
            UpstreamFailure::ConnectionClosed,
            UpstreamFailure::Protocol("nonsense".into()),
            UpstreamFailure::NotConnected("BAD User is authenticated but not connected.".into()),
            UpstreamFailure::Unavailable("421 4.3.2 Service not active".into()),
            UpstreamFailure::Unavailable("NO [UNAVAILABLE] later".into()),
            UpstreamFailure::Unavailable("454 4.7.0 Temporary authentication failure".into()),
        ] {
            assert_eq!(of(&failure), FailureClass::Unreachable, "{failure:?}");
        }
        let no_answer = ConnectError::NoAnswer(Vec::new());
        let tls = std::io::Error::other(rustls::Error::InvalidCertificate(rustls::CertificateError::Expired));
        let failures = [Failure::unreachable(HOST, 587, &no_answer), Failure::tls(HOST, &tls)];
        assert!(failures.iter().all(|failure| failure.class == Some(FailureClass::Unreachable)));
    }

    #[test]
    fn server_that_asks_for_less_is_throttled() {
        let back_off = "NO Request is throttled. Suggested Backoff Time: 1500 milliseconds";
        for failure in [
            UpstreamFailure::Unavailable("432 4.3.2 Concurrent connections limit exceeded".into()),
            UpstreamFailure::TokenRefused("451 4.7.500 Server busy".into()),
            UpstreamFailure::NotConnected(back_off.into()),
            UpstreamFailure::Unavailable(back_off.into()),
        ] {
            assert_eq!(of(&failure), FailureClass::Throttled, "{failure:?}");
        }
        assert_eq!(Failure::throttled(HOST, Duration::from_secs(5)).class, Some(FailureClass::Throttled));
    }

    #[test]
    fn refusal_that_an_administrator_must_lift_is_refused() {
        for failure in [
            UpstreamFailure::TokenRefused("535 5.7.3 Authentication unsuccessful".into()),
            UpstreamFailure::TokenRefused("535 5.7.139 SmtpClientAuthentication is disabled for the Tenant.".into()),
            UpstreamFailure::NotOffered("AUTH LOGIN".into()),
        ] {
            assert_eq!(of(&failure), FailureClass::Refused, "{failure:?}");
        }
    }

    /// The reply to a client and what programs decide from agree for every known reply.
    #[test]
    fn class_of_a_known_reply_agrees_with_its_kind() {
        for reply in known_replies() {
            let asked = Asked {
                service: reply.service.unwrap_or(MailService::Exchange),
                protocol: reply.protocols.first().copied().unwrap_or(Protocol::Smtp),
                step: reply.steps.first().copied().unwrap_or(Step::Auth),
            };
            let class = of_asked(&UpstreamFailure::Unavailable(reply.pattern.trim_start_matches('^').into()), asked);
            let passes = matches!(class, FailureClass::Unreachable | FailureClass::Throttled);
            assert_eq!(passes, reply.kind == RefusalKind::Unavailable, "{}: {class}", reply.pattern);
        }
    }

    #[test]
    fn missing_token_is_transient_or_needs_an_administrator() {
        let unreadable = StoreError::Unreadable { what: "token".into(), remedy: "Sign in.".into() };
        let store = StoreError::NoSuchAccount(Mailbox::parse("scan@contoso.com").unwrap());
        for (error, class) in [
            (TokenError::Transient { retry_after: None, problem: problem() }, FailureClass::TokenTransient),
            (TokenError::Store(store), FailureClass::TokenTransient),
            (TokenError::SignInRequired(problem()), FailureClass::TokenNeedsAdministrator),
            (TokenError::Misconfigured(problem()), FailureClass::TokenNeedsAdministrator),
            (TokenError::Store(unreadable), FailureClass::TokenNeedsAdministrator),
        ] {
            assert_eq!(Failure::token(&error).class, Some(class), "{error:?}");
            // A client whose password was never compared has no failed upstream login.
            assert_eq!(Failure::denied(&Denied::NotVerified(error)).class, None);
        }
        assert_eq!(Failure::denied(&Denied::BadCredentials).class, None);
    }

    #[tokio::test]
    async fn timeout_has_the_class_of_what_was_waited_for() {
        for (stage, class) in [
            (Stage::BackOff, FailureClass::Throttled),
            (Stage::Token, FailureClass::TokenTransient),
            (Stage::Server, FailureClass::Unreachable),
        ] {
            let timings = LoginTimings::default();
            timings.waits(stage, "what it says");
            let failure = Failure::timed_out(HOST, Duration::from_secs(50), &timings);
            assert_eq!(failure.class, Some(class), "{stage:?}");
            assert!(failure.log.contains("within 50 s; Oxpost was waiting for what it says"), "{}", failure.log);
        }
        assert_eq!(
            Failure::timed_out(HOST, Duration::ZERO, &LoginTimings::default()).class,
            Some(FailureClass::Unreachable)
        );
    }
}
