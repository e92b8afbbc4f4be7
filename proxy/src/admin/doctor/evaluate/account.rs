//! The lines about one account: registration, permissions, the token, the logins.

use oxpost_token_store::TokenError;
use oxpost_token_store::diagnosis::{Claims, MetadataAnswer, Shape};

use super::{is_reached, refused, words};
use crate::admin::doctor::check::{Check, Checklist, Verdict};
use crate::admin::doctor::findings::{AccountFindings, Findings, Login, Refused, Sender};
use crate::config::MailService;
use crate::config::Protocol;
use crate::failure::{self, Asked, Failure, Step};
use oxpost_protocol::UpstreamFailure;

/// POP3 refuses longer tokens (seen since July 2025).
const POP3_TOKEN_LIMIT: usize = 4096;

/// It is not known whether the limit counts the token or its base64, which is a third longer.
const POP3_TOKEN_NOTED: usize = 3000;

/// The audiences that Exchange Online's mail protocols take: by both of its names, and by its application id.
const EXCHANGE: [&str; 3] =
    ["https://outlook.office.com", "https://outlook.office365.com", "00000002-0000-0ff1-ce00-000000000000"];

/// What else a token is for if the scopes are wrong.
const NOT_MAIL: [&str; 3] =
    ["https://graph.microsoft.com", "00000003-0000-0000-c000-000000000000", "https://ps.outlook.com"];

/// How far the sign-in service has come when it refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// It does not know the application in this tenant.
    Client,
    /// It does not take the application for what it is used as.
    Kind,
    /// The application may not have what it asks for.
    Permission,
    /// Everything else is about the person's sign-in.
    SignIn,
    /// It has not come to look at anything.
    Unknown,
}

/// By the numbers of `AADSTS` codes: <https://learn.microsoft.com/entra/identity-platform/reference-error-codes>.
pub(crate) fn stage(error: &TokenError) -> Stage {
    match (error, error.problem().and_then(|problem| problem.code)) {
        (TokenError::Transient { .. } | TokenError::Paused { .. } | TokenError::Store(_), _) => Stage::Unknown,
        (
            _,
            Some(
                700_016 | 700_038 | 7_000_112 | 90_002 | 900_023 | 50_194 | 50_059 | 9_001_023 | 9_002_331 | 9_002_332
                | 90_038 | 900_382,
            ),
        ) => Stage::Client,
        (
            _,
            Some(
                7_000_218 | 700_025 | 7_000_215 | 7_000_222 | 70_002 | 700_027 | 700_024 | 700_211 | 700_212 | 700_213,
            ),
        ) => Stage::Kind,
        (_, Some(65_001 | 65_004 | 90_094 | 90_095 | 650_057 | 650_056 | 500_011 | 70_011)) => Stage::Permission,
        // Found out before the authority was asked, such as a secret that is not there; or by the machine's own service.
        (TokenError::Misconfigured(_), None) => Stage::Kind,
        _ => Stage::SignIn,
    }
}

/// The permission a protocol needs.
/// <https://learn.microsoft.com/exchange/client-developer/legacy-protocols/how-to-authenticate-an-imap-pop-smtp-application-by-using-oauth>
pub(crate) fn permission(protocol: Protocol, app_only: bool) -> &'static str {
    match (protocol, app_only) {
        (Protocol::Imap, false) => "IMAP.AccessAsUser.All",
        (Protocol::Pop3, false) => "POP.AccessAsUser.All",
        (Protocol::Smtp, false) => "SMTP.Send",
        (Protocol::Imap, true) => "IMAP.AccessAsApp",
        (Protocol::Pop3, true) => "POP.AccessAsApp",
        (Protocol::Smtp, true) => "SMTP.SendAsApp",
    }
}

/// The names of the permission lines.
fn permissions(person: &AccountFindings) -> Vec<(Protocol, &'static str)> {
    let named = person.protocols.iter().map(|&protocol| (protocol, permission(protocol, person.app_only)));
    // Others, Google among them, know one permission for everything.
    let microsoft =
        |scope: &String| scope.ends_with("/.default") || named.clone().any(|(_, name)| scope.ends_with(name));
    if person.scopes.iter().any(microsoft) || person.scopes.is_empty() {
        return named.collect();
    }
    person.protocols.first().map(|&protocol| (protocol, "permission")).into_iter().collect()
}

/// The check that must pass before a token is asked for, if it has not.
pub(super) fn before_the_token(person: &AccountFindings, findings: &Findings) -> Option<&'static str> {
    if person.application_fits.is_err() {
        return Some("application");
    }
    let authority = findings.authority_of(person)?;
    match &authority.metadata {
        Some(Err(_)) => return Some("authority"),
        Some(Ok(metadata)) => match metadata.answer {
            MetadataAnswer::Tenant | MetadataAnswer::NoTenants => {}
            MetadataAnswer::Refused(_) => return Some("tenant"),
            MetadataAnswer::Nonsense(_) => return Some("authority"),
        },
        None => {}
    }
    matches!(authority.proof, Some(Err(_))).then_some("credential")
}

pub(crate) fn lines_of(person: &AccountFindings, findings: &Findings, lines: &mut Vec<Check>) {
    let mut sheet = Checklist::new(format!("account {}", person.mailbox), lines);
    sheet.add(
        "application",
        match &person.application_fits {
            Ok(()) => Verdict::Pass(person.application.clone()),
            Err(sentence) => Verdict::failed(sentence.clone()),
        },
    );
    let Some(token) = &person.token else {
        let needed = before_the_token(person, findings).unwrap_or("authority");
        sheet.needs(&["client id", "kind of client"], needed);
        for (_, name) in permissions(person) {
            sheet.needs(&[name], needed);
        }
        sheet.needs(&["token"], needed);
        return rest_needs(&mut sheet, person, "token");
    };
    registration(&mut sheet, person, findings, token.as_ref().err());
    match token {
        Err(error) => {
            let at = stage(error);
            let verdict = match at {
                Stage::Client => Verdict::NotChecked("client id".into()),
                Stage::Kind => Verdict::NotChecked("kind of client".into()),
                Stage::Permission => Verdict::NotChecked("every permission".into()),
                Stage::SignIn | Stage::Unknown => refused(error),
            };
            sheet.add("token", verdict);
            rest_needs(&mut sheet, person, "token");
        }
        Ok(shape) => {
            let minutes = person.lifetime.map_or(0, |lifetime| lifetime.as_secs() / 60);
            sheet.add("token", Verdict::Pass(format!("received; valid for {minutes} minutes")));
            sheet.add("audience", audience(shape, person));
            sheet.add("identity", identity(shape, person));
            if person.protocols.contains(&Protocol::Pop3) {
                sheet.add("token length", length(shape));
            }
            for &protocol in &person.protocols {
                login_lines(&mut sheet, protocol, person, findings);
            }
        }
    }
}

fn rest_needs(sheet: &mut Checklist<'_>, person: &AccountFindings, needed: &str) {
    sheet.needs(&["audience", "identity"], needed);
    if person.protocols.contains(&Protocol::Pop3) {
        sheet.needs(&["token length"], needed);
    }
    for &protocol in &person.protocols {
        sheet.needs(&[&login_name(protocol)], needed);
        login_rest(sheet, protocol, needed);
    }
}

/// Client id, kind of client, and a line for each permission.
fn registration(sheet: &mut Checklist<'_>, person: &AccountFindings, findings: &Findings, error: Option<&TokenError>) {
    let at = error.map(stage);
    // Without a sign-in, at most the beginning of one was tried, which shows the client id and nothing else.
    let shown = |of: Stage| person.app_only || person.signed_in || of == Stage::Client && person.sign_in_tried;
    let verdict = |of: Stage, pass: &str, needed: &str| match (error, at) {
        (Some(error), Some(at)) if at == of => refused(error),
        (Some(_), Some(Stage::Unknown)) => Verdict::NotChecked("token".into()),
        (_, Some(at)) if at < of => Verdict::NotChecked(needed.to_owned()),
        _ if !shown(of) => Verdict::NotChecked("token".into()),
        _ => Verdict::Pass(pass.to_owned()),
    };
    sheet.add("client id", verdict(Stage::Client, "known in the tenant", ""));
    let proof = findings.authority_of(person).and_then(|authority| authority.proof.as_ref()?.as_ref().ok().copied()?);
    let kind = match proof {
        Some(name) => format!("its {name} is accepted"),
        None => "a public client, which needs no secret".to_owned(),
    };
    sheet.add("kind of client", verdict(Stage::Kind, &kind, "client id"));
    for (protocol, name) in permissions(person) {
        let alone = person.permissions.iter().find(|(of, _)| *of == protocol).map(|(_, granted)| granted);
        let line = match (alone, &person.token) {
            (Some(Ok(())), _) => Verdict::Pass("granted".into()),
            (Some(Err(error)), _) => refused(error),
            (None, Some(Ok(shape))) => granted(shape, person, protocol),
            (None, _) => verdict(Stage::Permission, "granted", "kind of client"),
        };
        sheet.add(name, line);
    }
}

/// Whether the token has the permission in it.
fn granted(shape: &Shape, person: &AccountFindings, protocol: Protocol) -> Verdict {
    let name = permission(protocol, person.app_only);
    let Some(claims) = &shape.claims else {
        return Verdict::Pass("granted: the token was issued for it, but is opaque".into());
    };
    let (held, kind) = if person.app_only { (&claims.roles, "Application") } else { (&claims.scopes, "Delegated") };
    if held.iter().any(|held| held == name) {
        return Verdict::Pass("granted".into());
    }
    let remedy = format!(
        "The token lacks the permission {name}. Microsoft Entra admin center > App registrations > API permissions > Add a permission > APIs \
         my organization uses > Office 365 Exchange Online > {kind} permissions > {name}; then Grant admin consent{}.",
        if person.app_only { "" } else { ". If proxy.toml lists scopes, add it there too" }
    );
    if person.app_only && protocol == Protocol::Smtp {
        // The role may have been given in Exchange instead, for some mailboxes only.
        return Verdict::Warning(format!(
            "{remedy} Nothing needs to be done if the role `Application SMTP.SendAsApp` was assigned in Exchange."
        ));
    }
    Verdict::failed(remedy)
}

fn audience(shape: &Shape, person: &AccountFindings) -> Verdict {
    let Some(Claims { audience, .. }) = &shape.claims else {
        return Verdict::Pass("unknown: the token is opaque, as those of personal accounts are".into());
    };
    let plain = audience.trim_end_matches('/');
    let asked_for = person.scopes.iter().any(|scope| scope.starts_with(plain) && !plain.is_empty());
    if EXCHANGE.contains(&plain) || asked_for && !NOT_MAIL.contains(&plain) {
        return Verdict::Pass(audience.clone());
    }
    Verdict::failed(format!(
        "The token is for `{audience}`, and Exchange's mail protocols refuse it. Write the scopes in proxy.toml with their host, as in \
         https://outlook.office.com/IMAP.AccessAsUser.All, or remove them to use those of the preset `office365`; then run `oxpost sign-in {}`.",
        person.mailbox
    ))
}

fn identity(shape: &Shape, person: &AccountFindings) -> Verdict {
    if person.app_only {
        return Verdict::Pass("the application itself".into());
    }
    let told = shape.claims.as_ref().and_then(|claims| claims.person.as_ref()).or(person.signed_in_as.as_ref());
    let Some(who) = told else { return Verdict::Pass("not reported by the sign-in service".into()) };
    let mailbox = &person.mailbox;
    if who.eq_ignore_ascii_case(mailbox.as_ref()) {
        return Verdict::Pass(who.clone());
    }
    // A token does not show whether the user may open the mailbox: the logins do.
    let refused = |of: &dyn Fn(&Login) -> bool| person.logins.iter().any(|login| login.outcome.is_err() && of(login));
    if !refused(&|_| true) {
        return Verdict::Pass(format!("{who}, for {mailbox}"));
    }
    let by_smtp =
        refused(&|login| login.protocol == Protocol::Smtp) && !who.eq_ignore_ascii_case(person.smtp_user.as_ref());
    let smtp = match by_smtp {
        true => {
            format!(" Exchange accepts SMTP logins as {who} only: `oxpost account delegate {mailbox} {who} --create`.")
        }
        false => String::new(),
    };
    Verdict::Warning(format!(
        "{who} signed in for {mailbox} and needs Full Access to it (Add-MailboxPermission {mailbox} -User {who} -AccessRights FullAccess), \
         and Send As to send from it.{smtp} To use another user, run `oxpost sign-in {mailbox}` again."
    ))
}

fn length(shape: &Shape) -> Verdict {
    let length = shape.length;
    let remedy = "Remove the account from directory roles and large groups, or use IMAP instead of POP3.";
    match length {
        ..POP3_TOKEN_NOTED => Verdict::Pass(format!("{length} characters")),
        POP3_TOKEN_NOTED..=POP3_TOKEN_LIMIT => Verdict::Warning(format!(
            "{length} characters, and POP3 refuses more than {POP3_TOKEN_LIMIT}, perhaps counted in base64. {remedy}"
        )),
        _ => Verdict::failed(format!(
            "The token has {length} characters, and POP3 refuses more than {POP3_TOKEN_LIMIT}. {remedy}"
        )),
    }
}

fn login_name(protocol: Protocol) -> String {
    format!("{protocol} login")
}

/// Why a login cannot be tried: the check that must pass first.
fn obstacle(person: &AccountFindings, protocol: Protocol, findings: &Findings) -> Option<String> {
    let Some(Ok(shape)) = &person.token else { return Some("token".into()) };
    if person.mailbox.is_pattern() {
        return Some(format!("a mailbox: oxpost doctor NAME@{}", person.mailbox.domain()));
    }
    if !audience(shape, person).is_good() {
        return Some("audience".into());
    }
    if !granted(shape, person, protocol).is_good() {
        return Some(permission(protocol, person.app_only).into());
    }
    let server = findings.server_of(person, protocol);
    (!server.is_some_and(|server| is_reached(&server.way))).then(|| format!("certificate of the {protocol} server"))
}

/// Whether a login is worth trying.
pub(crate) fn may_log_in(person: &AccountFindings, protocol: Protocol, findings: &Findings) -> bool {
    obstacle(person, protocol, findings).is_none()
}

fn login_lines(sheet: &mut Checklist<'_>, protocol: Protocol, person: &AccountFindings, findings: &Findings) {
    let name = login_name(protocol);
    let Some(login) = person.logins.iter().find(|login| login.protocol == protocol) else {
        let needed = obstacle(person, protocol, findings).unwrap_or_else(|| "token".into());
        sheet.needs(&[&name], &needed);
        return login_rest(sheet, protocol, &needed);
    };
    if let Err(Refused::Server(UpstreamFailure::NotConnected(_), _)) = &login.outcome {
        sheet.add(&name, Verdict::Pass("the token is accepted".into()));
        sheet.add("mailbox", login_verdict(login, person, findings));
        return;
    }
    if !sheet.add(&name, login_verdict(login, person, findings)) {
        return login_rest(sheet, protocol, &name);
    }
    match protocol {
        Protocol::Imap => drop(sheet.add("mailbox", Verdict::Pass("opens".into()))),
        Protocol::Pop3 => {}
        Protocol::Smtp => drop(sheet.add("sender", sender(person.sender.as_ref(), person))),
    }
}

/// What would come behind a login.
fn login_rest(sheet: &mut Checklist<'_>, protocol: Protocol, needed: &str) {
    match protocol {
        Protocol::Imap => sheet.needs(&["mailbox"], needed),
        Protocol::Pop3 => {}
        Protocol::Smtp => sheet.needs(&["sender"], needed),
    }
}

fn login_verdict(login: &Login, person: &AccountFindings, findings: &Findings) -> Verdict {
    let server = findings.server_of(person, login.protocol);
    let host = server.map_or("the mail server", |server| server.server.host.as_str());
    match &login.outcome {
        Ok(()) => {
            let took = login.heard.last().map_or(0, |heard| heard.after.as_millis());
            Verdict::Pass(format!("accepted within {took} ms"))
        }
        Err(Refused::Server(failure, step)) => {
            let opened = if login.protocol == Protocol::Smtp { &person.smtp_user } else { &person.mailbox };
            let asked = Asked::of_login(service(person), login.protocol, *step);
            let remedy = match failure {
                // Twice within a minute is no proof that it lasts, but what it would be then is what a person can check now.
                UpstreamFailure::NotConnected(_) => format!(
                    "The login is accepted, but the mailbox {opened} does not open. {}",
                    failure::not_connected_remedy(asked.service)
                ),
                _ => failure::explained(asked, words(failure), opened)
                    .unwrap_or_else(|| Failure::upstream(failure, asked, host, opened).refusal.text),
            };
            Verdict::Failed { remedy, said: words(failure).to_owned() }
        }
        Err(Refused::Unreached(failure)) => {
            Verdict::Failed { remedy: failure.refusal.text.clone(), said: failure.log.clone() }
        }
    }
}

fn service(person: &AccountFindings) -> MailService {
    person.servers.as_ref().map_or(MailService::Other, |servers| servers.service)
}

fn sender(sender: Option<&Sender>, person: &AccountFindings) -> Verdict {
    let Some(sender) = sender else { return Verdict::NotChecked("SMTP login".into()) };
    let mailbox = &person.mailbox;
    if let Some(broken) = &sender.broken {
        return Verdict::Failed {
            remedy: "Exchange gave no reply to the sender. Try again in a few minutes.".into(),
            said: broken.clone(),
        };
    }
    let Some((verb, said)) = sender.replies.iter().find(|(_, reply)| !reply.starts_with('2')) else {
        return Verdict::Pass(format!("{mailbox} is accepted as sender; nothing was sent"));
    };
    let asked = Asked::of_message(service(person), Step::of_command(verb));
    let remedy = failure::explained(asked, said, mailbox).unwrap_or_else(|| {
        if said.starts_with('4') {
            format!("Exchange temporarily refuses {mailbox} as sender. Try again in a few minutes.")
        } else {
            format!(
                "Exchange refuses {mailbox} as sender (in reply to {verb}). Check in the Exchange admin center that the mailbox \
                 exists, and that {} may send as it (Add-RecipientPermission).",
                person.smtp_user
            )
        }
    });
    Verdict::Failed { remedy, said: said.clone() }
}
