//! Alerts about the store itself: they are kept next to it, in a small file, so that a service that
//! is restarted again and again delivers them once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use oxpost_token_store::store::alerts::Alert;
use serde_json::{Value, json};
use tracing::warn;

use super::conditions::Finding;
use super::decide::{decide, delivered};
use super::deliver::Channels;
use super::message::Message;
use super::notifier::{cause, new_id, say, store_condition};
use crate::config::Config;
use crate::context::StartError;
use crate::net::tls;

/// What the file is called: the name of this node's own files, and this behind it.
const SUFFIX: &str = ".notice";

/// A start that has failed waits so long for the channels; then it reports to its service manager.
const PAUSES: [Duration; 1] = [Duration::from_secs(1)];

/// The notices about the store itself.
#[derive(Debug)]
pub(crate) struct Own {
    file: PathBuf,
    notices: Vec<Alert>,
}

impl Own {
    /// Reads what is kept next to this store. What cannot be read is forgotten.
    pub(crate) fn beside(store: &Path) -> Self {
        let mut name = store.as_os_str().to_owned();
        name.push(SUFFIX);
        let file = PathBuf::from(name);
        let text = fs::read_to_string(&file).unwrap_or_default();
        let notices = serde_json::from_str(&text).ok().and_then(|value| read(&value)).into_iter().collect();
        Self { file, notices }
    }

    pub(super) fn notices(&self) -> &[Alert] {
        &self.notices
    }

    /// Remembers a notice, in memory at least.
    pub(super) fn set(&mut self, notice: &Alert) {
        if let Err(error) = self.write(notice) {
            warn!(file = %self.file.display(), %error, "cannot store which alerts were delivered");
        }
    }

    pub(super) fn remove(&mut self, notice: &Alert) {
        self.notices.retain(|one| one.id != notice.id);
        let _ = fs::remove_file(&self.file);
    }

    fn write(&mut self, notice: &Alert) -> io::Result<()> {
        self.notices = vec![notice.clone()];
        fs::write(&self.file, write(notice).to_string())
    }
}

/// Oxpost cannot start. If the reason is the store or its key, an alert is delivered, because nothing else would do it.
pub(crate) async fn failed(config: &Config, error: &StartError, now: SystemTime) {
    use StartError::{KeyMissing, Store, StoreMissing, Vault};
    let of_the_store =
        |error: &&StartError| matches!(error, KeyMissing { .. } | StoreMissing { .. } | Vault(_) | Store(_));
    let Some(error) = error.each().into_iter().find(of_the_store) else { return };
    let Ok(tls) = tls::client_config(config.ca_file.as_deref(), config.system_roots) else { return };
    let Ok(channels) = Channels::new(&config.notify, &tls) else { return };
    tell(config, &channels.with_pauses(&PAUSES), error, now).await;
}

async fn tell(config: &Config, channels: &Channels, error: &StartError, now: SystemTime) {
    let mut own = Own::beside(&config.own_files);
    let cause = match error {
        StartError::KeyMissing { .. } => "no key",
        StartError::StoreMissing { .. } => "no store",
        StartError::Store(error) => cause(error),
        _ => "key",
    };
    let finding = Finding::Condition(store_condition(&error.to_string(), cause, now));
    for step in decide(&[finding], own.notices(), now, config.notify.reminder, new_id) {
        if let Err(why) = own.write(&step.new) {
            let file = own.file.display();
            warn!(%file, %why, "alert not delivered: without a record it would be delivered at every start");
            return;
        }
        let Some(kind) = step.tell else { continue };
        say(&step.new, kind);
        let message = Message::of(&step.new, kind, now, &config.host_name);
        let reports = channels.deliver(&message).await;
        for (channel, outcome) in &reports {
            if let Err(undelivered) = outcome {
                warn!(channel, "alert not delivered: {undelivered}");
            }
        }
        if reports.iter().all(|(_, outcome)| outcome.is_ok()) {
            own.set(&delivered(&step.new, now, config.notify.reminder));
        }
    }
}

fn write(notice: &Alert) -> Value {
    let time = |time: Option<SystemTime>| {
        time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok()).map(|since| since.as_secs())
    };
    json!({
        "subject": notice.subject, "topic": notice.topic, "id": notice.id, "event": notice.event, "cause": notice.cause,
        "what": notice.what, "remedy": notice.remedy, "since": time(Some(notice.since)), "notified": time(notice.notified),
        "due": time(notice.due), "resolved": time(notice.resolved),
    })
}

fn read(value: &Value) -> Option<Alert> {
    let text = |name: &str| value.get(name)?.as_str().map(str::to_owned);
    let time = |name: &str| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(value.get(name)?.as_u64()?));
    Some(Alert {
        subject: text("subject")?,
        topic: text("topic")?,
        id: text("id")?,
        event: text("event")?,
        cause: text("cause")?,
        what: text("what")?,
        remedy: text("remedy")?,
        since: time("since")?,
        notified: time("notified"),
        due: time("due"),
        resolved: time("resolved"),
    })
}

#[cfg(test)]
mod tests;
