//! A webhook: the message is posted as JSON to an address of the administrator's.

use std::time::Duration;

use oxpost_token_store::CertificateProblem;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use rustls::ClientConfig;

use super::deliver::Undelivered;
use super::message::Message;
use crate::config;

/// How long one try may take, to the status of the answer.
pub(crate) const TIME: Duration = Duration::from_secs(10);

/// A webhook that messages can be posted to.
pub(crate) struct Webhook {
    client: reqwest::Client,
    url: url::Url,
    header: Option<(HeaderName, HeaderValue)>,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Webhook")
    }
}

impl Webhook {
    /// The webhook of the configuration; each try may take `time`.
    ///
    /// # Errors
    /// The client cannot be made, or the header cannot be sent.
    pub(crate) fn new(webhook: &config::Webhook, tls: ClientConfig, time: Duration) -> Result<Self, String> {
        let mut client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            // What is posted goes to the configured address or nowhere.
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .timeout(time)
            .user_agent(concat!("oxpost/", env!("CARGO_PKG_VERSION")));
        if webhook.url.scheme() == "http" {
            // This machine itself; see the check of the configuration.
            client = client.no_proxy();
        }
        let client = client.build().map_err(|_| "cannot create the HTTP client for the webhook".to_owned())?;
        let header = match &webhook.header {
            Some((name, value)) => {
                let cannot = || "the header of the webhook is invalid".to_owned();
                let mut value = HeaderValue::from_bytes(value.reveal()).map_err(|_| cannot())?;
                value.set_sensitive(true);
                Some((HeaderName::from_bytes(name.as_bytes()).map_err(|_| cannot())?, value))
            }
            None => None,
        };
        Ok(Self { client, url: webhook.url.clone(), header })
    }

    /// Posts a message once.
    ///
    /// # Errors
    /// It was not taken. The reason never has the address in it, whose path may be a secret.
    pub(crate) async fn send(&self, message: &Message) -> Result<(), Undelivered> {
        let mut request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json");
        if let Some((name, value)) = &self.header {
            request = request.header(name, value);
        }
        let status = match request.body(message.json()).send().await {
            Ok(response) => response.status(),
            Err(error) if error.is_timeout() => {
                return Err(Undelivered { why: "the webhook did not answer in time".to_owned(), try_again: true });
            }
            Err(error) => {
                let error = error.without_url();
                let remedy = CertificateProblem::of(&error)
                    .map(|problem| format!(". {}", problem.explain("the webhook's server")));
                let why = format!("the webhook cannot be reached: {}{}", innermost(&error), remedy.unwrap_or_default());
                return Err(Undelivered { why, try_again: true });
            }
        };
        if status.is_success() {
            return Ok(());
        }
        let try_again = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
        Err(Undelivered { why: format!("the webhook answered with the HTTP status {}", status.as_u16()), try_again })
    }
}

/// The text of the cause, "connection refused"; those around it hold addresses.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string().chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
pub(super) mod tests;
