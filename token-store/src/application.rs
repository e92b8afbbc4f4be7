//! Applications: what is registered at the authority (Entra ID), under whose client id tokens are asked for.

use std::{collections::HashMap, sync::Arc};

use oxpost_protocol::Secret;
use url::Url;

/// An application registration, and where its tokens come from. Its `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Application {
    /// The name that accounts refer to.
    pub name: String,
    /// The token endpoint, `{authority}/{tenant}/oauth2/v2.0/token`.
    pub token_url: Url,
    /// The device authorization endpoint (RFC 8628, 3.1), `{authority}/{tenant}/oauth2/v2.0/devicecode`.
    pub device_code_url: Url,
    /// The "Application (client) ID" of the registration.
    pub client_id: String,
    /// The client secret, if the configuration has it; otherwise the sealed one of the store is used.
    pub client_secret: Option<Secret>,
    /// What is asked for in a person's name, at the sign-in and with every refresh. It must hold `offline_access`, or
    /// there will be no refresh token. (`openid` and `profile` are added at the sign-in, to learn who signed in.)
    pub delegated_scopes: Vec<String>,
    /// What is asked for in the application's own name, `https://outlook.office365.com/.default`.
    pub app_scopes: Vec<String>,
}

/// All configured applications, by name. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Applications(Arc<HashMap<String, Arc<Application>>>);

impl Applications {
    /// The application of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Application>> {
        self.0.get(name)
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
