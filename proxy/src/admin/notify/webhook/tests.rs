use oxpost_protocol::Secret;
use url::Url;

use super::super::Channels;
use super::super::receiver::{Answer, Receiver, message};
use super::*;
use crate::config::Notify;

fn tls() -> ClientConfig {
    let provider = crate::net::tls::provider();
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
}

pub(in super::super) fn to(url: &str) -> Notify {
    let header = Some(("X-Key".to_owned(), Secret::from("s3cret")));
    Notify {
        webhook: Some(config::Webhook { url: Url::parse(url).unwrap(), header }),
        command: None,
        reminder: Some(Duration::from_secs(24 * 3600)),
        warn_before: Duration::from_secs(30 * 24 * 3600),
    }
}

/// With pauses of no length, so that a test waits for nothing.
pub(in super::super) fn channels(notify: &Notify) -> Channels {
    Channels::new(notify, &tls()).unwrap().with_pauses(&[Duration::ZERO; 2])
}

#[tokio::test]
async fn a_message_is_posted_with_the_header() {
    let mut receiver = Receiver::start().await;
    let channels = channels(&to(&receiver.url));
    let message = message("alice@contoso.com");
    assert_eq!(channels.deliver(&message).await, [("webhook", Ok(()))]);
    let (head, body) = receiver.next().await;
    let head = head.to_lowercase();
    assert!(head.starts_with("post /hook ") && head.contains("x-key: s3cret\r\n"), "{head}");
    assert!(head.contains("content-type: application/json\r\n"), "{head}");
    assert_eq!(body.to_string(), serde_json::from_str::<serde_json::Value>(&message.json()).unwrap().to_string());
    assert!(!format!("{channels:?}").contains("s3cret"));
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_what_is_wrong_is_not() {
    let mut receiver = Receiver::start().await;
    let channels = channels(&to(&receiver.url));
    let message = message("alice@contoso.com");
    for (answers, requests, why) in [
        (vec![Answer::Status(503), Answer::Status(200)], 2, None),
        (vec![Answer::Status(429), Answer::Status(500), Answer::Status(502)], 3, Some("HTTP status 502")),
        (vec![Answer::Status(404)], 1, Some("HTTP status 404")),
        (vec![Answer::Status(401)], 1, Some("HTTP status 401")),
        // The header is for one address.
        (vec![Answer::Redirect], 1, Some("HTTP status 307")),
    ] {
        receiver.answer(&answers);
        let reports = channels.deliver(&message).await;
        let said = reports[0].1.as_ref().err().map(ToString::to_string);
        assert_eq!(receiver.waiting(), requests, "{answers:?}");
        match why {
            Some(why) => assert!(said.as_ref().is_some_and(|said| said.contains(why)), "{answers:?}: {said:?}"),
            None => assert_eq!(said, None),
        }
    }
}

#[tokio::test]
async fn unreachable_or_untrusted_webhook_is_named_without_its_path() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for url in [format!("http://{gone}/secret-path"), format!("https://{gone}/secret-path")] {
        let reports = channels(&to(&url)).deliver(&message("alice@contoso.com")).await;
        let why = reports[0].1.as_ref().unwrap_err().to_string();
        assert!(why.contains("cannot be reached: ") && !why.contains("secret-path"), "{why}");
    }
}

/// A webhook that accepts the request and never answers is abandoned.
#[tokio::test]
async fn webhook_that_says_nothing_is_abandoned() {
    let receiver = Receiver::start().await;
    receiver.answer(&[Answer::Nothing]);
    let webhook = to(&receiver.url).webhook.unwrap();
    let webhook = Webhook::new(&webhook, tls(), Duration::from_millis(50)).unwrap();
    let error = webhook.send(&message("alice@contoso.com")).await.unwrap_err();
    assert!(error.try_again && error.why.contains("did not answer"), "{error}");
}
