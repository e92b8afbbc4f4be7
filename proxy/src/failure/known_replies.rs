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
    /// A part of the server's reply that occurs in no other one.
    pub pattern: &'static str,
    /// What happened. `MAILBOX` stands for the mailbox.
    pub what: &'static str,
    /// What to do. `MAILBOX` stands for the mailbox.
    pub remedy: &'static str,
    /// The reply to the client.
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

/// Every refusal of Exchange Online that has a remedy of its own. The first pattern that occurs in the reply counts, so the
/// more specific ones come first.
pub fn known_replies() -> &'static [KnownReply] {
    KNOWN_REPLIES
}

/// A setting must be changed.
const fn setting(pattern: &'static str, what: &'static str, remedy: &'static str) -> KnownReply {
    KnownReply { pattern, what, remedy, kind: AdministratorMustAct, waiting_helps: false, another_token: false }
}

/// It ends without a change.
const fn passing(pattern: &'static str, what: &'static str, remedy: &'static str) -> KnownReply {
    KnownReply { pattern, what, remedy, kind: Unavailable, waiting_helps: true, another_token: false }
}

/// The plain refusal of a protocol: the token, the mailbox or the rights to it.
const fn plain(pattern: &'static str, what: &'static str, remedy: &'static str) -> KnownReply {
    KnownReply { another_token: true, ..setting(pattern, what, remedy) }
}

const LATER: &str = "Try again in a few minutes; if it lasts, see https://status.cloud.microsoft.";

const SEND_AS: &str = "Grant Send As for it: Add-RecipientPermission SENDER -Trustee WHO -AccessRights SendAs. Or let Oxpost replace \
                       it with MAILBOX: oxpost account sender MAILBOX account.";

const LESS_MAIL: &str = "Exchange limits mail from the address of this site at the moment.";

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
        "Microsoft saw a login with a password, which it no longer allows.",
        "See under Entra admin center, Sign-in logs, which policy refuses it; the mail program itself must log in to Oxpost, \
         not to Microsoft.",
    ),
    setting(
        "user credentials were incorrect",
        "Microsoft saw a login with a wrong password.",
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
        "Microsoft no longer allows submission with a password for this organization, and saw such a login.",
        "Check that the provider in proxy.toml names a server that accepts XOAUTH2.",
    ),
    setting(
        "5.5.124 Invalid XOAUTH2 auth data",
        "High Volume Email did not accept the access token.",
        "It requires an app-only token with Mail.Send, and Add-HVEAppAccess in Exchange Online PowerShell.",
    ),
    // The plain refusals at the login, and of a mailbox that cannot be opened after it.
    plain(
        "AUTHENTICATE failed",
        "Exchange refused IMAP for MAILBOX.",
        "Switch it on with Set-CASMailbox -Identity MAILBOX -ImapEnabled $true, and check that the user who signed in may open it.",
    ),
    plain(
        "unknown user name or bad password",
        "Exchange refused POP3 for MAILBOX.",
        "Switch it on with Set-CASMailbox -Identity MAILBOX -PopEnabled $true, and check that the user who signed in may open it.",
    ),
    plain(
        "5.7.3 Authentication unsuccessful",
        "Exchange refused SMTP for MAILBOX.",
        "Enable Authenticated SMTP (Set-CASMailbox -Identity MAILBOX -SmtpClientAuthenticationDisabled $false); a shared mailbox needs a \
         delegate: `oxpost account delegate MAILBOX DELEGATE`.",
    ),
    setting(
        "authenticated but not connected",
        "The login was accepted, but the mailbox MAILBOX cannot be opened.",
        "Check that it exists and has a licence, that IMAP is enabled for it, and that the user who signed in has Full Access to it; app-only \
         access needs New-ServicePrincipal and Add-MailboxPermission.",
    ),
    setting(
        "Connection closed. 14",
        "The login was accepted, but the mailbox MAILBOX could not be opened, and Exchange closed the connection.",
        "Check that it exists and has a licence, that IMAP is enabled for it, and that the user who signed in has Full Access to it.",
    ),
    setting(
        "Connection is closed. 10",
        "Exchange's POP3 service did not accept the access token.",
        "It refuses tokens longer than 4096 characters: remove the account from directory roles and large groups, or use IMAP.",
    ),
    setting(
        "Protocol error. 19",
        "Exchange's POP3 service did not accept the access token.",
        "It refuses tokens longer than 4096 characters: remove the account from directory roles and large groups, or use IMAP.",
    ),
    setting(
        "LOGIN failed",
        "Microsoft received a login with a password, which it no longer accepts.",
        "Configure the mail program to use Oxpost, not Microsoft.",
    ),
    setting(
        "TLS 1.0 and 1.1 are not supported",
        "Exchange requires a newer version of TLS.",
        "Check that nothing between Oxpost and Exchange inspects TLS, and that the mail program does not bypass Oxpost.",
    ),
    // Temporary refusals, at the login and after it.
    passing(
        "Request is throttled",
        "Microsoft is throttling this mailbox.",
        "Wait a few minutes and let fewer programs read it at the same time.",
    ),
    passing(
        "AccessTokenExpired",
        "The token of this session has expired, as every token does after 60 to 90 minutes.",
        "No action is needed: the mail program connects again.",
    ),
    passing(
        "Connection is closed. 13",
        "Exchange closed a session that was idle for too long or exceeded the limit of this mailbox.",
        "Let fewer programs read it at the same time; the mail program connects again.",
    ),
    passing("4.3.2 Service not active", "This Exchange server is starting or shutting down.", LATER),
    passing("4.7.0 Temporary server error", "Exchange has a temporary problem.", LATER),
    passing("454 4.7.0", "Exchange cannot check the access token at the moment.", LATER),
    passing("4.3.111", "One Exchange server cannot reach another at the moment.", LATER),
    passing(
        "421 4.4.",
        "Exchange waited too long for the other side and closed the connection.",
        "Try again; if it lasts, check that no firewall delays SMTP.",
    ),
    passing("451 4.7.5", LESS_MAIL, LOOK_FOR_SPAM),
    passing("451 4.7.6", LESS_MAIL, LOOK_FOR_SPAM),
    // Refusals while sending.
    setting("SendAsDenied", "The user who logged in may not send as this address.", SEND_AS),
    setting("5.7.60", "The user who logged in may not send as this address.", SEND_AS),
    setting(
        "5.7.57",
        "Exchange treats the sender as not logged in.",
        "Check that nothing between Oxpost and Exchange changes SMTP, such as a firewall that inspects mail.",
    ),
    passing(
        "Concurrent connections limit exceeded",
        "More than three messages were sent from this mailbox at the same time.",
        "Try again, and let fewer programs send from it at the same time.",
    ),
    passing(
        "sender thread limit exceeded",
        "More than three messages were sent from this mailbox at the same time.",
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
        "The mailbox MAILBOX is full, so the copy for Sent Items cannot be stored.",
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
        "The message has bare line feeds, which the receiving server does not accept.",
        "Configure the software to end lines with CRLF.",
    ),
    setting(
        "5.5.105",
        "High Volume Email delivers only to recipients within the organization.",
        "Send to others through smtp.office365.com, or with Azure Communication Services.",
    ),
    setting(
        "5.1.8 Access denied, bad outbound sender",
        "Microsoft has restricted this sender, because it appeared to send spam.",
        "Secure the account, then unblock MAILBOX in the Microsoft Defender portal (Review, Restricted entities).",
    ),
    setting(
        "5.7.705",
        "Microsoft has stopped all sending of this organization, because much of it appeared to be spam.",
        "Secure the accounts that sent it, then ask Microsoft support to lift the block.",
    ),
    setting(
        "5.7.708",
        "Microsoft accepts no mail from the address this organization sends from.",
        "This is usual for new or trial tenants; ask Microsoft support to lift the block.",
    ),
    setting(
        "5.7.750",
        "Microsoft has stopped sending from domains that are not registered with this organization.",
        "Add the domain of MAILBOX in the Microsoft 365 admin center, Settings, Domains; then ask Microsoft support.",
    ),
    // Commands that Exchange does not understand.
    setting(
        "5.3.3 Unrecognized command",
        "Exchange does not know an SMTP command that the software used.",
        "Look in the settings of the software for an extension to switch off.",
    ),
    setting(
        "Command received in Invalid state",
        "The mail program used an IMAP command when Exchange does not accept it.",
        "Open the folder again; if it lasts, report it with the error that the program shows.",
    ),
    setting(
        "Command Argument Error",
        "The mail program used an IMAP command in a way that Exchange does not accept.",
        "Look in its settings for extensions to switch off; if it lasts, report it with the error that the program shows.",
    ),
    setting(
        "Command Error. 12",
        "Exchange does not know an IMAP command that the mail program used.",
        "Look in its settings for extensions to switch off; if it lasts, report it with the error that the program shows.",
    ),
    setting(
        "Command is not valid in this state",
        "The mail program used a POP3 command when Exchange does not accept it.",
        "Connect again; if it lasts, report it with the error that the program shows.",
    ),
];

#[cfg(test)]
mod tests {
    use crate::failure::explanation;

    /// Whole replies of the service, and the entry that is to explain each.
    #[test]
    fn replies_of_the_service_match_their_entry() {
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
            ("550 5.7.30 Basic authentication is not supported for Client Submission.", "no longer allows submission"),
            ("530 5.7.57 Client not authenticated to send mail.", "not logged in"),
            ("454 4.7.0 Temporary authentication failure", "at the moment"),
            ("421 4.3.2 Service not active", "shutting down"),
            ("421 4.4.2 Connection dropped due to TimedOut", "waited too long"),
            ("451 4.7.0 Temporary server error. Please try again later. PRX4", "temporary problem"),
            ("451 4.7.500 Server busy. Please try again later from [203.0.113.7].", "address of this site"),
            ("451 4.7.651 The mail server [203.0.113.7] has been temporarily rate limited", "address of this site"),
            ("421 4.7.66 TLS 1.0 and 1.1 are not supported. Please upgrade/update your client", "newer version of TLS"),
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
            ("550 5.1.8 Access denied, bad outbound sender AS(42003)", "appeared to send spam"),
            ("AUTHENTICATE failed.", "Exchange refused IMAP"),
            ("User is authenticated but not connected.", "cannot be opened"),
            ("Session invalidated - AccessTokenExpired", "has expired"),
            ("Request is throttled. Suggested Backoff Time: 299961 milliseconds", "is throttling"),
            ("Command Argument Error. 11", "in a way"),
            ("-ERR Authentication failure: unknown user name or bad password.", "Exchange refused POP3"),
            ("-ERR Protocol error. Connection is closed. 10", "did not accept the access token"),
            ("-ERR Protocol error. 19", "did not accept the access token"),
        ] {
            let row = explanation(&format!("{reply} {trailer}")).unwrap_or_else(|| panic!("no entry for {reply}"));
            assert!(row.what.contains(what), "{reply}: {}", row.what);
        }
        assert!(explanation("550 5.7.1 something that is not in the table").is_none());
    }
}
