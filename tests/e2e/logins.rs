//! A login by each protocol, and its answer.

use std::net::SocketAddr;

use crate::client::Client;

/// The answer to LOGIN.
pub(crate) async fn imap(at: SocketAddr, user: &str, password: &str) -> String {
    let mut client = Client::connect(at).await;
    client.say(&format!("a LOGIN {} {}", quoted(user), quoted(password))).await;
    client.until("a ").await
}

/// The answer to PASS.
pub(crate) async fn pop3(at: SocketAddr, user: &str, password: &str) -> String {
    let mut client = Client::connect(at).await;
    client.until("+OK").await;
    client.say(&format!("USER {user}")).await;
    client.until("+OK").await;
    client.say(&format!("PASS {password}")).await;
    client.line().await.unwrap()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
