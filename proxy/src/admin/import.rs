//! What another program's configuration can become here.
//!
//! A reader (one for each format) turns a file into a [`Plan`], without touching anything: listeners, applications,
//! accounts, and a list of everything it could not carry over, each with its line, the reason and the remedy.
//! [`Plan::fit`] then tries every part of it as the program itself would, [`Missing`] says what a `proxy.toml` that is
//! there lacks of it, and `oxpost import` carries it out.

mod davmail;
mod emailproxy;
mod fernet;
mod fit;
mod ini;
mod merge;
mod properties;
mod service;
mod text;

use std::fmt;
use std::path::{Path, PathBuf};

use oxpost_protocol::Secret;
use oxpost_token_store::{Grant, Mailbox};

use crate::config::{ListenerTls, Protocol, file};

pub(crate) use fernet::Lock;
pub(crate) use merge::{Missing, Present};

/// The largest file that is read, in bytes. An account with its sealed tokens has some 6 KiB.
pub(crate) const FILE_LIMIT: u64 = 16 * 1024 * 1024;

/// The longest name of a key that is repeated in a message. What is longer is no key, but half a token.
const KEY_LIMIT: usize = 60;

/// The longest piece of the file that is repeated in a message, in characters.
const SHOWN_LIMIT: usize = 80;

/// What was found in a file.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Whose file it is.
    pub program: Program,
    /// Where mail programs will connect.
    pub listeners: Vec<Listener>,
    /// The app registrations.
    pub applications: Vec<Application>,
    /// The mailboxes.
    pub accounts: Vec<Account>,
    /// What cannot be carried over.
    pub left: Vec<Left>,
}

/// Whose file it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Program {
    /// email-oauth2-proxy.
    #[default]
    EmailProxy,
    /// DavMail.
    DavMail,
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EmailProxy => "email-oauth2-proxy",
            Self::DavMail => "DavMail",
        })
    }
}

/// A listener of `proxy.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    /// Where it was found.
    pub line: usize,
    /// What is spoken.
    pub protocol: Protocol,
    /// Address and port.
    pub address: String,
    /// Whether and when TLS is spoken.
    pub tls: ListenerTls,
    /// Certificate and private key, PEM.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The address it had, if other machines could reach it there.
    pub reached_at: Option<String>,
}

/// An application of `proxy.toml`, and its secret.
#[derive(Debug)]
pub(crate) struct Application {
    /// Where it was found.
    pub line: usize,
    /// Its mail service.
    pub provider: Provider,
    /// The tenant, where the service has such a thing.
    pub tenant: Option<String>,
    /// The client id. Without one the application cannot be used yet.
    pub client_id: Option<String>,
    /// Where the registration sends the browser back to, if that is another place than usual.
    pub redirect_uri: Option<String>,
    /// Certificate and private key by which it proves itself, PEM.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The client secret, where the file has it unencrypted.
    pub secret: Option<Secret>,
    /// What [`Plan::fit`] has made of it.
    pub(crate) resolved: Option<oxpost_token_store::Application>,
}

/// Which mail service an application is for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Provider {
    /// One that Oxpost knows.
    Preset(&'static str),
    /// Another one, or one with differences. It has no name yet.
    SpeltOut(Box<file::Provider>),
}

/// An account, and what was sealed with its old password.
#[derive(Debug)]
pub(crate) struct Account {
    /// Where it was found.
    pub line: usize,
    /// The mailbox, which is also the login name.
    pub mailbox: Mailbox,
    /// Its application, by its place in the plan.
    pub application: usize,
    /// How its tokens are obtained.
    pub grant: Grant,
    /// What was sealed with its old password.
    pub sealed: Option<Sealed>,
}

/// What was sealed with an account's old password. Its `Debug` shows nothing of it.
#[derive(Clone)]
pub(crate) struct Sealed {
    /// Salt and cost of the key.
    pub lock: Lock,
    /// The refresh token.
    pub refresh_token: Option<String>,
    /// The client secret of its application.
    pub client_secret: Option<String>,
    /// Anything else, to see whether a password is the right one.
    pub proof: Option<String>,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed([redacted])")
    }
}

/// Something that cannot be carried over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    /// Its line in the file.
    pub line: usize,
    /// What it is.
    pub what: String,
    /// Why, and what to do instead.
    pub why: String,
}

/// Why a file cannot be read at all.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    /// Neither format.
    #[error(
        "this is neither a configuration of email-oauth2-proxy (sections such as [IMAP-1993] and [name@contoso.com]) nor a \
         properties file of DavMail (lines such as davmail.imapPort=1143)"
    )]
    Unknown,
    /// A line that has no place in the format.
    #[error("line {line}: {why}")]
    Line {
        /// The line.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
}

/// Reads a file of either format. `cache` is the second file of an email-oauth2-proxy that was started with
/// `--cache-store`, `folder` where the first one is.
///
/// # Errors
/// It is neither, or damaged.
pub(crate) fn read(text: &str, cache: Option<&str>, folder: &Path) -> Result<Plan, Unreadable> {
    if davmail::looks_like(text) {
        return Ok(davmail::plan(text));
    }
    let mut sections = ini::parse(text)?;
    if !emailproxy::looks_like(&sections) {
        return Err(Unreadable::Unknown);
    }
    if let Some(cache) = cache {
        emailproxy::merge_cache(&mut sections, &ini::parse(cache)?);
    }
    Ok(emailproxy::plan(&sections, folder))
}

impl Plan {
    fn leave(&mut self, line: usize, what: impl Into<String>, why: impl Into<String>) {
        // Both contain parts of the file, and a terminal obeys some characters.
        let plain = |text: String| text.replace(char::is_control, " ");
        self.left.push(Left { line, what: plain(what.into()), why: plain(why.into()) });
    }
}

/// A piece of the file as it can be shown: one line, and not a long one.
fn shown(text: &str) -> String {
    let text = text.lines().next().unwrap_or_default();
    let mut shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN_LIMIT).collect();
    if text.chars().nth(SHOWN_LIMIT).is_some() {
        shown.push('…');
    }
    shown
}

/// The name of a key as it can be shown. The end of a token on a line of its own looks like a key too, as base64 ends
/// in `=`.
fn key_name(key: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '@');
    if key.len() <= KEY_LIMIT && key.chars().all(word) {
        format!("`{key}`")
    } else {
        "a key that is no word".to_owned()
    }
}

#[cfg(test)]
mod tests;
