//! SMTP submission.

use super::*;
use crate::office365::behaviour::{Act, Fault, SmtpRefusal, Stage};
use crate::office365::{LoginOutcome, Refusal};

async fn encrypted(tenant: &Tenant) -> Client {
    let mut client = Client::plain(tenant.smtp()).await;
    client.line().await;
    client.all("EHLO me", "250 ").await;
    assert_eq!(client.ask("STARTTLS").await, "220 2.0.0 SMTP server ready");
    let mut client = client.start_tls(tenant).await.unwrap();
    client.all("EHLO me", "250 ").await;
    client
}

async fn login(tenant: &Tenant, user: &str, token: &str) -> (Client, String) {
    let mut client = encrypted(tenant).await;
    assert_eq!(client.ask("AUTH XOAUTH2").await, "334 ");
    let line = client.ask(&xoauth2(user, token)).await;
    (client, line)
}

/// The line up to its trailer, which must be `[host time id]`.
fn without_trailer(line: &str) -> &str {
    let (text, trailer) =
        line.split_once(" [AM0PR02CA0134.eurprd02.prod.outlook.com ").unwrap_or_else(|| panic!("{line}"));
    let (time, id) = trailer.split_once(' ').unwrap();
    assert!(time.ends_with('Z') && time.len() == 24 && id.len() == 17, "{line}");
    text
}

async fn submit(client: &mut Client, from: &str, to: &str, message: &str) -> String {
    assert_eq!(client.ask(&format!("MAIL FROM:<{from}>")).await, "250 2.1.0 Sender OK");
    assert_eq!(client.ask(&format!("RCPT TO:<{to}>")).await, "250 2.1.5 Recipient OK");
    assert_eq!(client.ask("DATA").await, "354 Start mail input; end with <CRLF>.<CRLF>");
    client.ask(&format!("{message}.")).await
}

#[tokio::test]
async fn a_message_is_submitted_line_by_line_as_in_the_field() {
    let tenant = tenant().await;
    let token = token(&tenant, "alice@contoso.com").await;
    let mut client = Client::plain(tenant.smtp()).await;
    let greeting = client.line().await;
    assert!(
        greeting.starts_with("220 AM0PR02CA0134.outlook.office365.com Microsoft ESMTP MAIL Service ready at "),
        "{greeting}"
    );
    let list = |middle: &str| {
        [
            "AM0PR02CA0134.outlook.office365.com Hello [127.0.0.1]",
            "SIZE 157286400",
            "PIPELINING",
            "DSN",
            "ENHANCEDSTATUSCODES",
            middle,
            "8BITMIME",
            "BINARYMIME",
            "CHUNKING",
        ]
        .map(|word| format!("250-{word}"))
        .into_iter()
        .chain(["250 SMTPUTF8".to_owned()])
        .collect::<Vec<String>>()
    };
    assert_eq!(client.all("EHLO me", "250 ").await, list("STARTTLS"));
    assert_eq!(without_trailer(&client.ask("AUTH XOAUTH2").await), "504 5.7.4 Unrecognized authentication type");
    assert_eq!(client.ask("STARTTLS").await, "220 2.0.0 SMTP server ready");
    let mut client = client.start_tls(&tenant).await.unwrap();
    assert_eq!(client.all("EHLO me", "250 ").await, list("AUTH LOGIN XOAUTH2"));
    assert_eq!(
        without_trailer(&client.ask("MAIL FROM:<a@b>").await),
        "530 5.7.57 Client not authenticated to send mail."
    );
    assert_eq!(client.ask("AUTH XOAUTH2").await, "334 ");
    assert_eq!(client.ask(&xoauth2("alice@contoso.com", &token)).await, "235 2.7.0 Authentication successful");
    let message = "From: Alice <alice@contoso.com>\r\nMessage-ID: <1@contoso.com>\r\n\r\n..dot\r\nb\u{e9}\r\n";
    let line = submit(&mut client, "alice@contoso.com", "bob@contoso.com", message).await;
    assert_eq!(line, "250 2.0.0 OK <1@contoso.com> [Hostname=SYBP282MB2635.AUSP282.PROD.OUTLOOK.COM]");
    assert_eq!(client.ask("QUIT").await, "221 2.0.0 Service closing transmission channel");
    let delivered = message.replace("..dot", ".dot").into_bytes();
    assert_eq!(tenant.messages("bob@contoso.com", "INBOX"), std::slice::from_ref(&delivered));
    assert_eq!(tenant.messages("alice@contoso.com", "Sent Items"), [delivered]);
    let text = tenant.transcripts().remove(0).to_string();
    assert!(text.contains("-- TLSv1_3") && !text.contains(&token), "{text}");
}

#[tokio::test]
async fn one_line_auth_and_chunks_are_accepted() {
    let tenant = tenant().await;
    let token = token(&tenant, "alice@contoso.com").await;
    let mut client = encrypted(&tenant).await;
    let line = client.ask(&format!("AUTH XOAUTH2 {}", xoauth2("alice@contoso.com", &token))).await;
    assert_eq!(line, "235 2.7.0 Authentication successful");
    client.send("MAIL FROM:<alice@contoso.com> BODY=BINARYMIME\r\nRCPT TO:<x@fabrikam.example>\r\nBDAT 5\r\na: b\r\r\nBDAT 3 LAST\r\n\n.\n").await;
    let mut replies = Vec::new();
    for _ in 0..4 {
        replies.push(client.line().await);
    }
    assert_eq!(replies[..3], ["250 2.1.0 Sender OK", "250 2.1.5 Recipient OK", "250 2.0.0 5 octets received"]);
    // The CRLF behind the five octets was no part of them.
    assert!(replies[3].starts_with("500 5.3.3 Unrecognized command"), "{replies:?}");
}

#[tokio::test]
async fn unknown_tenant_recipients_are_rejected() {
    let tenant = tenant().await;
    let token = token(&tenant, "alice@contoso.com").await;
    let (mut client, _) = login(&tenant, "alice@contoso.com", &token).await;
    client.ask("MAIL FROM:<alice@contoso.com>").await;
    assert!(client.ask("RCPT TO:<nobody@contoso.com>").await.starts_with("550 5.1.10 RESOLVER.ADR.RecipientNotFound;"));
    assert_eq!(client.ask("RCPT TO:<x@fabrikam.example>").await, "250 2.1.5 Recipient OK");
    client.raw(b"BDAT 5\r\na: b\rBDAT 3 LAST\r\n\n.\n").await;
    assert_eq!(client.line().await, "250 2.0.0 5 octets received");
    assert!(client.line().await.starts_with("250 2.0.0 OK <"));
    let outgoing = tenant.outgoing().remove(0);
    assert_eq!((outgoing.from.as_str(), outgoing.to), ("alice@contoso.com", vec!["x@fabrikam.example".to_owned()]));
    assert_eq!(outgoing.bytes, b"a: b\r\n.\n");
}

#[tokio::test]
async fn login_is_rejected_for_token_settings_and_identity() {
    let tenant = tenant().await;
    let unsuccessful = "535 5.7.3 Authentication unsuccessful";
    let alice = token(&tenant, "alice@contoso.com").await;
    let bob = token(&tenant, "bob@contoso.com").await;
    let refuses = async |user: &str, token: &str| without_trailer(&login(&tenant, user, token).await.1).to_owned();
    assert_eq!(refuses("alice@contoso.com", "EwBnothing").await, unsuccessful);
    assert_eq!(tenant.logins().last().unwrap().outcome, LoginOutcome::Token(Refusal::Unknown));
    assert_eq!(refuses("bob@contoso.com", &alice).await, unsuccessful);
    // A delegate may open the shared mailbox by IMAP; as a SASL user of SMTP it is refused.
    assert_eq!(refuses("info@contoso.com", &bob).await, unsuccessful);
    tenant.behave(|behaviour| behaviour.smtp.disabled_for_tenant = true);
    let disabled = |what: &str| {
        format!(
            "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the {what}. Visit https://aka.ms/smtp_auth_disabled for more information."
        )
    };
    assert_eq!(refuses("alice@contoso.com", &alice).await, disabled("Tenant"));
    tenant.change_mailbox("bob@contoso.com", |mailbox| mailbox.smtp_auth(true));
    assert_eq!(login(&tenant, "bob@contoso.com", &bob).await.1, "235 2.7.0 Authentication successful");
    tenant.change_mailbox("bob@contoso.com", |mailbox| mailbox.smtp_auth(false));
    assert_eq!(refuses("bob@contoso.com", &bob).await, disabled("Mailbox"));
    tenant.behave(|behaviour| behaviour.smtp.refusal = Some(SmtpRefusal::BasicNotSupported));
    assert_eq!(
        refuses("alice@contoso.com", &alice).await,
        "550 5.7.30 Basic authentication is not supported for Client Submission."
    );
}

#[tokio::test]
async fn a_sender_without_send_as_is_denied_after_the_message() {
    let tenant = tenant().await;
    let bob = token(&tenant, "bob@contoso.com").await;
    let (mut client, _) = login(&tenant, "bob@contoso.com", &bob).await;
    let line =
        submit(&mut client, "info@contoso.com", "x@fabrikam.example", "From: info@contoso.com\r\n\r\nx\r\n").await;
    assert!(line.starts_with("250 2.0.0 OK <"), "{line}");
    assert_eq!(tenant.messages("bob@contoso.com", "Sent Items").len(), 1);
    for (from, header) in [("alice@contoso.com", "bob@contoso.com"), ("bob@contoso.com", "alice@contoso.com")] {
        let line = submit(&mut client, from, "x@fabrikam.example", &format!("From: B <{header}>\r\n\r\nx\r\n")).await;
        assert!(line.starts_with("554 5.2.252 SendAsDenied; bob@contoso.com not allowed to send as alice@contoso.com; STOREDRV.Submission.Exception:SendAsDeniedException.MapiExceptionSendAsDenied;"), "{line}");
        assert!(line.ends_with("[Hostname=SYBP282MB2635.AUSP282.PROD.OUTLOOK.COM]"), "{line}");
    }
}

#[tokio::test]
async fn fourth_concurrent_message_is_refused() {
    let tenant = tenant().await;
    let token = token(&tenant, "alice@contoso.com").await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let (mut client, _) = login(&tenant, "alice@contoso.com", &token).await;
        client.ask("MAIL FROM:<alice@contoso.com>").await;
        client.ask("RCPT TO:<x@fabrikam.example>").await;
        assert!(client.ask("DATA").await.starts_with("354 "));
        clients.push(client);
    }
    let line = clients.last_mut().unwrap().ask("a: b\r\n\r\nx\r\n.").await;
    assert!(
        line.starts_with("432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending"),
        "{line}"
    );
    let line = clients[0].ask("a: b\r\n\r\nx\r\n.").await;
    assert!(line.starts_with("250 2.0.0 OK "), "{line}");
    let line = submit(&mut clients[0], "alice@contoso.com", "x@fabrikam.example", "a: b\r\n\r\nx\r\n").await;
    assert!(line.starts_with("250 2.0.0 OK "), "{line}");
}

#[tokio::test]
async fn message_rate_limit_applies_when_enabled() {
    let tenant = tenant().await;
    tenant.behave(|behaviour| behaviour.smtp.messages_per_minute = Some(1));
    let token = token(&tenant, "alice@contoso.com").await;
    let (mut client, _) = login(&tenant, "alice@contoso.com", &token).await;
    for answer in ["250 2.0.0 OK ", "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded"] {
        let line = submit(&mut client, "alice@contoso.com", "x@fabrikam.example", "a: b\r\n\r\nx\r\n").await;
        assert!(line.starts_with(answer), "{line}");
    }
    assert_eq!((tenant.outgoing().len(), tenant.most_concurrent("alice@contoso.com")), (1, 1));
}

#[tokio::test]
async fn switches_of_starttls_and_faults_of_stages() {
    let tenant = tenant().await;
    tenant.behave(|behaviour| {
        behaviour.smtp.injected_behind_starttls = Some("250-evil\r\n250 AUTH PLAIN\r\n".to_owned())
    });
    let mut client = Client::plain(tenant.smtp()).await;
    client.line().await;
    client.all("EHLO me", "250 ").await;
    assert_eq!(client.ask("STARTTLS").await, "220 2.0.0 SMTP server ready");
    assert_eq!(client.line().await, "250-evil");
    tenant.behave(|behaviour| {
        behaviour.smtp.offer_starttls = false;
        behaviour.smtp.injected_behind_starttls = None;
    });
    let mut client = Client::plain(tenant.smtp()).await;
    client.line().await;
    assert!(!client.all("EHLO me", "250 ").await.contains(&"250-STARTTLS".to_owned()));
    tenant.behave(|behaviour| {
        behaviour.smtp.offer_starttls = true;
        let busy = "451 4.7.0 Temporary server error. Please try again later. PRX4".to_owned();
        behaviour.smtp.faults = vec![
            Fault::once(Stage::Mail, Act::Say(busy)),
            Fault::once(Stage::Recipient, Act::Delay(Duration::ZERO)),
            Fault::once(Stage::Message, Act::Close),
        ];
    });
    let token = token(&tenant, "alice@contoso.com").await;
    let (mut client, _) = login(&tenant, "alice@contoso.com", &token).await;
    assert!(client.ask("MAIL FROM:<alice@contoso.com>").await.starts_with("451 4.7.0 "));
    let line = submit(&mut client, "alice@contoso.com", "x@fabrikam.example", "a: b\r\n\r\n").await;
    assert_eq!(line, "");
    assert!(tenant.outgoing().is_empty());
}

#[tokio::test]
async fn an_application_sends_for_a_mailbox_it_may_open() {
    let tenant = tenant().await;
    let app = app_token(&tenant).await;
    let (mut client, line) = login(&tenant, "bob@contoso.com", &app).await;
    assert_eq!(line, "235 2.7.0 Authentication successful");
    let line = submit(&mut client, "info@contoso.com", "x@fabrikam.example", "a: b\r\n\r\n").await;
    assert!(line.starts_with("554 5.2.252 SendAsDenied;"), "{line}");
    tenant.change_mailbox("info@contoso.com", |mailbox| mailbox.send_as(SERVICE));
    let line = submit(&mut client, "info@contoso.com", "x@fabrikam.example", "a: b\r\n\r\n").await;
    assert!(line.starts_with("250 2.0.0 OK"), "{line}");
    let (_, line) = login(&tenant, "alice@contoso.com", &app).await;
    assert!(line.starts_with("535 5.7.3 "), "{line}");
}
