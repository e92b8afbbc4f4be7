//! An event of the journal: what happened to a message, and who decided it. Neither subject nor content is in it.

use std::fmt;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// Most recipients of an event that are stored by name; the others are counted.
pub(crate) const RECIPIENTS_NAMED: usize = 100;

/// Longest text of a peer that is stored, in bytes: a reply, an address, a user name.
const TEXT_LIMIT: usize = 1024;

/// What happened. A program of another version may have written kinds that this one does not know. `queued`, `attempted`, `delivered`,
/// `expired`, `discarded` and `released` are reserved for mail that Oxpost keeps itself, so that "the mail server has accepted it" and
/// "Oxpost has accepted it" are never one word.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// The mail server has accepted the message.
    AcceptedByServer,
    /// The message, or one of its recipients, was refused for good.
    Refused,
    /// It was refused for now: the client was asked to try again.
    Deferred,
    /// The mail server received all of it, and disconnected without a reply.
    InDoubt,
    /// The client did not send all of it.
    Unfinished,
    /// A login was refused, so that no message could be sent.
    LoginRefused,
    /// The journal lost events.
    NotRecorded,
    /// Of another version of the program.
    Other(String),
}

/// The kinds and their names in the database and in JSON.
const KINDS: [(Kind, &str); 7] = [
    (Kind::AcceptedByServer, "accepted-by-server"),
    (Kind::Refused, "refused"),
    (Kind::Deferred, "deferred"),
    (Kind::InDoubt, "in-doubt"),
    (Kind::Unfinished, "unfinished"),
    (Kind::LoginRefused, "login-refused"),
    (Kind::NotRecorded, "not-recorded"),
];

impl Kind {
    /// Its name in the database and in JSON.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Other(name) => name,
            known => KINDS.iter().find(|(kind, _)| kind == known).map_or("", |(_, name)| name),
        }
    }

    /// The kind of this name.
    pub(crate) fn from_name(name: &str) -> Self {
        let known = KINDS.iter().find(|(_, known)| *known == name).map(|(kind, _)| kind.clone());
        known.unwrap_or_else(|| Self::Other(name.to_owned()))
    }

    /// What a reply of this code means: 4xx asks the client to try again (RFC 5321, 4.2.1).
    pub(crate) fn of_refusal(reply: &str) -> Self {
        if reply.starts_with('4') { Self::Deferred } else { Self::Refused }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who decided it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum DecidedBy {
    /// The mail server, with a reply.
    MailServer,
    /// The mail server's connection: it ended.
    Connection,
    /// The senders that the account allows.
    SenderPolicy,
    /// The senders and recipients that the device permit allows.
    DevicePermit,
    /// The send limits of the mailbox, kept by Oxpost.
    SendLimit,
    /// Oxpost, because of the message's format or size.
    Format,
    /// The client.
    Client,
    /// The login.
    Login,
    /// Another version of the program.
    #[serde(other)]
    Other,
}

/// Who took a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TakenBy {
    /// The mail server, while the client waited.
    Live,
    /// Another version of the program knows more.
    #[serde(other)]
    Other,
}

/// A recipient and its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Recipient {
    /// Its address.
    pub address: String,
    /// The name of a [`Kind`].
    pub result: String,
}

/// What an event is about, besides the columns that are searched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Detail {
    /// The id of the session in the log.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub session: String,
    /// The address of the client.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client: String,
    /// The name of the local password that the client logged in with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// The device permit under which it sends without a login: its networks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_permit: Option<String>,
    /// The mail server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Who took the message, or was to take it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken_by: Option<TakenBy>,
    /// Who decided it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<DecidedBy>,
    /// The command at which it was decided, if it was one before the content.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The sender of the envelope; empty for the null sender. None if it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// The sender that the client gave, if it was replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replaced_sender: Option<String>,
    /// The recipients of this event; of very many, only the first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<Recipient>,
    /// How many recipients there are.
    #[serde(skip_serializing_if = "is_zero")]
    pub recipient_count: u64,
    /// The size of the message in octets, as far as it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The reply of the mail server; or that of Oxpost, where it decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// The id under which the mail server knows the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_id: Option<String>,
    /// Why, where no reply says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the reply means and what to do about it, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// How many events were lost.
    #[serde(skip_serializing_if = "is_zero")]
    pub lost: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JournalEvent {
    /// The id of the message; one of its own for an event of no message.
    pub id: String,
    /// The number of the event among those of this id.
    pub step: u32,
    /// When it happened.
    pub at: SystemTime,
    /// What happened.
    pub kind: Kind,
    /// The account; empty if there is none.
    pub account: String,
    /// The name of the machine; [`super::Journal::record`] sets it.
    pub node: String,
    /// Everything else.
    pub detail: Detail,
}

impl JournalEvent {
    /// The one wording of what happened, for the log and for `oxpost mail`. It fits after "message ".
    pub(crate) fn text(&self) -> String {
        let Detail { decided_by, command, lost, .. } = &self.detail;
        let at = command.as_ref().map(|command| format!(" at {command}")).unwrap_or_default();
        match (&self.kind, decided_by) {
            (Kind::AcceptedByServer, _) => "accepted by the mail server".into(),
            (kind @ (Kind::Refused | Kind::Deferred), decided_by) => {
                let by = match decided_by {
                    Some(DecidedBy::MailServer) => " by the mail server",
                    Some(DecidedBy::Connection) => ": the mail server disconnected within it",
                    Some(DecidedBy::SenderPolicy) => " by the sender policy of the account",
                    Some(DecidedBy::DevicePermit) => " by the rules of the device permit",
                    Some(DecidedBy::SendLimit) => " by the send limit",
                    Some(DecidedBy::Format) => " by Oxpost",
                    Some(DecidedBy::Client | DecidedBy::Login | DecidedBy::Other) | None => "",
                };
                format!("{kind}{at}{by}")
            }
            (Kind::InDoubt, Some(DecidedBy::Connection)) => {
                "in doubt: disconnected before the mail server answered".into()
            }
            (Kind::InDoubt, _) => "in doubt: the session ended before the result was known".into(),
            (Kind::Unfinished, _) => "not sent: the client did not finish it".into(),
            (Kind::LoginRefused, _) => "login refused".into(),
            (Kind::NotRecorded, _) => format!("{lost} events were not recorded"),
            (Kind::Other(name), _) => name.clone(),
        }
    }

    /// What it costs in memory and in the database, roughly.
    pub(crate) fn bytes(&self) -> usize {
        let Detail { session, client, recipients, .. } = &self.detail;
        let detail = &self.detail;
        let texts = [
            &detail.credential,
            &detail.device_permit,
            &detail.server,
            &detail.command,
            &detail.sender,
            &detail.replaced_sender,
            &detail.reply,
            &detail.server_id,
            &detail.reason,
            &detail.remedy,
        ];
        let texts: usize = texts.into_iter().flatten().map(|text| text.len() + 16).sum();
        let recipients: usize = recipients.iter().map(|one| one.address.len() + one.result.len() + 32).sum();
        256 + self.id.len() + self.account.len() + self.node.len() + session.len() + client.len() + texts + recipients
    }
}

/// A text of a peer, no longer than what is stored.
pub(crate) fn bounded(text: &str) -> String {
    let mut end = text.len().min(TEXT_LIMIT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn event(kind: Kind, detail: Detail) -> JournalEvent {
        let (at, account) = (SystemTime::UNIX_EPOCH, "erp@contoso.com".to_owned());
        JournalEvent { id: "1".into(), step: 0, at, kind, account, node: "mx1".into(), detail }
    }

    #[test]
    fn kinds_of_other_versions_keep_their_name() {
        for (kind, name) in KINDS {
            assert_eq!((kind.as_str(), &Kind::from_name(name)), (name, &kind));
        }
        assert_eq!(Kind::from_name("queued").as_str(), "queued");
        assert_eq!(event(Kind::from_name("queued"), Detail::default()).text(), "queued");
    }

    #[test]
    fn detail_of_other_versions_is_read() {
        let text = r#"{"session":"a","decided_by":"oracle","taken_by":"queue","attempts":7}"#;
        let detail: Detail = serde_json::from_str(text).unwrap();
        assert_eq!((detail.session.as_str(), detail.decided_by), ("a", Some(DecidedBy::Other)));
        assert_eq!(detail.taken_by, Some(TakenBy::Other));
        assert_eq!(serde_json::to_string(&Detail::default()).unwrap(), "{}");
    }

    #[test]
    fn text_says_who_decided_and_when() {
        let text = |kind, decided_by, command: Option<&str>| {
            let command = command.map(str::to_owned);
            event(kind, Detail { decided_by: Some(decided_by), command, ..Detail::default() }).text()
        };
        assert_eq!(text(Kind::Refused, DecidedBy::MailServer, Some("RCPT")), "refused at RCPT by the mail server");
        assert_eq!(text(Kind::Deferred, DecidedBy::SendLimit, None), "deferred by the send limit");
        assert_eq!(
            text(Kind::Refused, DecidedBy::SenderPolicy, Some("MAIL")),
            "refused at MAIL by the sender policy of the account"
        );
        assert_eq!(
            text(Kind::Deferred, DecidedBy::Connection, None),
            "deferred: the mail server disconnected within it"
        );
    }

    #[test]
    fn reply_says_whether_the_client_may_try_again() {
        assert_eq!(Kind::of_refusal("432 4.3.2 Concurrent connections limit exceeded"), Kind::Deferred);
        assert_eq!(Kind::of_refusal("550 5.1.1 Unknown"), Kind::Refused);
        assert_eq!(Kind::of_refusal(""), Kind::Refused);
    }

    #[test]
    fn long_text_of_a_peer_is_cut_at_a_character() {
        assert_eq!(bounded("short"), "short");
        let long = format!("{}é", "x".repeat(TEXT_LIMIT - 1));
        assert_eq!(bounded(&long).len(), TEXT_LIMIT - 1);
    }
}
