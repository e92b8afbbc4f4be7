//! How the applications prove themselves, and until when: a certificate that ends takes every account of its application
//! along.

use std::fmt;
use std::time::{Duration, SystemTime};

use oxpost_token_store::{Application, ApplicationCertificate, Applications, Credential};
use serde_json::json;

/// How long before its end a certificate is warned of: a new one must be made, uploaded, and often approved.
const WARN_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);

const DAY: u64 = 24 * 3600;

/// The end of one application's certificate or client secret.
pub(crate) struct End<'a> {
    application: &'a str,
    /// The certificate's thumbprint; a secret has none.
    thumbprint: Option<String>,
    /// It is the client secret that waits until the current one is refused.
    is_next: bool,
    /// There is a next one, which has not been tried.
    has_next: bool,
    expires: SystemTime,
    now: SystemTime,
}

/// Those of all applications that have one, by the application's name.
pub(crate) fn ends(applications: &Applications, now: SystemTime) -> Vec<End<'_>> {
    let all = applications.names().into_iter().filter_map(|name| applications.get(name));
    all.filter_map(|application| End::of(application, now)).collect()
}

impl<'a> End<'a> {
    pub(crate) fn of(application: &'a Application, now: SystemTime) -> Option<Self> {
        let (thumbprint, is_next, expires) = match &application.credential {
            // A next one that Microsoft has accepted is in use, and the other one matters no longer.
            Credential::Certificate(certificate) => {
                let in_use = certificate.in_use();
                (Some(in_use.thumbprint().to_owned()), false, in_use.expires())
            }
            // The next one may be mistyped, and Microsoft has not accepted it yet: it does not replace the current one.
            Credential::Secret => match (application.client_secret_expires, application.next_client_secret) {
                (Some(current), _) => (None, false, current),
                (None, next) => (None, true, next?.expires?),
            },
            Credential::Federated(_) | Credential::ManagedIdentity(_) => return None,
        };
        let has_next = match &application.credential {
            Credential::Certificate(certificate) => certificate.next().is_some() && !certificate.is_next_in_use(),
            _ => !is_next && application.next_client_secret.is_some(),
        };
        Some(Self { application: &application.name, thumbprint, is_next, has_next, expires, now })
    }

    /// Whose it is.
    pub(crate) fn application(&self) -> &str {
        self.application
    }

    pub(crate) fn expires(&self) -> SystemTime {
        self.expires
    }

    pub(crate) fn has_passed(&self) -> bool {
        self.expires <= self.now
    }

    pub(crate) fn is_near(&self) -> bool {
        self.expires <= self.now + WARN_BEFORE
    }

    /// How many days are left, for a table.
    pub(crate) fn days(&self) -> String {
        match days_left(self.expires, self.now) {
            ..0 => "over".to_owned(),
            0 => "within a day".to_owned(),
            1 => "in 1 day".to_owned(),
            days => format!("in {days} days"),
        }
    }

    /// What ends when, in a sentence.
    pub(crate) fn what(&self) -> String {
        format!("{}.", capital(&self.ending()))
    }

    /// What to do about it.
    pub(crate) fn remedy(&self) -> String {
        format!("{}.", self.advice())
    }

    fn ending(&self) -> String {
        let date = humantime::format_rfc3339_seconds(self.expires).to_string();
        let date = date.split('T').next().unwrap_or_default();
        let whose = match &self.thumbprint {
            Some(thumbprint) => format!("its certificate (thumbprint {thumbprint})"),
            None if self.is_next => "its next client secret".to_owned(),
            None => "its client secret".to_owned(),
        };
        match days_left(self.expires, self.now) {
            ..0 => format!("{whose} has expired on {date}"),
            0 => format!("{whose} expires within a day, on {date}"),
            1 => format!("{whose} expires on {date}, in 1 day"),
            days => format!("{whose} expires on {date}, in {days} days"),
        }
    }

    fn advice(&self) -> &'static str {
        match self.thumbprint {
            Some(_) if self.has_next => {
                "A next certificate is configured but has not been tried, so it is unknown whether Microsoft accepts it; it is tried when \
                 Microsoft refuses the current one. To try it now, write it over the files of the current one; the warning ends then"
            }
            Some(_) => {
                "Make a new one, upload it at Microsoft Entra admin center > App registrations > Certificates & secrets, and write it over \
                 the files that proxy.toml names: Oxpost reads them without a restart"
            }
            None if self.has_next => {
                "The next client secret is stored but has not been tried, so it is unknown whether Microsoft accepts it; it is tried when \
                 Microsoft refuses the current one. To try it now, store it as the current one: `oxpost application secret NAME --expires \
                 YYYY-MM-DD`; the warning ends then"
            }
            None => {
                "Make a new one at Microsoft Entra admin center > App registrations > Certificates & secrets, and store its Value: \
                 `oxpost application secret NAME --next --expires YYYY-MM-DD` keeps the old one until Microsoft refuses it (or change its \
                 file and client-secret-expires in proxy.toml, and restart Oxpost)"
            }
        }
    }
}

impl fmt::Display for End<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "application {}: {}", self.application, self.ending())?;
        if self.is_near() { write!(f, ". {}", self.advice()) } else { Ok(()) }
    }
}

/// For a client secret that looks like a Secret ID.
pub(crate) fn secret_id_warning(application: &str) -> String {
    format!(
        "The client secret of application {application} looks like a Secret ID. Microsoft Entra admin center > App registrations > \
         Certificates & secrets shows both: Oxpost needs the column Value, and Microsoft rejects the Secret ID. The Value is shown only when \
         the secret is created; if it is hidden, create a new secret."
    )
}

/// The same for every application of the configuration.
pub(crate) fn secret_id_warnings(applications: &Applications) -> Vec<String> {
    let all = applications.names().into_iter().filter_map(|name| applications.get(name));
    let suspicious = all.filter(|application| {
        application.client_secret.as_ref().is_some_and(|secret| application.looks_like_secret_id(secret))
    });
    suspicious.map(|application| secret_id_warning(&application.name)).collect()
}

/// The applications that have a next client secret or certificate, a sentence each.
pub(crate) fn next_secrets(applications: &Applications) -> Vec<String> {
    let sentence = |application: &Application| {
        if let Credential::Certificate(certificate) = &application.credential {
            return next_certificate(&application.name, certificate);
        }
        let next = application.next_client_secret?;
        let expires = next.expires.map(|time| humantime::format_rfc3339_seconds(time).to_string());
        let expires = match expires.as_deref().and_then(|text| text.split('T').next()) {
            Some(day) => format!("; it expires on {day}"),
            None => String::new(),
        };
        Some(format!(
            "application {}: the next client secret is stored, and takes the place of the current one when Microsoft refuses that{expires}.",
            application.name
        ))
    };
    applications.names().into_iter().filter_map(|name| sentence(applications.get(name)?)).collect()
}

fn next_certificate(application: &str, certificate: &ApplicationCertificate) -> Option<String> {
    let next = certificate.next()?;
    let expires = humantime::format_rfc3339_seconds(next.expires()).to_string();
    let (thumbprint, day) = (next.thumbprint(), expires.split('T').next().unwrap_or_default());
    Some(match certificate.is_next_in_use() {
        true => format!(
            "application {application}: the next certificate (thumbprint {thumbprint}) is in use, because Microsoft refused the current one; \
             name its files as the current ones in proxy.toml."
        ),
        false if next == certificate.current() => return None,
        false => format!(
            "application {application}: the next certificate (thumbprint {thumbprint}) has not been tried, and takes the place of the \
             current one when Microsoft refuses that; it expires on {day}."
        ),
    })
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// For scripts that watch over many gateways.
pub(crate) fn as_json(application: Option<&Application>, now: SystemTime) -> serde_json::Value {
    // What is known of a client secret, if there is one at all, is known at Microsoft, or was written down.
    let is_known = |one: &&Application| {
        let is_secret = matches!(one.credential, Credential::Secret);
        !is_secret || one.client_secret_expires.is_some() || one.next_client_secret.is_some()
    };
    let Some(application) = application.filter(is_known) else {
        return serde_json::Value::Null;
    };
    let expires = application.credential.expires().or(application.client_secret_expires);
    // One that is in use is the current one.
    let next = match &application.credential {
        Credential::Certificate(certificate) => {
            certificate.next().filter(|_| !certificate.is_next_in_use()).map(|next| Some(next.expires()))
        }
        _ => application.next_client_secret.map(|next| next.expires),
    };
    json!({
        "kind": application.credential.name(),
        "expires": expires.map(|time| humantime::format_rfc3339_seconds(time).to_string()),
        "days_left": expires.map(|time| days_left(time, now)),
        "next": next.map(|expires| json!({
            "expires": expires.map(|time| humantime::format_rfc3339_seconds(time).to_string()),
        })),
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
    fn expiry_is_shown_in_days_and_with_what_to_do() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let said = |seconds: i64| {
            let distance = Duration::from_secs(seconds.unsigned_abs());
            let expires = if seconds < 0 { now - distance } else { now + distance };
            End { application: "a", thumbprint: Some("AB".into()), is_next: false, has_next: false, expires, now }
                .to_string()
        };
        let day = DAY as i64;
        assert_eq!(said(90 * day), "application a: its certificate (thumbprint AB) expires on 2024-02-12, in 90 days");
        assert!(said(30 * day).contains("in 30 days. Make a new one"));
        assert!(!said(31 * day).contains("Make"));
        assert!(said(day / 2).contains("within a day"));
        assert!(said(-1).contains("has expired on 2023-11-14. Make"));
        let expires = now + Duration::from_secs(86_400);
        let secret = End { application: "a", thumbprint: None, is_next: false, has_next: false, expires, now };
        assert_eq!(secret.what(), "Its client secret expires on 2023-11-15, in 1 day.");
        assert!(secret.remedy().contains("client-secret-expires"));
        let with_next = End { has_next: true, ..secret };
        assert_eq!(with_next.what(), "Its client secret expires on 2023-11-15, in 1 day.");
        assert!(with_next.remedy().starts_with("The next client secret is stored but has not been tried"));
        assert_eq!((days_left(now, now + Duration::from_secs(1)), days_left(now, now)), (-1, 0));
    }
}
