//! The table of Exchange Online's refusals by IMAP, POP3 and SMTP.
//!
//! The texts: <https://learn.microsoft.com/exchange/clients-and-mobile-in-exchange-online/authenticated-client-smtp-submission>,
//! <https://learn.microsoft.com/exchange/mail-flow-best-practices/non-delivery-reports-in-exchange-online/non-delivery-reports-in-exchange-online>,
//! and what the service has been seen to say.

use oxpost_protocol::RefusalKind::{self, AdministratorMustAct, Unavailable};
use oxpost_token_store::Mailbox;

/// One refusal of Exchange Online.
#[derive(Debug)]
pub struct KnownReply {
    /// Words of the server's reply that tell it from all others.
    pub pattern: &'static str,
    /// What happened. `MAILBOX` stands for the mailbox.
    pub what: &'static str,
    /// What to do. `MAILBOX` stands for the mailbox.
    pub remedy: &'static str,
    /// What the client is told.
    pub kind: RefusalKind,
    /// Whether it passes by itself.
    pub waiting_helps: bool,
    /// Whether it may be the token's fault alone, so that a fresh one is worth a try.
    pub(super) another_token: bool,
}

impl KnownReply {
    pub(super) fn sentence(&self, mailbox: &Mailbox) -> String {
        format!("{} {}", self.what, self.remedy).replace("MAILBOX", mailbox.as_ref())
    }
}

/// Every refusal of Exchange Online that has a remedy of its own. The first row whose words stand in the reply counts, so the
/// more special comes first.
pub fn known_replies() -> &'static [KnownReply] {
    KNOWN_REPLIES
}

/// Somebody must change something.
const fn setting(pattern: &'static str, what: &'static str, remedy: &'static str) -> KnownReply {
    KnownReply { pattern, what, remedy, kind: AdministratorMustAct, waiting_helps: false, another_token: false }
}

/// It passes.
const fn passing(pattern: &'static str, what: &'static str, remedy: &'static str) -> KnownReply {
    KnownReply { pattern, what, remedy, kind: Unavailable, waiting_helps: true, another_token: false }
}

/// The plain refusal of a protocol: the token, the mailbox or the rights to it.
const fn plain(pattern: &'static str, what: &'static str, remedy: &'static str) -> KnownReply {
    KnownReply { another_token: true, ..setting(pattern, what, remedy) }
}

const LATER: &str = "Try again in a few minutes; if it lasts, see https://status.cloud.microsoft.";

const SEND_AS: &str = "Give them Send As for it: Add-RecipientPermission SENDER -Trustee WHO -AccessRights SendAs. Or let Oxpost put \
                       MAILBOX in its place: oxpost account sender MAILBOX account.";

const LESS_MAIL: &str = "Exchange takes less mail from the address of this site for the moment.";

const LOOK_FOR_SPAM: &str =
    "Try again later; if it lasts, look for an account or machine that sends spam, then ask Microsoft support.";

const KNOWN_REPLIES: &[KnownReply] = &[
    // Settings that close Authenticated SMTP.
    setting(
        "SmtpClientAuthentication is disabled for the Mailbox",
        "Authenticated SMTP is switched off for this mailbox.",
        "Switch it on in the Microsoft 365 admin center (Active users, Mail, Manage email apps), or with \
         Set-CASMailbox -Identity MAILBOX -SmtpClientAuthenticationDisabled $false.",
    ),
    setting(
        "SmtpClientAuthentication is disabled for the Tenant",
        "Authenticated SMTP is switched off for the whole organization.",
        "Switch it on for this mailbox with Set-CASMailbox -Identity MAILBOX -SmtpClientAuthenticationDisabled $false, \
         or for all with Set-TransportConfig -SmtpClientAuthenticationDisabled $false.",
    ),
    setting(
        "security defaults policy",
        "The organization's security defaults block Authenticated SMTP.",
        "Replace security defaults by Conditional Access policies in the Entra admin center (Properties, Manage security \
         defaults).",
    ),
    setting(
        "did not meet the criteria to be authenticated",
        "A Conditional Access or authentication policy blocks this login.",
        "Look up the sign-in under Entra admin center, Sign-in logs, and exclude this account from the policy named there.",
    ),
    setting(
        "basic authentication is disabled",
        "Microsoft took the login for one with a password, which it no longer allows.",
        "See under Entra admin center, Sign-in logs, which policy refuses it; the mail program itself must log in to Oxpost, \
         not to Microsoft.",
    ),
    setting(
        "user credentials were incorrect",
        "Microsoft took the login for one with a wrong password.",
        "See under Entra admin center, Sign-in logs, why it is refused; the mail program itself must log in to Oxpost, not to \
         Microsoft.",
    ),
    setting(
        "5.7.139",
        "A policy of the organization blocks Authenticated SMTP for MAILBOX.",
        "See under Entra admin center, Sign-in logs, which one, and exclude this account from it.",
    ),
    setting(
        "5.7.30 Basic authentication is not supported",
        "Microsoft has ended submission with a password for this organization, and took the login for one.",
        "Check that the provider in proxy.toml names a server that takes XOAUTH2.",
    ),
    setting(
        "5.5.124 Invalid XOAUTH2 auth data",
        "High Volume Email did not take the access token.",
        "It wants an app-only token with Mail.Send, and Add-HVEAppAccess in Exchange Online PowerShell.",
    ),
    // The plain refusals at the login, and the mailbox that does not open behind it.
    plain(
        "AUTHENTICATE failed",
        "Exchange refused IMAP for MAILBOX.",
        "Switch it on with Set-CASMailbox -Identity MAILBOX -ImapEnabled $true, and check that who signed in may open it.",
    ),
    plain(
        "unknown user name or bad password",
        "Exchange refused POP3 for MAILBOX.",
        "Switch it on with Set-CASMailbox -Identity MAILBOX -PopEnabled $true, and check that who signed in may open it.",
    ),
    plain(
        "5.7.3 Authentication unsuccessful",
        "Exchange refused SMTP for MAILBOX.",
        "Enable Authenticated SMTP (Set-CASMailbox -Identity MAILBOX -SmtpClientAuthenticationDisabled $false); a shared mailbox needs a \
         delegate: `oxpost account through MAILBOX DELEGATE`.",
    ),
    setting(
        "authenticated but not connected",
        "The login was accepted but the mailbox MAILBOX does not open.",
        "Check that it exists and has a licence, that IMAP is enabled for it, and that who signed in has Full Access to it; app-only \
         access needs New-ServicePrincipal and Add-MailboxPermission.",
    ),
    setting(
        "Connection closed. 14",
        "The login was accepted but the mailbox MAILBOX did not open, and Exchange hung up.",
        "Check that it exists and has a licence, that IMAP is enabled for it, and that who signed in has Full Access to it.",
    ),
    setting(
        "Connection is closed. 10",
        "Exchange's POP3 service did not take the access token.",
        "It refuses tokens longer than 4096 characters: take the account out of directory roles and large groups, or use IMAP.",
    ),
    setting(
        "Protocol error. 19",
        "Exchange's POP3 service did not take the access token.",
        "It refuses tokens longer than 4096 characters: take the account out of directory roles and large groups, or use IMAP.",
    ),
    setting(
        "LOGIN failed",
        "Microsoft was asked for a login with a password, which it no longer takes.",
        "Point the mail program at Oxpost, and not at Microsoft.",
    ),
    setting(
        "TLS 1.0 and 1.1 are not supported",
        "Exchange asks for a newer TLS than was used.",
        "Check that nothing between Oxpost and Exchange takes TLS apart, and that the mail program does not go past Oxpost.",
    ),
    // What passes, at the login and behind it.
    passing(
        "Request is throttled",
        "Microsoft throttles this mailbox.",
        "Wait a few minutes and let fewer programs read it at once.",
    ),
    passing(
        "AccessTokenExpired",
        "The token that opened this session has expired, as every token does after 60 to 90 minutes.",
        "Nothing needs to be done: the mail program connects again.",
    ),
    passing(
        "Connection is closed. 13",
        "Exchange has closed a session that was idle for too long, or was one too many for this mailbox.",
        "Let fewer programs read it at once; the mail program connects again.",
    ),
    passing("4.3.2 Service not active", "This server of Exchange is being taken out of service or started.", LATER),
    passing("4.7.0 Temporary server error", "Exchange has a passing trouble.", LATER),
    passing("454 4.7.0", "Exchange could not check the access token for the moment.", LATER),
    passing("4.3.111", "A server of Exchange cannot be reached by another one for the moment.", LATER),
    passing(
        "421 4.4.",
        "Exchange waited too long for the other side and closed the connection.",
        "Try again; if it lasts, check that no firewall holds up SMTP.",
    ),
    passing("451 4.7.5", LESS_MAIL, LOOK_FOR_SPAM),
    passing("451 4.7.6", LESS_MAIL, LOOK_FOR_SPAM),
    // What a sender meets behind the login.
    setting("SendAsDenied", "Whoever logged in may not send as this address.", SEND_AS),
    setting("5.7.60", "Whoever logged in may not send as this address.", SEND_AS),
    setting(
        "5.7.57",
        "Exchange takes the sender for one that has not logged in.",
        "Check that nothing between Oxpost and Exchange changes SMTP, such as a firewall that inspects mail.",
    ),
    passing(
        "Concurrent connections limit exceeded",
        "More than three messages were sent from this mailbox at once.",
        "Try again, and let fewer programs send from it at the same time.",
    ),
    passing(
        "sender thread limit exceeded",
        "More than three messages were sent from this mailbox at once.",
        "Try again, and let fewer programs send from it at the same time.",
    ),
    KnownReply {
        waiting_helps: true,
        ..setting(
            "SubmissionQuotaExceeded",
            "This mailbox has sent to 10,000 recipients within a day, which is the limit.",
            "Wait until tomorrow; for more, see High Volume Email or Azure Communication Services.",
        )
    },
    setting(
        "QuotaExceeded",
        "The mailbox MAILBOX is full, and the copy for Sent Items finds no room.",
        "Empty it, or give it more room: Set-Mailbox -Identity MAILBOX -ProhibitSendQuota, or an archive.",
    ),
    setting(
        "5.2.2 mailbox full",
        "The mailbox is full.",
        "Empty it, or give it more room: Set-Mailbox -Identity MAILBOX -ProhibitSendQuota, or an archive.",
    ),
    setting(
        "5.3.4 Message size",
        "The message is larger than this mailbox may send.",
        "Send it smaller, or raise the limit up to 150 MB: Set-Mailbox -Identity MAILBOX -MaxSendSize 150MB.",
    ),
    setting(
        "5.6.11",
        "The message has bare line feeds, which the receiving server does not take.",
        "Have the software end its lines with CR and LF.",
    ),
    setting(
        "5.5.105",
        "High Volume Email delivers to recipients of the organization itself only.",
        "Send to others through smtp.office365.com, or with Azure Communication Services.",
    ),
    setting(
        "5.1.8 Access denied, bad outbound sender",
        "Microsoft has restricted this sender, because it seemed to send spam.",
        "Secure the account, then unblock MAILBOX at Microsoft Defender portal, Review, Restricted entities.",
    ),
    setting(
        "5.7.705",
        "Microsoft has stopped all sending of this organization, because much of it seemed to be spam.",
        "Secure the accounts that sent it, then ask Microsoft support to lift the block.",
    ),
    setting(
        "5.7.708",
        "Microsoft accepts no mail from the address this organization sends from.",
        "It is so for new or trial tenants; ask Microsoft support to lift the block.",
    ),
    setting(
        "5.7.750",
        "Microsoft has stopped sending from domains that are not registered with this organization.",
        "Add the domain of MAILBOX in the Microsoft 365 admin center, Settings, Domains; then ask Microsoft support.",
    ),
    // What a mail program did that Exchange does not understand.
    setting(
        "5.3.3 Unrecognized command",
        "Exchange does not know an SMTP command that the software used.",
        "Look in the settings of the software for an extension to switch off.",
    ),
    setting(
        "Command received in Invalid state",
        "The mail program used an IMAP command at a moment when Exchange does not take it.",
        "Let it open the folder again; if it lasts, report it with what the program said.",
    ),
    setting(
        "Command Argument Error",
        "The mail program used an IMAP command in a way that Exchange does not take.",
        "Look in its settings for extensions to switch off; if it lasts, report it with what the program said.",
    ),
    setting(
        "Command Error. 12",
        "Exchange does not know an IMAP command that the mail program used.",
        "Look in its settings for extensions to switch off; if it lasts, report it with what the program said.",
    ),
    setting(
        "Command is not valid in this state",
        "The mail program used a POP3 command at a moment when Exchange does not take it.",
        "Let it connect again; if it lasts, report it with what the program said.",
    ),
];

#[cfg(test)]
mod tests {
    use crate::failure::explanation;

    /// Whole replies, as the service words them, and the row that is to explain each.
    #[test]
    fn replies_as_the_service_words_them_find_their_row() {
        let trailer = "[AM0PR02CA0134.eurprd02.prod.outlook.com 2024-07-11T11:46:49.042Z 08DCA18218166FB4]";
        for (reply, what) in [
            ("535 5.7.3 Authentication unsuccessful", "Exchange refused SMTP"),
            (
                "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. Visit \
                 https://aka.ms/smtp_auth_disabled for more information.",
                "whole organization",
            ),
            ("535 5.7.139 Authentication unsuccessful, a reason that is new", "A policy of the organization"),
            (
                "535 5.7.139 Authentication unsuccessful, user is locked by your organization's security defaults policy.",
                "security defaults",
            ),
            (
                "535 5.7.139 Authentication unsuccessful, the request did not meet the criteria to be authenticated \
                 successfully. Contact your administrator.",
                "Conditional Access",
            ),
            ("550 5.7.30 Basic authentication is not supported for Client Submission.", "ended submission"),
            ("530 5.7.57 Client not authenticated to send mail.", "has not logged in"),
            ("454 4.7.0 Temporary authentication failure", "for the moment"),
            ("421 4.3.2 Service not active", "out of service"),
            ("421 4.4.2 Connection dropped due to TimedOut", "waited too long"),
            ("451 4.7.0 Temporary server error. Please try again later. PRX4", "passing trouble"),
            ("451 4.7.500 Server busy. Please try again later from [203.0.113.7].", "address of this site"),
            ("451 4.7.651 The mail server [203.0.113.7] has been temporarily rate limited", "address of this site"),
            ("421 4.7.66 TLS 1.0 and 1.1 are not supported. Please upgrade/update your client", "newer TLS"),
            (
                "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending for more information.",
                "three messages",
            ),
            ("432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", "three messages"),
            (
                "554 5.2.252 SendAsDenied; alice@contoso.com not allowed to send as bob@contoso.com; \
                 STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied",
                "may not send as",
            ),
            ("550 5.7.60 SMTP; Client does not have permissions to send as this sender", "may not send as"),
            ("554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException", "10,000 recipients"),
            ("554 5.2.2 mailbox full; STOREDRV.Deliver.Exception:QuotaExceededException", "is full"),
            ("552 5.3.4 Message size exceeds fixed maximum message size", "larger than"),
            ("550 5.6.11 SMTPSEND.BareLinefeedsAreIllegal; message contains bare linefeeds", "bare line feeds"),
            ("550 5.5.105 recipient is not in the organization", "High Volume Email delivers"),
            ("501 5.5.124 Invalid XOAUTH2 auth data", "High Volume Email did not"),
            ("550 5.1.8 Access denied, bad outbound sender AS(42003)", "seemed to send spam"),
            ("AUTHENTICATE failed.", "Exchange refused IMAP"),
            ("User is authenticated but not connected.", "does not open"),
            ("Session invalidated - AccessTokenExpired", "has expired"),
            ("Request is throttled. Suggested Backoff Time: 299961 milliseconds", "throttles"),
            ("Command Argument Error. 11", "in a way"),
            ("-ERR Authentication failure: unknown user name or bad password.", "Exchange refused POP3"),
            ("-ERR Protocol error. Connection is closed. 10", "did not take the access token"),
            ("-ERR Protocol error. 19", "did not take the access token"),
        ] {
            let row = explanation(&format!("{reply} {trailer}")).unwrap_or_else(|| panic!("no row for {reply}"));
            assert!(row.what.contains(what), "{reply}: {}", row.what);
        }
        assert!(explanation("550 5.7.1 something that nobody has seen yet").is_none());
    }
}
