//! The logins, made by the same dialogues as a session's, and listened to; and the question whether the sender may send.

use std::time::{Duration, Instant};

use oxpost_protocol::line::{Buffer, printable, without_end};
use oxpost_protocol::sasl::redact::Redactor;
use oxpost_protocol::sasl::xoauth2::XOAuth2;
use oxpost_protocol::{Action, Dialogue, KnownOffer, LoginStep, Secret, UpstreamDialogue, UpstreamEvent};
use oxpost_token_store::{AccessToken, Account};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::findings::{Heard, Login, Refused, Sender};
use crate::config::{Protocol, Server};
use crate::context::ServerContext;
use crate::failure::Failure;
use crate::mail_protocol::MailProtocol;
use crate::net::stream::Stream;
use crate::upstream::login::{self, Connected};
use crate::upstream::login_timings::LoginTimings;

/// The most lines that are kept of a login; Exchange needs about thirty.
const LINES: usize = 100;

/// The longest line that is looked at; Exchange's have some hundred characters.
const LINE_LIMIT: usize = 4096;

/// What we say is kept up to this length: the shortest message with a token in it is longer.
const SHORT: usize = 30;

/// How long one reply to the sender may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Logs in once. A refusal that may pass by itself is for the caller to try again.
pub(super) async fn log_in<S: MailProtocol>(
    context: &ServerContext,
    account: &Account,
    server: &Server,
    token: &AccessToken,
) -> (Login, Option<Connected>) {
    let redactor = redactor(account, S::PROTOCOL, token);
    let mut recorder = Recorder { begun: Instant::now(), heard: Vec::new(), server: Buffer::default(), redactor };
    let (bound, timings) = (context.settings.limits.upstream_timeout, LoginTimings::default());
    let trying = async {
        // The login that every server accepts: nothing is taken for granted.
        let inner = login::dialogue::<S>(context, account, server, token, &KnownOffer::default())?;
        let attempt = login::attempt(context, server, Overheard { inner, recorder: &mut recorder }, &timings).await;
        attempt.map_err(|unreached| unreached.failure)
    };
    let tried = tokio::time::timeout(bound, trying).await;
    let (outcome, connected) = match tried.unwrap_or_else(|_| Err(Failure::timed_out(&server.host, bound, &timings))) {
        Ok(Ok(connected)) => (Ok(()), Some(connected)),
        Ok(Err(failed)) => (Err(Refused::Server(failed.failure, failed.step)), None),
        Err(failure) => (Err(Refused::Unreached(failure)), None),
    };
    (Login { protocol: S::PROTOCOL, outcome, heard: recorder.heard }, connected)
}

/// Keeps a server that repeats what it was sent from having the token printed.
fn redactor(account: &Account, protocol: Protocol, token: &AccessToken) -> Redactor {
    let credentials = XOAuth2 {
        user: crate::upstream::sasl_user::sasl_user(account, token, protocol).to_string(),
        token: token.secret().clone(),
    };
    let message = credentials.message().unwrap_or_else(|_| Secret::from(""));
    Redactor::new(&credentials, &message)
}

/// Listens to a dialogue without changing a byte of it.
struct Overheard<'a, D> {
    inner: D,
    recorder: &'a mut Recorder,
}

struct Recorder {
    begun: Instant,
    heard: Vec<Heard>,
    server: Buffer,
    redactor: Redactor,
}

impl Recorder {
    fn hear(&mut self, by_server: bool, words: String) {
        if self.heard.len() < LINES {
            self.heard.push(Heard { after: self.begun.elapsed(), by_server, words });
        }
    }

    fn hear_server(&mut self, bytes: &[u8]) {
        self.server.receive(bytes);
        while let Ok(Some(line)) = self.server.take_line(LINE_LIMIT) {
            self.hear(true, self.redactor.printable(without_end(&line)));
        }
    }

    fn hear_us(&mut self, bytes: &[u8]) {
        for line in bytes.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end) {
            let words = if line.len() <= SHORT { printable(line) } else { format!("({} bytes)", line.len()) };
            self.hear(false, words);
        }
    }
}

impl<D: Dialogue> Dialogue for Overheard<'_, D> {
    type Event = D::Event;

    fn receive(&mut self, bytes: &[u8]) {
        self.recorder.hear_server(bytes);
        self.inner.receive(bytes);
    }

    fn receive_end(&mut self) {
        self.inner.receive_end();
    }

    fn poll(&mut self) -> Action<D::Event> {
        let action = self.inner.poll();
        if let Action::Write(bytes) = &action {
            self.recorder.hear_us(bytes);
        }
        action
    }

    fn into_unread(self) -> Vec<u8> {
        self.inner.into_unread()
    }
}

impl<D: Dialogue<Event = UpstreamEvent> + UpstreamDialogue> UpstreamDialogue for Overheard<'_, D> {
    fn tls_started(&mut self) {
        self.inner.tls_started();
    }

    fn waits_for(&self) -> &'static str {
        self.inner.waits_for()
    }

    fn step(&self) -> LoginStep {
        self.inner.step()
    }
}

/// Names the sender and itself as recipient, takes it back, and says goodbye. Nothing is sent.
pub(super) async fn ask_for_sender(connected: Connected, account: &Account, token: &AccessToken) -> Sender {
    let from = &account.mailbox;
    let redactor = redactor(account, Protocol::Smtp, token);
    let mut talk = Talk { stream: connected.stream, input: Buffer::default(), redactor };
    talk.input.receive(&connected.unread);
    let mut sender = Sender::default();
    let questions =
        [("MAIL", format!("MAIL FROM:<{from}>")), ("RCPT", format!("RCPT TO:<{from}>")), ("RSET", "RSET".to_owned())];
    for (verb, question) in questions {
        match tokio::time::timeout(PATIENCE, talk.ask(&question)).await {
            Ok(Ok(reply)) => {
                let accepted = reply.starts_with('2');
                sender.replies.push((verb, reply));
                if !accepted {
                    break;
                }
            }
            Ok(Err(error)) => sender.broken = Some(error.to_string()),
            Err(_) => sender.broken = Some(format!("nothing came for {} s", PATIENCE.as_secs())),
        }
        if sender.broken.is_some() {
            return sender;
        }
    }
    let _ = talk.stream.write_all(b"RSET\r\nQUIT\r\n").await;
    let _ = talk.stream.shutdown().await;
    sender
}

struct Talk {
    stream: Stream,
    input: Buffer,
    redactor: Redactor,
}

impl Talk {
    /// The last line of the reply (RFC 5321, 4.2.1): the one without a hyphen behind its code.
    async fn ask(&mut self, question: &str) -> std::io::Result<String> {
        self.stream.write_all(format!("{question}\r\n").as_bytes()).await?;
        self.stream.flush().await?;
        loop {
            let too_long = |_| std::io::Error::other("a line of the reply is too long");
            if let Some(line) = self.input.take_line(LINE_LIMIT).map_err(too_long)? {
                if line.get(3) != Some(&b'-') {
                    return Ok(self.redactor.printable(without_end(&line)));
                }
                continue;
            }
            let mut bytes = [0; 1024];
            match self.stream.read(&mut bytes).await? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                count => self.input.receive(bytes.get(..count).unwrap_or_default()),
            }
        }
    }
}

/// Says goodbye where nothing is asked any more, so that the server need not wait for it.
pub(super) async fn say_goodbye(protocol: Protocol, mut connected: Connected) {
    let goodbye: &[u8] = if protocol == Protocol::Imap { b"X9 LOGOUT\r\n" } else { b"QUIT\r\n" };
    let _ = tokio::time::timeout(PATIENCE, async {
        let _ = connected.stream.write_all(goodbye).await;
        let _ = connected.stream.shutdown().await;
    })
    .await;
}
