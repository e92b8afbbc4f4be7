//! Which account may use which token, and keeping it fresh.
//!
//! ```text
//!  user + password ─▶ Accounts::admit ─▶ Admitted ─▶ Tokens::access_token ─▶ AccessToken
//!                          │                              │        ▲
//!                          ▼                              ▼        │ keep_fresh: one task, by the wall clock
//!                        Store ◀──── sealed, versioned ─ one request per account at a time ─▶ the authority (Entra ID)
//! ```
//!
//! The store is the truth: every decision reads the row of the account again, so that a revoked password, a removed account or a
//! sign-in by another process takes effect immediately. Decisions ([`schedule`], `circuit`) are pure; the rest acts.

// The one exception is `platform/windows.rs`, which says of each call why it is sound.
#![cfg_attr(not(windows), forbid(unsafe_code))]

mod access_token;
mod account;
mod admission;
mod application;
mod authority;
mod certificate_problem;
mod circuit;
mod clock;
mod credential;
pub mod database;
pub mod diagnosis;
pub mod entra_codes;
mod error;
pub mod http;
mod identity;
mod mailbox;
mod password;
mod password_grant;
pub mod pattern;
mod platform;
mod refresher;
mod request_gate;
pub mod schedule;
mod sender_policy;
mod sign_in;
mod source;
pub mod store;
pub mod text_file;
mod tokens;
mod vault;
mod working_memory;

// Accounts: what a mailbox, its application and its sender policy are.
pub use account::{Account, Admitted, Grant, LocalPasswordInfo, Mailbox, Origin};
pub use application::{Application, Applications, NextSecret, SecretExpiry};
pub use credential::{
    Algorithm, ApplicationCertificate, BadCertificate, Credential, FederatedToken, Machine, ManagedIdentity,
    NotThisMachine, SigningCertificate,
};
pub use pattern::BadPattern;
pub use sender_policy::{BadSenderPolicy, SenderMode, SenderPolicy};

// Logins: local passwords, remote verification, and where a login comes from.
pub use admission::{Accounts, AdmissionLimits, Attempt, AttemptTarget, Denied};
pub use password::{LocalPassword, NotAHash, PasswordHash};
pub use password_grant::connect_with_password;
pub use source::Source;

// Sign-ins: a user in a browser or with a device code, or an application.
pub use identity::Identity;
pub use sign_in::{
    BrowserSignIn, DeviceSignIn, REDIRECT_LIMIT, Redirect, RedirectError, SignInError, SignedIn, begin_browser_sign_in,
    begin_device_sign_in, connect_client_credentials,
};

// Tokens: one request per account at a time, and the errors of it.
pub use error::{ErrorKind, Problem, TokenError};
pub use http::{HttpClient, HttpPolicy};
pub use tokens::{AccessToken, Readiness, RefreshLimits, Tokens};

// The store, its database and its keys.
pub use database::postgres::{BadSettings, Postgres, PostgresSettings};
pub use store::{
    AccessAudit, Block, ChangedOutside, Changes, Conflict, DeclareError, Declared, DeclaredPassword, OpenCircuit,
    PasswordText, Store, StoreError, TokenSet, TokenSource, TokenState,
};
pub use vault::{Created, KeySource, NewKey, Vault, VaultError};

// Time.
pub use certificate_problem::CertificateProblem;
pub use clock::{Clock, ClockSkew, ManualClock, SharedClock, SystemClock};

#[cfg(test)]
mod tests;
