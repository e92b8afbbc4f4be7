//! What to change in the store, and what speaks against it. Pure.

use std::collections::{HashMap, HashSet};

use super::{Changes, Conflict, Declared, TokenSource};
use crate::{
    account::{Account, Grant, Mailbox, Origin, PASSWORDS_LIMIT, list},
    password::PasswordHash,
};

/// Up to so many accounts to be handed over are named in the sentence about each of them.
const NAMED_IN_EACH: usize = 20;

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
    Disable(Mailbox),
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
    let view = View::new(declared, wanted, there, stored, hand_over);
    let conflicts: Vec<Conflict> = declared
        .iter()
        .enumerate()
        .flat_map(|(index, account)| {
            let whys = view.conflicts_of(account).into_iter();
            whys.map(move |why| Conflict { index, why })
        })
        .collect();
    if !conflicts.is_empty() {
        return Err(conflicts);
    }
    let mut steps: Vec<Step> = there
        .iter()
        .filter(|account| account.origin == Origin::Declared && view.declared(&account.mailbox).is_none())
        .map(|account| Step::Disable(account.mailbox.clone()))
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
    let own = |account: &Declared| matches!(account.token_source, TokenSource::Own { .. });
    steps.extend(new().filter(&own).map(Step::Add));
    // Accounts with tokens of their own first: then others may have them as their delegate.
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
    let gone =
        |password: &&Hashed| password.declared && view.declared(&password.mailbox).is_some() && !view.wants(password);
    steps.extend(
        stored
            .iter()
            .filter(gone)
            .map(|password| Step::RemovePassword { mailbox: password.mailbox.clone(), name: password.name.clone() }),
    );
    Ok(steps)
}

/// Which accounts the steps are about, for the administrator.
pub(super) fn changes(steps: &[Step]) -> Changes {
    let mut changes = Changes::default();
    let mut named = HashSet::new();
    for step in steps {
        match step {
            Step::Add(account) | Step::Change { account, was: Origin::Disabled } => {
                named.insert(&account.mailbox);
                changes.added.push(account.mailbox.clone());
            }
            Step::Change { account, .. } => {
                named.insert(&account.mailbox);
                changes.changed.push(account.mailbox.clone());
            }
            Step::Disable(mailbox) => changes.disabled.push(mailbox.clone()),
            Step::FreeLogin(_) | Step::ForgetAccessToken(_) => {}
            Step::SetPassword(Hashed { mailbox, .. }) | Step::RemovePassword { mailbox, .. } => {
                if named.insert(mailbox) {
                    changes.changed.push(mailbox.clone());
                }
            }
        }
    }
    changes
}

/// Whether the stored access token belongs to another application or grant. For an account that had a delegate meanwhile it is
/// unknown which application obtained its own token.
fn other_application(account: &Declared, there: &Account) -> bool {
    match &account.token_source {
        TokenSource::Own { application, grant } => {
            there.delegate.is_some() || there.application != *application || there.grant != *grant
        }
        TokenSource::Delegate(_) => false,
    }
}

/// What was found and what is declared, by address: every question below is one look-up, so that ten thousand accounts cost ten
/// thousand look-ups.
struct View<'a> {
    declared: HashMap<&'a Mailbox, &'a Declared>,
    there: HashMap<&'a Mailbox, &'a Account>,
    stored: HashMap<(&'a Mailbox, &'a str), &'a Hashed>,
    wanted: HashMap<&'a Mailbox, Vec<&'a Hashed>>,
    /// The names of the passwords that were added by command.
    by_command: HashMap<&'a Mailbox, Vec<&'a str>>,
    hand_over: HashSet<&'a Mailbox>,
    /// Accounts that were added by command and that a section is written for. Each may use another one's tokens, so that one
    /// alone could not be handed over.
    kept_by_command: Vec<&'a Mailbox>,
    /// The accounts in the store that are not declared, by the names that are theirs.
    taken: HashMap<&'a str, &'a Account>,
    /// Those of them that use another one's tokens, by whose.
    dependents: HashMap<&'a Mailbox, Vec<Mailbox>>,
}

impl<'a> View<'a> {
    fn new(
        declared: &'a [Declared],
        wanted: &'a [Hashed],
        there: &'a [Account],
        stored: &'a [Hashed],
        hand_over: &'a [Mailbox],
    ) -> Self {
        let mut view = View {
            declared: HashMap::with_capacity(declared.len()),
            there: there.iter().map(|account| (&account.mailbox, account)).collect(),
            stored: stored.iter().map(|one| ((&one.mailbox, one.name.as_str()), one)).collect(),
            wanted: HashMap::new(),
            by_command: HashMap::new(),
            hand_over: hand_over.iter().collect(),
            kept_by_command: Vec::new(),
            taken: HashMap::new(),
            dependents: HashMap::new(),
        };
        for account in declared {
            view.declared.entry(&account.mailbox).or_insert(account);
        }
        for password in wanted {
            view.wanted.entry(&password.mailbox).or_default().push(password);
        }
        for password in stored.iter().filter(|password| !password.declared) {
            view.by_command.entry(&password.mailbox).or_default().push(&password.name);
        }
        for other in there.iter().filter(|other| !view.declared.contains_key(&other.mailbox)) {
            // A disabled account keeps only its own address as a name.
            let login = if other.origin == Origin::Command { &other.login } else { other.mailbox.as_str() };
            for name in [other.mailbox.as_str(), login] {
                view.taken.entry(name).or_insert(other);
            }
            if let Some(delegate) = &other.delegate {
                view.dependents.entry(delegate).or_default().push(other.mailbox.clone());
            }
        }
        let kept = declared.iter().map(|account| &account.mailbox).filter(|mailbox| view.is_kept_by_command(mailbox));
        view.kept_by_command = kept.collect();
        view
    }

    fn declared(&self, mailbox: &Mailbox) -> Option<&'a Declared> {
        self.declared.get(mailbox).copied()
    }

    fn there(&self, mailbox: &Mailbox) -> Option<&'a Account> {
        self.there.get(mailbox).copied()
    }

    fn has(&self, password: &Hashed) -> bool {
        self.stored
            .get(&(&password.mailbox, password.name.as_str()))
            .is_some_and(|stored| stored.declared && stored.hash == password.hash)
    }

    fn wants(&self, password: &Hashed) -> bool {
        self.wanted(&password.mailbox).iter().any(|wanted| wanted.name == password.name)
    }

    fn wanted(&self, mailbox: &Mailbox) -> &[&'a Hashed] {
        self.wanted.get(mailbox).map_or(&[], Vec::as_slice)
    }

    /// Whether the account was added by command, and is not to be handed over.
    fn is_kept_by_command(&self, mailbox: &Mailbox) -> bool {
        let by_command = self.there(mailbox).is_some_and(|there| there.origin == Origin::Command);
        by_command && !self.hand_over.contains(mailbox)
    }

    /// Everything that speaks against an account. What the configuration says of itself was checked when it was read.
    fn conflicts_of(&self, account: &Declared) -> Vec<String> {
        let mailbox = &account.mailbox;
        if self.is_kept_by_command(mailbox) {
            return vec![self.hand_over_conflict(mailbox)];
        }
        let mut whys = Vec::new();
        let taken = [account.login.as_str(), mailbox.as_str()].iter().find_map(|name| self.taken.get(name));
        if let Some(other) = taken {
            whys.push(format!(
                "the login name `{}` belongs to the account {} in the store; choose another one, or remove that account: oxpost \
                 account remove {}",
                account.login, other.mailbox, other.mailbox
            ));
        }
        if let TokenSource::Delegate(delegate) = &account.token_source {
            whys.extend(self.delegate_conflict(mailbox, delegate));
            if let Some(needed) = self.dependents.get(mailbox) {
                whys.push(format!(
                    "{mailbox} cannot have the delegate {delegate}, because it is the delegate of {} itself; give them another \
                     delegate first, or remove them",
                    list(needed)
                ));
            }
        }
        whys.extend(self.password_conflicts(account));
        whys
    }

    /// The suggested command names all accounts to be handed over. If there are many, only the first sentence has it: ten
    /// thousand lines of ten thousand addresses help no administrator.
    fn hand_over_conflict(&self, mailbox: &Mailbox) -> String {
        match self.kept_by_command.as_slice() {
            [first, all @ ..] if *first != mailbox && all.len() >= NAMED_IN_EACH => {
                format!(
                    "{mailbox} was added with `oxpost account add` already, as {first} was; the same command declares it too"
                )
            }
            all => format!(
                "{mailbox} was added with `oxpost account add` already. Remove this section, or give the account to it with its \
                 sign-in and its passwords: oxpost account declare {}",
                all.iter().map(|mailbox| mailbox.as_str()).collect::<Vec<_>>().join(" ")
            ),
        }
    }

    fn delegate_conflict(&self, mailbox: &Mailbox, delegate: &Mailbox) -> Option<String> {
        if self.declared(delegate).is_some() {
            return None;
        }
        match self.there(delegate) {
            Some(Account { origin: Origin::Command, delegate: None, .. }) => None,
            Some(Account { origin: Origin::Command, delegate: Some(third), .. }) => Some(format!(
                "{delegate} has no sign-in of its own; its delegate is {third}. Make {third} the delegate of {mailbox} too"
            )),
            _ => Some(format!(
                "there is no account {delegate}, which is the delegate of {mailbox}; declare it with an [[account]] section of \
                 its own, or add it: oxpost account add {delegate} --no-password"
            )),
        }
    }

    fn password_conflicts(&self, account: &Declared) -> Vec<String> {
        let mailbox = &account.mailbox;
        let grant = match &account.token_source {
            TokenSource::Own { grant, .. } => Some(*grant),
            TokenSource::Delegate(delegate) => self.grant_of(delegate),
        };
        if grant == Some(Grant::Password) && !account.passwords.is_empty() {
            return vec![format!(
                "Microsoft verifies the password of {mailbox}; remove the local passwords from this section"
            )];
        }
        let by_command = self.by_command.get(mailbox).map_or(&[][..], Vec::as_slice);
        let of_it = self.wanted(mailbox);
        let mut whys: Vec<String> = of_it
            .iter()
            .filter(|password| by_command.contains(&password.name.as_str()))
            .map(|password| {
                format!(
                    "{mailbox} has a password named `{0}` in the store too, made with `oxpost account password add`; give this one \
                     another name, or remove that one: oxpost account password remove {mailbox} '{0}'",
                    password.name
                )
            })
            .collect();
        let count = by_command.len().saturating_add(of_it.len());
        if count > PASSWORDS_LIMIT {
            whys.push(format!(
                "{mailbox} would have {count} passwords, with those in the store, and may have {PASSWORDS_LIMIT}; remove some"
            ));
        }
        whys
    }

    fn grant_of(&self, mailbox: &Mailbox) -> Option<Grant> {
        match self.declared(mailbox).map(|account| &account.token_source) {
            Some(TokenSource::Own { grant, .. }) => Some(*grant),
            Some(TokenSource::Delegate(_)) => None,
            None => self.there(mailbox).map(|account| account.grant),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::{account::comparisons, sender_policy::SenderPolicy};

    fn address(number: usize) -> Mailbox {
        Mailbox::parse(&format!("user{number}@contoso.com")).unwrap()
    }

    /// Every second account uses the tokens of the one before, and all have a password.
    fn declared(count: usize) -> Vec<Declared> {
        let account = |number: usize| Declared {
            mailbox: address(number),
            token_source: match number % 2 {
                0 => TokenSource::Own { application: "default".into(), grant: Grant::SignIn },
                _ => TokenSource::Delegate(address(number - 1)),
            },
            login: address(number).to_string(),
            senders: SenderPolicy::default(),
            passwords: Vec::new(),
        };
        (0..count).map(account).collect()
    }

    fn passwords(count: usize) -> Vec<Hashed> {
        let hash = PasswordHash::dummy();
        let password = |number| Hashed {
            mailbox: address(number),
            name: "default".into(),
            hash: Some(hash.clone()),
            declared: true,
        };
        (0..count).map(password).collect()
    }

    fn stored(declared: &[Declared], origin: Origin) -> Vec<Account> {
        let account = |one: &Declared| Account {
            origin,
            delegate: match &one.token_source {
                TokenSource::Own { .. } => None,
                TokenSource::Delegate(delegate) => Some(delegate.clone()),
            },
            ..Account::new(one.mailbox.clone(), "default", Grant::SignIn, SystemTime::UNIX_EPOCH)
        };
        declared.iter().map(account).collect()
    }

    /// How many addresses are compared for each account: at a first start, at a second one, when half of the sections are gone,
    /// and when all of them are in the way.
    fn compared(count: usize) -> [usize; 4] {
        let (declared, passwords) = (declared(count), passwords(count));
        let there = stored(&declared, Origin::Declared);
        let by_command = stored(&declared, Origin::Command);
        let half = &declared[..count / 2];
        let per_account = |run: &dyn Fn()| {
            let before = comparisons();
            run();
            (comparisons() - before) / count
        };
        [
            per_account(&|| {
                let steps = plan(&declared, &passwords, &[], &[], &[]).unwrap();
                assert_eq!(changes(&steps).added.len(), count);
            }),
            per_account(&|| assert!(plan(&declared, &passwords, &there, &passwords, &[]).unwrap().is_empty())),
            per_account(&|| {
                let steps = plan(half, &passwords[..count / 2], &there, &passwords, &[]).unwrap();
                assert_eq!(changes(&steps).disabled.len(), count - count / 2);
            }),
            per_account(&|| {
                let conflicts = plan(&declared, &passwords, &by_command, &[], &[]).unwrap_err();
                let length: usize = conflicts.iter().map(|conflict| conflict.why.len()).sum();
                assert!(conflicts.len() == count && length < 400 * count, "{length}");
            }),
        ]
    }

    #[test]
    fn comparisons_per_account_do_not_grow_with_the_accounts() {
        // A plan that scans a list for each account compares it with half of all.
        for (few, many) in compared(100).into_iter().zip(compared(5_000)) {
            assert!(many <= few.max(8), "{many} comparisons for each of 5,000 accounts, {few} for each of 100");
        }
    }
}
