//! Which mail service a sign-in service belongs to, and which mail servers.

use url::Url;

/// A service whose presets Oxpost has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Family {
    /// Microsoft 365 worldwide and Outlook.com, which share their servers and their sign-in service.
    Worldwide,
    /// Microsoft 365 of the US Government.
    UsGovernment,
    /// Microsoft 365 of 21Vianet.
    China,
    /// Gmail.
    Gmail,
}

/// The hosts of the sign-in services, old names included.
const AUTHORITIES: [(&str, Family); 10] = [
    ("login.microsoftonline.com", Family::Worldwide),
    ("login.windows.net", Family::Worldwide),
    ("login.microsoft.com", Family::Worldwide),
    ("login.live.com", Family::Worldwide),
    ("login.microsoftonline.us", Family::UsGovernment),
    ("login.partner.microsoftonline.cn", Family::China),
    ("login.chinacloudapi.cn", Family::China),
    ("accounts.google.com", Family::Gmail),
    ("oauth2.googleapis.com", Family::Gmail),
    ("www.googleapis.com", Family::Gmail),
];

/// The mail servers that the presets reach, by all their names.
const SERVERS: [(&str, Family); 16] = [
    ("outlook.office365.com", Family::Worldwide),
    ("outlook.office.com", Family::Worldwide),
    ("smtp.office365.com", Family::Worldwide),
    ("smtp-mail.outlook.com", Family::Worldwide),
    ("imap-mail.outlook.com", Family::Worldwide),
    ("pop-mail.outlook.com", Family::Worldwide),
    ("outlook.office365.us", Family::UsGovernment),
    ("smtp.office365.us", Family::UsGovernment),
    ("outlook-dod.office365.us", Family::UsGovernment),
    ("partner.outlook.cn", Family::China),
    ("smtp.partner.outlook.cn", Family::China),
    ("imap.gmail.com", Family::Gmail),
    ("pop.gmail.com", Family::Gmail),
    ("smtp.gmail.com", Family::Gmail),
    ("imap.googlemail.com", Family::Gmail),
    ("smtp.googlemail.com", Family::Gmail),
];

impl Family {
    /// The service that a sign-in service belongs to.
    pub(super) fn of_authority(host: &str) -> Option<Self> {
        AUTHORITIES.iter().find(|(known, _)| *known == host).map(|(_, family)| *family)
    }

    /// The service that a mail server belongs to.
    pub(super) fn of_server(host: &str) -> Option<Self> {
        SERVERS.iter().find(|(known, _)| *known == host).map(|(_, family)| *family)
    }

    /// The preset for accounts of a tenant. `reached` says whether the file names a mail server.
    pub(super) fn preset(self, tenant: Option<&str>, reached: impl Fn(&str) -> bool) -> &'static str {
        match self {
            Self::Gmail => "gmail",
            Self::China => "china",
            // Both clouds have one sign-in service.
            Self::UsGovernment if reached("outlook-dod.office365.us") => "us-gov-dod",
            Self::UsGovernment => "us-gov-high",
            Self::Worldwide => match tenant {
                Some("consumers") => "outlook.com",
                // It takes mail of personal and of work accounts; the server of the other preset is for work accounts alone.
                Some("common") if reached("smtp-mail.outlook.com") && !reached("smtp.office365.com") => "outlook.com",
                _ => "office365",
            },
        }
    }
}

/// The addresses of a sign-in service that Oxpost has no preset for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Authority {
    /// Entra's pattern, `{base}/{tenant}/oauth2/v2.0/token`.
    Entra {
        /// What precedes the tenant.
        base: String,
        /// The tenant.
        tenant: String,
    },
    /// Any other.
    SpeltOut {
        /// The page where a person signs in.
        authorize: String,
        /// The token endpoint.
        token: String,
    },
}

impl Authority {
    /// From a token endpoint, and the page where a person signs in or the endpoint for device codes.
    pub(super) fn of(token_url: &Url, permission_url: Option<&str>) -> Option<Self> {
        let token = token_url.as_str();
        let entra = token.strip_suffix("/oauth2/v2.0/token").and_then(|front| front.rsplit_once('/'));
        if let Some((base, tenant)) = entra.filter(|(_, tenant)| is_plain(tenant)) {
            let own = |last: &str| format!("{base}/{tenant}/oauth2/v2.0/{last}");
            let permission = permission_url.map(|url| url.trim_end_matches('/').to_owned());
            if permission.is_none_or(|url| url == own("authorize") || url == own("devicecode")) {
                return Some(Self::Entra { base: base.to_owned(), tenant: tenant.to_owned() });
            }
        }
        let authorize = permission_url?.to_owned();
        Some(Self::SpeltOut { authorize, token: token.to_owned() })
    }
}

/// Whether a text can be a tenant.
pub(super) fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
}

/// The last two labels of a host's name, which most often say whose it is.
pub(super) fn site(host: &str) -> &str {
    match host.rsplit_once('.').and_then(|(front, _)| front.rfind('.')) {
        Some(dot) => host.get(dot + 1..).unwrap_or(host),
        None => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn every_server_of_a_preset_is_known_by_its_name() {
        for (family, tenants) in [
            (Family::Worldwide, [Some("consumers"), Some("contoso.com")]),
            (Family::UsGovernment, [Some("x"), None]),
            (Family::China, [Some("x"), None]),
            (Family::Gmail, [None, None]),
        ] {
            for tenant in tenants {
                for dod in [false, true] {
                    let preset = family.preset(tenant, |host| dod && host == "outlook-dod.office365.us");
                    for host in config::preset_hosts(preset).unwrap() {
                        assert_eq!(Family::of_server(&host), Some(family), "{preset}: {host}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_reached_decides_between_presets() {
        let preset = |tenant, reached: &[&str]| Family::Worldwide.preset(Some(tenant), |host| reached.contains(&host));
        assert_eq!(preset("common", &["smtp-mail.outlook.com"]), "outlook.com");
        assert_eq!(preset("common", &["smtp-mail.outlook.com", "smtp.office365.com"]), "office365");
        assert_eq!(preset("contoso.com", &["smtp-mail.outlook.com"]), "office365");
        assert_eq!(preset("consumers", &[]), "outlook.com");
    }

    #[test]
    fn a_sign_in_service_is_read_from_its_addresses() {
        let of = |token: &str, permission: Option<&str>| Authority::of(&Url::parse(token).unwrap(), permission);
        let entra = Authority::Entra { base: "https://localhost:1".into(), tenant: "t".into() };
        let token = "https://localhost:1/t/oauth2/v2.0/token";
        assert_eq!(of(token, None), Some(entra.clone()));
        assert_eq!(of(token, Some("https://localhost:1/t/oauth2/v2.0/devicecode")), Some(entra.clone()));
        assert_eq!(of(token, Some("https://localhost:1/t/oauth2/v2.0/authorize")), Some(entra));
        let other = |token: &str| Authority::SpeltOut { authorize: "https://a/b".into(), token: token.into() };
        assert_eq!(of(token, Some("https://a/b")), Some(other(token)));
        assert_eq!(of("https://a/refresh", Some("https://a/b")), Some(other("https://a/refresh")));
        assert_eq!(of("https://a/refresh", None), None);
        assert_eq!(
            (site("api.fastmail.com"), site("fastmail.com"), site("localhost")),
            ("fastmail.com", "fastmail.com", "localhost")
        );
    }
}
