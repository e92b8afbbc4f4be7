//! A user is renamed in Microsoft Entra.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{endpoint::Reply, *};
use crate::{begin_browser_sign_in, connect_with_password};

const ANN: &str = "ann@contoso.com";
pub(super) const ANNA: &str = "anna.smith@contoso.com";

fn jwt(claims: &str) -> String {
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
}

/// An access token of the user with this object id and name.
pub(super) fn access_token(object_id: &str, name: &str) -> String {
    jwt(&format!(r#"{{"tid":"t","oid":"{object_id}","upn":"{name}"}}"#))
}

/// Tokens of the user with this object id and name, as an answer to a request for an id token.
fn answer(object_id: &str, name: &str, refresh: &str) -> Reply {
    let id_token = jwt(&format!(r#"{{"tid":"t","oid":"{object_id}","preferred_username":"{name}"}}"#));
    Reply::json(
        200,
        format!(
            r#"{{"token_type":"Bearer","expires_in":3600,"access_token":"at-{refresh}","refresh_token":"{refresh}",
                "id_token":"{id_token}"}}"#
        ),
    )
}

impl Bench {
    /// Ann has signed in, and her token is refreshed once.
    async fn known() -> Self {
        let bench = Self::new(fresh_store().await, Grant::SignIn).await;
        let tokens = token_set("at-0", Some("rt-0"));
        bench.store.save_signed_in(bench.mailbox(), &tokens, Some(ANN), start()).await.unwrap();
        bench.refreshed(answer("1", ANN, "rt-1")).await;
        bench
    }

    /// The name in the next token, which is asked for with an answer like this.
    async fn refreshed(&self, reply: Reply) -> Option<String> {
        self.endpoint.then(reply);
        self.clock.advance(2 * HOUR);
        let requests = self.endpoint.requests();
        let token = self.tokens.access_token(&self.admitted).await.unwrap();
        assert_eq!(self.endpoint.requests(), requests + 1);
        token.sign_in_name().map(ToString::to_string)
    }

    async fn state(&self) -> crate::TokenState {
        self.store.token_state(self.mailbox()).await.unwrap()
    }
}

#[tokio::test]
async fn next_token_brings_the_new_name_of_a_renamed_user() {
    let bench = Bench::known().await;
    let scope = bench.endpoint.sent(0, "scope").unwrap();
    assert_eq!(scope, "https://outlook.office.com/IMAP.AccessAsUser.All offline_access openid profile");
    assert_eq!((bench.state().await.signed_in_as.as_deref(), bench.state().await.renamed_to), (Some(ANN), None));

    assert_eq!(bench.refreshed(answer("1", "Anna.Smith@contoso.com", "rt-2")).await.as_deref(), Some(ANNA));
    let state = bench.state().await;
    assert_eq!((state.signed_in_as.as_deref(), state.renamed_to), (Some(ANNA), Some(mailbox(ANNA))));
    // Every node, and every process after this one, knows it from the row.
    let token = bench.another_node().access_token(&bench.admitted).await.unwrap();
    assert_eq!(token.sign_in_name(), Some(&mailbox(ANNA)));
    assert_eq!(text(token.secret()), "at-rt-2");
    // The account is the same one, by the same login name.
    let account = bench.store.account_by_login(ANN).await.unwrap().unwrap();
    assert_eq!((account.mailbox, account.login.as_str()), (mailbox(ANN), ANN));
}

#[tokio::test]
async fn answer_without_a_user_keeps_the_known_name() {
    let bench = Bench::known().await;
    bench.refreshed(answer("1", ANNA, "rt-2")).await;
    assert_eq!(bench.refreshed(Reply::tokens("at-3", Some("rt-3"))).await.as_deref(), Some(ANNA));
    assert_eq!(bench.state().await.renamed_to, Some(mailbox(ANNA)));
}

#[tokio::test]
async fn another_object_id_or_tenant_changes_no_name() {
    let bench = Bench::known().await;
    assert_eq!(bench.refreshed(answer("2", ANNA, "rt-2")).await.as_deref(), Some(ANN));
    let state = bench.state().await;
    assert_eq!((state.signed_in_as.as_deref(), state.renamed_to), (Some(ANN), None));
    assert_eq!(bench.stored_refresh_token().await.as_deref(), Some("rt-2"), "no sign-in is lost over it");
}

/// A refresh token that another program has kept was granted for what that program asked for.
#[tokio::test]
async fn taken_over_refresh_token_is_not_asked_whose_it_is() {
    let bench = Bench::new(fresh_store().await, Grant::SignIn).await;
    bench.store.adopt_refresh_token(bench.mailbox(), &Secret::from("rt-0")).await.unwrap();
    let access = |name: &str| access_token("1", name);
    assert_eq!(bench.refreshed(Reply::tokens(&access(ANN), Some("rt-1"))).await.as_deref(), Some(ANN));
    // The access token names the user too.
    assert_eq!(bench.refreshed(Reply::tokens(&access(ANNA), Some("rt-2"))).await.as_deref(), Some(ANNA));
    for request in 0..2 {
        assert!(!bench.endpoint.sent(request, "scope").unwrap().contains("openid"));
    }
}

/// A sign-in that has ended says nothing about the refresh token that replaces it.
#[tokio::test]
async fn taken_over_refresh_token_forgets_who_signed_in_before() {
    let bench = Bench::new(fresh_store().await, Grant::SignIn).await;
    bench.store.save_signed_in(bench.mailbox(), &token_set("at-0", None), Some(ANN), start()).await.unwrap();
    assert!(bench.store.adopt_refresh_token(bench.mailbox(), &Secret::from("rt-0")).await.unwrap());
    assert_eq!(bench.state().await.signed_in_as, None);
    bench.refreshed(Reply::tokens(&access_token("1", ANN), Some("rt-1"))).await;
    assert!(!bench.endpoint.sent(0, "scope").unwrap().contains("openid"));
}

/// What the sign-in has granted cannot be known then.
#[tokio::test]
async fn identity_that_does_not_open_is_not_asked_for() {
    let place = fixture::Place::new();
    let bench = Bench::new(place.open().await, Grant::SignIn).await;
    bench.store.save_signed_in(bench.mailbox(), &token_set("at-0", Some("rt-0")), Some(ANN), start()).await.unwrap();
    bench.refreshed(Reply::tokens(&access_token("1", ANN), Some("rt-1"))).await;
    place.meddle("UPDATE token SET identity = X'00'", "UPDATE token SET identity = decode('00', 'hex')");
    bench.refreshed(Reply::tokens(&access_token("1", ANN), Some("rt-2"))).await;
    assert!(!bench.endpoint.sent(1, "scope").unwrap().contains("openid"));
}

/// The consent for `openid profile` may be withdrawn, or was never needed for the mailbox.
#[tokio::test]
async fn refused_identity_scope_is_left_out_once() {
    for (error, code) in [("invalid_grant", 65_001), ("invalid_scope", 70_011), ("consent_required", 1)] {
        let bench = Bench::known().await;
        bench.endpoint.then(Reply::error(error, code));
        bench.endpoint.then(Reply::tokens(&access_token("1", ANNA), Some("rt-2")));
        bench.clock.advance(2 * HOUR);
        let token = bench.tokens.access_token(&bench.admitted).await.unwrap();
        assert_eq!(token.sign_in_name(), Some(&mailbox(ANNA)));
        let asked = |request| bench.endpoint.sent(request, "scope").unwrap().contains("openid");
        assert_eq!((bench.endpoint.requests(), asked(1), asked(2)), (3, true, false));
    }
    // No other refusal is asked about twice, and neither is one without these scopes.
    let bench = Bench::known().await;
    bench.endpoint.always(Reply::error("invalid_grant", 50_173));
    bench.clock.advance(2 * HOUR);
    bench.tokens.access_token(&bench.admitted).await.unwrap_err();
    assert_eq!(bench.endpoint.requests(), 2);
    let bench = Bench::known().await;
    bench.endpoint.always(Reply::error("invalid_grant", 65_001));
    bench.clock.advance(2 * HOUR);
    bench.tokens.access_token(&bench.admitted).await.unwrap_err();
    assert_eq!(bench.endpoint.requests(), 3);
}

/// A sign-in of which the authority tells no user keeps the known one, unless it was made under another name.
#[tokio::test]
async fn sign_in_without_a_user_keeps_the_known_name() {
    for (signed_in_as, renamed_to) in
        [(None, Some(mailbox(ANNA))), (Some(ANNA), Some(mailbox(ANNA))), (Some(ANN), None)]
    {
        let bench = Bench::known().await;
        bench.refreshed(answer("1", ANNA, "rt-2")).await;
        let tokens = token_set("at-3", Some("rt-3"));
        bench.store.save_signed_in(bench.mailbox(), &tokens, signed_in_as, bench.clock_now()).await.unwrap();
        assert_eq!(bench.state().await.renamed_to, renamed_to, "{signed_in_as:?}");
    }
}

/// Bob's refresh token opens Ann's mailbox, which keeps its address.
#[tokio::test]
async fn mailbox_that_is_opened_by_another_user_keeps_its_address() {
    let bench = Bench::new(fresh_store().await, Grant::SignIn).await;
    bench.store.adopt_refresh_token(bench.mailbox(), &Secret::from("rt-0")).await.unwrap();
    for name in ["bob@contoso.com", "robert@contoso.com"] {
        assert_eq!(bench.refreshed(Reply::tokens(&access_token("2", name), Some("rt"))).await, None);
    }
}

/// An attacker who writes to the database can neither give an account another name nor move that of another account there.
#[tokio::test]
async fn name_is_sealed_in_the_row_of_its_account() {
    let place = fixture::Place::new();
    let store = place.open().await;
    let bench = Bench::new(store, Grant::SignIn).await;
    let ben = account("ben@contoso.com", Grant::SignIn);
    bench.store.add_account(&ben).await.unwrap();
    let of = |object_id: &str, name: &str| TokenSet {
        identity: Some(crate::Identity {
            tenant: "t".into(),
            object_id: object_id.into(),
            name: name.into(),
            from_id_token: true,
        }),
        ..token_set("at", Some("rt"))
    };
    bench.store.save_signed_in(bench.mailbox(), &of("1", ANN), Some(ANN), start()).await.unwrap();
    bench.store.save_signed_in(&ben.mailbox, &of("2", "ben@contoso.com"), None, start()).await.unwrap();
    let moved = "UPDATE token SET identity = (SELECT identity FROM token WHERE mailbox = 'ben@contoso.com'), \
                 signed_in_as = 'ben@contoso.com' WHERE mailbox = 'ann@contoso.com'";
    place.meddle(moved, moved);
    let token = bench.tokens.access_token(&bench.admitted).await.unwrap();
    assert_eq!(token.sign_in_name(), None, "the account's own address");
}

/// The page proposes the new name, and the user who signs in with it is the same person.
#[tokio::test]
async fn renamed_user_signs_in_again_under_the_new_name() {
    let bench = Bench::known().await;
    bench.refreshed(answer("1", ANNA, "rt-2")).await;
    let (http, application, clock) = (http_client(), application(&bench.endpoint), bench.shared_clock());
    for (object_id, accepted) in [("2", false), ("1", true)] {
        let account = bench.admitted.account();
        let sign_in =
            begin_browser_sign_in(&http, &bench.store, &application, account, &clock, "http://localhost:1/").await;
        let sign_in = sign_in.unwrap();
        let sent: std::collections::HashMap<_, _> = sign_in.url.query_pairs().into_owned().collect();
        assert_eq!(sent["login_hint"], ANNA);
        bench.endpoint.then(answer(object_id, ANNA, "rt-3"));
        let redirect = sign_in.read(&format!("code=c&state={}", sent["state"])).unwrap();
        let signed_in = sign_in.finish(redirect).await;
        assert_eq!(signed_in.is_ok(), accepted, "{signed_in:?}");
        let Ok(signed_in) = signed_in else { continue };
        let who = signed_in.signed_in_as.as_deref();
        bench.store.save_signed_in(bench.mailbox(), &signed_in.tokens, who, bench.clock_now()).await.unwrap();
        assert_eq!(bench.state().await.renamed_to, Some(mailbox(ANNA)));
    }
}

/// Microsoft does not know the old name, and would refuse every password.
#[tokio::test]
async fn password_is_verified_under_the_new_name() {
    let bench = Bench::new(fresh_store().await, Grant::Password).await;
    let access = |name: &str| access_token("1", name);
    let (http, application, clock) = (http_client(), application(&bench.endpoint), bench.shared_clock());
    let verified = async |reply: Reply| {
        bench.endpoint.then(reply);
        let (account, password) = (bench.admitted.account(), Secret::from("p"));
        connect_with_password(&http, &bench.store, &application, account, &password, &clock).await.unwrap();
        bench.endpoint.sent(bench.endpoint.requests() - 1, "username").unwrap()
    };
    assert_eq!(verified(Reply::tokens(&access(ANN), Some("rt-1"))).await, ANN);
    bench.refreshed(Reply::tokens(&access(ANNA), Some("rt-2"))).await;
    assert_eq!(verified(Reply::tokens(&access(ANNA), Some("rt-3"))).await, ANNA);
    assert_eq!(bench.state().await.renamed_to, Some(mailbox(ANNA)));
}
