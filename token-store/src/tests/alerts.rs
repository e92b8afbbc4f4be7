//! What is stored of failures and of deliveries.

use super::{endpoint::Reply, *};
use crate::{ErrorKind, store::alerts::Alert};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_failure_is_kept_in_parts_and_with_its_beginning() {
    let bench = Bench::signed_in().await;
    bench.clock.advance(2 * HOUR);
    let began = start() + 2 * HOUR;
    bench.endpoint.always(Reply::error("invalid_grant", 50_173));
    bench.access_token().await.unwrap_err();
    bench.clock.advance(10 * MINUTE);
    bench.access_token().await.unwrap_err();
    let states = bench.store.token_states().await.unwrap();
    let [(account, state)] = &states[..] else { panic!("{states:?}") };
    assert_eq!((&account.mailbox, state), (bench.mailbox(), &bench.store.token_state(bench.mailbox()).await.unwrap()));
    let error = state.last_error.as_ref().unwrap();
    assert_eq!((error.kind, error.code), (ErrorKind::SignInRequired, Some(50_173)));
    assert_eq!((error.since, error.at), (began, began + 10 * MINUTE));
    assert!(error.what.contains("revoked") && error.remedy.contains("oxpost sign-in"), "{error:?}");
    assert!(error.text.starts_with(&format!("{} {}", error.what, error.remedy)), "{error:?}");
    // What comes after a success begins again.
    bench.store.save_signed_in(bench.mailbox(), &token_set("at-1", Some("rt-1")), None, began).await.unwrap();
    assert_eq!(bench.store.token_state(bench.mailbox()).await.unwrap().last_error, None);
    bench.clock.advance(2 * HOUR);
    bench.access_token().await.unwrap_err();
    let error = bench.store.token_state(bench.mailbox()).await.unwrap().last_error.unwrap();
    assert_eq!(error.since, began + 2 * HOUR + 10 * MINUTE);
}

#[tokio::test]
async fn of_two_who_would_tell_one_does() {
    let bench = Bench::signed_in().await;
    let store = &bench.store;
    let alert = Alert {
        subject: "ann@contoso.com".into(),
        topic: "tokens".into(),
        id: "1".into(),
        event: "sign-in-needed".into(),
        cause: "AADSTS50173".into(),
        what: "What.".into(),
        remedy: "Remedy.".into(),
        since: start(),
        notified: None,
        due: Some(start() + HOUR),
        resolved: None,
    };
    assert!(store.add_alert(&alert).await.unwrap());
    assert!(!store.add_alert(&Alert { id: "2".into(), ..alert.clone() }).await.unwrap());
    assert_eq!(store.alerts().await.unwrap(), std::slice::from_ref(&alert));
    let notified = Alert { notified: Some(start()), due: None, ..alert.clone() };
    assert!(store.change_alert(&alert, &notified).await.unwrap());
    assert!(!store.change_alert(&alert, &notified).await.unwrap(), "it is another one now");
    let resolved = Alert { resolved: Some(start() + MINUTE), due: Some(start() + HOUR), ..notified.clone() };
    assert!(store.change_alert(&notified, &resolved).await.unwrap());
    assert!(!store.change_alert(&notified, &resolved).await.unwrap());
    assert_eq!(store.alerts().await.unwrap(), std::slice::from_ref(&resolved));
    assert!(!store.remove_alert(&Alert { id: "2".into(), ..resolved.clone() }).await.unwrap());
    assert!(store.remove_alert(&resolved).await.unwrap());
    assert!(!store.remove_alert(&resolved).await.unwrap());
}
