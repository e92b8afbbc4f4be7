//! The old passwords, which open what the other program has sealed. They are asked for without an echo at a terminal,
//! and read from standard input otherwise, one line for each account; never from an argument, which every user of the
//! machine can see.

use std::io::{IsTerminal as _, StdinLock};

use oxpost_protocol::Secret;
use oxpost_token_store::{Grant, text_file};

use super::{Step, Work};
use crate::admin::import::{Account, Sealed};
use crate::cli::Failed;

/// Longest line read from standard input, in bytes.
const LINE_LIMIT: u64 = 4096;

/// How often a wrong password may be typed.
const TRIES: usize = 3;

/// Passwords of other accounts that are tried first: often everybody has the same one. Each costs up to a few seconds.
const REMEMBERED: usize = 3;

/// What an old password has opened.
#[derive(Debug, Default)]
pub(super) struct Opened {
    pub(super) password: Option<Secret>,
    pub(super) refresh_token: Option<Secret>,
    pub(super) client_secret: Option<Secret>,
}

/// Asks for what is needed; one for each account of the plan.
pub(super) fn ask(work: &Work) -> Result<Vec<Opened>, Failed> {
    let mut asker = Asker { stdin: None, known: Vec::new() };
    let mut secretless = work.secretless.clone();
    let mut opened = Vec::new();
    for (account, step) in work.plan.accounts.iter().zip(&work.steps) {
        let secret = secretless.get_mut(account.application);
        let wants_secret = secret.as_deref().copied().unwrap_or_default();
        let wanted = account.sealed.as_ref().filter(|sealed| wants(work, account, sealed, step, wants_secret));
        let one = match wanted {
            Some(sealed) => asker.open(account, sealed)?.unwrap_or_default(),
            None => Opened::default(),
        };
        if let Some(secretless) = secret.filter(|_| one.client_secret.is_some()) {
            *secretless = false;
        }
        opened.push(one);
    }
    Ok(opened)
}

fn wants(work: &Work, account: &Account, sealed: &Sealed, step: &Step, secret: bool) -> bool {
    let token = account.grant == Grant::SignIn && sealed.refresh_token.is_some();
    let keeps = account.grant != Grant::Password && work.keep_passwords;
    let own = match step {
        Step::Add => token || keeps,
        Step::SignIn => true,
        Step::Stays(_) | Step::Waits => false,
    };
    own || *step != Step::Waits && secret && sealed.client_secret.is_some()
}

struct Asker {
    stdin: Option<StdinLock<'static>>,
    known: Vec<Secret>,
}

impl Asker {
    /// Until a password is right, or the person has none.
    fn open(&mut self, account: &Account, sealed: &Sealed) -> Result<Option<Opened>, Failed> {
        if let Some(opened) = self.known.iter().rev().find_map(|password| open(sealed, password)) {
            return Ok(Some(opened));
        }
        let mailbox = &account.mailbox;
        let terminal = std::io::stdin().is_terminal();
        // What is piped in has one line for each account.
        for _ in 0..if terminal { TRIES } else { 1 } {
            let password = if terminal {
                Secret::new(rpassword::prompt_password(format!("Old password of {mailbox} (press Enter to skip): "))?)
            } else {
                self.line()?
            };
            if password.is_empty() {
                return Ok(None);
            }
            if let Some(opened) = open(sealed, &password) {
                self.known.push(password);
                let more = self.known.len().saturating_sub(REMEMBERED);
                self.known.drain(..more);
                return Ok(Some(opened));
            }
            println!("That password does not decrypt the sign-in of {mailbox}.");
        }
        Ok(None)
    }

    /// The next line of standard input, without its end; nothing at its end.
    fn line(&mut self) -> Result<Secret, Failed> {
        let stdin = self.stdin.get_or_insert_with(|| std::io::stdin().lock());
        let line = text_file::next_line(stdin, LINE_LIMIT)
            .map_err(|error| Failed::new(format!("{}.", error.about("a password"))))?;
        Ok(line.unwrap_or_default())
    }
}

/// Everything that the password opens; none if it is not the right one.
fn open(sealed: &Sealed, password: &Secret) -> Option<Opened> {
    let mut opener = sealed.lock.opener(password);
    let mut open = |sealed: &Option<String>| sealed.as_deref().and_then(|sealed| opener.open(sealed));
    let (refresh_token, client_secret) = (open(&sealed.refresh_token), open(&sealed.client_secret));
    let right = refresh_token.is_some() || client_secret.is_some() || open(&sealed.proof).is_some();
    right.then(|| Opened { password: Some(password.clone()), refresh_token, client_secret })
}
