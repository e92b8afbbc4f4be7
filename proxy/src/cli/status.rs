//! `oxpost status`: from the store, whether the proxy runs or not.

use std::time::SystemTime;

use oxpost_token_store::store::notices::Notice;
use oxpost_token_store::{Account, ErrorKind, Grant, Origin, Store, StoreError, TokenState};
use serde_json::json;

use super::refused::AllRefused;
use super::table::table;
use super::times::distance;
use super::{Failed, ban, credential};
use crate::config::Config;
use crate::gateway::open_store;
use crate::notify::trouble::Topic;

pub(super) async fn status(as_json: bool, config: &Config) -> Result<(), Failed> {
    let store = open_store(config).await?;
    let now = SystemTime::now();
    let mut accounts = Vec::new();
    for account in store.accounts().await? {
        // One account that was damaged, or removed at this very moment, must not hide the others.
        let state = match store.token_state(account.token_of()).await {
            Err(StoreError::NoSuchAccount(_)) => TokenState::default(),
            state => state?,
        };
        let last_login = last_login(&store, &account).await?;
        accounts.push((account, state, last_login));
    }
    let notices = store.notices().await?;
    let refused = AllRefused::of(&store, accounts.iter().map(|(account, ..)| account)).await?;
    if as_json {
        let all: Vec<_> = accounts
            .iter()
            .map(|(account, state, login)| as_json_object(account, state, *login, &notices, &refused, config))
            .collect();
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    let unreadable = store.unreadable_accounts().await?;
    let bans = store.bans(now).await?;
    if accounts.is_empty() && unreadable.is_empty() {
        println!("There is no account yet. Add one with: oxpost account add ADDRESS");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = accounts
        .iter()
        .map(|(account, state, last_login)| {
            vec![
                account.mailbox.to_string(),
                refused.state(account, condition(account, state, now)).to_owned(),
                account.grant.to_string(),
                account.through.as_ref().map_or_else(|| "-".into(), ToString::to_string),
                state.signed_in_as.clone().unwrap_or_else(|| "-".into()),
                distance(state.access_token_expires, now),
                distance(state.next_refresh, now),
                distance(*last_login, now),
            ]
        })
        .collect();
    let header =
        ["MAILBOX", "STATE", "GRANT", "THROUGH", "SIGNED IN AS", "TOKEN EXPIRES", "NEXT REFRESH", "LAST LOGIN"];
    print!("{}", table(&header, &rows));
    for end in credential::ends(&config.applications, now) {
        println!("\n{end}.");
    }
    // Accounts that go through another one have no troubles of their own.
    for (account, state, _) in
        accounts.iter().filter(|(account, ..)| account.through.is_none() || account.origin == Origin::Withdrawn)
    {
        if account.origin == Origin::Withdrawn {
            println!(
                "\n{0}: proxy.toml declares it no more, so nobody can log in; its sign-in is kept. Declare it again, or remove it for \
                 good: oxpost account remove {0}",
                account.mailbox
            );
        } else if let Some(error) = &state.last_error {
            let told = told(&notices, account, now);
            println!("\n{} ({}): {}{told}", account.mailbox, distance(Some(error.at), now), error.text);
        } else if condition(account, state, now) == NOT_SIGNED_IN {
            let or = if account.grant == Grant::Password { "log in with the mail program, or " } else { "" };
            println!("\n{}: {or}run `oxpost sign-in {}`.", account.mailbox, account.mailbox);
        }
        for line in refused.lines(account, |one| distance(Some(one.at), now)) {
            println!("\n{line}");
        }
    }
    for notice in notices.iter().filter(|notice| notice.topic == Topic::End.as_str() && notice.solved.is_none()) {
        // What an application must be warned of stands above.
        if accounts.iter().any(|(account, ..)| account.mailbox.as_str() == notice.subject) {
            println!("\n{} {}", notice.what, notice.remedy);
        }
    }
    for mailbox in unreadable {
        println!(
            "\n{mailbox}: its row in the store is damaged. Run `oxpost account remove {mailbox}`, then add it again."
        );
    }
    if !bans.is_empty() {
        print!("\nToo many wrong passwords; `oxpost ban lift ADDRESS` lifts one:\n{}", ban::shown(&bans, now));
    }
    Ok(())
}

/// Seconds from 1970 to the end of the year 9999.
const END_OF_9999: u64 = 253_402_300_800;

const NOT_SIGNED_IN: &str = "not signed in";

/// Declared in proxy.toml once, and not any more.
const DISABLED: &str = "disabled";

/// The state in two words.
fn condition(account: &Account, state: &TokenState, now: SystemTime) -> &'static str {
    if account.origin == Origin::Withdrawn {
        return DISABLED;
    }
    let alive = state.access_token_expires.is_some_and(|expires| expires > now);
    match &state.last_error {
        Some(error) if error.kind == ErrorKind::SignInRequired => "sign in again",
        Some(error) if error.kind == ErrorKind::Misconfigured => "misconfigured",
        Some(_) if alive => "ok, retrying",
        Some(_) => "retrying",
        None if account.grant == Grant::SignIn && !state.has_refresh_token => NOT_SIGNED_IN,
        None if account.grant == Grant::Password && state.signed_in_as.is_none() => NOT_SIGNED_IN,
        None if alive => "ok",
        // Nothing is wrong, but nobody refreshes: the proxy does not run, or has not come round to it yet.
        None => "idle",
    }
}

/// When people were last told of what is wrong.
fn told(notices: &[Notice], account: &Account, now: SystemTime) -> String {
    let open = notices.iter().find(|notice| {
        notice.subject == account.mailbox.as_str() && notice.topic == Topic::Tokens.as_str() && notice.solved.is_none()
    });
    let told = open.and_then(|notice| notice.told);
    told.map(|at| format!(" (People were told {}.)", distance(Some(at), now))).unwrap_or_default()
}

async fn last_login(store: &Store, account: &Account) -> Result<Option<SystemTime>, Failed> {
    let with_ours = store.passwords(&account.mailbox).await?.iter().filter_map(|password| password.last_used).max();
    Ok(with_ours.max(store.last_judged_login(account.token_of()).await?))
}

fn as_json_object(
    account: &Account,
    state: &TokenState,
    last_login: Option<SystemTime>,
    notices: &[Notice],
    refused: &AllRefused,
    config: &Config,
) -> serde_json::Value {
    // A damaged row must not end the report of all others: humantime knows the years 1970 to 9999 only.
    let printable = |time: &SystemTime| {
        time.duration_since(SystemTime::UNIX_EPOCH).is_ok_and(|since| since.as_secs() < END_OF_9999)
    };
    let time = |time: Option<SystemTime>| {
        time.filter(printable).map(|time| humantime::format_rfc3339_seconds(time).to_string())
    };
    json!({
        "mailbox": account.mailbox.to_string(),
        "login": account.login,
        "through": account.through.as_ref().map(ToString::to_string),
        "application": account.application,
        "credential": credential::as_json(config.applications.get(&account.application).map(|one| &**one), SystemTime::now()),
        "grant": account.grant.to_string(),
        "declared": account.origin == Origin::Declared,
        "state": refused.state(account, condition(account, state, SystemTime::now())),
        "signed_in_as": state.signed_in_as,
        "token_expires": time(state.access_token_expires),
        "refreshed_at": time(state.refreshed_at),
        "next_refresh": time(state.next_refresh),
        "last_login": time(last_login),
        "refused": refused.json(account, |one| time(Some(one.at))),
        "last_error": state.last_error.as_ref().map(|error| json!({
            "kind": error.kind.to_string(),
            "text": error.text,
            "code": error.code,
            "since": time(Some(error.since)),
            "at": time(Some(error.at)),
        })),
        "notices": notices
            .iter()
            .filter(|notice| notice.subject == account.mailbox.as_str())
            .map(|notice| json!({
                "id": notice.id,
                "event": notice.event,
                "since": time(Some(notice.since)),
                "told": time(notice.told),
                "solved": time(notice.solved),
            }))
            .collect::<Vec<_>>(),
    })
}
