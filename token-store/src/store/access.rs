//! What grants access, sealed: a person who can write to the database, but has no key, can neither change an account's delegate,
//! application or login name, nor restore a local password that was revoked.
//!
//! Each account has a sealed [`Access`]: its columns that matter, and the fingerprints of its local passwords. Each change of an
//! account gets the next epoch. The sealed [`Ledger`] of the store has the epoch of every account, so that a row is known to be
//! the latest state and not an older one; a deleted account is missed there as well. Each read that opens something reads the
//! ledger's head with it, in one statement, and uses the ledger in memory while the head is the same. See
//! docs/decisions/0010-sealed-access.md.

use std::collections::BTreeMap;

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};

use super::{
    Store, StoreError,
    ledger::Ledger,
    reconcile::Declared,
    sealed::{ACCESS_SEAL, Sealer},
};
use crate::{
    account::{Account, Mailbox, Origin},
    database::{Row, Statement},
    password::PasswordHash,
};

/// What grants access to an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Access {
    pub(super) epoch: u64,
    #[serde(rename = "through")]
    pub(super) delegate: Option<String>,
    /// The account's own; none if it has a delegate.
    pub(super) application: Option<String>,
    pub(super) grant: Option<String>,
    pub(super) login: String,
    pub(super) origin: String,
    pub(super) senders: Option<String>,
    /// The local passwords, by name.
    pub(super) passwords: Passwords,
}

/// Local passwords by name.
pub(super) type Passwords = BTreeMap<String, Known>;

/// What is known of a local password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known {
    fingerprint: String,
    /// Whether proxy.toml has it.
    pub(super) declared: bool,
}

impl Known {
    pub(super) fn new(hash: &PasswordHash, declared: bool) -> Self {
        Self { fingerprint: fingerprint(hash), declared }
    }
}

/// An account that is not as Oxpost has written it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangedOutside {
    /// Which; none if it is the ledger of all.
    pub mailbox: Option<String>,
    /// What is not as it was written.
    pub how: String,
}

impl std::fmt::Display for ChangedOutside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.mailbox {
            Some(mailbox) => write!(f, "{mailbox}: {}", self.how),
            None => f.write_str(&self.how),
        }
    }
}

impl Access {
    /// What an account is, apart from its passwords.
    pub(super) fn of(account: &Account, passwords: Passwords) -> Self {
        let own = account.delegate.is_none();
        Self {
            epoch: 0,
            delegate: account.delegate.as_ref().map(|delegate| delegate.as_str().to_owned()),
            application: own.then(|| account.application.clone()),
            grant: own.then(|| account.grant.as_str().to_owned()),
            login: account.login.clone(),
            origin: account.origin.as_str().to_owned(),
            senders: account.senders.stored(),
            passwords,
        }
    }

    /// What a declared account is, apart from its passwords.
    pub(super) fn of_declared(declared: &Declared, passwords: Passwords) -> Self {
        let (delegate, application, grant) = declared.token_source.columns();
        Self {
            epoch: 0,
            delegate: delegate.map(str::to_owned),
            application: application.map(str::to_owned),
            grant: grant.map(str::to_owned),
            login: declared.login.clone(),
            origin: Origin::Declared.as_str().to_owned(),
            senders: declared.senders.stored(),
            passwords,
        }
    }

    /// Whether this password is one of them.
    pub(super) fn has(&self, name: &str, hash: &PasswordHash) -> bool {
        self.passwords.get(name).is_some_and(|known| known.fingerprint == fingerprint(hash))
    }

    /// Whether it is the same but for the epoch.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        *other == Self { epoch: other.epoch, ..self.clone() }
    }

    /// The account is no longer declared, and its login name is free.
    pub(super) fn disabled(self, mailbox: &Mailbox) -> Self {
        Self { origin: Origin::Disabled.as_str().to_owned(), login: mailbox.as_str().to_owned(), ..self }
    }

    /// Whether an account with this one as its delegate has the application and grant from here.
    fn lends(&self, account: &Account) -> bool {
        self.delegate.is_none()
            && self.application.as_deref() == Some(account.application.as_str())
            && self.grant.as_deref() == Some(account.grant.as_str())
    }

    /// What in the account's own row is not as it was written.
    pub(super) fn differs(&self, row: &Self) -> Option<String> {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".into());
        for (what, written, found) in [
            ("delegate", &self.delegate, &row.delegate),
            ("application", &self.application, &row.application),
            ("grant", &self.grant, &row.grant),
        ] {
            if written != found {
                return Some(format!("its {what} was {} and is {}", text(written), text(found)));
            }
        }
        if self.login != row.login {
            return Some(format!("its login name was {} and is {}", self.login, row.login));
        }
        if self.origin != row.origin {
            return Some(format!("it was {} and is {}", self.origin, row.origin));
        }
        (self.senders != row.senders).then(|| "who it may send as is not what it was".into())
    }
}

/// The seals of all accounts.
pub(super) const SEALS: &str = "SELECT mailbox, COALESCE(access_seal, x'') FROM account ORDER BY mailbox";

/// What is in the accounts `now` that was not there `before`, one line each; `None` if that is not known of them.
pub(super) fn restored_access(
    sealer: &Sealer,
    now: Vec<(String, Vec<u8>)>,
    before: Vec<(String, Vec<u8>)>,
) -> Option<Vec<String>> {
    let open = |rows: Vec<(String, Vec<u8>)>| -> Option<BTreeMap<String, Access>> {
        rows.into_iter().map(|(mailbox, sealed)| Some((mailbox.clone(), opened(sealer, &mailbox, &sealed)?))).collect()
    };
    let (now, before) = (open(now)?, open(before)?);
    let mut lines = Vec::new();
    for (mailbox, access) in &now {
        let Some(old) = before.get(mailbox) else {
            lines.push(format!("the account {mailbox}, which was removed since"));
            continue;
        };
        for (name, known) in &access.passwords {
            if old.passwords.get(name).is_none_or(|old| old.fingerprint != known.fingerprint) {
                lines.push(format!("the local password `{name}` of {mailbox}, which was revoked or replaced since"));
            }
        }
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".into());
        for (what, here, there) in [
            ("delegate", &access.delegate, &old.delegate),
            ("application", &access.application, &old.application),
            ("grant", &access.grant, &old.grant),
            ("login name", &Some(access.login.clone()), &Some(old.login.clone())),
            ("sender policy", &access.senders, &old.senders),
        ] {
            if here != there {
                lines.push(format!("the {what} of {mailbox}: {} again, and not {}", text(here), text(there)));
            }
        }
        if access.origin != old.origin {
            lines.push(format!("{mailbox} as it was: {}, and not {}", access.origin, old.origin));
        }
    }
    Some(lines)
}

fn opened(sealer: &Sealer, mailbox: &str, sealed: &[u8]) -> Option<Access> {
    serde_json::from_slice(sealer.open(&ACCESS_SEAL, &[&mailbox], sealed).ok()?.reveal()).ok()
}

/// Tells a password from others of its account; the hash has a salt of its own.
pub(super) fn fingerprint(hash: &PasswordHash) -> String {
    let hashed = digest::digest(&digest::SHA256, hash.as_stored().as_bytes());
    hashed.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

impl Store {
    pub(super) fn open_access(&self, mailbox: &str, sealed: Option<&[u8]>) -> Option<Access> {
        opened(&self.sealer, mailbox, sealed?)
    }

    /// What was written last of an account, whatever its row says now.
    pub(super) async fn sealed_access(&self, mailbox: &Mailbox) -> Result<Option<Access>, StoreError> {
        let select =
            "SELECT access_seal, (SELECT value FROM meta WHERE name = 'access') FROM account WHERE mailbox = $1";
        let (ledger, rows) = self.rows_to_open(Statement::new(select, [mailbox.as_str().into()]), 1).await?;
        let sealed = rows.into_iter().next().and_then(|mut row| row.bytes(0));
        let access = self.open_access(mailbox.as_str(), sealed.as_deref());
        Ok(access.filter(|access| ledger.has(mailbox.as_str(), access).is_ok()))
    }

    /// What was written last of all accounts.
    pub(super) async fn all_sealed_access(&self) -> Result<BTreeMap<String, Access>, StoreError> {
        let select = "SELECT mailbox, access_seal, (SELECT value FROM meta WHERE name = 'access') FROM account";
        let (ledger, rows) = self.rows_to_open(Statement::new(select, []), 2).await?;
        let read = |mut row: Row| {
            let mailbox = row.text(0)?;
            let access = self.open_access(&mailbox, row.bytes(1).as_deref())?;
            ledger.has(&mailbox, &access).ok().map(|()| (mailbox, access))
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }

    /// Compares an account, as it was read, with what was written last. `own` and `delegate_seal` are the seals of its row and
    /// of its delegate's. The error is the difference.
    pub(super) fn verify(
        &self,
        ledger: &Ledger,
        account: &Account,
        own: Option<&[u8]>,
        delegate_seal: Option<&[u8]>,
    ) -> Result<Access, String> {
        let unsealed = || "its seal is missing, or does not open".to_owned();
        let mailbox = account.mailbox.as_str();
        let access = self.open_access(mailbox, own).ok_or_else(unsealed)?;
        ledger.has(mailbox, &access)?;
        if let Some(how) = access.differs(&Access::of(account, Passwords::new())) {
            return Err(how);
        }
        let Some(delegate) = &account.delegate else { return Ok(access) };
        let of_delegate = |how: String| format!("of its delegate {delegate}: {how}");
        let of_its_own = self.open_access(delegate.as_str(), delegate_seal).ok_or_else(|| of_delegate(unsealed()))?;
        ledger.has(delegate.as_str(), &of_its_own).map_err(of_delegate)?;
        if !of_its_own.lends(account) {
            return Err(of_delegate("its application or grant is not what it was".into()));
        }
        Ok(access)
    }

    /// The same for a caller that opens something by it.
    ///
    /// # Errors
    /// Something other than Oxpost has changed the account.
    pub(super) fn verify_access(
        &self,
        ledger: &Ledger,
        account: &Account,
        own: Option<&[u8]>,
        delegate_seal: Option<&[u8]>,
    ) -> Result<Access, StoreError> {
        let changed = |how| StoreError::ChangedOutside { mailbox: account.mailbox.clone(), how };
        self.verify(ledger, account, own, delegate_seal).map_err(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stores of every version have these names in their sealed columns.
    #[test]
    fn sealed_access_keeps_its_json_names() {
        let json = r#"{"epoch":7,"through":"ann@contoso.com","application":null,"grant":null,"login":"info","origin":"withdrawn","senders":null,"passwords":{"scanner":{"fingerprint":"00","declared":true}}}"#;
        let access: Access = serde_json::from_str(json).unwrap();
        assert_eq!(access.delegate.as_deref(), Some("ann@contoso.com"));
        assert_eq!(serde_json::to_string(&access).unwrap(), json);
    }
}
