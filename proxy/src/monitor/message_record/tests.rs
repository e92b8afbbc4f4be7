use std::sync::Arc;
use std::time::{Duration, SystemTime};

use oxpost_token_store::ManualClock;

use super::*;

fn session(device_permit: Option<&str>) -> SenderSession {
    SenderSession {
        account: Mailbox::parse("erp@contoso.com").unwrap(),
        client: "10.0.0.5".into(),
        session: "1f3a".into(),
        credential: Some("erp".into()),
        device_permit: device_permit.map(str::to_owned),
        server: "smtp.office365.com".into(),
        service: MailService::Exchange,
    }
}

fn clock() -> SharedClock {
    Arc::new(ManualClock::new(SystemTime::UNIX_EPOCH + Duration::from_secs(1_796_133_802)))
}

fn report(outcome: Outcome) -> Event {
    Event::Message(Report {
        sender: "erp@contoso.com".into(),
        given_sender: None,
        from_changed: false,
        recipients: vec!["a@b.c".into(), "x\u{1b}@y.z".into()],
        recipient_count: 2,
        octets: 57,
        outcome,
    })
}

/// What a session of these events leaves in the journal.
fn recorded(device_permit: Option<&str>, play: impl FnOnce(&mut MessageRecord<'_>)) -> Vec<JournalEvent> {
    let (journal, clock) = (Journal::for_test(), clock());
    let mut record = MessageRecord::new(session(device_permit), &journal, &clock);
    play(&mut record);
    record.finish(TakenBy::Live);
    drop(record);
    journal.waiting()
}

fn refused(command: &'static str, address: &str, reply: &str) -> Event {
    Event::Refused { command, address: address.into(), reply: reply.into() }
}

#[test]
fn events_of_a_message_have_one_id_and_count_up() {
    let events = recorded(None, |record| {
        for number in 0..2 {
            record.begin("erp@contoso.com", TakenBy::Live);
            record.note(&refused("RCPT", "nobody@contoso.com", "550 5.1.10 No such user"), TakenBy::Live);
            record.note(&report(Outcome::Accepted(format!("250 2.0.0 OK <{number}@contoso.com>"))), TakenBy::Live);
        }
    });
    let steps: Vec<_> = events.iter().map(|event| (event.step, event.text())).collect();
    let expected = [(0, "refused at RCPT by the mail server"), (1, "accepted by the mail server")];
    let expected: Vec<_> = expected.into_iter().chain(expected).map(|(step, text)| (step, text.to_owned())).collect();
    assert_eq!(steps, expected);
    assert!(events[0].id == events[1].id && events[2].id == events[3].id && events[0].id < events[2].id);
    let Detail { sender, recipients, recipient_count, size, server_id, .. } = &events[1].detail;
    assert_eq!((sender.as_deref(), *recipient_count, *size), (Some("erp@contoso.com"), 2, Some(57)));
    assert_eq!(server_id.as_deref(), Some("0@contoso.com"));
    let named: Vec<_> = recipients.iter().map(|one| (one.address.as_str(), one.result.as_str())).collect();
    assert_eq!(named, [("a@b.c", "accepted-by-server"), ("x?@y.z", "accepted-by-server")]);
    let Detail { recipients, sender, credential, session, client, .. } = &events[0].detail;
    assert_eq!((recipients[0].address.as_str(), recipients[0].result.as_str()), ("nobody@contoso.com", "refused"));
    assert_eq!(sender.as_deref(), Some("erp@contoso.com"), "also where the event does not say it");
    assert_eq!((credential.as_deref(), session.as_str(), client.as_str()), (Some("erp"), "1f3a", "10.0.0.5"));
}

#[test]
fn each_end_of_a_message_has_its_kind_and_wording() {
    let not_allowed =
        |command| Event::NotAllowed { command, address: "ceo@contoso.com".into(), answer: "550 5.7.1 No".into() };
    let put_off = Event::PutOff { sender: "erp@contoso.com".into(), answer: "451 4.3.2 Try again later".into() };
    for (event, permit, kind, text) in [
        (report(Outcome::Refused("554 5.2.252 SendAsDenied".into())), None, "refused", "refused by the mail server"),
        (report(Outcome::Refused("432 4.3.2 Limit".into())), None, "deferred", "deferred by the mail server"),
        (report(Outcome::InDoubt), None, "in-doubt", "in doubt: disconnected before the mail server answered"),
        (report(Outcome::NotSent(NotSent::BareCr)), None, "refused", "refused by Oxpost"),
        (
            report(Outcome::NotSent(NotSent::OtherSender)),
            None,
            "refused",
            "refused by the sender policy of the account",
        ),
        (
            report(Outcome::NotSent(NotSent::ServerGone)),
            None,
            "deferred",
            "deferred: the mail server disconnected within it",
        ),
        (report(Outcome::NotSent(NotSent::ClientGone)), None, "unfinished", "not sent: the client did not finish it"),
        (put_off, None, "deferred", "deferred by the send limit"),
        (not_allowed("MAIL"), None, "refused", "refused at MAIL by the sender policy of the account"),
        (not_allowed("RCPT"), Some("10.0.0.0/8"), "refused", "refused at RCPT by the rules of the device permit"),
        (refused("DATA", "", "451 4.7.0 Later"), None, "deferred", "deferred at DATA by the mail server"),
        (Event::Malformed { command: "RCPT", answer: "501 5.5.4 No" }, None, "refused", "refused at RCPT by Oxpost"),
    ] {
        let events = recorded(permit, |record| {
            record.begin("erp@contoso.com", TakenBy::Live);
            record.note(&event, TakenBy::Live);
        });
        let last = events.last().unwrap();
        assert_eq!((last.kind.as_str(), last.text().as_str()), (kind, text), "{event:?}");
        assert_eq!(last.detail.device_permit.as_deref(), permit);
    }
}

/// A MAIL that is refused here begins nothing: it has an id of its own, and the message before it keeps its own.
#[test]
fn sender_refused_here_is_a_message_of_its_own() {
    let refused =
        Event::NotAllowed { command: "MAIL", address: "ceo@contoso.com".into(), answer: "550 5.7.1 No".into() };
    let events = recorded(None, |record| {
        record.begin("erp@contoso.com", TakenBy::Live);
        record.note(&refused, TakenBy::Live);
        record.note(&refused, TakenBy::Live);
    });
    let texts: Vec<_> = events.iter().map(|event| (event.kind.as_str(), event.detail.sender.as_deref())).collect();
    assert_eq!(
        texts,
        [
            ("unfinished", Some("erp@contoso.com")),
            ("refused", Some("ceo@contoso.com")),
            ("refused", Some("ceo@contoso.com"))
        ]
    );
    assert!(events.windows(2).all(|two| two[0].id != two[1].id));
}

#[test]
fn known_refusal_is_recorded_with_its_remedy() {
    let reply = "550 5.7.60 SMTP; Client does not have permissions to send as this sender SendAsDenied";
    let events = recorded(None, |record| {
        record.begin("ceo@contoso.com", TakenBy::Live);
        record.note(&report(Outcome::Refused(reply.into())), TakenBy::Live);
    });
    let remedy = events[0].detail.remedy.as_deref();
    assert_eq!(
        remedy.map(str::to_owned),
        failure::explained(Asked::of_message(MailService::Exchange, Step::EndOfData), reply, &session(None).account)
    );
    assert!(remedy.is_some_and(|remedy| remedy.contains("erp@contoso.com")), "{remedy:?}");
}

/// A client may try as many recipients as it likes; the result of the message is recorded in any case.
#[test]
fn refused_recipients_of_a_message_are_bounded() {
    let events = recorded(None, |record| {
        record.begin("erp@contoso.com", TakenBy::Live);
        for number in 0..5_000 {
            record.note(&refused("RCPT", &format!("r{number}@contoso.com"), "550 5.1.10 No"), TakenBy::Live);
        }
        record.note(&report(Outcome::Accepted("250 OK".into())), TakenBy::Live);
    });
    assert_eq!(events.len(), RECIPIENTS_NAMED + 2);
    assert_eq!(events.last().unwrap().kind, Kind::AcceptedByServer);
}

#[test]
fn message_that_was_given_up_before_its_content_is_recorded() {
    let events = recorded(None, |record| record.begin("erp@contoso.com", TakenBy::Live));
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].text(), "not sent: the client did not finish it");
    // What was refused is no news a second time.
    let events = recorded(None, |record| {
        record.begin("erp@contoso.com", TakenBy::Live);
        record.note(&refused("RCPT", "x@y.z", "550 No"), TakenBy::Live);
    });
    assert_eq!(events.len(), 1);
}

#[test]
fn message_id_is_found_in_the_reply() {
    assert_eq!(server_id("250 2.0.0 OK <1@contoso.com> [Hostname=X]"), "1@contoso.com");
    assert_eq!(server_id("250 2.0.0 Ok: queued as 4XyZ12"), "4XyZ12");
    assert_eq!(server_id("250 2.0.0 Ok"), "");
}

#[test]
fn recipients_are_printed_on_one_line() {
    let named = |address: &str| Recipient { address: address.into(), result: "refused".into() };
    let detail = Detail { recipients: vec![named("a@b.c"), named("d@e.f")], recipient_count: 2, ..Detail::default() };
    assert_eq!(recipients(&detail).as_deref(), Some("a@b.c d@e.f"));
    assert_eq!(recipients(&Detail { recipient_count: 7, ..detail }).as_deref(), Some("a@b.c d@e.f and 5 more"));
}
