//! A user whose passwords Microsoft verifies is renamed in Microsoft Entra: under which name a password is verified, and whose
//! password opens the account.

use super::{
    endpoint::Reply,
    password_grant::{MINUTE, RequestGate, USER, gate, refused, stranger},
    renamed::{ANNA, access_token},
    *,
};
use crate::{Denied, connect_with_password};

const BOB: &str = "2";

fn unknown_user() -> Reply {
    Reply::error("invalid_grant", 50_034)
}

impl RequestGate {
    /// Ann has logged in, was renamed to Anna, and was renamed in the store by a refresh.
    async fn renamed() -> Self {
        let gate = gate().await;
        gate.bench.endpoint.then(Reply::tokens(&access_token("1", USER), Some("rt-1")));
        gate.login("right").await.unwrap();
        gate.bench.clock.advance(59 * MINUTE);
        gate.bench.endpoint.then(Reply::tokens(&access_token("1", ANNA), Some("rt-2")));
        gate.login("right").await.unwrap();
        assert_eq!((gate.asked(), gate.name().await), (2, Some(mailbox(ANNA))));
        gate
    }

    async fn name(&self) -> Option<Mailbox> {
        self.bench.store.token_state(self.bench.mailbox()).await.unwrap().renamed_to
    }

    /// The user names of the passwords that Microsoft was asked about from this request on.
    fn users_since(&self, first: usize) -> Vec<String> {
        (first..self.asked()).filter_map(|request| self.bench.endpoint.sent(request, "username")).collect()
    }

    async fn connect(&self, password: &str) -> Result<(), crate::TokenError> {
        let (http, application) = (http_client(), application(&self.bench.endpoint));
        let (account, clock) = (self.bench.admitted.account(), self.bench.shared_clock());
        connect_with_password(&http, &self.bench.store, &application, account, &Secret::from(password), &clock).await
    }
}

/// The name belongs to Bob by now: his password is right at Microsoft, and wrong for Ann's account.
#[tokio::test]
async fn password_of_another_user_with_the_stored_name_is_refused() {
    let opaque = Reply::tokens("opaque", Some("rt-bob"));
    let bob = Reply::tokens(&access_token(BOB, ANNA), Some("rt-bob"));
    for (first, second) in
        [(bob.clone(), refused()), (bob.clone(), unknown_user()), (opaque.clone(), refused()), (opaque, unknown_user())]
    {
        let gate = RequestGate::renamed().await;
        let (store, ann) = (&gate.bench.store, gate.bench.mailbox());
        let judged = store.verified_password(ann).await.unwrap().unwrap().verified;
        gate.bench.endpoint.then(first);
        gate.bench.endpoint.then(second);
        for _ in 0..3 {
            assert_eq!(gate.login("bobs").await.unwrap_err(), Denied::RejectedByMicrosoft);
        }
        assert_eq!(gate.users_since(2), [ANNA, USER], "Microsoft is asked once under each name");
        assert_eq!(gate.bench.stored_refresh_token().await.as_deref(), Some("rt-2"));
        assert_eq!(store.verified_password(ann).await.unwrap().unwrap().verified, judged);
        assert_eq!(gate.name().await, Some(mailbox(ANNA)));
        let state = store.token_state(ann).await.unwrap();
        assert_eq!(state.last_error, None, "another user's password says nothing about the account");
        gate.login("right").await.unwrap();
        assert_eq!(gate.asked(), 4);
    }
}

#[tokio::test]
async fn sign_in_with_the_password_of_another_user_is_refused() {
    let gate = RequestGate::renamed().await;
    gate.bench.endpoint.then(Reply::tokens(&access_token(BOB, ANNA), Some("rt-bob")));
    gate.bench.endpoint.then(refused());
    let error = gate.connect("bobs").await.unwrap_err().to_string();
    assert!(error.contains("refused the user name or the password"), "{error}");
    gate.bench.endpoint.then(Reply::tokens(&access_token(BOB, ANNA), Some("rt-bob")));
    gate.bench.endpoint.then(unknown_user());
    let error = gate.connect("bobs").await.unwrap_err().to_string();
    assert!(error.contains(&format!("{ANNA}, which is the name of another user now")), "{error}");
    assert_eq!(gate.bench.stored_refresh_token().await.as_deref(), Some("rt-2"));
}

/// The refresh token has ended, so no refresh brings the name that the user has again.
#[tokio::test]
async fn reverted_rename_is_found_by_the_next_password() {
    let bob = Reply::tokens(&access_token(BOB, ANNA), Some("rt-bob"));
    for first in [unknown_user(), bob] {
        let gate = RequestGate::renamed().await;
        gate.bench.clock.advance(61 * MINUTE);
        gate.bench.endpoint.then(Reply::error("invalid_grant", 50_173));
        gate.bench.endpoint.then(first);
        gate.bench.endpoint.then(Reply::tokens(&access_token("1", USER), Some("rt-3")));
        gate.login("right").await.unwrap();
        assert_eq!(gate.users_since(2), [ANNA, USER]);
        let state = gate.bench.store.token_state(gate.bench.mailbox()).await.unwrap();
        assert_eq!((state.signed_in_as.as_deref(), state.renamed_to, state.last_error), (Some(USER), None, None));
        assert_eq!(gate.bench.stored_refresh_token().await.as_deref(), Some("rt-3"));
        gate.login("right").await.unwrap();
        assert_eq!(gate.asked(), 5);
    }
}

/// One login counts once, and Microsoft is not asked under the second name if the first one is known to it.
#[tokio::test]
async fn second_name_lets_microsoft_hear_no_more_wrong_passwords() {
    let gate = RequestGate::renamed().await;
    for guess in 1..=9_u8 {
        if guess <= 4 {
            gate.bench.endpoint.then(unknown_user());
            gate.bench.endpoint.then(refused());
        }
        let denied = gate.login_from(stranger(guess), &format!("guess {guess}")).await.unwrap_err();
        assert_eq!(denied == Denied::TooManyPasswords, guess > 4, "{guess}: {denied:?}");
    }
    assert_eq!(gate.users_since(2).len(), 8, "four under each name");

    let gate = RequestGate::renamed().await;
    gate.bench.endpoint.then(refused());
    assert_eq!(gate.login("wrong").await.unwrap_err(), Denied::RejectedByMicrosoft);
    assert_eq!(gate.users_since(2), [ANNA]);
}

#[tokio::test]
async fn unknown_user_error_shows_the_names_that_were_sent() {
    let gate = RequestGate::renamed().await;
    gate.bench.endpoint.always(unknown_user());
    let error = gate.connect("right").await.unwrap_err().to_string();
    assert!(error.contains(&format!("knows no user {ANNA}, and no user {USER}.")), "{error}");
    assert!(error.contains("AADSTS50034") && error.contains("`oxpost account delegate"), "{error}");
}
