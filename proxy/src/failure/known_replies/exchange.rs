//! Exchange Online's refusals of a login, and of a mailbox after it.
//!
//! The texts: <https://learn.microsoft.com/exchange/clients-and-mobile-in-exchange-online/authenticated-client-smtp-submission>,
//! and what the service has been seen to say.

use super::super::asked::Step::{Auth, Capabilities, Mailbox};
use super::{AUTH, IMAP, KnownReply, MailService, POP3, Protocol, SMTP, passing, plain, setting};

const MAIL_ACCESS: &[Protocol] = &[Protocol::Imap, Protocol::Pop3];

const LATER: &str = "Try again in a few minutes; if it lasts, see https://status.cloud.microsoft.";

const NOT_CONNECTED: &str = "The login was accepted, but the mailbox MAILBOX does not open at the moment.";

/// It comes and goes; [`Failure::lasting_not_connected`](super::super::Failure::lasting_not_connected) is for one that stays.
const COMES_AND_GOES: &str = "Exchange says so for a while when it moves a mailbox or is busy: try again in a few minutes. If it lasts, run `oxpost \
                              doctor MAILBOX`.";

const NOT_UNDERSTOOD: &str = "Exchange did not understand Oxpost's login.";

const INSPECTED: &str = "Check that no firewall inspects or shortens IMAP or POP3 on the way; if it lasts, report it with the reply that the log shows.";

pub(super) const ROWS: &[KnownReply] = &[
    setting(
        "SmtpClientAuthentication is disabled for the Mailbox",
        "Authenticated SMTP is switched off for this mailbox.",
        "Switch it on in the Microsoft 365 admin center (Active users, Mail, Manage email apps), or with \
         Set-CASMailbox -Identity MAILBOX -SmtpClientAuthenticationDisabled $false.",
    ).of(MailService::Exchange).by(SMTP),
    setting(
        "SmtpClientAuthentication is disabled for the Tenant",
        "Authenticated SMTP is switched off for the whole organization.",
        "Switch it on for this mailbox with Set-CASMailbox -Identity MAILBOX -SmtpClientAuthenticationDisabled $false, \
         or for all with Set-TransportConfig -SmtpClientAuthenticationDisabled $false.",
    ).of(MailService::Exchange).by(SMTP),
    setting(
        "security defaults policy",
        "The organization's security defaults block Authenticated SMTP.",
        "Replace security defaults by Conditional Access policies in the Entra admin center (Properties, Manage security \
         defaults).",
    ).of(MailService::Exchange).by(SMTP),
    setting(
        "did not meet the criteria to be authenticated",
        "A Conditional Access or authentication policy blocks this login.",
        "Look up the sign-in under Entra admin center, Sign-in logs, and exclude this account from the policy named there.",
    ).of(MailService::Exchange).by(SMTP),
    setting(
        "basic authentication is disabled",
        "Microsoft saw a login with a password, which it no longer allows.",
        "See under Entra admin center, Sign-in logs, which policy refuses it; the mail program itself must log in to Oxpost, \
         not to Microsoft.",
    ).of(MailService::Exchange).by(SMTP),
    setting(
        "user credentials were incorrect",
        "Microsoft saw a login with a wrong password.",
        "See under Entra admin center, Sign-in logs, why it is refused; the mail program itself must log in to Oxpost, not to \
         Microsoft.",
    ).of(MailService::Exchange).by(SMTP),
    setting(
        "5.7.139",
        "A policy of the organization blocks Authenticated SMTP for MAILBOX.",
        "See under Entra admin center, Sign-in logs, which one, and exclude this account from it.",
    ).of(MailService::Exchange).by(SMTP),
    setting(
        "5.7.30 Basic authentication is not supported",
        "Microsoft no longer allows submission with a password for this organization, and saw such a login.",
        "Check that the provider in proxy.toml names a server that accepts XOAUTH2.",
    ).of(MailService::Exchange).by(SMTP),
    setting(
        "5.5.124 Invalid XOAUTH2 auth data",
        "High Volume Email did not accept the access token.",
        "It requires an app-only token with Mail.Send, and Add-HVEAppAccess in Exchange Online PowerShell.",
    ).of(MailService::Exchange).by(SMTP),
    plain(
        "AUTHENTICATE failed",
        "Exchange refused IMAP for MAILBOX.",
        "Switch it on with Set-CASMailbox -Identity MAILBOX -ImapEnabled $true, and check that the user who signed in may open it.",
    ).of(MailService::Exchange).by(IMAP).at(AUTH),
    plain(
        "unknown user name or bad password",
        "Exchange refused POP3 for MAILBOX.",
        "Switch it on with Set-CASMailbox -Identity MAILBOX -PopEnabled $true, and check that the user who signed in may open it.",
    ).of(MailService::Exchange).by(POP3).at(AUTH),
    plain(
        "5.7.3 Authentication unsuccessful",
        "Exchange refused SMTP for MAILBOX.",
        "Enable Authenticated SMTP (Set-CASMailbox -Identity MAILBOX -SmtpClientAuthenticationDisabled $false); a shared mailbox needs a \
         delegate: `oxpost account delegate MAILBOX DELEGATE`.",
    ).of(MailService::Exchange).by(SMTP).at(AUTH),
    setting(
        "Connection is closed. 10",
        "Exchange's POP3 service did not accept the access token.",
        "It refuses tokens longer than 4096 characters: remove the account from directory roles and large groups, or use IMAP.",
    ).of(MailService::Exchange).by(POP3).at(AUTH),
    setting(
        "Protocol error. 19",
        "Exchange's POP3 service did not accept the access token.",
        "It refuses tokens longer than 4096 characters: remove the account from directory roles and large groups, or use IMAP.",
    ).of(MailService::Exchange).by(POP3).at(AUTH),
    setting(
        "LOGIN failed",
        "Microsoft received a login with a password, which it no longer accepts.",
        "Configure the mail program to use Oxpost, not Microsoft.",
    ).of(MailService::Exchange).by(IMAP).at(AUTH),
    setting(
        "TLS 1.0 and 1.1 are not supported",
        "Exchange requires a newer version of TLS.",
        "Check that nothing between Oxpost and Exchange inspects TLS, and that the mail program does not bypass Oxpost.",
    ).of(MailService::Exchange),
    passing(
        "Request is throttled",
        "Microsoft is throttling this mailbox.",
        "Wait a few minutes and let fewer programs read it at the same time.",
    ).of(MailService::Exchange).by(MAIL_ACCESS),
    passing(
        "AccessTokenExpired",
        "The token of this session has expired, as every token does after 60 to 90 minutes.",
        "No action is needed: the mail program connects again.",
    ).of(MailService::Exchange).by(MAIL_ACCESS),
    passing(
        "Connection is closed. 13",
        "Exchange closed a session that was idle for too long or exceeded the limit of this mailbox.",
        "Let fewer programs read it at the same time; the mail program connects again.",
    ).of(MailService::Exchange).by(MAIL_ACCESS),
    passing("authenticated but not connected", NOT_CONNECTED, COMES_AND_GOES).of(MailService::Exchange).by(IMAP).at(&[Auth, Mailbox]),
    passing("Connection closed. 14", NOT_CONNECTED, COMES_AND_GOES).of(MailService::Exchange).by(IMAP).at(&[Auth, Mailbox]),
    setting("Command Argument Error", NOT_UNDERSTOOD, INSPECTED).of(MailService::Exchange).by(IMAP).at(&[Auth, Capabilities]),
    setting("Command Error", NOT_UNDERSTOOD, INSPECTED).of(MailService::Exchange).by(IMAP).at(&[Auth, Capabilities]),
    setting("Command received in Invalid state", NOT_UNDERSTOOD, INSPECTED).of(MailService::Exchange).by(IMAP).at(&[Auth, Capabilities]),
    setting("Command is not valid in this state", NOT_UNDERSTOOD, INSPECTED).of(MailService::Exchange).by(POP3).at(AUTH),
    passing("Server Unavailable", "Exchange cannot open the mailbox MAILBOX at the moment.", LATER).of(MailService::Exchange).by(MAIL_ACCESS),
];
