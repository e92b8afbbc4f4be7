//! Whether the service runs, as the first lines of `oxpost status`.

use std::fmt::Write as _;
use std::path::Path;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::style::{BAD, GOOD, styled};
use crate::admin::service_record::{ServiceRecord, ServiceState};
use crate::cli::times::short;

/// The version of this command.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The first lines: running or not, since when, version, configuration, store, sessions. `configuration` and `store` are those of
/// this command.
pub(super) fn lines(state: &ServiceState, configuration: &Path, store: &str, now: SystemTime) -> String {
    let configuration = std::path::absolute(configuration).unwrap_or_else(|_| configuration.to_owned());
    let mut text = match state {
        ServiceState::Running(Some(record)) => return running(record, &configuration, now),
        ServiceState::Running(None) => {
            format!("Oxpost is {}. Its description cannot be read.\n", styled("running", GOOD))
        }
        ServiceState::Stopped => {
            format!(
                "Oxpost {VERSION} is {}: mail programs cannot connect. Start the service.\n",
                styled("not running", BAD)
            )
        }
        ServiceState::Unknown(reason) => format!("It is unknown whether Oxpost is running: {reason}.\n"),
    };
    let _ = write!(text, "  configuration  {}\n  store          {store}\n", configuration.display());
    text
}

fn running(record: &ServiceRecord, configuration: &Path, now: SystemTime) -> String {
    let ServiceRecord { version, pid, since, store, listeners, sessions, .. } = record;
    let age = humantime::parse_rfc3339(since).ok().and_then(|since| now.duration_since(since).ok());
    let age = age.map(|age| format!(" ({})", short(age))).unwrap_or_default();
    let mut text = format!("Oxpost {version} is {}, process {pid}, since {since}{age}.\n", styled("running", GOOD));
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        let _ = writeln!(text, "  {name:<14} {value}");
    };
    line("configuration", &record.configuration.display());
    line("store", store);
    for (index, listener) in listeners.iter().enumerate() {
        line(if index == 0 { "listeners" } else { "" }, listener);
    }
    line("sessions", sessions);
    if record.configuration != configuration {
        let _ = writeln!(text, "This command uses another configuration file: {}.", configuration.display());
    }
    if version != VERSION {
        let _ = writeln!(text, "This command is version {VERSION}. Restart the service to use the installed version.");
    }
    text
}

/// The same for scripts.
pub(super) fn as_json(state: &ServiceState) -> Value {
    match state {
        ServiceState::Running(record) => {
            let mut object = match record.as_ref().map(serde_json::to_value) {
                Some(Ok(Value::Object(members))) => members,
                _ => serde_json::Map::new(),
            };
            object.insert("state".into(), "running".into());
            Value::Object(object)
        }
        ServiceState::Stopped => json!({ "state": "stopped" }),
        ServiceState::Unknown(reason) => json!({ "state": "unknown", "reason": reason }),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::admin::service_record::RecordedListener;

    fn listener(protocol: &str, address: &str, tls: &str) -> RecordedListener {
        RecordedListener { protocol: protocol.into(), address: address.parse().unwrap(), tls: tls.into() }
    }

    fn record() -> ServiceRecord {
        ServiceRecord {
            version: VERSION.into(),
            pid: 42,
            since: "2026-12-01T14:00:00Z".into(),
            configuration: "/etc/oxpost/proxy.toml".into(),
            store: "/var/lib/oxpost/oxpost.db".into(),
            listeners: vec![
                listener("IMAP", "127.0.0.1:1143", "plain text"),
                listener("SMTP", "127.0.0.1:1587", "STARTTLS"),
            ],
            sessions: 3,
        }
    }

    fn shown(state: &ServiceState, configuration: &str) -> String {
        let now = humantime::parse_rfc3339("2026-12-01T16:14:30Z").unwrap() + Duration::from_millis(1);
        anstream::adapter::strip_str(&lines(state, Path::new(configuration), "oxpost.db", now)).to_string()
    }

    #[test]
    fn running_service_is_described() {
        let expected = format!(
            "Oxpost {VERSION} is running, process 42, since 2026-12-01T14:00:00Z (2h 14m).
  configuration  /etc/oxpost/proxy.toml
  store          /var/lib/oxpost/oxpost.db
  listeners      IMAP on 127.0.0.1:1143, plain text
                 SMTP on 127.0.0.1:1587, STARTTLS
  sessions       3
"
        );
        assert_eq!(shown(&ServiceState::Running(Some(record())), "/etc/oxpost/proxy.toml"), expected);
    }

    #[test]
    fn other_configuration_and_other_version_are_named() {
        let old = ServiceRecord { version: "0.0.1".into(), ..record() };
        let text = shown(&ServiceState::Running(Some(old)), "/root/proxy.toml");
        assert!(text.contains("\nThis command uses another configuration file: /root/proxy.toml.\n"), "{text}");
        assert!(text.ends_with("Restart the service to use the installed version.\n"), "{text}");
    }

    #[test]
    fn stopped_service_is_not_called_running() {
        let text = shown(&ServiceState::Stopped, "/etc/oxpost/proxy.toml");
        assert!(text.starts_with(&format!("Oxpost {VERSION} is not running: mail programs cannot connect.")), "{text}");
        assert!(text.ends_with("  configuration  /etc/oxpost/proxy.toml\n  store          oxpost.db\n"), "{text}");
        let text = shown(&ServiceState::Unknown("cannot open x: denied".into()), "/etc/oxpost/proxy.toml");
        assert!(text.starts_with("It is unknown whether Oxpost is running: cannot open x: denied.\n"), "{text}");
    }

    #[test]
    fn json_names_the_state() {
        assert_eq!(as_json(&ServiceState::Stopped), json!({ "state": "stopped" }));
        let running = as_json(&ServiceState::Running(Some(record())));
        assert_eq!((&running["state"], &running["sessions"]), (&"running".into(), &3.into()), "{running}");
        assert_eq!(as_json(&ServiceState::Running(None)), json!({ "state": "running" }));
    }
}
