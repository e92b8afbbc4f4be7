//! What will be done, what cannot be carried over, and what comes next.

use std::collections::BTreeMap;
use std::path::Path;

use oxpost_token_store::Grant;

use super::{ImportOptions, Step, Work};
use crate::admin::import::{Account, Application, Left, Listener, Program, Provider};
use crate::cli::Failed;
use crate::config::{ListenerTls, file};

/// Before anything is done.
pub(super) fn plan(work: &Work, options: &ImportOptions, present: bool) {
    let Work { plan, missing, steps, .. } = work;
    println!("{} is a configuration of {}. Import plan:\n", options.file.display(), plan.program);
    let there = |there: bool| if there { " (already in proxy.toml)" } else { "" };
    for (listener, is_there) in plan.listeners.iter().zip(&missing.listeners) {
        println!("  listener     {}{}", listener_line(listener), there(*is_there));
    }
    if plan.listeners.is_empty() && !present {
        println!(
            "  listener     IMAP, POP3 and SMTP on 127.0.0.1: 1143, 1110, 1587, because the file has no usable listener"
        );
    }
    for (application, named) in plan.applications.iter().zip(&missing.applications) {
        let Some(named) = named else { continue };
        println!("  application  {}: {}{}", named.name, application_line(application), there(named.present));
    }
    for (account, step) in plan.accounts.iter().zip(steps) {
        println!("  account      {}: {}", account.mailbox, account_line(work, account, step));
    }
    let left: Vec<&Left> = plan.left.iter().chain(&missing.left).collect();
    if !left.is_empty() {
        println!("\nNot imported, or different in Oxpost:");
        for (why, whats) in by_reason(&left) {
            println!();
            for left in whats {
                println!("  line {:<4} {}", left.line, left.what);
            }
            println!("            {why}.");
        }
    }
    println!();
}

fn listener_line(listener: &Listener) -> String {
    let tls = match listener.tls {
        ListenerTls::None => "plain text",
        ListenerTls::StartTls => "STARTTLS",
        ListenerTls::Implicit => "TLS",
    };
    format!("{} on {}, {tls}", listener.protocol, listener.address)
}

fn application_line(application: &Application) -> String {
    let provider = match &application.provider {
        Provider::Preset(name) => (*name).to_owned(),
        Provider::SpeltOut(from_section) => match &from_section.based_on {
            Some(name) => format!("{name} with its own {}", differences(from_section)),
            None => "a [[provider]] of its own".to_owned(),
        },
    };
    let tenant = application.tenant.as_ref().map(|tenant| format!(", tenant {tenant}")).unwrap_or_default();
    let id = application.client_id.as_ref().map_or_else(|| "to be entered".to_owned(), |id| format!("client id {id}"));
    let proof = match (&application.certificate, &application.secret) {
        (Some(_), _) => ", with its certificate",
        (None, Some(_)) => ", with its client secret, which is sealed into the store",
        (None, None) => "",
    };
    format!("{provider}{tenant}, {id}{proof}")
}

fn differences(provider: &file::Provider) -> String {
    let all = [
        ("permissions", provider.delegated_scopes.is_some()),
        ("IMAP server", provider.imap.is_some()),
        ("POP3 server", provider.pop3.is_some()),
        ("SMTP server", provider.smtp.is_some()),
    ];
    all.iter().filter_map(|(name, differs)| differs.then_some(*name)).collect::<Vec<_>>().join(", ")
}

fn account_line(work: &Work, account: &Account, step: &Step) -> String {
    let named = work.missing.applications.get(account.application).and_then(Option::as_ref);
    let name = named.map_or("", |named| named.name.as_str());
    let token = account.sealed.as_ref().is_some_and(|sealed| sealed.refresh_token.is_some());
    match step {
        Step::Stays(why) => format!("not changed: {why}"),
        Step::Waits => format!("waits until the application {name} is in proxy.toml"),
        Step::SignIn => "exists without a sign-in; its old password decrypts the sign-in of the file".to_owned(),
        Step::Add => match account.grant {
            Grant::SignIn if token => format!("application {name}; its old password decrypts the sign-in of the file"),
            Grant::SignIn => format!("application {name}; needs a sign-in"),
            grant => format!("application {name}, {grant}"),
        },
    }
}

/// Those with the same reason together, in the order of the file.
fn by_reason<'a>(left: &[&'a Left]) -> Vec<(&'a str, Vec<&'a Left>)> {
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let mut groups: Vec<(&str, Vec<&Left>)> = Vec::new();
    for one in left {
        let place = *places.entry(&one.why).or_insert(groups.len());
        match groups.get_mut(place) {
            Some((_, whats)) => whats.push(one),
            None => groups.push((&one.why, vec![one])),
        }
    }
    groups
}

/// The text that belongs into proxy.toml.
pub(super) fn text(work: &Work, path: &Path, present: bool) {
    if work.missing.text.is_empty() {
        return;
    }
    let doing = if present { "Add this to" } else { "This would be written to" };
    println!("{doing} {} (an existing file is never changed):\n", path.display());
    for line in work.missing.text.trim().lines() {
        println!("    {line}");
    }
    println!();
}

/// After all was done.
pub(super) fn next(work: &Work, path: &Path) -> Result<(), Failed> {
    let waiting = work.steps.iter().filter(|step| **step == Step::Waits).count();
    if waiting > 0 {
        return Err(Failed::new(format!(
            "{waiting} accounts wait for their application. Add the text above to {}, and run the same command again.",
            path.display()
        )));
    }
    println!("\nNext:\n  oxpost check");
    let sign_ins =
        if work.plan.program == Program::EmailProxy { ", and would continue to use the same sign-ins" } else { "" };
    println!("  stop {}, which listens on the same ports{sign_ins}", work.plan.program);
    println!("  oxpost run");
    println!("  oxpost doctor, which checks every mailbox");
    Ok(())
}
