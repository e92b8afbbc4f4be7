//! Guesses at passwords that Microsoft judges: how few of them it hears, whoever sends them, and that the user still gets in.

use super::{
    endpoint::Reply,
    password_grant::{Gate, MINUTE, USER, accounts, gate, here, refused, stranger},
    *,
};
use crate::Denied;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_first_logins_ask_once() {
    let gate = gate().await;
    gate.bench.endpoint.then(Reply::tokens("at-1", Some("rt-1")));
    gate.bench.endpoint.hold().await;
    let logins: Vec<_> = (0..64)
        .map(|_| {
            let accounts = gate.accounts.clone();
            tokio::spawn(async move { accounts.admit_from(here(), USER, &Secret::from("right")).await.map(drop) })
        })
        .collect();
    gate.bench.endpoint.arrived(1).await;
    gate.bench.endpoint.release();
    for login in logins {
        login.await.unwrap().unwrap();
    }
    assert_eq!(gate.asked(), 1);
}

/// Devices come back at the same moment, behind a power cut. Nobody knows yet which of them guess.
#[tokio::test]
async fn a_hundred_accounts_are_asked_about_eight_at_once() {
    let gate = gate().await;
    gate.bench.endpoint.always(Reply::tokens("at-1", Some("rt-1")));
    for number in 0..100 {
        let account = account(&format!("m{number}@contoso.com"), Grant::Password);
        gate.bench.store.add_account(&account).await.unwrap();
    }
    gate.bench.endpoint.hold().await;
    let logins: Vec<_> = (0..100)
        .map(|number| {
            let accounts = gate.accounts.clone();
            let login = async move {
                accounts.admit_from(here(), &format!("m{number}@contoso.com"), &Secret::from("right")).await.map(drop)
            };
            tokio::spawn(login)
        })
        .collect();
    gate.bench.endpoint.arrived(8).await;
    gate.bench.endpoint.release();
    for login in logins {
        login.await.unwrap().unwrap();
    }
    assert_eq!((gate.asked(), gate.bench.endpoint.most_in_flight()), (100, 8));
}

#[tokio::test]
async fn a_strangers_guesses_neither_lock_the_user_out_at_microsoft_nor_here() {
    let gate = Gate::opened().await;
    gate.bench.endpoint.always(refused());
    for minute in 0..55_u8 {
        for guess in 0..10 {
            let said = gate.login_from(stranger(minute), &format!("guess {minute} {guess}")).await.unwrap_err();
            assert!(matches!(said, Denied::WrongAtMicrosoft | Denied::TooManyPasswords), "{said}");
        }
        gate.login("right").await.unwrap();
        gate.bench.clock.advance(MINUTE);
    }
    assert_eq!(gate.asked(), 1 + 4, "550 guesses");
    // Now the user changes the password, and mistypes it.
    for number in 0..3 {
        assert_eq!(gate.login(&format!("typo {number}")).await.unwrap_err(), Denied::WrongAtMicrosoft);
    }
    gate.bench.endpoint.then(Reply::tokens("at-9", Some("rt-9")));
    gate.login("new").await.unwrap();
}

/// Before the user comes, a stranger has used up what strangers have.
#[tokio::test]
async fn after_a_restart_the_right_password_is_none_of_the_strangers() {
    let gate = Gate::opened().await;
    gate.bench.endpoint.always(refused());
    let restarted = accounts(&gate.bench);
    for guess in 0..10 {
        let guess = Secret::from(format!("guess {guess}"));
        restarted.admit_from(here(), USER, &guess).await.unwrap_err();
    }
    assert_eq!(gate.asked(), 1 + 4);
    let login = async |password| restarted.admit_from(here(), USER, &Secret::from(password)).await.map(drop);
    login("right").await.unwrap();
    assert_eq!(gate.asked(), 5, "Microsoft has judged it half an hour ago");
    assert_eq!(restarted.hashes(), 10 + 1, "until it comes every guess is compared with its hash, and then none");
    for _ in 0..10 {
        login("right").await.unwrap();
        assert_eq!(login("another guess").await.unwrap_err(), Denied::WrongAtMicrosoft);
    }
    assert_eq!((gate.asked(), restarted.hashes()), (6, 11));
}

/// Whoever hangs up before the answer must not be able to try more passwords.
#[tokio::test]
async fn a_guess_counts_though_its_client_hangs_up() {
    let gate = gate().await;
    gate.bench.endpoint.always(refused());
    for guess in 0..20 {
        gate.bench.endpoint.hold().await;
        let before = gate.asked();
        let client = {
            let accounts = gate.accounts.clone();
            tokio::spawn(async move { accounts.admit_from(stranger(1), USER, &Secret::from(format!("{guess}"))).await })
        };
        until("the guess is asked about", async || gate.asked() > before || client.is_finished()).await;
        client.abort();
        gate.bench.endpoint.release();
        // Behind it in the queue of its account.
        let _ = gate.login_from(stranger(1), "0").await;
    }
    assert_eq!(gate.asked(), 4);
}

#[tokio::test]
async fn one_password_tried_with_every_account_is_stopped_too() {
    let gate = gate().await;
    gate.bench.endpoint.always(refused());
    for number in 0..40 {
        let account = account(&format!("m{number}@contoso.com"), Grant::Password);
        gate.bench.store.add_account(&account).await.unwrap();
        let spray = Secret::from("Winter2026!");
        gate.accounts.admit_from(stranger(1), account.mailbox.as_str(), &spray).await.unwrap_err();
    }
    assert_eq!(gate.asked(), 16);
}
