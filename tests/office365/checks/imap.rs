//! IMAP, as it should be.

use super::*;
use crate::office365::behaviour::FrontEnd;
use crate::office365::{LoginOutcome, Protocol};

async fn logged_in(tenant: &Tenant, user: &str) -> Client {
    let token = token(tenant, user).await;
    let mut client = Client::tls(tenant, tenant.imap()).await;
    client.line().await;
    let line = client.ask(&format!("A1 AUTHENTICATE XOAUTH2 {}", xoauth2(user, &token))).await;
    assert_eq!(line, "A1 OK AUTHENTICATE completed.");
    client
}

#[tokio::test]
async fn classic_front_end_conversation_matches_recorded_lines() {
    let tenant = tenant().await;
    let token = token(&tenant, "alice@contoso.com").await;
    let mut client = Client::tls(&tenant, tenant.imap()).await;
    let greeting = client.line().await;
    assert!(
        greeting.starts_with("* OK The Microsoft Exchange IMAP4 service is ready. [QQBNADAAUABSADAAMg"),
        "{greeting}"
    );
    assert_eq!(
        client.all("A0 CAPABILITY", "A0").await,
        [
            "* CAPABILITY IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+",
            "A0 OK CAPABILITY completed."
        ]
    );
    let line = client.ask(&format!("A1 AUTHENTICATE XOAUTH2 {}", xoauth2("alice@contoso.com", &token))).await;
    assert_eq!(line, "A1 OK AUTHENTICATE completed.");
    assert_eq!(
        client.all("A2 CAPABILITY", "A2").await,
        [
            "* CAPABILITY IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT CLIENTACCESSRULES CLIENTNETWORKPRESENCELOCATION BACKENDAUTHENTICATE CHILDREN IDLE NAMESPACE LITERAL+",
            "A2 OK CAPABILITY completed."
        ]
    );
    assert_eq!(
        client.all("A3 NAMESPACE", "A3").await,
        [r#"* NAMESPACE (("" "/")) NIL NIL"#, "A3 OK NAMESPACE completed."]
    );
    assert_eq!(
        client.all("A4 LOGOUT", "A4").await,
        ["* BYE Microsoft Exchange Server IMAP4 server signing off.", "A4 OK LOGOUT completed."]
    );
    assert!(client.closed().await);
    let transcript = tenant.transcripts().remove(0);
    assert!(transcript.to_string().contains("C: A1 AUTHENTICATE XOAUTH2 <"), "{transcript}");
    assert!(!transcript.to_string().contains(&token));
    assert_eq!(tenant.accepted_logins(Protocol::Imap), 1);
}

#[tokio::test]
async fn new_front_end_disables_login_and_offers_imap4rev2_later() {
    let tenant = tenant().await;
    tenant.behave(|behaviour| behaviour.front_end = FrontEnd::TcpProxy);
    let token = token(&tenant, "alice@contoso.com").await;
    let mut client = Client::tls(&tenant, tenant.imap()).await;
    let greeting = client.line().await;
    assert!(greeting.starts_with("* OK Microsoft Exchange IMAP4 service ready. "), "{greeting}");
    assert!(greeting.contains(" (tcpproxy/15.21.0406.000 BACKENDAUTHENTICATE) ["), "{greeting}");
    assert_eq!(
        client.all("A0 CAPABILITY", "A0").await[0],
        "* CAPABILITY IMAP4 IMAP4rev1 AUTH=XOAUTH2 LOGINDISABLED SASL-IR UIDPLUS MOVE ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+"
    );
    assert_eq!(client.ask("A1 AUTHENTICATE XOAUTH2").await, "+");
    let line = client.ask(&xoauth2("alice@contoso.com", &token)).await;
    assert_eq!(line, "A1 OK AUTHENTICATE completed.");
    assert_eq!(
        client.all("A2 CAPABILITY", "A2").await[0],
        "* CAPABILITY IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT ENABLE IMAP4rev2 CLIENTACCESSRULES CLIENTNETWORKPRESENCELOCATION BACKENDAUTHENTICATE BACKENDAUTHENTICATE-IR CHILDREN IDLE NAMESPACE LITERAL+"
    );
}

#[tokio::test]
async fn passwords_and_wrong_states_are_refused_in_exchanges_words() {
    let tenant = tenant().await;
    let mut client = Client::tls(&tenant, tenant.imap()).await;
    client.line().await;
    assert_eq!(client.ask("A1 LOGIN alice@contoso.com Passw0rd!").await, "A1 NO LOGIN failed.");
    assert!(client.ask("A2 LOGIN {17}").await.starts_with("+ "));
    client.send("alice@contoso.com {9+}").await;
    client.send("Passw0rd!").await;
    assert_eq!(client.line().await, "A2 NO LOGIN failed.");
    assert_eq!(client.ask("A3 AUTHENTICATE PLAIN AGEAYg==").await, "A3 NO AUTHENTICATE failed.");
    assert_eq!(client.ask("A4 SELECT INBOX").await, "A4 BAD Command received in Invalid state.");
    assert_eq!(client.ask("A5 XYZZY").await, "A5 BAD Command Error. 12");
    assert_eq!(client.ask("A6 AUTHENTICATE XOAUTH2 bm9uc2Vuc2U=").await, "A6 NO AUTHENTICATE failed.");
    let outcomes: Vec<LoginOutcome> = tenant.logins().iter().map(|login| login.outcome).collect();
    use LoginOutcome::{Malformed, Password};
    assert_eq!(outcomes, [Password, Password, Password, Malformed]);
    assert_eq!(tenant.logins()[1].user, "alice@contoso.com");
    let text = tenant.transcripts().remove(0).to_string();
    assert!(!text.contains("Passw0rd") && !text.contains("AGEAYg"), "{text}");
}

#[tokio::test]
async fn messages_are_listed_fetched_and_searched() {
    let tenant = tenant().await;
    tenant.deliver("alice@contoso.com", "From: a@x.example\r\nSubject: One\r\n\r\nfirst\r\n");
    tenant.deliver("alice@contoso.com", "From: b@x.example\r\nSubject: Two\r\n\r\nsecond\r\n");
    let mut client = logged_in(&tenant, "alice@contoso.com").await;
    let lines = client.all(r#"A2 LIST "" "*""#, "A2").await;
    assert!(lines.contains(&r#"* LIST (\HasNoChildren) "/" INBOX"#.to_owned()), "{lines:?}");
    assert!(lines.contains(&r#"* LIST (\HasNoChildren \Sent) "/" "Sent Items""#.to_owned()), "{lines:?}");
    let lines = client.all("A3 SELECT inbox", "A3").await;
    assert_eq!(lines[0], "* 2 EXISTS");
    assert_eq!(lines.last().unwrap(), "A3 OK [READ-WRITE] SELECT completed.");
    assert_eq!(
        client.all("A4 FETCH 1 (UID RFC822.SIZE BODY.PEEK[HEADER.FIELDS (Subject)] BODY.PEEK[TEXT]<1.3>)", "A4").await,
        [
            "* 1 FETCH (UID 1 RFC822.SIZE 42 BODY[HEADER.FIELDS (SUBJECT)] {16}",
            "Subject: One",
            "",
            " BODY[TEXT]<1> {3}",
            "irs)",
            "A4 OK FETCH completed."
        ]
    );
    let lines = client.all("A5 UID FETCH 2 BODY[]", "A5").await;
    assert_eq!(lines[0], "* 2 FETCH (UID 2 BODY[] {43}");
    assert_eq!(lines[5], r" FLAGS (\Seen))");
    assert_eq!(client.all("A6 SEARCH UNSEEN", "A6").await, ["* SEARCH 1", "A6 OK SEARCH completed."]);
    assert_eq!(client.all("A7 UID SEARCH SUBJECT two", "A7").await[0], "* SEARCH 2");
    assert_eq!(client.all("A8 SEARCH NOT (FROM b@ OR TEXT xx BODY second)", "A8").await[0], "* SEARCH 1");
    assert_eq!(client.all("A9 SEARCH SINCE 1-Jan-2100", "A9").await[0], "* SEARCH");
    assert_eq!(client.ask("B0 FETCH 1 BODY[WRONG]").await, "B0 BAD Command Argument Error. 11");
    assert_eq!(client.ask("B1 SELECT nowhere").await, "B1 NO The requested folder doesn't exist.");
}

#[tokio::test]
async fn messages_are_appended_moved_and_expunged() {
    let tenant = tenant().await;
    let mut client = logged_in(&tenant, "alice@contoso.com").await;
    assert_eq!(client.ask("A2 CREATE Archive").await, "A2 OK CREATE completed.");
    assert_eq!(client.ask(r"A3 APPEND INBOX (\Seen) {10}").await, "+ Ready for additional command text.");
    let line = client.ask("a: b\r\n\r\nc\r").await;
    assert!(line.starts_with("A3 OK [APPENDUID ") && line.ends_with(" 1] APPEND completed."), "{line}");
    client.send("A4 APPEND INBOX {3+}\r\nxyz").await;
    assert!(client.line().await.starts_with("A4 OK [APPENDUID "));
    assert_eq!(tenant.messages("alice@contoso.com", "INBOX"), [b"a: b\r\n\r\nc\r".to_vec(), b"xyz".to_vec()]);
    client.all("A5 SELECT INBOX", "A5").await;
    assert_eq!(client.all(r"A6 STORE 1 +FLAGS (\Deleted)", "A6").await[0], r"* 1 FETCH (FLAGS (\Seen \Deleted))");
    assert_eq!(client.all("A7 EXPUNGE", "A7").await, ["* 1 EXPUNGE", "A7 OK EXPUNGE completed."]);
    let lines = client.all("A8 UID MOVE 2 Archive", "A8").await;
    assert!(lines[0].starts_with("* OK [COPYUID ") && lines[0].ends_with(" 2 1]"), "{lines:?}");
    assert_eq!(lines[1..], ["* 1 EXPUNGE", "A8 OK MOVE completed."]);
    assert_eq!(tenant.messages("alice@contoso.com", "Archive"), [b"xyz".to_vec()]);
}

#[tokio::test]
async fn idle_tells_of_new_mail() {
    let tenant = tenant().await;
    let mut client = logged_in(&tenant, "alice@contoso.com").await;
    client.all("A2 SELECT INBOX", "A2").await;
    assert_eq!(client.ask("A3 IDLE").await, "+ IDLE accepted, awaiting DONE command.");
    tenant.deliver("alice@contoso.com", "x");
    assert_eq!(client.line().await, "* 1 EXISTS");
    assert_eq!(client.line().await, "* 0 RECENT");
    assert_eq!(client.ask("DONE").await, "A3 OK IDLE completed.");
}

#[tokio::test]
async fn a_large_message_goes_out_and_comes_in_whole() {
    let tenant = tenant().await;
    let message: Vec<u8> =
        b"Subject: large\r\n\r\n".iter().copied().chain((0..20_000_000).map(|n| (n % 251) as u8)).collect();
    tenant.deliver("alice@contoso.com", message.clone());
    let mut client = logged_in(&tenant, "alice@contoso.com").await;
    client.all("A2 SELECT INBOX", "A2").await;
    let line = client.ask("A3 FETCH 1 BODY.PEEK[]").await;
    assert_eq!(line, format!("* 1 FETCH (BODY[] {{{}}}", message.len()));
    let mut body = vec![0; message.len()];
    client.0.read_exact(&mut body).await.unwrap();
    assert!(body == message);
    assert_eq!(client.line().await, ")");
    client.line().await;
    client.send(&format!("A4 APPEND Drafts {{{}+}}", message.len())).await;
    client.raw(&message).await;
    client.send("").await;
    assert!(client.line().await.starts_with("A4 OK [APPENDUID "));
    assert!(tenant.messages("alice@contoso.com", "Drafts")[0] == message);
}

#[tokio::test]
async fn port_143_wants_starttls_first() {
    let tenant = tenant().await;
    let mut client = Client::plain(tenant.imap_plain()).await;
    client.line().await;
    let capabilities = client.all("A1 CAPABILITY", "A1").await;
    assert!(capabilities[0].contains(" STARTTLS LOGINDISABLED ") && !capabilities[0].contains("AUTH="));
    assert_eq!(client.ask("A2 LOGIN a b").await, "A2 BAD Command Error. 12");
    assert_eq!(client.ask("A3 STARTTLS").await, "A3 OK Begin TLS negotiation now.");
    let mut client = client.start_tls(&tenant).await.unwrap();
    assert!(client.all("A4 CAPABILITY", "A4").await[0].contains("AUTH=XOAUTH2"));
}
