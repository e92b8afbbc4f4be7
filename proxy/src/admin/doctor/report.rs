//! The report: what the real service answered, next to what is assumed of it, with everything that identifies a user or host masked.

use std::fmt::Write as _;

use super::assumptions::{rows, seen};
use super::check::Verdict;
use super::evaluate::evaluate;
use super::findings::Findings;
use super::mask::Mask;
use crate::config::Config;

/// Issuers of certificates that Microsoft uses. Another one's name may be that of a firewall, and tell whose it is.
const ISSUERS: [&str; 2] = ["DigiCert", "Microsoft"];

/// Writes the report. `config` names more that is to be masked, if it can be read.
pub(crate) fn report(findings: &Findings, config: Option<&Config>) -> String {
    let mask = mask_for(findings, config);
    let mut text = format!(
        "# What the service answered, next to what Oxpost assumes\n\nWritten by `oxpost doctor --report FILE`, version {}. Addresses, \
         names of hosts, domains, ids and everything that looks like a secret are masked. Please read it before you pass it on.\n",
        env!("CARGO_PKG_VERSION")
    );
    assumptions(&mut text, findings, &mask);
    checklist(&mut text, findings, &mask);
    said(&mut text, findings, &mask);
    tokens(&mut text, findings, &mask);
    text
}

fn mask_for(findings: &Findings, config: Option<&Config>) -> Mask {
    let mut mask = Mask::default();
    let mut hide_address = |address: &str| {
        mask.hide(address, "ADDRESS");
        if let Some((_, domain)) = address.rsplit_once('@') {
            mask.hide(domain, "DOMAIN");
        }
    };
    for person in &findings.accounts {
        hide_address(person.mailbox.as_ref());
        hide_address(person.smtp_user.as_ref());
        hide_address(person.signed_in_as.as_deref().unwrap_or_default());
        if let Some(Ok(shape)) = &person.token {
            hide_address(shape.claims.as_ref().and_then(|claims| claims.person.as_deref()).unwrap_or_default());
        }
    }
    let Some(config) = config else { return mask };
    mask.hide(&config.host_name, "THIS-HOST");
    for address in config.listeners.iter().map(|listener| listener.address.ip()) {
        if !address.is_loopback() && !address.is_unspecified() {
            mask.hide(&address.to_string(), "THIS-ADDRESS");
        }
    }
    for application in config.applications.names().into_iter().filter_map(|name| config.applications.get(name)) {
        mask.hide(&application.client_id, "CLIENT-ID");
        let tenant = application.token_url.path().split('/').nth(1).unwrap_or_default();
        if !["common", "organizations", "consumers"].contains(&tenant) {
            mask.hide(tenant, "TENANT");
        }
    }
    mask
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn assumptions(text: &mut String, findings: &Findings, mask: &Mask) {
    text.push_str("\n## Assumptions\n\n| about | assumed | seen | |\n|---|---|---|---|\n");
    for row in rows() {
        let (seen, agrees) = match seen(row, findings) {
            Some((seen, true)) => (mask.text(&seen), "as assumed"),
            Some((seen, false)) => (mask.text(&seen), "**differs**"),
            None => ("-".to_owned(), "not met"),
        };
        let _ = writeln!(text, "| {} | {} | {} | {agrees} |", row.topic, cell(row.assumed), cell(&seen));
    }
}

/// Without the remedies: they name the mailbox, files and issuers.
fn checklist(text: &mut String, findings: &Findings, mask: &Mask) {
    text.push_str("\n## Checks\n\n");
    for line in evaluate(findings) {
        let subject = line.subject.split([' ', ':']).next().unwrap_or_default().to_owned();
        let verdict = match &line.verdict {
            Verdict::Pass(_) => "passed".to_owned(),
            Verdict::Warning(_) => "passed, with a warning".to_owned(),
            Verdict::NotChecked(needed) => format!("not checked: needs {needed}"),
            Verdict::Failed { said, .. } if said.is_empty() => "failed".to_owned(),
            Verdict::Failed { said, .. } => format!("failed: {}", mask.text(said)),
        };
        let _ = writeln!(text, "- {subject}, {}: {verdict}", line.name);
    }
    for server in &findings.servers {
        if let Some(Ok(secured)) = &server.way.secured {
            let issuer = &secured.certificate.issuer;
            let issuer =
                if ISSUERS.iter().any(|known| issuer.contains(known)) { issuer.as_str() } else { "another issuer" };
            let _ = writeln!(
                text,
                "- {} server: {}, certificate issued by {issuer}, handshake {} ms",
                server.protocol,
                secured.version,
                secured.took.as_millis()
            );
        }
    }
}

fn said(text: &mut String, findings: &Findings, mask: &Mask) {
    text.push_str("\n## What was said\n");
    for (number, person) in findings.accounts.iter().enumerate() {
        for login in &person.logins {
            let _ = writeln!(text, "\n{} login, account {}:\n\n```text", login.protocol, number + 1);
            for heard in &login.heard {
                let who = if heard.by_server { 'S' } else { 'C' };
                let _ = writeln!(text, "{:>6} ms  {who}: {}", heard.after.as_millis(), mask.text(&heard.words));
            }
            text.push_str("```\n");
        }
        if let Some(sender) = &person.sender {
            let _ = writeln!(text, "\nSender, account {}:\n\n```text", number + 1);
            for (verb, reply) in &sender.replies {
                let _ = writeln!(text, "C: {verb}\nS: {}", mask.text(reply));
            }
            text.push_str("```\n");
        }
    }
}

/// Names and lengths of claims, never a value.
fn tokens(text: &mut String, findings: &Findings, mask: &Mask) {
    text.push_str("\n## Shape of the access tokens\n\n");
    for (number, person) in findings.accounts.iter().enumerate() {
        let Some(Ok(shape)) = &person.token else { continue };
        let kind = if person.app_only { "the application's own" } else { "a person's" };
        let _ = write!(text, "- account {}, {kind}: {} characters, ", number + 1, shape.length);
        match &shape.claims {
            None => text.push_str("opaque\n"),
            Some(claims) => {
                let names: Vec<String> =
                    claims.names.iter().map(|(name, length)| format!("{} {length}", mask.text(name))).collect();
                let _ = writeln!(text, "a JWT with (name, length): {}", names.join(", "));
            }
        }
    }
}
