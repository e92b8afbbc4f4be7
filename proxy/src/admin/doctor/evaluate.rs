//! From what was found to a checklist. Pure: the same findings always give the same lines.

mod account;
mod service;

use std::time::Duration;

use oxpost_protocol::UpstreamFailure;
use oxpost_token_store::TokenError;
use oxpost_token_store::diagnosis::{Metadata, MetadataAnswer};

pub(super) use self::account::{Stage, lines_of as account_lines, may_log_in, permission, stage};
use super::check::{Check, Checklist, Verdict};
use super::findings::{AccountFindings, Authority, Findings, MailServer, NotSecured, Reach};
use crate::admin::node_report;

/// A clock may be wrong by so much before it is worth a word.
const SKEW_NOTED: i64 = 30;

/// And by so much before signed statements and tokens are refused: they are valid for minutes.
/// <https://learn.microsoft.com/entra/identity-platform/certificate-credentials>
const SKEW_LIMIT: i64 = 300;

/// The checklist.
pub(crate) fn evaluate(findings: &Findings) -> Vec<Check> {
    let mut lines = Vec::new();
    let mut here = Checklist::new("this machine", &mut lines);
    let configured = here.add("configuration", simple(findings.configuration.as_ref(), "a configuration"));
    if !configured {
        here.needs(&["store and key", "everything else"], "configuration");
        return lines;
    }
    service::lines_of(findings, &mut lines);
    let mut here = Checklist::new("this machine", &mut lines);
    let stored = here.add("store and key", simple(findings.store.as_ref(), "a store"));
    if !stored && findings.authorities.is_empty() {
        here.needs(&["everything else"], "store and key");
        return lines;
    }
    if let Some(clocks) = &findings.clocks {
        let verdict = match clocks.as_slice() {
            [] => Verdict::Pass("no service has reported a wrong clock".into()),
            wrong => Verdict::Warning(wrong.join(" ")),
        };
        Checklist::new("this machine", &mut lines).add("clocks", verdict);
    }
    if let Some(nodes) = &findings.nodes {
        let verdict = match node_report::disagreement(nodes) {
            Some(disagreement) => Verdict::Warning(disagreement),
            None => Verdict::Pass(node_report::sentence(nodes)),
        };
        Checklist::new("this machine", &mut lines).add("nodes", verdict);
    }
    for authority in &findings.authorities {
        authority_lines(authority, &mut lines);
    }
    for server in &findings.servers {
        server_lines(server, &mut lines);
    }
    for person in &findings.accounts {
        account_lines(person, findings, &mut lines);
    }
    lines
}

fn simple(found: Option<&Result<String, String>>, what: &str) -> Verdict {
    match found {
        Some(Ok(text)) => Verdict::Pass(text.clone()),
        Some(Err(sentence)) => Verdict::failed(sentence.clone()),
        None => Verdict::NotChecked(what.to_owned()),
    }
}

fn authority_lines(authority: &Authority, lines: &mut Vec<Check>) {
    let place = if authority.metadata.is_some() { authority.host.as_str() } else { "this machine" };
    let mut sheet = Checklist::new(format!("application {} at {place}", authority.application), lines);
    tenant_lines(&mut sheet, authority);
    match &authority.pause {
        // Without a store there is no service that could have been told to wait.
        None => {}
        Some(Ok(())) => {
            sheet.add("pause", Verdict::Pass("none: Oxpost sends requests whenever a token is needed".into()));
        }
        Some(Err(sentence)) => {
            sheet.add("pause", Verdict::Warning(sentence.clone()));
        }
    }
    sheet.add("credential", credential(authority));
}

fn tenant_lines(sheet: &mut Checklist<'_>, authority: &Authority) {
    let host = &authority.host;
    let metadata = match &authority.metadata {
        // The service of this machine that gives its tokens can be asked for nothing else.
        None => return,
        Some(Ok(metadata)) => metadata,
        Some(Err(reason)) => {
            sheet.add("authority", unreachable_authority(host, reason, authority.way.as_ref()));
            return sheet.needs(&["clock", "tenant"], "authority");
        }
    };
    if let MetadataAnswer::Nonsense(status) = metadata.answer {
        sheet.add(
            "authority",
            Verdict::failed(format!(
                "The server at {host} is not a sign-in service (HTTP status {status}). Check `authority` of the provider in \
                 proxy.toml, and whether a firewall or a web proxy answers instead."
            )),
        );
        return sheet.needs(&["clock", "tenant"], "authority");
    }
    sheet.add("authority", Verdict::Pass(format!("answers within {} ms", metadata.took.as_millis())));
    sheet.add("clock", clock(metadata));
    match &metadata.answer {
        MetadataAnswer::Refused(error) => drop(sheet.add("tenant", refused(error))),
        MetadataAnswer::Tenant => drop(sheet.add("tenant", Verdict::Pass("exists".into()))),
        MetadataAnswer::NoTenants | MetadataAnswer::Nonsense(_) => {}
    }
}

fn credential(authority: &Authority) -> Verdict {
    match (&authority.proof, &authority.ends) {
        (None, _) => Verdict::NotChecked("store and key".into()),
        (Some(Err(error)), _) => refused(error),
        (Some(Ok(_)), Some((sentence, true))) => Verdict::Warning(sentence.clone()),
        (Some(Ok(_)), Some((sentence, false))) => Verdict::Pass(sentence.clone()),
        (Some(Ok(Some(name))), None) => Verdict::Pass(format!("a {name}")),
        (Some(Ok(None)), None) => Verdict::Pass("none: a public client, for sign-ins of users".into()),
    }
}

fn unreachable_authority(host: &str, reason: &str, way: Option<&Reach>) -> Verdict {
    let wrong = way.and_then(|way| reach_verdicts(host, way).into_iter().find(|(_, verdict)| verdict.is_failure()));
    match wrong {
        Some((_, verdict)) => verdict,
        None => Verdict::Failed {
            remedy: format!(
                "The sign-in service at {host} does not answer, although a TLS connection can be made. Check the system's proxy settings, and \
                 whether a firewall allows HTTPS to {host}."
            ),
            said: reason.to_owned(),
        },
    }
}

fn clock(metadata: &Metadata) -> Verdict {
    let Some(skew) = metadata.skew else {
        return Verdict::Pass("unknown: the reply has no Date header".into());
    };
    // The answer's Date has whole seconds: behind a minute or two they only seem exact.
    let distance = match skew.unsigned_abs() {
        seconds @ ..120 => seconds,
        seconds => (seconds + 30) / 60 * 60,
    };
    let distance = humantime::format_duration(Duration::from_secs(distance));
    let way = if skew > 0 { "behind" } else { "ahead of" };
    let remedy = "Set it (Windows: w32tm /resync, Linux: timedatectl set-ntp true).";
    match skew.abs() {
        ..SKEW_NOTED => Verdict::Pass(format!("within {SKEW_NOTED} s of the sign-in service's")),
        SKEW_NOTED..=SKEW_LIMIT => {
            Verdict::Warning(format!("This machine's clock is {distance} {way} the sign-in service's. {remedy}"))
        }
        _ => Verdict::failed(format!(
            "This machine's clock is {distance} {way} the sign-in service's, and tokens are valid for minutes only. {remedy}"
        )),
    }
}

fn server_lines(server: &MailServer, lines: &mut Vec<Check>) {
    let place = &server.server;
    let mut sheet = Checklist::new(format!("{} server {}:{}", server.protocol, place.host, place.port), lines);
    for (name, verdict) in reach_verdicts(&place.host, &server.way) {
        sheet.add(name, verdict);
    }
}

/// Name, connection, certificate.
fn reach_verdicts(host: &str, way: &Reach) -> [(&'static str, Verdict); 3] {
    let not = |needed: &str| Verdict::NotChecked(needed.to_owned());
    let name = match &way.addresses {
        None => not("a name"),
        Some(Ok(count @ 1..)) => Verdict::Pass(format!("{count} addresses")),
        Some(found) => Verdict::Failed {
            remedy: format!(
                "The name {host} has no address. Check the host in proxy.toml, and that this machine's DNS works \
                 (nslookup {host})."
            ),
            said: found.clone().err().unwrap_or_default(),
        },
    };
    let connection = match &way.connected {
        None | Some(Err(_)) if !name.is_good() => not("name"),
        None => not("name"),
        Some(Ok(took)) => Verdict::Pass(format!("within {} ms", took.as_millis())),
        Some(Err(said)) => Verdict::Failed {
            remedy: format!(
                "{host} cannot be reached at this port. Check the port in proxy.toml, and that the firewall allows the connection."
            ),
            said: said.clone(),
        },
    };
    let certificate = match &way.secured {
        None => not("connection"),
        Some(Ok(secured)) => Verdict::Pass(format!(
            "{}, issued by `{}`, until {}",
            secured.version,
            secured.certificate.issuer,
            secured.certificate.until()
        )),
        Some(Err(NotSecured::Distrusted(distrust, certificate))) => Verdict::failed(distrust.remedy(host, certificate)),
        Some(Err(NotSecured::Before(failure))) => Verdict::Failed {
            remedy: format!(
                "{host} ended the session before TLS. Check the host, the port and `tls` of this server in proxy.toml, and whether a \
                 firewall modifies SMTP (some remove STARTTLS)."
            ),
            said: words(failure).to_owned(),
        },
        Some(Err(NotSecured::Broken(said))) => Verdict::Failed {
            remedy: format!(
                "TLS with {host} failed. Check the port in proxy.toml (993 and 995 begin with TLS, 587 with `tls = \"start-tls\"`), and \
                 that no firewall interferes."
            ),
            said: said.clone(),
        },
    };
    [("name", name), ("connection", connection), ("certificate", certificate)]
}

/// The server's own words in a failure.
fn words(failure: &UpstreamFailure) -> &str {
    match failure {
        UpstreamFailure::TokenRefused(text)
        | UpstreamFailure::NotConnected(text)
        | UpstreamFailure::Unavailable(text)
        | UpstreamFailure::NotOffered(text)
        | UpstreamFailure::Protocol(text) => text,
        UpstreamFailure::ConnectionClosed => "the server closed the connection",
    }
}

/// A refusal of the sign-in service.
fn refused(error: &TokenError) -> Verdict {
    match error.clone().for_a_command().problem() {
        Some(problem) => {
            let code = problem.code.map_or_else(String::new, |code| format!(" (AADSTS{code})"));
            Verdict::Failed {
                remedy: format!("{} {}{code}", problem.what, problem.remedy),
                said: problem.detail.clone(),
            }
        }
        None => Verdict::failed(error.to_string()),
    }
}

pub(super) fn is_reached(way: &Reach) -> bool {
    reach_verdicts("", way).iter().all(|(_, verdict)| verdict.is_good())
}

pub(super) fn authority_is_good(authority: &Authority) -> bool {
    let mut lines = Vec::new();
    authority_lines(authority, &mut lines);
    lines.iter().all(|line| line.verdict.is_good())
}

/// Whether it is worth asking for a token: a wrong clock does not keep the authority from answering.
pub(super) fn may_ask_for_a_token(person: &AccountFindings, findings: &Findings) -> bool {
    account::before_the_token(person, findings).is_none()
}

pub(super) fn account_is_good(person: &AccountFindings, findings: &Findings) -> bool {
    let mut lines = Vec::new();
    account_lines(person, findings, &mut lines);
    lines.iter().all(|line| line.verdict.is_good())
}
