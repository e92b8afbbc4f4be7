//! Applications: what is registered at the authority (Entra ID), under whose client id tokens are asked for.

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use oxpost_protocol::Secret;
use url::Url;

use crate::account::Grant;
use crate::credential::{Credential, no_sign_in_possible};
use crate::error::Problem;

/// An application registration, and where its tokens come from. Its `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Application {
    /// The name that accounts refer to.
    pub name: String,
    /// The tenant, or `organizations`, `common`, `consumers`; none where the authority knows no such thing.
    pub tenant: Option<String>,
    /// The page where a person signs in (RFC 6749, 3.1), `{authority}/{tenant}/oauth2/v2.0/authorize`.
    pub authorize_url: Url,
    /// What is added to its address, over `login_hint` and `prompt=select_account`.
    pub authorize_parameters: Vec<(String, String)>,
    /// Where the registration sends the browser back to; `http://localhost` unless it says otherwise. As text, because
    /// it must be the same to the last `/`.
    pub redirect_uri: Option<String>,
    /// The token endpoint, `{authority}/{tenant}/oauth2/v2.0/token`.
    pub token_url: Url,
    /// The device authorization endpoint (RFC 8628, 3.1), `{authority}/{tenant}/oauth2/v2.0/devicecode`; none where there is
    /// none.
    pub device_code_url: Option<Url>,
    /// The "Application (client) ID" of the registration.
    pub client_id: String,
    /// How it proves itself.
    pub credential: Credential,
    /// The client secret, if the configuration has it; otherwise the sealed one of the store is used.
    pub client_secret: Option<Secret>,
    /// When the client secret ends, if somebody wrote that down: it is known at Microsoft only.
    pub client_secret_expires: Option<SystemTime>,
    /// The client secret that takes the place of the current one, if one is stored.
    pub next_client_secret: Option<NextSecret>,
    /// What is asked for in a person's name, at the sign-in and with every refresh. It must hold `offline_access`, or
    /// there will be no refresh token. (`openid` and `profile` are added at the sign-in, to learn who signed in.)
    pub delegated_scopes: Vec<String>,
    /// Whether the authority speaks OpenID Connect, and so can say who signed in.
    pub openid: bool,
    /// What is asked for in the application's own name, `https://availability.office365.com/.default`.
    pub app_scopes: Vec<String>,
}

/// A client secret that is stored and waits until the current one is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NextSecret {
    /// When it expires, if a person has said it.
    pub expires: Option<SystemTime>,
}

/// What the store knows of the client secrets or certificates of one application.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretExpiry {
    /// The application's name.
    pub application: String,
    /// When the current one expires, if a person has said it.
    pub expires: Option<SystemTime>,
    /// The next one, if there is one.
    pub next: Option<NextSecret>,
    /// For an application with two certificates: the thumbprint of the one that was accepted when the other one had been refused.
    pub accepted_certificate: Option<String>,
}

/// The client secrets of an application.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientSecrets {
    pub(crate) current: Option<Secret>,
    pub(crate) next: Option<Secret>,
}

/// The names that stand for many tenants at once. Nobody in particular answers there for an application.
const MANY_TENANTS: [&str; 3] = ["common", "organizations", "consumers"];

impl Application {
    /// Whether this is probably the Secret ID of a client secret, which Microsoft shows next to the secret. Only a warning may come of it:
    /// secrets that older versions of the Azure CLI created are GUIDs too (<https://github.com/Azure/azure-cli/issues/10615>).
    pub fn looks_like_secret_id(&self, text: &Secret) -> bool {
        self.tenant.is_some() && is_guid(text.reveal())
    }

    /// Whether it can get tokens in this way, as far as can be known without asking.
    ///
    /// # Errors
    /// What is wrong, and the remedy.
    pub fn suits(&self, grant: Grant) -> Result<(), Problem> {
        match grant {
            Grant::SignIn => self.can_sign_people_in(),
            Grant::ClientCredentials => self.can_be_app_only(),
            Grant::Password => self.can_verify_passwords(),
        }
    }

    /// Whether it may act in its own name (the grant client-credentials), as far as can be known without asking.
    ///
    /// # Errors
    /// What is wrong, and the remedy.
    pub fn can_be_app_only(&self) -> Result<(), Problem> {
        let name = &self.name;
        if self.app_scopes.is_empty() {
            return Err(Problem::new(
                format!("The provider of the application `{name}` has no app-only access, so a user must sign in."),
                "Use the grant sign-in: `oxpost account add ADDRESS --grant sign-in`.",
            ));
        }
        match self.tenant.as_deref() {
            Some(tenant) if MANY_TENANTS.contains(&tenant.to_lowercase().as_str()) => Err(Problem::new(
                format!(
                    "The application `{name}` cannot act in its own name in the tenant `{tenant}`, which is no tenant."
                ),
                format!(
                    "Set the tenant of the application `{name}` in proxy.toml to its id or one of its domains (Microsoft Entra admin \
                     center > Overview), or use the grant sign-in."
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Whether its authority judges passwords (the grant password), as far as can be known without asking.
    ///
    /// # Errors
    /// What is wrong, and the remedy.
    pub fn can_verify_passwords(&self) -> Result<(), Problem> {
        let name = &self.name;
        let use_sign_in = "Use the grant sign-in: `oxpost account add ADDRESS --grant sign-in`.";
        self.can_sign_people_in()?;
        let Some(tenant) = self.tenant.as_deref() else {
            return Err(Problem::new(
                format!("The provider of the application `{name}` does not verify passwords."),
                use_sign_in,
            ));
        };
        match tenant.to_lowercase().as_str() {
            "consumers" => Err(Problem::new(
                "Microsoft does not verify passwords of personal accounts; their users must sign in.",
                use_sign_in,
            )),
            "common" => Err(Problem::new(
                format!("Microsoft does not verify passwords through the tenant `common` of the application `{name}`."),
                format!(
                    "Set the tenant of the application `{name}` in proxy.toml to its id or one of its domains, or to organizations."
                ),
            )),
            _ => Ok(()),
        }
    }

    /// Whether a person may sign in to it, as far as can be known without asking.
    ///
    /// # Errors
    /// What is wrong, and the remedy.
    pub fn can_sign_people_in(&self) -> Result<(), Problem> {
        match self.credential {
            Credential::ManagedIdentity(_) => Err(no_sign_in_possible(&self.name)),
            Credential::Secret | Credential::Certificate(_) | Credential::Federated(_) => Ok(()),
        }
    }
}

fn is_guid(text: &[u8]) -> bool {
    let has_dash = |place| matches!(place, 8 | 13 | 18 | 23);
    let fits = |(place, byte): (usize, &u8)| if has_dash(place) { *byte == b'-' } else { byte.is_ascii_hexdigit() };
    text.len() == 36 && text.iter().enumerate().all(fits)
}

/// All configured applications, by name. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Applications(Arc<HashMap<String, Arc<Application>>>);

impl Applications {
    /// The application of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Application>> {
        self.0.get(name)
    }

    /// The same, with what the store knows of client secrets and certificates and the configuration does not say.
    #[must_use]
    pub fn with_secret_expiries(&self, ends: &[SecretExpiry]) -> Self {
        for end in ends.iter().filter(|end| end.accepted_certificate.is_some()) {
            if let Some(Credential::Certificate(certificate)) = self.get(&end.application).map(|one| &one.credential) {
                certificate.note_accepted(end.accepted_certificate.clone());
            }
        }
        let of = |one: &Application| {
            let known = ends.iter().find(|end| end.application == one.name);
            known.filter(|_| matches!(one.credential, Credential::Secret))
        };
        if !self.0.values().any(|one| of(one).is_some()) {
            return self.clone();
        }
        self.0
            .values()
            .map(|one| match of(one) {
                Some(known) => Application {
                    client_secret_expires: one.client_secret_expires.or(known.expires),
                    // The secret of the configuration is the only one.
                    next_client_secret: known.next.filter(|_| one.client_secret.is_none()),
                    ..(**one).clone()
                },
                None => (**one).clone(),
            })
            .collect()
    }

    /// The names of all applications, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.0.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }
}

impl FromIterator<Application> for Applications {
    fn from_iter<I: IntoIterator<Item = Application>>(applications: I) -> Self {
        Self(Arc::new(applications.into_iter().map(|one| (one.name.clone(), Arc::new(one))).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guid_is_told_from_a_secret() {
        assert!(is_guid(b"11111111-2222-3333-4444-55555555abCD"));
        for other in [
            &b"11111111-2222-3333-4444-55555555abc"[..],
            b"11111111-2222-3333-4444-55555555abcd1",
            b"11111111-2222-3333-4444-55555555abcg",
            b"111111112-222-3333-4444-55555555abcd",
            b"abc8Q~0123456789abcdefghijklmnopqrstu",
            b"",
        ] {
            assert!(!is_guid(other), "{}", String::from_utf8_lossy(other));
        }
    }
}
