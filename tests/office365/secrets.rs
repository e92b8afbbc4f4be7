//! Every secret that the tenant has issued or was sent, for a test that looks for them where they must not be.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// What kind of secret it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretKind {
    /// What opens a mailbox.
    AccessToken,
    /// What gets access tokens.
    RefreshToken,
    /// Who signed in, as the sign-in service says it.
    IdToken,
    /// What comes back from the browser.
    AuthorizationCode,
    /// What proves who began the sign-in in the browser (RFC 7636).
    CodeVerifier,
    /// What polls for a sign-in on another device (RFC 8628).
    DeviceCode,
    /// What a person types there.
    UserCode,
    /// An application's secret.
    ClientSecret,
    /// What an application has signed instead, or a platform for it.
    Assertion,
    /// A person's password, right or wrong.
    Password,
    /// What an Azure Arc agent wrote into its key file.
    MachineKey,
    /// The credentials of a login to a mail service: a user and an access token, in base64.
    Xoauth2,
}

/// All of them, of every kind.
#[derive(Debug, Default)]
pub(super) struct Secrets(Mutex<BTreeSet<(SecretKind, String)>>);

impl Secrets {
    pub(super) fn add(&self, kind: SecretKind, text: &str) {
        if !text.is_empty() {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).insert((kind, text.to_owned()));
        }
    }

    pub(super) fn all(&self) -> Vec<(SecretKind, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}
