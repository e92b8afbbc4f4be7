//! Whole replies: who says them, in which protocol and to what, and what is made of them.

use oxpost_protocol::{RefusalKind, UpstreamFailure, line};
use oxpost_token_store::Mailbox;

use super::*;
use crate::failure::{Failure, FailureClass};
use MailService::{Exchange, Gmail, Other};
use Protocol::{Imap, Pop3, Smtp};
use Step::{Auth, Capabilities, EndOfData, Greeting, Mail, Mailbox as Opening, Rcpt, StartTls};

const TRAILER: &str = "[AM0PR02CA0134.eurprd02.prod.outlook.com 2024-07-11T11:46:49.042Z 08DCA18218166FB4]";

fn asked(service: MailService, protocol: Protocol, step: Step) -> Asked {
    Asked { service, protocol, step }
}

/// What the reply is about, the kind, a part of the meaning and a part of the remedy.
type Expected = (MailService, Protocol, Step, &'static str, RefusalKind, &'static str, &'static str);

const ACT: RefusalKind = AdministratorMustAct;
const WAIT: RefusalKind = Unavailable;

const REPLIES: &[Expected] = &[
    // The way to the login.
    (Exchange, Smtp, Greeting, "220 ****************2***0*", ACT, "firewall masks", "inspect esmtp"),
    (
        Exchange,
        Smtp,
        Capabilities,
        "the server does not offer STARTTLS but XXXXXXXA, SIZE",
        ACT,
        "firewall masks",
        "inspect esmtp",
    ),
    (Other, Smtp, Capabilities, "500 5.5.1 Command unrecognized: \"XXXX a\"", ACT, "firewall masks", "inspect esmtp"),
    (
        Exchange,
        Smtp,
        Capabilities,
        "the server does not offer STARTTLS but AUTH LOGIN",
        ACT,
        "offers no STARTTLS",
        "tls of this server",
    ),
    (Exchange, Smtp, Capabilities, "500 5.3.3 Unrecognized command 'EHLO'", ACT, "Oxpost's EHLO", "host-name"),
    (Gmail, Smtp, Capabilities, "501-5.5.4 HELO/EHLO argument is invalid", ACT, "Oxpost's EHLO", "host-name"),
    (Other, Smtp, Capabilities, "421 busy", WAIT, "EHLO at the moment", "few minutes"),
    (
        Exchange,
        Smtp,
        StartTls,
        "454 4.7.0 TLS not available due to temporary reason",
        WAIT,
        "cannot begin TLS",
        "few minutes",
    ),
    (Gmail, Smtp, StartTls, "454 4.7.0 TLS not available", WAIT, "cannot begin TLS", "few minutes"),
    (Other, Smtp, StartTls, "502 5.5.1 Unimplemented command", ACT, "refuses STARTTLS", "inspects SMTP"),
    (
        Other,
        Smtp,
        Greeting,
        "554 5.7.1 Service unavailable; Client host blocked using zen.spamhaus.org",
        ACT,
        "block list",
        "removal",
    ),
    (
        Exchange,
        Smtp,
        Rcpt,
        "550 5.7.1 Service unavailable, Client host blocked using Customer Block list",
        ACT,
        "block list",
        "removal",
    ),
    (
        Exchange,
        Smtp,
        Greeting,
        "550 5.7.606 Access denied, banned sending IP [203.0.113.7]",
        ACT,
        "address of this site",
        "sender.office.com",
    ),
    (
        Exchange,
        Smtp,
        Mail,
        "550 5.7.511 Access denied, banned sender[203.0.113.7]",
        ACT,
        "address of this site",
        "sender.office.com",
    ),
    (Exchange, Smtp, Greeting, "421 4.3.2 Service not active", WAIT, "shutting down", "few minutes"),
    (
        Exchange,
        Smtp,
        Greeting,
        "421 4.7.66 TLS 1.0 and 1.1 are not supported.",
        ACT,
        "newer version of TLS",
        "inspects TLS",
    ),
    // Exchange, login.
    (Exchange, Smtp, Auth, "535 5.7.3 Authentication unsuccessful", ACT, "refused SMTP", "Set-CASMailbox"),
    (
        Exchange,
        Smtp,
        Auth,
        "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant.",
        ACT,
        "whole organization",
        "Set-TransportConfig",
    ),
    (
        Exchange,
        Smtp,
        Auth,
        "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox.",
        ACT,
        "for this mailbox",
        "Set-CASMailbox",
    ),
    (
        Exchange,
        Smtp,
        Auth,
        "535 5.7.139 Authentication unsuccessful, user is locked by your organization's security defaults policy.",
        ACT,
        "security defaults",
        "Conditional Access",
    ),
    (
        Exchange,
        Smtp,
        Auth,
        "535 5.7.139 Authentication unsuccessful, the request did not meet the criteria to be authenticated successfully.",
        ACT,
        "Conditional Access",
        "Sign-in logs",
    ),
    (
        Exchange,
        Smtp,
        Auth,
        "535 5.7.139 Authentication unsuccessful, a reason that is new",
        ACT,
        "A policy of the organization",
        "Sign-in logs",
    ),
    (
        Exchange,
        Smtp,
        Auth,
        "550 5.7.30 Basic authentication is not supported for Client Submission.",
        ACT,
        "no longer allows",
        "XOAUTH2",
    ),
    (Exchange, Smtp, Auth, "501 5.5.124 Invalid XOAUTH2 auth data", ACT, "High Volume Email did not", "Mail.Send"),
    (Exchange, Smtp, Auth, "454 4.7.0 Temporary authentication failure", WAIT, "check the access token", "few minutes"),
    (
        Exchange,
        Smtp,
        Auth,
        "451 4.7.0 Temporary server error. Please try again later. PRX4",
        WAIT,
        "temporary problem",
        "few minutes",
    ),
    (Exchange, Smtp, Auth, "500 5.3.3 Unrecognized command 'AUTH'", ACT, "AUTH XOAUTH2", "firewall"),
    (Exchange, Imap, Auth, "AUTHENTICATE failed.", ACT, "refused IMAP", "ImapEnabled"),
    (Exchange, Imap, Auth, "Command Argument Error. 12", ACT, "did not understand Oxpost's login", "firewall"),
    (Exchange, Imap, Auth, "Command Error. 12", ACT, "did not understand Oxpost's login", "firewall"),
    (
        Exchange,
        Imap,
        Auth,
        "Request is throttled. Suggested Backoff Time: 299961 milliseconds",
        WAIT,
        "is throttling",
        "fewer programs",
    ),
    (
        Exchange,
        Imap,
        Opening,
        "User is authenticated but not connected.",
        WAIT,
        "does not open at the moment",
        "few minutes",
    ),
    (Exchange, Imap, Opening, "Connection closed. 14", WAIT, "does not open at the moment", "few minutes"),
    (Exchange, Imap, Opening, "Session invalidated - AccessTokenExpired", WAIT, "has expired", "connects again"),
    (
        Exchange,
        Pop3,
        Auth,
        "-ERR Authentication failure: unknown user name or bad password.",
        ACT,
        "refused POP3",
        "PopEnabled",
    ),
    (Exchange, Pop3, Auth, "-ERR Protocol error. Connection is closed. 10", ACT, "access token", "4096"),
    (Exchange, Pop3, Auth, "-ERR Protocol error. 19", ACT, "access token", "4096"),
    // Exchange, messages.
    (Exchange, Smtp, Mail, "530 5.7.57 Client not authenticated to send mail.", ACT, "not logged in", "inspects mail"),
    (Exchange, Smtp, Mail, "550 5.7.506 Access Denied, Bad HELO", ACT, "name in EHLO", "host-name"),
    (
        Exchange,
        Smtp,
        Mail,
        "552 5.3.4 Message size exceeds fixed maximum message size",
        ACT,
        "larger than",
        "MaxSendSize",
    ),
    (Exchange, Smtp, Mail, "421 4.4.2 Connection dropped due to TimedOut", WAIT, "waited too long", "firewall"),
    (
        Exchange,
        Smtp,
        Mail,
        "451 4.7.500 Server busy. Please try again later from [203.0.113.7].",
        WAIT,
        "address of this site",
        "spam",
    ),
    (
        Exchange,
        Smtp,
        Mail,
        "451 4.7.651 The mail server [203.0.113.7] has been temporarily rate limited",
        WAIT,
        "address of this site",
        "spam",
    ),
    (
        Exchange,
        Smtp,
        Rcpt,
        "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found",
        ACT,
        "does not exist",
        "recipient's address",
    ),
    (Exchange, Smtp, Rcpt, "550 5.1.1 The email account does not exist", ACT, "does not exist", "recipient's address"),
    (
        Exchange,
        Smtp,
        Rcpt,
        "550 5.4.1 Recipient address rejected: Access denied",
        ACT,
        "does not accept mail",
        "recipient's address",
    ),
    (Exchange, Smtp, Rcpt, "452 4.5.3 Too many recipients", WAIT, "more recipients", "fewer recipients"),
    (
        Exchange,
        Smtp,
        Rcpt,
        "550 5.5.3 RESOLVER.ADR.RecipLimit; too many recipients",
        ACT,
        "more recipients",
        "RecipientLimits",
    ),
    (
        Exchange,
        Smtp,
        Rcpt,
        "550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup",
        ACT,
        "certain senders",
        "Message delivery restrictions",
    ),
    (
        Exchange,
        Smtp,
        Rcpt,
        "550 5.7.124 RESOLVER.RST.NotInAcceptList",
        ACT,
        "certain senders",
        "Message delivery restrictions",
    ),
    (Exchange, Smtp, Rcpt, "550 5.7.64 TenantAttribution; Relay Access Denied", ACT, "relayed", "smtp.office365.com"),
    (
        Exchange,
        Smtp,
        Rcpt,
        "550 5.5.105 recipient is not in the organization",
        ACT,
        "High Volume Email delivers",
        "Azure",
    ),
    (
        Exchange,
        Smtp,
        Rcpt,
        "550 5.1.8 Access denied, bad outbound sender AS(42003)",
        ACT,
        "appeared to send spam",
        "Restricted entities",
    ),
    (
        Exchange,
        Smtp,
        EndOfData,
        "550 5.1.90 Your message can't be sent because you've reached your daily limit for message recipients",
        ACT,
        "10,000",
        "tomorrow",
    ),
    (
        Exchange,
        Smtp,
        EndOfData,
        "550 5.7.232 Your message can't be sent because your trial tenant has exceeded its daily limit",
        ACT,
        "trial organization",
        "licences",
    ),
    (
        Exchange,
        Smtp,
        EndOfData,
        "550 5.7.233 Your message can't be sent because your tenant exceeded its daily limit",
        ACT,
        "The organization has sent",
        "Tenant outbound",
    ),
    (
        Exchange,
        Smtp,
        EndOfData,
        "550 5.7.236 Your tenant exceeded its daily limit from onmicrosoft.com domains",
        ACT,
        "onmicrosoft.com",
        "Domains",
    ),
    (
        Exchange,
        Smtp,
        EndOfData,
        "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException",
        ACT,
        "10,000",
        "tomorrow",
    ),
    (
        Exchange,
        Smtp,
        EndOfData,
        "554 5.2.2 mailbox full; STOREDRV.Deliver.Exception:QuotaExceededException",
        ACT,
        "is full",
        "Empty it",
    ),
    (
        Exchange,
        Smtp,
        EndOfData,
        "554 5.2.121 Recipient's per hour message receive limit from specific sender exceeded",
        ACT,
        "from this sender",
        "an hour",
    ),
    (
        Exchange,
        Smtp,
        EndOfData,
        "554 5.2.122 The recipient has exceeded their limit for the number of messages they can receive per hour",
        ACT,
        "within an hour",
        "an hour",
    ),
    (
        Exchange,
        Smtp,
        EndOfData,
        "554 5.2.252 SendAsDenied; a@contoso.com not allowed to send as b@contoso.com",
        ACT,
        "may not send as",
        "Add-RecipientPermission",
    ),
    (
        Exchange,
        Smtp,
        EndOfData,
        "550 5.7.60 SMTP; Client does not have permissions to send as this sender",
        ACT,
        "may not send as",
        "Add-RecipientPermission",
    ),
    (
        Exchange,
        Smtp,
        EndOfData,
        "432 4.3.2 Concurrent connections limit exceeded.",
        WAIT,
        "three messages",
        "fewer programs",
    ),
    (
        Exchange,
        Smtp,
        EndOfData,
        "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded",
        WAIT,
        "three messages",
        "fewer programs",
    ),
    (
        Exchange,
        Smtp,
        EndOfData,
        "432 4.3.2 STOREDRV.Deliver; recipient thread limit exceeded",
        WAIT,
        "recipient's mailbox",
        "few minutes",
    ),
    (Exchange, Smtp, EndOfData, "550 5.6.11 SMTPSEND.BareLinefeedsAreIllegal", ACT, "bare line feeds", "CRLF"),
    (Exchange, Smtp, EndOfData, "554 5.4.14 Hop count exceeded - possible mail loop", ACT, "in a circle", "forwarding"),
    (
        Exchange,
        Smtp,
        EndOfData,
        "550 5.7.705 Access denied, tenant has exceeded threshold",
        ACT,
        "stopped all sending",
        "Microsoft support",
    ),
    (
        Exchange,
        Smtp,
        EndOfData,
        "550 5.7.708 Access denied, traffic not accepted from this IP",
        ACT,
        "address this organization",
        "Microsoft support",
    ),
    (
        Exchange,
        Smtp,
        EndOfData,
        "550 5.7.750 Client blocked from sending from unregistered domains",
        ACT,
        "not registered",
        "Domains",
    ),
    (
        Exchange,
        Smtp,
        EndOfData,
        "550 5.7.520 Access denied, Your organization does not allow external forwarding.",
        ACT,
        "forwarded",
        "Outbound policy",
    ),
    (
        Exchange,
        Smtp,
        EndOfData,
        "550 5.7.703 Your message can't be delivered because one or more recipients are blocked",
        ACT,
        "own list",
        "Tenant Allow/Block",
    ),
    (Exchange, Smtp, EndOfData, "550 5.7.501 Access denied, spam abuse detected", ACT, "for spam", "Microsoft support"),
    (
        Exchange,
        Smtp,
        EndOfData,
        "550 5.7.509 Access denied, sending domain does not pass DMARC verification",
        ACT,
        "DMARC",
        "SPF",
    ),
    (
        Exchange,
        Smtp,
        EndOfData,
        "550 5.7.1 TRANSPORT.RULES.RejectMessage; the message was rejected by organization policy",
        ACT,
        "rule or a permission",
        "Message trace",
    ),
    // Gmail.
    (
        Gmail,
        Imap,
        Auth,
        "[ALERT] Too many simultaneous connections. (Failure)",
        WAIT,
        "as many connections",
        "15 connections",
    ),
    (
        Gmail,
        Imap,
        Auth,
        "[AUTHENTICATIONFAILED] Invalid credentials (Failure)",
        ACT,
        "Gmail refused the login",
        "who signed in",
    ),
    (
        Gmail,
        Imap,
        Auth,
        "[ALERT] Web login required: https://support.google.com/mail/answer/78754",
        ACT,
        "with a browser",
        "oxpost sign-in",
    ),
    (Gmail, Imap, Auth, "[ALERT] Your account is not enabled for IMAP use.", ACT, "IMAP is switched off", "POP/IMAP"),
    (Gmail, Imap, Auth, "[OVERQUOTA] Account exceeded command or bandwidth limits.", WAIT, "within a day", "hours"),
    (Gmail, Imap, Auth, "[UNAVAILABLE] Temporary System Error", WAIT, "temporary problem", "appsstatus"),
    (
        Gmail,
        Pop3,
        Auth,
        "-ERR [SYS/PERM] Your account is not enabled for POP access.",
        ACT,
        "POP3 is switched off",
        "POP/IMAP",
    ),
    (
        Gmail,
        Pop3,
        Auth,
        "-ERR [AUTH] Username and password not accepted.",
        ACT,
        "Gmail refused the login",
        "who signed in",
    ),
    (
        Gmail,
        Smtp,
        Auth,
        "535-5.7.8 Username and Password not accepted. gsmtp",
        ACT,
        "Gmail refused the login",
        "who signed in",
    ),
    (Gmail, Smtp, Auth, "555 5.5.2 line too long", ACT, "line of AUTH", "smtp-initial-response"),
    (
        Gmail,
        Smtp,
        Auth,
        "454 4.7.0 Cannot authenticate due to temporary system problem. Try again later.",
        WAIT,
        "temporary problem",
        "appsstatus",
    ),
    (Gmail, Smtp, Auth, "454 4.7.0 Too many login attempts, please try again later.", WAIT, "", "minutes"),
    (Gmail, Smtp, Greeting, "421 4.7.0 Try again later, closing connection.", WAIT, "asks for a pause", "appsstatus"),
    (
        Gmail,
        Smtp,
        Mail,
        "421 4.7.28 Our system has detected an unusual rate of unsolicited mail",
        WAIT,
        "source of spam",
        "81126",
    ),
    (
        Gmail,
        Smtp,
        Rcpt,
        "550 5.1.1 The email account that you tried to reach does not exist.",
        ACT,
        "does not exist",
        "recipient's address",
    ),
    (
        Gmail,
        Smtp,
        Rcpt,
        "450 4.2.1 The user you are trying to contact is receiving mail too quickly.",
        WAIT,
        "more mail",
        "later",
    ),
    (Gmail, Smtp, Rcpt, "452 4.5.3 Your message has too many recipients.", WAIT, "more recipients", "fewer recipients"),
    (Gmail, Smtp, EndOfData, "550 5.4.5 Daily user sending limit exceeded.", ACT, "within a day", "tomorrow"),
    (
        Gmail,
        Smtp,
        EndOfData,
        "552 5.2.3 Your message exceeded Google's message size limits.",
        ACT,
        "larger than",
        "25 MB",
    ),
    (
        Gmail,
        Smtp,
        EndOfData,
        "552 5.7.0 This message was blocked because its content presents a potential security issue.",
        ACT,
        "content",
        "6590",
    ),
    (
        Gmail,
        Smtp,
        EndOfData,
        "550 5.7.1 This message violates example.com email policy. - gcdp",
        ACT,
        "rule of Google Workspace",
        "Email log search",
    ),
    (Gmail, Smtp, EndOfData, "554 5.6.0 Mail message is malformed. Not accepted.", ACT, "cannot read", "MIME"),
];

#[test]
fn reply_is_explained_by_who_said_it_and_to_what() {
    let mailbox = Mailbox::parse("scan@contoso.com").unwrap();
    for (service, protocol, step, reply, kind, what, remedy) in REPLIES {
        let whole = if *service == Exchange { format!("{reply} {TRAILER}") } else { (*reply).to_owned() };
        let asked = asked(*service, *protocol, *step);
        let row = lookup(asked, &whole).unwrap_or_else(|| panic!("no row for {asked:?} {reply}"));
        assert_eq!(row.kind, *kind, "{asked:?} {reply}: {row:?}");
        assert!(row.what.contains(what), "{asked:?} {reply}: {}", row.what);
        assert!(row.remedy.contains(remedy), "{asked:?} {reply}: {}", row.remedy);
        let failure = Failure::upstream(&UpstreamFailure::Unavailable(whole), asked, "mail.example", &mailbox);
        let passes = matches!(failure.class, Some(FailureClass::Unreachable | FailureClass::Throttled));
        assert_eq!(passes, *kind == WAIT, "{asked:?} {reply}: {:?}", failure.class);
        assert!(*service == Exchange || !failure.refusal.text.contains("Exchange"), "{}", failure.refusal.text);
    }
}

#[test]
fn reply_of_one_step_is_not_explained_at_another() {
    for (asked, reply) in [
        (asked(Exchange, Smtp, StartTls), "454 4.7.0 x"),
        (asked(Gmail, Imap, Auth), "AUTHENTICATE failed."),
        (asked(Other, Smtp, Auth), "535 5.7.3 Authentication unsuccessful"),
        (asked(Exchange, Smtp, Auth), "550 5.1.1 x"),
    ] {
        let what = lookup(asked, reply).map(|row| row.what).unwrap_or_default();
        assert!(
            !what.contains("token") && !what.contains("Exchange") && !what.contains("recipient"),
            "{asked:?} {reply}: {what}"
        );
    }
    assert!(lookup(asked(Other, Smtp, EndOfData), "550 5.7.1 something that is not in the table").is_none());
}

#[test]
fn every_row_can_be_reached_and_fits_in_a_reply_line() {
    let long = Mailbox::parse("someone.with.a.long.name1@subsidiary.contoso.com").unwrap();
    for row in known_replies() {
        assert!(row.what.ends_with('.') && row.remedy.ends_with('.'), "{row:?}");
        let sentence = format!("{} `oxpost doctor {long}` checks each step.", row.sentence(&long));
        let sentence = if row.another_token { sentence } else { row.sentence(&long) };
        assert_eq!(line::reply_text(&sentence), sentence);
        let services = row.service.map_or(vec![Exchange, Gmail, Other], |service| vec![service]);
        let protocols: &[Protocol] = if row.protocols.is_empty() { &[Imap, Pop3, Smtp] } else { row.protocols };
        let steps: &[Step] = if row.steps.is_empty() { &[Greeting, Auth, Mail] } else { row.steps };
        let text = row.pattern.trim_start_matches('^');
        let reached = services.iter().any(|service| {
            protocols.iter().any(|protocol| {
                steps.iter().any(|step| {
                    lookup(asked(*service, *protocol, *step), text).is_some_and(|found| std::ptr::eq(found, row))
                })
            })
        });
        assert!(reached, "an earlier row takes the place of {row:?}");
    }
}
