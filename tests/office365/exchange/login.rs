//! Whether a login is good: the XOAUTH2 string, the token in it, and what its holder may do with the mailbox.
//! <https://learn.microsoft.com/exchange/client-developer/legacy-protocols/how-to-authenticate-an-imap-pop-smtp-application-by-using-oauth>

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::connection::Connection;
use crate::office365::behaviour::ErrorChallenge;
use crate::office365::directory::Mailbox;
use crate::office365::records::{Login, LoginOutcome};
use crate::office365::tokens::{Claims, Permission, Refusal};
use crate::office365::transcript::Protocol;
use crate::office365::{SecretKind, lock};

/// A line of credentials may be so long: 12288 octets for SMTP by RFC 4954 section 4, and more is accepted of all.
pub(super) const MAX_CREDENTIALS: usize = 16 * 1024;

/// A login that succeeded.
#[derive(Debug, Clone)]
pub(super) struct Opened {
    pub(super) user: String,
    pub(super) claims: Claims,
}

/// Exchange's decision about a login.
#[derive(Debug, Clone)]
pub(super) enum Verdict {
    Accepted(Opened),
    /// The token is good, and the mailbox cannot be opened with it.
    NotConnected(Opened),
    /// SMTP AUTH is switched off, for the tenant or for the mailbox.
    SmtpDisabled {
        for_mailbox: bool,
    },
    Refused,
}

/// Decides, and puts the decision on record.
pub(super) fn judge(connection: &Connection, credentials: &[u8]) -> Verdict {
    let protocol = connection.protocol;
    connection.shared.secrets.add(SecretKind::Xoauth2, &String::from_utf8_lossy(credentials));
    let (user, token) = read(credentials).unwrap_or_default();
    let (mut verdict, mut outcome) = decide(connection, protocol, &user, &token);
    if matches!(verdict, Verdict::Accepted(_)) {
        let switched = connection.shared.behaviour_mut(|behaviour| {
            let refused = behaviour.refuse_good_tokens > 0;
            behaviour.refuse_good_tokens = behaviour.refuse_good_tokens.saturating_sub(1);
            refused
        });
        if switched {
            (verdict, outcome) = (Verdict::Refused, LoginOutcome::Switched);
        }
    }
    verdict = not_connected_by_switch(connection, verdict, &mut outcome);
    record(connection, &user, token.len(), outcome);
    verdict
}

/// Puts a login on record that was decided without a token.
pub(super) fn record(connection: &Connection, user: &str, token_length: usize, outcome: LoginOutcome) {
    let (protocol, number) = (connection.protocol, connection.number());
    let login = Login { protocol, connection: number, user: user.to_lowercase(), token_length, outcome };
    lock(&connection.shared.logins).push(login);
}

/// A pause, and perhaps an error challenge that wants an empty line: what comes before the words of a refusal.
pub(super) async fn before_refusal(connection: &mut Connection, prompt: &str) -> io::Result<()> {
    let (pause, challenge) =
        connection.shared.behaviour(|behaviour| (behaviour.refusal_delay, behaviour.error_challenge));
    if challenge == ErrorChallenge::Json {
        let json = r#"{"status":"400","schemes":"Bearer","scope":"https://outlook.office.com/"}"#;
        connection.say(&format!("{prompt}{}", STANDARD.encode(json))).await?;
        let answer = connection.read_line(MAX_CREDENTIALS).await?;
        if answer.is_some_and(|answer| !answer.is_empty()) {
            connection.note("the error challenge was not answered with an empty line");
        }
    }
    if !pause.is_zero() {
        connection.flush().await?;
        tokio::time::sleep(pause).await;
    }
    Ok(())
}

/// `user=` U ^A `auth=Bearer ` T ^A ^A, in base64.
fn read(credentials: &[u8]) -> Option<(String, String)> {
    let text = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    let (user, token) = text.strip_prefix("user=")?.split_once("\u{1}auth=Bearer ")?;
    let token = token.strip_suffix("\u{1}\u{1}")?;
    let clean = !user.is_empty() && !token.is_empty() && !token.contains(['\u{1}', ' ']) && !user.contains('\u{1}');
    clean.then(|| (user.to_lowercase(), token.to_owned()))
}

fn decide(connection: &Connection, protocol: Protocol, user: &str, token: &str) -> (Verdict, LoginOutcome) {
    if user.is_empty() {
        return (Verdict::Refused, LoginOutcome::Malformed);
    }
    let shared = &connection.shared;
    let judged = lock(&shared.tokens).check(token, shared.clock.unix(), permission(protocol));
    let claims = match judged {
        Ok(claims) => claims,
        Err(refusal) => return (Verdict::Refused, LoginOutcome::Token(refusal)),
    };
    let tenant_disabled = shared.behaviour(|behaviour| behaviour.smtp.disabled_for_tenant);
    let directory = lock(&shared.directory);
    let mut claims = claims;
    // A token is its user's, whatever they are called by now.
    if let (Some(object_id), Some(name)) = (&claims.oid, &claims.upn) {
        claims.upn = directory.present_name(object_id, name).or_else(|| claims.upn.clone());
    }
    // IMAP and POP3 open a mailbox by each of its addresses, SMTP knows a user by their present name alone.
    let mailbox = if protocol == Protocol::Smtp { directory.mailbox(user) } else { directory.mailbox_or_alias(user) };
    let present = mailbox.map_or(user, |mailbox| mailbox.address.as_str()).to_owned();
    let opened = Opened { user: present, claims };
    let application = directory.application(&opened.claims.appid);
    let known = !opened.claims.app_only() || application.is_some_and(|application| application.registered_in_exchange);
    let mailbox = mailbox.filter(|mailbox| mailbox.has_mailbox);
    let denied = (Verdict::Refused, LoginOutcome::Denied);
    if protocol == Protocol::Smtp {
        let Some(mailbox) = mailbox else { return denied };
        if !mailbox.smtp_auth.unwrap_or(!tenant_disabled) {
            let for_mailbox = mailbox.smtp_auth == Some(false);
            return (Verdict::SmtpDisabled { for_mailbox }, LoginOutcome::Denied);
        }
        // A delegate's FullAccess counts for IMAP and POP3, not here.
        let own = opened.claims.holder() == user || opened.claims.app_only() && may_open(mailbox, &opened.claims);
        return if own && known { (Verdict::Accepted(opened), LoginOutcome::Accepted) } else { denied };
    }
    let open = known
        && mailbox.is_some_and(|mailbox| {
            let enabled = if protocol == Protocol::Imap { mailbox.imap } else { mailbox.pop3 };
            enabled && may_open(mailbox, &opened.claims)
        });
    match (open, protocol) {
        (true, _) => (Verdict::Accepted(opened), LoginOutcome::Accepted),
        (false, Protocol::Imap) => (Verdict::NotConnected(opened), LoginOutcome::NotConnected),
        (false, _) => denied,
    }
}

fn not_connected_by_switch(connection: &Connection, verdict: Verdict, outcome: &mut LoginOutcome) -> Verdict {
    match verdict {
        Verdict::Accepted(opened) if connection.protocol == Protocol::Imap => {
            let switched = connection.shared.behaviour_mut(|behaviour| {
                let left = behaviour.imap.not_connected;
                behaviour.imap.not_connected = left.saturating_sub(1);
                left > 0
            });
            if !switched {
                return Verdict::Accepted(opened);
            }
            *outcome = LoginOutcome::NotConnected;
            Verdict::NotConnected(opened)
        }
        other => other,
    }
}

fn permission(protocol: Protocol) -> Permission {
    match protocol {
        Protocol::Imap => ("IMAP.AccessAsUser.All", "IMAP.AccessAsApp"),
        Protocol::Pop3 => ("POP.AccessAsUser.All", "POP.AccessAsApp"),
        Protocol::Smtp => ("SMTP.Send", "SMTP.SendAsApp"),
    }
}

fn may_open(mailbox: &Mailbox, claims: &Claims) -> bool {
    claims.holder() == mailbox.address || mailbox.full_access.contains(claims.holder())
}

/// Refused because its time is over, and not for anything else.
pub(super) fn expired(connection: &Connection, opened: &Opened) -> bool {
    connection.shared.clock.unix() >= opened.claims.exp
}

/// The length of the token in an XOAUTH2 string, good or not.
pub(super) fn token_length(credentials: &[u8]) -> usize {
    read(credentials).map_or(0, |(_, token)| token.len())
}

/// A token of that length is a protocol error for POP3; it is recorded as one that was not examined.
pub(super) fn record_unread(connection: &Connection, credentials: &[u8]) {
    let (user, token) = read(credentials).unwrap_or_default();
    record(connection, &user, token.len(), LoginOutcome::Token(Refusal::Unknown));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vector_of_microsofts_page_is_read() {
        let vector = b"dXNlcj10ZXN0QGNvbnRvc28ub25taWNyb3NvZnQuY29tAWF1dGg9QmVhcmVyIEV3QkFBbDNCQUFVRkZwVUFvN0ozVmUwYmpMQldaV0NjbFJDM0VvQUEBAQ==";
        let (user, token) = read(vector).unwrap();
        assert_eq!(
            (user.as_str(), token.as_str()),
            ("test@contoso.onmicrosoft.com", "EwBAAl3BAAUFFpUAo7J3Ve0bjLBWZWCclRC3EoAA")
        );
    }

    #[test]
    fn anything_else_is_malformed() {
        for wrong in [
            "user=a\u{1}auth=Bearer t\u{1}",
            "user=a\u{1}auth=bearer t\u{1}\u{1}",
            "user=a\u{1}auth=Bearer t\u{1}\u{1}\n",
            "user=\u{1}auth=Bearer t\u{1}\u{1}",
            "a\u{1}auth=Bearer t\u{1}\u{1}",
        ] {
            assert!(read(STANDARD.encode(wrong).as_bytes()).is_none(), "{wrong:?}");
        }
        assert!(read(b"not base64").is_none());
    }
}
