//! Guesses at passwords that Microsoft verifies: how few of them it hears, from any source, and that the user can still log in.

use super::{
    endpoint::Reply,
    password_grant::{MINUTE, RequestGate, USER, accounts, gate, here, refused, stranger},
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

/// Devices come back at the same moment, after a power cut. It is not known yet which of them guess.
#[tokio::test]
async fn hundred_accounts_are_verified_eight_at_a_time() {
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
async fn guesses_from_unfamiliar_sources_lock_out_no_user() {
    let gate = RequestGate::opened().await;
    gate.bench.endpoint.always(refused());
    for minute in 0..55_u8 {
        for guess in 0..10 {
            let said = gate.login_from(stranger(minute), &format!("guess {minute} {guess}")).await.unwrap_err();
            assert!(matches!(said, Denied::RejectedByMicrosoft | Denied::TooManyPasswords), "{said}");
        }
        gate.login("right").await.unwrap();
        gate.bench.clock.advance(MINUTE);
    }
    assert_eq!(gate.asked(), 1 + 4, "550 guesses");
    // Now the user changes the password, and mistypes it.
    for number in 0..3 {
        assert_eq!(gate.login(&format!("typo {number}")).await.unwrap_err(), Denied::RejectedByMicrosoft);
    }
    gate.bench.endpoint.then(Reply::tokens("at-9", Some("rt-9")));
    gate.login("new").await.unwrap();
}

/// Before the user comes, guesses from the user's own address have used up what Microsoft hears from there.
#[tokio::test]
async fn after_a_restart_the_last_right_password_needs_no_answer() {
    let gate = RequestGate::opened().await;
    gate.accounts.wait_for_background_writes().await;
    gate.bench.endpoint.always(refused());
    let restarted = accounts(&gate.bench);
    for guess in 0..10 {
        let guess = Secret::from(format!("guess {guess}"));
        restarted.admit_from(here(), USER, &guess).await.unwrap_err();
    }
    assert_eq!(gate.asked(), 1 + 4);
    let login = async |password| restarted.admit_from(here(), USER, &Secret::from(password)).await.map(drop);
    login("right").await.unwrap();
    assert_eq!(gate.asked(), 5, "Microsoft has verified it half an hour ago");
}

/// What docs/grants.md promises holds for all nodes together, and over restarts.
#[tokio::test]
async fn nodes_and_restarts_share_one_wrong_password_budget() {
    let gate = RequestGate::opened().await;
    gate.accounts.wait_for_background_writes().await;
    gate.bench.endpoint.always(refused());
    for node in 0..5 {
        let node_accounts = accounts(&gate.bench);
        for guess in 0..10 {
            let (far, near) = (format!("far {node} {guess}"), format!("near {node} {guess}"));
            node_accounts.admit_from(stranger(guess), USER, &Secret::from(far)).await.unwrap_err();
            node_accounts.admit_from(here(), USER, &Secret::from(near)).await.unwrap_err();
        }
    }
    assert_eq!(gate.asked(), 1 + 4 + 4);
    gate.bench.clock.advance(60 * MINUTE);
    let denied = accounts(&gate.bench).admit_from(stranger(1), USER, &Secret::from("an hour later")).await;
    assert_eq!((denied.unwrap_err(), gate.asked()), (Denied::RejectedByMicrosoft, 10));
}

/// A device with an old password, and three nodes.
#[tokio::test]
async fn repeated_wrong_password_counts_once_on_all_nodes() {
    let gate = RequestGate::opened().await;
    gate.bench.endpoint.always(refused());
    for _ in 0..3 {
        let denied = accounts(&gate.bench).admit_from(stranger(1), USER, &Secret::from("old")).await.unwrap_err();
        assert_eq!(denied, Denied::RejectedByMicrosoft);
    }
    for guess in 0..3 {
        let denied = gate.login_from(stranger(2), &format!("guess {guess}")).await.unwrap_err();
        assert_eq!(denied, Denied::RejectedByMicrosoft);
    }
    assert_eq!(gate.login_from(stranger(2), "one too many").await.unwrap_err(), Denied::TooManyPasswords);
    // The clock is set back: they count from then on, and no longer.
    gate.bench.clock.set(start() - 1000 * MINUTE);
    assert_eq!(gate.login_from(stranger(2), "still").await.unwrap_err(), Denied::TooManyPasswords);
    gate.bench.clock.advance(60 * MINUTE);
    for password in ["a", "b", "c", "d", "e"] {
        gate.bench.endpoint.then(Reply::tokens("at-9", Some("rt-9")));
        gate.login_from(stranger(3), password).await.unwrap();
    }
}

/// A client that disconnects before the answer must not be able to try more passwords.
#[tokio::test]
async fn guess_counts_although_its_client_disconnects() {
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
async fn password_spraying_over_accounts_is_stopped() {
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
