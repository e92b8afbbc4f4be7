//! What the mail server's refusals mean, and what to do about them.
//!
//! One failure has two texts: [`Failure::refusal`] is what the mail client shows in its dialog box, [`Failure::log`] what
//! the operator reads. The codes of the authority are explained by the token store's own table.

mod asked;
mod class;
mod known_replies;

pub(crate) use asked::Asked;
pub use asked::Step;
pub use class::FailureClass;
pub use known_replies::{KnownReply, known_replies};

use oxpost_protocol::{Refusal, RefusalKind, UpstreamFailure};
use oxpost_token_store::{CertificateProblem, Denied, Mailbox, StoreError, TokenError};

use crate::config::MailService;
use crate::limits::connection_slots::LimitReached;
use crate::limits::login_throttle::Throttled;
use crate::upstream::connect::ConnectError;
use crate::upstream::login_timings::{LoginTimings, Stage};

/// A login that failed, in both texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// For the client.
    pub refusal: Refusal,
    /// For the operator. May quote the server, on one line.
    pub log: String,
    /// The reply of the mail server, if the mail server refused.
    pub server_reply: Option<String>,
    /// Why the upstream login failed; none if it had not begun, because the client was not let in here.
    pub class: Option<FailureClass>,
    /// The account, or what the log says instead, where the log has one.
    pub user: Option<String>,
    /// Whether the store has been given it as the account's present refusal.
    pub is_recorded: bool,
    /// Whether a line of the log, within the session, has it. Only then is the client shown the id of its session.
    pub is_logged: bool,
}

/// The same sentence for every account and for none, so that it does not tell which accounts exist.
const WRONG_PASSWORD: &str = "Invalid user name or password. Use the password that Oxpost created for this account, not the Microsoft \
                              365 password (unless the account was added with --grant password).";

impl Failure {
    /// A failure of this kind; the client's sentence is also the beginning of the operator's.
    pub fn new(kind: RefusalKind, sentence: impl Into<String>, detail: &str) -> Self {
        let sentence = sentence.into();
        let log = if detail.is_empty() { sentence.clone() } else { format!("{sentence} ({detail})") };
        Self {
            refusal: Refusal::new(kind, sentence),
            log,
            server_reply: None,
            class: None,
            user: None,
            is_recorded: false,
            is_logged: false,
        }
    }

    /// The same, after its line was written, or was not.
    #[must_use]
    pub fn logged(self, is_logged: bool) -> Self {
        Self { is_logged, ..self }
    }

    /// The same, of a login as this user in the log.
    #[must_use]
    pub fn of_user(self, user: &str) -> Self {
        Self { user: Some(user.to_owned()), ..self }
    }

    /// The same, of an upstream login.
    #[must_use]
    pub fn in_class(self, class: FailureClass) -> Self {
        Self { class: Some(class), ..self }
    }

    /// The local login failed.
    pub fn denied(denied: &Denied) -> Self {
        match denied {
            Denied::BadCredentials => Self::new(RefusalKind::BadCredentials, WRONG_PASSWORD, ""),
            Denied::RejectedByMicrosoft => {
                Self::new(RefusalKind::BadCredentials, WRONG_PASSWORD, "Microsoft rejected it")
            }
            Denied::TooManyPasswords => Self::new(
                RefusalKind::Unavailable,
                "Too many wrong passwords were tried for this account, and more could lock its user out at Microsoft. Wait an hour, \
                 or run `oxpost sign-in ADDRESS` on the Oxpost host to try one immediately.",
                "",
            ),
            // The password was not compared with any: nothing is known of the client.
            Denied::NotVerified(error) => Self { class: None, ..Self::token(error) },
            Denied::Busy => {
                Self::new(RefusalKind::Unavailable, "Too many logins at the same time. Try again in a moment.", "")
            }
            Denied::Store(error) => Self::store(error, "Oxpost cannot read its accounts. The reason is in its log."),
        }
    }

    /// The local password is not compared now. Right or wrong, the answer is the same.
    pub fn throttled_login(throttled: Throttled) -> Self {
        let (what, wait, hint) = match throttled {
            Throttled::Blocked(wait) => (
                "Too many different wrong logins came from your network address",
                wait,
                "`oxpost status` shows blocks, `oxpost block lift` lifts one",
            ),
            Throttled::TooMany(wait) => {
                ("Too many wrong passwords were tried for this user name or from your network address", wait, "")
            }
        };
        let wait = match wait.as_secs() {
            0..60 => "a minute".to_owned(),
            seconds => format!("{} minutes", seconds.div_ceil(60)),
        };
        let sentence = format!("{what}. Passwords are not checked for now; try again in {wait}.");
        Self::new(RefusalKind::Unavailable, sentence, hint)
    }

    /// There is no access token.
    pub fn token(error: &TokenError) -> Self {
        let kind = match error {
            TokenError::Transient { .. } | TokenError::Paused { .. } | TokenError::Store(_) => RefusalKind::Unavailable,
            TokenError::SignInRequired(_) | TokenError::Misconfigured(_) => RefusalKind::AdministratorMustAct,
        };
        let failure = match error {
            TokenError::Transient { problem, .. }
            | TokenError::Paused { problem, .. }
            | TokenError::SignInRequired(problem)
            | TokenError::Misconfigured(problem) => {
                Self::new(kind, format!("{} {}", problem.what, problem.remedy), &problem.detail)
            }
            TokenError::Store(error) => {
                Self::store(error, "Oxpost cannot read or write its tokens. The reason is in its log.")
            }
        };
        failure.in_class(FailureClass::of_token(error))
    }

    /// The store failed: as a whole for now, or in this one account for good.
    fn store(error: &StoreError, sentence: &str) -> Self {
        match error {
            StoreError::Unreadable { .. } => {
                Self::new(RefusalKind::AdministratorMustAct, format!("The store is damaged: {error}."), "")
            }
            _ => Self::new(RefusalKind::Unavailable, sentence, &error.to_string()),
        }
    }

    /// The mail server did not let the session begin.
    pub fn upstream(failure: &UpstreamFailure, asked: Asked, host: &str, mailbox: &Mailbox) -> Self {
        use UpstreamFailure as U;
        let (text, sentence, kind): (&str, String, RefusalKind) = match failure {
            U::TokenRefused(text) => (
                text,
                match asked.service {
                    MailService::Exchange => format!(
                        "The mail server refused access to {mailbox}. Check that IMAP, POP or Authenticated SMTP is enabled for \
                         the mailbox and that the user who signed in may open it."
                    ),
                    MailService::Gmail | MailService::Other => format!(
                        "The mail server refused access to {mailbox}. Check that {} is enabled for the mailbox, and that {mailbox} is the \
                         user who signed in.",
                        asked.protocol
                    ),
                },
                RefusalKind::AdministratorMustAct,
            ),
            U::NotConnected(text) => (
                text,
                format!(
                    "The login was accepted, but the mailbox {mailbox} does not open at the moment. Try again in a few minutes; if it lasts, \
                     run `oxpost doctor {mailbox}`."
                ),
                RefusalKind::Unavailable,
            ),
            U::Unavailable(text) => (
                text,
                format!("{host} refuses logins at the moment. Try again in a few minutes."),
                RefusalKind::Unavailable,
            ),
            U::ConnectionClosed => (
                "",
                format!("{host} closed the connection during the login. Try again in a few minutes."),
                RefusalKind::Unavailable,
            ),
            U::NotOffered(text) => (
                text,
                format!(
                    "{host} does not offer what Oxpost needs. Check the host and port of this provider in proxy.toml."
                ),
                RefusalKind::AdministratorMustAct,
            ),
            U::Protocol(text) => {
                (text, format!("{host} sent an unexpected reply. Oxpost's log quotes it."), RefusalKind::Unavailable)
            }
        };
        let reason = failure;
        let failure = match known_replies::lookup(asked, text) {
            // More than one thing can be the reason.
            Some(reply) if reply.another_token => {
                let sentence = format!("{} `oxpost doctor {mailbox}` checks each step.", reply.sentence(mailbox));
                Self::new(reply.kind, sentence, text)
            }
            Some(reply) => Self::new(reply.kind, reply.sentence(mailbox), text),
            None => Self::new(kind, sentence, text),
        };
        let class = FailureClass::of_server(reason, failure.refusal.kind);
        Self { server_reply: Some(text.to_owned()), ..failure }.in_class(class)
    }

    /// The login is accepted and the mailbox has not opened for so long that it does not pass by itself.
    pub(crate) fn lasting_not_connected(self, service: MailService, minutes: u64, mailbox: &Mailbox) -> Self {
        let remedy = not_connected_remedy(service);
        let sentence = format!(
            "The login is accepted, but the mailbox {mailbox} has not opened for more than {minutes} minutes. {remedy}"
        );
        Self {
            log: format!("{sentence} ({})", self.server_reply.as_deref().unwrap_or_default()),
            refusal: Refusal::new(RefusalKind::AdministratorMustAct, sentence),
            class: Some(FailureClass::Refused),
            ..self
        }
    }

    /// The account of a device does not exist.
    pub fn no_account(mailbox: &Mailbox) -> Self {
        Self::new(
            RefusalKind::AdministratorMustAct,
            format!(
                "This device sends as {mailbox}, but no such account is in use. Add it: oxpost account add {mailbox}"
            ),
            "",
        )
    }

    /// The device has its maximum number of sessions.
    pub fn too_many_devices(mailbox: &Mailbox) -> Self {
        Self::new(
            RefusalKind::Unavailable,
            format!("Too many devices are sending as {mailbox} at the moment. Try again in a minute."),
            "",
        )
    }

    /// A session limit is reached.
    pub fn session_limit(reached: &LimitReached) -> Self {
        let LimitReached { limit, allowed, of } = reached;
        Self::new(
            RefusalKind::LimitReached,
            format!(
                "{of} already has {allowed} sessions, as many as Oxpost allows. Close some mail programs and try again, or raise \
                 {} under [limits] in proxy.toml.",
                limit.key()
            ),
            "",
        )
    }

    /// The mail server cannot be reached.
    pub fn unreachable(host: &str, port: u16, error: &ConnectError) -> Self {
        let sentence = match error {
            ConnectError::NoAddress(_) => format!(
                "The address of {host} cannot be found. Check DNS on the machine Oxpost runs on, and the host in proxy.toml."
            ),
            ConnectError::NoAnswer(_) => format!(
                "{host}:{port} cannot be reached. Check the network and the firewall of the machine Oxpost runs on."
            ),
        };
        Self::new(RefusalKind::Unavailable, sentence, &error.to_string()).in_class(FailureClass::Unreachable)
    }

    /// TLS with the mail server failed.
    pub fn tls(host: &str, error: &std::io::Error) -> Self {
        let failure = match CertificateProblem::of(error) {
            Some(problem) => Self::new(RefusalKind::AdministratorMustAct, problem.explain(host), &error.to_string()),
            None => Self::new(
                RefusalKind::Unavailable,
                format!("TLS with {host} failed. Check that nothing between Oxpost and it interferes."),
                &error.to_string(),
            ),
        };
        failure.in_class(FailureClass::Unreachable)
    }

    /// The mail server has named a back-off that has not ended.
    pub fn throttled(host: &str, left: std::time::Duration) -> Self {
        let wait = match left.as_secs() {
            0..60 => "a minute".to_owned(),
            seconds => format!("{} minutes", seconds.div_ceil(60)),
        };
        Self::new(
            RefusalKind::Unavailable,
            format!("Microsoft is throttling this mailbox. Try again in {wait}, and let fewer programs read it at the same time."),
            &format!("{host} asked for a back-off; it was not contacted"),
        )
        .in_class(FailureClass::Throttled)
    }

    /// The upstream login took longer than its budget, and waited for this when it was ended.
    pub fn timed_out(host: &str, budget: std::time::Duration, timings: &LoginTimings) -> Self {
        let class = match timings.stage() {
            Stage::BackOff => FailureClass::Throttled,
            Stage::Token => FailureClass::TokenTransient,
            Stage::Server => FailureClass::Unreachable,
        };
        let waited_for = timings.now();
        Self::new(
            RefusalKind::Unavailable,
            format!(
                "The login at {host} did not end within {} s; Oxpost was waiting for {waited_for}. Try again in a few minutes.",
                budget.as_secs()
            ),
            "",
        )
        .in_class(class)
    }
}

/// What to check if a mailbox stays closed although the login is accepted.
pub(crate) fn not_connected_remedy(service: MailService) -> &'static str {
    match service {
        MailService::Exchange => {
            "Check that it exists and has a licence, that IMAP is enabled for it, and that the user who signed in has Full Access to it; \
             app-only access needs New-ServicePrincipal and Add-MailboxPermission."
        }
        MailService::Gmail | MailService::Other => {
            "Check that it exists, that IMAP is enabled for it, and that its user is the one who signed in."
        }
    }
}

/// Whether a refusal has a reason that another token would not change: a setting, most often.
pub(crate) fn is_final(asked: Asked, text: &str) -> bool {
    known_replies::lookup(asked, text).is_some_and(|reply| !reply.another_token)
}

/// What a refusal with a reason of its own means for a mailbox, and what to do about it.
pub(crate) fn explained(asked: Asked, text: &str, mailbox: &Mailbox) -> Option<String> {
    known_replies::lookup(asked, text).map(|reply| reply.sentence(mailbox))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(failure: &UpstreamFailure) -> Failure {
        let mailbox = &Mailbox::parse("scan@contoso.com").unwrap();
        let asked = Asked { service: MailService::Exchange, protocol: crate::config::Protocol::Smtp, step: Step::Auth };
        Failure::upstream(failure, asked, "smtp.office365.com", mailbox)
    }

    #[test]
    fn known_reply_has_its_own_remedy() {
        let failure = of(&UpstreamFailure::TokenRefused(
            "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox. Visit \
             https://aka.ms/smtp_auth_disabled for more information."
                .into(),
        ));
        assert_eq!(failure.refusal.kind, RefusalKind::AdministratorMustAct);
        assert!(failure.refusal.text.contains("Set-CASMailbox -Identity scan@contoso.com"), "{}", failure.refusal.text);
        assert!(!failure.refusal.text.contains("535"), "the server's reply is for the log");
        assert!(failure.log.contains("535 5.7.139"), "{}", failure.log);
    }

    #[test]
    fn unknown_reply_says_what_to_check() {
        let failure = of(&UpstreamFailure::TokenRefused("535 5.7.3 Authentication unsuccessful [x]".into()));
        assert!(failure.refusal.text.contains("Authenticated SMTP"), "{}", failure.refusal.text);
        assert_eq!(of(&UpstreamFailure::ConnectionClosed).refusal.kind, RefusalKind::Unavailable);
    }
}
