//! Gmail's refusals.
//!
//! The texts: <https://support.google.com/a/answer/3726730>, as far as a client that submits mail can meet them, and what its IMAP and
//! POP3 servers have been seen to say.

use super::super::asked::Step::{Auth, Greeting};
use super::{AUTH, IMAP, KnownReply, MESSAGE, MailService, POP3, Protocol, SMTP, lasting, passing, plain, setting};

const MAIL_ACCESS: &[Protocol] = &[Protocol::Imap, Protocol::Pop3];

const LATER: &str = "Try again in a few minutes; if it lasts, see https://www.google.com/appsstatus.";

const FEWER_PROGRAMS: &str =
    "Close some mail programs, and let fewer read MAILBOX at the same time; Gmail allows 15 connections.";

const SWITCH_ON: &str = "Allow it at https://mail.google.com > Settings > Forwarding and POP/IMAP, and for Workspace at https://admin.google.com > Apps > \
                         Google Workspace > Gmail > End user access.";

const REFUSED: &str = "Gmail refused the login for MAILBOX.";

const WHO: &str = "Check that the user who signed in is MAILBOX (Gmail has no delegates by IMAP, POP3 or SMTP), and that the scopes contain \
                   https://mail.google.com/.";

const QUOTA: &str = "The Google account has sent as many messages within a day as it may.";

const TOMORROW: &str = "Wait until tomorrow; https://support.google.com/a/answer/166852 has the limits.";

const SPAM: &str = "Gmail takes the message, or the address of this site, for a source of spam.";

const STOP_SPAM: &str = "Look for what sends spam, and see https://support.google.com/mail/answer/81126.";

const CHECK_RECIPIENT: &str = "Check the recipient's address.";

pub(super) const ROWS: &[KnownReply] = &[
    passing("too many simultaneous connections", "Gmail has as many connections for MAILBOX as it allows.", FEWER_PROGRAMS).of(MailService::Gmail).by(MAIL_ACCESS),
    passing("exceeded command or bandwidth limits", "MAILBOX has transferred more than Gmail allows within a day.",
        "Try again in some hours, and let fewer programs read it.",
    ).of(MailService::Gmail).by(MAIL_ACCESS),
    passing("bandwidth", "MAILBOX has transferred more than Gmail allows within a day.",
        "Try again in some hours, and let fewer programs read it.",
    ).of(MailService::Gmail).by(MAIL_ACCESS),
    passing("[LIMIT]", "Gmail asks for fewer commands or connections.", FEWER_PROGRAMS).of(MailService::Gmail).by(MAIL_ACCESS),
    passing("[OVERQUOTA]", "MAILBOX has transferred more than Gmail allows within a day.", "Try again in some hours.").of(MailService::Gmail).by(MAIL_ACCESS),
    passing("[UNAVAILABLE]", "Gmail has a temporary problem.", LATER).of(MailService::Gmail).by(MAIL_ACCESS),
    passing("Temporary System Problem", "Gmail has a temporary problem.", LATER).of(MailService::Gmail),
    passing("[SYS/TEMP]", "Gmail has a temporary problem.", LATER).of(MailService::Gmail).by(POP3),
    passing("login delay", "Gmail accepts no login for MAILBOX so soon after the last one.", "Let the mail program look for mail less often.").of(MailService::Gmail).by(POP3),
    setting("not enabled for IMAP", "IMAP is switched off for MAILBOX at Gmail.", SWITCH_ON).of(MailService::Gmail).by(IMAP),
    setting("IMAP access is disabled", "IMAP is switched off for MAILBOX at Gmail.", SWITCH_ON).of(MailService::Gmail).by(IMAP),
    setting("not enabled for POP", "POP3 is switched off for MAILBOX at Gmail.", SWITCH_ON).of(MailService::Gmail).by(POP3),
    setting("POP access is disabled", "POP3 is switched off for MAILBOX at Gmail.", SWITCH_ON).of(MailService::Gmail).by(POP3),
    setting("Web login required", "Google wants the user to sign in with a browser first.",
        "Sign in at https://accounts.google.com as MAILBOX, then run `oxpost sign-in MAILBOX`.",
    ).of(MailService::Gmail).at(AUTH),
    setting("Please log in via your web browser", "Google wants the user to sign in with a browser first.",
        "Sign in at https://accounts.google.com as MAILBOX, then run `oxpost sign-in MAILBOX`.",
    ).of(MailService::Gmail).at(AUTH),
    setting("log in with your web browser", "Google wants the user to sign in with a browser first.",
        "Sign in at https://accounts.google.com as MAILBOX, then run `oxpost sign-in MAILBOX`.",
    ).of(MailService::Gmail).at(AUTH),
    setting("Application-specific password required", "Google saw a login with a password.",
        "Check that the provider in proxy.toml is gmail, and run `oxpost sign-in MAILBOX`.",
    ).of(MailService::Gmail).at(AUTH),
    setting("domain policy has disabled", "The administrator of Google Workspace has switched this access off.", SWITCH_ON).of(MailService::Gmail).at(AUTH),
    plain("Invalid credentials", REFUSED, WHO).of(MailService::Gmail).by(MAIL_ACCESS).at(AUTH),
    plain("AUTHENTICATIONFAILED", REFUSED, WHO).of(MailService::Gmail).by(IMAP).at(AUTH),
    plain("Username and password not accepted", REFUSED, WHO).of(MailService::Gmail).at(AUTH),
    plain("5.7.8", REFUSED, WHO).of(MailService::Gmail).by(SMTP).at(AUTH),
    plain("535", REFUSED, WHO).of(MailService::Gmail).by(SMTP).at(AUTH),
    setting("5.5.2 line too long", "Gmail does not accept a token on the line of AUTH.", "Remove smtp-initial-response from the provider in proxy.toml.")
        .of(MailService::Gmail)
        .by(SMTP)
        .at(AUTH),
    setting("5.7.4", "Gmail does not know the way in which Oxpost logs in.", "Check that the provider in proxy.toml is gmail.").of(MailService::Gmail).by(SMTP).at(AUTH),
    passing("454 4.7.0", "Gmail cannot check the token at the moment.", LATER).of(MailService::Gmail).by(SMTP).at(AUTH),
    passing("too many login attempts", "Gmail saw too many logins for MAILBOX in a short time.",
        "Wait some minutes, and let programs connect less often.",
    ).of(MailService::Gmail).at(&[Greeting, Auth]),
    passing("421 4.3.0", "Gmail has a temporary problem.", LATER).of(MailService::Gmail).by(SMTP),
    passing("421 4.4.5", "Gmail is busy.", LATER).of(MailService::Gmail).by(SMTP),
    passing("4.4.2", "Gmail waited too long for the other side and closed the connection.", "Try again; if it lasts, check that no firewall delays SMTP.")
        .of(MailService::Gmail)
        .by(SMTP),
    passing("451 4.3.0", "Gmail temporarily refuses the message.", LATER).of(MailService::Gmail).by(SMTP).at(MESSAGE),
    passing("unusual rate of unsolicited mail", SPAM, STOP_SPAM).of(MailService::Gmail).by(SMTP),
    passing("4.7.28", SPAM, STOP_SPAM).of(MailService::Gmail).by(SMTP),
    passing("421 4.7.0", "Gmail asks for a pause.", LATER).of(MailService::Gmail).by(SMTP),
    passing("4.2.1", "The recipient receives more mail than it accepts.", "Try again later.").of(MailService::Gmail).by(SMTP).at(MESSAGE),
    passing("4.2.2", "The mailbox of a recipient is full.", "Try again later, or tell the recipient.").of(MailService::Gmail).by(SMTP).at(MESSAGE),
    passing("4.5.3", "The message has more recipients than Gmail accepts.", "Send to fewer recipients in one message.").of(MailService::Gmail).by(SMTP).at(MESSAGE),
    lasting("5.4.5", QUOTA, TOMORROW).of(MailService::Gmail).by(SMTP).at(MESSAGE),
    lasting("sending limit exceeded", QUOTA, TOMORROW).of(MailService::Gmail).by(SMTP).at(MESSAGE),
    lasting("relay limit exceeded", QUOTA, TOMORROW).of(MailService::Gmail).by(SMTP).at(MESSAGE),
    lasting("rate that prevents additional messages", "The recipient receives more mail than it accepts.", "Try again later.").of(MailService::Gmail).by(SMTP).at(MESSAGE),
    setting("5.1.1", "A recipient does not exist.", CHECK_RECIPIENT).of(MailService::Gmail).by(SMTP).at(MESSAGE),
    setting("5.1.2", "The domain of a recipient does not exist.", CHECK_RECIPIENT).of(MailService::Gmail).by(SMTP).at(MESSAGE),
    setting("5.1.3", "The address of a recipient is not a valid one.", CHECK_RECIPIENT).of(MailService::Gmail).by(SMTP).at(MESSAGE),
    setting("5.2.1", "The mailbox of a recipient is disabled.", CHECK_RECIPIENT).of(MailService::Gmail).by(SMTP).at(MESSAGE),
    setting("5.2.2", "The mailbox of a recipient is full.", "Tell the recipient, or send it later.").of(MailService::Gmail).by(SMTP).at(MESSAGE),
    setting("5.2.3", "The message is larger than Gmail accepts.", "Send it smaller than 25 MB.").of(MailService::Gmail).by(SMTP).at(MESSAGE),
    setting("5.3.4", "The message is larger than Gmail accepts.", "Send it smaller than 25 MB.").of(MailService::Gmail).by(SMTP).at(MESSAGE),
    setting("5.5.3", "The message has more recipients than Gmail accepts.", "Send to fewer recipients in one message.").of(MailService::Gmail).by(SMTP).at(MESSAGE),
    setting("5.6.0", "Gmail cannot read the message.", "Configure the software to send valid MIME.").of(MailService::Gmail).by(SMTP).at(MESSAGE),
    setting("Mail Sending denied", "The Google account may not send.", "Check it at https://admin.google.com > Directory > Users.").of(MailService::Gmail).by(SMTP).at(MESSAGE),
    setting("5.7.0", "Gmail refuses the content of the message, such as a kind of attachment.", "See https://support.google.com/mail/answer/6590.")
        .of(MailService::Gmail)
        .by(SMTP)
        .at(MESSAGE),
    setting("5.7.1", "Gmail or a rule of Google Workspace refuses the message.",
        "https://admin.google.com > Reporting > Email log search says why; for spam see https://support.google.com/mail/answer/81126.",
    ).of(MailService::Gmail).by(SMTP).at(MESSAGE),
    setting("5.7.26", "The domain of the sender does not pass SPF or DKIM.", "Publish both for it: https://support.google.com/a/answer/33786.")
        .of(MailService::Gmail)
        .by(SMTP)
        .at(MESSAGE),
];
