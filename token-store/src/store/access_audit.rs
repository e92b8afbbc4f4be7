//! Finds everything that something other than Oxpost has changed in the database, and undoes or confirms it.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest;

use super::{
    Store, StoreError,
    access::{Access, ChangedOutside, Known, Passwords},
    accounts::{COLUMNS, account_of, make_token_row, select_accounts, select_sealed_accounts},
    ledger::{HEAD, LIST, Ledger, Turn, json, only_bytes},
};
use crate::{
    account::{Account, Mailbox},
    database::{DatabaseError, Row, Statement},
    password::PasswordHash,
};

const ACCOUNTS: &str = select_sealed_accounts!("", "ORDER BY a.mailbox");

const PASSWORDS: &str = "SELECT mailbox, name, hash, declared FROM local_password ORDER BY mailbox, name";

/// More than the number of changes without a seal in the life of a store.
const EPOCHS_WITHOUT_A_SEAL: u64 = 1 << 32;

/// What something other than Oxpost has changed, and the code with which an administrator confirms this very state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessAudit {
    /// The changes.
    pub changed: Vec<ChangedOutside>,
    /// For [`Store::confirm_access`].
    pub code: String,
}

/// One state of all that the audit compares.
struct State {
    ledger: Option<Ledger>,
    head: Vec<u8>,
    accounts: Vec<(String, Option<Found>)>,
    /// By mailbox and name, and whether proxy.toml has it.
    passwords: BTreeMap<String, BTreeMap<String, (PasswordHash, bool)>>,
}

/// An account that can be read.
struct Found {
    account: Account,
    seal: Option<Vec<u8>>,
    delegate: Option<Vec<u8>>,
}

impl Store {
    /// Lists what something other than Oxpost has changed: writes to the database by other means, or a partly restored backup.
    /// It reads every account.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn audit_access(&self) -> Result<AccessAudit, StoreError> {
        let state = self.state().await?;
        let changed = self.changed_in(&state);
        let code = code(&changed, &resealed(&state))?;
        Ok(AccessAudit { changed, code })
    }

    /// Seals all accounts as they are now, after an administrator has checked them. `false`: they are no longer as the audit
    /// with this code showed them.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn confirm_access(&self, shown: &str) -> Result<bool, StoreError> {
        let turn = self.take_turn().await;
        let state = self.state().await?;
        if code(&self.changed_in(&state), &resealed(&state))? != shown {
            return Ok(false);
        }
        self.seal_all(turn, &state, Vec::new()).await
    }

    /// Restores what was written last, as far as the seals contain it: columns of accounts. Accounts and passwords that Oxpost
    /// has not written are removed. Returns the changes that remain.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn undo_outside_changes(&self) -> Result<Vec<ChangedOutside>, StoreError> {
        let turn = self.take_turn().await;
        let state = self.state().await?;
        let Some(ledger) = &state.ledger else { return Err(StoreError::NoLedger) };
        let mut change = turn.change(ledger);
        let (mut columns, mut removed) = (Vec::new(), Vec::new());
        for (mailbox, found) in &state.accounts {
            let one = |sql| Statement::new(sql, [mailbox.as_str().into()]);
            // Two accounts may have swapped their names, or another account has taken one.
            change.also([one("UPDATE account SET login = '?' || mailbox WHERE mailbox = $1")]);
            let seal = found.as_ref().and_then(|found| found.seal.as_deref());
            let access = self.open_access(mailbox, seal);
            let access = access.filter(|access| ledger.accounts.get(mailbox) == Some(&access.epoch));
            let Some(access) = access else {
                if !ledger.accounts.contains_key(mailbox) {
                    removed.push(one("DELETE FROM account WHERE mailbox = $1"));
                } else if let Some(Found { account, .. }) = found {
                    let back = "UPDATE account SET login = $2 WHERE mailbox = $1";
                    columns.push(Statement::new(back, [mailbox.as_str().into(), account.login.as_str().into()]));
                }
                continue;
            };
            // One whose delegate is gone stays as it is, but for its name.
            let update = "UPDATE account SET login = $5, origin = $6, senders = $7, \
                          through = CASE WHEN CAST($2 AS TEXT) IS NULL \
                          OR EXISTS (SELECT 1 FROM account h WHERE h.mailbox = CAST($2 AS TEXT)) \
                          THEN CAST($2 AS TEXT) ELSE through END, application = $3, grant_kind = $4 WHERE mailbox = $1";
            let text = |value: &Option<String>| value.as_deref().into();
            let Access { delegate, application, grant, login, origin, senders, .. } = &access;
            columns.push(Statement::new(
                update,
                [
                    mailbox.as_str().into(),
                    text(delegate),
                    text(application),
                    text(grant),
                    login.as_str().into(),
                    origin.as_str().into(),
                    text(senders),
                ],
            ));
            if let Ok(mailbox) = Mailbox::parse(mailbox) {
                columns.push(make_token_row(&mailbox)?);
            }
            let there = state.passwords.get(mailbox).into_iter().flatten();
            for (name, _) in there.filter(|(name, (hash, _))| !access.has(name, hash)) {
                let delete = "DELETE FROM local_password WHERE mailbox = $1 AND name = $2";
                removed.push(Statement::new(delete, [mailbox.as_str().into(), name.as_str().into()]));
            }
        }
        change.also(columns.into_iter().chain(removed));
        if change.commit().await?.is_none() {
            return Err(StoreError::Database(DatabaseError::Conflict));
        }
        Ok(self.audit_access().await?.changed)
    }

    /// Seals every account of a store whose version did not. `false`: another process was there first.
    pub(super) async fn seal_for_the_first_time(&self, also: Vec<Statement>) -> Result<bool, StoreError> {
        let turn = self.take_turn().await;
        let state = self.state().await?;
        self.seal_all(turn, &state, also).await
    }

    async fn seal_all(&self, turn: Turn<'_>, state: &State, also: Vec<Statement>) -> Result<bool, StoreError> {
        let epoch = state.ledger.as_ref().map_or(0, |ledger| ledger.epoch);
        // Without a ledger, later than whatever was sealed, and than the changes that have left no seal, such as removals.
        let written = state.accounts.iter().filter_map(|(mailbox, found)| {
            self.open_access(mailbox, found.as_ref()?.seal.as_deref()).map(|access| access.epoch)
        });
        let epoch = match &state.ledger {
            Some(_) => epoch,
            None => written.fold(epoch, u64::max).saturating_add(EPOCHS_WITHOUT_A_SEAL),
        };
        let ledger = Ledger { sealed: state.head.clone(), epoch, accounts: BTreeMap::new() };
        let mut change = turn.change(&ledger);
        change.also(also);
        for (mailbox, access) in resealed(state) {
            change.put(&mailbox, access)?;
        }
        Ok(change.commit().await?.is_some())
    }

    async fn state(&self) -> Result<State, StoreError> {
        let outcomes = self.run([HEAD, LIST, ACCOUNTS, PASSWORDS].map(|sql| Statement::new(sql, [])).into()).await?;
        let mut outcomes = outcomes.into_iter();
        let mut next = || outcomes.next().unwrap_or_default();
        let (head, list) = (only_bytes(next()), only_bytes(next()));
        let ledger = self.open_ledger(head.clone(), &list);
        let found = |mut row: Row| {
            let mailbox = row.text(0)?;
            let (seal, delegate) = (row.bytes(COLUMNS), row.bytes(COLUMNS + 1));
            let account = account_of(&mailbox, &mut row);
            Some((mailbox, account.map(|account| Found { account, seal, delegate })))
        };
        let accounts = next().rows.into_iter().filter_map(found).collect();
        let mut passwords: BTreeMap<String, BTreeMap<String, (PasswordHash, bool)>> = BTreeMap::new();
        for mut row in next().rows {
            let (Some(mailbox), Some(name), Some(hash)) = (row.text(0), row.text(1), row.bytes(2)) else { continue };
            let opened = Mailbox::parse(&mailbox).ok().and_then(|mailbox| self.open_hash(&mailbox, &name, &hash));
            if let Some(hash) = opened {
                passwords.entry(mailbox).or_default().insert(name, (hash, row.integer(3) != Some(0)));
            }
        }
        Ok(State { ledger, head, accounts, passwords })
    }

    fn changed_in(&self, state: &State) -> Vec<ChangedOutside> {
        let mut changed = Vec::new();
        // Without a ledger, what the seals say is all there is.
        let of_the_seals = || {
            let epoch = |(mailbox, found): &(String, Option<Found>)| {
                let access = self.open_access(mailbox, found.as_ref()?.seal.as_deref())?;
                Some((mailbox.clone(), access.epoch))
            };
            let accounts = state.accounts.iter().filter_map(epoch).collect();
            Ledger { accounts, ..Ledger::default() }
        };
        let without = state.ledger.is_none().then(of_the_seals);
        if without.is_some() {
            let how = "the access ledger is missing, or does not open: Oxpost cannot tell whether accounts were removed or \
                       restored to an older state";
            changed.push(ChangedOutside { mailbox: None, how: how.into() });
        }
        let Some(ledger) = state.ledger.as_ref().or(without.as_ref()) else { return changed };
        for (mailbox, found) in &state.accounts {
            let mut say = |how: String| changed.push(ChangedOutside { mailbox: Some(mailbox.clone()), how });
            let Some(found) = found else {
                say("its row cannot be read".into());
                continue;
            };
            let access = match self.verify(ledger, &found.account, found.seal.as_deref(), found.delegate.as_deref()) {
                Ok(access) => access,
                Err(how) => {
                    say(how);
                    match self.open_access(mailbox, found.seal.as_deref()) {
                        Some(access) => access,
                        None => continue,
                    }
                }
            };
            let there = state.passwords.get(mailbox);
            for (name, _) in there.into_iter().flatten().filter(|(name, (hash, _))| !access.has(name, hash)) {
                say(format!("its local password `{name}` was put there, or put back"));
            }
            for name in access.passwords.keys().filter(|name| there.is_none_or(|there| !there.contains_key(*name))) {
                say(format!("its local password `{name}` was removed, or its row is damaged"));
            }
        }
        let there: BTreeSet<&str> = state.accounts.iter().map(|(mailbox, _)| mailbox.as_str()).collect();
        for mailbox in ledger.accounts.keys().filter(|mailbox| !there.contains(mailbox.as_str())) {
            changed.push(ChangedOutside { mailbox: Some(mailbox.clone()), how: "it was removed".into() });
        }
        changed
    }
}

/// What would be sealed.
fn resealed(state: &State) -> BTreeMap<String, Access> {
    let anew = |(mailbox, found): &(String, Option<Found>)| {
        let found = found.as_ref()?;
        let passwords: Passwords = state
            .passwords
            .get(mailbox)
            .into_iter()
            .flatten()
            .map(|(name, (hash, declared))| (name.clone(), Known::new(hash, *declared)))
            .collect();
        Some((mailbox.clone(), Access::of(&found.account, passwords)))
    };
    state.accounts.iter().filter_map(anew).collect()
}

fn code(changed: &[ChangedOutside], anew: &BTreeMap<String, Access>) -> Result<String, StoreError> {
    let mut hashed = digest::Context::new(&digest::SHA256);
    for one in changed {
        hashed.update(one.to_string().as_bytes());
        hashed.update(b"\n");
    }
    hashed.update(json(anew)?.reveal());
    Ok(hashed.finish().as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect())
}
