//! How the applications prove themselves, and until when: a certificate that ends takes every account of its application
//! along.

use std::fmt;
use std::time::{Duration, SystemTime};

use oxpost_token_store::{Application, Applications, Credential};
use serde_json::json;

/// How long before its end a certificate is warned of: a new one must be made, uploaded, and often approved.
const WARN_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);

const DAY: u64 = 24 * 3600;

/// The end of one application's certificate.
pub(crate) struct End<'a> {
    application: &'a str,
    thumbprint: &'a str,
    expires: SystemTime,
    now: SystemTime,
}

/// Those of all applications that have one, by the application's name.
pub(super) fn ends(applications: &Applications, now: SystemTime) -> Vec<End<'_>> {
    let all = applications.names().into_iter().filter_map(|name| applications.get(name));
    all.filter_map(|application| End::of(application, now)).collect()
}

impl<'a> End<'a> {
    pub(crate) fn of(application: &'a Application, now: SystemTime) -> Option<Self> {
        match &application.credential {
            Credential::Certificate(certificate) => Some(Self {
                application: &application.name,
                thumbprint: certificate.thumbprint(),
                expires: certificate.expires(),
                now,
            }),
            _ => None,
        }
    }

    pub(super) fn has_passed(&self) -> bool {
        self.expires <= self.now
    }

    pub(crate) fn is_near(&self) -> bool {
        self.expires <= self.now + WARN_BEFORE
    }
}

impl fmt::Display for End<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { application, thumbprint, expires, now } = self;
        let date = humantime::format_rfc3339_seconds(*expires).to_string();
        let date = date.split('T').next().unwrap_or_default();
        let days = days_left(*expires, *now);
        write!(f, "application {application}: its certificate (thumbprint {thumbprint}) ")?;
        match days {
            ..0 => write!(f, "has expired on {date}")?,
            0 => write!(f, "expires within a day, on {date}")?,
            1 => write!(f, "expires on {date}, in 1 day")?,
            _ => write!(f, "expires on {date}, in {days} days")?,
        }
        if self.is_near() {
            f.write_str(
                ". Make a new one, upload it at Microsoft Entra admin center > App registrations > Certificates & secrets, name it in \
                 proxy.toml and restart Oxpost",
            )?;
        }
        Ok(())
    }
}

/// For scripts that watch over many gateways.
pub(super) fn as_json(application: Option<&Application>, now: SystemTime) -> serde_json::Value {
    // What is known of a client secret, if there is one at all, is known at Microsoft.
    let Some(application) = application.filter(|one| !matches!(one.credential, Credential::Secret)) else {
        return serde_json::Value::Null;
    };
    let expires = application.credential.expires();
    json!({
        "kind": application.credential.name(),
        "expires": expires.map(|time| humantime::format_rfc3339_seconds(time).to_string()),
        "days_left": expires.map(|time| days_left(time, now)),
    })
}

/// Whole days; negative once it has ended.
fn days_left(expires: SystemTime, now: SystemTime) -> i64 {
    match expires.duration_since(now) {
        Ok(ahead) => i64::try_from(ahead.as_secs() / DAY).unwrap_or(i64::MAX),
        Err(past) => -1 - i64::try_from(past.duration().as_secs() / DAY).unwrap_or(i64::MAX - 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_told_in_days_and_near_it_with_what_to_do() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let said = |seconds: i64| {
            let distance = Duration::from_secs(seconds.unsigned_abs());
            let expires = if seconds < 0 { now - distance } else { now + distance };
            End { application: "a", thumbprint: "AB", expires, now }.to_string()
        };
        let day = DAY as i64;
        assert_eq!(said(90 * day), "application a: its certificate (thumbprint AB) expires on 2024-02-12, in 90 days");
        assert!(said(30 * day).contains("in 30 days. Make a new one"));
        assert!(!said(31 * day).contains("Make"));
        assert!(said(day / 2).contains("within a day"));
        assert!(said(-1).contains("has expired on 2023-11-14. Make"));
        assert_eq!((days_left(now, now + Duration::from_secs(1)), days_left(now, now)), (-1, 0));
    }
}
