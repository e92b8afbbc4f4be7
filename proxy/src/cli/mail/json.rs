//! The events of the journal for scripts: one object in a line for each event. `docs/journal.md` has its fields.

use serde_json::{Value, json};

use crate::admin::timestamp::rfc3339_millis;
use crate::journal::event::JournalEvent;

/// The line of an event.
pub(super) fn line(event: &JournalEvent) -> String {
    object(event).to_string()
}

fn object(event: &JournalEvent) -> Value {
    let JournalEvent { id, step, at, kind, account, node, detail } = event;
    let mut object = json!({
        "id": id,
        "step": step,
        "time": rfc3339_millis(*at),
        "event": kind.as_str(),
        "text": event.text(),
        "account": account,
        "node": node,
    });
    // Nothing in it can fail to be written as JSON, and it has none of the names above.
    if let (Value::Object(object), Ok(Value::Object(detail))) = (&mut object, serde_json::to_value(detail)) {
        object.extend(detail);
    }
    object
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::journal::event::{DecidedBy, Detail, Kind, Recipient, TakenBy};

    /// Scripts read these names.
    #[test]
    fn fields_of_an_event_are_stable() {
        let recipients =
            vec![Recipient { address: "bob@fabrikam.example".into(), result: "accepted-by-server".into() }];
        let detail = Detail {
            session: "1f3a".into(),
            client: "10.0.0.5".into(),
            credential: Some("erp".into()),
            server: Some("smtp.office365.com".into()),
            taken_by: Some(TakenBy::Live),
            decided_by: Some(DecidedBy::MailServer),
            sender: Some("erp@contoso.com".into()),
            recipients,
            recipient_count: 1,
            size: Some(57),
            reply: Some("250 2.0.0 OK".into()),
            ..Detail::default()
        };
        let event = JournalEvent {
            id: "01m8x2k9z-7f3aq".into(),
            step: 0,
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_796_133_802_042),
            kind: Kind::AcceptedByServer,
            account: "erp@contoso.com".into(),
            node: "mx1".into(),
            detail,
        };
        assert_eq!(
            object(&event),
            json!({
                "id": "01m8x2k9z-7f3aq", "step": 0, "time": "2026-12-01T14:03:22.042Z", "event": "accepted-by-server",
                "text": "accepted by the mail server", "account": "erp@contoso.com", "node": "mx1", "session": "1f3a",
                "client": "10.0.0.5", "credential": "erp", "server": "smtp.office365.com", "taken_by": "live", "decided_by": "mail-server",
                "sender": "erp@contoso.com", "recipients": [{ "address": "bob@fabrikam.example", "result": "accepted-by-server" }],
                "recipient_count": 1, "size": 57, "reply": "250 2.0.0 OK"
            })
        );
    }
}
