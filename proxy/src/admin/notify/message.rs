//! A notification as JSON and as environment variables. Nothing in it is secret: the texts are those of the status.

use std::time::{Duration, SystemTime};

use oxpost_token_store::store::alerts::Alert;
use serde::Serialize;

use super::digest;

/// Seconds from 1970 to the end of the year 9999; `humantime` knows no later time.
const LAST_SECOND: u64 = 253_402_300_799;

/// The kind of a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It has happened, or its cause has changed.
    Raised,
    /// It still lasts.
    Reminder,
    /// It is over.
    Resolved,
    /// A test notification.
    Test,
}

impl Kind {
    /// The name in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Reminder => "reminder",
            Self::Resolved => "resolved",
            Self::Test => "test",
        }
    }
}

/// One message. Its fields are documented in `docs/monitoring.md`, and only ever added to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// The same from the problem to its end, so that a receiver can tell which end belongs to which problem. Of a digest: its own.
    pub id: String,
    /// The ids of all alerts that it tells of: what a problem or reminder opens, and what a solution closes. An alert has one id,
    /// whether it is delivered alone or in a digest.
    pub ids: Vec<String>,
    /// The kind of the notification.
    pub kind: Kind,
    /// What happened, in a word.
    pub event: String,
    /// The mailbox it is about, if it is about one.
    pub account: Option<String>,
    /// The application it is about, if it is about one.
    pub application: Option<String>,
    /// What happened, in a sentence.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
    /// Since when.
    pub since: String,
    /// When this was sent.
    pub at: String,
    /// Which Oxpost tells it.
    pub host: String,
    /// All of it in one line, which chat services show as it is.
    pub text: String,
    /// How many alerts it tells of: more than one in a digest, which is about no single account.
    pub count: usize,
}

impl Message {
    /// The message for one alert.
    pub fn of(notice: &Alert, kind: Kind, now: SystemTime, host: &str) -> Self {
        let application = notice.subject.strip_prefix("application ").map(str::to_owned);
        let is_mailbox = application.is_none() && !notice.subject.is_empty();
        let subject = if notice.subject.is_empty() { "Oxpost" } else { &notice.subject };
        let (what, remedy) = (notice.what.trim(), notice.remedy.trim());
        let text = match kind {
            Kind::Raised | Kind::Test => format!("{subject}: {what} {remedy}"),
            Kind::Reminder => format!("{subject}, since {}: {what} {remedy}", time(notice.since)),
            Kind::Resolved => format!("{subject}: resolved: {what}"),
        };
        Self {
            id: notice.id.clone(),
            ids: vec![notice.id.clone()],
            kind,
            event: notice.event.clone(),
            account: is_mailbox.then(|| notice.subject.clone()),
            application,
            what: what.to_owned(),
            remedy: remedy.to_owned(),
            since: time(notice.since),
            at: time(now),
            host: host.to_owned(),
            text: text.trim_end().to_owned(),
            count: 1,
        }
    }

    /// The message for several alerts, named `id`. There is at least one.
    pub fn digest(notices: &[Alert], kind: Kind, id: &str, now: SystemTime, host: &str) -> Self {
        let (what, remedy) = digest::words(notices, kind);
        Self {
            id: id.to_owned(),
            ids: notices.iter().map(|notice| notice.id.clone()).collect(),
            kind,
            event: notices.first().map(|notice| notice.event.clone()).unwrap_or_default(),
            account: None,
            application: None,
            since: time(notices.iter().map(|notice| notice.since).min().unwrap_or(now)),
            at: time(now),
            host: host.to_owned(),
            text: format!("{what} {remedy}").trim_end().to_owned(),
            what,
            remedy,
            count: notices.len(),
        }
    }

    /// As JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// As environment variables; several ids are separated by spaces.
    pub fn variables(&self) -> [(&'static str, String); 13] {
        let ids = self.ids.join(" ");
        let texts: [(&'static str, &str); 12] = [
            ("OXPOST_ID", &self.id),
            ("OXPOST_IDS", &ids),
            ("OXPOST_KIND", self.kind.as_str()),
            ("OXPOST_EVENT", &self.event),
            ("OXPOST_ACCOUNT", self.account.as_deref().unwrap_or_default()),
            ("OXPOST_APPLICATION", self.application.as_deref().unwrap_or_default()),
            ("OXPOST_WHAT", &self.what),
            ("OXPOST_REMEDY", &self.remedy),
            ("OXPOST_SINCE", &self.since),
            ("OXPOST_AT", &self.at),
            ("OXPOST_HOST", &self.host),
            ("OXPOST_TEXT", &self.text),
        ];
        let mut texts = texts.into_iter();
        std::array::from_fn(|_| match texts.next() {
            Some((name, text)) => (name, text.to_owned()),
            None => ("OXPOST_COUNT", self.count.to_string()),
        })
    }
}

/// A time in UTC, `2026-11-25T08:00:00Z`.
pub(crate) fn time(time: SystemTime) -> String {
    let second = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs().min(LAST_SECOND));
    humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + Duration::from_secs(second)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_says_the_same_as_json_and_as_variables() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let mut notice = Alert {
            subject: "alice@contoso.com".into(),
            topic: "tokens".into(),
            id: "0123".into(),
            event: "sign-in-needed".into(),
            cause: "AADSTS50173".into(),
            what: "The sign-in was revoked.".into(),
            remedy: "Run `oxpost sign-in alice@contoso.com`.".into(),
            since: at,
            notified: None,
            due: None,
            resolved: None,
        };
        let message = Message::of(&notice, Kind::Raised, at, "gateway.example");
        assert_eq!(
            message.json(),
            "{\"id\":\"0123\",\"ids\":[\"0123\"],\"kind\":\"raised\",\"event\":\"sign-in-needed\",\"account\":\"alice@contoso.com\",\
             \"application\":null,\"what\":\"The sign-in was revoked.\",\"remedy\":\"Run `oxpost sign-in alice@contoso.com`.\",\
             \"since\":\"2027-01-15T08:00:00Z\",\"at\":\"2027-01-15T08:00:00Z\",\"host\":\"gateway.example\",\
             \"text\":\"alice@contoso.com: The sign-in was revoked. Run `oxpost sign-in alice@contoso.com`.\",\"count\":1}"
        );
        let object: serde_json::Value = serde_json::from_str(&message.json()).unwrap();
        for (name, value) in message.variables() {
            let member = &object[name.trim_start_matches("OXPOST_").to_lowercase()];
            let member = match member {
                serde_json::Value::Null => String::new(),
                serde_json::Value::String(text) => text.clone(),
                serde_json::Value::Array(all) => {
                    all.iter().filter_map(serde_json::Value::as_str).collect::<Vec<_>>().join(" ")
                }
                other => other.to_string(),
            };
            assert_eq!(member, value, "{name}");
        }
        assert_eq!(object.as_object().unwrap().len(), message.variables().len());
        notice.subject = "application default".into();
        let message = Message::of(&notice, Kind::Resolved, at, "gateway.example");
        assert_eq!((message.account, message.application.as_deref()), (None, Some("default")));
        assert_eq!(message.text, "application default: resolved: The sign-in was revoked.");
    }
}
