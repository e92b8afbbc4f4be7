//! POP3.

use super::*;
use crate::office365::LoginOutcome;
use crate::office365::behaviour::FrontEnd;

const PROTOCOL_ERROR: &str = "-ERR Protocol error. Connection is closed. 10";

async fn login(tenant: &Tenant, user: &str, token: &str) -> (Client, String) {
    let mut client = Client::tls(tenant, tenant.pop3()).await;
    client.line().await;
    assert_eq!(client.ask("AUTH XOAUTH2").await, "+ ");
    let line = client.ask(&xoauth2(user, token)).await;
    (client, line)
}

#[tokio::test]
async fn only_the_two_line_form_gets_in() {
    let tenant = tenant().await;
    let token = token(&tenant, "alice@contoso.com").await;
    let mut client = Client::tls(&tenant, tenant.pop3()).await;
    let greeting = client.line().await;
    assert!(greeting.starts_with("+OK The Microsoft Exchange POP3 service is ready. [QQBN"), "{greeting}");
    assert_eq!(client.all("CAPA", ".").await, ["+OK", "TOP", "UIDL", "SASL PLAIN XOAUTH2", "USER", "."]);
    let line = client.ask(&format!("AUTH XOAUTH2 {}", xoauth2("alice@contoso.com", &token))).await;
    assert_eq!(line, PROTOCOL_ERROR);
    assert!(client.closed().await);
    let (_, line) = login(&tenant, "alice@contoso.com", &token).await;
    assert_eq!(line, "+OK User successfully authenticated.");
}

#[tokio::test]
async fn refusals() {
    let tenant = tenant().await;
    let refused = "-ERR Authentication failure: unknown user name or bad password.";
    let (mut client, line) = login(&tenant, "alice@contoso.com", "EwBnothing").await;
    assert_eq!(line, refused);
    assert_eq!(client.ask("USER alice@contoso.com").await, "+OK");
    assert_eq!(client.ask("PASS Passw0rd!").await, refused);
    assert_eq!(client.ask("STAT").await, "-ERR Command is not valid in this state.");
    assert_eq!(client.ask("STLS").await, "-ERR Command is not valid in this state.");
    tenant.behave(|behaviour| behaviour.entra.token_bloat = 4_000);
    let long = token(&tenant, "alice@contoso.com").await;
    assert!(long.len() > 4096);
    let (mut client, line) = login(&tenant, "alice@contoso.com", &long).await;
    assert_eq!(line, PROTOCOL_ERROR);
    assert!(client.closed().await);
    tenant.behave(|behaviour| behaviour.pop3.long_tokens_refused = false);
    assert_eq!(login(&tenant, "alice@contoso.com", &long).await.1, "+OK User successfully authenticated.");
    assert_eq!(tenant.logins()[1].outcome, LoginOutcome::Password);
}

#[tokio::test]
async fn a_mailbox_is_read_and_emptied_when_it_is_left_in_order() {
    let tenant = tenant().await;
    tenant.behave(|behaviour| behaviour.front_end = FrontEnd::TcpProxy);
    let token = token(&tenant, "bob@contoso.com").await;
    tenant.deliver("info@contoso.com", "A: b\r\n\r\n.dot\r\nlast\r\n");
    tenant.deliver("info@contoso.com", "two");
    let (mut client, _) = login(&tenant, "info@contoso.com", &token).await;
    assert_eq!(client.ask("STAT").await, "+OK 2 23");
    assert_eq!(client.all("LIST", ".").await, ["+OK 2 23", "1 20", "2 3", "."]);
    client.send("RETR 1").await;
    for line in ["+OK", "A: b", "", "..dot", "last", "."] {
        assert_eq!(client.line().await, line);
    }
    client.send("TOP 1 1").await;
    for line in ["+OK", "A: b", "", "..dot", "."] {
        assert_eq!(client.line().await, line);
    }
    assert_eq!(client.ask("RETR 9").await, "-ERR The specified message is out of range.");
    let uidl = client.ask("UIDL 2").await;
    assert!(uidl.starts_with("+OK 2 ") && uidl.ends_with("00000002"), "{uidl}");
    assert_eq!(client.ask("DELE 1").await, "+OK");
    drop(client);
    let (mut client, _) = login(&tenant, "info@contoso.com", &token).await;
    assert_eq!(client.ask("DELE 1").await, "+OK");
    assert_eq!(client.ask("STAT").await, "+OK 1 3");
    assert_eq!(client.ask("QUIT").await, "+OK Microsoft Exchange Server POP3 server signing off.");
    assert!(client.closed().await);
    assert_eq!(tenant.messages("info@contoso.com", "INBOX"), [b"two".to_vec()]);
}

#[tokio::test]
async fn port_110_wants_stls_first() {
    let tenant = tenant().await;
    let mut client = Client::plain(tenant.pop3_plain()).await;
    client.line().await;
    assert_eq!(client.all("CAPA", ".").await, ["+OK", "TOP", "UIDL", "STLS", "."]);
    assert_eq!(client.ask("AUTH XOAUTH2").await, "-ERR Command is not valid in this state.");
    assert!(client.ask("STLS").await.starts_with("+OK"));
    let mut client = client.start_tls(&tenant).await.unwrap();
    assert_eq!(client.ask("AUTH XOAUTH2").await, "+ ");
}
