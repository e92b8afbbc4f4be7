//! What Oxpost, and the simulated tenant it is tested against, assume of Exchange Online and Entra ID, in one place. The
//! report shows next to each what the real service said, so that an administrator with a tenant can show where we are wrong.

use std::time::Duration;

use oxpost_token_store::diagnosis::{MetadataAnswer, Shape};

use super::findings::{AccountFindings, Findings};
use crate::config::Protocol;

/// One assumption.
#[derive(Debug)]
pub(super) struct Assumption {
    /// What it is about.
    pub topic: &'static str,
    /// What is assumed.
    pub assumed: &'static str,
    pub(super) look: Look,
}

/// Where to look, and what must be found there.
#[derive(Debug)]
pub(super) enum Look {
    /// The first line of a server that begins like this has all of these words.
    Check(Protocol, &'static str, &'static [&'static str]),
    /// The reply to this command of the sender begins like this.
    Reply(&'static str, &'static str),
    /// Something else: what was seen, and whether it agrees.
    Fact(fn(&Findings) -> Option<(String, bool)>),
}

/// What was seen of an assumption: the words, and whether they agree. None: it did not come to it.
pub(super) fn seen(assumption: &Assumption, findings: &Findings) -> Option<(String, bool)> {
    match &assumption.look {
        Look::Check(protocol, begins, words) => {
            let logins =
                findings.accounts.iter().flat_map(|person| &person.logins).filter(|it| it.protocol == *protocol);
            let mut said = logins.flat_map(|login| &login.heard).filter(|heard| heard.by_server);
            let line = &said.find(|heard| heard.words.starts_with(begins))?.words;
            Some((line.clone(), words.iter().all(|word| line.contains(word))))
        }
        Look::Reply(verb, begins) => {
            let mut replies =
                findings.accounts.iter().filter_map(|person| person.sender.as_ref()).flat_map(|it| &it.replies);
            let (_, reply) = replies.find(|(asked, _)| asked == verb)?;
            Some((reply.clone(), reply.starts_with(begins)))
        }
        Look::Fact(look) => look(findings),
    }
}

/// All assumptions.
pub(super) fn rows() -> &'static [Assumption] {
    ASSUMPTIONS
}

const fn line(
    topic: &'static str,
    assumed: &'static str,
    look: (Protocol, &'static str, &'static [&'static str]),
) -> Assumption {
    Assumption { topic, assumed, look: Look::Check(look.0, look.1, look.2) }
}

const fn reply(topic: &'static str, verb: &'static str, assumed: &'static str) -> Assumption {
    Assumption { topic, assumed, look: Look::Reply(verb, assumed) }
}

const fn fact(topic: &'static str, assumed: &'static str, look: fn(&Findings) -> Option<(String, bool)>) -> Assumption {
    Assumption { topic, assumed, look: Look::Fact(look) }
}

use Protocol::{Imap, Pop3, Smtp};

const ASSUMPTIONS: &[Assumption] = &[
    fact("tenant metadata", "answered with an issuer, and with a Date in the header", metadata),
    fact("TLS of the mail servers", "version 1.2 or 1.3", tls),
    fact("form of the access token", "a JWT with aud, exp, iss, tid, and upn or appid", form),
    fact("length of the access token", "at most 4096 characters", length),
    fact("lifetime of the access token", "60 to 90 minutes", lifetime),
    line("IMAP greeting", "* OK … IMAP4 service …", (Imap, "* OK", &["IMAP4 service"])),
    line(
        "IMAP capabilities before the login",
        "IMAP4rev1 AUTH=XOAUTH2 SASL-IR NAMESPACE LITERAL+ among others",
        (Imap, "* CAPABILITY", &["IMAP4rev1", "AUTH=XOAUTH2", "SASL-IR", "NAMESPACE", "LITERAL+"]),
    ),
    line("IMAP accepts a token", "OK AUTHENTICATE completed.", (Imap, "X2 OK", &["AUTHENTICATE completed."])),
    line("IMAP refuses a token", "NO AUTHENTICATE failed.", (Imap, "X2 NO", &["AUTHENTICATE failed."])),
    line(
        "IMAP mailbox opens",
        "* NAMESPACE ((\"\" \"/\")) NIL NIL",
        (Imap, "* NAMESPACE", &["((\"\" \"/\")) NIL NIL"]),
    ),
    line(
        "IMAP mailbox does not open",
        "BAD User is authenticated but not connected.",
        (Imap, "X4 BAD", &["User is authenticated but not connected."]),
    ),
    line("POP3 greeting", "+OK … Microsoft Exchange POP3 …", (Pop3, "+OK", &["Microsoft Exchange POP3"])),
    line(
        "POP3 accepts a token",
        "+OK User successfully authenticated.",
        (Pop3, "+OK User", &["User successfully authenticated."]),
    ),
    line(
        "POP3 refuses a token",
        "-ERR Authentication failure: unknown user name or bad password.",
        (Pop3, "-ERR", &["Authentication failure: unknown user name or bad password."]),
    ),
    line(
        "SMTP greeting",
        "220 … Microsoft ESMTP MAIL Service ready at …",
        (Smtp, "220 ", &["Microsoft ESMTP MAIL Service ready at"]),
    ),
    line("SMTP goes to TLS", "220 2.0.0 SMTP server ready", (Smtp, "220 2.0.0", &["SMTP server ready"])),
    line("SMTP size", "SIZE 157286400", (Smtp, "250-SIZE", &["157286400"])),
    line("SMTP mechanisms", "AUTH LOGIN XOAUTH2", (Smtp, "250-AUTH", &["LOGIN", "XOAUTH2"])),
    line(
        "SMTP accepts a token",
        "235 2.7.0 Authentication successful",
        (Smtp, "235", &["2.7.0 Authentication successful"]),
    ),
    line(
        "SMTP refuses a token",
        "535 5.7.3 or 5.7.139 Authentication unsuccessful",
        (Smtp, "535", &["Authentication unsuccessful"]),
    ),
    reply("SMTP takes a sender", "MAIL", "250 2.1.0 Sender OK"),
    reply("SMTP takes a recipient", "RCPT", "250 2.1.5 Recipient OK"),
    reply("SMTP resets", "RSET", "250 2.0.0 Resetting"),
];

fn metadata(findings: &Findings) -> Option<(String, bool)> {
    let metadata = findings.authorities.first()?.metadata.as_ref()?.as_ref().ok()?;
    let (tenant, dated) = (matches!(metadata.answer, MetadataAnswer::Tenant), metadata.skew.is_some());
    let word = |yes, what: &str| if yes { format!("with {what}") } else { format!("without {what}") };
    Some((format!("{}, {}", word(tenant, "an issuer"), word(dated, "a Date")), tenant && dated))
}

fn tls(findings: &Findings) -> Option<(String, bool)> {
    let made = findings.servers.iter().filter_map(|server| server.way.secured.as_ref()?.as_ref().ok());
    let mut versions: Vec<&str> = made.map(|secured| secured.version.as_str()).collect();
    versions.sort_unstable();
    versions.dedup();
    let agrees = versions.iter().all(|version| version.ends_with("1.2") || version.ends_with("1.3"));
    (!versions.is_empty()).then(|| (versions.join(", "), agrees))
}

fn shape(findings: &Findings) -> Option<&Shape> {
    findings.accounts.iter().find_map(|person| person.token.as_ref()?.as_ref().ok())
}

fn form(findings: &Findings) -> Option<(String, bool)> {
    let Some(claims) = &shape(findings)?.claims else { return Some(("opaque".into(), false)) };
    let has = |name: &str| claims.names.iter().any(|(held, _)| held == name);
    let missing: Vec<&str> = ["aud", "exp", "iss", "tid"].into_iter().filter(|name| !has(name)).collect();
    let whose = has("upn") || has("appid");
    let seen =
        if missing.is_empty() { "a JWT with these".to_owned() } else { format!("a JWT without {}", missing.join(" ")) };
    Some((if whose { seen } else { format!("{seen}, without upn and appid") }, missing.is_empty() && whose))
}

fn length(findings: &Findings) -> Option<(String, bool)> {
    let length = shape(findings)?.length;
    Some((format!("{length} characters"), length <= 4096))
}

fn lifetime(findings: &Findings) -> Option<(String, bool)> {
    let lived = |person: &AccountFindings| person.lifetime;
    let lifetime = findings.accounts.iter().find_map(lived)?;
    // It was issued some seconds ago.
    let rounded = Duration::from_secs(lifetime.as_secs().div_ceil(60) * 60);
    let agrees = (Duration::from_secs(3600)..=Duration::from_secs(5400)).contains(&rounded);
    Some((format!("{} minutes", rounded.as_secs() / 60), agrees))
}
