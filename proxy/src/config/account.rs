//! `[[account]]`: accounts declared in the file, which may be kept in version control. Their tokens stay in the store.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use oxpost_protocol::sasl::PASSWORD_LIMIT;
use oxpost_token_store::{
    Applications, BadPattern, Declared, DeclaredPassword, Grant, Mailbox, PasswordHash, PasswordText, SenderMode,
    TokenSource, pattern,
};
use serde::Deserialize;

use super::file::{self, FilePath};
use super::secret;
use super::senders;

/// The name of the password that `password-hash` and `password-file` give.
const DEFAULT_NAME: &str = "default";

/// Longest login name, in characters. An address has at most 320.
const LOGIN_LIMIT: usize = 320;

/// `[[account]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Account {
    /// The mail address.
    pub mailbox: String,
    /// The name of the `[[application]]`; by default the only one.
    pub application: Option<String>,
    /// How its tokens are obtained; `sign-in` by default.
    pub grant: Option<Grant>,
    /// The user name that mail programs send, besides the address.
    pub login: Option<String>,
    /// The account whose sign-in opens it.
    pub delegate: Option<String>,
    /// What happens to a sender that it may not send as.
    pub sender: Option<SenderMode>,
    /// The senders it may send as besides its own address.
    #[serde(default)]
    pub senders: Vec<String>,
    /// With `sender = "map"`: the rewrite rules.
    #[serde(default)]
    pub map: Vec<senders::Rule>,
    /// The hash of its password for mail programs.
    pub password_hash: Option<HashText>,
    /// A file that holds the password itself and nothing else.
    pub password_file: Option<FilePath>,
    /// Further passwords: `[{ name = "hall-scanner", hash = "$argon2id$…" }]`.
    #[serde(default)]
    pub passwords: Vec<Password>,
}

/// One of several passwords.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Password {
    /// What it is called, such as the device that has it.
    pub name: String,
    /// Its hash.
    pub hash: Option<HashText>,
    /// A file that holds it.
    pub file: Option<FilePath>,
}

/// Should be a hash but may be a password written there by mistake: no message may quote it.
#[derive(Clone, Deserialize)]
#[serde(from = "toml::Value")]
pub(crate) struct HashText(Option<String>);

impl std::fmt::Debug for HashText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashText")
    }
}

impl From<toml::Value> for HashText {
    fn from(value: toml::Value) -> Self {
        Self(value.as_str().map(str::to_owned))
    }
}

/// An account of the file that can be used, as far as the file can tell.
#[derive(Clone, Debug)]
pub struct DeclaredAccount {
    /// The account.
    pub declared: Declared,
    /// The line where its section begins.
    pub line: Option<usize>,
}

/// A section by its number, the key in it, and what is wrong.
pub(super) type Wrong = (usize, &'static str, String);

/// All sections.
pub(super) fn check(folder: &Path, file: &file::File, applications: &Applications) -> (Vec<Declared>, Vec<Wrong>) {
    let mut problems = Vec::new();
    let mut declared: Vec<(usize, Declared)> = Vec::new();
    let usable = UsableApplications::new(file, applications);
    for (index, account) in file.account.iter().enumerate() {
        let mut wrong = |key, sentence| problems.push((index, key, sentence));
        if let Some(one) = one(folder, account, &usable, &mut wrong) {
            declared.push((index, one));
        }
    }
    let mut by_mailbox = HashMap::new();
    for (_, account) in &declared {
        by_mailbox.entry(&account.mailbox).or_insert(account);
    }
    // The first account that has a name, as its address or its login.
    let mut names: HashMap<&str, (usize, &Declared)> = HashMap::new();
    for (place, (index, account)) in declared.iter().enumerate() {
        let own_names = [account.mailbox.as_str(), account.login.as_str()];
        let earlier = own_names.iter().filter_map(|name| names.get(name)).min_by_key(|(place, _)| *place);
        problems.extend(earlier.map(|(_, earlier)| {
            let (key, sentence) = same_name(account, earlier);
            (*index, key, sentence)
        }));
        for name in own_names {
            names.entry(name).or_insert((place, account));
        }
        problems.extend(delegate_problem(account, &by_mailbox).map(|sentence| (*index, "delegate", sentence)));
    }
    (declared.into_iter().map(|(_, account)| account).collect(), problems)
}

/// The `[[application]]` sections, so that they are read once and not for each account.
struct UsableApplications<'a> {
    /// The names that are written, in their order.
    names: Vec<&'a str>,
    set: HashSet<&'a str>,
    /// Those of them that can be used.
    checked: &'a Applications,
}

impl<'a> UsableApplications<'a> {
    fn new(file: &'a file::File, checked: &'a Applications) -> Self {
        let names: Vec<&str> = file.application.iter().map(|application| application.name.as_str()).collect();
        Self { set: names.iter().copied().collect(), names, checked }
    }
}

fn one(
    folder: &Path,
    account: &Account,
    applications: &UsableApplications<'_>,
    wrong: &mut impl FnMut(&'static str, String),
) -> Option<Declared> {
    let mailbox = Mailbox::parse(&account.mailbox).map_err(|error| wrong("mailbox", format!("{error}."))).ok();
    let way = way(account, applications).map_err(|(key, sentence)| wrong(key, sentence)).ok();
    let passwords = passwords(folder, account, wrong);
    let senders = senders::policy(account.sender, &account.senders, &account.map);
    let senders = senders.map_err(|(key, sentence)| wrong(key, sentence)).ok();
    let (mailbox, way, senders) = (mailbox?, way?, senders?);
    let login = account.login.as_deref().unwrap_or(mailbox.as_str()).trim().to_lowercase();
    if login.is_empty() || login.chars().count() > LOGIN_LIMIT || login.chars().any(char::is_control) {
        wrong("login", format!("a login name has 1 to {LOGIN_LIMIT} characters."));
        return None;
    }
    if matches!(way, TokenSource::Own { grant: Grant::Password, .. }) && !passwords.is_empty() {
        wrong(
            "grant",
            "with `grant = \"password\"` Microsoft verifies the passwords of mail programs; remove the passwords of this section."
                .into(),
        );
    }
    let way = match way {
        TokenSource::Delegate(delegate) if delegate == mailbox => {
            wrong("delegate", format!("{mailbox} cannot be its own delegate; remove `delegate`."));
            return None;
        }
        way => way,
    };
    let (delegate, grant) = match &way {
        TokenSource::Own { grant, .. } => (None, *grant),
        TokenSource::Delegate(delegate) => (Some(delegate), Grant::SignIn),
    };
    if let Err(error) = pattern::check(&mailbox, delegate, grant, &login) {
        let key = match error {
            BadPattern::Person(..) if account.grant.is_some() => "grant",
            BadPattern::Delegate(..) => "delegate",
            BadPattern::Login(..) => "login",
            BadPattern::Person(..) | BadPattern::Domain(..) => "mailbox",
        };
        wrong(key, format!("{error}."));
        return None;
    }
    Some(Declared { mailbox, token_source: way, login, senders, passwords })
}

/// Where its tokens come from; or the key that is wrong.
fn way(account: &Account, applications: &UsableApplications<'_>) -> Result<TokenSource, (&'static str, String)> {
    if let Some(delegate) = &account.delegate {
        let delegate = Mailbox::parse(delegate).map_err(|error| ("delegate", format!("{error}.")))?;
        for (key, written) in [("application", account.application.is_some()), ("grant", account.grant.is_some())] {
            if written {
                return Err((
                    key,
                    format!("this account uses the `{key}` of its delegate {delegate}; remove `{key}` here."),
                ));
            }
        }
        return Ok(TokenSource::Delegate(delegate));
    }
    let application = match (account.application.as_deref(), applications.names.as_slice()) {
        (Some(name), _) if applications.set.contains(name) => name,
        (Some(name), []) => {
            return Err(("application", format!("there is no [[application]] named `{name}`; add it.")));
        }
        (Some(name), names) => {
            return Err((
                "application",
                format!("there is no [[application]] named `{name}`; the names are: {}.", names.join(", ")),
            ));
        }
        (None, [only]) => only,
        (None, []) => {
            return Err((
                "mailbox",
                "proxy.toml has no [[application]] that could obtain tokens for it; add one.".into(),
            ));
        }
        (None, names) => {
            return Err((
                "mailbox",
                format!("name its application, one of {}: application = \"…\".", names.join(", ")),
            ));
        }
    };
    let grant = account.grant.unwrap_or(Grant::SignIn);
    // One that cannot be used was reported already.
    if let Some(found) = applications.checked.get(application) {
        found
            .suits(grant)
            .map_err(|problem| (if account.grant.is_some() { "grant" } else { "mailbox" }, problem.to_string()))?;
    }
    Ok(TokenSource::Own { application: application.to_owned(), grant })
}

fn passwords(folder: &Path, account: &Account, wrong: &mut impl FnMut(&'static str, String)) -> Vec<DeclaredPassword> {
    let mut found: Vec<DeclaredPassword> = Vec::new();
    let default = (DEFAULT_NAME, &account.password_hash, &account.password_file, ["password-hash", "password-file"]);
    let others = account.passwords.iter();
    let others = others.map(|one| (one.name.trim(), &one.hash, &one.file, ["passwords", "passwords"]));
    let has_default = account.password_hash.is_some() || account.password_file.is_some();
    for (name, hash, file, [hash_key, file_key]) in has_default.then_some(default).into_iter().chain(others) {
        if name.is_empty() || name.chars().count() > file::PASSWORD_NAME_LIMIT || name.chars().any(char::is_control) {
            let limit = file::PASSWORD_NAME_LIMIT;
            wrong(hash_key, format!("the name of a password has 1 to {limit} characters."));
            continue;
        }
        if found.iter().any(|earlier| earlier.name == name) {
            wrong(hash_key, format!("there are two passwords named `{name}`; give each a name of its own."));
            continue;
        }
        let text = match (hash, file) {
            (Some(hash), None) => from_hash(hash).map_err(|sentence| (hash_key, sentence)),
            (None, Some(file)) => from_file(&folder.join(&file.0)).map_err(|sentence| (file_key, sentence)),
            _ => Err((hash_key, format!("the password `{name}` needs either `hash` or `file`, not both."))),
        };
        match text {
            Ok(text) => found.push(DeclaredPassword { name: name.to_owned(), text }),
            Err((key, sentence)) => wrong(key, sentence),
        }
    }
    found
}

fn from_hash(hash: &HashText) -> Result<PasswordText, String> {
    let hash = hash.0.as_deref().unwrap_or_default();
    PasswordHash::parse(hash).map(PasswordText::Hash).map_err(|error| format!("{error}."))
}

fn from_file(path: &Path) -> Result<PasswordText, String> {
    let password = secret::from_file(path, "the password")?;
    if password.len() > PASSWORD_LIMIT {
        return Err(format!(
            "{} holds a password of more than {PASSWORD_LIMIT} bytes; choose a shorter one.",
            path.display()
        ));
    }
    Ok(PasswordText::Plain(password))
}

/// The sentence about an account that has the same name as an earlier one.
fn same_name(account: &Declared, other: &Declared) -> (&'static str, String) {
    match other.mailbox == account.mailbox {
        true => ("mailbox", format!("there are two accounts for {}.", account.mailbox)),
        false => ("login", format!("the login name `{}` already belongs to {}.", account.login, other.mailbox)),
    }
}

/// What is wrong with its delegate, if that is in the file.
fn delegate_problem(account: &Declared, all: &HashMap<&Mailbox, &Declared>) -> Option<String> {
    let TokenSource::Delegate(delegate) = &account.token_source else { return None };
    let other = all.get(delegate)?;
    let TokenSource::Delegate(third) = &other.token_source else { return None };
    Some(format!(
        "{delegate} has no sign-in of its own: its delegate is {third}. Write delegate = \"{third}\" here too."
    ))
}

#[cfg(test)]
mod tests;
