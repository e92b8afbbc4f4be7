//! A webhook on this machine, and what was posted to it.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use tokio::sync::mpsc;

use super::Problem;
use super::binary::PATIENCE;

/// A webhook that keeps what is posted to it.
pub struct Webhook {
    /// Its address.
    pub url: String,
    messages: mpsc::UnboundedReceiver<(Option<String>, serde_json::Value)>,
}

type Sender = mpsc::UnboundedSender<(Option<String>, serde_json::Value)>;

impl Webhook {
    /// Begins to listen.
    ///
    /// # Errors
    /// There is no port.
    pub async fn start() -> Result<Self, Problem> {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}/told", listener.local_addr()?);
        let (sender, messages) = mpsc::unbounded_channel();
        let router = Router::new().route("/told", post(take)).with_state(sender);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, messages })
    }

    /// The next message, and the `Authorization` it came with.
    ///
    /// # Errors
    /// No message arrived in time.
    pub async fn next(&mut self) -> Result<(Option<String>, serde_json::Value), Problem> {
        let next = tokio::time::timeout(PATIENCE, self.messages.recv()).await;
        next.ok().flatten().ok_or_else(|| Problem::new("no notification arrived"))
    }

    /// Whether every message was read.
    pub fn is_quiet(&mut self) -> bool {
        self.messages.try_recv().is_err()
    }
}

async fn take(State(sender): State<Sender>, headers: HeaderMap, body: String) -> StatusCode {
    let authorization = headers.get("authorization").and_then(|value| value.to_str().ok()).map(str::to_owned);
    match serde_json::from_str(&body) {
        Ok(message) => {
            let _ = sender.send((authorization, message));
            StatusCode::NO_CONTENT
        }
        Err(_) => StatusCode::BAD_REQUEST,
    }
}
