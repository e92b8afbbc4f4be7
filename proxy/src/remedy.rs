//! What the mail server's refusals mean, and what to do about them.
//!
//! One failure has two texts: [`Failure::refusal`] is what the mail client shows in its dialog box, [`Failure::log`] what
//! the operator reads. The codes of the authority are explained by the token store's own table.

use oxpost_protocol::{Refusal, RefusalKind, UpstreamFailure};
use oxpost_token_store::{Denied, Mailbox, StoreError, TokenError};

use crate::guard::Held;

/// A login that failed, in both texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// For the client.
    pub refusal: Refusal,
    /// For the operator. May quote the server, on one line.
    pub log: String,
}

/// The same sentence for every account and for none: nobody learns by it which there are.
const WRONG_PASSWORD: &str = "User name or password is not right. Use the password that Oxpost gave for this account, not the one \
                              of Microsoft 365 (unless the account was added with --grant password).";

impl Failure {
    /// A failure of this kind; the client's sentence is also the beginning of the operator's.
    pub fn new(kind: RefusalKind, sentence: impl Into<String>, detail: &str) -> Self {
        let sentence = sentence.into();
        let log = if detail.is_empty() { sentence.clone() } else { format!("{sentence} ({detail})") };
        Self { refusal: Refusal::new(kind, sentence), log }
    }

    /// The local login failed.
    pub fn denied(denied: &Denied) -> Self {
        match denied {
            Denied::BadCredentials => Self::new(RefusalKind::BadCredentials, WRONG_PASSWORD, ""),
            Denied::WrongAtMicrosoft => Self::new(RefusalKind::BadCredentials, WRONG_PASSWORD, "Microsoft says so"),
            Denied::TooManyPasswords => Self::new(
                RefusalKind::Unavailable,
                "Too many wrong passwords were tried for this account, and more could lock its user out at Microsoft. Wait an hour; \
                 on the machine of Oxpost `oxpost sign-in ADDRESS` tries one at once.",
                "",
            ),
            Denied::NotJudged(error) => Self::token(error),
            Denied::Busy => Self::new(RefusalKind::Unavailable, "Too many logins at once. Try again in a moment.", ""),
            Denied::Store(error) => Self::store(error, "Oxpost cannot read its accounts. Its log says why."),
        }
    }

    /// The local password is not checked now. Right or wrong, it is told the same.
    pub fn held(held: Held) -> Self {
        let (what, wait) = match held {
            Held::Banned(wait) => ("Too many wrong passwords came from your network address", wait),
            Held::TooMany(wait) => {
                ("Too many wrong passwords are tried for this user name or from your network address", wait)
            }
        };
        let wait = match wait.as_secs() {
            0..60 => "a minute".to_owned(),
            seconds => format!("{} minutes", seconds.div_ceil(60)),
        };
        let sentence = format!("{what}. No new login is taken from it now; try again in {wait}.");
        Self::new(RefusalKind::Unavailable, sentence, "`oxpost status` shows bans, `oxpost ban lift` lifts one")
    }

    /// No token could be had.
    pub fn token(error: &TokenError) -> Self {
        let kind = match error {
            TokenError::Transient { .. } | TokenError::Store(_) => RefusalKind::Unavailable,
            TokenError::SignInRequired(_) | TokenError::Misconfigured(_) => RefusalKind::AdministratorMustAct,
        };
        match error {
            TokenError::Transient { problem, .. }
            | TokenError::SignInRequired(problem)
            | TokenError::Misconfigured(problem) => {
                Self::new(kind, format!("{} {}", problem.what, problem.remedy), &problem.detail)
            }
            TokenError::Store(error) => Self::store(error, "Oxpost cannot read or write its tokens. Its log says why."),
        }
    }

    /// The store failed: as a whole for now, or in this one account for good.
    fn store(error: &StoreError, sentence: &str) -> Self {
        match error {
            StoreError::Unreadable { .. } => {
                Self::new(RefusalKind::AdministratorMustAct, format!("What Oxpost keeps is damaged: {error}."), "")
            }
            _ => Self::new(RefusalKind::Unavailable, sentence, &error.to_string()),
        }
    }

    /// The mail server did not let the session begin.
    pub fn upstream(failure: &UpstreamFailure, host: &str, mailbox: &Mailbox) -> Self {
        use UpstreamFailure as U;
        let (text, sentence, kind): (&str, String, RefusalKind) = match failure {
            U::TokenRefused(text) => (
                text,
                format!(
                    "The mail server refused the access of {mailbox}. Check that IMAP, POP or Authenticated SMTP is enabled for \
                     the mailbox and that who signed in may open it."
                ),
                RefusalKind::AdministratorMustAct,
            ),
            U::NotConnected(text) => (
                text,
                format!(
                    "The login was accepted but the mailbox {mailbox} does not open. Check that it exists and has a licence, \
                     that IMAP is enabled for it, and that who signed in has Full Access to it."
                ),
                RefusalKind::AdministratorMustAct,
            ),
            U::Unavailable(text) => {
                (text, format!("{host} refuses for now. Try again in a few minutes."), RefusalKind::Unavailable)
            }
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
                (text, format!("{host} answered something unexpected. The log quotes it."), RefusalKind::Unavailable)
            }
        };
        match explanation(text) {
            Some(row) => Self::new(row.kind, row.sentence(mailbox), text),
            None => Self::new(kind, sentence, text),
        }
    }

    /// The mail server cannot be reached.
    pub fn unreachable(host: &str, port: u16, error: &std::io::Error) -> Self {
        Self::new(
            RefusalKind::Unavailable,
            format!(
                "{host}:{port} cannot be reached. Check the network, DNS and the firewall of the machine Oxpost runs on."
            ),
            &error.to_string(),
        )
    }

    /// TLS with the mail server failed.
    pub fn tls(host: &str, error: &std::io::Error) -> Self {
        let certificate = matches!(
            error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()),
            Some(rustls::Error::InvalidCertificate(_))
        );
        if certificate {
            Self::new(
                RefusalKind::AdministratorMustAct,
                format!(
                    "The certificate of {host} is not trusted. If a firewall inspects TLS, name its certificate authority under \
                     [trust] ca-file in proxy.toml."
                ),
                &error.to_string(),
            )
        } else {
            Self::new(
                RefusalKind::Unavailable,
                format!("TLS with {host} failed. Check that nothing between Oxpost and it interferes."),
                &error.to_string(),
            )
        }
    }

    /// The upstream login took longer than its bound.
    pub fn timed_out(host: &str, after: std::time::Duration) -> Self {
        Self::new(
            RefusalKind::Unavailable,
            format!("{host} did not finish the login within {} s. Try again in a few minutes.", after.as_secs()),
            "",
        )
    }
}

/// Whether a refusal has a reason of its own in the table: a setting, which another token would not change.
pub fn is_explained(text: &str) -> bool {
    explanation(text).is_some()
}

/// What a refusal with a reason of its own means for a mailbox, and what to do about it.
pub fn explained(text: &str, mailbox: &Mailbox) -> Option<String> {
    explanation(text).map(|row| row.sentence(mailbox))
}

fn explanation(text: &str) -> Option<&'static Row> {
    EXCHANGE_REPLIES.iter().find(|row| text.contains(row.said))
}

/// Every refusal of Exchange Online that has a remedy of its own.
pub fn rows() -> &'static [Row] {
    EXCHANGE_REPLIES
}

/// One refusal of Exchange Online.
#[derive(Debug)]
pub struct Row {
    /// Words of the server's reply that tell it from all others.
    pub said: &'static str,
    /// What happened.
    pub what: &'static str,
    /// What to do. `MAILBOX` stands for the mailbox.
    pub remedy: &'static str,
    /// What the client is told.
    pub kind: RefusalKind,
}

impl Row {
    fn sentence(&self, mailbox: &Mailbox) -> String {
        format!("{} {}", self.what, self.remedy).replace("MAILBOX", mailbox.as_ref())
    }
}

/// The first row whose words stand in the reply counts, so the more special comes first.
///
/// <https://learn.microsoft.com/exchange/clients-and-mobile-in-exchange-online/authenticated-client-smtp-submission>
const EXCHANGE_REPLIES: &[Row] = &[
    Row {
        said: "SmtpClientAuthentication is disabled for the Mailbox",
        what: "Authenticated SMTP is switched off for this mailbox.",
        remedy: "Switch it on in the Microsoft 365 admin center (Active users, Mail, Manage email apps), or with \
                 Set-CASMailbox -Identity MAILBOX -SmtpClientAuthenticationDisabled $false.",
        kind: RefusalKind::AdministratorMustAct,
    },
    Row {
        said: "SmtpClientAuthentication is disabled for the Tenant",
        what: "Authenticated SMTP is switched off for the whole organization.",
        remedy: "Switch it on for this mailbox with Set-CASMailbox -Identity MAILBOX -SmtpClientAuthenticationDisabled $false, \
                 or for all with Set-TransportConfig -SmtpClientAuthenticationDisabled $false.",
        kind: RefusalKind::AdministratorMustAct,
    },
    Row {
        said: "security defaults policy",
        what: "The organization's security defaults block Authenticated SMTP.",
        remedy: "Replace security defaults by Conditional Access policies in the Entra admin center (Properties, Manage security \
                 defaults).",
        kind: RefusalKind::AdministratorMustAct,
    },
    Row {
        said: "did not meet the criteria to be authenticated",
        what: "A Conditional Access or authentication policy blocks this login.",
        remedy: "Look up the sign-in under Entra admin center, Sign-in logs, and exclude this account from the policy named there.",
        kind: RefusalKind::AdministratorMustAct,
    },
    Row {
        said: "basic authentication is disabled",
        what: "Microsoft took the login for one with a password, which it no longer allows.",
        remedy: "See under Entra admin center, Sign-in logs, which policy refuses it; the mail program itself must log in to Oxpost, \
                 not to Microsoft.",
        kind: RefusalKind::AdministratorMustAct,
    },
    Row {
        said: "user credentials were incorrect",
        what: "Microsoft took the login for one with a wrong password.",
        remedy: "See under Entra admin center, Sign-in logs, why it is refused; the mail program itself must log in to Oxpost, not to \
                 Microsoft.",
        kind: RefusalKind::AdministratorMustAct,
    },
    Row {
        said: "5.7.30 Basic authentication is not supported",
        what: "Microsoft has ended submission with a password for this organization, and took the login for one.",
        remedy: "Check that the provider in proxy.toml names a server that takes XOAUTH2.",
        kind: RefusalKind::AdministratorMustAct,
    },
    Row {
        said: "5.5.124 Invalid XOAUTH2 auth data",
        what: "High Volume Email did not take the access token.",
        remedy: "It wants an app-only token with Mail.Send, and Add-HVEAppAccess in Exchange Online PowerShell.",
        kind: RefusalKind::AdministratorMustAct,
    },
    Row {
        said: "Request is throttled",
        what: "Microsoft throttles this mailbox.",
        remedy: "Wait a few minutes and let fewer programs read it at once.",
        kind: RefusalKind::Unavailable,
    },
    Row {
        said: "Protocol error. Connection is closed. 10",
        what: "Exchange's POP3 service did not take the access token.",
        remedy: "It refuses tokens longer than 4096 characters: take the account out of directory roles and large groups, or use IMAP.",
        kind: RefusalKind::AdministratorMustAct,
    },
    Row {
        said: "4.7.66 TLS 1.0 and 1.1",
        what: "Exchange asks for a newer TLS than was used.",
        remedy: "Check that nothing between Oxpost and Exchange takes TLS apart.",
        kind: RefusalKind::AdministratorMustAct,
    },
    Row {
        said: "4.3.2 Service not active",
        what: "This server of Exchange is being taken out of service or started.",
        remedy: "Try again in a few minutes.",
        kind: RefusalKind::Unavailable,
    },
    Row {
        said: "4.7.0 Temporary server error",
        what: "Exchange has a passing trouble.",
        remedy: "Try again in a few minutes; if it lasts, see https://status.cloud.microsoft.",
        kind: RefusalKind::Unavailable,
    },
    Row {
        said: "4.7.0 Temporary authentication failure",
        what: "Exchange could not check the access token for the moment.",
        remedy: "Try again in a few minutes; if it lasts, see https://status.cloud.microsoft.",
        kind: RefusalKind::Unavailable,
    },
    // What a sender meets behind the login.
    Row {
        said: "5.1.8 Access denied, bad outbound sender",
        what: "Microsoft has restricted this sender, because it seemed to send spam.",
        remedy: "Secure the account, then unblock MAILBOX at Microsoft Defender portal, Review, Restricted entities.",
        kind: RefusalKind::AdministratorMustAct,
    },
    Row {
        said: "5.7.705",
        what: "Microsoft has stopped all sending of this organization, because much of it seemed to be spam.",
        remedy: "Secure the accounts that sent it, then ask Microsoft support to lift the block.",
        kind: RefusalKind::AdministratorMustAct,
    },
    Row {
        said: "5.7.708",
        what: "Microsoft accepts no mail from the address this organization sends from.",
        remedy: "It is so for new or trial tenants; ask Microsoft support to lift the block.",
        kind: RefusalKind::AdministratorMustAct,
    },
    Row {
        said: "5.7.750",
        what: "Microsoft has stopped sending from domains that are not registered with this organization.",
        remedy: "Add the domain of MAILBOX in the Microsoft 365 admin center, Settings, Domains; then ask Microsoft support.",
        kind: RefusalKind::AdministratorMustAct,
    },
    Row {
        said: "SendAsDenied",
        what: "Whoever logged in may not send as this address.",
        remedy: "Give them Send As: Add-RecipientPermission MAILBOX -Trustee WHO -AccessRights SendAs.",
        kind: RefusalKind::AdministratorMustAct,
    },
    Row {
        said: "5.7.60",
        what: "Whoever logged in may not send as this address.",
        remedy: "Give them Send As: Add-RecipientPermission MAILBOX -Trustee WHO -AccessRights SendAs.",
        kind: RefusalKind::AdministratorMustAct,
    },
    Row {
        said: "5.7.57",
        what: "Exchange takes the sender for one that has not logged in.",
        remedy: "Check that nothing between Oxpost and Exchange changes SMTP, such as a firewall that inspects mail.",
        kind: RefusalKind::AdministratorMustAct,
    },
    Row {
        said: "Concurrent connections limit exceeded",
        what: "More than three messages were sent from this mailbox at once.",
        remedy: "Try again, and let fewer programs send from it at the same time.",
        kind: RefusalKind::Unavailable,
    },
    Row {
        said: "SubmissionQuotaExceeded",
        what: "This mailbox has sent to 10,000 recipients within a day, which is the limit.",
        remedy: "Wait until tomorrow; for more, see High Volume Email or Azure Communication Services.",
        kind: RefusalKind::AdministratorMustAct,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn of(failure: &UpstreamFailure) -> Failure {
        Failure::upstream(failure, "smtp.office365.com", &Mailbox::parse("scan@contoso.com").unwrap())
    }

    #[test]
    fn a_known_reply_gets_its_own_remedy() {
        let failure = of(&UpstreamFailure::TokenRefused(
            "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox. Visit \
             https://aka.ms/smtp_auth_disabled for more information."
                .into(),
        ));
        assert_eq!(failure.refusal.kind, RefusalKind::AdministratorMustAct);
        assert!(failure.refusal.text.contains("Set-CASMailbox -Identity scan@contoso.com"), "{}", failure.refusal.text);
        assert!(!failure.refusal.text.contains("535"), "the server's words are for the log");
        assert!(failure.log.contains("535 5.7.139"), "{}", failure.log);
    }

    #[test]
    fn an_unknown_reply_still_says_what_to_check() {
        let failure = of(&UpstreamFailure::TokenRefused("535 5.7.3 Authentication unsuccessful [x]".into()));
        assert!(failure.refusal.text.contains("Authenticated SMTP"), "{}", failure.refusal.text);
        assert_eq!(of(&UpstreamFailure::ConnectionClosed).refusal.kind, RefusalKind::Unavailable);
    }

    #[test]
    fn every_sentence_fits_a_reply_line() {
        for row in EXCHANGE_REPLIES {
            let text = format!("{} {}", row.what, row.remedy)
                .replace("MAILBOX", "somebody.with.a.long.name@subsidiary.contoso.com");
            assert_eq!(oxpost_protocol::line::reply_text(&text), text);
        }
    }
}
