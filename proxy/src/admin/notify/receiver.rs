//! For tests: something that webhooks are posted to, and the messages that are posted.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::Message;

/// What the next request is answered with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Answer {
    Status(u16),
    /// To another address, which is this one too.
    Redirect,
    Nothing,
}

/// Takes requests on a port of this machine.
pub(super) struct Receiver {
    pub(super) url: String,
    answers: Arc<Mutex<VecDeque<Answer>>>,
    requests: mpsc::UnboundedReceiver<(String, serde_json::Value)>,
}

impl Receiver {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (sender, requests) = mpsc::unbounded_channel();
        let answers: Arc<Mutex<VecDeque<Answer>>> = Arc::default();
        let next = Arc::clone(&answers);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let answer = next.lock().unwrap().pop_front().unwrap_or(Answer::Status(204));
                let sender = sender.clone();
                tokio::spawn(async move { serve(tcp, answer, &sender).await });
            }
        });
        Self { url, answers, requests }
    }

    /// The next requests get these answers; those behind them 204.
    pub(super) fn answer(&self, answers: &[Answer]) {
        self.answers.lock().unwrap().extend(answers);
    }

    /// The next request: its head, and the JSON in it.
    pub(super) async fn next(&mut self) -> (String, serde_json::Value) {
        self.requests.recv().await.unwrap()
    }

    /// How many requests have come that no test has read.
    pub(super) fn waiting(&mut self) -> usize {
        std::iter::from_fn(|| self.requests.try_recv().ok()).count()
    }
}

async fn serve(tcp: TcpStream, answer: Answer, sender: &mpsc::UnboundedSender<(String, serde_json::Value)>) {
    let mut stream = BufReader::new(tcp);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap() <= 2 {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    sender.send((head, serde_json::from_slice(&body).unwrap())).unwrap();
    let text = match answer {
        Answer::Status(status) => format!("HTTP/1.1 {status} x\r\n"),
        Answer::Redirect => "HTTP/1.1 307 x\r\nLocation: /elsewhere\r\n".to_owned(),
        Answer::Nothing => return std::future::pending().await,
    };
    let text = format!("{text}Content-Length: 0\r\nConnection: close\r\n\r\n");
    stream.get_mut().write_all(text.as_bytes()).await.unwrap();
}

/// A message about this account.
pub(super) fn message(account: &str) -> Message {
    let notice = oxpost_token_store::store::alerts::Alert {
        subject: account.into(),
        topic: "tokens".into(),
        id: "0123456789abcdef".into(),
        event: "sign-in-needed".into(),
        cause: String::new(),
        what: "The sign-in was revoked.".into(),
        remedy: "Sign in again: \"quoted\", % and $PATH & so on.".into(),
        since: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        notified: None,
        due: None,
        resolved: None,
    };
    Message::of(&notice, super::Kind::Raised, notice.since, "gateway.example")
}
