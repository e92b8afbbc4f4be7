//! Lists of SMTP servers, and which applications are in use.

use super::*;
use crate::{Declared, SenderPolicy, TokenSource, store::smtp_extensions::SmtpExtensions};

#[tokio::test]
async fn lists_are_kept_per_host_and_port_and_replaced() {
    let store = fresh_store().await;
    let list = |host: &str, port, extensions: &[&str]| SmtpExtensions {
        host: host.into(),
        port,
        extensions: extensions.iter().map(|line| (*line).to_owned()).collect(),
    };
    assert_eq!(store.smtp_extensions().await.unwrap(), []);
    let other_port = list("a.example", u16::MAX, &["DSN"]);
    for list in [list("a.example", 587, &["SIZE 5", "DSN"]), other_port.clone(), list("a.example", 587, &["SIZE 6"])] {
        store.save_smtp_extensions(&list, start()).await.unwrap();
    }
    store.save_smtp_extensions(&list("b.example", 587, &[]), start()).await.unwrap();
    let mut found = store.smtp_extensions().await.unwrap();
    found.sort_by(|one, other| (&one.host, one.port).cmp(&(&other.host, other.port)));
    assert_eq!(found, [list("a.example", 587, &["SIZE 6"]), other_port, list("b.example", 587, &[])]);
}

#[tokio::test]
async fn application_is_in_use_while_an_account_of_it_may_log_in() {
    let store = fresh_store().await;
    let in_use = async || {
        let mut names = store.applications_in_use().await.unwrap();
        names.sort();
        names
    };
    assert!(in_use().await.is_empty());
    let of = |address: &str, application: &str| Account::new(mailbox(address), application, Grant::SignIn, start());
    store.add_account(&of("ann@contoso.com", "office")).await.unwrap();
    store.add_account(&of("ben@contoso.com", "office")).await.unwrap();
    assert_eq!(in_use().await, ["office"]);

    // A delegate that is no longer declared may not log in, but the mailbox that it opens may.
    let own = |address: &str, application: &str| Declared {
        mailbox: mailbox(address),
        token_source: TokenSource::Own { application: application.into(), grant: Grant::SignIn },
        login: address.into(),
        senders: SenderPolicy::default(),
        passwords: Vec::new(),
    };
    let (dan, eve) = (own("dan@fabrikam.example", "fabrikam"), own("eve@example.org", "other"));
    let expect = async |declared: Vec<Declared>, expected: &[&str]| {
        store.reconcile(&declared, &[], start()).await.unwrap();
        assert_eq!(in_use().await, expected);
    };
    expect(vec![dan.clone(), eve], &["fabrikam", "office", "other"]).await;
    let shared = Account { delegate: Some(dan.mailbox.clone()), ..of("info@fabrikam.example", "fabrikam") };
    store.add_account(&shared).await.unwrap();
    expect(vec![dan], &["fabrikam", "office"]).await;
    expect(Vec::new(), &["fabrikam", "office"]).await;
    store.remove_account(&shared.mailbox).await.unwrap();
    for address in ["ann@contoso.com", "ben@contoso.com"] {
        assert_eq!(in_use().await, ["office"]);
        store.remove_account(&mailbox(address)).await.unwrap();
    }
    assert!(in_use().await.is_empty());
}
