//! Exchange Online's refusals of SMTP, at a login and of a message.
//!
//! The texts: <https://learn.microsoft.com/troubleshoot/exchange/email-delivery/ndr/non-delivery-reports-in-exchange-online>, as far as a
//! client that submits mail can meet them, and what the service has been seen to say.

use super::{AUTH, KnownReply, MESSAGE, MailService, SMTP, lasting, passing, setting};

const LATER: &str = "Try again in a few minutes; if it lasts, see https://status.cloud.microsoft.";

const SEND_AS: &str = "Grant Send As for it: Add-RecipientPermission SENDER -Trustee WHO -AccessRights SendAs. Or let Oxpost replace \
                       it with MAILBOX: oxpost account sender MAILBOX account.";

const LESS_MAIL: &str = "Exchange limits mail from the address of this site at the moment.";

const LOOK_FOR_SPAM: &str =
    "Try again later; if it lasts, look for an account or machine that sends spam, then ask Microsoft support.";

const DAILY: &str = "This mailbox has sent to as many recipients within a day as it may, which is 10,000 at most.";

const TOMORROW: &str = "Wait until tomorrow, and look for mail that the owner did not send; for more, see High Volume Email or Azure Communication Services.";

const RECIPIENTS: &str = "The message has more recipients than one message of this mailbox may have.";

const FEWER: &str = "Send to fewer recipients in one message, or raise the limit up to 1000: Set-Mailbox -Identity MAILBOX -RecipientLimits 1000.";

const NO_RECIPIENT: &str = "A recipient does not exist.";

const CHECK_RECIPIENT: &str =
    "Check the recipient's address; of your own organization, in the Exchange admin center > Recipients.";

const LOOP: &str = "Exchange found that the message goes round in a circle.";

const ROUTING: &str = "Check forwarding of the recipient, and the domain type in the Exchange admin center > Mail flow > Accepted domains.";

const RESTRICTED: &str = "A recipient accepts mail from certain senders only.";

const ALLOW: &str =
    "Allow MAILBOX in the Exchange admin center > Recipients > the group or mailbox > Message delivery restrictions.";

const SPAM: &str = "Microsoft takes mail of this sender for spam.";

const BANNED_SENDER: &str = "Microsoft accepts no mail from this sender.";

const ASK_MICROSOFT: &str =
    "Secure the account and stop what sends spam, then ask Microsoft support to lift the block.";

const BANNED_ADDRESS: &str = "Microsoft accepts no mail from the address of this site.";

const DELIST: &str = "Stop what sends spam from it, then ask for its removal at https://sender.office.com.";

const TOO_LARGE: &str = "The message is larger than this mailbox may send, or a recipient may receive.";

const SMALLER: &str =
    "Send it smaller, or raise the limit up to 150 MB: Set-Mailbox -Identity MAILBOX -MaxSendSize 150MB.";

const RULES: &str = "Exchange admin center > Mail flow > Rules and Message trace say which; allow MAILBOX there.";

pub(super) const ROWS: &[KnownReply] = &[
    lasting("SubmissionQuotaExceeded", DAILY, TOMORROW).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.7.606", BANNED_ADDRESS, DELIST).of(MailService::Exchange).by(SMTP),
    setting("banned sending IP", BANNED_ADDRESS, DELIST).of(MailService::Exchange).by(SMTP),
    passing("4.3.2 Service not active", "This Exchange server is starting or shutting down.", LATER).of(MailService::Exchange).by(SMTP),
    passing("4.7.0 Temporary server error", "Exchange has a temporary problem.", LATER).of(MailService::Exchange).by(SMTP),
    passing("454 4.7.0", "Exchange cannot check the access token at the moment.", LATER).of(MailService::Exchange).by(SMTP).at(AUTH),
    passing("4.3.111", "One Exchange server cannot reach another at the moment.", LATER).of(MailService::Exchange).by(SMTP),
    passing(
        "421 4.4.",
        "Exchange waited too long for the other side and closed the connection.",
        "Try again; if it lasts, check that no firewall delays SMTP.",
    ).of(MailService::Exchange).by(SMTP),
    passing("451 4.7.5", LESS_MAIL, LOOK_FOR_SPAM).of(MailService::Exchange).by(SMTP),
    passing("451 4.7.6", LESS_MAIL, LOOK_FOR_SPAM).of(MailService::Exchange).by(SMTP),
    setting("SendAsDenied", "The user who logged in may not send as this address.", SEND_AS).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.7.60 ", "The user who logged in may not send as this address.", SEND_AS).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting(
        "5.7.57",
        "Exchange treats the sender as not logged in.",
        "Check that nothing between Oxpost and Exchange changes SMTP, such as a firewall that inspects mail.",
    ).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    passing(
        "Concurrent connections limit exceeded",
        "More than three messages were sent from this mailbox at the same time.",
        "Try again, and let fewer programs send from it at the same time.",
    ).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    passing(
        "sender thread limit exceeded",
        "More than three messages were sent from this mailbox at the same time.",
        "Try again, and let fewer programs send from it at the same time.",
    ).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting(
        "QuotaExceeded",
        "The mailbox MAILBOX is full, so the copy for Sent Items cannot be stored.",
        "Empty it, or give it more room: Set-Mailbox -Identity MAILBOX -ProhibitSendQuota, or an archive.",
    ).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting(
        "5.2.2 mailbox full",
        "The mailbox is full.",
        "Empty it, or give it more room: Set-Mailbox -Identity MAILBOX -ProhibitSendQuota, or an archive.",
    ).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting(
        "5.3.4 Message size",
        "The message is larger than this mailbox may send.",
        "Send it smaller, or raise the limit up to 150 MB: Set-Mailbox -Identity MAILBOX -MaxSendSize 150MB.",
    ).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting(
        "5.6.11",
        "The message has bare line feeds, which the receiving server does not accept.",
        "Configure the software to end lines with CRLF.",
    ).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting(
        "5.5.105",
        "High Volume Email delivers only to recipients within the organization.",
        "Send to others through smtp.office365.com, or with Azure Communication Services.",
    ).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting(
        "5.1.8 Access denied, bad outbound sender",
        "Microsoft has restricted this sender, because it appeared to send spam.",
        "Secure the account, then unblock MAILBOX in the Microsoft Defender portal (Review, Restricted entities).",
    ).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting(
        "5.7.705",
        "Microsoft has stopped all sending of this organization, because much of it appeared to be spam.",
        "Secure the accounts that sent it, then ask Microsoft support to lift the block.",
    ).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting(
        "5.7.708",
        "Microsoft accepts no mail from the address this organization sends from.",
        "This is usual for new or trial tenants; ask Microsoft support to lift the block.",
    ).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting(
        "5.7.750",
        "Microsoft has stopped sending from domains that are not registered with this organization.",
        "Add the domain of MAILBOX in the Microsoft 365 admin center, Settings, Domains; then ask Microsoft support.",
    ).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    lasting("5.1.90", DAILY, TOMORROW).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    lasting(
        "5.7.232",
        "This trial organization has sent to as many recipients outside as it may within 24 hours.",
        "Wait until tomorrow, or buy licences: Microsoft 365 admin center > Billing.",
    ).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    lasting(
        "5.7.233",
        "The organization has sent to as many recipients outside as it may within 24 hours.",
        "Wait until tomorrow; Exchange admin center > Reports > Mail flow > Tenant outbound external recipients shows the limit. For more, see \
         Azure Communication Services.",
    ).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    lasting(
        "5.7.236",
        "The organization has sent to as many recipients outside as an onmicrosoft.com address may within 24 hours.",
        "Send from a domain of your own: Microsoft 365 admin center > Settings > Domains.",
    ).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    lasting(
        "5.2.121",
        "The recipient has received as many messages from this sender as it accepts within an hour.",
        "Wait an hour, and send to this recipient less often.",
    ).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    lasting(
        "5.2.122",
        "The recipient has received as many messages as it accepts within an hour.",
        "Wait an hour; send many messages to different recipients, or to a group.",
    ).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    passing(
        "recipient thread limit exceeded",
        "The recipient's mailbox receives too many messages at the same time.",
        "Try again in a few minutes.",
    ).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    passing("4.5.3", "The message has more recipients than Exchange accepts in one message.", "Send to fewer recipients in one message.").of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.5.3", RECIPIENTS, FEWER).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("too many recipients", RECIPIENTS, FEWER).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.3.190", "A journal rule of the organization cannot be applied.", "Correct it in the Microsoft Purview portal > Exchange (legacy) > Journal rules.").of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.1.10", NO_RECIPIENT, CHECK_RECIPIENT).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.1.11", NO_RECIPIENT, CHECK_RECIPIENT).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.1.1 ", NO_RECIPIENT, CHECK_RECIPIENT).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.1.2 ", "The domain of a recipient does not exist.", CHECK_RECIPIENT).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.1.3 ", "The address of a recipient is not a valid one.", CHECK_RECIPIENT).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.1.6 ", "The mailbox of a recipient has moved.", CHECK_RECIPIENT).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.1.0 ", "Exchange does not accept the sender, or knows it no longer.", "Check the sender's address; a reply to an old message may name an old address.").of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.1.7 ", "The address of the sender is not a valid one.", "Correct the sender in the software, or let Oxpost replace it: oxpost account sender MAILBOX account.").of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.1.20", "The message has more than one From: address and no Sender:.", "Configure the software to send with one From: address.").of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.4.1 ", "The domain of a recipient does not accept mail at Exchange, or the recipient does not exist.", CHECK_RECIPIENT).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.4.6 ", LOOP, ROUTING).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.4.14", LOOP, ROUTING).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.4.12", LOOP, ROUTING).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.7.12 ", RESTRICTED, ALLOW).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.7.124", RESTRICTED, ALLOW).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.7.133", RESTRICTED, ALLOW).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.7.134", RESTRICTED, ALLOW).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.7.135", RESTRICTED, ALLOW).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.7.136", RESTRICTED, ALLOW).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.7.129", RESTRICTED, ALLOW).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.7.13 ", RESTRICTED, ALLOW).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.7.64 ", "Exchange takes the message for mail that is to be relayed, and refuses that.",
        "Check that the provider in proxy.toml names smtp.office365.com and not the MX host of the domain.",
    ).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.7.520", "The organization does not allow messages to be forwarded to recipients outside.",
        "Microsoft Defender portal > Email & collaboration > Policies & rules > Anti-spam > Outbound policy: allow automatic forwarding for MAILBOX.",
    ).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.7.703", "The organization's own list blocks a sender or a recipient of the message.",
        "Microsoft Defender portal > Email & collaboration > Policies & rules > Tenant Allow/Block Lists.",
    ).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.7.711", "Microsoft has blocked a connector of this organization, because it appeared to send spam.",
        "Microsoft Defender portal > Email & collaboration > Review > Restricted entities.",
    ).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.7.501", SPAM, ASK_MICROSOFT).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.7.502", BANNED_SENDER, ASK_MICROSOFT).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.7.503", BANNED_SENDER, ASK_MICROSOFT).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.7.504", "The recipient's domain refuses this recipient.", CHECK_RECIPIENT).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.7.505", "Microsoft accepts no mail to this recipient.", CHECK_RECIPIENT).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.7.506", "Microsoft does not accept the name in EHLO.", "Set host-name in proxy.toml to a name of this site that DNS knows.").of(MailService::Exchange).by(SMTP),
    setting("5.7.507", "The recipient has blocked the sender.", "Ask the recipient to remove the block.").of(MailService::Exchange).by(SMTP).at(MESSAGE),
    passing("5.7.508", "The address of this site has sent too much.", "Try again later, and send less at a time.").of(MailService::Exchange).by(SMTP),
    setting("5.7.509", "The domain of the sender does not pass DMARC.", "Publish SPF and DKIM for it: Microsoft Defender portal > Email authentication settings.").of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.7.510", "The recipient's domain accepts no mail by IPv6.", "Ask its administrator.").of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.7.511", BANNED_ADDRESS, DELIST).of(MailService::Exchange).by(SMTP),
    setting("5.7.512", "The header of the message breaks RFC 5322 (From:, Date: or Message-ID:).", "Configure the software to send with one valid From: and Date:.").of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.7.513", "The recipient's domain blocks the address of this site.", "Ask the recipient's administrator to remove the block.").of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.7.800", BANNED_SENDER, ASK_MICROSOFT).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.6.0 ", "Exchange cannot read the message.", "Configure the software to send valid MIME; some send broken attachments or headers.").of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.2.3 ", TOO_LARGE, SMALLER).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.3.4 ", TOO_LARGE, SMALLER).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.3.3 Unrecognized command", "Exchange does not know an SMTP command that the software used.",
        "Look in the settings of the software for an extension to switch off.",
    ).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.7.0 ", "A rule of the organization refuses the message.", RULES).of(MailService::Exchange).by(SMTP).at(MESSAGE),
    setting("5.7.1 ", "A rule or a permission of the organization refuses the message or a recipient.", RULES).of(MailService::Exchange).by(SMTP).at(MESSAGE),
];
