//! What an SMTP client is offered before it logs in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oxpost_tests::harness::{ALICE, CLIENT_ID, Oxpost, Running, Settings};
use oxpost_tests::office365::Protocol;

use crate::client::Client;
use crate::story::tenant;

/// A client that was greeted, and the extensions of the answer to its EHLO.
async fn ehlo(running: &Running) -> (Client, Vec<String>) {
    let mut client = Client::connect(running.address(Protocol::Smtp)).await;
    client.until("220 ").await;
    client.say("EHLO scanner").await;
    let mut extensions = Vec::new();
    loop {
        let line = client.line().await.unwrap();
        extensions.push(line[4..].to_owned());
        if line.starts_with("250 ") {
            return (client, extensions.split_off(1));
        }
    }
}

/// The provider in these stories is a host name that nothing is documented of. Another application is in proxy.toml, and
/// has no account: it takes nothing away.
#[tokio::test]
async fn learned_extensions_are_offered_after_a_restart() {
    let tenant = tenant().await;
    let oxpost = Oxpost::new(&Settings::of(&tenant, CLIENT_ID)).unwrap();
    let password = oxpost.add_account(ALICE, &[]).await.unwrap();
    oxpost.sign_in(ALICE, &tenant, ALICE).await.unwrap();
    let file = oxpost.folder().join("proxy.toml");
    let unused = "[[application]]\nname = \"unused\"\nprovider = \"gmail\"\nclient-id = \"c\"\n";
    let text = format!("{}\n{unused}", std::fs::read_to_string(&file).unwrap());
    std::fs::write(&file, text).unwrap();

    let running = oxpost.run().await.unwrap();
    let (mut client, offered) = ehlo(&running).await;
    assert_eq!(offered, ["AUTH PLAIN LOGIN"]);
    client.say(&format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{ALICE}\0{password}")))).await;
    assert!(client.line().await.unwrap().starts_with("235"));
    let learned = [
        "SIZE 157286400",
        "PIPELINING",
        "DSN",
        "ENHANCEDSTATUSCODES",
        "8BITMIME",
        "CHUNKING",
        "SMTPUTF8",
        "AUTH PLAIN LOGIN",
    ];
    assert_eq!(ehlo(&running).await.1, learned);
    drop(client);
    running.stop().await.unwrap();

    let running = oxpost.run().await.unwrap();
    assert_eq!(ehlo(&running).await.1, learned, "without any login");
    running.stop().await.unwrap();
}
