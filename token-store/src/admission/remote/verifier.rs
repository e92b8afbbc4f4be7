//! The accounts whose passwords Microsoft judges.
//!
//! A password opens a stored token only if Microsoft has said that this very password is right; the [`Docket`] of its
//! account says for how long. Microsoft is asked about one password of an account at a time, and about a few in all;
//! it hears so few wrong ones that nobody can have the user locked out there by trying them here. A login that is asked
//! about is noted even if its client hangs up meanwhile. What is remembered of a password is an HMAC under a key that
//! never leaves the process; of the last right one the store keeps a sealed argon2id hash, so that after a restart its user
//! is none of the strangers.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use aws_lc_rs::{hmac, rand};
use dashmap::DashMap;
use oxpost_protocol::Secret;
use tokio::sync::{OwnedMutexGuard, Semaphore};

use super::{
    budget::Strangers,
    state::{Docket, Name, Standing, Step, Verdict},
};
use crate::{
    account::{Account, Mailbox},
    admission::{Denied, From, hash_pool::Pool},
    error::{Problem, TokenError},
    password_grant::NotAccepted,
    schedule,
    store::StoreError,
    tokens::Tokens,
};

/// Passwords from unfamiliar sources that Microsoft is asked about concurrently.
const UNFAMILIAR_AT_ONCE: usize = 8;

/// The same from familiar sources, so that no attack keeps their users waiting.
const FAMILIAR_AT_ONCE: usize = 4;

/// Accounts that may wait for that; others are told that we are busy.
const WAITING: usize = 256;

pub(in crate::admission) struct Judge(Arc<Court>);

struct Court {
    tokens: Tokens,
    pool: Arc<Pool>,
    /// Without a key nothing could be remembered, and nobody is let in.
    key: Option<hmac::Key>,
    /// Only accounts that exist have one.
    desks: DashMap<Mailbox, Arc<Desk>>,
    strangers: Mutex<Strangers>,
    unfamiliar: Semaphore,
    familiar: Semaphore,
    waiting: AtomicUsize,
}

#[derive(Default)]
struct Desk {
    /// Whoever asks; the others wait and find the answer. Unfamiliar sources and familiar ones take turns of their own, so that
    /// no guess that Microsoft is slow about keeps the user waiting.
    turn: Arc<tokio::sync::Mutex<()>>,
    familiar_turn: Arc<tokio::sync::Mutex<()>>,
    docket: Mutex<Docket>,
}

/// One login: the password under its name, and where it comes from.
#[derive(Clone, Copy)]
struct Case {
    name: Name,
    from: From,
}

impl Judge {
    pub(in crate::admission) fn new(tokens: Tokens, pool: Arc<Pool>) -> Self {
        let mut bytes = [0; 32];
        let key = rand::fill(&mut bytes).is_ok().then(|| hmac::Key::new(hmac::HMAC_SHA256, &bytes));
        Self(Arc::new(Court {
            tokens,
            pool,
            key,
            desks: DashMap::new(),
            strangers: Mutex::default(),
            unfamiliar: Semaphore::new(UNFAMILIAR_AT_ONCE),
            familiar: Semaphore::new(FAMILIAR_AT_ONCE),
            waiting: AtomicUsize::new(0),
        }))
    }

    /// Whether a password that was judged at this moment, as the store says, is unknown here, so that this one may be it.
    pub(in crate::admission) fn has_not_seen(&self, mailbox: &Mailbox, password: &Secret, judged: SystemTime) -> bool {
        let desk = self.0.desk(mailbox);
        let docket = desk.docket();
        docket.judged() != Some(judged) && !self.0.name(password).is_some_and(|name| docket.was_right(&name))
    }

    /// This is the password that was judged right then.
    pub(in crate::admission) fn remember(&self, mailbox: &Mailbox, password: &Secret, judged: SystemTime) {
        if let Some(name) = self.0.name(password) {
            self.0.desk(mailbox).docket().remember(name, judged);
        }
    }

    /// Whether this is the account's password, as far as we know or else as Microsoft says.
    pub(in crate::admission) async fn admit(
        &self,
        account: &Account,
        password: &Secret,
        from: From,
    ) -> Result<(), Denied> {
        let court = &self.0;
        let name = court.name(password).ok_or(Denied::Busy)?;
        let case = Case { name, from };
        let desk = court.desk(&account.mailbox);
        match court.look(account, &desk, &case).await? {
            Step::Admit => return Ok(()),
            Step::Deny(denied) => return Err(denied),
            Step::Ask { .. } => {}
        }
        let turn = if from.familiar { &desk.familiar_turn } else { &desk.turn };
        let turn = Arc::clone(turn).lock_owned().await;
        // Whoever had the turn before may have asked about the same password.
        match court.look(account, &desk, &case).await? {
            Step::Admit => Ok(()),
            Step::Deny(denied) => Err(denied),
            Step::Ask { right_meanwhile } => {
                let asking = court.clone().ask(account.clone(), password.clone(), desk, case, turn);
                match court.tokens.in_a_task_of_its_own(asking).await {
                    Some(Ok(Verdict::Right)) => Ok(()),
                    Some(Ok(Verdict::Wrong)) => Err(Denied::WrongAtMicrosoft),
                    Some(Ok(Verdict::Neither(TokenError::Transient { .. } | TokenError::Paused { .. })))
                        if right_meanwhile =>
                    {
                        Ok(())
                    }
                    Some(Ok(Verdict::Neither(error))) => Err(Denied::NotJudged(error)),
                    Some(Err(denied)) => Err(denied),
                    None => Err(Denied::NotJudged(given_up())),
                }
            }
        }
    }
}

impl Court {
    fn name(&self, password: &Secret) -> Option<Name> {
        // Byte by byte, unlike a password of ours: Microsoft's are not ours to be lenient about.
        hmac::sign(self.key.as_ref()?, password.reveal()).as_ref().try_into().ok()
    }

    /// The map's guard ends here: it must never be held over an await.
    fn desk(&self, mailbox: &Mailbox) -> Arc<Desk> {
        self.desks.entry(mailbox.clone()).or_default().clone()
    }

    fn strangers(&self) -> MutexGuard<'_, Strangers> {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look(&self, account: &Account, desk: &Desk, case: &Case) -> Result<Step, StoreError> {
        let was_right = desk.docket().was_right(&case.name);
        let tokens = self.tokens.standing(account, was_right).await?;
        let standing = Standing { going_on: tokens.going_on, got: tokens.got, judged: tokens.judged };
        Ok(desk.docket().look(&case.name, &standing, self.tokens.now()))
    }

    /// Asks Microsoft, and notes the answer while the turn lasts.
    async fn ask(
        self: Arc<Self>,
        account: Account,
        password: Secret,
        desk: Arc<Desk>,
        case: Case,
        _turn: OwnedMutexGuard<()>,
    ) -> Result<Verdict, Denied> {
        // While nobody is asked, nobody waits and nothing is written.
        if let Some(paused) = self.tokens.paused(&account).await {
            return Ok(Verdict::Neither(paused));
        }
        let _permit = self.permit(case.from.familiar).await?;
        let was_right = {
            let docket = desk.docket();
            docket.judged().filter(|_| docket.was_right(&case.name))
        };
        let counted = was_right.is_none();
        let stranger = counted && !case.from.familiar;
        if stranger && !self.strangers().count(case.from.source, self.tokens.now()) {
            return Err(Denied::TooManyPasswords);
        }
        if counted && !self.tokens.count_remote_attempt(&account, case.from.familiar, &password).await? {
            if stranger {
                self.strangers().take_back(case.from.source);
            }
            return Err(Denied::TooManyPasswords);
        }
        let verdict = match self.tokens.judge(&account, &password).await {
            Ok(()) => Verdict::Right,
            Err(NotAccepted { is_wrong: true, .. }) => Verdict::Wrong,
            Err(NotAccepted { error, .. }) => Verdict::Neither(error),
        };
        if !matches!(verdict, Verdict::Wrong) {
            if stranger {
                self.strangers().take_back(case.from.source);
            }
            if counted {
                self.tokens.uncount_remote_attempt(&account, case.from.familiar, &password).await;
            }
        }
        // To the millisecond, as it is stored.
        let now = schedule::to_the_millisecond(self.tokens.now());
        match (&verdict, was_right) {
            (Verdict::Right, _) => {
                let hash = self.pool.hash(password).await;
                self.tokens.keep_judged(&account.mailbox, hash, now).await;
            }
            (Verdict::Wrong, Some(judged)) => self.tokens.forget_judged(&account.mailbox, judged).await,
            _ => {}
        }
        // That the authority was not asked is no answer about this account.
        if !matches!(verdict, Verdict::Neither(TokenError::Paused { .. })) {
            desk.docket().note(case.name, &verdict, now);
        }
        Ok(verdict)
    }

    async fn permit(&self, familiar: bool) -> Result<tokio::sync::SemaphorePermit<'_>, Denied> {
        if familiar {
            return self.familiar.acquire().await.map_err(|_| Denied::Busy);
        }
        let waiting = self.waiting.fetch_add(1, Ordering::Relaxed);
        let permit = if waiting < WAITING {
            self.unfamiliar.acquire().await.map_err(|_| Denied::Busy)
        } else {
            Err(Denied::Busy)
        };
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        permit
    }
}

impl Desk {
    fn docket(&self) -> MutexGuard<'_, Docket> {
        self.docket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn given_up() -> TokenError {
    let what = "The request about a password was given up inside this program.";
    let problem = Problem::new(what, "Try again; if it lasts, see the log and report it.");
    TokenError::Transient { retry_after: None, problem }
}
