//! What to change in the store, and what speaks against it. Pure.

use super::{Changes, Conflict, Declared, Way};
use crate::{
    account::{Account, Grant, Mailbox, Origin},
    password::PasswordHash,
    store::{list, passwords::PASSWORDS_LIMIT},
};

/// A local password, by its hash.
#[derive(Clone, Debug)]
pub(super) struct Hashed {
    pub(super) mailbox: Mailbox,
    pub(super) name: String,
    /// Unknown where the one in the store cannot be opened.
    pub(super) hash: Option<PasswordHash>,
    pub(super) declared: bool,
}

/// One change. The order of [`plan`] is one in which no rule of the tables is ever broken.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Withdraw(Mailbox),
    FreeLogin(Mailbox),
    Add(Declared),
    Change { account: Declared, was: Origin },
    ForgetAccessToken(Mailbox),
    SetPassword(Hashed),
    RemovePassword { mailbox: Mailbox, name: String },
}

/// What to change so that the accounts `there`, with their `stored` passwords, are the `declared` ones, with the passwords
/// `wanted`, and those that were added by command.
pub(super) fn plan(
    declared: &[Declared],
    wanted: &[Hashed],
    there: &[Account],
    stored: &[Hashed],
    hand_over: &[Mailbox],
) -> Result<Vec<Step>, Vec<Conflict>> {
    let view = View { declared, there, stored, hand_over };
    let conflicts: Vec<Conflict> = declared
        .iter()
        .enumerate()
        .flat_map(|(index, account)| {
            let whys = view.against(account, wanted).into_iter();
            whys.map(move |why| Conflict { index, why })
        })
        .collect();
    if !conflicts.is_empty() {
        return Err(conflicts);
    }
    let mut steps: Vec<Step> = there
        .iter()
        .filter(|account| account.origin == Origin::Declared && view.declared(&account.mailbox).is_none())
        .map(|account| Step::Withdraw(account.mailbox.clone()))
        .collect();
    let changed: Vec<(&Declared, &Account)> = declared
        .iter()
        .filter_map(|account| view.there(&account.mailbox).map(|there| (account, there)))
        .filter(|(account, there)| !account.is(there))
        .collect();
    steps.extend(
        changed
            .iter()
            .filter(|(account, there)| account.login != there.login)
            .map(|(account, _)| Step::FreeLogin(account.mailbox.clone())),
    );
    let new = || declared.iter().filter(|account| view.there(&account.mailbox).is_none()).cloned();
    let own = |account: &Declared| matches!(account.way, Way::Own { .. });
    steps.extend(new().filter(&own).map(Step::Add));
    // Whoever gets tokens of their own first: then others may go through them.
    for first in [true, false] {
        let of = changed.iter().filter(|(account, _)| own(account) == first);
        steps.extend(of.map(|(account, there)| Step::Change { account: (*account).clone(), was: there.origin }));
    }
    steps.extend(new().filter(|account| !own(account)).map(Step::Add));
    steps.extend(
        changed
            .iter()
            .filter(|(account, there)| other_application(account, there))
            .map(|(account, _)| Step::ForgetAccessToken(account.mailbox.clone())),
    );
    steps.extend(wanted.iter().filter(|password| !view.has(password)).cloned().map(Step::SetPassword));
    let gone = |password: &&Hashed| {
        let same = |one: &Hashed| one.mailbox == password.mailbox && one.name == password.name;
        password.declared && view.declared(&password.mailbox).is_some() && !wanted.iter().any(same)
    };
    steps.extend(
        stored
            .iter()
            .filter(gone)
            .map(|password| Step::RemovePassword { mailbox: password.mailbox.clone(), name: password.name.clone() }),
    );
    Ok(steps)
}

/// For people: which accounts the steps are about.
pub(super) fn changes(steps: &[Step]) -> Changes {
    let mut changes = Changes::default();
    for step in steps {
        match step {
            Step::Add(account) | Step::Change { account, was: Origin::Withdrawn } => {
                changes.added.push(account.mailbox.clone());
            }
            Step::Change { account, .. } => changes.changed.push(account.mailbox.clone()),
            Step::Withdraw(mailbox) => changes.withdrawn.push(mailbox.clone()),
            Step::FreeLogin(_) | Step::ForgetAccessToken(_) => {}
            Step::SetPassword(Hashed { mailbox, .. }) | Step::RemovePassword { mailbox, .. } => {
                if !changes.added.contains(mailbox) && !changes.changed.contains(mailbox) {
                    changes.changed.push(mailbox.clone());
                }
            }
        }
    }
    changes
}

/// An access token of another application, or got in another way, is not this account's. Of one that went through somebody else
/// meanwhile it is not known whose application its own token was got by.
fn other_application(account: &Declared, there: &Account) -> bool {
    match &account.way {
        Way::Own { application, grant } => {
            there.through.is_some() || there.application != *application || there.grant != *grant
        }
        Way::Through(_) => false,
    }
}

struct View<'a> {
    declared: &'a [Declared],
    there: &'a [Account],
    stored: &'a [Hashed],
    hand_over: &'a [Mailbox],
}

impl View<'_> {
    fn declared(&self, mailbox: &Mailbox) -> Option<&Declared> {
        self.declared.iter().find(|account| account.mailbox == *mailbox)
    }

    fn there(&self, mailbox: &Mailbox) -> Option<&Account> {
        self.there.iter().find(|account| account.mailbox == *mailbox)
    }

    fn has(&self, password: &Hashed) -> bool {
        self.stored.iter().any(|stored| {
            let same = stored.mailbox == password.mailbox && stored.name == password.name;
            same && stored.declared && stored.hash == password.hash
        })
    }

    /// Whether the account was added by command, and is not to be handed over.
    fn is_kept_by_command(&self, mailbox: &Mailbox) -> bool {
        let by_command = self.there(mailbox).is_some_and(|there| there.origin == Origin::Command);
        by_command && !self.hand_over.contains(mailbox)
    }

    /// Everything that speaks against an account. What the configuration says of itself was checked when it was read.
    fn against(&self, account: &Declared, wanted: &[Hashed]) -> Vec<String> {
        let mailbox = &account.mailbox;
        if self.is_kept_by_command(mailbox) {
            // Each may go through the next one, so that one alone could not be handed over.
            let all =
                self.declared.iter().map(|account| &account.mailbox).filter(|mailbox| self.is_kept_by_command(mailbox));
            let all: Vec<&str> = all.map(Mailbox::as_str).collect();
            return vec![format!(
                "{mailbox} was added with `oxpost account add` already. Remove this section, or give the account to it with its \
                 sign-in and its passwords: oxpost account declare {}",
                all.join(" ")
            )];
        }
        let mut whys = Vec::new();
        let others =
            || self.there.iter().filter(|other| other.mailbox != *mailbox && self.declared(&other.mailbox).is_none());
        let takes = |other: &&Account| {
            // One that is withdrawn keeps nothing but its own address.
            let login = if other.origin == Origin::Command { &other.login } else { other.mailbox.as_str() };
            let names = [login, other.mailbox.as_str()];
            names.contains(&account.login.as_str()) || names.contains(&mailbox.as_str())
        };
        if let Some(other) = others().find(takes) {
            whys.push(format!(
                "the login name `{}` belongs to the account {} in the store; choose another one, or remove that account: oxpost \
                 account remove {}",
                account.login, other.mailbox, other.mailbox
            ));
        }
        if let Way::Through(through) = &account.way {
            whys.extend(self.against_through(mailbox, through));
            let needed: Vec<Mailbox> = others()
                .filter(|other| other.through.as_ref() == Some(mailbox))
                .map(|other| other.mailbox.clone())
                .collect();
            if !needed.is_empty() {
                whys.push(format!(
                    "{mailbox} cannot go through {through}, because it signs in for {} itself; have them go through somebody else \
                     first, or remove them",
                    list(&needed)
                ));
            }
        }
        whys.extend(self.against_passwords(account, wanted));
        whys
    }

    fn against_through(&self, mailbox: &Mailbox, through: &Mailbox) -> Option<String> {
        if self.declared(through).is_some() {
            return None;
        }
        match self.there(through) {
            Some(Account { origin: Origin::Command, through: None, .. }) => None,
            Some(Account { origin: Origin::Command, through: Some(third), .. }) => Some(format!(
                "{through} has no sign-in of its own, but goes through {third}; let {mailbox} go through {third} too"
            )),
            _ => Some(format!(
                "there is no account {through} for {mailbox} to go through; declare it with an [[account]] section of its own, or \
                 add it: oxpost account add {through} --no-password"
            )),
        }
    }

    fn against_passwords(&self, account: &Declared, wanted: &[Hashed]) -> Vec<String> {
        let mailbox = &account.mailbox;
        let grant = match &account.way {
            Way::Own { grant, .. } => Some(*grant),
            Way::Through(through) => self.grant_of(through),
        };
        if grant == Some(Grant::Password) && !account.passwords.is_empty() {
            return vec![format!(
                "Microsoft judges the password of {mailbox}; take its own passwords out of this section"
            )];
        }
        let by_command = || self.stored.iter().filter(|stored| stored.mailbox == *mailbox && !stored.declared);
        let of_it = || wanted.iter().filter(|password| password.mailbox == *mailbox);
        let mut whys: Vec<String> = of_it()
            .filter(|password| by_command().any(|stored| stored.name == password.name))
            .map(|password| {
                format!(
                    "{mailbox} has a password named `{0}` in the store too, made with `oxpost account password add`; give this one \
                     another name, or remove that one: oxpost account password remove {mailbox} '{0}'",
                    password.name
                )
            })
            .collect();
        let count = by_command().count().saturating_add(of_it().count());
        if i64::try_from(count).unwrap_or(i64::MAX) > PASSWORDS_LIMIT {
            whys.push(format!(
                "{mailbox} would have {count} passwords, with those in the store, and may have {PASSWORDS_LIMIT}; remove some"
            ));
        }
        whys
    }

    fn grant_of(&self, mailbox: &Mailbox) -> Option<Grant> {
        match self.declared(mailbox).map(|account| &account.way) {
            Some(Way::Own { grant, .. }) => Some(*grant),
            Some(Way::Through(_)) => None,
            None => self.there(mailbox).map(|account| account.grant),
        }
    }
}
