//! The checks of the service and its listeners.

use super::super::check::{Check, Checklist, Verdict};
use super::super::findings::Findings;
use super::super::listener::{Answer, ListenerFinding};
use crate::admin::service_record::ServiceState;

pub(super) fn lines_of(findings: &Findings, lines: &mut Vec<Check>) {
    let Some(state) = &findings.service else { return };
    let mut sheet = Checklist::new("this machine", lines);
    sheet.add("service", service(state));
    for found in &findings.listeners {
        let name = format!("{} listener", found.protocol);
        if *state == ServiceState::Stopped {
            sheet.needs(&[&name], "service");
        } else {
            sheet.add(name, listener(found));
        }
    }
}

fn service(state: &ServiceState) -> Verdict {
    match state {
        ServiceState::Running(Some(record)) => {
            Verdict::Pass(format!("version {}, process {}, since {}", record.version, record.pid, record.since))
        }
        ServiceState::Running(None) => Verdict::Pass("running".into()),
        ServiceState::Stopped => Verdict::failed(
            "Oxpost is not running, so mail programs cannot connect. Start the service, or run `oxpost run`.",
        ),
        ServiceState::Unknown(reason) => {
            Verdict::Warning(format!("It is unknown whether Oxpost is running: {reason}."))
        }
    }
}

fn listener(found: &ListenerFinding) -> Verdict {
    let ListenerFinding { protocol, address, tls, answer } = found;
    let place = format!("{address}, {}", tls.name());
    match answer {
        Answer::Greeting(_) => Verdict::Pass(format!("greets on {place}")),
        Answer::OtherNetworks => Verdict::Pass(format!(
            "{place}: not tried, because its `networks` in proxy.toml do not contain this machine"
        )),
        Answer::Other(said) => Verdict::Failed {
            remedy: format!(
                "{address} does not greet with {protocol}. Check whether another program listens there, or whether the service refuses \
                 connections (its log says why)."
            ),
            said: said.clone(),
        },
        Answer::Failed(said) => Verdict::Failed {
            remedy: format!(
                "A connection to {place} fails. Restart the service; its log says why a listener does not open."
            ),
            said: said.clone(),
        },
        Answer::NotOpened => Verdict::failed(format!(
            "The running service does not listen on {place}: proxy.toml was changed after its start. Restart the service."
        )),
    }
}
