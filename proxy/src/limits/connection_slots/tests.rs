//! The slots with their close requests.

use std::time::SystemTime;

use oxpost_token_store::{Grant, Mailbox};

use super::*;

fn slots(change: impl FnOnce(&mut SlotLimits), exempt: &[&str]) -> ConnectionSlots {
    let mut limits = SlotLimits {
        max_connections: 100,
        max_unauthenticated: 100,
        max_unauthenticated_per_source: 100,
        max_sessions_per_account: 100,
        max_sessions_per_delegate: 100,
        max_sessions_per_source: 100,
    };
    change(&mut limits);
    let exempt_networks = exempt.iter().map(|network| network.parse().unwrap()).collect();
    ConnectionSlots::new(SlotSettings { limits, exempt_networks })
}

fn peer(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn account(mailbox: &str) -> Account {
    Account::new(Mailbox::parse(mailbox).unwrap(), "default", Grant::SignIn, SystemTime::UNIX_EPOCH)
}

fn asked(slot: &Slot) -> Option<CloseReason> {
    slot.close_request().requested()
}

#[test]
fn evicted_connection_is_asked_to_close_and_its_slot_is_free() {
    let slots = slots(|limits| limits.max_unauthenticated = 1, &[]);
    let first = slots.enter(peer("192.0.2.1")).unwrap();
    let second = slots.enter(peer("192.0.2.2")).unwrap();
    assert_eq!((asked(&first), asked(&second)), (Some(CloseReason::Evicted), None));
    drop(first);
    let _third = slots.enter(peer("192.0.2.3")).unwrap();
    assert_eq!(asked(&second), Some(CloseReason::Evicted), "what was evicted did not free a second slot");
    assert_eq!(slots.0.table().handles.len(), 1);
}

#[test]
fn source_becomes_familiar_by_password_not_by_device_permit() {
    let slots = slots(|_| {}, &[]);
    let device = slots.enter(peer("192.0.2.1")).unwrap();
    device.begin_login(&account("scan@contoso.com"), Proof::Network).unwrap();
    assert!(device.accept_login() && !slots.is_familiar(peer("192.0.2.1")));
    let client = slots.enter(peer("2001:db8::1")).unwrap();
    client.begin_login(&account("alice@contoso.com"), Proof::Password).unwrap();
    assert!(slots.is_familiar(peer("2001:db8::2")), "its /64 is one source");
}

#[test]
fn login_at_a_limit_is_refused_until_another_has_ended() {
    let slots = slots(|limits| limits.max_sessions_per_account = 1, &[]);
    let [first, second] = [(); 2].map(|()| slots.enter(peer("192.0.2.1")).unwrap());
    first.begin_login(&account("alice@contoso.com"), Proof::Password).unwrap();
    let reached = second.begin_login(&account("alice@contoso.com"), Proof::Password).unwrap_err();
    assert_eq!((reached.limit.key(), reached.allowed), ("max-sessions-per-account", 1));
    first.fail_login();
    second.begin_login(&account("alice@contoso.com"), Proof::Password).unwrap();
    assert!(second.accept_login());
    first.begin_login(&account("alice@contoso.com"), Proof::Password).unwrap_err();
    drop(second);
    first.begin_login(&account("alice@contoso.com"), Proof::Password).unwrap();
}

#[test]
fn limits_per_source_do_not_hold_where_many_share_it() {
    let slots = slots(
        |limits| (limits.max_unauthenticated_per_source, limits.max_sessions_per_source) = (1, 1),
        &["10.0.0.0/24"],
    );
    for shared in ["127.0.0.1", "::1", "10.0.0.5", "::ffff:10.0.0.5"] {
        let clients = [(); 3].map(|()| slots.enter(peer(shared)).unwrap());
        for client in &clients {
            client.begin_login(&account("alice@contoso.com"), Proof::Password).unwrap();
        }
        assert_eq!(clients.each_ref().map(asked), [None; 3], "{shared}");
    }
    let clients = [(); 2].map(|()| slots.enter(peer("10.0.1.5")).unwrap());
    assert_eq!(clients.each_ref().map(asked), [Some(CloseReason::Evicted), None]);
}

#[test]
fn failed_login_may_evict() {
    let slots = slots(|limits| limits.max_unauthenticated = 1, &[]);
    let failing = slots.enter(peer("192.0.2.1")).unwrap();
    failing.begin_login(&account("alice@contoso.com"), Proof::Password).unwrap();
    let other = slots.enter(peer("192.0.2.2")).unwrap();
    assert_eq!(asked(&other), None);
    failing.fail_login();
    assert_eq!((asked(&failing), asked(&other)), (None, Some(CloseReason::Evicted)), "its source is familiar");
}

#[test]
fn stop_asks_unauthenticated_first_then_sessions_one_by_one() {
    let slots = slots(|_| {}, &[]);
    let [stranger, logging_in, session] = [(); 3].map(|()| slots.enter(peer("192.0.2.1")).unwrap());
    for slot in [&logging_in, &session] {
        slot.begin_login(&account("alice@contoso.com"), Proof::Password).unwrap();
    }
    assert!(session.accept_login());
    let sessions = slots.begin_stop();
    let stopping = Some(CloseReason::Stopping);
    assert_eq!([&stranger, &logging_in, &session].map(asked), [stopping, stopping, None]);
    assert_eq!(sessions, [session.id]);
    slots.ask_to_stop(session.id);
    assert_eq!(asked(&session), stopping);
    drop(session);
    slots.ask_to_stop(sessions[0]);
}

#[test]
fn connection_is_refused_when_only_sessions_are_there() {
    let slots = slots(|limits| limits.max_connections = 1, &[]);
    let session = slots.enter(peer("192.0.2.1")).unwrap();
    session.begin_login(&account("alice@contoso.com"), Proof::Password).unwrap();
    assert!(session.accept_login());
    assert_eq!(slots.enter(peer("192.0.2.2")).unwrap_err().key(), "max-connections");
    assert_eq!(asked(&session), None);
    assert_eq!(Full::Unauthenticated.key(), "max-unauthenticated");
    assert_eq!(SessionLimit::Delegate.key(), "max-sessions-per-delegate");
    assert_eq!(SessionLimit::Source.key(), "max-sessions-per-source");
}
